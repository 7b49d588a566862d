//! Rounds of children, and what they measured.

use crate::CHILD;
use crate::contenders::Contender;
use crate::measure::process::{bytes_in, dropped, load};
use crate::workloads::Workload;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// What is to be run.
pub(crate) struct Plan {
    /// The first is what the others are compared with.
    pub(crate) contenders: Vec<&'static Contender>,
    pub(crate) workloads: Vec<&'static Workload>,
    pub(crate) rounds: usize,
    pub(crate) lasting: Duration,
}

/// One contender on one workload, over all rounds.
pub(crate) struct Row {
    pub(crate) workload: &'static Workload,
    pub(crate) contender: &'static Contender,
    /// Each figure with its values, one a round.
    pub(crate) figures: Vec<Values>,
    /// Events an observer of ours lost in all rounds: what is lost is not paid for.
    pub(crate) dropped: u64,
    /// Load of the machine when the last round of it began; 0 where nothing tells.
    pub(crate) load: f64,
}

/// The values of one figure, one a round.
pub(crate) struct Values {
    pub(crate) name: String,
    pub(crate) values: Vec<f64>,
    /// The same divided by the first contender's of the round; empty where it has none or it is 0.
    pub(crate) ratios: Vec<f64>,
}

impl Row {
    pub(crate) fn figure(&self, name: &str) -> Option<&Values> {
        self.figures.iter().find(|figure| figure.name == name)
    }

    fn add(&mut self, name: &str, value: f64, to: Option<f64>) {
        let known = self.figures.iter().position(|figure| figure.name == name);
        let at = known.unwrap_or_else(|| {
            self.figures.push(Values { name: name.to_owned(), values: Vec::new(), ratios: Vec::new() });
            self.figures.len() - 1
        });
        self.figures[at].values.push(value);
        self.figures[at].ratios.extend(to.filter(|to| *to > 0.0).map(|to| value / to));
    }
}

pub(crate) fn run(plan: &Plan) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    for workload in plan.workloads.iter().copied() {
        for contender in plan.contenders.iter().copied() {
            rows.push(Row { workload, contender, figures: Vec::new(), dropped: 0, load: 0.0 });
        }
    }
    for round in 0..plan.rounds {
        for (of_workload, workload) in plan.workloads.iter().copied().enumerate() {
            if round < workload.most_rounds {
                let rows = &mut rows[of_workload * plan.contenders.len()..][..plan.contenders.len()];
                one_round(rows, round, plan.lasting * workload.longer)?;
            }
        }
    }
    Ok(rows)
}

fn one_round(rows: &mut [Row], round: usize, lasting: Duration) -> Result<(), String> {
    let mut measured = vec![Vec::new(); rows.len()];
    for turn in 0..rows.len() {
        let at = (turn + round) % rows.len();
        let row = &mut rows[at];
        row.load = load();
        let (figures, dropped) = child(row.contender, row.workload, lasting)?;
        row.dropped += dropped;
        measured[at] = figures;
    }
    let first = measured[0].clone();
    for (row, figures) in rows.iter_mut().zip(measured) {
        for (name, value) in figures {
            let to = first.iter().find(|(of_first, _)| *of_first == name).map(|(_, value)| *value);
            row.add(&name, value, to);
        }
    }
    Ok(())
}

type Figures = Vec<(String, f64)>;

/// One measurement in a process of its own: its figures, and the events it lost.
fn child(contender: &Contender, workload: &Workload, lasting: Duration) -> Result<(Figures, u64), String> {
    let told = |what: &str| format!("{} on {}: {what}", contender.name, workload.name);
    let program = std::env::current_exe().map_err(|error| told(&error.to_string()))?;
    let folder = tempfile::tempdir().map_err(|error| told(&error.to_string()))?;
    let mut command = Command::new(program);
    contender.prepare(&mut command, folder.path());
    command.args([CHILD, contender.name, workload.name, &lasting.as_millis().to_string()]).arg(folder.path());
    let output = command.stderr(Stdio::inherit()).output().map_err(|error| told(&error.to_string()))?;
    if !output.status.success() {
        return Err(told(&format!("ended with {}", output.status)));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let line = |line: &str| {
        let (name, value) = line.split_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    let figures: Option<Figures> = text.lines().map(line).collect();
    let mut figures = figures.ok_or_else(|| told(&format!("measured nothing, but said {text:?}")))?;
    let polls = figures.iter().position(|(name, _)| name == "polls").map_or(0.0, |at| figures.remove(at).1);
    if contender.records && polls > 0.0 {
        figures.push(("disk".to_owned(), on_disk(folder.path()) / polls));
    }
    Ok((figures, dropped(folder.path())))
}

/// Bytes of a recording, as it lies there after the end.
fn on_disk(folder: &Path) -> f64 {
    bytes_in(folder) as f64
}
