//! What can be said of a candidate without simulating it: sizes that several knobs make together,
//! and a mean-field estimate of its load and latencies. The search learns from these beside the
//! knobs; nothing is reported of them.

use super::Evaluator;
use crate::search::Features;
use crate::space::Candidate;
use crate::timing::{PassLoad, Timing};
use crate::twin::deployment::{Pool, Role};
use crate::units::MS_PER_S;
use crate::workload::{Load, Workload};

/// The mean request, and how many come.
#[derive(Clone, Copy, Debug)]
pub(super) struct MeanTraffic {
    input_tokens: f64,
    output_tokens: f64,
    /// In open loop.
    requests_per_s: Option<f64>,
    /// In closed loop.
    concurrency: f64,
}

impl MeanTraffic {
    pub fn of(workload: &Workload) -> MeanTraffic {
        let n = workload.requests.len().max(1) as f64;
        let mean = |of: fn(&crate::workload::Request) -> u32| {
            workload.requests.iter().map(|r| f64::from(of(r))).sum::<f64>() / n
        };
        let span_s = workload.requests.iter().map(|r| r.arrival_ms).fold(0.0, f64::max) / MS_PER_S;
        let (requests_per_s, concurrency) = match workload.load {
            Load::Open => (Some(n / span_s.max(1.0)), 0.0),
            Load::Closed { concurrency } => (None, f64::from(concurrency)),
        };
        MeanTraffic {
            input_tokens: mean(|r| r.input_tokens),
            output_tokens: mean(|r| r.output_tokens),
            requests_per_s,
            concurrency,
        }
    }

    /// Estimates of one worker: share of its time that the prompts take, decoding sequences at once,
    /// duration of a decode pass in ms.
    fn worker(&self, role: Role, pool: &Pool) -> [f64; 3] {
        let workers = f64::from(pool.workers.max(1));
        let prefill_ms = if role == Role::Decode { 0.0 } else { prefill_ms(&pool.timing, self.input_tokens) };
        let most = f64::from(pool.engine.max_num_seqs);
        let context = self.input_tokens + 0.5 * self.output_tokens;
        let decode_ms = |seqs: f64| {
            let seqs = seqs.round().clamp(1.0, most);
            let load = PassLoad::decode(seqs as u32, (seqs * context) as u64, (seqs * context) as u64);
            pool.timing.pass_ms(&load)
        };
        let Some(rate) = self.requests_per_s else {
            let seqs = (self.concurrency / workers).clamp(1.0, most);
            return [0.0, seqs, decode_ms(seqs)];
        };
        let per_ms = rate / workers / MS_PER_S;
        let prefilling = per_ms * prefill_ms;
        if role == Role::Prefill {
            return [prefilling, 0.0, 0.0];
        }
        // Little's law: sequences at once = arrivals x tokens x time per token, which grows with them.
        let mut seqs = 1.0;
        for _ in 0..6 {
            let stretched = decode_ms(seqs) / (1.0 - prefilling).max(0.05);
            seqs = (per_ms * self.output_tokens * stretched).clamp(1.0, most);
        }
        [prefilling, seqs, decode_ms(seqs)]
    }
}

fn prefill_ms(timing: &Timing, tokens: f64) -> f64 {
    timing.pass_ms(&PassLoad::default().with_prefill(tokens.max(1.0) as u32, 0, true))
}

impl Features for Evaluator<'_> {
    /// GPUs in all, GPUs of a worker, share of the GPUs that prefill alone; of the pool that decodes:
    /// KV tokens in all, share of time under prefill, sequences at once over slots, ms per token; ms
    /// to the first token of a request alone.
    fn features(&self, candidate: &Candidate) -> Option<Vec<f64>> {
        let deployment = self.deployer.deployment(candidate).ok()?;
        let pools = deployment.topology.pools();
        let gpus = f64::from(deployment.topology.gpus());
        let of = |pool: &Pool| f64::from(pool.workers * pool.gpus_per_worker);
        let (_, first) = *pools.first()?;
        let (role, last) = *pools.last()?;
        let prefill_gpus: f64 = pools.iter().filter(|(role, _)| *role == Role::Prefill).map(|(_, p)| of(p)).sum();
        let [own_prefill, seqs, decode_ms] = self.traffic.worker(role, last);
        let prefilling = match pools.len() {
            1 => own_prefill,
            _ => self.traffic.worker(pools[0].0, first)[0],
        };
        let kv_tokens =
            f64::from(last.workers) * last.kv_blocks_per_worker() as f64 * f64::from(last.engine.block_size);
        Some(vec![
            gpus,
            f64::from(last.gpus_per_worker),
            prefill_gpus / gpus,
            kv_tokens,
            prefilling.min(4.0),
            seqs / f64::from(last.engine.max_num_seqs),
            decode_ms / (1.0 - own_prefill).max(0.05),
            prefill_ms(&first.timing, self.traffic.input_tokens) / (1.0 - prefilling).max(0.05),
        ])
    }
}
