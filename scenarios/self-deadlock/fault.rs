//! A gate that lets people in by badge: `enter BADGE`. A visit is looked up in the register; a badge whose
//! visit has run out is checked with the directory again and gets a new one.

use std::collections::HashMap;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pollscope_agent::monitored;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;
use tracing::{Instrument, info_span};

use crate::figures::Figures;

type Failure = Box<dyn Error + Send + Sync>;

const BADGES: u64 = 400;
const CLIENTS: u64 = 8;
const DISPLAYS: usize = 50;
const VISIT: Duration = Duration::from_millis(600);

#[derive(Clone, Copy)]
struct Visit {
    number: u64,
    until: Instant,
}

struct Gate {
    directory: SocketAddr,
    visits: Mutex<HashMap<u64, Visit>>,
    statistics: Mutex<Vec<u64>>,
}

impl Gate {
    fn open(directory: SocketAddr) -> Self {
        let until = Instant::now() + VISIT;
        let visits = (0..BADGES).map(|badge| (badge, Visit { number: badge * 10, until })).collect();
        Self { directory, visits: Mutex::new(visits), statistics: Mutex::new(Vec::new()) }
    }

    /// The number of the visit this badge is on.
    #[tracing::instrument(skip_all)]
    async fn enter(&self, badge: u64) -> Result<u64, Failure> {
        match self.visits.lock().await.get(&badge) {
            Some(visit) if visit.until > Instant::now() => Ok(visit.number),
            _ => self.admit(badge).await,
        }
    }

    async fn admit(&self, badge: u64) -> Result<u64, Failure> {
        let number = ask_directory(self.directory, badge).await?;
        self.register(badge, number).await;
        Ok(number)
    }

    async fn register(&self, badge: u64, number: u64) {
        let mut visits = self.visits.lock().await;
        visits.insert(badge, Visit { number, until: Instant::now() + VISIT });
    }

    /// Counts of the day go to the directory now and then, which takes a while.
    #[tracing::instrument(skip_all)]
    async fn publish(&self) -> Result<(), Failure> {
        let mut statistics = self.statistics.lock().await;
        for badge in 0..20 {
            statistics.push(ask_directory(self.directory, badge).await?);
        }
        Ok(())
    }
}

async fn ask_directory(directory: SocketAddr, badge: u64) -> Result<u64, Failure> {
    let mut stream = BufReader::new(TcpStream::connect(directory).await?);
    stream.write_all(format!("{badge}\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_line(&mut answer).await?;
    Ok(answer.trim().parse()?)
}

async fn answer_as_directory(stream: TcpStream) -> Result<(), Failure> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    tokio::time::sleep(Duration::from_millis(5)).await;
    let badge: u64 = line.trim().parse()?;
    stream.write_all(format!("{}\n", badge * 10).as_bytes()).await?;
    Ok(())
}

async fn accept_directory(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(answer_as_directory(stream));
    }
}

async fn publisher(gate: Arc<Gate>) -> Result<(), Failure> {
    loop {
        tokio::time::sleep(Duration::from_millis(50)).await;
        gate.publish().await?;
    }
}

async fn serve(stream: TcpStream, gate: Arc<Gate>) -> Result<(), Failure> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 0 {
        let badge = line.split_whitespace().nth(1).ok_or("a badge is missing")?.parse()?;
        let number = gate.enter(badge).await?;
        stream.write_all(format!("visit {number}\n").as_bytes()).await?;
        line.clear();
    }
    Ok(())
}

async fn accept(listener: TcpListener, gate: Arc<Gate>) {
    while let Ok((stream, peer)) = listener.accept().await {
        let connection = monitored("connection", serve(stream, gate.clone()));
        tokio::spawn(connection.instrument(info_span!("connection", %peer)));
    }
}

async fn turnstile(service: SocketAddr, id: u64, figures: Arc<Figures>) -> Result<(), Failure> {
    let mut stream = BufReader::new(TcpStream::connect(service).await?);
    for turn in (0_u64..).take_while(|_| figures.open()) {
        let badge = (turn * CLIENTS + id) % BADGES;
        let asked = figures.asked();
        stream.write_all(format!("enter {badge}\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_line(&mut answer).await?;
        if answer == format!("visit {}\n", badge * 10) {
            figures.answered(asked);
        }
        tokio::time::sleep(Duration::from_millis(4)).await;
    }
    Ok(())
}

async fn display(mut closing: watch::Receiver<bool>) {
    let _ = closing.wait_for(|closing| *closing).await;
}

async fn run() -> Result<(), Failure> {
    let office = TcpListener::bind("127.0.0.1:0").await?;
    let gate = Arc::new(Gate::open(office.local_addr()?));
    tokio::spawn(accept_directory(office));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let service = listener.local_addr()?;
    tokio::spawn(accept(listener, gate.clone()));
    tokio::spawn(publisher(gate.clone()));
    let (closing, open) = watch::channel(false);
    for _ in 0..DISPLAYS {
        tokio::spawn(display(open.clone()));
    }

    let figures = Figures::start();
    let turnstiles: Vec<_> = (0..CLIENTS).map(|id| tokio::spawn(turnstile(service, id, figures.clone()))).collect();
    for turnstile in turnstiles {
        turnstile.await??;
    }
    closing.send_replace(true);
    figures.report(gate.visits.lock().await.len() == BADGES as usize);
    Ok(())
}

/// Keeps the gate open until the last turnstile stops.
#[pollscope_agent::main(worker_threads = 2)]
pub async fn main() {
    run().await.expect("the service runs");
}
