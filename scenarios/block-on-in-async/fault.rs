//! A shop window: `show ARTICLE` puts an article into the shared basket and tells the basket's sum.
//! How the sum is formed is up to a plug-in, and plug-ins are ordinary functions.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_executor as executor;
use pollscope_agent::monitored;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, watch};
use tokio::time::MissedTickBehavior;
use tracing::{Instrument, info_span};

use crate::figures::Figures;

type Failure = Box<dyn Error + Send + Sync>;

const CLIENTS: u64 = 4;
/// Articles that are in the basket from the start.
const SPECIALS: u64 = 60;
const DISPLAYS: usize = 50;

/// A basket has a lock for each article, since articles are counted one by one.
struct Basket {
    articles: Mutex<Vec<Arc<Mutex<u64>>>>,
}

impl Basket {
    fn filled() -> Self {
        let specials = (1..=SPECIALS).map(|article| Arc::new(Mutex::new(article)));
        Self { articles: Mutex::new(specials.collect()) }
    }

    #[tracing::instrument(skip_all)]
    async fn put(&self, article: u64) -> usize {
        let mut articles = self.articles.lock().await;
        articles.push(Arc::new(Mutex::new(article)));
        articles.len()
    }

    #[tracing::instrument(skip_all)]
    async fn sum(&self, first: usize) -> u64 {
        let articles: Vec<_> = self.articles.lock().await.iter().take(first).cloned().collect();
        let mut sum = 0;
        for article in articles {
            sum += *article.lock().await;
        }
        sum
    }
}

/// How a basket is priced.
trait Pricing: Send + Sync {
    fn price(&self, basket: &Basket, first: usize) -> u64;
}

/// The ordinary price: the sum.
struct Sum;

impl Pricing for Sum {
    fn price(&self, basket: &Basket, first: usize) -> u64 {
        executor::block_on(basket.sum(first))
    }
}

struct Shop {
    basket: Basket,
    pricing: Box<dyn Pricing>,
}

impl Shop {
    #[tracing::instrument(skip_all)]
    async fn show(&self, article: u64) -> u64 {
        let first = self.basket.put(article).await;
        self.pricing.price(&self.basket, first)
    }
}

async fn serve(stream: TcpStream, shop: Arc<Shop>) -> Result<(), Failure> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    while let Some(line) = lines.next_line().await? {
        let article = line.strip_prefix("show ").ok_or("not understood")?;
        let price = shop.show(article.parse()?).await;
        writer.write_all(format!("{price}\n").as_bytes()).await?;
    }
    Ok(())
}

async fn accept(listener: TcpListener, shop: Arc<Shop>) {
    while let Ok((stream, peer)) = listener.accept().await {
        let connection = monitored("connection", serve(stream, shop.clone()));
        tokio::spawn(connection.instrument(info_span!("connection", %peer)));
    }
}

async fn client(service: SocketAddr, id: u64, figures: Arc<Figures>) -> Result<(), Failure> {
    let (reader, mut writer) = TcpStream::connect(service).await?.into_split();
    let mut lines = BufReader::new(reader).lines();
    let mut last = 0;
    while figures.open() {
        let due = tokio::time::Instant::now() + Duration::from_millis(100);
        tokio::time::sleep_until(due).await;
        let asked = figures.asked_at(due.into_std());
        writer.write_all(format!("show {}\n", id + 1).as_bytes()).await?;
        let price: u64 = lines.next_line().await?.ok_or("the shop hung up")?.parse()?;
        if price > last {
            figures.answered(asked);
        }
        last = price;
    }
    Ok(())
}

/// Turns the carousel in the window.
async fn carousel() {
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
    }
}

async fn display(mut closing: watch::Receiver<bool>) {
    let _ = closing.wait_for(|closing| *closing).await;
}

async fn run() -> Result<(), Failure> {
    let shop = Arc::new(Shop { basket: Basket::filled(), pricing: Box::new(Sum) });
    let (closing, open) = watch::channel(false);
    for _ in 0..DISPLAYS {
        tokio::spawn(display(open.clone()));
    }
    tokio::spawn(carousel());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let service = listener.local_addr()?;
    tokio::spawn(accept(listener, shop));

    let figures = Figures::start();
    let clients: Vec<_> = (0..CLIENTS).map(|id| tokio::spawn(client(service, id, figures.clone()))).collect();
    for client in clients {
        client.await??;
    }
    closing.send_replace(true);
    figures.report(true);
    Ok(())
}

/// Keeps the window lit until the shop closes.
#[pollscope_agent::main(worker_threads = 2)]
pub async fn main() {
    run().await.expect("the service runs");
}
