//! Programs with a great many tasks and locks: `LOCKS` of each. The first argument chooses one; the second the runtime.

use runner::{ms, programs};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{Barrier, Mutex};
use tokio::task::JoinSet;
use tokio::time::sleep;

mod runner;

#[rustfmt::skip]
fn main() {
    runner::run(programs!(chain, ring));
}

fn locks() -> usize {
    std::env::var("LOCKS").ok().and_then(|number| number.parse().ok()).unwrap_or(10_000)
}

/// Each task has a lock and asks for the next one's; the last one takes its time, and the program ends in the middle.
async fn chain() {
    hand_in_hand(false).await;
}

/// The last one asks for the first one's.
async fn ring() {
    hand_in_hand(true).await;
}

async fn hand_in_hand(closed: bool) {
    let number = locks();
    let locks: Vec<_> = (0..number).map(|number| Arc::new(Mutex::new(number))).collect();
    let ready = Arc::new(Barrier::new(number));
    let asking = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for number in 0..number {
        let (own, ready, asking) = (locks[number].clone(), ready.clone(), asking.clone());
        let next = locks.get(number + 1).or(locks.first().filter(|_| closed)).cloned();
        tasks.spawn(async move {
            let held = own.lock().await;
            ready.wait().await;
            asking.fetch_add(1, Ordering::Relaxed);
            match next {
                Some(next) => *held + *next.lock().await, // ring
                None => {
                    while asking.load(Ordering::Relaxed) <= number {
                        sleep(ms(10)).await;
                    }
                    sleep(ms(2500)).await;
                    std::process::exit(0)
                }
            }
        });
    }
    while tasks.join_next().await.is_some() {}
}
