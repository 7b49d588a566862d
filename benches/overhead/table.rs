//! The figures, for people and for programs.

use crate::measure::figures::{bounds, median};
use crate::rounds::{Row, Values};
use serde_json::json;
use std::fmt::Write;

/// What a figure counts.
struct Figure {
    name: &'static str,
    unit: &'static str,
    what: &'static str,
    digits: usize,
}

const FIGURES: [Figure; 7] = [
    Figure { name: "time", unit: "ns", what: "wall time of one operation", digits: 1 },
    Figure {
        name: "aside",
        unit: "ns",
        what: "CPU time for one operation on threads that are not the program's: the observer's own",
        digits: 1,
    },
    Figure { name: "p50", unit: "µs", what: "latency that half of the requests keep", digits: 1 },
    Figure { name: "p99", unit: "µs", what: "latency that 99 of 100 requests keep", digits: 1 },
    Figure { name: "bytes-per-task", unit: "B", what: "resident memory of one task that waits", digits: 0 },
    Figure { name: "growth", unit: "KiB", what: "resident memory more after a million tasks than before", digits: 0 },
    Figure { name: "disk", unit: "B", what: "bytes on disk for one poll of the runtime", digits: 2 },
];

fn figure_of(values: &Values) -> &'static Figure {
    FIGURES.iter().find(|figure| figure.name == values.name).unwrap_or(&FIGURES[0])
}

/// A block for each workload, in it a table for each figure, in it a line for each contender.
pub(crate) fn text(rows: &[Row]) -> String {
    let mut text = String::new();
    for of_workload in rows.chunk_by(|one, other| one.workload.name == other.workload.name) {
        let workload = of_workload[0].workload;
        let _ = writeln!(text, "\n{}: {}", workload.name, workload.operation);
        for figure in FIGURES {
            if of_workload.iter().any(|row| row.figure(figure.name).is_some()) {
                table(&mut text, &figure, of_workload);
            }
        }
    }
    let loads: Vec<f64> = rows.iter().map(|row| row.load).collect();
    let _ = writeln!(text, "\nload of the machine meanwhile: {:.1} to {:.1}", bounds(&loads).0, bounds(&loads).1);
    let _ = writeln!(text, "{}", versions());
    for figure in FIGURES {
        let _ = writeln!(text, "{}: {}", figure.name, figure.what);
    }
    let mut told: Vec<&str> = Vec::new();
    for row in rows {
        if !told.contains(&row.contender.name) {
            told.push(row.contender.name);
            let _ = writeln!(text, "{}: {}; gives {}", row.contender.name, row.contender.what, row.contender.gives);
        }
    }
    text
}

fn table(text: &mut String, figure: &Figure, rows: &[Row]) {
    let bare = rows[0].figure(figure.name).map(|values| median(&values.values));
    let _ = writeln!(
        text,
        "  {:<16} {:>13} {:>25} {:>10} {:>8}  ratio of rounds",
        figure.name, "median", "spread", "added", "ratio"
    );
    for row in rows {
        let Some(values) = row.figure(figure.name) else { continue };
        let ((low, high), middle, digits) = (bounds(&values.values), median(&values.values), figure.digits);
        let added = bare.map(|bare| format!("{:+.digits$}", middle - bare)).unwrap_or_default();
        // A ratio to next to nothing says nothing.
        let ratios = match (&values.ratios[..], bare) {
            ([_, ..], Some(1.0..)) => {
                let (least, most) = bounds(&values.ratios);
                format!("{:>8.3}  {least:.2} to {most:.2}", median(&values.ratios))
            }
            _ => String::new(),
        };
        let lost = match (figure.name, row.dropped) {
            ("time" | "growth" | "bytes-per-task", 1..) => format!("  {} events lost", row.dropped),
            _ => String::new(),
        };
        let line = format!(
            "    {:<16} {:>13} {:>25} {added:>10} {ratios}{lost}",
            row.contender.name,
            format!("{middle:.digits$} {}", figure.unit),
            format!("{low:.digits$} to {high:.digits$}"),
        );
        let _ = writeln!(text, "{}", line.trim_end());
    }
}

/// One object a line: what was run where, then one figure of one contender on one workload each.
pub(crate) fn json(rows: &[Row]) -> String {
    let mut text = format!(
        "{}\n",
        json!({
            "benchmark": "overhead",
            "versions": versions(),
            "machine": machine(),
            "command": std::env::args().skip(1).collect::<Vec<_>>(),
        })
    );
    for row in rows {
        let bare = rows.iter().find(|one| one.workload.name == row.workload.name);
        for values in &row.figures {
            let (low, high) = bounds(&values.values);
            let middle = median(&values.values);
            let of_bare = bare.and_then(|bare| bare.figure(&values.name)).map(|bare| median(&bare.values));
            let ratio = (!values.ratios.is_empty()).then(|| median(&values.ratios));
            let object = json!({
                "benchmark": "overhead",
                "workload": row.workload.name,
                "contender": row.contender.name,
                "figure": values.name,
                "unit": figure_of(values).unit,
                "median": middle,
                "low": low,
                "high": high,
                "added": of_bare.map(|bare| middle - bare),
                "ratio_to_bare": ratio,
                "spread_of_ratio": ratio.map(|_| bounds(&values.ratios)),
                "rounds": values.values,
                "dropped_events": row.dropped,
                "load": row.load,
            });
            let _ = writeln!(text, "{object}");
        }
    }
    text
}

/// The versions of who is compared, as the workspace builds them.
fn versions() -> String {
    let names = ["tokio", "pollscope-agent", "tokio-metrics", "console-subscriber", "dial9-tokio-telemetry", "axum"];
    let lock = include_str!("../../Cargo.lock");
    let version = |name: &&str| {
        let rest = lock.split(&format!("name = \"{name}\"\nversion = \"")).nth(1)?;
        Some(format!("{name} {}", rest.split('"').next()?))
    };
    names.iter().filter_map(version).collect::<Vec<_>>().join(", ")
}

/// Processor, number of cores, kernel.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{}, {cores} cores, Linux {}", model.trim_start_matches(['\t', ' ', ':']), kernel.trim())
}
