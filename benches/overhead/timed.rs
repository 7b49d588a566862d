//! Work whose operations are too short to be timed one by one.

use crate::measure::clock::Clock;
use crate::spawner::{result, spawn};
use crate::workloads::Measured;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{Mutex, mpsc};

fn measured(clock: &Clock) -> Measured {
    Measured::of("time", clock.nanos_each(), clock.all())
}

/// Wakes itself as often as it says: the smallest poll there is.
struct Turns(u64);

impl Future for Turns {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.0 == 0 {
            return Poll::Ready(());
        }
        self.0 -= 1;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

pub(crate) async fn poll(time: Duration) -> Measured {
    result(async move {
        let mut clock = Clock::start(time);
        while clock.goes_on() {
            Turns(clock.batch()).await;
        }
        measured(&clock)
    })
    .await
}

pub(crate) async fn spawns(time: Duration) -> Measured {
    result(async move {
        let mut clock = Clock::start(time);
        while clock.goes_on() {
            for _ in 0..clock.batch() {
                result(async {}).await;
            }
        }
        measured(&clock)
    })
    .await
}

pub(crate) async fn ping_pong(time: Duration) -> Measured {
    let (ping, mut pings) = mpsc::channel(1);
    let (pong, mut pongs) = mpsc::channel(1);
    let other = spawn(async move {
        while let Some(number) = pings.recv().await {
            if pong.send(number).await.is_err() {
                return;
            }
        }
    });
    let measured = result(async move {
        let mut clock = Clock::start(time);
        while clock.goes_on() {
            for number in 0..clock.batch() {
                ping.send(number).await.expect("the other end lives as long as this one");
                pongs.recv().await.expect("the other end lives as long as this one");
            }
        }
        measured(&clock)
    })
    .await;
    other.await.expect("no task of a benchmark panics");
    measured
}

pub(crate) async fn mutex(time: Duration) -> Measured {
    let lock = Mutex::new(0_u64);
    result(async move {
        let mut clock = Clock::start(time);
        while clock.goes_on() {
            for _ in 0..clock.batch() {
                *lock.lock().await += 1;
            }
        }
        measured(&clock)
    })
    .await
}

/// The holder yields while it holds, so the other finds the lock taken.
pub(crate) async fn mutex_contended(time: Duration) -> Measured {
    let lock = Arc::new(Mutex::new(0_u64));
    let (over, others) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (other_lock, other_over, counted) = (lock.clone(), over.clone(), others.clone());
    let other = spawn(async move {
        while !other_over.load(Ordering::Relaxed) {
            let mut held = other_lock.lock().await;
            tokio::task::yield_now().await;
            *held += 1;
            drop(held);
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let measured = result(async move {
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
        measured(&clock)
    })
    .await;
    over.store(true, Ordering::Relaxed);
    other.await.expect("no task of a benchmark panics");
    measured
}
