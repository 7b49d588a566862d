//! Which line of a stack is to blame, and how tasks are shown.

use pollscope_recording::{Place, TaskId};

use super::{Frame, Location, Span, TaskRef};
use crate::model::Model;
use crate::symbols;

/// What a stack says about who is to blame.
#[derive(Debug, Clone, Default)]
pub(super) struct Blame {
    /// The innermost line of the program itself; its function alone where there are no line tables.
    pub(super) at: Option<Location>,
    /// The library function called there.
    pub(super) call: Option<String>,
    /// The whole stack.
    pub(super) stack: Vec<Frame>,
    /// The poll gave its worker away first: innocent.
    pub(super) handed_off: bool,
    /// It runs the panic hook.
    pub(super) panicking: bool,
}

/// Reads a stack, innermost frame first.
pub(super) fn blame(frames: &[symbols::Frame]) -> Blame {
    let user = own(frames);
    let below = frames.get(..user.unwrap_or(0)).unwrap_or_default();
    let call = below.iter().rev().find(|frame| !noise(&frame.function)).map(|frame| plain(&frame.function));
    Blame {
        at: user.and_then(|index| frames.get(index)).map(spot),
        call,
        stack: frames.iter().map(shown).collect(),
        panicking: frames.iter().any(|frame| frame.function.contains("panic_with_hook")),
        handed_off: frames.iter().any(hands_off),
    }
}

/// The innermost frame of the program itself: one with a line, or else one that is known by its name alone.
pub(super) fn own(frames: &[symbols::Frame]) -> Option<usize> {
    let nameless = |frame: &symbols::Frame| frame.library || frame.file.is_some();
    let lined = frames.iter().position(|frame| !frame.library && frame.line.is_some());
    lined.or_else(|| {
        let first = frames.iter().position(|frame| !nameless(frame))?;
        // A future of the program's that is inlined into its wrapper leaves no other name; where there is one, it tells more.
        let poll =
            frames.iter().enumerate().skip(first).take_while(|(_, frame)| !frame.function.contains("tokio::runtime"));
        let named = poll.filter(|(_, frame)| !nameless(frame)).find(|(_, frame)| !wraps(frame));
        Some(named.map_or(first, |(index, _)| index))
    })
}

/// Whether this is the wrapper that puts a future or a closure into a span.
fn wraps(frame: &symbols::Frame) -> bool {
    let function = frame.function.trim_start_matches('<');
    ["tracing::instrument::", "tracing::span::"].iter().any(|path| function.starts_with(path))
}

/// A frame as a place.
pub(super) fn spot(frame: &symbols::Frame) -> Location {
    Location {
        file: frame.file.clone().unwrap_or_default(),
        line: frame.line.unwrap_or(0),
        krate: frame.krate.clone(),
        function: Some(plain(&frame.function)),
    }
}

/// Whether this is tokio's `block_in_place`, and no function of the program's or made for one of that name.
pub(super) fn hands_off(frame: &symbols::Frame) -> bool {
    let path = frame.function.split('<').next().unwrap_or_default();
    path.starts_with("tokio::") && path.contains("block_in_place")
}

/// Wrappers that say nothing about what was called.
fn noise(function: &str) -> bool {
    function.starts_with("0x")
        || ["{{closure}}", "{closure", "FnOnce", "FnMut", "Future>::poll", "Future::poll", "Pin<"]
            .iter()
            .any(|mark| function.contains(mark))
}

/// A function as its author calls it: an async body is a closure of its function only to the compiler.
pub(super) fn plain(function: &str) -> String {
    let mut name = function;
    while let Some((outer, last)) = name.rsplit_once("::") {
        if last != "{{closure}}" && !last.starts_with("{closure") && !last.starts_with("{async") {
            break;
        }
        name = outer;
    }
    name.to_owned()
}

fn shown(frame: &symbols::Frame) -> Frame {
    Frame {
        function: frame.function.clone(),
        file: frame.file.clone(),
        line: frame.line,
        krate: frame.krate.clone(),
        inlined: frame.inlined,
    }
}

/// A place of the recording; `None` if unknown.
pub(super) fn location(place: &Place) -> Option<Location> {
    let known = place.line > 0 && !place.file.is_empty();
    known.then(|| Location { file: place.file.to_string(), line: place.line, ..Location::default() })
}

/// A task as it is shown.
pub(super) fn task(model: &Model, id: TaskId) -> TaskRef {
    let facts = model.tasks.get(&id);
    TaskRef {
        id,
        name: facts.map(|facts| facts.name.clone()).filter(|name| !name.is_empty()),
        future: None,
        spawned_at: facts.and_then(|facts| location(&facts.spawned)),
        spans: Vec::new(),
    }
}

/// The program's spans that a task was in, as last told between two times.
pub(super) fn spans(model: &Model, task: TaskId, from: u64, to: u64) -> Vec<Span> {
    let spans = model.spans_of(task, from, to).iter();
    let fields = |span: &pollscope_recording::Span| {
        span.fields.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    };
    spans.map(|span| Span { name: span.name.to_string(), fields: fields(span) }).collect()
}

/// A task in running text.
pub(super) fn task_label(model: &Model, id: TaskId) -> String {
    match model.tasks.get(&id) {
        Some(facts) if !facts.name.is_empty() => format!("task `{}`", facts.name),
        Some(facts) if facts.kind == "root" => "the root future".to_owned(),
        Some(facts) => match location(&facts.spawned) {
            Some(at) => format!("task {id} (spawned at {}:{})", at.file, at.line),
            None => format!("task {id}"),
        },
        None => format!("task {id}"),
    }
}

/// `file:line`, or the function where no line is known, or words saying that nothing is.
pub(super) fn line(at: Option<&Location>) -> String {
    match at {
        Some(Location { line: 0, function: Some(function), .. }) => format!("`{function}`"),
        Some(at) => format!("{}:{}", at.file, at.line),
        None => "an unknown line".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_lines_a_name_of_the_programs_own_comes_before_the_wrapper_of_its_future() {
        let own_of = |functions: &[&str]| {
            let frame = |function: &&str| symbols::Frame {
                function: (*function).into(),
                library: function.contains("tokio"),
                ..symbols::Frame::default()
            };
            own(&functions.iter().map(frame).collect::<Vec<_>>())
        };
        let wrapper = "<tracing::instrument::Instrumented<T> as core::future::future::Future>::poll";
        let poll = "tokio::runtime::task::core::Core<T,S>::poll";
        assert_eq!(own_of(&["tokio::sync::Mutex::lock", wrapper, "svc::Bank::post", wrapper, poll]), Some(2));
        assert_eq!(own_of(&["tokio::sync::Mutex::lock", wrapper, poll, "svc::main"]), Some(1));
        assert_eq!(own_of(&["svc::read", wrapper, "svc::serve"]), Some(0));
        assert_eq!(own_of(&["tokio::sync::Mutex::lock", poll]), None);
    }
}
