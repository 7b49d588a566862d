//! tracing-flame over the program's own spans.
//!
//! Its lines, one for every enter and exit, are summed up by stack as they come rather than written down: so the file
//! is small, is whole at any time, and its size has a limit.

use crate::file;
use crate::ticker::{self, Ticker, Turn};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tracing_core::Metadata;
use tracing_flame::FlameLayer;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{FilterFn, Filtered};
use tracing_subscriber::registry::LookupSpan;

/// How often the file is renewed.
const PERIOD: Duration = Duration::from_millis(500);

/// Different stacks that are told apart; spans named at run time could be without end.
const MOST_STACKS: usize = 20_000;

/// Where the rest is counted.
const OVERFLOW: &str = "(stacks beyond the first 20000)";

/// What tracing-flame puts at the root when threads are not told apart.
const ROOT: &str = "all-threads; ";

/// Crates that emit spans about themselves, not about the program.
const LIBRARIES: [&str; 8] = ["tokio", "runtime", "mio", "hyper", "h2", "tonic", "tower", "console_subscriber"];

/// The sums so far: nanoseconds by stack.
#[derive(Default)]
struct Sums {
    stacks: HashMap<String, u64>,
    line: Vec<u8>,
}

/// The writer that tracing-flame is given.
#[derive(Clone, Default)]
pub(crate) struct Folds(Arc<Mutex<Sums>>);

/// tracing-flame's layer, hearing of the program's spans only.
pub(crate) type Flame<S> = Filtered<FlameLayer<S, Folds>, FilterFn, S>;

impl Folds {
    fn text(&self) -> String {
        let sums = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut stacks: Vec<_> = sums.stacks.iter().collect();
        stacks.sort_unstable();
        stacks.into_iter().fold(String::new(), |mut text, (stack, nanos)| {
            // Writing to a String does not fail.
            let _ = writeln!(text, "{stack} {nanos}");
            text
        })
    }
}

impl io::Write for Folds {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut sums = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            sums.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                let line = std::mem::take(&mut sums.line);
                sums.add(String::from_utf8_lossy(&line).trim_end());
                sums.line = line;
                sums.line.clear();
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sums {
    fn add(&mut self, line: &str) {
        let Some((stack, Ok(nanos))) = line.rsplit_once(' ').map(|(stack, nanos)| (stack, nanos.parse::<u64>())) else {
            return;
        };
        // Without a span there is nothing to tell: the thread was idle, or busy with what has no span.
        let Some(spans) = stack.strip_prefix(ROOT) else { return };
        if let Some(sum) = self.stacks.get_mut(spans) {
            *sum += nanos;
            return;
        }
        let spans = spans.replace("; ", ";");
        let spans = if self.stacks.len() < MOST_STACKS { spans } else { OVERFLOW.to_owned() };
        *self.stacks.entry(spans).or_default() += nanos;
    }
}

/// The layer, and what it sums up.
pub(crate) fn prepare<S>() -> (Flame<S>, Folds)
where
    S: tracing_core::Subscriber + for<'span> LookupSpan<'span>,
{
    let folds = Folds::default();
    let layer = FlameLayer::new(folds.clone())
        .with_empty_samples(false)
        .with_threads_collapsed(true)
        .with_module_path(false)
        .with_file_and_line(true);
    let own = FilterFn::new(is_programs as fn(&Metadata<'_>) -> bool);
    (layer.with_filter(own), folds)
}

/// Whether this is a span of the program's own.
fn is_programs(metadata: &Metadata<'_>) -> bool {
    let krate = metadata.target().split("::").next().unwrap_or_default();
    metadata.is_span() && !LIBRARIES.contains(&krate)
}

/// Keeps the file up to date.
pub(crate) fn start(dir: &Path, folds: Folds) -> Option<Ticker> {
    let dir = dir.to_owned();
    let mut written = None;
    ticker::start("flame", PERIOD, move |turn| {
        let text = folds.text();
        if turn == Turn::Last || written.as_ref() != Some(&text) {
            file::replace(&dir, "flame.folded", text.as_bytes())?;
            written = Some(text);
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::layer::SubscriberExt;

    #[test]
    fn spans_are_summed_up_by_stack() {
        let (layer, folds) = prepare();
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            for _ in 0..3 {
                let _outer = tracing::info_span!("request", id = 7).entered();
                let _tokio = tracing::info_span!(target: "tokio::task", "runtime.spawn").entered();
                let _inner = tracing::info_span!("query").entered();
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        let text = folds.text();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines[0].starts_with("request:") && !lines[0].contains(';'), "{text}");
        assert!(lines[1].starts_with("request:") && lines[1].contains(";query:"), "{text}");
        let nanos: u64 = lines[1].rsplit(' ').next().unwrap().parse().unwrap();
        assert!(nanos >= 6_000_000, "{text}");
    }

    #[test]
    fn the_number_of_stacks_has_a_limit() {
        use std::io::Write as _;
        let mut folds = Folds::default();
        for at in 0..MOST_STACKS + 5 {
            writeln!(folds, "all-threads; span{at} 1").unwrap();
        }
        folds.write_all(b"all-threads 9\nall-threads; span0 ").unwrap();
        folds.write_all(b"2\nnonsense\n").unwrap();
        let text = folds.text();
        assert_eq!(text.lines().count(), MOST_STACKS + 1);
        assert!(text.contains(&format!("{OVERFLOW} 5\n")) && text.contains("span0 3\n"));
    }
}
