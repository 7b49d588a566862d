//! What is written comes back, and what is damaged comes back as far as it was whole.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::{Path, PathBuf};

use dial9_trace_format::decoder::Decoder;
use dial9_trace_format::encoder::{Encoder, Schema};
use dial9_trace_format::schema::FieldDef;
use dial9_trace_format::types::{FieldType, FieldValue};
use pollscope_recording::*;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("pollscope-recording-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A value for each type of field.
trait Sample {
    fn sample(n: u64) -> Self;
}
impl Sample for u64 {
    fn sample(n: u64) -> u64 {
        u64::MAX >> (n % 60)
    }
}
impl Sample for bool {
    fn sample(_: u64) -> bool {
        true
    }
}
impl Sample for Text {
    fn sample(n: u64) -> Text {
        format!("text ü {n}").into()
    }
}
impl Sample for Place {
    fn sample(n: u64) -> Place {
        Place { file: Text::sample(n), line: u32::MAX, column: n as u32 }
    }
}
impl Sample for Vec<u64> {
    fn sample(n: u64) -> Vec<u64> {
        vec![n, u64::MAX, 0]
    }
}
impl Sample for Vec<Span> {
    fn sample(n: u64) -> Vec<Span> {
        let fields = (0..n % 3).map(|at| (Text::sample(at), "x".repeat(300).into())).collect();
        vec![Span { name: Text::sample(n), fields }, Span::default()]
    }
}
impl Sample for [u32; POLL_BUCKETS] {
    fn sample(n: u64) -> [u32; POLL_BUCKETS] {
        std::array::from_fn(|i| u32::MAX >> ((i as u64 + n) % 33).min(31))
    }
}

/// One of each kind, with times that jump back and forth.
macro_rules! samples {
    ($($name:ident { $($field:ident : $ty:ty,)* })*) => {
        fn samples() -> Vec<Event> {
            let mut n = 0;
            vec![$({
                n += 1;
                let at = [n * 1000, u64::MAX - n, 5_000_000_000][n as usize % 3];
                $name { at, $($field: { n += 1; <$ty>::sample(n) },)* }.into()
            },)*]
        }
    };
}
pollscope_recording::for_each_event!(samples);

fn write(dir: &Path, events: &[Event]) -> Vec<u8> {
    let mut writer = Writer::create(dir, WriterOptions::default()).unwrap();
    events.iter().for_each(|event| writer.write(event).unwrap());
    writer.flush().unwrap();
    std::fs::read(dir.join("000000.pollscope")).unwrap()
}

fn read(dir: &Path) -> (Vec<Event>, Vec<Damage>) {
    let mut events = Vec::new();
    let damages = Recording::open(dir).unwrap().for_each(|event| events.push(event));
    (events, damages)
}

fn task(task: u64) -> Event {
    let spawned = Place { file: "src/main.rs".into(), line: 7, column: 3 };
    Task { at: task, task, runtime: 1, kind: "task".into(), name: "".into(), spawned, parent: 0 }.into()
}

fn poll(n: u64) -> Event {
    Poll { at: 1000 + n * 1_000_000, task: 3, tid: 1, duration_ns: n.wrapping_mul(0x9E37_79B9_7F4A_7C15) }.into()
}

#[test]
fn every_event_comes_back() {
    let folder = Folder::new("round-trip");
    let events = samples();
    write(&folder.0, &events);
    assert_eq!(read(&folder.0), (events.clone(), vec![]));

    let sealed = Folder::new("round-trip-sealed");
    let mut writer = Writer::create(&sealed.0, WriterOptions::default()).unwrap();
    events.iter().for_each(|event| writer.write(event).unwrap());
    writer.finish().unwrap();
    assert!(!sealed.0.join("000000.pollscope").exists());
    assert_eq!(read(&sealed.0), (events, vec![]));
}

#[test]
fn every_truncation_yields_a_prefix() {
    let folder = Folder::new("truncation");
    let events = samples();
    let bytes = write(&folder.0, &events);
    for length in 0..bytes.len() {
        let mut read = Vec::new();
        let damages = read_segment(&bytes[..length], |event| read.push(event));
        assert_eq!(read, events[..read.len()], "cut at {length}");
        assert!(damages.iter().all(|damage| damage.kind == DamageKind::Torn), "cut at {length}");
    }
}

/// How many events dial9's own decoder finds, and where it stops.
fn by_dial9(bytes: &[u8]) -> Option<(usize, u64)> {
    let mut events = 0;
    let outcome = Decoder::new(bytes)?.for_each_event(|_| events += 1);
    Some((events, outcome.map_or_else(|error| error.pos as u64, |()| bytes.len() as u64)))
}

#[test]
fn flipped_bytes_never_panic_and_are_read_as_far_as_dial9_reads_them() {
    let folder = Folder::new("flips");
    let bytes = write(&folder.0, &samples());
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize
    };
    let mut compared = 0;
    for _ in 0..4000 {
        let mut bytes = bytes.clone();
        for _ in 0..1 + random() % 4 {
            let index = random() % bytes.len();
            bytes[index] = random() as u8;
        }
        let mut events = 0;
        let damages = read_segment(&bytes, |_| events += 1);
        // Dial9 lets a time that is beyond all times begin at zero again; we stop there. And it knows no event of ours
        // from one that is not.
        if damages.iter().any(|damage| damage.what == "impossible time" || damage.kind == DamageKind::Newer) {
            continue;
        }
        let torn = damages.iter().find(|damage| damage.kind == DamageKind::Torn);
        let ours = torn.map_or(bytes.len() as u64, |damage| damage.at_byte);
        assert_eq!(Some((events, ours)).filter(|_| bytes.starts_with(b"TRC\0")), by_dial9(&bytes), "{damages:?}");
        compared += 1;
    }
    assert!(compared > 2000, "{compared}");
}

#[test]
fn frames_longer_than_what_is_unpacked_at_a_time_are_whole() {
    let folder = Folder::new("long");
    let long = |n: u64| NotObservable { at: n, what: format!("{n} {}", "x".repeat(60_000)).into() };
    let stack = |n: u64| HoldStack { at: n, resource: n, task: n, stack: (0..4000).collect() };
    let events: Vec<Event> = (0..40).flat_map(|n| [long(n).into(), stack(n).into(), poll(n)]).collect();
    let mut writer = Writer::create(&folder.0, WriterOptions::default()).unwrap();
    events.iter().for_each(|event| writer.write(event).unwrap());
    writer.finish().unwrap();
    assert_eq!(read(&folder.0), (events, vec![]));
}

#[test]
fn rotation_keeps_open_facts() {
    let folder = Folder::new("rotation");
    let options = WriterOptions { segment_bytes: 4096, ..WriterOptions::default() };
    let mut writer = Writer::create(&folder.0, options).unwrap();
    writer.write(&task(3)).unwrap();
    writer.write(&task(4)).unwrap();
    writer.write(&TaskEnd { at: 5, task: 4 }.into()).unwrap();
    writer.write(&Acquired { at: 6, resource: 9, task: 3, permits: 2, owned: false }.into()).unwrap();
    writer.write(&Released { at: 7, resource: 9, task: 3, permits: 1 }.into()).unwrap();
    (0..2000).for_each(|n| writer.write(&poll(n)).unwrap());
    writer.finish().unwrap();
    std::fs::remove_file(folder.0.join("000000.pollscope.gz")).unwrap();
    let (events, damages) = read(&folder.0);
    assert_eq!(damages.iter().map(|damage| (damage.segment, damage.kind)).collect::<Vec<_>>(), [(0, DamageKind::Gone)]);
    let held = Acquired { at: 6, resource: 9, task: 3, permits: 1, owned: false }.into();
    assert_eq!(events[..2], [task(3), held]);
    assert!(!events.contains(&task(4)));
    assert_eq!(events.last(), Some(&poll(1999)));
}

#[test]
fn the_oldest_goes_over_budget() {
    let folder = Folder::new("budget");
    let options = WriterOptions { segment_bytes: 16 << 10, max_bytes: 64 << 10 };
    let mut writer = Writer::create(&folder.0, options).unwrap();
    (0..40_000).for_each(|n| writer.write(&poll(n)).unwrap());
    // Each rotation has waited for the sealing before it.
    assert!(writer.sealing_cpu_ns() > 0);
    writer.finish().unwrap();
    let sizes = std::fs::read_dir(&folder.0).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len());
    assert!(sizes.sum::<u64>() <= 64 << 10);
    assert!(!folder.0.join("000000.pollscope.gz").exists());
    let (events, damages) = read(&folder.0);
    assert_eq!(events.last(), Some(&poll(39_999)));
    assert!(matches!(&damages[..], [Damage { segment: 0, kind: DamageKind::Gone, .. }]), "{damages:?}");
}

#[test]
fn a_missing_segment_is_told() {
    let folder = Folder::new("gap");
    let options = WriterOptions { segment_bytes: 4096, ..WriterOptions::default() };
    let mut writer = Writer::create(&folder.0, options).unwrap();
    (0..2000).for_each(|n| writer.write(&poll(n)).unwrap());
    writer.finish().unwrap();
    std::fs::remove_file(folder.0.join("000001.pollscope.gz")).unwrap();
    std::fs::remove_file(folder.0.join("000002.pollscope.gz")).unwrap();
    let (events, damages) = read(&folder.0);
    assert_eq!((events.first(), events.last()), (Some(&poll(0)), Some(&poll(1999))));
    let told: Vec<_> = damages.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["segment 1 and the 1 after it are missing: what happened in them is not known"]);
}

#[test]
fn other_versions_are_read_as_far_as_they_are_known() {
    let mut encoder = Encoder::new();
    let newer = Schema::new("Frobnicated", vec![FieldDef::new("depth", FieldType::Varint)]);
    let older =
        Schema::new("Poll", vec![FieldDef::new("task", FieldType::Varint), FieldDef::new("tid", FieldType::Varint)]);
    for _ in 0..3 {
        encoder.write_event(&newer, 5, &[FieldValue::Varint(7)]).unwrap();
    }
    encoder.write_event(&older, 6, &[FieldValue::Varint(3), FieldValue::Varint(1)]).unwrap();
    let bytes = encoder.finish();
    let mut events = Vec::new();
    let damages = read_segment(&bytes, |event| events.push(event));
    assert_eq!(events, [Poll { at: 6, task: 3, tid: 1, duration_ns: 0 }.into()]);
    let told: Vec<_> = damages.iter().map(|damage| (damage.kind, damage.what.as_str())).collect();
    let newer = (DamageKind::Newer, "3 `Frobnicated` of a newer pollscope left out");
    assert_eq!(told, [newer, (DamageKind::Missing, "1 `Poll` without a usable `duration_ns`")]);
}

#[test]
fn a_follower_sees_each_event_once() {
    let folder = Folder::new("follow");
    let mut follower = Follower::new(&folder.0);
    assert_eq!(follower.poll(|_| {}).unwrap(), 0);
    let options = WriterOptions { segment_bytes: 4096, ..WriterOptions::default() };
    let mut writer = Writer::create(&folder.0, options).unwrap();
    let mut seen = Vec::new();
    for n in 0..1000 {
        writer.write(&poll(n)).unwrap();
        if n % 7 == 0 {
            writer.flush().unwrap();
            follower.poll(|event| seen.push(event)).unwrap();
            assert_eq!(seen.len() as u64, n + 1);
        }
    }
    writer.finish().unwrap();
    follower.poll(|event| seen.push(event)).unwrap();
    assert_eq!(follower.poll(|_| {}).unwrap(), 0);
    assert_eq!(seen, (0..1000).map(poll).collect::<Vec<_>>());
}

#[test]
fn what_is_no_recording_is_named() {
    let folder = Folder::new("foreign");
    assert!(matches!(Recording::open(&folder.0), Err(OpenError::DoesNotExist(_))));
    std::fs::create_dir_all(&folder.0).unwrap();
    assert!(matches!(Recording::open(&folder.0), Err(OpenError::NotARecording(_))));
    let file = folder.0.join("000000.pollscope");
    std::fs::write(&file, b"").unwrap();
    assert!(matches!(Recording::open(&folder.0), Err(OpenError::Empty(_))));
    std::fs::write(&file, b"something else altogether").unwrap();
    assert!(matches!(Recording::open(&folder.0), Err(OpenError::NotARecording(_))));
    assert_eq!(read_segment(b"something else", |_| panic!("no event")).len(), 1);
}

#[test]
fn an_interrupted_seal_loses_nothing() {
    let folder = Folder::new("interrupted");
    let events = samples();
    write(&folder.0, &events);
    std::fs::write(folder.0.join("000000.pollscope.gz"), [0x1f, 0x8b, 8, 0]).unwrap();
    assert_eq!(read(&folder.0), (events, vec![]));
}
