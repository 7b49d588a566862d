//! The command line of pollscope: finds out why an async Rust program is slow or stuck, and names the culprit.

mod commands;

use std::process::ExitCode;

fn main() -> ExitCode {
    commands::main()
}
