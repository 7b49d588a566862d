//! Who waits for whom as Graphviz `dot`, to be drawn by `dot -Tsvg` and the like.

use super::words;
use crate::detect::{Confidence, Diagnosis, Edge, EdgeType, Graph, Location, NodeType};
use std::fmt::Write;

/// One digraph with a cluster for each finding that is about who waits for whom.
pub fn diagnosis(diagnosis: &Diagnosis) -> String {
    let mut out = String::from("digraph pollscope {\n  rankdir=LR;\n  node [fontname=\"sans-serif\"];\n");
    let graphs = diagnosis.findings.iter().filter_map(|finding| Some((finding, finding.graph.as_ref()?)));
    for (number, (finding, graph)) in graphs.enumerate() {
        let _ = writeln!(out, "  subgraph cluster_{number} {{\n    label={};", quoted(&finding.title));
        cluster(&mut out, number, graph);
        out.push_str("  }\n");
    }
    out.push_str("}\n");
    out
}

fn cluster(out: &mut String, number: usize, graph: &Graph) {
    // The same task may stand in two findings: ids are made unique by the number of the cluster.
    let id = |id: &str| quoted(&format!("{number}.{id}"));
    for node in &graph.nodes {
        let shape = match node.kind {
            NodeType::Task => "box",
            NodeType::Resource => "ellipse",
            NodeType::Thread => "hexagon",
        };
        let label = labeled(&words::node(node), node.at.as_ref());
        let _ = writeln!(out, "    {} [shape={shape}, label={label}];", id(&node.id));
    }
    for Edge { from, to, kind, at, confidence } in &graph.edges {
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
