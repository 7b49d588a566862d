//! The part of libtest that is needed here: a list of names, filters, threads. libtest itself would put the programs on
//! a thread of its own, and then nothing would be as in a real `main`.

use std::panic::catch_unwind;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

pub type Entry = (&'static str, fn());

/// Names functions of a module: `entries!("group": first, second)`.
macro_rules! entries {
    ($group:literal: $($(#[$condition:meta])* $name:ident),* $(,)?) => { &[$($(#[$condition])* (concat!($group, "::", stringify!($name)), $name as fn())),*] };
}
pub(crate) use entries;

pub fn run(tests: Vec<Entry>) -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let filters: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let is_wanted = |name: &str| {
        let matches = |filter: &&String| if has("--exact") { name == filter.as_str() } else { name.contains(*filter) };
        filters.is_empty() || filters.iter().any(matches)
    };
    let tests: Vec<Entry> = tests.into_iter().filter(|(name, _)| is_wanted(name)).collect();
    if has("--list") {
        tests.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    // No test is left out on purpose, so there is nothing to run then.
    if has("--ignored") {
        return ExitCode::SUCCESS;
    }
    println!("\nrunning {} tests", tests.len());
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        // The programs wait most of the time.
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some((name, test)) = tests.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = catch_unwind(*test);
                    println!("test {name} ... {}", if outcome.is_ok() { "ok" } else { "FAILED" });
                    if outcome.is_err() {
                        failed.lock().unwrap().push(*name);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    println!("\ntest result: {} of {} passed", tests.len() - failed.len(), tests.len());
    failed.iter().for_each(|name| println!("    {name} failed"));
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
