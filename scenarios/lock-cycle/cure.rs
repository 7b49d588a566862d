//! A small bank: `pay FROM TO AMOUNT` moves money. Five times a second the fees are settled and the
//! books are audited, and both leave a note in the journal.

use std::error::Error;
use std::net::SocketAddr;
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

const ACCOUNTS: usize = 64;
const OPENING: i64 = 1_000_000;
const CLIENTS: usize = 8;
const DISPLAYS: usize = 50;

#[derive(Clone, Copy)]
struct Entry {
    from: usize,
    to: usize,
    amount: i64,
}

struct Bank {
    accounts: Mutex<Vec<i64>>,
    ledger: Mutex<Vec<Entry>>,
    rates: Mutex<Vec<f64>>,
    limits: Mutex<Vec<f64>>,
}

impl Bank {
    fn open() -> Self {
        let accounts = Mutex::new(vec![OPENING; ACCOUNTS]);
        let ledger = Mutex::new(Vec::new());
        let rates = Mutex::new(vec![1.0; 16]);
        let limits = Mutex::new(vec![500.0; 16]);
        Self { accounts, ledger, rates, limits }
    }

    #[tracing::instrument(skip_all, fields(from = entry.from, to = entry.to, amount = entry.amount))]
    async fn pay(&self, entry: Entry) {
        transfer(&mut self.accounts.lock().await, entry);
        self.post(entry).await;
    }

    async fn post(&self, entry: Entry) {
        self.ledger.lock().await.push(entry);
    }

    /// Every customer pays a cent to the house.
    #[tracing::instrument(skip_all)]
    async fn settle(&self, journal: &mut Journal) -> Result<(), Failure> {
        let mut accounts = self.accounts.lock().await;
        let fee = |from| Entry { from, to: 0, amount: 1 };
        for customer in 1..ACCOUNTS {
            transfer(&mut accounts, fee(customer));
        }
        journal.note("settled").await?;
        for customer in 1..ACCOUNTS {
            self.post(fee(customer)).await;
        }
        Ok(())
    }

    /// The entries so far have to be backed by the money that is there.
    #[tracing::instrument(skip_all)]
    async fn audit(&self, journal: &mut Journal) -> Result<bool, Failure> {
        // Whoever needs both takes the accounts first.
        let accounts = self.accounts.lock().await;
        let ledger = self.ledger.lock().await;
        journal.note(&format!("audit at {}", ledger.len())).await?;
        let moved: i64 = ledger.iter().map(|entry| entry.amount).sum();
        Ok(moved >= 0 && accounts.iter().sum::<i64>() == OPENING * ACCOUNTS as i64)
    }

    async fn total(&self) -> i64 {
        self.accounts.lock().await.iter().sum()
    }

    /// New rates come in slowly; limits follow from them.
    #[tracing::instrument(skip_all)]
    async fn refresh_rates(&self, journal: &mut Journal) -> Result<(), Failure> {
        let mut rates = self.rates.lock().await;
        for round in 0..8 {
            journal.note("rate").await?;
            rates[round] *= 1.0001;
        }
        let mut limits = self.limits.lock().await;
        for (limit, rate) in limits.iter_mut().zip(rates.iter()) {
            *limit = 500.0 * rate;
        }
        Ok(())
    }
}

fn transfer(accounts: &mut [i64], entry: Entry) {
    accounts[entry.from] -= entry.amount;
    accounts[entry.to] += entry.amount;
}

/// A connection to the journal, which confirms a note when it is safely stored.
struct Journal(BufReader<TcpStream>);

impl Journal {
    async fn connect(address: SocketAddr) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address).await?;
        Ok(Self(BufReader::new(stream)))
    }

    async fn note(&mut self, text: &str) -> Result<(), Failure> {
        self.0.write_all(format!("{text}\n").as_bytes()).await?;
        self.0.read_line(&mut String::new()).await?;
        Ok(())
    }
}

async fn keep_journal(stream: TcpStream) -> Result<(), Failure> {
    let mut stream = BufReader::new(stream);
    let mut note = String::new();
    while stream.read_line(&mut note).await? > 0 {
        tokio::time::sleep(Duration::from_millis(3)).await;
        stream.write_all(b"stored\n").await?;
        note.clear();
    }
    Ok(())
}

async fn accept_journal(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(keep_journal(stream));
    }
}

/// By the clock on the wall, for whoever has rounds to make.
fn rounds(opening: Instant) -> Interval {
    let period = Duration::from_millis(200);
    let mut rounds = tokio::time::interval_at(opening + period, period);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Skip);
    rounds
}

async fn settler(bank: Arc<Bank>, mut journal: Journal, opening: Instant) -> Result<(), Failure> {
    let mut rounds = rounds(opening);
    loop {
        rounds.tick().await;
        bank.settle(&mut journal).await?;
    }
}

async fn auditor(bank: Arc<Bank>, mut journal: Journal, opening: Instant) -> Result<(), Failure> {
    let mut rounds = rounds(opening);
    loop {
        rounds.tick().await;
        if !bank.audit(&mut journal).await? {
            return Err("the books are not even".into());
        }
    }
}

async fn refresher(bank: Arc<Bank>, mut journal: Journal, opening: Instant) -> Result<(), Failure> {
    let mut rounds = rounds(opening);
    loop {
        rounds.tick().await;
        bank.refresh_rates(&mut journal).await?;
    }
}

async fn serve(stream: TcpStream, bank: Arc<Bank>) -> Result<(), Failure> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 0 {
        let mut words = line.split_whitespace().skip(1);
        let mut number = || words.next().ok_or("a number is missing");
        let (from, to) = (number()?.parse()?, number()?.parse()?);
        let amount = number()?.parse()?;
        bank.pay(Entry { from, to, amount }).await;
        stream.write_all(format!("paid {amount}\n").as_bytes()).await?;
        line.clear();
    }
    Ok(())
}

async fn accept(listener: TcpListener, bank: Arc<Bank>) {
    while let Ok((stream, peer)) = listener.accept().await {
        let connection = monitored("connection", serve(stream, bank.clone()));
        tokio::spawn(connection.instrument(info_span!("connection", %peer)));
    }
}

async fn customer(service: SocketAddr, id: usize, figures: Arc<Figures>) -> Result<(), Failure> {
    let mut stream = BufReader::new(TcpStream::connect(service).await?);
    for turn in (0_usize..).take_while(|_| figures.open()) {
        let (from, to) = (id + 1, turn % ACCOUNTS);
        let amount = turn % 100;
        let asked = figures.asked();
        let question = format!("pay {from} {to} {amount}\n");
        stream.write_all(question.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_line(&mut answer).await?;
        if answer == format!("paid {amount}\n") {
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
    let journal = TcpListener::bind("127.0.0.1:0").await?;
    let address = journal.local_addr()?;
    tokio::spawn(accept_journal(journal));

    let bank = Arc::new(Bank::open());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let service = listener.local_addr()?;
    tokio::spawn(accept(listener, bank.clone()));
    let (closing, open) = watch::channel(false);
    for _ in 0..DISPLAYS {
        tokio::spawn(display(open.clone()));
    }

    let figures = Figures::start();
    let settling = Journal::connect(address).await?;
    let auditing = Journal::connect(address).await?;
    let refreshing = Journal::connect(address).await?;
    let opening = Instant::now();
    tokio::spawn(monitored("settler", settler(bank.clone(), settling, opening)));
    tokio::spawn(monitored("auditor", auditor(bank.clone(), auditing, opening)));
    tokio::spawn(monitored("refresher", refresher(bank.clone(), refreshing, opening)));
    let customers: Vec<_> = (0..CLIENTS).map(|id| tokio::spawn(customer(service, id, figures.clone()))).collect();
    for customer in customers {
        customer.await??;
    }
    closing.send_replace(true);
    figures.report(bank.total().await == OPENING * ACCOUNTS as i64);
    Ok(())
}

/// Keeps the bank open until the customers go home.
#[pollscope_agent::main(worker_threads = 2)]
pub async fn main() {
    run().await.expect("the service runs");
}
