//! Programs that borrow the value of a `watch` channel. The first argument chooses one; the second the runtime.

mod runner;

use runner::{ms, programs};
use tokio::sync::{oneshot, watch};
use tokio::time::sleep;

fn main() {
    runner::run(programs!(kept, kept_and_read, short, slow_change, contended));
}

// Those that never move again. A comment names the lines where.

/// Waits with the borrow for somebody who sends first.
async fn kept() {
    let (sender, receiver) = watch::channel(1);
    let (done, finished) = oneshot::channel();
    let value = receiver.borrow();
    tokio::spawn(async move {
        let _ = sender.send(2); // kept
        let _ = done.send(());
    });
    let _ = finished.await;
    drop(value);
}

/// As above, and others borrow behind the one who sends.
async fn kept_and_read() {
    let (sender, receiver) = watch::channel(1);
    let reader = receiver.clone();
    let (done, finished) = oneshot::channel();
    let value = receiver.borrow();
    tokio::spawn(async move {
        sender.send_modify(|value| *value += 1); // kept_and_read
        let _ = done.send(());
    });
    tokio::spawn(async move {
        loop {
            sleep(ms(20)).await;
            drop(reader.borrow()); // kept_and_read
        }
    });
    let _ = finished.await;
    drop(value);
}

// Those that only look like it.

async fn short() {
    let (sender, mut receiver) = watch::channel(1);
    tokio::spawn(async move {
        for number in 0..100 {
            let _ = sender.send(number);
            sleep(ms(10)).await;
        }
    });
    while receiver.changed().await.is_ok() {
        let value = *receiver.borrow_and_update();
        sleep(ms(value / 10)).await;
    }
}

/// Whoever sends takes long over it, and everybody else waits.
async fn slow_change() {
    let (sender, receiver) = watch::channel(1);
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let receiver = receiver.clone();
            tokio::spawn(async move {
                for _ in 0..20 {
                    sleep(ms(50)).await;
                    drop(receiver.borrow());
                }
            })
        })
        .collect();
    for _ in 0..2 {
        sleep(ms(100)).await;
        sender.send_modify(|value| {
            std::thread::sleep(ms(1300));
            *value += 1;
        });
    }
    for reader in readers {
        let _ = reader.await;
    }
}

async fn contended() {
    let (sender, receiver) = watch::channel(vec![1; 1000]);
    let tasks: Vec<_> = (0..4_u64)
        .map(|number| {
            let (sender, receiver) = (sender.clone(), receiver.clone());
            tokio::spawn(async move {
                for _ in 0..1000 {
                    if number % 2 == 0 {
                        sender.send_modify(|values| values.reverse());
                    } else {
                        drop(receiver.borrow().clone());
                    }
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for task in tasks {
        let _ = task.await;
    }
}
