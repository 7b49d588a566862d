//! Who waits for whom as Graphviz `dot`, to be drawn by `dot -Tsvg` and the like.

use super::{ring, words};
use crate::detect::{Confidence, Diagnosis, Edge, EdgeType, Graph, Location, NodeType};
use pollscope_recording::TaskId;
use std::collections::HashSet;
use std::fmt::Write;

/// Most nodes of one finding that are drawn: Graphviz takes minutes for thousands, and nobody can read them.
const MOST: usize = 200;

/// One digraph with a cluster for each finding that is about who waits for whom.
pub fn diagnosis(diagnosis: &Diagnosis) -> String {
    let mut out = String::from("digraph pollscope {\n  rankdir=LR;\n  node [fontname=\"sans-serif\"];\n");
    let graphs = diagnosis.findings.iter().filter_map(|finding| Some((finding, finding.graph.as_ref()?)));
    for (number, (finding, graph)) in graphs.enumerate() {
        let _ = writeln!(out, "  subgraph cluster_{number} {{\n    label={};", quoted(&finding.title));
        cluster(&mut out, number, graph, finding.culprit.task.as_ref().map(|task| task.id));
        out.push_str("  }\n");
    }
    out.push_str("}\n");
    out
}

fn cluster(out: &mut String, number: usize, graph: &Graph, culprit: Option<TaskId>) {
    // The same task may stand in two findings: ids are made unique by the number of the cluster.
    let id = |id: &str| quoted(&format!("{number}.{id}"));
    // Of a long cycle the part that begins with the culprit.
    let order = if graph.nodes.len() > MOST { ring::order_from(graph, culprit) } else { Vec::new() };
    let all = graph.nodes.iter().map(|node| node.id.as_str());
    let drawn: HashSet<&str> = order.iter().copied().chain(all).take(MOST).collect();
    let is_drawn = |id: &String| drawn.contains(id.as_str());
    for node in graph.nodes.iter().filter(|node| is_drawn(&node.id)) {
        let shape = match node.kind {
            NodeType::Task => "box",
            NodeType::Resource => "ellipse",
            NodeType::Thread => "hexagon",
        };
        let label = labeled(&words::node(node), node.at.as_ref());
        let _ = writeln!(out, "    {} [shape={shape}, label={label}];", id(&node.id));
    }
    if let (Some(first), Some(last)) = (order.first(), order.get(MOST - 1)) {
        let more = quoted(&format!("{} more tasks and locks", graph.nodes.len() - MOST));
        let _ = writeln!(out, "    {} [shape=plaintext, label={more}];", id("more"));
        let _ = writeln!(out, "    {} -> {} -> {} [style=dotted];", id(last), id("more"), id(first));
    }
    for Edge { from, to, kind, at, confidence } in graph.edges.iter().filter(|e| is_drawn(&e.from) && is_drawn(&e.to)) {
        // Both kinds run from the task; turning "holds" around makes a cycle a cycle of arrows.
        let (tail, head, verb) = match kind {
            EdgeType::WaitsFor => (from, to, "waits for"),
            EdgeType::Holds => (to, from, "held by"),
        };
        let style = if *confidence == Confidence::Proven { "solid" } else { "dashed" };
        let label = labeled(verb, at.as_ref());
        let _ = writeln!(out, "    {} -> {} [label={label}, style={style}];", id(tail), id(head));
    }
}

fn labeled(text: &str, at: Option<&Location>) -> String {
    match at {
        Some(at) => quoted(&format!("{text}\n{}", words::spot(at))),
        None => quoted(text),
    }
}

/// A quoted string of the dot language.
fn quoted(text: &str) -> String {
    let text = words::visible(text).replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("\"{text}\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    #[test]
    fn a_ring_is_a_ring_of_arrows() {
        let dot = diagnosis(&samples::ring(2));
        assert!(dot.contains("\"0.t0\" [shape=box, label=\"task 0\\nscenarios/lock-cycle/fault.rs:10\"];"), "{dot}");
        assert!(
            dot.contains("\"0.t0\" -> \"0.r1\" [label=\"waits for\\nscenarios/lock-cycle/fault.rs:30\", style=solid];")
        );
        assert!(dot.contains("\"0.r1\" -> \"0.t1\" [label=\"held by\", style=dashed];"), "{dot}");
    }

    #[test]
    fn a_long_ring_is_drawn_in_part_and_stays_a_ring() {
        let dot = diagnosis(&samples::ring(10_000));
        assert!(dot.contains("label=\"19800 more tasks and locks\""), "{dot}");
        // The culprit is task 7.
        assert!(dot.contains("\"0.t7\" -> \"0.r8\"") && !dot.contains("\"0.t6\""), "{dot}");
        assert!(dot.contains("\"0.r107\" -> \"0.more\" -> \"0.t7\" [style=dotted];"), "{dot}");
        assert!(dot.lines().count() < 500, "{} lines", dot.lines().count());
    }

    #[test]
    fn without_a_graph_it_is_empty_but_valid() {
        assert!(!diagnosis(&samples::blocking()).contains("cluster"));
    }

    #[test]
    fn names_cannot_leave_their_quotes() {
        let dot = diagnosis(&samples::hostile());
        for line in dot.lines() {
            let bare = line.replace("\\\\", "").replace("\\\"", "");
            assert_eq!(bare.matches('"').count() % 2, 0, "{line}");
        }
    }
}
