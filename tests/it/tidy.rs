//! The shape of the house: the floor table of ARCHITECTURE.md holds, and files stay small.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Lines a source file may have.
const LONGEST: usize = 600;
/// How the floors within the root package name each other.
const WITHIN: &[&str] = &["crate::", "pollscope::"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every `.rs` file below `folder`.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The table under "## Floors": floor -> what it may import.
fn floors() -> BTreeMap<String, Vec<String>> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let section = text.split("## Floors").nth(1).unwrap().split("\n## ").next().unwrap();
    let names = |cell: &str| -> Vec<String> { cell.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<_> = row.split('|').collect();
        (names(cells[1]).remove(0), names(cells[2]))
    })
    .collect()
}

/// The floors that `source` names, through one of the `prefixes`, a `{...}` group of one, or a crate of ours.
fn imports(source: &str, prefixes: &[&str]) -> Vec<String> {
    let code = without_text(source);
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut found = Vec::new();
    for prefix in prefixes {
        for (at, _) in code.match_indices(prefix) {
            let after = &code[at + prefix.len()..];
            match after.strip_prefix('{') {
                Some(group) => found.extend(first_words(group)),
                None => found.push(word(after)),
            }
        }
    }
    for name in ["recording", "profile", "metrics", "tally", "collectors", "agent", "scenarios"] {
        if code.contains(&format!("pollscope_{name}::")) {
            found.push(name.to_owned());
        }
    }
    found
}

/// Code without what stands in string literals and comments, which may be other code.
fn without_text(source: &str) -> String {
    let (mut code, mut rest) = (String::new(), source);
    while let Some(c) = rest.chars().next() {
        let hashes = rest.strip_prefix('r').map(|raw| raw.len() - raw.trim_start_matches('#').len());
        let raw = hashes.filter(|hashes| rest[1 + hashes..].starts_with('"') && !code.ends_with(char::is_alphanumeric));
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if let Some(hashes) = raw {
            let (from, end) = (hashes + 2, format!("\"{}", "#".repeat(hashes)));
            rest[from..].find(&end).map_or(rest.len(), |at| from + at + end.len())
        } else if c == '"' {
            let mut escaped = false;
            let end = rest[1..].find(|c| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            });
            end.map_or(rest.len(), |at| at + 2)
        } else if let Some(quote) = ["'\"'", "'\\\"'"].into_iter().find(|quote| rest.starts_with(quote)) {
            quote.len()
        } else {
            code.push(c);
            c.len_utf8()
        };
        rest = &rest[skipped..];
    }
    code
}

/// The first word of each item of a `{...}` group, nested groups skipped.
fn first_words(group: &str) -> Vec<String> {
    let (mut depth, mut words, mut item) = (1, Vec::new(), String::new());
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 || (depth == 1 && c == ',') {
            words.push(item.trim().split("::").next().unwrap_or("").to_owned());
            item.clear();
        } else {
            item.push(c);
        }
        if depth == 0 {
            break;
        }
    }
    words
}

#[test]
fn floors_import_only_what_the_table_allows() {
    let floors = floors();
    assert!(floors.len() >= 8, "the table is there: {floors:?}");
    let packages = [
        ("recording", "crates/recording/src"),
        ("profile", "crates/profile/src"),
        ("metrics", "crates/metrics/src"),
        ("tally", "crates/tally/src"),
        ("collectors", "crates/collectors/src"),
        ("agent", "crates/agent/src"),
        ("scenarios", "scenarios"),
    ];
    let own = ["symbols", "model", "detect", "live", "report", "boards", "collect", "commands"]
        .map(|floor| (floor, format!("src/{floor}")));
    // A package is one floor: its modules are its own affair, whatever they are called.
    let packages = packages.map(|(floor, folder)| (floor, folder.to_owned(), &[][..]));
    let own = own.map(|(floor, folder)| (floor, folder, WITHIN));
    for (floor, folder, prefixes) in packages.into_iter().chain(own) {
        let allowed = &floors[floor];
        for file in sources(&root().join(folder)) {
            for import in imports(&fs::read_to_string(&file).unwrap(), prefixes) {
                let legal = import == floor || allowed.contains(&import) || !floors.contains_key(&import);
                assert!(legal, "{} is on the floor {floor} and may not import {import}", file.display());
            }
        }
    }
}

#[test]
fn the_check_of_floors_sees_every_form() {
    let source =
        "use crate::{model::{A, B}, detect};\nuse pollscope::report;\nlet x = crate::symbols::X; // crate::y\n";
    assert_eq!(imports(source, WITHIN), ["model", "detect", "symbols", "report"]);
    assert_eq!(imports("use pollscope_recording::Event;", WITHIN), ["recording"]);
    let text = "let a = \"b \\\" crate::c::\n crate::d::\"; let e = r#\"crate::\"f\"#; let g = '\"'; crate::h::i";
    assert_eq!(imports(text, WITHIN), ["h"]);
}

#[test]
fn files_stay_small() {
    for folder in ["src", "crates", "scenarios", "tests"] {
        for file in sources(&root().join(folder)) {
            let lines = fs::read_to_string(&file).unwrap().lines().count();
            assert!(lines <= LONGEST, "{} has {lines} lines; {LONGEST} are enough", file.display());
        }
    }
}
