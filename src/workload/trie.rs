//! The prompts of a workload as a trie, path-compressed: an edge is content that no prompt leaves in
//! the middle.
//!
//! Edges refer to the runs of the prompts that go along them, and prompts are compared a run at a time,
//! so the trie of a workload takes time and memory by its runs, however many blocks they have.

use rustc_hash::FxHashMap;

use super::contents::{Contents, Run};

/// No edge: what is above the top.
pub(super) const TOP: u32 = u32::MAX;

/// A place in the runs of all prompts.
#[derive(Clone, Copy, Debug)]
struct Cursor {
    run: u32,
    /// Ids of the run that come before.
    passed: u32,
}

impl Cursor {
    fn id(self, runs: &[Run]) -> u32 {
        runs[self.run as usize].first + self.passed
    }

    fn left(self, runs: &[Run]) -> u32 {
        runs[self.run as usize].len - self.passed
    }

    fn advance(&mut self, by: u32, runs: &[Run]) {
        self.passed += by;
        if self.passed == runs[self.run as usize].len {
            *self = Cursor { run: self.run + 1, passed: 0 };
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Edge {
    parent: u32,
    /// Blocks from the top to its end.
    end: u32,
    /// Where its content stands.
    label: Cursor,
    /// Something follows it.
    is_inner: bool,
}

/// A trie of prompts.
#[derive(Debug)]
pub(super) struct Trie<'a> {
    runs: &'a [Run],
    edges: Vec<Edge>,
    /// By the edge before (or [`TOP`]) and the first id.
    children: FxHashMap<(u32, u32), u32>,
}

impl<'a> Trie<'a> {
    pub fn new(contents: &'a Contents) -> Self {
        Trie { runs: contents.all_runs(), edges: Vec::new(), children: FxHashMap::default() }
    }

    /// Adds the first `blocks` ids of the runs from place `from` on. Says in which edge they end (until
    /// another insertion divides it, see [`Self::last`]) and how many of them were there before.
    pub fn insert(&mut self, from: usize, blocks: u32) -> (u32, u32) {
        let runs = self.runs;
        let mut here = Cursor { run: from as u32, passed: 0 };
        let (mut at, mut depth) = (TOP, 0);
        while depth < blocks {
            let id = here.id(runs);
            let Some(&edge) = self.children.get(&(at, id)) else {
                let new = self.add(Edge { parent: at, end: blocks, label: here, is_inner: false }, id);
                return (new, depth);
            };
            let Edge { end, label, is_inner, .. } = self.edges[edge as usize];
            let (mut there, begin, start) = (label, here, depth);
            let most = end.min(blocks);
            while depth < most && here.id(runs) == there.id(runs) {
                let step = here.left(runs).min(there.left(runs)).min(most - depth);
                here.advance(step, runs);
                there.advance(step, runs);
                depth += step;
            }
            if depth == blocks {
                return (edge, depth);
            }
            if depth < end {
                at = self.divide(edge, depth, there, id);
            } else if is_inner {
                at = edge;
            } else {
                // Nothing leaves it here: it is the same edge, longer.
                debug_assert!(start < depth);
                let edge_now = &mut self.edges[edge as usize];
                (edge_now.label, edge_now.end) = (begin, blocks);
                return (edge, depth);
            }
        }
        (at, depth)
    }

    fn add(&mut self, edge: Edge, first_id: u32) -> u32 {
        let new = self.edges.len() as u32;
        self.children.insert((edge.parent, first_id), new);
        self.edges.push(edge);
        if let Some(parent) = self.edges.get_mut(edge.parent as usize) {
            parent.is_inner = true;
        }
        new
    }

    /// Cuts an edge at a depth; the upper part is new.
    fn divide(&mut self, edge: u32, depth: u32, rest: Cursor, first_id: u32) -> u32 {
        let whole = self.edges[edge as usize];
        let upper = self.add(Edge { end: depth, is_inner: true, ..whole }, first_id);
        let lower = &mut self.edges[edge as usize];
        (lower.parent, lower.label) = (upper, rest);
        self.children.insert((upper, rest.id(self.runs)), edge);
        upper
    }

    /// Number of edges.
    pub fn len(&self) -> usize {
        self.edges.len()
    }

    /// Blocks from the top to the end of an edge; 0 for the top.
    pub fn end(&self, edge: u32) -> u32 {
        self.edges.get(edge as usize).map_or(0, |e| e.end)
    }

    /// The edge before an edge.
    pub fn parent(&self, edge: u32) -> u32 {
        self.edges[edge as usize].parent
    }

    /// The edge in which `blocks` end that were said to end in `edge` when they were inserted.
    pub fn last(&self, mut edge: u32, blocks: u32) -> u32 {
        while edge != TOP && self.end(self.parent(edge)) >= blocks {
            edge = self.parent(edge);
        }
        edge
    }

    /// The edges from the top to an edge.
    pub fn path(&self, edge: u32, path: &mut Vec<u32>) {
        path.clear();
        let mut at = edge;
        while at != TOP {
            path.push(at);
            at = self.parent(at);
        }
        path.reverse();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_are_divided_only_where_prompts_part() {
        let mut contents = Contents::default();
        for prompt in [&[0, 1, 2, 3][..], &[0, 1, 2, 3, 4], &[0, 1], &[0, 1, 2, 9], &[7]] {
            prompt.iter().for_each(|&id| contents.push(id));
            contents.end_prompt();
        }
        let mut trie = Trie::new(&contents);
        let told: Vec<_> = (0..5).map(|p| trie.insert(contents.range(p).start, contents.len_of(p))).collect();
        assert_eq!(told.iter().map(|t| t.1).collect::<Vec<_>>(), [0, 4, 2, 3, 0], "known before");
        assert_eq!(trie.len(), 4, "[0, 1, 2], [3, 4], [9], [7]");
        let mut path = Vec::new();
        let mut ends = |prompt: usize| {
            let last = trie.last(told[prompt].0, contents.len_of(prompt));
            trie.path(last, &mut path);
            path.iter().map(|&edge| trie.end(edge)).collect::<Vec<_>>()
        };
        assert_eq!(
            [ends(0), ends(1), ends(2), ends(3), ends(4)],
            [vec![3, 5], vec![3, 5], vec![3], vec![3, 4], vec![1]]
        );
    }
}
