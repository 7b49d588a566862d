//! The learner's diagnosis, graded apart from any fix.

use super::content::Exercise;
use super::place;
use super::project::{ANSWER, MAIN, Project, WORKLOAD};
use crate::commands::Failure;
use crate::commands::learn::CheckOptions;
use serde::Deserialize;
use std::path::Path;

/// How many lines an answer may be off.
const SLACK: usize = 2;

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
}

impl Grade {
    /// Whether everything is right.
    pub(super) fn right(&self) -> bool {
        [self.kind, self.at, self.task].iter().all(|mark| *mark == Mark::Right)
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

    /// Compares it with the truth about the program as it was shipped.
    pub(super) fn grade(&self, exercise: &Exercise, shipped: &Project) -> Result<Grade, Failure> {
        let mark = |said: &str, right: bool| match (said.is_empty(), right) {
            (true, _) => Mark::Open,
            (false, true) => Mark::Right,
            (false, false) => Mark::Wrong,
        };
        let kind = self.kind.trim();
        let kind = mark(kind, exercise.kinds.iter().any(|one| one == kind));
        let main = shipped.text(MAIN);
        let blamed = |line: &str| exercise.patterns.iter().any(|pattern| line.contains(pattern.trim()));
        let at = match position(self.at.trim())? {
            None => Mark::Open,
            Some((file, line)) => mark("said", file == MAIN && near(main, line, blamed)),
        };
        let task = self.task.trim();
        let of_task = |line: &str| exercise.tasks.iter().any(|task| line.contains(&format!("{task}(")));
        let right = match position(task) {
            Ok(Some((file, line))) if file == MAIN => spawned_near(main, line, of_task),
            Ok(Some((_, line))) => spawned_near(shipped.text(WORKLOAD), line, of_task),
            _ => {
                let name = task.trim_end_matches("()").rsplit([':', '.']).next().unwrap_or_default();
                exercise.tasks.iter().any(|one| one == name)
            }
        };
        Ok(Grade { kind, at, task: mark(task, right) })
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

/// A file of the project and a line, of `FILE:LINE`; `None` of nothing.
fn position(said: &str) -> Result<Option<(&'static str, usize)>, Failure> {
    if said.is_empty() {
        return Ok(None);
    }
    let wrong = || Failure::new(format!("`{said}` is no place; write one as {MAIN}:12"));
    // A column may follow, as compilers write it.
    let mut parts = said.split(':');
    let (file, line) = (parts.next().unwrap_or_default(), parts.next().ok_or_else(wrong)?);
    let line = line.parse().map_err(|_| wrong())?;
    match file.trim_start_matches("./") {
        "main.rs" | MAIN => Ok(Some((MAIN, line))),
        file if Path::new(file).ends_with(MAIN) => Ok(Some((MAIN, line))),
        _ => Ok(Some((WORKLOAD, line))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::exercise::content;

    fn grade(kind: &str, at: &str, task: &str) -> [Mark; 3] {
        let exercise = content::find("slow-quotes").unwrap();
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
    fn a_place_without_a_line_is_refused() {
        for said in ["main.rs", "main.rs:", "main.rs:x", "12"] {
            assert!(position(said).unwrap_err().to_string().contains("is no place"), "{said}");
        }
    }
}
