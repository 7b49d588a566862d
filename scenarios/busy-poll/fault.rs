//! A copy shop: `copy PAGES` puts a job into the tray, from which the machine takes one after the
//! other; the customer gets the number of sheets when the job is done.

use std::collections::VecDeque;
use std::error::Error;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use pollscope_agent::monitored;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;
use tracing::{Instrument, info_span};

use crate::figures::Figures;

type Failure = Box<dyn Error + Send + Sync>;

const CLIENTS: u64 = 6;
const DISPLAYS: usize = 50;

struct Job {
    pages: u64,
    done: oneshot::Sender<u64>,
}

/// Where jobs lie until the machine takes them.
#[derive(Default)]
struct Tray {
    jobs: Mutex<VecDeque<Job>>,
}

impl Tray {
    fn put(&self, job: Job) {
        self.jobs().push_back(job);
    }

    fn next(&self) -> NextJob<'_> {
        NextJob { tray: self }
    }

    fn jobs(&self) -> MutexGuard<'_, VecDeque<Job>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The next job, as soon as there is one.
struct NextJob<'a> {
    tray: &'a Tray,
}

impl Future for NextJob<'_> {
    type Output = Job;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Job> {
        match self.tray.jobs().pop_front() {
            Some(job) => Poll::Ready(job),
            None => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}

/// The machine: five milliseconds a job, one at a time.
async fn machine(tray: Arc<Tray>, counter: mpsc::Sender<u64>) -> Result<(), Failure> {
    loop {
        let job = tray.next().await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        for sheet in 0..job.pages {
            counter.send(sheet).await?;
        }
        // A customer who has left does not want the copies.
        let _ = job.done.send(job.pages);
    }
}

/// Counts sheets as they come out, for the bill.
async fn count(mut sheets: mpsc::Receiver<u64>, total: watch::Sender<u64>) {
    while sheets.recv().await.is_some() {
        total.send_modify(|total| *total += 1);
    }
}

/// The lamp on the machine: on and off a thousand times a second.
async fn lamp() {
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut on = false;
    loop {
        tick.tick().await;
        on = !on;
    }
}

async fn serve(stream: TcpStream, tray: Arc<Tray>) -> Result<(), Failure> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    while let Some(line) = lines.next_line().await? {
        let pages = line.strip_prefix("copy ").ok_or("not an order")?.parse()?;
        let (done, copied) = oneshot::channel();
        tray.put(Job { pages, done });
        let sheets = copied.await?;
        writer.write_all(format!("{sheets}\n").as_bytes()).await?;
    }
    Ok(())
}

async fn accept(listener: TcpListener, tray: Arc<Tray>) {
    while let Ok((stream, peer)) = listener.accept().await {
        let connection = monitored("connection", serve(stream, tray.clone()));
        tokio::spawn(connection.instrument(info_span!("connection", %peer)));
    }
}

async fn client(service: SocketAddr, id: u64, figures: Arc<Figures>) -> Result<u64, Failure> {
    let (reader, mut writer) = TcpStream::connect(service).await?.into_split();
    let mut lines = BufReader::new(reader).lines();
    let mut sheets = 0;
    for turn in (id..).take_while(|_| figures.open()) {
        let pages = turn % 20 + 1;
        tokio::time::sleep(Duration::from_millis(150)).await;
        let asked = figures.asked();
        writer.write_all(format!("copy {pages}\n").as_bytes()).await?;
        let copied: u64 = lines.next_line().await?.ok_or("the shop closed")?.parse()?;
        sheets += copied;
        if copied == pages {
            figures.answered(asked);
        }
    }
    Ok(sheets)
}

async fn display(mut closing: watch::Receiver<bool>) {
    let _ = closing.wait_for(|closing| *closing).await;
}

async fn run() -> Result<(), Failure> {
    let (closing, open) = watch::channel(false);
    for _ in 0..DISPLAYS {
        tokio::spawn(display(open.clone()));
    }
    let (counter, sheets) = mpsc::channel(64);
    let (total, mut counted) = watch::channel(0);
    tokio::spawn(count(sheets, total));
    tokio::spawn(lamp());
    let tray = Arc::new(Tray::default());
    tokio::spawn(machine(tray.clone(), counter));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let service = listener.local_addr()?;
    tokio::spawn(accept(listener, tray));

    let figures = Figures::start();
    let clients: Vec<_> = (0..CLIENTS).map(|id| tokio::spawn(client(service, id, figures.clone()))).collect();
    let mut sheets = 0;
    for client in clients {
        sheets += client.await??;
    }
    let bill = tokio::time::timeout(Duration::from_secs(1), counted.wait_for(|counted| *counted == sheets)).await;
    let even = bill.is_ok();
    closing.send_replace(true);
    figures.report(even);
    Ok(())
}

/// Keeps the shop open until the customers go home.
#[pollscope_agent::main(worker_threads = 2)]
pub async fn main() {
    run().await.expect("the service runs");
}
