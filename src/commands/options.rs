//! What the user may say.

use super::learn::{
    CONSOLE_EXAMPLES, ConsoleOptions, EXERCISE_EXAMPLES, ExerciseOptions, FLAME_EXAMPLES, FlameOptions,
};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;

/// Finds out why an async Rust program is slow or stuck, and names the culprit.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, after_help = EXAMPLES)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Calls of your own and what you accept; otherwise the nearest `pollscope.toml`, from this folder upward
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

impl Command {
    /// Whether it judges programs that are no scenarios of ours, and so by the rules that lie beside them.
    pub(crate) fn judges_strangers(&self) -> bool {
        matches!(
            self,
            Command::Record(_) | Command::Attach(_) | Command::Diagnose(_) | Command::Report(_) | Command::Watch(_)
        )
    }
}

const EXAMPLES: &str = "\
Examples:
  pollscope list                               what can go wrong, one small program each
  pollscope run blocking-call                  run one of them and see it diagnosed
  pollscope run blocking-call --cured          the same service without the fault: silence
  pollscope record -- ./target/release/api     your own service (it links pollscope-agent)
  pollscope diagnose pollscope-out/api         the same verdict again, from the disk
  pollscope watch /var/lib/pollscope           services that run, as text and for Prometheus

Exit status: 0 healthy or done, 1 findings of at least --fail-on (default warning), 2 could not do it.
Results go to stdout, progress to stderr. NO_COLOR is respected.";

const RUN_EXAMPLES: &str = "\
Examples:
  pollscope run blocking-call                  exits with 1: it finds the fault
  pollscope run blocking-call --cured          exits with 0: the cured twin is healthy
  pollscope run blocking-call --collect none   the verdict only, in half the time
  pollscope run blocking-call --format json    the whole diagnosis, for scripts";

const RECORD_EXAMPLES: &str = "\
The program must link the crate pollscope-agent and be built with RUSTFLAGS=\"--cfg tokio_unstable\".

Examples:
  pollscope record -- ./target/release/api --port 8080
  pollscope record --seconds 30 --out before -- ./target/release/api";

const ATTACH_EXAMPLES: &str = "\
The program needs no agent; it runs console_subscriber::init(), with tokio's feature `tracing` and
RUSTFLAGS=\"--cfg tokio_unstable\". Attach at its start if you can: who took what is then known for sure.

Examples:
  pollscope attach 127.0.0.1:6669              until Ctrl-C or the program's end, then the verdict
  pollscope attach /run/api.sock --seconds 10 --out before";

const DIAGNOSE_EXAMPLES: &str = "\
Examples:
  pollscope diagnose pollscope-out/blocking-call
  pollscope diagnose recording --format json --fail-on critical
  pollscope diagnose pollscope-out/lock-cycle --format dot | dot -Tsvg > cycle.svg";

const REPORT_EXAMPLES: &str = "\
Examples:
  pollscope report pollscope-out/blocking-call --open
  pollscope report recording --out stall.html";

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  pollscope explain                            every kind in a line
  pollscope explain futurelock                 one kind on a page";

const WATCH_EXAMPLES: &str = "\
The services link pollscope-agent and run with POLLSCOPE=DIR. Findings go to stdout as they come; Ctrl-C ends it, with
exit status 0.

Examples:
  pollscope watch /var/lib/pollscope
  pollscope watch /var/lib/pollscope --metrics 127.0.0.1:9464
  pollscope watch pollscope-out --metrics 9464         what `run` and `record` record now";

const EVAL_EXAMPLES: &str = "\
Examples:
  pollscope eval                               every scenario and its cured twin, once
  pollscope eval lock-cycle --repeat 5         how often is it right?
  pollscope eval --flavor current_thread,2,4   on other runtimes than the scenarios' own?
  pollscope eval --load 2                      and with two busy neighbors on the machine?

Every combination, four runs at a time; the build is that of the binary, so once with each:
  pollscope eval --flavor current_thread,2,4 --load 0,2 --jobs 4 --format json

With --jobs beyond the cores the runs are each other's load.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the scenarios: small services with one known fault each
    List(ListOptions),
    /// Run a scenario, record it and diagnose it
    #[command(after_help = RUN_EXAMPLES)]
    Run(RunOptions),
    /// Run a program of yours, record it and diagnose it
    #[command(after_help = RECORD_EXAMPLES)]
    Record(RecordOptions),
    /// Listen to a program that runs console-subscriber, and diagnose it
    #[command(after_help = ATTACH_EXAMPLES)]
    Attach(AttachOptions),
    /// Diagnose a recording
    #[command(after_help = DIAGNOSE_EXAMPLES)]
    Diagnose(DiagnoseOptions),
    /// Write the diagnosis as one self-contained HTML file
    #[command(after_help = REPORT_EXAMPLES)]
    Report(ReportOptions),
    /// Explain a kind of finding: what happens, how it is told, what to do
    #[command(after_help = EXPLAIN_EXAMPLES)]
    Explain(ExplainOptions),
    /// Follow services that run: findings as they come, and metrics for Prometheus
    #[command(after_help = WATCH_EXAMPLES)]
    Watch(WatchOptions),
    /// Compare the diagnosis of every scenario and twin with the truth
    #[command(after_help = EVAL_EXAMPLES)]
    Eval(EvalOptions),
    /// Learn by debugging: a faulty service and its ticket
    #[command(after_help = EXERCISE_EXAMPLES)]
    Exercise(ExerciseOptions),
    /// Keep a scenario alive for `tokio-console`, and say what to look for there
    #[command(after_help = CONSOLE_EXAMPLES)]
    Console(ConsoleOptions),
    /// Draw one flame graph of a scenario, or its difference from the cured twin
    #[command(after_help = FLAME_EXAMPLES)]
    Flame(FlameOptions),
    /// The child process of `run`.
    #[command(name = "__scenario", hide = true)]
    Scenario {
        name: String,
        #[arg(long)]
        cured: bool,
        #[arg(long)]
        flavor: Option<Flavor>,
    },
    /// A busy neighbor for `eval --load`.
    #[command(name = "__spin", hide = true)]
    Spin,
}

/// How results are written to stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Text,
    Json,
}

/// How a diagnosis is written to stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum VerdictFormat {
    /// One screen for people
    Text,
    /// The whole diagnosis, for scripts
    Json,
    /// Who waits for whom, for Graphviz
    Dot,
}

/// The least severity that makes the exit status 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Level {
    Info,
    Warning,
    Critical,
}

/// How a verdict is shown and judged.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct VerdictOptions {
    /// How to write the diagnosis to stdout
    #[arg(long, value_enum, default_value_t = VerdictFormat::Text)]
    pub(crate) format: VerdictFormat,
    /// The least severity that makes the exit status 1
    #[arg(long, value_enum, value_name = "LEVEL", default_value_t = Level::Warning)]
    pub(crate) fail_on: Level,
    /// Exit with 1 also when the verdict is `environment` or `unknown`
    #[arg(long)]
    pub(crate) strict: bool,
}

/// A runtime for a scenario, in place of what its source says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavor {
    /// One thread does everything.
    CurrentThread,
    /// So many workers.
    Workers(NonZeroUsize),
}

#[cfg(feature = "lab")]
impl Flavor {
    /// Whether a runtime that calls itself so is of this flavor.
    pub(crate) fn is(self, flavor: &str, workers: u64) -> bool {
        match self {
            Flavor::CurrentThread => flavor == "current_thread",
            Flavor::Workers(asked) => flavor == "multi_thread" && asked.get() as u64 == workers,
        }
    }
}

impl fmt::Display for Flavor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Flavor::CurrentThread => f.write_str("current_thread"),
            Flavor::Workers(workers) => workers.fmt(f),
        }
    }
}

impl FromStr for Flavor {
    type Err = String;

    fn from_str(text: &str) -> Result<Flavor, String> {
        match text.parse::<NonZeroUsize>() {
            _ if text == "current_thread" => Ok(Flavor::CurrentThread),
            Ok(workers) if workers.get() <= 1024 => Ok(Flavor::Workers(workers)),
            _ => Err(format!("`{text}` is neither current_thread nor a number of workers from 1 to 1024")),
        }
    }
}

/// Classic collectors by name, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Collectors(Vec<&'static str>);

impl Collectors {
    /// All there are.
    const ALL: [&str; 4] = ["console", "flame", "pprof", "metrics"];

    /// Whether none is named.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many are named.
    #[cfg(feature = "collect")]
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// Whether `name` is one of them.
    #[cfg(feature = "collect")]
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains(&name)
    }
}

impl fmt::Display for Collectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(","))
    }
}

impl FromStr for Collectors {
    type Err = String;

    fn from_str(list: &str) -> Result<Collectors, String> {
        match list {
            "all" => return Ok(Collectors(Collectors::ALL.to_vec())),
            "none" => return Ok(Collectors(Vec::new())),
            _ => {}
        }
        let mut names = Vec::new();
        for word in list.split(',').map(str::trim) {
            let Some(name) = Collectors::ALL.iter().find(|name| **name == word) else {
                return Err(format!(
                    "there is no collector `{word}`; choose of {}, or all or none",
                    Collectors::ALL.join(", ")
                ));
            };
            if !names.contains(name) {
                names.push(*name);
            }
        }
        Ok(Collectors(names))
    }
}

/// What `run` collects unless told otherwise: all that this build can.
const RUN_COLLECTS: &str = if cfg!(feature = "collect") { "all" } else { "none" };

#[derive(Debug, Args)]
pub(crate) struct ListOptions {
    /// How to write the list
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct RunOptions {
    /// A scenario of `pollscope list`
    pub(crate) name: String,
    /// Run the twin without the fault
    #[arg(long)]
    pub(crate) cured: bool,
    /// Folder for the recording and the diagnosis; an earlier run there is replaced [default: pollscope-out/NAME]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// How long the service works [default: 3; with --loop 60, each time]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) seconds: Option<u64>,
    /// The runtime: current_thread, or a number of workers [default: what the scenario's source says]
    #[arg(long, value_name = "FLAVOR")]
    pub(crate) flavor: Option<Flavor>,
    /// Start it again and again until Ctrl-C, and say findings as they come; no verdict at the end
    #[arg(long = "loop")]
    pub(crate) looped: bool,
    /// With --loop: serve metrics for Prometheus at http://ADDRESS/metrics, e.g. 127.0.0.1:9464
    #[arg(long, value_name = "ADDRESS", requires = "looped")]
    pub(crate) metrics: Option<String>,
    /// Classic collectors to run in a second pass, after the verdict: console, flame, pprof, metrics, or all or none
    #[arg(long, value_name = "LIST", default_value = RUN_COLLECTS)]
    pub(crate) collect: Collectors,
    #[command(flatten)]
    pub(crate) verdict: VerdictOptions,
}

#[derive(Debug, Args)]
pub(crate) struct RecordOptions {
    /// Folder for the recording and the diagnosis; an earlier run there is replaced [default: pollscope-out/PROGRAM]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Stop the program after so many seconds
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    pub(crate) seconds: Option<u64>,
    /// Classic collectors to run the program with a second time: console, flame, pprof, metrics, or all or none; it must
    /// link pollscope-agent with its feature `collectors`
    #[arg(long, value_name = "LIST", default_value = "none")]
    pub(crate) collect: Collectors,
    #[command(flatten)]
    pub(crate) verdict: VerdictOptions,
    /// The program and its arguments, after `--`
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

#[derive(Debug, Args)]
#[cfg_attr(not(feature = "collect"), allow(dead_code, reason = "without the client there is nothing to ask for"))]
pub(crate) struct AttachOptions {
    /// Where its console server listens: HOST:PORT, http://HOST:PORT, or the path of a Unix socket
    pub(crate) address: String,
    /// Stop listening after so many seconds [default: at Ctrl-C, or when the program ends]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    pub(crate) seconds: Option<u64>,
    /// Folder for what was heard and the diagnosis; an earlier run there is replaced [default: pollscope-out/attach]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) verdict: VerdictOptions,
}

#[derive(Debug, Args)]
pub(crate) struct DiagnoseOptions {
    /// A recording, or the folder of a run
    pub(crate) path: PathBuf,
    #[command(flatten)]
    pub(crate) verdict: VerdictOptions,
}

#[derive(Debug, Args)]
pub(crate) struct ReportOptions {
    /// The folder of a run, or a recording
    pub(crate) path: PathBuf,
    /// Where to write it [default: report.html in the folder of a run, beside a recording]
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Show it in the browser
    #[arg(long)]
    pub(crate) open: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainOptions {
    /// A kind of finding [default: list them all]
    pub(crate) kind: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct WatchOptions {
    /// The folder the services record to, or one that runs are in
    pub(crate) dir: PathBuf,
    /// Serve metrics for Prometheus at http://ADDRESS/metrics, e.g. 127.0.0.1:9464
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) metrics: Option<String>,
    /// Push metrics to an OpenTelemetry collector, e.g. http://127.0.0.1:4318, every 10 seconds or as
    /// OTEL_METRIC_EXPORT_INTERVAL says in milliseconds
    #[cfg(feature = "otlp")]
    #[arg(long, value_name = "URL")]
    pub(crate) otlp: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct EvalOptions {
    /// Scenarios of `pollscope list` [default: all]
    pub(crate) names: Vec<String>,
    /// How often to run each
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) repeat: u32,
    /// Runtimes to run each on: current_thread, or a number of workers [default: what the scenario's source says]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) flavor: Vec<Flavor>,
    /// Busy processes to run beside; several numbers for several rounds
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "0", value_parser = clap::value_parser!(u32).range(0..=256))]
    pub(crate) load: Vec<u32>,
    /// How many to run at a time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = one_to_64)]
    pub(crate) jobs: usize,
    /// Keep the folder of each run that was not as it should be in here, to look into
    #[arg(long, value_name = "FOLDER")]
    pub(crate) keep: Option<PathBuf>,
    /// How to write the table
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

fn one_to_64(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|number| (1..=64).contains(number))
        .ok_or_else(|| "a number from 1 to 64 is wanted".to_owned())
}
