//! How long threads with busy tasks were ready to run in a window while the kernel ran others: how often a task is polled
//! is judged by the time its thread could have had. Only such threads are asked about, some ten microseconds each.

use crate::schedstat::{self, Schedstat};
use pollscope_recording::{Nanos, RunDelay};
use std::collections::HashMap;

/// What is not told: a tenth of the window.
const LITTLE: u64 = 10;

#[derive(Default)]
pub(super) struct RunDelays {
    /// What the kernel had counted for those threads when the window began.
    known: HashMap<i32, Schedstat>,
}

impl RunDelays {
    /// The window ends: what is worth telling of these threads. Of one that had no busy task in the window before, nothing
    /// is known yet.
    pub(super) fn turn(&mut self, threads: impl Iterator<Item = i32>, from: Nanos, at: Nanos) -> Vec<RunDelay> {
        let read = |tid| schedstat::open(tid).and_then(|file| schedstat::read(&file)).map(|stat| (tid, stat));
        let now: HashMap<i32, Schedstat> = threads.filter_map(read).collect();
        let before = std::mem::replace(&mut self.known, now);
        let since = |(&tid, now): (&i32, &Schedstat)| between(*before.get(&tid)?, *now, tid, from, at);
        self.known.iter().filter_map(since).collect()
    }
}

fn between(before: Schedstat, now: Schedstat, tid: i32, from: Nanos, at: Nanos) -> Option<RunDelay> {
    let window = at.saturating_sub(from);
    let cpu = now.cpu.saturating_sub(before.cpu).min(window);
    // The kernel counts a delay when it is over: the beginning of one may lie before this window.
    let delay = now.run_delay.saturating_sub(before.run_delay).min(window - cpu);
    let worth = delay > 0 && delay >= window / LITTLE;
    worth.then_some(RunDelay { at, tid: tid as u64, from, cpu_ns: cpu, run_delay_ns: delay })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_lies_within_the_window_and_beside_the_cpu_time() {
        let told = |cpu: Nanos, run_delay: Nanos| {
            let before = Schedstat { cpu: 500, run_delay: 500 };
            let now = Schedstat { cpu: 500 + cpu, run_delay: 500 + run_delay };
            between(before, now, 7, 1000, 2000).map(|one| (one.cpu_ns, one.run_delay_ns))
        };
        assert_eq!(told(200, 600), Some((200, 600)));
        assert_eq!(told(200, 5000), Some((200, 800)));
        assert_eq!(told(900, 99), None);
        assert_eq!(told(5000, 5000), None);
    }

    #[test]
    fn a_thread_is_told_of_from_its_second_busy_window_on() {
        let mut delays = RunDelays::default();
        // SAFETY: the call takes no arguments and cannot fail.
        let tid = unsafe { libc::syscall(libc::SYS_gettid) } as i32;
        assert!(delays.turn([tid].into_iter(), 0, 1000).is_empty());
        let first = delays.known.clone();
        delays.turn([tid].into_iter(), 1000, 2000);
        assert_eq!(delays.known.len(), first.len());
        delays.turn(std::iter::empty(), 2000, 3000);
        assert!(delays.known.is_empty());
    }
}
