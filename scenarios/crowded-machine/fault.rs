//! A print shop: `proof PAGE` draws a small picture of a page, strip by strip, and lets others have their turn after
//! each.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use pollscope_agent::monitored;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tracing::{Instrument, info_span};

use crate::figures::Figures;

type Failure = Box<dyn Error + Send + Sync>;

const STRIPS: u64 = 4;
/// Dots of a strip: some milliseconds of drawing.
const DOTS: u64 = 400_000;
const CLIENTS: u64 = 3;
const DISPLAYS: usize = 50;
/// Archivists for each CPU of this machine.
const ARCHIVISTS: usize = 6;

#[tracing::instrument(skip_all)]
async fn proof(page: u64) -> u64 {
    let mut ink = page;
    for strip in 0..STRIPS {
        ink = draw(ink, strip);
        tokio::task::yield_now().await;
    }
    ink
}

fn draw(mut ink: u64, strip: u64) -> u64 {
    for dot in 0..DOTS {
        ink = ink.rotate_left(7) ^ (strip + dot);
    }
    ink
}

async fn serve(stream: TcpStream) -> Result<(), Failure> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    while let Some(line) = lines.next_line().await? {
        let page = line.strip_prefix("proof ").ok_or("not understood")?.parse()?;
        let picture = proof(page).await;
        writer.write_all(format!("{page} {picture}\n").as_bytes()).await?;
    }
    Ok(())
}

async fn accept(listener: TcpListener) {
    while let Ok((stream, peer)) = listener.accept().await {
        let connection = monitored("connection", serve(stream));
        tokio::spawn(connection.instrument(info_span!("connection", %peer)));
    }
}

/// The other department on this machine: it packs the papers of the day, all day long.
struct Archive(Vec<Child>);

impl Archive {
    fn open() -> io::Result<Self> {
        let cpus = std::thread::available_parallelism()?.get();
        (0..cpus * ARCHIVISTS).map(|_| archivist().stdin(Stdio::null()).spawn()).collect::<io::Result<_>>().map(Self)
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        for archivist in &mut self.0 {
            let _ = archivist.kill();
            let _ = archivist.wait();
        }
    }
}

/// Works for as long as the shop is there.
fn archivist() -> Command {
    let mut archivist = Command::new("sh");
    archivist.args(["-c", "while kill -0 $PPID; do :; done"]).stderr(Stdio::null());
    archivist
}

async fn client(service: SocketAddr, id: u64, figures: Arc<Figures>) -> Result<(), Failure> {
    let (reader, mut writer) = TcpStream::connect(service).await?.into_split();
    let mut lines = BufReader::new(reader).lines();
    for page in (id..).take_while(|_| figures.open()) {
        tokio::time::sleep(Duration::from_millis(30)).await;
        let asked = figures.asked();
        writer.write_all(format!("proof {page}\n").as_bytes()).await?;
        let picture = lines.next_line().await?.ok_or("the shop hung up")?;
        if picture == format!("{page} {}", proof(page).await) {
            figures.answered(asked);
        }
    }
    Ok(())
}

async fn display(mut closing: watch::Receiver<bool>) {
    let _ = closing.wait_for(|closing| *closing).await;
}

async fn run() -> Result<(), Failure> {
    let _archive = Archive::open()?;
    let (closing, open) = watch::channel(false);
    for _ in 0..DISPLAYS {
        tokio::spawn(display(open.clone()));
    }
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let service = listener.local_addr()?;
    tokio::spawn(accept(listener));

    let figures = Figures::start();
    let clients: Vec<_> = (0..CLIENTS).map(|id| tokio::spawn(client(service, id, figures.clone()))).collect();
    for client in clients {
        client.await??;
    }
    closing.send_replace(true);
    figures.report(true);
    Ok(())
}

/// Keeps the shop open until the clients go home.
#[pollscope_agent::main(worker_threads = 2)]
pub async fn main() {
    run().await.expect("the service runs");
}
