//! Finds out which tokio the agent is built with, for the head of every recording.

use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=Cargo.toml");
    let version = std::env::var("OUT_DIR").ok().and_then(|out| locked_tokio(Path::new(&out))).unwrap_or_default();
    println!("cargo::rustc-env=POLLSCOPE_TOKIO_VERSION={version}");
}

/// The version of tokio in the nearest `Cargo.lock` above the build folder.
fn locked_tokio(out: &Path) -> Option<String> {
    let lock = out.ancestors().map(|folder| folder.join("Cargo.lock")).find(|lock| lock.exists())?;
    println!("cargo::rerun-if-changed={}", lock.display());
    let text = std::fs::read_to_string(lock).ok()?;
    let package = text.split("[[package]]").find(|package| package.contains("\nname = \"tokio\"\n"))?;
    Some(package.split("version = \"").nth(1)?.split('"').next()?.to_owned())
}
