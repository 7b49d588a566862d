//! A ferry office: `book SAILING PASSENGER` sells a seat. Passengers come when a ferry lands; between two
//! landings the purser compares the seats that were sold with the list of passengers.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pollscope_agent::monitored;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, RwLock, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tracing::{Instrument, info_span};

use crate::figures::Figures;

type Failure = Box<dyn Error + Send + Sync>;

const SAILINGS: usize = 8;
const SEATS: usize = 10_000;
const AGENTS: usize = 6;
const QUESTIONS: usize = 5;
const DISPLAYS: usize = 50;
const LANDING: Duration = Duration::from_millis(400);

struct Passenger {
    sailing: usize,
    number: usize,
}

struct Office {
    fares: RwLock<[u64; SAILINGS]>,
    seats: Mutex<[usize; SAILINGS]>,
    passengers: Mutex<Vec<Passenger>>,
    speakers: Tannoy,
}

impl Office {
    fn open() -> Self {
        let fares = RwLock::new([12; SAILINGS]);
        let seats = Mutex::new([SEATS; SAILINGS]);
        let passengers = Mutex::new(Vec::new());
        Self { fares, seats, passengers, speakers: Tannoy::default() }
    }

    /// Sells a seat; the fare, if there was one left.
    #[tracing::instrument(skip_all)]
    async fn book(&self, sailing: usize, number: usize) -> Option<u64> {
        let fare = *self.fares.read().await.get(sailing)?;
        let mut seats = self.seats.lock().await;
        let left = seats.get_mut(sailing).filter(|left| **left > 0)?;
        *left -= 1;
        self.enter(Passenger { sailing, number }).await;
        Some(fare)
    }

    #[tracing::instrument(skip_all)]
    async fn enter(&self, passenger: Passenger) {
        self.passengers.lock().await.push(passenger);
    }

    /// Whether every seat that was sold has its passenger.
    #[tracing::instrument(skip_all)]
    async fn reconcile(&self) -> bool {
        // Whoever needs both takes the seats first.
        let seats = self.seats.lock().await;
        let passengers = self.passengers.lock().await;
        let mut listed = [0; SAILINGS];
        passengers.iter().for_each(|passenger| listed[passenger.sailing] += 1);
        passengers.iter().all(|passenger| passenger.number < usize::MAX) && listed == sold(&seats)
    }

    #[tracing::instrument(skip_all)]
    async fn sold(&self) -> [usize; SAILINGS] {
        sold(&*self.seats.lock().await)
    }
}

fn sold(seats: &[usize; SAILINGS]) -> [usize; SAILINGS] {
    seats.map(|left| SEATS - left)
}

/// Two rows of loudspeakers. Whoever speaks has the microphone.
#[derive(Default)]
struct Tannoy {
    microphone: Mutex<u64>,
    quay: Mutex<u64>,
    hall: Mutex<u64>,
}

impl Tannoy {
    async fn call_in(&self) {
        let mut spoken = self.microphone.lock().await;
        let mut quay = self.quay.lock().await;
        let mut hall = self.hall.lock().await;
        (*spoken, *quay, *hall) = (*spoken + 1, *quay + 1, *hall + 1);
    }

    async fn call_out(&self) {
        let mut spoken = self.microphone.lock().await;
        let mut hall = self.hall.lock().await;
        let mut quay = self.quay.lock().await;
        (*spoken, *quay, *hall) = (*spoken + 1, *quay + 1, *hall + 1);
    }
}

/// Rounds that begin when a ferry lands, or so long after.
fn landings(first: Instant, after: Duration) -> Interval {
    let mut rounds = tokio::time::interval_at(first + after, LANDING);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Skip);
    rounds
}

async fn purser(office: Arc<Office>, first: Instant) -> Result<(), Failure> {
    let mut rounds = landings(first, LANDING * 5 / 8);
    loop {
        rounds.tick().await;
        if !office.reconcile().await {
            return Err("a passenger is missing".into());
        }
    }
}

async fn herald(office: Arc<Office>, first: Instant) {
    let mut rounds = landings(first, LANDING / 8);
    loop {
        rounds.tick().await;
        office.speakers.call_in().await;
    }
}

async fn usher(office: Arc<Office>, first: Instant) {
    let mut rounds = landings(first, LANDING * 7 / 8);
    loop {
        rounds.tick().await;
        office.speakers.call_out().await;
    }
}

async fn serve(stream: TcpStream, office: Arc<Office>) -> Result<(), Failure> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    while let Some(line) = lines.next_line().await? {
        let mut words = line.split_whitespace().skip(1);
        let sailing = words.next().ok_or("no sailing")?.parse()?;
        let number = words.next().ok_or("no passenger")?.parse()?;
        let fare = office.book(sailing, number).await.ok_or("no seat left")?;
        writer.write_all(format!("{fare}\n").as_bytes()).await?;
    }
    Ok(())
}

async fn accept(listener: TcpListener, office: Arc<Office>) {
    while let Ok((stream, peer)) = listener.accept().await {
        let connection = monitored("connection", serve(stream, office.clone()));
        tokio::spawn(connection.instrument(info_span!("connection", %peer)));
    }
}

async fn agent(service: SocketAddr, id: usize, first: Instant, figures: Arc<Figures>) -> Result<(), Failure> {
    let (reader, mut writer) = TcpStream::connect(service).await?.into_split();
    let mut lines = BufReader::new(reader).lines();
    let mut rounds = landings(first, Duration::ZERO);
    let mut number = id;
    loop {
        rounds.tick().await;
        if !figures.open() {
            return Ok(());
        }
        for sailing in 0..QUESTIONS {
            let asked = figures.asked();
            writer.write_all(format!("book {sailing} {number}\n").as_bytes()).await?;
            if lines.next_line().await?.as_deref() == Some("12") {
                figures.answered(asked);
            }
            number += AGENTS;
        }
    }
}

async fn display(mut closing: watch::Receiver<bool>) {
    let _ = closing.wait_for(|closing| *closing).await;
}

async fn run() -> Result<(), Failure> {
    let office = Arc::new(Office::open());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let service = listener.local_addr()?;
    tokio::spawn(accept(listener, office.clone()));
    let (closing, open) = watch::channel(false);
    for _ in 0..DISPLAYS {
        tokio::spawn(display(open.clone()));
    }

    let figures = Figures::start();
    let first = Instant::now() + Duration::from_millis(50);
    tokio::spawn(purser(office.clone(), first));
    tokio::spawn(herald(office.clone(), first));
    tokio::spawn(usher(office.clone(), first));
    let agents: Vec<_> = (0..AGENTS).map(|id| tokio::spawn(agent(service, id, first, figures.clone()))).collect();
    for agent in agents {
        agent.await??;
    }
    closing.send_replace(true);
    let sold: usize = office.sold().await.iter().sum();
    figures.report(sold == office.passengers.lock().await.len());
    Ok(())
}

/// Keeps the office open until the agents go home.
#[pollscope_agent::main(flavor = "current_thread")]
pub async fn main() {
    run().await.expect("the service runs");
}
