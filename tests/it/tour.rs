//! `docs/tour.md` is true: every command in it does what it says.

use crate::scenarios::ALONE;
use crate::tool::command;
use std::fs;
use std::path::Path;
use tempfile::tempdir;

/// The lines of all blocks of commands.
fn commands(text: &str) -> Vec<&str> {
    let blocks = text.split("```sh\n").skip(1).map(|block| block.split("```").next().unwrap());
    blocks.flat_map(str::lines).collect()
}

#[test]
fn every_command_of_the_tour_works() {
    let _alone = ALONE.lock();
    let place = tempdir().unwrap();
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/tour.md")).unwrap();
    let commands = commands(&text);
    assert!(commands.len() >= 15, "{commands:?}");
    for line in commands {
        let (said, expected) = match line.split_once("# exits with ") {
            Some((said, status)) => (said, status.parse().unwrap()),
            None => (line, 0),
        };
        let mut words = said.split_whitespace();
        assert_eq!(words.next(), Some("pollscope"), "{line}");
        let output = command(place.path())
            .args(words)
            .env("POLLSCOPE_PROGRESS", place.path().join("progress.toml"))
            .env("POLLSCOPE_EXERCISES", place.path().join("exercises"))
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(expected), "{line}: {told}");
    }
    assert!(place.path().join("slow-quotes/README.md").is_file());
}
