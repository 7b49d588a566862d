//! The learner's diagnosis, graded apart from any fix.

use super::content::{Exercise, Fault};
use super::place;
use super::project::{ANSWER, MAIN, Project, WORKLOAD};
use crate::commands::Failure;
use crate::commands::learn::CheckOptions;
use serde::Deserialize;
use std::path::Path;

/// How many lines an answer may be off.
const SLACK: usize = 2;

/// What is said where no line and no task is to blame.
const NOBODY: &str = "none";

/// What the learner says.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Answer {
    kind: String,
    at: String,
    task: String,
}

/// One of the three questions and how its answer fared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    Right,
    Wrong,
    /// Nothing was said.
    Open,
}

/// How an answer fared.
#[derive(Debug)]
pub(super) struct Grade {
    pub(super) kind: Mark,
    pub(super) at: Mark,
    pub(super) task: Mark,
    /// The fault it comes closest to, by its number.
    pub(super) fault: usize,
}

impl Grade {
    /// Whether everything is right.
    pub(super) fn right(&self) -> bool {
        self.points() == 3
    }

    /// How many of the three answers are right.
    fn points(&self) -> usize {
        [self.kind, self.at, self.task].iter().filter(|mark| **mark == Mark::Right).count()
    }

    /// Whether anything was said.
    pub(super) fn given(&self) -> bool {
        [self.kind, self.at, self.task].iter().any(|mark| *mark != Mark::Open)
    }
}

impl Answer {
    /// From `answer.toml` in `folder` and the options, which win.
    pub(super) fn read(folder: &Path, options: &CheckOptions) -> Result<Answer, Failure> {
        let path = folder.join(ANSWER);
        let mut answer: Answer = match place::read(&path)? {
            None => Answer::default(),
            Some(text) => toml::from_str(&text).map_err(|error| {
                let reason = error.message().lines().next().unwrap_or("it is no TOML");
                Failure::new(format!(
                    "{} cannot be read: {reason}; it has kind, at and task, each a text",
                    path.display()
                ))
            })?,
        };
        for (field, said) in
            [(&mut answer.kind, &options.kind), (&mut answer.at, &options.at), (&mut answer.task, &options.task)]
        {
            if let Some(said) = said {
                said.clone_into(field);
            }
        }
        Ok(answer)
    }

    /// Compares it with the truth about the program as it was shipped: of several faults, with the nearest one.
    pub(super) fn grade(&self, exercise: &Exercise, shipped: &Project) -> Result<Grade, Failure> {
        let mut best = match &exercise.faults[..] {
            [] => self.exonerates(&exercise.kind)?,
            [first, ..] => self.names(first, 0, shipped)?,
        };
        for (number, fault) in exercise.faults.iter().enumerate().skip(1) {
            let grade = self.names(fault, number, shipped)?;
            if grade.points() > best.points() {
                best = grade;
            }
        }
        Ok(best)
    }

    /// Whether it says that nobody in the program is to blame, but `kind`.
    fn exonerates(&self, kind: &str) -> Result<Grade, Failure> {
        position(self.at.trim())?;
        Ok(Grade {
            kind: mark(&self.kind, self.kind.trim() == kind),
            at: mark(&self.at, self.at.trim() == NOBODY),
            task: mark(&self.task, self.task.trim() == NOBODY),
            fault: 0,
        })
    }

    /// Whether it names `fault`.
    fn names(&self, fault: &Fault, number: usize, shipped: &Project) -> Result<Grade, Failure> {
        let kind = self.kind.trim();
        let kind = mark(kind, kind == fault.kind || fault.amplifier.as_deref() == Some(kind));
        let main = shipped.text(MAIN);
        let blamed = |line: &str| fault.patterns.iter().any(|pattern| line.contains(pattern.trim()));
        let at = match position(self.at.trim())? {
            Said::Nothing => Mark::Open,
            Said::Nobody => Mark::Wrong,
            Said::Line(file, line) => mark("said", file == MAIN && near(main, line, blamed)),
        };
        let task = self.task.trim();
        let of_task = |line: &str| fault.tasks.iter().any(|task| line.contains(&format!("{task}(")));
        let right = match position(task) {
            Ok(Said::Line(file, line)) if file == MAIN => spawned_near(main, line, of_task),
            Ok(Said::Line(_, line)) => spawned_near(shipped.text(WORKLOAD), line, of_task),
            _ => {
                let name = task.trim_end_matches("()").rsplit([':', '.']).next().unwrap_or_default();
                fault.tasks.iter().any(|one| one == name)
            }
        };
        Ok(Grade { kind, at, task: mark(task, right), fault: number })
    }
}

fn mark(said: &str, right: bool) -> Mark {
    match (said.trim().is_empty(), right) {
        (true, _) => Mark::Open,
        (false, true) => Mark::Right,
        (false, false) => Mark::Wrong,
    }
}

/// Whether a task is spawned around number `line` of `text` whose future is made there, or in the line before.
fn spawned_near(text: &str, line: usize, of_task: impl Fn(&str) -> bool) -> bool {
    let mut made_before = false;
    (1..).zip(text.lines()).any(|(number, text): (usize, _)| {
        let made = of_task(text);
        let meant = text.contains("spawn(") && (made || made_before);
        made_before = made;
        number.abs_diff(line) <= SLACK && meant
    })
}

/// Whether a line around number `line` of `text` is meant.
fn near(text: &str, line: usize, meant: impl Fn(&str) -> bool) -> bool {
    (1..).zip(text.lines()).any(|(number, text): (usize, _)| number.abs_diff(line) <= SLACK && meant(text))
}

/// What was said of a place.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Nothing,
    /// That there is none to blame.
    Nobody,
    /// A file of the project, and a line in it.
    Line(&'static str, usize),
}

/// Reads `FILE:LINE`.
fn position(said: &str) -> Result<Said, Failure> {
    if said.is_empty() {
        return Ok(Said::Nothing);
    }
    if said == NOBODY {
        return Ok(Said::Nobody);
    }
    let wrong = || Failure::new(format!("`{said}` is no place; write one as {MAIN}:12, or {NOBODY}"));
    // A column may follow, as compilers write it.
    let mut parts = said.split(':');
    let (file, line) = (parts.next().unwrap_or_default(), parts.next().ok_or_else(wrong)?);
    let line = line.parse().map_err(|_| wrong())?;
    let main = file == "main.rs" || Path::new(file.trim_start_matches("./")).ends_with(MAIN);
    Ok(Said::Line(if main { MAIN } else { WORKLOAD }, line))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::exercise::content;

    fn grade(kind: &str, at: &str, task: &str) -> [Mark; 3] {
        grade_of("slow-quotes", kind, at, task)
    }

    fn grade_of(exercise: &str, kind: &str, at: &str, task: &str) -> [Mark; 3] {
        let exercise = content::find(exercise).unwrap();
        let shipped = Project::shipped(&exercise).unwrap();
        let answer = Answer { kind: kind.to_owned(), at: at.to_owned(), task: task.to_owned() };
        let grade = answer.grade(&exercise, &shipped).unwrap();
        [grade.kind, grade.at, grade.task]
    }

    /// The line of `part`, plus `off`.
    fn place(part: &str, off: i64) -> String {
        let exercise = content::find("slow-quotes").unwrap();
        let shipped = Project::shipped(&exercise).unwrap();
        let line = (1..).zip(shipped.text(MAIN).lines()).find(|(_, line)| line.contains(part)).unwrap().0;
        format!("src/main.rs:{}", line + off)
    }

    #[test]
    fn the_three_answers_are_graded_apart() {
        use Mark::{Open, Right, Wrong};
        let read = "StdBufReader::new(connection).read_line";
        assert_eq!(grade("", "", ""), [Open; 3]);
        assert_eq!(grade("blocking-call", &place(read, 2), "serve"), [Right; 3]);
        assert_eq!(grade("driver-held", &place(read, -3), "shopper"), [Wrong; 3]);
        assert_eq!(grade("blocking-call", &format!("{}:9", place(read, 0)), "serve()"), [Right; 3]);
        assert_eq!(
            grade("", "src/workload/mod.rs:50", &place("tokio::spawn(connection.instrument", 0)),
            [Open, Wrong, Right]
        );
    }

    #[test]
    fn that_nobody_is_to_blame_is_an_answer() {
        use Mark::{Right, Wrong};
        assert_eq!(grade_of("slow-proofs", "environment", "none", "none"), [Right; 3]);
        assert_eq!(grade_of("slow-proofs", "cpu-bound-poll", "src/main.rs:40", "serve"), [Wrong; 3]);
        assert_eq!(grade("environment", "none", "none"), [Wrong; 3]);
    }

    #[test]
    fn of_two_faults_each_is_an_answer() {
        let exercise = content::find("second-hand-shop").unwrap();
        let shipped = Project::shipped(&exercise).unwrap();
        for (number, fault) in exercise.faults.iter().enumerate() {
            let pattern = fault.patterns[0].as_str();
            let line = shipped.text(MAIN).lines().position(|line| line.contains(pattern)).unwrap() + 1;
            let answer =
                Answer { kind: fault.kind.clone(), at: format!("src/main.rs:{line}"), task: fault.tasks[0].clone() };
            let grade = answer.grade(&exercise, &shipped).unwrap();
            assert!(grade.right() && grade.fault == number, "{grade:?}");
        }
    }

    #[test]
    fn a_place_without_a_line_is_refused() {
        for said in ["main.rs", "main.rs:", "main.rs:x", "12"] {
            assert!(position(said).unwrap_err().to_string().contains("is no place"), "{said}");
        }
    }
}
