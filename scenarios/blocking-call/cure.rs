//! A price quoting service. Prices of goods we stock are known; for anything else we ask the
//! supplier once and remember the answer.

use std::collections::HashMap;
use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader as StdBufReader, Write as _};
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pollscope_agent::monitored;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{Instrument, info_span};

use crate::figures::Figures;

type Failure = Box<dyn Error + Send + Sync>;

const CLIENTS: u64 = 8;
const DISPLAYS: usize = 50;

struct Shop {
    supplier: SocketAddr,
    prices: Mutex<HashMap<u64, u64>>,
}

impl Shop {
    fn open(supplier: SocketAddr) -> Result<Self, Failure> {
        Ok(Self { supplier, prices: Mutex::new(read_price_list()?) })
    }

    /// The price of an article in cents.
    #[tracing::instrument(skip(self))]
    async fn price(&self, article: u64) -> io::Result<u64> {
        let known = self.prices().get(&article).copied();
        match known {
            Some(price) => Ok(price),
            None => self.order_price(article).await,
        }
    }

    #[tracing::instrument(skip(self))]
    async fn order_price(&self, article: u64) -> io::Result<u64> {
        let price = ask_supplier(self.supplier, article).await?;
        self.prices().insert(article, price);
        Ok(price)
    }

    fn prices(&self) -> std::sync::MutexGuard<'_, HashMap<u64, u64>> {
        self.prices.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn ask_supplier(supplier: SocketAddr, article: u64) -> io::Result<u64> {
    let mut connection = TcpStream::connect(supplier).await?;
    connection.write_all(format!("{article}\n").as_bytes()).await?;
    let mut answer = String::new();
    let mut reader = BufReader::new(connection);
    tokio::time::timeout(Duration::from_secs(2), reader.read_line(&mut answer)).await??;
    answer.trim().parse().map_err(io::Error::other)
}

async fn serve(stream: TcpStream, shop: Arc<Shop>) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    while let Some(line) = lines.next_line().await? {
        let article = line.parse().map_err(io::Error::other)?;
        let price = shop.price(article).await?;
        writer.write_all(format!("{article} {price}\n").as_bytes()).await?;
    }
    Ok(())
}

async fn accept(listener: TcpListener, shop: Arc<Shop>) {
    while let Ok((stream, peer)) = listener.accept().await {
        let connection = monitored("connection", serve(stream, shop.clone()));
        tokio::spawn(connection.instrument(info_span!("connection", %peer)));
    }
}

/// A shopper: nine things off the shelf, then something special.
async fn shopper(service: SocketAddr, id: u64, figures: Arc<Figures>) -> Result<(), Failure> {
    let (reader, mut writer) = TcpStream::connect(service).await?.into_split();
    let mut lines = BufReader::new(reader).lines();
    // Shoppers do not all come through the door in step.
    for turn in (id..).take_while(|_| figures.open()) {
        let article = if turn % 10 == 9 { (id + 1) * 1_000_000 + turn } else { turn % 1000 };
        // The wait begins when it is the shopper's turn, however late the shopper is.
        let due = Instant::now() + Duration::from_millis(4);
        tokio::time::sleep_until(due).await;
        let asked = figures.asked_at(due.into_std());
        writer.write_all(format!("{article}\n").as_bytes()).await?;
        let answer = lines.next_line().await?.ok_or("the service hung up")?;
        if answer == format!("{article} {}", list_price(article)) {
            figures.answered(asked);
        }
    }
    Ok(())
}

/// Keeps the moving average that the front page shows.
async fn average(shop: Arc<Shop>) {
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut shown = 0;
    for start in (0..1000).step_by(10).cycle() {
        tick.tick().await;
        let prices = shop.prices();
        let sum: u64 = (start..start + 10).filter_map(|at| prices.get(&at)).sum();
        shown = (shown * 7 + sum / 10) / 8;
    }
}

async fn display(mut closing: watch::Receiver<bool>) {
    let _ = closing.wait_for(|closing| *closing).await;
}

fn list_price(article: u64) -> u64 {
    100 + article * 37 % 9_000
}

/// The price list comes as text, and with every old edition in it: the last price counts.
fn read_price_list() -> Result<HashMap<u64, u64>, Failure> {
    let mut text = String::new();
    for row in 0..60_000_u64 {
        let article = row % 1000;
        writeln!(text, "{article};{:.2}", list_price(article) as f64 / 100.0)?;
    }
    let mut prices = HashMap::new();
    for line in text.lines() {
        let (article, price) = line.split_once(';').ok_or("a row without a price")?;
        let cents = (price.parse::<f64>()? * 100.0).round() as u64;
        prices.insert(article.parse()?, cents);
    }
    Ok(prices)
}

/// The supplier's machine: not ours, and it takes its time.
fn supplier(listener: &StdListener) {
    for connection in listener.incoming().flatten() {
        std::thread::spawn(move || answer_as_supplier(connection));
    }
}

fn answer_as_supplier(mut connection: StdStream) -> io::Result<()> {
    let mut line = String::new();
    StdBufReader::new(connection.try_clone()?).read_line(&mut line)?;
    std::thread::sleep(Duration::from_millis(120));
    let article: u64 = line.trim().parse().map_err(io::Error::other)?;
    writeln!(connection, "{}", list_price(article))
}

async fn run() -> Result<(), Failure> {
    let upstream = StdListener::bind("127.0.0.1:0")?;
    let shop = Arc::new(Shop::open(upstream.local_addr()?)?);
    std::thread::spawn(move || supplier(&upstream));

    let (closing, open) = watch::channel(false);
    for _ in 0..DISPLAYS {
        tokio::spawn(display(open.clone()));
    }
    tokio::spawn(monitored("average", average(shop.clone())));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let service = listener.local_addr()?;
    tokio::spawn(accept(listener, shop));

    let figures = Figures::start();
    let shoppers: Vec<_> = (0..CLIENTS).map(|id| tokio::spawn(shopper(service, id, figures.clone()))).collect();
    for shopper in shoppers {
        shopper.await??;
    }
    closing.send_replace(true);
    figures.report(true);
    Ok(())
}

/// Opens the shop until the shoppers go home.
#[pollscope_agent::main(worker_threads = 2)]
pub async fn main() {
    run().await.expect("the service runs");
}
