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

use std::sync::{Arc, Mutex};

use super::Workload;
use super::trie::{TOP, Trie};

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
    /// Builds the paths of a workload at a block size. O(runs of content and segments of all paths).
    pub fn new(workload: &Workload, block_size: u32) -> Self {
        let tokens = known_tokens(workload);
        let mut trie = Trie::new(&workload.contents);
        let mut ends: Vec<u32> = Vec::with_capacity(tokens.len());
        for (request, &known) in tokens.iter().enumerate() {
            let (from, blocks) = known_content(workload, request, known);
            ends.push(trie.insert(from, blocks).0);
        }
        for (end, &known) in ends.iter_mut().zip(&tokens) {
            *end = trie.last(*end, known.div_ceil(workload.block_tokens));
        }
        let prompt_blocks: Vec<u32> = workload.requests.iter().map(|r| r.input_tokens / block_size).collect();
        let path_blocks: Vec<u32> = tokens.iter().map(|&t| t / block_size).collect();
        let mut segmenter = Segmenter {
            trie: &trie,
            block_tokens: workload.block_tokens.into(),
            block_size: block_size.into(),
            cuts: Vec::new(),
            cut_offsets: Vec::new(),
        };
        let mut edges = Vec::new();
        for (request, &end) in ends.iter().enumerate() {
            trie.path(end, &mut edges);
            segmenter.cut(&edges, path_blocks[request]);
            segmenter.cut(&edges, prompt_blocks[request]);
        }
        segmenter.index_cuts();

        let mut segment_of = vec![NONE; trie.len() + segmenter.cuts.len()];
        let mut segment_blocks: Vec<u32> = Vec::new();
        let (mut path, mut offsets) = (Vec::new(), vec![0u32]);
        for (request, &end) in ends.iter().enumerate() {
            trie.path(end, &mut edges);
            for &edge in &edges {
                for (piece, blocks) in segmenter.pieces(edge, path_blocks[request]) {
                    let segment = &mut segment_of[piece as usize];
                    if *segment == NONE {
                        *segment = segment_blocks.len() as u32;
                        segment_blocks.push(blocks);
                    }
                    path.push(*segment);
                }
            }
            offsets.push(path.len() as u32);
        }
        path.shrink_to_fit();
        segment_blocks.shrink_to_fit();
        BlockPaths { block_size, segment_blocks, offsets, path, path_blocks, prompt_blocks }
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
    workload.contents.share(a as usize, b as usize, tokens.div_ceil(workload.block_tokens))
}

/// Where the known content of a request stands: place of its first run, and how many blocks of the
/// trace it begins.
fn known_content(workload: &Workload, request: usize, tokens: u32) -> (usize, u32) {
    let blocks = tokens.div_ceil(workload.block_tokens);
    let is_own = blocks <= workload.contents.len_of(request);
    let of = if is_own { request } else { successor(workload, request) };
    (workload.contents.range(of).start, blocks)
}

/// The next turn of a request's session.
fn successor(workload: &Workload, request: usize) -> usize {
    let r = &workload.requests[request];
    workload.session(r.session as usize)[r.turn as usize + 1] as usize
}

/// The edges of the trace's trie, cut into segments wherever a request ends.
///
/// A block of the engine has the content of the chain of the trace's blocks up to the one that holds
/// its last token. So of `n` common blocks of the trace come `n * block_tokens / block_size` common
/// blocks of the engine, rounded down, and edge ends turn into engine blocks in the same way.
struct Segmenter<'a> {
    trie: &'a Trie<'a>,
    /// Of trace and engine, tokens.
    block_tokens: u64,
    block_size: u64,
    /// Blocks of the engine at which edges are cut: (edge, blocks from the top), sorted.
    cuts: Vec<(u32, u32)>,
    /// Of each edge among `cuts`, one more than edges.
    cut_offsets: Vec<u32>,
}

impl Segmenter<'_> {
    /// Engine blocks from the top to the end of an edge.
    fn end(&self, edge: u32) -> u32 {
        if edge == TOP {
            return 0;
        }
        // No request has more than u32 of either.
        (u64::from(self.trie.end(edge)) * self.block_tokens / self.block_size).min(u32::MAX.into()) as u32
    }

    /// Cuts the edge of a path in which a request ends, unless it ends where the edge does.
    fn cut(&mut self, path: &[u32], blocks: u32) {
        let at = path.partition_point(|&edge| self.end(edge) < blocks);
        if blocks > 0 && self.end(path[at]) > blocks {
            self.cuts.push((path[at], blocks));
        }
    }

    fn index_cuts(&mut self) {
        self.cuts.sort_unstable();
        self.cuts.dedup();
        self.cut_offsets = vec![0; self.trie.len() + 1];
        for &(edge, _) in &self.cuts {
            self.cut_offsets[edge as usize + 1] += 1;
        }
        for edge in 0..self.trie.len() {
            self.cut_offsets[edge + 1] += self.cut_offsets[edge];
        }
    }

    /// The pieces of an edge within the first `blocks` blocks: number among all pieces, and length.
    fn pieces(&self, edge: u32, blocks: u32) -> impl Iterator<Item = (u32, u32)> + '_ {
        let (from, to) = (self.cut_offsets[edge as usize], self.cut_offsets[edge as usize + 1]);
        let ends = self.cuts[from as usize..to as usize].iter().map(|cut| cut.1).chain([self.end(edge)]);
        let mut start = self.end(self.trie.parent(edge));
        // Each edge has one piece more than it has cuts.
        (from + edge..).zip(ends).filter_map(move |(piece, end)| {
            let len = end - start;
            let begin = std::mem::replace(&mut start, end);
            (len > 0 && begin < blocks).then_some((piece, len))
        })
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
            contents: Default::default(),
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
            ids.iter().for_each(|&id| w.contents.push(id));
            w.contents.end_prompt();
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

        /// A segment ends where prompts part or one ends, and nowhere else.
        #[test]
        fn segments_are_as_long_as_they_can_be(rows in prompts(12), block_size in 1u32..30) {
            let w = workload(&rows, 12);
            let paths = BlockPaths::new(&w, block_size);
            for (a, left) in rows.iter().enumerate() {
                let own = left.0 / block_size;
                let mut ends = std::collections::BTreeSet::new();
                for right in &rows {
                    let (x, y) = (tokens(left, 12), tokens(right, 12));
                    ends.insert(x.iter().zip(&y).take_while(|(p, q)| p == q).count() as u32 / block_size);
                }
                ends.remove(&0);
                let mut end = 0;
                let told: Vec<u32> = paths.path(a as u32).iter().map(|&s| { end += paths.blocks(s); end }).collect();
                prop_assert_eq!(&told, &ends.into_iter().collect::<Vec<_>>(), "of {} blocks", own);
            }
        }

        /// So it is where the outputs that conversations go on with are known too.
        #[test]
        fn known_outputs_are_on_the_path(
            ids in prop::collection::vec(0u32..3, 3..12),
            cut in 1u32..20,
            said in 0u32..30,
            block_size in 1u32..30,
        ) {
            let whole = ids.len() as u32 * 12;
            let first = (whole - 1).min(cut);
            let mut w = workload(&[(first, ids[..first.div_ceil(12) as usize].to_vec()), (whole, ids.clone())], 12);
            (w.grows, w.session_offsets, w.session_names) = (true, vec![0, 2], vec![String::new()]);
            (w.requests[0].output_tokens, w.requests[1].session, w.requests[1].turn) = (said, 0, 1);
            let paths = BlockPaths::new(&w, block_size);
            let known = (first + said).min(whole) / block_size;
            prop_assert_eq!((paths.path_blocks(0), paths.prompt_blocks(0)), (known, first / block_size));
            prop_assert!(paths.path(1).starts_with(paths.path(0)));
            let blocks = |path: &[u32]| path.iter().map(|&s| paths.blocks(s)).sum::<u32>();
            prop_assert_eq!(blocks(paths.path(0)), known);
            prop_assert_eq!(blocks(paths.prompt_path(0)), first / block_size);
            prop_assert_eq!(blocks(paths.path(1)), whole / block_size);
        }
    }

    #[test]
    fn a_day_of_runs_is_small() {
        // 200 conversations of 20 turns over 10,000 blocks each: 21 million ids.
        let mut rows = Vec::new();
        for session in 0..200u32 {
            for turn in 1..=20u32 {
                rows.push((turn, session));
            }
        }
        let mut w = workload(&[], 16);
        for (i, &(turn, session)) in rows.iter().enumerate() {
            let blocks = turn * 500;
            w.contents.push_run(crate::workload::Run { first: session * 10_000, len: blocks });
            w.contents.end_prompt();
            let (input_tokens, output_tokens, row, session) = (blocks * 16, 1, i as u32, i as u32);
            w.requests.push(Request {
                arrival_ms: 0.0,
                delay_ms: 0.0,
                input_tokens,
                output_tokens,
                session,
                turn: 0,
                row,
            });
            w.session_requests.push(row);
            w.session_offsets.push(row + 1);
            w.session_names.push(String::new());
        }
        assert_eq!((w.contents.blocks(), w.contents.all_runs().len()), (21_000_000, 4000));
        for block_size in [1, 16, 48, 1000] {
            let paths = BlockPaths::new(&w, block_size);
            assert_eq!(paths.segments(), 4000 + 4000, "one more segment by each turn, and the private ones");
        }
    }
}
