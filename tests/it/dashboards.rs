//! What is generated for Prometheus and Grafana is what lies in the repository.

use pollscope::boards;
use pollscope::detect::{Thresholds, diagnose};
use pollscope::model::Model;
use pollscope::symbols::Symbols;
use pollscope_metrics::{CLASSES, class_of};
use std::collections::HashSet;
use std::env;
use std::fs;
use std::path::Path;

#[test]
fn generated_files_are_fresh() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let update = env::var_os("UPDATE").is_some();
    for (path, text) in boards::files() {
        let file = root.join(&path);
        if update {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, &text).unwrap();
        }
        let there = fs::read_to_string(&file).unwrap_or_default();
        assert!(there == text, "{path} is not what the table says; UPDATE=1 cargo test --test it dashboards writes it");
    }
}

#[test]
fn every_kind_that_is_looked_for_has_a_class() {
    let diagnosis = diagnose(&Model::default(), &mut Symbols::new(), &Thresholds::default());
    assert!(!diagnosis.checks.is_empty());
    for check in diagnosis.checks.iter().filter(|check| check.kind != "environment") {
        assert_ne!(class_of(&check.kind), "other", "{} stands in no class of crates/metrics/src/class.rs", check.kind);
    }
    let kinds: Vec<_> = CLASSES.iter().flat_map(|class| class.kinds).collect();
    assert_eq!(kinds.iter().collect::<HashSet<_>>().len(), kinds.len(), "a kind stands in one class");
}
