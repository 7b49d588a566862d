//! The program's own metrics: what the agent takes in is counted on its way, by the drain, and shown to whoever asks.
//!
//! A program that is built with the feature `metrics` serves them where `POLLSCOPE_METRICS` says, for Prometheus:
//!
//! ```text
//! POLLSCOPE_METRICS=127.0.0.1:9464 ./service
//! curl http://127.0.0.1:9464/metrics
//! ```
//!
//! They have the names, units and labels of `pollscope watch --metrics`, so the same boards and rules are good for both,
//! and the same code counts them; what only one of the two knows is marked in `docs/metrics.md`. A recording is not
//! needed: without `POLLSCOPE` nothing is written. Locks and waits are counted with the tracing source only
//! (`POLLSCOPE_TRACE=1`, or `layer()`). `POLLSCOPE_SERVICE` is the label `service`, by default the program's file name.
//!
//! `POLLSCOPE_METRICS=facade` hands them to the exporter that the program has installed itself: see [`hand_on`].
//!
//! Nothing here is on the path of a poll. The drain counts an event in some tens of nanoseconds, and the text is made
//! when it is asked for, by a thread of its own. The number of series is bounded: at most 30 lines a metric, those
//! beyond share the label `other`.

mod facade;
#[cfg(tokio_unstable)]
mod runtimes;

use crate::clock;
use crate::drain;
use crate::session::{self, Session, complain};
use crate::slots;
use facade::Handed;
use pollscope_metrics::{self as table, Exposition, Page};
use pollscope_recording::{Event, Process};
use pollscope_tally::Tally;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};

/// Pages that wait for the session, and those that are served.
static WAITING: Mutex<Vec<Page>> = Mutex::new(Vec::new());
static SERVED: Mutex<Vec<Arc<Page>>> = Mutex::new(Vec::new());
/// Whether the program's own exporter gets everything.
static HANDS_ON: AtomicBool = AtomicBool::new(false);

/// Serves the metrics at `address`: `HOST:PORT`, or `:PORT` or `PORT` on this machine alone; port 0 takes a free one. Says
/// where they are then.
///
/// What came before is not counted, so call it before the runtime is built, as the first thing in `main`; inside of
/// `#[pollscope_agent::main]` it is that late only for a program that is recorded or counted already.
///
/// # Errors
///
/// One sentence, and nothing has changed: the address is none or is taken, or it was settled earlier that nothing is
/// observed in this program.
///
/// ```
/// let address = pollscope_agent::metrics::serve("127.0.0.1:0")?;
/// assert!(address.starts_with("http://127.0.0.1:") && address.ends_with("/metrics"));
/// # Ok::<(), String>(())
/// ```
pub fn serve(address: &str) -> Result<String, String> {
    awake()?;
    let page = Page::listen(address)?;
    let url = page.url();
    lock(&WAITING).push(page);
    start().ok_or_else(|| DORMANT.to_owned()).and_then(show)?;
    Ok(url)
}

/// Hands the metrics to the recorder that the program has installed for the crate `metrics`, about once a second, so that
/// they stand beside the program's own in whatever exporter it uses.
///
/// That facade counts whole numbers only: counters of seconds are gauges there, under the same names. Values of
/// histograms are handed on one by one, in the right buckets and with the right sum, which takes a few ten nanoseconds a
/// poll in the agent's own thread. To call as early as [`serve`].
///
/// # Errors
///
/// It was settled earlier that nothing is observed in this program.
pub fn hand_on() -> Result<(), String> {
    awake()?;
    HANDS_ON.store(true, Ordering::Release);
    start().map(drop).ok_or_else(|| DORMANT.to_owned())
}

const DORMANT: &str = "the agent sleeps in this program since its start, so there is nothing to count; ask for metrics \
                       before the runtime is built, or set POLLSCOPE_METRICS";

fn awake() -> Result<(), String> {
    if session::is_dormant() { Err(DORMANT.to_owned()) } else { Ok(()) }
}

fn start() -> Option<&'static Session> {
    let session = crate::start()?;
    begin(session);
    Some(session)
}

/// Whether somebody wants metrics, by now. What the environment wants and cannot have is told in one line.
pub(crate) fn is_wanted() -> bool {
    static ENVIRONMENT: Once = Once::new();
    ENVIRONMENT.call_once(|| {
        let wanted = std::env::var("POLLSCOPE_METRICS").ok().filter(|wanted| !wanted.is_empty());
        match wanted.as_deref() {
            None => {}
            Some("facade") => HANDS_ON.store(true, Ordering::Release),
            Some(address) => match Page::listen(address) {
                Ok(page) => {
                    // Nobody else could know the port.
                    if address.rsplit(':').next() == Some("0") {
                        complain(&format!("metrics at {}", page.url()));
                    }
                    lock(&WAITING).push(page);
                }
                Err(why) => complain(&format!("no metrics: {why} in POLLSCOPE_METRICS; the program runs on without")),
            },
        }
    });
    HANDS_ON.load(Ordering::Acquire) || !lock(&WAITING).is_empty()
}

/// Counts from now on.
pub(crate) fn begin(session: &Session) {
    if is_wanted() {
        session.figures.get_or_init(|| Figures::new(session));
    }
}

/// Shows what the environment wants; the session is in its place.
pub(crate) fn show_wanted(session: &'static Session) {
    if let Err(why) = show(session) {
        complain(&format!("no metrics: {why}; the program runs on without"));
    }
}

/// What is shown ends with the session.
pub(crate) fn end() {
    // The threads are not waited for: a reader may be slow.
    lock(&SERVED).drain(..).for_each(|page| page.stop());
}

/// Serves the pages that wait, each from a thread of its own.
fn show(session: &'static Session) -> Result<(), String> {
    let waiting = std::mem::take(&mut *lock(&WAITING));
    for page in waiting {
        let page = Arc::new(page);
        let served = page.clone();
        let body = move || {
            slots::set_quiet(true);
            drain::without_signals();
            served
                .serve(|| session.figures.get().map(|figures| figures.exposition(session).text()).unwrap_or_default());
        };
        let thread = std::thread::Builder::new().name("pollscope-page".into()).spawn(body);
        thread.map_err(|error| format!("no thread can be started: {error}"))?;
        lock(&SERVED).push(page);
    }
    Ok(())
}

/// What is counted of this process.
pub(crate) struct Figures {
    tally: Mutex<Tally>,
    program: Process,
    service: String,
    handed: Mutex<Handed>,
}

impl Figures {
    fn new(session: &Session) -> Figures {
        let program = session::program_name();
        let service = std::env::var("POLLSCOPE_SERVICE").ok().filter(|service| !service.is_empty());
        Figures {
            tally: Mutex::default(),
            service: service.unwrap_or_else(|| program.clone()),
            program: Process {
                at: clock::now(),
                program: program.into(),
                exe: "".into(),
                pid: u64::from(std::process::id()),
                build_id: "".into(),
                wall_ns: clock::wall(),
                tokio: env!("POLLSCOPE_TOKIO_VERSION").into(),
                sources: session.sources().into(),
                level: "".into(),
                segment: 0,
            },
            handed: Mutex::default(),
        }
    }

    /// Counts one event; for the drain.
    pub(crate) fn feed(&self, event: &Event) {
        lock(&self.tally).feed(event);
    }

    /// Hands everything on, if that is wanted; for the drain, about once a second.
    pub(crate) fn hand_on(&self, session: &Session) {
        if HANDS_ON.load(Ordering::Acquire) {
            let exposition = self.exposition(session);
            if lock(&self.handed).all(&exposition).is_err() {
                HANDS_ON.store(false, Ordering::Release);
                complain("metrics are handed on no longer: the program's recorder of metrics panicked");
            }
        }
    }

    fn exposition(&self, session: &Session) -> Exposition {
        let mut out = Exposition::default();
        let who @ [service, process] = [self.service.as_str(), session.name.as_str()];
        pollscope_tally::identity(&mut out, who, &self.program);
        for (state, value) in [("running", 1.0), ("ended", 0.0), ("silent", 0.0)] {
            out.add(table::PROCESS_STATE, &[service, process, state], value);
        }
        lock(&self.tally).expose(&mut out, who, clock::now());
        #[cfg(tokio_unstable)]
        runtimes::expose(&mut out, who, session);
        out
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
