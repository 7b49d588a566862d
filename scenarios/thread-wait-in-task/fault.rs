//! A weather archive: `now STATION` tells the last reading, `month STATION` the mean of a month.
//! Means are made by a library of formulas that knows nothing of async code.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use pollscope_agent::monitored;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{RwLock, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{Instrument, info_span};

use crate::figures::Figures;

type Failure = Box<dyn Error + Send + Sync>;

const CLIENTS: u64 = 8;
const DISPLAYS: usize = 50;
const DAYS: u64 = 30;

/// The readings of every station, by day.
struct Archive {
    readings: RwLock<Vec<u64>>,
}

impl Archive {
    #[tracing::instrument(skip_all)]
    async fn on(&self, station: u64, day: u64) -> u64 {
        let readings = self.readings.read().await;
        readings.get(day as usize).map_or(0, |reading| reading + station)
    }

    #[tracing::instrument(skip_all)]
    async fn month(&self, station: u64) -> Vec<u64> {
        let mut month = Vec::new();
        for day in 0..DAYS {
            month.push(self.on(station, day).await);
        }
        month
    }
}

/// Where a formula takes its readings from.
trait Source {
    fn month(&self, station: u64) -> Option<Vec<u64>>;
}

/// The archive, for formulas.
struct Shelf(Arc<Archive>);

impl Source for Shelf {
    fn month(&self, station: u64) -> Option<Vec<u64>> {
        let (found, month) = mpsc::channel();
        let archive = self.0.clone();
        tokio::spawn(async move {
            let _ = found.send(archive.month(station).await);
        });
        month.recv().ok()
    }
}

fn mean(source: &dyn Source, station: u64) -> Option<u64> {
    let month = source.month(station)?;
    Some(month.iter().sum::<u64>() / month.len().max(1) as u64)
}

#[tracing::instrument(skip_all)]
async fn monthly(archive: &Arc<Archive>, station: u64) -> Result<u64, Failure> {
    let shelf = Shelf(archive.clone());
    mean(&shelf, station).ok_or_else(|| "no such month".into())
}

async fn serve(stream: TcpStream, archive: Arc<Archive>) -> Result<(), Failure> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    while let Some(line) = lines.next_line().await? {
        let answer = match line.split_once(' ').ok_or("not understood")? {
            ("month", station) => monthly(&archive, station.parse()?).await?,
            (_, station) => archive.on(station.parse()?, DAYS - 1).await,
        };
        writer.write_all(format!("{answer}\n").as_bytes()).await?;
    }
    Ok(())
}

async fn accept(listener: TcpListener, archive: Arc<Archive>) {
    while let Ok((stream, peer)) = listener.accept().await {
        let connection = monitored("connection", serve(stream, archive.clone()));
        tokio::spawn(connection.instrument(info_span!("connection", %peer)));
    }
}

/// A reader of the weather: now and then one wants to know about the whole month.
async fn client(service: SocketAddr, id: u64, figures: Arc<Figures>) -> Result<(), Failure> {
    let (reader, mut writer) = TcpStream::connect(service).await?.into_split();
    let mut lines = BufReader::new(reader).lines();
    for turn in (id..).take_while(|_| figures.open()) {
        let due = Instant::now() + Duration::from_millis(4);
        tokio::time::sleep_until(due).await;
        let asked = figures.asked_at(due.into_std());
        let (request, expected) =
            if turn % 100 == 99 { ("month", mean_of(id)) } else { ("now", reading(DAYS - 1) + id) };
        writer.write_all(format!("{request} {id}\n").as_bytes()).await?;
        let answer: u64 = lines.next_line().await?.ok_or("the archive hung up")?.parse()?;
        if answer == expected {
            figures.answered(asked);
        }
    }
    Ok(())
}

fn reading(day: u64) -> u64 {
    100 + day * 7 % 13
}

fn mean_of(station: u64) -> u64 {
    (0..DAYS).map(|day| reading(day) + station).sum::<u64>() / DAYS
}

/// Adds up what came in, with a thread that may take its time.
async fn digest(archive: Arc<Archive>) {
    let mut tick = tokio::time::interval(Duration::from_millis(300));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let month = archive.month(0).await;
        let digested = tokio::task::spawn_blocking(move || {
            std::thread::sleep(Duration::from_millis(60));
            month.len()
        });
        let _ = digested.await;
    }
}

async fn display(mut closing: watch::Receiver<bool>) {
    let _ = closing.wait_for(|closing| *closing).await;
}

async fn run() -> Result<(), Failure> {
    let archive = Arc::new(Archive { readings: RwLock::new((0..DAYS).map(reading).collect()) });
    // The formulas are tried out before anybody is served.
    if monthly(&archive, 0).await? != mean_of(0) {
        return Err("the formulas are out of order".into());
    }
    let (closing, open) = watch::channel(false);
    for _ in 0..DISPLAYS {
        tokio::spawn(display(open.clone()));
    }
    tokio::spawn(digest(archive.clone()));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let service = listener.local_addr()?;
    tokio::spawn(accept(listener, archive));

    let figures = Figures::start();
    let clients: Vec<_> = (0..CLIENTS).map(|id| tokio::spawn(client(service, id, figures.clone()))).collect();
    for client in clients {
        client.await??;
    }
    closing.send_replace(true);
    figures.report(true);
    Ok(())
}

/// Keeps the archive open until the readers go home.
#[pollscope_agent::main(worker_threads = 4)]
pub async fn main() {
    run().await.expect("the service runs");
}
