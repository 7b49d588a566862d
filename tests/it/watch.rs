//! Following what runs: processes that come and go, the page for Prometheus, and the end by Ctrl-C.

use crate::tool::{command, pollscope, program};
use pollscope_metrics::TABLE;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::spawn;
use std::time::Duration;
use tempfile::tempdir;

/// Far more than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A pollscope that runs, and the lines it says.
pub(crate) struct Watching {
    child: Child,
    pub(crate) stdout: Receiver<String>,
    pub(crate) stderr: Receiver<String>,
}

impl Watching {
    pub(crate) fn start(place: &Path, arguments: &[&str]) -> Watching {
        let mut command = command(place);
        // Where it pushes, it does so often.
        command.env("OTEL_METRIC_EXPORT_INTERVAL", "100");
        command.args(arguments);
        Watching::of(command)
    }

    pub(crate) fn of(mut command: Command) -> Watching {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (stdout, stderr) = (lines(child.stdout.take().unwrap()), lines(child.stderr.take().unwrap()));
        Watching { child, stdout, stderr }
    }

    /// The page's address, after it was told.
    fn metrics(&self) -> String {
        let line = until(&self.stderr, "metrics at http://");
        let (_, address) = line.split_once("metrics at http://").unwrap();
        address.trim_end_matches("/metrics").to_owned()
    }

    /// Ctrl-C; the exit status.
    pub(crate) fn interrupt(self) -> Option<i32> {
        signal(&self.child, libc::SIGINT);
        self.ended()
    }

    /// Ctrl-C, and all that was said up to the end.
    #[cfg(feature = "lab")]
    pub(crate) fn interrupted(mut self) -> crate::tool::Said {
        signal(&self.child, libc::SIGINT);
        let status = self.child.wait().unwrap().code();
        let rest = |lines: &Receiver<String>| lines.iter().collect::<Vec<_>>().join("\n");
        crate::tool::Said { status, stdout: rest(&self.stdout), stderr: rest(&self.stderr) }
    }

    /// The exit status, once it has come to its end by itself.
    pub(crate) fn ended(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn signal(child: &Child, signal: i32) {
    let pid = i32::try_from(child.id()).unwrap();
    // SAFETY: kill touches no memory, and the child is ours and was not waited for.
    unsafe { libc::kill(pid, signal) };
}

fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    spawn(move || {
        BufReader::new(stream)
            .lines()
            .map_while(Result::ok)
            .take_while(|line| sender.send(line.clone()).is_ok())
            .count()
    });
    receiver
}

/// The first line that holds `part`.
#[track_caller]
pub(crate) fn until(lines: &Receiver<String>, part: &str) -> String {
    let mut before = Vec::new();
    loop {
        match lines.recv_timeout(PATIENCE) {
            Ok(line) if line.contains(part) => return line,
            Ok(line) => before.push(line),
            Err(error) => panic!("no line with {part} ({error}) after {before:?}"),
        }
    }
}

/// Status line and body of an answer.
fn get(address: &str, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "{request} HTTP/1.0\r\nHost: {address}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

/// A page of metrics that holds every part; what is published changes twice a second.
#[track_caller]
fn page(address: &str, parts: &[&str]) -> String {
    let began = std::time::Instant::now();
    loop {
        let (status, body) = get(address, "GET /metrics");
        assert!(status.contains("200"), "{status}");
        if parts.iter().all(|part| body.contains(part)) {
            return body;
        }
        assert!(began.elapsed() < PATIENCE, "without {parts:?}: {body}");
        std::thread::yield_now();
    }
}

/// A service that records to `folder` until it is killed.
pub(crate) fn service(folder: &Path) -> Watching {
    service_with(folder, &[])
}

/// The same with more in its environment.
fn service_with(folder: &Path, environment: &[(&str, &str)]) -> Watching {
    let mut command = Command::new(program("never_returns"));
    command.env("POLLSCOPE", folder).env_remove("POLLSCOPE_TRACE").env_remove("POLLSCOPE_METRICS").stdin(Stdio::null());
    command.envs(environment.iter().copied());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (stdout, stderr) = (lines(child.stdout.take().unwrap()), lines(child.stderr.take().unwrap()));
    Watching { child, stdout, stderr }
}

#[test]
fn a_fault_in_a_running_service_is_told_and_served_with_its_line() {
    let place = tempdir().unwrap();
    let watch = Watching::start(place.path(), &["watch", ".", "--metrics", "127.0.0.1:0"]);
    let address = watch.metrics();
    until(&watch.stderr, "nothing records here yet");
    let mut first = service(place.path());
    let told = until(&watch.stdout, "critical: thread-wait-in-task");
    assert!(told.starts_with("never_returns-") && told.contains("tests/programs/never_returns.rs:"), "{told}");
    let active = "pollscope_finding_active{service=\"never_returns\",process=\"never_returns-";
    let body = page(&address, &[active, "kind=\"thread-wait-in-task\",class=\"stall\",severity=\"critical\""]);
    let line = body.lines().find(|line| line.starts_with(active)).unwrap();
    assert!(line.contains("file=\"tests/programs/never_returns.rs\",line=\"") && line.ends_with("} 1"), "{line}");
    assert!(line.contains("function=\"never_returns::"), "{line}");
    only_of_the_table(&body);

    // Killed and started again: both are there, and the old one is told to be silent.
    first.child.kill().unwrap();
    let _second = service(place.path());
    until(&watch.stdout, "critical: thread-wait-in-task");
    until(&watch.stderr, "says nothing any more");
    page(&address, &["state=\"silent\"} 1", "state=\"running\"} 1"]);

    assert!(get(&address, "GET /elsewhere").0.contains("404"));
    assert!(get(&address, "POST /metrics").0.contains("405"));
    assert_eq!(watch.interrupt(), Some(0));

    // A watch that is restarted finds what goes on.
    let again = Watching::start(place.path(), &["watch", "."]);
    until(&again.stdout, "critical: thread-wait-in-task");
    assert_eq!(again.interrupt(), Some(0));
}

/// Every series on the page is in the metrics' table, with the labels that are there.
fn only_of_the_table(body: &str) {
    let mut seen = BTreeSet::new();
    for line in body.lines().filter(|line| !line.starts_with('#')) {
        assert!(seen.insert(line.rsplit_once(' ').unwrap().0), "twice: {line}");
        let name = line.split(['{', ' ']).next().unwrap();
        let metric = TABLE.iter().find(|metric| metric.series().iter().any(|series| series == name));
        let metric = metric.unwrap_or_else(|| panic!("{name} is not in the table"));
        let labels = line.split_once('{').map_or("", |(_, labels)| labels.rsplit_once('}').unwrap().0);
        for label in labels.split("\",").filter(|label| !label.is_empty()) {
            let label = label.split('=').next().unwrap();
            let known = metric.labels.iter().any(|known| known.name() == label);
            assert!(known || (label == "le" && name.ends_with("_bucket")), "{label} in {line}");
        }
    }
}

#[test]
fn a_program_says_of_itself_what_a_watch_says_of_it() {
    let place = tempdir().unwrap();
    let watch = Watching::start(place.path(), &["watch", ".", "--metrics", "127.0.0.1:0"]);
    let beside = watch.metrics();
    let service = service_with(place.path(), &[("POLLSCOPE_METRICS", "127.0.0.1:0")]);
    let inside = service.metrics();
    let open = "pollscope_line_open_stalls{service=\"never_returns\",process=\"never_returns-";
    let body = page(&inside, &[open]);
    only_of_the_table(&body);
    let line = body.lines().find(|line| line.starts_with(open)).unwrap();
    assert!(line.contains("file=\"tests/programs/never_returns.rs\",line=\"") && line.ends_with("} 1"), "{line}");
    // Every such line, with all its labels and its value, stands on both pages; on a busy machine after some looks, since
    // then even the healthy task is late now and then.
    let same =
        ["process_info", "tasks_started_total", "live_tasks", "line_open_stalls", "stalls_total", "panics_total"];
    let of = |address| {
        let body = page(address, &[open]);
        let is_same = |line: &&str| same.iter().any(|name| line.starts_with(&format!("pollscope_{name}{{")));
        body.lines().filter(is_same).map(str::to_owned).collect::<Vec<_>>()
    };
    let began = std::time::Instant::now();
    loop {
        let (own, watched) = (of(&inside), of(&beside));
        if own == watched && own.len() > same.len() {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{own:#?}\n{watched:#?}");
    }
    // Each has what the other cannot know.
    page(&beside, &["pollscope_finding_active{"]);
    assert!(!body.contains("pollscope_finding_active{") && body.contains("pollscope_runtime_workers{"), "{body}");
    assert_eq!(watch.interrupt(), Some(0));
}

#[test]
fn what_cannot_be_watched_or_served_is_refused() {
    let place = tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (arguments, part) in [
        (&["watch", "nowhere"][..], "there is no folder nowhere"),
        (&["watch", ".", "--metrics", "nonsense"], "`nonsense` is no address"),
        (&["watch", ".", "--metrics", &taken], "is taken by another program"),
    ] {
        let said = pollscope(place.path(), arguments);
        assert_eq!((said.status, said.stdout.as_str()), (Some(2), ""), "{said:?}");
        assert!(said.stderr.lines().count() == 1 && said.stderr.contains(part), "{said:?}");
    }
}

#[cfg(feature = "lab")]
#[test]
fn a_scenario_is_kept_going_with_metrics() {
    let place = tempdir().unwrap();
    let said = pollscope(place.path(), &["run", "blocking-call", "--metrics", "127.0.0.1:0"]);
    assert_eq!(said.status, Some(2), "{said:?}");
    let arguments = ["run", "blocking-call", "--loop", "--seconds", "1", "--metrics", "127.0.0.1:0"];
    let run = Watching::start(place.path(), &arguments);
    let address = run.metrics();
    for _ in 0..2 {
        until(&run.stderr, "is watched");
        until(&run.stdout, "critical: blocking-call");
    }
    page(
        &address,
        &["service=\"blocking-call\"", "kind=\"blocking-call\"", "file=\"scenarios/blocking-call/fault.rs\""],
    );
    assert_eq!(run.interrupt(), Some(0));
}
