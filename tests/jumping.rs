//! Jumping over runs of decode passes gives what taking every pass gives, on every engine, with
//! pools so small that nothing fits for long; and every request comes to an end.

use proptest::prelude::*;
use servescout::catalog::Backend;
use servescout::timing::Timing;
use servescout::twin::deployment::{
    Admission, Deployment, EngineConfig, Pool, Preemption, RouterConfig, RouterPolicy, Speculation, Topology,
    WaitingOrder,
};
use servescout::twin::{self, Outcome, Status};
use servescout::workload::{Load, Request, Workload};

/// Tokens per hash id of the workloads made here.
const BLOCK_TOKENS: u32 = 32;

/// (gap to the request before, ms; content ids; tokens missing from the last; output tokens).
pub type Row = (f64, Vec<u32>, u32, u32);

/// Requests in order of arrival, `turns` to a session.
pub fn workload(rows: &[Row], turns: usize, load: Load, grows: bool) -> Workload {
    let mut w = Workload {
        requests: Vec::new(),
        block_tokens: BLOCK_TOKENS,
        contents: Default::default(),
        session_offsets: vec![0],
        session_requests: (0..rows.len() as u32).collect(),
        session_names: Vec::new(),
        grows,
        load,
        source: String::new(),
        sha256: String::new(),
        measured_from_ms: 0.0,
        path_cache: Default::default(),
    };
    let mut now_ms = 0.0;
    for (i, (gap_ms, ids, missing, output)) in rows.iter().enumerate() {
        now_ms += gap_ms;
        w.requests.push(Request {
            arrival_ms: now_ms,
            delay_ms: if i % turns == 0 { 0.0 } else { *gap_ms },
            input_tokens: ids.len() as u32 * BLOCK_TOKENS - missing,
            output_tokens: *output,
            session: (i / turns) as u32,
            turn: (i % turns) as u32,
            row: i as u32,
        });
        ids.iter().for_each(|&id| w.contents.push(id));
        w.contents.end_prompt();
        if (i + 1) % turns == 0 || i + 1 == rows.len() {
            w.session_offsets.push(i as u32 + 1);
            w.session_names.push(String::new());
        }
    }
    w
}

pub fn rows() -> impl Strategy<Value = Vec<Row>> {
    let gap = prop_oneof![Just(0.0), 0.0..40.0, 0.0..2000.0];
    // Few contents at the front of prompts, so that many prefixes are shared.
    let ids = (prop::collection::vec(0u32..2, 1..4), prop::collection::vec(0u32..40, 0..24));
    let ids = ids.prop_map(|(front, rest)| [front, rest].concat());
    let output = prop_oneof![0u32..4, 1u32..80, 1u32..700];
    prop::collection::vec((gap, ids, 0..BLOCK_TOKENS, output), 1..50)
}

pub fn engines() -> impl Strategy<Value = EngineConfig> {
    let backend = prop::sample::select(vec![Backend::Vllm, Backend::Sglang, Backend::Trtllm]);
    let sizes = (prop::sample::select(vec![1u32, 5, 16, 32, 100]), 40u32..2500);
    let limits = (prop::sample::select(vec![1u32, 2, 7, 64]), prop::sample::select(vec![64u32, 300, 2048]));
    let options = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let rest = (prop::option::of(200u32..900), 0.1f64..2.0, prop::sample::select(vec![100u32, 16_384]));
    let speculation = (1u32..5, prop::collection::vec(0.0f64..1.0, 1..4), 0.0f64..0.2)
        .prop_map(|(tokens, acceptance, draft_cost)| Speculation { tokens, acceptance, draft_cost, seed: 0 });
    let speculation = prop_oneof![4 => Just(None), 1 => speculation.prop_map(Some)];
    let ranks = prop_oneof![3 => Just(1u32), 2 => 2u32..4];
    let more = (any::<bool>(), prop_oneof![Just(0u32), 0u32..30], ranks, speculation);
    (backend, sizes, limits, options, rest, more).prop_map(
        |(backend, (block_size, pool_tokens), (max_num_seqs, budget), options, rest, more)| EngineConfig {
            backend,
            block_size,
            gpu_blocks: (pool_tokens / block_size).max(1),
            max_num_seqs,
            max_num_batched_tokens: budget,
            prefix_caching: options.0,
            chunked_prefill: options.1,
            tiers: None,
            preemption: if options.2 { Preemption::Lifo } else { Preemption::Fifo },
            waiting_order: if options.3 { WaitingOrder::Fifo } else { WaitingOrder::LongestPrefix },
            max_model_len: rest.0,
            schedule_conservativeness: rest.1,
            max_prefill_tokens: rest.2,
            admission: if more.0 { Admission::WholeSequence } else { Admission::FirstChunk },
            prefill_decode_interval: more.1,
            attention_dp: more.2,
            speculation: more.3,
        },
    )
}

fn simulate(engine: &EngineConfig, workload: &Workload, policy: RouterPolicy, flags: [bool; 2]) -> Outcome {
    // Where arrivals follow completions, two workers in step would meet at instants that are equal
    // but for rounding, and the order of what happens there is not told by the rules.
    let follows = workload.has_turns() || workload.load != Load::Open;
    let deployment = Deployment {
        router: RouterConfig { policy, ..Default::default() },
        peer_compat: flags[0],
        pass_by_pass: flags[1],
        ..Deployment::new(Topology::Aggregated(Pool {
            workers: if follows { 1 } else { 2 },
            gpus_per_worker: 1,
            engine: engine.clone(),
            timing: Timing::Polynomial { floor_means: false },
        }))
    };
    twin::simulate(&deployment, workload, 1, true)
}

/// Equal to a billionth of the clock's reading.
pub fn is_close(a_ms: f64, b_ms: f64, now_ms: f64) -> bool {
    (a_ms.is_nan() && b_ms.is_nan()) || (a_ms - b_ms).abs() <= 1e-9 * now_ms.max(1.0)
}

/// `PROPTEST_CASES` and `PROPTEST_RNG_SEED` in the environment ask for other cases, or more of them.
fn config() -> ProptestConfig {
    let asked = |name: &str| std::env::var(name).ok().and_then(|value| value.parse().ok());
    ProptestConfig {
        cases: asked("PROPTEST_CASES").map_or(3000, |n| n as u32),
        rng_seed: proptest::test_runner::RngSeed::Fixed(asked("PROPTEST_RNG_SEED").unwrap_or(7)),
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn jumping_equals_stepping(
        rows in rows(),
        engine in engines(),
        turns in 1usize..4,
        concurrency in prop::option::of(1u32..9),
        policy in prop::sample::select(vec![RouterPolicy::RoundRobin, RouterPolicy::Kv]),
        grows in any::<bool>(),
        peer_compat in any::<bool>(),
    ) {
        let load = concurrency.map_or(Load::Open, |concurrency| Load::Closed { concurrency });
        let workload = workload(&rows, turns, load, grows);
        let jumped = simulate(&engine, &workload, policy.clone(), [peer_compat, false]);
        let stepped = simulate(&engine, &workload, policy, [peer_compat, true]);
        prop_assert_eq!(jumped.passes, stepped.passes);
        for (a, b) in jumped.requests.unwrap().iter().zip(&stepped.requests.unwrap()) {
            prop_assert!(a.status != Status::Unfinished, "{:?}", a);
            let counts = |r: &twin::RequestRecord| (r.status, r.output_tokens, r.reused_tokens, r.preemptions, r.worker);
            prop_assert_eq!(counts(a), counts(b), "row {}", a.row);
            for (a_ms, b_ms) in [(a.arrival_ms, b.arrival_ms), (a.ttft_ms, b.ttft_ms), (a.e2e_ms, b.e2e_ms), (a.queue_ms, b.queue_ms)] {
                prop_assert!(is_close(a_ms, b_ms, a.arrival_ms + a_ms), "{:?}\n{:?}", a, b);
            }
        }
    }
}
