//! How many instructions the agent adds to an operation, counted by valgrind: the figure that does not wobble.
//!
//! ```text
//! cargo bench -p pollscope-agent --features tracing --bench instructions [-- --write]
//! ```
//!
//! Every figure is a difference: the instructions of the program's own thread for many operations less those for few,
//! so that what a start costs is in none. Each is compared, as a fraction of what the operation takes with nobody
//! looking, with the limit in `limits.txt`; one above it fails. `--write` writes what is measured, with a little room,
//! as the new limits.

mod work;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use work::{WORKLOADS, Workload, bare, under_agent};

const CHILD: &str = "--child";
const FEW: u64 = 1_000;
const MANY: u64 = 7_000;
/// What a limit written anew leaves for the heartbeat, which beats by the clock, and for stacks, which differ in depth.
/// The dormant agent has neither.
const ROOM: f64 = 1.02;
const ROOM_DEEP: f64 = 1.05;
/// More where the drain's moment decides which tasks find a place in a table.
const ROOM_SPAWN: f64 = 1.10;
const ROOM_DORMANT: f64 = 1.0005;
/// A spawn allocates, and what that takes depends on what lies in the heap beside it: from build to build the allocator
/// takes up to 4 % more or less, with nobody looking too.
const ROOM_ALLOCATES: f64 = 1.06;

struct Contender {
    name: &'static str,
    environment: &'static [(&'static str, &'static str)],
    records: bool,
    room: f64,
    run: fn(&'static Workload, u64),
}

/// The first is what the others are compared with.
const CONTENDERS: [Contender; 5] = [
    Contender { name: "bare", environment: &[], records: false, room: ROOM_DORMANT, run: bare },
    Contender { name: "dormant", environment: &[], records: false, room: ROOM_DORMANT, run: under_agent },
    Contender { name: "summary", environment: &[], records: true, room: ROOM, run: under_agent },
    Contender {
        name: "full",
        environment: &[("POLLSCOPE_LEVEL", "full")],
        records: true,
        room: ROOM,
        run: under_agent,
    },
    Contender {
        name: "deep",
        environment: &[("POLLSCOPE_TRACE", "1")],
        records: true,
        room: ROOM_DEEP,
        run: under_agent,
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        [CHILD, contender, workload, count] => child(contender, workload, count).map(|()| (String::new(), true)),
        [] => gate(false),
        ["--write"] => gate(true),
        _ => Err("the only option is --write".to_owned()),
    };
    match done {
        Ok((text, holds)) => {
            tell(&text);
            if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(why) => {
            complain(&why);
            ExitCode::from(2)
        }
    }
}

#[expect(clippy::print_stdout, reason = "the figures are what this program is for")]
fn tell(text: &str) {
    print!("{text}");
}

#[expect(clippy::print_stderr, reason = "why there are no figures")]
fn complain(why: &str) {
    eprintln!("instructions: {why}");
}

fn child(contender: &str, workload: &str, count: &str) -> Result<(), String> {
    let contender = CONTENDERS.iter().find(|one| one.name == contender).ok_or("no such contender")?;
    let workload = WORKLOADS.iter().find(|one| one.name == workload).ok_or("no such workload")?;
    (contender.run)(workload, count.parse().map_err(|_| "the count is no number")?);
    Ok(())
}

fn limits_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/instructions/limits.txt")
}

/// `workload contender fraction` a line.
fn limits() -> Result<BTreeMap<(String, String), f64>, String> {
    let file = limits_file();
    let text = std::fs::read_to_string(&file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let limit = |line: &str| {
        let mut words = line.split_whitespace();
        let key = (words.next()?.to_owned(), words.next()?.to_owned());
        Some((key, words.next()?.parse().ok()?))
    };
    lines.map(|line| limit(line).ok_or_else(|| format!("{} says {line:?}", file.display()))).collect()
}

/// The table, and whether every limit is kept.
fn gate(write: bool) -> Result<(String, bool), String> {
    let limits = if write { BTreeMap::new() } else { limits()? };
    let mut text = format!("{:<8} {:<8} {:>12} {:>9} {:>9}\n", "", "", "instructions", "fraction", "limit");
    let mut written =
        String::from("# Instructions an operation takes, as a fraction of what it takes with nobody looking.\n");
    let mut holds = true;
    for workload in &WORKLOADS {
        let counted = counted(workload)?;
        for (contender, &each) in CONTENDERS.iter().zip(&counted) {
            let fraction = each / counted[0];
            let _ = write!(text, "{:<8} {:<8} {each:>12.1} {fraction:>9.4}", workload.name, contender.name);
            if contender.name != CONTENDERS[0].name {
                let room = match (workload.name, contender.records) {
                    ("spawn", true) => contender.room.max(ROOM_SPAWN),
                    ("spawn", false) => contender.room.max(ROOM_ALLOCATES),
                    _ => contender.room,
                };
                let _ = writeln!(written, "{} {} {:.4}", workload.name, contender.name, fraction * room);
                let key = (workload.name.to_owned(), contender.name.to_owned());
                match limits.get(&key) {
                    _ if write => {}
                    Some(limit) if fraction <= *limit => _ = write!(text, " {limit:>9.4}"),
                    Some(limit) => {
                        holds = false;
                        let _ = write!(text, " {limit:>9.4}  too many: {:+.1}", (fraction - limit) * counted[0]);
                    }
                    None => return Err(format!("{} has no limit for {key:?}", limits_file().display())),
                }
            }
            text.push('\n');
        }
    }
    if write {
        std::fs::write(limits_file(), written).map_err(|error| error.to_string())?;
    }
    Ok((text, holds))
}

/// Instructions an operation takes under each contender.
fn counted(workload: &'static Workload) -> Result<Vec<f64>, String> {
    // Two cores and one thread a valgrind: the two counts of a contender run side by side.
    let each = |contender: &'static Contender| {
        std::thread::scope(|scope| {
            let few = scope.spawn(|| instructions(contender, workload, FEW));
            let many = instructions(contender, workload, MANY)?;
            let few = few.join().map_err(|_| "a thread that counts panicked".to_owned())??;
            Ok(many.saturating_sub(few) as f64 / (MANY - FEW) as f64)
        })
    };
    CONTENDERS.iter().map(each).collect()
}

/// Instructions of the thread of `main`, in a process of its own.
fn instructions(contender: &Contender, workload: &Workload, count: u64) -> Result<u64, String> {
    let told = |what: String| format!("{} on {}: {what}", contender.name, workload.name);
    let folder = tempfile::tempdir().map_err(|error| told(error.to_string()))?;
    let program = std::env::current_exe().map_err(|error| told(error.to_string()))?;
    let out = folder.path().join("counted");
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--separate-threads=yes", "--fair-sched=yes"]);
    command.arg(format!("--callgrind-out-file={}", out.display())).arg(program);
    command.args([CHILD, contender.name, workload.name, &count.to_string()]);
    for name in ["POLLSCOPE", "POLLSCOPE_TRACE", "POLLSCOPE_LEVEL", "POLLSCOPE_SPANS", "POLLSCOPE_MAX_BYTES"] {
        command.env_remove(name);
    }
    if contender.records {
        command.env("POLLSCOPE", folder.path().join("recording"));
    }
    command.envs(contender.environment.iter().copied()).stdin(Stdio::null());
    let output = command.output().map_err(|error| told(format!("cannot start valgrind: {error}")))?;
    if !output.status.success() {
        return Err(told(format!("{}\n{}", output.status, String::from_utf8_lossy(&output.stderr))));
    }
    if contender.records {
        is_whole(&folder.path().join("recording")).map_err(told)?;
    }
    let file = format!("{}-01", out.display());
    let text = std::fs::read_to_string(&file).map_err(|error| told(format!("cannot read {file}: {error}")))?;
    let totals = text.lines().find_map(|line| line.strip_prefix("totals: ").or(line.strip_prefix("summary: ")));
    totals.and_then(|total| total.trim().parse().ok()).ok_or_else(|| told(format!("{file} has no total")))
}

/// What was lost was not paid for.
fn is_whole(folder: &Path) -> Result<(), String> {
    use pollscope_recording::{Event, Recording, find_recordings};
    let found = find_recordings(folder);
    let recording = found.first().and_then(|found| Recording::open(found).ok()).ok_or("it recorded nothing")?;
    let (mut polls, mut dropped) = (0, 0);
    recording.for_each(|event| {
        if let Event::Cost(cost) = event {
            (polls, dropped) = (cost.polls, cost.dropped);
        }
    });
    match (polls, dropped) {
        (1.., 0) => Ok(()),
        _ => Err(format!("{dropped} events were lost, and {polls} polls counted")),
    }
}
