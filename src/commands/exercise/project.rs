//! A scenario as a Cargo project of a stranger's.

use super::content::Exercise;
use super::place;
use super::split::{asks_names, figures, split};
use crate::commands::Failure;
use serde::Deserialize;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// The tree this tool was built from; not there any more once it is installed.
const CHECKOUT: &str = env!("CARGO_MANIFEST_DIR");
/// The versions this tool was tested with.
const LOCK: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.lock"));
/// A crate of the bundled database, which is slow to optimize.
const DATABASE: &str = "libsqlite3-sys";
/// A driver for it that brings none of its own.
const DRIVER: &str = "rusqlite";

/// Files by their path in the project.
#[derive(Clone)]
pub(super) struct Project {
    files: Vec<(String, String)>,
}

const MANIFEST: &str = "Cargo.toml";
/// Where the program of the learner lies.
pub(super) const MAIN: &str = "src/main.rs";
/// The workload, which stays as it was shipped.
pub(super) const WORKLOAD: &str = "src/workload/mod.rs";
/// Where an answer may be written.
pub(super) const ANSWER: &str = "answer.toml";

impl Project {
    /// What is needed to build `source` (the fault's or the cure's) under the exercise's name.
    pub(super) fn code(exercise: &Exercise, source: &str) -> Result<Project, Failure> {
        let parts = split(source, &exercise.workload);
        let figures = figures(pollscope_scenarios::FIGURES);
        let resolver = if asks_names(source) { pollscope_scenarios::RESOLVER } else { "" };
        let all = format!("{}{}{resolver}", parts.main, parts.workload);
        let mut files = vec![
            (MANIFEST, manifest(&exercise.name, &all)?),
            ("Cargo.lock", LOCK.to_owned()),
            (".cargo/config.toml", config()?),
            (MAIN, parts.main),
            (WORKLOAD, parts.workload),
            ("src/workload/figures.rs", figures),
        ];
        if !resolver.is_empty() {
            files.push(("src/workload/resolver.rs", resolver.to_owned()));
        }
        Ok(Project { files: files.into_iter().map(|(name, text)| (name.to_owned(), text)).collect() })
    }

    /// The service of `source` with everything else as it is shipped: tasks are compared by the workload's lines.
    pub(super) fn solved(exercise: &Exercise, source: &str) -> Result<Project, Failure> {
        let mut project = Project::code(exercise, exercise.scenario.fault_source)?;
        let service = Project::code(exercise, source)?;
        project.put(Path::new(MAIN), service.text(MAIN).to_owned());
        Ok(project)
    }

    /// What a learner gets: the faulty program, its ticket, and what to do.
    pub(super) fn shipped(exercise: &Exercise) -> Result<Project, Failure> {
        let mut project = Project::code(exercise, exercise.scenario.fault_source)?;
        project.files.push(("TICKET.md".to_owned(), ticket(exercise)));
        project.files.push(("README.md".to_owned(), readme(exercise)?));
        project.files.push((ANSWER.to_owned(), ANSWERS.to_owned()));
        project.files.push((".gitignore".to_owned(), "/pollscope-out\n".to_owned()));
        Ok(project)
    }

    /// The text of one file.
    pub(super) fn text(&self, name: &str) -> &str {
        self.files.iter().find(|(one, _)| *one == name).map_or("", |(_, text)| text)
    }

    /// Every file.
    pub(super) fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|(name, text)| (name.as_str(), text.as_str()))
    }

    /// Calls the package `name`. Cargo tells packages of one target folder apart by their names and not by where they
    /// lie, and takes the last one that was built for any other of its name.
    pub(super) fn rename(&mut self, exercise: &Exercise, name: &str) {
        let manifest = self.text(MANIFEST).replacen(&package_head(&exercise.name), &package_head(name), 1);
        self.put(Path::new(MANIFEST), manifest);
    }

    /// Adds a file, or replaces it.
    pub(super) fn put(&mut self, path: &Path, text: String) {
        let name = path.to_string_lossy().into_owned();
        match self.files.iter_mut().find(|(one, _)| *one == name) {
            Some((_, old)) => *old = text,
            None => self.files.push((name, text)),
        }
    }

    /// Writes every file below `folder`. The lock file only where there is none: cargo strikes from it what the project
    /// does not use.
    pub(super) fn write(&self, folder: &Path) -> Result<(), Failure> {
        for (name, text) in &self.files {
            let path = folder.join(name);
            if name != "Cargo.lock" || !path.exists() {
                place::write(&path, text)?;
            }
        }
        Ok(())
    }

    /// The same in a folder of ours, and no other source stays there.
    pub(super) fn replace(&self, folder: &Path) -> Result<(), Failure> {
        self.write(folder)?;
        for file in sources(folder)? {
            if !self.files.iter().any(|(name, _)| file == Path::new(name)) {
                let path = folder.join(&file);
                fs::remove_file(&path)
                    .map_err(|error| Failure::cannot(format_args!("remove {}", path.display()), error))?;
            }
        }
        Ok(())
    }
}

/// The Rust files in `src` of the project in `folder`, by their path in the project. Not the hidden ones: an editor keeps
/// locks and copies there, and cargo does not read them.
pub(super) fn sources(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let (mut found, mut open) = (Vec::new(), vec![PathBuf::from("src")]);
    while let Some(inside) = open.pop() {
        let path = folder.join(&inside);
        let cannot = |error| Failure::cannot(format_args!("read {}", path.display()), error);
        for entry in fs::read_dir(&path).map_err(cannot)? {
            let entry = entry.map_err(cannot)?;
            let file = inside.join(entry.file_name());
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            if entry.file_type().map_err(cannot)?.is_dir() {
                open.push(file);
            } else if file.extension().is_some_and(|extension| extension == "rs") {
                found.push(file);
            }
        }
    }
    Ok(found)
}

#[derive(Deserialize)]
struct Locked {
    package: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
}

fn package_head(name: &str) -> String {
    format!("[package]\nname = \"{name}\"\n")
}

/// `Cargo.toml`, with the dependencies that `code` names, in the versions of the lock file.
fn manifest(name: &str, code: &str) -> Result<String, Failure> {
    let damaged = |error| Failure::cannot("read the versions this tool was built with", error);
    let locked: Locked = toml::from_str(LOCK).map_err(damaged)?;
    let package: toml::Table = toml::from_str(pollscope_scenarios::PACKAGE).map_err(damaged)?;
    let wanted = package.get("dependencies").and_then(toml::Value::as_table).into_iter().flatten();
    let head = package_head(name);
    let mut text = format!("{head}version = \"0.1.0\"\nedition = \"2024\"\npublish = false\n\n[dependencies]\n");
    let mut database = false;
    for (krate, value) in wanted {
        if !names(code, &krate.replace('-', "_")) {
            continue;
        }
        database |= ["sqlx", DRIVER].contains(&krate.as_str());
        let mut entry = toml::Table::new();
        // In the tree of the tool sqlx brings the database along.
        if krate == DRIVER {
            entry.insert("features".to_owned(), vec!["bundled"].into());
        }
        if let Some(value) = value.as_table() {
            entry.extend(
                value
                    .iter()
                    .filter(|(key, _)| ["features", "default-features"].contains(&key.as_str()))
                    .map(|(key, value)| (key.clone(), value.clone())),
            );
        }
        let agent = Path::new(CHECKOUT).join("crates/agent");
        if krate == "pollscope-agent" && agent.join("Cargo.toml").is_file() {
            entry.insert("path".to_owned(), agent.display().to_string().into());
        } else {
            let version = locked.package.iter().find(|package| package.name == *krate).map(|package| &package.version);
            let version = version
                .ok_or_else(|| Failure::new(format!("the version of {krate} is not known; install pollscope again")))?;
            entry.insert("version".to_owned(), version.clone().into());
        }
        let _ = writeln!(text, "{krate} = {}", toml::Value::from(entry));
    }
    // As in the tree of the tool: names of functions in full, libraries optimized.
    text.push_str(
        "\n[profile.dev]\ndebug = \"limited\"\nsplit-debuginfo = \"off\"\n\n\
         [profile.dev.package.\"*\"]\nopt-level = 2\ndebug = \"line-tables-only\"\n\n\
         [profile.dev.package.dial9-trace-format]\nopt-level = 2\noverflow-checks = false\n",
    );
    if database {
        let _ = write!(text, "\n[profile.dev.package.{DATABASE}]\nopt-level = 0\ndebug = false\n");
    }
    text.push_str("\n# A workspace of its own, wherever it lies.\n[workspace]\n");
    Ok(text)
}

/// Whether `code` uses a path or a name that begins with this crate's.
fn names(code: &str, krate: &str) -> bool {
    let after = |rest: &str| rest.starts_with("::") || rest.starts_with(" as ");
    let before = |text: &str| !text.ends_with(|c: char| c.is_alphanumeric() || c == '_');
    code.match_indices(krate).any(|(at, _)| before(&code[..at]) && after(&code[at + krate.len()..]))
}

fn config() -> Result<String, Failure> {
    let target = toml::Value::from(place::target()?.display().to_string());
    Ok(format!(
        "[build]\n# tokio's hooks and tracing events exist only under this flag.\nrustflags = [\"--cfg\", \"tokio_unstable\"]\n\
         # All exercises share one folder: libraries are compiled once.\ntarget-dir = {target}\n"
    ))
}

fn ticket(exercise: &Exercise) -> String {
    format!("# {}\n\n{}\n", exercise.title, exercise.ticket)
}

/// The learner's command that records the program.
pub(super) fn recording(exercise: &Exercise) -> Result<String, Failure> {
    let program = place::target()?.join("debug").join(&exercise.name);
    Ok(format!("pollscope record --seconds 5 -- {}", program.display()))
}

fn readme(exercise: &Exercise) -> Result<String, Failure> {
    let name = &exercise.name;
    let record = recording(exercise)?;
    Ok(format!(
        "# {name}\n\n\
         A small service has one complaint about it: `TICKET.md`. Find out what is wrong, say so, and mend it.\n\n\
         - `src/main.rs` is the service, yours to change.\n\
         - `src/workload/` is who uses it and what it depends on. It is put back as it was for every check, so is\n\
         \x20 `Cargo.toml`; if the service no longer fits it, the compiler says where.\n\n\
         ## Look\n\n\
         ```sh\ncargo run                  # three seconds of service, then one line of figures; Ctrl-C if it hangs\n\
         cargo build && {record}\n```\n\n\
         ## Say\n\n\
         Name the kind of fault, the line to blame and the function whose task it is, in `answer.toml` or with the check.\n\
         The line counts as it was laid out, two lines more or less. Say `none` for a line or task that there is not.\n\n\
         ```sh\npollscope exercise check {name} --kind KIND --at src/main.rs:LINE --task FUNCTION\n```\n\n\
         ## Mend\n\n\
         The check builds your program, lets it work beside one that was mended before, and asks for the same work: the\n\
         fault gone, no new one, nothing lost, and as many requests done.\n\n\
         ```sh\npollscope exercise check {name}\npollscope exercise watch {name}      # again whenever you save\n\
         pollscope exercise hint {name}       # one step further: signal, tool, place, repair\n```\n"
    ))
}

const ANSWERS: &str = "\
# Your diagnosis. `pollscope exercise check` reads it.

# What kind of fault it is: a name of pollscope's, as in its reports.
kind = \"\"
# The line to blame, in the program as it was laid out: \"src/main.rs:1\".
at = \"\"
# The function whose task is to blame. \"none\", here and above, if the program is not.
task = \"\"
";
