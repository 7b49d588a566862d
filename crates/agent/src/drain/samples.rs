//! What has to be asked for, as nobody tells it: memory, throttling by the cgroup's quota, the blocking pools. Read by
//! the drain's thread a few times a second and told only when it changes, so it costs some ten microseconds a second and
//! a program at rest no byte.

use crate::session::Session;
use pollscope_recording as words;
use pollscope_recording::{Event, Nanos};
#[cfg(tokio_unstable)]
use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// How often is asked. A quota is filled up again ten times a second, so throttling is told to a few of its periods.
const EVERY: Nanos = 500_000_000;
/// Groups a process may be inside of, each in the other: the quota of any of them counts.
const MOST_GROUPS: usize = 8;
/// Where the groups are by custom: those of version 2, alone or beside version 1, and those of version 1.
const UNIFIED: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
const VERSION_1: [&str; 2] = ["/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"];

pub(super) struct Samples {
    last: Nanos,
    statm: Option<File>,
    page_bytes: u64,
    resident: u64,
    quotas: Vec<Quota>,
    #[cfg(tokio_unstable)]
    pools: HashMap<u64, Pool>,
}

/// The quota of one group, and how often and how long it had throttled when last asked.
struct Quota {
    stat: File,
    known: Throttling,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Throttling {
    times: u64,
    nanos: Nanos,
}

/// Threads, idle ones, closures in the queue.
#[cfg(tokio_unstable)]
type Pool = (u64, u64, u64);

impl Samples {
    pub(super) fn new(now: Nanos) -> Samples {
        // SAFETY: the call has no preconditions.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        Samples {
            last: now,
            statm: File::open("/proc/self/statm").ok(),
            page_bytes: u64::try_from(page).unwrap_or(4096),
            resident: 0,
            quotas: quotas(),
            #[cfg(tokio_unstable)]
            pools: HashMap::new(),
        }
    }

    /// What has changed since it was last asked for, if it is time to ask, or the `end`.
    pub(super) fn turn(&mut self, now: Nanos, end: bool, session: &Session) -> Vec<Event> {
        let mut events = Vec::new();
        if !end && self.resident != 0 && now.saturating_sub(self.last) < EVERY {
            return events;
        }
        let from = std::mem::replace(&mut self.last, now);
        let resident = self.statm.as_ref().and_then(resident_pages).unwrap_or(0) * self.page_bytes;
        if resident != 0 && resident != self.resident {
            self.resident = resident;
            events.push(words::Memory { at: now, resident_bytes: resident }.into());
        }
        // Groups inside of each other throttle the same threads: the most that one of them did is what happened.
        let since = self.quotas.iter_mut().map(Quota::since).max_by_key(|since| since.nanos).unwrap_or_default();
        if since.nanos > 0 {
            let (times, throttled_ns) = (since.times, since.nanos);
            events.push(words::Throttled { at: now, from, times, throttled_ns }.into());
        }
        self.census(now, session, &mut events);
        events
    }

    #[cfg(tokio_unstable)]
    fn census(&mut self, now: Nanos, session: &Session, events: &mut Vec<Event>) {
        for runtime in session.runtimes() {
            let Some(pool) = runtime.with_handle(|handle| {
                let metrics = handle.metrics();
                let (threads, idle) = (metrics.num_blocking_threads(), metrics.num_idle_blocking_threads());
                (threads as u64, idle as u64, metrics.blocking_queue_depth() as u64)
            }) else {
                continue;
            };
            // A pool that never had a thread is not worth a word.
            let known = self.pools.entry(runtime.id).or_default();
            if std::mem::replace(known, pool) != pool {
                let (runtime, (threads, idle, queued)) = (runtime.id, pool);
                // Each figure is read at a moment of its own.
                let idle = idle.min(threads);
                events.push(words::BlockingPool { at: now, runtime, threads, idle, queued }.into());
            }
        }
    }

    #[cfg(not(tokio_unstable))]
    fn census(&mut self, _: Nanos, _: &Session, _: &mut Vec<Event>) {}
}

/// The second figure of `/proc/self/statm`.
fn resident_pages(statm: &File) -> Option<u64> {
    read(statm, |text| text.split_ascii_whitespace().nth(1)?.parse().ok())
}

fn read<T>(file: &File, of: impl FnOnce(&str) -> Option<T>) -> Option<T> {
    let mut text = [0u8; 1024];
    let length = file.read_at(&mut text, 0).ok()?;
    of(std::str::from_utf8(text.get(..length)?).ok()?)
}

impl Quota {
    fn open(stat: &Path) -> Option<Quota> {
        let stat = File::open(stat).ok()?;
        let known = read(&stat, throttling)?;
        Some(Quota { stat, known })
    }

    /// What happened since this was last asked.
    fn since(&mut self) -> Throttling {
        let Some(now) = read(&self.stat, throttling) else { return Throttling::default() };
        let before = std::mem::replace(&mut self.known, now);
        Throttling { times: now.times.saturating_sub(before.times), nanos: now.nanos.saturating_sub(before.nanos) }
    }
}

/// The two figures of a `cpu.stat`; `None` in a group without the controller. Version 1 tells nanoseconds.
fn throttling(text: &str) -> Option<Throttling> {
    let figure = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    let nanos = figure("throttled_usec").map(|micros: u64| micros.saturating_mul(1000)).or(figure("throttled_time"));
    Some(Throttling { times: figure("nr_throttled")?, nanos: nanos? })
}

/// The groups of this process that can throttle it. Where there are none, nothing can be told, and nothing need be.
fn quotas() -> Vec<Quota> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let open = |roots: &[&str], group: Option<&str>| -> Vec<Quota> {
        let Some(group) = group else { return Vec::new() };
        let stats = roots.iter().flat_map(|root| stats(Path::new(root), group));
        stats.filter_map(|stat| Quota::open(&stat)).take(MOST_GROUPS).collect()
    };
    let unified = open(&UNIFIED, unified(&groups));
    if unified.is_empty() { open(&VERSION_1, version_1(&groups)) } else { unified }
}

/// `cpu.stat` of a group and of all it lies in. A container may see its own group at the root while its path tells of
/// the host's, so the root always counts.
fn stats(root: &Path, group: &str) -> Vec<PathBuf> {
    let inner = root.join(group.trim_start_matches('/'));
    inner.ancestors().take_while(|folder| folder.starts_with(root)).map(|folder| folder.join("cpu.stat")).collect()
}

/// The path of the group of version 2.
fn unified(groups: &str) -> Option<&str> {
    groups.lines().find_map(|line| line.strip_prefix("0::"))
}

/// The path of the group of version 1 that has the controller of the CPU.
fn version_1(groups: &str) -> Option<&str> {
    groups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let has = parts.next()?.split(',').any(|controller| controller == "cpu");
        parts.next().filter(|_| has)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_of_groups_are_read() {
        let unified = "usage_usec 90\nnr_periods 8\nnr_throttled 3\nthrottled_usec 1500\nnr_bursts 0\n";
        assert_eq!(throttling(unified), Some(Throttling { times: 3, nanos: 1_500_000 }));
        let first = "nr_periods 0\nnr_throttled 2\nthrottled_time 77\n";
        assert_eq!(throttling(first), Some(Throttling { times: 2, nanos: 77 }));
        assert_eq!(throttling("usage_usec 90\nuser_usec 80\n"), None);
    }

    #[test]
    fn the_groups_of_a_process_are_found() {
        let groups = "9:name=systemd:/\n4:cpu,cpuacct:/docker/a:b\n2:cpuset:/x\n0::/user.slice/a\n";
        assert_eq!((unified(groups), version_1(groups)), (Some("/user.slice/a"), Some("/docker/a:b")));
        assert_eq!((unified("1:cpu:/\n"), version_1("0::/\n")), (None, None));
        let found = stats(Path::new("/sys/fs/cgroup"), "/user.slice/a");
        let expected = ["user.slice/a/", "user.slice/", ""].map(|group| format!("/sys/fs/cgroup/{group}cpu.stat"));
        assert_eq!(found, expected.map(PathBuf::from));
    }
}
