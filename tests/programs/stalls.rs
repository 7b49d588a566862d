//! Stalls of many lengths and sorts, each written down by the program itself: one line on stdout with its length, and
//! with how late others came meanwhile who wanted to run; both in microseconds. The others are a thread of its own that
//! looks every other millisecond, and the watchdog itself, as far as it was the kernel or the machine that kept it.

#[path = "runner.rs"]
mod runner;

use runner::{ms, programs};
use std::hint::black_box;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};
use tokio::time::sleep;

fn main() {
    runner::run(programs![sleeps, computes, waits, reads]);
}

/// Lengths from twice the threshold up, and one below, in milliseconds.
const LENGTHS: [u64; 8] = [40, 15, 55, 80, 45, 120, 60, 250];
const ROUNDS: usize = 2;

/// Does each length in a poll of its own, and writes down how long it took.
async fn stalled(stall: impl Fn(Duration) + Send + Sync + 'static) {
    let looker = Arc::new(Looker { began: Instant::now(), came: AtomicU64::new(0), late: AtomicU64::new(0) });
    std::thread::spawn({
        let looker = looker.clone();
        move || looker.look()
    });
    let stalls = tokio::spawn(async move {
        for millis in LENGTHS.iter().cycle().take(LENGTHS.len() * ROUNDS) {
            sleep(ms(10)).await;
            looker.late.store(0, Ordering::Relaxed);
            let watchdog = Watchdog::find();
            let (began, before) = (Instant::now(), watchdog.kept());
            stall(ms(*millis));
            let (took, late) = (began.elapsed(), looker.late());
            // What it waited for a processor is known once it has run again.
            let ran = watchdog.runs();
            while watchdog.runs() == ran && watchdog.is_there() {
                sleep(ms(2)).await;
            }
            told(took, late.max(watchdog.kept().saturating_sub(before)));
        }
    });
    assert!(stalls.await.is_ok(), "all of them were done");
}

#[expect(clippy::print_stdout, reason = "what the test counts against")]
fn told(took: Duration, late: u64) {
    println!("stall {} {late}", took.as_micros());
}

/// A thread that looks often, as whoever watches does: if it comes late, so may others.
struct Looker {
    began: Instant,
    came: AtomicU64,
    late: AtomicU64,
}

/// How often it looks, in microseconds.
const LOOK_EVERY: u64 = 2000;

impl Looker {
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn look(&self) {
        loop {
            std::thread::sleep(Duration::from_micros(LOOK_EVERY));
            self.late.fetch_max(self.overdue(), Ordering::Relaxed);
            self.came.store(self.now(), Ordering::Relaxed);
        }
    }

    fn overdue(&self) -> u64 {
        self.now().saturating_sub(self.came.load(Ordering::Relaxed) + LOOK_EVERY)
    }

    /// How late it was at worst, up to now.
    fn late(&self) -> u64 {
        self.late.load(Ordering::Relaxed).max(self.overdue())
    }
}

/// The figures the kernel has of the watchdog, by the folder of its thread.
struct Watchdog(Option<PathBuf>);

impl Watchdog {
    fn find() -> Watchdog {
        let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
        let named = |path: &PathBuf| {
            std::fs::read_to_string(path.join("comm")).is_ok_and(|name| name.trim_end() == "pollscope-watch")
        };
        Watchdog(threads.map(|thread| thread.path()).find(named))
    }

    fn is_there(&self) -> bool {
        self.figure(0).is_some()
    }

    /// One of: time on a processor, time it waited for one, both in nanoseconds, and how often it got one.
    fn figure(&self, which: usize) -> Option<u64> {
        let text = std::fs::read_to_string(self.0.as_ref()?.join("schedstat")).ok()?;
        text.split_ascii_whitespace().nth(which)?.parse().ok()
    }

    fn runs(&self) -> Option<u64> {
        self.figure(2)
    }

    /// Microseconds it could have run and did not, up to now, and those that the machine's host took from all.
    fn kept(&self) -> u64 {
        /// The kernel counts what the host took in hundredths of a second.
        const TICK: u64 = 10_000;
        let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        let stolen = stat.lines().next().and_then(|all| all.split_ascii_whitespace().nth(8)?.parse::<u64>().ok());
        self.figure(1).unwrap_or(0) / 1000 + stolen.unwrap_or(0) * TICK
    }
}

async fn sleeps() {
    stalled(std::thread::sleep).await;
}

async fn computes() {
    stalled(|length| {
        let began = Instant::now();
        let mut sum = 1_u64;
        while began.elapsed() < length {
            sum = black_box(sum.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
        }
    })
    .await;
}

/// Waits at a condition variable and at a channel of std's, by turns.
async fn waits() {
    let (_never, wanted) = mpsc::channel::<()>();
    let wanted = Mutex::new(wanted);
    let pair = Arc::new((Mutex::new(0_u64), Condvar::new()));
    stalled(move |length| {
        let mut turns = pair.0.lock().unwrap_or_else(PoisonError::into_inner);
        *turns += 1;
        if turns.is_multiple_of(2) {
            drop(pair.1.wait_timeout(turns, length));
        } else {
            let _ = wanted.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(length);
        }
    })
    .await;
}

/// Reads what another thread sends late.
async fn reads() {
    let Ok((near, far)) = UnixStream::pair() else { return };
    std::thread::spawn(move || -> std::io::Result<()> {
        let (mut from, mut to) = (far.try_clone()?, far);
        let mut millis = [0; 8];
        loop {
            from.read_exact(&mut millis)?;
            std::thread::sleep(ms(u64::from_be_bytes(millis)));
            to.write_all(&[1])?;
        }
    });
    stalled(move |length| {
        let millis = u64::try_from(length.as_millis()).unwrap_or(0);
        let asked = (&near).write_all(&millis.to_be_bytes());
        assert!(asked.and_then(|()| (&near).read_exact(&mut [0])).is_ok(), "the other thread answers");
    })
    .await;
}
