//! Rounds of children, and what they measured.

use crate::CHILD;
use crate::contenders::Contender;
use crate::measure::process::{OBSERVERS, dropped, load};
use crate::workloads::Workload;
use std::collections::BTreeMap;
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
    /// Nanoseconds an operation, one figure a round.
    pub(crate) nanos: Vec<f64>,
    /// The same divided by the first contender's of the round.
    pub(crate) ratios: Vec<f64>,
    /// Events an observer of ours lost in all rounds: what is lost is not paid for.
    pub(crate) dropped: u64,
    /// Load of the machine when the last round of it began; 0 where nothing tells.
    pub(crate) load: f64,
}

pub(crate) fn run(plan: &Plan) -> Result<Vec<Row>, String> {
    let mut samples: BTreeMap<(usize, usize), Row> = BTreeMap::new();
    for round in 0..plan.rounds {
        for (of_workload, workload) in plan.workloads.iter().copied().enumerate() {
            let mut nanos = vec![0.0; plan.contenders.len()];
            for turn in 0..plan.contenders.len() {
                let of_contender = (turn + round) % plan.contenders.len();
                let contender = plan.contenders[of_contender];
                let row = samples.entry((of_workload, of_contender)).or_insert_with(|| Row {
                    workload,
                    contender,
                    nanos: Vec::new(),
                    ratios: Vec::new(),
                    dropped: 0,
                    load: 0.0,
                });
                row.load = load();
                let (measured, dropped) = child(contender, workload, plan.lasting)?;
                nanos[of_contender] = measured;
                row.dropped += dropped;
            }
            for (of_contender, &measured) in nanos.iter().enumerate() {
                if let Some(row) = samples.get_mut(&(of_workload, of_contender)) {
                    row.nanos.push(measured);
                    row.ratios.push(measured / nanos[0]);
                }
            }
        }
    }
    Ok(samples.into_values().collect())
}

/// One measurement in a process of its own: nanoseconds an operation, events lost.
fn child(contender: &Contender, workload: &Workload, lasting: Duration) -> Result<(f64, u64), String> {
    let told = |what: &str| format!("{} on {}: {what}", contender.name, workload.name);
    let program = std::env::current_exe().map_err(|error| told(&error.to_string()))?;
    let folder = tempfile::tempdir().map_err(|error| told(&error.to_string()))?;
    let mut command = Command::new(program);
    OBSERVERS.iter().for_each(|variable| {
        command.env_remove(variable);
    });
    (contender.prepare)(&mut command, folder.path());
    command.args([CHILD, contender.name, workload.name, &lasting.as_millis().to_string()]);
    let output = command.stderr(Stdio::inherit()).output().map_err(|error| told(&error.to_string()))?;
    if !output.status.success() {
        return Err(told(&format!("ended with {}", output.status)));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let nanos = text.trim().parse().map_err(|_| told(&format!("measured nothing, but said {text:?}")))?;
    Ok((nanos, dropped(folder.path())))
}
