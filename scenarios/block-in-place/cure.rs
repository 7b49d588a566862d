//! An auction house: `bid CENTS` names a price and is answered with the highest so far. Every
//! connection also has its bids put on record by the notary, a service that takes its time.

use std::error::Error;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pollscope_agent::monitored;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{Instrument, info_span};

use crate::figures::Figures;

type Failure = Box<dyn Error + Send + Sync>;

const CLIENTS: u64 = 8;
const DISPLAYS: usize = 50;
/// Bids that go to the notary together.
const SHEET: usize = 40;

struct House {
    notary: SocketAddr,
    highest: AtomicU64,
    bids: AtomicU64,
    recorded: AtomicU64,
}

impl House {
    fn bid(&self, cents: u64) -> u64 {
        self.bids.fetch_add(1, Ordering::Relaxed);
        self.highest.fetch_max(cents, Ordering::Relaxed).max(cents)
    }

    fn certify(&self, sheet: &[u64]) -> io::Result<()> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.set_read_timeout(Some(Duration::from_secs(2)))?;
        let bids: Vec<u8> = sheet.iter().flat_map(|cents| cents.to_be_bytes()).collect();
        socket.send_to(&bids, self.notary)?;
        socket.recv(&mut [0])?;
        self.recorded.fetch_add(sheet.len() as u64, Ordering::Relaxed);
        Ok(())
    }
}

/// Answers the bids of a connection.
#[tracing::instrument(skip_all)]
async fn answer(stream: TcpStream, house: Arc<House>, notes: mpsc::UnboundedSender<u64>) -> Result<(), Failure> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    while let Some(line) = lines.next_line().await? {
        let cents: u64 = line.strip_prefix("bid ").ok_or("not understood")?.parse()?;
        let highest = house.bid(cents);
        notes.send(cents)?;
        writer.write_all(format!("{highest}\n").as_bytes()).await?;
    }
    Ok(())
}

/// Has the bids of a connection put on record, sheet by sheet.
async fn record(house: Arc<House>, mut notes: mpsc::UnboundedReceiver<u64>) -> Result<(), Failure> {
    let mut sheet = Vec::new();
    loop {
        let room = SHEET - sheet.len();
        let more = notes.recv_many(&mut sheet, room).await > 0;
        if sheet.len() == SHEET || !more {
            let (house, full) = (house.clone(), std::mem::take(&mut sheet));
            tokio::task::spawn_blocking(move || house.certify(&full)).await??;
        }
        if !more {
            return Ok(());
        }
    }
}

async fn serve(stream: TcpStream, house: Arc<House>) -> Result<(), Failure> {
    let (notes, noted) = mpsc::unbounded_channel();
    tokio::try_join!(answer(stream, house.clone(), notes), record(house, noted))?;
    Ok(())
}

async fn accept(listener: TcpListener, house: Arc<House>) {
    while let Ok((stream, peer)) = listener.accept().await {
        let connection = monitored("connection", serve(stream, house.clone()));
        tokio::spawn(connection.instrument(info_span!("connection", %peer)));
    }
}

/// The notary: has another town's seal, so an answer takes a while.
fn notary(socket: &UdpSocket) -> io::Result<()> {
    let mut sheet = [0; 8 * SHEET];
    loop {
        let (_, from) = socket.recv_from(&mut sheet)?;
        let seal = socket.try_clone()?;
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(200));
            seal.send_to(&[1], from)
        });
    }
}

/// A bidder: a little more every time.
async fn bidder(service: SocketAddr, id: u64, figures: Arc<Figures>) -> Result<(), Failure> {
    let (reader, mut writer) = TcpStream::connect(service).await?.into_split();
    let mut lines = BufReader::new(reader).lines();
    // Not all of them begin at once.
    tokio::time::sleep(Duration::from_millis(id * 30)).await;
    for cents in (id..).take_while(|_| figures.open()) {
        let due = Instant::now() + Duration::from_millis(4);
        tokio::time::sleep_until(due).await;
        let asked = figures.asked_at(due.into_std());
        writer.write_all(format!("bid {cents}\n").as_bytes()).await?;
        let highest: u64 = lines.next_line().await?.ok_or("the house hung up")?.parse()?;
        if highest >= cents {
            figures.answered(asked);
        }
    }
    Ok(())
}

/// Shows the highest bid in the hall.
async fn hall(house: Arc<House>) {
    let mut tick = tokio::time::interval(Duration::from_millis(2));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut shown = 0;
    loop {
        tick.tick().await;
        shown = house.highest.load(Ordering::Relaxed).max(shown);
    }
}

async fn display(mut closing: watch::Receiver<bool>) {
    let _ = closing.wait_for(|closing| *closing).await;
}

async fn run() -> Result<(), Failure> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let (highest, bids, recorded) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let house = Arc::new(House { notary: socket.local_addr()?, highest, bids, recorded });
    std::thread::spawn(move || notary(&socket));
    let (closing, displays) = watch::channel(false);
    for _ in 0..DISPLAYS {
        tokio::spawn(display(displays.clone()));
    }
    tokio::spawn(hall(house.clone()));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let service = listener.local_addr()?;
    tokio::spawn(accept(listener, house.clone()));

    let figures = Figures::start();
    let bidders: Vec<_> = (0..CLIENTS).map(|id| tokio::spawn(bidder(service, id, figures.clone()))).collect();
    for bidder in bidders {
        bidder.await??;
    }
    // The last sheets are on their way.
    let complete = || house.recorded.load(Ordering::Relaxed) == house.bids.load(Ordering::Relaxed);
    for _ in 0..100 {
        if complete() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    closing.send_replace(true);
    figures.report(complete());
    Ok(())
}

/// Keeps the house open until the last bid.
#[pollscope_agent::main(worker_threads = 2)]
pub async fn main() {
    run().await.expect("the service runs");
}
