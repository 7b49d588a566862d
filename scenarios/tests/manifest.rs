//! Every manifest is complete and true of the sources beside it, and no source gives itself away.

use pollscope_scenarios::{Scenario, all, healthy, lessons};
use toml::{Table, Value};

fn text<'a>(table: &'a Table, key: &str) -> &'a str {
    table.get(key).and_then(Value::as_str).unwrap_or_else(|| panic!("no text `{key}`"))
}

fn culprits(truth: &Table) -> Vec<&Table> {
    let one = truth.get("culprit").and_then(Value::as_table);
    let many = truth.get("culprits").and_then(Value::as_array);
    let many = many.into_iter().flatten().filter_map(Value::as_table);
    one.into_iter().chain(many).collect()
}

fn check(scenario: &Scenario) {
    let name = scenario.name;
    let manifest: Table = scenario.manifest.parse().expect("the manifest is TOML");
    // Two scenarios of one kind differ in what follows it.
    let kind = text(&manifest, "kind");
    assert!(name == kind || name.starts_with(&format!("{kind}-")), "{name}: kind {kind}");
    for key in ["title", "ticket", "lesson"] {
        assert!(!text(&manifest, key).is_empty(), "{name}: {key}");
    }
    assert!(!text(&manifest, "ticket").contains(name), "{name}: ticket");
    let difficulty = manifest["difficulty"].as_integer().expect("a number");
    assert!((1..=5).contains(&difficulty), "{name}: difficulty");
    assert_eq!(manifest["hints"].as_array().map(Vec::len), Some(4));

    let truth = manifest["truth"].as_table().expect("a table");
    // An amplifier is found on its cause, whose kind is another.
    let amplifiers = truth.get("amplifiers").and_then(Value::as_array).into_iter().flatten();
    let amplifies = amplifiers.filter_map(Value::as_str).any(|amplifier| amplifier == kind);
    assert!(text(truth, "kind") == kind || amplifies, "{name}: truth");
    let culprits = culprits(truth);
    assert!(!culprits.is_empty(), "{name}: no culprit");
    for culprit in culprits {
        assert_eq!(text(culprit, "file"), scenario.fault_path);
        let pattern = text(culprit, "pattern");
        let found = scenario.fault_source.matches(pattern).count();
        assert_eq!(found, 1, "{name}: `{pattern}`");
    }
    // Where the truth does not hold everywhere, it holds on the runtime that the source asks for.
    if let Some(flavors) = truth.get("flavors").and_then(Value::as_array) {
        let own = |flavor: &Value| match flavor.as_str().expect("text") {
            "current_thread" => scenario.fault_source.contains("flavor = \"current_thread\""),
            workers => scenario.fault_source.contains(&format!("main(worker_threads = {workers})")),
        };
        assert!(flavors.iter().any(own), "{name}: {flavors:?}");
    }
    for victim in truth["victims"].as_array().expect("a list") {
        let victim = format!("fn {}(", victim.as_str().expect("text"));
        assert!(scenario.fault_source.contains(&victim), "{name}: {victim}");
    }
}

#[test]
fn manifests_are_true() {
    for scenario in all() {
        check(scenario);
    }
}

#[test]
fn healthy_programs_have_no_truth() {
    for scenario in healthy() {
        let manifest: Table = scenario.manifest.parse().expect("the manifest is TOML");
        assert_eq!(text(&manifest, "kind"), "none", "{}", scenario.name);
        assert!(manifest.get("truth").is_none() && !text(&manifest, "lesson").is_empty(), "{}", scenario.name);
    }
}

#[test]
fn sources_give_nothing_away() {
    let telling = ["deadlock", "fault", "bug", "wrong", "mistake", "cure", "fixme"];
    let ordinary = healthy().iter().chain(all()).map(|scenario| (scenario, None));
    let lessons = lessons().iter().map(|lesson| (&lesson.scenario, lesson.first_try_source));
    for (scenario, first_try) in ordinary.chain(lessons) {
        for source in [scenario.fault_source, scenario.cure_source].into_iter().chain(first_try) {
            // Blocking is looked for as a word: `spawn_blocking` is the name of tokio's function.
            let source = source.to_lowercase().replace("default", "");
            let spaced = scenario.name.replace('-', " ");
            for word in telling.iter().copied().chain([scenario.name, &spaced]) {
                assert!(!source.contains(word), "{}: says `{word}`", scenario.name);
            }
            let words = source.split(|c: char| !c.is_alphanumeric() && c != '_');
            for word in words {
                assert!(!matches!(word, "block" | "blocks" | "blocking" | "blocked"));
            }
        }
    }
}
