//! A library of slides: `show SLIDE` answers with its size. The index is read in pieces while the
//! doors are open already; until it is complete, and whenever it is read anew, visitors wait.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use pollscope_agent::monitored;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;
use tracing::{Instrument, info_span};

use crate::figures::Figures;

type Failure = Box<dyn Error + Send + Sync>;

const SLIDES: u64 = 40;
const CLIENTS: u64 = 3;
const DISPLAYS: usize = 50;

struct Library {
    complete: AtomicBool,
    sizes: [AtomicU64; SLIDES as usize],
}

impl Library {
    fn new() -> Self {
        Self { complete: AtomicBool::new(false), sizes: std::array::from_fn(|_| AtomicU64::new(0)) }
    }

    #[tracing::instrument(skip_all)]
    async fn size(&self, slide: u64) -> Option<u64> {
        self.indexed().await;
        self.sizes.get(slide as usize).map(|size| size.load(Ordering::Relaxed))
    }

    /// Returns once the index is complete.
    async fn indexed(&self) {
        while !self.complete.load(Ordering::Acquire) {
            tokio::task::yield_now().await;
        }
    }

    fn open_index(&self) {
        self.complete.store(false, Ordering::Release);
    }

    fn close_index(&self) {
        self.complete.store(true, Ordering::Release);
    }
}

/// Reads the index from the archive, where each slide takes a while to find.
async fn index(library: Arc<Library>) {
    loop {
        library.open_index();
        for (slide, size) in library.sizes.iter().enumerate() {
            tokio::time::sleep(Duration::from_millis(15)).await;
            size.store(bytes(slide as u64), Ordering::Relaxed);
        }
        library.close_index();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn bytes(slide: u64) -> u64 {
    1000 + slide * 13
}

/// Sums up the visits as they are reported, thousands at a time.
async fn tally(mut visits: mpsc::Receiver<u64>) -> u64 {
    let mut sum = 0;
    while let Some(visit) = visits.recv().await {
        sum += visit;
    }
    sum
}

async fn report_visits(visits: mpsc::Sender<u64>) {
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        for visit in 0..200 {
            if visits.send(visit).await.is_err() {
                return;
            }
        }
    }
}

/// Scans for duplicates: long work, in pieces, so that others get their turn.
async fn scan(library: Arc<Library>) -> u64 {
    let mut mark = 0_u64;
    for round in 0_u64.. {
        for step in 0..60_000 {
            mark = mark.rotate_left(5) ^ (round + step);
        }
        mark ^= library.sizes[(round % SLIDES) as usize].load(Ordering::Relaxed);
        tokio::task::yield_now().await;
        if round % 200 == 199 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    mark
}

async fn serve(stream: TcpStream, library: Arc<Library>) -> Result<(), Failure> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    while let Some(line) = lines.next_line().await? {
        let slide = line.strip_prefix("show ").ok_or("not a question")?.parse()?;
        let size = library.size(slide).await.ok_or("no such slide")?;
        writer.write_all(format!("{size}\n").as_bytes()).await?;
    }
    Ok(())
}

async fn accept(listener: TcpListener, library: Arc<Library>) {
    while let Ok((stream, peer)) = listener.accept().await {
        let connection = monitored("connection", serve(stream, library.clone()));
        tokio::spawn(connection.instrument(info_span!("connection", %peer)));
    }
}

async fn client(service: SocketAddr, id: u64, figures: Arc<Figures>) -> Result<(), Failure> {
    let (reader, mut writer) = TcpStream::connect(service).await?.into_split();
    let mut lines = BufReader::new(reader).lines();
    for turn in (id..).take_while(|_| figures.open()) {
        let slide = turn % SLIDES;
        tokio::time::sleep(Duration::from_millis(20)).await;
        let asked = figures.asked();
        writer.write_all(format!("show {slide}\n").as_bytes()).await?;
        let size: u64 = lines.next_line().await?.ok_or("the library closed")?.parse()?;
        if size == bytes(slide) {
            figures.answered(asked);
        }
    }
    Ok(())
}

async fn display(mut closing: watch::Receiver<bool>) {
    let _ = closing.wait_for(|closing| *closing).await;
}

async fn run() -> Result<(), Failure> {
    let (closing, open) = watch::channel(false);
    for _ in 0..DISPLAYS {
        tokio::spawn(display(open.clone()));
    }
    let (reports, visits) = mpsc::channel(64);
    tokio::spawn(tally(visits));
    tokio::spawn(report_visits(reports));
    let library = Arc::new(Library::new());
    tokio::spawn(index(library.clone()));
    tokio::spawn(scan(library.clone()));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let service = listener.local_addr()?;
    tokio::spawn(accept(listener, library));

    let figures = Figures::start();
    let clients: Vec<_> = (0..CLIENTS).map(|id| tokio::spawn(client(service, id, figures.clone()))).collect();
    for client in clients {
        client.await??;
    }
    closing.send_replace(true);
    figures.report(true);
    Ok(())
}

/// Keeps the library open until the visitors go home.
#[pollscope_agent::main(worker_threads = 2)]
pub async fn main() {
    run().await.expect("the service runs");
}
