//! Who waits for whom in a circle: the order of its nodes, and a small drawing of it.

use super::layout::{INDENT, Page, Text};
use super::words;
use crate::detect::{Edge, EdgeType, Graph, Node};
use anstyle::Style;
use pollscope_recording::TaskId;
use std::collections::{HashMap, HashSet};

/// Most tasks of a cycle that are drawn in text: more than five fill a screen.
const MOST: usize = 6;
/// Tasks drawn of a cycle of more than that.
const FEW: usize = 4;

/// Draws the cycle through `graph`, a few lines for each task; nothing where there is no cycle. Of a long one the part
/// around `first` is drawn.
pub(super) fn draw(page: &mut Page, graph: &Graph, first: Option<TaskId>) {
    let Shown { steps: ring, left_out } = shown(graph, first, MOST, FEW);
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
        if left_out > 0 && index + 1 == last {
            let more = format!("{}, each of which holds a lock and waits for the next one's", more(left_out));
            page.paragraph(&prefix("⋮   "), &prefix("⋮   "), &Text::plain(&more));
        }
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

/// A cycle, or what is shown of a long one.
pub(super) struct Shown<'g> {
    pub(super) steps: Vec<Step<'g>>,
    /// Tasks left out before the last one that is shown.
    pub(super) left_out: usize,
}

/// The tasks of one cycle; of one of more than `most` so `few`, from the task `first` on and up to the one before it.
pub(super) fn shown(graph: &Graph, first: Option<TaskId>, most: usize, few: usize) -> Shown<'_> {
    let mut steps = steps(graph);
    if steps.len() <= most {
        return Shown { steps, left_out: 0 };
    }
    let first = first.map(|task| format!("t{task}"));
    let start = steps.iter().position(|step| Some(&step.task.id) == first.as_ref()).unwrap_or(0);
    steps.rotate_left(start);
    let left_out = steps.len() - few;
    steps.drain(few - 1..few - 1 + left_out);
    Shown { steps, left_out }
}

/// `12 more tasks`.
pub(super) fn more(left_out: usize) -> String {
    words::counted(left_out as u64, "more task")
}

/// The tasks of one cycle, each followed by the one it waits for.
fn steps(graph: &Graph) -> Vec<Step<'_>> {
    let ids = order(graph);
    let nodes: HashMap<&str, &Node> = graph.nodes.iter().rev().map(|node| (node.id.as_str(), node)).collect();
    let node = |index: usize| nodes.get(ids.get(index % ids.len().max(1))?).copied();
    let waits = graph.edges.iter().rev().filter(|edge| edge.kind == EdgeType::WaitsFor);
    let waits: HashMap<(&str, &str), &Edge> =
        waits.map(|edge| ((edge.from.as_str(), edge.to.as_str()), edge)).collect();
    let wait = |from: &str, to: &str| waits.get(&(from, to)).copied();
    let steps = (0..ids.len()).filter_map(|index| {
        let (task, wants) = (node(index)?, node(index + 1)?);
        Some(Step { task, wants, holds: node(index + ids.len() - 1)?, wait: wait(&task.id, &wants.id)? })
    });
    steps.collect()
}

/// The ids of the nodes of one cycle, in order: task, resource, task, ...; empty where there is none.
pub(super) fn order(graph: &Graph) -> Vec<&str> {
    let mut ways: Ways<'_> = HashMap::new();
    for edge in &graph.edges {
        let (from, to) = match edge.kind {
            EdgeType::WaitsFor => (&edge.from, &edge.to),
            EdgeType::Holds => (&edge.to, &edge.from),
        };
        ways.entry(from).or_default().push(to);
    }
    for start in &graph.nodes {
        let mut path = Vec::new();
        if walk(&ways, &start.id, &start.id, &mut path, &mut HashSet::new()) {
            return path;
        }
    }
    Vec::new()
}

/// The same from this task on, if it is among them.
pub(super) fn order_from(graph: &Graph, first: Option<TaskId>) -> Vec<&str> {
    let mut order = order(graph);
    let first = first.map(|task| format!("t{task}"));
    let start = order.iter().position(|id| Some(*id) == first.as_deref()).unwrap_or(0);
    order.rotate_left(start);
    order
}

/// Where the waiting leads to from each node.
type Ways<'g> = HashMap<&'g str, Vec<&'g str>>;

/// Finds a way back to `goal`. Its own stack rather than the thread's: a graph may come from a foreign file.
fn walk<'g>(ways: &Ways<'g>, from: &'g str, goal: &str, path: &mut Vec<&'g str>, seen: &mut HashSet<&'g str>) -> bool {
    let next = |at: &str| -> Vec<&'g str> { ways.get(at).cloned().unwrap_or_default() };
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
        draw(&mut page, graph, Some(3));
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
                assert_eq!(text.matches("│   waits for").count(), if tasks <= MOST { tasks } else { FEW });
                assert!(text.lines().all(|line| Text::plain(line).width() <= columns), "{text}");
            }
        }
    }

    #[test]
    fn of_a_long_ring_the_culprit_is_drawn_and_the_rest_counted() {
        let expected = "  cycle     ┌─▶ task 3 spawned at a.rs:13
            │   holds      lock D, the Mutex at a.rs:23
            │   waits for  lock E at a.rs:33, held by
            ├─▶ task 4 spawned at a.rs:14
            │   holds      lock E, the Mutex at a.rs:24
            │   waits for  lock F at a.rs:34, held by
            ├─▶ task 5 spawned at a.rs:15
            │   holds      lock F, the Mutex at a.rs:25
            │   waits for  lock G at a.rs:35, held by
            ⋮   9996 more tasks, each of which holds a lock and waits for the next one's
            ├─▶ task 2 spawned at a.rs:12
            │   holds      lock C, the Mutex at a.rs:22
            │   waits for  lock D at a.rs:32, held by
            └── task 3 above
";
        assert_eq!(drawn(&ring_of(10_000, "a.rs"), 100), expected);
    }

    #[test]
    fn no_cycle_no_drawing() {
        assert_eq!(drawn(&Graph::default(), 80), "");
    }
}
