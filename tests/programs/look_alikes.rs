//! Programs that wait for long, in all the ways that look like waiting for ever.

use futures_util::StreamExt;
use futures_util::stream::iter;
use runner::{ms, programs};
use std::future::Future;
use std::process::Command;
use std::sync::Arc;
use tokio::sync::{Barrier, Mutex, Notify, OnceCell, Semaphore, broadcast, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};

mod runner;

#[rustfmt::skip]
fn main() {
    runner::run(programs!(
        buffered_permits, buffered_locks, slow_arm, notified_arm, oneshot_escape, barrier_escape, interval_escape,
        retries, shutdown, aborts, barrier, once_cell, broadcasts, join_set, paused,
    ));
}

/// A step of which no event tells when it ends: it is somebody else's work.
async fn elsewhere(millis: u64) {
    drop(tokio::spawn(sleep(ms(millis))).await);
}

/// While an item is worked on, the stream is not polled: its futures hold what the others of them wait for.
async fn buffered_permits() {
    let gate = Arc::new(Semaphore::new(1));
    let mut items = iter(0..6)
        .map(|number| {
            let gate = gate.clone();
            async move {
                let _one = gate.acquire().await;
                sleep(ms(5)).await;
                number
            }
        })
        .buffer_unordered(3);
    for _ in 0..2 {
        items.next().await;
        elsewhere(3000).await;
    }
}

async fn buffered_locks() {
    let lock = Arc::new(Mutex::new(0));
    let mut items = iter(0..6)
        .map(|number| {
            let lock = lock.clone();
            async move {
                let mut held = lock.lock().await;
                sleep(ms(5)).await;
                *held += number;
            }
        })
        .buffer_unordered(3);
    for _ in 0..2 {
        items.next().await;
        elsewhere(3000).await;
    }
}

async fn slow_arm() {
    let lock = Arc::new(Mutex::new(1));
    let holder = lock.clone();
    tokio::spawn(async move {
        loop {
            let held = holder.lock().await;
            sleep(ms(150)).await;
            drop(held);
            sleep(ms(10)).await;
        }
    });
    sleep(ms(20)).await;
    let mut ticks = interval(ms(20));
    for _ in 0..2 {
        let wanted = lock.lock();
        tokio::pin!(wanted);
        loop {
            tokio::select! {
                _ = &mut wanted => break,
                _ = ticks.tick() => elsewhere(3000).await,
            }
        }
    }
}

/// Holds a lock and waits for one; the arm of news is what ends it.
async fn notified_arm() {
    let (lock, news) = (Arc::new(Mutex::new(1)), Arc::new(Notify::new()));
    let (held, told) = (lock.clone(), news.clone());
    tokio::spawn(async move {
        let _held = held.lock().await;
        sleep(ms(3000)).await;
        told.notify_one();
        sleep(ms(100)).await;
    });
    sleep(ms(20)).await;
    tokio::select! {
        _ = lock.lock() => {}
        () = news.notified() => {}
    }
}

/// Two tasks that hold a lock each and want the other's, or that something else happens.
async fn crossed<F: Future<Output = ()> + Send + 'static>(escape: impl Fn() -> F) {
    let (left, right) = (Arc::new(Mutex::new(1)), Arc::new(Mutex::new(2)));
    let mut tasks = Vec::new();
    for (first, second) in [(left.clone(), right.clone()), (right, left)] {
        let escape = escape();
        tasks.push(tokio::spawn(async move {
            let _held = first.lock().await;
            sleep(ms(30)).await;
            tokio::select! {
                _ = second.lock() => {}
                () = escape => {}
            }
        }));
    }
    for task in tasks {
        drop(task.await);
    }
}

async fn oneshot_escape() {
    crossed(|| {
        let (word, told) = oneshot::channel();
        tokio::spawn(async move {
            sleep(ms(3000)).await;
            word.send(())
        });
        async move { drop(told.await) }
    })
    .await;
}

async fn barrier_escape() {
    let barrier = Arc::new(Barrier::new(3));
    let third = barrier.clone();
    tokio::spawn(async move {
        sleep(ms(3000)).await;
        third.wait().await;
    });
    crossed(|| {
        let barrier = barrier.clone();
        async move {
            barrier.wait().await;
        }
    })
    .await;
}

async fn interval_escape() {
    crossed(|| async {
        let mut ticks = interval(ms(700));
        for _ in 0..6 {
            ticks.tick().await;
        }
    })
    .await;
}

/// Each keeps its permit while it waits for another, but not for long: a cycle for moments, again and again.
async fn retries() {
    let gate = Arc::new(Semaphore::new(2));
    let mut tasks = Vec::new();
    for number in 0..2 {
        let gate = gate.clone();
        tasks.push(tokio::spawn(async move {
            for round in 0..100 {
                let _held = gate.acquire().await;
                sleep(ms(10)).await;
                drop(timeout(ms(20 + 13 * number + round % 7), gate.acquire()).await);
            }
        }));
    }
    for task in tasks {
        drop(task.await);
    }
}

/// `main` returns while tasks wait at a lock, a semaphore and a full channel.
async fn shutdown() {
    let (lock, gate) = (Arc::new(Mutex::new(1)), Arc::new(Semaphore::new(1)));
    let (jobs, mut queue) = mpsc::channel(1);
    let (held, taken) = (lock.clone(), gate.clone());
    tokio::spawn(async move {
        let (_held, _taken) = (held.lock().await, taken.acquire().await);
        queue.recv().await;
        std::future::pending::<()>().await;
    });
    sleep(ms(20)).await;
    for _ in 0..3 {
        let (lock, gate, jobs) = (lock.clone(), gate.clone(), jobs.clone());
        tokio::spawn(async move { *lock.lock().await += 1 });
        tokio::spawn(async move { gate.acquire().await.is_ok() });
        tokio::spawn(async move { while jobs.send(1).await.is_ok() {} });
    }
    sleep(ms(1600)).await;
}

/// Tasks are aborted at what they wait for and with what they hold.
async fn aborts() {
    let lock = Arc::new(Mutex::new(1));
    let (held, wanted, last) = (lock.clone(), lock.clone(), lock);
    let holder = tokio::spawn(async move {
        let _held = held.lock().await;
        std::future::pending::<()>().await;
    });
    sleep(ms(20)).await;
    let waiter = tokio::spawn(async move { *wanted.lock().await += 1 });
    let last = tokio::spawn(async move { *last.lock().await += 1 });
    sleep(ms(1600)).await;
    waiter.abort();
    holder.abort();
    drop(last.await);
}

/// Two wait at the barrier with a lock held that others want; the third comes late.
async fn barrier() {
    let (barrier, lock) = (Arc::new(Barrier::new(3)), Arc::new(Mutex::new(1)));
    let mut tasks = Vec::new();
    for number in 0..3_u64 {
        let (barrier, lock) = (barrier.clone(), lock.clone());
        tasks.push(tokio::spawn(async move {
            let held = if number == 0 { Some(lock.lock().await) } else { None };
            sleep(ms(1500 * number)).await;
            barrier.wait().await;
            drop(held);
        }));
    }
    sleep(ms(20)).await;
    drop(lock.lock().await);
    for task in tasks {
        drop(task.await);
    }
}

async fn once_cell() {
    let (cell, lock) = (Arc::new(OnceCell::new()), Arc::new(Mutex::new(1)));
    let first = cell.clone();
    tokio::spawn(async move { *first.get_or_init(|| async { elsewhere(3000).await }).await });
    sleep(ms(20)).await;
    for _ in 0..2 {
        let (cell, lock) = (cell.clone(), lock.clone());
        tokio::spawn(async move {
            let _held = lock.lock().await;
            cell.get_or_init(|| async {}).await;
        });
    }
    sleep(ms(20)).await;
    drop(lock.lock().await);
}

async fn broadcasts() {
    let (news, _) = broadcast::channel::<u64>(2);
    let lock = Arc::new(Mutex::new(1));
    let mut tasks = Vec::new();
    for _ in 0..3 {
        let (mut heard, lock) = (news.subscribe(), lock.clone());
        tasks.push(tokio::spawn(async move {
            let _held = lock.lock().await;
            heard.recv().await.is_ok()
        }));
    }
    sleep(ms(3000)).await;
    assert!(news.send(1).is_ok(), "somebody listens");
    drop(news);
    for task in tasks {
        drop(task.await);
    }
}

/// Holds a lock until all its tasks are done, while others want it.
async fn join_set() {
    let lock = Arc::new(Mutex::new(1));
    let held = lock.clone();
    let drained = tokio::spawn(async move {
        let _held = held.lock().await;
        let mut tasks = JoinSet::new();
        for number in 0..8 {
            tasks.spawn(sleep(ms(2400 + number * 100)));
        }
        while tasks.join_next().await.is_some() {}
    });
    sleep(ms(20)).await;
    drop(lock.lock().await);
    drop(drained.await);
}

/// The whole process is stopped for three seconds, as a debugger does, while locks are held and waited for.
async fn paused() {
    let locks = Arc::new([Mutex::new(0_u64), Mutex::new(0)]);
    let mut tasks = Vec::new();
    for number in 0..6 {
        let locks = locks.clone();
        tasks.push(tokio::spawn(async move {
            for _ in 0..100 {
                let mut first = locks[0].lock().await;
                sleep(ms(3)).await;
                *first += number;
                *locks[1].lock().await += *first;
            }
        }));
    }
    sleep(ms(100)).await;
    let process = std::process::id();
    let debugger = format!("kill -STOP {process}; sleep 3; kill -CONT {process}");
    let Ok(mut debugger) = Command::new("sh").arg("-c").arg(debugger).spawn() else { return };
    for task in tasks {
        drop(task.await);
    }
    sleep(ms(300)).await;
    drop(tokio::task::spawn_blocking(move || debugger.wait()).await);
}
