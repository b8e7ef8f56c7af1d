//! The vLLM-like scheduler: running sequences first, one token budget, chunked prefill, prefix hits,
//! preemption with recomputation.
//!
//! Life cycle of a request here: inbox (assigned, not yet arrived), waiting, prefilling (in chunks,
//! while it is always the last of the running), decoding, ended. A preempted request goes back to
//! the front of the waiting ones and keeps its generated tokens. A pass is decided at its start;
//! tokens and completions appear at its end.
//!
//! Failure modes: a request that can never fit is rejected and counted; an empty pass cannot recur,
//! because a lone request either fits or is rejected.

use std::collections::VecDeque;

use super::decode::DecodeGroup;
use crate::timing::{PassLoad, Timing};
use crate::twin::deployment::{EngineConfig, Preemption};
use crate::twin::kv::pool::{Hit, KvPool};
use crate::twin::outcome::Status;
use crate::twin::request::{EdgeKind, Requests};
use crate::workload::prefix::BlockPaths;

/// One worker with a vLLM-like engine.
#[derive(Debug)]
pub struct Vllm {
    config: EngineConfig,
    timing: Timing,
    pass_by_pass: bool,
    kv: KvPool,
    decode: DecodeGroup,
    /// Admitted requests in admission order; one that is still prefilling is the last.
    running: Vec<u32>,
    prefilling: Option<u32>,
    waiting: VecDeque<u32>,
    /// Assigned requests by arrival time.
    inbox: VecDeque<(f64, u32)>,
    /// The waiting head cannot be admitted before some running request leaves.
    blocked: bool,
    admissions: u64,
    /// End of the pass in flight, or of the last one.
    now_ms: f64,
    finishing: Vec<u32>,
}

impl Vllm {
    /// An idle worker at time 0.
    pub fn new(config: &EngineConfig, timing: &Timing, segments: usize, journaled: bool, pass_by_pass: bool) -> Self {
        Vllm {
            kv: KvPool::new(config.gpu_blocks, segments, journaled),
            decode: DecodeGroup::new(config.block_size),
            config: config.clone(),
            timing: timing.clone(),
            pass_by_pass,
            running: Vec::new(),
            prefilling: None,
            waiting: VecDeque::new(),
            inbox: VecDeque::new(),
            blocked: false,
            admissions: 0,
            now_ms: 0.0,
            finishing: Vec::new(),
        }
    }

    /// The worker's KV blocks.
    pub fn kv(&self) -> &KvPool {
        &self.kv
    }

    /// End of the pass in flight, or of the last one.
    pub fn now_ms(&self) -> f64 {
        self.now_ms
    }

    /// Hands over a request that arrives at `at_ms`, not before any handed over earlier.
    pub fn push(&mut self, at_ms: f64, request: u32) {
        if self.in_flight() == 0 {
            self.now_ms = self.now_ms.max(at_ms);
        }
        self.inbox.push_back((at_ms, request));
    }

    /// Requests assigned and not ended.
    pub fn in_flight(&self) -> usize {
        self.running.len() + self.waiting.len() + self.inbox.len()
    }

    /// Whether its cache may look different at `at_ms` from now: it has passes to start before then
    /// that prefill or end requests, or that may evict.
    pub fn may_change_before(&self, at_ms: f64) -> bool {
        self.now_ms < at_ms && self.in_flight() > 0
    }

    /// When this worker next has to be advanced if nothing arrives: the start of a pass that admits
    /// or prefills, or the end of the run of decode passes that ends a request; infinite when idle.
    pub fn wake_ms(&mut self, requests: &Requests) -> f64 {
        if self.running.is_empty() && self.waiting.is_empty() {
            return self.inbox.front().map_or(f64::INFINITY, |&(at, _)| at.max(self.now_ms));
        }
        let arrived = self.inbox.front().is_some_and(|&(at, _)| at <= self.now_ms);
        if !self.can_jump() || (arrived && self.arrivals_matter()) {
            return self.now_ms;
        }
        let run = self.timing.decode_run(self.decode.seqs(), self.decode.context(), self.pool_tokens());
        let passes = self.decode.passes_to_finish(&requests.states).min(run.passes);
        let fitting = self.decode.passes_within(u64::from(self.kv.available()), passes);
        self.now_ms + run.total(fitting)
    }

    /// Does every pass that starts before `until_ms`.
    pub fn run(&mut self, until_ms: f64, paths: &BlockPaths, requests: &mut Requests) {
        loop {
            if self.running.is_empty() && self.waiting.is_empty() {
                let Some(&(at, _)) = self.inbox.front() else { return };
                if at >= until_ms {
                    return;
                }
                self.now_ms = self.now_ms.max(at);
            }
            if self.now_ms >= until_ms {
                return;
            }
            while let Some(&(at, request)) = self.inbox.front()
                && at <= self.now_ms
            {
                self.inbox.pop_front();
                self.waiting.push_back(request);
            }
            if !(self.can_jump() && !self.pass_by_pass && self.jump(until_ms, paths, requests)) {
                self.step(paths, requests);
            }
        }
    }

    fn pool_tokens(&self) -> u64 {
        u64::from(self.kv.total()) * u64::from(self.config.block_size)
    }

    fn is_full(&self) -> bool {
        self.running.len() >= self.config.max_num_seqs as usize
    }

    /// Whether a request that arrives could be admitted before a running one leaves.
    fn arrivals_matter(&self) -> bool {
        self.waiting.is_empty() && !self.is_full()
    }

    /// Whether the next pass only decodes, and so do those after it until something happens.
    fn can_jump(&self) -> bool {
        self.prefilling.is_none()
            && self.decode.seqs() > 0
            && (self.waiting.is_empty() || self.blocked || self.is_full())
    }

    /// Advances a run of decode-only passes; false when not even one can be had without preemption.
    fn jump(&mut self, until_ms: f64, paths: &BlockPaths, requests: &mut Requests) -> bool {
        let seqs = self.decode.seqs();
        let run = self.timing.decode_run(seqs, self.decode.context(), self.pool_tokens());
        let mut passes = self.decode.passes_to_finish(&requests.states).min(run.passes);
        let next_arrival =
            if self.arrivals_matter() { self.inbox.front().map_or(f64::INFINITY, |a| a.0) } else { f64::INFINITY };
        let limit = until_ms.min(next_arrival);
        if limit < f64::INFINITY {
            passes = run.passes_lasting(limit - self.now_ms, passes);
        }
        passes = self.decode.passes_within(u64::from(self.kv.available()), passes);
        if passes == 0 {
            return false;
        }
        self.kv.publish();
        let held = self.kv.active();
        self.kv.allocate(self.decode.blocks_needed(passes) as u32);
        let total = run.total(passes);
        self.now_ms += total;
        self.decode.advance(passes);
        let tally = &mut requests.tally;
        tally.itl.add_run(0, passes, |k| run.pass(k), total, u64::from(seqs));
        tally.pass_run(passes, total, 0.5 * f64::from(held + self.kv.active()));
        self.end_finished(paths, requests);
        true
    }

    /// One pass.
    fn step(&mut self, paths: &BlockPaths, requests: &mut Requests) {
        self.kv.publish();
        let mut load = PassLoad { kv_pool_tokens: self.pool_tokens(), ..Default::default() };
        let preempted = self.schedule_running(&mut load, paths, requests);
        if !preempted {
            self.admit(&mut load, paths, requests);
        }
        load.sampled_seqs = load.decode_seqs + self.finishing.len() as u32;
        let pass_ms = if load.decode_seqs + load.prefill_seqs > 0 { self.timing.pass_ms(&load) } else { 0.0 };
        self.now_ms += pass_ms;
        if load.decode_seqs > 0 {
            self.decode.advance(1);
            requests.tally.itl.add(pass_ms, u64::from(load.decode_seqs));
        }
        if load.decode_seqs + load.prefill_seqs > 0 {
            requests.tally.pass_run(1, pass_ms, f64::from(self.kv.active()));
            requests.tally.prefill_tokens += load.new_tokens;
        }
        self.end_finished(paths, requests);
        self.emit_first_tokens(paths, requests);
    }

    /// Gives running sequences their tokens and blocks; whether any was preempted.
    fn schedule_running(&mut self, load: &mut PassLoad, paths: &BlockPaths, requests: &mut Requests) -> bool {
        let need = self.decode.blocks_needed(1) as u32;
        let preempted = need + self.chunk_blocks(self.decode.seqs(), requests) > self.kv.available();
        if preempted {
            self.preempt_until_all_fit(paths, requests);
        } else {
            self.kv.allocate(need);
        }
        load.decode_seqs = self.decode.seqs();
        load.decode_context_tokens = self.decode.context();
        if let Some(request) = self.prefilling {
            let blocks = self.chunk_blocks(load.decode_seqs, requests);
            let chunk = self.chunk(load.decode_seqs, requests);
            let computed = requests.states[request as usize].computed;
            self.kv.allocate(blocks);
            self.compute(request, computed, chunk, load, paths, requests);
        }
        preempted
    }

    /// Tokens of the prefilling request in a pass with this many decoding sequences.
    fn chunk(&self, decoding: u32, requests: &Requests) -> u32 {
        let Some(request) = self.prefilling else { return 0 };
        let state = &requests.states[request as usize];
        (state.known() - state.computed).min(self.config.max_num_batched_tokens - decoding)
    }

    fn chunk_blocks(&self, decoding: u32, requests: &Requests) -> u32 {
        let Some(request) = self.prefilling else { return 0 };
        let computed = requests.states[request as usize].computed;
        let size = self.config.block_size;
        (computed + self.chunk(decoding, requests)).div_ceil(size) - computed.div_ceil(size)
    }

    /// The pass in which blocks run out: sequences in admission order, preempting until each fits.
    fn preempt_until_all_fit(&mut self, paths: &BlockPaths, requests: &mut Requests) {
        let mut index = 0;
        let mut decoding = 0;
        'sequences: while index < self.running.len() {
            let request = self.running[index];
            let is_prefilling = self.prefilling == Some(request);
            let need = loop {
                let need = if is_prefilling {
                    // Taken when the chunk is computed; it only has to be there.
                    self.chunk_blocks(decoding, requests)
                } else {
                    u32::from(self.decode.opens_next(&requests.states[request as usize]))
                };
                if need <= self.kv.available() {
                    break need;
                }
                let victim = match self.config.preemption {
                    Preemption::Lifo => self.running.len() - 1,
                    Preemption::Fifo => 0,
                };
                let scheduled = victim < index;
                if scheduled && self.decode.opens_next(&requests.states[self.running[victim] as usize]) {
                    self.kv.free(1);
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
                self.kv.allocate(need);
                decoding += 1;
            }
            index += 1;
        }
    }

    fn preempt(&mut self, index: usize, paths: &BlockPaths, requests: &mut Requests) {
        let request = self.running.remove(index);
        let state = &mut requests.states[request as usize];
        if self.prefilling == Some(request) {
            self.prefilling = None;
        } else {
            // Its last token was emitted at the end of the pass before this one.
            state.last_token_ms = self.now_ms;
            self.decode.leave(state);
        }
        state.preemptions += 1;
        state.lost = state.computed;
        requests.tally.preemptions += 1;
        self.release(request, paths, requests);
        requests.states[request as usize].computed = 0;
        self.waiting.push_front(request);
        self.blocked = false;
    }

    /// Admits waiting requests in order while budget, slots and blocks last.
    fn admit(&mut self, load: &mut PassLoad, paths: &BlockPaths, requests: &mut Requests) {
        self.blocked = false;
        let budget_of = |load: &PassLoad, config: &EngineConfig| {
            config.max_num_batched_tokens - load.decode_seqs - load.new_tokens as u32
        };
        while let Some(&request) = self.waiting.front() {
            let budget = budget_of(load, &self.config);
            if budget == 0 || self.is_full() {
                break;
            }
            let state = &requests.states[request as usize];
            let (known, size) = (state.known(), self.config.block_size);
            let too_long = self.config.max_model_len.is_some_and(|most| state.input_tokens >= most);
            if too_long || known.div_ceil(size) > self.kv.total() {
                self.reject(request, requests);
                continue;
            }
            let needs_logits = state.output_tokens > 0;
            let hit = if self.config.prefix_caching {
                self.kv.lookup(paths, request, (known - u32::from(needs_logits)) / size)
            } else {
                Hit::default()
            };
            let cached = hit.blocks * size;
            if known.div_ceil(size) - hit.active > self.kv.available() {
                self.blocked = true;
                break;
            }
            if !self.config.chunked_prefill && known - cached > budget {
                if self.running.is_empty() && load.new_tokens == 0 {
                    self.reject(request, requests);
                    continue;
                }
                // A pass with fewer prompt tokens ahead of it may have the budget.
                self.blocked = load.new_tokens == 0;
                break;
            }
            self.waiting.pop_front();
            let chunk = (known - cached).min(budget);
            self.kv.pin(paths, request, hit.blocks);
            self.kv.allocate((cached + chunk).div_ceil(size) - hit.blocks);
            let now_ms = self.now_ms;
            let state = &mut requests.states[request as usize];
            if state.admitted_ms.is_nan() {
                state.admitted_ms = now_ms;
            }
            state.registered = hit.blocks;
            state.reused = state.reused.max(cached.min(state.input_tokens));
            requests.tally.recomputed_tokens += u64::from(state.lost.saturating_sub(cached));
            state.lost = 0;
            state.order = self.admissions;
            self.admissions += 1;
            self.running.push(request);
            self.compute(request, cached, chunk, load, paths, requests);
        }
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
        let full = state.computed / self.config.block_size;
        if self.config.prefix_caching {
            self.kv.register(paths, request, state.registered, full);
            state.registered = full;
        }
        load.prefill_seqs += u32::from(chunk > 0);
        load.new_tokens += u64::from(chunk);
        load.prefix_tokens += u64::from(prefix);
        load.context_sq += f64::from(state.computed).powi(2);
        load.prefix_sq += f64::from(prefix).powi(2);
        if state.computed == state.known() {
            self.prefilling = None;
            self.finishing.push(request);
        } else {
            self.prefilling = Some(request);
        }
    }

    /// Prompts completed in the pass that ended emit a token.
    fn emit_first_tokens(&mut self, paths: &BlockPaths, requests: &mut Requests) {
        for index in 0..self.finishing.len() {
            let request = self.finishing[index];
            let state = &mut requests.states[request as usize];
            if state.output_tokens == 0 {
                self.end(request, paths, requests);
                continue;
            }
            state.generated += 1;
            if state.first_token_ms.is_nan() {
                state.first_token_ms = self.now_ms;
                requests.edge(self.now_ms, request, EdgeKind::FirstToken);
            } else {
                requests.tally.itl.add(self.now_ms - state.last_token_ms, 1);
            }
            let state = &mut requests.states[request as usize];
            if state.generated == state.output_tokens {
                self.end(request, paths, requests);
            } else {
                self.decode.join(request, state);
            }
        }
        self.finishing.clear();
    }

    fn end_finished(&mut self, paths: &BlockPaths, requests: &mut Requests) {
        while let Some(request) = self.decode.pop_finished(&mut requests.states) {
            self.end(request, paths, requests);
        }
    }

    fn end(&mut self, request: u32, paths: &BlockPaths, requests: &mut Requests) {
        let state = &mut requests.states[request as usize];
        state.last_token_ms = self.now_ms;
        state.status = Status::Completed;
        self.release(request, paths, requests);
        let at = self.running.iter().position(|&r| r == request).expect("an ending request runs");
        self.running.remove(at);
        self.blocked = false;
        requests.edge(self.now_ms, request, EdgeKind::Ended);
    }

    fn reject(&mut self, request: u32, requests: &mut Requests) {
        self.waiting.pop_front();
        requests.states[request as usize].status = Status::Rejected;
        requests.edge(self.now_ms, request, EdgeKind::Ended);
    }

    /// Gives back a request's blocks; full ones stay cached.
    fn release(&mut self, request: u32, paths: &BlockPaths, requests: &mut Requests) {
        let state = &mut requests.states[request as usize];
        let (full, held) = (state.computed / self.config.block_size, state.computed.div_ceil(self.config.block_size));
        if self.config.prefix_caching {
            self.kv.register(paths, request, state.registered, full);
            self.kv.release(paths, request, full);
            self.kv.free(held - full);
        } else {
            self.kv.free(held);
        }
        state.registered = 0;
    }
}
