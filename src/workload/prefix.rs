//! Prefix identity of every request at an engine's block size, compressed into segments.
//!
//! A KV block's identity is its whole chain of tokens, so the prompts of a workload form a trie.
//! The trie is static: it is built once per block size and path-compressed, so that a prompt of
//! 250 blocks becomes three or four *segments*, runs of blocks that no prompt leaves or enters in
//! the middle. Engines then count, pin and evict runs, never single blocks.
//!
//! Segment ids `0..shared` come from prompts; every request also owns the private segment
//! `shared + request` for what follows its known tokens: the block that mixes the prompt's tail with
//! generated tokens, and the blocks generated after it.

use std::borrow::Cow;
use std::sync::{Arc, Mutex};

use rustc_hash::FxHashMap;

use super::Workload;

/// Paths of all requests through the compressed prefix trie at one block size.
#[derive(Debug)]
pub struct BlockPaths {
    /// Tokens per engine block.
    pub block_size: u32,
    /// Blocks in each shared segment.
    segment_blocks: Vec<u32>,
    /// CSR offsets into `path`, one more than requests.
    offsets: Vec<u32>,
    /// Segment ids along each request's known tokens.
    path: Vec<u32>,
    /// Full blocks covered by each request's path.
    path_blocks: Vec<u32>,
    /// Full blocks of each request's prompt; a prompt ends where a segment ends.
    prompt_blocks: Vec<u32>,
}

const NONE: u32 = u32::MAX;
/// The parent of a node that no request has come to yet.
const UNSEEN: u32 = u32::MAX - 1;

/// Paths already built, by block size: simulations of one workload share them.
#[derive(Debug, Default)]
pub struct PathCache(Mutex<Vec<Arc<BlockPaths>>>);

impl Workload {
    /// The paths of this workload at a block size, built on first use.
    pub fn paths(&self, block_size: u32) -> Arc<BlockPaths> {
        let mut built = self.path_cache.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(paths) = built.iter().find(|p| p.block_size == block_size) {
            return paths.clone();
        }
        let paths = Arc::new(BlockPaths::new(self, block_size));
        built.push(paths.clone());
        paths
    }
}

impl BlockPaths {
    /// Builds the paths of a workload at a block size. O(prompt blocks of the trace).
    pub fn new(workload: &Workload, block_size: u32) -> Self {
        let tokens = known_tokens(workload);
        let chains = Chains::new(workload, &tokens, block_size);
        let prompts = workload.requests.iter().map(|r| r.input_tokens / block_size).collect();
        let known = tokens.iter().map(|&t| t / block_size).collect();
        Segmenter::new(&chains, known, prompts).run(block_size)
    }

    /// Number of segments, private ones included.
    pub fn segments(&self) -> usize {
        self.segment_blocks.len() + self.path_blocks.len()
    }

    /// Segments along a request's known tokens, in order.
    pub fn path(&self, request: u32) -> &[u32] {
        let r = request as usize;
        &self.path[self.offsets[r] as usize..self.offsets[r + 1] as usize]
    }

    /// The leading part of [`Self::path`] that the prompt covers.
    pub fn prompt_path(&self, request: u32) -> &[u32] {
        let path = self.path(request);
        let prompt = self.prompt_blocks[request as usize];
        if prompt == self.path_blocks[request as usize] {
            return path;
        }
        let mut covered = 0;
        let segments = path.iter().take_while(|&&s| {
            covered += self.blocks(s);
            covered <= prompt
        });
        &path[..segments.count()]
    }

    /// Full blocks of a request's prompt.
    pub fn prompt_blocks(&self, request: u32) -> u32 {
        self.prompt_blocks[request as usize]
    }

    /// Blocks in a shared segment.
    pub fn blocks(&self, segment: u32) -> u32 {
        self.segment_blocks[segment as usize]
    }

    /// Full blocks on a request's path; blocks beyond belong to its private segment.
    pub fn path_blocks(&self, request: u32) -> u32 {
        self.path_blocks[request as usize]
    }

    /// The request's private segment.
    pub fn private_segment(&self, request: u32) -> u32 {
        self.segment_blocks.len() as u32 + request
    }
}

/// Tokens of each request whose content is known: the prompt, and where conversations grow, as much
/// of the output as the session's next prompt repeats.
fn known_tokens(workload: &Workload) -> Vec<u32> {
    let mut tokens: Vec<u32> = workload.requests.iter().map(|r| r.input_tokens).collect();
    if workload.grows {
        for session in 0..workload.sessions() {
            for pair in workload.session(session).windows(2) {
                let (now, next) = (&workload.requests[pair[0] as usize], &workload.requests[pair[1] as usize]);
                let said = now.input_tokens.saturating_add(now.output_tokens).min(next.input_tokens);
                if said > now.input_tokens && shares_prefix(workload, pair[0], pair[1], now.input_tokens) {
                    tokens[pair[0] as usize] = said;
                }
            }
        }
    }
    tokens
}

/// Whether two requests have the same content up to `tokens`.
fn shares_prefix(workload: &Workload, a: u32, b: u32, tokens: u32) -> bool {
    let blocks = tokens.div_ceil(workload.block_tokens) as usize;
    let (a, b) = (workload.blocks_of(a as usize), workload.blocks_of(b as usize));
    a.len() >= blocks && b.len() >= blocks && a[..blocks] == b[..blocks]
}

/// Every request as a chain of trie nodes, each node standing for `per_node` engine blocks.
struct Chains<'a> {
    per_node: u32,
    offsets: Cow<'a, [u32]>,
    nodes: Cow<'a, [u32]>,
    parent: Vec<u32>,
}

impl<'a> Chains<'a> {
    fn new(workload: &'a Workload, tokens: &[u32], block_size: u32) -> Self {
        let trace = Self::trace_chains(workload, tokens);
        if workload.block_tokens.is_multiple_of(block_size) {
            return Chains { per_node: workload.block_tokens / block_size, ..trace };
        }
        trace.reblocked(workload.block_tokens, block_size, tokens)
    }

    /// Interns (parent, id) pairs; as long as every id has one parent, the id is its own node, and as
    /// long as all are and nothing is known but prompts, the chains are those of the workload.
    fn trace_chains(workload: &'a Workload, tokens: &[u32]) -> Self {
        let mut parent = vec![UNSEEN; workload.distinct_blocks as usize];
        let mut forks: FxHashMap<(u32, u32), u32> = FxHashMap::default();
        let (mut offsets, mut nodes) = (Vec::new(), Vec::new());
        for (request, &known) in tokens.iter().enumerate() {
            let own = workload.blocks_of(request);
            let count = known.div_ceil(workload.block_tokens) as usize;
            let ids = if count <= own.len() { &own[..count] } else { workload.blocks_of(successor(workload, request)) };
            let copy = |offsets: &mut Vec<u32>, nodes: &mut Vec<u32>, done: usize| {
                if offsets.is_empty() {
                    offsets.extend_from_slice(&workload.block_offsets[..=request]);
                    nodes.reserve_exact(workload.blocks.len());
                    nodes.extend_from_slice(&workload.blocks[..offsets[request] as usize + done]);
                }
            };
            if count != own.len() {
                copy(&mut offsets, &mut nodes, 0);
            }
            let mut previous = NONE;
            for (done, &id) in ids[..count].iter().enumerate() {
                let node = if parent[id as usize] == UNSEEN {
                    parent[id as usize] = previous;
                    id
                } else if parent[id as usize] == previous {
                    id
                } else {
                    copy(&mut offsets, &mut nodes, done);
                    *forks.entry((previous, id)).or_insert_with(|| {
                        parent.push(previous);
                        parent.len() as u32 - 1
                    })
                };
                if !offsets.is_empty() {
                    nodes.push(node);
                }
                previous = node;
            }
            if !offsets.is_empty() {
                offsets.push(nodes.len() as u32);
            }
        }
        let (offsets, nodes) = match offsets.is_empty() {
            true => (Cow::Borrowed(&workload.block_offsets[..]), Cow::Borrowed(&workload.blocks[..])),
            false => (Cow::Owned(offsets), Cow::Owned(nodes)),
        };
        Chains { per_node: 1, offsets, nodes, parent }
    }

    /// Engine blocks that do not divide trace blocks: a block's identity is the chain up to the
    /// trace block that holds its last token, and its position.
    fn reblocked(&self, trace_block: u32, block_size: u32, tokens: &[u32]) -> Chains<'static> {
        let mut interned: FxHashMap<(u32, u32), u32> = FxHashMap::default();
        let mut parent = Vec::new();
        let mut offsets = vec![0];
        let mut nodes = Vec::new();
        for (request, &known) in tokens.iter().enumerate() {
            let chain = &self.nodes[self.offsets[request] as usize..self.offsets[request + 1] as usize];
            let mut previous = NONE;
            for position in 0..known / block_size {
                let end = u64::from(position + 1) * u64::from(block_size);
                let last = chain[(end.div_ceil(u64::from(trace_block)) - 1) as usize];
                let node = *interned.entry((last, position)).or_insert_with(|| {
                    parent.push(previous);
                    parent.len() as u32 - 1
                });
                nodes.push(node);
                previous = node;
            }
            offsets.push(nodes.len() as u32);
        }
        Chains { per_node: 1, offsets: Cow::Owned(offsets), nodes: Cow::Owned(nodes), parent }
    }

    fn of(&self, request: usize) -> &[u32] {
        &self.nodes[self.offsets[request] as usize..self.offsets[request + 1] as usize]
    }
}

/// The next turn of a request's session.
fn successor(workload: &Workload, request: usize) -> usize {
    let r = &workload.requests[request];
    workload.session(r.session as usize)[r.turn as usize + 1] as usize
}

/// Some request covers the node.
const COVERED: u8 = 1;
/// It has a child that is covered.
const HAS_CHILD: u8 = 2;
/// It has several.
const BRANCHES: u8 = 4;
/// A request ends at its end.
const ENDS_HERE: u8 = 8;
/// A request ends within it.
const IS_CUT: u8 = 16;

/// Cuts chains into segments at every branch and at every end of a request.
struct Segmenter<'a> {
    chains: &'a Chains<'a>,
    /// Full engine blocks per request.
    blocks: Vec<u32>,
    /// Full engine blocks per prompt.
    prompts: Vec<u32>,
    /// What is known of each node, in bits.
    marks: Vec<u8>,
    /// Engine blocks of the node that any request covers; left out where a node is one block.
    extent: Vec<u32>,
    /// Ends inside a node: (node, blocks of it covered), sorted.
    cuts: Vec<(u32, u32)>,
}

impl<'a> Segmenter<'a> {
    fn new(chains: &'a Chains, blocks: Vec<u32>, prompts: Vec<u32>) -> Self {
        let n = chains.parent.len();
        let mut this = Segmenter {
            chains,
            marks: vec![0; n],
            extent: if chains.per_node == 1 { Vec::new() } else { vec![0; n] },
            cuts: Vec::new(),
            blocks,
            prompts,
        };
        let per_node = chains.per_node;
        for request in 0..this.blocks.len() {
            let blocks = this.blocks[request];
            let Some(last) = blocks.div_ceil(per_node).checked_sub(1) else { continue };
            let chain = chains.of(request);
            for &node in &chain[..last as usize] {
                this.cover(node, per_node);
            }
            this.cover(chain[last as usize], blocks - last * per_node);
            for end in [blocks, this.prompts[request]] {
                let Some(last) = end.div_ceil(per_node).checked_sub(1) else { continue };
                let (node, rest) = (chain[last as usize], end - last * per_node);
                if rest == per_node {
                    this.marks[node as usize] |= ENDS_HERE;
                } else {
                    this.marks[node as usize] |= IS_CUT;
                    this.cuts.push((node, rest));
                }
            }
        }
        this.cuts.sort_unstable();
        this.cuts.dedup();
        this
    }

    fn cover(&mut self, node: u32, blocks: u32) {
        let node = node as usize;
        if self.marks[node] & COVERED == 0 {
            self.marks[node] |= COVERED;
            let parent = self.chains.parent[node];
            if parent != NONE {
                let marks = &mut self.marks[parent as usize];
                *marks |= if *marks & HAS_CHILD == 0 { HAS_CHILD } else { BRANCHES };
            }
        }
        if let Some(extent) = self.extent.get_mut(node) {
            *extent = blocks.max(*extent);
        }
    }

    fn run(self, block_size: u32) -> BlockPaths {
        let mut segment_blocks: Vec<u32> = Vec::new();
        let mut first_segment = vec![NONE; self.marks.len()];
        // Of nodes that are cut; of others it is the first.
        let mut last_segment: FxHashMap<u32, u32> = FxHashMap::default();
        let mut offsets = vec![0u32];
        let mut path: Vec<u32> = Vec::new();
        let mut second_piece: FxHashMap<u32, u32> = FxHashMap::default();
        for (request, &blocks) in self.blocks.iter().enumerate() {
            let nodes = blocks.div_ceil(self.chains.per_node) as usize;
            let start = path.len();
            let mut left = blocks;
            for &node in &self.chains.of(request)[..nodes] {
                let n = node as usize;
                if first_segment[n] == NONE {
                    let parent = self.chains.parent[n];
                    let before = match parent {
                        NONE => NONE,
                        _ if self.marks[parent as usize] & (BRANCHES | ENDS_HERE) != 0 => NONE,
                        _ if self.marks[parent as usize] & IS_CUT == 0 => first_segment[parent as usize],
                        _ => last_segment.get(&parent).copied().unwrap_or(first_segment[parent as usize]),
                    };
                    let segment = if before != NONE {
                        before
                    } else {
                        segment_blocks.push(0);
                        segment_blocks.len() as u32 - 1
                    };
                    first_segment[n] = segment;
                    let extent = self.extent.get(n).copied().unwrap_or(1);
                    let cuts = self.cuts_of(node);
                    let mut at = 0;
                    let mut current = segment;
                    for &(_, cut) in cuts {
                        segment_blocks[current as usize] += cut - at;
                        at = cut;
                        if cut < extent {
                            segment_blocks.push(0);
                            current = segment_blocks.len() as u32 - 1;
                            // Pieces after the first of a node have consecutive ids.
                            second_piece.entry(node).or_insert(current);
                        }
                    }
                    segment_blocks[current as usize] += extent - at;
                    if current != segment {
                        last_segment.insert(node, current);
                    }
                }
                let cuts = self.cuts_of(node);
                let covered = left.min(self.chains.per_node);
                left -= covered;
                push_distinct(&mut path, start, first_segment[n]);
                if !cuts.is_empty() && cuts[0].1 < covered {
                    let base = second_piece[&node];
                    for (index, _) in cuts.iter().take_while(|c| c.1 < covered).enumerate() {
                        push_distinct(&mut path, start, base + index as u32);
                    }
                }
            }
            offsets.push(path.len() as u32);
        }
        BlockPaths { block_size, segment_blocks, offsets, path, path_blocks: self.blocks, prompt_blocks: self.prompts }
    }

    fn cuts_of(&self, node: u32) -> &[(u32, u32)] {
        if self.marks[node as usize] & IS_CUT == 0 {
            return &[];
        }
        let from = self.cuts.partition_point(|c| c.0 < node);
        let to = from + self.cuts[from..].partition_point(|c| c.0 == node);
        &self.cuts[from..to]
    }
}

fn push_distinct(path: &mut Vec<u32>, start: usize, segment: u32) {
    if path.len() == start || path[path.len() - 1] != segment {
        path.push(segment);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::{Load, Request};
    use proptest::prelude::*;

    /// A workload of one-turn sessions from (tokens, ids) pairs.
    fn workload(prompts: &[(u32, Vec<u32>)], block_tokens: u32) -> Workload {
        let mut w = Workload {
            requests: Vec::new(),
            block_tokens,
            block_offsets: vec![0],
            blocks: Vec::new(),
            distinct_blocks: 1 + prompts.iter().flat_map(|p| p.1.iter().copied()).max().unwrap_or(0),
            session_offsets: vec![0],
            session_requests: Vec::new(),
            session_names: Vec::new(),
            grows: false,
            load: Load::Open,
            source: String::new(),
            sha256: String::new(),
            measured_from_ms: 0.0,
            path_cache: PathCache::default(),
        };
        for (i, (tokens, ids)) in prompts.iter().enumerate() {
            let i = i as u32;
            w.requests.push(Request {
                arrival_ms: 0.0,
                delay_ms: 0.0,
                input_tokens: *tokens,
                output_tokens: 1,
                session: i,
                turn: 0,
                row: i,
            });
            w.blocks.extend(ids);
            w.block_offsets.push(w.blocks.len() as u32);
            w.session_requests.push(i);
            w.session_offsets.push(i + 1);
            w.session_names.push(String::new());
        }
        w
    }

    fn tokens(prompt: &(u32, Vec<u32>), block_tokens: u32) -> Vec<u32> {
        prompt.1.iter().flat_map(|&id| std::iter::repeat_n(id, block_tokens as usize)).take(prompt.0 as usize).collect()
    }

    fn prompts(block_tokens: u32) -> impl proptest::strategy::Strategy<Value = Vec<(u32, Vec<u32>)>> {
        let ids = prop::collection::vec(0u32..4, 1..8);
        prop::collection::vec((ids, 0..block_tokens), 1..12).prop_map(move |rows| {
            rows.into_iter().map(|(ids, short)| ((ids.len() as u32 * block_tokens - short).max(1), ids)).collect()
        })
    }

    proptest! {
        /// Common leading segments hold exactly the common leading full blocks of the token streams.
        #[test]
        fn segments_share_exactly_the_common_blocks(rows in prompts(12), block_size in 1u32..30) {
            let w = workload(&rows, 12);
            let paths = BlockPaths::new(&w, block_size);
            for (a, left) in rows.iter().enumerate() {
                let own: u32 = paths.path(a as u32).iter().map(|&s| paths.blocks(s)).sum();
                prop_assert_eq!(own, left.0 / block_size);
                prop_assert_eq!(own, paths.path_blocks(a as u32));
                for (b, right) in rows.iter().enumerate() {
                    let (x, y) = (tokens(left, 12), tokens(right, 12));
                    let common = x.iter().zip(&y).take_while(|(p, q)| p == q).count() as u32 / block_size;
                    let shared: u32 = paths.path(a as u32).iter().zip(paths.path(b as u32))
                        .take_while(|(p, q)| p == q).map(|(&s, _)| paths.blocks(s)).sum();
                    prop_assert_eq!(shared, common, "{:?} {:?}", left, right);
                }
            }
        }
    }
}
