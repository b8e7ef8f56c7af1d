//! What all engines have in common: queues, the clock of a worker, its blocks, and the loop that
//! alternates single passes with jumps over runs of decode-only passes.

use std::cell::Cell;
use std::collections::VecDeque;

use super::decode::DecodeGroup;
use super::handoff::{Held, Reservation, Reserved};
use super::last_pass::LastPasses;
use super::restore::Restore;
use crate::catalog::Backend;
use crate::timing::{DecodeRun, PassLoad, Timing};
use crate::twin::deployment::{EngineConfig, Role};
use crate::twin::kv::pool::KvPool;
use crate::twin::outcome::Status;
use crate::twin::request::{EdgeKind, RequestState, Requests};
use crate::workload::prefix::BlockPaths;

/// The state of one worker that every engine keeps.
#[derive(Debug)]
pub struct Core {
    pub config: EngineConfig,
    pub timing: Timing,
    /// Never jump: the slow reference.
    pub pass_by_pass: bool,
    /// Do as the peer does where ours is better (`docs/conformance.md`).
    pub peer_compat: bool,
    /// Routers must learn of each eviction by the pass that made it, since they hear late.
    pub tells_each_pass: bool,
    /// What is computed of prompts takes no time: the peer's decode workers, which only ever compute them
    /// again.
    pub recomputes_free: bool,
    /// What it does for requests.
    pub role: Role,
    pub kv: KvPool,
    pub decode: DecodeGroup,
    /// Admitted requests in admission order.
    pub running: Vec<u32>,
    /// Arrived and not running.
    pub waiting: VecDeque<u32>,
    /// Assigned requests by arrival time.
    inbox: VecDeque<(f64, u32)>,
    /// End of the pass in flight, or of the last one.
    pub now_ms: f64,
    /// Requests whose prompt is complete at the end of the pass in flight.
    pub finishing: Vec<u32>,
    /// The passes done last.
    pub last_passes: LastPasses,
    /// The run last asked for, with the sequences and the context that it is for: whoever asks when a
    /// worker wakes asks again when it does.
    run: Cell<Option<(u32, u64, DecodeRun)>>,
    admissions: u64,
    /// Prompts held for decode workers.
    pub held: Vec<Held>,
    /// Room kept for prompts from prefill workers.
    pub reserved: Vec<Reserved>,
    /// Requests whose KV came from a prefill worker and that wait for a slot, in order.
    pub prebuilt: VecDeque<u32>,
    /// A reservation could not be had: nothing is admitted before it.
    pub reserving: bool,
    /// The waiting head has a part of its prompt computed and keeps its blocks: it goes on whatever else
    /// waits.
    pub is_cut: bool,
    /// Nothing runs and nothing that waits can start before blocks held for other workers come back,
    /// a transfer between tiers ends, or something new arrives.
    pub is_stalled: bool,
    /// Id of the worker.
    pub worker: u32,
    /// Has KV tiers below GPU memory.
    pub tiered: bool,
    /// Prefixes being restored, or restored for requests that wait for admission.
    pub restores: Vec<Restore>,
    /// Requests that wait aside for transfers between tiers.
    pub aside: Vec<u32>,
}

impl Core {
    /// An idle worker at time 0.
    pub fn new(config: &EngineConfig, timing: &Timing, segments: usize, journaled: bool, pass_by_pass: bool) -> Self {
        Core {
            kv: KvPool::new(config.gpu_blocks, segments, journaled),
            decode: DecodeGroup::new(config.block_size, config.backend == Backend::Sglang),
            config: config.clone(),
            timing: timing.clone(),
            pass_by_pass,
            peer_compat: false,
            tells_each_pass: false,
            recomputes_free: false,
            role: Role::Aggregated,
            running: Vec::new(),
            waiting: VecDeque::new(),
            inbox: VecDeque::new(),
            now_ms: 0.0,
            finishing: Vec::new(),
            last_passes: LastPasses::default(),
            run: Cell::new(None),
            admissions: 0,
            held: Vec::new(),
            reserved: Vec::new(),
            prebuilt: VecDeque::new(),
            reserving: false,
            is_cut: false,
            is_stalled: false,
            worker: 0,
            tiered: config.tiers.is_some() && config.prefix_caching,
            restores: Vec::new(),
            aside: Vec::new(),
        }
    }

    /// Takes in a request that arrives at `at_ms`.
    pub fn receive(&mut self, at_ms: f64, request: u32) {
        self.inbox.push_back((at_ms, request));
    }

    /// When the next request arrives.
    pub fn next_arrival(&self) -> f64 {
        self.inbox.front().map_or(f64::INFINITY, |&(at, _)| at)
    }

    /// Lets requests wait that have arrived by now.
    pub fn take_arrivals(&mut self) {
        while let Some(&(at, request)) = self.inbox.front()
            && at <= self.now_ms
        {
            self.inbox.pop_front();
            self.waiting.push_back(request);
            self.is_stalled = false;
        }
    }

    /// Whether no more sequences may run.
    pub fn is_full(&self) -> bool {
        self.running.len() >= self.config.max_num_seqs as usize
    }

    /// Size of the KV pool in tokens.
    pub fn pool_tokens(&self) -> u64 {
        u64::from(self.kv.total()) * u64::from(self.config.block_size)
    }

    /// Blocks that hold this many tokens.
    pub fn blocks(&self, tokens: u32) -> u32 {
        tokens.div_ceil(self.config.block_size)
    }

    /// Requests assigned and not ended.
    pub fn in_flight(&self) -> usize {
        let queued = self.waiting.len() + self.inbox.len() + self.prebuilt.len();
        self.running.len() + queued + self.aside.len()
    }

    /// Requests assigned and not running, those that arrived during the pass in flight included.
    pub fn queued(&self) -> impl Iterator<Item = u32> {
        let waiting = self.waiting.iter().chain(&self.aside).copied();
        waiting.chain(self.inbox.iter().map(|&(_, request)| request))
    }

    /// Whether it has nothing to do now.
    pub fn is_idle(&self) -> bool {
        let holds_back = self.is_stalled || (self.reserving && !self.is_cut);
        self.running.is_empty() && self.prebuilt.is_empty() && (self.waiting.is_empty() || holds_back)
    }

    /// Whether it has nothing to do before a transfer between tiers ends.
    pub fn only_waits_aside(&self) -> bool {
        !self.aside.is_empty() && self.is_idle()
    }

    /// When a transfer ends that a request may wait for.
    fn next_transfer_ms(&self, requests: &Requests) -> f64 {
        if self.aside.is_empty() { f64::INFINITY } else { requests.tiers.next_ms(self.worker) }
    }

    /// Durations of the decode-only passes ahead.
    pub fn decode_run(&self) -> DecodeRun {
        let (seqs, context) = (self.decode.seqs(), self.decode.context());
        match self.run.get() {
            Some((of_seqs, of_context, run)) if (of_seqs, of_context) == (seqs, context) => run,
            _ => {
                let run = self.timing.decode_run(seqs, context, self.pool_tokens());
                self.run.set(Some((seqs, context, run)));
                run
            }
        }
    }

    /// Takes the blocks of a run of passes, each pass's at its own time.
    fn allocate_pass_by_pass(&mut self, passes: u64, run: &DecodeRun) {
        let mut taken = 0;
        for pass in 1..=passes {
            let blocks = self.decode.blocks_needed(pass) as u32;
            if blocks > taken {
                self.kv.allocate(blocks - taken);
                self.kv.end_pass(self.now_ms + run.total(pass));
                taken = blocks;
            }
        }
    }

    /// Marks a request as running, with `cached` leading tokens found in the cache.
    pub fn start(&mut self, request: u32, cached: u32, requests: &mut Requests) {
        requests.restart(self.now_ms, request);
        let state = &mut requests.states[request as usize];
        if state.admitted_ms.is_nan() {
            state.admitted_ms = self.now_ms;
        }
        // A preempted request finds tokens that it generated itself; the peer counts them as reused.
        let reused = if self.peer_compat { cached } else { cached.min(state.input_tokens) };
        if self.tiered {
            requests.tiers.admitted(request, reused, state.reused, self.config.block_size);
        }
        state.reused = state.reused.max(reused);
        requests.tally.recomputed_tokens += u64::from(state.lost.saturating_sub(cached));
        state.lost = 0;
        state.order = self.next_order();
        self.running.push(request);
    }

    /// The next rank in the order of admission.
    pub fn next_order(&mut self) -> u64 {
        self.admissions += 1;
        self.admissions - 1
    }

    /// Output tokens that a request has left here: a prefill worker stops at the first.
    pub fn output_left(&self, state: &RequestState) -> u32 {
        let left = state.output_tokens - state.generated;
        if self.role == Role::Prefill { left.min(1) } else { left }
    }

    /// Whether the request's prompt is computed here for another worker.
    pub fn hands_over(&self, state: &RequestState) -> bool {
        self.role == Role::Prefill && state.output_tokens > 0
    }

    /// A request emits its first token here, or its next one after a break.
    pub fn emit_first(&self, request: u32, requests: &mut Requests) {
        let now_ms = self.now_ms;
        requests.resume(now_ms, request);
        let state = &mut requests.states[request as usize];
        if state.first_token_ms.is_nan() {
            state.first_token_ms = now_ms;
            requests.edge(now_ms, request, EdgeKind::FirstToken);
        } else {
            requests.tally.itl.add(now_ms - state.last_token_ms, 1);
        }
    }

    /// Adds `chunk` new tokens after `prefix` cached ones to a pass.
    pub fn load_chunk(load: &mut PassLoad, prefix: u32, chunk: u32) {
        if chunk == 0 {
            return;
        }
        load.prefill_seqs += 1;
        load.new_tokens += u64::from(chunk);
        load.prefix_tokens += u64::from(prefix);
        load.context_sq += f64::from(prefix + chunk).powi(2);
        load.prefix_sq += f64::from(prefix).powi(2);
    }

    /// Takes a running request out after it lost its place: its tokens must be computed again.
    pub fn stop(&mut self, index: usize, requests: &mut Requests) -> u32 {
        let request = self.running.remove(index);
        let state = &mut requests.states[request as usize];
        if state.decoding {
            self.decode.leave(state);
        }
        state.preemptions += 1;
        state.lost = state.computed;
        requests.stop(self.now_ms, request);
        requests.tally.preemptions += 1;
        request
    }

    /// The request emits the token that its completed prompt gives; true when that was its last.
    pub fn emit_after_prefill(&mut self, request: u32, requests: &mut Requests) -> bool {
        let now_ms = self.now_ms;
        let state = &mut requests.states[request as usize];
        if state.output_tokens == 0 {
            return true;
        }
        state.generated += 1;
        let is_first = state.first_token_ms.is_nan();
        requests.resume(now_ms, request);
        let state = &mut requests.states[request as usize];
        let gap_ms = now_ms - state.last_token_ms;
        state.last_token_ms = now_ms;
        if is_first {
            state.first_token_ms = now_ms;
            requests.edge(now_ms, request, EdgeKind::FirstToken);
        } else {
            requests.tally.itl.add(gap_ms, 1);
            if std::mem::take(&mut requests.states[request as usize].moved) {
                requests.edge(now_ms, request, EdgeKind::FirstToken);
            }
        }
        let state = &mut requests.states[request as usize];
        if state.generated == state.output_tokens {
            return true;
        }
        self.decode.join(request, state);
        false
    }

    /// A running request is complete; its blocks have been given back.
    pub fn end(&mut self, request: u32, requests: &mut Requests) {
        let state = &mut requests.states[request as usize];
        state.last_token_ms = self.now_ms;
        state.status = Status::Completed;
        let at = self.running.iter().position(|&r| r == request).expect("an ending request runs");
        self.running.remove(at);
        requests.edge(self.now_ms, request, EdgeKind::Ended);
    }

    /// The waiting head can never be served.
    pub fn reject_head(&mut self, requests: &mut Requests) {
        if let Some(request) = self.waiting.pop_front() {
            requests.states[request as usize].status = Status::Rejected;
            requests.edge(self.now_ms, request, EdgeKind::Ended);
        }
    }

    /// Gives back a request's blocks; full ones stay cached.
    pub fn release(&mut self, request: u32, paths: &BlockPaths, requests: &mut Requests) {
        self.kv.free(self.decode.take_spare());
        let state = &mut requests.states[request as usize];
        let full = state.computed / self.config.block_size;
        let held = state.computed.div_ceil(self.config.block_size);
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

/// A scheduler over a [`Core`].
pub trait Engine: std::fmt::Debug {
    /// The common state.
    fn core(&self) -> &Core;
    /// The common state.
    fn core_mut(&mut self) -> &mut Core;
    /// Decides what is in the pass that starts at `core.now_ms` and takes its blocks; its duration,
    /// or `None` when there is nothing to compute.
    fn plan(&mut self, paths: &BlockPaths, requests: &mut Requests) -> Option<f64>;
    /// Ends the pass that was planned: its tokens and completions appear at `end_ms`.
    fn finish(&mut self, end_ms: f64, paths: &BlockPaths, requests: &mut Requests);
    /// Whether passes only decode, with the same sequences, until a sequence ends, blocks run out or
    /// an arrival matters.
    fn is_steady(&self) -> bool;
    /// Whether a request that arrives could change the next pass.
    fn arrivals_matter(&self) -> bool;
    /// How many of the next `passes` steady passes this engine's own rules leave steady.
    fn steady_passes(&mut self, passes: u64, _paths: &BlockPaths, _requests: &Requests) -> u64 {
        passes
    }
    /// Takes note of steady passes done and the blocks they took.
    fn after_steady(&mut self, _passes: u64, _blocks: u32, _paths: &BlockPaths, _requests: &Requests) {}
    /// Completes requests whose last token was emitted by the pass that ended.
    fn end_finished(&mut self, paths: &BlockPaths, requests: &mut Requests);

    /// What waits may be admitted after all.
    fn unblock(&mut self);
    /// Waiting requests that stay ahead of those restored.
    fn ahead_of_restored(&self) -> usize {
        0
    }

    /// Puts requests whose transfers ended back into the queue; whether there is anything to do now.
    fn take_restored(&mut self, paths: &BlockPaths, requests: &mut Requests) -> bool {
        let ahead = self.ahead_of_restored();
        if self.core_mut().take_restored(ahead, paths, requests) {
            self.unblock();
        }
        !self.core().is_idle()
    }

    /// Nothing runs and nothing waiting was admitted: a prefix restored for a request that cannot be
    /// admitted makes room, or the end of a transfer does.
    fn unstick(&mut self, paths: &BlockPaths, requests: &mut Requests) {
        if let Some(request) = self.core().last_restored() {
            self.give_back(request, paths, requests);
            self.core_mut().abandon(request, requests);
            self.unblock();
            self.core_mut().is_stalled = false;
        }
    }

    /// Notes when a decoding request, about to leave, emitted its last token.
    fn note_last_token(&mut self, request: u32, requests: &mut Requests) {
        requests.states[request as usize].last_token_ms = self.core().now_ms;
    }

    /// Takes every request out of a worker that is lost: they keep their generated tokens and nothing
    /// of their KV. Those admitted come first, then the waiting ones.
    fn evacuate(&mut self, requests: &mut Requests) -> Vec<u32> {
        let mut taken = std::mem::take(&mut self.core_mut().running);
        for &request in &taken {
            if requests.states[request as usize].decoding {
                self.note_last_token(request, requests);
                self.core_mut().decode.leave(&mut requests.states[request as usize]);
            }
        }
        let core = self.core_mut();
        taken.extend(core.prebuilt.drain(..));
        taken.extend(core.waiting.drain(..));
        core.restores.clear();
        core.aside.clear();
        core.is_stalled = false;
        let worker = core.worker;
        taken.extend(requests.tiers.evacuate(worker));
        let core = self.core_mut();
        taken.extend(core.inbox.drain(..).map(|(_, request)| request));
        for &request in &taken {
            requests.tiers.withdraw(request);
            let state = &mut requests.states[request as usize];
            state.lost = state.lost.max(state.computed);
            (state.computed, state.registered) = (0, 0);
        }
        taken
    }

    /// Takes room for a prompt that is computed elsewhere, with the tokens it had generated before.
    fn reserve(&mut self, request: u32, paths: &BlockPaths, requests: &mut Requests) -> Reservation;
    /// Lets others find the prompt of a request that has become prebuilt.
    fn publish_prebuilt(&mut self, request: u32, paths: &BlockPaths, requests: &mut Requests);
    /// Gives back the blocks of a request as its state says; full ones stay cached.
    fn give_back(&mut self, request: u32, paths: &BlockPaths, requests: &mut Requests);
    /// What was promised to a reserved request beyond its blocks is not needed.
    fn forget_promise(&mut self, _request: u32, _requests: &mut Requests) {}
    /// Whether a reservation waits, before which nothing is admitted.
    fn set_reserving(&mut self, reserving: bool) {
        self.core_mut().reserving = reserving;
    }
    /// Brings the clock of a worker that has nothing to do up to the present.
    fn catch_up(&mut self, now_ms: f64) {
        let core = self.core_mut();
        if core.is_idle() && core.inbox.is_empty() && core.aside.is_empty() {
            core.now_ms = core.now_ms.max(now_ms);
        }
    }
    /// Blocks may have come back: what waits tries again.
    fn retry(&mut self) {
        self.core_mut().is_stalled = false;
    }
    /// One of its ranks.
    fn rank_mut(&mut self, rank: usize) -> &mut dyn Engine;

    /// [`Engine::plan`]; takes note when nothing can start until something happens outside.
    fn plan_or_stall(&mut self, paths: &BlockPaths, requests: &mut Requests) -> Option<f64> {
        let had_nothing = self.core().running.is_empty() && self.core().prebuilt.is_empty();
        let pass_ms = self.plan(paths, requests);
        let core = self.core_mut();
        core.is_stalled = had_nothing && pass_ms.is_none() && core.running.is_empty() && !core.waiting.is_empty();
        pass_ms
    }

    /// Does one pass at `core.now_ms`.
    fn step(&mut self, paths: &BlockPaths, requests: &mut Requests) {
        let pass_ms = self.plan_or_stall(paths, requests);
        requests.tally.pass(pass_ms.is_some());
        let end_ms = self.core().now_ms + pass_ms.unwrap_or(0.0);
        self.finish(end_ms, paths, requests);
        self.tell();
    }

    /// What the pass that ended did to the caches becomes known to routers.
    fn tell(&mut self) {
        let core = self.core_mut();
        core.kv.end_pass(core.now_ms);
    }

    /// From now on passes that start take what this says.
    fn set_timing(&mut self, timing: &Timing) {
        let core = self.core_mut();
        core.timing = timing.clone();
        core.run.set(None);
    }

    /// Ranks of attention data parallelism.
    fn ranks(&self) -> usize {
        1
    }

    /// The state of one rank.
    fn rank(&self, _rank: usize) -> &Core {
        self.core()
    }

    /// Requests assigned and not ended.
    fn in_flight(&self) -> usize {
        self.core().in_flight()
    }

    /// [`Engine::push`] to one of its ranks.
    fn push_to(&mut self, _rank: usize, at_ms: f64, request: u32) {
        self.push(at_ms, request);
    }

    /// Whether its caches may look different at `at_ms` from now: passes start before then.
    fn may_change_before(&self, at_ms: f64) -> bool {
        self.core().now_ms < at_ms && self.in_flight() > 0
    }

    /// Hands over a request that arrives at `at_ms`, not before any handed over earlier.
    fn push(&mut self, at_ms: f64, request: u32) {
        self.catch_up(at_ms);
        self.core_mut().inbox.push_back((at_ms, request));
    }

    /// When this worker next has to be advanced if nothing arrives: the start of a pass that admits
    /// or prefills, or the end of the run of decode passes that ends a request; infinite when idle.
    fn wake_ms(&mut self, paths: &BlockPaths, requests: &Requests) -> f64 {
        let core = self.core();
        let next = core.inbox.front().map_or(f64::INFINITY, |&(at, _)| at);
        let transfer = core.next_transfer_ms(requests);
        if core.is_idle() {
            return next.min(transfer).max(core.now_ms);
        }
        let admits = (next <= core.now_ms && self.arrivals_matter()) || transfer <= core.now_ms;
        if core.pass_by_pass || !self.is_steady() || admits {
            return core.now_ms;
        }
        let run = core.decode_run();
        let passes = self.core_mut().decode.passes_to_finish(&requests.states).min(run.passes);
        let passes = self.steady_passes(passes, paths, requests);
        let core = self.core();
        let end_ms = core.now_ms + run.total(core.decode.passes_within(u64::from(core.kv.available()), passes));
        end_ms.min(transfer)
    }

    /// Whether no pass starts before `until_ms`, and nothing outside the worker may change that.
    fn rests_until(&self, until_ms: f64) -> bool {
        let core = self.core();
        if core.tiered {
            return false;
        }
        if core.is_idle() { core.next_arrival() >= until_ms } else { core.now_ms >= until_ms }
    }

    /// Does every pass that starts before `until_ms`.
    fn run(&mut self, until_ms: f64, paths: &BlockPaths, requests: &mut Requests) {
        loop {
            let core = self.core_mut();
            if core.is_idle() {
                let arrival = core.inbox.front().map_or(f64::INFINITY, |&(at, _)| at);
                let next = arrival.min(core.next_transfer_ms(requests));
                if next >= until_ms || next == f64::INFINITY {
                    return;
                }
                core.now_ms = core.now_ms.max(next);
                core.is_stalled = false;
            }
            if core.now_ms >= until_ms {
                return;
            }
            core.take_arrivals();
            if !core.aside.is_empty() && !self.take_restored(paths, requests) {
                continue;
            }
            let core = self.core_mut();
            if core.pass_by_pass || !self.is_steady() || !self.jump(until_ms, paths, requests) {
                self.step(paths, requests);
                if self.core().tiered && self.core().is_stalled {
                    self.unstick(paths, requests);
                }
            }
        }
    }

    /// Advances a run of decode-only passes; false when not even one can be had without preemption.
    fn jump(&mut self, until_ms: f64, paths: &BlockPaths, requests: &mut Requests) -> bool {
        let arrivals_matter = self.arrivals_matter();
        let core = self.core_mut();
        let run = core.decode_run();
        let mut passes = core.decode.passes_to_finish(&requests.states).min(run.passes);
        let next = core.inbox.front().filter(|_| arrivals_matter).map_or(f64::INFINITY, |&(at, _)| at);
        let limit = until_ms.min(next).min(core.next_transfer_ms(requests));
        if limit < f64::INFINITY {
            passes = run.passes_lasting(limit - core.now_ms, passes);
        }
        passes = self.steady_passes(passes, paths, requests);
        let core = self.core_mut();
        passes = core.decode.passes_within(u64::from(core.kv.available()), passes);
        if passes == 0 {
            return false;
        }
        if passes > 1 && core.now_ms + run.total(passes) > limit && self.hides_evictions(passes) {
            passes -= 1;
        }
        requests.tally.passes += passes;
        requests.tally.steps += 1;
        self.advance_run(passes, &run, paths, requests);
        true
    }

    /// Whether the next `passes` decode passes evict something and a router looks: what the last one
    /// evicts is hidden from it until its end, what others evict is not.
    fn hides_evictions(&self, passes: u64) -> bool {
        let core = self.core();
        core.kv.is_journaled() && core.decode.blocks_needed(passes) > u64::from(core.kv.free_blocks())
    }

    /// Does steady decode passes of these durations.
    fn advance_run(&mut self, passes: u64, run: &DecodeRun, paths: &BlockPaths, requests: &mut Requests) {
        let evicts = self.hides_evictions(passes);
        let core = self.core_mut();
        let held = core.kv.active();
        let blocks = core.decode.blocks_needed(passes) as u32;
        let total_ms = run.total(passes);
        if evicts && core.tells_each_pass {
            core.allocate_pass_by_pass(passes, run);
        } else {
            core.kv.allocate(blocks);
        }
        core.last_passes.note_run(core.now_ms, core.decode.seqs(), core.decode.context(), run, passes);
        core.now_ms += total_ms;
        core.decode.advance(passes);
        let tally = &mut requests.tally;
        // A sequence opens a block now and then: taken as linear growth.
        tally.itl.add_run(0, passes, |k| run.pass(k), total_ms, u64::from(core.decode.seqs()));
        tally.held_block_ms += run.weighted_total(passes, f64::from(held), f64::from(core.kv.active()));
        self.after_steady(passes, blocks, paths, requests);
        self.end_finished(paths, requests);
        self.tell();
    }
}
