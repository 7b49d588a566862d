//! `pollscope flame`: one flame graph of a scenario, or what is different in its twin.

use super::folder::Folder;
use super::learn::{FlameKind, FlameOptions};
use super::observe::{Plan, observe};
use super::options::Collectors;
use super::run::own_scenario;
use super::{Failure, HEALTHY, scenario, terminal};
use pollscope::collect;
use pollscope::report::hanging;
use pollscope_scenarios::Scenario;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How much longer than asked a scenario may take before it counts as hung.
const PATIENCE: Duration = Duration::from_secs(4);

pub(crate) fn flame(options: &FlameOptions) -> Result<u8, Failure> {
    let scenario = scenario::find(&options.name)?;
    let out =
        options.out.clone().unwrap_or_else(|| Path::new("pollscope-out").join(format!("{}-flame", scenario.name)));
    let kind = options.kind;
    let before = folded(scenario, false, options, &out)?;
    let (title, empty) = words(kind);
    let unit = if kind == FlameKind::Cpu { "samples" } else { "ns" };
    let path = out.join(format!("{}.svg", name(kind)));
    let svg = match options.diff {
        None => collect::flamegraph(title, unit, &before, empty),
        Some(_) => {
            let after = folded(scenario, true, options, &out.join("cured"))?;
            let (before, after) = (comparable(scenario, &before), comparable(scenario, &after));
            // Drawn with the widths of the twin: red is what has become more, blue what has become less.
            collect::differential(&format!("{title}: from the fault to the cure"), unit, &before, &after, empty)
        }
    };
    let svg = svg.map_err(Failure::new)?;
    fs::write(&path, svg).map_err(|error| Failure::cannot(format_args!("write {}", path.display()), error))?;
    let mut text = format!("{}\n", path.display());
    if options.diff.is_some() {
        text.push_str("Widths are the cured twin's; red is more than with the fault, blue is less.\n");
        text.push_str("What only the fault has has no width left here: the graph without --diff shows it.\n");
    }
    text.push_str(&hanging("It cannot show: ", blind(kind), terminal::prose_columns()));
    terminal::result(&text);
    Ok(HEALTHY)
}

/// Stacks under the names that the fault and its twin have in common: without their modules, and without the lines at
/// which spans stand.
fn comparable(scenario: &Scenario, folded: &str) -> String {
    let module = format!("::{}::", scenario.name.replace('-', "_"));
    let common = |frame: &str| {
        let frame = frame.split(":scenarios/").next().unwrap_or(frame);
        frame.replace(&format!("{module}fault::"), &module).replace(&format!("{module}cure::"), &module)
    };
    let mut text = String::with_capacity(folded.len());
    for line in folded.lines() {
        let (stack, count) = line.rsplit_once(' ').unwrap_or((line, "0"));
        let stack = stack.split(';').map(common).collect::<Vec<_>>().join(";");
        text.push_str(&format!("{stack} {count}\n"));
    }
    text
}

fn name(kind: FlameKind) -> &'static str {
    match kind {
        FlameKind::Span => "span",
        FlameKind::Cpu => "cpu",
        FlameKind::OffCpu => "off-cpu",
    }
}

/// The title of a graph, and what to say where there is nothing to draw.
fn words(kind: FlameKind) -> (&'static str, &'static str) {
    match kind {
        FlameKind::Span => ("Time inside the program's spans", "The program entered no tracing span of its own."),
        FlameKind::Cpu => {
            ("CPU time by function", "No thread was on the CPU when a sample was taken: it waits rather than computes.")
        }
        FlameKind::OffCpu => {
            ("Time asleep inside long polls", "No poll was caught asleep: whoever waits, waits as async code should.")
        }
    }
}

/// What a graph of this kind is blind to.
fn blind(kind: FlameKind) -> &'static str {
    match kind {
        FlameKind::Span => {
            "time outside of spans, and what a task does between two polls: a span counts only while its future is polled, \
             so a long `.await` is invisible and a thread asleep looks like one at work."
        }
        FlameKind::Cpu => {
            "anything that waits: a sleeping thread and a suspended task take no sample, so a deadlock is an empty picture."
        }
        FlameKind::OffCpu => {
            "tasks that wait at an `.await`, which sleep on no thread, and polls too short for the watchdog; the order in \
             which things happened is lost in it as in every flame graph."
        }
    }
}

/// Runs the scenario or its twin and sums up its stacks.
fn folded(scenario: &Scenario, cured: bool, options: &FlameOptions, out: &Path) -> Result<String, Failure> {
    let folder = claimed(out)?;
    let limit = Duration::from_secs(options.seconds) + PATIENCE;
    let command = own_scenario(scenario, cured, options.seconds)?;
    let collectors = |list: &str| list.parse::<Collectors>().map_err(Failure::new);
    let read = |file: &str| {
        let path = folder.path().join(file);
        fs::read_to_string(&path).map_err(|error| Failure::cannot(format_args!("read {}", path.display()), error))
    };
    match options.kind {
        FlameKind::Span => {
            super::collect::pass(command, &folder, &collectors("flame")?, scenario.name, limit);
            read("flame.folded")
        }
        FlameKind::Cpu => {
            super::collect::pass(command, &folder, &collectors("pprof")?, scenario.name, limit);
            collect::folded_cpu(folder.path()).map_err(Failure::new)
        }
        FlameKind::OffCpu => {
            let plan = Plan {
                name: scenario.name,
                expected: Some(Duration::from_secs(options.seconds)),
                limit: Some(limit),
                should_end: true,
                tell: false,
                notes: Vec::new(),
            };
            observe(command, &folder, plan)?;
            let recordings = pollscope_recording::find_recordings(&folder.recording());
            let (recording, _) = super::verdict::choose(recordings, None)
                .ok_or_else(|| Failure::new(format!("{} left no recording", scenario.name)))?;
            super::verdict::off_cpu(&recording)
        }
    }
}

/// The folder, with what an earlier drawing left.
fn claimed(out: &Path) -> Result<Folder, Failure> {
    for name in ["span.svg", "cpu.svg", "off-cpu.svg"] {
        let path: PathBuf = out.join(name);
        if path.is_file() {
            fs::remove_file(&path)
                .map_err(|error| Failure::cannot(format_args!("remove {}", path.display()), error))?;
        }
    }
    // The twin lies below; it is replaced too, and `claim` refuses what is no run.
    Folder::claim(out)
}
