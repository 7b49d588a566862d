//! Programs that take two locks at a time, and never meet. The first argument chooses one; the second the runtime.

mod runner;

use runner::{ms, programs};
use std::sync::Arc;
use tokio::sync::{Mutex, RwLock, Semaphore, mpsc, oneshot};
use tokio::time::sleep;

type Lock = Arc<Mutex<u64>>;

#[rustfmt::skip]
fn main() {
    runner::run(programs!(
        once, by_turns, three, mixed, many_tasks, selected,
        gated, read_gated, gate_permit, tried, dropped, readers, spawned_after, joined, phases, alone, instances,
        sent_guard, joined_futures, gathered, other_pairs,
    ));
}

fn pair() -> (Lock, Lock) {
    (Arc::new(Mutex::new(1)), Arc::new(Mutex::new(2)))
}

/// Holds the first while it takes the second, and something happens meanwhile.
async fn both(first: &Mutex<u64>, second: &Mutex<u64>) {
    let held = first.lock().await;
    sleep(ms(2)).await;
    let mut taken = second.lock().await;
    *taken += *held;
}

// Those that might have stopped for ever. A comment names the lines.

async fn once() {
    let (left, right) = pair();
    let (l, r) = (left.clone(), right.clone());
    let one = tokio::spawn(async move {
        let held = l.lock().await;
        let _sum = *held + *r.lock().await; // once
    });
    let other = tokio::spawn(async move {
        sleep(ms(100)).await;
        let held = right.lock().await;
        let _sum = *held + *left.lock().await; // once
    });
    let _ = (one.await, other.await);
}

async fn by_turns() {
    let (left, right) = pair();
    let mut tasks = Vec::new();
    for (first, second, pause) in [(left.clone(), right.clone(), 0), (right, left, 50)] {
        tasks.push(tokio::spawn(async move {
            sleep(ms(pause)).await;
            for _ in 0..5 {
                let held = first.lock().await;
                let _sum = *held + *second.lock().await; // by_turns
                drop(held);
                sleep(ms(100)).await;
            }
        }));
    }
    for task in tasks {
        let _ = task.await;
    }
}

async fn three() {
    let locks: Vec<Lock> = (0..3).map(|number| Arc::new(Mutex::new(number))).collect();
    let mut tasks = Vec::new();
    for number in 0..3 {
        let (first, second) = (locks[number].clone(), locks[(number + 1) % 3].clone());
        tasks.push(tokio::spawn(async move {
            sleep(ms(number as u64 * 100)).await;
            let held = first.lock().await;
            let _sum = *held + *second.lock().await; // three
        }));
    }
    for task in tasks {
        let _ = task.await;
    }
}

async fn mixed() {
    let (book, gate) = (Arc::new(RwLock::new(1)), Arc::new(Semaphore::new(1)));
    let (read, key) = (book.clone(), gate.clone());
    let one = tokio::spawn(async move {
        let held = read.read().await;
        let _permit = key.acquire().await; // mixed
        let _sum = *held + 1;
    });
    let other = tokio::spawn(async move {
        sleep(ms(100)).await;
        let _permit = gate.acquire().await;
        *book.write().await += 1; // mixed
    });
    let _ = (one.await, other.await);
}

/// A task for each request, as servers have them.
async fn many_tasks() {
    let (left, right) = pair();
    let mut tasks = Vec::new();
    for number in 0..40 {
        let (left, right) = (left.clone(), right.clone());
        tasks.push(tokio::spawn(async move {
            sleep(ms(number * 10)).await;
            let (first, second) = if number % 10 == 3 { (&right, &left) } else { (&left, &right) };
            let held = first.lock().await;
            let _sum = *held + *second.lock().await; // many_tasks
        }));
    }
    for task in tasks {
        let _ = task.await;
    }
}

/// Under a `select!` that only waits for the end.
async fn selected() {
    let (left, right) = pair();
    let mut tasks = Vec::new();
    for (first, second, pause) in [(left.clone(), right.clone(), 0), (right, left, 100)] {
        tasks.push(tokio::spawn(async move {
            let work = async {
                sleep(ms(pause)).await;
                let held = first.lock().await;
                let _sum = *held + *second.lock().await; // selected
            };
            tokio::select! {
                () = work => {}
                () = sleep(ms(10_000)) => {}
            }
        }));
    }
    for task in tasks {
        let _ = task.await;
    }
}

// Those that cannot.

/// Runs two bodies in two tasks, one well after the other and neither waiting for it.
async fn apart<A, B>(one: A, other: B)
where
    A: Future<Output = ()> + Send + 'static,
    B: Future<Output = ()> + Send + 'static,
{
    let one = tokio::spawn(async move {
        one.await;
        sleep(ms(300)).await;
    });
    let other = tokio::spawn(async move {
        sleep(ms(100)).await;
        other.await;
    });
    let _ = (one.await, other.await);
}

async fn gated() {
    let (gate, (left, right)) = (Arc::new(Mutex::new(())), pair());
    let (g, l, r) = (gate.clone(), left.clone(), right.clone());
    let one = async move {
        let _open = g.lock().await;
        both(&l, &r).await;
    };
    apart(one, async move {
        let _open = gate.lock().await;
        both(&right, &left).await;
    })
    .await;
}

async fn read_gated() {
    let (gate, (left, right)) = (Arc::new(RwLock::new(())), pair());
    let (g, l, r) = (gate.clone(), left.clone(), right.clone());
    let one = async move {
        let _open = g.read().await;
        both(&l, &r).await;
    };
    apart(one, async move {
        let _open = gate.write().await;
        both(&right, &left).await;
    })
    .await;
}

async fn gate_permit() {
    let (gate, (left, right)) = (Arc::new(Semaphore::new(1)), pair());
    let (g, l, r) = (gate.clone(), left.clone(), right.clone());
    let one = async move {
        let _open = g.acquire().await;
        both(&l, &r).await;
    };
    apart(one, async move {
        let _open = gate.acquire().await;
        both(&right, &left).await;
    })
    .await;
}

async fn tried() {
    let (left, right) = pair();
    let (l, r) = (left.clone(), right.clone());
    apart(async move { both(&l, &r).await }, async move {
        let held = right.lock().await;
        if let Ok(mut taken) = left.try_lock() {
            *taken += *held;
        }
    })
    .await;
}

async fn dropped() {
    let (left, right) = pair();
    let (l, r) = (left.clone(), right.clone());
    apart(async move { both(&l, &r).await }, async move {
        let sum = *right.lock().await;
        *left.lock().await += sum;
    })
    .await;
}

async fn readers() {
    let (left, right) = (Arc::new(RwLock::new(1)), Arc::new(RwLock::new(2)));
    let (l, r) = (left.clone(), right.clone());
    let one = async move {
        let held = l.read().await;
        let _sum = *held + *r.read().await;
    };
    apart(one, async move {
        let held = right.read().await;
        let _sum = *held + *left.read().await;
    })
    .await;
}

/// The parent has done with both before the child begins.
async fn spawned_after() {
    let (left, right) = pair();
    both(&left, &right).await;
    let _ = tokio::spawn(async move { both(&right, &left).await }).await;
}

/// The child is over before the parent begins.
async fn joined() {
    let (left, right) = pair();
    let (l, r) = (left.clone(), right.clone());
    let _ = tokio::spawn(async move { both(&l, &r).await }).await;
    both(&right, &left).await;
}

/// The first is over before the second is spawned.
async fn phases() {
    let (left, right) = pair();
    let (l, r) = (left.clone(), right.clone());
    let _ = tokio::spawn(async move { both(&l, &r).await }).await;
    let _ = tokio::spawn(async move { both(&right, &left).await }).await;
}

/// One task takes both orders, and there is no other.
async fn alone() {
    let (left, right) = pair();
    let task = tokio::spawn(async move {
        both(&left, &right).await;
        both(&right, &left).await;
    });
    let _ = task.await;
}

/// By address, as `std::ptr` gives it: the same code takes each pair in one order.
async fn instances() {
    let locks: Arc<Vec<Mutex<u64>>> = Arc::new((0..4).map(Mutex::new).collect());
    let mut tasks = Vec::new();
    for number in 0..12_usize {
        let locks = locks.clone();
        tasks.push(tokio::spawn(async move {
            let (from, to) = (&locks[number % 4], &locks[(number * 3 + 1) % 4]);
            if std::ptr::eq(from, to) {
                return;
            }
            let ordered = std::ptr::from_ref(from) < std::ptr::from_ref(to);
            let (first, second) = if ordered { (from, to) } else { (to, from) };
            both(first, second).await;
            sleep(ms(100)).await;
        }));
    }
    for task in tasks {
        let _ = task.await;
    }
}

/// The first guard is with another task when the second lock is taken.
async fn sent_guard() {
    let (left, right) = pair();
    let (l, r) = (left.clone(), right.clone());
    let one = async move {
        let held = l.lock_owned().await;
        let (give, get) = oneshot::channel();
        let keeper = tokio::spawn(async move {
            let _held = held;
            let _ = get.await;
        });
        sleep(ms(5)).await;
        *r.lock().await += 1;
        let _ = give.send(());
        let _ = keeper.await;
    };
    apart(one, async move { both(&right, &left).await }).await;
}

async fn hold(lock: Lock, millis: u64) {
    let mut held = lock.lock().await;
    sleep(ms(millis)).await;
    *held += 1;
}

/// Two futures of one task hold a lock each; neither waits for the other's.
async fn joined_futures() {
    let (left, right) = pair();
    let (l, r) = (left.clone(), right.clone());
    let one = async move {
        tokio::join!(hold(l, 10), async {
            sleep(ms(2)).await;
            *r.lock().await += 1;
        });
    };
    apart(one, async move {
        tokio::join!(hold(right, 10), async {
            sleep(ms(2)).await;
            *left.lock().await += 1;
        });
    })
    .await;
}

/// As many as there are, polled by hand.
async fn gathered() {
    let (left, right) = pair();
    let (l, r) = (left.clone(), right.clone());
    let all = |locks: [Lock; 2]| async move {
        let [first, second] = locks;
        let mut futures = [Box::pin(hold(first, 10)), Box::pin(hold(second, 8))];
        let mut done = [false; 2];
        std::future::poll_fn(|cx| {
            for (future, done) in futures.iter_mut().zip(&mut done) {
                *done = *done || future.as_mut().poll(cx).is_ready();
            }
            if done.iter().all(|done| *done) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
    };
    apart(all([l, r]), all([right, left])).await;
}

/// Orders that contradict each other only by the kind of their locks: no two locks are the same.
async fn other_pairs() {
    let (jobs, mut queue) = mpsc::channel::<(Lock, Lock, bool)>(8);
    let worker = tokio::spawn(async move {
        while let Some((first, second, turned)) = queue.recv().await {
            let _ =
                tokio::spawn(
                    async move { if turned { both(&second, &first).await } else { both(&first, &second).await } },
                )
                .await;
        }
    });
    for turn in 0..20 {
        let (first, second) = pair();
        let _ = jobs.send((first, second, turn % 2 == 0)).await;
    }
    drop(jobs);
    let _ = worker.await;
}
