//! Bounds of the number of workers: fewest, most, and the GPUs there are (`semantics` 8.8).

use super::config::PlannerConfig;
use super::snapshot::PoolState;

/// The targets nearest to what is wanted that keep the bounds. GPUs of draining workers are taken
/// until they are gone: a pool grows only into GPUs that are free now.
pub fn apply(config: &PlannerConfig, gpus: &[u32], pools: &[PoolState], wanted: &[u32]) -> Vec<u32> {
    let mut targets: Vec<u32> = wanted.iter().map(|&w| w.max(config.min_workers).min(config.max_workers)).collect();
    if let ([only], [gpus]) = (&mut targets[..], gpus) {
        *only = (*only).min(config.max_gpus / gpus);
    } else if let ([first, second], [first_gpus, second_gpus]) = (&mut targets[..], gpus) {
        let total = u64::from(*first) * u64::from(*first_gpus) + u64::from(*second) * u64::from(*second_gpus);
        if total > u64::from(config.max_gpus) {
            // Both shrink by the same factor; what rounding leaves goes to the second.
            let scale = f64::from(config.max_gpus) / total as f64;
            let reserved = (config.min_workers * second_gpus).min(config.max_gpus);
            let cap = (config.max_gpus - reserved) / first_gpus;
            *first = ((f64::from(*first) * scale) as u32).max(config.min_workers).min(cap);
            *second = (*second).min((config.max_gpus - *first * first_gpus) / second_gpus);
        }
    }
    let taken: u64 = pools.iter().zip(gpus).map(|(p, &g)| u64::from(p.provisioned()) * u64::from(g)).sum();
    let mut free = u64::from(config.max_gpus).saturating_sub(taken);
    for ((target, pool), &gpus) in targets.iter_mut().zip(pools).zip(gpus) {
        let now = pool.target();
        if *target > now {
            let more = u64::from(*target - now).min(free / u64::from(gpus));
            free -= more * u64::from(gpus);
            *target = now + more as u32;
        }
    }
    targets
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::twin::planner::WorkerLoad;

    fn pool(active: u32, starting: u32, draining: u32) -> PoolState {
        let worker = |worker| WorkerLoad {
            worker,
            queued_prefill_tokens: 0.0,
            decode_context: 0.0,
            queued_decode_tokens: 0.0,
            last_pass: None,
        };
        PoolState { starting, draining, active: (0..active).map(worker).collect(), unplaced: 0, in_flight: 0 }
    }

    fn config(min_workers: u32, max_workers: u32, max_gpus: u32) -> PlannerConfig {
        PlannerConfig { min_workers, max_workers, max_gpus, ..Default::default() }
    }

    #[test]
    fn one_pool_stays_between_its_bounds_and_within_its_gpus() {
        let of = |config: &PlannerConfig, pools, wanted| apply(config, &[2], &[pools], &[wanted])[0];
        assert_eq!(of(&config(2, 6, 16), pool(3, 0, 0), 0), 2);
        assert_eq!(of(&config(2, 6, 16), pool(3, 0, 0), 9), 6);
        assert_eq!(of(&config(1, 99, 16), pool(3, 0, 0), 99), 8);
        // 3 active and 4 draining leave GPUs for one more.
        assert_eq!(of(&config(1, 99, 16), pool(3, 0, 4), 8), 4);
        assert_eq!(of(&config(0, 99, 16), pool(1, 0, 0), 0), 0);
    }

    #[test]
    fn two_pools_share_the_gpus_in_proportion() {
        let pools = [pool(1, 0, 0), pool(1, 0, 0)];
        // 12 + 4 workers wanted on 8 GPUs: 6 and 2.
        assert_eq!(apply(&config(1, 99, 8), &[1, 1], &pools, &[12, 4]), [6, 2]);
        // The smaller keeps its fewest.
        assert_eq!(apply(&config(1, 99, 8), &[1, 2], &pools, &[40, 1]), [6, 1]);
        // Growing waits for the other pool's GPUs.
        let pools = [pool(2, 0, 0), pool(4, 0, 2)];
        assert_eq!(apply(&config(1, 99, 8), &[1, 1], &pools, &[4, 4]), [2, 4]);
    }
}
