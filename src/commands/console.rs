//! `pollscope console`: a scenario that stays alive for `tokio-console`, and what to look for there.

use super::child::{Program, sad_end};
use super::interrupt::listen;
use super::learn::ConsoleOptions;
use super::run::own_scenario;
use super::scenario::{self, Manifest};
use super::{Failure, HEALTHY, terminal};
use pollscope::report::hanging;
use signal_hook::consts::SIGTERM;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs};

/// How often the program is looked after.
const TICK: Duration = Duration::from_millis(100);
/// How long its console may take to open.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the service works unless told otherwise.
const DAY: u64 = 86_400;

pub(crate) fn console(options: &ConsoleOptions) -> Result<u8, Failure> {
    let scenario = scenario::find(&options.name)?;
    let manifest = Manifest::of(scenario)?;
    let address = options.address;
    // The service would find out too, but only its log would say so.
    TcpListener::bind(address).map_err(|error| {
        Failure::new(format!("cannot listen on {address}: {error}; choose another address with --address"))
    })?;
    let interrupted = listen()?;
    let folder = env::temp_dir().join(format!("pollscope-console-{}", std::process::id()));
    fs::create_dir_all(&folder).map_err(|error| Failure::cannot(format_args!("write {}", folder.display()), error))?;
    let outcome = serve(options, scenario, &manifest, &folder, &interrupted);
    // A folder that stays is no harm.
    let _ = fs::remove_dir_all(&folder);
    outcome
}

fn serve(
    options: &ConsoleOptions,
    scenario: &pollscope_scenarios::Scenario,
    manifest: &Manifest,
    folder: &Path,
    interrupted: &AtomicBool,
) -> Result<u8, Failure> {
    let mut command = own_scenario(scenario, options.cured, options.seconds.unwrap_or(DAY))?;
    command.env("POLLSCOPE_COLLECT", "console").env("POLLSCOPE_COLLECT_DIR", folder);
    command.env("POLLSCOPE_CONSOLE_ADDRESS", options.address.to_string()).env_remove("POLLSCOPE");
    command.env_remove("POLLSCOPE_METRICS");
    let log = folder.join("program.log");
    let mut program = Program::start(command, &log)?;
    let started = Instant::now();
    while TcpStream::connect(options.address).is_err() {
        if program.ended().is_some() || started.elapsed() > PATIENCE {
            let said = fs::read_to_string(&log).unwrap_or_default();
            let said = said.lines().find(|line| line.starts_with("pollscope: ")).unwrap_or("it opened no console");
            return Err(Failure::new(format!("{} cannot be asked: {said}", scenario.name)));
        }
        std::thread::sleep(TICK);
    }
    terminal::result(&guide(options, manifest));
    let limit = options.seconds.map(Duration::from_secs);
    loop {
        if let Some(status) = program.ended() {
            terminal::note(&sad_end(status).unwrap_or_else(|| "the service came to its end".to_owned()));
            return Ok(HEALTHY);
        }
        if interrupted.load(Ordering::Relaxed) || limit.is_some_and(|limit| started.elapsed() >= limit) {
            program.stop(SIGTERM);
            return Ok(HEALTHY);
        }
        std::thread::sleep(TICK);
    }
}

/// What to type, and what each screen shows of this scenario.
fn guide(options: &ConsoleOptions, manifest: &Manifest) -> String {
    let name = &options.name;
    let usual: SocketAddr = ([127, 0, 0, 1], 6669).into();
    let command = if options.address == usual {
        "tokio-console".to_owned()
    } else {
        format!("tokio-console http://{}", options.address)
    };
    let screens = [
        (
            "Tasks (key t, where it begins)",
            "tasks",
            "State, Busy, Idle and Polls of each task; → and ← choose the column it is sorted by, i turns it around.",
        ),
        (
            "One task (↓ to its line and Enter; Escape goes back)",
            "task",
            "Its poll times as a histogram, and how often it was woken and by itself.",
        ),
        (
            "Resources (key r)",
            "resources",
            "Locks, semaphores and timers with the line that made them; ↓ to a line and Enter show its state and who \
             waits for it. A terminal of 150 columns has room for every state at once.",
        ),
    ];
    let columns = terminal::prose_columns();
    let mut text = format!("{name} is alive on {}. In another terminal:\n\n  {command}\n", options.address);
    if !which("tokio-console") {
        text.push_str("\n  (cargo install --locked tokio-console, if there is none)\n");
    }
    for (screen, key, usual) in screens {
        text.push_str(&format!("\n{screen}\n{}", hanging("  ", usual, columns)));
        if let Some(look) = manifest.console(key).filter(|_| !options.cured) {
            text.push_str(&hanging("  Here: ", look, columns));
        }
    }
    if !options.cured {
        text.push_str(&format!("\nThen compare with the twin: pollscope console {name} --cured\n"));
    }
    text.push_str("Ctrl-C ends it.\n");
    text
}

/// Whether there is such a program in $PATH.
fn which(program: &str) -> bool {
    env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}
