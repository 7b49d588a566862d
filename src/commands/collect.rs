//! The pass of the classic collectors: the program a second time, without our recording, since each of them disturbs
//! what it measures. What goes wrong here never touches the verdict, which stands already.

use super::child::{Program, sad_end};
use super::folder::Folder;
use super::interrupt::listen;
use super::options::Collectors;
use super::terminal::{self, Progress};
use pollscope::collect;
use signal_hook::consts::SIGTERM;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How often the program is looked after.
const TICK: Duration = Duration::from_millis(25);

/// Runs `command` with the collectors awake until it ends or `limit` is over, and makes their files complete. Each
/// thing that went wrong is told in one line.
pub(crate) fn pass(mut command: Command, folder: &Folder, wanted: &Collectors, name: &str, limit: Duration) {
    if wanted.is_empty() {
        return;
    }
    command.env("POLLSCOPE_COLLECT", wanted.to_string()).env("POLLSCOPE_COLLECT_DIR", folder.path());
    command.env_remove("POLLSCOPE").env_remove("POLLSCOPE_METRICS");
    let socket = folder.path().join("console.sock");
    let console = wanted.has("console").then(|| collect::Client::start(&socket).map_err(|error| error.to_string()));
    match Program::start(command, &folder.collectors_log()) {
        Ok(mut program) => watch(&mut program, name, limit),
        Err(failure) => return terminal::note(&format!("pollscope: nothing is collected: {failure}")),
    }
    // What the collectors said themselves is the nearest cause, so it replaces what we would say of the same one.
    let said = fs::read_to_string(folder.collectors_log()).unwrap_or_default();
    let said: Vec<_> = said.lines().filter(|line| line.starts_with("pollscope: ")).collect();
    said.iter().for_each(|line| terminal::note(line));
    let explained = |name: &str| {
        said.iter().any(|line| {
            let rest = line.trim_start_matches("pollscope: ");
            rest.starts_with("nothing is collected")
                || rest.split_once(':').is_some_and(|(names, _)| names.split(", ").any(|other| other == name))
        })
    };
    let path = folder.path();
    let save = |console: Result<collect::Client, String>| save_console(path, console?);
    let outcomes = [
        ("console", console.map(save)),
        ("flame", wanted.has("flame").then(|| collect::finish_flame(path))),
        ("pprof", wanted.has("pprof").then(|| collect::finish_cpu(path))),
        ("metrics", wanted.has("metrics").then(|| collect::finish_metrics(path))),
    ];
    let failed: Vec<_> = outcomes.into_iter().filter_map(|(name, outcome)| Some((name, outcome?.err()?))).collect();
    if failed.len() == wanted.count() && said.is_empty() {
        let hint = "the program must link pollscope-agent with its feature `collectors`";
        terminal::note(&format!("pollscope: the collectors left nothing: {hint}"));
    } else {
        for (name, why) in failed.iter().filter(|(name, _)| !explained(name)) {
            terminal::note(&format!("pollscope: {name}: {why}"));
        }
    }
    folder.forget_traces();
}

fn save_console(folder: &Path, client: collect::Client) -> Result<(), String> {
    let path = folder.join("console.json");
    fs::write(&path, client.finish()?).map_err(|error| format!("{} cannot be written: {error}", path.display()))
}

/// Returns once the program has ended or was stopped.
fn watch(program: &mut Program, name: &str, limit: Duration) {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let progress = Progress::new(&format!("collecting from {name}"), Some(millis(limit)));
    // Without it Ctrl-C ends us at once, and the program with us.
    let interrupted = listen().unwrap_or_default();
    let started = Instant::now();
    loop {
        if let Some(status) = program.ended() {
            if let Some(end) = sad_end(status) {
                progress.note(&format!("while the collectors ran, {end}"));
            }
            return;
        }
        if interrupted.load(Ordering::Relaxed) || started.elapsed() >= limit {
            program.stop(SIGTERM);
            return;
        }
        progress.at(millis(started.elapsed()));
        std::thread::sleep(TICK);
    }
}
