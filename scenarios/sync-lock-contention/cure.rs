//! A depot: `stock ARTICLE` tells how many there are, `take ARTICLE` takes one. Four times a second
//! all of it goes to head office, by the program that has always done so.

use std::error::Error;
use std::io::{self, BufRead, BufReader as StdBufReader, Write as _};
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pollscope_agent::monitored;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{Instrument, info_span};

use crate::figures::Figures;

type Failure = Box<dyn Error + Send + Sync>;

const ARTICLES: usize = 16;
const CLIENTS: usize = 8;
const DISPLAYS: usize = 50;

struct Depot {
    stock: Mutex<[u64; ARTICLES]>,
}

impl Depot {
    #[tracing::instrument(skip_all)]
    fn count(&self, article: usize) -> Option<u64> {
        self.stock().get(article).copied()
    }

    #[tracing::instrument(skip_all)]
    fn take(&self, article: usize) -> Option<u64> {
        let mut stock = self.stock();
        let left = stock.get_mut(article)?;
        *left = left.saturating_sub(1);
        Some(*left)
    }

    fn stock(&self) -> MutexGuard<'_, [u64; ARTICLES]> {
        self.stock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells head office what is in stock, article by article; each line is acknowledged.
fn tell(depot: &Depot, office: SocketAddr) -> io::Result<()> {
    let mut line = StdStream::connect(office)?;
    let mut answers = StdBufReader::new(line.try_clone()?);
    let stock = *depot.stock();
    for (article, count) in stock.iter().enumerate() {
        line.write_all(format!("{article} {count}\n").as_bytes())?;
        let mut answer = String::new();
        answers.read_line(&mut answer)?;
    }
    Ok(())
}

fn telling(depot: &Depot, office: SocketAddr, open: &AtomicBool) -> io::Result<()> {
    while open.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(250));
        tell(depot, office)?;
    }
    Ok(())
}

/// Head office is far away: every line takes a while to be acknowledged.
fn head_office(listener: &StdListener) {
    for connection in listener.incoming().flatten() {
        std::thread::spawn(move || -> io::Result<()> {
            let mut answers = connection.try_clone()?;
            for line in StdBufReader::new(connection).lines() {
                std::thread::sleep(Duration::from_millis(8));
                answers.write_all(format!("ok {}\n", line?).as_bytes())?;
            }
            Ok(())
        });
    }
}

async fn serve(stream: TcpStream, depot: Arc<Depot>) -> Result<(), Failure> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    while let Some(line) = lines.next_line().await? {
        let left = match line.split_once(' ').ok_or("not understood")? {
            ("take", article) => depot.take(article.parse()?),
            (_, article) => depot.count(article.parse()?),
        };
        let left = left.ok_or("no such article")?;
        writer.write_all(format!("{left}\n").as_bytes()).await?;
    }
    Ok(())
}

async fn accept(listener: TcpListener, depot: Arc<Depot>) {
    while let Ok((stream, peer)) = listener.accept().await {
        let connection = monitored("connection", serve(stream, depot.clone()));
        tokio::spawn(connection.instrument(info_span!("connection", %peer)));
    }
}

async fn client(service: SocketAddr, id: usize, figures: Arc<Figures>) -> Result<(), Failure> {
    let (reader, mut writer) = TcpStream::connect(service).await?.into_split();
    let mut lines = BufReader::new(reader).lines();
    for turn in (id..).take_while(|_| figures.open()) {
        let due = Instant::now() + Duration::from_millis(4);
        tokio::time::sleep_until(due).await;
        let asked = figures.asked_at(due.into_std());
        let request = if turn % 4 == 3 { "take" } else { "stock" };
        writer.write_all(format!("{request} {}\n", turn % ARTICLES).as_bytes()).await?;
        let left: u64 = lines.next_line().await?.ok_or("the depot hung up")?.parse()?;
        if left > 0 {
            figures.answered(asked);
        }
    }
    Ok(())
}

/// Watches the clock of the loading bay, which needs nothing of the stock.
async fn bay() {
    let mut tick = tokio::time::interval(Duration::from_millis(2));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
    }
}

async fn display(mut closing: watch::Receiver<bool>) {
    let _ = closing.wait_for(|closing| *closing).await;
}

async fn run() -> Result<(), Failure> {
    let listener = StdListener::bind("127.0.0.1:0")?;
    let office = listener.local_addr()?;
    std::thread::spawn(move || head_office(&listener));
    let depot = Arc::new(Depot { stock: Mutex::new([1_000_000; ARTICLES]) });
    let open = Arc::new(AtomicBool::new(true));
    std::thread::spawn({
        let (depot, open) = (depot.clone(), open.clone());
        move || telling(&depot, office, &open)
    });

    let (closing, displays) = watch::channel(false);
    for _ in 0..DISPLAYS {
        tokio::spawn(display(displays.clone()));
    }
    tokio::spawn(bay());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let service = listener.local_addr()?;
    tokio::spawn(accept(listener, depot));

    let figures = Figures::start();
    let clients: Vec<_> = (0..CLIENTS).map(|id| tokio::spawn(client(service, id, figures.clone()))).collect();
    for client in clients {
        client.await??;
    }
    open.store(false, Ordering::Relaxed);
    closing.send_replace(true);
    figures.report(true);
    Ok(())
}

/// Keeps the depot open until the clients go home.
#[pollscope_agent::main(worker_threads = 2)]
pub async fn main() {
    run().await.expect("the service runs");
}
