//! Starts this binary again as one of its programs, reads what it records, and tells it when to go on. Nothing here waits
//! for a time: it waits until something is seen, or until it is clear that it never will be.

use pollscope_recording::{Damage, Event, Recording, Stall, Task, find_recordings};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Names the program this process shall be.
pub const PROGRAM: &str = "POLLSCOPE_TEST_PROGRAM";
/// Longer than any machine needs; only a failure takes it.
const NEVER: Duration = Duration::from_secs(60);

/// For programs: waits, on the thread itself, until the test writes one more letter.
#[inline(never)]
pub fn wait_for_the_test() {
    let mut letter = [0u8];
    // The end of the pipe, when the test has failed, counts too.
    while std::io::stdin().read(&mut letter).is_err() {}
    std::hint::black_box(letter);
}

/// For programs: the same without holding a worker.
pub async fn told_by_the_test() {
    let (tell, told) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        wait_for_the_test();
        let _ = tell.send(());
    });
    let _ = told.await;
}

/// For programs: tells the test a number.
pub fn say(name: &str, number: impl std::fmt::Display) {
    println!("{name} {number}");
}

/// For programs: the number of the task this is called in.
pub fn own_id() -> u64 {
    tokio::task::id().to_string().parse().unwrap()
}

/// A program under way.
pub struct Run {
    child: std::process::Child,
    stdin: Option<ChildStdin>,
    stdout: (Arc<Mutex<String>>, JoinHandle<()>),
    stderr: (Arc<Mutex<String>>, JoinHandle<()>),
    folder: tempfile::TempDir,
}

/// A program that has ended.
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
    pub seen: Seen,
    pub folder: tempfile::TempDir,
}

/// Records `program`.
pub fn record(program: &str) -> Run {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    start(program, folder, &[("POLLSCOPE", path.to_str().unwrap())])
}

/// Starts `program` with this environment and nothing of ours besides.
pub fn start(program: &str, folder: tempfile::TempDir, environment: &[(&str, &str)]) -> Run {
    let mut command = Command::new(std::env::current_exe().unwrap());
    for name in
        ["POLLSCOPE", "POLLSCOPE_TRACE", "POLLSCOPE_LEVEL", "POLLSCOPE_SPANS", "POLLSCOPE_METRICS", "RUST_BACKTRACE"]
    {
        command.env_remove(name);
    }
    command.env(PROGRAM, program).envs(environment.iter().copied());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let stdin = child.stdin.take();
    let stdout = collect(child.stdout.take().unwrap());
    let stderr = collect(child.stderr.take().unwrap());
    Run { child, stdin, stdout, stderr, folder }
}

fn collect(mut from: impl Read + Send + 'static) -> (Arc<Mutex<String>>, JoinHandle<()>) {
    let text = Arc::new(Mutex::new(String::new()));
    let into = text.clone();
    let thread = std::thread::spawn(move || {
        let mut bytes = [0u8; 4096];
        while let Ok(length @ 1..) = from.read(&mut bytes) {
            into.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..length]));
        }
    });
    (text, thread)
}

impl Run {
    /// Reads the recording again and again until it shows what is wanted.
    pub fn until(&mut self, what: &str, wanted: impl Fn(&Seen) -> bool) -> Seen {
        let started = Instant::now();
        loop {
            let seen = Seen::read(self.folder.path());
            if wanted(&seen) {
                return seen;
            }
            let ended = self.child.try_wait().unwrap();
            if started.elapsed() > NEVER || ended.is_some() {
                let _ = self.child.kill();
                panic!(
                    "{what} was never recorded (ended: {ended:?})\nstdout: {}\nstderr: {}\n{}",
                    self.stdout.0.lock().unwrap(),
                    self.stderr.0.lock().unwrap(),
                    seen.summary()
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for a number the program says.
    pub fn said(&mut self, name: &str) -> u64 {
        let started = Instant::now();
        loop {
            let text = self.stdout.0.lock().unwrap().clone();
            if let Some(number) = said(&text, name) {
                return number;
            }
            let ended = self.child.try_wait().unwrap();
            assert!(started.elapsed() < NEVER && ended.is_none(), "the program never said {name}: {ended:?} {text}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for a line on stderr that begins with this, after our name.
    #[cfg(feature = "metrics")]
    pub fn complained(&mut self, beginning: &str) -> String {
        let started = Instant::now();
        loop {
            let text = self.stderr.0.lock().unwrap().clone();
            let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            let mut own = whole.filter_map(|line| line.strip_prefix("pollscope: "));
            if let Some(line) = own.find(|line| line.starts_with(beginning)) {
                return line.to_owned();
            }
            let ended = self.child.try_wait().unwrap();
            assert!(started.elapsed() < NEVER && ended.is_none(), "{beginning} was never said: {ended:?} {text}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Where it records into.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Lets the program go on.
    pub fn tell(&mut self) {
        self.stdin.as_mut().unwrap().write_all(b".").unwrap();
    }

    pub fn kill(mut self) -> Ended {
        self.child.kill().unwrap();
        self.end()
    }

    /// Waits for the end of the program.
    pub fn end(mut self) -> Ended {
        let started = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if started.elapsed() > NEVER {
                let _ = self.child.kill();
                panic!("the program does not end\n{}", Seen::read(self.folder.path()).summary());
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        drop(self.stdin);
        let take = |(text, thread): (Arc<Mutex<String>>, JoinHandle<()>)| {
            thread.join().unwrap();
            text.lock().unwrap().clone()
        };
        let (stdout, stderr) = (take(self.stdout), take(self.stderr));
        let seen = Seen::read(self.folder.path());
        Ended { status, stdout, stderr, seen, folder: self.folder }
    }
}

impl Ended {
    /// The program ended well, said nothing on stderr, and its recording is whole.
    #[track_caller]
    pub fn well(self) -> Ended {
        assert!(self.status.success(), "{}: {}", self.status, self.stderr);
        assert_eq!(self.stderr, "");
        assert!(self.seen.damages.is_empty(), "{:?}", self.seen.damages);
        assert!(matches!(self.seen.events.last(), Some(Event::End(_))), "{}", self.seen.summary());
        self
    }

    #[track_caller]
    pub fn said(&self, name: &str) -> u64 {
        said(&self.stdout, name).unwrap_or_else(|| panic!("the program never said {name}: {}", self.stdout))
    }
}

fn said(text: &str, name: &str) -> Option<u64> {
    let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let mut numbers = lines.filter_map(|line| line.trim_end().split_once(' ').filter(|(first, _)| *first == name));
    numbers.next()?.1.parse().ok()
}

/// What stands in a recording.
#[derive(Default)]
pub struct Seen {
    pub events: Vec<Event>,
    pub damages: Vec<Damage>,
}

macro_rules! all {
    ($($method:ident: $event:ident),*) => { $(
        pub fn $method(&self) -> Vec<&pollscope_recording::$event> {
            self.events.iter().filter_map(|event| match event { Event::$event(one) => Some(one), _ => None }).collect()
        }
    )* };
}

#[allow(dead_code, reason = "which of these are used depends on the features")]
impl Seen {
    /// The first recording in a folder; nothing if there is none yet.
    pub fn read(folder: &Path) -> Seen {
        let mut seen = Seen::default();
        let Some(found) = find_recordings(folder).into_iter().next() else { return seen };
        let Ok(recording) = Recording::open(&found) else { return seen };
        seen.damages = recording.for_each(|event| seen.events.push(event));
        seen
    }

    all!(stalls: Stall, stall_ends: StallEnd, tasks: Task, task_ends: TaskEnd, polls: Polls, runtimes: Runtime,
         threads: Thread, thread_ends: ThreadEnd, costs: Cost, beats: Beats, late_beats: LateBeat, waits: Wait,
         wait_stacks: WaitStack, wait_ends: WaitEnd, acquired: Acquired, resources: Resource, modules: Module,
         memories: Memory, pools: BlockingPool, in_spans: InSpans);

    pub fn task(&self, id: u64) -> Option<&Task> {
        self.tasks().into_iter().find(|task| task.task == id)
    }

    pub fn stalls_of(&self, task: u64) -> Vec<&Stall> {
        self.stalls().into_iter().filter(|stall| stall.task == task).collect()
    }

    pub fn polls_of(&self, task: u64) -> u64 {
        self.polls().iter().filter(|polls| polls.task == task).map(|polls| polls.polls).sum()
    }

    pub fn is_not_observable(&self, part: &str) -> bool {
        self.events.iter().any(|event| matches!(event, Event::NotObservable(one) if one.what.contains(part)))
    }

    /// Whether one of these addresses lies in a function with this in its name.
    pub fn is_in(&self, stack: &[u64], function: &str) -> bool {
        self.functions(stack).iter().any(|name| name.contains(function))
    }

    /// The names of a stack's functions that lie in the program itself.
    pub fn functions(&self, stack: &[u64]) -> Vec<String> {
        let exe = std::env::current_exe().unwrap();
        let modules = self.modules();
        let module = modules.iter().find(|module| exe.to_str() == Some(&module.path));
        let bias = module.map_or(0, |module| module.bias);
        let addresses = stack.iter().map(|address| address.wrapping_sub(bias)).collect();
        names_of(addresses)
    }

    pub fn summary(&self) -> String {
        let rare = self.events.iter().filter(|event| !matches!(event, Event::Module(_) | Event::Polls(_)));
        rare.map(|event| format!("{event:?}\n")).collect()
    }
}

/// Symbols of this binary, read once, by a thread of its own since the reader cannot be shared.
fn names_of(addresses: Vec<u64>) -> Vec<String> {
    type Question = (Vec<u64>, std::sync::mpsc::Sender<Vec<String>>);
    static READER: Mutex<Option<std::sync::mpsc::Sender<Question>>> = Mutex::new(None);
    let (answer, answered) = channel();
    READER
        .lock()
        .unwrap()
        .get_or_insert_with(|| {
            let (ask, asked): (_, Receiver<Question>) = channel();
            std::thread::spawn(move || {
                let loader = addr2line::Loader::new(std::env::current_exe().unwrap()).unwrap();
                for (addresses, answer) in asked {
                    let name = |address: &u64| loader.find_symbol(*address).unwrap_or("?").to_owned();
                    let _ = answer.send(addresses.iter().map(name).collect());
                }
            });
            ask
        })
        .send((addresses, answer))
        .unwrap();
    answered.recv().unwrap()
}
