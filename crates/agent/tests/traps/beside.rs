//! What is told beside polls and waits: samples from outside, the program's own spans, names of tasks.

use crate::harness::{Entry, entries};
use crate::record::*;
use pollscope_recording::{InSpans, Span};
use std::sync::Arc;
use tracing::{Instrument, Span as Entered, debug_span, field, info_span};

pub const PROGRAMS: &[Entry] = entries!("beside": pool_program, spans_program, #[cfg(feature = "layer")] layer_program,
    wait_program, #[cfg(tokio_unstable)] name_program);
pub const TESTS: &[Entry] = entries!("beside": memory, #[cfg(tokio_unstable)] pool, spans_of_a_stall,
    #[cfg(feature = "layer")] spans_by_layer, spans_of_a_wait, spans_switched_off, #[cfg(tokio_unstable)] name);

fn record_with(program: &str, spans: &str) -> Run {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let environment = [("POLLSCOPE", path.to_str().unwrap()), ("POLLSCOPE_TRACE", "1"), ("POLLSCOPE_SPANS", spans)];
    start(program, folder, &environment)
}

#[pollscope_agent::main(flavor = "multi_thread", worker_threads = 2)]
async fn pool_program() {
    tokio::task::spawn_blocking(wait_for_the_test).await.unwrap();
    told_by_the_test().await;
}

fn memory() {
    let mut run = record("beside::pool_program");
    let seen = run.until("its memory", |seen| !seen.memories().is_empty());
    // A process with a runtime has some megabytes, and this one not many.
    assert!((1 << 20..1 << 30).contains(&seen.memories()[0].resident_bytes), "{:?}", seen.memories());
    run.tell();
    run.tell();
    run.end().well();
}

#[cfg(tokio_unstable)]
fn pool() {
    let mut run = record("beside::pool_program");
    // Until the thread is there, the closure may be seen in the queue.
    let is_taken = |pool: &pollscope_recording::BlockingPool| pool.threads > pool.idle && pool.queued == 0;
    let seen = run.until("a busy thread", |seen| seen.pools().into_iter().any(is_taken));
    let busy = seen.pools().into_iter().find(|pool| is_taken(pool)).unwrap();
    assert_eq!((busy.runtime, busy.threads, busy.idle), (1, 1, 0));
    run.tell();
    run.until("the idle thread", |seen| seen.pools().last().is_some_and(|pool| pool.threads == 1 && pool.idle == 1));
    run.tell();
    run.end().well();
}

async fn request() {
    let request = info_span!("request", id = 7, user = "bob", done = field::Empty);
    request.record("done", false);
    let work = async {
        // Made inside of the request, and entered by itself.
        let thumbnail = info_span!("thumbnail");
        let draw = async {
            say("current", u64::from(Entered::current().metadata().is_some_and(|span| span.name() == "thumbnail")));
            say("task", own_id());
            wait_for_the_test();
        };
        tokio::spawn(draw.instrument(debug_span!("noise")).instrument(thumbnail)).await.unwrap();
    };
    work.instrument(request).await;
}

#[pollscope_agent::main(flavor = "multi_thread", worker_threads = 2)]
async fn spans_program() {
    request().await;
}

#[cfg(feature = "layer")]
#[pollscope_agent::main(flavor = "multi_thread", worker_threads = 2)]
async fn layer_program() {
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::util::SubscriberInitExt;
    tracing_subscriber::registry().with(pollscope_agent::layer()).init();
    request().await;
}

fn shown(spans: &[Span]) -> String {
    let field = |(name, value): &(Arc<str>, Arc<str>)| format!(" {name}={value}");
    let span = |span: &Span| format!("{}{}", span.name, span.fields.iter().map(field).collect::<String>());
    spans.iter().map(span).collect::<Vec<_>>().join(" > ")
}

fn spans_of(seen: &Seen, task: u64) -> Option<&InSpans> {
    seen.in_spans().into_iter().find(|spans| spans.task == task)
}

fn is_seen(mut run: Run, expected: &str) {
    let task = run.said("task");
    let seen = run.until("the spans of the stall", |seen| spans_of(seen, task).is_some());
    let spans = spans_of(&seen, task).unwrap();
    assert_eq!(shown(&spans.spans), expected);
    assert!(seen.stalls_of(task).iter().all(|stall| stall.since <= spans.at));
    run.tell();
    assert_eq!(run.end().well().said("current"), 1);
}

fn spans_of_a_stall() {
    is_seen(record_with("beside::spans_program", ""), "request id=7 done=false > thumbnail");
    is_seen(record_with("beside::spans_program", "names"), "request > thumbnail");
    is_seen(record_with("beside::spans_program", "all"), "request id=7 user=bob done=false > thumbnail");
}

#[cfg(feature = "layer")]
fn spans_by_layer() {
    let mut run = record("beside::layer_program");
    let task = run.said("task");
    let seen = run.until("the spans of the stall", |seen| spans_of(seen, task).is_some());
    // A registry shows the span of level DEBUG as the current one; we do not tell of it.
    assert_eq!(shown(&spans_of(&seen, task).unwrap().spans), "request id=7 done=false > thumbnail");
    run.tell();
    run.end().well();
}

fn spans_switched_off() {
    let mut run = record_with("beside::spans_program", "off");
    let task = run.said("task");
    run.until("the stall", |seen| !seen.stalls_of(task).is_empty());
    run.tell();
    assert!(run.end().well().seen.in_spans().is_empty());
}

#[pollscope_agent::main(flavor = "multi_thread", worker_threads = 2)]
async fn wait_program() {
    let lock = Arc::new(tokio::sync::Mutex::new(()));
    let guard = lock.lock().await;
    let wants = lock.clone();
    let waits = async move {
        say("waits", own_id());
        drop(wants.lock().await);
    };
    let waits = tokio::spawn(waits.instrument(info_span!("settle", round = 3)));
    told_by_the_test().await;
    drop(guard);
    waits.await.unwrap();
}

fn spans_of_a_wait() {
    let mut run = record_with("beside::wait_program", "");
    let task = run.said("waits");
    let seen = run.until("the spans of the wait", |seen| spans_of(seen, task).is_some());
    let (spans, waits) = (spans_of(&seen, task).unwrap(), seen.waits());
    assert_eq!(shown(&spans.spans), "settle round=3");
    assert!(waits.iter().any(|wait| (wait.task, wait.at) == (task, spans.at)), "{waits:?}");
    run.tell();
    run.end().well();
}

#[cfg(tokio_unstable)]
#[pollscope_agent::main(flavor = "multi_thread", worker_threads = 2)]
async fn name_program() {
    let indexer = async { say("task", own_id()) };
    tokio::task::Builder::new().name("indexer").spawn(indexer).unwrap().await.unwrap();
    tokio::spawn(async { say("nameless", own_id()) }).await.unwrap();
}

#[cfg(tokio_unstable)]
fn name() {
    let ended = record_with("beside::name_program", "").end().well();
    let name = |said: &str| ended.seen.task(ended.said(said)).unwrap().name.to_string();
    assert_eq!((name("task"), name("nameless")), ("indexer".to_owned(), String::new()));
    // It is told once, with the place that only the hook knows.
    let task = ended.said("task");
    assert_eq!(ended.seen.tasks().iter().filter(|one| one.task == task).count(), 1);
    assert!(ended.seen.task(task).unwrap().spawned.file.ends_with("traps/beside.rs"));
}
