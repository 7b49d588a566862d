//! What calls keep a thread, as data: `calls.toml`, and what a user adds to it.

use std::sync::{Arc, LazyLock};

use serde::Deserialize;

use super::function::Function;
use crate::symbols;

/// The table of the tool itself.
static BUILT_IN: LazyLock<Calls> =
    LazyLock::new(|| toml::from_str(include_str!("calls.toml")).expect("the table is well formed: a test reads it"));

/// Classes of calls, in the order of elimination: the first that matches any function below the program's own line
/// tells what the thread does.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::detect) struct Calls {
    #[serde(rename = "class")]
    classes: Vec<Arc<Class>>,
}

/// Calls of one sort: what they do to a worker, and what to use instead.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::detect) struct Class {
    /// The kind of finding they deserve in a task.
    pub(in crate::detect) kind: String,
    /// What to do instead, to be read after "At FILE:LINE, ".
    #[serde(default)]
    pub(in crate::detect) instead: String,
    /// In which of its states a thread is judged by them.
    #[serde(default)]
    when: When,
    /// They are looked for above the program's own line too: a logger of one's own is called through a library.
    #[serde(default)]
    above: bool,
    /// Whose lock they wait for.
    #[serde(default)]
    pub(in crate::detect) lock: Option<Lock>,
    calls: Vec<Call>,
}

/// What a thread does, as far as its times tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::detect) enum When {
    /// It sleeps in the kernel.
    #[default]
    Blocked,
    /// It is on the CPU.
    Computing,
    /// Either; never a thread's own state.
    Both,
}

/// A lock of threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::detect) enum Lock {
    /// One of std's: its guards cannot be sent to another thread, and its futex is the lock itself.
    Std,
    /// Of another library.
    Other,
}

/// Functions of one name.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::detect) struct Call {
    /// A path, with `*` for any text.
    pattern: String,
    /// What to call it, where its path is not what people write.
    name: Option<String>,
    /// A symbol that it matches, and one much like it that it does not; kept beside it for the test.
    #[cfg_attr(not(test), expect(dead_code, reason = "the test of the table reads it"))]
    example: String,
    #[cfg_attr(not(test), expect(dead_code, reason = "the test of the table reads it"))]
    near_miss: String,
}

/// What a stack shows to be under way.
#[derive(Debug, Clone)]
pub(in crate::detect) struct Known {
    pub(in crate::detect) class: Arc<Class>,
    /// What to call the call.
    pub(in crate::detect) name: Option<String>,
}

impl Default for Calls {
    fn default() -> Calls {
        BUILT_IN.clone()
    }
}

impl Class {
    /// One of a user's: its calls may be the program's own, so they are looked for on all of the poll's stack.
    pub(in crate::detect) fn of_user(kind: String, instead: String, when: When, calls: Vec<Call>) -> Class {
        Class { kind, instead, when, above: true, lock: None, calls }
    }
}

impl Calls {
    /// The table of the tool itself after these.
    pub(in crate::detect) fn after(mut classes: Vec<Arc<Class>>) -> Calls {
        classes.extend(BUILT_IN.classes.iter().cloned());
        Calls { classes }
    }

    /// The kinds that its classes are of.
    pub(in crate::detect) fn kinds(&self) -> Vec<String> {
        let mut kinds: Vec<String> = Vec::new();
        for class in &self.classes {
            if !kinds.contains(&class.kind) {
                kinds.push(class.kind.clone());
            }
        }
        kinds
    }

    /// The table of the tool itself.
    pub(in crate::detect) fn built_in() -> &'static Calls {
        &BUILT_IN
    }

    /// The class of the functions below the program's own line, and what the call is called there.
    pub(in crate::detect) fn known(
        &self,
        below: &[symbols::Frame],
        above: &[symbols::Frame],
        state: When,
    ) -> Option<Known> {
        let functions = |frames: &[symbols::Frame]| -> Vec<Function> {
            frames.iter().map(|frame| Function::of(&frame.function)).collect()
        };
        let (below, above) = (functions(below), functions(above));
        self.classes.iter().filter(|class| class.when == When::Both || class.when == state).find_map(|class| {
            // The outermost is what the program's own line calls.
            let called = |function: &Function| class.calls.iter().find(|call| call.is(function));
            if let Some(call) = below.iter().rev().find_map(called) {
                return Some(Known { class: class.clone(), name: call.name.clone() });
            }
            let through = class.above && above.iter().any(|function| called(function).is_some());
            through.then(|| Known { class: class.clone(), name: None })
        })
    }
}

impl Call {
    /// One of a user's.
    pub(in crate::detect) fn of_user(pattern: &str) -> Call {
        Call { pattern: pattern.to_owned(), name: None, example: String::new(), near_miss: String::new() }
    }

    fn is(&self, function: &Function) -> bool {
        let path = self.pattern.contains("::");
        // A function of C has no path: its pattern is not for modules that are called alike.
        let is = |name: &str| name.contains("::") == path && matches(&self.pattern, name);
        is(&function.path) || function.of_trait.as_deref().is_some_and(is)
    }
}

/// Whether `text` is `pattern`, of which each `*` stands for any text.
pub(in crate::detect) fn matches(pattern: &str, text: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else { return pattern == text };
    let Some(rest) = text.strip_prefix(head) else { return false };
    let mut starts = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
    starts.any(|at| rest.get(at..).is_some_and(|rest| matches(tail, rest)))
}

#[cfg(test)]
mod tests {
    use super::super::kinds;
    use super::*;

    #[test]
    fn each_pattern_matches_its_example_and_not_its_near_miss() {
        for class in &Calls::built_in().classes {
            assert!(kinds::row(&class.kind).is_some(), "{} is a kind of stall", class.kind);
            for call in &class.calls {
                let is = |name: &str| call.is(&Function::of(name));
                assert!(is(&call.example), "{} is {}", call.example, call.pattern);
                assert!(!is(&call.near_miss), "{} is not {}", call.near_miss, call.pattern);
            }
        }
    }

    #[test]
    fn each_example_is_of_its_own_class() {
        let calls = Calls::built_in();
        for class in &calls.classes {
            for call in &class.calls {
                let frame = symbols::Frame { function: call.example.clone(), ..Default::default() };
                let state = if class.when == When::Computing { When::Computing } else { When::Blocked };
                let found = calls.known(&[frame], &[], state).expect("a class");
                assert!(Arc::ptr_eq(&found.class, class), "{} is taken for {}", call.example, found.class.kind);
            }
        }
    }

    #[test]
    fn stars_stand_for_any_text() {
        for (pattern, text, so) in [
            ("std::fs::*", "std::fs::read", true),
            ("std::fs::*", "std::fs", false),
            ("std::thread::*sleep", "std::thread::sleep", true),
            ("std::thread::*sleep", "std::thread::functions::sleep", true),
            ("std::thread::*sleep", "std::thread::sleep_until", false),
            ("*::block_on", "pollster::block_on", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
        ] {
            assert_eq!(matches(pattern, text), so, "{pattern} {text}");
        }
    }
}
