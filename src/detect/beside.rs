//! What is told beside a fault: the program's spans around it and the names of its tasks.

use pollscope_recording::*;

use super::tests::{MS, alive, place, program, text};
use super::{Diagnosis, Thresholds, diagnose};
use crate::model::Model;
use crate::symbols::Symbols;

fn in_spans(model: &mut Model, at: u64, task: u64, names: &[&str]) {
    let fields = || vec![(text("id"), text("7"))];
    let spans = names.iter().map(|name| Span { name: text(name), fields: fields() }).collect();
    model.feed(&InSpans { at, task, spans }.into());
}

fn found(mut model: Model) -> Diagnosis {
    alive(&mut model, 3000 * MS);
    diagnose(&model, &mut Symbols::new(), &Thresholds::default())
}

fn names(spans: &[super::Span]) -> Vec<&str> {
    spans.iter().map(|span| span.name.as_str()).collect()
}

/// A poll of task 1 that is blocked from 100 ms to 200 ms.
fn blocked(model: &mut Model) {
    let (task, tid, since, observed, syscall) = (1, 10, 100 * MS, 100 * MS, 0);
    let (at, state, stack) = (150 * MS, u64::from(b'S'), Vec::new());
    model.feed(&Stall { at, task, tid, since, observed, cpu_ns: 0, run_delay_ns: 0, state, syscall, stack }.into());
    model.feed(&StallEnd { at: 200 * MS, task, tid, since, cpu_ns: 0, run_delay_ns: 0, observed }.into());
}

#[test]
fn a_stall_shows_the_spans_of_its_own_poll() {
    let mut model = program("hooks,tracing,watchdog");
    in_spans(&mut model, 50 * MS, 1, &["earlier"]);
    in_spans(&mut model, 150 * MS, 1, &["request", "thumbnail"]);
    in_spans(&mut model, 160 * MS, 2, &["another"]);
    in_spans(&mut model, 250 * MS, 1, &["later"]);
    blocked(&mut model);
    let found = found(model);
    let culprit = &found.findings[0].culprit;
    assert_eq!(names(&culprit.spans), ["request", "thumbnail"]);
    assert_eq!(culprit.spans[0].fields.get("id").map(String::as_str), Some("7"));
}

#[test]
fn who_waits_for_ever_shows_where_it_began() {
    let mut model = program("hooks,tracing,watchdog");
    for (task, name) in [(1, "settler"), (2, "auditor")] {
        let (kind, spawned) = (text("task"), place(task as u32));
        model.feed(&Task { at: 0, task, runtime: 1, kind, name: text(name), spawned, parent: 0 }.into());
    }
    for resource in [1, 2] {
        let (made, kind) = (place(10), text("Mutex"));
        let resource = Resource { at: 0, resource, parent: 0, kind, made, permits: 0, returned: false, stranger: 0 };
        let task = resource.resource;
        model.feed(&Acquired { at: 5 * MS, resource: task, task, permits: 1, owned: false }.into());
        model.feed(&resource.into());
    }
    for (task, resource) in [(1, 2), (2, 1)] {
        let at = (10 + task) * MS;
        model.feed(&Wait { at, wait: task, resource, task, operation: text("Mutex::lock"), until: 0 }.into());
        in_spans(&mut model, at, task, &["round", if task == 1 { "settle" } else { "audit" }]);
    }
    let found = found(model);
    let finding = &found.findings[0];
    assert_eq!(finding.kind, "lock-cycle");
    assert_eq!(names(&finding.culprit.spans), ["round", "audit"]);
    let victims: Vec<_> = finding.victims.iter().filter_map(|victim| victim.task.as_ref()).collect();
    let told: Vec<_> = victims.iter().map(|task| (task.name.as_deref(), names(&task.spans))).collect();
    assert_eq!(told, [(Some("settler"), vec!["round", "settle"]), (Some("auditor"), vec!["round", "audit"])]);

    // A name is shown wherever the task is put into words.
    assert_eq!(finding.culprit.task.as_ref().and_then(|task| task.name.as_deref()), Some("auditor"));
    let graph = finding.graph.as_ref().expect("a ring");
    let nodes: Vec<_> = graph.nodes.iter().take(2).map(|node| node.label.as_str()).collect();
    assert_eq!(nodes, ["task `settler`", "task `auditor`"]);
}

#[test]
fn a_panic_shows_the_spans_it_was_raised_in() {
    let mut model = program("hooks,tracing,watchdog");
    in_spans(&mut model, 100 * MS, 1, &["request"]);
    in_spans(&mut model, 90 * MS, 1, &["before"]);
    let (place, message, stack) = (place(80), text(""), Vec::new());
    model.feed(&Panic { at: 100 * MS, task: 1, tid: 10, place, message, stack }.into());
    model.feed(&PanicEnd { at: 101 * MS, task: 1, awaited: false }.into());
    assert_eq!(names(&found(model).findings[0].culprit.spans), ["request"]);
}
