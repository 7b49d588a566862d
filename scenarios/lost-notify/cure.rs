//! A bakery: the oven heats up and cools down again, loaves go in while it is hot. Each loaf is a task that takes its
//! place on the board, waits for the heat if it must, bakes and is sold.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use pollscope_agent::monitored;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinSet;

use crate::figures::Figures;

type Failure = Box<dyn Error + Send + Sync>;

const HEATING: Duration = Duration::from_millis(60);
const COOLING: Duration = Duration::from_millis(40);
const BAKING: Duration = Duration::from_millis(5);
const BETWEEN: Duration = Duration::from_millis(3);
const WRITING: Duration = Duration::from_millis(30);
/// Loaves for which there is room on the board.
const PLACES: usize = 32;

#[derive(Default)]
struct Oven {
    hot: AtomicBool,
    heated: Notify,
    sold: AtomicU64,
}

/// One line of the board: a loaf, and where to say that it was written down.
type Entry = (u64, oneshot::Sender<usize>);

/// Writes down which loaves wait: all that have come meanwhile in one line.
async fn board(mut entries: mpsc::Receiver<Entry>) -> usize {
    let mut written = Vec::new();
    let mut waiting = Vec::new();
    while entries.recv_many(&mut waiting, PLACES).await > 0 {
        tokio::time::sleep(WRITING).await;
        for (loaf, answer) in waiting.drain(..) {
            written.push(loaf);
            let _ = answer.send(written.len());
        }
    }
    written.len()
}

async fn write_down(board: &mpsc::Sender<Entry>, loaf: u64) -> Result<usize, Failure> {
    let (answer, written) = oneshot::channel();
    board.send((loaf, answer)).await?;
    Ok(written.await?)
}

/// Keeps the fire as long as loaves come; the last heat stays.
async fn fire(oven: Arc<Oven>, figures: Arc<Figures>) {
    loop {
        tokio::time::sleep(HEATING).await;
        oven.hot.store(true, Ordering::Release);
        oven.heated.notify_waiters();
        if !figures.open() {
            return;
        }
        tokio::time::sleep(COOLING).await;
        oven.hot.store(false, Ordering::Release);
    }
}

async fn until_hot(oven: &Oven, board: &mpsc::Sender<Entry>, loaf: u64) -> Result<(), Failure> {
    let heated = oven.heated.notified();
    if !oven.hot.load(Ordering::Acquire) {
        write_down(board, loaf).await?;
        heated.await;
    }
    Ok(())
}

#[tracing::instrument(skip_all)]
async fn bake(oven: Arc<Oven>, board: mpsc::Sender<Entry>, loaf: u64, figures: Arc<Figures>) -> Result<(), Failure> {
    let asked = figures.asked();
    until_hot(&oven, &board, loaf).await?;
    tokio::time::sleep(BAKING).await;
    oven.sold.fetch_add(1, Ordering::Relaxed);
    figures.answered(asked);
    Ok(())
}

async fn sell(mut loaves: JoinSet<Result<(), Failure>>) -> Result<u64, Failure> {
    let mut sold = 0;
    while let Some(loaf) = loaves.join_next().await {
        loaf??;
        sold += 1;
    }
    Ok(sold)
}

async fn run() -> Result<(), Failure> {
    let oven = Arc::new(Oven::default());
    let (line, lines) = mpsc::channel(PLACES);
    let book = tokio::spawn(board(lines));
    let figures = Figures::start();
    let stoker = tokio::spawn(fire(oven.clone(), figures.clone()));

    let mut loaves = JoinSet::new();
    for loaf in 0.. {
        loaves.spawn(monitored("loaf", bake(oven.clone(), line.clone(), loaf, figures.clone())));
        tokio::time::sleep(BETWEEN).await;
        if stoker.is_finished() {
            break;
        }
    }
    stoker.await?;
    let sold = sell(loaves).await?;
    drop(line);
    let written = book.await?;
    figures.report(sold == oven.sold.load(Ordering::Relaxed) && written as u64 <= sold);
    Ok(())
}

/// Bakes until the evening, and closes when the last loaf is sold.
#[pollscope_agent::main(worker_threads = 2)]
pub async fn main() {
    run().await.expect("the bakery runs");
}
