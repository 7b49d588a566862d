//! Programs that are stuck for seconds and come free, or only look so. The first argument chooses one.

mod runner;

use runner::{ms, programs};
use std::sync::Arc;
use tokio::sync::{Barrier, Mutex};
use tokio::time::{sleep, timeout};

type Lock = Arc<Mutex<u64>>;

fn main() {
    runner::run(programs!(timed, again, aborted, left_behind, brief, moved, long_holder, patient_holder));
}

/// Two tasks, each of which has one lock when it asks for the other's, which it does for so long.
async fn crossed(patience: [u64; 2], left: &Lock, right: &Lock) {
    let met = Arc::new(Barrier::new(2));
    let mut tasks = Vec::new();
    for (first, second, patience) in [(left, right, patience[0]), (right, left, patience[1])] {
        let (first, second, met) = (first.clone(), second.clone(), met.clone());
        tasks.push(tokio::spawn(async move {
            let _held = first.lock().await;
            met.wait().await;
            drop(timeout(ms(patience), second.lock()).await); // timed again brief
        }));
    }
    for task in tasks {
        drop(task.await);
    }
}

fn pair() -> (Lock, Lock) {
    (Arc::new(Mutex::new(1)), Arc::new(Mutex::new(2)))
}

// Those that were stuck. A comment names the line where.

/// And goes on for another while when the timeouts have ended it.
async fn timed() {
    let (left, right) = pair();
    crossed([3000, 4000], &left, &right).await;
    sleep(ms(500)).await;
}

async fn again() {
    let (left, right) = pair();
    crossed([3000, 4000], &left, &right).await;
    crossed([3000, 4000], &left, &right).await;
}

/// For good, until somebody aborts one of the two.
async fn aborted() {
    let (left, right) = pair();
    let met = Arc::new(Barrier::new(2));
    let mut tasks = Vec::new();
    for (first, second) in [(left.clone(), right.clone()), (right, left)] {
        let met = met.clone();
        tasks.push(tokio::spawn(async move {
            let held = first.lock().await;
            met.wait().await;
            let _sum = *held + *second.lock().await; // aborted
        }));
    }
    sleep(ms(2500)).await;
    tasks.remove(0).abort();
    for task in tasks {
        drop(task.await);
    }
    sleep(ms(300)).await;
}

/// For good; but the program ends, and takes them along.
async fn left_behind() {
    let (left, right) = pair();
    for (first, second) in [(left.clone(), right.clone()), (right, left)] {
        tokio::spawn(async move {
            let held = first.lock().await;
            sleep(ms(30)).await;
            let _sum = *held + *second.lock().await; // left_behind
        });
    }
    sleep(ms(2500)).await;
}

// Those that only look like it.

/// As often as there is time, but each round is over soon.
async fn brief() {
    let (left, right) = pair();
    for _ in 0..4 {
        crossed([700, 900], &left, &right).await;
    }
}

/// The first guard is with a third task, which gives it back in its time.
async fn moved() {
    let (left, right) = pair();
    let (l, r) = (left.clone(), right.clone());
    let one = tokio::spawn(async move {
        let held = l.lock_owned().await;
        tokio::spawn(async move {
            sleep(ms(2500)).await;
            drop(held);
        });
        sleep(ms(30)).await;
        drop(r.lock().await);
    });
    let other = tokio::spawn(async move {
        let _held = right.lock().await;
        sleep(ms(10)).await;
        drop(left.lock().await);
    });
    drop((one.await, other.await));
}

async fn long_holder() {
    let (left, _) = pair();
    let held = left.clone();
    tokio::spawn(async move {
        let _held = held.lock().await;
        sleep(ms(3000)).await;
    });
    sleep(ms(20)).await;
    drop(timeout(ms(2500), left.lock()).await);
}

/// Who holds one lock gives up on the other in time, and whoever waits for the first gets it.
async fn patient_holder() {
    let (left, right) = pair();
    let (l, r) = (left.clone(), right.clone());
    let holder = tokio::spawn(async move {
        let _held = r.lock().await;
        sleep(ms(3500)).await;
    });
    let waiter = tokio::spawn(async move {
        let _held = l.lock().await;
        sleep(ms(20)).await;
        drop(timeout(ms(2600), right.lock()).await);
    });
    sleep(ms(50)).await;
    drop(left.lock().await);
    drop((holder.await, waiter.await));
}
