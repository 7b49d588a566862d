//! Loyalty cards of a bakery: `buy CARD CENTS` books a purchase, `points CARD` tells the sum so
//! far. Purchases lie in an SQLite file, to which the back office adds those of the market stall.

use std::collections::HashMap;
use std::error::Error;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pollscope_agent::monitored;
use rusqlite::{Connection, TransactionBehavior};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tracing::{Instrument, info_span};

use crate::figures::Figures;

type Failure = Box<dyn Error + Send + Sync>;

const CLIENTS: u64 = 8;
const DISPLAYS: usize = 50;
const STALL: u64 = 999;

struct Bakery {
    purchases: Mutex<Connection>,
    points: Mutex<HashMap<u64, u64>>,
}

impl Bakery {
    fn open(file: &Path) -> Result<Self, Failure> {
        Ok(Self { purchases: Mutex::new(connect(file)?), points: Mutex::new(HashMap::new()) })
    }

    /// Books a purchase; the points are those of the card from now on.
    #[tracing::instrument(skip_all)]
    async fn buy(self: &Arc<Self>, card: u64, cents: u64) -> Result<u64, Failure> {
        let bakery = self.clone();
        tokio::task::spawn_blocking(move || bakery.book(card, cents)).await??;
        let mut points = self.points();
        let sum = points.entry(card).or_default();
        *sum += cents;
        Ok(*sum)
    }

    fn book(&self, card: u64, cents: u64) -> rusqlite::Result<()> {
        let purchases = self.purchases.lock().unwrap_or_else(PoisonError::into_inner);
        purchases.execute("INSERT INTO purchase (card, cents) VALUES (?1, ?2)", [card, cents])?;
        Ok(())
    }

    fn booked(&self) -> rusqlite::Result<u64> {
        let purchases = self.purchases.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = "SELECT coalesce(sum(cents), 0) FROM purchase WHERE card <> ?1";
        purchases.query_row(sum, [STALL], |row| row.get(0))
    }

    fn points(&self) -> MutexGuard<'_, HashMap<u64, u64>> {
        self.points.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn connect(file: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(file)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "OFF")?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.execute("CREATE TABLE IF NOT EXISTS purchase (card INTEGER, cents INTEGER)", [])?;
    Ok(connection)
}

/// The back office copies what the stall sold since, line by line as it comes over the phone.
fn back_office(file: &Path, open: &AtomicBool) -> rusqlite::Result<()> {
    let mut connection = connect(file)?;
    while open.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(250));
        let import = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for cents in 0..8_u64 {
            import.execute("INSERT INTO purchase (card, cents) VALUES (?1, ?2)", [STALL, cents])?;
            std::thread::sleep(Duration::from_millis(20));
        }
        import.commit()?;
    }
    Ok(())
}

async fn serve(stream: TcpStream, bakery: Arc<Bakery>) -> Result<(), Failure> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    while let Some(line) = lines.next_line().await? {
        let words: Vec<&str> = line.split(' ').collect();
        let answer = match words[..] {
            ["buy", card, cents] => bakery.buy(card.parse()?, cents.parse()?).await?,
            ["points", card] => bakery.points().get(&card.parse()?).copied().unwrap_or(0),
            _ => return Err("not understood".into()),
        };
        writer.write_all(format!("{answer}\n").as_bytes()).await?;
    }
    Ok(())
}

async fn accept(listener: TcpListener, bakery: Arc<Bakery>) {
    while let Ok((stream, peer)) = listener.accept().await {
        let connection = monitored("connection", serve(stream, bakery.clone()));
        tokio::spawn(connection.instrument(info_span!("connection", %peer)));
    }
}

/// A till: asks for points most of the time, and sells something now and then.
async fn till(service: SocketAddr, card: u64, figures: Arc<Figures>) -> Result<u64, Failure> {
    let (reader, mut writer) = TcpStream::connect(service).await?.into_split();
    let mut lines = BufReader::new(reader).lines();
    let mut sum = 0;
    for turn in (card..).take_while(|_| figures.open()) {
        let due = tokio::time::Instant::now() + Duration::from_millis(4);
        tokio::time::sleep_until(due).await;
        let asked = figures.asked_at(due.into_std());
        let sells = turn % 10 == 9;
        sum += if sells { turn } else { 0 };
        let request = if sells { format!("buy {card} {turn}\n") } else { format!("points {card}\n") };
        writer.write_all(request.as_bytes()).await?;
        let points: u64 = lines.next_line().await?.ok_or("the service hung up")?.parse()?;
        if points == sum {
            figures.answered(asked);
        }
    }
    Ok(sum)
}

/// Keeps the board of the best customers.
async fn board(bakery: Arc<Bakery>) {
    let mut tick = tokio::time::interval(Duration::from_millis(2));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut best = 0;
    loop {
        tick.tick().await;
        best = bakery.points().values().copied().max().unwrap_or(0).max(best);
    }
}

async fn display(mut closing: watch::Receiver<bool>) {
    let _ = closing.wait_for(|closing| *closing).await;
}

async fn run(file: PathBuf) -> Result<(), Failure> {
    let bakery = Arc::new(Bakery::open(&file)?);
    let open = Arc::new(AtomicBool::new(true));
    let office = std::thread::spawn({
        let open = open.clone();
        move || back_office(&file, &open)
    });
    let (closing, displays) = watch::channel(false);
    for _ in 0..DISPLAYS {
        tokio::spawn(display(displays.clone()));
    }
    tokio::spawn(board(bakery.clone()));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let service = listener.local_addr()?;
    tokio::spawn(accept(listener, bakery.clone()));

    let figures = Figures::start();
    let tills: Vec<_> = (0..CLIENTS).map(|card| tokio::spawn(till(service, card, figures.clone()))).collect();
    let mut sold = 0;
    for till in tills {
        sold += till.await??;
    }
    closing.send_replace(true);
    open.store(false, Ordering::Relaxed);
    tokio::task::spawn_blocking(|| office.join()).await?.map_err(|_| "the back office failed")??;
    let booked = tokio::task::spawn_blocking(move || bakery.booked()).await??;
    figures.report(sold == booked);
    Ok(())
}

/// Sells until the shop closes.
#[pollscope_agent::main(worker_threads = 2)]
pub async fn main() {
    let folder = std::env::temp_dir().join(format!("loyalty-cards-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for the purchases");
    let ran = run(folder.join("purchases.db")).await;
    let _ = std::fs::remove_dir_all(&folder);
    ran.expect("the service runs");
}
