//! What the classic collectors leave behind: each file is opened by what it is for, and none of them costs the verdict.

use crate::scenarios::ALONE;
use crate::tool::{command, pollscope};
use pollscope::collect::Client;
use pollscope_profile::Profile;
use pollscope_recording::{Event, Recording, find_recordings};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tempfile::tempdir;

#[test]
fn each_file_of_a_run_says_what_happened() {
    let _alone = ALONE.lock();
    let place = tempdir().unwrap();
    let said = pollscope(place.path(), &["run", "cpu-bound-poll", "--format", "json"]);
    assert_eq!(said.status, Some(1), "{said:?}");
    assert!(!said.stderr.contains("pollscope: "), "nothing failed: {said:?}");
    let diagnosis: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(diagnosis["findings"][0]["kind"], "cpu-bound-poll");
    let collectors = diagnosis["observer"]["collectors"].as_array();
    assert!(collectors.unwrap().is_empty(), "the verdict is from a pass without them");
    let folder = place.path().join("pollscope-out/cpu-bound-poll");
    assert!(!folder.join("console.sock").exists() && !folder.join("collectors.pid").exists());

    let flame = fs::read_to_string(folder.join("flame.folded")).unwrap();
    for span in ["connection:", ";log_in:scenarios/cpu-bound-poll/fault.rs:", ";whose:"] {
        assert!(flame.contains(span), "no {span} in {flame}");
    }
    assert!(!flame.contains("tokio") && !flame.contains("runtime."), "{flame}");
    let longest = flame.lines().max_by_key(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).unwrap();
    assert!(longest.contains("log_in"), "logging in is what takes the time: {flame}");
    assert!(titles(&folder.join("flame.svg")).iter().any(|title| title.starts_with("log_in")));

    let profile = Profile::read(&fs::read(folder.join("cpu.pb.gz")).unwrap()).unwrap();
    assert_eq!(profile.text(profile.sample_type[1].r#type), "cpu");
    let top = profile.sample.iter().max_by_key(|sample| sample.value[0]).unwrap();
    let stack = names(&profile, &top.location_id);
    assert!(stack.iter().any(|(name, ..)| name.starts_with("argon2::")), "{stack:?}");
    let hash = stack.iter().find(|(name, ..)| name.ends_with("cpu_bound_poll::fault::hash")).unwrap();
    let source = scenario("cpu-bound-poll").fault_source;
    let line = usize::try_from(hash.2).unwrap();
    assert!(source.lines().nth(line - 1).unwrap().contains(".hash_password_into("), "{hash:?}");
    assert!(titles(&folder.join("cpu.svg")).iter().any(|title| title.contains("argon2::")));

    console_and_recording_agree(&folder);
    let rows = rows_go_on(&folder.join("metrics.jsonl"));
    let tasks = rows.last().unwrap()["tasks"].as_object().unwrap();
    assert_eq!(tasks.keys().collect::<Vec<_>>(), ["connection", "count"]);
    let connection = &tasks["connection"];
    let count = |name: &str| connection[name].as_u64().unwrap();
    assert!(count("instrumented_count") > 0 && count("total_poll_count") >= count("first_poll_count"), "{connection}");
    // Logging in is what takes the time, here as in the spans.
    assert!(count("total_slow_poll_count") > 0 && count("total_poll_duration_ns") > 100_000_000, "{connection}");
}

/// What holds of the files of any scenario, each opened by what it is for.
#[track_caller]
pub(crate) fn every_consumer_opens_its_file(folder: &Path) {
    let flame = fs::read_to_string(folder.join("flame.folded")).unwrap();
    assert!(!flame.is_empty(), "no spans in {}", folder.display());
    for line in flame.lines() {
        let (spans, time) = line.rsplit_once(' ').unwrap();
        assert!(spans.split(';').all(|span| span.contains(":scenarios/")), "a place for each span: {line}");
        assert!(time.parse::<u64>().is_ok(), "{line}");
    }
    let outermost = flame.split(':').next().unwrap();
    assert!(titles(&folder.join("flame.svg")).iter().any(|title| title.starts_with(outermost)), "no {outermost}");

    let profile = Profile::read(&fs::read(folder.join("cpu.pb.gz")).unwrap()).unwrap();
    assert_eq!(profile.text(profile.sample_type[1].r#type), "cpu");
    profile.sample.iter().for_each(|sample| assert!(!names(&profile, &sample.location_id).is_empty()));
    // A program that waits all the time has no samples, and the picture says so.
    assert_eq!(titles(&folder.join("cpu.svg")).is_empty(), profile.sample.is_empty());

    let console = json(&folder.join("console.json"));
    let places = |console: &Value| -> BTreeSet<Place> {
        let tasks = console["tasks"].as_array().unwrap().iter();
        tasks.filter(|task| task["kind"] == "task").map(spawned_at).collect()
    };
    let (seen, recorded) = (places(&console), spawned(&folder.join("recording")).into_values().collect());
    assert!(!seen.is_empty() && seen.is_subset(&recorded), "the console has {seen:?}, the recording {recorded:?}");
    let rows = rows_go_on(&folder.join("metrics.jsonl"));
    let tasks = rows.last().unwrap()["tasks"].as_object().unwrap();
    let polled = |task: &Value| task["total_poll_count"].as_u64() > Some(0);
    assert!(tasks.values().any(polled), "the tasks that have a name: {tasks:?}");
}

#[test]
fn a_program_that_hangs_leaves_what_there_is() {
    let _alone = ALONE.lock();
    let place = tempdir().unwrap();
    let said = pollscope(place.path(), &["run", "lock-cycle", "--seconds", "1", "--collect", "console,flame,pprof"]);
    assert_eq!(said.status, Some(1), "{said:?}");
    let folder = place.path().join("pollscope-out/lock-cycle");
    let console = json(&folder.join("console.json"));
    let mutexes: Vec<_> =
        console["resources"].as_array().unwrap().iter().filter(|resource| resource["type"] == "Mutex").collect();
    assert_eq!(mutexes.len(), 4, "{mutexes:?}");
    let stuck: BTreeSet<_> = console["async_ops"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|op| op["source"] == "Mutex::lock" && op["dropped_at_ns"].is_null())
        .map(|op| op["resource"].as_u64())
        .collect();
    assert!(stuck.len() >= 2, "two locks at least are waited for: {stuck:?}");
    let flame = fs::read_to_string(folder.join("flame.folded")).unwrap();
    assert!(flame.contains("settle:") && flame.contains("audit:"), "{flame}");
    titles(&folder.join("flame.svg"));
    titles(&folder.join("cpu.svg"));
    Profile::read(&fs::read(folder.join("cpu.pb.gz")).unwrap()).unwrap();
    assert!(!folder.join("metrics.jsonl").exists(), "not asked for");
}

#[test]
fn collectors_that_fail_cost_neither_the_others_nor_the_verdict() {
    let _alone = ALONE.lock();
    let place = tempdir().unwrap();
    let folder = place.path().join("out");
    let run = command(place.path())
        .args(["run", "blocking-call", "--seconds", "2", "--out", "out", "--format", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // While the first pass is under way: something else takes the places that the second needs.
    let started = Instant::now();
    while !folder.join("recording").is_dir() {
        assert!(started.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(5));
    }
    for name in ["console.sock", "cpu.pb.gz", "metrics.jsonl"] {
        fs::create_dir(folder.join(name)).unwrap();
    }
    let output = run.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let diagnosis: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(diagnosis["findings"][0]["kind"], "blocking-call");
    for (name, path) in [("console", "console.sock"), ("pprof", "cpu.pb.gz"), ("metrics", "metrics.jsonl")] {
        let line = format!("pollscope: {name}: ");
        let lines: Vec<_> = stderr.lines().filter(|told| told.starts_with(&line)).collect();
        assert!(lines.len() == 1 && lines[0].contains(path), "{name} is told in one line: {stderr}");
    }
    assert!(!stderr.contains("flame:") && !stderr.contains("panicked"), "{stderr}");
    assert!(fs::read_to_string(folder.join("flame.folded")).unwrap().contains("order_price:"));
    titles(&folder.join("flame.svg"));
    let log = fs::read_to_string(folder.join("collectors.log")).unwrap();
    assert!(log.contains("\"conserved\":true") && !log.contains("panicked"), "the service did its work: {log}");
}

/// In the second pass this program does nothing, as one without the agent's feature would.
#[test]
fn a_program_without_collectors_is_told_in_one_line() {
    let _alone = ALONE.lock();
    let place = tempdir().unwrap();
    let script =
        format!("[ -n \"$POLLSCOPE_COLLECT\" ] || exec {} __scenario lock-cycle", env!("CARGO_BIN_EXE_pollscope"));
    let arguments =
        ["record", "--seconds", "1", "--out", "out", "--collect", "pprof,metrics", "--", "sh", "-c", &script];
    let said = pollscope(place.path(), &arguments);
    let told: Vec<_> = said.stderr.lines().filter(|line| line.starts_with("pollscope: ")).collect();
    assert!(told.len() == 1 && told[0].contains("feature `collectors`"), "{said:?}");
    assert_ne!(said.status, Some(2), "{said:?}");
}

#[test]
fn collectors_are_named() {
    let place = tempdir().unwrap();
    let said = pollscope(place.path(), &["run", "blocking-call", "--collect", "pprof,perf"]);
    assert!(said.status == Some(2) && said.stderr.contains("there is no collector `perf`"), "{said:?}");
}

/// tokio's own counters and our recording, of one and the same process.
#[test]
fn the_recording_agrees_with_tokios_own_counters() {
    let _alone = ALONE.lock();
    let place = tempdir().unwrap();
    recorded_and_collected(place.path(), "metrics");
    let rows = rows_go_on(&place.path().join("metrics.jsonl"));
    let tokio = &rows.last().unwrap()["total"];
    let count = |name: &str| tokio[name].as_u64().unwrap();
    let ours = Sums::of(&place.path().join("recording"));

    // Known differences: the heartbeat is a task of tokio's, but none of the program's; roots and blocking closures are
    // polls of ours, but no task polls of a worker.
    assert_eq!(ours.spawns + 1, count("spawned_tasks_count"));
    // And tokio publishes what a worker counted when that parks, or after 61 polls: the last of a program are missing.
    let (polls, tokio_polls) = (ours.polls + ours.beats, count("polls_count"));
    assert!((tokio_polls - 1..=tokio_polls + 2 * 61).contains(&polls), "{polls} polls, tokio counts {tokio_polls}");
    // A worker is busy from its waking to its parking: the polls, and what the scheduler does between them.
    let (busy, tokio_busy) = (ours.busy_ns, count("busy_duration_ns"));
    assert!(busy <= tokio_busy && busy * 4 >= tokio_busy, "{busy} ns in polls, workers busy for {tokio_busy} ns");
}

/// And the console's, of one and the same process: task by task, by tokio's own ids.
#[test]
fn the_recording_agrees_with_the_console_about_each_task() {
    let _alone = ALONE.lock();
    let place = tempdir().unwrap();
    let client = Client::start(&place.path().join("console.sock")).unwrap();
    recorded_and_collected(place.path(), "console");
    let console: Value = serde_json::from_str(&client.finish().unwrap()).unwrap();
    let recording = place.path().join("recording");
    let places = spawned(&recording);
    let ours = Sums::by_task(&recording);

    // The heartbeat is a task of tokio's, but none of the program's.
    let tasks = console["tasks"].as_array().unwrap().iter().filter(|task| task["kind"] == "task");
    let tasks: Vec<_> = tasks.filter(|task| !spawned_at(task).0.ends_with("agent/src/heartbeat.rs")).collect();
    assert!(tasks.len() >= 4, "{tasks:?}");
    for task in &tasks {
        let id = task["task_id"].as_u64().unwrap();
        assert_eq!(places.get(&id), Some(&spawned_at(task)), "the place of task {id}: {task}");
        // tokio enters the span of a task that it drops before its end, which the console takes for a poll.
        let (polls, theirs) = (ours.get(&id).map_or(0, |sums| sums.polls), task["polls"].as_u64().unwrap());
        assert!(theirs == polls || theirs == polls + 1, "{polls} polls of task {id}: {task}");
    }
    let known: BTreeSet<_> = tasks.iter().filter_map(|task| task["task_id"].as_u64()).collect();
    assert_eq!(known, places.keys().copied().collect(), "both know the same tasks");
    // The console's clock runs around ours, and includes its own work.
    let theirs: u64 = tasks.iter().filter_map(|task| task["busy_ns"].as_u64()).sum();
    let sum: u64 = ours.values().map(|sums| sums.busy_ns).sum();
    assert!(sum * 4 >= theirs && sum <= theirs * 4, "{sum} ns in polls, {theirs} ns by the console");
}

/// Our recording and a collector at once, in one process.
#[track_caller]
fn recorded_and_collected(place: &Path, collector: &str) {
    let status = command(place)
        .args(["__scenario", "blocking-call", "--cured"])
        .envs([("POLLSCOPE", "recording"), ("POLLSCOPE_TRACE", "1"), ("SERVICE_SECONDS", "2")])
        .envs([("POLLSCOPE_COLLECT", collector), ("POLLSCOPE_COLLECT_DIR", ".")])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
}

/// What a recording says of ordinary tasks.
#[derive(Debug, Default)]
struct Sums {
    spawns: u64,
    polls: u64,
    busy_ns: u64,
    beats: u64,
}

impl Sums {
    fn of(recordings: &Path) -> Sums {
        let mut sums = Sums { spawns: spawned(recordings).len() as u64, ..Sums::default() };
        for_each_event(recordings, |event| {
            if let Event::Beats(beats) = event {
                sums.beats += beats.count;
            }
        });
        for task in Sums::by_task(recordings).values() {
            sums.polls += task.polls;
            sums.busy_ns += task.busy_ns;
        }
        sums
    }

    fn by_task(recordings: &Path) -> HashMap<u64, Sums> {
        let mut tasks: HashMap<u64, Sums> = HashMap::new();
        for_each_event(recordings, |event| {
            if let Event::Polls(polls) = event {
                let sums = tasks.entry(polls.task).or_default();
                sums.polls += polls.polls;
                sums.busy_ns += polls.busy_ns;
            }
        });
        let ordinary = spawned(recordings);
        tasks.retain(|task, _| ordinary.contains_key(task));
        tasks
    }
}

type Place = (String, u64);

/// Where each ordinary task of a recording was spawned.
fn spawned(recordings: &Path) -> BTreeMap<u64, Place> {
    let mut places = BTreeMap::new();
    for_each_event(recordings, |event| {
        // Every segment names the tasks that live again.
        if let Event::Task(task) = event
            && &*task.kind == "task"
        {
            places.insert(task.task, (task.spawned.file.to_string(), u64::from(task.spawned.line)));
        }
    });
    places
}

/// Where the console says that a task was spawned.
fn spawned_at(task: &Value) -> Place {
    let place = &task["location"];
    (place["file"].as_str().unwrap().to_owned(), place["line"].as_u64().unwrap())
}

fn for_each_event(recordings: &Path, mut each: impl FnMut(Event)) {
    let found = find_recordings(recordings);
    assert_eq!(found.len(), 1);
    let damages = Recording::open(&found[0]).unwrap().for_each(|event| each(event.clone()));
    assert!(damages.is_empty(), "{damages:?}");
}

/// Two passes, two processes: ids differ, places do not.
fn console_and_recording_agree(folder: &Path) {
    let console = json(&folder.join("console.json"));
    let tasks = console["tasks"].as_array().unwrap();
    assert_eq!(console["dropped_events"]["tasks"], 0);
    let mut seen = BTreeSet::new();
    for task in tasks.iter().filter(|task| task["kind"] == "task") {
        assert!(task["task_id"].is_u64() && task["polls"].as_u64() > Some(0), "{task}");
        assert_eq!(task["state"], "completed", "the program ended in order: {task}");
        seen.insert(spawned_at(task));
    }
    let busiest = tasks.iter().filter(|task| task["kind"] == "task").max_by_key(|task| task["busy_ns"].as_u64());
    let (busiest, worst) = (busiest.unwrap(), &busiest.unwrap()["poll_times"]["max_ns"]);
    assert!(worst.as_u64() > Some(20_000_000), "its histogram shows the long polls: {busiest}");

    let recorded: BTreeSet<_> = spawned(&folder.join("recording")).into_values().collect();
    assert!(seen.len() >= 4 && seen.iter().all(|(file, _)| file == "scenarios/cpu-bound-poll/fault.rs"), "{seen:?}");
    assert_eq!(seen, recorded, "both know the same places");
}

/// Every row is JSON, time goes on, sums never fall, and intervals add up to them.
fn rows_go_on(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    let mut rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let head = rows.remove(0);
    assert_eq!(head["schema"], "pollscope.metrics/1");
    assert!(rows.len() >= 10, "{} rows", rows.len());
    let (mut at, mut polls) = (0, 0);
    let mut sums: HashMap<String, u64> = HashMap::new();
    for row in &rows {
        let now = row["at_ns"].as_u64().unwrap();
        assert!(now > at, "time goes on");
        at = now;
        for (name, value) in row["total"].as_object().unwrap() {
            let (value, before) = (value.as_u64().unwrap(), sums.get(name).copied().unwrap_or(0));
            assert!(value >= before, "{name} fell from {before} to {value}");
            sums.insert(name.clone(), value);
        }
        for name in row["interval"].as_object().unwrap().keys() {
            assert!(head["units"][name].is_string(), "{name} has a unit");
        }
        for (task, figures) in row["tasks"].as_object().into_iter().flatten() {
            for (name, value) in figures.as_object().unwrap() {
                let (value, known) = (value.as_u64().unwrap(), sums.entry(format!("{task}.{name}")).or_default());
                assert!(value >= *known, "{task}: {name} fell from {known} to {value}");
                assert!(head["units"][name].is_string(), "{name} has a unit");
                *known = value;
            }
        }
        polls += row["interval"]["total_polls_count"].as_u64().unwrap();
    }
    // Each is read at a moment of its own, so the last row may lack what came between.
    assert!(polls > 0 && polls <= sums["polls_count"], "{polls} polls, {sums:?}");
    rows
}

/// The names of an SVG's boxes; also proof that it is XML.
#[track_caller]
fn titles(svg: &Path) -> Vec<String> {
    let text = fs::read_to_string(svg).unwrap();
    let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
    let document = roxmltree::Document::parse_with_options(&text, options).unwrap();
    assert_eq!(document.root_element().tag_name().name(), "svg");
    let titles = document.descendants().filter(|node| node.tag_name().name() == "title");
    titles.filter_map(|node| node.text().map(str::to_owned)).collect()
}

/// Function, file and line of each frame, innermost first.
fn names<'a>(profile: &'a Profile, locations: &[u64]) -> Vec<(&'a str, &'a str, i64)> {
    let lines = locations.iter().flat_map(|id| {
        let location = profile.location.iter().find(|location| location.id == *id).unwrap();
        &location.line
    });
    lines
        .map(|line| {
            let function = profile.function.iter().find(|function| function.id == line.function_id).unwrap();
            (profile.text(function.name), profile.text(function.filename), line.line)
        })
        .collect()
}

fn scenario(name: &str) -> &'static pollscope_scenarios::Scenario {
    pollscope_scenarios::all().iter().find(|scenario| scenario.name == name).unwrap()
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}
