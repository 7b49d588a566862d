//! The two streams: results on stdout, progress and complaints on stderr. Colors are stripped where the stream is no
//! terminal or `NO_COLOR` is set.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::Write;
use std::time::Duration;

/// Columns below which a line is rather broken by the terminal than by us.
const NARROWEST: usize = 40;
/// Columns beyond which lines are hard to read.
const WIDEST: usize = 120;

/// Writes a result to stdout. A reader that went away (`| head`) is no failure.
pub(crate) fn result(text: &str) {
    let mut stdout = anstream::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// Columns for results: the terminal's, within what reads well; 100 where stdout is no terminal.
pub(crate) fn columns() -> usize {
    let size = console::Term::stdout().size_checked();
    size.map_or(100, |(_, columns)| usize::from(columns).clamp(NARROWEST, WIDEST))
}

/// Columns for running text, which only the lab writes; without end where stdout is no terminal, since scripts read by the line.
#[cfg(feature = "lab")]
pub(crate) fn prose_columns() -> usize {
    let size = console::Term::stdout().size_checked();
    size.map_or(usize::MAX, |(_, columns)| usize::from(columns).clamp(NARROWEST, WIDEST))
}

/// Columns for notes; without end where stderr is no terminal, since a log is read by the line.
pub(crate) fn note_columns() -> usize {
    let size = console::Term::stderr().size_checked();
    size.map_or(usize::MAX, |(_, columns)| usize::from(columns).max(NARROWEST))
}

/// Writes one line to stderr.
pub(crate) fn note(line: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{line}");
}

/// A bar on stderr; silent where stderr is no terminal.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// A bar over `length` milliseconds or steps; a spinner if the length is unknown.
    pub(crate) fn new(what: &str, length: Option<u64>) -> Progress {
        let bar = match length {
            Some(length) => ProgressBar::new(length),
            None => ProgressBar::new_spinner(),
        };
        let template = if length.is_some() { "{msg} {bar:30} {elapsed}" } else { "{msg} {spinner} {elapsed}" };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        Progress(bar)
    }

    /// Moves the bar.
    pub(crate) fn at(&self, position: u64) {
        self.0.set_position(position);
    }

    /// Says what is going on now.
    #[cfg(feature = "lab")]
    pub(crate) fn say(&self, what: &str) {
        self.0.set_message(what.to_owned());
    }

    /// Writes one line above the bar.
    pub(crate) fn note(&self, line: &str) {
        self.0.suspend(|| note(line));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
