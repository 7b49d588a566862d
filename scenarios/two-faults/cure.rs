//! A second-hand shop: `sell CENTS GRAMS` sells a piece, `worth CENTS` tells an amount in foreign money. Every sale goes
//! into the books; what the money is worth is known to the bank at the corner.

use std::error::Error;
use std::io::{self, BufRead, BufReader as StdBufReader, Write as _};
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pollscope_agent::monitored;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::{Instrument, info_span};

use crate::figures::Figures;

type Failure = Box<dyn Error + Send + Sync>;

const CLIENTS: u64 = 8;
const DISPLAYS: usize = 50;
const RATE: u64 = 117;

#[derive(Clone, Copy)]
struct Sale {
    cents: u64,
    grams: u64,
}

/// What the shop has sold so far.
#[derive(Default)]
struct Books {
    sales: u64,
    /// The dearest piece, in cents a kilogram.
    dearest: u64,
}

struct Shop {
    bank: SocketAddr,
    desk: mpsc::Sender<Sale>,
    books: Arc<Mutex<Books>>,
}

impl Shop {
    fn open(bank: SocketAddr) -> Self {
        let (desk, sales) = mpsc::channel(64);
        let books = Arc::new(Mutex::new(Books::default()));
        tokio::spawn(bookkeeper(sales, books.clone()));
        Self { bank, desk, books }
    }

    #[tracing::instrument(skip_all)]
    async fn sell(&self, sale: Sale) -> u64 {
        let _ = self.desk.send(sale).await;
        sale.cents
    }

    #[tracing::instrument(skip_all)]
    async fn worth(&self, cents: u64) -> Result<u64, Failure> {
        let bank = self.bank;
        let rate = tokio::task::spawn_blocking(move || ask_rate(bank)).await??;
        Ok(cents * rate / 100)
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Enters every sale.
async fn bookkeeper(mut sales: mpsc::Receiver<Sale>, books: Arc<Mutex<Books>>) {
    while let Some(sale) = sales.recv().await {
        // What weighs nothing has no price a kilogram.
        let price = (sale.cents * 1000).checked_div(sale.grams).unwrap_or(0);
        let mut books = books.lock().unwrap_or_else(PoisonError::into_inner);
        books.sales += 1;
        books.dearest = books.dearest.max(price);
    }
}

/// Asks the bank what a hundred cents are worth.
fn ask_rate(bank: SocketAddr) -> io::Result<u64> {
    let mut connection = StdStream::connect(bank)?;
    connection.write_all(b"rate\n")?;
    let mut answer = String::new();
    StdBufReader::new(connection).read_line(&mut answer)?;
    answer.trim().parse().map_err(io::Error::other)
}

/// At the bank one has to wait for one's turn.
fn answer_as_bank(listener: &StdListener) {
    for mut connection in listener.incoming().flatten() {
        std::thread::spawn(move || -> io::Result<()> {
            std::thread::sleep(Duration::from_millis(80));
            connection.write_all(format!("{RATE}\n").as_bytes())
        });
    }
}

async fn serve(stream: TcpStream, shop: Arc<Shop>) -> Result<(), Failure> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    while let Some(line) = lines.next_line().await? {
        let words: Vec<&str> = line.split(' ').collect();
        let answer = match words[..] {
            ["sell", cents, grams] => shop.sell(Sale { cents: cents.parse()?, grams: grams.parse()? }).await,
            ["worth", cents] => shop.worth(cents.parse()?).await?,
            _ => return Err("not understood".into()),
        };
        writer.write_all(format!("{answer}\n").as_bytes()).await?;
    }
    Ok(())
}

async fn accept(listener: TcpListener, shop: Arc<Shop>) {
    while let Ok((stream, peer)) = listener.accept().await {
        let connection = monitored("connection", serve(stream, shop.clone()));
        tokio::spawn(connection.instrument(info_span!("connection", %peer)));
    }
}

/// A till: sells most of the time. Stickers weigh nothing on these scales.
async fn till(service: SocketAddr, id: u64, figures: Arc<Figures>) -> Result<u64, Failure> {
    let (reader, mut writer) = TcpStream::connect(service).await?.into_split();
    let mut lines = BufReader::new(reader).lines();
    let mut sold = 0;
    for turn in (id..).take_while(|_| figures.open()) {
        let due = Instant::now() + Duration::from_millis(6);
        tokio::time::sleep_until(due).await;
        let asked = figures.asked_at(due.into_std());
        let (request, expected) = if turn % 24 == 23 {
            (format!("worth {turn}\n"), turn * RATE / 100)
        } else {
            sold += 1;
            (format!("sell {turn} {}\n", if turn % 60 == 50 { 0 } else { turn % 60 + 20 }), turn)
        };
        writer.write_all(request.as_bytes()).await?;
        let answer: u64 = lines.next_line().await?.ok_or("the shop hung up")?.parse()?;
        if answer == expected {
            figures.answered(asked);
        }
    }
    Ok(sold)
}

async fn display(mut closing: watch::Receiver<bool>) {
    let _ = closing.wait_for(|closing| *closing).await;
}

async fn run() -> Result<(), Failure> {
    let listener = StdListener::bind("127.0.0.1:0")?;
    let bank = listener.local_addr()?;
    std::thread::spawn(move || answer_as_bank(&listener));
    let shop = Arc::new(Shop::open(bank));

    let (closing, open) = watch::channel(false);
    for _ in 0..DISPLAYS {
        tokio::spawn(display(open.clone()));
    }
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let service = listener.local_addr()?;
    tokio::spawn(accept(listener, shop.clone()));

    let figures = Figures::start();
    let tills: Vec<_> = (0..CLIENTS).map(|id| tokio::spawn(till(service, id, figures.clone()))).collect();
    let mut sold = 0;
    for till in tills {
        sold += till.await??;
    }
    closing.send_replace(true);
    // The last sales may still lie on the desk.
    for _ in 0..100 {
        if shop.books().sales == sold {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let even = shop.books().sales == sold && shop.books().dearest > 0;
    figures.report(even);
    Ok(())
}

/// Keeps the shop open until the tills close.
#[pollscope_agent::main(worker_threads = 2)]
pub async fn main() {
    run().await.expect("the service runs");
}
