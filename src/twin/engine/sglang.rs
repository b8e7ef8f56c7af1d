//! The SGLang-like scheduler: passes either prefill or decode, admission by reserved memory,
//! retraction.
//!
//! A waiting request whose prompt fits is prefilled at once, and every running sequence waits for
//! that pass. Admission reserves a part (`new_token_ratio`) of the output still to come; the ratio
//! decays with every decode pass and rises again when memory runs out and requests are retracted to
//! the back of the queue. A prompt cut by the chunk size stays at the front of the queue and keeps
//! its pages. Prompts enter the cache at the end of the pass that computed them, and two requests
//! that computed the same pages keep one copy.
//!
//! Failure modes: a request that cannot fit an empty pool is rejected and counted; the last running
//! request is never retracted for nothing, because admission made sure that it fits.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::core::{Core, Engine};
use super::handoff::Reservation;
use crate::timing::PassLoad;
use crate::twin::deployment::WaitingOrder;
use crate::twin::kv::pool::Hit;
use crate::twin::request::{RequestState, Requests};
use crate::workload::prefix::BlockPaths;

/// Most output tokens that admission reserves for one request.
const CLIP_NEW_TOKENS: u32 = 4096;
/// `new_token_ratio` right after start, before conservativeness.
const FIRST_RATIO: f64 = 0.7;
/// The ratio's floor, relative to its start.
const FLOOR: f64 = 0.14;
/// Decode passes from start to floor.
const DECAY_PASSES: f64 = 600.0;
/// Tokens that survivors of a retraction are expected to need at once.
const RETRACT_TOKENS: f64 = 20.0;
/// Longest-prefix order is given up with more requests waiting than this.
const MOST_SORTED: usize = 128;
/// A request with no more cached tokens than this waits for a sibling that computes its prefix.
const SIBLING_TOKENS: u32 = 32;

/// What happens in one decode pass and the prefill passes after it, in this order.
#[derive(Clone, Copy, Debug)]
enum AccessKind {
    /// A sequence completes a page.
    Decode,
    /// A sequence completes its last page and ends.
    End,
    /// Anything at admission or at the end of a prefill pass.
    Prefill,
}

/// An instant in the order of accesses: by decode pass, kind and rank.
fn access(pass: u64, kind: AccessKind, rank: u64) -> u64 {
    pass << 32 | (kind as u64) << 30 | rank & ((1 << 30) - 1)
}

/// The first of `range` for which a monotonic condition holds, or its end.
fn first_in(range: std::ops::Range<u64>, holds: impl Fn(u64) -> bool) -> u64 {
    let (mut from, mut to) = (range.start, range.end);
    while from < to {
        let middle = from + (to - from) / 2;
        if holds(middle) { to = middle } else { from = middle + 1 }
    }
    from
}

/// Memory that the waiting head must find to be admitted.
#[derive(Clone, Copy, Debug)]
struct Need {
    request: u32,
    /// Tokens that must be left beside what is reserved, those kept for restored prompts included.
    charge: f64,
    /// Pages that it takes out of the available ones, pinned hits included.
    pages: u32,
    /// Cached pages that it counts on.
    hit: u32,
    /// Whether nobody holds some of those: they may be evicted, and then it needs something else.
    is_loose: bool,
}

/// What the pass in flight does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Planned {
    Nothing,
    Prefill,
    Decode { retracted: bool },
}

/// One worker with an SGLang-like engine.
#[derive(Debug)]
pub struct Sglang {
    core: Core,
    first_ratio: f64,
    /// `new_token_ratio` when it was last set.
    ratio: f64,
    /// Decode passes by which it has decayed since.
    decayed: u64,
    /// The request whose prompt was cut by the chunk size; it heads the queue and keeps its pages.
    chunked: Option<u32>,
    /// Blocks in the pass in flight and their requests: (request, prefix tokens, new tokens).
    batch: Vec<(u32, u32, u32)>,
    /// What the waiting head needs, when it does not fit.
    blocked_on: Option<Need>,
    /// Whether the passes of a run ahead refresh the head's cached pages in vain: all or none do.
    refreshes: bool,
    planned: Planned,
    /// Decode passes still to do before the next prefill pass.
    pause: u64,
    /// Requests that could not have a page for the token that prefill gave them: they emit it in
    /// the next decode pass.
    late: Vec<u32>,
    /// Decode pass of the last stamp, and stamps given since.
    stamps: (u64, u32),
    /// Sequences that emitted since the last decode pass, and when.
    emitted: Vec<(u32, f64)>,
    /// Sum over decoding sequences of output left, of those that have at most the clip left.
    left: u64,
    /// Decoding sequences with more left than the clip.
    clipped: u32,
    /// (decode pass at which it has only the clip left, rank, request); stale entries are skipped.
    unclips: BinaryHeap<Reverse<(u64, u64, u32)>>,
}

impl Sglang {
    /// An idle worker.
    pub fn new(mut core: Core) -> Self {
        core.kv.order_by_access();
        let first_ratio = (FIRST_RATIO * core.config.schedule_conservativeness).min(1.0);
        Sglang {
            core,
            first_ratio,
            ratio: first_ratio,
            decayed: 0,
            chunked: None,
            batch: Vec::new(),
            blocked_on: None,
            refreshes: false,
            planned: Planned::Nothing,
            pause: 0,
            late: Vec::new(),
            stamps: (0, 0),
            emitted: Vec::new(),
            left: 0,
            clipped: 0,
            unclips: BinaryHeap::new(),
        }
    }

    fn page(&self) -> u32 {
        self.core.config.block_size
    }

    fn decay_per_pass(&self) -> f64 {
        self.first_ratio * (1.0 - FLOOR) / DECAY_PASSES
    }

    /// Output tokens that admission reserves for running sequences after `passes` more decode passes.
    fn reserved(&self, passes: u64) -> f64 {
        let decoding = u64::from(self.core.decode.seqs() - self.clipped);
        let left = self.left - passes * decoding + u64::from(self.clipped) * u64::from(CLIP_NEW_TOKENS);
        left as f64 * self.ratio_after(passes)
    }

    fn ratio_after(&self, passes: u64) -> f64 {
        let floor = self.first_ratio * FLOOR;
        // From the start of the decay, not step by step: however passes are grouped, the same sum.
        (self.ratio - (self.decayed + passes) as f64 * self.decay_per_pass()).max(floor)
    }

    fn available_tokens(&self) -> f64 {
        f64::from(self.core.kv.available()) * f64::from(self.page())
    }

    /// Tries to form a prefill pass; whether there is anything in it.
    fn admit(&mut self, load: &mut PassLoad, paths: &BlockPaths, requests: &mut Requests) -> bool {
        self.blocked_on = None;
        self.order_waiting(paths, requests);
        let page = self.page();
        let mut room = self.available_tokens() - self.reserved(0);
        let mut input_room = self.core.config.max_prefill_tokens;
        let mut chunk_room = match self.core.config.chunked_prefill {
            true => (self.core.config.max_num_batched_tokens / page).max(1) * page,
            false => u32::MAX / page * page,
        };
        while let Some(&request) = self.core.waiting.front() {
            let resumes = self.chunked == Some(request);
            if !resumes && self.core.is_full() {
                break;
            }
            let state = &requests.states[request as usize];
            if self.can_never_fit(state) {
                self.core.reject_head(requests);
                continue;
            }
            let known = state.known();
            let frozen = self.core.frozen(request).is_some();
            let holds = resumes || frozen;
            let hit = if holds { 0 } else { self.match_prefix(request, state, paths) };
            let cached = if holds { state.computed } else { hit * page };
            let extend = known - cached;
            let whole = extend.div_ceil(page) * page;
            let chunk = if whole <= chunk_room { extend } else { chunk_room / page * page };
            let pages = chunk.div_ceil(page);
            let is_alone = self.batch.is_empty();
            if (chunk == 0 && extend > 0) || (pages * page > input_room && !is_alone) {
                break;
            }
            let is_last = chunk == extend;
            let output = if is_last { self.core.output_left(state).min(CLIP_NEW_TOKENS) } else { 0 };
            let kept = f64::from(self.core.tails_besides(request)) * f64::from(page);
            let charge = f64::from(pages * page) + f64::from(output);
            let pinned = self.core.kv.cost_of_pinning(paths, request, hit);
            let need = Need { request, charge: charge + kept, pages: pages + pinned, hit, is_loose: pinned > 0 };
            // Cached pages count as room although the hits among them are about to be pinned; only
            // the pages themselves must be there.
            if need.charge >= room || need.pages > self.core.kv.available() {
                if need.charge < room && hit > 0 {
                    let now = self.stamp();
                    self.core.kv.touch(paths, request, hit, now);
                }
                self.blocked_on = is_alone.then_some(need);
                break;
            }
            if self.core.tiered && !holds {
                let output = (state.output_tokens - state.generated).min(CLIP_NEW_TOKENS);
                let needed = known.div_ceil(page) + output.div_ceil(page);
                let (most, left) = (self.most_cached(state), self.core.kv.available() - pinned);
                let hit = Hit { blocks: hit, active: hit - pinned };
                let before = self.available_tokens();
                if self.core.goes_aside(hit, most, left, needed, paths, requests) {
                    room -= before - self.available_tokens();
                    continue;
                }
            }
            self.core.waiting.pop_front();
            if resumes {
                self.core.running.push(request);
            } else if frozen {
                self.core.thaw(request);
                requests.states[request as usize].accessed = self.stamp();
                self.core.start(request, cached, requests);
            } else {
                self.core.kv.pin(paths, request, hit);
                requests.states[request as usize].registered = hit;
                requests.states[request as usize].accessed = self.stamp();
                self.core.start(request, cached, requests);
            }
            self.chunked = None;
            self.core.kv.allocate(pages);
            room -= charge;
            input_room = input_room.saturating_sub(pages * page);
            chunk_room -= pages * page;
            Core::load_chunk(load, cached, chunk);
            requests.states[request as usize].computed = cached + chunk;
            self.batch.push((request, cached, chunk));
            if self.core.tiered {
                let full = (cached + chunk) / page;
                requests.tiers.prepare(self.core.now_ms, self.core.worker, request, full, paths);
            }
            if is_last {
                self.core.finishing.push(request);
            } else {
                self.chunked = Some(request);
                break;
            }
        }
        self.core.is_cut = self.chunked.is_some();
        !self.batch.is_empty()
    }

    /// The next instant in the order of accesses: that of a decode pass comes before those of the
    /// prefill passes that follow it.
    fn stamp(&mut self) -> u64 {
        let pass = self.core.decode.passes();
        let count = if self.stamps.0 == pass { self.stamps.1 + 1 } else { 0 };
        self.stamps = (pass, count);
        access(pass, AccessKind::Prefill, u64::from(count))
    }

    /// When a request accessed its pages last: it does when it completes one.
    fn last_access(&self, state: &RequestState) -> u64 {
        if state.computed / self.page() <= state.registered {
            return state.accessed;
        }
        let since = u64::from(state.computed % self.page());
        let kind =
            if since == 0 && state.generated == state.output_tokens { AccessKind::End } else { AccessKind::Decode };
        access(self.core.decode.passes() - since, kind, state.order)
    }

    fn can_never_fit(&self, state: &RequestState) -> bool {
        let page = u64::from(self.page());
        let prompt = u64::from(state.known()).div_ceil(page) * page;
        let output = u64::from(self.core.output_left(state).min(CLIP_NEW_TOKENS));
        self.core.config.max_model_len.is_some_and(|most| state.input_tokens >= most)
            || prompt + output >= self.core.pool_tokens()
    }

    /// Cached pages that a request may use.
    fn match_prefix(&self, request: u32, state: &RequestState, paths: &BlockPaths) -> u32 {
        if !self.core.config.prefix_caching {
            return 0;
        }
        self.core.kv.lookup(paths, request, self.most_cached(state)).blocks
    }

    /// Most pages that a request may take from a cache.
    fn most_cached(&self, state: &RequestState) -> u32 {
        let recomputed = u32::from(state.output_tokens > 0);
        (state.known() - recomputed) / self.page()
    }

    fn sorts_waiting(&self) -> bool {
        self.core.config.waiting_order == WaitingOrder::LongestPrefix && self.core.config.prefix_caching
    }

    /// Longest cached prefix first, where that is asked for and the queue is short enough; of
    /// requests with the same uncached beginning, one leads and its siblings wait for its pages.
    fn order_waiting(&mut self, paths: &BlockPaths, requests: &Requests) {
        if !self.sorts_waiting() || self.core.waiting.len() > MOST_SORTED {
            return;
        }
        let beginning = SIBLING_TOKENS.div_ceil(self.page());
        let mut seen: Vec<Option<u32>> = Vec::new();
        let mut keyed: Vec<(bool, bool, bool, Reverse<u32>, u32)> = Vec::with_capacity(self.core.waiting.len());
        for &request in &self.core.waiting {
            let hit = self.match_prefix(request, &requests.states[request as usize], paths);
            let mut waits = false;
            if hit * self.page() <= SIBLING_TOKENS {
                let first =
                    paths.prompt_path(request).first().copied().filter(|_| paths.prompt_blocks(request) >= beginning);
                if first.is_some() {
                    waits = seen.contains(&first);
                    seen.push(first);
                }
            }
            let restored = self.core.frozen(request).is_some();
            keyed.push((self.chunked != Some(request), !restored, waits, Reverse(hit), request));
        }
        keyed.sort_by_key(|&(chunked, restored, waits, hit, _)| (chunked, restored, waits, hit));
        self.core.waiting.clear();
        self.core.waiting.extend(keyed.into_iter().map(|k| k.4));
    }

    fn end_prefill(&mut self, start_ms: f64, paths: &BlockPaths, requests: &mut Requests) {
        let emitting = self.core.decode.seqs() - self.late.len() as u32;
        if emitting > 0 && self.emitted.is_empty() {
            self.emitted.push((emitting, start_ms));
        }
        self.batch.clear();
        if let Some(request) = self.chunked {
            self.insert(request, paths, requests);
            let at = self.core.running.iter().position(|&r| r == request).expect("a chunked prompt ran");
            self.core.running.remove(at);
            self.core.waiting.push_front(request);
        }
        let pages = self.first_token_pages(requests);
        let is_late = pages > self.core.kv.available();
        if !is_late {
            self.core.kv.allocate(pages);
        }
        let mut emitted = 0;
        for index in 0..self.core.finishing.len() {
            let request = self.core.finishing[index];
            let state = &mut requests.states[request as usize];
            if self.core.output_left(state) <= 1 {
                continue;
            }
            if is_late {
                self.core.decode.join(request, state);
                self.late.push(request);
            } else {
                self.core.emit_after_prefill(request, requests);
                emitted += 1;
                // The token has a place, unlike that of a request that ends with it.
                requests.states[request as usize].computed += 1;
            }
            self.insert(request, paths, requests);
            self.joined(request, &requests.states[request as usize]);
        }
        for index in 0..self.core.finishing.len() {
            let request = self.core.finishing[index];
            if !requests.states[request as usize].decoding {
                if self.core.hands_over(&requests.states[request as usize]) {
                    self.insert(request, paths, requests);
                    self.core.hold(request, requests);
                    self.blocked_on = None;
                    continue;
                }
                self.core.emit_after_prefill(request, requests);
                self.insert(request, paths, requests);
                self.end(request, paths, requests);
            }
        }
        self.core.finishing.clear();
        if emitted > 0 {
            self.emitted.push((emitted, self.core.now_ms));
        }
    }

    /// Pages to open for the tokens that completed prompts give; a token that is the last has none.
    fn first_token_pages(&self, requests: &Requests) -> u32 {
        let opens = |&&request: &&u32| {
            let state = &requests.states[request as usize];
            self.core.output_left(state) > 1 && state.known().is_multiple_of(self.page())
        };
        self.core.finishing.iter().filter(opens).count() as u32
    }

    /// Puts a request's computed full pages into the cache.
    fn insert(&mut self, request: u32, paths: &BlockPaths, requests: &mut Requests) {
        let state = &mut requests.states[request as usize];
        let full = state.computed / self.page();
        if self.core.config.prefix_caching && full > state.registered {
            self.core.kv.adopt(paths, request, state.registered, full);
            state.registered = full;
            state.accessed = self.stamp();
        }
    }

    fn joined(&mut self, request: u32, state: &RequestState) {
        let left = state.output_tokens - state.generated;
        if left > CLIP_NEW_TOKENS {
            self.clipped += 1;
            let at = state.finish_pass - u64::from(CLIP_NEW_TOKENS);
            self.unclips.push(Reverse((at, state.order, request)));
        } else {
            self.left += u64::from(left);
        }
    }

    /// A sequence with this much output left is no longer decoding.
    fn left_decoding(&mut self, left: u32) {
        if left > CLIP_NEW_TOKENS {
            self.clipped -= 1;
        } else {
            self.left -= u64::from(left);
        }
    }

    fn passes_to_unclip(&mut self, requests: &[RequestState]) -> u64 {
        while let Some(&Reverse((at, _, request))) = self.unclips.peek() {
            let state = &requests[request as usize];
            if state.decoding && state.finish_pass == at + u64::from(CLIP_NEW_TOKENS) {
                return at - self.core.decode.passes();
            }
            self.unclips.pop();
        }
        u64::MAX
    }

    fn after_decode(&mut self, passes: u64, requests: &[RequestState]) {
        self.pause = self.pause.saturating_sub(passes);
        self.left -= passes * u64::from(self.core.decode.seqs() - self.clipped);
        self.decayed += passes;
        while self.clipped > 0 && self.passes_to_unclip(requests) == 0 {
            self.unclips.pop();
            self.clipped -= 1;
            self.left += u64::from(CLIP_NEW_TOKENS);
        }
    }

    /// Makes room for a decode pass; its duration, or `None` when no sequence is left.
    fn plan_decode(&mut self, load: &mut PassLoad, paths: &BlockPaths, requests: &mut Requests) -> Option<f64> {
        let retracted = self.make_room(paths, requests);
        let seqs = self.core.decode.seqs();
        if seqs == 0 {
            return None;
        }
        let pages = self.core.decode.blocks_needed(1) as u32;
        let evicts = pages > self.core.kv.unused();
        self.core.kv.allocate(pages);
        if evicts && let Some(need) = self.blocked_on {
            // What is evicted may have been the head's.
            let is_whole = !need.is_loose || self.core.kv.lookup(paths, need.request, need.hit).blocks == need.hit;
            self.blocked_on = self.blocked_on.filter(|_| is_whole);
        }
        load.decode_seqs = seqs;
        load.decode_context_tokens = self.core.decode.context();
        load.sampled_seqs = seqs;
        self.core.last_passes.plan(load);
        self.planned = Planned::Decode { retracted };
        Some(self.core.timing.pass_ms(load))
    }

    fn end_decode(&mut self, start_ms: f64, retracted: bool, paths: &BlockPaths, requests: &mut Requests) {
        let mut contiguous = self.core.decode.seqs() - self.late.len() as u32;
        for (count, at_ms) in self.emitted.drain(..) {
            requests.tally.itl.add(self.core.now_ms - at_ms, u64::from(count));
            contiguous -= count;
        }
        if contiguous > 0 {
            requests.tally.itl.add(self.core.now_ms - start_ms, u64::from(contiguous));
        }
        self.core.decode.advance(1);
        for index in 0..self.late.len() {
            self.core.emit_first(self.late[index], requests);
        }
        self.late.clear();
        self.after_decode(1, &requests.states);
        if retracted {
            // The ratio that the retraction set begins to decay with the next pass.
            self.decayed -= 1;
        }
        self.end_finished(paths, requests);
    }

    /// Lets prebuilt requests in while there are slots: like late ones, they emit their first token in
    /// the next decode pass.
    fn enter(&mut self, requests: &mut Requests) {
        while let Some(request) = self.core.enter_next(requests) {
            self.core.running.push(request);
            let state = &mut requests.states[request as usize];
            self.core.decode.join(request, state);
            self.late.push(request);
            self.joined(request, &requests.states[request as usize]);
        }
    }

    /// Retracts the sequences with the least output until the next decode pass has its pages;
    /// whether it retracted any.
    fn make_room(&mut self, paths: &BlockPaths, requests: &mut Requests) -> bool {
        let mut retracted = false;
        while self.core.decode.blocks_needed(1) > u64::from(self.core.kv.available()) && self.core.running.len() > 1 {
            let output = |r: &u32| {
                let state = &requests.states[*r as usize];
                if state.decoding { self.core.decode.generated(state) } else { u32::MAX }
            };
            let Some(victim) = (0..self.core.running.len()).min_by_key(|&i| output(&self.core.running[i])) else {
                break;
            };
            self.retract(victim, paths, requests);
            retracted = true;
        }
        if self.core.decode.blocks_needed(1) > u64::from(self.core.kv.available()) {
            let request = self.core.running[0];
            self.retract(0, paths, requests);
            if self.chunked.is_none() && self.core.restores.is_empty() {
                // Alone and still too long: the pool cannot hold it to its end.
                self.core.waiting.retain(|&r| r != request);
                self.core.waiting.push_front(request);
                self.core.reject_head(requests);
            }
            return true;
        }
        if retracted {
            let (mut decoded, mut most) = (0u64, 0u64);
            for &r in &self.core.running {
                let state = &requests.states[r as usize];
                decoded += u64::from(self.core.decode.generated(state));
                most += u64::from(state.output_tokens);
            }
            let expected = decoded as f64 + RETRACT_TOKENS * self.core.running.len() as f64;
            (self.ratio, self.decayed) = ((expected / (most as f64 + 1.0)).min(1.0), 0);
        }
        retracted
    }

    fn retract(&mut self, index: usize, paths: &BlockPaths, requests: &mut Requests) {
        let request = self.core.running[index];
        let state = &requests.states[request as usize];
        let left = state.output_tokens - self.core.decode.generated(state);
        self.left_decoding(left);
        self.note_last_token(request, requests);
        self.late.retain(|&r| r != request);
        self.core.stop(index, requests);
        self.release(request, paths, requests);
        requests.states[request as usize].computed = 0;
        self.core.waiting.push_back(request);
        self.blocked_on = None;
    }

    /// Gives back a request's pages; full ones stay cached.
    fn release(&mut self, request: u32, paths: &BlockPaths, requests: &mut Requests) {
        let state = &mut requests.states[request as usize];
        let (full, held) = (state.computed / self.page(), state.computed.div_ceil(self.page()));
        if self.core.config.prefix_caching {
            let at = self.last_access(state);
            self.core.kv.adopt(paths, request, state.registered, full);
            self.core.kv.release_accessed(paths, request, full, at);
            self.core.kv.free(held - full);
        } else {
            self.core.kv.free(held);
        }
        state.registered = 0;
    }

    fn end(&mut self, request: u32, paths: &BlockPaths, requests: &mut Requests) {
        self.release(request, paths, requests);
        self.core.end(request, requests);
        self.blocked_on = None;
    }
}

impl Engine for Sglang {
    fn core(&self) -> &Core {
        &self.core
    }

    fn core_mut(&mut self) -> &mut Core {
        &mut self.core
    }

    fn plan(&mut self, paths: &BlockPaths, requests: &mut Requests) -> Option<f64> {
        if self.core.running.is_empty() && self.chunked.is_none() && !self.core.peer_compat {
            (self.ratio, self.decayed) = (self.first_ratio, 0);
        }
        let mut load = PassLoad { kv_pool_tokens: self.core.pool_tokens(), ..Default::default() };
        if self.core.decode.seqs() == 0 {
            self.pause = 0;
        }
        self.enter(requests);
        if self.pause == 0 && (!self.core.reserving || self.chunked.is_some()) && self.admit(&mut load, paths, requests)
        {
            self.planned = Planned::Prefill;
            self.pause = u64::from(self.core.config.prefill_decode_interval);
            load.sampled_seqs = self.core.finishing.len() as u32;
            requests.tally.prefill_tokens += load.new_tokens;
            self.core.last_passes.plan(&load);
            Some(if self.core.recomputes_free { 0.0 } else { self.core.timing.pass_ms(&load) })
        } else if self.core.decode.seqs() > 0 {
            self.plan_decode(&mut load, paths, requests)
        } else {
            None
        }
    }

    fn finish(&mut self, end_ms: f64, paths: &BlockPaths, requests: &mut Requests) {
        let start_ms = self.core.now_ms;
        requests.tally.held_block_ms += (end_ms - start_ms) * f64::from(self.core.kv.active());
        self.core.last_passes.end(start_ms, end_ms);
        self.core.now_ms = end_ms;
        if self.core.tiered {
            requests.tiers.submit(end_ms, self.core.worker);
        }
        match std::mem::replace(&mut self.planned, Planned::Nothing) {
            Planned::Nothing => {}
            Planned::Prefill => self.end_prefill(start_ms, paths, requests),
            Planned::Decode { retracted } => self.end_decode(start_ms, retracted, paths, requests),
        }
    }

    fn is_steady(&self) -> bool {
        let waiting = self.core.waiting.len();
        // Where they are sorted, every pass sorts the waiting ones anew by what is cached then.
        let holds_back = !self.sorts_waiting()
            && (self.pause > 0
                || (self.core.reserving && self.chunked.is_none())
                || self.blocked_on.is_some()
                || (self.core.is_full() && self.chunked.is_none()));
        self.core.decode.seqs() > 0
            && !self.core.has_to_enter()
            && self.emitted.is_empty()
            && self.late.is_empty()
            && (waiting == 0 || holds_back)
    }

    fn reserve(&mut self, request: u32, paths: &BlockPaths, requests: &mut Requests) -> Reservation {
        let state = &requests.states[request as usize];
        if self.can_never_fit(state) {
            return Reservation::Never;
        }
        let known = state.known();
        let hit = match self.core.config.prefix_caching {
            true => self.core.kv.lookup(paths, request, known / self.page()).blocks,
            false => 0,
        };
        let pages = known.div_ceil(self.page());
        let pinned = self.core.kv.cost_of_pinning(paths, request, hit);
        if pages - hit + pinned > self.core.kv.available() {
            return Reservation::Full;
        }
        self.core.kv.pin(paths, request, hit);
        self.core.kv.allocate(pages - hit);
        self.blocked_on = None;
        self.core.note_reserved(request, hit, pages)
    }

    fn publish_prebuilt(&mut self, request: u32, paths: &BlockPaths, requests: &mut Requests) {
        requests.states[request as usize].accessed = self.stamp();
        self.insert(request, paths, requests);
    }

    fn give_back(&mut self, request: u32, paths: &BlockPaths, requests: &mut Requests) {
        self.release(request, paths, requests);
        self.blocked_on = None;
    }

    fn rank_mut(&mut self, _rank: usize) -> &mut dyn Engine {
        self
    }

    fn arrivals_matter(&self) -> bool {
        // Where they are sorted a request that waits ends the run, whether it can be admitted or not.
        self.sorts_waiting()
            || (self.pause == 0 && !self.core.reserving && !self.core.is_full() && self.core.waiting.is_empty())
    }

    fn steady_passes(&mut self, passes: u64, paths: &BlockPaths, requests: &Requests) -> u64 {
        self.refreshes = false;
        let mut passes = passes.min(self.passes_to_unclip(&requests.states));
        if self.pause > 0 {
            return passes.min(self.pause);
        }
        if self.core.reserving && self.chunked.is_none() {
            return passes;
        }
        // A prompt already cut resumes without a slot of its own.
        let slot = !self.core.is_full() || self.chunked.is_some();
        let Some(need) = self.blocked_on.filter(|_| slot) else { return passes };
        let decode = &self.core.decode;
        if need.is_loose {
            let enough = decode.blocks_needed(passes);
            let beside = self.core.kv.available_beside(paths, need.request, enough);
            passes = decode.passes_within(beside, passes);
        }
        // The reservation shrinks while pages fill up: the head may fit before anything ends.
        let available = u64::from(self.core.kv.available());
        let left = |k: u64| available.saturating_sub(decode.blocks_needed(k));
        let page = f64::from(self.page());
        let room = |pages: u64| pages as f64 * page;
        let mut k = 0;
        while k < passes {
            if left(k) < u64::from(need.pages) {
                if !need.is_loose || k > 0 {
                    return if need.is_loose { k } else { passes };
                }
                // Without its pages the head cannot start, but it refreshes its hits in every pass
                // in which it has the room: a run ends where that may change.
                self.refreshes = need.charge < room(left(0)) - self.reserved(0);
                while passes > 1
                    && match self.refreshes {
                        true => need.charge >= room(left(passes - 1)) - self.reserved(0),
                        false => need.charge < room(left(0)) - self.reserved(passes - 1),
                    }
                {
                    passes /= 2;
                }
                return passes;
            }
            // Pages only get fewer: before this pass it does not fit, whatever happens.
            let room = room(left(k));
            let next = first_in(k..passes, |k| need.charge < room - self.reserved(k));
            if next == k {
                return k;
            }
            k = next;
        }
        passes
    }

    fn unblock(&mut self) {
        self.blocked_on = None;
    }

    fn ahead_of_restored(&self) -> usize {
        usize::from(self.chunked.is_some())
    }

    fn after_steady(&mut self, passes: u64, _blocks: u32, paths: &BlockPaths, requests: &Requests) {
        if self.refreshes
            && let Some(need) = self.blocked_on
        {
            // As the last pass of the run did before it began.
            let at = access(self.core.decode.passes() - 1, AccessKind::Prefill, 0);
            self.stamps = (self.core.decode.passes() - 1, 0);
            self.core.kv.touch(paths, need.request, need.hit, at);
        }
        self.after_decode(passes, &requests.states);
    }

    fn note_last_token(&mut self, request: u32, requests: &mut Requests) {
        if self.late.contains(&request) {
            return;
        }
        let state = &requests.states[request as usize];
        let decoded_since = self.core.decode.generated(state) > state.generated;
        let fresh = self.emitted.iter().position(|&(_, at)| at == state.last_token_ms && !decoded_since);
        let group = fresh.or(if self.emitted.is_empty() { None } else { Some(0) });
        match group {
            Some(group) => {
                let state = &mut requests.states[request as usize];
                state.last_token_ms = self.emitted[group].1;
                self.emitted[group].0 -= 1;
            }
            None => requests.states[request as usize].last_token_ms = self.core.now_ms,
        }
    }

    fn end_finished(&mut self, paths: &BlockPaths, requests: &mut Requests) {
        while let Some(request) = self.core.decode.pop_finished(&mut requests.states) {
            // Its output is spent: nothing of it is reserved any more.
            self.end(request, paths, requests);
        }
    }
}
