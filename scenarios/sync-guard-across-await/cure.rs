//! An exchange office: `change CURRENCY AMOUNT` tells what an amount is worth. Five times a second
//! the rates are fetched from the feed of the central bank, one currency after the other.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pollscope_agent::monitored;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior};
use tracing::{Instrument, info_span};

use crate::figures::Figures;

type Failure = Box<dyn Error + Send + Sync>;

const CURRENCIES: usize = 8;
const CLIENTS: usize = 8;
const DISPLAYS: usize = 50;

struct Office {
    rates: Mutex<[u64; CURRENCIES]>,
}

impl Office {
    fn open() -> Self {
        Self { rates: Mutex::new([0; CURRENCIES]) }
    }

    fn change(&self, currency: usize, amount: u64) -> Option<u64> {
        self.rates().get(currency).map(|rate| amount * rate)
    }

    /// Brings every rate up to date.
    #[tracing::instrument(skip_all)]
    async fn refresh(&self, feed: &mut Feed) -> Result<(), Failure> {
        let mut rates = [0; CURRENCIES];
        for (currency, rate) in rates.iter_mut().enumerate() {
            *rate = feed.rate(currency).await?;
        }
        *self.rates() = rates;
        Ok(())
    }

    fn rates(&self) -> MutexGuard<'_, [u64; CURRENCIES]> {
        self.rates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection to the central bank.
struct Feed(BufReader<TcpStream>);

impl Feed {
    async fn connect(bank: SocketAddr) -> Result<Self, Failure> {
        Ok(Self(BufReader::new(TcpStream::connect(bank).await?)))
    }

    async fn rate(&mut self, currency: usize) -> Result<u64, Failure> {
        self.0.write_all(format!("{currency}\n").as_bytes()).await?;
        let mut rate = String::new();
        self.0.read_line(&mut rate).await?;
        Ok(rate.trim().parse()?)
    }
}

/// The central bank has fixed its rates for good, and takes a few milliseconds to look one up.
async fn publish(stream: TcpStream) -> Result<(), Failure> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    while let Some(currency) = lines.next_line().await? {
        tokio::time::sleep(Duration::from_millis(5)).await;
        writer.write_all(format!("{}\n", official(currency.parse()?)).as_bytes()).await?;
    }
    Ok(())
}

fn official(currency: usize) -> u64 {
    100 + currency as u64 * 7
}

fn every(millis: u64) -> Interval {
    let period = Duration::from_millis(millis);
    let mut rounds = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    rounds
}

/// Prints the rates on paper, which is slow, but has a thread for it.
async fn print(office: Arc<Office>) {
    let mut rounds = every(300);
    loop {
        rounds.tick().await;
        let rates = *office.rates();
        let printed = tokio::task::spawn_blocking(move || {
            std::thread::sleep(Duration::from_millis(60));
            rates.len()
        });
        let _ = printed.await;
    }
}

async fn serve(stream: TcpStream, office: Arc<Office>) -> Result<(), Failure> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    while let Some(line) = lines.next_line().await? {
        let mut words = line.split_whitespace().skip(1);
        let currency = words.next().ok_or("no currency")?.parse()?;
        let amount = words.next().ok_or("no amount")?.parse()?;
        let worth = office.change(currency, amount).ok_or("no such currency")?;
        writer.write_all(format!("{worth}\n").as_bytes()).await?;
    }
    Ok(())
}

async fn accept(listener: TcpListener, office: Arc<Office>) {
    while let Ok((stream, peer)) = listener.accept().await {
        let connection = monitored("connection", serve(stream, office.clone()));
        tokio::spawn(connection.instrument(info_span!("connection", %peer)));
    }
}

async fn client(service: SocketAddr, id: usize, figures: Arc<Figures>) -> Result<(), Failure> {
    let (reader, mut writer) = TcpStream::connect(service).await?.into_split();
    let mut lines = BufReader::new(reader).lines();
    for turn in (id..).take_while(|_| figures.open()) {
        let (currency, amount) = (turn % CURRENCIES, turn as u64);
        let due = tokio::time::Instant::now() + Duration::from_millis(4);
        tokio::time::sleep_until(due).await;
        let asked = figures.asked_at(due.into_std());
        writer.write_all(format!("change {currency} {amount}\n").as_bytes()).await?;
        let worth: u64 = lines.next_line().await?.ok_or("the office hung up")?.parse()?;
        if worth == amount * official(currency) {
            figures.answered(asked);
        }
    }
    Ok(())
}

async fn display(mut closing: watch::Receiver<bool>) {
    let _ = closing.wait_for(|closing| *closing).await;
}

async fn run() -> Result<(), Failure> {
    let bank = TcpListener::bind("127.0.0.1:0").await?;
    let address = bank.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = bank.accept().await {
            tokio::spawn(publish(stream));
        }
    });
    let office = Arc::new(Office::open());
    let mut feed = Feed::connect(address).await?;
    office.refresh(&mut feed).await?;

    let (closing, open) = watch::channel(false);
    for _ in 0..DISPLAYS {
        tokio::spawn(display(open.clone()));
    }
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let service = listener.local_addr()?;
    tokio::spawn(accept(listener, office.clone()));
    tokio::spawn(print(office.clone()));

    let figures = Figures::start();
    let clients: Vec<_> = (0..CLIENTS).map(|id| tokio::spawn(client(service, id, figures.clone()))).collect();
    let mut rounds = every(200);
    while figures.open() {
        rounds.tick().await;
        office.refresh(&mut feed).await?;
    }
    for client in clients {
        client.await??;
    }
    closing.send_replace(true);
    figures.report(true);
    Ok(())
}

/// Keeps the office open until the clients go home.
#[pollscope_agent::main(worker_threads = 2)]
pub async fn main() {
    run().await.expect("the service runs");
}
