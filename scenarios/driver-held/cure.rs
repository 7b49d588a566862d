//! A hub for measuring stations: `read STATION` gives its latest value, corrected by the offset of
//! our clock, which is compared with a reference clock twice a second.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use pollscope_agent::monitored;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior};
use tracing::{Instrument, info_span};

use crate::figures::Figures;

type Failure = Box<dyn Error + Send + Sync>;

const STATIONS: usize = 16;
const CLIENTS: usize = 3;
const DISPLAYS: usize = 50;
const PATIENCE: Duration = Duration::from_secs(1);

struct Hub {
    reference: SocketAddr,
    offset: AtomicI64,
    values: [AtomicU64; STATIONS],
}

impl Hub {
    fn new(reference: SocketAddr) -> Self {
        Self { reference, offset: AtomicI64::new(0), values: Default::default() }
    }

    fn value(&self, station: usize) -> Option<u64> {
        self.values.get(station).map(|value| value.load(Ordering::Relaxed))
    }

    /// Compares our clock with the reference.
    #[tracing::instrument(skip_all)]
    async fn calibrate(&self) -> io::Result<()> {
        let offset = ask_reference(self.reference).await?;
        self.offset.store(offset, Ordering::Relaxed);
        Ok(())
    }
}

async fn ask_reference(reference: SocketAddr) -> io::Result<i64> {
    let socket = UdpSocket::bind("127.0.0.1:0").await?;
    socket.connect(reference).await?;
    socket.send(b"time?").await?;
    let mut answer = [0; 8];
    tokio::time::timeout(PATIENCE, socket.recv(&mut answer)).await??;
    Ok(i64::from_be_bytes(answer))
}

fn every(millis: u64) -> Interval {
    let mut rounds = tokio::time::interval(Duration::from_millis(millis));
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    rounds
}

async fn calibrator(hub: Arc<Hub>) -> io::Result<()> {
    let mut rounds = every(510);
    loop {
        rounds.tick().await;
        hub.calibrate().await?;
    }
}

/// The stations report by themselves; each value is a multiple of its number.
async fn collect(hub: Arc<Hub>) {
    let mut rounds = every(90);
    for round in 1.. {
        rounds.tick().await;
        for (station, value) in hub.values.iter().enumerate() {
            value.store(round * station as u64, Ordering::Relaxed);
        }
    }
}

/// The plotter draws a page in its own time.
async fn plot(hub: Arc<Hub>) {
    let mut rounds = every(700);
    loop {
        rounds.tick().await;
        let page: u64 = hub.values.iter().map(|value| value.load(Ordering::Relaxed)).sum();
        let drawn = tokio::task::spawn_blocking(move || {
            std::thread::sleep(Duration::from_millis(150));
            page
        });
        let _ = drawn.await;
    }
}

async fn serve(stream: TcpStream, hub: Arc<Hub>) -> Result<(), Failure> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    while let Some(line) = lines.next_line().await? {
        let station = line.strip_prefix("read ").ok_or("not a question")?.parse()?;
        let value = hub.value(station).ok_or("no such station")?;
        writer.write_all(format!("{value}\n").as_bytes()).await?;
    }
    Ok(())
}

async fn accept(listener: TcpListener, hub: Arc<Hub>) {
    while let Ok((stream, peer)) = listener.accept().await {
        let connection = monitored("connection", serve(stream, hub.clone()));
        tokio::spawn(connection.instrument(info_span!("connection", %peer)));
    }
}

async fn client(service: SocketAddr, id: usize, figures: Arc<Figures>) -> Result<(), Failure> {
    let (reader, mut writer) = TcpStream::connect(service).await?.into_split();
    let mut lines = BufReader::new(reader).lines();
    for turn in (id..).take_while(|_| figures.open()) {
        let station = turn % (STATIONS - 1) + 1;
        let due = tokio::time::Instant::now() + Duration::from_millis(60 + 7 * id as u64);
        tokio::time::sleep_until(due).await;
        let asked = figures.asked_at(due.into_std());
        writer.write_all(format!("read {station}\n").as_bytes()).await?;
        let value: u64 = lines.next_line().await?.ok_or("the hub hung up")?.parse()?;
        if value.is_multiple_of(station as u64) {
            figures.answered(asked);
        }
    }
    Ok(())
}

async fn display(mut closing: watch::Receiver<bool>) {
    let _ = closing.wait_for(|closing| *closing).await;
}

/// The reference clock: far away, and it takes its time.
fn keep_time(clock: &std::net::UdpSocket) -> io::Result<()> {
    let mut question = [0; 16];
    loop {
        let (_, from) = clock.recv_from(&mut question)?;
        std::thread::sleep(Duration::from_millis(250));
        clock.send_to(&42_i64.to_be_bytes(), from)?;
    }
}

async fn run() -> Result<(), Failure> {
    let clock = std::net::UdpSocket::bind("127.0.0.1:0")?;
    let reference = clock.local_addr()?;
    std::thread::spawn(move || keep_time(&clock));
    let hub = Arc::new(Hub::new(reference));

    let (closing, open) = watch::channel(false);
    for _ in 0..DISPLAYS {
        tokio::spawn(display(open.clone()));
    }
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let service = listener.local_addr()?;
    tokio::spawn(accept(listener, hub.clone()));
    tokio::spawn(collect(hub.clone()));
    tokio::spawn(plot(hub.clone()));
    tokio::spawn(calibrator(hub.clone()));

    let figures = Figures::start();
    let clients: Vec<_> = (0..CLIENTS).map(|id| tokio::spawn(client(service, id, figures.clone()))).collect();
    for client in clients {
        client.await??;
    }
    closing.send_replace(true);
    figures.report(hub.offset.load(Ordering::Relaxed) == 42);
    Ok(())
}

/// Keeps the hub open until the clients go home.
#[pollscope_agent::main(worker_threads = 4)]
pub async fn main() {
    run().await.expect("the service runs");
}
