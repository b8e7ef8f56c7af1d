//! Decisions from load at this moment: thresholds (`semantics` 8.3), or estimates of TTFT and ITL
//! (`semantics` 8.4). Each moves a pool by at most one worker.

use super::config::Thresholds;
use super::pass_model::{Demand, Limits, PassModel, Targets};
use super::snapshot::WorkerLoad;
use crate::twin::deployment::Role;

/// What load asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    More,
    Keep,
    Fewer,
}

/// By thresholds: more when any worker is over, fewer when all are under. At least one worker.
pub fn by_thresholds(role: Role, limits: &Limits, thresholds: &Thresholds, workers: &[WorkerLoad]) -> Wish {
    let prefill = |w: &WorkerLoad| w.queued_prefill_tokens / limits.context_tokens;
    let decode = |w: &WorkerLoad| {
        let queued_prefill = if role == Role::Aggregated { w.queued_prefill_tokens } else { 0.0 };
        (w.decode_context + w.queued_decode_tokens + queued_prefill) / limits.pool_tokens
    };
    let watches_prefill = role != Role::Decode;
    let watches_decode = role != Role::Prefill;
    let is_over = |w: &WorkerLoad| {
        (watches_prefill && prefill(w) >= thresholds.prefill_up) || (watches_decode && decode(w) > thresholds.decode_up)
    };
    // A threshold of 0 is met by an empty queue.
    let is_below = |value: f64, bound: f64| value < bound || (bound == 0.0 && value == 0.0);
    let is_under = |w: &WorkerLoad| {
        (!watches_prefill || is_below(prefill(w), thresholds.prefill_down))
            && (!watches_decode || is_below(decode(w), thresholds.decode_down))
    };
    if workers.iter().any(is_over) {
        Wish::More
    } else if workers.iter().all(is_under) {
        Wish::Fewer
    } else {
        Wish::Keep
    }
}

/// By the SLA: more when every worker is expected to miss a target; fewer when, with its share of
/// the load of the one that goes, every other is expected to keep `sensitivity` of each.
pub fn by_sla(
    role: Role,
    model: &PassModel,
    demand: &Demand,
    targets: &Targets,
    sensitivity: f64,
    workers: &[WorkerLoad],
) -> Wish {
    let n = workers.len() as f64;
    let prefills = role != Role::Decode;
    let decodes = role != Role::Prefill;
    let uncached = 1.0 - demand.hit_rate;
    let ttft = |w: &WorkerLoad, crowding: f64| {
        model.prefill_ms((crowding * w.queued_prefill_tokens + demand.input) * uncached, crowding * w.decode_context)
    };
    // Prompts that wait on an aggregated worker are contexts of its decode passes to come.
    let context = |w: &WorkerLoad| {
        w.decode_context + w.queued_decode_tokens + if role == Role::Aggregated { w.queued_prefill_tokens } else { 0.0 }
    };
    let held = demand.input + demand.output / 2.0;
    let itl = |w: &WorkerLoad, crowding: f64| {
        let context = crowding * context(w);
        // Sequences that wait count as sequences of the usual length.
        model.itl_ms(context / held.max(1.0), context)
    };
    // Where nothing waits or runs, another worker would take nothing off this one.
    let late = |load: f64, estimate: Option<f64>, target: f64| load > 0.0 && estimate.is_some_and(|ms| ms > target);
    let misses_ttft = prefills && workers.iter().all(|w| late(w.queued_prefill_tokens, ttft(w, 1.0), targets.ttft_ms));
    let misses_itl = decodes && workers.iter().all(|w| late(context(w), itl(w, 1.0), targets.itl_ms));
    if misses_ttft || misses_itl {
        return Wish::More;
    }
    if workers.len() < 2 {
        return Wish::Keep;
    }
    let crowding = n / (n - 1.0);
    let keeps_ttft = |w: &WorkerLoad| {
        let own = model.prefill_ms(demand.input * uncached, crowding * w.decode_context);
        let (Some(own), Some(all)) = (own, ttft(w, crowding)) else { return false };
        own <= targets.ttft_ms && all - own < (targets.ttft_ms - own) * sensitivity
    };
    let keeps_itl = |w: &WorkerLoad| {
        let Some(itl) = itl(w, crowding) else { return false };
        crowding * context(w) < model.limits.pool_tokens && itl < targets.itl_ms * sensitivity
    };
    let is_safe = |w: &WorkerLoad| (!prefills || keeps_ttft(w)) && (!decodes || keeps_itl(w));
    if workers.iter().all(is_safe) { Wish::Fewer } else { Wish::Keep }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timing::Timing;

    const LIMITS: Limits =
        Limits { max_num_batched_tokens: 1000.0, max_num_seqs: 64, pool_tokens: 100_000.0, context_tokens: 10_000.0 };

    fn worker(queued: f64, context: f64) -> WorkerLoad {
        WorkerLoad {
            worker: 0,
            queued_prefill_tokens: queued,
            decode_context: context,
            queued_decode_tokens: 0.0,
            last_pass: None,
        }
    }

    #[test]
    fn thresholds_take_any_worker_up_and_all_workers_down() {
        let decide = |loads: &[(f64, f64)]| {
            let workers: Vec<WorkerLoad> = loads.iter().map(|&(q, c)| worker(q, c)).collect();
            by_thresholds(Role::Decode, &LIMITS, &Thresholds::THROUGHPUT, &workers)
        };
        // The peer's example (`semantics` 13, S14).
        assert_eq!(decide(&[(0.0, 61_000.0), (0.0, 40_000.0)]), Wish::Keep);
        assert_eq!(decide(&[(0.0, 59_000.0), (0.0, 40_000.0)]), Wish::Fewer);
        assert_eq!(decide(&[(0.0, 100_001.0), (0.0, 0.0)]), Wish::More);
        let prefill =
            |queued: f64, thresholds| by_thresholds(Role::Prefill, &LIMITS, thresholds, &[worker(queued, 0.0)]);
        assert_eq!(prefill(10_000.0, &Thresholds::THROUGHPUT), Wish::More);
        assert_eq!(prefill(9_999.0, &Thresholds::THROUGHPUT), Wish::Keep);
        assert_eq!(prefill(999.0, &Thresholds::THROUGHPUT), Wish::Fewer);
        assert_eq!(prefill(1.0, &Thresholds::LATENCY), Wish::Keep);
        assert_eq!(prefill(0.0, &Thresholds::LATENCY), Wish::Fewer);
        // An aggregated worker's queue fills its pool too.
        let both = [worker(9_000.0, 92_000.0)];
        assert_eq!(by_thresholds(Role::Aggregated, &LIMITS, &Thresholds::THROUGHPUT, &both), Wish::More);
    }

    #[test]
    fn the_sla_asks_for_more_when_all_miss_it_and_fewer_when_the_rest_would_keep_it() {
        // 100 ms for each 1000 prompt tokens.
        let model = PassModel::new(Role::Prefill, LIMITS, &Timing::Fixed { prefill_ms: 100.0, decode_ms: 10.0 });
        let demand = Demand { input: 1000.0, output: 100.0, hit_rate: 0.0 };
        let targets = Targets { ttft_ms: 1000.0, itl_ms: 50.0 };
        let decide = |queued: &[f64]| {
            let workers: Vec<WorkerLoad> = queued.iter().map(|&q| worker(q, 0.0)).collect();
            by_sla(Role::Prefill, &model, &demand, &targets, 0.8, &workers)
        };
        assert_eq!(decide(&[9_500.0, 9_500.0]), Wish::More);
        assert_eq!(decide(&[9_500.0, 8_000.0]), Wish::Keep, "one can still take a request in time");
        // Twice the queue of 3,500 takes 700 ms, below 0.8 of the 900 ms that the own pass leaves.
        assert_eq!(decide(&[3_500.0, 3_500.0]), Wish::Fewer);
        assert_eq!(decide(&[3_700.0, 3_500.0]), Wish::Keep);
        assert_eq!(decide(&[0.0]), Wish::Keep, "the last one stays");
    }
}
