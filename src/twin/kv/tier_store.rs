//! The blocks of one tier below GPU memory: which are there, which are still being copied.
//!
//! Blocks on their way are findable at once, so that nobody copies them a second time, and *pending*
//! until their copy is done. Transfers hold what they read and write together with everything before it,
//! so residents form a prefix-closed forest, as in the [`KvPool`] that keeps them. Nothing held is
//! evicted; letting go puts a prefix's tail nearest to eviction.

use rustc_hash::FxHashMap;

use super::pool::KvPool;
use crate::workload::prefix::BlockPaths;

/// Blocks of a segment that one transfer writes.
#[derive(Clone, Copy, Debug)]
struct Pending {
    from: u32,
    to: u32,
    job: u32,
}

/// One tier's blocks.
#[derive(Debug)]
pub(super) struct Store {
    pool: KvPool,
    /// By segment.
    pending: FxHashMap<u32, Vec<Pending>>,
}

/// The parts of a request's blocks `from..to` that lie in each segment of its path: (segment, from, to).
fn parts(paths: &BlockPaths, request: u32, from: u32, to: u32) -> impl Iterator<Item = (u32, u32, u32, u32)> {
    let mut base = 0;
    paths.path(request).iter().filter_map(move |&segment| {
        let start = base;
        base += paths.blocks(segment);
        let (a, b) = (from.max(start), to.min(base));
        (a < b).then(|| (segment, start, a - start, b - start))
    })
}

impl Store {
    pub fn new(blocks: u32, segments: usize) -> Self {
        Store { pool: KvPool::new(blocks, segments, false), pending: FxHashMap::default() }
    }

    /// Leading blocks of a request that are there or on their way, at most `most`.
    pub fn present(&self, paths: &BlockPaths, request: u32, most: u32) -> u32 {
        self.pool.lookup(paths, request, most).blocks
    }

    /// The transfer that the first pending one of a request's blocks `from..to` waits for, and where
    /// that block is.
    pub fn first_pending(&self, paths: &BlockPaths, request: u32, from: u32, to: u32) -> Option<(u32, u32)> {
        if self.pending.is_empty() {
            return None;
        }
        parts(paths, request, from, to).find_map(|(segment, base, from, to)| {
            let overlapping = self.pending.get(&segment)?.iter().filter(|p| p.from < to && p.to > from);
            overlapping.map(|p| (base + p.from.max(from), p.job)).min()
        })
    }

    /// Leading blocks of a request that are there, at most `most`.
    pub fn ready(&self, paths: &BlockPaths, request: u32, most: u32) -> u32 {
        let present = self.present(paths, request, most);
        self.first_pending(paths, request, 0, present).map_or(present, |(at, _)| at)
    }

    /// Blocks that can be had once a request's first `held` blocks, all present, are held.
    pub fn room(&self, paths: &BlockPaths, request: u32, held: u32) -> u32 {
        self.pool.available() - self.pool.cost_of_pinning(paths, request, held)
    }

    /// Holds a request's first `to` blocks, all present.
    pub fn hold(&mut self, paths: &BlockPaths, request: u32, to: u32) {
        self.pool.pin(paths, request, to);
    }

    /// Holds a request's first `to` blocks, of which the first `from` are present and the others come
    /// by a transfer. There is room for them.
    pub fn reserve(&mut self, paths: &BlockPaths, request: u32, from: u32, to: u32, job: u32) {
        self.pool.pin(paths, request, from);
        self.pool.allocate(to - from);
        self.pool.register(paths, request, from, to);
        for (segment, _, from, to) in parts(paths, request, from, to) {
            self.pending.entry(segment).or_default().push(Pending { from, to, job });
        }
    }

    /// The transfer of a request's blocks `from..to` is done.
    pub fn arrived(&mut self, paths: &BlockPaths, request: u32, from: u32, to: u32, job: u32) {
        for (segment, ..) in parts(paths, request, from, to) {
            if let Some(pending) = self.pending.get_mut(&segment) {
                pending.retain(|p| p.job != job);
                if pending.is_empty() {
                    self.pending.remove(&segment);
                }
            }
        }
    }

    /// Lets go of a request's first `to` blocks.
    pub fn release(&mut self, paths: &BlockPaths, request: u32, to: u32) {
        self.pool.release(paths, request, to);
    }

    /// Marks a request's first `to` blocks, all present, as used now.
    pub fn touch(&mut self, paths: &BlockPaths, request: u32, to: u32) {
        if to > 0 {
            self.pool.pin(paths, request, to);
            self.pool.release(paths, request, to);
        }
    }

    /// Blocks held by transfers.
    pub fn held(&self) -> u32 {
        self.pool.active()
    }

    /// Checks the invariants, see [`KvPool::check`].
    pub fn check(&self) {
        self.pool.check();
        assert!(self.pending.values().flatten().all(|p| p.from < p.to), "no empty transfers");
    }
}
