//! The boards and rules against a real Prometheus, which scrapes services that run: `.ci/prometheus` runs this.
//!
//! Every query of every panel and rule is executed. A service with a fault must trip its own alert and no other, its
//! cured twin none.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod running;

use pollscope::boards::{self, Board, RECORDINGS, View};
use running::{Running, Server, prometheus, promtool};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Services with a fault: name of the scenario, class of its kind.
const FAULTS: [(&str, &str); 3] = [("blocking-call", "Stall"), ("lock-cycle", "Deadlock"), ("futurelock", "Deadlock")];

fn rules() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards/prometheus")
}

#[test]
fn rules_pass_their_own_tests() {
    let rules = rules();
    promtool(&rules, &["check", "rules", "alerts.yml", "recording.yml"], "");
    promtool(&rules, &["check", "config", "prometheus.yml"], "");
    promtool(&rules, &["check", "config", "compose-prometheus.yml"], "");
    promtool(&rules, &["test", "rules", "rules_test.yml"], "");
}

#[test]
fn boards_and_rules_hold_against_services_that_run() {
    prometheus();
    let place = tempfile::tempdir().unwrap();
    fs::create_dir(place.path().join("pollscope-out")).unwrap();
    // One watch over many services, which come and go; one of them never ends.
    let watch = Running::start(place.path(), &["watch", "pollscope-out", "--metrics", "127.0.0.1:0"]);
    let run = |arguments: &[&str]| Running::start(place.path(), &[&["run"], arguments, &["--loop"]].concat());
    let _services = [
        run(&["blocking-call", "--seconds", "20"]),
        run(&["blocking-call", "--seconds", "20", "--cured"]),
        run(&["lock-cycle", "--seconds", "3600"]),
        run(&["lock-cycle", "--seconds", "3600", "--cured"]),
    ];
    // And one that shows its own metrics, is stuck each time, and is started anew.
    let elsewhere = tempfile::tempdir().unwrap();
    let own = ["run", "futurelock", "--seconds", "4", "--loop", "--metrics", "127.0.0.1:0"];
    let own = Running::start(elsewhere.path(), &own);
    // And one that serves metrics from inside, without a recording.
    let inside = [("POLLSCOPE_METRICS", "127.0.0.1:0"), ("POLLSCOPE_TRACE", "1"), ("POLLSCOPE_SERVICE", "inside")];
    let inside = inside.into_iter().chain([("SERVICE_SECONDS", "3600")]);
    let inside = Running::start_in(place.path(), &["__scenario", "lock-cycle", "--cured"], inside);
    let targets = [watch.metrics(), own.metrics(), inside.metrics()];
    let server = Server::start(place.path(), &rules(), &targets);

    let expected: BTreeSet<_> =
        FAULTS.iter().map(|(kind, class)| fired(&format!("Pollscope{class}"), kind, kind)).collect();
    let ever = "count by (alertname, service, kind) (max_over_time(ALERTS{alertstate=\"firing\"}[10m]))";
    server.wait("the faults are told", || alerts(&server.vector(ever)).is_superset(&expected));
    for board in Board::ALL {
        let scenarios: &[&str] = if board.lab { &["blocking-call", "lock-cycle"] } else { &["-"] };
        for scenario in scenarios {
            check_board(&server, board, scenario);
        }
    }
    check_rules(&server);
    for target in &targets {
        promtool(place.path(), &["check", "metrics"], &server.page(target));
    }
    // The cured twin, too, was there for long enough to be told, and was started again.
    let starts =
        "count(count by (process) (max_over_time(pollscope_process_info{service=\"blocking-call-cured\"}[10m])))";
    server.wait("the cured twin was started again", || {
        numbers(&server.vector(starts)).iter().any(|&starts| starts > 1.0)
    });
    // Whatever was told in the meantime: each fault its own alert, the cured twins none.
    assert_eq!(alerts(&server.vector(ever)), expected);
    for running in [watch, own] {
        running.interrupt();
    }
}

/// Every panel has what it draws; the verdict on a cured twin alone is empty.
fn check_board(server: &Server, board: &Board, scenario: &str) {
    for (title, view, query) in board.queries(scenario, ".+") {
        if title == "Verdict" && query.contains("-cured\"") {
            assert_eq!(server.vector(&query), Vec::<Value>::new(), "{title}: {query}");
            continue;
        }
        let what = format!("{} has data in {title}: {query}", board.title);
        match view {
            View::Lines => server.wait(&what, || server.range(&query).iter().any(is_line)),
            View::Stat => server.wait(&what, || !numbers(&server.vector(&query)).is_empty()),
            View::Table => {
                server.wait(&what, || !server.vector(&query).is_empty());
                for row in server.vector(&query) {
                    assert!(row["metric"].as_object().is_some_and(|labels| !labels.is_empty()), "{what}: {row}");
                }
            }
            View::Heatmap => server.wait(&what, || {
                let bounds: BTreeSet<_> =
                    server.range(&query).iter().map(|line| line["metric"]["le"].to_string()).collect();
                bounds.len() > 2 && bounds.contains("\"+Inf\"")
            }),
        }
    }
}

/// Every rule was evaluated without an error, and every figure worked out ahead is there.
fn check_rules(server: &Server) {
    let groups = server.get("/api/v1/rules");
    let rules: Vec<&Value> = groups["data"]["groups"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap())
        .collect();
    assert_eq!(rules.len(), RECORDINGS.len() + boards::alerts().len());
    for rule in rules {
        assert_eq!((&rule["health"], &rule["lastError"]), (&"ok".into(), &Value::Null), "{rule:#}");
    }
    for rule in RECORDINGS {
        server.wait(&format!("{} is recorded", rule.name), || !numbers(&server.vector(rule.name)).is_empty());
    }
    for alert in boards::alerts() {
        server.vector(&alert.query);
    }
}

fn alerts(series: &[Value]) -> BTreeSet<String> {
    let label = |one: &Value, name: &str| one["metric"][name].as_str().unwrap_or("").to_owned();
    series.iter().map(|one| fired(&label(one, "alertname"), &label(one, "service"), &label(one, "kind"))).collect()
}

fn fired(alert: &str, service: &str, kind: &str) -> String {
    format!("{alert} in {service}: {kind}")
}

/// The numbers of instant series that are some.
fn numbers(series: &[Value]) -> Vec<f64> {
    let number = |one: &Value| one["value"][1].as_str()?.parse::<f64>().ok().filter(|number| number.is_finite());
    series.iter().filter_map(number).collect()
}

/// Whether a series over time has at least one number to draw.
fn is_line(series: &Value) -> bool {
    let values = series["values"].as_array().into_iter().flatten();
    values.filter_map(|value| value[1].as_str()?.parse::<f64>().ok()).any(f64::is_finite)
}
