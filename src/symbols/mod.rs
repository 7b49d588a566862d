//! From addresses to functions and lines. The only reader of binaries.

mod file;
mod libraries;

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::rc::{Rc, Weak};
use std::time::SystemTime;

use pollscope_recording::Module;

use file::Binary;
pub use file::bias;

/// One frame of a stack.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frame {
    /// The function, demangled and without hash; the address in hex if unknown.
    pub function: String,
    /// Relative to the compilation directory when under it, else absolute.
    pub file: Option<String>,
    /// From 1.
    pub line: Option<u32>,
    /// Whose code it is.
    pub krate: Option<String>,
    /// Inlined into the next frame.
    pub inlined: bool,
    /// Code of the standard library, of the system or of a dependency, not of the program's own workspace.
    pub library: bool,
}

/// Opened files, for processes that run the same ones: what is known of a large file takes hundreds of megabytes. Each
/// is closed when no process needs it any more.
#[derive(Default, Clone)]
pub struct Binaries(Rc<RefCell<HashMap<Version, Weak<Binary>>>>);

/// A file at a path, as it is now: path, build id, time of its last change.
type Version = (String, String, Option<SystemTime>);

impl Binaries {
    fn open(&self, module: &Module) -> (Option<Rc<Binary>>, Option<String>) {
        let changed = std::fs::metadata(&*module.path).and_then(|file| file.modified()).ok();
        let version = (module.path.to_string(), module.build_id.to_string(), changed);
        let mut open = self.0.borrow_mut();
        if let Some(binary) = open.get(&version).and_then(Weak::upgrade) {
            return (Some(binary), None);
        }
        let (binary, note) = Binary::open(&module.path, &module.build_id);
        let binary = binary.map(Rc::new);
        open.retain(|_, binary| binary.strong_count() > 0);
        if let Some(binary) = &binary {
            open.insert(version, Rc::downgrade(binary));
        }
        (binary, note)
    }
}

/// Turns addresses of one process into frames; files are opened when first needed.
#[derive(Default)]
pub struct Symbols {
    modules: Vec<Module>,
    binaries: HashMap<String, Option<Rc<Binary>>>,
    shared: Binaries,
    cache: HashMap<u64, Vec<Frame>>,
    notes: BTreeSet<String>,
}

impl Symbols {
    /// Knows no module yet.
    pub fn new() -> Symbols {
        Symbols::default()
    }

    /// Knows no module yet, and shares the files it opens with others.
    pub fn sharing(binaries: &Binaries) -> Symbols {
        Symbols { shared: binaries.clone(), ..Symbols::default() }
    }

    /// Makes one mapped file known.
    pub fn add_module(&mut self, module: &Module) {
        if !self.modules.iter().any(|known| known.start == module.start && known.path == module.path) {
            self.modules.push(module.clone());
            self.cache.clear();
        }
    }

    /// Answers `address` with these frames from now on: for recordings that bring their symbols along.
    pub fn set(&mut self, address: u64, frames: Vec<Frame>) {
        self.cache.insert(address, frames);
    }

    /// The frames at one address, inlined ones first.
    pub fn frames(&mut self, address: u64) -> Vec<Frame> {
        if let Some(frames) = self.cache.get(&address) {
            return frames.clone();
        }
        let frames = self.look_up(address);
        self.cache.insert(address, frames.clone());
        frames
    }

    /// The frames of a whole stack, innermost first. Where the agent copied the stack of its own thread, its own
    /// functions come first: they are the observer's and are left out.
    pub fn stack(&mut self, stack: &[u64]) -> Vec<Frame> {
        let mut addresses: Vec<Vec<Frame>> = stack.iter().map(|&address| self.frames(address)).collect();
        if addresses.first().is_some_and(|frames| frames.iter().all(is_observer)) {
            let strangers = |frames: &Vec<Frame>| frames.iter().any(|frame| !frame.library && !is_observer(frame));
            let lead = addresses.iter().position(strangers).unwrap_or(addresses.len());
            let own = addresses[..lead].iter().rposition(|frames| frames.iter().any(is_observer));
            addresses.drain(..own.map_or(0, |last| last + 1));
        }
        addresses.into_iter().flatten().collect()
    }

    /// What hindered the look-ups.
    pub fn notes(&self) -> Vec<String> {
        self.notes.iter().cloned().collect()
    }

    fn look_up(&mut self, address: u64) -> Vec<Frame> {
        let unknown = || vec![Frame { function: format!("{address:#x}"), library: true, ..Frame::default() }];
        let Some(module) = self.modules.iter().find(|module| (module.start..module.end).contains(&address)) else {
            return unknown();
        };
        let binary = self.binaries.entry(module.path.to_string()).or_insert_with(|| {
            let (binary, note) = self.shared.open(module);
            self.notes.extend(note);
            binary
        });
        let frames = binary.as_ref().map(|binary| binary.frames(address.wrapping_sub(module.bias)));
        frames.filter(|frames| !frames.is_empty()).unwrap_or_else(unknown)
    }
}

/// The agent's package.
const OBSERVER: &str = "pollscope-agent";

/// Whether a function is the agent's, also as the method of a trait.
fn is_observer(frame: &Frame) -> bool {
    observer(&frame.function) || frame.krate.as_deref() == Some(OBSERVER)
}

fn observer(function: &str) -> bool {
    function.trim_start_matches('<').starts_with("pollscope_agent::")
}

/// Whose code a place is, and whether that is a library.
fn owner(path: Option<&str>, function: &str) -> (Option<String>, bool) {
    if let Some(path) = path {
        for (mark, depth) in [("/registry/src/", 1), ("/git/checkouts/", 0)] {
            if let Some((_, rest)) = path.split_once(mark) {
                let name =
                    rest.split('/').nth(depth).and_then(|dir| dir.rsplit_once('-')).map(|(name, _)| name.to_owned());
                return (name, true);
            }
        }
        for mark in ["/rustc/", "/rustlib/src/rust/", "/rust/deps/"] {
            if let Some((_, rest)) = path.split_once(mark) {
                let name = rest.split_once("library/").and_then(|(_, rest)| rest.split('/').next());
                return (Some(name.unwrap_or("std").to_owned()), true);
            }
        }
    }
    let name = first_segment(function);
    let library = match name.as_deref() {
        // Without a file, a path in the name is all there is: plain names are C.
        None => path.is_none_or(|path| !path.ends_with(".rs")),
        Some("std" | "core" | "alloc" | "tokio") => true,
        Some(_) => path.is_none(),
    };
    (name, library)
}

fn first_segment(function: &str) -> Option<String> {
    let start = function.find(|letter: char| letter.is_alphanumeric() || letter == '_')?;
    let (first, _) = function.get(start..)?.split_once("::")?;
    first.chars().all(|letter| letter.is_alphanumeric() || letter == '_').then(|| first.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_code() {
        let tokio = "/home/dev/.cargo/registry/src/index.crates.io-1/tokio-1.54.1/src/task.rs";
        assert_eq!(owner(Some(tokio), "x"), (Some("tokio".into()), true));
        assert_eq!(owner(Some("/rustc/abc/library/core/src/a.rs"), "x"), (Some("core".into()), true));
        assert_eq!(owner(Some("/home/me/svc/src/main.rs"), "svc::handler"), (Some("svc".into()), false));
        assert_eq!(owner(None, "read"), (None, true));
        assert_eq!(first_segment("<alloc::vec::Vec<T> as core::Clone>::clone").as_deref(), Some("alloc"));
    }

    #[test]
    fn an_address_outside_every_module_stays_a_number() {
        let frames = Symbols::new().frames(0x10);
        assert_eq!(frames.first().map(|frame| frame.function.as_str()), Some("0x10"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_very_program() {
        let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
        let exe = std::env::current_exe().expect("exe").display().to_string();
        let line = maps.lines().find(|line| line.ends_with(&exe)).expect("the executable is mapped");
        let start = line.split('-').next().and_then(|hex| u64::from_str_radix(hex, 16).ok()).expect("an address");
        let (path, build_id) = (exe.as_str().into(), "".into());
        let mut symbols = Symbols::new();
        symbols.add_module(&Module { at: 0, start, end: start + (1 << 32), bias: start, path, build_id });
        let own: fn() = this_very_program;
        let frames = symbols.frames(own as usize as u64 + 1);
        let last = frames.last().expect("a frame");
        assert!(last.function.ends_with("symbols::tests::this_very_program"), "{last:?}");
        assert_eq!((last.file.as_deref(), last.library), (Some("src/symbols/mod.rs"), false));

        let mut rebuilt = Symbols::new();
        let (path, build_id) = (exe.as_str().into(), "00".into());
        rebuilt.add_module(&Module { at: 0, start, end: start + (1 << 32), bias: start, path, build_id });
        rebuilt.frames(start);
        assert!(rebuilt.notes().iter().any(|note| note.contains("rebuilt")));
    }
}
