//! Metrics of the program's own: what it did is what a reader of its page gets, and without being asked there is no page.

use crate::harness::{Entry, entries};
use crate::record::*;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

pub const PROGRAMS: &[Entry] = entries!("metered": busy_program, asked_program, late_program, handing_program);
pub const TESTS: &[Entry] = entries!("metered": what_it_did_is_shown, no_page_unless_asked, no_page_where_none_can_be,
    asked_by_the_program, too_late, handed_to_the_exporter_of_the_program);

/// Longer than any machine needs; only a failure takes it.
const NEVER: Duration = Duration::from_secs(60);

/// How many of the agent's three threads there are, once all have their names: a thread names itself, and is called like
/// the one that made it until then. The watchdog has helpers, for a moment.
fn own_threads() -> u64 {
    let name_of = |task: &std::path::Path| std::fs::read_to_string(task.join("comm")).ok();
    let own = name_of("/proc/self".as_ref());
    loop {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
        let names: Vec<_> = tasks.filter_map(|task| name_of(&task.path())).collect();
        if names.iter().filter(|name| own.as_ref() == Some(name)).count() == 1 {
            let ours = ["pollscope-drain\n", "pollscope-watch\n", "pollscope-page\n"];
            return ours.iter().filter(|ours| names.iter().any(|name| name == *ours)).count() as u64;
        }
        std::thread::yield_now();
    }
}

#[inline(never)]
fn block_a_thread() {
    wait_for_the_test();
}

/// Five tasks that are done, two that want the lock a third one has, and one that blocks its thread.
#[pollscope_agent::main(flavor = "multi_thread", worker_threads = 2)]
async fn busy_program() {
    say("own_threads", own_threads());
    for _ in 0..5 {
        tokio::spawn(tokio::task::yield_now()).await.unwrap();
    }
    let lock = Arc::new(Mutex::new(0));
    let held = lock.clone().lock_owned().await;
    let waiters = [lock.clone(), lock].map(|lock| {
        tokio::spawn(async move {
            *lock.lock().await += 1;
        })
    });
    say("ready", 1);
    told_by_the_test().await;
    drop(held);
    for waiter in waiters {
        waiter.await.unwrap();
    }
    tokio::task::spawn_blocking(|| {}).await.unwrap();
    say("unlocked", 1);
    say("line", line!() + 1);
    tokio::spawn(async { block_a_thread() }).await.unwrap();
    say("unblocked", 1);
    told_by_the_test().await;
}

/// Series with their values, of a page at `address`.
fn page(address: &str) -> Option<BTreeMap<String, f64>> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {address}\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("version=0.0.4"), "{head}");
    Some(series(body))
}

fn series(body: &str) -> BTreeMap<String, f64> {
    let lines = body.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        })
        .collect()
}

/// The sum of all series of `name` that have these labels; `None` if there is none.
fn value(page: &BTreeMap<String, f64>, name: &str, labels: &[&str]) -> Option<f64> {
    let of_name = |series: &str| series.split('{').next() == Some(name);
    let fits = |series: &str| of_name(series) && labels.iter().all(|label| series.contains(label));
    let mut values = page.iter().filter(|(series, _)| fits(series)).map(|(_, value)| *value).peekable();
    values.peek()?;
    Some(values.sum())
}

/// Reads the page again and again until it shows what is wanted.
#[track_caller]
fn shown(address: &str, what: &str, wanted: impl Fn(&BTreeMap<String, f64>) -> bool) -> BTreeMap<String, f64> {
    let started = Instant::now();
    loop {
        let page = page(address).unwrap_or_default();
        if wanted(&page) {
            return page;
        }
        assert!(started.elapsed() < NEVER, "{what} was never shown: {page:#?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Where the program says that its page is.
fn address(run: &mut Run) -> String {
    let said = run.complained("metrics at http://");
    said.split_once("http://").unwrap().1.trim_end().trim_end_matches("/metrics").to_owned()
}

const OWN: &str = "line=\"";

fn what_it_did_is_shown() {
    let environment = [("POLLSCOPE_METRICS", "127.0.0.1:0"), ("POLLSCOPE_TRACE", "1"), ("POLLSCOPE_SERVICE", "shop")];
    let mut run = start("metered::busy_program", tempfile::tempdir().unwrap(), &environment);
    let address = address(&mut run);
    run.said("ready");
    let waiting = shown(&address, "two waits", |page| {
        value(page, "pollscope_lock_waiters", &["service=\"shop\"", "resource=\"Mutex\""]) == Some(2.0)
    });
    assert!(value(&waiting, "pollscope_oldest_lock_wait_seconds", &["Mutex"]) > Some(0.0), "{waiting:#?}");
    assert_eq!(value(&waiting, "pollscope_lock_waits_total", &[]), None);
    run.tell();
    run.said("unlocked");
    // On a busy machine other polls are long, too.
    let line = format!("line=\"{}\"", run.said("line"));
    let blocked = shown(&address, "a stall that has been open for a while", |page| {
        value(page, "pollscope_line_open_stalls", &["metered.rs\"", &line]) == Some(1.0)
            && value(page, "pollscope_oldest_open_poll_seconds", &[]) >= Some(0.5)
    });
    assert!(value(&blocked, "pollscope_open_stalls", &[]) >= Some(1.0), "{blocked:#?}");
    assert_eq!(value(&blocked, "pollscope_lock_waits_total", &["Mutex", "metered.rs\"", OWN]), Some(2.0));
    assert!(value(&blocked, "pollscope_lock_wait_seconds_total", &["Mutex", OWN]) > Some(0.0), "{blocked:#?}");
    // The one that had it, and the two that waited.
    assert_eq!(value(&blocked, "pollscope_lock_holds_total", &["Mutex", "metered.rs\"", OWN]), Some(3.0));
    assert!(value(&blocked, "pollscope_lock_hold_seconds_total", &["Mutex", OWN]) > Some(0.0), "{blocked:#?}");
    run.tell();
    run.said("unblocked");
    // It read from a pipe.
    let read = ["metered.rs\"", &line, "doing=\"read\""];
    let over = shown(&address, "its end", |page| {
        value(page, "pollscope_line_stalls_total", &read) == Some(1.0)
            && value(page, "pollscope_polls_total", &[]) > Some(0.0)
    });
    assert!(value(&over, "pollscope_line_stall_seconds_total", &read) >= Some(0.5), "{over:#?}");
    assert!(value(&over, "pollscope_stall_seconds_total", &[]) >= Some(0.5), "{over:#?}");
    assert!(value(&over, "pollscope_stalls_total", &[]) >= Some(1.0), "{over:#?}");
    assert_eq!(value(&over, "pollscope_line_open_stalls", &[&line]), Some(0.0), "{over:#?}");
    // Five, two, the one that blocked, the closure, and the root.
    assert_eq!(value(&over, "pollscope_tasks_started_total", &[]), Some(10.0));
    assert_eq!(value(&over, "pollscope_live_tasks", &[]), Some(1.0), "the root: {over:#?}");
    assert_eq!(value(&over, "pollscope_runtime_workers", &["runtime=\"1\""]), Some(2.0));
    assert!(value(&over, "pollscope_runtime_parks_total", &["runtime=\"1\""]) > Some(0.0));
    assert!(value(&over, "pollscope_process_resident_memory_bytes", &[]) > Some(1e6));
    assert!(value(&over, "pollscope_agent_cpu_seconds_total", &[]) > Some(0.0));
    assert_eq!(value(&over, "pollscope_dropped_events_total", &[]), Some(0.0));
    let info = ["service=\"shop\"", "sources=\"hooks,tracing,watchdog\"", "program=\"traps-"];
    assert_eq!(value(&over, "pollscope_process_info", &info), Some(1.0), "{over:#?}");
    shown(&address, "heartbeats and polls in histograms", |page| {
        let infinite = |name| value(page, name, &["le=\"+Inf\""]);
        let count = |name| value(page, name, &[]);
        infinite("pollscope_heartbeat_delay_seconds_bucket") > Some(0.0)
            && infinite("pollscope_schedule_delay_seconds_bucket") >= Some(10.0)
            && infinite("pollscope_poll_duration_seconds_bucket") == count("pollscope_poll_duration_seconds_count")
    });
    run.tell();
    let ended = run.end();
    assert!(ended.status.success(), "{}", ended.stderr);
    // Drain, watchdog and page; and nothing was written.
    assert_eq!(ended.said("own_threads"), 3);
    assert_eq!(ended.folder.path().read_dir().unwrap().count(), 0);
    assert!(page(&address).is_none(), "the page ends with the program");
}

/// Lets `busy_program` run to its end.
fn through(mut run: Run) -> Ended {
    for _ in 0..3 {
        run.tell();
    }
    run.end()
}

fn no_page_unless_asked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap().to_owned();
    for (environment, threads) in [(&[("POLLSCOPE_METRICS", "")][..], 0), (&[("POLLSCOPE", &path)], 2)] {
        let ended = through(start("metered::busy_program", tempfile::tempdir().unwrap(), environment));
        assert!(ended.status.success() && ended.stderr.is_empty(), "{}", ended.stderr);
        assert_eq!(ended.said("own_threads"), threads);
    }
}

fn no_page_where_none_can_be() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (address, why) in [(taken.as_str(), "is taken by another program"), ("nonsense", "`nonsense` is no address")] {
        let run = start("metered::busy_program", tempfile::tempdir().unwrap(), &[("POLLSCOPE_METRICS", address)]);
        let ended = through(run);
        assert!(ended.status.success(), "{}", ended.stderr);
        assert!(ended.stderr.starts_with("pollscope: no metrics: ") && ended.stderr.contains(why), "{}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        assert_eq!(ended.said("own_threads"), 0, "nobody could read what is counted");
    }
}

fn asked_program() {
    let url = pollscope_agent::metrics::serve("0").unwrap();
    say("port", url.trim_end_matches("/metrics").rsplit(':').next().unwrap());
    let again = pollscope_agent::metrics::serve(url.trim_start_matches("http://").trim_end_matches("/metrics"));
    assert!(again.unwrap_err().contains("is taken"));
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    pollscope_agent::instrument(builder.worker_threads(1));
    builder.build().unwrap().block_on(async {
        for _ in 0..7 {
            tokio::spawn(async {}).await.unwrap();
        }
        told_by_the_test().await;
    });
}

fn asked_by_the_program() {
    let mut run = start("metered::asked_program", tempfile::tempdir().unwrap(), &[]);
    let address = format!("127.0.0.1:{}", run.said("port"));
    let page = shown(&address, "seven tasks that ended", |page| {
        value(page, "pollscope_tasks_started_total", &[]) == Some(7.0)
            && value(page, "pollscope_live_tasks", &[]) == Some(0.0)
    });
    assert_eq!(value(&page, "pollscope_process_info", &["service=\"traps-"]), Some(1.0), "{page:#?}");
    run.tell();
    let ended = run.end();
    assert!(ended.status.success() && ended.stderr.is_empty(), "{}", ended.stderr);
}

#[pollscope_agent::main]
async fn late_program() {
    let refused = pollscope_agent::metrics::serve("0").unwrap_err();
    say("sleeps", u64::from(refused.contains("the agent sleeps")));
    say("facade", u64::from(pollscope_agent::metrics::hand_on().is_err()));
    say("own_threads", own_threads());
}

fn too_late() {
    let ended = start("metered::late_program", tempfile::tempdir().unwrap(), &[]).end();
    assert!(ended.status.success() && ended.stderr.is_empty(), "{}", ended.stderr);
    assert_eq!((ended.said("sleeps"), ended.said("facade"), ended.said("own_threads")), (1, 1, 0));
}

#[pollscope_agent::main(flavor = "multi_thread", worker_threads = 2)]
async fn handing_program() {
    use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
    let polls = Matcher::Full("pollscope_poll_duration_seconds".to_owned());
    let bounds: Vec<f64> = (10..29).map(|bits| f64::from(1u32 << bits) / 1e9).collect();
    let builder = PrometheusBuilder::new().set_buckets_for_metric(polls, &bounds).unwrap();
    let exporter = builder.install_recorder().unwrap();
    for _ in 0..50 {
        tokio::spawn(tokio::task::yield_now()).await.unwrap();
    }
    let looking = std::thread::spawn(move || {
        let until = |wanted: fn(&BTreeMap<String, f64>) -> bool| loop {
            let page = exporter.render();
            if wanted(&series(&page)) {
                break page;
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        until(|page| value(page, "pollscope_line_open_stalls", &[]) >= Some(1.0));
        say("stalled", 1);
        // The sum of all polls holds that of the long one, once all of its window is there.
        let over = until(|page| {
            let stalled = value(page, "pollscope_stall_seconds_total", &[]);
            stalled > Some(0.0) && value(page, "pollscope_poll_duration_seconds_sum", &[]) >= stalled
        });
        println!("{over}");
    });
    tokio::spawn(async { block_a_thread() }).await.unwrap();
    tokio::task::spawn_blocking(|| looking.join().unwrap()).await.unwrap();
}

fn handed_to_the_exporter_of_the_program() {
    let environment = [("POLLSCOPE_METRICS", "facade"), ("POLLSCOPE_SERVICE", "shop")];
    let mut run = start("metered::handing_program", tempfile::tempdir().unwrap(), &environment);
    run.said("stalled");
    run.tell();
    let ended = run.end();
    assert!(ended.status.success() && ended.stderr.is_empty(), "{}", ended.stderr);
    let page = series(&ended.stdout[ended.stdout.find("# HELP").unwrap()..]);
    assert!(value(&page, "pollscope_poll_duration_seconds_count", &[]) > Some(100.0), "{page:#?}");
    let infinite = value(&page, "pollscope_poll_duration_seconds_bucket", &["le=\"+Inf\"", "service=\"shop\""]);
    assert_eq!(infinite, value(&page, "pollscope_poll_duration_seconds_count", &[]));
    assert!(value(&page, "pollscope_line_stalls_total", &["service=\"shop\"", "file=\"", "metered.rs"]) >= Some(1.0));
    // No single value of these is known, but in which bucket they are, and the sum.
    assert!(value(&page, "pollscope_poll_duration_seconds_bucket", &["le=\"0.000001024\""]) < infinite, "{page:#?}");
    for line in [
        "# TYPE pollscope_stalls_total counter",
        "# TYPE pollscope_stall_seconds_total gauge",
        "# TYPE pollscope_poll_duration_seconds histogram",
        "# HELP pollscope_stalls_total Polls that were open for more than 20 milliseconds.",
    ] {
        assert!(ended.stdout.lines().any(|own| own == line), "{line}: {}", ended.stdout);
    }
}
