//! The figures, for people and for programs.

use crate::measure::figures::{bounds, median};
use crate::rounds::Row;
use serde_json::json;
use std::fmt::Write;

/// A table a workload, a line a contender.
pub(crate) fn text(rows: &[Row]) -> String {
    let mut text = String::new();
    let mut workload = "";
    for row in rows {
        if row.workload.name != workload {
            workload = row.workload.name;
            let _ = writeln!(text, "\n{workload}: {}", row.workload.operation);
            let _ = writeln!(text, "  {:<10} {:>10} {:>19} {:>8}  ratio of rounds", "", "median", "spread", "ratio");
        }
        let ((low, high), (least, most)) = (bounds(&row.nanos), bounds(&row.ratios));
        let lost = if row.dropped > 0 { format!("  {} events lost", row.dropped) } else { String::new() };
        let _ = writeln!(
            text,
            "  {:<10} {:>7.0} ns {:>19} {:>8.2}  {least:.2} to {most:.2}{lost}",
            row.contender.name,
            median(&row.nanos),
            format!("{low:.0} to {high:.0} ns"),
            median(&row.ratios),
        );
    }
    let loads: Vec<f64> = rows.iter().map(|row| row.load).collect();
    let _ = writeln!(text, "\nload of the machine meanwhile: {:.1} to {:.1}", bounds(&loads).0, bounds(&loads).1);
    let mut told: Vec<&str> = Vec::new();
    for row in rows {
        if !told.contains(&row.contender.name) {
            told.push(row.contender.name);
            let _ = writeln!(text, "{}: {}", row.contender.name, row.contender.what);
        }
    }
    text
}

/// One object a line: one contender on one workload.
pub(crate) fn json(rows: &[Row]) -> String {
    let line = |row: &Row| {
        let (low, high) = bounds(&row.nanos);
        let object = json!({
            "benchmark": "locks",
            "workload": row.workload.name,
            "contender": row.contender.name,
            "unit": "ns",
            "median": median(&row.nanos),
            "low": low,
            "high": high,
            "ratio_to_bare": median(&row.ratios),
            "rounds": row.nanos,
            "dropped_events": row.dropped,
            "load": row.load,
        });
        format!("{object}\n")
    };
    rows.iter().map(line).collect()
}
