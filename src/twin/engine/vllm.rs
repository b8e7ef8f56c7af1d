//! The vLLM-like scheduler: running sequences first, one token budget, chunked prefill, prefix hits,
//! preemption with recomputation. With [`Backend::Trtllm`] the same core never evicts: admission
//! reserves what a request needs to its end.
//!
//! Life cycle of a request here: inbox (assigned, not yet arrived), waiting, prefilling (in chunks,
//! while it is always the last of the running), decoding, ended. A preempted request goes back to
//! the front of the waiting ones and keeps its generated tokens. A pass is decided at its start;
//! tokens and completions appear at its end.
//!
//! Failure modes: a request that can never fit is rejected and counted; an empty pass cannot recur,
//! because a lone request either fits or is rejected.

use super::core::{Core, Engine};
use super::handoff::Reservation;
use crate::catalog::Backend;
use crate::timing::PassLoad;
use crate::twin::deployment::{Admission, Preemption, Role};
use crate::twin::kv::pool::Hit;
use crate::twin::request::{RequestState, Requests};
use crate::workload::prefix::BlockPaths;

/// One worker with a vLLM-like engine.
#[derive(Debug)]
pub struct Vllm {
    core: Core,
    /// The running request whose prompt is not complete: always the last of the running.
    prefilling: Option<u32>,
    /// The waiting head cannot be admitted before some running request leaves.
    blocked: bool,
    /// Cached blocks that the blocked head would use, when some of them may be evicted.
    counts_on: u32,
    /// TRT-LLM: blocks that running requests still need to finish.
    owed: u32,
    /// Requests from prefill workers that emit their first token in the pass in flight.
    fresh: Vec<u32>,
    /// Decoding sequences in the pass in flight.
    decoding: u32,
    /// What the peer's timing is told otherwise about the pass, when requests are computed again.
    recomputed: Vec<Recomputed>,
}

/// Tokens in a pass of a request that had generated some before it was preempted, or that found
/// every token of its prompt in the cache.
#[derive(Clone, Copy, Debug)]
struct Recomputed {
    prefix: u32,
    chunk: u32,
    /// Prompt length.
    input_tokens: u32,
    /// Its whole length if it emits a token at the end of this pass, else 0.
    context: u32,
}

impl Vllm {
    /// An idle worker.
    pub fn new(core: Core) -> Self {
        Vllm {
            core,
            prefilling: None,
            blocked: false,
            counts_on: 0,
            owed: 0,
            fresh: Vec::new(),
            decoding: 0,
            recomputed: Vec::new(),
        }
    }

    fn never_evicts(&self) -> bool {
        self.core.config.backend == Backend::Trtllm
    }

    /// Gives running sequences their tokens and blocks; whether any was preempted.
    fn schedule_running(&mut self, load: &mut PassLoad, paths: &BlockPaths, requests: &mut Requests) -> bool {
        let core = &mut self.core;
        let need = core.decode.blocks_next();
        let preempted = need + self.chunk_blocks(self.core.decode.seqs(), requests) > self.core.kv.available();
        if preempted {
            self.preempt_until_all_fit(paths, requests);
        } else {
            self.core.kv.allocate(need);
            self.owed = self.owed.saturating_sub(need);
        }
        load.decode_seqs = self.core.decode.seqs();
        load.decode_context_tokens = self.core.decode.context();
        if let Some(request) = self.prefilling {
            let blocks = self.chunk_blocks(load.decode_seqs, requests);
            let chunk = self.chunk(load.decode_seqs, requests);
            let computed = requests.states[request as usize].computed;
            self.core.kv.allocate(blocks);
            self.owed = self.owed.saturating_sub(blocks);
            self.compute(request, computed, chunk, load, paths, requests);
        }
        preempted
    }

    /// Tokens of the prefilling request in a pass with this many decoding sequences.
    fn chunk(&self, decoding: u32, requests: &Requests) -> u32 {
        let Some(request) = self.prefilling else { return 0 };
        let state = &requests.states[request as usize];
        (state.known() - state.computed).min(self.budget(decoding))
    }

    /// Tokens left in a pass with this many decoding sequences.
    fn budget(&self, decoding: u32) -> u32 {
        let drafted = self.core.config.speculation.as_ref().map_or(0, |s| s.tokens);
        self.core.config.max_num_batched_tokens.saturating_sub(decoding.saturating_mul(1 + drafted))
    }

    fn chunk_blocks(&self, decoding: u32, requests: &Requests) -> u32 {
        let Some(request) = self.prefilling else { return 0 };
        let computed = requests.states[request as usize].computed;
        self.core.blocks(computed + self.chunk(decoding, requests)) - self.core.blocks(computed)
    }

    /// The pass in which blocks run out: sequences in admission order, preempting until each fits.
    fn preempt_until_all_fit(&mut self, paths: &BlockPaths, requests: &mut Requests) {
        let mut index = 0;
        let mut decoding = 0;
        'sequences: while index < self.core.running.len() {
            let request = self.core.running[index];
            let is_prefilling = self.prefilling == Some(request);
            let need = loop {
                let need = if is_prefilling {
                    // Taken when the chunk is computed; it only has to be there.
                    self.chunk_blocks(decoding, requests)
                } else {
                    self.core.decode.needs_next(&requests.states[request as usize])
                };
                if need <= self.core.kv.available() {
                    break need;
                }
                let victim = match self.core.config.preemption {
                    Preemption::Lifo => self.core.running.len() - 1,
                    Preemption::Fifo => 0,
                };
                let scheduled = victim < index;
                let victim_state = &requests.states[self.core.running[victim] as usize];
                if scheduled {
                    self.core.kv.free(self.core.decode.needs_next(victim_state));
                }
                self.preempt(victim, paths, requests);
                if victim == index {
                    continue 'sequences;
                }
                if scheduled {
                    index -= 1;
                    decoding -= 1;
                }
            };
            if !is_prefilling {
                self.core.kv.allocate(need);
                decoding += 1;
            }
            index += 1;
        }
    }

    fn preempt(&mut self, index: usize, paths: &BlockPaths, requests: &mut Requests) {
        if self.prefilling == Some(self.core.running[index]) {
            self.prefilling = None;
        } else if let Some(at) = self.fresh.iter().position(|&r| r == self.core.running[index]) {
            self.fresh.remove(at);
        } else {
            // Its last token was emitted at the end of the pass before this one.
            requests.states[self.core.running[index] as usize].last_token_ms = self.core.now_ms;
        }
        let request = self.core.stop(index, requests);
        self.core.release(request, paths, requests);
        requests.states[request as usize].computed = 0;
        // Those restored hold blocks: they go first.
        let restored = self.core.restored();
        self.core.waiting.insert(restored, request);
        self.blocked = false;
    }

    /// Whether room for the first chunk is enough to start. Not where the first come are preempted
    /// first: two prompts that do not fit together would take each other's blocks for ever.
    fn admits_by_chunk(&self) -> bool {
        let config = &self.core.config;
        config.admission == Admission::FirstChunk && config.preemption == Preemption::Lifo && !self.never_evicts()
    }

    /// Whether a request can never be served, however empty the worker.
    fn can_never_fit(&self, state: &RequestState) -> bool {
        self.core.config.max_model_len.is_some_and(|most| state.input_tokens >= most)
            || self.core.blocks(self.footprint(state)) > self.core.kv.total()
    }

    /// Tokens that admission makes sure there is room for.
    fn footprint(&self, state: &RequestState) -> u32 {
        if self.never_evicts() { state.known() + self.core.output_left(state) } else { state.known() }
    }

    /// Admits waiting requests in order while budget, slots and blocks last.
    fn admit(&mut self, load: &mut PassLoad, paths: &BlockPaths, requests: &mut Requests) {
        self.blocked = self.core.reserving;
        if self.core.reserving {
            self.counts_on = 0;
            return;
        }
        while let Some(&request) = self.core.waiting.front() {
            let budget = self.budget(load.decode_seqs).saturating_sub(load.new_tokens as u32);
            if budget == 0 || self.core.is_full() {
                break;
            }
            if self.never_evicts() && self.core.role != Role::Prefill {
                self.clamp_output(&mut requests.states[request as usize]);
            }
            let state = &requests.states[request as usize];
            if self.can_never_fit(state) {
                self.core.reject_head(requests);
                continue;
            }
            let known = state.known();
            let frozen = self.core.frozen(request);
            let hit = match frozen {
                Some(blocks) => Hit { blocks, active: blocks },
                None => self.find_cached(request, state, paths),
            };
            let cached = hit.blocks * self.core.config.block_size;
            let asked =
                if self.admits_by_chunk() { cached + (known - cached).min(budget) } else { self.footprint(state) };
            let promised = self.core.blocks(asked) - hit.active;
            if promised + self.owed + self.core.tails_besides(request) > self.core.kv.available() {
                self.blocked = true;
                self.counts_on = if hit.active < hit.blocks { hit.blocks } else { 0 };
                break;
            }
            if self.core.tiered && frozen.is_none() {
                let (most, needed) = (self.most_cached(state), self.core.blocks(self.footprint(state)));
                if self.core.goes_aside(hit, most, u32::MAX, needed, paths, requests) {
                    continue;
                }
            }
            let state = &requests.states[request as usize];
            if !self.core.config.chunked_prefill && known - cached > budget {
                if self.core.running.is_empty() && load.new_tokens == 0 {
                    if frozen.is_some() {
                        self.give_back(request, paths, requests);
                        self.core.abandon(request, requests);
                    }
                    self.core.reject_head(requests);
                    continue;
                }
                // A pass with fewer prompt tokens ahead of it may have the budget. Tiers are asked again
                // in each: what they have by then makes the chunk shorter.
                self.blocked = load.new_tokens == 0 && !self.core.tiered;
                self.counts_on = 0;
                break;
            }
            self.core.waiting.pop_front();
            let chunk = (known - cached).min(budget);
            let fresh = self.core.blocks(cached + chunk) - hit.blocks;
            if self.never_evicts() {
                self.owed += self.core.blocks(self.footprint(state)) - hit.blocks - fresh;
            }
            match frozen {
                Some(_) => self.core.thaw(request),
                None => self.core.kv.pin(paths, request, hit.blocks),
            }
            self.core.kv.allocate(fresh);
            requests.states[request as usize].registered = hit.blocks;
            self.core.start(request, cached, requests);
            self.compute(request, cached, chunk, load, paths, requests);
        }
    }

    /// Leading blocks in the cache that a request may use: when a logit is needed, its last token is
    /// computed again.
    fn find_cached(&self, request: u32, state: &RequestState, paths: &BlockPaths) -> Hit {
        if !self.core.config.prefix_caching {
            return Hit::default();
        }
        let hit = self.core.kv.lookup(paths, request, self.most_cached(state));
        if self.core.decode.speculates() && hit.blocks > 0 {
            // The drafting head needs the hidden states of the last cached block.
            return self.core.kv.lookup(paths, request, hit.blocks - 1);
        }
        hit
    }

    /// Most blocks that a request may take from a cache.
    fn most_cached(&self, state: &RequestState) -> u32 {
        let keeps_all = state.output_tokens == 0 || (self.never_evicts() && self.core.peer_compat);
        let recomputed = u32::from(!keeps_all);
        (state.known() - recomputed) / self.core.config.block_size
    }

    /// TRT-LLM promises no more output than fits pool and model, but one token: a prompt that leaves no
    /// room for it never fits.
    fn clamp_output(&self, state: &mut RequestState) {
        let most = self.core.pool_tokens().min(u64::from(u32::MAX)) as u32;
        state.output_tokens = state.output_tokens.min(most.saturating_sub(state.input_tokens).max(1));
    }

    /// Puts `chunk` tokens of a prompt into the pass; their blocks are allocated.
    fn compute(
        &mut self,
        request: u32,
        prefix: u32,
        chunk: u32,
        load: &mut PassLoad,
        paths: &BlockPaths,
        requests: &mut Requests,
    ) {
        let state = &mut requests.states[request as usize];
        state.computed = prefix + chunk;
        let full = state.computed / self.core.config.block_size;
        if self.core.config.prefix_caching {
            self.core.kv.register(paths, request, state.registered, full);
            state.registered = full;
        }
        if self.core.tiered {
            requests.tiers.prepare(self.core.now_ms, self.core.worker, request, full, paths);
        }
        let state = &requests.states[request as usize];
        Core::load_chunk(load, prefix, chunk);
        if self.core.peer_compat && state.output_tokens > 0 && (state.generated > 0 || chunk == 0) {
            let context = if state.computed == state.known() { state.known() } else { 0 };
            self.recomputed.push(Recomputed { prefix, chunk, input_tokens: state.input_tokens, context });
        }
        if state.computed == state.known() {
            self.prefilling = None;
            self.core.finishing.push(request);
        } else {
            self.prefilling = Some(request);
        }
    }

    /// The pass as the peer times it: generated tokens are computed again for nothing, and a request
    /// that then has them all, or has nothing to compute, pays a decode step for its next one.
    fn as_peer_times(&mut self, load: &PassLoad) -> PassLoad {
        let mut timed = *load;
        for Recomputed { prefix, chunk, input_tokens, context } in self.recomputed.drain(..) {
            let cached = prefix.min(input_tokens);
            let prompt = (prefix + chunk).min(input_tokens) - cached;
            if chunk > 0 {
                timed.prefill_seqs -= u32::from(prompt == 0);
                timed.new_tokens -= u64::from(chunk - prompt);
                timed.prefix_tokens -= u64::from(prefix - if prompt == 0 { 0 } else { cached });
            }
            timed.decode_seqs += u32::from(context > 0);
            timed.decode_context_tokens += u64::from(context);
        }
        timed
    }

    /// Duration of a pass: what the timing says, and the drafting before it.
    fn pass_ms(&self, load: &PassLoad) -> f64 {
        let timing = &self.core.timing;
        let pass_ms = timing.pass_ms(load);
        match &self.core.config.speculation {
            Some(s) if load.decode_seqs > 0 => {
                let batch = PassLoad::decode(load.decode_seqs, load.decode_context_tokens, load.kv_pool_tokens);
                pass_ms + f64::from(s.tokens) * s.draft_cost * timing.pass_ms(&batch)
            }
            _ => pass_ms,
        }
    }

    /// Lets prebuilt requests in while there are slots: they decode with the others.
    fn enter(&mut self, requests: &mut Requests) {
        while let Some(request) = self.core.enter_next(requests) {
            // The prefilling one stays the last.
            let at = self.core.running.len() - usize::from(self.prefilling.is_some());
            self.core.running.insert(at, request);
            let state = &mut requests.states[request as usize];
            if (state.known() - 1).is_multiple_of(self.core.config.block_size) {
                // The pass takes this block itself, for the last token that it computes with.
                self.core.kv.free(1);
                self.owed += u32::from(self.never_evicts());
            }
            self.core.decode.join(request, state);
            self.fresh.push(request);
        }
    }

    /// A prompt is complete whose request goes on elsewhere.
    fn hand_over(&mut self, request: u32, requests: &mut Requests) {
        if self.never_evicts() {
            let state = &requests.states[request as usize];
            self.owed -= self.core.blocks(self.footprint(state)) - self.core.blocks(state.computed);
        }
        self.core.hold(request, requests);
        self.blocked = false;
    }

    fn end(&mut self, request: u32, paths: &BlockPaths, requests: &mut Requests) {
        if self.never_evicts() {
            let state = &requests.states[request as usize];
            self.owed -= self.core.blocks(self.footprint(state)) - self.core.blocks(state.computed);
        }
        self.core.release(request, paths, requests);
        self.core.end(request, requests);
        self.blocked = false;
    }
}

impl Engine for Vllm {
    fn core(&self) -> &Core {
        &self.core
    }

    fn core_mut(&mut self) -> &mut Core {
        &mut self.core
    }

    fn plan(&mut self, paths: &BlockPaths, requests: &mut Requests) -> Option<f64> {
        self.enter(requests);
        let mut load = PassLoad { kv_pool_tokens: self.core.pool_tokens(), ..Default::default() };
        let preempted = self.schedule_running(&mut load, paths, requests);
        if !preempted {
            self.admit(&mut load, paths, requests);
        }
        let drafted = self.core.config.speculation.as_ref().map_or(0, |s| s.tokens);
        load.draft_tokens = u64::from(load.decode_seqs) * u64::from(drafted);
        load.sampled_seqs = load.decode_seqs * (1 + drafted) + self.core.finishing.len() as u32;
        let timed = if self.core.peer_compat { self.as_peer_times(&load) } else { load };
        self.decoding = load.decode_seqs;
        self.core.last_passes.plan(&load);
        requests.tally.prefill_tokens += load.new_tokens;
        let timed = match self.core.recomputes_free {
            true => {
                PassLoad { prefill_seqs: 0, new_tokens: 0, prefix_tokens: 0, context_sq: 0.0, prefix_sq: 0.0, ..timed }
            }
            false => timed,
        };
        (timed.decode_seqs + timed.prefill_seqs > 0).then(|| self.pass_ms(&timed))
    }

    fn finish(&mut self, end_ms: f64, paths: &BlockPaths, requests: &mut Requests) {
        let pass_ms = end_ms - self.core.now_ms;
        self.core.last_passes.end(self.core.now_ms, end_ms);
        self.core.now_ms = end_ms;
        if self.core.tiered {
            requests.tiers.submit(end_ms, self.core.worker);
        }
        requests.tally.held_block_ms += pass_ms * f64::from(self.core.kv.active());
        if self.decoding > 0 {
            let emitted = self.core.decode.advance_once(&mut requests.states);
            let decoding = u64::from(std::mem::take(&mut self.decoding));
            requests.tally.itl.add(pass_ms, decoding - self.fresh.len() as u64);
            for index in 0..self.fresh.len() {
                self.core.emit_first(self.fresh[index], requests);
            }
            self.fresh.clear();
            if emitted > decoding {
                // The tokens of a burst appear together.
                requests.tally.itl.add(0.0, emitted - decoding);
            }
        }
        self.end_finished(paths, requests);
        for index in 0..self.core.finishing.len() {
            let request = self.core.finishing[index];
            if self.core.hands_over(&requests.states[request as usize]) {
                self.hand_over(request, requests);
            } else if self.core.emit_after_prefill(request, requests) {
                self.end(request, paths, requests);
            }
        }
        self.core.finishing.clear();
    }

    fn is_steady(&self) -> bool {
        self.prefilling.is_none()
            && !self.core.decode.speculates()
            && self.core.decode.seqs() > 0
            && !self.core.has_to_enter()
            && (self.core.waiting.is_empty() || self.blocked || self.core.is_full())
    }

    fn reserve(&mut self, request: u32, paths: &BlockPaths, requests: &mut Requests) -> Reservation {
        if self.never_evicts() {
            self.clamp_output(&mut requests.states[request as usize]);
        }
        let state = &requests.states[request as usize];
        if self.can_never_fit(state) {
            return Reservation::Never;
        }
        if self.core.expected() >= self.core.config.max_num_seqs as usize {
            return Reservation::Full;
        }
        let hit = match self.core.config.prefix_caching && !self.never_evicts() {
            true => self.core.kv.lookup(paths, request, state.known() / self.core.config.block_size),
            false => Hit::default(),
        };
        let promised = self.core.blocks(self.footprint(state));
        if promised - hit.active + self.owed > self.core.kv.available() {
            return Reservation::Full;
        }
        let blocks = self.core.blocks(state.known());
        self.core.kv.pin(paths, request, hit.blocks);
        self.core.kv.allocate(blocks - hit.blocks);
        self.owed += promised - blocks;
        self.core.note_reserved(request, hit.blocks, blocks)
    }

    fn publish_prebuilt(&mut self, request: u32, paths: &BlockPaths, requests: &mut Requests) {
        let state = &mut requests.states[request as usize];
        let full = state.computed / self.core.config.block_size;
        if self.core.config.prefix_caching {
            self.core.kv.register(paths, request, state.registered, full);
            state.registered = full;
        }
    }

    fn give_back(&mut self, request: u32, paths: &BlockPaths, requests: &mut Requests) {
        self.core.release(request, paths, requests);
        self.blocked = false;
    }

    fn forget_promise(&mut self, request: u32, requests: &mut Requests) {
        let state = &requests.states[request as usize];
        self.owed -= self.core.blocks(self.footprint(state)) - self.core.blocks(state.known());
    }

    fn set_reserving(&mut self, reserving: bool) {
        self.core.reserving = reserving;
        self.blocked = false;
    }

    fn rank_mut(&mut self, _rank: usize) -> &mut dyn Engine {
        self
    }

    fn arrivals_matter(&self) -> bool {
        self.core.waiting.is_empty() && !self.core.is_full()
    }

    fn unblock(&mut self) {
        self.blocked = false;
    }

    fn steady_passes(&mut self, passes: u64, paths: &BlockPaths, _requests: &Requests) -> u64 {
        // A head whose first chunk does not fit asks for less once its cached prefix is gone.
        let shrinks = self.blocked && self.counts_on > 0 && self.admits_by_chunk();
        match self.core.waiting.front() {
            Some(&head) if shrinks && !self.core.is_full() => {
                let enough = self.core.decode.blocks_needed(passes);
                self.core.decode.passes_within(self.core.kv.available_beside(paths, head, enough), passes)
            }
            _ => passes,
        }
    }

    fn after_steady(&mut self, _passes: u64, blocks: u32, _paths: &BlockPaths, _requests: &Requests) {
        self.owed = self.owed.saturating_sub(blocks);
    }

    fn end_finished(&mut self, paths: &BlockPaths, requests: &mut Requests) {
        while let Some(request) = self.core.decode.pop_finished(&mut requests.states) {
            self.end(request, paths, requests);
        }
    }
}
