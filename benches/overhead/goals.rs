//! What pollscope wants to cost at most, beside what it was measured to cost.

use crate::measure::figures::{bounds, median};
use crate::rounds::{Row, Values};
use std::fmt::Write;

/// How a figure is held against its goal.
enum Goal {
    /// So much more than bare, in the figure's unit.
    Added(f64),
    /// So many times bare.
    Ratio(f64),
    /// So much in all.
    Whole(f64),
    /// So large a part of what console-subscriber adds.
    OfConsole(f64),
}

use Goal::{Added, OfConsole, Ratio, Whole};

/// Contender, workload, figure, its unit, and the goal.
const GOALS: [(&str, &str, &str, &str, Goal); 19] = [
    ("summary", "poll", "time", "ns", Added(15.0)),
    ("full", "poll", "time", "ns", Added(40.0)),
    // Throughput of at least 0.98 times bare.
    ("summary", "echo", "time", "", Ratio(1.0 / 0.98)),
    ("summary", "http", "time", "", Ratio(1.0 / 0.98)),
    ("summary", "echo", "p99", "", Ratio(1.02)),
    ("summary", "http", "p99", "", Ratio(1.02)),
    ("deep", "mutex", "time", "", OfConsole(0.125)),
    ("deep", "mutex-contended", "time", "", OfConsole(0.125)),
    ("deep", "spawn", "time", "", OfConsole(0.125)),
    ("deep", "mpsc-ping-pong", "time", "", OfConsole(0.125)),
    ("summary", "poll", "disk", "B", Whole(1.0)),
    ("summary", "mpsc-ping-pong", "disk", "B", Whole(1.0)),
    ("summary", "echo", "disk", "B", Whole(1.0)),
    ("summary", "http", "disk", "B", Whole(1.0)),
    ("full", "poll", "disk", "B", Whole(8.0)),
    ("full", "echo", "disk", "B", Whole(8.0)),
    ("full", "http", "disk", "B", Whole(8.0)),
    ("summary", "live-tasks", "bytes-per-task", "B", Added(256.0)),
    ("full", "live-tasks", "bytes-per-task", "B", Added(256.0)),
];

/// The goals whose rows are there, each with what was measured.
pub(crate) fn text(rows: &[Row]) -> String {
    let mut text = String::new();
    for (contender, workload, figure, unit, goal) in &GOALS {
        let Some((wanted, measured, of_rounds)) = held(rows, contender, workload, figure, goal) else { continue };
        if text.is_empty() {
            let _ = writeln!(
                text,
                "\ngoals\n    {:<10} {:<16} {:<15} {:>20} {:>12} {:>18}",
                "who", "workload", "figure", "at most", "measured", "rounds"
            );
        }
        let says = match goal {
            Added(_) => format!("bare + {wanted} {unit}"),
            Ratio(_) => format!("{wanted:.3} x bare"),
            Whole(_) => format!("{wanted} {unit}"),
            OfConsole(_) => format!("{wanted} of console's"),
        };
        let (low, high) = bounds(&of_rounds);
        let _ = writeln!(
            text,
            "    {contender:<10} {workload:<16} {figure:<15} {says:>20} {measured:>12.3} {:>18}  {}",
            format!("{low:.3} to {high:.3}"),
            if measured <= wanted { "met" } else { "not met" }
        );
    }
    let lost: u64 = rows.iter().map(|row| row.dropped).sum();
    if !text.is_empty() {
        let _ = writeln!(text, "    events lost in all rounds: {lost}; at most 0");
    }
    text
}

/// The goal, what was measured of it, and the same of each round.
fn held(rows: &[Row], contender: &str, workload: &str, figure: &str, goal: &Goal) -> Option<(f64, f64, Vec<f64>)> {
    let values = |contender: &str| -> Option<&Values> {
        let of = |row: &&Row| row.contender.name == contender && row.workload.name == workload;
        rows.iter().find(of)?.figure(figure)
    };
    let own = values(contender)?;
    let less = |values: &Values, bare: &Values| -> Vec<f64> {
        values.values.iter().zip(&bare.values).map(|(value, bare)| value - bare).collect()
    };
    let (wanted, rounds) = match goal {
        Added(wanted) => (wanted, less(own, values("bare")?)),
        Ratio(wanted) => (wanted, own.ratios.clone()),
        Whole(wanted) => (wanted, own.values.clone()),
        OfConsole(wanted) => {
            let bare = values("bare")?;
            let console = less(values("console")?, bare);
            (wanted, less(own, bare).iter().zip(console).map(|(own, console)| own / console).collect())
        }
    };
    (!rounds.is_empty()).then(|| (*wanted, median(&rounds), rounds))
}
