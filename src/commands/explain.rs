//! `pollscope explain`: what a kind of finding means, and what to do about it.

use super::nearest::nearest;
use super::options::ExplainOptions;
use super::{Failure, HEALTHY, terminal};
use pollscope::report::explain;

/// Names suggested at most.
const SUGGESTED: usize = 3;

pub(crate) fn explain(options: &ExplainOptions) -> Result<u8, Failure> {
    let Some(kind) = &options.kind else {
        terminal::result(&explain::list(terminal::columns()));
        return Ok(HEALTHY);
    };
    let Some(page) = explain::all().iter().find(|page| page.kind == kind) else {
        return Err(unknown(kind));
    };
    terminal::result(&page.shown(terminal::columns()));
    Ok(HEALTHY)
}

fn unknown(kind: &str) -> Failure {
    let near = nearest(kind, explain::all().iter().map(|page| page.kind), SUGGESTED);
    let near: Vec<String> = near.iter().map(|name| format!("`{name}`")).collect();
    Failure::new(if near.is_empty() {
        format!("there is no kind `{kind}`; `pollscope explain` names them")
    } else {
        format!("there is no kind `{kind}`; did you mean {}?", near.join(" or "))
    })
}
