//! Polls caught asleep, as folded stacks: what a CPU profile is blind to.

use crate::model::{Model, Stall};
use crate::symbols::Symbols;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Nanoseconds asleep by stack, outermost function first, of every long poll in `model`.
///
/// Each look of the watchdog stands for the time up to the next one; time on the CPU or in the queue for it is taken off.
#[must_use]
pub fn folded_sleep(model: &Model) -> String {
    let mut symbols = Symbols::new();
    for module in &model.modules {
        symbols.add_module(module);
    }
    let mut sums = BTreeMap::<String, u64>::new();
    for stall in model.stalls.values() {
        let end = model.end_of(stall);
        let share = asleep(stall);
        let next = stall.samples.iter().skip(1).map(|sample| sample.at).chain([end]);
        // The first look stands for the time before it as well.
        let mut from = stall.since;
        for (sample, next) in stall.samples.iter().zip(next) {
            let nanos = (next.saturating_sub(from) as f64 * share) as u64;
            from = next;
            if nanos == 0 || sample.stack.is_empty() {
                continue;
            }
            let frames = symbols.stack(&sample.stack);
            let names: Vec<_> = frames.iter().rev().map(|frame| frame.function.replace(';', ":")).collect();
            *sums.entry(names.join(";")).or_default() += nanos;
        }
    }
    sums.iter().fold(String::new(), |mut text, (stack, nanos)| {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{stack} {nanos}");
        text
    })
}

/// The share of a poll that its thread was asleep.
fn asleep(stall: &Stall) -> f64 {
    let seen = stall.measured.saturating_sub(stall.observed);
    if seen == 0 {
        return 0.0;
    }
    let awake = (stall.cpu_ns + stall.run_delay_ns) as f64 / seen as f64;
    (1.0 - awake).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Sample;

    #[test]
    fn each_look_stands_for_the_time_to_the_next() {
        let look = |at, address| Sample { at, state: u64::from(b'S'), syscall: 0, stack: vec![address] };
        let stall = Stall {
            since: 0,
            observed: 100,
            measured: 1100,
            cpu_ns: 500,
            end: Some(1000),
            samples: vec![look(100, 1), look(400, 2)],
            ..Stall::default()
        };
        let mut model = Model::default();
        model.stalls.insert((7, 1, 0), stall);
        assert_eq!(folded_sleep(&model), "0x1 200\n0x2 300\n");
    }
}
