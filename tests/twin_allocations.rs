//! The inner loop does not allocate: ten times the passes cost no more allocations. And a worker takes
//! memory for what it holds, not for all that there is.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use servescout::catalog::Backend;
use servescout::timing::Timing;
use servescout::twin::deployment::*;
use servescout::twin::simulate;
use servescout::workload::spec::{Arrivals, Lengths, SyntheticSpec};
use servescout::workload::{Workload, generate};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    /// Bytes that the thread has, and the most that it had.
    static HELD: Cell<(i64, i64)> = const { Cell::new((0, 0)) };
}

fn hold(bytes: i64) {
    let _ = HELD.try_with(|held| {
        let (now, most) = held.get();
        held.set((now + bytes, most.max(now + bytes)));
    });
}

/// The system's allocator, counting calls and bytes per thread.
struct Counting;

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that is being torn down has no counter left, and nothing to count.
        let _ = ALLOCATIONS.try_with(|n| n.set(n.get() + 1));
        hold(layout.size() as i64);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        hold(-(layout.size() as i64));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// A pool of two workers.
fn pool(engine: &EngineConfig) -> Pool {
    let timing = Timing::Polynomial { floor_means: false };
    Pool { workers: 2, gpus_per_worker: 1, engine: engine.clone(), timing }
}

fn aggregated(engine: &EngineConfig) -> Topology {
    Topology::Aggregated(pool(engine))
}

/// With links that transfers share.
fn disaggregated(engine: &EngineConfig) -> Topology {
    Topology::Disaggregated {
        prefill: pool(engine),
        decode: pool(engine),
        transfer: TransferConfig { gbps: Some(0.1), bytes_per_token: 131_072.0, ..Default::default() },
        local_prefill: LocalPrefill::OFF,
    }
}

/// Allocations and passes of one simulation.
fn cost(output_tokens: u32, deployment: &Deployment) -> (u64, u64) {
    let workload = generate(&SyntheticSpec {
        seed: 1,
        sessions: 300,
        turns: 1,
        arrivals: Arrivals::Constant { rate_per_s: 0.05 },
        input_tokens: Lengths::Fixed(900),
        output_tokens: Lengths::Fixed(output_tokens),
        think_ms: 0.0,
        common_prefix_tokens: 0,
        prefix_groups: 3,
        group_prefix_tokens: 512,
        block_tokens: 64,
    })
    .expect("a valid spec");
    // Once before counting, so that what the workload caches is there.
    simulate(deployment, &workload, 1, false);
    let before = ALLOCATIONS.get();
    let passes = simulate(deployment, &workload, 1, false).passes;
    (ALLOCATIONS.get() - before, passes)
}

fn deployment(topology: Topology, policy: RouterPolicy, pass_by_pass: bool) -> Deployment {
    Deployment { router: RouterConfig { policy, ..Default::default() }, pass_by_pass, ..Deployment::new(topology) }
}

/// Ten times the output, many times the passes, no more allocations.
fn check(deployment: &Deployment) {
    let (few, few_passes) = cost(100, deployment);
    let (many, many_passes) = cost(1000, deployment);
    assert!(many_passes > 8 * few_passes, "{few_passes} passes grew to {many_passes}");
    assert!(few > 0 && many <= few + 16, "{deployment:?}: {few} allocations grew to {many}");
}

#[test]
fn more_passes_do_not_allocate_more() {
    let drafts = Speculation { tokens: 3, acceptance: vec![0.5], draft_cost: 0.0, seed: 0 };
    for backend in [Backend::Vllm, Backend::Sglang, Backend::Trtllm] {
        for (attention_dp, speculation) in [(1, None), (2, None), (1, Some(drafts.clone()))] {
            let engine = EngineConfig { backend, attention_dp, speculation, ..Default::default() };
            for pass_by_pass in [false, true] {
                check(&deployment(aggregated(&engine), RouterPolicy::Kv, pass_by_pass));
            }
        }
    }
}

#[test]
fn neither_do_they_where_prompts_are_handed_over() {
    for backend in [Backend::Vllm, Backend::Sglang, Backend::Trtllm] {
        let engine = EngineConfig { backend, ..Default::default() };
        for policy in [RouterPolicy::RoundRobin, RouterPolicy::LeastLoaded, RouterPolicy::Kv] {
            check(&deployment(disaggregated(&engine), policy, false));
        }
        check(&deployment(disaggregated(&engine), RouterPolicy::Kv, true));
    }
}

/// Most bytes that a simulation holds at once, the workload aside.
fn most_held(deployment: &Deployment, workload: &Workload) -> i64 {
    simulate(deployment, workload, 1, false);
    let (before, _) = HELD.get();
    HELD.set((before, before));
    simulate(deployment, workload, 1, false);
    HELD.get().1 - before
}

#[test]
fn a_worker_takes_memory_for_what_it_holds() {
    let workload = generate(&SyntheticSpec {
        seed: 1,
        sessions: 10_000,
        turns: 2,
        arrivals: Arrivals::Constant { rate_per_s: 20.0 },
        input_tokens: Lengths::LogNormal { mean: 900.0, std: 600.0 },
        output_tokens: Lengths::Fixed(20),
        think_ms: 500.0,
        common_prefix_tokens: 64,
        prefix_groups: 3,
        group_prefix_tokens: 512,
        block_tokens: 64,
    })
    .expect("a valid spec");
    let engine = EngineConfig { block_size: 64, gpu_blocks: 1000, ..Default::default() };
    let segments = workload.paths(64).segments() as i64;
    assert!(segments > 40_000, "{segments}");
    for policy in [RouterPolicy::RoundRobin, RouterPolicy::Kv] {
        let with = |workers| {
            let Topology::Aggregated(pool) = aggregated(&engine) else { unreachable!() };
            deployment(Topology::Aggregated(Pool { workers, ..pool }), policy.clone(), false)
        };
        let (few, many) = (most_held(&with(8), &workload), most_held(&with(40), &workload));
        // An array of 4 bytes for each segment would be four times as much, and the router's as well.
        assert!((many - few) / 32 < segments, "{policy:?}: {few} bytes with 8 workers, {many} with 40");
        let requests = workload.requests.len() as i64;
        assert!(few < 500 * requests, "{policy:?}: {few} bytes for {requests} requests");
    }
}
