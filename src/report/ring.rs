//! A small drawing of who waits for whom.

use crate::detect::{EdgeType, Finding, Graph};
use std::collections::HashSet;
use std::fmt::Write;

/// Draws the cycle through the graph of `finding`, one edge a line; empty where there is no cycle.
pub(super) fn draw(finding: &Finding) -> String {
    let Some(graph) = &finding.graph else {
        return String::new();
    };
    let cycle = cycle(graph);
    let mut text = String::new();
    for (index, node) in cycle.iter().enumerate() {
        let next = cycle[(index + 1) % cycle.len()];
        let label = |id: &str| match graph.nodes.iter().find(|node| node.id == id) {
            Some(node) => node.label.clone(),
            None => id.to_owned(),
        };
        let waits = graph.edges.iter().find(|e| e.kind == EdgeType::WaitsFor && e.from == *node && e.to == next);
        let (verb, at) = match waits {
            Some(edge) => ("waits for", edge.at.as_ref()),
            None => ("is held by", None),
        };
        let corner = match index {
            0 => "┌>",
            last if last + 1 == cycle.len() => "└─",
            _ => "│ ",
        };
        let _ = write!(text, "    {corner} {} {verb} {}", label(node), label(next));
        if let Some(at) = at {
            let _ = write!(text, "  at {}:{}", at.file, at.line);
        }
        text.push('\n');
    }
    text
}

/// The ids of the nodes of one cycle, in order: task, resource, task, ...
fn cycle(graph: &Graph) -> Vec<&str> {
    for start in &graph.nodes {
        let mut path = Vec::new();
        if walk(graph, &start.id, &start.id, &mut path, &mut HashSet::new()) {
            return path;
        }
    }
    Vec::new()
}

fn walk<'g>(graph: &'g Graph, at: &'g str, goal: &str, path: &mut Vec<&'g str>, seen: &mut HashSet<&'g str>) -> bool {
    if !seen.insert(at) {
        return false;
    }
    path.push(at);
    let next = graph.edges.iter().filter_map(|edge| match edge.kind {
        EdgeType::WaitsFor if edge.from == at => Some(edge.to.as_str()),
        EdgeType::Holds if edge.to == at => Some(edge.from.as_str()),
        _ => None,
    });
    for next in next {
        if next == goal || walk(graph, next, goal, path, seen) {
            return true;
        }
    }
    path.pop();
    false
}
