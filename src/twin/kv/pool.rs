//! A pool of KV blocks with prefix caching and LRU eviction, counted in runs.
//!
//! Life cycle of a block: free, then held by a request (private while partly filled, hashed once
//! full), then cached without a holder, then evicted and free again. A request holds a copy of every
//! block up to its own length, so residents always form a prefix-closed forest, and a block is never
//! evicted before its descendants. That is what allows *extents*: runs of blocks of one segment with
//! equal holders and adjacent places in the LRU order, evicted from the tail.
//!
//! Two requests that compute the same block at the same time hold two copies; the later copy is a
//! *duplicate*, a one-block extent known only to its holder, which takes the place of the first copy
//! should that be evicted.
//!
//! The order of eviction is that of release (vLLM), or that of last access (SGLang, whose radix tree
//! stamps every node of a path when it is matched or extended, not when it is let go).
//!
//! Invariant: free + inactive + active = total, where active blocks are held by at least one request.

use std::cell::RefCell;

use rustc_hash::FxHashMap;

use crate::twin::pages::Pages;
use crate::workload::prefix::BlockPaths;

const NIL: u32 = u32::MAX;

/// Blocks found in the cache for a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hit {
    /// Leading blocks resident.
    pub blocks: u32,
    /// Those of them that some request holds; the others cost the pool a block when pinned.
    pub active: u32,
}

#[derive(Clone, Copy, Debug)]
struct Extent {
    segment: u32,
    start: u32,
    len: u32,
    refs: u32,
    prev: u32,
    next: u32,
    /// Next extent of the same segment; NIL for the last and for duplicates.
    sibling: u32,
}

/// The KV blocks of one worker.
#[derive(Debug)]
pub struct KvPool {
    total: u32,
    free: u32,
    inactive: u32,
    /// First extent of each segment of which any block is here.
    heads: Pages,
    extents: Vec<Extent>,
    spare: Vec<u32>,
    lru_head: u32,
    lru_tail: u32,
    /// Last access of each extent; none when the LRU list is in order of release.
    accessed: Option<Vec<u64>>,
    /// When the request that is being released last accessed its blocks.
    access: u64,
    /// Extent that the release under way put into the LRU list last.
    placed: u32,
    /// Duplicate extents by holder, in ascending position.
    duplicates_of: FxHashMap<u32, Vec<u32>>,
    /// Duplicate extents by segment, oldest first.
    duplicates_in: FxHashMap<u32, Vec<u32>>,
    scratch: Vec<u32>,
    /// What routers are told, when one listens.
    journal: Option<Journal>,
}

/// A change of what a worker holds, as routers are told of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// End of the pass that made it, ms.
    pub at_ms: f64,
    pub segment: u32,
    /// Leading blocks of the segment that are resident since then.
    pub blocks: u32,
}

#[derive(Debug, Default)]
struct Journal {
    /// Segments that the pass in flight has touched.
    touched: Vec<u32>,
    /// What ended passes did and nobody has asked for yet, in order of time.
    changes: RefCell<Vec<Change>>,
}

impl KvPool {
    /// An empty pool for segments `0..segments`. `journaled` keeps what [`Self::take_changes`] tells.
    pub fn new(blocks: u32, segments: usize, journaled: bool) -> Self {
        KvPool {
            total: blocks,
            free: blocks,
            inactive: 0,
            heads: Pages::new(segments),
            extents: Vec::new(),
            spare: Vec::new(),
            lru_head: NIL,
            lru_tail: NIL,
            accessed: None,
            access: 0,
            placed: NIL,
            duplicates_of: FxHashMap::default(),
            duplicates_in: FxHashMap::default(),
            scratch: Vec::new(),
            journal: journaled.then(Journal::default),
        }
    }

    /// Evicts by last access instead of release; before the first block is taken.
    pub fn order_by_access(&mut self) {
        self.accessed = Some(Vec::new());
    }

    /// All blocks of the pool.
    pub fn total(&self) -> u32 {
        self.total
    }

    /// Blocks held by requests.
    pub fn active(&self) -> u32 {
        self.total - self.free - self.inactive
    }

    /// Blocks that hold nothing.
    pub fn free_blocks(&self) -> u32 {
        self.free
    }

    /// Blocks that can be had: free ones, and cached ones without a holder.
    pub fn available(&self) -> u32 {
        self.free + self.inactive
    }

    /// Blocks that hold nothing: those that can be had without evicting any.
    pub fn unused(&self) -> u32 {
        self.free
    }

    /// Blocks that can be had before any of a request's own cached ones is evicted; counted up to
    /// about `enough`.
    pub fn available_beside(&self, paths: &BlockPaths, request: u32, enough: u64) -> u64 {
        let mut blocks = u64::from(self.free);
        let mut e = self.lru_head;
        while e != NIL && blocks < enough {
            let extent = &self.extents[e as usize];
            if paths.path(request).contains(&extent.segment) || paths.private_segment(request) == extent.segment {
                break;
            }
            blocks += u64::from(extent.len);
            e = extent.next;
        }
        blocks
    }

    /// The longest resident prefix of a request, at most `most` blocks.
    pub fn lookup(&self, paths: &BlockPaths, request: u32, most: u32) -> Hit {
        let mut hit = Hit::default();
        for &segment in paths.path(request) {
            let want = paths.blocks(segment).min(most - hit.blocks);
            let got = self.scan(segment, want, &mut hit);
            if got < paths.blocks(segment) {
                return hit;
            }
        }
        self.scan(paths.private_segment(request), most - hit.blocks, &mut hit);
        hit
    }

    fn scan(&self, segment: u32, want: u32, hit: &mut Hit) -> u32 {
        let mut got = 0;
        let mut e = self.heads.get(segment);
        while e != NIL && got < want {
            let extent = &self.extents[e as usize];
            let take = extent.len.min(want - got);
            got += take;
            if extent.refs > 0 {
                hit.active += take;
            }
            e = extent.sibling;
        }
        hit.blocks += got;
        got
    }

    /// Whether it keeps what [`Self::take_changes`] tells.
    pub fn is_journaled(&self) -> bool {
        self.journal.is_some()
    }

    /// What the pass that ends at `at_ms` did becomes known.
    pub fn end_pass(&mut self, at_ms: f64) {
        let Some(mut journal) = self.journal.take() else { return };
        let touched = journal.touched.drain(..);
        let change = |segment| Change { at_ms, segment, blocks: self.resident(segment) };
        journal.changes.get_mut().extend(touched.map(change));
        self.journal = Some(journal);
    }

    /// Whether anything became known since the last [`Self::take_changes`].
    pub fn has_changes(&self) -> bool {
        self.journal.as_ref().is_some_and(|journal| !journal.changes.borrow().is_empty())
    }

    /// Moves everything that became known since the last call to `changes`, in order of time.
    pub fn take_changes(&self, changes: &mut Vec<Change>) {
        if let Some(journal) = &self.journal {
            changes.append(&mut journal.changes.borrow_mut());
        }
    }

    fn note(&mut self, segment: u32) {
        if let Some(journal) = &mut self.journal
            && !journal.touched.contains(&segment)
        {
            journal.touched.push(segment);
        }
    }

    fn resident(&self, segment: u32) -> u32 {
        let mut blocks = 0;
        let mut e = self.heads.get(segment);
        while e != NIL {
            blocks += self.extents[e as usize].len;
            e = self.extents[e as usize].sibling;
        }
        blocks
    }

    /// Takes hold of the first `blocks` blocks of a request, all resident.
    pub fn pin(&mut self, paths: &BlockPaths, request: u32, blocks: u32) {
        let mut left = blocks;
        for &segment in paths.path(request) {
            if left == 0 {
                return;
            }
            let take = paths.blocks(segment).min(left);
            self.pin_segment(segment, take);
            left -= take;
        }
        if left > 0 {
            self.pin_segment(paths.private_segment(request), left);
        }
    }

    fn pin_segment(&mut self, segment: u32, mut left: u32) {
        let mut e = self.heads.get(segment);
        while left > 0 {
            if self.extents[e as usize].len > left {
                self.split(e, left);
            }
            let extent = self.extents[e as usize];
            if extent.refs == 0 {
                self.unlink(e);
                self.inactive -= extent.len;
            }
            self.extents[e as usize].refs += 1;
            left -= extent.len;
            e = extent.sibling;
        }
    }

    /// Cached blocks without a holder among the first `blocks` resident ones of a request.
    pub fn cost_of_pinning(&self, paths: &BlockPaths, request: u32, blocks: u32) -> u32 {
        let hit = self.lookup(paths, request, blocks);
        hit.blocks - hit.active
    }

    /// Marks the first `blocks` resident blocks of a request as accessed at `at`, the latest instant.
    pub fn touch(&mut self, paths: &BlockPaths, request: u32, blocks: u32, at: u64) {
        self.pin(paths, request, blocks);
        self.release_accessed(paths, request, blocks, at);
    }

    /// Makes a request's blocks `from..to`, allocated before, findable by others; where another
    /// request was first, its copy is held instead and the own one freed.
    pub fn adopt(&mut self, paths: &BlockPaths, request: u32, from: u32, to: u32) {
        let resident = self.lookup(paths, request, to).blocks;
        if resident > from {
            self.hold_range(paths, request, from, resident);
            self.free(resident - from);
        }
        self.register(paths, request, from.max(resident), to);
    }

    /// Takes hold of blocks `from..to` of a request, all resident.
    fn hold_range(&mut self, paths: &BlockPaths, request: u32, from: u32, to: u32) {
        let mut base = 0;
        let private = (paths.private_segment(request), u32::MAX);
        let shared = paths.path(request).iter().map(|&s| (s, paths.blocks(s)));
        for (segment, blocks) in shared.chain([private]) {
            let end = base + blocks.min(u32::MAX - base);
            if from < end && to > base {
                self.hold_in_segment(segment, from.max(base) - base, to.min(end) - base);
            }
            if to <= end {
                return;
            }
            base = end;
        }
    }

    fn hold_in_segment(&mut self, segment: u32, from: u32, to: u32) {
        let mut e = self.heads.get(segment);
        while e != NIL && self.extents[e as usize].start < to {
            let extent = self.extents[e as usize];
            let end = extent.start + extent.len;
            if extent.start < from && end > from {
                self.split(e, from - extent.start);
            } else if extent.start >= from {
                if end > to {
                    self.split(e, to - extent.start);
                }
                let extent = self.extents[e as usize];
                if extent.refs == 0 {
                    self.unlink(e);
                    self.inactive -= extent.len;
                }
                self.extents[e as usize].refs += 1;
            }
            e = self.extents[e as usize].sibling;
        }
    }

    /// Takes `blocks` blocks out of the free and cached ones; the caller knows that they are there.
    pub fn allocate(&mut self, blocks: u32) {
        debug_assert!(blocks <= self.available());
        if blocks > self.free {
            self.evict(blocks - self.free);
        }
        self.free -= blocks;
    }

    /// Gives back blocks that were never hashed.
    pub fn free(&mut self, blocks: u32) {
        self.free += blocks;
        debug_assert!(self.free + self.inactive <= self.total);
    }

    /// Makes a request's blocks `from..to`, allocated before, findable by others.
    pub fn register(&mut self, paths: &BlockPaths, request: u32, from: u32, to: u32) {
        if from >= to {
            return;
        }
        let mut base = 0;
        for &segment in paths.path(request) {
            let end = base + paths.blocks(segment);
            if from < end {
                self.register_segment(request, segment, from.max(base) - base, to.min(end) - base);
            }
            base = end;
            if to <= base {
                return;
            }
        }
        self.register_segment(request, paths.private_segment(request), from.max(base) - base, to - base);
    }

    fn register_segment(&mut self, request: u32, segment: u32, from: u32, to: u32) {
        self.note(segment);
        let (mut resident, mut last, mut e) = (0, NIL, self.heads.get(segment));
        while e != NIL {
            resident += self.extents[e as usize].len;
            last = e;
            e = self.extents[e as usize].sibling;
        }
        for position in from..to.min(resident) {
            let copy = self.new_extent(Extent {
                segment,
                start: position,
                len: 1,
                refs: 1,
                prev: NIL,
                next: NIL,
                sibling: NIL,
            });
            self.duplicates_of.entry(request).or_default().push(copy);
            self.duplicates_in.entry(segment).or_default().push(copy);
        }
        if to <= resident {
            return;
        }
        debug_assert!(from <= resident, "a request registers its blocks in order");
        let sole = last != NIL
            && self.extents[last as usize].refs == 1
            && from == resident
            && from > 0
            && (self.duplicates_of.is_empty() || !self.duplicates_of.contains_key(&request));
        if sole {
            self.extents[last as usize].len += to - resident;
            return;
        }
        let extent =
            Extent { segment, start: resident, len: to - resident, refs: 1, prev: NIL, next: NIL, sibling: NIL };
        let e = self.new_extent(extent);
        if last == NIL {
            self.heads.set(segment, e);
        } else {
            self.extents[last as usize].sibling = e;
        }
    }

    /// [`Self::release`] by a request that accessed its blocks at `at` last (any unit that grows with
    /// time); a block keeps the latest access of all its holders.
    pub fn release_accessed(&mut self, paths: &BlockPaths, request: u32, blocks: u32, at: u64) {
        self.access = at;
        self.release(paths, request, blocks);
    }

    /// Lets go of the first `blocks` hashed blocks of a request, tail first, so that its tail is
    /// evicted before its head.
    pub fn release(&mut self, paths: &BlockPaths, request: u32, blocks: u32) {
        let copies = if self.duplicates_of.is_empty() { None } else { self.duplicates_of.remove(&request) };
        let mut copies = copies.unwrap_or_default();
        self.placed = NIL;
        let known = paths.path_blocks(request);
        if blocks > known {
            self.release_segment(paths.private_segment(request), blocks - known, &mut copies);
        }
        let mut end = known;
        for &segment in paths.path(request).iter().rev() {
            let start = end - paths.blocks(segment);
            if blocks > start {
                self.release_segment(segment, blocks.min(end) - start, &mut copies);
            }
            end = start;
        }
        debug_assert!(copies.is_empty());
    }

    fn release_segment(&mut self, segment: u32, held: u32, copies: &mut Vec<u32>) {
        let mut e = self.heads.get(segment);
        if e != NIL && copies.is_empty() && self.extents[e as usize].sibling == NIL {
            return self.unref(e);
        }
        let mut stack = std::mem::take(&mut self.scratch);
        while e != NIL && self.extents[e as usize].start < held {
            stack.push(e);
            e = self.extents[e as usize].sibling;
        }
        while let Some(e) = stack.pop() {
            let extent = self.extents[e as usize];
            let mut covered = false;
            // This request's own copies stand in for the first ones at their positions.
            while let Some(&copy) = copies.last() {
                let own = self.extents[copy as usize];
                if own.segment != segment || own.start < extent.start {
                    break;
                }
                copies.pop();
                covered = true;
                self.unref(copy);
            }
            if !covered {
                self.unref(e);
            }
        }
        self.scratch = stack;
    }

    fn unref(&mut self, e: u32) {
        if let Some(accessed) = &mut self.accessed {
            let at = &mut accessed[e as usize];
            *at = self.access.max(*at);
        }
        let extent = &mut self.extents[e as usize];
        extent.refs -= 1;
        if extent.refs > 0 {
            return;
        }
        let extent = *extent;
        self.inactive += extent.len;
        let mut before = self.predecessor(e);
        if before != NIL && extent.sibling == before && self.last_access(before) == self.last_access(e) {
            // The next extent of the segment was let go just before: the two are one run again.
            let rest = self.extents[before as usize];
            self.unlink(before);
            self.extents[e as usize].len += rest.len;
            self.extents[e as usize].sibling = rest.sibling;
            self.spare.push(before);
            before = rest.prev;
        }
        let after = if before == NIL { self.lru_head } else { self.extents[before as usize].next };
        self.extents[e as usize].prev = before;
        self.extents[e as usize].next = after;
        *(if before == NIL { &mut self.lru_head } else { &mut self.extents[before as usize].next }) = e;
        *(if after == NIL { &mut self.lru_tail } else { &mut self.extents[after as usize].prev }) = e;
        self.placed = e;
    }

    /// The extent of the LRU list that an extent let go now comes after.
    fn predecessor(&self, e: u32) -> u32 {
        let Some(accessed) = &self.accessed else { return self.lru_tail };
        let at = accessed[e as usize];
        if self.placed != NIL && accessed[self.placed as usize] == at {
            return self.placed;
        }
        let mut before = self.lru_tail;
        while before != NIL && accessed[before as usize] > at {
            before = self.extents[before as usize].prev;
        }
        before
    }

    fn last_access(&self, e: u32) -> u64 {
        self.accessed.as_ref().map_or(0, |accessed| accessed[e as usize])
    }

    fn unlink(&mut self, e: u32) {
        let Extent { prev, next, .. } = self.extents[e as usize];
        if prev == NIL {
            self.lru_head = next;
        } else {
            self.extents[prev as usize].next = next;
        }
        if next == NIL {
            self.lru_tail = prev;
        } else {
            self.extents[next as usize].prev = prev;
        }
    }

    /// Cuts an extent after its first `at` blocks; the tail part stays nearer to eviction.
    fn split(&mut self, e: u32, at: u32) {
        let extent = self.extents[e as usize];
        let tail = self.new_extent(Extent { start: extent.start + at, len: extent.len - at, next: e, ..extent });
        self.extents[e as usize].len = at;
        self.extents[e as usize].sibling = tail;
        if let Some(accessed) = &mut self.accessed {
            accessed[tail as usize] = accessed[e as usize];
        }
        if extent.refs == 0 {
            self.extents[e as usize].prev = tail;
            if extent.prev == NIL {
                self.lru_head = tail;
            } else {
                self.extents[extent.prev as usize].next = tail;
            }
        }
    }

    fn new_extent(&mut self, extent: Extent) -> u32 {
        match self.spare.pop() {
            Some(e) => {
                self.extents[e as usize] = extent;
                if let Some(accessed) = &mut self.accessed {
                    accessed[e as usize] = 0;
                }
                e
            }
            None => {
                self.extents.push(extent);
                if let Some(accessed) = &mut self.accessed {
                    accessed.push(0);
                }
                self.extents.len() as u32 - 1
            }
        }
    }

    /// Evicts from the least recently used end.
    fn evict(&mut self, mut blocks: u32) {
        self.inactive -= blocks;
        self.free += blocks;
        while blocks > 0 {
            let e = self.lru_head;
            let extent = self.extents[e as usize];
            if !self.duplicates_in.is_empty() && self.duplicates_in.contains_key(&extent.segment) {
                self.evict_one_of_several(e);
                blocks -= 1;
                continue;
            }
            self.note(extent.segment);
            let take = extent.len.min(blocks);
            blocks -= take;
            if take < extent.len {
                self.extents[e as usize].len -= take;
            } else {
                self.unlink(e);
                self.unchain(e);
                self.spare.push(e);
            }
        }
    }

    /// Evicts the last block of an extent in a segment that has duplicates.
    fn evict_one_of_several(&mut self, e: u32) {
        let extent = self.extents[e as usize];
        let copies = self.duplicates_in.get_mut(&extent.segment).expect("the caller looked");
        if let Some(at) = copies.iter().position(|&c| c == e) {
            copies.remove(at);
            if copies.is_empty() {
                self.duplicates_in.remove(&extent.segment);
            }
            self.unlink(e);
            self.spare.push(e);
            return;
        }
        let last = extent.start + extent.len - 1;
        let heir = copies.iter().position(|&c| self.extents[c as usize].start == last);
        let heir = heir.map(|at| copies.remove(at));
        if copies.is_empty() {
            self.duplicates_in.remove(&extent.segment);
        }
        if extent.len > 1 {
            self.split(e, extent.len - 1);
        }
        let victim = if extent.len > 1 { self.extents[e as usize].sibling } else { e };
        self.unlink(victim);
        match heir {
            None => {
                self.note(extent.segment);
                self.unchain(victim);
            }
            Some(heir) => {
                self.extents[heir as usize].sibling = self.extents[victim as usize].sibling;
                self.replace_in_chain(victim, heir);
                self.duplicates_of.retain(|_, copies| {
                    copies.retain(|&c| c != heir);
                    !copies.is_empty()
                });
            }
        }
        self.spare.push(victim);
    }

    /// Takes the last extent of a segment out of its chain.
    fn unchain(&mut self, e: u32) {
        debug_assert_eq!(self.extents[e as usize].sibling, NIL, "a block outlives its descendants");
        self.replace_in_chain(e, NIL);
    }

    fn replace_in_chain(&mut self, old: u32, new: u32) {
        let segment = self.extents[old as usize].segment;
        if self.heads.get(segment) == old {
            self.heads.set(segment, new);
            return;
        }
        let mut e = self.heads.get(segment);
        while self.extents[e as usize].sibling != old {
            e = self.extents[e as usize].sibling;
        }
        self.extents[e as usize].sibling = new;
    }

    /// Checks the invariants: counts, LRU links, chains. For tests and debug runs; O(extents).
    pub fn check(&self) {
        let mut cached = 0;
        let mut e = self.lru_head;
        let mut previous = NIL;
        while e != NIL {
            let extent = &self.extents[e as usize];
            assert_eq!((extent.refs, extent.prev), (0, previous));
            assert!(previous == NIL || self.last_access(previous) <= self.last_access(e), "the LRU list is in order");
            cached += extent.len;
            previous = e;
            e = extent.next;
        }
        assert_eq!(cached, self.inactive, "inactive blocks are those in the LRU list");
        assert_eq!(self.lru_tail, previous);
        assert!(self.free + self.inactive <= self.total);
        for head in self.heads.values() {
            let (mut at, mut e) = (0, head);
            while e != NIL {
                let extent = &self.extents[e as usize];
                assert_eq!(extent.start, at, "extents of a segment are contiguous from 0");
                assert!(extent.len > 0);
                at += extent.len;
                e = extent.sibling;
            }
        }
    }
}
