//! What there is to say once an exercise is solved.

use super::content::Exercise;
use super::project::{MAIN, Project, WORKLOAD};
use crate::commands::{Failure, terminal};
use pollscope::report::hanging;
use std::fmt::Write;

/// Lines around a change that are shown with it.
const AROUND: usize = 3;

/// The scenario behind it, what would have misled, the lesson, and how it was mended elsewhere.
pub(super) fn debrief(exercise: &Exercise) -> Result<String, Failure> {
    let scenario = exercise.scenario;
    let fault = Project::code(exercise, scenario.fault_source)?;
    let cure = Project::code(exercise, scenario.cure_source)?;
    let kinds: Vec<_> = exercise.faults.iter().map(|fault| fault.kind.as_str()).collect();
    let case = if kinds.is_empty() { exercise.kind.clone() } else { kinds.join(" and of ") };
    // A lesson is in no list of scenarios.
    let listed = pollscope_scenarios::all().iter().any(|one| one.name == scenario.name);
    let was = if listed { format!("the scenario {}, ", scenario.name) } else { String::new() };
    let mut text = format!("\nSolved. This was {was}a case of {case}.\n");
    for (head, told) in [("What would have misled you", &exercise.lied), ("Lesson", &exercise.lesson)] {
        let _ = write!(text, "\n{head}\n{}", hanging("  ", told, terminal::prose_columns()));
    }
    let file = if exercise.innocent() { WORKLOAD } else { MAIN };
    let _ = write!(text, "\nHow it was mended elsewhere\n{}", diff(fault.text(file), cure.text(file)));
    if let Some((first_try, _)) = &exercise.first_try {
        let first_try = Project::code(exercise, first_try)?;
        let _ = write!(
            text,
            "\nWhat does not hold, though it looks like it\n{}",
            diff(fault.text(MAIN), first_try.text(MAIN))
        );
    }
    text.push_str("\nMore: ");
    if listed {
        let _ = write!(text, "pollscope run {0}, pollscope run {0} --cured, ", scenario.name);
    }
    text.push_str("pollscope exercise list\n");
    Ok(text)
}

/// One line of a difference.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Line<'a> {
    Same(&'a str),
    Gone(&'a str),
    New(&'a str),
}

/// The difference of two files, in the form of `diff -u` without line numbers.
fn diff(old: &str, new: &str) -> String {
    let lines = compare(&old.lines().collect::<Vec<_>>(), &new.lines().collect::<Vec<_>>());
    let changed: Vec<_> = (0..lines.len()).filter(|at| !matches!(lines[*at], Line::Same(_))).collect();
    let (mut text, mut last) = (String::new(), None);
    for (at, line) in lines.iter().enumerate() {
        if !changed.iter().any(|change| change.abs_diff(at) <= AROUND) {
            continue;
        }
        if last.is_some_and(|last: usize| last + 1 != at) {
            text.push_str("  ...\n");
        }
        last = Some(at);
        let (sign, line) = match line {
            Line::Same(line) => (' ', line),
            Line::Gone(line) => ('-', line),
            Line::New(line) => ('+', line),
        };
        let _ = writeln!(text, "{}", format!("  {sign}{line}").trim_end());
    }
    text
}

/// By the longest common subsequence: programs of some hundred lines.
fn compare<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<Line<'a>> {
    let mut longest = vec![vec![0_u32; new.len() + 1]; old.len() + 1];
    for (i, a) in old.iter().enumerate().rev() {
        for (j, b) in new.iter().enumerate().rev() {
            longest[i][j] = if a == b { longest[i + 1][j + 1] + 1 } else { longest[i + 1][j].max(longest[i][j + 1]) };
        }
    }
    let (mut i, mut j, mut lines) = (0, 0, Vec::new());
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            lines.push(Line::Same(old[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || (i < old.len() && longest[i + 1][j] >= longest[i][j + 1]) {
            lines.push(Line::Gone(old[i]));
            i += 1;
        } else {
            lines.push(Line::New(new[j]));
            j += 1;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_shown_with_what_stands_around() {
        let old = "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\nk\n";
        let new = "a\nB\nc\nd\ne\nf\ng\nh\ni\nj\nk\nl\n";
        assert_eq!(diff(old, new), "   a\n  -b\n  +B\n   c\n   d\n   e\n  ...\n   i\n   j\n   k\n  +l\n");
        assert_eq!(diff(old, old), "");
    }
}
