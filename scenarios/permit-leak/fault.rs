//! Thumbnails: one picture a connection, `small PICTURE`, answered with its length. Eight are made at a time,
//! and pictures that cannot be read are refused.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pollscope_agent::monitored;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tracing::{Instrument, info_span};

use crate::figures::Figures;

type Failure = Box<dyn Error + Send + Sync>;

const AT_ONCE: usize = 8;
const CLIENTS: u64 = 12;
const DISPLAYS: usize = 50;

struct Studio {
    easels: Semaphore,
    deliveries: Semaphore,
    archive: SocketAddr,
    made: AtomicU64,
}

impl Studio {
    fn open(archive: SocketAddr) -> Self {
        let made = AtomicU64::new(0);
        Self { easels: Semaphore::new(AT_ONCE), deliveries: Semaphore::new(2), archive, made }
    }

    /// The length of the thumbnail of a picture.
    #[tracing::instrument(skip_all)]
    async fn thumbnail(&self, picture: u64) -> Result<usize, Failure> {
        self.take_easel().await?;
        let bytes = fetch(self.archive, picture).await?;
        let small = shrink(&bytes)?;
        self.free_easel();
        Ok(small.len())
    }

    /// An easel is taken for as long as the picture is in work.
    async fn take_easel(&self) -> Result<(), Failure> {
        let easel = self.easels.acquire().await?;
        easel.forget();
        Ok(())
    }

    fn free_easel(&self) {
        self.made.fetch_add(1, Ordering::Relaxed);
        self.easels.add_permits(1);
    }

    /// The finished ones go out two at a time, and that takes long.
    #[tracing::instrument(skip_all)]
    async fn deliver(&self) -> Result<(), Failure> {
        let _delivery = self.deliveries.acquire().await?;
        tokio::time::sleep(Duration::from_millis(150)).await;
        Ok(())
    }
}

/// Every fourth pixel of every fourth row.
fn shrink(bytes: &[u8]) -> Result<Vec<u8>, Failure> {
    if bytes.first() != Some(&b'P') {
        return Err("not a picture".into());
    }
    Ok(bytes.iter().step_by(16).copied().collect())
}

async fn fetch(archive: SocketAddr, picture: u64) -> Result<Vec<u8>, Failure> {
    let mut stream = BufReader::new(TcpStream::connect(archive).await?);
    stream.write_all(format!("{picture}\n").as_bytes()).await?;
    let mut bytes = Vec::new();
    stream.read_until(b'\n', &mut bytes).await?;
    Ok(bytes)
}

/// The archive: one picture in twenty has been damaged over the years.
async fn hand_out(stream: TcpStream) -> Result<(), Failure> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let picture: u64 = line.trim().parse()?;
    tokio::time::sleep(Duration::from_millis(2)).await;
    let first = if damaged(picture) { b'?' } else { b'P' };
    let mut bytes = vec![first; 1600];
    bytes.push(b'\n');
    stream.write_all(&bytes).await?;
    Ok(())
}

fn damaged(picture: u64) -> bool {
    picture % 20 == 19
}

async fn accept_archive(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(hand_out(stream));
    }
}

async fn serve(stream: TcpStream, studio: Arc<Studio>) -> Result<(), Failure> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let picture = line.split_whitespace().nth(1).ok_or("a picture is missing")?.parse()?;
    let answer = match studio.thumbnail(picture).await {
        Ok(length) => format!("{length}\n"),
        Err(error) => format!("refused: {error}\n"),
    };
    stream.write_all(answer.as_bytes()).await?;
    Ok(())
}

async fn accept(listener: TcpListener, studio: Arc<Studio>) {
    while let Ok((stream, peer)) = listener.accept().await {
        let connection = monitored("connection", serve(stream, studio.clone()));
        tokio::spawn(connection.instrument(info_span!("connection", %peer)));
    }
}

async fn courier(studio: Arc<Studio>) -> Result<(), Failure> {
    loop {
        studio.deliver().await?;
    }
}

async fn client(service: SocketAddr, id: u64, figures: Arc<Figures>) -> Result<(), Failure> {
    for turn in (0_u64..).take_while(|_| figures.open()) {
        let picture = turn * CLIENTS + id;
        let asked = figures.asked();
        let mut stream = BufReader::new(TcpStream::connect(service).await?);
        stream.write_all(format!("small {picture}\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_line(&mut answer).await?;
        let expected = if damaged(picture) { "refused: not a picture\n" } else { "101\n" };
        if answer == expected {
            figures.answered(asked);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

async fn display(mut closing: watch::Receiver<bool>) {
    let _ = closing.wait_for(|closing| *closing).await;
}

async fn run() -> Result<(), Failure> {
    let shelves = TcpListener::bind("127.0.0.1:0").await?;
    let studio = Arc::new(Studio::open(shelves.local_addr()?));
    tokio::spawn(accept_archive(shelves));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let service = listener.local_addr()?;
    tokio::spawn(accept(listener, studio.clone()));
    for _ in 0..4 {
        tokio::spawn(courier(studio.clone()));
    }
    let (closing, open) = watch::channel(false);
    for _ in 0..DISPLAYS {
        tokio::spawn(display(open.clone()));
    }

    let figures = Figures::start();
    let clients: Vec<_> = (0..CLIENTS).map(|id| tokio::spawn(client(service, id, figures.clone()))).collect();
    for client in clients {
        client.await??;
    }
    closing.send_replace(true);
    figures.report(studio.made.load(Ordering::Relaxed) > 0);
    Ok(())
}

/// Makes thumbnails until nobody wants any more.
#[pollscope_agent::main(worker_threads = 2)]
pub async fn main() {
    run().await.expect("the service runs");
}
