//! What a user adds to the detectors in `pollscope.toml`: calls of their own, and what they accept.

use std::fmt;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::stalls::{Call, Calls, Class, Function, When, matches};
use super::{Finding, place};

/// What is known beside the detectors' own tables.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    calls: Calls,
    accepted: Vec<Accepted>,
    /// The file they stand in, for people.
    file: String,
}

/// What a user has looked at and lets be: all that is given must be so.
#[derive(Debug, Clone, Default)]
struct Accepted {
    /// A pattern of calls.
    call: Option<String>,
    /// A file, and a line in it if only that is meant.
    file: Option<(String, Option<u32>)>,
    /// A kind of finding.
    kind: Option<String>,
    /// Why, to be told with it.
    why: Option<String>,
    /// The line of the rules it stands in.
    line: usize,
}

/// What is wrong with the text of the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RulesError {
    /// The line, from 1.
    pub line: usize,
    /// The key, such as `class.kind`; empty if the text is no TOML.
    pub key: String,
    /// What is wrong with it, and what to write instead.
    pub what: String,
}

impl fmt::Display for RulesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key.as_str() {
            "" => f.write_str(&self.what),
            key => write!(f, "`{key}` {}", self.what),
        }
    }
}

impl std::error::Error for RulesError {}

/// One table of the text, with what is said of its keys.
struct Entry<'t> {
    text: &'t str,
    name: &'t str,
    table: &'t DeTable<'t>,
    at: usize,
}

impl Rules {
    /// Reads the text of a `pollscope.toml`, which people know as `file`.
    ///
    /// # Errors
    ///
    /// The first thing in it that is wrong, with its line and key.
    pub fn read(text: &str, file: &str) -> Result<Rules, RulesError> {
        let table = DeTable::parse(text).map_err(|error| RulesError {
            line: line_of(text, error.span().map_or(0, |span| span.start)),
            key: String::new(),
            what: error.message().lines().next().unwrap_or("is no TOML").to_owned(),
        })?;
        let (mut classes, mut accepted) = (Vec::new(), Vec::new());
        for (key, value) in table.get_ref() {
            let wrong = |at: &Spanned<DeValue<'_>>, what: &str| RulesError {
                line: line_of(text, at.span().start),
                key: key.get_ref().to_string(),
                what: what.to_owned(),
            };
            let name: &str = key.get_ref();
            if !["class", "accept"].contains(&name) {
                return Err(wrong(value, "is not known; there are `[[class]]` and `[[accept]]`"));
            }
            let DeValue::Array(entries) = value.get_ref() else {
                return Err(wrong(value, &format!("must be written `[[{name}]]`")));
            };
            for entry in entries {
                let DeValue::Table(table) = entry.get_ref() else {
                    return Err(wrong(entry, &format!("must be written `[[{name}]]`")));
                };
                let entry = Entry { text, name, table, at: entry.span().start };
                match name {
                    "class" => classes.push(Arc::new(entry.class()?)),
                    _ => accepted.push(entry.accepted()?),
                }
            }
        }
        Ok(Rules { calls: Calls::after(classes), accepted, file: file.to_owned() })
    }

    /// What calls keep a thread: the user's before our own.
    pub(super) fn calls(&self) -> &Calls {
        &self.calls
    }

    /// Takes what is accepted out of the findings; it stays in the notes, which are returned.
    pub(super) fn accept(&self, findings: &mut Vec<Finding>) -> Vec<String> {
        let mut notes = Vec::new();
        for accepted in &self.accepted {
            for finding in findings.extract_if(.., |finding| accepted.is(finding)) {
                let at = finding.culprit.at.as_ref();
                let place = at.map_or_else(String::new, |at| format!(" at {}", place::line(Some(at))));
                let call = finding.culprit.call.as_ref().map_or_else(String::new, |call| format!(" `{call}`"));
                let why = accepted.why.as_ref().map_or_else(String::new, |why| format!(" ({why})"));
                notes.push(format!(
                    "accepted by {}:{}{why}: {}{call}{place}, {} time(s), up to {:.0} ms",
                    self.file, accepted.line, finding.kind, finding.occurrences.count, finding.occurrences.worst_ms
                ));
            }
        }
        notes
    }
}

impl Accepted {
    fn is(&self, finding: &Finding) -> bool {
        let culprit = &finding.culprit;
        let call =
            |pattern: &String| culprit.call.as_ref().is_some_and(|call| matches(pattern, &Function::of(call).path));
        let file = |(file, line): &(String, Option<u32>)| {
            culprit.at.as_ref().is_some_and(|at| {
                let same = at.file == *file || at.file.ends_with(&format!("/{file}"));
                same && line.is_none_or(|line| at.line == line)
            })
        };
        self.call.as_ref().is_none_or(call)
            && self.file.as_ref().is_none_or(file)
            && self.kind.as_ref().is_none_or(|kind| finding.kind == *kind)
    }
}

impl Entry<'_> {
    fn wrong(&self, at: usize, key: &str, what: impl Into<String>) -> RulesError {
        RulesError { line: line_of(self.text, at), key: format!("{}.{key}", self.name), what: what.into() }
    }

    /// Only these keys are known.
    fn only(&self, known: &[&str]) -> Result<(), RulesError> {
        let stranger = self.table.keys().find(|key| !known.contains(&key.get_ref().as_ref()));
        stranger.map_or(Ok(()), |key| {
            let what = format!("is not known; there are {}", listed(known));
            Err(self.wrong(key.span().start, key.get_ref(), what))
        })
    }

    fn value(&self, key: &str) -> Option<&Spanned<DeValue<'_>>> {
        self.table.get(key)
    }

    fn text(&self, key: &str) -> Result<Option<(String, usize)>, RulesError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let at = value.span().start;
        match value.get_ref().as_str().map(str::trim) {
            Some(text) if !text.is_empty() => Ok(Some((text.to_owned(), at))),
            _ => Err(self.wrong(at, key, "must be a text in quotes, and not an empty one")),
        }
    }

    fn kind(&self, known: &[String]) -> Result<Option<String>, RulesError> {
        let Some((kind, at)) = self.text("kind")? else { return Ok(None) };
        if known.contains(&kind) {
            return Ok(Some(kind));
        }
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        Err(self.wrong(at, "kind", format!("is `{kind}`, but must be one of {}", listed(&known))))
    }

    fn class(&self) -> Result<Class, RulesError> {
        self.only(&["kind", "calls", "instead", "when"])?;
        let known = Calls::default().kinds();
        let kind = self.kind(&known)?;
        let kind = kind.ok_or_else(|| self.wrong(self.at, "kind", "is missing: the finding that the calls deserve"))?;
        let when = match self.text("when")? {
            None => When::Both,
            Some((when, at)) => match when.as_str() {
                "blocked" => When::Blocked,
                "computing" => When::Computing,
                "both" => When::Both,
                _ => return Err(self.wrong(at, "when", "must be \"blocked\", \"computing\" or \"both\"")),
            },
        };
        let instead = self.text("instead")?.map(|(instead, _)| instead).unwrap_or_default();
        let list = self.value("calls");
        let patterns = list.and_then(|list| list.get_ref().as_array()).filter(|calls| !calls.is_empty());
        let at = list.map_or(self.at, |list| list.span().start);
        let example = "must be a list of patterns such as [\"ledger_client::*\"]";
        let patterns = patterns.ok_or_else(|| self.wrong(at, "calls", example))?;
        let calls = patterns.iter().map(|pattern| {
            let text = pattern.get_ref().as_str().map(str::trim).filter(|text| !text.is_empty());
            let text = text.ok_or_else(|| self.wrong(pattern.span().start, "calls", example))?;
            self.telling(text, pattern.span().start, "calls")?;
            Ok(Call::of_user(text))
        });
        Ok(Class::of_user(kind, instead, when, calls.collect::<Result<_, _>>()?))
    }

    /// A pattern that matches everything tells nothing.
    fn telling(&self, pattern: &str, at: usize, key: &str) -> Result<(), RulesError> {
        match pattern.chars().any(char::is_alphanumeric) {
            true => Ok(()),
            false => Err(self.wrong(at, key, format!("has the pattern `{pattern}`, which names no function"))),
        }
    }

    fn accepted(&self) -> Result<Accepted, RulesError> {
        self.only(&["call", "at", "kind", "why"])?;
        let call = self.text("call")?;
        if let Some((call, at)) = &call {
            self.telling(call, *at, "call")?;
        }
        let file = match self.text("at")? {
            None => None,
            Some((place, at)) => match place.rsplit_once(':') {
                None => Some((place, None)),
                Some((file, line)) => match line.parse::<u32>() {
                    Ok(line) if line > 0 => Some((file.to_owned(), Some(line))),
                    _ => return Err(self.wrong(at, "at", "must be \"FILE\" or \"FILE:LINE\", with a line from 1")),
                },
            },
        };
        if call.is_none() && file.is_none() {
            return Err(self.wrong(self.at, "call", "or `accept.at` must be given: what is accepted"));
        }
        Ok(Accepted {
            call: call.map(|(call, _)| call),
            file,
            kind: self.kind(&super::kinds())?,
            why: self.text("why")?.map(|(why, _)| why),
            line: line_of(self.text, self.at),
        })
    }
}

fn listed(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.get(..at).unwrap_or(text).matches('\n').count()
}

#[cfg(test)]
mod tests {
    use super::super::{Culprit, Location, Occurrences};
    use super::*;

    fn error(text: &str) -> String {
        let error = Rules::read(text, "pollscope.toml").expect_err("it is wrong");
        format!("{}: {error}", error.line)
    }

    fn finding(kind: &str, call: &str, file: &str, line: u32) -> Finding {
        let at = Location { file: file.to_owned(), line, ..Location::default() };
        Finding {
            kind: kind.to_owned(),
            severity: super::super::Severity::Warning,
            confidence: super::super::Confidence::Proven,
            title: String::new(),
            culprit: Culprit { at: Some(at), call: Some(call.to_owned()), ..Culprit::default() },
            occurrences: Occurrences { count: 3, worst_ms: 52.4, ..Occurrences::default() },
            amplifiers: Vec::new(),
            evidence: Vec::new(),
            victims: Vec::new(),
            graph: None,
            repair: String::new(),
            read_more: String::new(),
        }
    }

    #[test]
    fn the_documented_example_is_read() {
        let page = include_str!("../../docs/pollscope-toml.md");
        let example = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
        let rules = Rules::read(example, "pollscope.toml").expect("it is well formed");
        assert_eq!(
            (rules.accepted.len(), rules.accepted[1].file.as_ref()),
            (2, Some(&("src/startup.rs".into(), Some(41))))
        );
        for kind in Calls::default().kinds() {
            assert!(page.contains(&format!("`{kind}`")), "{kind} is not on the page");
        }
    }

    #[test]
    fn each_mistake_is_told_with_its_line_and_key() {
        for (text, told) in [
            (
                "[[class]]\nkind = 'slow'\ncalls = ['a::*']",
                "2: `class.kind` is `slow`, but must be one of `blocking-dns`",
            ),
            ("\n[[class]]\ncalls = ['a::*']", "2: `class.kind` is missing"),
            ("[[class]]\nkind = 'blocking-call'\ncalls = []", "3: `class.calls` must be a list of patterns"),
            ("[[class]]\nkind = 'blocking-call'\ncalls = [\n 'a::b',\n 7]", "5: `class.calls` must be a list"),
            (
                "[[class]]\nkind = 'blocking-call'\ncalls = ['*']",
                "3: `class.calls` has the pattern `*`, which names no",
            ),
            ("[[class]]\nkind = 'blocking-call'\nwhen = 'often'\ncalls = ['a']", "3: `class.when` must be \"blocked\""),
            ("[[class]]\nkinds = 'x'", "2: `class.kinds` is not known; there are `kind`, `calls`"),
            ("[[accept]]\nwhy = 'x'", "1: `accept.call` or `accept.at` must be given"),
            ("[[accept]]\nat = 'src/a.rs:x'", "2: `accept.at` must be \"FILE\" or \"FILE:LINE\""),
            ("[[accept]]\nat = ''", "2: `accept.at` must be a text in quotes"),
            ("[[accept]]\ncall = 'a'\nkind = 'slow'", "3: `accept.kind` is `slow`, but must be one of"),
            ("[accept]\ncall = 'a'", "1: `accept` must be written `[[accept]]`"),
            ("[[classes]]\n", "1: `classes` is not known; there are `[[class]]` and `[[accept]]`"),
            ("a = 1\nb = = 2", "2: "),
        ] {
            let error = error(text);
            assert!(error.starts_with(told), "{text:?}: {error}");
        }
    }

    #[test]
    fn only_what_is_accepted_goes_and_it_leaves_a_note() {
        let text = "[[accept]]\ncall = 'std::fs::*'\nat = 'src/store.rs'\nwhy = 'tiny'\n[[accept]]\nat = 'a.rs:7'";
        let rules = Rules::read(text, "rules.toml").expect("it is well formed");
        let mut findings = vec![
            finding("blocking-call", "std::fs::read::<&str>", "shop/src/store.rs", 41),
            finding("blocking-call", "std::fs::read", "src/restore.rs", 41),
            finding("blocking-call", "std::thread::sleep", "src/store.rs", 41),
            finding("cpu-bound-poll", "x", "a.rs", 7),
            finding("cpu-bound-poll", "x", "a.rs", 8),
        ];
        let notes = rules.accept(&mut findings);
        assert_eq!(
            notes,
            [
                "accepted by rules.toml:1 (tiny): blocking-call `std::fs::read::<&str>` at shop/src/store.rs:41, 3 time(s), \
                 up to 52 ms",
                "accepted by rules.toml:5: cpu-bound-poll `x` at a.rs:7, 3 time(s), up to 52 ms",
            ]
        );
        let left: Vec<_> = findings.iter().map(|one| one.culprit.at.as_ref().map_or("", |at| &at.file)).collect();
        assert_eq!(left, ["src/restore.rs", "src/store.rs", "a.rs"]);
    }

    #[test]
    fn calls_of_a_users_come_first_and_may_be_the_programs_own() {
        let text = "[[class]]\nkind = 'sync-db-driver'\ncalls = ['svc::ledger::*']";
        let rules = Rules::read(text, "pollscope.toml").expect("it is well formed");
        let frame = |function: &str| crate::symbols::Frame { function: function.into(), ..Default::default() };
        let kind = |above: &str| {
            let known = rules.calls().known(&[frame("std::thread::sleep")], &[frame(above)], When::Blocked);
            known.map(|known| known.class.kind.clone())
        };
        assert_eq!(kind("svc::ledger::Ledger::post").as_deref(), Some("sync-db-driver"));
        assert_eq!(kind("svc::ledgers::post").as_deref(), Some("blocking-call"));
    }
}
