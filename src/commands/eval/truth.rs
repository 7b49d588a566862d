//! What must be found in a scenario, and how what was found compares with it.

use super::super::Failure;
use super::super::options::Flavor;
use super::super::scenario::Manifest;
use super::runs::{Outcome, Seen};
use pollscope_scenarios::Scenario;
use serde::Serialize;

/// What must be found in a scenario.
pub(super) struct Truth {
    kind: String,
    /// Naming one of them is right.
    culprits: Vec<Culprit>,
    /// What must be named as having made it worse.
    amplifiers: Vec<String>,
    /// The runtimes on which all this holds; empty for any.
    flavors: Vec<Flavor>,
}

/// What is to be named.
struct Culprit {
    file: String,
    line: u32,
    /// The function it stands in: what there is to name where the build has no line tables.
    function: String,
}

/// How one scenario and its twin fared on one runtime under one load.
#[derive(Debug, Default, Serialize)]
pub(super) struct Score {
    pub(super) name: String,
    /// The runtime; `own` is what the scenario's source says.
    pub(super) flavor: String,
    /// How this binary was built: `debug` or `release`.
    pub(super) build: &'static str,
    /// Busy processes beside it.
    pub(super) load: u32,
    pub(super) runs: u32,
    pub(super) found: u32,
    pub(super) missed: u32,
    pub(super) wrong_line: u32,
    /// Right in kind and line, but without an amplifier the truth lists.
    pub(super) unamplified: u32,
    /// Other findings of at least `warning` in the faulty runs.
    pub(super) extra: u32,
    /// Findings of at least `warning` in the cured runs.
    pub(super) false_alarms: u32,
    /// From start to verdict, faulty runs, mean.
    pub(super) seconds_to_verdict: f64,
    pub(super) remarks: Vec<String>,
}

impl Truth {
    /// The truth of a scenario: the lines its manifest's patterns match, each exactly once. Of a program without fault
    /// there is nothing to find.
    pub(super) fn of(scenario: &Scenario) -> Result<Option<Truth>, Failure> {
        let wrong = |what: &str| Failure::new(format!("the manifest of {} {what}", scenario.name));
        let manifest = Manifest::of(scenario)?;
        if manifest.text("kind") == "none" {
            return Ok(None);
        }
        let table = manifest.truth().ok_or_else(|| wrong("has no [truth]"))?;
        let kind = table.get("kind").and_then(|kind| kind.as_str()).ok_or_else(|| wrong("names no kind in [truth]"))?;
        let several = table.get("culprits").and_then(|list| list.as_array()).into_iter().flatten();
        let mut culprits = Vec::new();
        for culprit in table.get("culprit").into_iter().chain(several) {
            let pattern = culprit.get("pattern").and_then(|pattern| pattern.as_str());
            let pattern = pattern.ok_or_else(|| wrong("has a culprit without a pattern"))?;
            let mut lines = (1..).zip(scenario.fault_source.lines()).filter(|(_, line)| line.contains(pattern));
            match (lines.next(), lines.next()) {
                (Some((line, _)), None) => culprits.push(Culprit {
                    file: scenario.fault_path.to_owned(),
                    line,
                    function: function_around(scenario.fault_source, line).to_owned(),
                }),
                _ => {
                    return Err(wrong(&format!("has the pattern `{pattern}`, which does not match exactly one line")));
                }
            }
        }
        let texts = |key: &str| -> Vec<String> {
            let list = table.get(key).and_then(|list| list.as_array()).into_iter().flatten();
            list.filter_map(|one| one.as_str()).map(str::to_owned).collect()
        };
        let flavors = texts("flavors").iter().map(|flavor| flavor.parse()).collect::<Result<_, _>>();
        let flavors = flavors.map_err(|error: String| wrong(&format!("names a wrong flavor in [truth]: {error}")))?;
        Ok(Some(Truth { kind: kind.to_owned(), culprits, amplifiers: texts("amplifiers"), flavors }))
    }

    /// Whether the truth holds on a runtime of this flavor; it always does on the scenario's own.
    pub(super) fn holds_on(&self, flavor: Option<Flavor>) -> bool {
        self.flavors.is_empty() || flavor.is_none_or(|flavor| self.flavors.contains(&flavor))
    }

    /// The runtimes it holds on, for people.
    pub(super) fn flavors(&self) -> String {
        self.flavors.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }

    fn names(&self, finding: &Seen) -> bool {
        finding.at.as_ref().is_some_and(|at| {
            self.culprits.iter().any(|culprit| match at.line {
                0 => is_function(at.function.as_deref().unwrap_or(""), &culprit.function),
                line => at.file.ends_with(culprit.file.as_str()) && line == culprit.line,
            })
        })
    }
}

/// The name of the function that this line of `source`, from 1, stands in.
fn function_around(source: &str, line: u32) -> &str {
    let before = source.lines().take(line as usize).collect::<Vec<_>>();
    let begins = |line: &&&str| line.trim_start().split(' ').any(|word| word == "fn");
    let begun = before.iter().rfind(begins).and_then(|line| line.split_once("fn "));
    begun.and_then(|(_, rest)| rest.split(['(', '<']).next()).unwrap_or("")
}

/// Whether this is the path of a function of this name, or of a closure in it.
fn is_function(path: &str, name: &str) -> bool {
    let own = path.trim_end_matches("::{{closure}}");
    own.rsplit_once("::").is_some_and(|(_, last)| last == name)
}

impl Score {
    /// Whether everything was as it should be.
    pub(super) fn perfect(&self) -> bool {
        self.missed + self.wrong_line + self.unamplified + self.extra + self.false_alarms == 0
    }

    /// Takes in one run.
    pub(super) fn judge(&mut self, truth: Option<&Truth>, cured: bool, outcome: &Outcome) {
        let findings = &outcome.findings;
        self.remarks.extend(outcome.failure.clone());
        let Some(truth) = truth.filter(|_| !cured) else {
            // A twin that could not be run is no silence either.
            self.false_alarms += count(findings.len()) + u32::from(outcome.failure.is_some());
            self.remarks.extend(findings.iter().map(|finding| format!("false alarm: {finding}")));
            return;
        };
        self.runs += 1;
        self.seconds_to_verdict += outcome.seconds;
        let (right_kind, others): (Vec<_>, Vec<_>) = findings.iter().partition(|finding| finding.kind == truth.kind);
        let right: Vec<_> = right_kind.iter().filter(|finding| truth.names(finding)).collect();
        if right.iter().any(|finding| truth.amplifiers.iter().all(|one| finding.amplifiers.contains(one))) {
            self.found += 1;
        } else if let Some(finding) = right.first() {
            self.unamplified += 1;
            let (wanted, named) = (truth.amplifiers.join(", "), finding.amplifiers.join(", "));
            self.remarks.push(format!("amplifiers: expected {wanted}, named {named}"));
        } else if right_kind.is_empty() {
            self.missed += 1;
        } else {
            self.wrong_line += 1;
            self.remarks.extend(right_kind.iter().map(|finding| format!("wrong line: {finding}")));
        }
        self.extra += count(others.len() + right_kind.len().saturating_sub(1));
        self.remarks.extend(others.iter().map(|finding| format!("extra: {finding}")));
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_culprit_is_known_by_its_function_where_there_are_no_lines() {
        let source = "fn first() {\n    one();\n}\n\nimpl Shop {\n    pub async fn sell<T>(&self) {\n        two();\n";
        assert_eq!((function_around(source, 2), function_around(source, 7)), ("first", "sell"));
        assert!(is_function("svc::shop::Shop::sell", "sell") && is_function("svc::Shop::sell::{{closure}}", "sell"));
        assert!(is_function("<svc::Guide as core::ops::drop::Drop>::drop", "drop"));
        assert!(!is_function("svc::Shop::resell", "sell") && !is_function("", "sell"));
    }
}
