//! Programs whose guards and permits go other ways than in and out of one task.

use runner::{ms, programs};
use std::sync::Arc;
use tokio::sync::{
    Mutex, MutexGuard, OwnedMutexGuard, OwnedSemaphorePermit, RwLock, RwLockWriteGuard, Semaphore, mpsc,
};
use tokio::time::sleep;

mod runner;

#[rustfmt::skip]
fn main() {
    runner::run(programs!(
        heir, tried_before, owned_relock, tried_lock,
        passed_guard, sent_guard, sent_read_guard, sent_permits, sent_by_two, ended_senders, mapped_guard, downgraded,
        tried_again, tried_guards, refilled, token_bucket, opened_gate, given_up, closed,
    ));
}

// Those that never move again. A comment names the line where.

/// The guard goes to a task of its own, which waits for what the sender holds.
async fn heir() {
    let (queue, log) = (Arc::new(Mutex::new(1)), Arc::new(Mutex::new(2)));
    tokio::spawn(async move {
        let written = log.lock().await;
        let held = queue.clone().lock_owned().await;
        let log = log.clone();
        tokio::spawn(async move {
            let _sum = *held + *log.lock().await; // heir
        });
        sleep(ms(30)).await;
        let _sum = *written + *queue.lock().await; // heir
    });
    std::future::pending().await
}

/// Somebody tried for permits and gave them back long before.
async fn tried_before() {
    let pool = Arc::new(Semaphore::new(3));
    let tried = pool.clone();
    tokio::spawn(async move {
        for _ in 0..5 {
            drop(tried.try_acquire());
            sleep(ms(10)).await;
        }
    });
    for _ in 0..4 {
        let pool = pool.clone();
        tokio::spawn(async move {
            for _ in 0..5 {
                drop(pool.acquire().await);
                sleep(ms(20)).await;
            }
            let _first = pool.acquire().await;
            sleep(ms(30)).await;
            let _second = pool.acquire().await; // tried_before
        });
    }
    std::future::pending().await
}

async fn owned_relock() {
    let lock = Arc::new(Mutex::new(1));
    tokio::spawn(async move {
        for number in 0..10 {
            let held = lock.clone().lock_owned().await;
            sleep(ms(10)).await;
            if number == 9 {
                let _sum = *held + *lock.clone().lock_owned().await; // owned_relock
            }
        }
    });
    std::future::pending().await
}

async fn tried_lock() {
    let (left, right) = (Arc::new(Mutex::new(1)), Arc::new(Mutex::new(2)));
    for (first, second) in [(left.clone(), right.clone()), (right, left)] {
        tokio::spawn(async move {
            let Ok(held) = first.try_lock() else { return };
            sleep(ms(30)).await;
            let _both = *held + *second.lock().await; // tried_lock
        });
    }
    std::future::pending().await
}

// Those that only look like it.

async fn passed_guard() {
    let lock = Arc::new(Mutex::new(1));
    let held = lock.clone().lock_owned().await;
    tokio::spawn(async move {
        sleep(ms(3000)).await;
        drop(held);
    });
    drop(lock.lock().await);
}

async fn sent_guard() {
    let lock = Arc::new(Mutex::new(1));
    let (jobs, mut queue) = mpsc::channel::<OwnedMutexGuard<i32>>(2);
    tokio::spawn(async move {
        while let Some(held) = queue.recv().await {
            sleep(ms(3000)).await;
            drop(held);
        }
    });
    for _ in 0..3 {
        let held = lock.clone().lock_owned().await;
        let _ = jobs.send(held).await;
    }
}

async fn sent_read_guard() {
    let lock = Arc::new(RwLock::new(1));
    let (jobs, mut queue) = mpsc::channel(2);
    tokio::spawn(async move {
        while let Some(held) = queue.recv().await {
            sleep(ms(100)).await;
            drop(held);
        }
    });
    let other = lock.clone();
    tokio::spawn(async move {
        let _held = other.read().await;
        sleep(ms(3000)).await;
    });
    sleep(ms(20)).await;
    let _ = jobs.send(lock.clone().read_owned().await).await;
    *lock.write().await += 1;
}

async fn dispatch(gate: Arc<Semaphore>, jobs: mpsc::Sender<OwnedSemaphorePermit>, permits: u32) {
    for _ in 0..3 {
        let Ok(permit) = gate.clone().acquire_many_owned(permits).await else { return };
        let _ = jobs.send(permit).await;
    }
}

fn worker(mut queue: mpsc::Receiver<OwnedSemaphorePermit>) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        while let Some(permit) = queue.recv().await {
            sleep(ms(3000)).await;
            drop(permit);
        }
    })
}

async fn sent_permits() {
    let (gate, (jobs, queue)) = (Arc::new(Semaphore::new(3)), mpsc::channel(4));
    worker(queue);
    dispatch(gate, jobs, 2).await;
}

async fn sent_by_two() {
    let gate = Arc::new(Semaphore::new(2));
    let mut tasks = Vec::new();
    for _ in 0..2 {
        let (jobs, queue) = mpsc::channel(4);
        worker(queue);
        tasks.push(tokio::spawn(dispatch(gate.clone(), jobs, 1)));
    }
    for task in tasks {
        drop(task.await);
    }
}

/// Who takes a permit sends it on and ends.
async fn ended_senders() {
    let (gate, (jobs, queue)) = (Arc::new(Semaphore::new(2)), mpsc::channel(8));
    let worker = worker(queue);
    for _ in 0..3 {
        let (gate, jobs) = (gate.clone(), jobs.clone());
        tokio::spawn(async move {
            drop(gate.acquire().await);
            let Ok(permit) = gate.acquire_owned().await else { return };
            let _ = jobs.send(permit).await;
        });
    }
    drop(jobs);
    drop(worker.await);
}

async fn mapped_guard() {
    let lock = Arc::new(Mutex::new((1, 2)));
    let held = lock.clone();
    tokio::spawn(async move {
        let held = held.lock().await;
        let mut second = MutexGuard::map(held, |both| &mut both.1);
        sleep(ms(3000)).await;
        *second += 1;
    });
    sleep(ms(20)).await;
    drop(lock.lock().await);
}

async fn downgraded() {
    let lock = Arc::new(RwLock::new(1));
    let written = lock.clone();
    tokio::spawn(async move {
        let held = written.write().await;
        sleep(ms(30)).await;
        let read = RwLockWriteGuard::downgrade(held);
        sleep(ms(3000)).await;
        drop(read);
    });
    sleep(ms(60)).await;
    drop(lock.read().await);
    *lock.write().await += 1;
}

/// As often before, somebody tries for a permit; this time he keeps it for long.
async fn tried_again() {
    let gate = Arc::new(Semaphore::new(3));
    let tried = gate.clone();
    tokio::spawn(async move {
        for pause in [1, 1, 3000] {
            let held = tried.try_acquire();
            sleep(ms(pause)).await;
            drop(held);
            sleep(ms(5)).await;
        }
    });
    sleep(ms(60)).await;
    let mut tasks = Vec::new();
    for _ in 0..2 {
        let gate = gate.clone();
        tasks.push(tokio::spawn(async move {
            let _first = gate.acquire().await;
            sleep(ms(30)).await;
            drop(gate.acquire().await);
        }));
    }
    for task in tasks {
        drop(task.await);
    }
}

async fn tried_guards() {
    let (lock, table) = (Arc::new(Mutex::new(1)), Arc::new(RwLock::new(2)));
    let (held, read) = (lock.clone(), table.clone());
    tokio::spawn(async move {
        let (_held, _read) = (held.try_lock(), read.try_read());
        sleep(ms(3000)).await;
    });
    sleep(ms(20)).await;
    let written = table.clone();
    let writer = tokio::spawn(async move { *written.write().await += 1 });
    assert!(table.try_write().is_err(), "somebody reads");
    drop(lock.lock().await);
    drop(writer.await);
}

/// Permits are forgotten by who took them, and made anew by somebody else.
async fn refilled() {
    let gate = Arc::new(Semaphore::new(2));
    let (done, mut finished) = mpsc::channel(8);
    let filled = gate.clone();
    tokio::spawn(async move {
        while let Some(pause) = finished.recv().await {
            sleep(ms(pause)).await;
            filled.add_permits(1);
        }
    });
    for pause in [1, 1, 1, 1, 3000, 3000] {
        let Ok(permit) = gate.acquire().await else { return };
        permit.forget();
        let _ = done.send(pause).await;
    }
    drop(gate.acquire().await);
}

/// A gate that is opened late, and wider later on.
async fn opened_gate() {
    let gate = Arc::new(Semaphore::new(0));
    let opened = gate.clone();
    tokio::spawn(async move {
        for (pause, permits) in [(100, 1), (3000, 2)] {
            sleep(ms(pause)).await;
            opened.add_permits(permits);
        }
    });
    let mut tasks = Vec::new();
    for _ in 0..3 {
        let gate = gate.clone();
        tasks.push(tokio::spawn(async move {
            let _one = gate.acquire().await;
            sleep(ms(3000)).await;
        }));
    }
    for task in tasks {
        drop(task.await);
    }
}

/// Waits that are given up in the queue, some with a part of what they ask for.
async fn given_up() {
    let (gate, lock) = (Arc::new(Semaphore::new(3)), Arc::new(Mutex::new(1)));
    let (taken, held) = (gate.clone(), lock.clone());
    tokio::spawn(async move {
        let (_two, _held) = (taken.acquire_many(2).await, held.lock().await);
        sleep(ms(3000)).await;
    });
    sleep(ms(20)).await;
    let mut tasks = Vec::new();
    for number in 0..6_u64 {
        let (gate, lock) = (gate.clone(), lock.clone());
        tasks.push(tokio::spawn(async move {
            for _ in 0..10 {
                tokio::select! {
                    _ = gate.acquire_many(2) => {}
                    _ = lock.lock() => {}
                    () = sleep(ms(10 + number)) => {}
                }
            }
            drop(gate.acquire_many(2).await);
        }));
    }
    for task in tasks {
        drop(task.await);
    }
}

/// Who waits at a semaphore or a channel is sent away when it is closed.
async fn closed() {
    let gate = Arc::new(Semaphore::new(1));
    let (jobs, mut queue) = mpsc::channel(1);
    let closed = gate.clone();
    tokio::spawn(async move {
        let _held = closed.acquire().await;
        sleep(ms(3000)).await;
        closed.close();
        queue.close();
        while queue.recv().await.is_some() {}
    });
    sleep(ms(20)).await;
    let waiting = tokio::spawn(async move { gate.acquire().await.is_ok() });
    while jobs.send(1).await.is_ok() {}
    assert!(!waiting.await.unwrap_or(true), "the gate was closed");
}

/// So many requests at a time, whoever makes them; the clock gives them back.
async fn token_bucket() {
    let bucket = Arc::new(Semaphore::new(4));
    let filled = bucket.clone();
    tokio::spawn(async move {
        loop {
            sleep(ms(3000)).await;
            filled.add_permits(4);
        }
    });
    for _ in 0..6 {
        let Ok(token) = bucket.acquire().await else { return };
        token.forget();
        sleep(ms(2)).await;
    }
}
