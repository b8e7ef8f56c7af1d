//! Simulations of the real one-hour conversation trace with the peer's polynomial timing: what a
//! search runs thousands of. Load and path building are excluded; they happen once per workload.
//!
//! Without the trace in ../shared the same shapes run on a generated workload, and the name says so.

use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, criterion_group, criterion_main};
use servescout::catalog::Backend;
use servescout::timing::Timing;
use servescout::twin::deployment::*;
use servescout::twin::simulate;
use servescout::workload::spec::{Arrivals, Lengths, SyntheticSpec};
use servescout::workload::{Load, Workload, WorkloadSpec, generate, load};

const TRACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/traces/mooncake_conversation.jsonl");

/// The trace, or something like it.
fn workload() -> (&'static str, Workload) {
    if Path::new(TRACE).exists() {
        return ("conversation", load(&WorkloadSpec::trace(TRACE)).expect("the trace is whole"));
    }
    let spec = SyntheticSpec {
        seed: 1,
        sessions: 12_000,
        turns: 1,
        arrivals: Arrivals::Poisson { rate_per_s: 3.3 },
        input_tokens: Lengths::LogNormal { mean: 12_000.0, std: 16_000.0 },
        output_tokens: Lengths::LogNormal { mean: 340.0, std: 300.0 },
        think_ms: 0.0,
        common_prefix_tokens: 512,
        prefix_groups: 100,
        group_prefix_tokens: 4096,
        block_tokens: 512,
    };
    ("generated", generate(&spec).expect("a valid spec"))
}

fn deployment(workers: u32, engine: EngineConfig, policy: RouterPolicy) -> Deployment {
    let timing = Timing::Polynomial { floor_means: true };
    Deployment {
        topology: Topology::Aggregated(Pool { workers, gpus_per_worker: 1, engine, timing }),
        router: RouterConfig { policy, ..Default::default() },
        sla: Sla::default(),
        usd_per_gpu_hour: 1.0,
        peer_compat: true,
        pass_by_pass: false,
    }
}

fn replay(c: &mut Criterion) {
    let (name, mut workload) = workload();
    let engine =
        |backend, block_size, gpu_blocks| EngineConfig { backend, block_size, gpu_blocks, ..Default::default() };
    let (vllm, sglang) = (Backend::Vllm, Backend::Sglang);
    let (turns, kv) = (RouterPolicy::RoundRobin, RouterPolicy::Kv);
    let cases = [
        ("round_robin_8", deployment(8, engine(vllm, 512, 16_384), turns)),
        ("round_robin_8_block_64", deployment(8, engine(vllm, 64, 131_072), turns)),
        ("starved_8", deployment(8, engine(vllm, 512, 512), turns)),
        ("starved_2", deployment(2, engine(vllm, 512, 512), turns)),
        ("sglang_8", deployment(8, engine(sglang, 512, 16_384), turns)),
        ("sglang_8_page_1", deployment(8, engine(sglang, 1, 8_388_608), turns)),
        ("kv_8", deployment(8, engine(vllm, 512, 16_384), kv)),
    ];
    let mut group = c.benchmark_group(format!("replay/{name}"));
    group.sample_size(20);
    for (case, deployment) in &cases {
        group.bench_function(*case, |b| b.iter(|| black_box(simulate(deployment, &workload, 7, false))));
    }
    workload.load = Load::Closed { concurrency: 64 };
    let deployment = &cases[0].1;
    group.bench_function("closed_loop_64", |b| b.iter(|| black_box(simulate(deployment, &workload, 7, false))));
    group.finish();
}

criterion_group!(benches, replay);
criterion_main!(benches);
