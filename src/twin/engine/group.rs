//! Attention data parallelism: the ranks of one worker, each with a scheduler and a KV pool of its
//! own, in step.
//!
//! Ranks form their passes independently, but a pass of the worker ends for all when the slowest
//! rank is done, and nothing new starts on any rank before: one with nothing to do waits too. The
//! limits of the engine (`max_num_seqs`, `max_num_batched_tokens`, `gpu_blocks`) are those of a rank.
//!
//! A run of decode-only passes is jumped over while every busy rank is steady and one of them is the
//! slowest throughout: pass durations are piecewise quadratic, so where another rank overtakes is found
//! by bisection, and the run is cut there.

use super::core::{Core, Engine};
use super::handoff::Reservation;
use crate::timing::{DecodeRun, Timing};
use crate::twin::request::Requests;
use crate::workload::prefix::BlockPaths;

/// One worker of several ranks.
#[derive(Debug)]
pub struct Group {
    ranks: Vec<Box<dyn Engine>>,
}

impl Group {
    /// An idle worker of these ranks; at least one.
    pub fn new(ranks: Vec<Box<dyn Engine>>) -> Self {
        Group { ranks }
    }

    fn now_ms(&self) -> f64 {
        self.ranks[0].core().now_ms
    }

    fn set_now(&mut self, now_ms: f64) {
        for rank in &mut self.ranks {
            rank.core_mut().now_ms = now_ms;
        }
    }

    /// The next arrival that matters to some rank.
    fn next_arrival(&self, all: bool) -> f64 {
        self.ranks.iter().fold(f64::INFINITY, |next, rank| {
            let matters = all || rank.core().is_idle() || rank.arrivals_matter();
            if matters { next.min(rank.core().next_arrival()) } else { next }
        })
    }

    /// The next steady passes: how long the slowest rank takes for each, and how many there are of
    /// those that begin before `limit_ms`. None may be left.
    fn outlook(&mut self, limit_ms: f64, paths: &BlockPaths, requests: &Requests) -> (DecodeRun, u64) {
        let mut slowest: Option<(usize, DecodeRun)> = None;
        for (index, rank) in self.ranks.iter().enumerate() {
            if !rank.core().is_idle() {
                let run = rank.core().decode_run();
                if slowest.is_none_or(|(_, s)| run.base_ms > s.base_ms) {
                    slowest = Some((index, run));
                }
            }
        }
        let Some((slowest, run)) = slowest else { return (DecodeRun::still(), 0) };
        let mut passes = run.passes;
        for (index, rank) in self.ranks.iter_mut().enumerate() {
            if !rank.core().is_idle() {
                let own = rank.core().decode_run();
                passes = passes.min(own.passes).min(rank.core_mut().decode.passes_to_finish(&requests.states));
                if index != slowest {
                    passes = run.passes_above(&own, passes);
                }
            }
        }
        if limit_ms < f64::INFINITY {
            passes = run.passes_lasting(limit_ms - self.now_ms(), passes);
        }
        for rank in &mut self.ranks {
            if !rank.core().is_idle() {
                passes = rank.steady_passes(passes, paths, requests);
                let core = rank.core();
                passes = core.decode.passes_within(u64::from(core.kv.available()), passes);
            }
        }
        (run, passes)
    }
}

impl Engine for Group {
    /// The first rank's: its clock is the worker's.
    fn core(&self) -> &Core {
        self.ranks[0].core()
    }

    fn core_mut(&mut self) -> &mut Core {
        self.ranks[0].core_mut()
    }

    fn set_timing(&mut self, timing: &Timing) {
        self.ranks.iter_mut().for_each(|rank| rank.set_timing(timing));
    }

    fn ranks(&self) -> usize {
        self.ranks.len()
    }

    fn rank(&self, rank: usize) -> &Core {
        self.ranks[rank].core()
    }

    fn plan(&mut self, paths: &BlockPaths, requests: &mut Requests) -> Option<f64> {
        let mut slowest: Option<f64> = None;
        for rank in &mut self.ranks {
            if rank.core().is_idle() {
                continue;
            }
            if let Some(pass_ms) = rank.plan_or_stall(paths, requests) {
                slowest = Some(slowest.map_or(pass_ms, |s| s.max(pass_ms)));
            }
        }
        slowest
    }

    fn finish(&mut self, end_ms: f64, paths: &BlockPaths, requests: &mut Requests) {
        for rank in &mut self.ranks {
            rank.finish(end_ms, paths, requests);
        }
    }

    fn is_steady(&self) -> bool {
        self.ranks.iter().all(|rank| rank.core().is_idle() || rank.is_steady())
    }

    fn arrivals_matter(&self) -> bool {
        self.ranks.iter().any(|rank| rank.core().is_idle() || rank.arrivals_matter())
    }

    fn end_finished(&mut self, paths: &BlockPaths, requests: &mut Requests) {
        for rank in &mut self.ranks {
            rank.end_finished(paths, requests);
        }
    }

    fn tell(&mut self) {
        self.ranks.iter_mut().for_each(|rank| rank.tell());
    }

    fn reserve(&mut self, request: u32, paths: &BlockPaths, requests: &mut Requests) -> Reservation {
        self.ranks[0].reserve(request, paths, requests)
    }

    fn publish_prebuilt(&mut self, request: u32, paths: &BlockPaths, requests: &mut Requests) {
        self.ranks[0].publish_prebuilt(request, paths, requests);
    }

    fn give_back(&mut self, request: u32, paths: &BlockPaths, requests: &mut Requests) {
        self.ranks[0].give_back(request, paths, requests);
    }

    fn unblock(&mut self) {
        self.ranks.iter_mut().for_each(|rank| rank.unblock());
    }

    fn set_reserving(&mut self, reserving: bool) {
        for rank in &mut self.ranks {
            rank.set_reserving(reserving);
        }
    }

    fn plan_or_stall(&mut self, paths: &BlockPaths, requests: &mut Requests) -> Option<f64> {
        self.plan(paths, requests)
    }

    fn catch_up(&mut self, now_ms: f64) {
        if self.ranks.iter().all(|rank| rank.core().is_idle() && rank.core().next_arrival() == f64::INFINITY) {
            self.set_now(self.now_ms().max(now_ms));
        }
    }

    fn retry(&mut self) {
        self.ranks.iter_mut().for_each(|rank| rank.retry());
    }

    fn rank_mut(&mut self, rank: usize) -> &mut dyn Engine {
        &mut *self.ranks[rank]
    }

    fn in_flight(&self) -> usize {
        self.ranks.iter().map(|rank| rank.in_flight()).sum()
    }

    fn evacuate(&mut self, requests: &mut Requests) -> Vec<u32> {
        self.ranks.iter_mut().flat_map(|rank| rank.evacuate(requests)).collect()
    }

    fn push_to(&mut self, rank: usize, at_ms: f64, request: u32) {
        self.catch_up(at_ms);
        self.ranks[rank].core_mut().receive(at_ms, request);
    }

    fn wake_ms(&mut self, paths: &BlockPaths, requests: &Requests) -> f64 {
        let now_ms = self.now_ms();
        if self.ranks.iter().all(|rank| rank.core().is_idle()) {
            return self.next_arrival(true).max(now_ms);
        }
        if self.core().pass_by_pass || !self.is_steady() || self.next_arrival(false) <= now_ms {
            return now_ms;
        }
        let (run, passes) = self.outlook(f64::INFINITY, paths, requests);
        now_ms + run.total(passes)
    }

    fn rests_until(&self, until_ms: f64) -> bool {
        if self.core().tiered {
            return false;
        }
        let is_idle = self.ranks.iter().all(|rank| rank.core().is_idle());
        if is_idle { self.next_arrival(true) >= until_ms } else { self.now_ms() >= until_ms }
    }

    fn run(&mut self, until_ms: f64, paths: &BlockPaths, requests: &mut Requests) {
        loop {
            if self.ranks.iter().all(|rank| rank.core().is_idle()) {
                let at_ms = self.next_arrival(true);
                if at_ms == f64::INFINITY || at_ms >= until_ms {
                    return;
                }
                self.set_now(self.now_ms().max(at_ms));
            }
            if self.now_ms() >= until_ms {
                return;
            }
            for rank in &mut self.ranks {
                rank.core_mut().take_arrivals();
            }
            if self.core().pass_by_pass || !self.is_steady() || !self.jump(until_ms, paths, requests) {
                self.step(paths, requests);
            }
        }
    }

    fn jump(&mut self, until_ms: f64, paths: &BlockPaths, requests: &mut Requests) -> bool {
        let limit_ms = until_ms.min(self.next_arrival(false));
        let (run, mut passes) = self.outlook(limit_ms, paths, requests);
        if passes == 0 {
            return false;
        }
        if passes > 1 && self.now_ms() + run.total(passes) > limit_ms && self.hides_evictions(passes) {
            passes -= 1;
        }
        requests.tally.passes += passes;
        requests.tally.steps += 1;
        let end_ms = self.now_ms() + run.total(passes);
        for rank in &mut self.ranks {
            if rank.core().is_idle() {
                rank.core_mut().now_ms = end_ms;
            } else {
                rank.advance_run(passes, &run, paths, requests);
            }
        }
        true
    }

    fn hides_evictions(&self, passes: u64) -> bool {
        self.ranks.iter().any(|rank| !rank.core().is_idle() && rank.hides_evictions(passes))
    }
}
