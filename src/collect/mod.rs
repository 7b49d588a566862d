//! What the classic collectors of a run left behind, made complete: the console asked while the program runs, addresses
//! named, flamegraphs drawn.
//!
//! The collectors themselves live in the observed program (`pollscope-collectors`) and know nothing of this.

mod console;
mod cpu;
mod draw;
mod sleep;

pub use console::{Address, Attached, Client};
pub use draw::{differential, flamegraph};
pub use sleep::folded_sleep;

use std::fs;
use std::path::Path;

/// Names the functions in `cpu.pb.gz` in `folder` and draws `cpu.svg`.
///
/// # Errors
///
/// One sentence on what is missing, broken or cannot be written.
pub fn finish_cpu(folder: &Path) -> Result<(), String> {
    let path = folder.join("cpu.pb.gz");
    let mut profile = cpu::read(&path)?;
    cpu::name_functions(&mut profile);
    let bytes = profile.bytes().map_err(|error| error.to_string())?;
    write(&path, &bytes)?;
    let title = "CPU time by function";
    let empty = "No thread of the program was on the CPU when a sample was taken: it waits rather than computes.";
    write(&folder.join("cpu.svg"), &draw::flamegraph(title, "samples", &cpu::folded(&profile), empty)?)
}

/// The samples of `cpu.pb.gz` in `folder`, named and folded.
///
/// # Errors
///
/// One sentence on what is missing or broken.
pub fn folded_cpu(folder: &Path) -> Result<String, String> {
    let mut profile = cpu::read(&folder.join("cpu.pb.gz"))?;
    cpu::name_functions(&mut profile);
    Ok(cpu::folded(&profile))
}

/// Draws `flame.svg` from `flame.folded` in `folder`.
///
/// # Errors
///
/// One sentence on what is missing, broken or cannot be written.
pub fn finish_flame(folder: &Path) -> Result<(), String> {
    let path = folder.join("flame.folded");
    let text = fs::read_to_string(&path).map_err(|error| missing(&path, &error))?;
    let title = "Time inside the program's spans";
    let empty = "The program entered no tracing span of its own: `#[tracing::instrument]` on its handlers makes some.";
    write(&folder.join("flame.svg"), &draw::flamegraph(title, "ns", &text, empty)?)
}

/// Whether `metrics.jsonl` in `folder` holds rows.
///
/// # Errors
///
/// One sentence on what is missing.
pub fn finish_metrics(folder: &Path) -> Result<(), String> {
    let path = folder.join("metrics.jsonl");
    let text = fs::read_to_string(&path).map_err(|error| missing(&path, &error))?;
    match text.lines().count() {
        0 | 1 => Err(format!("{} holds no rows: the program was over before the first", path.display())),
        _ => Ok(()),
    }
}

fn missing(path: &Path, error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => format!("the program wrote no {}", path.display()),
        _ => format!("{} cannot be read: {error}", path.display()),
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    fs::write(path, bytes).map_err(|error| format!("{} cannot be written: {error}", path.display()))
}
