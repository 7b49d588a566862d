//! `docs/console.md`: the tour with its screens, and whether they show what the real ones show.

use crate::terminal::Terminal;

const HEAD: &str = "\
# tokio-console, screen by screen

`pollscope console NAME` keeps a scenario alive for [tokio-console](https://github.com/tokio-rs/console) and says what to look for.
Here is what comes of it, for four of them.
Each screen was captured by a test (`.ci/console`), which presses these keys and looks for what is said here.

Rows of kind `blocking` at `worker.rs` are the worker threads themselves: they always run, and nothing is wrong with them.
";

/// A screen to be waited for: what was pressed, and what must be on it.
pub(crate) struct Shot {
    keys: &'static str,
    parts: Vec<String>,
    says: &'static str,
    screen: String,
}

impl Shot {
    pub(crate) fn new(keys: &'static str, parts: &[&str]) -> Shot {
        let parts = parts.iter().map(|&part| part.to_owned()).collect();
        Shot { keys, parts, says: "", screen: String::new() }
    }

    /// Waits for it.
    #[track_caller]
    pub(crate) fn take(mut self, terminal: &Terminal, says: &'static str) -> Shot {
        self.screen = terminal.wait(self.keys, |screen| self.shown_on(screen));
        self.says = says;
        self
    }

    fn shown_on(&self, screen: &str) -> bool {
        self.parts.iter().all(|part| screen.contains(part.as_str()))
    }

    fn heading(&self) -> String {
        format!("Keys: {}\n\n{}\n", self.keys, self.says)
    }
}

/// One scenario.
pub(crate) struct Chapter {
    name: &'static str,
    guide: Vec<String>,
    shots: Vec<Shot>,
}

impl Chapter {
    pub(crate) fn new(name: &'static str, guide: &str) -> Chapter {
        let told = guide.lines().filter_map(|line| line.trim_start().strip_prefix("Here: "));
        let guide: Vec<_> = told.map(str::to_owned).collect();
        assert!(!guide.is_empty(), "the guide of {name} says nothing of it");
        Chapter { name, guide, shots: Vec::new() }
    }

    pub(crate) fn push(&mut self, shot: Shot) {
        self.shots.push(shot);
    }

    fn heading(&self) -> String {
        let told: String = self.guide.iter().map(|line| format!("> {line}\n")).collect();
        format!(
            "## {0}\n\n`pollscope console {0}`, and `tokio-console` in another terminal. The guide says:\n\n{told}",
            self.name
        )
    }
}

/// The whole tour.
pub(crate) struct Document(Vec<Chapter>);

impl Document {
    pub(crate) fn new() -> Document {
        Document(Vec::new())
    }

    pub(crate) fn push(&mut self, chapter: Chapter) {
        self.0.push(chapter);
    }

    pub(crate) fn text(&self) -> String {
        let mut text = HEAD.to_owned();
        for chapter in &self.0 {
            text += &format!("\n{}", chapter.heading());
            for shot in &chapter.shots {
                text += &format!("\n{}\n```text\n{}```\n", shot.heading(), trimmed(&shot.screen));
            }
        }
        text
    }

    /// Whether `written` tells the same, with screens that show what the real ones show.
    #[track_caller]
    pub(crate) fn is_told_in(&self, written: &str) {
        let fresh = "; UPDATE=1 .ci/console writes it";
        assert!(written.starts_with(HEAD), "docs/console.md begins otherwise{fresh}");
        let mut rest = written;
        for chapter in &self.0 {
            let heading = chapter.heading();
            rest = rest.split_once(&heading).unwrap_or_else(|| panic!("docs/console.md lacks:\n{heading}{fresh}")).1;
            for shot in &chapter.shots {
                let heading = format!("{}\n```text\n", shot.heading());
                let (screen, after) = rest
                    .split_once(&heading)
                    .and_then(|(_, rest)| rest.split_once("```"))
                    .unwrap_or_else(|| panic!("docs/console.md lacks:\n{heading}{fresh}"));
                assert!(shot.shown_on(screen), "{} of {} shows no {:?}{fresh}", shot.keys, chapter.name, shot.parts);
                rest = after;
            }
        }
    }
}

/// A screen without the blanks at the ends of its lines, and without empty rows.
fn trimmed(screen: &str) -> String {
    let blank = |line: &&str| !line.chars().all(|c| matches!(c, '│' | ' ' | '>'));
    screen.lines().filter(blank).map(|line| format!("{}\n", line.trim_end())).collect()
}
