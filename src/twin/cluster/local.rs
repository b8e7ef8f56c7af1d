//! Conditional disaggregation: prompts that a decode worker computes itself, because they are short or
//! most of them is in its cache (`semantics` 5.8). No KV is sent, and the first token comes with the
//! prompt, as on an aggregated worker.

use super::Cluster;
use crate::twin::deployment::{LocalPrefill, Role, Topology};

impl Cluster<'_> {
    fn local_prefill(&self) -> LocalPrefill {
        match self.deployment.topology {
            Topology::Aggregated(_) => LocalPrefill::OFF,
            Topology::Disaggregated { local_prefill, .. } => local_prefill,
        }
    }

    /// Gives a request to a decode worker that computes its prompt, if there is one; whether it did.
    pub(super) fn is_kept_local(&mut self, now_ms: f64, request: u32) -> bool {
        let limits = self.local_prefill();
        if limits.below_tokens == 0 || self.fleet.active(Role::Decode).is_empty() {
            return false;
        }
        self.bring_up_to(now_ms, Role::Decode);
        let Some(target) = self.best_local(request, limits) else { return false };
        self.tell(now_ms, Role::Decode, |policy, view| policy.placed(request, target, view));
        let (worker, rank) = self.fleet.split(target);
        let state = &mut self.requests.states[request as usize];
        (state.worker, state.rank) = (worker as u32, rank as u32);
        self.fleet.engine_mut(worker).push_to(rank, now_ms, request);
        self.refresh(worker);
        true
    }

    /// The decode worker with the longest cached prefix, among equals the one with the fewest requests,
    /// if the rest of the prompt is short enough for it.
    fn best_local(&self, request: u32, limits: LocalPrefill) -> Option<usize> {
        let prompt = self.requests.states[request as usize].input_tokens;
        let mut best: Option<(u32, std::cmp::Reverse<usize>, usize)> = None;
        for &target in self.fleet.targets(Role::Decode) {
            let (worker, rank) = self.fleet.split(target);
            let core = self.fleet.engine(worker).rank(rank);
            let size = core.config.block_size;
            let cached = match core.config.prefix_caching {
                true => core.kv.lookup(&self.paths, request, prompt.saturating_sub(1) / size).blocks * size,
                false => 0,
            };
            let requests = std::cmp::Reverse(core.in_flight() + core.reserved.len());
            if best.is_none_or(|(most, fewest, _)| (cached, requests) > (most, fewest)) {
                best = Some((cached, requests, target));
            }
        }
        let (cached, _, target) = best?;
        let rest = prompt - cached;
        let (worker, rank) = self.fleet.split(target);
        let kv = &self.fleet.engine(worker).rank(rank).kv;
        let fits = rest < limits.below_tokens
            && f64::from(rest) <= limits.most_of_prompt * f64::from(prompt)
            && f64::from(kv.active()) <= limits.most_kv * f64::from(kv.total());
        fits.then_some(target)
    }
}
