//! What a pool's workers can do, as the planner believes: pass times by regression, from them TTFT,
//! ITL and capacity (`semantics` 8.5).

use super::regression::{Regression, Sample};
use crate::timing::{PassLoad, Timing};
use crate::twin::deployment::Role;
use crate::twin::engine::last_pass::PassSample;

/// Points of the timing model that a regression starts from, along each feature.
const GRANULARITY: u32 = 8;

/// What bounds a worker's passes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Most tokens in one pass.
    pub max_num_batched_tokens: f64,
    /// Most sequences at once.
    pub max_num_seqs: u32,
    /// KV pool, tokens.
    pub pool_tokens: f64,
    /// Longest sequence, tokens: what queued prompt tokens are measured by.
    pub context_tokens: f64,
}

/// Mean lengths and prefix hits of requests, seen or forecast.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Demand {
    /// Mean prompt, tokens.
    pub input: f64,
    /// Mean output, tokens.
    pub output: f64,
    /// Share of prompt tokens found in the KV cache.
    pub hit_rate: f64,
}

impl Demand {
    /// Prompt tokens that have to be computed, mean.
    fn uncached(&self) -> f64 {
        (self.input * (1.0 - self.hit_rate)).max(1.0)
    }

    /// Tokens that a sequence holds while it decodes, mean.
    fn held(&self) -> f64 {
        (self.input + self.output / 2.0).max(1.0)
    }
}

/// Targets, ms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Targets {
    pub ttft_ms: f64,
    pub itl_ms: f64,
}

/// Pass times of one pool's workers.
#[derive(Debug)]
pub struct PassModel {
    role: Role,
    pub limits: Limits,
    regression: Regression,
}

impl PassModel {
    /// Starts from points of the timing model.
    pub fn new(role: Role, limits: Limits, timing: &Timing) -> Self {
        let regression = Regression::new(
            if role == Role::Prefill { 1 } else { 2 },
            role == Role::Decode,
            first_points(role, &limits, timing),
        );
        PassModel { role, limits, regression }
    }

    fn features(&self, pass: &PassSample) -> [f64; 2] {
        match self.role {
            Role::Prefill => [pass.prefill_tokens, 0.0],
            Role::Decode => [pass.decode_seqs, pass.decode_context],
            Role::Aggregated => [pass.prefill_tokens, pass.decode_context],
        }
    }

    /// Learns from passes.
    pub fn learn(&mut self, passes: &[PassSample]) {
        let samples: Vec<Sample> = passes.iter().map(|p| Sample { x: self.features(p), wall_ms: p.wall_ms }).collect();
        self.regression.learn(samples);
    }

    /// Time to compute this many prompt tokens in passes as large as allowed, beside sequences that
    /// decode with `context` tokens; `None` before there is any fit.
    pub fn prefill_ms(&self, tokens: f64, context: f64) -> Option<f64> {
        let fit = self.regression.fit()?;
        let context = if self.role == Role::Aggregated { context } else { 0.0 };
        let most = self.limits.max_num_batched_tokens;
        let full = (tokens / most).floor();
        let rest = tokens - full * most;
        let rest_ms = if rest > 0.0 { fit.wall_ms([rest, context]) } else { 0.0 };
        Some(full * fit.wall_ms([most, context]) + rest_ms)
    }

    /// Time between tokens when so many sequences decode with `context` tokens in all. Prompts that an
    /// aggregated worker computes between their tokens are not in it: they interrupt decoding on however
    /// many workers, and more workers would not mend that.
    pub fn itl_ms(&self, seqs: f64, context: f64) -> Option<f64> {
        let fit = self.regression.fit()?;
        Some(fit.wall_ms([if self.role == Role::Decode { seqs } else { 0.0 }, context]))
    }

    /// Requests per second that one worker serves within the targets, and the fewest workers that
    /// latency by itself asks for; `None` before there is any fit.
    pub fn capacity(&self, demand: &Demand, targets: &Targets) -> Option<(f64, u32)> {
        let fit = self.regression.fit()?;
        let own_ms = self.prefill_ms(demand.uncached(), 0.0)?;
        if self.role == Role::Prefill {
            let floor = if own_ms > targets.ttft_ms { (own_ms / targets.ttft_ms).ceil() as u32 } else { 0 };
            return Some((1000.0 / own_ms.max(1e-6), floor));
        }
        let output = demand.output.max(1.0);
        let most = (self.limits.pool_tokens / demand.held()).floor().clamp(1.0, f64::from(self.limits.max_num_seqs));
        let mut best = None;
        for batch in 1..=most as u32 {
            let batch = f64::from(batch);
            let context = batch * demand.held();
            let (x, fits) = if self.role == Role::Decode {
                (batch, true)
            } else {
                // In a steady state each pass computes the prompts of those that end in it.
                let prefill = batch * demand.uncached() / output;
                let is_soon = self.prefill_ms(demand.uncached(), context)? <= targets.ttft_ms;
                (prefill, is_soon && prefill <= self.limits.max_num_batched_tokens - batch)
            };
            let wall_ms = fit.wall_ms([x, context]).max(1e-6);
            let rps = 1000.0 * batch / (output * wall_ms);
            if best.is_none() || (fits && wall_ms <= targets.itl_ms) {
                // One sequence at a time is the least that a worker does, whatever the targets.
                best = Some(best.map_or(rps, |b: f64| b.max(rps)));
            } else {
                break;
            }
        }
        best.map(|rps| (rps, 0))
    }
}

/// Passes as the timing model times them, over the range of what a worker can hold: the regression
/// knows nothing else before the first pass.
fn first_points(role: Role, limits: &Limits, timing: &Timing) -> Vec<Sample> {
    let kv_pool_tokens = limits.pool_tokens as u64;
    let share = |i: u32, of: f64| of * f64::from(i) / f64::from(GRANULARITY);
    let mut points = Vec::new();
    for i in 1..=GRANULARITY {
        // Aggregated: from none, so that passes that only decode are among the points.
        let steps = if role == Role::Aggregated { i - 1 } else { i };
        let of = if role == Role::Aggregated { GRANULARITY - 1 } else { GRANULARITY };
        let new_tokens = limits.max_num_batched_tokens * f64::from(steps) / f64::from(of);
        let prefill = |load: &mut PassLoad| {
            load.prefill_seqs = u32::from(new_tokens >= 1.0);
            load.sampled_seqs += load.prefill_seqs;
            load.new_tokens = new_tokens as u64;
            load.context_sq = (load.new_tokens as f64).powi(2);
        };
        if role == Role::Prefill {
            let mut load = PassLoad { kv_pool_tokens, ..Default::default() };
            prefill(&mut load);
            points.push(Sample { x: [load.new_tokens as f64, 0.0], wall_ms: timing.pass_ms(&load) });
            continue;
        }
        for j in 1..=GRANULARITY {
            let context = share(j, limits.pool_tokens).max(1.0);
            // Aggregated: batch and context grow together; else each by itself.
            let seqs = if role == Role::Decode { i } else { j };
            let seqs = share(seqs, f64::from(limits.max_num_seqs)).min(context).max(1.0) as u32;
            let mut load = PassLoad::decode(seqs, context as u64, kv_pool_tokens);
            let x = if role == Role::Decode {
                f64::from(seqs)
            } else {
                prefill(&mut load);
                load.new_tokens as f64
            };
            points.push(Sample { x: [x, context.floor()], wall_ms: timing.pass_ms(&load) });
        }
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(role: Role) -> PassModel {
        let limits =
            Limits { max_num_batched_tokens: 1000.0, max_num_seqs: 64, pool_tokens: 100_000.0, context_tokens: 8192.0 };
        PassModel::new(role, limits, &Timing::Fixed { prefill_ms: 100.0, decode_ms: 10.0 })
    }

    #[test]
    fn starts_from_the_timing_model() {
        // Of eight passes, one has no prompt and takes 10 ms, seven take 110: the line through them.
        let aggregated = model(Role::Aggregated);
        assert!((aggregated.prefill_ms(2500.0, 5000.0).unwrap() - (2.0 * 126.0 + 4.0 / 3.0 + 97.5)).abs() < 1.0);
        assert!((model(Role::Prefill).prefill_ms(2500.0, 0.0).unwrap() - 300.0).abs() < 1e-6);
        assert!((model(Role::Decode).itl_ms(8.0, 5000.0).unwrap() - 10.0).abs() < 1e-6);
    }

    #[test]
    fn capacity_is_that_of_the_largest_batch_within_the_targets() {
        let demand = Demand { input: 1000.0, output: 100.0, hit_rate: 0.5 };
        let targets = Targets { ttft_ms: 1000.0, itl_ms: 50.0 };
        // 64 sequences of 100 tokens at 10 ms each.
        let (rps, floor) = model(Role::Decode).capacity(&demand, &targets).unwrap();
        assert!((rps - 64.0).abs() < 1e-6 && floor == 0, "{rps}");
        // 500 tokens in a pass of 100 ms: 10 a second; targets of 40 ms ask for three workers.
        let (rps, floor) = model(Role::Prefill).capacity(&demand, &Targets { ttft_ms: 40.0, ..targets }).unwrap();
        assert!((rps - 10.0).abs() < 1e-6 && floor == 3, "{rps} {floor}");
        // 69 ms a pass is over the target of 50: one sequence at a time.
        let (rps, _) = model(Role::Aggregated).capacity(&demand, &targets).unwrap();
        assert!((rps - 10.0 / 68.625).abs() < 1e-3, "{rps}");
        let slack = Targets { itl_ms: 120.0, ..targets };
        let (rps, _) = model(Role::Aggregated).capacity(&demand, &slack).unwrap();
        assert!((rps - 640.0 / 87.0).abs() < 0.1, "{rps}");
    }
}
