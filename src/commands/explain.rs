//! `pollscope explain`: what a kind of finding means, and what to do about it.

use super::options::ExplainOptions;
use super::{Failure, HEALTHY, terminal};
use pollscope::report::explain;

/// Likeness from which a name is suggested for a wrong one.
const NEAR: f64 = 0.7;
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
    let likeness = |name: &str| strsim::jaro_winkler(kind, name);
    let mut near: Vec<(f64, &str)> = explain::all().iter().map(|page| (likeness(page.kind), page.kind)).collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    let near: Vec<String> = near
        .iter()
        .filter(|(likeness, _)| *likeness > NEAR)
        .take(SUGGESTED)
        .map(|(_, name)| format!("`{name}`"))
        .collect();
    Failure::new(if near.is_empty() {
        format!("there is no kind `{kind}`; `pollscope explain` names them")
    } else {
        format!("there is no kind `{kind}`; did you mean {}?", near.join(" or "))
    })
}
