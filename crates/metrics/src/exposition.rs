//! Figures as the text that Prometheus scrapes, version 0.0.4.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::table::{MOST_CHARACTERS, Metric, TABLE, Type};

/// What one scrape shows. Series come out in the order of the table, then of their labels.
#[derive(Debug, Default, Clone)]
pub struct Exposition {
    families: BTreeMap<usize, BTreeMap<Vec<String>, Series>>,
}

/// The value of one series.
#[derive(Debug, Clone, PartialEq)]
pub enum Series {
    /// Of a counter or a gauge.
    Single(f64),
    /// Of a histogram.
    Buckets {
        /// Upper bounds, ascending up to infinity, each with how many lie in its own bucket.
        upper: Vec<(f64, u64)>,
        /// The sum of all values.
        sum: f64,
    },
}

impl Exposition {
    /// The content type of [`Exposition::text`].
    pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

    /// Adds one series of a counter or gauge, with the values of its labels in the order of the table. Two series that
    /// cannot be told apart become their sum. A metric that is not in the table, or is given other labels than it
    /// has, is left out.
    pub fn add(&mut self, metric: &Metric, labels: &[&str], value: f64) {
        if let Some(family) = self.family(metric, labels) {
            match family.entry(labels.iter().map(|value| clean(value)).collect()).or_insert(Series::Single(0.0)) {
                Series::Single(sum) => *sum += value,
                Series::Buckets { .. } => {}
            }
        }
    }

    /// Adds one series of a histogram: upper bounds, ascending, each with how many lay in its own bucket; the last
    /// bound is infinity. Replaces a series that cannot be told apart.
    pub fn add_histogram(&mut self, metric: &Metric, labels: &[&str], upper: Vec<(f64, u64)>, sum: f64) {
        if let Some(family) = self.family(metric, labels) {
            family.insert(labels.iter().map(|value| clean(value)).collect(), Series::Buckets { upper, sum });
        }
    }

    /// Every series: its metric, the values of its labels in the order of the table (an empty one is as good as none),
    /// and its value.
    pub fn each(&self, mut each: impl FnMut(&'static Metric, &[String], &Series)) {
        for (metric, series) in self.families() {
            series.iter().for_each(|(labels, value)| each(metric, labels, value));
        }
    }

    /// The text of a scrape.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (metric, series) in self.families() {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "# HELP {} {}", metric.name, metric.help.trim());
            let _ = writeln!(text, "# TYPE {} {}", metric.name, metric.kind.word());
            for (labels, value) in series {
                let pairs: Vec<String> = metric
                    .labels
                    .iter()
                    .zip(labels)
                    // An empty label is as good as none to Prometheus.
                    .filter(|(_, value)| !value.is_empty())
                    .map(|(label, value)| format!("{}=\"{}\"", label.name(), escaped(value)))
                    .collect();
                write_series(&mut text, metric.name, &pairs, value);
            }
        }
        text
    }

    fn families(&self) -> impl Iterator<Item = (&'static Metric, &BTreeMap<Vec<String>, Series>)> {
        self.families.iter().filter_map(|(&at, series)| Some((*TABLE.get(at)?, series)))
    }

    fn family(&mut self, metric: &Metric, labels: &[&str]) -> Option<&mut BTreeMap<Vec<String>, Series>> {
        let at = TABLE.iter().position(|known| known.name == metric.name)?;
        let fits = metric.labels.len() == labels.len();
        debug_assert!(fits, "{} has the labels {:?}", metric.name, metric.labels);
        fits.then(|| self.families.entry(at).or_default())
    }
}

fn write_series(text: &mut String, name: &str, pairs: &[String], value: &Series) {
    let braces = |more: Option<String>| {
        let all: Vec<&str> = pairs.iter().chain(&more).map(String::as_str).collect();
        if all.is_empty() { String::new() } else { format!("{{{}}}", all.join(",")) }
    };
    let _ = match value {
        Series::Single(value) => writeln!(text, "{name}{} {}", braces(None), number(*value)),
        Series::Buckets { upper, sum } => {
            let mut count = 0;
            for (bound, own) in upper {
                count += own;
                let bound = format!("le=\"{}\"", number(*bound));
                let _ = writeln!(text, "{name}_bucket{} {count}", braces(Some(bound)));
            }
            let _ = writeln!(text, "{name}_sum{} {}", braces(None), number(*sum));
            writeln!(text, "{name}_count{} {count}", braces(None))
        }
    };
}

fn number(value: f64) -> String {
    if value == f64::INFINITY {
        "+Inf".to_owned()
    } else if value == f64::NEG_INFINITY {
        "-Inf".to_owned()
    } else {
        value.to_string()
    }
}

/// A label's value: short, and without control characters.
fn clean(value: &str) -> String {
    value.chars().take(MOST_CHARACTERS).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A label's value as it may stand between quotes.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"")
}

impl Metric {
    /// The names of its series: its own, or those of a histogram.
    pub fn series(&self) -> Vec<String> {
        match self.kind {
            Type::Counter | Type::Gauge => vec![self.name.to_owned()],
            Type::Histogram => ["_bucket", "_sum", "_count"].map(|end| format!("{}{end}", self.name)).to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{DROPPED_EVENTS, POLL_DURATION, WATCH_LOOKED};

    #[test]
    fn series_are_written_as_prometheus_reads_them() {
        let mut exposition = Exposition::default();
        exposition.add(WATCH_LOOKED, &[], 1.5e9);
        exposition.add(DROPPED_EVENTS, &["api", "api-1-2"], 3.0);
        exposition.add_histogram(POLL_DURATION, &["api", ""], vec![(0.5, 2), (f64::INFINITY, 1)], 2.25);
        let expected = "\
# HELP pollscope_poll_duration_seconds How a poll took, from its start to its return; its sum is the time spent in polls.
# TYPE pollscope_poll_duration_seconds histogram
pollscope_poll_duration_seconds_bucket{service=\"api\",le=\"0.5\"} 2
pollscope_poll_duration_seconds_bucket{service=\"api\",le=\"+Inf\"} 3
pollscope_poll_duration_seconds_sum{service=\"api\"} 2.25
pollscope_poll_duration_seconds_count{service=\"api\"} 3
# HELP pollscope_dropped_events_total Events lost because a ring in the agent was full; other figures are too low then.
# TYPE pollscope_dropped_events_total counter
pollscope_dropped_events_total{service=\"api\",process=\"api-1-2\"} 3
# HELP pollscope_watch_last_look_timestamp_seconds When the watch last finished a look at the recordings, in seconds \
since 1970.
# TYPE pollscope_watch_last_look_timestamp_seconds gauge
pollscope_watch_last_look_timestamp_seconds 1500000000
";
        assert_eq!(exposition.text(), expected);
    }

    #[test]
    fn hostile_names_stay_between_their_quotes() {
        let mut exposition = Exposition::default();
        exposition.add(DROPPED_EVENTS, &["a\"} 1\nb\\", &"x".repeat(500)], 1.0);
        let text = exposition.text();
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.contains("service=\"a\\\"} 1 b\\\\\",process=\""), "{text}");
        assert!(text.contains(&format!("\"{}\"", "x".repeat(MOST_CHARACTERS))), "{text}");
    }

    #[test]
    fn what_cannot_be_told_apart_is_summed() {
        let mut exposition = Exposition::default();
        exposition.add(DROPPED_EVENTS, &["a", "b"], 1.0);
        exposition.add(DROPPED_EVENTS, &["a", "b"], 2.0);
        assert!(exposition.text().ends_with("} 3\n"), "{}", exposition.text());
    }
}
