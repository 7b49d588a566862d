//! A CPU profile of addresses, made one of functions and lines.

use crate::symbols::{Frame, Symbols, bias};
use pollscope_profile::{Function, Line, Mapping, Profile, Texts};
use pollscope_recording::Module;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// Reads the profile at `path`.
pub(super) fn read(path: &Path) -> Result<Profile, String> {
    let bytes = fs::read(path).map_err(|error| super::missing(path, &error))?;
    Profile::read(&bytes).map_err(|error| format!("{} cannot be used: {error}", path.display()))
}

/// Adds functions and lines to every address, inlined ones included. A profile that has them already stays as it is.
pub(super) fn name_functions(profile: &mut Profile) {
    if !profile.function.is_empty() {
        return;
    }
    let mut symbols = Symbols::new();
    for mapping in &profile.mapping {
        if let Some(module) = module(profile, mapping) {
            symbols.add_module(&module);
        }
    }
    let mut texts = Texts::of(std::mem::take(&mut profile.string_table));
    let mut known: HashMap<(i64, i64), u64> = HashMap::new();
    for location in &mut profile.location {
        let mut line = |frame: &Frame| {
            let name = texts.index(&frame.function);
            let filename = texts.index(frame.file.as_deref().unwrap_or_default());
            let id = *known.entry((name, filename)).or_insert_with(|| {
                let id = profile.function.len() as u64 + 1;
                profile.function.push(Function { id, name, system_name: name, filename, start_line: 0 });
                id
            });
            Line { function_id: id, line: frame.line.map_or(0, i64::from) }
        };
        location.line = symbols.frames(location.address).iter().map(&mut line).collect();
    }
    profile.string_table = texts.table();
    for mapping in &mut profile.mapping {
        mapping.has_functions = true;
        mapping.has_filenames = true;
        mapping.has_line_numbers = true;
        mapping.has_inline_frames = true;
    }
}

fn module(profile: &Profile, mapping: &Mapping) -> Option<Module> {
    let path = profile.text(mapping.filename);
    Some(Module {
        at: 0,
        start: mapping.memory_start,
        end: mapping.memory_limit,
        bias: bias(path, mapping.memory_start, mapping.file_offset)?,
        path: path.into(),
        build_id: profile.text(mapping.build_id).into(),
    })
}

/// The stacks as lines of names, outermost first, the thread before all: what flamegraphs are drawn from.
pub(super) fn folded(profile: &Profile) -> String {
    let functions: HashMap<u64, &str> =
        profile.function.iter().map(|function| (function.id, profile.text(function.name))).collect();
    let locations: HashMap<u64, Vec<&str>> = profile
        .location
        .iter()
        .map(|location| {
            let names = location.line.iter().rev();
            (location.id, names.filter_map(|line| functions.get(&line.function_id).copied()).collect())
        })
        .collect();
    let mut stacks: BTreeMap<String, i64> = BTreeMap::new();
    for sample in &profile.sample {
        let thread = sample.label.iter().find(|label| profile.text(label.key) == "thread");
        let thread = thread.map_or("", |label| profile.text(label.str));
        let frames = sample.location_id.iter().rev().filter_map(|id| locations.get(id)).flatten().copied();
        // A semicolon ends a frame, and array types hold some.
        let names: Vec<_> = std::iter::once(thread).chain(frames).map(|name| name.replace(';', ",")).collect();
        *stacks.entry(names.join(";")).or_default() += sample.value.first().copied().unwrap_or(0);
    }
    stacks.into_iter().fold(String::new(), |mut text, (stack, count)| {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{stack} {count}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use pollscope_profile::{Label, Location, Sample};

    #[cfg(target_os = "linux")]
    #[test]
    fn addresses_of_this_program_get_their_names() {
        let own: fn() = addresses_of_this_program_get_their_names;
        let exe = std::env::current_exe().unwrap().display().to_string();
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let code = maps.lines().find(|line| line.ends_with(&exe) && line.contains("r-xp")).unwrap();
        let (range, rest) = code.split_once(' ').unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let hex = |text| u64::from_str_radix(text, 16).unwrap();
        let mut texts = Texts::of(Vec::new());
        let label = Label { key: texts.index("thread"), str: texts.index("worker; 1"), num: 0 };
        let mut profile = Profile {
            mapping: vec![Mapping {
                id: 1,
                memory_start: hex(start),
                memory_limit: hex(end),
                file_offset: hex(rest.split(' ').nth(1).unwrap()),
                filename: texts.index(&exe),
                ..Mapping::default()
            }],
            location: vec![
                Location { id: 1, mapping_id: 1, address: own as usize as u64, line: Vec::new() },
                Location { id: 2, mapping_id: 0, address: 0x10, line: Vec::new() },
            ],
            sample: vec![Sample { location_id: vec![1, 2], value: vec![3, 30], label: vec![label] }],
            string_table: texts.table(),
            ..Profile::default()
        };
        name_functions(&mut profile);
        let name = "collect::cpu::tests::addresses_of_this_program_get_their_names";
        let folded = folded(&profile);
        assert!(folded.starts_with("worker, 1;0x10;") && folded.ends_with(&format!("{name} 3\n")), "{folded}");
        let again = profile.clone();
        name_functions(&mut profile);
        assert_eq!(profile, again, "named once");
    }
}
