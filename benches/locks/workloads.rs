//! What is done under each contender. Each workload is one kind of operation, as often as fits into the time.

use crate::measure::clock::Clock;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Mutex, RwLock, Semaphore, mpsc};

/// Nanoseconds an operation took.
type Measured = Pin<Box<dyn Future<Output = f64>>>;

/// One kind of work.
pub(crate) struct Workload {
    /// Its name in tables and options.
    pub(crate) name: &'static str,
    /// What one operation is, for people.
    pub(crate) operation: &'static str,
    /// Does it for so long, after a warm-up.
    pub(crate) run: fn(Duration) -> Measured,
}

pub(crate) const WORKLOADS: [Workload; 5] = [
    Workload { name: "mutex", operation: "lock and unlock, uncontended", run: |time| Box::pin(mutex(time)) },
    Workload {
        name: "mutex-contended",
        operation: "lock, yield, unlock; 2 tasks, so every lock waits",
        run: |time| Box::pin(mutex_contended(time)),
    },
    Workload { name: "rwlock-read", operation: "read lock and unlock", run: |time| Box::pin(rwlock_read(time)) },
    Workload { name: "semaphore", operation: "acquire and give back", run: |time| Box::pin(semaphore(time)) },
    Workload {
        name: "mpsc-ping-pong",
        operation: "round trip over two bounded channels of 1",
        run: |time| Box::pin(ping_pong(time)),
    },
];

/// The result of a task: a benchmark that lost a task has no result.
async fn result<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    tokio::spawn(work).await.expect("no task of a benchmark panics")
}

async fn mutex(time: Duration) -> f64 {
    let lock = Mutex::new(0_u64);
    result(async move {
        let mut clock = Clock::start(time);
        while clock.goes_on() {
            for _ in 0..clock.batch() {
                *lock.lock().await += 1;
            }
        }
        clock.nanos_each()
    })
    .await
}

async fn rwlock_read(time: Duration) -> f64 {
    let lock = RwLock::new(1_u64);
    result(async move {
        let mut clock = Clock::start(time);
        let mut sum = 0;
        while clock.goes_on() {
            for _ in 0..clock.batch() {
                sum += *lock.read().await;
            }
        }
        std::hint::black_box(sum);
        clock.nanos_each()
    })
    .await
}

async fn semaphore(time: Duration) -> f64 {
    let gate = Semaphore::new(8);
    result(async move {
        let mut clock = Clock::start(time);
        while clock.goes_on() {
            for _ in 0..clock.batch() {
                drop(gate.acquire().await);
            }
        }
        clock.nanos_each()
    })
    .await
}

/// The holder yields while it holds, so the other finds the lock taken.
async fn mutex_contended(time: Duration) -> f64 {
    let lock = Arc::new(Mutex::new(0_u64));
    let (over, others) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (other_lock, other_over, counted) = (lock.clone(), over.clone(), others.clone());
    let other = tokio::spawn(async move {
        while !other_over.load(Ordering::Relaxed) {
            let mut held = other_lock.lock().await;
            tokio::task::yield_now().await;
            *held += 1;
            drop(held);
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let nanos = result(async move {
        let mut clock = Clock::start(time);
        let mut before = others.load(Ordering::Relaxed);
        while clock.goes_on() {
            for _ in 0..clock.batch() {
                let mut held = lock.lock().await;
                tokio::task::yield_now().await;
                *held += 1;
            }
            let now = others.load(Ordering::Relaxed);
            clock.also(now - std::mem::replace(&mut before, now));
        }
        clock.nanos_each()
    })
    .await;
    over.store(true, Ordering::Relaxed);
    other.await.expect("no task of a benchmark panics");
    nanos
}

async fn ping_pong(time: Duration) -> f64 {
    let (ping, mut pings) = mpsc::channel(1);
    let (pong, mut pongs) = mpsc::channel(1);
    let other = tokio::spawn(async move {
        while let Some(number) = pings.recv().await {
            if pong.send(number).await.is_err() {
                return;
            }
        }
    });
    let nanos = result(async move {
        let mut clock = Clock::start(time);
        while clock.goes_on() {
            for number in 0..clock.batch() {
                ping.send(number).await.expect("the other end lives as long as this one");
                pongs.recv().await.expect("the other end lives as long as this one");
            }
        }
        clock.nanos_each()
    })
    .await;
    other.await.expect("no task of a benchmark panics");
    nanos
}
