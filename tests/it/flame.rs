//! `pollscope flame`: every kind draws what it can see, and says what it cannot.

use crate::scenarios::ALONE;
use crate::tool::pollscope;
use std::fs;
use std::path::Path;
use tempfile::tempdir;

/// A flame graph as a browser reads it.
struct Graph {
    /// What the mouse shows of each box.
    titles: Vec<String>,
    /// The color of each box.
    colors: Vec<[u8; 3]>,
    /// Everything that is written in it.
    text: String,
    /// What the command said.
    said: String,
}

/// Draws a graph of two seconds into `FILE` and reads it.
#[track_caller]
fn drawn(place: &Path, arguments: &[&str], file: &str) -> Graph {
    let said = pollscope(place, &[&["flame"], arguments, &["--seconds", "2", "--out", "out"]].concat());
    assert_eq!(said.status, Some(0), "{said:?}");
    assert_eq!(said.stdout.lines().next(), Some(format!("out/{file}").as_str()), "{said:?}");
    assert!(said.stdout.contains("It cannot show: "), "{said:?}");
    let text = fs::read_to_string(place.join("out").join(file)).unwrap();
    let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
    let document = roxmltree::Document::parse_with_options(&text, options).unwrap();
    let named = |name: &'static str| document.descendants().filter(move |node| node.tag_name().name() == name);
    let texts = |name| named(name).filter_map(|node| node.text().map(str::to_owned));
    Graph {
        titles: texts("title").collect(),
        colors: named("rect").filter_map(|rect| color(rect.attribute("fill")?)).collect(),
        text: texts("text").collect::<Vec<_>>().join("\n"),
        said: said.stdout,
    }
}

/// The parts of `rgb(1,2,3)`.
fn color(fill: &str) -> Option<[u8; 3]> {
    let parts = fill.strip_prefix("rgb(")?.strip_suffix(')')?.split(',');
    parts.map(|part| part.trim().parse().ok()).collect::<Option<Vec<_>>>()?.try_into().ok()
}

impl Graph {
    #[track_caller]
    fn title(&self, part: &str) -> &str {
        let title = self.titles.iter().find(|title| title.contains(part));
        title.unwrap_or_else(|| panic!("no {part} in {:#?}", self.titles))
    }
}

#[test]
fn each_kind_shows_what_it_can_see() {
    let _alone = ALONE.lock();
    let place = tempdir().unwrap();

    let cpu = drawn(place.path(), &["cpu-bound-poll"], "cpu.svg");
    assert!(cpu.text.contains("CPU time by function") && cpu.said.contains("a deadlock is an empty picture"));
    assert!(cpu.title("cpu_bound_poll::fault::hash").contains("samples"));
    assert!(cpu.title("argon2::").contains("samples"));

    let span = drawn(place.path(), &["blocking-call", "--kind", "span"], "span.svg");
    assert!(span.text.contains("Time inside the program's spans") && span.said.contains("time outside of spans"));
    assert!(span.title("connection:scenarios/blocking-call/fault.rs:").contains(" ns, "));
    assert!(!place.path().join("out/cpu.svg").exists(), "what an earlier drawing left is gone");

    // The same program sleeps rather than computes: a profile of the CPU does not know its name.
    let asleep = drawn(place.path(), &["blocking-call", "--kind", "off-cpu"], "off-cpu.svg");
    assert!(asleep.text.contains("Time asleep inside long polls") && asleep.said.contains("polls too short"));
    assert!(asleep.title("blocking_call::fault::ask_supplier").contains(" ns, "));
    assert!(asleep.title("read").contains(" ns, "));
}

#[test]
fn the_difference_to_the_twin_is_in_the_colors() {
    let _alone = ALONE.lock();
    let place = tempdir().unwrap();
    let graph = drawn(place.path(), &["cpu-bound-poll", "--diff", "cured"], "cpu.svg");
    assert!(graph.text.contains("from the fault to the cure"), "{}", graph.text);
    assert!(graph.said.contains("red is more than with the fault, blue is less"), "{}", graph.said);
    // A box has its share, and how much of it is new: what both do is under one name.
    let hash = graph.title("cpu_bound_poll::hash ");
    assert!(hash.contains("samples") && hash.contains("%; "), "{hash}");
    assert!(!graph.titles.iter().any(|title| title.contains("::fault::") || title.contains("::cure::")));
    let colored = |red: bool| graph.colors.iter().any(|[r, _, b]| if red { r > b } else { b > r });
    assert!(colored(true) || colored(false), "nothing has changed");
    assert!(place.path().join("out/cured").is_dir(), "the twin's run is kept beside");
}

#[test]
fn what_cannot_be_drawn_is_one_sentence() {
    let place = tempdir().unwrap();
    let wrong = pollscope(place.path(), &["flame", "cpu-bound-pol"]);
    assert!(wrong.status == Some(2) && wrong.stderr.contains("did you mean `cpu-bound-poll`?"), "{wrong:?}");
    fs::create_dir(place.path().join("mine")).unwrap();
    fs::write(place.path().join("mine/letter.txt"), "Dear").unwrap();
    let full = pollscope(place.path(), &["flame", "cpu-bound-poll", "--out", "mine"]);
    assert!(full.status == Some(2) && full.stderr.contains("mine is not empty"), "{full:?}");
    assert!(full.stderr.lines().count() == 1 && place.path().join("mine/letter.txt").is_file(), "{full:?}");
}
