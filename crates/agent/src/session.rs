//! The one recording of this process: what its parts share, how it begins and how it ends.

use crate::barrier;
use crate::clock;
use crate::slots::Slot;
use crate::workers::Unhooked;
use crate::{drain, watchdog};
use pollscope_recording::{Disk, Event, Nanos, Writer, WriterOptions};
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// At its end the program waits for a disk that goes on answering, and so many looks for one that does not: five seconds.
/// Looks are counted and not seconds, since a process may be stopped and go on.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const PATIENCE: u32 = 50;
/// Most events of the agent's own threads that wait for the drain, should a disk keep it.
const MOST_EVENTS: usize = 16 * 1024;

/// One runtime of the program.
pub(crate) struct RuntimeState {
    pub(crate) id: u64,
    pub(crate) timers: AtomicBool,
    /// tokio's id of the runtime, once a thread of ours was inside of it.
    pub(crate) tokio: OnceLock<tokio::runtime::Id>,
    /// The runtime itself, for as long as its heartbeat lives: who held it longer would keep its parts from being freed.
    #[cfg(tokio_unstable)]
    handle: Mutex<Option<tokio::runtime::Handle>>,
    #[cfg(tokio_unstable)]
    gone: AtomicBool,
    /// tokio's id of our heartbeat task; 0 while there is none. Its polls are not the program's.
    pub(crate) heartbeat: AtomicU64,
    /// tokio's id of the task that told which of our runtimes this is; 0 if none had to.
    #[cfg(tokio_unstable)]
    pub(crate) probe: AtomicU64,
    pub(crate) beats: AtomicU64,
    pub(crate) last_beat: AtomicU64,
    pub(crate) worst_late: AtomicU64,
    /// False before the first and after the last heartbeat, so that a runtime at rest is not called late.
    pub(crate) beating: AtomicBool,
    /// When the hooks first saw a task spawned, and last saw a worker park before any poll; 0 for never.
    pub(crate) first_spawn: AtomicU64,
    pub(crate) last_park: AtomicU64,
    pub(crate) polled: AtomicBool,
    /// Some of our hooks are not called: the program set its own in their place.
    pub(crate) replaced: AtomicBool,
}

impl RuntimeState {
    /// Whether this task is the agent's own.
    #[cfg(tokio_unstable)]
    #[inline]
    pub(crate) fn is_own(&self, task: u64) -> bool {
        self.heartbeat.load(Ordering::Relaxed) == task || self.probe.load(Ordering::Relaxed) == task
    }

    /// The caller is inside this runtime, and tells when it ends by [`Self::is_gone`].
    #[cfg(tokio_unstable)]
    pub(crate) fn is_entered(&self) {
        let handle = tokio::runtime::Handle::try_current().ok();
        self.gone.store(false, Ordering::Release);
        *self.handle.lock().unwrap_or_else(PoisonError::into_inner) = handle;
    }

    /// The runtime ends: the drain lets go of it, since a worker must not wait for a lock.
    #[cfg(tokio_unstable)]
    pub(crate) fn is_gone(&self) {
        self.gone.store(true, Ordering::Release);
    }

    /// Asks the runtime, if it is still there; for the drain.
    #[cfg(tokio_unstable)]
    pub(crate) fn with_handle<T>(&self, ask: impl FnOnce(&tokio::runtime::Handle) -> T) -> Option<T> {
        let mut handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner);
        if self.gone.load(Ordering::Acquire) {
            *handle = None;
        }
        handle.as_ref().map(ask)
    }
}

pub(crate) struct Session {
    /// `<program>-<pid>-<start>`: the folder of its recording, and the name of the process in its metrics.
    #[cfg_attr(not(feature = "metrics"), expect(dead_code, reason = "only the metrics ask"))]
    pub(crate) name: String,
    pub(crate) slots: Mutex<Vec<Arc<Slot>>>,
    pub(crate) runtimes: Mutex<Vec<Arc<RuntimeState>>>,
    pub(crate) unhooked: Mutex<Vec<Unhooked>>,
    /// Events of the agent's own threads, which are not on any hot path.
    pub(crate) events: Mutex<Vec<Event>>,
    /// The watchdog ends first: the drain still writes what it says last.
    pub(crate) stop_watching: AtomicBool,
    pub(crate) stop: AtomicBool,
    pub(crate) full: bool,
    pub(crate) tracing: bool,
    #[cfg(feature = "tracing")]
    pub(crate) spans: crate::trace::user_spans::Recorded,
    pub(crate) spans_seen: AtomicBool,
    pub(crate) tasks_seen: AtomicBool,
    /// Some runtime of the program has our hooks.
    pub(crate) hooked: AtomicBool,
    pub(crate) watchdog_cpu: AtomicU64,
    /// Events of the agent's own threads that nobody had room for.
    pub(crate) dropped: AtomicU64,
    /// Of the recording, if there is one.
    disk: Arc<Disk>,
    /// What is counted, once somebody wants it.
    #[cfg(feature = "metrics")]
    pub(crate) figures: OnceLock<crate::metrics::Figures>,
    threads: Mutex<Vec<OwnThread>>,
}

/// A thread of the agent's.
struct OwnThread {
    stop: &'static AtomicBool,
    thread: JoinHandle<()>,
    /// Its other end is dropped at the end of the thread.
    over: Receiver<()>,
}

static SESSION: OnceLock<Option<Session>> = OnceLock::new();

/// Set in a child made by `fork` without `exec`: the agent's threads stayed with the parent, and its locks may be held
/// for ever.
static FORKED: AtomicBool = AtomicBool::new(false);

extern "C" fn forked() {
    FORKED.store(true, Ordering::Relaxed);
}

/// The session, if this process is being recorded.
#[inline]
pub(crate) fn get() -> Option<&'static Session> {
    SESSION.get().and_then(Option::as_ref).filter(|_| !FORKED.load(Ordering::Relaxed))
}

/// Begins what the environment asks for: a recording, metrics, or both; dormant, and next to free, if it asks for
/// neither. A recording that cannot begin is told on stderr in one line and never disturbs the program.
pub(crate) fn start_from_environment() -> Option<&'static Session> {
    SESSION.get_or_init(|| {
        #[cfg(feature = "metrics")]
        let counted = crate::metrics::is_wanted();
        #[cfg(not(feature = "metrics"))]
        let counted = false;
        let name = process_name();
        let parent = std::env::var_os("POLLSCOPE").filter(|value| !value.is_empty());
        let writer = parent.and_then(|parent| {
            let parent = Path::new(&parent);
            let complained = |error: &std::io::Error| {
                let rest = if counted { "it is only counted" } else { "the program runs on unobserved" };
                complain(&format!("cannot record into {}: {error}; {rest}", parent.display()));
            };
            writer(&parent.join(&name)).inspect_err(complained).ok()
        });
        if writer.is_none() && !counted {
            return None;
        }
        let disk = writer.as_ref().map(Writer::disk).unwrap_or_default();
        let session = Session::new(name, disk);
        #[cfg(feature = "metrics")]
        crate::metrics::begin(&session);
        PENDING.lock().unwrap_or_else(PoisonError::into_inner).replace(Pending(writer));
        Some(session)
    });
    let session = get()?;
    let pending = PENDING.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(Pending(writer)) = pending {
        session.start_threads(writer);
        #[cfg(feature = "metrics")]
        crate::metrics::show_wanted(session);
    }
    Some(session)
}

/// Whether it is settled that nothing will be observed in this process.
#[cfg(feature = "metrics")]
pub(crate) fn is_dormant() -> bool {
    SESSION.get().is_some_and(Option::is_none)
}

/// A session whose threads have not started yet: they need it to be in its place.
struct Pending(Option<Writer>);

static PENDING: Mutex<Option<Pending>> = Mutex::new(None);

/// The writer of a recording in the folder `directory`.
fn writer(directory: &Path) -> std::io::Result<Writer> {
    let usual = WriterOptions::default();
    let budget = std::env::var("POLLSCOPE_MAX_BYTES").ok().and_then(|bytes| bytes.parse().ok());
    let max_bytes = budget.unwrap_or(usual.max_bytes);
    // Only whole segments can go, and one that is being compressed is there twice for a moment.
    let options = WriterOptions { max_bytes, segment_bytes: usual.segment_bytes.min(max_bytes / 4) };
    Writer::create(directory, options)
}

fn not_observable_at(at: Nanos, what: &str) -> pollscope_recording::NotObservable {
    pollscope_recording::NotObservable { at, what: what.into() }
}

/// The recording ends early.
pub(crate) fn cannot_write(error: &std::io::Error) {
    complain(&format!("cannot record any longer: {error}; the program runs on unrecorded"));
}

/// The one place where the agent speaks: what cannot begin or go on.
pub(crate) fn complain(sentence: &str) {
    // A program may have closed its stderr: that is no reason to panic.
    let _ = writeln!(std::io::stderr(), "pollscope: {sentence}");
}

impl Session {
    fn new(name: String, disk: Arc<Disk>) -> Session {
        // SAFETY: the handler only stores to a static.
        unsafe { libc::pthread_atfork(None, None, Some(forked)) };
        Session {
            name,
            slots: Mutex::default(),
            runtimes: Mutex::default(),
            unhooked: Mutex::default(),
            events: Mutex::default(),
            stop_watching: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            full: std::env::var("POLLSCOPE_LEVEL").is_ok_and(|level| level == "full"),
            tracing: crate::wants_tracing(),
            #[cfg(feature = "tracing")]
            spans: crate::trace::user_spans::Recorded::from_environment(),
            spans_seen: AtomicBool::new(false),
            tasks_seen: AtomicBool::new(false),
            hooked: AtomicBool::new(false),
            watchdog_cpu: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            disk,
            #[cfg(feature = "metrics")]
            figures: OnceLock::new(),
            threads: Mutex::default(),
        }
    }

    /// What can be observed, as recordings and metrics say it.
    pub(crate) fn sources(&self) -> &'static str {
        match self.tracing {
            // Both come from parts of tokio that are compiled only then.
            _ if cfg!(not(tokio_unstable)) => "watchdog",
            true => "hooks,tracing,watchdog",
            false => "hooks,watchdog",
        }
    }

    fn start_threads(&'static self, writer: Option<Writer>) {
        barrier::prepare();
        // Polls may come before the thread does, and belong to its first window.
        let begun = clock::now();
        let (drains, drained) = channel();
        let drain = std::thread::Builder::new().name("pollscope-drain".into()).spawn(move || {
            let _over = drains;
            drain::run(self, writer, begun);
        });
        let (watches, watched) = channel();
        let watchdog = std::thread::Builder::new().name("pollscope-watch".into()).spawn(move || {
            let _over = watches;
            watchdog::run(self);
        });
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let started = [(watchdog, &self.stop_watching, watched, "watchdog"), (drain, &self.stop, drained, "drain")];
        for (started, stop, over, name) in started {
            match started {
                Ok(thread) => threads.push(OwnThread { stop, thread, over }),
                Err(error) => complain(&format!("cannot start the {name} thread: {error}")),
            }
        }
    }

    pub(crate) fn push(&self, event: impl Into<Event>) {
        if FORKED.load(Ordering::Relaxed) {
            return;
        }
        let mut events = self.events();
        if events.len() < MOST_EVENTS {
            events.push(event.into());
        } else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn events(&self) -> std::sync::MutexGuard<'_, Vec<Event>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says what cannot be seen in this program.
    pub(crate) fn not_observable(&self, what: &str) {
        self.push(not_observable_at(clock::now(), what));
    }

    pub(crate) fn slots(&self) -> Vec<Arc<Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn runtimes(&self) -> Vec<Arc<RuntimeState>> {
        self.runtimes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn has_unhooked(&self) -> bool {
        !self.unhooked.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Whether what this runtime's hooks say about polls is not to be believed.
    pub(crate) fn are_hooks_replaced(&self, runtime: u64) -> bool {
        self.runtimes().iter().any(|one| one.id == runtime && one.replaced.load(Ordering::Relaxed))
    }

    pub(crate) fn add_runtime(&self, flavor: &'static str, workers: u64, timers: bool) -> Arc<RuntimeState> {
        let mut runtimes = self.runtimes.lock().unwrap_or_else(PoisonError::into_inner);
        let runtime = Arc::new(RuntimeState {
            id: runtimes.len() as u64 + 1,
            timers: AtomicBool::new(timers),
            tokio: OnceLock::new(),
            #[cfg(tokio_unstable)]
            handle: Mutex::default(),
            #[cfg(tokio_unstable)]
            gone: AtomicBool::new(false),
            heartbeat: AtomicU64::new(0),
            #[cfg(tokio_unstable)]
            probe: AtomicU64::new(0),
            beats: AtomicU64::new(0),
            last_beat: AtomicU64::new(0),
            worst_late: AtomicU64::new(0),
            beating: AtomicBool::new(false),
            first_spawn: AtomicU64::new(0),
            last_park: AtomicU64::new(0),
            polled: AtomicBool::new(false),
            replaced: AtomicBool::new(false),
        });
        runtimes.push(runtime.clone());
        self.tell_runtime(&runtime, flavor, workers);
        runtime
    }

    /// Says what is known of a runtime; what is said later holds.
    pub(crate) fn tell_runtime(&self, runtime: &RuntimeState, flavor: &'static str, workers: u64) {
        if FORKED.load(Ordering::Relaxed) {
            return;
        }
        // Asked under the lock, so that whoever comes last says the last word.
        let mut events = self.events();
        let (at, timers, runtime) = (clock::now(), runtime.timers.load(Ordering::Relaxed), runtime.id);
        events.push(pollscope_recording::Runtime { at, runtime, flavor: flavor.into(), workers, timers }.into());
    }

    /// Ends the recording in order: everything noted so far reaches the disk, unless that answers no more.
    pub(crate) fn finish(&self) {
        if FORKED.load(Ordering::Relaxed) {
            return;
        }
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for OwnThread { stop, thread, over } in threads {
            stop.store(true, Ordering::Release);
            thread.thread().unpark();
            if self.ends(&over) {
                // A panic in a thread of the agent is not the program's business.
                let _ = thread.join();
            } else {
                cannot_write(&std::io::Error::new(
                    std::io::ErrorKind::TimedOut,
                    "the disk has not answered for 5 s, and what was not written by then is lost",
                ));
            }
        }
        #[cfg(feature = "metrics")]
        crate::metrics::end();
    }

    /// Waits for the end of a thread; false if a disk keeps it that answers no more.
    fn ends(&self, over: &Receiver<()>) -> bool {
        let (mut known, mut looks) = (0, 0);
        while matches!(over.recv_timeout(LOOK_EVERY), Err(RecvTimeoutError::Timeout)) {
            let (answered, owes) = self.disk.state();
            looks = if owes && answered == known { looks + 1 } else { 0 };
            known = answered;
            if looks >= PATIENCE {
                return false;
            }
        }
        true
    }
}

fn process_name() -> String {
    format!("{}-{}-{}", program_name(), std::process::id(), clock::wall() / 1_000_000)
}

/// The file name of the program.
pub(crate) fn program_name() -> String {
    let exe = std::env::current_exe().unwrap_or_default();
    exe.file_name().map_or_else(|| "program".into(), |name| name.to_string_lossy().into_owned())
}
