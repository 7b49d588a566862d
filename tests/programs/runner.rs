//! Runs one of many programs: the first argument says which, the second on which runtime.

use std::future::Future;
use std::pin::Pin;
use std::sync::OnceLock;
use std::time::Duration;

/// A program: the work of a `main`, which can keep what cannot be sent.
pub(crate) type Program = fn() -> Pin<Box<dyn Future<Output = ()>>>;

/// The list of programs of these names.
macro_rules! programs {
    ($($name:ident),* $(,)?) => { &[$((stringify!($name), (|| Box::pin($name())) as $crate::runner::Program)),*] };
}
pub(crate) use programs;

static CHOSEN: OnceLock<Program> = OnceLock::new();

/// Runs the program that was asked for.
pub(crate) fn run(programs: &[(&str, Program)]) {
    let name = std::env::args().nth(1).unwrap_or_default();
    let Some((_, program)) = programs.iter().find(|(known, _)| *known == name) else { panic!("no program {name}") };
    CHOSEN.get_or_init(|| *program);
    match std::env::args().nth(2).as_deref() {
        Some("current_thread") => current_thread(),
        Some("four") => four_workers(),
        _ => two_workers(),
    }
}

async fn chosen() {
    if let Some(program) = CHOSEN.get() {
        program().await;
    }
}

#[pollscope_agent::main(flavor = "current_thread")]
async fn current_thread() {
    chosen().await;
}

#[pollscope_agent::main(worker_threads = 2)]
async fn two_workers() {
    chosen().await;
}

#[pollscope_agent::main(worker_threads = 4)]
async fn four_workers() {
    chosen().await;
}

/// So many milliseconds.
pub(crate) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
