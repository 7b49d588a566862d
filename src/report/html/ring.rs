//! Who waits for whom, drawn: tasks and locks as boxes, and arrows along which the waiting goes.

use crate::detect::{Confidence, Edge, EdgeType, Graph, Node, NodeType};
use crate::report::{ring, words};
use maud::{Markup, html};
use pollscope_recording::TaskId;
use std::collections::{HashMap, HashSet};

/// Half the width and height of a box.
const BOX: (f64, f64) = (108.0, 29.0);
/// Most nodes that are drawn; of more, those around the culprit.
const MOST: usize = 24;
/// Most nodes on a circle; of more, two columns leave room for the words between them.
const ON_CIRCLE: usize = 4;

/// A point of the drawing, its middle at the origin.
type Point = (f64, f64);

pub(super) fn draw(number: usize, graph: &Graph, culprit: Option<TaskId>) -> Markup {
    let nodes = arranged(graph, culprit);
    let shown = nodes.get(..nodes.len().min(MOST)).unwrap_or_default();
    let points = points(shown.len());
    let placed: Vec<(&Node, Point)> = shown.iter().copied().zip(points).collect();
    let reach =
        |part: fn(&Point) -> f64, half: f64| placed.iter().map(|(_, at)| part(at).abs()).fold(0.0, f64::max) + half;
    let (wide, high) =
        (reach(|at| at.0, BOX.0 + 12.0), reach(|at| at.1, BOX.1 + if placed.len() == 2 { 34.0 } else { 12.0 }));
    let drawn: HashSet<&str> = shown.iter().map(|node| node.id.as_str()).collect();
    let edges = graph.edges.iter().filter(|edge| drawn.contains(&*edge.from) && drawn.contains(&*edge.to));
    let likely = graph.edges.iter().any(|edge| edge.confidence != Confidence::Proven);
    html! {
        div.scroll {
            svg.ring viewBox=(format!("{:.0} {:.0} {:.0} {:.0}", -wide, -high, 2.0 * wide, 2.0 * high))
                role="img" aria-labelledby=(format!("ring-{number}")) {
                title id=(format!("ring-{number}")) { "Who waits for whom; the list below says the same in words" }
                @for edge in edges { (arrow(edge, graph, &placed)) }
                @for (node, at) in &placed { (node_box(node, graph, *at)) }
            }
        }
        p.small.soft {
            "Boxes are tasks, rounded ones locks. Arrows say who waits for what, and who holds it."
            @if likely { " Dashed: concluded from who took it last, not seen." }
            @if nodes.len() > MOST { " " (nodes.len() - MOST) " more are left out." }
        }
    }
}

/// The nodes of the cycle in their order, then the others.
fn arranged(graph: &Graph, culprit: Option<TaskId>) -> Vec<&Node> {
    let ring = ring::order_from(graph, culprit.filter(|_| graph.nodes.len() > MOST));
    let known: HashMap<&str, &Node> = graph.nodes.iter().rev().map(|node| (node.id.as_str(), node)).collect();
    let mut nodes: Vec<&Node> = ring.iter().filter_map(|id| known.get(id).copied()).collect();
    let ring: HashSet<&str> = ring.into_iter().collect();
    nodes.extend(graph.nodes.iter().filter(|node| !ring.contains(&node.id.as_str())));
    nodes
}

/// Where the boxes stand: on a circle, or down one column and up the other.
fn points(count: usize) -> Vec<Point> {
    if count <= ON_CIRCLE {
        let (rx, ry) = (270.0, 140.0);
        let turn = if count == 2 { 0.5 } else { 0.25 };
        let angle = |index: usize| std::f64::consts::TAU * (index as f64 / count.max(1) as f64 - turn);
        return (0..count).map(|index| (rx * angle(index).cos(), ry * angle(index).sin())).collect();
    }
    let rows = count.div_ceil(2);
    let y = |row: usize| 118.0 * (row as f64 - (rows as f64 - 1.0) / 2.0);
    let place = |index: usize| if index < rows { (230.0, y(index)) } else { (-230.0, y(2 * rows - 1 - index)) };
    (0..count).map(place).collect()
}

fn node_box(node: &Node, graph: &Graph, (x, y): Point) -> Markup {
    let name = match words::letter(graph, &node.id) {
        Some(letter) => format!("{letter}: {}", words::node(node)),
        None => words::node(node),
    };
    let place = node.at.as_ref().map(words::spot).unwrap_or_default();
    let class = if node.kind == NodeType::Resource { "resource" } else { "task" };
    let radius = if node.kind == NodeType::Resource { BOX.1 } else { 4.0 };
    // An oval has less room than a box.
    let most = if node.kind == NodeType::Resource { 22 } else { 26 };
    let verb = if node.kind == NodeType::Resource { "made at" } else { "spawned at" };
    html! {
        g.node transform=(format!("translate({x:.0} {y:.0})")) {
            title { (name) @if !place.is_empty() { ", " (verb) " " (place) } }
            rect.(class) x=(-BOX.0) y=(-BOX.1) width=(2.0 * BOX.0) height=(2.0 * BOX.1) rx=(radius) {}
            text.name text-anchor="middle" y=(if place.is_empty() { 5 } else { -4 }) { (front(&name, most)) }
            @if !place.is_empty() { text.at text-anchor="middle" y="14" { (tail(&place, 29)) } }
        }
    }
}

/// An arrow along which the waiting goes: from a task to what it wants, from a lock to who holds it.
fn arrow(edge: &Edge, graph: &Graph, placed: &[(&Node, Point)]) -> Markup {
    let find = |id: &str| placed.iter().find(|(node, _)| node.id == id).map(|(_, at)| *at);
    let (class, verb, tail_id, head_id) = match edge.kind {
        EdgeType::WaitsFor => ("waits", words::wants(edge), &edge.from, &edge.to),
        EdgeType::Holds => ("holds", "held by", &edge.to, &edge.from),
    };
    let (Some(a), Some(b)) = (find(tail_id), find(head_id)) else { return html! {} };
    let length = (b.0 - a.0).hypot(b.1 - a.1);
    if length < 1.0 {
        return html! {};
    }
    let (ux, uy) = ((b.0 - a.0) / length, (b.1 - a.1) / length);
    // Two arrows between the same boxes keep apart: each keeps to its right.
    let paired =
        graph.edges.iter().any(|other| other.kind != edge.kind && (&other.from, &other.to) == (&edge.from, &edge.to));
    let aside = if paired { 14.0 } else { 0.0 };
    let shift = |(x, y): Point| (x - uy * aside, y + ux * aside);
    // From border to border.
    let exit = |gap: f64| (BOX.0 / ux.abs().max(1e-9)).min(BOX.1 / uy.abs().max(1e-9)) + gap;
    let along = |from: Point, by: f64| shift((from.0 + ux * by, from.1 + uy * by));
    let (start, tip) = (along(a, exit(1.0)), along(b, -exit(3.0)));
    let neck = (tip.0 - ux * 11.0, tip.1 - uy * 11.0);
    let head = format!(
        "M{:.1} {:.1}L{:.1} {:.1}L{:.1} {:.1}Z",
        tip.0,
        tip.1,
        neck.0 - uy * 5.0,
        neck.1 + ux * 5.0,
        neck.0 + uy * 5.0,
        neck.1 - ux * 5.0
    );
    let place = edge.at.as_ref().map(words::spot);
    let middle = ((start.0 + tip.0) / 2.0, (start.1 + tip.1) / 2.0 + if paired { ux * 22.0 } else { 0.0 });
    // The words stand on a plate that hides the line; its width is what their letters take at most.
    let place_shown = place.as_ref().map(|place| tail(place, 26));
    let letters = place_shown.as_ref().map_or(0.0, |place| place.chars().count() as f64 * 6.8);
    let half = letters.max(verb.len() as f64 * 8.0) / 2.0 + 3.0;
    let name = |id: &str| graph.nodes.iter().find(|node| node.id == id).map_or_else(|| id.to_owned(), words::node);
    let spoken = if edge.kind == EdgeType::Holds { "holds" } else { words::wants(edge) };
    html! {
        g {
            title { (name(&edge.from)) " " (spoken) " " (words::letter(graph, &edge.to).unwrap_or_else(|| name(&edge.to)))
                @if let Some(place) = &place { " at " (place) } " (" (words::confidence(edge.confidence)) ")" }
            path.edge.(class).likely[edge.confidence != Confidence::Proven]
                d=(format!("M{:.1} {:.1}L{:.1} {:.1}", start.0, start.1, neck.0, neck.1)) {}
            path.head.(class) d=(head) {}
            g.label.(class) transform=(format!("translate({:.0} {:.0})", middle.0, middle.1)) {
                rect x=(-half) y=(if place.is_some() { -16 } else { -9 }) width=(2.0 * half)
                    height=(if place.is_some() { 32 } else { 18 }) {}
                text.verb text-anchor="middle" y=(if place.is_some() { -3 } else { 4 }) { (verb) }
                @if let Some(place) = &place_shown { text.at text-anchor="middle" y="12" { (place) } }
            }
        }
    }
}

/// The first characters of a text that is too long.
fn front(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 1).chain(['…']).collect()
}

/// The last characters of a path that is too long: its end tells more.
fn tail(text: &str, most: usize) -> String {
    let count = text.chars().count();
    if count <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().skip(count - most + 1).collect();
    // Whole names read better than the end of one.
    match kept.find('/') {
        Some(at) if at < kept.len() / 2 => format!("…{}", kept.get(at..).unwrap_or_default()),
        _ => format!("…{kept}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_keep_what_tells_most() {
        assert_eq!(front("abcdef", 4), "abc…");
        assert_eq!(tail("src/some/where.rs:10", 12), "…where.rs:10");
        assert_eq!(tail("scenarios/lock-cycle/fault.rs:228", 29), "…/lock-cycle/fault.rs:228");
        assert_eq!(tail("short", 12), "short");
    }

    #[test]
    fn no_two_boxes_overlap() {
        for count in 1..=MOST {
            let points = points(count);
            for (index, a) in points.iter().enumerate() {
                for b in points.iter().skip(index + 1) {
                    let apart = (a.0 - b.0).abs() > 2.0 * BOX.0 || (a.1 - b.1).abs() > 2.0 * BOX.1;
                    assert!(apart, "{count}: {a:?} {b:?}");
                }
            }
        }
    }
}
