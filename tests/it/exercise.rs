//! A scripted learner: the exercises as somebody solves them, and as somebody tries to get around them.

use crate::scenarios::ALONE;
use crate::tool::{Said, command};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::{TempDir, tempdir};

/// A learner with a desk and a progress file of their own. What is compiled is shared by all of them.
struct Learner {
    desk: TempDir,
}

impl Learner {
    fn new() -> Learner {
        Learner { desk: tempdir().unwrap() }
    }

    fn progress(&self) -> PathBuf {
        self.desk.path().join("data/pollscope/progress.toml")
    }

    fn says(&self, arguments: &[&str]) -> Said {
        let output = command(self.desk.path())
            .arg("exercise")
            .args(arguments)
            .env("XDG_DATA_HOME", self.desk.path().join("data"))
            .env("POLLSCOPE_EXERCISES", Path::new(env!("CARGO_TARGET_TMPDIR")).join("exercises"))
            .env_remove("POLLSCOPE_PROGRESS")
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Said { status: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    fn file(&self, name: &str) -> String {
        fs::read_to_string(self.desk.path().join(name)).unwrap()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.desk.path().join(name), text).unwrap();
    }
}

const MAIN: &str = "slow-quotes/src/main.rs";
const WORKLOAD: &str = "slow-quotes/src/workload/mod.rs";

/// `FILE:LINE` of the line that holds `part`.
fn place(text: &str, part: &str) -> String {
    format!("src/main.rs:{}", text.lines().position(|line| line.contains(part)).unwrap() + 1)
}

/// Replaces what stands exactly once.
#[track_caller]
fn replaced(text: &str, old: &str, new: &str) -> String {
    assert_eq!(text.matches(old).count(), 1, "{old}");
    text.replace(old, new)
}

#[test]
fn the_exercises_are_listed_in_their_order() {
    let learner = Learner::new();
    let said = learner.says(&["list"]);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert!(said.stdout.contains("\n  late-session-checks") && said.stdout.contains("Next: "), "{said:?}");
    let list = learner.says(&["list", "--format", "json"]).stdout;
    let list: Vec<serde_json::Value> = serde_json::from_str(&list).unwrap();
    assert!(list.len() >= 10, "{list:?}");
    for entry in &list {
        assert!(entry["scenario"].is_null() && entry["state"] == "open", "{entry}");
        let ready = entry["after"].as_array().unwrap().is_empty();
        assert_eq!(entry["ready"], ready, "{entry}");
        let before = |name: &serde_json::Value| list.iter().any(|other| other["name"] == *name);
        assert!(entry["after"].as_array().unwrap().iter().all(before), "{entry}");
    }
    assert!(!learner.progress().exists(), "looking is no progress");
}

#[test]
fn every_exercise_reads_well() {
    let said = Learner::new().says(&["verify", "--quick"]);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert!(said.stdout.lines().count() >= 10 && said.stdout.lines().all(|line| line.ends_with(": sound")), "{said:?}");
}

#[test]
fn a_started_exercise_names_no_fault() {
    let learner = Learner::new();
    let said = learner.says(&["start", "slow-quotes"]);
    assert!(said.status == Some(0) && said.stdout.contains("a third of the quotes"), "{said:?}");
    let mut told = said.stdout;
    for file in ["Cargo.toml", "README.md", "TICKET.md", "answer.toml", "src/main.rs", "src/workload/mod.rs"] {
        told += &learner.file(&format!("slow-quotes/{file}"));
    }
    for word in ["blocking-call", "blocking call", "fault.rs", "scenario"] {
        assert!(!told.to_lowercase().contains(word), "{word}");
    }
    let again = learner.says(&["start", "slow-quotes"]);
    assert!(again.status == Some(2) && again.stderr.contains("is not empty"), "{again:?}");
    let wrong = learner.says(&["start", "slow-quots"]);
    assert!(wrong.status == Some(2) && wrong.stderr.contains("did you mean `slow-quotes`?"), "{wrong:?}");
}

#[test]
fn hints_go_one_step_further_each_time() {
    let learner = Learner::new();
    for step in 1..=5_usize {
        let said = learner.says(&["hint", "slow-quotes"]);
        assert_eq!(said.stdout.lines().count(), step.min(4), "{said:?}");
        assert!(!said.stdout.contains("run blocking-call"), "{said:?}");
    }
    assert!(fs::read_to_string(learner.progress()).unwrap().contains("hints = 4"));
}

#[test]
fn the_diagnosis_is_graded_apart() {
    let learner = Learner::new();
    let check = |more: &[&str]| learner.says(&[&["check", "slow-quotes"], more].concat());
    assert!(check(&[]).stderr.contains("is not started"));
    learner.says(&["start", "slow-quotes"]);
    assert!(
        check(&[]).stdout.contains("Diagnosis: not given yet.\nFix: not yet.\n  - src/main.rs is as it was shipped")
    );
    let said = check(&["--kind", "cpu-bound-poll", "--task", "serve"]);
    assert!(said.status == Some(1) && said.stdout.contains("kind not right, line not given, task right."), "{said:?}");

    let at = place(&learner.file(MAIN), "StdBufReader::new(connection).read_line");
    let answer = |at: &str| format!("kind = \"blocking-call\"\nat = \"{at}\"\ntask = \"serve\"\n");
    learner.write("slow-quotes/answer.toml", &answer(&at));
    let said = check(&[]);
    assert!(said.status == Some(1) && said.stdout.contains("kind right, line right, task right."), "{said:?}");
    let list = learner.says(&["list"]).stdout;
    assert!(list.contains("diagnosed"), "{list}");

    learner.write("slow-quotes/answer.toml", &answer("somewhere"));
    let said = check(&[]);
    assert!(said.status == Some(2) && said.stderr.contains("`somewhere` is no place"), "{said:?}");
    learner.write("slow-quotes/answer.toml", "kind = 7");
    let said = check(&[]);
    assert!(said.status == Some(2) && said.stderr.contains("answer.toml cannot be read"), "{said:?}");
}

#[test]
fn a_damaged_progress_file_is_one_sentence() {
    let learner = Learner::new();
    fs::create_dir_all(learner.progress().parent().unwrap()).unwrap();
    for text in ["exercises = 3", "[exercises.slow-quotes]\nhints = \"many\"\n", "{{{"] {
        fs::write(learner.progress(), text).unwrap();
        let said = learner.says(&["list"]);
        assert_eq!(said.status, Some(2), "{said:?}");
        assert!(said.stderr.lines().count() == 1 && said.stderr.contains("progress.toml is damaged"), "{said:?}");
        assert_eq!(fs::read_to_string(learner.progress()).unwrap(), text, "it is the learner's");
    }
}

/// Builds programs with all their libraries, which takes minutes the first time: run with `--ignored`.
#[test]
#[ignore = "builds programs"]
fn a_learner_solves_an_exercise_and_no_cheat_does() {
    let _alone = ALONE.lock();
    let learner = Learner::new();
    learner.says(&["start", "slow-quotes"]);
    let shipped = learner.file(MAIN);
    let at = place(&shipped, "StdBufReader::new(connection).read_line");
    let answer = ["check", "slow-quotes", "--kind", "blocking-call", "--at", &at, "--task", "serve"];

    let mended =
        replaced(&shipped, "ask_supplier(self.supplier, article)?;", "ask_supplier(self.supplier, article).await?;");
    let start = mended.find("fn ask_supplier(").unwrap();
    let end = start + mended[start..].find("\n}\n").unwrap();
    let mended = format!(
        "{}async fn ask_supplier(supplier: SocketAddr, article: u64) -> io::Result<u64> {{\n    \
         tokio::task::spawn_blocking(move || ask(supplier, article)).await?\n}}\n\n{}{}",
        &mended[..start],
        shipped[shipped.find("fn ask_supplier(").unwrap()..][..end - start].replace("fn ask_supplier(", "fn ask("),
        &mended[end..]
    );

    let attribute = "#[pollscope_agent::main(worker_threads = 2)]";
    let figures =
        r#"println!("{}", r"{`requests`:2000,`p50_ms`:1.0,`p99_ms`:2.0,`conserved`:true}".replace('`', "\""));"#;
    let run = "workload::run().await.expect(\"the service runs\");";
    let ordered = "let price = ask_supplier(self.supplier, article)?;";
    let cheats = [
        ("more workers", replaced(&shipped, attribute, "#[pollscope_agent::main(worker_threads = 64)]")),
        ("no agent", replaced(&mended, attribute, "#[tokio::main]")),
        ("figures made up", replaced(&shipped, run, figures)),
        ("figures printed as well", replaced(&mended, run, &format!("{run}\n    {figures}"))),
        ("nobody is asked", replaced(&shipped, ordered, "let price = article;")),
        ("no program", "fn main() {".to_owned()),
    ];
    for (cheat, text) in cheats {
        learner.write(MAIN, &text);
        let said = learner.says(&answer);
        assert!(said.status == Some(1) && said.stdout.contains("Fix: not yet."), "{cheat}: {said:?}");
        assert!(!said.stdout.contains("Solved"), "{cheat}: {said:?}");
    }

    // The workload is put back for the check, whatever was done to it.
    let workload = learner.file(WORKLOAD);
    learner.write(WORKLOAD, &replaced(&workload, "const CLIENTS: u64 = 8;", "const CLIENTS: u64 = 0;"));
    learner.write(MAIN, &mended);
    let said = learner.says(&answer);
    assert_eq!(said.status, Some(0), "{said:?}");
    for part in [
        "Fix: it holds",
        "Solved. This was the scenario blocking-call",
        "would have misled",
        "Lesson",
        "-        let price",
    ] {
        assert!(said.stdout.contains(part), "{part}: {said:?}");
    }
    assert!(learner.file(WORKLOAD).contains("CLIENTS: u64 = 0"), "the learner's files are the learner's");
    let list = learner.says(&["list"]).stdout;
    assert!(list.contains("1 of ") && list.contains("solved"), "{list}");
}

/// Half a minute an exercise, and minutes for the libraries the first time: run with `--ignored`.
#[test]
#[ignore = "builds and runs every exercise"]
fn every_exercise_is_unsolved_as_shipped_and_solved_by_the_cure() {
    let _alone = ALONE.lock();
    let said = Learner::new().says(&["verify"]);
    assert_eq!(said.status, Some(0), "{said:?}");
}
