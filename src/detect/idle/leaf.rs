//! What a task awaits, by the functions of tokio's that registered its waker.

use crate::detect::place;
use crate::symbols::Frame;

/// What a task awaits at one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Leaf {
    /// The end of another task.
    Join,
    /// A message of an `mpsc` or `broadcast` channel.
    Message,
    /// The one answer of a `oneshot`.
    Answer,
    /// A new value of a `watch`.
    Value,
    /// A `Notify`.
    Notification,
    /// A lock, a permit, or room in a channel.
    Turn,
    /// A socket, a pipe or a file.
    Io,
    /// A timer.
    Timer,
    /// A signal or the end of a process.
    System,
    /// Several futures in a collection, whatever they await.
    Several,
    /// A future of the program's own.
    Own,
    /// It was not seen.
    Unseen,
}

impl Leaf {
    /// In running text, after "waits for".
    pub(super) const fn words(self) -> &'static str {
        match self {
            Leaf::Join => "the end of a task",
            Leaf::Message => "a message",
            Leaf::Answer => "an answer (oneshot)",
            Leaf::Value => "a new value (watch)",
            Leaf::Notification => "a notification",
            Leaf::Turn => "a lock or permit",
            Leaf::Io => "I/O",
            Leaf::Timer => "a timer",
            Leaf::System => "a signal or process",
            Leaf::Several => "one of several futures",
            Leaf::Own => "a future of its own",
            Leaf::Unseen => "something unseen",
        }
    }

    /// Only another task, or a thread, can end such a wait: neither time nor the world outside does.
    pub(super) const fn is_inner(self) -> bool {
        matches!(self, Leaf::Join | Leaf::Message | Leaf::Answer | Leaf::Value | Leaf::Notification | Leaf::Turn)
    }
}

/// What the functions contain, the first that fits: what is built of another part stands before that part.
const MARKS: [(&[&str], Leaf); 10] = [
    (&["tokio::signal", "tokio::process"], Leaf::System),
    (&["tokio::fs", "tokio::io::blocking", "tokio::runtime::io", "tokio::io::async_fd"], Leaf::Io),
    (&["tokio::runtime::time", "tokio::time::sleep"], Leaf::Timer),
    (&["FuturesUnordered", "FuturesOrdered", "join_all", "JoinAll"], Leaf::Several),
    (&["tokio::sync::oneshot"], Leaf::Answer),
    (&["tokio::sync::watch", "tokio::sync::barrier"], Leaf::Value),
    (&["tokio::sync::batch_semaphore", "tokio::sync::semaphore"], Leaf::Turn),
    (&["tokio::sync::broadcast", "tokio::sync::mpsc"], Leaf::Message),
    (
        &["tokio::runtime::task::join", "tokio::task::join_set", "tokio::runtime::task::harness::can_read_output"],
        Leaf::Join,
    ),
    (&["tokio::sync::notify"], Leaf::Notification),
];

/// Reads the frames between the handing out of the waker and the first line of the program's own.
pub(super) fn leaf(frames: &[Frame]) -> Leaf {
    if frames.is_empty() {
        return Leaf::Unseen;
    }
    let own = place::own(frames).unwrap_or(frames.len());
    let below = frames.get(..own).unwrap_or_default();
    let marked = |marks: &[&str]| below.iter().any(|frame| marks.iter().any(|mark| frame.function.contains(mark)));
    if let Some((_, leaf)) = MARKS.iter().find(|(marks, _)| marked(marks)) {
        return *leaf;
    }
    // What lies beyond the clone itself belongs to the future; a library's future is not known.
    let clone = below.iter().rposition(|frame| frame.function.contains("core::task::wake::"));
    let between = below.get(clone.map_or(0, |clone| clone + 1)..).unwrap_or_default();
    let plain = |frame: &Frame| {
        ["core::", "<core::", "alloc::", "<alloc::", "std::", "<std::"]
            .iter()
            .any(|own| frame.function.starts_with(own))
            || ["atomic_waker", "AtomicWaker"].iter().any(|part| frame.function.contains(part))
    };
    // Without a line nothing tells what the compiler has put into that function.
    match frames.get(own).and_then(|frame| frame.line) {
        Some(_) if clone.is_some() && between.iter().all(plain) => Leaf::Own,
        _ => Leaf::Unseen,
    }
}

/// Whether the line belongs to a `poll` written by hand rather than to an async function.
pub(super) fn is_hand_written(frames: &[Frame]) -> bool {
    let own = frames.iter().find(|frame| !frame.library && frame.line.is_some());
    own.is_some_and(|frame| {
        let last = frame.function.rsplit("::").next().unwrap_or_default();
        last == "poll" || last.starts_with("poll_")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(function: &str, library: bool) -> Frame {
        Frame { function: function.into(), line: Some(1), library, ..Frame::default() }
    }

    #[test]
    fn what_is_built_of_another_part_is_told_by_the_whole() {
        let watch = [
            frame("tokio::sync::notify::NotifiedProject::poll_notified", true),
            frame("tokio::sync::watch::Receiver<T>::changed::{{closure}}", true),
            frame("svc::run::{{closure}}", false),
        ];
        assert_eq!(leaf(&watch), Leaf::Value);
        let send = [
            frame("tokio::sync::batch_semaphore::Acquire::poll", true),
            frame("tokio::sync::mpsc::bounded::Sender<T>::send::{{closure}}", true),
            frame("svc::run::{{closure}}", false),
        ];
        assert_eq!(leaf(&send), Leaf::Turn);
        assert_eq!(leaf(&[]), Leaf::Unseen);
        assert_eq!(leaf(&[frame("hyper::body::poll", true), frame("svc::run", false)]), Leaf::Unseen);
    }

    #[test]
    fn a_poll_of_the_programs_own_is_told_from_an_async_function() {
        let clone = frame("<core::task::wake::Waker as core::clone::Clone>::clone", true);
        let own = [clone.clone(), frame("<svc::Ticket as core::future::future::Future>::poll", false)];
        assert_eq!((leaf(&own), is_hand_written(&own)), (Leaf::Own, true));
        assert!(!is_hand_written(&[clone, frame("svc::run::{{closure}}", false)]));
    }
}
