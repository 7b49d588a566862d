//! Metrics pushed to an OpenTelemetry collector: OTLP as protobuf over plain HTTP.

use super::{Failure, terminal};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

/// How long the collector may take for each step.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often is pushed, unless `OTEL_METRIC_EXPORT_INTERVAL` says another number of milliseconds.
const EVERY: Duration = Duration::from_secs(10);

/// A collector that is pushed to from a thread of its own, until this is dropped.
pub(crate) struct Push {
    requests: Option<SyncSender<Vec<u8>>>,
    thread: Option<JoinHandle<()>>,
    every: Duration,
    began: SystemTime,
    pushed: Option<Instant>,
}

/// Where requests go.
struct Collector {
    url: String,
    host: String,
    path: String,
}

impl Push {
    /// Pushes to `url`: `http://HOST:PORT`, with a path if it is another than `/v1/metrics`.
    pub(crate) fn to(url: &str) -> Result<Push, Failure> {
        let collector = Collector::at(url)?;
        let every = std::env::var("OTEL_METRIC_EXPORT_INTERVAL").ok().and_then(|every| every.parse().ok());
        let (requests, waiting) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("otlp".to_owned())
            .spawn(move || collector.serve(&waiting))
            .map_err(|error| Failure::cannot("start the thread that pushes metrics", error))?;
        let every = every.map_or(EVERY, Duration::from_millis);
        Ok(Push { requests: Some(requests), thread: Some(thread), every, began: SystemTime::now(), pushed: None })
    }

    /// Whether it is time for another one.
    pub(crate) fn is_due(&self) -> bool {
        self.pushed.is_none_or(|pushed| pushed.elapsed() >= self.every)
    }

    /// Since when counters count.
    pub(crate) fn began(&self) -> SystemTime {
        self.began
    }

    /// Pushes one request, and does without where the one before is still under way: the next one says it all.
    pub(crate) fn push(&mut self, request: Vec<u8>) {
        self.pushed = Some(Instant::now());
        if let Some(requests) = &self.requests {
            let _ = requests.try_send(request);
        }
    }
}

impl Drop for Push {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // What the collector did is no reason to fail.
            let _ = thread.join();
        }
    }
}

impl Collector {
    fn at(url: &str) -> Result<Collector, Failure> {
        let hint = "give http://HOST:PORT, such as http://127.0.0.1:4318";
        let Some(rest) = url.strip_prefix("http://") else {
            let why = if url.starts_with("https://") { "is not plain HTTP" } else { "is no address of a collector" };
            return Err(Failure::new(format!("`{url}` {why}; {hint}, of a collector that passes it on")));
        };
        let (host, path) = rest.split_once('/').map_or((rest, ""), |(host, path)| (host, path));
        let host = if host.contains(':') { host.to_owned() } else { format!("{host}:4318") };
        let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if host.starts_with(':') || !is_plain(&host) || !is_plain(path) {
            return Err(Failure::new(format!("`{url}` is no address of a collector; {hint}")));
        }
        let path = if path.is_empty() { "v1/metrics" } else { path };
        Ok(Collector { url: url.to_owned(), host, path: path.to_owned() })
    }

    /// Until nobody is left who has requests. Trouble is told when it begins.
    fn serve(&self, requests: &Receiver<Vec<u8>>) {
        let mut works = true;
        for request in requests {
            let pushed = self.post(&request);
            if let Err(error) = &pushed
                && works
            {
                let url = &self.url;
                terminal::note(&format!(
                    "pollscope: cannot push metrics to {url}: {error}; it is tried again and again"
                ));
            }
            works = pushed.is_ok();
        }
    }

    fn post(&self, request: &[u8]) -> io::Result<()> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        for address in self.host.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, PATIENCE) {
                Ok(stream) => return self.send(stream, request),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn send(&self, mut stream: TcpStream, request: &[u8]) -> io::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let (path, host, length) = (&self.path, &self.host, request.len());
        let head = format!(
            "POST /{path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: pollscope/{}\r\nContent-Type: \
             application/x-protobuf\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n",
            env!("CARGO_PKG_VERSION")
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(request)?;
        let mut status = String::new();
        BufReader::new(io::Read::take(stream, 1024)).read_line(&mut status)?;
        match status.split(' ').nth(1) {
            Some(code) if code.starts_with('2') => Ok(()),
            _ => Err(io::Error::other(format!("it answers `{}`", status.trim_end().escape_debug()))),
        }
    }
}
