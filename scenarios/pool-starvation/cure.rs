//! A ticket office over SQLite: `price VISITOR ROWS` adds up the seats of some rows, in the visitor's currency.
//! Doors open half a second after the start.

use std::error::Error;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use pollscope_agent::monitored;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sqlx::{SqliteConnection, SqlitePool};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{Instrument, info_span};

use crate::figures::Figures;

type Failure = Box<dyn Error + Send + Sync>;

const CLIENTS: i64 = 24;
const CONNECTIONS: u32 = 4;
const DISPLAYS: usize = 50;
const EARLY: i64 = 1;
const ROWS: i64 = 12;
const SEATS: i64 = 20;

struct Office {
    tickets: SqlitePool,
    posters: SqlitePool,
}

impl Office {
    async fn open() -> Result<Self, Failure> {
        let tickets = database(CONNECTIONS).await?;
        sqlx::query("CREATE TABLE seat (line INTEGER, number INTEGER, cents INTEGER)").execute(&tickets).await?;
        sqlx::query("CREATE TABLE visitor (id INTEGER, percent INTEGER)").execute(&tickets).await?;
        let mut filling = tickets.begin().await?;
        for line in 0..ROWS {
            for number in 0..SEATS {
                let seat = sqlx::query("INSERT INTO seat VALUES (?, ?, ?)").bind(line).bind(number);
                seat.bind(1000 + line * 10).execute(&mut *filling).await?;
            }
        }
        for id in 0..CLIENTS {
            sqlx::query("INSERT INTO visitor VALUES (?, ?)").bind(id).bind(100 + id).execute(&mut *filling).await?;
        }
        filling.commit().await?;
        Ok(Self { tickets, posters: database(2).await? })
    }

    /// What all seats of the rows cost: one transaction, so that nothing changes in between.
    #[tracing::instrument(skip_all)]
    async fn price(&self, visitor: i64, rows: i64) -> Result<i64, Failure> {
        let mut reading = self.tickets.begin().await?;
        let mut cents = 0;
        for line in 0..rows {
            let row = sqlx::query_scalar::<_, i64>("SELECT sum(cents) FROM seat WHERE line = ?").bind(line);
            cents += row.fetch_one(&mut *reading).await?;
        }
        let price = convert(&mut reading, visitor, cents).await?;
        reading.commit().await?;
        Ok(price)
    }

    /// The posters have a database of their own, and somebody always leafs through it.
    #[tracing::instrument(skip_all)]
    async fn leaf_through_posters(&self) -> Result<i64, Failure> {
        let mut posters = self.posters.acquire().await?;
        let number = sqlx::query_scalar("SELECT 42").fetch_one(&mut *posters).await?;
        tokio::time::sleep(Duration::from_millis(100)).await;
        Ok(number)
    }
}

#[tracing::instrument(skip_all)]
async fn convert(reading: &mut SqliteConnection, visitor: i64, cents: i64) -> Result<i64, Failure> {
    Ok(cents * percent(reading, visitor).await? / 100)
}

async fn percent(reading: &mut SqliteConnection, visitor: i64) -> Result<i64, Failure> {
    let percent = sqlx::query_scalar::<_, i64>("SELECT percent FROM visitor WHERE id = ?").bind(visitor);
    Ok(percent.fetch_one(reading).await?)
}

async fn database(connections: u32) -> Result<SqlitePool, Failure> {
    let options = SqliteConnectOptions::from_str("sqlite::memory:")?;
    let pool = SqlitePoolOptions::new().max_connections(connections).connect_with(options).await?;
    Ok(pool)
}

async fn visitor_of_posters(office: Arc<Office>) -> Result<(), Failure> {
    while office.leaf_through_posters().await? > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

async fn serve(stream: TcpStream, office: Arc<Office>) -> Result<(), Failure> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 0 {
        let mut words = line.split_whitespace().skip(1);
        let mut number = || words.next().ok_or("a number is missing");
        let (visitor, rows) = (number()?.parse()?, number()?.parse()?);
        let price = office.price(visitor, rows).await?;
        stream.write_all(format!("{price}\n").as_bytes()).await?;
        line.clear();
    }
    Ok(())
}

async fn accept(listener: TcpListener, office: Arc<Office>) {
    while let Ok((stream, peer)) = listener.accept().await {
        let connection = monitored("connection", serve(stream, office.clone()));
        tokio::spawn(connection.instrument(info_span!("connection", %peer)));
    }
}

async fn visitor(service: SocketAddr, id: i64, figures: Arc<Figures>, doors: Instant) -> Result<(), Failure> {
    let mut stream = BufReader::new(TcpStream::connect(service).await?);
    if id >= EARLY {
        tokio::time::sleep_until(doors).await;
    }
    while figures.open() {
        let asked = figures.asked();
        stream.write_all(format!("price {id} {ROWS}\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_line(&mut answer).await?;
        let cents: i64 = (0..ROWS).map(|line| SEATS * (1000 + line * 10)).sum();
        if answer == format!("{}\n", cents * (100 + id) / 100) {
            figures.answered(asked);
        }
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    Ok(())
}

async fn display(mut closing: watch::Receiver<bool>) {
    let _ = closing.wait_for(|closing| *closing).await;
}

async fn run() -> Result<(), Failure> {
    let office = Arc::new(Office::open().await?);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let service = listener.local_addr()?;
    tokio::spawn(accept(listener, office.clone()));
    for _ in 0..4 {
        tokio::spawn(visitor_of_posters(office.clone()));
    }
    let (closing, open) = watch::channel(false);
    for _ in 0..DISPLAYS {
        tokio::spawn(display(open.clone()));
    }

    let figures = Figures::start();
    let doors = Instant::now() + Duration::from_millis(500);
    let visitors: Vec<_> = (0..CLIENTS).map(|id| tokio::spawn(visitor(service, id, figures.clone(), doors))).collect();
    for visitor in visitors {
        visitor.await??;
    }
    closing.send_replace(true);
    figures.report(true);
    Ok(())
}

/// Sells tickets until the visitors go home.
#[pollscope_agent::main(worker_threads = 2)]
pub async fn main() {
    run().await.expect("the service runs");
}
