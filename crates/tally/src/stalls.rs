//! Polls that are open for too long: how many, for how long, by whom, and what the thread did meanwhile.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use pollscope_recording::{Nanos, Poll, Stall, StallEnd, TaskId};

use crate::syscalls;

/// The end of a stall is told within milliseconds of the poll's; one that was lost is waited for no longer than this.
const FORGOTTEN: Nanos = 10_000_000_000;
/// No system call.
const NONE: u64 = u64::MAX;
const ASLEEP: [u64; 2] = [b'S' as u64, b'D' as u64];

/// A poll, by its task, thread and start.
type Key = (TaskId, u64, Nanos);

#[derive(Debug)]
struct Open {
    place: usize,
    /// The system call it was last found in.
    syscall: u64,
    asleep: bool,
    /// When it was over, if that was told in another way than by its end.
    over: Option<Nanos>,
}

/// The figures.
#[derive(Debug, Default)]
pub(crate) struct Stalls {
    pub(crate) count: u64,
    pub(crate) nanos: Nanos,
    open: BTreeMap<Key, Open>,
    /// By place of spawning and what the thread did: how many ended, and their time.
    ended: BTreeMap<(usize, &'static str), (u64, Nanos)>,
}

impl Stalls {
    /// The watchdog looked at a poll of a task that was spawned at `place`.
    pub(crate) fn look(&mut self, stall: &Stall, place: usize) {
        let asleep = ASLEEP.contains(&stall.state);
        match self.open.entry((stall.task, stall.tid, stall.since)) {
            Entry::Vacant(fresh) => {
                fresh.insert(Open { place, syscall: stall.syscall, asleep, over: None });
                self.count += 1;
            }
            Entry::Occupied(mut known) => {
                let open = known.get_mut();
                open.asleep = asleep;
                if stall.syscall != NONE {
                    open.syscall = stall.syscall;
                }
            }
        }
    }

    /// Such a poll ended. `place` in case nothing was known of it.
    pub(crate) fn end(&mut self, end: &StallEnd, place: usize) {
        let known = self.open.remove(&(end.task, end.tid, end.since));
        self.count += u64::from(known.is_none());
        let open = known.unwrap_or(Open { place, syscall: NONE, asleep: false, over: None });
        let took = end.at.saturating_sub(end.since);
        self.nanos = self.nanos.saturating_add(took);
        let (count, nanos) = self.ended.entry((open.place, doing(end, &open))).or_default();
        *count += 1;
        *nanos = nanos.saturating_add(took);
    }

    /// A poll of this task began and ended: whatever it had open before is over, whether its end was told or not.
    pub(crate) fn polled(&mut self, poll: &Poll) {
        let over = poll.at.saturating_add(poll.duration_ns);
        let opens = self.open.range_mut((poll.task, 0, 0)..=(poll.task, u64::MAX, poll.at));
        opens.filter(|(key, _)| key.2 <= poll.at).for_each(|(_, open)| open.over = open.over.or(Some(over)));
    }

    /// The task ended, and with it its poll.
    pub(crate) fn task_end(&mut self, task: TaskId, at: Nanos) {
        let opens = self.open.range_mut((task, 0, 0)..=(task, u64::MAX, Nanos::MAX));
        opens.for_each(|(_, open)| open.over = open.over.or(Some(at)));
    }

    /// Lets go of what will not end any more.
    pub(crate) fn forget(&mut self, now: Nanos) {
        self.open.retain(|_, open| open.over.is_none_or(|over| over + FORGOTTEN >= now));
    }

    /// Everything open ended with the process.
    pub(crate) fn over(&mut self) {
        self.open.clear();
    }

    /// Polls open now, and the age of the oldest.
    pub(crate) fn open(&self, now: Nanos) -> (usize, Nanos) {
        let open = self.open.iter().filter(|(_, open)| open.over.is_none()).map(|(key, _)| key.2);
        (open.clone().count(), open.min().map_or(0, |since| now.saturating_sub(since)))
    }

    /// Polls open now, by place; places of which any ever ended are there with none.
    pub(crate) fn open_by_place(&self) -> BTreeMap<usize, u64> {
        let mut places: BTreeMap<usize, u64> = self.ended.keys().map(|(place, _)| (*place, 0)).collect();
        for open in self.open.values() {
            *places.entry(open.place).or_default() += u64::from(open.over.is_none());
        }
        places
    }

    /// Those that ended: place, what the thread did, how many, their time.
    pub(crate) fn ended(&self) -> impl Iterator<Item = (usize, &'static str, u64, Nanos)> {
        self.ended.iter().map(|(&(place, doing), &(count, nanos))| (place, doing, count, nanos))
    }
}

/// What the thread did for most of the time.
fn doing(end: &StallEnd, open: &Open) -> &'static str {
    let seen = end.at.saturating_sub(end.observed);
    let asleep = seen.saturating_sub(end.cpu_ns).saturating_sub(end.run_delay_ns);
    let most = end.cpu_ns.max(end.run_delay_ns).max(asleep);
    // Where nothing was measured, what was seen last counts.
    if asleep == most && (asleep > 0 || open.asleep) {
        syscalls::name(open.syscall)
    } else if end.run_delay_ns == most && most > 0 {
        "ready"
    } else {
        "cpu"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stall(at: Nanos, state: u8, syscall: u64) -> Stall {
        let (state, stack) = (u64::from(state), Vec::new());
        Stall { at, task: 1, tid: 9, since: 3, observed: 3, cpu_ns: 0, run_delay_ns: 0, state, syscall, stack }
    }

    fn end(cpu_ns: Nanos, run_delay_ns: Nanos) -> StallEnd {
        StallEnd { at: 63, task: 1, tid: 9, since: 3, cpu_ns, run_delay_ns, observed: 3 }
    }

    #[test]
    fn a_stall_is_counted_once_whatever_else_tells_that_it_is_over() {
        let mut stalls = Stalls::default();
        stalls.look(&stall(5, b'S', NONE), 4);
        assert_eq!((stalls.open(13), stalls.open_by_place().get(&4)), ((1, 10), Some(&1)));
        stalls.polled(&Poll { at: 3, task: 1, tid: 9, duration_ns: 60 });
        stalls.task_end(1, 62);
        assert_eq!((stalls.open(70), stalls.open_by_place().get(&4)), ((0, 0), Some(&0)));
        stalls.end(&end(0, 0), 7);
        assert_eq!((stalls.count, stalls.nanos), (1, 60));
        assert_eq!(Vec::from_iter(stalls.ended()), [(4, "blocked", 1, 60)]);
        // Of one that began before anybody listened, only the end is known.
        stalls.end(&end(0, 0), 7);
        assert_eq!(stalls.count, 2);
    }

    #[test]
    fn an_end_that_is_lost_is_not_waited_for() {
        let mut stalls = Stalls::default();
        stalls.look(&stall(5, b'R', NONE), 4);
        stalls.task_end(1, 62);
        stalls.forget(62 + FORGOTTEN);
        assert_eq!(stalls.open.len(), 1);
        stalls.forget(63 + FORGOTTEN);
        assert!(stalls.open.is_empty());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_a_thread_did_is_what_it_did_most() {
        let futex = u64::try_from(libc::SYS_futex).unwrap();
        let of = |looks: &[(u8, u64)], cpu_ns, run_delay_ns| {
            let mut stalls = Stalls::default();
            looks.iter().for_each(|&(state, syscall)| stalls.look(&stall(5, state, syscall), 0));
            stalls.end(&end(cpu_ns, run_delay_ns), 0);
            stalls.ended().map(|ended| ended.1).next().unwrap()
        };
        assert_eq!(of(&[(b'S', futex)], 5, 10), "futex");
        assert_eq!(of(&[(b'S', futex), (b'R', NONE)], 5, 10), "futex");
        assert_eq!(of(&[(b'S', futex)], 40, 10), "cpu");
        assert_eq!(of(&[(b'R', NONE)], 20, 30), "ready");
        assert_eq!(of(&[(b'R', NONE)], 60, 0), "cpu");
    }
}
