//! A small exchange: `order SIDE QUANTITY` is matched against the book. A session that is waiting for its
//! order still counts as present: it reports in every few milliseconds, and who does not loses the seat.

use std::error::Error;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use pollscope_agent::monitored;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tracing::{Instrument, info_span};

use crate::figures::Figures;

type Failure = Box<dyn Error + Send + Sync>;

const CLIENTS: usize = 8;
const DISPLAYS: usize = 50;

struct Book {
    bids: u64,
    asks: u64,
    matched: u64,
    present: Vec<Instant>,
}

impl Book {
    /// Takes an order in; what meets the other side is matched.
    fn take(&mut self, buys: bool, quantity: u64) -> u64 {
        let (own, other) = if buys { (&mut self.bids, &mut self.asks) } else { (&mut self.asks, &mut self.bids) };
        let met = quantity.min(*other);
        *other -= met;
        *own += quantity - met;
        self.matched += met;
        met
    }
}

struct Exchange {
    book: Mutex<Book>,
    index: Mutex<Vec<f64>>,
}

impl Exchange {
    fn open() -> Self {
        let book = Book { bids: 0, asks: 0, matched: 0, present: vec![Instant::now(); CLIENTS] };
        Self { book: Mutex::new(book), index: Mutex::new(vec![100.0; 12]) }
    }

    #[tracing::instrument(skip_all)]
    async fn place(&self, buys: bool, quantity: u64) -> u64 {
        self.book.lock().await.take(buys, quantity)
    }

    async fn report_in(&self, seat: usize) {
        self.mark(seat, Instant::now()).await;
    }

    async fn mark(&self, seat: usize, at: Instant) {
        let mut book = self.book.lock().await;
        book.present[seat] = at;
    }

    /// The book on paper, twice a second; nothing may move meanwhile.
    #[tracing::instrument(skip_all)]
    async fn close_round(&self, archive: &mut Archive) -> Result<(), Failure> {
        let book = self.book.lock().await;
        for side in [book.bids, book.asks, book.matched] {
            archive.write(&side.to_string()).await?;
        }
        Ok(())
    }

    /// The index is worked out number by number; nobody else wants it.
    #[tracing::instrument(skip_all)]
    async fn work_out_index(&self, archive: &mut Archive) -> Result<(), Failure> {
        let mut index = self.index.lock().await;
        for value in index.iter_mut() {
            *value *= 1.0001;
            archive.write(&value.to_string()).await?;
        }
        Ok(())
    }
}

/// A connection to the archive, which confirms each line when it is safe.
struct Archive(BufReader<TcpStream>);

impl Archive {
    async fn write(&mut self, line: &str) -> Result<(), Failure> {
        self.0.write_all(format!("{line}\n").as_bytes()).await?;
        self.0.read_line(&mut String::new()).await?;
        Ok(())
    }
}

async fn keep_archive(stream: TcpStream) -> Result<(), Failure> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        stream.write_all(b"safe\n").await?;
        line.clear();
    }
    Ok(())
}

async fn accept_archive(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(keep_archive(stream));
    }
}

fn every(millis: u64) -> Interval {
    let period = Duration::from_millis(millis);
    let mut ticks = tokio::time::interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

async fn clerk(exchange: Arc<Exchange>, mut archive: Archive) -> Result<(), Failure> {
    let mut rounds = every(500);
    loop {
        rounds.tick().await;
        exchange.close_round(&mut archive).await?;
    }
}

async fn indexer(exchange: Arc<Exchange>, mut archive: Archive) -> Result<(), Failure> {
    let mut rounds = every(100);
    loop {
        rounds.tick().await;
        exchange.work_out_index(&mut archive).await?;
    }
}

async fn session(stream: TcpStream, seat: usize, exchange: Arc<Exchange>) -> Result<(), Failure> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    let mut reports = every(10);
    while stream.read_line(&mut line).await? > 0 {
        let mut words = line.split_whitespace().skip(1);
        let buys = words.next() == Some("buy");
        let quantity = words.next().ok_or("a quantity is missing")?.parse()?;
        let mut placing = pin!(exchange.place(buys, quantity));
        let met = loop {
            tokio::select! {
                met = &mut placing => break met,
                _ = reports.tick() => exchange.report_in(seat).await,
            }
        };
        stream.write_all(format!("{quantity} taken, {met} met\n").as_bytes()).await?;
        line.clear();
    }
    Ok(())
}

async fn accept(listener: TcpListener, exchange: Arc<Exchange>) {
    let mut seat = 0;
    while let Ok((stream, peer)) = listener.accept().await {
        let session = monitored("session", session(stream, seat % CLIENTS, exchange.clone()));
        tokio::spawn(session.instrument(info_span!("session", %peer)));
        seat += 1;
    }
}

async fn trader(service: std::net::SocketAddr, id: usize, figures: Arc<Figures>) -> Result<(), Failure> {
    let mut stream = BufReader::new(TcpStream::connect(service).await?);
    for turn in (id..).take_while(|_| figures.open()) {
        let (side, quantity) = (if turn % 2 == 0 { "buy" } else { "sell" }, 1 + turn % 9);
        let asked = figures.asked();
        stream.write_all(format!("order {side} {quantity}\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_line(&mut answer).await?;
        if answer.starts_with(&format!("{quantity} taken")) {
            figures.answered(asked);
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    Ok(())
}

async fn display(mut closing: watch::Receiver<bool>) {
    let _ = closing.wait_for(|closing| *closing).await;
}

async fn run() -> Result<(), Failure> {
    let shelf = TcpListener::bind("127.0.0.1:0").await?;
    let archive = shelf.local_addr()?;
    tokio::spawn(accept_archive(shelf));

    let exchange = Arc::new(Exchange::open());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let service = listener.local_addr()?;
    tokio::spawn(accept(listener, exchange.clone()));
    let (closing, open) = watch::channel(false);
    for _ in 0..DISPLAYS {
        tokio::spawn(display(open.clone()));
    }

    let figures = Figures::start();
    let rounds = Archive(BufReader::new(TcpStream::connect(archive).await?));
    let index = Archive(BufReader::new(TcpStream::connect(archive).await?));
    tokio::spawn(clerk(exchange.clone(), rounds));
    tokio::spawn(indexer(exchange.clone(), index));
    let traders: Vec<_> = (0..CLIENTS).map(|id| tokio::spawn(trader(service, id, figures.clone()))).collect();
    for trader in traders {
        trader.await??;
    }
    closing.send_replace(true);
    let book = exchange.book.lock().await;
    figures.report(book.bids == 0 || book.asks == 0);
    Ok(())
}

/// Keeps the exchange open until the traders go home.
#[pollscope_agent::main(worker_threads = 2)]
pub async fn main() {
    run().await.expect("the service runs");
}
