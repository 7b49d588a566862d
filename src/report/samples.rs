//! Diagnoses to draw, for the tests of every report.

use super::ring::tests::ring_of;
use crate::detect::{
    Answer, Check, Confidence, Culprit, Diagnosis, Evidence, Finding, Frame, Location, Observer, Occurrences, Program,
    Severity, Span, Stretch, TaskRef, Verdict, Victim,
};

fn place(file: &str, line: u32, function: Option<&str>) -> Location {
    Location { file: file.into(), line, function: function.map(str::to_owned), ..Location::default() }
}

/// A blocking call, with everything a finding may have but a graph.
pub(super) fn blocking() -> Diagnosis {
    let frame = |function: &str, file: &str| Frame {
        function: function.into(),
        file: Some(file.into()),
        line: Some(7),
        ..Frame::default()
    };
    let figure = |what: &str, value, at| Evidence { what: what.into(), value, unit: "ms".into(), at };
    let stretch = Stretch { from_ns: 1_200_000_000, to_ns: 2_100_000_000, track: "thread 11".into() };
    let spawned_at = Some(place("src/main.rs", 40, None));
    let finding = Finding {
        kind: "blocking-call".into(),
        severity: Severity::Critical,
        confidence: Confidence::Proven,
        title: "`std::io::Read::read` at src/main.rs:7 blocks its worker thread".into(),
        culprit: Culprit {
            task: Some(TaskRef { id: 7, spawned_at: spawned_at.clone(), ..TaskRef::default() }),
            at: Some(place("src/main.rs", 7, Some("shop::ask"))),
            call: Some("std::io::Read::read".into()),
            stack: vec![
                frame("read", "/rustc/1/library/std/src/io.rs"),
                frame("shop::ask::{{closure}}", "src/main.rs"),
            ],
            spans: vec![
                Span { name: "request".into(), fields: [("id".to_owned(), "7".to_owned())].into() },
                Span { name: "ask".into(), ..Span::default() },
            ],
        },
        occurrences: Occurrences {
            count: 2,
            total_ms: 1500.0,
            worst_ms: 900.0,
            first_ns: 1_100_000_000,
            last_ns: 2_100_000_000,
        },
        amplifiers: vec!["driver-held".into()],
        evidence: vec![figure("longest poll", 900.0, Some(stretch)), figure("of it on the CPU", 0.221, None)],
        victims: vec![Victim {
            task: Some(TaskRef { id: 8, spawned_at, ..TaskRef::default() }),
            harm: "started late".into(),
            value: 800.0,
            unit: "ms".into(),
        }],
        graph: None,
        repair: "Use the async one.".into(),
        read_more: "pollscope explain blocking-call".into(),
    };
    Diagnosis {
        schema: crate::detect::SCHEMA.into(),
        verdict: Verdict::Findings,
        program: Program { name: "shop".into(), pid: 4, seconds: 3.0, ..Program::default() },
        checks: vec![Check { kind: "lock-cycle".into(), answer: Answer::CannotTell, why: "nobody looked".into() }],
        findings: vec![finding],
        observer: Observer { polls: 1807, events: 12, sources: vec!["hooks".into()], ..Observer::default() },
        ..Diagnosis::default()
    }
}

/// A lock cycle of so many tasks.
pub(super) fn ring(tasks: usize) -> Diagnosis {
    let mut diagnosis = blocking();
    for finding in &mut diagnosis.findings {
        finding.kind = "lock-cycle".into();
        finding.title = format!("{tasks} tasks hold a lock each and wait for each other's");
        finding.graph = Some(ring_of(tasks, "scenarios/lock-cycle/fault.rs"));
    }
    diagnosis
}

/// A lock cycle in which every text of the program is an attack.
pub(super) fn hostile() -> Diagnosis {
    let attacks = [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(2)>",
        "'; background: url(https://evil.example/x)",
        "</title></svg></style><iframe src=https://evil.example>",
        "\u{1b}[2J\u{7}\u{202e}&amp;&#60;b>",
    ];
    let attack = attacks.join(" ");
    let long = format!("{}/{}", attacks.join("/"), "very-long-segment".repeat(20));
    let mut diagnosis = ring(3);
    diagnosis.program.name = attack.clone();
    diagnosis.program.tokio = attack.clone();
    diagnosis.program.started_at = attack.clone();
    diagnosis.notes = vec![attack.clone()];
    diagnosis.not_observable = vec![attack.clone()];
    diagnosis.observer.sources = vec![attack.clone()];
    diagnosis.checks.push(Check { kind: attack.clone(), answer: Answer::Found, why: attack.clone() });
    for finding in &mut diagnosis.findings {
        let at = place(&long, 7, Some(&attack));
        let spans = vec![Span { name: attack.clone(), fields: [(long.clone(), attack.clone())].into() }];
        let (name, spawned_at) = (Some(attack.clone()), Some(at.clone()));
        let task = TaskRef { id: 9, name, future: None, spawned_at, spans: spans.clone() };
        finding.kind = attack.clone();
        finding.title = attack.clone();
        finding.repair = attack.clone();
        finding.read_more = "javascript:alert(3)".into();
        finding.amplifiers = vec![attack.clone()];
        finding.culprit.call = Some(attack.clone());
        finding.culprit.spans = spans;
        for frame in &mut finding.culprit.stack {
            frame.function = attack.clone();
            frame.file = Some(long.clone());
        }
        for evidence in &mut finding.evidence {
            evidence.what = attack.clone();
            evidence.unit = attack.clone();
        }
        for victim in &mut finding.victims {
            victim.task = Some(task.clone());
            victim.harm = attack.clone();
        }
        for node in finding.graph.iter_mut().flat_map(|graph| &mut graph.nodes) {
            node.label = attack.clone();
            node.at = Some(at.clone());
        }
        for edge in finding.graph.iter_mut().flat_map(|graph| &mut graph.edges) {
            edge.at = Some(at.clone());
        }
        finding.culprit.at = Some(at);
        finding.culprit.task = Some(task);
    }
    diagnosis
}
