//! A folder of recordings, written as agents write them and watched meanwhile.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use super::{News, Watch};
use pollscope_metrics::MOST_PROCESSES;
use pollscope_recording::{Cost, End, Process, Writer, WriterOptions};

fn process(name: &str, pid: u64) -> Process {
    let [program, exe, build_id, tokio, sources, level] =
        [name, "/bin/none", "", "1.54.1", "hooks", "summary"].map(Into::into);
    Process { at: 1_000, program, exe, pid, build_id, wall_ns: 1, tokio, sources, level, segment: 0 }
}

/// A recording that begins, below `folder`.
fn record(folder: &Path, name: &str, pid: u64) -> Writer {
    let path = folder.join(format!("{name}-{pid}-1"));
    fs::create_dir_all(&path).unwrap();
    let mut writer = Writer::create(&path, WriterOptions::default()).unwrap();
    writer.write(&process(name, pid).into()).unwrap();
    writer.flush().unwrap();
    writer
}

/// A clock that tests turn by hand.
struct Hand(Instant, Watch);

impl Hand {
    fn look(&mut self, later: u64) -> Vec<String> {
        self.0 += Duration::from_secs(later);
        let news = self.1.look(self.0, SystemTime::now());
        news.iter().map(told).collect()
    }

    fn text(&self) -> String {
        self.1.exposition(self.0, SystemTime::now()).text()
    }
}

fn told(news: &News) -> String {
    match news {
        News::Began(who) => format!("{} began", who.service),
        News::Ended(who, true) => format!("{} ended", who.service),
        News::Ended(who, false) => format!("{} is silent", who.service),
        News::Found { who, finding, .. } => format!("{} has {}", who.service, finding.kind),
        News::Trouble(sentence) => sentence.clone(),
    }
}

fn watch(folder: &Path) -> Hand {
    Hand(Instant::now(), Watch::new(folder))
}

#[test]
fn processes_come_and_go_in_any_order() {
    let place = tempfile::tempdir().unwrap();
    let mut hand = watch(place.path());
    assert!(hand.look(0).is_empty());
    let mut first = record(place.path(), "api", 1);
    let mut second = record(&place.path().join("shop/recording"), "worker", 2);
    assert_eq!(hand.look(1), ["api began", "shop began"]);
    first.write(&End { at: 2_000, why: "exit".into() }.into()).unwrap();
    first.flush().unwrap();
    second.write(&Cost { at: 3_000, agent_cpu_ns: 5, dropped: 7, polls: 9 }.into()).unwrap();
    second.flush().unwrap();
    assert_eq!(hand.look(1), ["api ended"]);
    let text = hand.text();
    assert!(text.contains("pollscope_polls_total{service=\"shop\",process=\"worker-2-1\"} 9\n"), "{text}");
    assert!(
        text.contains("pollscope_process_state{service=\"api\",process=\"api-1-1\",state=\"ended\"} 1\n"),
        "{text}"
    );
    let _restarted = record(place.path(), "api", 3);
    assert_eq!(hand.look(1), ["api began"]);
}

#[test]
fn a_process_that_says_nothing_is_told_and_may_come_back() {
    let place = tempfile::tempdir().unwrap();
    let mut writer = record(place.path(), "api", 1);
    let mut hand = watch(place.path());
    assert_eq!(hand.look(0), ["api began"]);
    assert_eq!(hand.look(11), ["api is silent"]);
    assert!(hand.text().contains("state=\"silent\"} 1\n"));
    writer.write(&Cost { at: 3_000, agent_cpu_ns: 5, dropped: 7, polls: 9 }.into()).unwrap();
    writer.flush().unwrap();
    assert!(hand.look(1).is_empty());
    assert!(hand.text().contains("state=\"running\"} 1\n"));
}

#[test]
fn the_series_of_a_process_go_a_while_after_it() {
    let place = tempfile::tempdir().unwrap();
    let mut writer = record(place.path(), "api", 1);
    writer.write(&End { at: 2_000, why: "exit".into() }.into()).unwrap();
    writer.flush().unwrap();
    let mut hand = watch(place.path());
    assert_eq!(hand.look(0), ["api began", "api ended"]);
    hand.look(30);
    assert!(hand.text().contains("api-1-1"));
    fs::remove_dir_all(place.path().join("api-1-1")).unwrap();
    hand.look(31);
    assert!(!hand.text().contains("api-1-1"));
}

#[test]
fn the_number_of_processes_is_bounded() {
    let place = tempfile::tempdir().unwrap();
    let writers: Vec<_> = (0..MOST_PROCESSES as u64 + 3).map(|pid| record(place.path(), "api", pid)).collect();
    let mut hand = watch(place.path());
    let said = hand.look(0);
    assert_eq!(said.iter().filter(|line| line.as_str() == "api began").count(), MOST_PROCESSES, "{said:?}");
    assert!(hand.text().contains("pollscope_watch_recordings_left_out 3\n"), "{}", hand.text());
    drop(writers);
}

#[test]
fn a_folder_that_goes_away_is_told_once() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("recordings");
    fs::create_dir(&folder).unwrap();
    let mut hand = watch(&folder);
    assert!(hand.look(0).is_empty());
    fs::remove_dir(&folder).unwrap();
    let said = hand.look(1);
    assert!(said.len() == 1 && said[0].contains("cannot read"), "{said:?}");
    assert!(hand.look(1).is_empty());
    assert!(hand.text().contains("pollscope_watch_failures_total 2\n"), "{}", hand.text());
}
