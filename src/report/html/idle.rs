//! Where the tasks stand that nobody has polled for long: information, unless the verdict says otherwise.

use super::words;
use crate::detect::Diagnosis;
use maud::{Markup, html};

/// Lines shown.
const MOST: usize = 50;

/// The table of idle tasks; nothing where none was seen.
pub(super) fn section(diagnosis: &Diagnosis) -> Markup {
    let groups = diagnosis.idle.iter().take(MOST);
    let more: u64 = diagnosis.idle.iter().skip(MOST).map(|group| group.tasks).sum();
    html! { @if !diagnosis.idle.is_empty() {
        section { h2 { "Idle tasks" } div.card.scroll {
            p.soft { "Tasks that nobody had polled for a second or more at the end, by the line where they await." }
            table {
                thead { tr { th scope="col" { "Tasks" } th scope="col" { "Where they await" } th scope="col" { "What for" }
                    th scope="col" { "Spawned" } } }
                tbody { @for group in groups { tr {
                    td { (words::idle(group)) }
                    td { @match &group.at {
                        Some(at) => { code { (words::spot(at)) }
                            @if let Some(function) = words::function_at(at) { " in " code { (function) } } },
                        None => "not seen",
                    } }
                    td { (words::awaited(group)) }
                    td { @for (index, task) in group.examples.iter().enumerate() {
                        @if index > 0 { ", " } (words::task(task))
                        @if let Some(at) = &task.spawned_at { " at " code { (words::spot(at)) } }
                    } }
                } } }
            }
            @if more > 0 { p.soft { "And " (words::counted(more, "task")) " at other lines, in diagnosis.json." } }
        } }
    } }
}
