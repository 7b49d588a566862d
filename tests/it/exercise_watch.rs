//! `pollscope exercise watch`, as a learner has it beside the editor.

use crate::learner::{Learner, place, replaced, solutions};
use crate::scenarios::ALONE;
use crate::watch::{Watching, until};
use std::fs;

const MAIN: &str = "slow-quotes/src/main.rs";
const NEW: &str = "slow-quotes/src/new.rs";
const WAITING: &str = "Waiting for you to save";
/// How often a learner saves once more because the machine is too busy to tell.
const ATTEMPTS: usize = 4;

/// A learner whose libraries are compiled, which takes minutes the first time.
fn learner() -> Learner {
    let learner = Learner::new();
    learner.says(&["start", "slow-quotes"]);
    let shipped = learner.file(MAIN);
    learner.write(MAIN, &format!("{shipped}\n// Looked at.\n"));
    let said = learner.says(&["check", "slow-quotes"]);
    assert!(said.stdout.contains("still there"), "{said:?}");
    learner.write(MAIN, &shipped);
    learner
}

/// As an editor does that lets nobody see half a file.
fn renamed(learner: &Learner, name: &str, text: &str) {
    let beside = format!("{name}~");
    learner.write(&beside, text);
    fs::rename(learner.path(&beside), learner.path(name)).unwrap();
}

#[test]
fn each_save_is_checked_until_the_exercise_is_solved() {
    let _alone = ALONE.lock();
    let learner = learner();
    let shipped = learner.file(MAIN);
    let watch = Watching::of(learner.command(&["watch", "slow-quotes"]));
    until(&watch.stdout, "src/main.rs is as it was shipped");
    until(&watch.stderr, WAITING);

    // Emptied and filled again, as most editors do.
    learner.write(MAIN, &format!("{shipped}\n// Looked at again.\n"));
    until(&watch.stdout, "still there");
    until(&watch.stderr, WAITING);

    renamed(&learner, MAIN, &replaced(&shipped, "async fn serve(", "async fn (serve"));
    until(&watch.stderr, "error: expected identifier");
    until(&watch.stdout, "it does not build");
    until(&watch.stderr, WAITING);
    fs::remove_file(learner.path(MAIN)).unwrap();
    until(&watch.stderr, "holds no src/main.rs");
    until(&watch.stderr, WAITING);

    // Several files at once, and the lock of an editor beside them.
    let solution = solutions().into_iter().find(|solution| solution.name == "slow-quotes").unwrap();
    std::os::unix::fs::symlink("nobody@nowhere.1", learner.path("slow-quotes/src/.#main.rs")).unwrap();
    let mended = replaced(&solution.main, "mod workload;\n", "mod new;\nmod workload;\n");
    for attempt in 1.. {
        renamed(&learner, NEW, &format!("// Saved {attempt} times.\n"));
        renamed(&learner, MAIN, &mended);
        let said = until(&watch.stdout, "Fix: ");
        if said.contains("it holds") {
            break;
        }
        let why = until(&watch.stdout, "  - ");
        assert!(why.contains("too busy") && attempt < ATTEMPTS, "{said} {why}");
        until(&watch.stderr, WAITING);
    }
    until(&watch.stdout, "What was it?");
    until(&watch.stderr, WAITING);

    let at = place(&shipped, "StdBufReader::new(connection).read_line");
    for attempt in 1.. {
        let answer = format!("kind = \"blocking-call\"\nat = \"{at}\"\ntask = \"serve\" # {attempt}\n");
        renamed(&learner, "slow-quotes/answer.toml", &answer);
        until(&watch.stdout, "kind right, line right, task right.");
        let said = until(&watch.stdout, "Fix: ");
        if said.contains("it holds") {
            break;
        }
        let why = until(&watch.stdout, "  - ");
        assert!(why.contains("too busy") && attempt < ATTEMPTS, "{said} {why}");
        until(&watch.stderr, WAITING);
    }
    until(&watch.stdout, "Solved. This was ");
    assert_eq!(watch.ended(), Some(0));
}

#[test]
fn a_watch_ends_with_ctrl_c_at_any_time() {
    let _alone = ALONE.lock();
    let learner = learner();
    let watch = Watching::of(learner.command(&["watch", "slow-quotes"]));
    until(&watch.stderr, WAITING);
    assert_eq!(watch.interrupt(), Some(1), "it is not solved");

    // While the service is at work; it says so itself, through a pipe.
    let pipe = learner.path("at-work");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let word = format!("async fn main() {{\n    std::fs::write({pipe:?}, \"at work\").expect(\"somebody reads\");");
    learner.write(MAIN, &replaced(&learner.file(MAIN), "async fn main() {", &word));
    let watch = Watching::of(learner.command(&["watch", "slow-quotes"]));
    assert_eq!(fs::read_to_string(&pipe).unwrap(), "at work");
    let said = watch.interrupted();
    assert_eq!(said.status, Some(1), "{said:?}");
    assert!(!said.stdout.contains("Fix") && !said.stderr.contains(WAITING), "{said:?}");
}
