//! What runs during the test, and how it is asked.

use serde_json::Value;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long anything may take to show.
const PATIENCE: Duration = Duration::from_secs(180);
/// Between two looks.
const AGAIN: Duration = Duration::from_millis(500);

/// Fails with one clear sentence where there is no Prometheus.
pub(crate) fn prometheus() {
    for program in ["prometheus", "promtool"] {
        let there = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        assert!(
            there.is_ok_and(|status| status.success()),
            "there is no `{program}`, so boards and rules cannot be proven: run .ci/prometheus, which installs it"
        );
    }
}

/// Runs promtool, which must be content with what it is given.
#[track_caller]
pub(crate) fn promtool(place: &Path, arguments: &[&str], input: &str) {
    prometheus();
    let mut command = Command::new("promtool");
    command.args(arguments).current_dir(place).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "promtool {arguments:?}: {}", String::from_utf8_lossy(&said));
}

/// A pollscope that runs until it is dropped.
pub(crate) struct Running {
    child: Child,
    said: PathBuf,
}

impl Running {
    /// Starts `pollscope ARGUMENTS` in the folder `place`.
    pub(crate) fn start(place: &Path, arguments: &[&str]) -> Running {
        Running::start_in(place, arguments, [])
    }

    /// The same with more in its environment.
    pub(crate) fn start_in<'a>(
        place: &Path,
        arguments: &[&str],
        environment: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Running {
        let said = place.join(format!("{}.said", arguments.join(" ").replace('/', "-")));
        let file = File::create(&said).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_pollscope"));
        command.args(arguments).current_dir(place).stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        for name in ["POLLSCOPE", "POLLSCOPE_TRACE", "POLLSCOPE_COLLECT", "POLLSCOPE_METRICS"] {
            command.env_remove(name);
        }
        command.envs(environment);
        Running { child: command.spawn().unwrap(), said }
    }

    /// Host and port of its metrics, once it has said them.
    pub(crate) fn metrics(&self) -> String {
        let began = Instant::now();
        loop {
            let said = fs::read_to_string(&self.said).unwrap();
            if let Some((_, after)) = said.split_once("metrics at http://")
                && let Some((address, _)) = after.split_once("/metrics\n")
            {
                return address.to_owned();
            }
            assert!(began.elapsed() < PATIENCE, "no metrics: {said}");
            sleep(AGAIN);
        }
    }

    /// Ctrl-C, which must end it in order.
    pub(crate) fn interrupt(mut self) {
        self.signal(libc::SIGINT);
        let status = self.child.wait().unwrap();
        assert_eq!(status.code(), Some(0), "{}", fs::read_to_string(&self.said).unwrap());
    }

    fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.child.id()).unwrap();
        // SAFETY: kill touches no memory, and the child is ours and was not waited for.
        unsafe { libc::kill(pid, signal) };
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            self.signal(libc::SIGTERM);
            let _ = self.child.wait();
        }
    }
}

/// A Prometheus of our own.
pub(crate) struct Server {
    child: Child,
    address: String,
    log: PathBuf,
}

impl Server {
    /// Starts it in `place`, with the rules of the folder `rules`, scraping `targets`.
    pub(crate) fn start(place: &Path, rules: &Path, targets: &[String]) -> Server {
        let mut config = String::from("global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files:\n");
        for file in ["alerts.yml", "recording.yml"] {
            writeln!(config, "  - {}", rules.join(file).display()).unwrap();
        }
        writeln!(config, "scrape_configs: [{{job_name: pollscope, static_configs: [{{targets: {targets:?}}}]}}]")
            .unwrap();
        fs::write(place.join("prometheus.yml"), config).unwrap();
        // Nobody else is given this port so soon after.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let log = place.join("prometheus.log");
        let mut command = Command::new("prometheus");
        command
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"])
            .arg(format!("--web.listen-address={address}"))
            .current_dir(place)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap());
        let server = Server { child: command.spawn().unwrap(), address, log };
        server.wait("Prometheus is ready", || server.fetch(&server.address, "/-/ready").is_some());
        server
    }

    /// Waits until `holds`.
    #[track_caller]
    pub(crate) fn wait(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let began = Instant::now();
        while !holds() {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            let last: Vec<_> = log.lines().rev().take(5).collect();
            assert!(began.elapsed() < PATIENCE, "waited in vain until {what}; Prometheus said {last:#?}");
            sleep(AGAIN);
        }
    }

    /// The series of an instant query.
    #[track_caller]
    pub(crate) fn vector(&self, query: &str) -> Vec<Value> {
        let answer = self.get(&format!("/api/v1/query?query={}", encoded(query)));
        assert_eq!(answer["data"]["resultType"], "vector", "{query}: {answer}");
        answer["data"]["result"].as_array().unwrap().clone()
    }

    /// The series of a query over the last two minutes.
    #[track_caller]
    pub(crate) fn range(&self, query: &str) -> Vec<Value> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let span = format!("start={}&end={now}&step=2", now - 120);
        let answer = self.get(&format!("/api/v1/query_range?{span}&query={}", encoded(query)));
        assert_eq!(answer["data"]["resultType"], "matrix", "{query}: {answer}");
        answer["data"]["result"].as_array().unwrap().clone()
    }

    /// An answer of Prometheus' API, which must be a good one.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Value {
        let body = self.fetch(&self.address, path).unwrap_or_default();
        let answer: Value = serde_json::from_str(&body).unwrap_or_default();
        assert_eq!(answer["status"], "success", "{path}: {body}");
        answer
    }

    /// The metrics served at `address`.
    pub(crate) fn page(&self, address: &str) -> String {
        self.fetch(address, "/metrics").unwrap()
    }

    fn fetch(&self, address: &str, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(address).ok()?;
        // HTTP/1.0: the body is whole, and ends with the connection.
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (_, body) = answer.split_once("\r\n\r\n")?;
        // Answers that say no have a body too, which says why.
        let refused = path.starts_with("/-/") && !answer.split_whitespace().nth(1)?.starts_with('2');
        (!refused).then(|| body.to_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn encoded(query: &str) -> String {
    query.bytes().fold(String::new(), |mut text, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => text.push(char::from(byte)),
            _ => write!(text, "%{byte:02X}").unwrap(),
        }
        text
    })
}
