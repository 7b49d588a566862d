//! Programs that wait: for ever, or only for long. The first argument chooses one; the second the runtime.

use runner::{ms, programs};
use std::sync::Arc;
use tokio::sync::{Mutex, Notify, RwLock, Semaphore, mpsc};
use tokio::time::{interval, sleep, timeout};

mod permits;
mod runner;
use permits::*;

#[rustfmt::skip]
fn main() {
    runner::run(programs!(
        abba, triangle, three_kinds, five, mixed, owned, relock, reread, upgrade, pool, circle, self_send, futurelock, leak,
        returned_pool, patient,
        forgotten_permits, inherited_permits, tried_permits, rate_limit,
        long_holder, nested_holders, moved_permits, dispatched_permits, select_borrowed, timed_locks, slow_consumer,
        notify_under_lock, writer_behind_readers, ordered_locks, draining_pool, idle_server,
    ));
}

async fn forever() {
    std::future::pending().await
}

// Those that never move again. A comment names the line where.

async fn abba() {
    let (left, right) = (Arc::new(Mutex::new(1)), Arc::new(Mutex::new(2)));
    for (first, second) in [(left.clone(), right.clone()), (right, left)] {
        tokio::spawn(async move {
            let held = first.lock().await;
            sleep(ms(300)).await;
            let _both = *held + *second.lock().await; // abba
        });
    }
    forever().await;
}

async fn three_kinds() {
    let (book, gate) = (Arc::new(RwLock::new(1)), Arc::new(Semaphore::new(1)));
    let lock = Arc::new(Mutex::new(1));
    let (written, other_gate, other_lock) = (book.clone(), gate.clone(), lock.clone());
    tokio::spawn(async move {
        let _held = book.read().await;
        sleep(ms(300)).await;
        let _open = gate.acquire().await; // three_kinds
    });
    tokio::spawn(async move {
        let _open = other_gate.acquire().await;
        sleep(ms(300)).await;
        *lock.lock().await += 1; // three_kinds
    });
    tokio::spawn(async move {
        let _held = other_lock.lock().await;
        sleep(ms(300)).await;
        *written.write().await += 1; // three_kinds
    });
    forever().await;
}

async fn triangle() {
    ring(3).await;
}

async fn five() {
    ring(5).await;
}

async fn ring(tasks: usize) {
    let locks: Vec<_> = (0..tasks).map(|number| Arc::new(Mutex::new(number))).collect();
    for number in 0..tasks {
        let (first, second) = (locks[number].clone(), locks[(number + 1) % tasks].clone());
        tokio::spawn(async move {
            let held = first.lock().await;
            sleep(ms(300)).await;
            let _both = *held + *second.lock().await; // triangle five
        });
    }
    forever().await;
}

async fn mixed() {
    let (lock, gate) = (Arc::new(RwLock::new(1)), Arc::new(Semaphore::new(1)));
    let (other_lock, other_gate) = (lock.clone(), gate.clone());
    tokio::spawn(async move {
        let _open = gate.acquire().await;
        sleep(ms(300)).await;
        *lock.write().await += 1; // mixed
    });
    tokio::spawn(async move {
        let _held = other_lock.read().await;
        sleep(ms(300)).await;
        let _open = other_gate.acquire().await; // mixed
    });
    forever().await;
}

async fn owned() {
    let (left, right) = (Arc::new(Mutex::new(1)), Arc::new(Mutex::new(2)));
    for (first, second) in [(left.clone(), right.clone()), (right, left)] {
        tokio::spawn(async move {
            let held = first.lock_owned().await;
            sleep(ms(300)).await;
            let _both = *held + *second.lock_owned().await; // owned
        });
    }
    forever().await;
}

async fn relock() {
    let lock = Arc::new(Mutex::new(1));
    tokio::spawn(async move {
        let held = lock.lock().await;
        let _sum = *held + again(&lock).await;
    });
    forever().await;
}

async fn again(lock: &Mutex<i32>) -> i32 {
    *lock.lock().await // relock
}

async fn reread() {
    let lock = Arc::new(RwLock::new(1));
    let written = lock.clone();
    tokio::spawn(async move {
        let held = lock.read().await;
        sleep(ms(600)).await;
        let _sum = *held + *lock.read().await; // reread
    });
    tokio::spawn(async move {
        sleep(ms(300)).await;
        *written.write().await += 1;
    });
    forever().await;
}

async fn upgrade() {
    let lock = Arc::new(RwLock::new(1));
    tokio::spawn(async move {
        let held = lock.read().await;
        *lock.write().await += *held; // upgrade
    });
    forever().await;
}

async fn pool() {
    let pool = Arc::new(Semaphore::new(3));
    for _ in 0..5 {
        let pool = pool.clone();
        tokio::spawn(async move {
            let _first = pool.acquire().await;
            sleep(ms(300)).await;
            let _second = pool.acquire().await; // pool
        });
    }
    forever().await;
}

async fn circle() {
    let (to_left, mut from_right) = mpsc::channel(2);
    let (to_right, mut from_left) = mpsc::channel(2);
    tokio::spawn(async move {
        from_left.recv().await;
        loop {
            for number in 0..5 {
                let _ = to_left.send(number).await; // circle
            }
            from_left.recv().await;
        }
    });
    tokio::spawn(async move {
        let _ = to_right.send(0).await;
        from_right.recv().await;
        loop {
            for number in 0..5 {
                let _ = to_right.send(number).await; // circle
            }
            from_right.recv().await;
        }
    });
    forever().await;
}

async fn self_send() {
    let (queue, mut work) = mpsc::channel(2);
    tokio::spawn(async move {
        let _ = queue.send(3).await;
        while let Some(children) = work.recv().await {
            for _ in 0..children {
                let _ = queue.send(children).await; // self_send
            }
        }
    });
    forever().await;
}

async fn futurelock() {
    let lock = Arc::new(Mutex::new(1));
    let holder = lock.clone();
    tokio::spawn(async move {
        let _held = holder.lock().await;
        sleep(ms(600)).await;
    });
    tokio::spawn(async move {
        sleep(ms(20)).await;
        let mut first = Box::pin(lock.lock());
        tokio::select! {
            _ = &mut first => {}
            () = sleep(ms(20)) => *lock.lock().await += 1, // futurelock
        }
    });
    forever().await;
}

// Those that only look like it.

async fn long_holder() {
    let lock = Arc::new(Mutex::new(1));
    let held = lock.clone();
    tokio::spawn(async move {
        let _held = held.lock().await;
        sleep(ms(2500)).await;
    });
    sleep(ms(20)).await;
    drop(lock.lock().await);
}

async fn nested_holders() {
    let (outer, inner) = (Arc::new(Mutex::new(1)), Arc::new(Mutex::new(2)));
    let (held, below) = (outer.clone(), inner.clone());
    tokio::spawn(async move {
        let _held = below.lock().await;
        sleep(ms(2500)).await;
    });
    sleep(ms(20)).await;
    tokio::spawn(async move {
        let _outer = held.lock().await;
        drop(inner.lock().await);
    });
    sleep(ms(20)).await;
    drop(outer.lock().await);
}

async fn dispatched_permits() {
    let gate = Arc::new(Semaphore::new(2));
    let (jobs, mut queue) = mpsc::channel(8);
    tokio::spawn(async move {
        while let Some(permit) = queue.recv().await {
            sleep(ms(2500)).await;
            drop(permit);
        }
    });
    for _ in 0..4 {
        let Ok(permit) = gate.clone().acquire_owned().await else { return };
        let _ = jobs.send(permit).await;
    }
}

async fn select_borrowed() {
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
    let mut ticks = interval(ms(20));
    for _ in 0..2 {
        let wanted = lock.lock();
        tokio::pin!(wanted);
        loop {
            tokio::select! {
                _ = &mut wanted => break,
                _ = ticks.tick() => sleep(ms(1300)).await,
            }
        }
    }
}

async fn timed_locks() {
    let (left, right) = (Arc::new(Mutex::new(1)), Arc::new(Mutex::new(2)));
    let mut tasks = Vec::new();
    for (first, second, patience) in [(left.clone(), right.clone(), 1600), (right, left, 1700)] {
        tasks.push(tokio::spawn(async move {
            let _held = first.lock().await;
            sleep(ms(30)).await;
            drop(timeout(ms(patience), second.lock()).await);
        }));
    }
    for task in tasks {
        drop(task.await);
    }
}

async fn slow_consumer() {
    let (queue, mut work) = mpsc::channel(2);
    tokio::spawn(async move {
        while work.recv().await.is_some() {
            sleep(ms(2500)).await;
        }
    });
    for number in 0..4 {
        let _ = queue.send(number).await;
    }
}

async fn notify_under_lock() {
    let (lock, news) = (Arc::new(Mutex::new(1)), Arc::new(Notify::new()));
    let (held, heard) = (lock.clone(), news.clone());
    tokio::spawn(async move {
        let _held = held.lock().await;
        heard.notified().await;
    });
    tokio::spawn(async move {
        sleep(ms(2500)).await;
        news.notify_one();
    });
    sleep(ms(20)).await;
    drop(lock.lock().await);
}

async fn writer_behind_readers() {
    let lock = Arc::new(RwLock::new(1));
    for number in 0..3 {
        let lock = lock.clone();
        tokio::spawn(async move {
            let _held = lock.read().await;
            sleep(ms(2500 + number * 100)).await;
        });
    }
    sleep(ms(20)).await;
    let written = lock.clone();
    let writer = tokio::spawn(async move { *written.write().await += 1 });
    sleep(ms(20)).await;
    drop(lock.read().await);
    drop(writer.await);
}

async fn ordered_locks() {
    let locks = Arc::new([Mutex::new(0), Mutex::new(0), Mutex::new(0)]);
    let mut tasks = Vec::new();
    for number in 0..40_u64 {
        let locks = locks.clone();
        tasks.push(tokio::spawn(async move {
            for _ in 0..20 {
                let mut first = locks[0].lock().await;
                let mut second = locks[1].lock().await;
                *first += 1;
                tokio::task::yield_now().await;
                *second += *first;
                if number % 3 == 0 {
                    drop(timeout(ms(2), locks[2].lock()).await);
                }
                sleep(ms(1)).await;
            }
        }));
    }
    for task in tasks {
        drop(task.await);
    }
}

async fn draining_pool() {
    let pool = Arc::new(Semaphore::new(2));
    let mut tasks = Vec::new();
    for number in 0..6 {
        let pool = pool.clone();
        tasks.push(tokio::spawn(async move {
            let Ok(_held) = pool.acquire().await else { return };
            sleep(ms(2500 + number * 10)).await;
        }));
    }
    for task in tasks {
        drop(task.await);
    }
}

async fn idle_server() {
    let Ok(listener) = tokio::net::TcpListener::bind("127.0.0.1:0").await else { return };
    let served = Arc::new(Mutex::new(0));
    for _ in 0..3 {
        let (_queue, mut work) = mpsc::channel::<u64>(1);
        let served = served.clone();
        tokio::spawn(async move {
            let mut held = served.lock().await;
            *held += 1;
            drop(held);
            work.recv().await
        });
    }
    drop(timeout(ms(2500), listener.accept()).await);
}
