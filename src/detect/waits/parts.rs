//! The parts of a directed graph in which every node leads to every other one. Tarjan's algorithm, which looks at each
//! node and each way once; with a stack of its own, since ten thousand tasks may wait in one line.

use std::collections::HashMap;
use std::hash::Hash;

/// Where a node stands while its part is not known yet.
struct Visit {
    order: usize,
    /// The earliest node that it is known to lead back to.
    back: usize,
    /// Its part is still open.
    open: bool,
}

/// Those parts of what `nodes` lead to, each once. `ways` is asked once for each node.
pub(super) fn parts<N: Copy + Eq + Hash>(
    nodes: impl IntoIterator<Item = N>,
    mut ways: impl FnMut(N) -> Vec<N>,
) -> Vec<Vec<N>> {
    let mut visits: HashMap<N, Visit> = HashMap::new();
    let mut open: Vec<N> = Vec::new();
    let mut found = Vec::new();
    for start in nodes {
        if visits.contains_key(&start) {
            continue;
        }
        let mut path: Vec<(N, std::vec::IntoIter<N>)> = Vec::new();
        let mut next = Some(start);
        loop {
            if let Some(node) = next.take() {
                let order = visits.len();
                visits.insert(node, Visit { order, back: order, open: true });
                open.push(node);
                path.push((node, ways(node).into_iter()));
            }
            let Some((node, rest)) = path.last_mut() else { break };
            let node = *node;
            if let Some(way) = rest.next() {
                match visits.get(&way).filter(|visit| visit.open).map(|visit| visit.order) {
                    Some(order) => lower(&mut visits, node, order),
                    None if visits.contains_key(&way) => {}
                    None => next = Some(way),
                }
                continue;
            }
            path.pop();
            let Some((order, back)) = visits.get(&node).map(|visit| (visit.order, visit.back)) else { continue };
            if let Some(&(before, _)) = path.last() {
                lower(&mut visits, before, back);
            }
            if back == order {
                let first = open.iter().rposition(|one| *one == node).unwrap_or(0);
                let part = open.split_off(first);
                for one in &part {
                    visits.entry(*one).and_modify(|visit| visit.open = false);
                }
                found.push(part);
            }
        }
    }
    found
}

fn lower<N: Eq + Hash>(visits: &mut HashMap<N, Visit>, node: N, order: usize) {
    if let Some(visit) = visits.get_mut(&node) {
        visit.back = visit.back.min(order);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The parts of more than one node, ascending, of the graph with these ways.
    fn rings(ways: &[(u32, u32)]) -> Vec<Vec<u32>> {
        let from = |node: u32| ways.iter().filter(|way| way.0 == node).map(|way| way.1).collect();
        let mut found: Vec<Vec<u32>> = parts(ways.iter().map(|way| way.0), from);
        found.retain(|part| part.len() > 1);
        found.iter_mut().for_each(|part| part.sort_unstable());
        found.sort();
        found
    }

    #[test]
    fn rings_are_told_from_what_leads_to_them_and_away() {
        assert_eq!(rings(&[(1, 2), (2, 3)]), Vec::<Vec<u32>>::new());
        assert_eq!(rings(&[(0, 1), (1, 2), (2, 1), (2, 3)]), [[1, 2]]);
        assert_eq!(rings(&[(1, 2), (2, 1), (2, 3), (3, 4), (4, 3)]), [[1, 2], [3, 4]]);
        assert_eq!(rings(&[(1, 2), (2, 3), (3, 1), (3, 4), (4, 5), (5, 3)]), [[1, 2, 3, 4, 5]]);
        // A part that is over is not met again by a later path.
        assert_eq!(rings(&[(5, 6), (6, 5), (7, 5), (7, 8), (8, 7)]), [[5, 6], [7, 8]]);
    }

    #[test]
    fn each_node_is_asked_once_however_long_the_line() {
        const LONG: u32 = 100_000;
        for closed in [false, true] {
            let mut asked = 0;
            let found = parts(0..LONG, |node| {
                asked += 1;
                let last = node + 1 == LONG;
                if last && !closed { Vec::new() } else { vec![(node + 1) % LONG] }
            });
            assert_eq!(asked, LONG);
            assert_eq!(found.len(), if closed { 1 } else { LONG as usize });
        }
    }
}
