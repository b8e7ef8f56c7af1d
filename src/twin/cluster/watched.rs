//! Ending a simulation early.

use super::Cluster;
use crate::twin::bounds::{BestCase, LOOKS, Spent, Watch, best_case};

/// Somebody who may end the simulation, and when to ask next.
pub(super) struct Watcher<'a> {
    watch: &'a mut dyn Watch,
    /// Asked when no more than so many requests are left.
    next_left: usize,
    /// What it was that ended the simulation.
    pub(super) ended: Option<BestCase>,
}

impl<'a> Watcher<'a> {
    pub(super) fn new(watch: &'a mut dyn Watch, requests: usize) -> Self {
        Watcher { watch, next_left: requests - requests / LOOKS, ended: None }
    }
}

impl Cluster<'_> {
    /// Asks whoever watches whether the simulation should end, when it is time to.
    pub(super) fn ends_early(&mut self, now_ms: f64) -> bool {
        let requests = self.requests.states.len();
        match &mut self.watcher {
            Some(watcher) if self.left <= watcher.next_left => {
                watcher.next_left = self.left.saturating_sub((requests / LOOKS).max(1));
            }
            _ => return false,
        }
        self.asks_to_end(now_ms)
    }

    /// Asks after some of the workers have run apart; what they did until then is certain.
    pub(super) fn ends_after_workers(&mut self, done: usize) -> bool {
        let workers = self.fleet.live.len();
        if self.watcher.is_none() || done == workers || !done.is_multiple_of(workers.div_ceil(LOOKS)) {
            return false;
        }
        let tokens = self.requests.states.iter().map(|s| s.last_token_ms).filter(|t| !t.is_nan());
        let until_ms = tokens.fold(0.0, f64::max);
        self.asks_to_end(until_ms)
    }

    fn asks_to_end(&mut self, until_ms: f64) -> bool {
        let Some(watcher) = &mut self.watcher else { return false };
        let arrivals = self.requests.states.iter().map(|s| s.arrival_ms).filter(|t| !t.is_nan());
        let start_ms = arrivals.fold(f64::INFINITY, f64::min);
        let spent = Spent {
            gpu_ms: self.fleet.used(start_ms, until_ms).0,
            usd_per_gpu_hour: self.deployment.usd_per_gpu_hour,
            at_ms: until_ms,
            elapsed_ms: until_ms - start_ms,
        };
        let best = best_case(watcher.watch.metrics(), &self.requests, &self.deployment.sla, &spent);
        let ends = watcher.watch.ends(&best);
        if ends {
            watcher.ended = Some(best);
        }
        ends
    }
}
