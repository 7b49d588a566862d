//! A recording of level `full`, as a busy service makes it: four workers, two hundred tasks that live long and many that
//! do not.

use pollscope_recording::{
    End, Event, POLL_BUCKETS, Place, Poll, Polls, Process, Runtime, Task, TaskEnd, Text, Thread, Writer, WriterOptions,
    poll_bucket,
};
use std::path::Path;

const WORKERS: u64 = 4;
const LONG_LIVED: u64 = 200;
/// One poll in so many is that of a task which then ends.
const SHORT_LIVED: u64 = 10;
const WINDOW: u64 = 100_000_000;
/// From one poll to the next, on all workers together.
const STEP: u64 = 2_500;

pub(crate) fn make(folder: &Path, events: u64) -> std::io::Result<()> {
    let options = WriterOptions { max_bytes: u64::MAX, ..WriterOptions::default() };
    let mut making = Making { writer: Writer::create(folder, options)?, written: 0, random: 1 };
    making.introduce()?;
    let (mut at, mut window, mut next_task) = (WINDOW, WINDOW, LONG_LIVED + 1);
    let mut sums = vec![(0_u64, 0_u64, 0_u64, [0_u32; POLL_BUCKETS]); LONG_LIVED as usize];
    while making.written < events {
        at += STEP;
        let tid = 1 + making.random() % WORKERS;
        // Mostly some microseconds, at times half a millisecond: nobody is to be blamed.
        let duration_ns = 800 + making.random() % 6_000 + (making.random() % 64 / 63) * 500_000;
        if making.random().is_multiple_of(SHORT_LIVED) {
            let task = next_task;
            next_task += 1;
            making.spawn(at, task)?;
            making.put(Poll { at, task, tid, duration_ns })?;
            making.put(TaskEnd { at, task })?;
        } else {
            let task = 1 + making.random() % LONG_LIVED;
            let (polls, busy, most, histogram) = &mut sums[task as usize - 1];
            (*polls, *busy, *most) = (*polls + 1, *busy + duration_ns, duration_ns.max(*most));
            histogram[poll_bucket(duration_ns)] += 1;
            making.put(Poll { at, task, tid, duration_ns })?;
        }
        if at - window >= WINDOW {
            for (task, (polls, busy_ns, max_ns, histogram)) in (1..).zip(&mut sums) {
                let sum = Polls {
                    at,
                    task,
                    tid: 1 + task % WORKERS,
                    from: window,
                    polls: std::mem::take(polls),
                    busy_ns: std::mem::take(busy_ns),
                    max_ns: std::mem::take(max_ns),
                    histogram: std::mem::take(histogram),
                };
                making.put(sum)?;
            }
            window = at;
        }
    }
    making.put(End { at, why: "exit".into() })?;
    making.writer.finish()
}

struct Making {
    writer: Writer,
    written: u64,
    random: u64,
}

impl Making {
    fn put(&mut self, event: impl Into<Event>) -> std::io::Result<()> {
        self.written += 1;
        self.writer.write(&event.into())
    }

    /// The same numbers each time.
    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random >> 11
    }

    fn introduce(&mut self) -> std::io::Result<()> {
        let at = WINDOW;
        self.put(Process {
            at,
            program: "service".into(),
            exe: "/srv/service".into(),
            pid: 1,
            build_id: Text::from(""),
            wall_ns: 0,
            tokio: "1.54.1".into(),
            sources: "hooks,watchdog".into(),
            level: "full".into(),
            segment: 0,
        })?;
        self.put(Runtime { at, runtime: 1, flavor: "multi_thread".into(), workers: WORKERS, timers: true })?;
        for tid in 1..=WORKERS {
            self.put(Thread { at, tid, runtime: 1, name: "tokio-rt-worker".into(), role: "worker".into() })?;
        }
        (1..=LONG_LIVED).try_for_each(|task| self.spawn(at, task))
    }

    fn spawn(&mut self, at: u64, task: u64) -> std::io::Result<()> {
        let spawned = Place { file: "src/server.rs".into(), line: 40 + (task % 16) as u32, column: 9 };
        self.put(Task { at, task, runtime: 1, kind: "task".into(), name: Text::from(""), spawned, parent: 0 })
    }
}
