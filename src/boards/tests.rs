//! The boards and rules speak of nothing that is not in the metrics' table, and every panel asks a question.

use std::collections::HashSet;

use super::rules::{RECORDINGS, alerts};
use super::{Board, View};
use pollscope_metrics::{Label, TABLE};

/// Words of a query that could be metrics of ours.
fn metrics_in(query: &str) -> Vec<String> {
    let word = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let words = query.split(|c| !word(c));
    let ours = |text: &&str| text.contains("pollscope_") || text.starts_with("process_") && text.contains("_bytes");
    words.filter(ours).map(str::to_owned).collect()
}

/// Every name a query may use: those that are scraped, and those that are recorded.
fn known() -> HashSet<String> {
    let scraped = TABLE.iter().flat_map(|metric| metric.series());
    scraped.chain(RECORDINGS.iter().map(|rule| rule.name.to_owned())).collect()
}

#[test]
fn queries_name_metrics_of_the_table_only() {
    let known = known();
    let boards = Board::ALL.iter().flat_map(|board| board.queries("x", "y")).map(|(_, _, query)| query);
    let rules =
        RECORDINGS.iter().map(|rule| rule.query.to_owned()).chain(alerts().into_iter().map(|alert| alert.query));
    for query in boards.chain(rules) {
        let used = metrics_in(&query);
        assert!(!used.is_empty() || query.starts_with("up{"), "{query}");
        for name in used {
            assert!(known.contains(&name), "{name} in {query}");
        }
    }
}

#[test]
fn every_metric_is_seen_on_a_board_or_in_a_rule() {
    let boards = Board::ALL.iter().flat_map(|board| board.queries("x", "y")).map(|(_, _, query)| query);
    let variables = ["pollscope_process_info".to_owned()];
    let rules = alerts().into_iter().map(|alert| alert.query);
    let used: HashSet<_> = boards.chain(rules).chain(variables).flat_map(|query| metrics_in(&query)).collect();
    // For queries of one's own: each is one line of its page.
    let own = [
        "pollscope_finding_occurrences_total",
        "pollscope_heartbeats_total",
        "pollscope_process_start_timestamp_seconds",
        "pollscope_process_silence_seconds",
        "pollscope_watch_info",
        "pollscope_watch_failures_total",
        "process_cpu_seconds_total",
    ];
    for metric in TABLE {
        let seen = metric.series().iter().any(|name| used.contains(name));
        assert_ne!(seen, own.contains(&metric.name), "{}", metric.name);
    }
}

#[test]
fn labels_in_queries_exist() {
    let labels: HashSet<_> = Label::ALL.iter().map(|label| label.name()).chain(["le", "instance", "job"]).collect();
    for (title, _, query) in Board::ALL.iter().flat_map(|board| board.queries("x", "y")) {
        for group in query.split("by (").skip(1) {
            for label in group.split(')').next().unwrap_or("").split(',') {
                assert!(labels.contains(label.trim()), "{label} in {title}");
            }
        }
    }
}

#[test]
fn every_panel_answers_a_question() {
    let mut uids = HashSet::new();
    for board in Board::ALL {
        assert!(uids.insert(board.uid) && board.uid.len() <= 40, "{}", board.uid);
        for panel in board.rows.iter().flat_map(|row| row.panels) {
            let question = panel.question.split_once('?');
            assert!(question.is_some_and(|(_, how)| how.ends_with('.')) || board.lab, "{}", panel.title);
            assert!(panel.question.contains('?') && !panel.queries.is_empty(), "{}", panel.title);
            assert!((1..=24).contains(&panel.width), "{}", panel.title);
            assert!(panel.view != View::Table || panel.queries.len() == 1, "{}", panel.title);
        }
    }
}

/// One axis, one unit: seconds a second are a share or a number of threads, but never a time.
#[test]
fn a_panel_in_seconds_or_bytes_shows_nothing_else() {
    for panel in Board::ALL.iter().flat_map(|board| board.rows).flat_map(|row| row.panels) {
        for (query, _) in panel.queries {
            let first = metrics_in(query).into_iter().next().unwrap_or_default();
            let of = |part: &str| first.contains(part);
            match panel.unit {
                // A mean is a time by a count.
                "s" => assert!(of("_seconds"), "{}: {query}", panel.title),
                "bytes" => assert!(of("_bytes"), "{}: {query}", panel.title),
                _ => assert!(!of("_seconds") || query.contains("rate("), "{}: {query}", panel.title),
            }
        }
    }
}

#[test]
fn every_alert_says_what_to_read() {
    let mut names = HashSet::new();
    for alert in alerts() {
        assert!(names.insert(alert.name.clone()), "{}", alert.name);
        assert!(alert.runbook.starts_with("https://") && !alert.summary.is_empty(), "{alert:?}");
        assert_eq!(alert.severity.is_none(), alert.query.contains("severity, file"), "{alert:?}");
    }
}
