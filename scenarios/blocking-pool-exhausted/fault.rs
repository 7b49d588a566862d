//! The ticker of a sports ground: `follow N` answers as soon as there are more than N goals,
//! `goals` tells how many there are, `hymn` sends the ground's hymn, which lies in a file.

use std::error::Error;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use pollscope_agent::monitored;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{Instrument, info_span};

use crate::figures::Figures;

type Failure = Box<dyn Error + Send + Sync>;

const FANS: usize = 6;
const CLIENTS: u64 = 8;
const HYMN: usize = 2000;

struct Ground {
    hymn: PathBuf,
    goals: Mutex<u64>,
    scored: Condvar,
}

impl Ground {
    fn new(hymn: PathBuf) -> Self {
        Self { hymn, goals: Mutex::new(0), scored: Condvar::new() }
    }

    fn goals(&self) -> u64 {
        *self.goals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn score(&self) {
        *self.goals.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.scored.notify_all();
    }

    /// Whoever still follows goes home.
    fn close(&self) {
        *self.goals.lock().unwrap_or_else(PoisonError::into_inner) = u64::MAX;
        self.scored.notify_all();
    }

    fn wait_for_more_than(&self, seen: u64) -> u64 {
        let goals = self.goals.lock().unwrap_or_else(PoisonError::into_inner);
        *self.scored.wait_while(goals, |goals| *goals <= seen).unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of goals, once it is more than `seen`.
    #[tracing::instrument(skip_all)]
    async fn follow(self: &Arc<Self>, seen: u64) -> Result<u64, Failure> {
        let ground = self.clone();
        Ok(tokio::task::spawn_blocking(move || ground.wait_for_more_than(seen)).await?)
    }
}

async fn serve(stream: TcpStream, ground: Arc<Ground>) -> Result<(), Failure> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    while let Some(line) = lines.next_line().await? {
        let words: Vec<&str> = line.split(' ').collect();
        let answer = match words[..] {
            ["follow", seen] => ground.follow(seen.parse()?).await?.to_string(),
            ["goals"] => ground.goals().to_string(),
            ["hymn"] => tokio::fs::read_to_string(&ground.hymn).await?,
            _ => return Err("not understood".into()),
        };
        writer.write_all(format!("{answer}\n").as_bytes()).await?;
    }
    Ok(())
}

async fn accept(listener: TcpListener, ground: Arc<Ground>) {
    while let Ok((stream, peer)) = listener.accept().await {
        let connection = monitored("connection", serve(stream, ground.clone()));
        tokio::spawn(connection.instrument(info_span!("connection", %peer)));
    }
}

/// A fan: wants to know of each goal.
async fn fan(service: SocketAddr) -> Result<(), Failure> {
    let (reader, mut writer) = TcpStream::connect(service).await?.into_split();
    let mut lines = BufReader::new(reader).lines();
    let mut seen = 0;
    loop {
        writer.write_all(format!("follow {seen}\n").as_bytes()).await?;
        seen = lines.next_line().await?.ok_or("the ground hung up")?.parse()?;
    }
}

/// A visitor: asks for the score most of the time, and for the hymn now and then.
async fn visitor(service: SocketAddr, id: u64, figures: Arc<Figures>) -> Result<(), Failure> {
    let (reader, mut writer) = TcpStream::connect(service).await?.into_split();
    let mut lines = BufReader::new(reader).lines();
    for turn in (id..).take_while(|_| figures.open()) {
        let due = Instant::now() + Duration::from_millis(10);
        tokio::time::sleep_until(due).await;
        let asked = figures.asked_at(due.into_std());
        let sings = turn % 10 == 9;
        writer.write_all(if sings { b"hymn\n" } else { b"goals\n" }).await?;
        let answer = lines.next_line().await?.ok_or("the ground hung up")?;
        if sings == (answer.len() == HYMN) {
            figures.answered(asked);
        }
    }
    Ok(())
}

/// The game: a goal every now and then.
async fn game(ground: Arc<Ground>) {
    let mut tick = tokio::time::interval(Duration::from_millis(700));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick.tick().await;
    loop {
        tick.tick().await;
        ground.score();
    }
}

async fn run(hymn: &Path) -> Result<(), Failure> {
    std::fs::write(hymn, "o".repeat(HYMN))?;
    let ground = Arc::new(Ground::new(hymn.to_owned()));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let service = listener.local_addr()?;
    tokio::spawn(accept(listener, ground.clone()));
    let fans: Vec<_> = (0..FANS).map(|_| tokio::spawn(fan(service))).collect();
    let game = tokio::spawn(game(ground.clone()));

    let figures = Figures::start();
    let visitors: Vec<_> = (0..CLIENTS).map(|id| tokio::spawn(visitor(service, id, figures.clone()))).collect();
    for visitor in visitors {
        visitor.await??;
    }
    game.abort();
    fans.iter().for_each(tokio::task::JoinHandle::abort);
    ground.close();
    figures.report(true);
    Ok(())
}

/// Keeps the ground open until the visitors go home.
#[pollscope_agent::main(worker_threads = 2, max_blocking_threads = 4)]
pub async fn main() {
    let hymn = std::env::temp_dir().join(format!("hymn-{}.txt", std::process::id()));
    let ran = run(&hymn).await;
    let _ = std::fs::remove_file(&hymn);
    ran.expect("the service runs");
}
