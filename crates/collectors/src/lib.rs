//! The classic collectors of async Rust, started inside the observed program by its environment.
//!
//! `POLLSCOPE_COLLECT=console,flame,pprof,metrics` (or `all`) says which, `POLLSCOPE_COLLECT_DIR` where to:
//!
//! | collector | writes | with |
//! |---|---|---|
//! | `console` | the socket `console.sock`, for tokio-console or pollscope | console-subscriber |
//! | `flame` | `flame.folded`, the program's own spans | tracing-flame |
//! | `pprof` | `cpu.pb.gz`, addresses only | pprof |
//! | `metrics` | `metrics.jsonl`, a row each 100 ms: the runtime, and tasks by name | tokio-metrics |
//!
//! `POLLSCOPE_CONSOLE_ADDRESS` (`127.0.0.1:6669`) has the console listen there instead of on its socket.
//!
//! The first two need the program's one place for a tracing subscriber; `POLLSCOPE_TRACE=1` says that the program leaves
//! it free.
//!
//! Nothing here knows of pollscope's own recording. Every file is whole at any time, since a program that hangs is
//! killed; and a collector that cannot work says so in one line on stderr and leaves the program and the others alone.

mod claim;
#[cfg(feature = "console")]
mod console;
#[cfg(feature = "pprof")]
mod cpu;
#[cfg(any(feature = "pprof", feature = "flame"))]
mod file;
#[cfg(feature = "flame")]
mod flame;
#[cfg(feature = "metrics")]
mod metrics;
#[cfg(any(feature = "console", feature = "flame"))]
mod subscriber;
#[cfg(feature = "metrics")]
mod tasks;
#[cfg_attr(
    not(any(feature = "flame", feature = "pprof", feature = "metrics")),
    expect(dead_code, reason = "the console has a thread of its own kind")
)]
mod ticker;

use std::future::Future;
use std::path::PathBuf;
use std::sync::{Mutex, Once, OnceLock, PoisonError};
#[cfg(feature = "metrics")]
pub use tasks::Metered;
use ticker::Ticker;
use tokio::runtime::Builder;

/// The collectors there are.
pub const NAMES: [&str; 4] = ["console", "flame", "pprof", "metrics"];

/// What runs in this process.
struct Running {
    wanted: Wanted,
    tickers: Mutex<Vec<Ticker>>,
}

struct Wanted {
    names: Vec<&'static str>,
    dir: PathBuf,
}

impl Wanted {
    fn has(&self, name: &str) -> bool {
        self.names.contains(&name)
    }
}

static RUNNING: OnceLock<Option<Running>> = OnceLock::new();

/// Starts what the environment asks for, once; next to free if it asks for nothing. To be called before the runtime of
/// `builder` is built: the metrics need its histogram of poll times.
pub fn start(builder: &mut Builder) {
    let running = RUNNING.get_or_init(|| {
        let wanted = wanted()?;
        #[cfg_attr(
            not(any(feature = "pprof", feature = "console", feature = "flame")),
            expect(unused_mut, reason = "metrics begin when the runtime is there")
        )]
        let mut tickers = Vec::new();
        // First, as long as the program has one thread only: see there.
        #[cfg(feature = "pprof")]
        if wanted.has("pprof") {
            tickers.extend(cpu::start(&wanted.dir));
        }
        #[cfg(any(feature = "console", feature = "flame"))]
        tickers.extend(subscriber::start(&wanted));
        Some(Running { wanted, tickers: Mutex::new(tickers) })
    });
    if running.as_ref().is_some_and(|running| running.wanted.has("metrics")) {
        #[cfg(all(tokio_unstable, feature = "metrics"))]
        builder.enable_metrics_poll_time_histogram();
    }
    let _ = builder;
}

/// Tells the collectors that the program's runtime is the current one. To be called inside of it; only the first call
/// counts.
pub fn runtime_entered() {
    static FIRST: Once = Once::new();
    let Some(Some(running)) = RUNNING.get() else { return };
    FIRST.call_once(|| {
        #[cfg(feature = "metrics")]
        if running.wanted.has("metrics")
            && let Ok(handle) = tokio::runtime::Handle::try_current()
        {
            let ticker = metrics::start(&running.wanted.dir, &handle);
            running.tickers.lock().unwrap_or_else(PoisonError::into_inner).extend(ticker);
        }
        let _ = running;
    });
}

/// Measures a future for the metrics under this name; gives it back where they are not collected.
///
/// # Errors
///
/// The future itself: the metrics were not asked for, or there are too many names.
pub fn metered<F: Future>(name: &'static str, future: F) -> Result<Metered<F>, F> {
    #[cfg(feature = "metrics")]
    if let Some(Some(running)) = RUNNING.get()
        && running.wanted.has("metrics")
    {
        return tasks::metered(name, future);
    }
    let _ = name;
    Err(future)
}

/// A future that is measured: there is none in this build.
#[cfg(not(feature = "metrics"))]
#[derive(Debug)]
pub struct Metered<F>(std::convert::Infallible, std::marker::PhantomData<F>);

#[cfg(not(feature = "metrics"))]
impl<F: Future + Unpin> Future for Metered<F> {
    type Output = F::Output;

    fn poll(self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> std::task::Poll<F::Output> {
        match self.0 {}
    }
}

/// Ends the collectors in order: what they have seen reaches the disk.
pub fn finish() {
    let Some(Some(running)) = RUNNING.get() else { return };
    #[cfg(feature = "console")]
    if running.wanted.has("console") {
        console::linger();
    }
    for ticker in std::mem::take(&mut *running.tickers.lock().unwrap_or_else(PoisonError::into_inner)) {
        ticker.finish();
    }
    claim::release(&running.wanted.dir);
}

/// Whether the environment asks for a collector that needs the program's place for a tracing subscriber.
#[must_use]
pub fn needs_tracing() -> bool {
    let list = std::env::var("POLLSCOPE_COLLECT").unwrap_or_default();
    let (names, _) = read_list(&list);
    (cfg!(feature = "console") && names.contains(&"console")) || (cfg!(feature = "flame") && names.contains(&"flame"))
}

/// What the environment asks for, as far as this build can do it.
fn wanted() -> Option<Wanted> {
    let list = std::env::var("POLLSCOPE_COLLECT").ok().filter(|list| !list.is_empty())?;
    let Some(dir) = std::env::var_os("POLLSCOPE_COLLECT_DIR").filter(|dir| !dir.is_empty()) else {
        complain("nothing is collected: POLLSCOPE_COLLECT is set, but POLLSCOPE_COLLECT_DIR names no folder");
        return None;
    };
    let (names, strangers) = read_list(&list);
    for stranger in strangers {
        complain(&format!("there is no collector `{stranger}`; there are {}", NAMES.join(", ")));
    }
    if names.is_empty() {
        return None;
    }
    let dir = PathBuf::from(dir);
    if let Err(why) = claim::claim(&dir) {
        complain(&format!("nothing is collected: {why}"));
        return None;
    }
    let built = [
        ("console", cfg!(feature = "console")),
        ("flame", cfg!(feature = "flame")),
        ("pprof", cfg!(feature = "pprof")),
        ("metrics", cfg!(feature = "metrics")),
    ];
    let (names, missing): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| built.contains(&(*name, true)));
    for name in missing {
        complain(&format!("{name}: this program was built without that feature of pollscope-collectors"));
    }
    Some(Wanted { names, dir })
}

/// The collectors that a list names, and what it names besides.
fn read_list(list: &str) -> (Vec<&'static str>, Vec<&str>) {
    let (mut names, mut strangers) = (Vec::new(), Vec::new());
    for word in list.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        match (word, NAMES.iter().find(|name| **name == word)) {
            ("all", _) => names.extend(NAMES),
            ("none", _) => {}
            (_, Some(name)) => names.push(*name),
            (_, None) => strangers.push(word),
        }
    }
    names.sort_unstable();
    names.dedup();
    (names, strangers)
}

#[expect(clippy::print_stderr, reason = "the one place where the collectors speak: what cannot be collected")]
fn complain(sentence: &str) {
    eprintln!("pollscope: {sentence}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read() {
        assert_eq!(read_list("pprof, flame,pprof"), (vec!["flame", "pprof"], vec![]));
        assert_eq!(read_list("all").0.len(), NAMES.len());
        assert_eq!(read_list("none"), (vec![], vec![]));
        assert_eq!(read_list("pprof,perf"), (vec!["pprof"], vec!["perf"]));
    }
}
