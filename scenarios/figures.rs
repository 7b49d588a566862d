//! What every service reports about itself: requests, latency, and whether anything was lost.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The figures of one run.
pub(crate) struct Figures {
    asked: AtomicU64,
    answered: Mutex<Vec<Duration>>,
    end: Instant,
}

impl Figures {
    /// Starts the clock, and a log line a second for as long as the service lives.
    pub(crate) fn start() -> Arc<Self> {
        let seconds = std::env::var("SERVICE_SECONDS")
            .ok()
            .and_then(|text| text.parse::<f64>().ok())
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .unwrap_or(Duration::from_secs(3));
        let figures = Arc::new(Self {
            asked: AtomicU64::new(0),
            answered: Mutex::new(Vec::new()),
            end: Instant::now() + seconds,
        });
        // A thread, so that the log goes on when the runtime does not.
        let watched = Arc::downgrade(&figures);
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(Duration::from_secs(1));
                let Some(figures) = watched.upgrade() else {
                    break;
                };
                figures.log();
            }
        });
        figures
    }

    /// Whether clients should go on asking.
    pub(crate) fn open(&self) -> bool {
        Instant::now() < self.end
    }

    /// A client asks; hand what this returns to [`Figures::answered`].
    pub(crate) fn asked(&self) -> Instant {
        self.asked_at(Instant::now())
    }

    /// A client asks, and has wanted to since `due`.
    pub(crate) fn asked_at(&self, due: Instant) -> Instant {
        self.asked.fetch_add(1, Ordering::Relaxed);
        due
    }

    /// The answer came, and it was the answer to the question.
    pub(crate) fn answered(&self, asked: Instant) {
        let took = asked.elapsed();
        self.answered.lock().unwrap_or_else(PoisonError::into_inner).push(took);
    }

    /// Prints the one line of figures; `books` says whether the service's own sums came out even.
    #[expect(clippy::print_stdout, reason = "the line of figures is what a service is for")]
    pub(crate) fn report(&self, books: bool) {
        println!("{}", self.line(books));
    }

    #[expect(clippy::print_stderr, reason = "the log of a service goes to stderr")]
    fn log(&self) {
        let open = self.asked.load(Ordering::Relaxed);
        eprintln!("figures asked={open} so far {}", self.line(true));
    }

    fn line(&self, books: bool) -> String {
        let mut took = self.answered.lock().unwrap_or_else(PoisonError::into_inner).clone();
        took.sort_unstable();
        let conserved = books && took.len() as u64 == self.asked.load(Ordering::Relaxed);
        format!(
            r#"{{"requests":{},"p50_ms":{:.2},"p99_ms":{:.2},"conserved":{conserved}}}"#,
            took.len(),
            percentile(&took, 50),
            percentile(&took, 99),
        )
    }
}

fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).map_or(0.0, |took| took.as_secs_f64() * 1000.0)
}
