//! A sorting office: letters come in by one channel, sorters put them into bags. A letter whose district is unclear
//! goes back into the channel once, to be looked at again later.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pollscope_agent::monitored;
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::figures::Figures;

type Failure = Box<dyn Error + Send + Sync>;

const SORTERS: u64 = 3;
const SENDERS: u64 = 6;
const LOOK: Duration = Duration::from_millis(2);

struct Letter {
    number: u64,
    looked_at: u32,
    receipt: oneshot::Sender<u64>,
}

#[derive(Default)]
struct Bags {
    sorted: AtomicU64,
}

struct Office {
    letters: Mutex<mpsc::Receiver<Letter>>,
    again: mpsc::WeakSender<Letter>,
    bags: Bags,
}

impl Office {
    fn open() -> (Arc<Self>, mpsc::Sender<Letter>) {
        let (slot, letters) = mpsc::channel(64);
        let office = Self { letters: Mutex::new(letters), again: slot.downgrade(), bags: Bags::default() };
        (Arc::new(office), slot)
    }

    /// The next letter; `None` when the slot is closed.
    #[tracing::instrument(skip_all)]
    async fn next(&self) -> Option<Letter> {
        self.letters.lock().await.recv().await
    }

    #[tracing::instrument(skip_all)]
    async fn put_back(&self, letter: Letter) -> Result<(), Failure> {
        // Somebody still waits for a receipt, and keeps the slot open for as long.
        let again = self.again.upgrade().ok_or("the slot is closed")?;
        Ok(again.send(letter).await?)
    }
}

fn district(letter: &Letter) -> Option<u64> {
    (letter.looked_at > 0 || !letter.number.is_multiple_of(4)).then_some(letter.number % 9)
}

async fn sorter(office: Arc<Office>) -> Result<u64, Failure> {
    let mut sorted = 0;
    while let Some(mut letter) = office.next().await {
        tokio::time::sleep(LOOK).await;
        match district(&letter) {
            Some(district) => {
                office.bags.sorted.fetch_add(1, Ordering::Relaxed);
                sorted += 1;
                let _ = letter.receipt.send(district);
            }
            None => {
                letter.looked_at += 1;
                office.put_back(letter).await?;
            }
        }
    }
    Ok(sorted)
}

async fn sender(slot: mpsc::Sender<Letter>, id: u64, figures: Arc<Figures>) -> Result<(), Failure> {
    for number in (id..).step_by(SENDERS as usize).take_while(|_| figures.open()) {
        let asked = figures.asked();
        let (receipt, put) = oneshot::channel();
        slot.send(Letter { number, looked_at: 0, receipt }).await?;
        if put.await? == number % 9 {
            figures.answered(asked);
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    Ok(())
}

async fn run() -> Result<(), Failure> {
    let (office, slot) = Office::open();
    let sorters: Vec<_> = (0..SORTERS).map(|_| tokio::spawn(monitored("sorter", sorter(office.clone())))).collect();
    let figures = Figures::start();
    let senders: Vec<_> = (0..SENDERS).map(|id| tokio::spawn(sender(slot.clone(), id, figures.clone()))).collect();
    for sender in senders {
        sender.await??;
    }
    // The slot is closed for today; what lies in it is still sorted.
    drop(slot);
    let mut sorted = 0;
    for sorter in sorters {
        sorted += sorter.await??;
    }
    figures.report(sorted == office.bags.sorted.load(Ordering::Relaxed));
    Ok(())
}

/// Sorts until the evening, and closes when the last letter is in its bag.
#[pollscope_agent::main(worker_threads = 2)]
pub async fn main() {
    run().await.expect("the office runs");
}
