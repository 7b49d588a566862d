//! Records what the tokio runtime of a program does, cheaply enough to leave on.
//!
//! The agent is dormant unless the environment variable `POLLSCOPE` names a folder. The simplest way in is one word:
//!
//! ```
//! #[pollscope_agent::main] // in place of #[tokio::main], with the same arguments
//! async fn main() {
//!     tokio::spawn(async { /* your service */ }).await.expect("the task ended well");
//! }
//! ```
//!
//! Then `POLLSCOPE=recordings ./service`, and `pollscope diagnose recordings`.
//!
//! | way in | sees |
//! |---|---|
//! | [`main`](macro@main) | everything: the runtime's hooks, the root future, a heartbeat |
//! | [`instrument`] | polls, spawns and workers of a runtime you build |
//! | [`init`] | stuck workers and late timers of a runtime that exists already |
//! | feature `tracing` and `POLLSCOPE_TRACE=1` | wakes, locks, waits and where they wait |
//! | feature `layer`: `layer()` | the same, in a program with a subscriber of its own |
//!
//! Feature `flavor` adds `override_flavor()`: a harness decides which runtime [`main`](macro@main) builds.
//!
//! Feature `collectors` adds console-subscriber, tracing-flame, pprof and tokio-metrics to [`main`](macro@main), asleep
//! unless `POLLSCOPE_COLLECT` names some of them and `POLLSCOPE_COLLECT_DIR` a folder. [`monitored`] gives futures names
//! under which tokio-metrics measures them.
//!
//! Feature `metrics` adds metrics for Prometheus, served by the program itself where `POLLSCOPE_METRICS` says, with or
//! without a recording: see the module `metrics`.
//!
//! With the tracing source a recording also says in which of the program's own spans, of level INFO and above, a task
//! was stuck. `POLLSCOPE_SPANS` says what of them: `names` for their names alone, `numbers` (the default) for fields that
//! are numbers or truth values too, `all` for texts too, cut at 64 bytes, and `off` for nothing. Texts are not the
//! default since among them are the passwords and the names of people, and a recording is passed on.

#[cfg(not(unix))]
compile_error!("pollscope-agent supports Unix only");

mod barrier;
mod clock;
mod drain;
#[cfg(feature = "flavor")]
mod flavor;
#[cfg(feature = "tracing")]
mod foreign;
mod heartbeat;
mod hooks;
#[cfg(feature = "tracing")]
mod idle;
mod lent;
#[cfg(feature = "metrics")]
pub mod metrics;
#[cfg(feature = "tracing")]
mod moment;
mod monitored;
mod open_polls;
mod panics;
mod pools;
mod raw;
#[cfg(doctest)]
mod refused;
mod ring;
#[cfg(test)]
mod ring_tests;
mod root;
mod schedstat;
mod self_wakes;
mod session;
mod slots;
mod spares;
mod stack;
mod sync;
mod table;
mod task_number;
mod ticks;
#[cfg(feature = "tracing")]
mod trace;
mod wakes;
mod watchdog;
mod workers;

#[cfg(feature = "flavor")]
pub use flavor::{Flavor, override_flavor};
pub use monitored::monitored;
pub use pollscope_agent_macros::main;

use raw::StaticPlace;
use session::{RuntimeState, Session};
use std::future::Future;
use std::sync::Arc;
use tokio::runtime::Builder;

/// The agent of one `main`; made by [`macro@main`].
#[derive(Debug)]
#[must_use = "the recording ends when this is finished"]
pub struct MainAgent {
    watched: Option<Watched>,
    made: &'static std::panic::Location<'static>,
}

struct Watched(&'static Session, Arc<RuntimeState>);

impl std::fmt::Debug for Watched {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Watched").field(&self.1.id).finish()
    }
}

/// What [`macro@main`] calls before it builds the runtime. `workers` 0 stands for tokio's default.
#[doc(hidden)]
#[track_caller]
pub fn init_for_main(builder: &mut Builder, flavor: &'static str, workers: usize, paused: bool) -> MainAgent {
    let made = std::panic::Location::caller();
    #[cfg(feature = "flavor")]
    let (flavor, workers) = (!paused).then(|| flavor::apply(builder)).flatten().unwrap_or((flavor, workers));
    let watched = start().map(|session| {
        let runtime = session.add_runtime(flavor, workers_of(flavor, workers), !paused);
        hooks::install(builder, session, &runtime);
        Watched(session, runtime)
    });
    #[cfg(feature = "collectors")]
    pollscope_collectors::start(builder);
    MainAgent { watched, made }
}

impl MainAgent {
    /// Wraps the root future, which tokio's hooks do not see.
    #[doc(hidden)]
    pub fn root<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        root::Root {
            future,
            watched: self.watched.as_ref().map(|Watched(session, runtime)| (*session, runtime.clone())),
            made: StaticPlace::from(self.made),
            begun: false,
            waker: root::RootWaker::default(),
        }
    }

    /// Ends the recording: what was noted reaches the disk.
    #[doc(hidden)]
    pub fn finish(self) {}
}

impl Drop for MainAgent {
    fn drop(&mut self) {
        if let Some(Watched(session, _)) = &self.watched {
            session.finish();
        }
        #[cfg(feature = "collectors")]
        pollscope_collectors::finish();
    }
}

/// Sets the agent's hooks on a runtime you build yourself. Does nothing while the agent is dormant.
///
/// Sees polls, spawns and workers; not the root future of `block_on`, not the tasks of a `LocalSet` (these need the
/// tracing source), and no heartbeat, since a builder does not tell whether it has a time driver: call [`init`] inside
/// the runtime for that. tokio keeps one hook of each kind: hooks you set on this builder before are replaced by ours,
/// and those you set later replace ours.
pub fn instrument(builder: &mut Builder) {
    if let Some(session) = start() {
        let runtime = session.add_runtime("unknown", 0, false);
        hooks::install(builder, session, &runtime);
    }
}

/// Ends the recording when dropped; made by [`init`].
#[derive(Debug)]
#[must_use = "the recording ends when this is dropped"]
pub struct Guard(());

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(session) = session::get() {
            session.finish();
        }
    }
}

/// Starts the agent in an ordinary `main`, for a runtime that exists already. Call it inside the runtime, first thing,
/// and keep the guard to the end of `main`:
///
/// ```
/// #[tokio::main]
/// async fn main() {
///     let _agent = pollscope_agent::init();
///     // ...
/// }
/// ```
///
/// It watches the workers through tokio's own counters and the calling thread through the kernel, so a stuck worker gets
/// its stack after a quarter of a second, but no task: single polls are seen only with hooks or the tracing source. In a
/// runtime that [`instrument`] has seen it adds the heartbeat. What is left unseen stands in the report.
pub fn init() -> Guard {
    if let Some(session) = start() {
        if !workers::watch_current(session) {
            session.not_observable(
                "workers and timers: `pollscope_agent::init()` is called outside of a tokio runtime; call it inside, or \
                 use `#[pollscope_agent::main]` or `instrument`",
            );
        } else if session.has_unhooked() {
            if !session.tracing {
                session.not_observable(
                    "single polls, and which task holds a stuck worker: `init()` sets no hooks on its runtime; \
                     `#[pollscope_agent::main]` or `instrument` does",
                );
            }
            session.not_observable("a root future that waits for a `std` lock: to `init()` it looks like one at rest");
            #[cfg(not(tokio_unstable))]
            session.not_observable(
                "stuck workers of runtimes with more than one: tokio tells their threads only under \
                 `--cfg tokio_unstable`",
            );
        }
    }
    Guard(())
}

/// The tracing source as a layer for your own registry: `registry().with(pollscope_agent::layer())`. Any filter above it
/// must let tokio's TRACE spans pass.
#[cfg(feature = "layer")]
pub fn layer() -> trace::layer::AgentLayer {
    trace::layer::AgentLayer(())
}

/// Whether the environment asks for the tracing source.
fn wants_tracing() -> bool {
    cfg!(feature = "tracing")
        && !collectors_need_tracing()
        && (cfg!(feature = "layer") || std::env::var_os("POLLSCOPE_TRACE").is_some_and(|value| value == "1"))
}

/// There is room for one subscriber: asked for both, the collectors get it and we are left with the hooks.
fn collectors_need_tracing() -> bool {
    #[cfg(feature = "collectors")]
    return !cfg!(feature = "layer") && pollscope_collectors::needs_tracing();
    #[cfg(not(feature = "collectors"))]
    false
}

fn workers_of(flavor: &str, workers: usize) -> u64 {
    match (flavor, workers) {
        ("current_thread", _) => 1,
        (_, 0) => std::env::var("TOKIO_WORKER_THREADS")
            .ok()
            .and_then(|workers| workers.parse().ok())
            .or_else(|| std::thread::available_parallelism().ok().map(|workers| workers.get() as u64))
            .unwrap_or(0),
        (_, workers) => workers as u64,
    }
}

/// Starts the session once, and the tracing source with it if asked for.
fn start() -> Option<&'static Session> {
    static SOURCES: std::sync::Once = std::sync::Once::new();
    let session = session::start_from_environment()?;
    SOURCES.call_once(|| {
        panics::install();
        trace_source(session);
    });
    Some(session)
}

#[cfg(feature = "tracing")]
fn trace_source(session: &'static Session) {
    if cfg!(feature = "layer") && std::env::var_os("POLLSCOPE_TRACE").is_none() {
        return;
    }
    if !session.tracing && collectors_need_tracing() {
        session.not_observable(
            "locks and wakes: the console or flame collector has the place of the tracing subscriber; record again \
             without POLLSCOPE_COLLECT",
        );
        return;
    }
    if !session.tracing {
        session.not_observable("locks and wakes: set POLLSCOPE_TRACE=1, which installs pollscope's own subscriber");
        return;
    }
    let dispatch = tracing_core::Dispatch::new(trace::subscriber::Lean(session));
    if tracing_core::dispatcher::set_global_default(dispatch).is_err() {
        session.not_observable(
            "locks and wakes: the program has a tracing subscriber of its own; add `pollscope_agent::layer()` to it",
        );
    }
}

#[cfg(not(feature = "tracing"))]
fn trace_source(session: &'static Session) {
    session.not_observable("locks and wakes: the agent was built without its feature `tracing`");
}
