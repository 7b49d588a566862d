//! A harbor: `depth BERTH` tells how deep the water is, `sound BERTH` has it measured first. Five times a second all
//! berths are surveyed. There is one gauge for all of this, and it answers one question after the other.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pollscope_agent::monitored;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, MutexGuard, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tracing::{Instrument, info_span};

use crate::figures::Figures;

type Failure = Box<dyn Error + Send + Sync>;

const BERTHS: usize = 8;
const CLIENTS: usize = 6;
const DISPLAYS: usize = 50;

struct Harbor {
    depths: Mutex<[u64; BERTHS]>,
    gauge: Mutex<Gauge>,
}

impl Harbor {
    fn open(gauge: Gauge) -> Self {
        Self { depths: Mutex::new([0; BERTHS]), gauge: Mutex::new(gauge) }
    }

    #[tracing::instrument(skip_all)]
    async fn depth(&self, berth: usize) -> Option<u64> {
        self.depths().await.get(berth).copied()
    }

    /// Measures at one berth, and keeps what came out.
    #[tracing::instrument(skip_all)]
    async fn sound(&self, berth: usize) -> Result<u64, Failure> {
        let mut gauge = self.gauge.lock().await;
        let depth = gauge.measure(berth).await?;
        if let Some(known) = self.depths().await.get_mut(berth) {
            *known = depth;
        }
        Ok(depth)
    }

    /// Measures at every berth.
    #[tracing::instrument(skip_all)]
    async fn survey(&self) -> Result<(), Failure> {
        let mut depths = self.depths().await;
        for (berth, depth) in depths.iter_mut().enumerate() {
            *depth = self.gauge.lock().await.measure(berth).await?;
        }
        Ok(())
    }

    async fn depths(&self) -> MutexGuard<'_, [u64; BERTHS]> {
        self.depths.lock().await
    }
}

/// The line to the gauge.
struct Gauge(BufReader<TcpStream>);

impl Gauge {
    async fn connect(pier: SocketAddr) -> Result<Self, Failure> {
        Ok(Self(BufReader::new(TcpStream::connect(pier).await?)))
    }

    async fn measure(&mut self, berth: usize) -> Result<u64, Failure> {
        self.0.write_all(format!("{berth}\n").as_bytes()).await?;
        let mut depth = String::new();
        self.0.read_line(&mut depth).await?;
        Ok(depth.trim().parse()?)
    }
}

/// The gauge takes a few milliseconds; there are no tides here.
async fn answer_as_gauge(stream: TcpStream) -> Result<(), Failure> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    while let Some(berth) = lines.next_line().await? {
        tokio::time::sleep(Duration::from_millis(3)).await;
        writer.write_all(format!("{}\n", measured(berth.parse()?)).as_bytes()).await?;
    }
    Ok(())
}

fn measured(berth: usize) -> u64 {
    90 + berth as u64 * 5
}

fn every(millis: u64) -> Interval {
    let period = Duration::from_millis(millis);
    let mut rounds = tokio::time::interval_at(Instant::now() + period, period);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    rounds
}

async fn serve(stream: TcpStream, harbor: Arc<Harbor>) -> Result<(), Failure> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    while let Some(line) = lines.next_line().await? {
        let depth = match line.split_once(' ').ok_or("not understood")? {
            ("sound", berth) => harbor.sound(berth.parse()?).await?,
            (_, berth) => harbor.depth(berth.parse()?).await.ok_or("no such berth")?,
        };
        writer.write_all(format!("{depth}\n").as_bytes()).await?;
    }
    Ok(())
}

async fn accept(listener: TcpListener, harbor: Arc<Harbor>) {
    while let Ok((stream, peer)) = listener.accept().await {
        let connection = monitored("connection", serve(stream, harbor.clone()));
        tokio::spawn(connection.instrument(info_span!("connection", %peer)));
    }
}

/// A ship asks, and has it measured when it comes close.
async fn ship(service: SocketAddr, id: usize, figures: Arc<Figures>) -> Result<(), Failure> {
    let (reader, mut writer) = TcpStream::connect(service).await?.into_split();
    let mut lines = BufReader::new(reader).lines();
    for turn in (id..).take_while(|_| figures.open()) {
        let berth = turn % BERTHS;
        tokio::time::sleep(Duration::from_millis(4)).await;
        let asked = figures.asked();
        let question = if turn % 4 == 3 { "sound" } else { "depth" };
        writer.write_all(format!("{question} {berth}\n").as_bytes()).await?;
        let depth: u64 = lines.next_line().await?.ok_or("the harbor hung up")?.parse()?;
        if depth == measured(berth) {
            figures.answered(asked);
        }
    }
    Ok(())
}

async fn display(mut closing: watch::Receiver<bool>) {
    let _ = closing.wait_for(|closing| *closing).await;
}

async fn run() -> Result<(), Failure> {
    let pier = TcpListener::bind("127.0.0.1:0").await?;
    let address = pier.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = pier.accept().await {
            tokio::spawn(answer_as_gauge(stream));
        }
    });
    let harbor = Arc::new(Harbor::open(Gauge::connect(address).await?));
    harbor.survey().await?;

    let (closing, open) = watch::channel(false);
    for _ in 0..DISPLAYS {
        tokio::spawn(display(open.clone()));
    }
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let service = listener.local_addr()?;
    tokio::spawn(accept(listener, harbor.clone()));

    let figures = Figures::start();
    let ships: Vec<_> = (0..CLIENTS).map(|id| tokio::spawn(ship(service, id, figures.clone()))).collect();
    let mut rounds = every(200);
    while figures.open() {
        rounds.tick().await;
        harbor.survey().await?;
    }
    for ship in ships {
        ship.await??;
    }
    closing.send_replace(true);
    figures.report(true);
    Ok(())
}

/// Keeps the harbor open until the ships have left.
#[pollscope_agent::main(worker_threads = 2)]
pub async fn main() {
    run().await.expect("the service runs");
}
