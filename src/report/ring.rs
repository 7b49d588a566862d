//! Who waits for whom in a circle: the order of its nodes, and a small drawing of it.

use super::layout::{INDENT, Page, Text};
use super::words;
use crate::detect::{Edge, EdgeType, Graph, Node};
use anstyle::Style;
use std::collections::HashSet;

/// Draws the cycle through `graph`, a few lines for each task; nothing where there is no cycle.
pub(super) fn draw(page: &mut Page, graph: &Graph) {
    let ring = steps(graph);
    let bold = Style::new().bold();
    let margin = " ".repeat(INDENT);
    let prefix = |rail: &str| format!("{margin}{rail}");
    let last = ring.len().saturating_sub(1);
    for (index, step) in ring.iter().enumerate() {
        let corner = if index == 0 { "┌─▶ " } else { "├─▶ " };
        let task = named(Text::styled(bold, &words::node(step.task)), step.task, "spawned at");
        if index == 0 {
            // The name of the field stands beside the first line.
            for (row, line) in task.wrap(page.room().saturating_sub(4)).iter().enumerate() {
                let (name, rail) = if row == 0 { ("cycle", corner) } else { ("", "│   ") };
                page.raw(name, &format!("{rail}{}", line.ansi()));
            }
        } else {
            page.paragraph(&prefix(corner), &prefix("│   "), &task);
        }
        let lock = |node: &Node| words::letter(graph, &node.id).unwrap_or_else(|| node.id.clone());
        let held = Text::plain(&lock(step.holds)).and(", the ").and(&words::node(step.holds));
        page.paragraph(&prefix("│   holds      "), &prefix("│              "), &named(held, step.holds, "at"));
        let wanted = Text::plain(&lock(step.wants));
        let wanted = match &step.wait.at {
            Some(at) => wanted.and(" at ").with(bold, &words::spot(at)),
            None => wanted,
        };
        let verb = words::wants(step.wait);
        page.paragraph(&prefix(&format!("│   {verb:11}")), &prefix("│              "), &wanted.and(", held by"));
        if index == last {
            let first = ring.first().map(|first| words::node(first.task)).unwrap_or_default();
            let again = if last == 0 { Text::plain("itself") } else { Text::styled(bold, &first).and(" above") };
            page.paragraph(&prefix("└── "), &prefix("    "), &again);
        }
    }
}

fn named(text: Text, node: &Node, verb: &str) -> Text {
    match &node.at {
        Some(at) => text.and(&format!(" {verb} {}", words::spot(at))),
        None => text,
    }
}

/// One task of a cycle: it waits for `wants`, which the task of the next step holds.
pub(super) struct Step<'g> {
    pub(super) task: &'g Node,
    pub(super) holds: &'g Node,
    pub(super) wants: &'g Node,
    pub(super) wait: &'g Edge,
}

/// The tasks of one cycle, each followed by the one it waits for.
pub(super) fn steps(graph: &Graph) -> Vec<Step<'_>> {
    let ids = order(graph);
    let node = |index: usize| {
        let id = ids.get(index % ids.len().max(1))?;
        graph.nodes.iter().find(|node| node.id == *id)
    };
    let wait = |from: &str, to: &str| {
        graph.edges.iter().find(|edge| edge.kind == EdgeType::WaitsFor && edge.from == from && edge.to == to)
    };
    let steps = (0..ids.len()).filter_map(|index| {
        let (task, wants) = (node(index)?, node(index + 1)?);
        Some(Step { task, wants, holds: node(index + ids.len() - 1)?, wait: wait(&task.id, &wants.id)? })
    });
    steps.collect()
}

/// The ids of the nodes of one cycle, in order: task, resource, task, ...; empty where there is none.
pub(super) fn order(graph: &Graph) -> Vec<&str> {
    for start in &graph.nodes {
        let mut path = Vec::new();
        if walk(graph, &start.id, &start.id, &mut path, &mut HashSet::new()) {
            return path;
        }
    }
    Vec::new()
}

/// Finds a way back to `goal`. Its own stack rather than the thread's: a graph may come from a foreign file.
fn walk<'g>(graph: &'g Graph, from: &'g str, goal: &str, path: &mut Vec<&'g str>, seen: &mut HashSet<&'g str>) -> bool {
    let next = |at: &str| -> Vec<&'g str> {
        let edges = graph.edges.iter().filter_map(|edge| match edge.kind {
            EdgeType::WaitsFor if edge.from == at => Some(edge.to.as_str()),
            EdgeType::Holds if edge.to == at => Some(edge.from.as_str()),
            _ => None,
        });
        edges.collect()
    };
    seen.insert(from);
    path.push(from);
    let mut open = vec![next(from)];
    while let Some(ways) = open.last_mut() {
        let Some(way) = ways.pop() else {
            open.pop();
            path.pop();
            continue;
        };
        if way == goal {
            return true;
        }
        if seen.insert(way) {
            path.push(way);
            open.push(next(way));
        }
    }
    false
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::detect::{Confidence, Location, NodeType};

    /// A ring of `tasks` tasks, each holding a lock and waiting for the next one's.
    pub(in crate::report) fn ring_of(tasks: usize, file: &str) -> Graph {
        let place = |line: usize| Some(Location { file: file.into(), line: line as u32, ..Location::default() });
        let mut graph = Graph::default();
        let edge = |from: usize, to: usize, kind, at| Edge {
            from: format!("t{from}"),
            to: format!("r{to}"),
            kind,
            at,
            confidence: if kind == EdgeType::Holds { Confidence::Likely } else { Confidence::Proven },
        };
        for task in 0..tasks {
            let (id, label, at) =
                (format!("t{task}"), format!("task {task} (spawned at {file}:1{task})"), place(10 + task));
            graph.nodes.push(Node { id, kind: NodeType::Task, label, at });
            let (id, label, at) = (format!("r{task}"), format!("the Mutex made at {file}:2{task}"), place(20 + task));
            graph.nodes.push(Node { id, kind: NodeType::Resource, label, at });
            graph.edges.push(edge(task, task, EdgeType::Holds, None));
            graph.edges.push(edge(task, (task + 1) % tasks, EdgeType::WaitsFor, place(30 + task)));
        }
        graph
    }

    fn drawn(graph: &Graph, columns: usize) -> String {
        let mut page = Page::new(columns);
        draw(&mut page, graph);
        anstream::adapter::strip_str(&page.finish()).to_string()
    }

    #[test]
    fn two_tasks_in_a_ring() {
        let expected = "  cycle     ┌─▶ task 0 spawned at a.rs:10
            │   holds      lock A, the Mutex at a.rs:20
            │   waits for  lock B at a.rs:30, held by
            ├─▶ task 1 spawned at a.rs:11
            │   holds      lock B, the Mutex at a.rs:21
            │   waits for  lock A at a.rs:31, held by
            └── task 0 above
";
        assert_eq!(drawn(&ring_of(2, "a.rs"), 80), expected);
    }

    #[test]
    fn rings_of_any_size_keep_within_the_page() {
        let long = "/home/somebody/projects/a-very-long-workspace-name/crates/service/src/some/module/accounts.rs";
        for tasks in [1, 2, 3, 5, 40] {
            for columns in [60, 80, 120] {
                let text = drawn(&ring_of(tasks, long), columns);
                assert_eq!(text.matches("waits for").count(), tasks);
                assert!(text.lines().all(|line| Text::plain(line).width() <= columns), "{text}");
            }
        }
    }

    #[test]
    fn no_cycle_no_drawing() {
        assert_eq!(drawn(&Graph::default(), 80), "");
    }
}
