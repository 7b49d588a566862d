//! A botanical garden: `water BED LITERS` changes the plan of the sprinklers, `ask BED` tells it. Five times a
//! second the beds are watered as the plan says, one valve after the other.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pollscope_agent::monitored;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tracing::{Instrument, info_span};

use crate::figures::Figures;

type Failure = Box<dyn Error + Send + Sync>;

const BEDS: usize = 8;
const GARDENERS: usize = 8;
const DISPLAYS: usize = 50;

#[derive(Clone)]
struct Plan {
    liters: [u64; BEDS],
    changes: u64,
}

struct Garden {
    plan: watch::Sender<Plan>,
}

impl Garden {
    fn open() -> Self {
        Self { plan: watch::Sender::new(Plan { liters: [10; BEDS], changes: 0 }) }
    }

    /// What the bed gets from now on.
    fn change(&self, bed: usize, liters: u64) -> Option<u64> {
        let changed = self.plan.send_if_modified(|plan| {
            let Some(planned) = plan.liters.get_mut(bed) else { return false };
            *planned = liters;
            plan.changes += 1;
            true
        });
        changed.then_some(liters)
    }

    fn asked(&self, bed: usize) -> Option<u64> {
        self.plan.borrow().liters.get(bed).copied()
    }
}

/// Waters every bed as the plan says.
#[tracing::instrument(skip_all)]
async fn water(plan: &watch::Receiver<Plan>, pipe: &mut Pipe) -> Result<(), Failure> {
    let liters = plan.borrow().liters;
    for (bed, liters) in liters.into_iter().enumerate() {
        pipe.open(bed, liters).await?;
    }
    Ok(())
}

/// A connection to the valves.
struct Pipe(BufReader<TcpStream>);

impl Pipe {
    async fn connect(valves: SocketAddr) -> Result<Self, Failure> {
        Ok(Self(BufReader::new(TcpStream::connect(valves).await?)))
    }

    async fn open(&mut self, bed: usize, liters: u64) -> Result<(), Failure> {
        self.0.write_all(format!("{bed} {liters}\n").as_bytes()).await?;
        self.0.read_line(&mut String::new()).await?;
        Ok(())
    }
}

/// A valve takes a few milliseconds.
async fn valves(stream: TcpStream) -> Result<(), Failure> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    while lines.next_line().await?.is_some() {
        tokio::time::sleep(Duration::from_millis(5)).await;
        writer.write_all(b"watered\n").await?;
    }
    Ok(())
}

fn every(millis: u64) -> Interval {
    let period = Duration::from_millis(millis);
    let mut rounds = tokio::time::interval_at(Instant::now() + period, period);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    rounds
}

/// Prints the plan on paper, which is slow, but has a thread for it.
async fn print(garden: Arc<Garden>) {
    let mut rounds = every(300);
    loop {
        rounds.tick().await;
        let plan = Plan::clone(&garden.plan.borrow());
        let printed = tokio::task::spawn_blocking(move || {
            std::thread::sleep(Duration::from_millis(60));
            plan.changes
        });
        let _ = printed.await;
    }
}

async fn serve(stream: TcpStream, garden: Arc<Garden>) -> Result<(), Failure> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    while let Some(line) = lines.next_line().await? {
        let mut words = line.split_whitespace();
        let (what, bed) = (words.next(), words.next().ok_or("no bed")?.parse()?);
        let liters = match what {
            Some("water") => garden.change(bed, words.next().ok_or("no liters")?.parse()?),
            _ => garden.asked(bed),
        };
        writer.write_all(format!("{}\n", liters.ok_or("no such bed")?).as_bytes()).await?;
    }
    Ok(())
}

async fn accept(listener: TcpListener, garden: Arc<Garden>) {
    while let Ok((stream, peer)) = listener.accept().await {
        let connection = monitored("connection", serve(stream, garden.clone()));
        tokio::spawn(connection.instrument(info_span!("connection", %peer)));
    }
}

/// Each has a bed of its own.
async fn gardener(service: SocketAddr, bed: usize, figures: Arc<Figures>) -> Result<(), Failure> {
    let (reader, mut writer) = TcpStream::connect(service).await?.into_split();
    let mut lines = BufReader::new(reader).lines();
    for turn in (0_u64..).take_while(|_| figures.open()) {
        tokio::time::sleep(Duration::from_millis(4)).await;
        let asked = figures.asked();
        let question = if turn % 4 == 0 { format!("water {bed} {turn}\n") } else { format!("ask {bed}\n") };
        writer.write_all(question.as_bytes()).await?;
        let liters: u64 = lines.next_line().await?.ok_or("the garden hung up")?.parse()?;
        if liters == turn / 4 * 4 {
            figures.answered(asked);
        }
    }
    Ok(())
}

async fn display(mut closing: watch::Receiver<bool>) {
    let _ = closing.wait_for(|closing| *closing).await;
}

async fn run() -> Result<(), Failure> {
    let pumps = TcpListener::bind("127.0.0.1:0").await?;
    let address = pumps.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = pumps.accept().await {
            tokio::spawn(valves(stream));
        }
    });
    let garden = Arc::new(Garden::open());
    let mut pipe = Pipe::connect(address).await?;

    let (closing, open) = watch::channel(false);
    for _ in 0..DISPLAYS {
        tokio::spawn(display(open.clone()));
    }
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let service = listener.local_addr()?;
    tokio::spawn(accept(listener, garden.clone()));
    tokio::spawn(print(garden.clone()));

    let figures = Figures::start();
    let gardeners: Vec<_> = (0..GARDENERS).map(|id| tokio::spawn(gardener(service, id, figures.clone()))).collect();
    let plan = garden.plan.subscribe();
    let mut rounds = every(200);
    while figures.open() {
        rounds.tick().await;
        water(&plan, &mut pipe).await?;
    }
    for gardener in gardeners {
        gardener.await??;
    }
    closing.send_replace(true);
    figures.report(true);
    Ok(())
}

/// Keeps the garden open until the gardeners go home.
#[pollscope_agent::main(worker_threads = 2)]
pub async fn main() {
    run().await.expect("the service runs");
}
