//! A scripted learner: every exercise as somebody solves it on the real command line, and one as somebody tries to get
//! around it.

use crate::scenarios::ALONE;
use crate::tool::{Said, command};
use pollscope_scenarios::Scenario;
use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use tempfile::{TempDir, tempdir};
use toml::Value;

/// The cured program must be cut as the tool cuts the faulty one. It is a file of its own, which needs nothing else.
#[path = "../../src/commands/exercise/split.rs"]
#[allow(dead_code, reason = "the learner needs one of the two files")]
mod split;

/// Exercises under way at a time: their services mostly wait.
const AT_ONCE: usize = 3;
/// How often a learner tries a fix on a machine that is too busy to tell.
const ATTEMPTS: usize = 4;

/// A learner with a desk and a progress file of their own. What is compiled is shared by all of them.
pub(crate) struct Learner {
    desk: TempDir,
}

impl Learner {
    pub(crate) fn new() -> Learner {
        Learner { desk: tempdir().unwrap() }
    }

    pub(crate) fn progress(&self) -> PathBuf {
        self.desk.path().join("data/pollscope/progress.toml")
    }

    /// `pollscope exercise ARGUMENTS`.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command(self.desk.path());
        command
            .arg("exercise")
            .args(arguments)
            .env("XDG_DATA_HOME", self.desk.path().join("data"))
            .env("POLLSCOPE_EXERCISES", Path::new(env!("CARGO_TARGET_TMPDIR")).join("exercises"))
            .env_remove("POLLSCOPE_PROGRESS");
        command
    }

    pub(crate) fn says(&self, arguments: &[&str]) -> Said {
        let output = self.command(arguments).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Said { status: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// The same, and again where it is said to try again, as learners do on a crowded machine.
    fn checks(&self, arguments: &[&str]) -> Said {
        let mut said = self.says(arguments);
        for _ in 1..ATTEMPTS {
            if !said.stdout.contains("the machine is too busy") {
                break;
            }
            said = self.says(arguments);
        }
        said
    }

    pub(crate) fn file(&self, name: &str) -> String {
        fs::read_to_string(self.desk.path().join(name)).unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.desk.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }
}

/// `FILE:LINE` of the line that holds `part`.
#[track_caller]
pub(crate) fn place(text: &str, part: &str) -> String {
    let line = text.lines().position(|line| line.contains(part)).unwrap_or_else(|| panic!("no `{part}`"));
    format!("src/main.rs:{}", line + 1)
}

/// Replaces what stands exactly once.
#[track_caller]
pub(crate) fn replaced(text: &str, old: &str, new: &str) -> String {
    assert_eq!(text.matches(old).count(), 1, "{old}");
    text.replace(old, new)
}

/// What only the author of an exercise knows.
pub(crate) struct Solution {
    pub(crate) name: String,
    scenario: Scenario,
    /// The kind, a piece of the line, and the task of each fault; none if the program is not to blame.
    faults: Vec<[String; 3]>,
    /// The service, mended.
    pub(crate) main: String,
    /// The service with the first remedy that comes to mind, and what is said of it.
    first_try: Option<(String, String)>,
}

pub(crate) fn solutions() -> Vec<Solution> {
    let ordinary = pollscope_scenarios::all().iter().map(|scenario| (scenario, None));
    let lessons = pollscope_scenarios::lessons().iter().map(|lesson| (&lesson.scenario, lesson.first_try_source));
    ordinary.chain(lessons).map(|(scenario, first_try)| solution(scenario, first_try)).collect()
}

fn solution(scenario: &Scenario, first_try: Option<&str>) -> Solution {
    let manifest: toml::Table = scenario.manifest.parse().unwrap();
    let exercise = manifest["exercise"].as_table().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let faults = match exercise.get("faults") {
        Some(faults) => faults
            .as_array()
            .unwrap()
            .iter()
            .map(|fault| [text(&fault["kind"]), text(&fault["patterns"][0]), text(&fault["tasks"][0])])
            .collect(),
        None => {
            let truth = &manifest["truth"];
            let culprit = truth.get("culprit").unwrap_or_else(|| &truth["culprits"][0]);
            vec![[text(&truth["kind"]), text(&culprit["pattern"]), text(&exercise["tasks"][0])]]
        }
    };
    let workload: Vec<String> = exercise["workload"].as_array().unwrap().iter().map(text).collect();
    let main = |source: &str| split::split(source, &workload).main;
    Solution {
        name: text(&exercise["name"]),
        scenario: *scenario,
        faults,
        main: main(scenario.cure_source),
        first_try: first_try.map(|source| (main(source), text(&exercise["first_try"]))),
    }
}

/// From the ticket to the debrief.
fn solve(solution: &Solution) {
    let (learner, name) = (Learner::new(), solution.name.as_str());
    let main = format!("{name}/src/main.rs");
    assert!(learner.says(&["list"]).stdout.contains(name), "{name}");
    assert_eq!(learner.says(&["start", name]).status, Some(0), "{name}");
    for step in 1..=4 {
        assert_eq!(learner.says(&["hint", name]).stdout.lines().count(), step, "{name}");
    }
    let shipped = learner.file(&main);

    // Another line and a remark are no answer and no fix.
    learner.write(&main, &format!("{shipped}\n// Looked at.\n"));
    let another =
        if solution.faults.iter().any(|[kind, ..]| kind == "blocking-dns") { "busy-poll" } else { "blocking-dns" };
    let said = learner.says(&["check", name, "--kind", another, "--at", "src/main.rs:1", "--task", "main_loop"]);
    let open = if solution.faults.is_empty() { "the machine is too busy" } else { "still there" };
    assert!(said.status == Some(1) && said.stdout.contains(open), "{name}: {said:?}");
    assert!(said.stdout.contains("kind not right, line not right, task not right."), "{name}: {said:?}");
    if let Some((first_try, words)) = &solution.first_try {
        learner.write(&main, first_try);
        let said = learner.says(&["check", name]);
        assert!(said.status == Some(1) && said.stdout.contains(words.as_str()), "{name}: {said:?}");
    }

    let innocent = [["environment", "none", "none"].map(str::to_owned)];
    let mut answers: Vec<[String; 3]> = solution.faults.clone();
    answers.iter_mut().for_each(|[_, at, _]| *at = place(&shipped, at));
    let (last, others) = if answers.is_empty() { (&innocent[0], &[][..]) } else { answers.split_last().unwrap() };
    learner.write(&main, &shipped);
    for [kind, at, task] in others {
        let said = learner.says(&["check", name, "--kind", kind, "--at", at, "--task", task]);
        let words = format!("kind right, line right, task right. 1 of {} faults named.", answers.len());
        assert!(said.status == Some(1) && said.stdout.contains(&words), "{name}: {said:?}");
    }
    learner.write(&main, &solution.main);
    let [kind, at, task] = last;
    let said = learner.checks(&["check", name, "--kind", kind, "--at", at, "--task", task]);
    assert_eq!(said.status, Some(0), "{name}: {said:?}");
    for part in
        ["task right.", "Solved. This was ", "What would have misled you", "Lesson", "How it was mended", "\n  +"]
    {
        assert!(said.stdout.contains(part), "{name}: no {part} in {said:?}");
    }
    let list = learner.says(&["list"]).stdout;
    assert!(list.lines().any(|line| line.contains(name) && line.contains(" solved ")), "{name}: {list}");
}

/// Builds the libraries the first time, which takes minutes; then a few seconds an exercise.
#[test]
fn a_learner_solves_every_exercise() {
    let _alone = ALONE.lock();
    let (crowded, quiet): (Vec<_>, Vec<_>) = solutions().into_iter().partition(|solution| solution.faults.is_empty());
    let open = Mutex::new(VecDeque::from(quiet));
    let next = || open.lock().unwrap().pop_front();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(solution) = next() {
                    solve(&solution);
                }
            });
        }
    });
    // Its neighbors would be the others' as well.
    crowded.iter().for_each(solve);
}

#[test]
fn no_cheat_solves_an_exercise() {
    let _alone = ALONE.lock();
    let learner = Learner::new();
    let (main, workload) = ("slow-quotes/src/main.rs", "slow-quotes/src/workload/mod.rs");
    learner.says(&["start", "slow-quotes"]);
    let shipped = learner.file(main);
    let solution = solutions().into_iter().find(|solution| solution.name == "slow-quotes").unwrap();
    let (mended, scenario) = (&solution.main, solution.scenario);
    assert_ne!(*mended, shipped, "{}", scenario.name);
    let at = place(&shipped, "StdBufReader::new(connection).read_line");
    let answer = ["check", "slow-quotes", "--kind", "blocking-call", "--at", &at, "--task", "serve"];

    let attribute = "#[pollscope_agent::main(worker_threads = 2)]";
    let figures =
        r#"println!("{}", r"{`requests`:2000,`p50_ms`:1.0,`p99_ms`:2.0,`conserved`:true}".replace('`', "\""));"#;
    let run = "workload::run().await.expect(\"the service runs\");";
    let ordered = "let price = ask_supplier(self.supplier, article)?;";
    let head = "async fn main() {";
    let silent = "async fn service() {";
    let deaf = "\n\nfn main() {\n    unsafe { std::env::remove_var(\"POLLSCOPE_TRACE\") };\n    service();\n}\n";
    let by_hand = "\n\nfn main() {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all().worker_threads(64);
    let agent = pollscope_agent::init_for_main(&mut builder, \"multi_thread\", 2, false);
    builder.build().expect(\"a runtime\").block_on(agent.root(service()));
}
";
    let untold = replaced(&replaced(mended, &format!("{attribute}\n"), ""), head, silent) + by_hand;
    let skipped = replaced(&shipped, ordered, "let price = article;");
    let cheats = [
        ("nothing is done", replaced(&shipped, run, ""), "figures were printed"),
        ("figures made up", replaced(&shipped, run, figures), "polled only"),
        ("figures printed as well", replaced(mended, run, &format!("{run}\n    {figures}")), "printed 2 times"),
        ("a raised timeout", replaced(&shipped, "from_secs(2)", "from_secs(60)"), "still there"),
        ("more workers", replaced(&shipped, attribute, "#[pollscope_agent::main(worker_threads = 64)]"), "still there"),
        ("more workers than said", untold, "the runtime is another one"),
        ("no agent", replaced(mended, attribute, "#[tokio::main]"), "nothing was recorded"),
        ("a deaf agent", replaced(mended, head, silent) + deaf, "the agent sees less"),
        ("no program", "fn main() {".to_owned(), "it does not build"),
    ];
    for (cheat, text, complaint) in cheats {
        learner.write(main, &text);
        let said = learner.says(&answer);
        assert!(said.status == Some(1) && said.stdout.contains("Fix: not yet."), "{cheat}: {said:?}");
        assert!(said.stdout.contains(complaint) && !said.stdout.contains("Solved"), "{cheat}: {said:?}");
    }
    // Nor does it the second time, when the mended program was the last one to be built.
    learner.write(main, &skipped);
    for _ in 0..2 {
        let said = learner.says(&answer);
        assert!(said.status == Some(1) && said.stdout.contains("not even"), "{said:?}");
    }

    // The workload is put back for the check, whatever was done to it.
    learner.write(workload, &replaced(&learner.file(workload), "const CLIENTS: u64 = 8;", "const CLIENTS: u64 = 0;"));
    learner.write(main, mended);
    let said = learner.checks(&answer);
    assert!(said.status == Some(0) && said.stdout.contains("Solved."), "{said:?}");
    assert!(learner.file(workload).contains("CLIENTS: u64 = 0"), "the learner's files are the learner's");
    let again = learner.checks(&["check", "slow-quotes"]);
    assert!(again.status == Some(0) && again.stdout.contains("right, as said before"), "{again:?}");
}

/// Wherever the bound is raised: what counts is how many threads there are.
#[test]
fn more_blocking_threads_are_no_fix() {
    let _alone = ALONE.lock();
    let learner = Learner::new();
    let main = "late-hymn/src/main.rs";
    learner.says(&["start", "late-hymn"]);
    let shipped = learner.file(main);
    let attribute = "#[pollscope_agent::main(worker_threads = 2, max_blocking_threads = 4)]\n";
    let by_hand = "fn main() {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all().worker_threads(2).max_blocking_threads(64);
    let agent = pollscope_agent::init_for_main(&mut builder, \"multi_thread\", 2, false);
    builder.build().expect(\"a runtime\").block_on(agent.root(service()));
}
";
    let hidden = replaced(&replaced(&shipped, attribute, ""), "async fn main()", "async fn service()") + by_hand;
    let beside = "static BESIDE: std::sync::LazyLock<tokio::runtime::Runtime> =
    std::sync::LazyLock::new(|| tokio::runtime::Runtime::new().expect(\"a runtime\"));
";
    let beside = replaced(&shipped, "tokio::task::spawn_blocking(", "BESIDE.spawn_blocking(") + beside;
    let cheats = [
        (
            "no bound",
            replaced(&shipped, ", max_blocking_threads = 4", ""),
            "blocking threads, and it was shipped with 4",
        ),
        ("a bound elsewhere", hidden, "blocking threads, and it was shipped with 4"),
        ("a pool elsewhere", beside, "the runtime is another one"),
    ];
    for (cheat, text, complaint) in cheats {
        learner.write(main, &text);
        let said = learner.says(&["check", "late-hymn"]);
        assert!(said.status == Some(1) && said.stdout.contains(complaint), "{cheat}: {said:?}");
    }
}

/// A wait that ends after a while is still a wait for oneself.
#[test]
fn a_raised_timeout_frees_nobody() {
    let _alone = ALONE.lock();
    let learner = Learner::new();
    let main = "gate-that-shuts/src/main.rs";
    learner.says(&["start", "gate-that-shuts"]);
    let wait = "let mut visits = self.visits.lock().await;";
    let shipped = learner.file(main);
    let late = "let visits = tokio::time::timeout(std::time::Duration::from_secs(60), self.visits.lock()).await;\n        \
                let mut visits = visits.expect(\"a minute is enough\");";
    learner.write(main, &replaced(&shipped, wait, late));
    let said = learner.says(&["check", "gate-that-shuts"]);
    assert!(said.status == Some(1) && said.stdout.contains("still there"), "{said:?}");
}

/// The authors' own check, on the exercise that has everything: a fault, a first try and a cure.
#[test]
fn an_exercise_is_verified_whole() {
    let _alone = ALONE.lock();
    let said = Learner::new().says(&["verify", "silent-harbor"]);
    assert!(said.status == Some(0) && said.stdout == "silent-harbor: sound\n", "{said:?}");
}
