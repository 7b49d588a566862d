//! A parcel router: `route ZIP` names the depot and the van for a parcel. The plan of the routes is read by
//! everybody and replaced by the planner five times a second.

use std::collections::BTreeMap;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pollscope_agent::monitored;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, RwLock, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{Instrument, info_span};

use crate::figures::Figures;

type Failure = Box<dyn Error + Send + Sync>;

const CLIENTS: u64 = 8;
const DEPOTS: u64 = 40;
const DISPLAYS: usize = 50;

struct Plan {
    edition: u64,
    depots: BTreeMap<u64, u64>,
    vans: BTreeMap<u64, u64>,
}

impl Plan {
    fn new(edition: u64) -> Self {
        let depots = (0..1000).map(|zip| (zip, zip % DEPOTS)).collect();
        let vans = (0..DEPOTS).map(|depot| (depot, depot + 100)).collect();
        Self { edition, depots, vans }
    }
}

struct Router {
    plan: RwLock<Plan>,
    tariffs: RwLock<Vec<u64>>,
    scales: Mutex<Scales>,
}

impl Router {
    fn new(scales: Scales) -> Self {
        let tariffs = RwLock::new(vec![490; 30]);
        Self { plan: RwLock::new(Plan::new(0)), tariffs, scales: Mutex::new(scales) }
    }

    #[tracing::instrument(skip_all)]
    async fn route(&self, zip: u64) -> Result<(u64, u64), Failure> {
        let plan = self.plan.read().await;
        let depot = *plan.depots.get(&zip).ok_or("no such zip")?;
        let grams = self.scales.lock().await.weigh(zip).await?;
        let van = van(&plan, depot, grams)?;
        Ok((depot, van))
    }

    async fn replace(&self, plan: Plan) {
        let mut current = self.plan.write().await;
        *current = plan;
    }

    /// Tariffs are looked through at leisure; they change once a year.
    #[tracing::instrument(skip_all)]
    async fn review_tariffs(&self) -> u64 {
        let tariffs = self.tariffs.read().await;
        tokio::time::sleep(Duration::from_millis(80)).await;
        tariffs.iter().sum()
    }
}

/// Heavy parcels go by the van of the next depot.
fn van(plan: &Plan, depot: u64, grams: u64) -> Result<u64, Failure> {
    let depot = if grams > 20_000 { (depot + 1) % DEPOTS } else { depot };
    van_of(plan, depot)
}

fn van_of(plan: &Plan, depot: u64) -> Result<u64, Failure> {
    Ok(*plan.vans.get(&depot).ok_or("no such depot")?)
}

/// The scales at the entrance: one parcel at a time.
struct Scales(BufReader<TcpStream>);

impl Scales {
    async fn weigh(&mut self, parcel: u64) -> Result<u64, Failure> {
        self.0.write_all(format!("{parcel}\n").as_bytes()).await?;
        let mut answer = String::new();
        self.0.read_line(&mut answer).await?;
        Ok(answer.trim().parse()?)
    }
}

async fn answer_as_scales(listener: TcpListener) -> Result<(), Failure> {
    let (stream, _) = listener.accept().await?;
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 0 {
        let parcel: u64 = line.trim().parse()?;
        tokio::time::sleep(Duration::from_millis(1)).await;
        stream.write_all(format!("{}\n", parcel * 25).as_bytes()).await?;
        line.clear();
    }
    Ok(())
}

async fn planner(router: Arc<Router>) {
    let period = Duration::from_millis(200);
    let mut rounds = tokio::time::interval_at(Instant::now() + period, period);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for edition in 1.. {
        rounds.tick().await;
        router.replace(Plan::new(edition)).await;
    }
}

async fn reviewer(router: Arc<Router>) {
    while router.review_tariffs().await > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn serve(stream: TcpStream, router: Arc<Router>) -> Result<(), Failure> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 0 {
        let zip = line.split_whitespace().nth(1).ok_or("a zip is missing")?.parse()?;
        let (depot, van) = router.route(zip).await?;
        stream.write_all(format!("depot {depot} van {van}\n").as_bytes()).await?;
        line.clear();
    }
    Ok(())
}

async fn accept(listener: TcpListener, router: Arc<Router>) {
    while let Ok((stream, peer)) = listener.accept().await {
        let connection = monitored("connection", serve(stream, router.clone()));
        tokio::spawn(connection.instrument(info_span!("connection", %peer)));
    }
}

async fn counter(service: SocketAddr, id: u64, figures: Arc<Figures>) -> Result<(), Failure> {
    let mut stream = BufReader::new(TcpStream::connect(service).await?);
    for turn in (id..).step_by(7).take_while(|_| figures.open()) {
        let zip = turn % 1000;
        let asked = figures.asked();
        stream.write_all(format!("route {zip}\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_line(&mut answer).await?;
        if answer.starts_with(&format!("depot {} van ", zip % DEPOTS)) {
            figures.answered(asked);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

async fn display(mut closing: watch::Receiver<bool>) {
    let _ = closing.wait_for(|closing| *closing).await;
}

async fn run() -> Result<(), Failure> {
    let entrance = TcpListener::bind("127.0.0.1:0").await?;
    let address = entrance.local_addr()?;
    tokio::spawn(answer_as_scales(entrance));
    let scales = Scales(BufReader::new(TcpStream::connect(address).await?));
    let router = Arc::new(Router::new(scales));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let service = listener.local_addr()?;
    tokio::spawn(accept(listener, router.clone()));
    let (closing, open) = watch::channel(false);
    for _ in 0..DISPLAYS {
        tokio::spawn(display(open.clone()));
    }

    let figures = Figures::start();
    tokio::spawn(planner(router.clone()));
    tokio::spawn(reviewer(router.clone()));
    let counters: Vec<_> = (0..CLIENTS).map(|id| tokio::spawn(counter(service, id, figures.clone()))).collect();
    for counter in counters {
        counter.await??;
    }
    closing.send_replace(true);
    figures.report(router.plan.read().await.edition > 0);
    Ok(())
}

/// Routes parcels until the counters close.
#[pollscope_agent::main(worker_threads = 2)]
pub async fn main() {
    run().await.expect("the service runs");
}
