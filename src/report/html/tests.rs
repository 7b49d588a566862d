use super::*;
use crate::report::samples;
use html5ever::tendril::TendrilSink;
use html5ever::{ParseOpts, parse_document};
use markup5ever_rcdom::{Handle, NodeData, RcDom};
use pollscope_recording::{Beats, BlockingPool, LateBeat, Memory, Thread, Throttled};

/// Every element of a page as a browser would build it: name and attributes.
fn elements(html: &str) -> Vec<(String, Vec<(String, String)>)> {
    let dom = parse_document(RcDom::default(), ParseOpts::default()).one(html);
    let mut found = Vec::new();
    let mut open: Vec<Handle> = vec![dom.document.clone()];
    while let Some(node) = open.pop() {
        if let NodeData::Element { name, attrs, .. } = &node.data {
            let attributes = attrs.borrow();
            let attributes = attributes.iter().map(|one| (one.name.local.to_string(), one.value.to_string()));
            found.push((name.local.to_string(), attributes.collect()));
        }
        open.extend(node.children.borrow().iter().cloned());
    }
    found
}

fn drawn(diagnosis: &Diagnosis, excerpts: &Excerpts, pictures: &[Picture], metrics: Option<&Metrics>) -> String {
    let mut series = Series::default();
    let hostile: std::sync::Arc<str> = "<script>alert(4)</script>\"'".into();
    series.feed(&Thread { at: 1_000_000_000, tid: 11, runtime: 1, name: hostile, role: "other".into() }.into());
    series.feed(&LateBeat { at: 2_000_000_000, runtime: 1, due: 1_900_000_000, late_ns: 100_000_000 }.into());
    series.feed(&Beats { at: 4_000_000_000, runtime: 1, from: 3_000_000_000, count: 9, worst_late_ns: 0 }.into());
    let (at, from) = (3_000_000_000, 2_500_000_000);
    series.feed(&Memory { at, resident_bytes: 5 << 20 }.into());
    series.feed(&BlockingPool { at, runtime: 1, threads: 4, idle: 1, queued: 17 }.into());
    series.feed(&Throttled { at, from, times: 3, throttled_ns: 150_000_000 }.into());
    series.finish();
    page(&Page { diagnosis, series: Some(&series), excerpts, pictures, metrics, folder: "out/<b>\"x\"" })
}

#[test]
fn nothing_the_program_says_becomes_part_of_the_page() {
    let attack = "</pre><script>alert(5)</script>";
    let diagnosis = samples::hostile();
    let excerpts = places(&diagnosis)
        .into_iter()
        .map(|at| {
            let excerpt = Excerpt::Lines { first: 6, lines: vec![attack.into(), attack.into()], changed: true };
            ((at.file.clone(), at.line), excerpt)
        })
        .collect();
    let svg = b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(6)'><script>alert(7)</script></svg>".to_vec();
    let pictures = [Picture { name: attack.into(), title: attack.into(), svg: Ok(svg) }];
    let metrics = Metrics { rows: vec!["{\"t\":1,\"<img src=x onerror=alert(8)>\":2}".into()], every: 1 };
    let html = drawn(&diagnosis, &excerpts, &pictures, Some(&metrics));
    assert!(html.contains("&lt;script&gt;alert(1)") && html.contains("alert(5)"), "the texts are there");

    let known = "html head meta title style body main header nav section article footer div span p h1 h2 h3 b i a code pre \
                 dl dt dd ol ul li table thead tbody tr th td details summary figure figcaption img svg g path rect text";
    let known: Vec<_> = known.split_whitespace().collect();
    for (name, attributes) in elements(&html) {
        assert!(known.contains(&name.as_str()), "<{name}> has no business here");
        for (attribute, value) in attributes {
            assert!(!attribute.starts_with("on"), "{name} {attribute}={value}");
            assert!(attribute != "src" || value.starts_with("data:image/svg+xml;base64,"), "{name} {value}");
            assert!(attribute != "href" || value.starts_with("#finding-"), "{name} {value}");
            let numbers = value.chars().all(|c| c.is_ascii_digit() || "left:.%-margin-top".contains(c));
            assert!(attribute != "style" || numbers, "{name} {value}");
        }
    }
    assert!(html.contains(POLICY.split(';').next().unwrap()) && !html.contains('\u{202e}') && !html.contains('\u{1b}'));
}

#[test]
fn a_finding_says_where_what_and_how_bad() {
    let diagnosis = samples::blocking();
    let lines = ["fn ask() {", "    read()", "}"].map(str::to_owned).to_vec();
    let excerpt = Excerpt::Lines { first: 6, lines, changed: false };
    let html = drawn(&diagnosis, &Excerpts::from([(("src/main.rs".to_owned(), 7), excerpt)]), &[], None);
    for part in
        ["1 fault", "src/main.rs:7", "900.0 ms", "driver-held", "Use the async one.", "cannot tell", "nobody looked"]
    {
        assert!(html.contains(part), "{part}");
    }
    for part in ["peak 5.0 MiB", "at most 3 of 4 threads busy", "peak 17<", "150.0 ms by the CPU quota"] {
        assert!(html.contains(part), "{part}");
    }
    assert!(html.contains("<dt>In span</dt><dd><code>request{id=7} &gt; ask</code></dd>"), "{html}");
    assert!(html.contains("<span class=\"hit\"><i>▶ 7</i>    read()</span>"), "{html}");
    assert!(html.contains("To be seen on thread 11, 0.20 s – 1.10 s."), "times count from the start");
    assert!(html.contains("None was taken in this run."));
}

#[test]
fn what_is_missing_is_said() {
    let diagnosis = samples::blocking();
    let missing = Excerpt::Missing("the file was not found".into());
    let excerpts = Excerpts::from([(("src/main.rs".to_owned(), 7), missing)]);
    let empty =
        Page { diagnosis: &diagnosis, series: None, excerpts: &excerpts, pictures: &[], metrics: None, folder: "x" };
    let html = page(&empty);
    assert!(html.contains("Not shown: the file was not found.") && html.contains("no recording beside"), "{html}");
}

#[test]
fn a_ring_has_a_box_for_each_task_and_lock() {
    for tasks in [1, 2, 3, 5, 40] {
        let html = drawn(&samples::ring(tasks), &Excerpts::new(), &[], None);
        let elements = elements(&html);
        let classes = elements.iter().filter(|(name, _)| name == "rect").flat_map(|(_, attributes)| attributes);
        let boxes = classes.filter(|(name, value)| name == "class" && (value == "task" || value == "resource"));
        assert_eq!(boxes.count(), (2 * tasks).min(24));
        assert_eq!(html.matches(">waits for</text>").count(), if tasks == 40 { 12 } else { tasks });
    }
}

#[test]
fn a_ring_of_ten_thousand_stays_a_page() {
    let diagnosis = samples::ring(10_000);
    let html = drawn(&diagnosis, &Excerpts::default(), &[], None);
    assert!(html.len() < 200_000, "{} bytes", html.len());
    // Both in the drawing and in words, and with the culprit, which is task 7.
    assert!(html.contains("19976 more are left out"), "{html}");
    assert!(html.contains("9988 more tasks wait in the same way"), "{html}");
    assert!(html.contains("task 7, spawned at") && !html.contains("task 5000,"), "{html}");
}
