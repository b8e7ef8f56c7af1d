//! KV tiers below GPU memory: hand-computed cases, properties over random clusters, and the knobs.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use servescout::catalog::Backend;
use servescout::space::{self, Deployer};
use servescout::timing::Timing;
use servescout::twin::deployment::*;
use servescout::twin::kv::tier::{LinkRates, Tier, TierConfig};
use servescout::twin::metrics::Metric;
use servescout::twin::{Outcome, RequestRecord, Status, simulate};
use servescout::workload::spec::{Arrivals, Lengths, SourceSpec, SyntheticSpec};
use servescout::workload::{Load, Workload, WorkloadSpec, generate, load};

use crate::twin_equivalence;

pub const BLOCK: u32 = 16;

pub fn tier(blocks: u32, gbps: f64, latency_ms: f64) -> Tier {
    Tier { blocks, shared: false, rates: LinkRates { gbps, shared_gbps: None, latency_ms } }
}

/// One worker with fixed pass times: 100 ms for a pass with prompt tokens, 10 ms for one that decodes.
pub fn deployment(backend: Backend, gpu_blocks: u32, tiers: Option<TierConfig>) -> Deployment {
    let engine = EngineConfig { backend, block_size: BLOCK, gpu_blocks, tiers, ..Default::default() };
    Deployment::new(Topology::Aggregated(Pool {
        workers: 1,
        gpus_per_worker: 1,
        engine,
        timing: Timing::Fixed { prefill_ms: 100.0, decode_ms: 10.0 },
    }))
}

pub fn pool(deployment: &mut Deployment) -> &mut Pool {
    let Topology::Aggregated(pool) = &mut deployment.topology else { panic!("aggregated") };
    pool
}

/// Requests of the given sessions: (arrival ms, hash ids of prompt blocks, output tokens).
pub fn workload(rows: &[(f64, &[u32], u32)]) -> Workload {
    let lines: String = rows
        .iter()
        .map(|(at, ids, output)| {
            let tokens = ids.len() as u32 * BLOCK;
            format!("{{\"timestamp\": {at}, \"input_length\": {tokens}, \"output_length\": {output}, \"hash_ids\": {ids:?}}}\n")
        })
        .collect();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("trace.jsonl");
    std::fs::write(&path, lines).unwrap();
    let mut spec = WorkloadSpec::trace(&path);
    spec.source = SourceSpec::Trace { path, block_tokens: BLOCK };
    load(&spec).unwrap()
}

pub const A: &[u32] = &[1, 2, 3, 4, 5, 6, 7, 8];
pub const B: &[u32] = &[11, 12, 13, 14, 15, 16, 17, 18];

/// A's blocks are computed and then evicted by B's, but for the first.
fn evicted_and_asked_again(again_ms: f64) -> Workload {
    workload(&[(0.0, A, 2), (200.0, B, 2), (again_ms, A, 2)])
}

fn replay(deployment: &Deployment, workload: &Workload) -> (Outcome, Vec<RequestRecord>) {
    let outcome = simulate(deployment, workload, 1, true);
    let records = outcome.requests.clone().unwrap();
    (outcome, records)
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-9
}

/// Whether a completed request's time is the sum of its parts, none of them negative.
pub fn adds_up(record: &RequestRecord, tolerance_ms: f64) -> bool {
    let r = record;
    // There need be no tiers and no transfer.
    let [tier_wait_ms, transfer_ms] = [r.tier_wait_ms, r.transfer_ms].map(|ms| if ms.is_nan() { 0.0 } else { ms });
    let parts = [r.queue_ms, tier_wait_ms, r.prefill_ms, transfer_ms, r.decode_ms, r.preempted_ms, r.recomputed_ms];
    let sum: f64 = parts.iter().sum();
    r.e2e_ms.is_nan() || ((sum - r.e2e_ms).abs() < tolerance_ms && parts.iter().all(|ms| *ms > -tolerance_ms))
}

#[test]
fn what_the_gpu_evicted_comes_back_from_the_host() {
    let host = TierConfig { block_bytes: 1e6, host: tier(100, 1.0, 0.5), disk: None };
    for (backend, gpu_blocks, ttft_ms) in [(Backend::Vllm, 10, 106.5), (Backend::Trtllm, 10, 106.5)] {
        let (outcome, records) = replay(&deployment(backend, gpu_blocks, Some(host)), &evicted_and_asked_again(1000.0));
        let again = &records[2];
        // One block is still on the GPU, the last is computed again: six of a megabyte at 1 GB/s.
        assert_eq!((again.reused_tokens, again.host_tokens, again.disk_tokens), (7 * BLOCK, 6 * BLOCK, 0));
        assert!(near(again.ttft_ms, ttft_ms) && near(again.tier_wait_ms, 6.5), "{again:?}");
        assert!(near(again.queue_ms, 0.0), "waiting for KV is not waiting for a place");
        let get = |metric| outcome.metrics.get(metric);
        assert_eq!(get(Metric::HostHitTokens), 96.0);
        // Eight blocks each stored, the third request's are there already; six came back.
        assert!(near(get(Metric::HostTransferGb), 0.022) && get(Metric::DiskTransferGb) == 0.0);
        assert!(near(get(Metric::TierWaitMean), 6.5 / 3.0) && near(get(Metric::TierWaitP90), 6.5));
        let (without, plain) = replay(&deployment(backend, gpu_blocks, None), &evicted_and_asked_again(1000.0));
        assert_eq!((plain[2].reused_tokens, plain[2].host_tokens), (BLOCK, 0));
        assert!(plain[2].tier_wait_ms.is_nan() && without.metrics.get(Metric::HostHitTokens).is_nan());
    }
}

#[test]
fn a_block_on_its_way_is_waited_for_and_blocks_nobody() {
    let slow = TierConfig { block_bytes: 1e6, host: tier(100, 0.01, 0.0), disk: None };
    let rows: [(f64, &[u32], u32); 4] = [(0.0, A, 2), (200.0, B, 2), (500.0, A, 2), (600.0, &[99], 1)];
    let (_, records) = replay(&deployment(Backend::Vllm, 10, Some(slow)), &workload(&rows));
    // 100 ms a block: stored from 100 to 900, restored from then to 1500, computed by 1600.
    assert!(near(records[2].ttft_ms, 1100.0) && near(records[2].tier_wait_ms, 1000.0), "{:?}", records[2]);
    assert!(near(records[3].ttft_ms, 100.0), "{:?}", records[3]);
}

#[test]
fn the_disk_gives_through_the_host_what_that_has_evicted() {
    let disk = Some(tier(100, 0.5, 2.0));
    let both = TierConfig { block_bytes: 1e6, host: tier(9, 1.0, 0.5), disk };
    let (outcome, records) = replay(&deployment(Backend::Vllm, 10, Some(both)), &evicted_and_asked_again(1000.0));
    let again = &records[2];
    assert_eq!((again.reused_tokens, again.host_tokens, again.disk_tokens), (7 * BLOCK, 0, 6 * BLOCK));
    // Six blocks at 0.5 GB/s after 2 ms, then at 1 GB/s after half a millisecond.
    assert!(near(again.tier_wait_ms, 14.0 + 6.5), "{again:?}");
    assert_eq!(outcome.metrics.get(Metric::DiskHitTokens), 96.0);
    // Without the disk, the host's one block is no more than the GPU's.
    let alone = TierConfig { disk: None, ..both };
    let (_, records) = replay(&deployment(Backend::Vllm, 10, Some(alone)), &evicted_and_asked_again(1000.0));
    assert_eq!((records[2].reused_tokens, records[2].tier_wait_ms), (BLOCK, 0.0));
}

#[test]
fn a_shared_host_serves_other_workers_over_shared_links() {
    let rates = LinkRates { gbps: 2.0, shared_gbps: Some(1.0), latency_ms: 0.0 };
    let shared = TierConfig { block_bytes: 1e6, host: Tier { blocks: 100, shared: true, rates }, disk: None };
    // Round robin over three workers: the second and third ask at the same time for what the first stored.
    let workload = workload(&[(0.0, A, 2), (500.0, A, 2), (500.0, A, 2)]);
    let mut deployment = deployment(Backend::Vllm, 50, Some(shared));
    pool(&mut deployment).workers = 3;
    let (_, records) = replay(&deployment, &workload);
    for record in &records[1..] {
        assert_eq!((record.host_tokens, record.reused_tokens), (7 * BLOCK, 7 * BLOCK), "{record:?}");
        // Two transfers of 7 MB share 1 GB/s.
        assert!(near(record.tier_wait_ms, 14.0), "{record:?}");
    }
    pool(&mut deployment).engine.tiers = Some(TierConfig { host: tier(100, 2.0, 0.0), ..shared });
    let (_, records) = replay(&deployment, &workload);
    assert!(records[1..].iter().all(|r| r.reused_tokens == 0), "a worker's own host knows nothing of the others'");
}

/// Everything but what only tiers say.
fn without_tiers(mut outcome: Outcome) -> Outcome {
    let own = [
        Metric::HostHitTokens,
        Metric::DiskHitTokens,
        Metric::HostTransferGb,
        Metric::DiskTransferGb,
        Metric::TierWaitMean,
        Metric::TierWaitP90,
    ];
    own.iter().for_each(|&metric| outcome.metrics.values[metric as usize] = f64::NAN);
    outcome.requests.iter_mut().flatten().for_each(|r| r.tier_wait_ms = f64::NAN);
    outcome
}

#[test]
fn a_tier_that_nobody_needs_changes_nothing() {
    let mut compared = 0;
    for seed in cases(60) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let workload = twin_equivalence::workload(&mut rng);
        let mut deployment = twin_equivalence::deployment(&mut rng, &workload);
        // Tiers are for workers of one rank that draft nothing.
        (pool(&mut deployment).engine.attention_dp, pool(&mut deployment).engine.speculation) = (1, None);
        let plain = without_tiers(simulate(&deployment, &workload, seed, true));
        // Nor do routers look for what is there.
        (deployment.router.host_hit_weight, deployment.router.disk_hit_weight) = (0.0, 0.0);
        // Slow enough that a single restoration would show.
        let disk = Some(tier(1 << 20, 0.001, 100.0));
        pool(&mut deployment).engine.tiers =
            Some(TierConfig { block_bytes: 1e5, host: tier(1 << 20, 0.001, 100.0), disk });
        let tiered = simulate(&deployment, &workload, seed, true);
        let used = tiered.requests.as_ref().unwrap().iter().any(|r| r.tier_wait_ms > 0.0);
        if !used {
            let tiered = without_tiers(tiered);
            // A prompt too long for the budget asks again in each pass, so that runs are cut elsewhere.
            let engine = &pool(&mut deployment).engine;
            if engine.chunked_prefill || engine.backend == Backend::Sglang {
                assert!(format!("{plain:?}") == format!("{tiered:?}"), "seed {seed}: {deployment:?}");
            }
            twin_equivalence::assert_equal(seed, &deployment, &plain, &tiered);
            compared += 1;
        }
    }
    assert!(compared > 20, "{compared}");
}

/// Conversations that come back to long prefixes.
pub fn conversations(rng: &mut ChaCha8Rng) -> Workload {
    let spec = SyntheticSpec {
        seed: rng.random(),
        sessions: rng.random_range(5..60),
        turns: [1, 3, 5][rng.random_range(0..3)],
        arrivals: Arrivals::Poisson { rate_per_s: [1.0, 10.0, 100.0][rng.random_range(0..3)] },
        input_tokens: Lengths::LogNormal { mean: 300.0, std: 300.0 },
        output_tokens: Lengths::LogNormal { mean: 40.0, std: 60.0 },
        think_ms: 150.0,
        common_prefix_tokens: BLOCK,
        prefix_groups: rng.random_range(1..8),
        group_prefix_tokens: BLOCK * rng.random_range(1..20),
        block_tokens: BLOCK,
    };
    let mut workload = generate(&spec).unwrap();
    if rng.random_bool(0.2) {
        workload.load = Load::Closed { concurrency: rng.random_range(1..16) };
    }
    workload
}

/// Seeds to try: `SERVESCOUT_CASES` of them where that is set.
pub fn cases(usual: u64) -> std::ops::Range<u64> {
    0..std::env::var("SERVESCOUT_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(usual)
}

/// A cluster with tiers that are full, tiny or slow, and pools in which little fits.
pub fn random_cluster(rng: &mut ChaCha8Rng) -> (Workload, Deployment) {
    let workload = conversations(rng);
    let mut deployment = twin_equivalence::deployment(rng, &workload);
    let pool = pool(&mut deployment);
    pool.workers = rng.random_range(1..4);
    let engine = &mut pool.engine;
    engine.prefix_caching = true;
    (engine.attention_dp, engine.speculation) = (1, None);
    engine.block_size = [BLOCK, BLOCK, 24, 5][rng.random_range(0..4)];
    let longest = workload.requests.iter().map(|r| r.input_tokens + r.output_tokens).max().unwrap();
    let longest = longest.div_ceil(engine.block_size);
    engine.gpu_blocks = ((f64::from(longest) * [0.8, 1.1, 1.6, 4.0][rng.random_range(0..4)]) as u32).max(2);
    let disk = rng.random_bool(0.5).then(|| random_tier(rng, longest));
    engine.tiers = Some(TierConfig { block_bytes: 1.3e5, host: random_tier(rng, longest), disk });
    (workload, deployment)
}

pub fn random_tier(rng: &mut ChaCha8Rng, longest: u32) -> Tier {
    let shared = rng.random_bool(0.4);
    let gbps = [0.0, 0.0317, 1.37, 40.1][rng.random_range(0..4)];
    let size = [0.1, 0.9, 3.0, 100.0][rng.random_range(0..4)];
    Tier {
        blocks: ((f64::from(longest) * size) as u32).max(1),
        shared,
        rates: LinkRates {
            gbps,
            shared_gbps: shared.then(|| [0.0, 0.0213, 3.3][rng.random_range(0..3)]),
            latency_ms: [0.0, 0.731, 37.3][rng.random_range(0..3)],
        },
    }
}

#[test]
fn jumping_equals_doing_every_pass_with_tiers() {
    let (mut host, mut disk, mut waits, mut given_up) = (0.0, 0.0, 0, 0);
    for seed in cases(300) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (workload, mut deployment) = random_cluster(&mut rng);
        if workload.load != Load::Open {
            // Workers of a closed loop tie.
            pool(&mut deployment).workers = 1;
        }
        let jumped = simulate(&deployment, &workload, seed, true);
        deployment.pass_by_pass = true;
        let plain = simulate(&deployment, &workload, seed, true);
        twin_equivalence::assert_equal(seed, &deployment, &jumped, &plain);
        for (a, b) in jumped.requests.iter().flatten().zip(plain.requests.iter().flatten()) {
            assert_eq!((a.host_tokens, a.disk_tokens), (b.host_tokens, b.disk_tokens), "seed {seed}: {deployment:?}");
            assert!(a.host_tokens + a.disk_tokens <= a.reused_tokens, "seed {seed}: {a:?}");
            assert_ne!(a.status, Status::Unfinished);
            assert!(adds_up(a, 1e-6), "seed {seed}: {a:?}");
            waits += u32::from(a.tier_wait_ms > 0.0);
            given_up += u32::from(a.tier_wait_ms > 0.0 && a.host_tokens + a.disk_tokens == 0);
        }
        host += jumped.metrics.get(Metric::HostHitTokens);
        disk += jumped.metrics.get(Metric::DiskHitTokens);
    }
    // Worth something only if tiers are used, waited for, and sometimes given up.
    assert!(host > 1e5 && disk > 1e4 && waits > 500 && given_up > 10, "{host} {disk} {waits} {given_up}");
}

pub const SPACE: &str = r#"
[study]
name = "tiers"
[model]
name = "Qwen/Qwen3-32B"
dtype = "fp8"
[hardware]
gpu = "h200_sxm"
max_gpus = 8
[workload.synthetic]
sessions = 10
input_tokens = 1000
output_tokens = 10
arrivals = { kind = "poisson", rate_per_s = 2.0 }
[knobs]
aggregated.tp = 2
aggregated.workers = 2
"#;

fn tiers_of(knobs: &str) -> Result<Option<TierConfig>, String> {
    Ok(pool(&mut deployed(knobs)?).engine.tiers)
}

/// The deployment of [`SPACE`] with some knobs more.
pub fn deployed(knobs: &str) -> Result<Deployment, String> {
    let study =
        space::parse(&format!("{SPACE}{knobs}\n[objectives]\nminimize = [\"ttft_p90_ms\", \"cost_usd\"]\n"), None, &[]);
    let study = study.map_err(|errors| errors.to_string())?;
    let spec = servescout::workload::load(&study.workload).map_err(|e| e.to_string())?;
    let candidate = study.space.canonical(&vec![0; study.space.knobs.len()]);
    Deployer::new(&study, &spec).deployment(&candidate).map_err(|refusal| refusal.to_string())
}

#[test]
fn every_knob_reaches_the_twin() {
    assert_eq!(tiers_of("").unwrap(), None);
    assert_eq!(tiers_of("kv.host_gib = 64\nengine.prefix_caching = false").unwrap(), None, "tiers keep prefixes");
    // 64 layers, 8 heads of 128, a key and a value of a byte or two each, 64 tokens a block.
    let host = tiers_of("kv.host_gib = 64").unwrap().unwrap();
    let token = host.block_bytes / 64.0;
    assert!(token == 131_072.0 || token == 262_144.0, "{token}");
    assert_eq!(f64::from(host.host.blocks), (64.0 * 1_073_741_824.0 / host.block_bytes).floor());
    let rates = LinkRates { gbps: 32.0, shared_gbps: None, latency_ms: 0.0 };
    assert_eq!((host.host.shared, host.host.rates, host.disk), (false, rates, None));
    let all = tiers_of(
        "kv.host_gib = 8\nkv.host_gbps = 5\nkv.host_latency_ms = 0.25\nkv.host_scope = \"cluster\"\n\
         kv.host_shared_gbps = 7\nkv.disk_gib = 16\nkv.disk_gbps = 3\nkv.disk_latency_ms = 0.5\n\
         kv.disk_scope = \"cluster\"\nkv.disk_shared_gbps = 4",
    );
    let all = all.unwrap().unwrap();
    let (host, disk) = (all.host, all.disk.unwrap());
    assert_eq!(host.rates, LinkRates { gbps: 5.0, shared_gbps: Some(7.0), latency_ms: 0.25 });
    assert_eq!(disk.rates, LinkRates { gbps: 3.0, shared_gbps: Some(4.0), latency_ms: 0.5 });
    assert!(host.shared && disk.shared && disk.blocks == 2 * host.blocks);
    let plain = tiers_of("kv.host_gib = 8\nkv.disk_gib = 16").unwrap().unwrap().disk.unwrap();
    assert_eq!(plain.rates, LinkRates { gbps: 10.0, shared_gbps: None, latency_ms: 0.1 });
    let small = tiers_of("kv.host_gib = 0.001").unwrap_err();
    assert!(small.contains("kv.host_gib = 0.001 holds no block"), "{small}");
    assert!(tiers_of("kv.host_gib = -1").is_err() && tiers_of("kv.host_scope = \"rack\"\nkv.host_gib = 1").is_err());
}
