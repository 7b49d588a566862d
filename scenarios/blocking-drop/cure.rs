//! Audio guides of a museum: `tour N` lends one from the depot, tells where the tour begins, and
//! gives the guide back; `hours` tells when the house is open.

use std::error::Error;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pollscope_agent::monitored;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{Instrument, info_span};

use crate::figures::Figures;

type Failure = Box<dyn Error + Send + Sync>;

const CLIENTS: u64 = 8;
const DISPLAYS: usize = 50;

/// A guide that is out, and the line to the depot it came from.
struct Guide {
    number: u64,
    line: TcpStream,
}

impl Guide {
    async fn lend(depot: SocketAddr, number: u64) -> io::Result<Self> {
        let mut line = TcpStream::connect(depot).await?;
        line.write_all(b"L").await?;
        line.read_exact(&mut [0]).await?;
        Ok(Self { number, line })
    }

    /// The first room of the tour.
    fn room(&self) -> u64 {
        self.number % 40 + 1
    }

    /// The guide goes back, and the depot says that it has it.
    async fn give_back(mut self) -> io::Result<()> {
        self.line.write_all(b"B").await?;
        self.line.read_exact(&mut [0]).await?;
        Ok(())
    }
}

struct Museum {
    depot: SocketAddr,
    tours: AtomicU64,
}

impl Museum {
    #[tracing::instrument(skip_all)]
    async fn tour(&self, number: u64) -> io::Result<u64> {
        let guide = Guide::lend(self.depot, number).await?;
        self.tours.fetch_add(1, Ordering::Relaxed);
        let room = guide.room();
        guide.give_back().await?;
        Ok(room)
    }
}

async fn serve(stream: TcpStream, museum: Arc<Museum>) -> Result<(), Failure> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    while let Some(line) = lines.next_line().await? {
        let words: Vec<&str> = line.split(' ').collect();
        let answer = match words[..] {
            ["tour", number] => museum.tour(number.parse()?).await?,
            ["hours"] => 18,
            _ => return Err("not understood".into()),
        };
        writer.write_all(format!("{answer}\n").as_bytes()).await?;
    }
    Ok(())
}

async fn accept(listener: TcpListener, museum: Arc<Museum>) {
    while let Ok((stream, peer)) = listener.accept().await {
        let connection = monitored("connection", serve(stream, museum.clone()));
        tokio::spawn(connection.instrument(info_span!("connection", %peer)));
    }
}

/// A line to the depot: guides go out at once, and are looked at when they come back.
fn attend(mut line: StdStream, back: &AtomicU64) -> io::Result<()> {
    line.read_exact(&mut [0])?;
    line.write_all(b"k")?;
    line.read_exact(&mut [0])?;
    std::thread::sleep(Duration::from_millis(150));
    back.fetch_add(1, Ordering::Relaxed);
    line.write_all(b"k")
}

fn depot(lines: &StdListener, back: &Arc<AtomicU64>) {
    for line in lines.incoming().flatten() {
        let back = back.clone();
        std::thread::spawn(move || attend(line, &back));
    }
}

/// A visitor: asks for the hours most of the time, and goes on a tour now and then.
async fn visitor(service: SocketAddr, id: u64, figures: Arc<Figures>) -> Result<(), Failure> {
    let (reader, mut writer) = TcpStream::connect(service).await?.into_split();
    let mut lines = BufReader::new(reader).lines();
    for turn in (id * 7..).take_while(|_| figures.open()) {
        let due = Instant::now() + Duration::from_millis(4);
        tokio::time::sleep_until(due).await;
        let asked = figures.asked_at(due.into_std());
        let tours = turn % 60 == 59;
        let request = if tours { format!("tour {turn}\n") } else { "hours\n".to_owned() };
        writer.write_all(request.as_bytes()).await?;
        let answer: u64 = lines.next_line().await?.ok_or("the museum hung up")?.parse()?;
        if answer == if tours { turn % 40 + 1 } else { 18 } {
            figures.answered(asked);
        }
    }
    Ok(())
}

/// Keeps the clock in the hall.
async fn hall() {
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
    let lines = StdListener::bind("127.0.0.1:0")?;
    let museum = Arc::new(Museum { depot: lines.local_addr()?, tours: AtomicU64::new(0) });
    let back = Arc::new(AtomicU64::new(0));
    std::thread::spawn({
        let back = back.clone();
        move || depot(&lines, &back)
    });
    let (closing, displays) = watch::channel(false);
    for _ in 0..DISPLAYS {
        tokio::spawn(display(displays.clone()));
    }
    tokio::spawn(hall());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let service = listener.local_addr()?;
    tokio::spawn(accept(listener, museum.clone()));

    let figures = Figures::start();
    let visitors: Vec<_> = (0..CLIENTS).map(|id| tokio::spawn(visitor(service, id, figures.clone()))).collect();
    for visitor in visitors {
        visitor.await??;
    }
    // The last guides are on their way.
    let complete = || museum.tours.load(Ordering::Relaxed) == back.load(Ordering::Relaxed);
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

/// Keeps the museum open until the visitors go home.
#[pollscope_agent::main(worker_threads = 2)]
pub async fn main() {
    run().await.expect("the service runs");
}
