//! The same figures for the program's own exporter, through the facade of the crate `metrics`.

use ::metrics::{Key, KeyName, Label, Level, Metadata, Recorder, Unit, with_recorder};
use pollscope_metrics::{Exposition, Metric, Series, Type};
use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

const METADATA: Metadata<'static> = Metadata::new("pollscope", Level::INFO, None);

/// What was handed on before.
#[derive(Default)]
pub(super) struct Handed {
    described: HashSet<&'static str>,
    /// By name and labels: how many lay in each bucket, and the sum.
    histograms: HashMap<Key, (Vec<u64>, f64)>,
}

impl Handed {
    /// Hands on how everything stands now.
    ///
    /// # Errors
    ///
    /// The recorder panicked, which is not the business of this thread.
    pub(super) fn all(&mut self, exposition: &Exposition) -> Result<(), ()> {
        let all = AssertUnwindSafe(|| {
            with_recorder(|recorder| {
                exposition.each(|metric, labels, value| self.one(recorder, metric, labels, value))
            });
        });
        catch_unwind(all).map_err(drop)
    }

    fn one(&mut self, recorder: &dyn Recorder, metric: &'static Metric, labels: &[String], value: &Series) {
        if self.described.insert(metric.name) {
            describe(recorder, metric);
        }
        let pairs = metric.labels.iter().zip(labels).filter(|(_, value)| !value.is_empty());
        let pairs: Vec<Label> = pairs.map(|(label, value)| Label::new(label.name(), value.clone())).collect();
        let key = Key::from_parts(metric.name, pairs);
        match value {
            // Beyond 2^53 a count is no longer exact, after centuries of polls.
            Series::Single(value) if is_whole(metric) => {
                recorder.register_counter(&key, &METADATA).absolute(*value as u64);
            }
            Series::Single(value) => recorder.register_gauge(&key, &METADATA).set(*value),
            Series::Buckets { upper, sum } => {
                let histogram = recorder.register_histogram(&key, &METADATA);
                let (counts, before) = self.histograms.entry(key).or_default();
                counts.resize(upper.len(), 0);
                let more: Vec<u64> =
                    upper.iter().zip(counts.iter()).map(|((_, now), then)| now.saturating_sub(*then)).collect();
                let bounds: Vec<f64> = upper.iter().map(|(bound, _)| *bound).collect();
                for (value, count) in values(&bounds, &more, sum - *before) {
                    histogram.record_many(value, usize::try_from(count).unwrap_or(usize::MAX));
                }
                (*counts, *before) = (upper.iter().map(|(_, count)| *count).collect(), *sum);
            }
        }
    }
}

/// Whether a counter counts things and not seconds.
fn is_whole(metric: &Metric) -> bool {
    metric.kind == Type::Counter && metric.unit != "seconds"
}

fn describe(recorder: &dyn Recorder, metric: &'static Metric) {
    let (name, help) = (KeyName::from_const_str(metric.name), metric.help.trim().into());
    let unit = match metric.unit {
        "seconds" => Some(Unit::Seconds),
        "bytes" => Some(Unit::Bytes),
        _ => Some(Unit::Count),
    };
    match metric.kind {
        Type::Counter if is_whole(metric) => recorder.describe_counter(name, unit, help),
        Type::Counter | Type::Gauge => recorder.describe_gauge(name, unit, help),
        Type::Histogram => recorder.describe_histogram(name, unit, help),
    }
}

/// A value for each bucket that got more, inside of its bounds, such that all together have this sum, as far as the bounds
/// allow: what is known of single values is their bucket only.
fn values(upper: &[f64], more: &[u64], sum: f64) -> Vec<(f64, u64)> {
    let lower = std::iter::once(0.0).chain(upper.iter().copied());
    let bounded: Vec<(f64, f64, u64)> = lower
        .zip(upper)
        .zip(more)
        .filter(|(_, count)| **count > 0)
        // The last bucket has no end; what is in it lies within some ten times its begin, if the sum allows.
        .map(|((low, high), count)| (low, if high.is_finite() { *high } else { low * 1e3 }, *count))
        .collect();
    let of = |bound: fn(&(f64, f64, u64)) -> f64| -> f64 {
        bounded.iter().map(|bucket| bound(bucket) * bucket.2 as f64).sum()
    };
    let (least, most) = (of(|bucket| bucket.0), of(|bucket| bucket.1));
    // Never on a bound: exporters count the upper one to the bucket, and we the lower one.
    let share = ((sum - least) / (most - least)).clamp(1e-6, 1.0 - 1e-6);
    bounded.iter().map(|(low, high, count)| (low + share * (high - low), *count)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_lie_in_their_buckets_and_have_the_sum() {
        let upper = [1.0, 2.0, 4.0, f64::INFINITY];
        let got = values(&upper, &[10, 0, 5, 0], 23.0);
        assert_eq!(got.iter().map(|(_, count)| *count).collect::<Vec<_>>(), [10, 5]);
        assert!(got[0].0 > 0.0 && got[0].0 < 1.0 && got[1].0 > 2.0 && got[1].0 < 4.0, "{got:?}");
        let sum: f64 = got.iter().map(|(value, count)| value * *count as f64).sum();
        assert!((sum - 23.0).abs() < 1e-9, "{sum}");
        // A sum that cannot be is as near as the buckets allow.
        assert!(values(&upper, &[10, 0, 0, 0], 0.0)[0].0 > 0.0);
        let last = values(&upper, &[0, 0, 0, 2], 20.0);
        assert!((last[0].0 - 10.0).abs() < 1e-9, "{last:?}");
        assert_eq!(values(&upper, &[0; 4], 0.0), []);
    }
}
