//! A tea merchant: `sell TEA GRAMS CENTS` is confirmed at once and entered into the books by the
//! bookkeeper, who also works out the price of a hundred grams.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pollscope_agent::monitored;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tracing::{Instrument, info_span};

use crate::figures::Figures;

type Failure = Box<dyn Error + Send + Sync>;

const TEAS: usize = 16;
const CLIENTS: usize = 6;
const DISPLAYS: usize = 50;

#[derive(Clone, Copy)]
struct Sale {
    tea: usize,
    grams: u64,
    cents: u64,
}

#[derive(Default)]
struct Books {
    sales: AtomicU64,
    prices: [AtomicU64; TEAS],
}

impl Books {
    #[tracing::instrument(skip_all)]
    fn enter(&self, sale: Sale) {
        self.prices[sale.tea].store(price(sale), Ordering::Relaxed);
        self.sales.fetch_add(1, Ordering::Relaxed);
    }
}

/// Cents for a hundred grams.
fn price(sale: Sale) -> u64 {
    sale.cents * 100 / sale.grams
}

async fn bookkeeper(books: Arc<Books>, mut sales: mpsc::Receiver<Sale>) {
    while let Some(sale) = sales.recv().await {
        books.enter(sale);
    }
}

/// The desk where sales are handed in for the books.
fn open_desk(books: &Arc<Books>) -> mpsc::Sender<Sale> {
    let (desk, sales) = mpsc::channel(64);
    tokio::spawn(bookkeeper(books.clone(), sales));
    desk
}

fn read_sale(line: &str) -> Result<Sale, Failure> {
    let mut words = line.split_whitespace().skip(1);
    let mut word = || words.next().ok_or("a word is missing");
    let tea = word()?.parse()?;
    if tea >= TEAS {
        return Err("no such tea".into());
    }
    Ok(Sale { tea, grams: word()?.parse()?, cents: word()?.parse()? })
}

async fn serve(stream: TcpStream, desk: mpsc::Sender<Sale>) -> Result<(), Failure> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    while let Some(line) = lines.next_line().await? {
        let sale = read_sale(&line)?;
        // The customer need not wait for the books.
        let _ = desk.send(sale).await;
        writer.write_all(format!("sold {}\n", sale.grams).as_bytes()).await?;
    }
    Ok(())
}

async fn accept(listener: TcpListener, desk: mpsc::Sender<Sale>) {
    while let Ok((stream, peer)) = listener.accept().await {
        let connection = monitored("connection", serve(stream, desk.clone()));
        tokio::spawn(connection.instrument(info_span!("connection", %peer)));
    }
}

/// Tries a parcel of each tea; a parcel that arrives torn is not tasted, and the taster goes on.
async fn taste() {
    for parcel in 0_u32.. {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let tasted = tokio::spawn(async move { 1000_u32.checked_div(parcel % 5).expect("the parcel is whole") });
        let _score = tasted.await.unwrap_or(0);
    }
}

/// A customer: now and then only a free sample, which weighs nothing on our scales.
async fn client(service: SocketAddr, id: usize, figures: Arc<Figures>) -> Result<u64, Failure> {
    let (reader, mut writer) = TcpStream::connect(service).await?.into_split();
    let mut lines = BufReader::new(reader).lines();
    let mut bought = 0;
    for turn in (id..).take_while(|_| figures.open()) {
        let grams = if turn % 100 == 60 { 0 } else { 50 + turn % 7 * 25 };
        let (tea, cents) = (turn % TEAS, grams * 6);
        tokio::time::sleep(Duration::from_millis(8)).await;
        let asked = figures.asked();
        writer.write_all(format!("sell {tea} {grams} {cents}\n").as_bytes()).await?;
        let answer = lines.next_line().await?.ok_or("the merchant hung up")?;
        if answer == format!("sold {grams}") {
            figures.answered(asked);
        }
        bought += u64::from(grams > 0);
    }
    Ok(bought)
}

async fn display(mut closing: watch::Receiver<bool>) {
    let _ = closing.wait_for(|closing| *closing).await;
}

async fn run() -> Result<(), Failure> {
    let (closing, open) = watch::channel(false);
    for _ in 0..DISPLAYS {
        tokio::spawn(display(open.clone()));
    }
    let books = Arc::new(Books::default());
    let desk = open_desk(&books);
    tokio::spawn(taste());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let service = listener.local_addr()?;
    tokio::spawn(accept(listener, desk));

    let figures = Figures::start();
    let clients: Vec<_> = (0..CLIENTS).map(|id| tokio::spawn(client(service, id, figures.clone()))).collect();
    let mut bought = 0;
    for client in clients {
        bought += client.await??;
    }
    // What was sold last is still on its way into the books.
    tokio::time::sleep(Duration::from_millis(100)).await;
    closing.send_replace(true);
    figures.report(books.sales.load(Ordering::Relaxed) == bought);
    Ok(())
}

/// Keeps the shop open until the customers go home.
#[pollscope_agent::main(worker_threads = 2)]
pub async fn main() {
    run().await.expect("the service runs");
}
