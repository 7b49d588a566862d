//! What a program did in one run, and whether it is the work of the mended one.
//!
//! Figures are words; the recording is the proof. Tasks count by the line of the workload that spawned them, since that
//! file is the same in both programs.

use super::project::WORKLOAD;
use crate::commands::Failure;
use pollscope::detect::Diagnosis;
use pollscope_recording::{Event, Recording, find_recordings};
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

/// Share of the mended program's requests that must be done.
const THROUGHPUT: f64 = 0.7;
/// Share of the mended program's polls that a task of the workload must come to, as a sign that its work is done.
const EFFORT: f64 = 0.3;
/// Polls from which a task of the mended program counts as at work.
const AT_WORK: u64 = 10;
/// Times the mended program's polls for a request from which a program spins.
const SPIN: f64 = 10.0;
/// What a machine may be to blame for as well.
const FEWER: &str = "requests were done";
const LESS: &str = "have much less to do";
/// Most tasks of one line that are compared one by one.
const FEW: usize = 64;

/// The line of figures.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Figures {
    pub(super) requests: u64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) conserved: bool,
}

/// One run.
#[derive(Debug)]
pub(super) struct Work {
    /// Every line of figures in its output.
    figures: Vec<Figures>,
    /// Polls of each task, ascending, by the line of the workload that spawned it.
    tasks: BTreeMap<u32, Vec<u64>>,
    /// Polls of all tasks.
    polls: u64,
    /// Flavor and workers of each runtime.
    runtimes: Vec<(String, u64)>,
    /// Most threads that the blocking pool of a runtime was seen with.
    pool: u64,
    /// Most threads at a time that work for no runtime the agent knows.
    others: u64,
    /// How it was seen.
    sources: Vec<String>,
    /// What could not be seen.
    unseen: Vec<String>,
}

impl Work {
    /// Reads what one run left behind.
    pub(super) fn read(folder: &Path, diagnosis: &Diagnosis) -> Result<Work, Failure> {
        let log = fs::read_to_string(folder.join("program.log"))
            .map_err(|error| Failure::cannot("read what the program printed", error))?;
        let (mut places, mut polls) = (HashMap::new(), HashMap::<_, u64>::new());
        let (mut pool, mut others) = (0, 0);
        for path in find_recordings(&folder.join("recording")) {
            let recording = Recording::open(&path).map_err(|error| Failure::new(error.to_string()))?;
            recording.for_each(|event| match event {
                Event::Task(task) if task.spawned.file.ends_with(WORKLOAD) => {
                    places.insert(task.task, task.spawned.line);
                }
                Event::Polls(window) => *polls.entry(window.task).or_default() += window.polls,
                Event::BlockingPool(seen) => pool = pool.max(seen.threads),
                Event::Foreign(seen) => others = others.max(seen.threads),
                _ => {}
            });
        }
        let mut tasks = BTreeMap::<u32, Vec<u64>>::new();
        for (task, line) in places {
            tasks.entry(line).or_default().push(polls.get(&task).copied().unwrap_or(0));
        }
        tasks.values_mut().for_each(|polls| polls.sort_unstable());
        let runtimes = diagnosis.program.runtimes.iter().map(|one| (one.flavor.clone(), one.workers)).collect();
        Ok(Work {
            figures: figures(&log),
            tasks,
            polls: diagnosis.observer.polls,
            runtimes,
            pool,
            others,
            sources: diagnosis.observer.sources.clone(),
            unseen: diagnosis.not_observable.clone(),
        })
    }

    /// The figures, if they were printed once.
    pub(super) fn figures(&self) -> Option<&Figures> {
        match &self.figures[..] {
            [one] => Some(one),
            _ => None,
        }
    }

    /// What keeps this from being the work that `twin` did, each as one sentence. Only ratios: a slow machine is slow
    /// for both. `bound` is how many blocking threads the program was shipped with, if it says so.
    pub(super) fn complaints(&self, twin: &Work, bound: Option<u64>) -> Vec<String> {
        let mut said = Vec::new();
        if self.sources != twin.sources || self.unseen.iter().any(|one| !twin.unseen.contains(one)) {
            said.push("the agent sees less of your program than of the mended one; let it watch as before".to_owned());
        }
        if self.runtimes != twin.runtimes {
            said.push(
                "the runtime is another one (flavor or number of workers); mend the fault rather than the machine"
                    .to_owned(),
            );
        }
        if let Some(bound) = bound {
            said.extend(self.more_threads(twin, bound));
        }
        let requests = match &self.figures[..] {
            [] => {
                said.push("no figures were printed: the program did not come to its end".to_owned());
                return said;
            }
            [figures] => {
                if !figures.conserved {
                    said.push("the books are not even: some work was lost, done twice or answered wrongly".to_owned());
                }
                figures.requests
            }
            more => {
                said.push(format!("figures were printed {} times; only the workload is to print them", more.len()));
                return said;
            }
        };
        let polls: u64 = self.tasks.values().flatten().sum();
        if polls < requests {
            said.push(format!("{requests} requests were reported, but the clients were polled only {polls} times"));
        }
        if let Some(theirs) = twin.figures()
            && (requests as f64) < theirs.requests as f64 * THROUGHPUT
        {
            said.push(format!("{requests} {FEWER}; the mended program does {} on this machine now", theirs.requests));
        }
        let each = |work: &Work, requests: u64| work.polls as f64 / requests.max(1) as f64;
        if let Some(theirs) = twin.figures()
            && each(self, requests) > each(twin, theirs.requests) * SPIN
        {
            let (ours, theirs) = (each(self, requests), each(twin, theirs.requests));
            said.push(format!("a request takes {ours:.0} polls; in the mended program it takes {theirs:.0}"));
        }
        for (line, theirs) in &twin.tasks {
            let ours = self.tasks.get(line).map(Vec::as_slice).unwrap_or_default();
            if ours.len() * 2 < theirs.len() {
                said.push(format!(
                    "{WORKLOAD}:{line} spawned {} tasks; it should be about {}",
                    ours.len(),
                    theirs.len()
                ));
            } else if theirs.len() <= FEW && idle(ours, theirs) {
                said.push(format!(
                    "the tasks of {WORKLOAD}:{line} {LESS} than in the mended program; has some work gone?"
                ));
            }
        }
        said
    }

    /// That a program does on more threads what it was to do on no more than `bound` blocking ones. No event tells the
    /// bound, but threads beyond it do, wherever it was raised. A thread or two of its own are a remedy, as many again as
    /// there are blocking ones are another pool.
    fn more_threads(&self, twin: &Work, bound: u64) -> Option<String> {
        let beside = self.others.saturating_sub(twin.others);
        let has = match (self.pool > bound, beside > bound) {
            (true, _) => format!("{} blocking threads, and it was shipped with {bound}", self.pool),
            (_, true) => format!("{beside} threads beside it, more than the {bound} of its pool"),
            _ => return None,
        };
        Some(format!("the runtime is another one ({has}); mend the fault rather than the machine"))
    }

    /// Whether every complaint may be the machine's: too little was done for a moment.
    pub(super) fn only_slow(&self, twin: &Work, bound: Option<u64>) -> bool {
        let said = self.complaints(twin, bound);
        let slow = |said: &String| said.contains(FEWER) || said.contains(LESS);
        self.figures().is_some_and(|figures| figures.conserved) && !said.is_empty() && said.iter().all(slow)
    }
}

/// Whether a task that is at work in the mended program does next to nothing here. Both ascend.
fn idle(ours: &[u64], theirs: &[u64]) -> bool {
    // The busiest of both stand at the end, whatever their number.
    ours.iter()
        .rev()
        .zip(theirs.iter().rev())
        .any(|(ours, theirs)| *theirs >= AT_WORK && (*ours as f64) < *theirs as f64 * EFFORT)
}

fn figures(log: &str) -> Vec<Figures> {
    log.lines().filter_map(|line| serde_json::from_str(line.trim()).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(requests: u64, conserved: bool, tasks: &[(u32, &[u64])]) -> Work {
        Work {
            figures: vec![Figures { requests, p50_ms: 1.0, p99_ms: 2.0, conserved }],
            tasks: tasks.iter().map(|(line, polls)| (*line, polls.to_vec())).collect(),
            polls: 5000,
            runtimes: vec![("multi_thread".to_owned(), 2)],
            pool: 4,
            others: 0,
            sources: vec!["hooks".to_owned(), "tracing".to_owned()],
            unseen: Vec::new(),
        }
    }

    const TWIN: &[(u32, &[u64])] = &[(10, &[40, 50]), (20, &[400, 420, 430])];

    #[track_caller]
    fn complains(work: &Work, part: &str) {
        let said = work.complaints(&self::work(1000, true, TWIN), Some(4));
        assert!(said.len() == 1 && said[0].contains(part), "{said:?}");
    }

    #[test]
    fn the_same_work_passes() {
        let ours = work(800, true, &[(10, &[20, 30]), (20, &[300, 300, 300])]);
        assert_eq!(ours.complaints(&work(1000, true, TWIN), Some(4)), [""; 0]);
    }

    #[test]
    fn each_way_to_skip_work_is_noticed() {
        complains(&work(500, true, TWIN), "500 requests were done");
        complains(&work(900, false, TWIN), "not even");
        complains(&work(900, true, &[(20, &[400, 420, 430])]), ":10 spawned 0 tasks");
        complains(&work(900, true, &[(10, &[2, 45]), (20, &[400, 420, 430])]), ":10 have much less to do");
        complains(&work(5000, true, TWIN), "polled only 1340 times");
        let mut twice = work(900, true, TWIN);
        twice.figures.push(twice.figures[0].clone());
        complains(&twice, "2 times");
        twice.figures.clear();
        complains(&twice, "did not come to its end");
        let mut spinning = work(900, true, TWIN);
        spinning.polls = 90_000;
        complains(&spinning, "takes 100 polls; in the mended program it takes 5");
        let mut silenced = work(900, true, TWIN);
        silenced.sources.pop();
        complains(&silenced, "the agent sees less");
        let mut widened = work(900, true, TWIN);
        widened.runtimes[0].1 = 64;
        complains(&widened, "the runtime is another one");
        let mut deepened = work(900, true, TWIN);
        deepened.pool = 7;
        complains(&deepened, "7 blocking threads, and it was shipped with 4");
        let mut aside = work(900, true, TWIN);
        aside.others = 4;
        assert_eq!(aside.complaints(&work(1000, true, TWIN), Some(4)), [""; 0], "some threads of its own");
        aside.others = 5;
        complains(&aside, "5 threads beside it, more than the 4 of its pool");
        assert_eq!(deepened.complaints(&work(1000, true, TWIN), None), [""; 0], "nothing was promised");
    }

    #[test]
    fn only_lines_of_figures_are_read() {
        let log =
            "figures asked=3 so far {\"requests\":1}\n{\"requests\":7,\"p50_ms\":1,\"p99_ms\":2,\"conserved\":true}\n";
        let found = figures(log);
        assert!(found.len() == 1 && found[0].requests == 7 && found[0].conserved, "{found:?}");
    }
}
