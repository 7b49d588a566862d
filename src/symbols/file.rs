//! One executable or library on disk.

use std::collections::BTreeSet;

use addr2line::{Loader, gimli};
use object::{Object, ObjectSection, ObjectSegment, ObjectSymbol, ReadCache, SegmentFlags};

use super::libraries::Libraries;
use super::{Frame, OBSERVER, observer, owner};

/// An opened file.
pub(super) struct Binary {
    loader: Loader,
    /// Directories its own code was compiled in, longest first.
    roots: Vec<String>,
    /// Where the agent's sources lay: what is inlined into its functions stands on stacks under short names.
    observer: Option<String>,
    /// Where there are no line tables: whose functions are not the program's own.
    libraries: Option<Libraries>,
}

impl Binary {
    /// Opens `path` if it still is the file that was mapped; the text says what is wrong with it.
    pub(super) fn open(path: &str, build_id: &str) -> (Option<Binary>, Option<String>) {
        // The vDSO and its kind are no files.
        if !path.starts_with('/') {
            return (None, None);
        }
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) => return (None, Some(format!("{path} cannot be read, so its frames have no names: {error}"))),
        };
        let Ok(object) = object::File::parse(&*bytes) else {
            return (None, Some(format!("{path} is not an executable that can be read")));
        };
        let found: String =
            object.build_id().ok().flatten().unwrap_or_default().iter().map(|byte| format!("{byte:02x}")).collect();
        if !build_id.is_empty() && found != build_id {
            let note = format!(
                "{path} was rebuilt since the recording (build id {found}, recorded {build_id}): its frames have no names"
            );
            return (None, Some(note));
        }
        let Ok(loader) = Loader::new(path) else {
            return (None, Some(format!("{path} has debug information that cannot be read")));
        };
        let roots = roots(&object).unwrap_or_default();
        let observer = observer_sources(&object, &loader);
        let lines = object.section_by_name(".debug_line").is_some_and(|section| section.size() > 0);
        let system = ["/lib", "/usr/"].iter().any(|dir| path.starts_with(dir)) && path.contains(".so");
        let note = (!lines && !system).then(|| {
            format!("{path} has no line tables: build with debug = \"line-tables-only\" in the profile to see files and lines")
        });
        let libraries = if lines || system { None } else { Libraries::of(&object) };
        (Some(Binary { loader, roots, observer, libraries }), note)
    }

    /// The frames at one address of the file's own numbering.
    pub(super) fn frames(&self, address: u64) -> Vec<Frame> {
        let mut frames = Vec::new();
        if let Ok(mut found) = self.loader.find_frames(address) {
            while let Ok(Some(frame)) = found.next() {
                let name = frame.function.as_ref().and_then(|function| function.raw_name().ok());
                let name = match name {
                    Some(name) => demangled(&name),
                    None => self.symbol(address),
                };
                let (file, line) = frame.location.map_or((None, None), |at| (at.file, at.line));
                frames.push(self.frame(name, file, line));
            }
        }
        if frames.is_empty() && self.loader.find_symbol(address).is_some() {
            frames.push(self.frame(self.symbol(address), None, None));
        }
        // The symbol table knows the full path of a function where reduced debug information has its last part only.
        // Functions of the same code share one address and many symbols: the name in the debug information decides.
        if let Some(frame) = frames.last_mut()
            && self.loader.find_symbol(address).is_some()
        {
            let symbol = self.symbol(address);
            if same_function(&frame.function, &symbol) {
                frame.library |= observer(&symbol);
                frame.function = symbol;
            }
        }
        let outermost = frames.len().saturating_sub(1);
        for frame in frames.iter_mut().take(outermost) {
            frame.inlined = true;
        }
        frames
    }

    fn symbol(&self, address: u64) -> String {
        self.loader.find_symbol(address).map_or_else(|| format!("{address:#x}"), demangled)
    }

    fn frame(&self, function: String, path: Option<&str>, line: Option<u32>) -> Frame {
        let (krate, library) = owner(path, &function);
        let own = |krate: &String| self.libraries.as_ref().is_some_and(|libraries| !libraries.hold(krate));
        let library = library && !(path.is_none() && krate.as_ref().is_some_and(own));
        let observes = path.zip(self.observer.as_ref()).is_some_and(|(path, sources)| path.starts_with(sources));
        let krate = if observes { Some(OBSERVER.to_owned()) } else { krate };
        // The agent stands on the program's stacks, but it is never what the program does.
        let library = library || observes || observer(&function);
        let file = path.map(|path| {
            let under = self.roots.iter().find_map(|root| path.strip_prefix(root.as_str())?.strip_prefix('/'));
            under.filter(|_| !library).unwrap_or(path).to_owned()
        });
        Frame { function, file, line: line.filter(|&line| line > 0), krate, inlined: false, library }
    }
}

/// Whether a symbol may be the full name of the function that the debug information calls `name`.
fn same_function(name: &str, symbol: &str) -> bool {
    let last = last_part(name);
    // A closure has no name of its own to compare, and the body of an async function is one.
    last.is_empty()
        || last.starts_with('{')
        || last.starts_with("0x")
        || symbol.ends_with("{{closure}}")
        || last_part(symbol) == last
}

/// The last part of a path, without types in angle brackets.
fn last_part(name: &str) -> String {
    let mut depth = 0_usize;
    let plain: String = name
        .chars()
        .filter(|letter| {
            depth += usize::from(*letter == '<');
            let keep = depth == 0;
            depth -= usize::from(*letter == '>' && depth > 0);
            keep
        })
        .collect();
    plain.trim_end_matches("::").rsplit("::").next().unwrap_or_default().to_owned()
}

/// Run-time address minus the address in the file's own numbering, of the file `path` whose code is mapped at `start`
/// from `offset` in the file; for what knows its mappings from the kernel only.
pub fn bias(path: &str, start: u64, offset: u64) -> Option<u64> {
    let file = std::fs::File::open(path).ok()?;
    let cache = ReadCache::new(std::io::BufReader::new(file));
    let object = object::File::parse(&cache).ok()?;
    let code = object.segments().find(|segment| {
        let (from, size) = segment.file_range();
        let runs = matches!(segment.flags(), SegmentFlags::Elf { p_flags, .. } if p_flags.0 & object::elf::PF_X.0 != 0);
        // The kernel maps whole pages, so the mapping may begin before the segment does.
        let page = segment.align().max(1);
        runs && (from - from % page..from + size).contains(&offset)
    })?;
    let (from, _) = code.file_range();
    Some(start.wrapping_sub(code.address().wrapping_sub(from).wrapping_add(offset)))
}

fn demangled(name: &str) -> String {
    format!("{:#}", rustc_demangle::demangle(name))
}

/// The compilation directories: a file name relative to its own is how its author knows it.
fn roots(object: &object::File<'_>) -> Option<Vec<String>> {
    let endian = if object.is_little_endian() { gimli::RunTimeEndian::Little } else { gimli::RunTimeEndian::Big };
    let load = |id: gimli::SectionId| -> Result<std::borrow::Cow<'_, [u8]>, object::Error> {
        object.section_by_name(id.name()).map_or(Ok(Default::default()), |section| section.uncompressed_data())
    };
    let sections = gimli::DwarfSections::load(load).ok()?;
    let dwarf = sections.borrow(|section| gimli::EndianSlice::new(section, endian));
    let mut roots = BTreeSet::new();
    let mut units = dwarf.units();
    while let Ok(Some(header)) = units.next() {
        let Ok(unit) = dwarf.unit(header) else { continue };
        if let Some(dir) = unit.comp_dir {
            let dir = dir.to_string_lossy();
            if dir.starts_with('/') && dir.len() > 1 {
                roots.insert(dir.trim_end_matches('/').to_owned());
            }
        }
    }
    let mut roots: Vec<String> = roots.into_iter().collect();
    roots.sort_by_key(|root| std::cmp::Reverse(root.len()));
    Some(roots)
}

/// The folder of the agent's sources, told by the first of its functions that the symbol table names.
fn observer_sources(object: &object::File<'_>, loader: &Loader) -> Option<String> {
    let mut functions = object.symbols().filter(|symbol| symbol.address() > 0);
    functions.find_map(|symbol| {
        let name = symbol.name().ok().filter(|name| name.contains("pollscope_agent"))?;
        let mut frames = loader.find_frames(symbol.address()).ok().filter(|_| observer(&demangled(name)))?;
        let mut outermost = None;
        while let Ok(Some(frame)) = frames.next() {
            outermost = frame.location.and_then(|at| at.file);
        }
        outermost?.rsplit_once("/src/").map(|(package, _)| format!("{package}/src/"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_symbol_names_a_function() {
        assert!(same_function("<std::net::udp::UdpSocket>::recv", "<std::net::udp::UdpSocket>::recv"));
        assert!(!same_function(
            "<std::net::udp::UdpSocket>::recv",
            "<std::net::tcp::TcpStream as std::io::Read>::read"
        ));
        assert!(same_function("poll<svc::Future, alloc::sync::Arc<svc::X>>", "tokio::task::Harness<T,S>::poll"));
        assert!(same_function("{async_fn#0}", "svc::serve::{{closure}}"));
    }
}
