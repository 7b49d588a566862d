//! Whose a function is in a file without line tables, where nothing tells in which source it stands.
//!
//! What may panic names its source in the file itself, and sources of libraries lie where cargo has put them. What is
//! left is the program's own, but for the few libraries that never panic.

use std::collections::HashSet;

use object::{Object, ObjectSection};

/// Where the sources of libraries lie; after the one, the folder of a registry comes first.
const REGISTRY: &[u8] = b"/registry/src/";
const CHECKOUTS: &[u8] = b"/git/checkouts/";
/// Most bytes of a name with its version.
const LONGEST: usize = 128;
/// The toolchain's own, and libraries without anything that can panic.
const KNOWN: [&str; 35] = [
    "std",
    "core",
    "alloc",
    "test",
    "proc_macro",
    "panic_unwind",
    "panic_abort",
    "compiler_builtins",
    "std_detect",
    "hashbrown",
    "addr2line",
    "gimli",
    "miniz_oxide",
    "rustc_demangle",
    "__rustc",
    "adler2",
    "async_trait",
    "cfg_if",
    "digest",
    "either",
    "futures_core",
    "futures_sink",
    "futures_task",
    "http_body",
    "http_body_util",
    "itoa",
    "libc",
    "lock_api",
    "log",
    "pin_project_lite",
    "scopeguard",
    "serde",
    "tempfile",
    "tokio_stream",
    "tower_layer",
];

/// The libraries in a file.
pub(super) struct Libraries(HashSet<String>);

impl Libraries {
    /// Those that `object` names; `None` if it names none, as where paths were remapped: then nothing tells whose a
    /// function is.
    pub(super) fn of(object: &object::File<'_>) -> Option<Libraries> {
        let texts = object.section_by_name(".rodata")?.uncompressed_data().ok()?;
        let named = named(&texts);
        (!named.is_empty()).then_some(Libraries(named))
    }

    /// Whether this crate is one of them.
    pub(super) fn hold(&self, krate: &str) -> bool {
        KNOWN.contains(&krate) || self.0.contains(krate)
    }
}

/// The crates of the sources that `texts` names.
fn named(texts: &[u8]) -> HashSet<String> {
    // Few bytes are slashes, so this looks at most of them once.
    let starts = texts.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    starts.filter_map(|at| package(texts.get(at..)?)).collect()
}

/// The crate of the path that begins here with the place of libraries.
fn package(path: &[u8]) -> Option<String> {
    let (rest, in_registry) = match path.strip_prefix(REGISTRY) {
        Some(rest) => (rest, true),
        None => (path.strip_prefix(CHECKOUTS)?, false),
    };
    let rest = rest.get(..LONGEST.min(rest.len()))?;
    let folder = rest.split(|byte| *byte == b'/').nth(usize::from(in_registry))?;
    let folder = std::str::from_utf8(folder).ok()?;
    let name = if in_registry { unversioned(folder)? } else { folder.rsplit_once('-')?.0 };
    Some(name.replace('-', "_"))
}

/// `tokio-util` of `tokio-util-0.7.1-rc.2`.
fn unversioned(folder: &str) -> Option<&str> {
    let version = |text: &str| text.split_once('.').is_some_and(|(major, _)| major.parse::<u32>().is_ok());
    let (at, _) = folder.match_indices('-').find(|(at, _)| folder.get(at + 1..).is_some_and(version))?;
    folder.get(..at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_named_by_their_sources() {
        let texts = b"src/main.rs\0/home/a/.cargo/registry/src/index.crates.io-1/tokio-util-0.7.1-rc.2/src/lib.rs\0\
            /x/registry/src/index.crates.io-1/base64ct-1.6.0/src/lib.rs/home/a/.cargo/git/checkouts/axum-5ca/1f/lib.rs\0\
            /registry/src/";
        let mut found = Vec::from_iter(named(texts));
        found.sort();
        assert_eq!(found, ["axum", "base64ct", "tokio_util"]);
    }
}
