//! A toll gate: `pass PLATE` lets a car through and notes it. The notes go to the collector of
//! logs, a program of its own that reads them from a pipe.

use std::error::Error;
use std::io::{self, PipeReader, PipeWriter, Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use log::{LevelFilter, Log, Metadata, Record};
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
/// Bytes that the collector sends away at once.
const PARCEL: usize = 32 * 1024;

/// Writes each note as a line.
struct Notes {
    pipe: Mutex<PipeWriter>,
}

impl Log for Notes {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        // What other libraries note is nobody's business here.
        if !record.target().starts_with(module_path!()) {
            return;
        }
        let line = format!("{} {:<60} {}\n", record.level(), record.target(), record.args());
        let mut pipe = self.pipe.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = pipe.write_all(line.as_bytes());
    }

    fn flush(&self) {}
}

/// From now on everything is noted.
fn take_notes(pipe: PipeWriter) -> Result<(), Failure> {
    log::set_logger(Box::leak(Box::new(Notes { pipe: Mutex::new(pipe) }))).map_err(|error| error.to_string())?;
    log::set_max_level(LevelFilter::Info);
    Ok(())
}

/// The collector reads what has come, and sends it away before it reads on.
fn collect(mut notes: PipeReader, sent: &AtomicU64) -> io::Result<()> {
    let mut parcel = vec![0; PARCEL];
    loop {
        let mut filled = 0;
        while filled < parcel.len() {
            let length = notes.read(&mut parcel[filled..])?;
            if length == 0 {
                return Ok(());
            }
            filled += length;
        }
        sent.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(250));
    }
}

struct Gate {
    passed: AtomicU64,
}

impl Gate {
    #[tracing::instrument(skip_all)]
    fn pass(&self, plate: &str) -> u64 {
        let count = self.passed.fetch_add(1, Ordering::Relaxed) + 1;
        for camera in 0..4 {
            log::info!("car {plate} seen by camera {camera}, now {count} cars in all");
        }
        count
    }
}

async fn serve(stream: TcpStream, gate: Arc<Gate>) -> Result<(), Failure> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    while let Some(line) = lines.next_line().await? {
        let plate = line.strip_prefix("pass ").ok_or("not understood")?;
        let count = gate.pass(plate);
        writer.write_all(format!("{count}\n").as_bytes()).await?;
    }
    Ok(())
}

async fn accept(listener: TcpListener, gate: Arc<Gate>) {
    while let Ok((stream, peer)) = listener.accept().await {
        let connection = monitored("connection", serve(stream, gate.clone()));
        tokio::spawn(connection.instrument(info_span!("connection", %peer)));
    }
}

/// A lane: one car after the other.
async fn lane(service: SocketAddr, id: u64, figures: Arc<Figures>) -> Result<(), Failure> {
    let (reader, mut writer) = TcpStream::connect(service).await?.into_split();
    let mut lines = BufReader::new(reader).lines();
    let mut last = 0;
    for car in (id..).take_while(|_| figures.open()) {
        let due = Instant::now() + Duration::from_millis(4);
        tokio::time::sleep_until(due).await;
        let asked = figures.asked_at(due.into_std());
        writer.write_all(format!("pass {id}-{car}\n").as_bytes()).await?;
        let count: u64 = lines.next_line().await?.ok_or("the gate hung up")?.parse()?;
        if count > last {
            figures.answered(asked);
        }
        last = count;
    }
    Ok(())
}

/// Switches the lights.
async fn lights() {
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
    let (reader, writer) = io::pipe()?;
    let sent = Arc::new(AtomicU64::new(0));
    std::thread::spawn({
        let sent = sent.clone();
        move || collect(reader, &sent)
    });
    take_notes(writer)?;

    let gate = Arc::new(Gate { passed: AtomicU64::new(0) });
    let (closing, open) = watch::channel(false);
    for _ in 0..DISPLAYS {
        tokio::spawn(display(open.clone()));
    }
    tokio::spawn(lights());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let service = listener.local_addr()?;
    tokio::spawn(accept(listener, gate));

    let figures = Figures::start();
    let lanes: Vec<_> = (0..CLIENTS).map(|id| tokio::spawn(lane(service, id, figures.clone()))).collect();
    for lane in lanes {
        lane.await??;
    }
    closing.send_replace(true);
    figures.report(sent.load(Ordering::Relaxed) > 0);
    Ok(())
}

/// Keeps the gate open until the road closes.
#[pollscope_agent::main(worker_threads = 2)]
pub async fn main() {
    run().await.expect("the service runs");
}
