//! The findings of one process over time: counters that only grow, although what is diagnosed is its last minutes.

use std::collections::BTreeMap;

use crate::detect::{Check, Confidence, Diagnosis, Finding, Severity};
use pollscope_metrics::{ACTIVE_SECONDS, MOST_FINDINGS};
use pollscope_recording::Nanos;
use pollscope_tally::short;

/// What tells one finding from another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) kind: String,
    pub(super) file: String,
    pub(super) line: String,
    pub(super) function: String,
}

impl Key {
    fn of(finding: &Finding) -> Key {
        let at = finding.culprit.at.clone().unwrap_or_default();
        Key {
            kind: finding.kind.clone(),
            file: short(&at.file).to_owned(),
            line: if at.line == 0 { String::new() } else { at.line.to_string() },
            function: at.function.unwrap_or_default(),
        }
    }
}

/// What is known of one.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) severity: Severity,
    pub(super) confidence: Confidence,
    /// Whether it goes on.
    pub(super) active: bool,
    pub(super) count: u64,
    pub(super) total_ms: f64,
    pub(super) worst_ms: f64,
    /// What the model diagnosed last said: its figures only grow as long as it is the same model.
    seen: (u64, f64),
    last_ns: Nanos,
    told: Option<Severity>,
}

/// A bounded number of findings, and the answers to every question.
#[derive(Debug, Default)]
pub(super) struct Findings {
    entries: BTreeMap<Key, Entry>,
    checks: Vec<Check>,
    /// How many there is no room for.
    pub(super) left_out: usize,
}

impl Findings {
    /// Takes in what is known at `now`, which `another` model than the last one may have said. Returns what a person
    /// has not heard yet.
    pub(super) fn update(&mut self, diagnosis: Diagnosis, now: Nanos, another: bool) -> Vec<Finding> {
        self.checks = diagnosis.checks;
        self.left_out = 0;
        self.entries.values_mut().for_each(|entry| entry.active = false);
        let mut news = Vec::new();
        let mut sums: BTreeMap<Key, (u64, f64)> = BTreeMap::new();
        for finding in diagnosis.findings {
            let key = Key::of(&finding);
            if !self.entries.contains_key(&key) && !self.make_room() {
                self.left_out += 1;
                continue;
            }
            let said = &finding.occurrences;
            // Two findings at one line are one series.
            let sum = sums.entry(key.clone()).or_default();
            *sum = (sum.0 + said.count, sum.1 + said.total_ms);
            let begun = !self.entries.contains_key(&key);
            let entry = self.entries.entry(key).or_insert(Entry {
                severity: finding.severity,
                confidence: finding.confidence,
                active: false,
                count: 0,
                total_ms: 0.0,
                worst_ms: 0.0,
                seen: (0, 0.0),
                last_ns: 0,
                told: None,
            });
            // What an older model said of the same occurrences is counted already.
            if another && !begun {
                entry.seen = *sum;
            }
            entry.count += sum.0.saturating_sub(entry.seen.0);
            entry.total_ms += (sum.1 - entry.seen.1).max(0.0);
            entry.seen = *sum;
            entry.worst_ms = entry.worst_ms.max(said.worst_ms);
            (entry.severity, entry.confidence) = (finding.severity, finding.confidence);
            entry.last_ns = entry.last_ns.max(said.last_ns);
            entry.active |= said.last_ns.saturating_add(ACTIVE_SECONDS * 1_000_000_000) >= now;
            if finding.severity >= Severity::Warning && entry.told.is_none_or(|told| told < finding.severity) {
                entry.told = Some(finding.severity);
                news.push(finding);
            }
        }
        // What the model has forgotten may come again, and counts anew then.
        for (key, entry) in &mut self.entries {
            if !sums.contains_key(key) {
                entry.seen = (0, 0.0);
            }
        }
        news
    }

    /// Nothing goes on in a process that is gone.
    pub(super) fn over(&mut self) {
        self.entries.values_mut().for_each(|entry| entry.active = false);
        self.checks.clear();
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (&Key, &Entry)> {
        self.entries.iter()
    }

    pub(super) fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// Whether one more fits, after the oldest that is over went.
    fn make_room(&mut self) -> bool {
        if self.entries.len() < MOST_FINDINGS {
            return true;
        }
        let over = self.entries.iter().filter(|(_, entry)| !entry.active && entry.seen == (0, 0.0));
        let oldest = over.min_by_key(|(_, entry)| entry.last_ns).map(|(key, _)| key.clone());
        oldest.is_some_and(|key| self.entries.remove(&key).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::{Culprit, Location, Occurrences};

    const SECOND: Nanos = 1_000_000_000;

    fn found(line: u32, count: u64, last_ns: Nanos) -> Finding {
        let at = Location { file: "src/main.rs".to_owned(), line, ..Location::default() };
        Finding {
            kind: "blocking-call".to_owned(),
            severity: Severity::Warning,
            confidence: Confidence::Proven,
            title: String::new(),
            culprit: Culprit { at: Some(at), ..Culprit::default() },
            occurrences: Occurrences { count, total_ms: count as f64, worst_ms: 1.0, first_ns: 0, last_ns },
            amplifiers: Vec::new(),
            evidence: Vec::new(),
            victims: Vec::new(),
            graph: None,
            repair: String::new(),
            read_more: String::new(),
        }
    }

    fn said(findings: &[Finding]) -> Diagnosis {
        Diagnosis { findings: findings.to_vec(), ..Diagnosis::default() }
    }

    fn only(findings: &Findings) -> Entry {
        let entries: Vec<_> = findings.entries().collect();
        assert_eq!(entries.len(), 1, "{entries:?}");
        entries[0].1.clone()
    }

    #[test]
    fn counters_only_grow_whichever_model_speaks() {
        let mut findings = Findings::default();
        let mut counts = Vec::new();
        // The third speaker is a younger model, which saw fewer of the same; the fifth has forgotten, then it comes again.
        for (count, another) in [(5, false), (8, false), (3, true), (4, false), (0, true), (2, false)] {
            let known = if count == 0 { Vec::new() } else { vec![found(7, count, SECOND)] };
            findings.update(said(&known), SECOND, another);
            counts.push(only(&findings).count);
        }
        assert_eq!(counts, [5, 8, 8, 9, 9, 11]);
    }

    #[test]
    fn a_finding_is_told_once_and_is_over_after_a_while() {
        let mut findings = Findings::default();
        assert_eq!(findings.update(said(&[found(7, 1, SECOND)]), SECOND, false).len(), 1);
        assert_eq!(findings.update(said(&[found(7, 2, 2 * SECOND)]), 2 * SECOND, false).len(), 0);
        assert!(only(&findings).active);
        findings.update(said(&[found(7, 2, 2 * SECOND)]), (3 + ACTIVE_SECONDS) * SECOND, false);
        assert!(!only(&findings).active);
        let worse = Finding { severity: Severity::Critical, ..found(7, 3, 99 * SECOND) };
        assert_eq!(findings.update(said(&[worse]), 99 * SECOND, false).len(), 1);
    }

    #[test]
    fn their_number_is_bounded_and_what_is_left_out_is_counted() {
        let mut findings = Findings::default();
        let many: Vec<_> = (0..200).map(|line| found(line, 1, SECOND)).collect();
        findings.update(said(&many), SECOND, false);
        assert_eq!((findings.entries().count(), findings.left_out), (MOST_FINDINGS, 200 - MOST_FINDINGS));
        findings.update(said(&[]), SECOND, true);
        findings.update(said(&[found(500, 1, SECOND)]), SECOND, false);
        assert_eq!((findings.entries().count(), findings.left_out), (MOST_FINDINGS, 0));
    }
}
