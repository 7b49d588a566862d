//! The HTML report, made as a user makes it and read as a browser reads it.

use crate::scenarios::ALONE;
use crate::tool::{command, pollscope};
use html5ever::tendril::TendrilSink;
use html5ever::{ParseOpts, parse_document};
use markup5ever_rcdom::{Handle, NodeData, RcDom};
use std::fs;
use std::path::Path;
use tempfile::tempdir;

/// One element of a page.
struct Element {
    name: String,
    attributes: Vec<(String, String)>,
    /// The text inside, that of its children included.
    text: String,
}

impl Element {
    fn attribute(&self, name: &str) -> &str {
        self.attributes.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    fn has_class(&self, class: &str) -> bool {
        self.attribute("class").split_whitespace().any(|one| one == class)
    }
}

fn text(node: &Handle) -> String {
    let own = match &node.data {
        NodeData::Text { contents } => contents.borrow().to_string(),
        _ => String::new(),
    };
    node.children.borrow().iter().fold(own, |before, child| before + &text(child))
}

/// The elements of the page in `file`, in the order a reader meets them.
fn elements(file: &Path) -> Vec<Element> {
    let html = fs::read_to_string(file).unwrap();
    let dom = parse_document(RcDom::default(), ParseOpts::default()).one(html);
    let mut found = Vec::new();
    let mut open: Vec<Handle> = vec![dom.document.clone()];
    while let Some(node) = open.pop() {
        if let NodeData::Element { name, attrs, .. } = &node.data {
            let attributes = attrs.borrow();
            let attributes = attributes.iter().map(|one| (one.name.local.to_string(), one.value.to_string()));
            found.push(Element { name: name.local.to_string(), attributes: attributes.collect(), text: text(&node) });
        }
        open.extend(node.children.borrow().iter().rev().cloned());
    }
    found
}

/// Nothing is loaded from anywhere, and nothing can run.
fn is_self_contained(page: &[Element]) {
    let policy = page.iter().find(|one| one.attribute("http-equiv") == "Content-Security-Policy").unwrap();
    assert!(policy.attribute("content").starts_with("default-src 'none';"), "{}", policy.attribute("content"));
    for one in page {
        assert!(
            !["script", "iframe", "object", "embed", "link", "base", "form"].contains(&one.name.as_str()),
            "{}",
            one.name
        );
        assert!(one.name != "img" || one.attribute("src").starts_with("data:"), "{}", one.attribute("src"));
        assert!(one.name != "a" || one.attribute("href").starts_with('#'), "{}", one.attribute("href"));
        assert!(!one.attributes.iter().any(|(name, _)| name.starts_with("on")), "{}", one.name);
        assert!(!one.attribute("style").contains("url("), "{}", one.attribute("style"));
    }
}

#[test]
fn the_report_shows_the_culprit_the_ring_and_the_time() {
    let _alone = ALONE.lock();
    let place = tempdir().unwrap();
    let said = pollscope(place.path(), &["run", "lock-cycle", "--out", "out"]);
    assert_eq!(said.status, Some(1), "{said:?}");
    assert!(said.stdout.contains("out/report.html"), "{said:?}");
    let file = place.path().join("out/report.html");
    let written_by_run = fs::read_to_string(&file).unwrap();
    fs::remove_file(&file).unwrap();

    let said = pollscope(place.path(), &["report", "out"]);
    assert_eq!((said.status, said.stdout.as_str()), (Some(0), "out/report.html\n"), "{said:?}");
    // The folder's name is written as the user wrote it; all else is the same.
    assert_eq!(fs::read_to_string(&file).unwrap().replace(" out", ""), written_by_run.replace(" out", ""));

    let diagnosis = fs::read_to_string(place.path().join("out/diagnosis.json")).unwrap();
    let diagnosis: serde_json::Value = serde_json::from_str(&diagnosis).unwrap();
    let finding = &diagnosis["findings"][0];
    let culprit =
        format!("{}:{}", finding["culprit"]["at"]["file"].as_str().unwrap(), finding["culprit"]["at"]["line"]);

    let page = elements(&file);
    is_self_contained(&page);
    assert!(page.iter().any(|one| one.name == "h2" && one.text == finding["title"].as_str().unwrap()));
    assert!(page.iter().any(|one| one.name == "code" && one.has_class("place") && one.text == culprit), "{culprit}");
    let boxes = |class| page.iter().filter(|one| one.name == "rect" && one.has_class(class)).count();
    assert_eq!((boxes("task"), boxes("resource")), (2, 2));
    let arrows = |class| page.iter().filter(|one| one.has_class("edge") && one.has_class(class)).count();
    assert_eq!((arrows("waits"), arrows("holds")), (2, 2));
    // The test runs where the sources do not lie, but the executable does.
    let hits: Vec<_> = page.iter().filter(|one| one.has_class("hit")).map(|one| one.text.as_str()).collect();
    assert!(hits.len() == 2 && hits.iter().all(|line| line.contains(".lock().await")), "{hits:?}");
    assert!(page.iter().filter(|one| one.has_class("strip")).count() >= 4, "charts over time");
    let answers: Vec<_> = page.iter().filter(|one| one.has_class("answer")).map(|one| one.text.as_str()).collect();
    assert_eq!(answers.len(), diagnosis["checks"].as_array().unwrap().len(), "{answers:?}");

    let dot = pollscope(place.path(), &["diagnose", "out", "--format", "dot"]).stdout;
    assert!(dot.starts_with("digraph") && dot.matches("waits for").count() == 2, "{dot}");

    // A recording alone: the report goes beside it, never into it.
    let recording = fs::read_dir(place.path().join("out/recording")).unwrap().next().unwrap().unwrap().path();
    let said = pollscope(place.path(), &["report", &recording.to_string_lossy()]);
    assert_eq!(said.stdout.trim_end(), format!("{}.html", recording.display()), "{said:?}");
    let said = pollscope(&recording, &["report", ".", "--out", "../mine.html"]);
    assert_eq!(said.stdout, "../mine.html\n", "{said:?}");
    is_self_contained(&elements(&place.path().join("out/recording/mine.html")));
    assert_eq!(pollscope(place.path(), &["diagnose", "out"]).status, Some(1), "files beside a recording do no harm");
}

#[test]
fn without_a_recording_the_kept_diagnosis_is_drawn() {
    let place = tempdir().unwrap();
    let kept = r#"{"schema":"pollscope.diagnosis/1","verdict":"healthy",
        "program":{"name":"<script>alert(1)</script>","pid":1,"build_id":"","started_at":"","seconds":1.0,"tokio":"","runtimes":[]},
        "checks":[],"findings":[],"not_observable":["\"><img src=x onerror=alert(1)>"],
        "observer":{"sources":[],"level":"","collectors":[],"dropped_events":3,"events":0,"polls":5,"bytes":0,"agent_cpu_ms":0.0},
        "notes":[]}"#;
    fs::write(place.path().join("diagnosis.json"), kept).unwrap();
    fs::write(place.path().join("flame.svg"), "<svg xmlns='http://www.w3.org/2000/svg'><script>x</script></svg>")
        .unwrap();
    fs::write(place.path().join("metrics.jsonl"), "{\"t\":0,\"workers_count\":2}\n").unwrap();
    let said = pollscope(place.path(), &["report", "."]);
    assert_eq!(said.status, Some(0), "{said:?}");
    let unopened = command(place.path()).args(["report", ".", "--open"]).env("PATH", "").output().unwrap();
    let complaint = String::from_utf8(unopened.stderr).unwrap();
    assert!(
        unopened.status.code() == Some(2) && complaint.contains("cannot be started to open ./report.html"),
        "{complaint}"
    );

    let page = elements(&place.path().join("report.html"));
    is_self_contained(&page);
    let says = |part: &str| page.iter().any(|one| one.text.contains(part));
    assert!(says("<script>alert(1)</script>") && says("onerror=alert(1)"), "as text");
    assert!(says("There is no recording beside the diagnosis") && says("3 events lost") && says("workers count"));
    assert_eq!(page.iter().filter(|one| one.name == "img").count(), 1);
}
