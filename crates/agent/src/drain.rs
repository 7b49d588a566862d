//! The drain: the one thread that takes what the others noted, orders it by time and writes it. Never a runtime worker.

mod books;
mod elsewhere;
mod locks;
mod orders;
mod output;
mod pieces;
mod run_delays;
mod said_aside;
mod samples;

use crate::clock;
use crate::hooks;
#[cfg(feature = "tracing")]
use crate::idle::{self, IdleTasks};
use crate::raw::{Raw, StaticPlace, What};
use crate::self_wakes::{self, Suspects};
use crate::session::Session;
use crate::slots::{self, ROLE_MAIN, ROLE_WORKER, Slot};
use crate::spares;
use crate::stack::{Unwinder, generation, mapped};
use crate::table::{Entry, Table};
use crate::ticks::Keeper;
use elsewhere::Elsewhere;
use locks::Locks;
use output::Output;
use pieces::{Pieces, Turn};
use pollscope_recording as words;
use pollscope_recording::{Event, Nanos, Text, Writer};
use run_delays::RunDelays;
use said_aside::SaidAside;
use samples::Samples;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::Duration;

const EVERY: Duration = Duration::from_millis(50);
const WINDOW: Nanos = 100_000_000;
const SECOND: Nanos = 1_000_000_000;

struct Drain {
    session: &'static Session,
    output: Output,
    locks: Locks,
    suspects: Suspects,
    run_delays: RunDelays,
    #[cfg(feature = "tracing")]
    idle: IdleTasks,
    pieces: Pieces,
    samples: Samples,
    aside: SaidAside,
    unwinder: Unwinder,
    /// Static texts, shared with every event that names them.
    texts: BTreeMap<(usize, usize), Text>,
    /// What was last said about each thread: its role and its runtime. By slot, since the kernel gives the ids of ended
    /// threads to new ones.
    threads: HashMap<*const Slot, (u32, u64)>,
    modules: HashSet<(u64, u64)>,
    /// The loader's count of modules when they were last listed.
    generation: Option<(u64, u64)>,
    spare: Table,
    /// Of this window, what threads had no place for.
    elsewhere: Elsewhere,
    window: Nanos,
    second: Nanos,
    /// Of threads that have ended.
    past_dropped: u64,
    past_polls: u64,
}

/// The drain's own thread, and whether it was called since it last looked.
static THREAD: OnceLock<Thread> = OnceLock::new();
static CALLED: AtomicBool = AtomicBool::new(false);

/// Calls the drain before its time: much was noted.
#[cold]
pub(crate) fn call() {
    if !CALLED.swap(true, Ordering::AcqRel)
        && let Some(thread) = THREAD.get()
    {
        thread.unpark();
    }
}

/// Until the session ends; it began at `begun`.
pub(crate) fn run(session: &'static Session, writer: Option<Writer>, begun: Nanos) {
    slots::set_quiet(true);
    without_signals();
    let _ = THREAD.set(std::thread::current());
    let mut drain = Drain {
        session,
        output: Output::new(session, writer),
        locks: Locks::default(),
        suspects: Suspects::default(),
        run_delays: RunDelays::default(),
        #[cfg(feature = "tracing")]
        idle: IdleTasks::default(),
        samples: Samples::new(begun),
        pieces: Pieces::default(),
        aside: SaidAside::default(),
        unwinder: Unwinder::new(),
        texts: BTreeMap::new(),
        threads: HashMap::new(),
        modules: HashSet::new(),
        generation: None,
        spare: Table::new(),
        elsewhere: Elsewhere::default(),
        window: begun,
        second: begun,
        past_dropped: 0,
        past_polls: 0,
    };
    drain.introduce(begun);
    let mut ticks = Keeper::new(clock::exact);
    loop {
        let last = session.stop.load(Ordering::Acquire);
        let begun = clock::exact();
        ticks.turn();
        drain.turn(last);
        if last {
            break;
        }
        CALLED.store(false, Ordering::Release);
        loop {
            // Called in the middle of its rest, it takes what there is and rests on.
            std::thread::park_timeout(EVERY.saturating_sub(Duration::from_nanos(clock::exact() - begun)));
            let rested = clock::exact() - begun >= EVERY.as_nanos() as u64;
            if rested || session.stop.load(Ordering::Acquire) {
                break;
            }
            if CALLED.swap(false, Ordering::AcqRel) {
                drain.take(clock::now(), false);
            }
        }
    }
    drain.write(words::End { at: clock::now(), why: "exit".into() });
    drain.output.finish();
}

/// Signals of the program are for its own threads. The one for a file that may not grow would even end it, for a write of
/// ours.
pub(crate) fn without_signals() {
    // SAFETY: all zero is a valid set, filled before it is used; it changes this thread alone.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const all, std::ptr::null_mut());
    }
}

impl Drain {
    fn introduce(&mut self, at: Nanos) {
        let exe = std::env::current_exe().unwrap_or_default();
        let modules = mapped();
        let build_id = modules.iter().find(|module| exe.to_str() == Some(&module.path)).map(|module| &*module.build_id);
        self.write(words::Process {
            at,
            program: exe.file_name().unwrap_or_default().to_string_lossy().into(),
            exe: exe.to_string_lossy().into(),
            pid: u64::from(std::process::id()),
            build_id: build_id.unwrap_or("").into(),
            wall_ns: clock::wall(),
            tokio: env!("POLLSCOPE_TOKIO_VERSION").into(),
            sources: self.session.sources().into(),
            level: if self.session.full { "full" } else { "summary" }.into(),
            segment: 0,
        });
        self.map_modules(at);
    }

    fn map_modules(&mut self, at: Nanos) {
        // Asked first: what is loaded meanwhile is listed next time.
        let generation = generation();
        if self.generation.replace(generation) == Some(generation) {
            return;
        }
        for module in mapped() {
            if self.modules.insert((module.start, module.end)) {
                self.write(words::Module {
                    at,
                    start: module.start,
                    end: module.end,
                    bias: module.bias,
                    path: module.path.as_str().into(),
                    build_id: module.build_id.as_str().into(),
                });
            }
        }
    }

    /// One turn: everything noted before now, in order of time.
    fn turn(&mut self, last: bool) {
        let slots = self.session.slots();
        // Whoever has ended by now says nothing more after this turn.
        let ended: Vec<bool> = slots.iter().map(|slot| slot.ended.load(Ordering::Acquire)).collect();
        let now = clock::now();
        self.take(now, last);
        let ripe = self.locks.ripe(now, &mut self.unwinder);
        for event in ripe {
            #[cfg(feature = "tracing")]
            if let Some(spans) = self.aside.beside(&event) {
                self.write(spans);
            }
            self.write(event);
        }
        let samples = self.samples.turn(now, last, self.session);
        samples.into_iter().for_each(|event| self.write(event));
        #[cfg(feature = "tracing")]
        {
            let idle = self.idle.ripe(now, last, &mut self.unwinder);
            idle.into_iter().for_each(|event| self.write(event));
        }
        if last || now.saturating_sub(self.window) >= WINDOW {
            self.summarize(&slots, now);
            slots.iter().zip(ended).filter(|(_, ended)| *ended).for_each(|(slot, _)| self.part(slot, now));
        } else {
            self_wakes::hurry();
        }
        if last || now.saturating_sub(self.second) >= SECOND {
            self.account(now);
        }
        self.output.flush();
    }

    /// What was noted before `now`, in order of time.
    fn take(&mut self, now: Nanos, last: bool) {
        let slots = self.session.slots();
        for slot in &slots {
            self.meet(slot, now);
        }
        let mut own = std::mem::take(&mut *self.session.events()).into_iter().peekable();
        let mut turn = Turn::new(&slots, now, last);
        let mut pieces = std::mem::take(&mut self.pieces);
        while pieces.next(&mut turn, |tid, raw| {
            while let Some(event) = own.next_if(|event| event.at() <= raw.at) {
                self.write(event);
            }
            self.tell(tid, raw);
        }) {}
        self.pieces = pieces;
        own.for_each(|event| self.write(event));
    }

    fn meet(&mut self, slot: &Arc<Slot>, at: Nanos) {
        let facts = (slot.role.load(Ordering::Relaxed), slot.runtime.load(Ordering::Relaxed));
        if self.threads.insert(Arc::as_ptr(slot), facts) != Some(facts) {
            self.write(words::Thread {
                at,
                tid: slot.tid as u64,
                runtime: facts.1,
                name: slot.name.as_str().into(),
                role: match facts.0 {
                    ROLE_MAIN => "main",
                    ROLE_WORKER => "worker",
                    _ => "other",
                }
                .into(),
            });
        }
    }

    /// Lets go of the slot of a thread that has ended.
    fn part(&mut self, slot: &Arc<Slot>, at: Nanos) {
        self.write(words::ThreadEnd { at, tid: slot.tid as u64 });
        self.threads.remove(&Arc::as_ptr(slot));
        self.past_dropped += slot.dropped();
        self.past_polls += slot.polls.load(Ordering::Relaxed);
        let mut slots = self.session.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.retain(|one| !Arc::ptr_eq(one, slot));
    }

    fn tell(&mut self, tid: i32, raw: Raw) {
        let (at, tid) = (raw.at, tid as u64);
        match raw.what {
            What::Poll { task, duration } => {
                self.locks.polled(task, at);
                self.write(words::Poll { at, task, tid, duration_ns: duration });
            }
            What::PolledOnce { task, since, duration } => {
                let mut once = Entry { task, ..Entry::default() };
                once.add(since, duration);
                self.elsewhere(at, tid, &once);
            }
            What::Polled(sum) => self.elsewhere(at, tid, &sum),
            What::Delay { task, delay } => self.write(words::Delay { at, task, tid, delay_ns: delay }),
            What::LateBeat { runtime, due, late } => self.write(words::LateBeat { at, runtime, due, late_ns: late }),
            What::End { task } => {
                // Of the others nothing is known that would have to be forgotten.
                if self.session.tracing || task & words::ROOT_TASK_BIT != 0 {
                    self.locks.ended(task);
                    #[cfg(feature = "tracing")]
                    idle::task_ended(task);
                    orders::ended(task);
                }
                self.write(words::TaskEnd { at, task });
            }
            What::Named { task, name } => self.aside.named(task, name),
            #[cfg(feature = "tracing")]
            What::InSpans { task, wait, spans } => {
                let event = self.aside.in_spans(at, task, wait, spans);
                event.into_iter().for_each(|event| self.write(event));
            }
            What::Spawn { task, runtime, kind, name, spawned, parent } => {
                // Only locks ask for it, and only tracing tells of them.
                if self.session.tracing {
                    self.locks.spawned(at, task, parent);
                }
                let name = self.aside.name(task).or(name);
                let event = words::Task {
                    at,
                    task,
                    runtime,
                    kind: self.text(kind),
                    name: name.map_or_else(|| self.text(""), Text::from),
                    spawned: self.place(spawned),
                    parent,
                };
                self.write(event);
            }
            What::Made { resource, parent, kind, made } => {
                let (kind, made) = (self.text(kind), made.map(|made| self.place(made)).unwrap_or_default());
                self.locks.made(words::Resource {
                    at,
                    resource,
                    parent,
                    kind,
                    made,
                    permits: 0,
                    returned: false,
                    stranger: 0,
                });
            }
            What::Capacity { resource, permits } => self.locks.capacity(resource, permits),
            What::HandedOver { wait, task, permits } => {
                let events = self.locks.handed_over(at, wait, task, permits);
                events.into_iter().for_each(|event| self.write(event));
            }
            What::Granted { wait } => self.locks.granted(at, wait),
            What::Dropped { resource } => {
                let events = self.locks.dropped(at, resource);
                events.into_iter().for_each(|event| self.write(event));
            }
            What::Acquired { resource, task, permits, owned, stack } => {
                let taken = words::Acquired { at, resource, task, permits, owned };
                let events = self.locks.acquired(taken, stack, self.session.full);
                events.into_iter().for_each(|event| self.write(event));
            }
            What::Released { resource, task, permits } => {
                let events = self.locks.released(at, resource, task, permits);
                events.into_iter().for_each(|event| self.write(event));
            }
            What::Wait { wait, resource, task, operation, until, stack } => {
                let operation = self.text(operation);
                let events = self.locks.wait(words::Wait { at, wait, resource, task, operation, until }, stack);
                events.into_iter().for_each(|event| self.write(event));
            }
            What::SelfWake { task, woke, stack } => self.suspects.seen(task, woke, stack),
            What::Panic { task, place, message, stack } => {
                let place = place.map(|(file, line, column)| words::Place { file: file.into(), line, column });
                let stack = stack.map(|stack| self.unwinder.unwind(&stack)).unwrap_or_default();
                let (place, message) = (place.unwrap_or_default(), self.text(message));
                self.write(words::Panic { at, task, tid, place, message, stack });
            }
            What::Awaited { task } => self.write(words::Awaited { at, task }),
            What::PanicEnd { task, awaited } => self.write(words::PanicEnd { at, task, awaited }),
            What::Orders { task, held } => {
                let events = orders::told(at, task, &held, &mut self.locks, &mut self.unwinder);
                events.into_iter().for_each(|event| self.write(event));
            }
            What::WaitEnd { wait, ready } => {
                #[cfg(feature = "tracing")]
                self.aside.wait_ended(wait);
                let event = self.locks.wait_end(at, wait, ready);
                event.into_iter().for_each(|event| self.write(event));
            }
        }
    }

    /// Counts polls of a task that had no place in the table of their thread.
    fn elsewhere(&mut self, at: Nanos, tid: u64, sum: &Entry) {
        if let Some((tid, sum)) = self.elsewhere.add(tid, sum) {
            // What its thread was kept off the CPU is not known yet.
            self.sum(at, tid, &sum, at.saturating_sub(self.window));
        }
    }

    /// Tells the sum of a task's polls on one thread, which was given so much of the window.
    fn sum(&mut self, at: Nanos, tid: u64, sum: &Entry, given: Nanos) {
        let Entry { task, polls, busy, last, max, histogram } = *sum;
        // A poll that is long, or was told late, began in an earlier window: what it did it did before this one.
        let from = self.window.min(last);
        self.suspects.polled(sum, given);
        self.locks.polled(task, last);
        self.write(words::Polls { at, task, tid, from, polls, busy_ns: busy, max_ns: max, histogram });
    }

    fn summarize(&mut self, slots: &[Arc<Slot>], now: Nanos) {
        let mut counted: Vec<(u64, Entry)> = Vec::new();
        self.elsewhere.take(|tid, sum| counted.push((tid, *sum)));
        for slot in slots {
            slot.swap_table(&mut self.spare);
            self.spare.take(|sum| counted.push((slot.tid as u64, *sum)));
        }
        let window = now.saturating_sub(self.window);
        let busy = counted.iter().filter(|(_, entry)| entry.polls >= self_wakes::FEW);
        let busy: HashSet<i32> = busy.map(|(tid, _)| *tid as i32).collect();
        let mut delays: HashMap<u64, Nanos> = HashMap::new();
        for event in self.run_delays.turn(busy.into_iter(), self.window, now) {
            delays.insert(event.tid, event.run_delay_ns);
            self.write(event);
        }
        for (tid, sum) in counted {
            let given = window - delays.get(&tid).copied().unwrap_or(0).min(window);
            self.sum(now, tid, &sum, given);
        }
        self.locks.idle(now).into_iter().for_each(|event| self.write(event));
        if let Some(event) = self.suspects.turn(self.window, now, self.session.tracing, &mut self.unwinder) {
            self.write(event);
        }
        self.window = now;
    }

    fn account(&mut self, now: Nanos) {
        let slots = self.session.slots();
        for runtime in self.session.runtimes() {
            let (count, worst) =
                (runtime.beats.swap(0, Ordering::Relaxed), runtime.worst_late.swap(0, Ordering::Relaxed));
            if count > 0 {
                self.write(words::Beats {
                    at: now,
                    runtime: runtime.id,
                    from: self.second,
                    count,
                    worst_late_ns: worst,
                });
            }
        }
        let session = self.session;
        for runtime in session.runtimes() {
            let spawned = runtime.first_spawn.load(Ordering::Relaxed);
            let parked_since = runtime.last_park.load(Ordering::Relaxed) > spawned;
            let polled = runtime.polled.load(Ordering::Relaxed);
            // Its worker has found nothing left to do, long after the first spawn, and no poll was told.
            if spawned > 0 && now.saturating_sub(spawned) >= SECOND && parked_since && !polled {
                hooks::replaced(session, &runtime);
            }
        }
        if session.tracing
            && (session.tasks_seen.load(Ordering::Relaxed) || session.has_unhooked())
            && !session.spans_seen.swap(true, Ordering::Relaxed)
        {
            self.write(words::NotObservable {
                at: now,
                what: "locks and wakes: tokio's tracing events do not arrive; a static maximum level of the `tracing` \
                       crate or a filter hides them"
                    .into(),
            });
        }
        #[cfg(feature = "tracing")]
        if let Some(foreign) = self.idle.foreign(session, now) {
            self.write(foreign);
        }
        self.map_modules(now);
        self.write(words::Cost {
            at: now,
            agent_cpu_ns: clock::own_cpu() + self.session.watchdog_cpu.load(Ordering::Relaxed) + self.output.cpu_ns(),
            dropped: self.past_dropped
                + slots.iter().map(|slot| slot.dropped()).sum::<u64>()
                + self.session.dropped.load(Ordering::Relaxed),
            polls: self.past_polls + slots.iter().map(|slot| slot.polls.load(Ordering::Relaxed)).sum::<u64>(),
        });
        #[cfg(feature = "metrics")]
        if let Some(figures) = session.figures.get() {
            figures.hand_on(session);
        }
        self.second = now;
        spares::tidy();
    }

    fn write(&mut self, event: impl Into<Event>) {
        self.output.write(&event.into());
    }

    fn text(&mut self, text: &'static str) -> Text {
        self.texts.entry((text.as_ptr() as usize, text.len())).or_insert_with(|| text.into()).clone()
    }

    fn place(&mut self, place: StaticPlace) -> words::Place {
        words::Place { file: self.text(place.file), line: place.line, column: place.column }
    }
}
