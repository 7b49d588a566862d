//! Programs whose tasks stand still: for good, for a while, or because that is what they are for. The first argument
//! chooses one; the second the runtime.

#![expect(clippy::unwrap_used, reason = "a program that cannot go on fails")]

mod runner;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use runner::{ms, programs};
use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex as Lock};
use std::task::{Context, Poll, Waker};
use std::time::Instant;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Barrier, Mutex, Notify, Semaphore, broadcast, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};

#[rustfmt::skip]
fn main() {
    runner::run(programs!(
        places,
        forgets_its_waker, notified_too_early, keeps_its_sender, blocks_the_end, waits_in_a_ring,
        pends_on_purpose, const_locks, serves, fed_by_a_thread, asked_by_a_thread, ends_slowly, in_a_collection, ends_tasks,
        supervises, rests,
    ));
}

/// One task for each way to await; a comment tells what its line is to be said to wait for.
async fn places() {
    let (message, mut messages) = mpsc::channel::<u8>(1);
    let (unbounded, mut unlimited) = mpsc::unbounded_channel::<u8>();
    let (answer, asked) = oneshot::channel::<u8>();
    let (value, mut values) = watch::channel(0);
    let (news, mut heard) = broadcast::channel::<u8>(4);
    let (full, _unread) = mpsc::channel::<u8>(1);
    let notify = Arc::new(Notify::new());
    let (first, second) = (notify.clone(), notify.clone());
    let lock = Arc::new(Mutex::new(0));
    let (held, wanted) = (lock.clone(), lock.clone());
    let gate = Arc::new(Semaphore::new(0));
    let (listener, socket) = (TcpListener::bind("127.0.0.1:0").await, UdpSocket::bind("127.0.0.1:0").await);
    let (listener, socket) = (listener.unwrap(), socket.unwrap());
    let address = listener.local_addr().unwrap();
    let sleeper = tokio::spawn(async { sleep(ms(60_000)).await }); // a timer
    let _keep = held.lock().await;

    tokio::spawn(async move {
        messages.recv().await;
        messages.recv().await // a message
    });
    message.send(1).await.unwrap();
    tokio::spawn(async move { unlimited.recv().await }); // a message
    tokio::spawn(async move { drop(asked.await) }); // an answer (oneshot)
    tokio::spawn(async move { values.changed().await }); // a new value (watch)
    tokio::spawn(async move { heard.recv().await }); // a message
    tokio::spawn(async move { first.notified().await }); // a notification
    tokio::spawn(async move { drop(sleeper.await) }); // the end of a task
    tokio::spawn(async move {
        let mut tasks = JoinSet::new();
        tasks.spawn(pending::<()>());
        tasks.join_next().await // the end of a task
    });
    tokio::spawn(async move { *wanted.lock().await += 1 }); // a lock or permit
    tokio::spawn(async move { gate.acquire().await.is_ok() }); // a lock or permit
    tokio::spawn(async move {
        sleep(ms(100)).await;
        full.send(1).await.unwrap();
        full.send(2).await // a lock or permit
    });
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut byte = [0];
        stream.read(&mut byte).await // I/O
    });
    let _stream = TcpStream::connect(address).await;
    tokio::spawn(async move { socket.recv(&mut [0]).await }); // I/O
    tokio::spawn(async {
        let mut ticks = interval(ms(60_000));
        ticks.tick().await;
        ticks.tick().await; // a timer
    });
    tokio::spawn(async move { timeout(ms(60_000), second.notified()).await }); // a notification or a timer
    tokio::spawn(async move {
        let (mut one, mut other) = (value.subscribe(), news.subscribe());
        tokio::select! { // a message or a new value (watch)
            _ = one.changed() => {}
            _ = other.recv() => {}
        }
        drop((unbounded, answer, value, news));
    });
    tokio::spawn(async { join_all((0..40).map(|_| pending::<()>())).await }); // one of several futures
    tokio::spawn(async {
        let mut several = FuturesUnordered::new();
        several.push(pending::<()>());
        several.next().await // one of several futures
    });
    sleep(ms(60_000)).await; // a timer
}

// Those that never move again. A comment names the line where.

/// Ready once told; keeps the first waker it is given.
struct Told(Arc<Lock<(bool, Option<Waker>)>>, bool);

impl Future for Told {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let state = self.0.clone();
        let mut state = state.lock().unwrap();
        if state.0 {
            return Poll::Ready(());
        }
        if !self.1 {
            state.1 = Some(context.waker().clone()); // forgets_its_waker
            self.1 = true;
        }
        Poll::Pending
    }
}

async fn forgets_its_waker() {
    let state = Arc::new(Lock::new((false, None::<Waker>)));
    tokio::spawn(Told(state.clone(), false));
    let early = loop {
        sleep(ms(5)).await;
        if let Some(waker) = state.lock().unwrap().1.take() {
            break waker;
        }
    };
    early.wake();
    loop {
        sleep(ms(100)).await;
    }
}

/// Two tasks stop each other with locks that tokio does not trace, since they were made before any subscriber.
async fn const_locks() {
    static LEFT: Mutex<u64> = Mutex::const_new(1);
    static RIGHT: Mutex<u64> = Mutex::const_new(2);
    let met = Arc::new(Barrier::new(2));
    let mut tasks = JoinSet::new();
    for (first, second) in [(&LEFT, &RIGHT), (&RIGHT, &LEFT)] {
        let met = met.clone();
        tasks.spawn(async move {
            let _held = first.lock().await;
            met.wait().await;
            *second.lock().await += 1; // const_locks
        });
    }
    while tasks.join_next().await.is_some() {}
}

async fn notified_too_early() {
    let ready = Arc::new((AtomicBool::new(false), Notify::new(), AtomicUsize::new(0)));
    let (mut waiters, mut late) = (JoinSet::new(), Vec::new());
    for number in 0..6 {
        let ready = ready.clone();
        let (go, told) = oneshot::channel::<()>();
        late.extend((number > 2).then_some(go));
        waiters.spawn(async move {
            if !ready.0.load(Ordering::Acquire) {
                ready.2.fetch_add(1, Ordering::AcqRel);
                let _ = told.await;
                ready.1.notified().await; // notified_too_early
            }
        });
    }
    while ready.2.load(Ordering::Acquire) < 6 {
        sleep(ms(5)).await;
    }
    sleep(ms(20)).await;
    ready.0.store(true, Ordering::Release);
    ready.1.notify_waiters();
    drop(late);
    while waiters.join_next().await.is_some() {}
}

async fn keeps_its_sender() {
    let (sender, mut receiver) = mpsc::channel::<u64>(4);
    let again = sender.clone();
    let worker = tokio::spawn(async move {
        while let Some(job) = next(&mut receiver).await {
            if job.is_multiple_of(7) {
                again.send(job + 1).await.unwrap();
            }
        }
    });
    let feeder = tokio::spawn(async move {
        let begun = Instant::now();
        for job in (0..).take_while(|_| begun.elapsed() < ms(1100)) {
            sender.send(job).await.unwrap();
            sleep(ms(8)).await;
        }
    });
    feeder.await.unwrap();
    worker.await.unwrap();
}

async fn next(receiver: &mut mpsc::Receiver<u64>) -> Option<u64> {
    receiver.recv().await // keeps_its_sender
}

async fn blocks_the_end() {
    let (kept, lines) = std::sync::mpsc::channel::<String>();
    std::mem::forget(kept);
    tokio::task::spawn_blocking(move || lines.recv()); // blocks_the_end
    sleep(ms(100)).await;
}

// Nothing moves, and nothing tells why.

async fn waits_in_a_ring() {
    let ((left, from_left), (right, from_right)) = (oneshot::channel::<u8>(), oneshot::channel::<u8>());
    let one = tokio::spawn(async move {
        let got = from_right.await;
        left.send(got.unwrap_or(0))
    });
    let other = tokio::spawn(async move {
        let got = from_left.await;
        right.send(got.unwrap_or(0))
    });
    drop((one.await, other.await));
}

// Those that are well.

async fn pends_on_purpose() {
    for _ in 0..3 {
        tokio::spawn(async {
            sleep(ms(50)).await;
            pending::<()>().await;
        });
    }
    tokio::spawn(async { sleep(ms(10)).await });
    pending::<()>().await;
}

async fn serves() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (job, mut jobs) = mpsc::channel::<TcpStream>(4);
    let worker = tokio::spawn(async move { while jobs.recv().await.is_some() {} });
    let server = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(job.send(stream).await);
        }
    });
    drop((server.await, worker.await));
}

async fn fed_by_a_thread() {
    let (job, mut jobs) = mpsc::channel::<u64>(4);
    std::thread::spawn(move || {
        for number in 0..5 {
            std::thread::sleep(ms(20));
            job.blocking_send(number).unwrap_or_default();
        }
        std::thread::sleep(ms(60_000));
        drop(job);
    });
    let once = tokio::spawn(async { sleep(ms(1200)).await });
    let worker = tokio::spawn(async move { while jobs.recv().await.is_some() {} });
    drop((once.await, worker.await));
}

async fn asked_by_a_thread() {
    let (stop, stopped) = oneshot::channel::<()>();
    std::thread::spawn(move || {
        std::thread::sleep(ms(60_000));
        stop.send(())
    });
    let (_job, mut jobs) = mpsc::channel::<u64>(4);
    tokio::spawn(async move { jobs.recv().await });
    drop(stopped.await);
}

async fn ends_slowly() {
    tokio::task::spawn_blocking(|| std::thread::sleep(ms(700)));
    sleep(ms(300)).await;
}

async fn in_a_collection() {
    let gate = Arc::new(Notify::new());
    let mut waits: Vec<_> = (0..8).map(|_| Box::pin(gate.notified())).collect();
    let held = tokio::spawn({
        let gate = gate.clone();
        async move {
            sleep(ms(2200)).await;
            gate.notify_waiters();
        }
    });
    poll_fn(|context| {
        waits.retain_mut(|wait| wait.as_mut().poll(context).is_pending());
        if waits.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    held.await.unwrap();
}

async fn ends_tasks() {
    let told = Arc::new(Lock::new((false, None::<Waker>)));
    for _ in 0..20 {
        let waiting = tokio::spawn(Told(told.clone(), false));
        sleep(ms(20)).await;
        if let Some(waker) = told.lock().unwrap().1.take() {
            waker.wake();
        }
        sleep(ms(20)).await;
        waiting.abort();
    }
    sleep(ms(1500)).await;
}

async fn supervises() {
    let mut tasks = JoinSet::new();
    tasks.spawn(async { sleep(ms(1100)).await });
    tasks.spawn(async {
        let mut ticks = interval(ms(500));
        loop {
            ticks.tick().await;
        }
    });
    let (_stop, mut stopped) = watch::channel(false);
    tasks.spawn(async move { drop(stopped.changed().await) });
    while tasks.join_next().await.is_some() {}
}

async fn rests() {
    let (_job, mut jobs) = mpsc::channel::<u64>(4);
    tokio::spawn(async move { jobs.recv().await });
    sleep(ms(60_000)).await;
}
