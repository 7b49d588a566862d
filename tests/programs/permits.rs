//! More programs that wait: permits that come back by other ways than a guard, and waits with a timeout.

use super::forever;
use super::runner::ms;
use std::sync::Arc;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::{sleep, timeout};

// Those that never move again, or not for half a minute. A comment names the line where.

/// A connection of a pool, which goes back from a task of its own.
struct Connection(Arc<Semaphore>);

impl Connection {
    async fn of(pool: &Arc<Semaphore>) -> Option<Connection> {
        let permit = timeout(ms(30_000), pool.acquire()).await;
        permit.ok()?.ok()?.forget();
        Some(Connection(pool.clone()))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let pool = self.0.clone();
        tokio::spawn(async move {
            sleep(ms(1)).await;
            pool.add_permits(1);
        });
    }
}

pub(super) async fn returned_pool() {
    let pool = Arc::new(Semaphore::new(3));
    for _ in 0..5 {
        let pool = pool.clone();
        tokio::spawn(async move {
            for _ in 0..10 {
                let _one = Connection::of(&pool).await;
                sleep(ms(2)).await;
            }
            sleep(ms(50)).await;
            let _first = Connection::of(&pool).await;
            sleep(ms(300)).await;
            let _second = second(&pool).await;
        });
    }
    forever().await;
}

async fn second(pool: &Arc<Semaphore>) -> Option<Connection> {
    let permit = timeout(ms(30_000), pool.acquire()).await; // returned_pool
    permit.ok()?.ok()?.forget();
    Some(Connection(pool.clone()))
}

pub(super) async fn patient() {
    let (left, right) = (Arc::new(Mutex::new(1)), Arc::new(Mutex::new(2)));
    for (first, second) in [(left.clone(), right.clone()), (right, left)] {
        tokio::spawn(async move {
            let _held = first.lock().await;
            sleep(ms(300)).await;
            drop(timeout(ms(30_000), second.lock()).await); // patient
        });
    }
    forever().await;
}

pub(super) async fn leak() {
    let gate = Arc::new(Semaphore::new(3));
    for number in 0.. {
        let Ok(permit) = gate.acquire().await else { return };
        drop(permit);
        let gate = gate.clone();
        tokio::spawn(async move {
            let Ok(permit) = gate.acquire().await else { return }; // leak
            permit.forget();
            if number % 2 == 0 {
                return;
            }
            gate.add_permits(1);
        });
        sleep(ms(5)).await;
    }
}

// Those that only look like it.

pub(super) async fn moved_permits() {
    let gate = Arc::new(Semaphore::new(2));
    for number in 0..4 {
        let Ok(permit) = gate.clone().acquire_owned().await else { return };
        tokio::spawn(async move {
            sleep(ms(2500 + number)).await;
            drop(permit);
        });
    }
}

/// As above, by hand, and one generation further.
pub(super) async fn forgotten_permits() {
    let gate = Arc::new(Semaphore::new(2));
    for number in 0..4 {
        let Ok(permit) = gate.acquire().await else { return };
        permit.forget();
        let gate = gate.clone();
        tokio::spawn(async move {
            tokio::spawn(async move {
                sleep(ms(2500 + number)).await;
                gate.add_permits(1);
            });
        });
    }
}

/// The taker ends at once; the permit is with the task it spawned.
pub(super) async fn inherited_permits() {
    let gate = Arc::new(Semaphore::new(2));
    for number in 0..4 {
        let gate = gate.clone();
        tokio::spawn(async move {
            let Ok(permit) = gate.acquire_owned().await else { return };
            tokio::spawn(async move {
                sleep(ms(2500 + number)).await;
                drop(permit);
            });
        });
        sleep(ms(5)).await;
    }
    sleep(ms(5500)).await;
}

/// One permit is with a task that took it without waiting, of which no event tells.
pub(super) async fn tried_permits() {
    let gate = Arc::new(Semaphore::new(3));
    let tried = gate.clone();
    tokio::spawn(async move {
        let _held = tried.try_acquire();
        sleep(ms(2400)).await;
    });
    sleep(ms(20)).await;
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

/// So many requests in two seconds: nobody gives a permit back, the clock does.
pub(super) async fn rate_limit() {
    let gate = Arc::new(Semaphore::new(3));
    let filled = gate.clone();
    tokio::spawn(async move {
        loop {
            sleep(ms(2_500)).await;
            filled.add_permits(3);
        }
    });
    let mut requests = Vec::new();
    for _ in 0..5 {
        let gate = gate.clone();
        requests.push(tokio::spawn(async move {
            if let Ok(permit) = gate.acquire().await {
                permit.forget();
            }
        }));
    }
    for request in requests {
        drop(request.await);
    }
}
