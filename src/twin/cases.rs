//! The replays that speed is quoted on: shapes of deployment with the peer's polynomial timing, on
//! the one-hour conversation trace or a generated workload like it.

use super::deployment::{
    Deployment, EngineConfig, LocalPrefill, Pool, RouterConfig, RouterPolicy, Topology, TransferConfig,
};
use super::kv::tier::{LinkRates, Tier, TierConfig};
use super::planner::{PlannerConfig, ScalingPolicy};
use crate::catalog::Backend;
use crate::timing::Timing;
use crate::workload::spec::{Arrivals, Lengths, SyntheticSpec};

/// A deployment to time.
#[derive(Clone, Debug)]
pub struct Case {
    pub name: &'static str,
    pub deployment: Deployment,
    /// Requests in flight, for a closed loop.
    pub concurrency: Option<u32>,
}

/// All cases.
pub fn cases() -> Vec<Case> {
    use Backend::{Sglang, Vllm};
    use RouterPolicy::{Kv, RoundRobin};
    let case = |name, backend, workers, block_size, gpu_blocks, policy| Case {
        name,
        deployment: Deployment {
            router: RouterConfig { policy, ..Default::default() },
            peer_compat: true,
            ..Deployment::new(Topology::Aggregated(Pool {
                workers,
                gpus_per_worker: 1,
                engine: EngineConfig { backend, block_size, gpu_blocks, ..Default::default() },
                timing: Timing::Polynomial { floor_means: true },
            }))
        },
        concurrency: None,
    };
    let round_robin = case("round_robin_8", Vllm, 8, 512, 16_384, RoundRobin);
    let disaggregated = |name, backend| {
        let mut case = case(name, backend, 4, 512, 16_384, RoundRobin);
        if let Topology::Aggregated(pool) = case.deployment.topology {
            let transfer = TransferConfig { gbps: Some(50.0), bytes_per_token: 131_072.0, ..Default::default() };
            case.deployment.topology = Topology::Disaggregated {
                prefill: pool.clone(),
                decode: pool,
                transfer,
                local_prefill: LocalPrefill::OFF,
            };
        }
        case
    };
    // The memory of `starved_8`, and behind it 256 GiB of host memory for each worker, with the KV of
    // Qwen3-32B in FP8.
    let with_host = |mut case: Case| {
        if let Topology::Aggregated(pool) = &mut case.deployment.topology {
            let rates = LinkRates { gbps: 32.0, shared_gbps: None, latency_ms: 0.0 };
            let host = Tier { blocks: 4096, shared: false, rates };
            pool.engine.tiers = Some(TierConfig { block_bytes: 67_108_864.0, host, disk: None });
        }
        case
    };
    let tiered = with_host(case("starved_8_host_tier", Vllm, 8, 512, 512, RoundRobin));
    let closed = Case { name: "closed_loop_64", concurrency: Some(64), ..round_robin.clone() };
    let mut planned = case("planner_8", Vllm, 8, 512, 16_384, Kv);
    planned.deployment.planner =
        Some(PlannerConfig { ttft_ms: 1500.0, policy: ScalingPolicy::Hybrid, ..Default::default() });
    // With 2,048 blocks of GPU memory a worker, so that the tier is needed.
    let mut both = with_host(case("planner_8_host_tier", Vllm, 8, 512, 2048, Kv));
    both.deployment.planner.clone_from(&planned.deployment.planner);
    vec![
        round_robin,
        case("round_robin_8_block_64", Vllm, 8, 64, 131_072, RoundRobin),
        case("starved_8", Vllm, 8, 512, 512, RoundRobin),
        case("starved_2", Vllm, 2, 512, 512, RoundRobin),
        case("sglang_8", Sglang, 8, 512, 16_384, RoundRobin),
        case("sglang_8_page_1", Sglang, 8, 1, 8_388_608, RoundRobin),
        case("kv_8", Vllm, 8, 512, 16_384, Kv),
        disaggregated("disaggregated_4_4", Vllm),
        disaggregated("sglang_disaggregated_4_4", Sglang),
        tiered,
        closed,
        planned,
        both,
    ]
}

/// A workload of the conversation trace's size and shape, for machines without the trace.
pub fn like_conversation() -> SyntheticSpec {
    SyntheticSpec {
        seed: 1,
        sessions: 12_000,
        turns: 1,
        arrivals: Arrivals::Poisson { rate_per_s: 3.4 },
        input_tokens: Lengths::LogNormal { mean: 9_000.0, std: 14_000.0 },
        output_tokens: Lengths::LogNormal { mean: 343.0, std: 220.0 },
        think_ms: 0.0,
        common_prefix_tokens: 512,
        prefix_groups: 200,
        group_prefix_tokens: 2048,
        block_tokens: 512,
    }
}
