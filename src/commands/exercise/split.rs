//! A scenario's one file as two of a program: the service, which the learner edits, and its workload, which stays.
//!
//! The workload is a child module, so it sees the private items of the service without a word `pub` in there, while the
//! service cannot reach the figures inside the workload.

/// A program in two files.
pub(super) struct Split {
    /// `src/main.rs`.
    pub(super) main: String,
    /// `src/workload/mod.rs`.
    pub(super) workload: String,
}

/// The function that starts the service and its clients and reports the figures.
const RUN: &str = "run";

/// The module of a name server; the service looks names up with it, and it stays with the workload.
const RESOLVER: &str = "use crate::resolver;";

/// Splits `source`: `run` and the items named in `workload` go to the workload.
pub(super) fn split(source: &str, workload: &[String]) -> Split {
    let is_head = |line: &&str| line.starts_with("//!");
    let head: String = source.lines().take_while(is_head).map(|line| format!("{line}\n")).collect();
    let items = items(source.lines().skip_while(is_head));
    let (uses, items): (Vec<_>, Vec<_>) = items.into_iter().partition(|item| item.code().starts_with("use "));
    let figures = |item: &&Item| !item.code().starts_with("use crate::figures");
    let mut uses: Vec<_> = uses.iter().filter(figures).map(|item| item.text.trim_end()).collect();
    let theirs = |item: &&Item| item.name() == RUN || workload.iter().any(|name| *name == item.name());
    let (load, service): (Vec<&Item>, Vec<&Item>) = items.iter().partition(theirs);

    let service = spaced(&service).replace(" run(", " workload::run(").replace("pub async fn main", "async fn main");
    let kept: Vec<_> = uses.iter().filter_map(|item| pruned(item, &service)).collect();
    let kept = kept.join("\n").replace(RESOLVER, "use workload::resolver;");
    let main = format!("{head}\nmod workload;\n\n{kept}\n\n{service}");

    // Beside another item or as the first one.
    let load = format!("\n{}", spaced(&load)).replace("\nasync fn run(", "\npub(super) async fn run(");
    let load = load.trim_start();
    let modules = if asks_names(source) { "mod figures;\npub(super) mod resolver;" } else { "mod figures;" };
    uses.retain(|item| *item != RESOLVER);
    let workload = format!(
        "//! Who uses the service, what it depends on, and the books at the end of the day.\n\n\
         #![allow(unused_imports, reason = \"the service may stop or begin to use what the workload uses too\")]\n\n\
         {modules}\n\n{}\n\nuse super::*;\nuse figures::Figures;\n\n{load}",
        uses.join("\n")
    );
    Split { main, workload }
}

/// Whether a program needs `resolver.rs`.
pub(super) fn asks_names(source: &str) -> bool {
    source.lines().any(|line| line == RESOLVER)
}

/// `figures.rs` for a program of its own.
pub(super) fn figures(source: &str) -> String {
    let lines = source.lines().filter(|line| !line.trim_start().starts_with("#[expect(clippy"));
    lines.map(|line| line.replace("pub(crate)", "pub(super)") + "\n").collect()
}

/// An item at the top of a file, with its comments and attributes, and whether an empty line stood before it.
struct Item {
    text: String,
    apart: bool,
}

impl Item {
    /// From its first line that is neither comment nor attribute.
    fn code(&self) -> &str {
        let mut rest = self.text.as_str();
        while rest.starts_with("//") || rest.starts_with("#[") {
            rest = rest.split_once('\n').map_or("", |(_, rest)| rest);
        }
        rest
    }

    /// The name it introduces; of an `impl`, the type's.
    fn name(&self) -> &str {
        let head = self.code().lines().next().unwrap_or_default();
        let head = head.split_once(" for ").filter(|_| head.starts_with("impl")).map_or(head, |(_, of)| of);
        let mut words = head.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty());
        let keywords = ["pub", "crate", "super", "async", "unsafe", "fn", "struct", "enum", "const", "type", "static"];
        words.find(|word| !keywords.contains(word) && !["trait", "impl", "mod"].contains(word)).unwrap_or_default()
    }
}

/// Cuts a formatted file at its items.
fn items<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<Item> {
    let (mut items, mut text, mut apart) = (Vec::new(), String::new(), false);
    for line in lines {
        if text.is_empty() && line.is_empty() {
            apart = true;
            continue;
        }
        text.push_str(line);
        text.push('\n');
        let outside = !line.starts_with([' ', '#']) && !line.starts_with("//");
        if outside && line.ends_with([';', '}']) {
            items.push(Item { text: std::mem::take(&mut text), apart });
            apart = false;
        }
    }
    items
}

/// Items one after the other, apart where they were, and each function in any case.
fn spaced(items: &[&Item]) -> String {
    let mut text = String::new();
    for item in items {
        if !text.is_empty() && item.apart {
            text.push('\n');
        }
        text.push_str(&item.text);
    }
    text
}

/// A `use` without the names that `code` does not use; `None` if nothing is left.
fn pruned(item: &str, code: &str) -> Option<String> {
    let flat = item.split_whitespace().collect::<Vec<_>>().join(" ");
    let path = flat.strip_prefix("use ")?.strip_suffix(';')?;
    let Some((base, group)) = path.split_once('{') else {
        let (base, name) = path.rsplit_once("::").unwrap_or(("", path));
        return used(base, name, code).then(|| item.to_owned());
    };
    if group.contains('{') {
        return Some(item.to_owned());
    }
    let names = group.trim_end_matches('}').split(',').map(str::trim).filter(|name| !name.is_empty());
    let module = base.trim_end_matches("::");
    let kept: Vec<_> = names.filter(|name| used(module, name, code)).collect();
    Some(match kept[..] {
        [] => return None,
        ["self"] => format!("use {module};"),
        [one] => format!("use {base}{one};"),
        _ => format!("use {base}{{{}}};", kept.join(", ")),
    })
}

/// Whether `code` uses what is imported as `name`: by its word, or of a trait by its methods.
fn used(module: &str, name: &str, code: &str) -> bool {
    const IO: &[&str] = &["write!(", "writeln!(", ".write_all("];
    const FORMATS: &[&str] = &["write!(", "writeln!("];
    let traits: &[(&str, &[&str])] = &[
        ("AsyncBufReadExt", &[".read_line(", ".lines()"]),
        ("AsyncReadExt", &[".read(", ".read_exact(", ".read_to_end(", ".read_u"]),
        ("AsyncWriteExt", &[".write_all(", ".flush(", ".shutdown(", ".write_u"]),
        ("BufRead", &[".read_line(", ".lines()"]),
        ("Write as _", if module == "std::io" { IO } else { FORMATS }),
        ("ToSocketAddrs", &[".to_socket_addrs("]),
        ("Read as _", &[".read(", ".read_exact("]),
        ("Instrument", &[".instrument("]),
        ("FromStr", &["from_str("]),
    ];
    if let Some((_, methods)) = traits.iter().find(|(one, _)| *one == name) {
        return methods.iter().any(|method| code.contains(method));
    }
    let name = name.rsplit_once(" as ").map_or(name, |(_, alias)| alias);
    let word = if name == "self" { module.rsplit("::").next().unwrap_or(module) } else { name };
    word == "_" || code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|one| one == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "\
//! A shop.

use std::io::{self, Write as _};
use std::sync::Arc;

use crate::figures::Figures;

const CLIENTS: u64 = 8;
const ROOM: u64 = 3;

struct Shop {
    room: Arc<u64>,
}

impl Shop {
    fn open() -> io::Result<Self> {
        Ok(Self { room: Arc::new(ROOM) })
    }
}

/// Asks.
async fn client(
    figures: &Figures,
) -> io::Result<()> {
    writeln!(io::stdout(), \"x\")
}

async fn run() {
    let _ = (Shop::open(), CLIENTS);
}

/// Opens.
#[tokio::main]
pub async fn main() {
    let ran = run().await;
}
";

    #[test]
    fn a_name_server_stays_with_the_workload() {
        let source =
            SOURCE.replace("use crate::figures::Figures;", "use crate::figures::Figures;\nuse crate::resolver;");
        let source = source.replace("Ok(Self {", "resolver::ask();\n        Ok(Self {");
        let Split { main, workload } = split(&source, &[]);
        assert!(asks_names(&source) && !asks_names(SOURCE));
        assert!(main.contains("\nuse workload::resolver;\n") && !main.contains("crate::resolver"), "{main}");
        assert!(workload.contains("mod figures;\npub(super) mod resolver;\n\nuse"), "{workload}");
        assert!(!workload.contains("crate::resolver"), "{workload}");
    }

    #[test]
    fn a_program_is_split_at_its_items() {
        let Split { main, workload } = split(SOURCE, &["CLIENTS".to_owned(), "client".to_owned()]);
        let expected = "\
//! A shop.

mod workload;

use std::io;
use std::sync::Arc;

const ROOM: u64 = 3;

struct Shop {
    room: Arc<u64>,
}

impl Shop {
    fn open() -> io::Result<Self> {
        Ok(Self { room: Arc::new(ROOM) })
    }
}

/// Opens.
#[tokio::main]
async fn main() {
    let ran = workload::run().await;
}
";
        assert_eq!(main, expected);
        assert!(
            workload.contains("use std::io::{self, Write as _};\nuse std::sync::Arc;\n\nuse super::*;"),
            "{workload}"
        );
        let order = ["const CLIENTS", "/// Asks.\nasync fn client(", "pub(super) async fn run() {"]
            .map(|part| workload.find(part));
        assert!(order.is_sorted() && order[0].is_some(), "{workload}");
        assert!(!workload.contains("Shop {") && !workload.contains("crate::figures"), "{workload}");
    }
}
