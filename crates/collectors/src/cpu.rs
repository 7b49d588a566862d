//! pprof's sampler: who is on the CPU, 99 times a second of CPU time.
//!
//! Addresses only are written; names, lines and inlined functions are the tool's work, outside the program. Resolving
//! them in here would take more CPU and memory than many a program that is looked at.

use crate::complain;
use crate::file;
use crate::ticker::{self, Ticker, Turn};
use findshlibs::{SharedLibrary, TargetSharedLibrary};
use pollscope_profile::{Label, Location, Mapping, Profile, Sample, Texts, ValueType};
use pprof::{ProfilerGuard, ProfilerGuardBuilder};
use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

/// Samples a second of CPU time; not a divisor of the intervals that programs like.
const FREQUENCY: i32 = 99;

/// How often the file is renewed.
const PERIOD: Duration = Duration::from_millis(500);

/// Our own threads' names begin so.
const OWN: &[u8] = b"pollscope-";

/// Files that a signal must not unwind from, as pprof advises: their code may hold the allocator's or the loader's lock.
/// Parts of paths, and narrow ones: a program that lives under `/srv/libcache` is to be sampled.
const BLOCKED: [&str; 7] = ["/libc.so", "/libc-2", "/libgcc_s", "/libpthread", "vdso", "/ld-linux", "/ld-musl"];

/// Starts the sampler.
///
/// Must be called while the program has one thread: pprof's unwinder builds itself, with allocations, at its first
/// signal. A signal of our own, sent from where no lock is held, makes that harmless; but other threads, on the CPU in
/// their allocator, could come first.
pub(crate) fn start(dir: &Path) -> Option<Ticker> {
    let failed = |error| complain(&format!("pprof: the sampler cannot be started: {error}"));
    {
        let _first = ProfilerGuard::new(1).map_err(failed).ok()?;
        // SAFETY: pprof's handler is installed, and this thread holds no lock that it could want.
        unsafe { libc::raise(libc::SIGPROF) };
    }
    let guard = ProfilerGuardBuilder::default().frequency(FREQUENCY).blocklist(&BLOCKED).build();
    let guard = guard.map_err(failed).ok()?;
    let dir = dir.to_owned();
    let mut guard = Some(guard);
    ticker::start("pprof", PERIOD, move |turn| {
        let Some(running) = &guard else { return Ok(()) };
        let profile = snapshot(running)?;
        let bytes = profile.bytes().map_err(|error| error.to_string())?;
        if let Err(why) = file::replace(&dir, "cpu.pb.gz", &bytes) {
            guard = None;
            return Err(why);
        }
        if turn == Turn::Last {
            guard = None;
        }
        Ok(())
    })
}

/// Everything sampled so far.
fn snapshot(guard: &ProfilerGuard<'_>) -> Result<Profile, String> {
    let report = guard.report().build_unresolved().map_err(|error| error.to_string())?;
    let mut counts: HashMap<(String, Vec<u64>), i64> = HashMap::new();
    for (frames, count) in &report.data {
        let name = frames.thread_name.get(..frames.thread_name_length).unwrap_or_default();
        if name.starts_with(OWN) {
            continue;
        }
        let addresses = frames.frames.iter().map(|frame| {
            // pprof's frames are framehop's where it has that, else those of the system's unwinder.
            #[cfg(all(
                any(target_arch = "x86_64", target_arch = "aarch64"),
                any(target_os = "linux", target_os = "macos")
            ))]
            let address = frame.ip;
            #[cfg(not(all(
                any(target_arch = "x86_64", target_arch = "aarch64"),
                any(target_os = "linux", target_os = "macos")
            )))]
            let address = frame.ip();
            address as u64
        });
        // That of a caller is where it goes on; one less lies inside the call.
        let stack = (0..).zip(addresses).map(|(depth, address)| address.saturating_sub(u64::from(depth > 0))).collect();
        *counts.entry((String::from_utf8_lossy(name).into_owned(), stack)).or_default() += *count as i64;
    }
    let mut stacks: Vec<_> = counts.into_iter().collect();
    stacks.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));

    let mut texts = Texts::of(Vec::new());
    let mapping = mappings(&mut texts);
    let period = 1_000_000_000 / i64::from(FREQUENCY);
    let (mut known, mut location): (HashMap<u64, u64>, Vec<Location>) = Default::default();
    let mut place = |address: u64| {
        *known.entry(address).or_insert_with(|| {
            let id = location.len() as u64 + 1;
            let inside = |mapping: &&Mapping| (mapping.memory_start..mapping.memory_limit).contains(&address);
            let mapping_id = mapping.iter().find(inside).map_or(0, |mapping| mapping.id);
            location.push(Location { id, mapping_id, address, line: Vec::new() });
            id
        })
    };
    let thread = texts.index("thread");
    let sample = stacks
        .into_iter()
        .map(|((name, stack), count)| Sample {
            location_id: stack.into_iter().map(&mut place).collect(),
            value: vec![count, count * period],
            label: vec![Label { key: thread, str: texts.index(&name), num: 0 }],
        })
        .collect();
    let samples = ValueType { r#type: texts.index("samples"), unit: texts.index("count") };
    let cpu = ValueType { r#type: texts.index("cpu"), unit: texts.index("nanoseconds") };
    let nanos = |duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
    Ok(Profile {
        sample_type: vec![samples, cpu],
        sample,
        mapping,
        location,
        time_nanos: report.timing.start_time.duration_since(UNIX_EPOCH).map_or(0, nanos),
        duration_nanos: nanos(report.timing.duration),
        period_type: Some(cpu),
        period,
        string_table: texts.table(),
        ..Profile::default()
    })
}

/// The files that hold code, the program first, as the kernel has mapped them.
fn mappings(texts: &mut Texts) -> Vec<Mapping> {
    let mut build_ids = HashMap::new();
    TargetSharedLibrary::each(|library| {
        let hex = library.id().map(|id| id.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        build_ids.insert(library.name().to_string_lossy().into_owned(), hex.unwrap_or_default());
    });
    // Where there is no such file the addresses stay unnamed.
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let own = std::env::current_exe().unwrap_or_default().to_string_lossy().into_owned();
    let mut found: Vec<_> = maps.lines().filter_map(Mapped::read).collect();
    found.sort_by_key(|mapped| mapped.path != own);
    (1..)
        .zip(found)
        .map(|(id, mapped)| Mapping {
            id,
            memory_start: mapped.start,
            memory_limit: mapped.end,
            file_offset: mapped.offset,
            filename: texts.index(mapped.path),
            build_id: build_ids.get(mapped.path).map_or(0, |hex| texts.index(hex)),
            ..Mapping::default()
        })
        .collect()
}

/// A line of `/proc/self/maps` that tells of code in a file.
#[derive(Debug, PartialEq)]
struct Mapped<'a> {
    start: u64,
    end: u64,
    offset: u64,
    path: &'a str,
}

impl Mapped<'_> {
    fn read(line: &str) -> Option<Mapped<'_>> {
        let mut words = line.splitn(6, ' ');
        let (start, end) = words.next()?.split_once('-')?;
        let code = words.next()?.contains('x');
        let offset = words.next()?;
        let path = words.nth(2)?.trim_start();
        let number = |hex| u64::from_str_radix(hex, 16).ok();
        (code && path.starts_with('/')).then_some(())?;
        Some(Mapped { start: number(start)?, end: number(end)?, offset: number(offset)?, path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_read() {
        let line = "55d0a000-55d0c000 r-xp 00002000 fd:01 1234   /opt/my service/bin";
        let mapped = Mapped { start: 0x55d0a000, end: 0x55d0c000, offset: 0x2000, path: "/opt/my service/bin" };
        assert_eq!(Mapped::read(line), Some(mapped));
        assert_eq!(Mapped::read("55d0a000-55d0c000 rw-p 00002000 fd:01 1234 /bin/x"), None);
        assert_eq!(Mapped::read("7ffc0000-7ffc2000 r-xp 00000000 00:00 0    [vdso]"), None);
        assert_eq!(Mapped::read("nonsense"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_program_is_the_first_mapping() {
        let mut texts = Texts::of(Vec::new());
        let mapping = mappings(&mut texts);
        let table = texts.table();
        let own = std::env::current_exe().unwrap();
        assert_eq!(table[mapping[0].filename as usize], own.to_string_lossy());
        let code = the_program_is_the_first_mapping as fn() as usize as u64;
        assert!((mapping[0].memory_start..mapping[0].memory_limit).contains(&code));
    }
}
