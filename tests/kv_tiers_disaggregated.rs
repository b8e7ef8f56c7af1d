//! KV tiers of the prefill workers of a disaggregated deployment.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use servescout::catalog::Backend;
use servescout::twin::cluster;
use servescout::twin::deployment::*;
use servescout::twin::kv::tier::TierConfig;
use servescout::twin::metrics::Metric;
use servescout::twin::{router, simulate};
use servescout::workload::Workload;

use crate::cluster_properties::{self, Chaos};
use crate::kv_tiers::{A, B, BLOCK, adds_up, cases, deployed, deployment, random_tier, tier, workload};
use crate::kv_tiers_cluster::{check, records};
use crate::twin_equivalence::assert_equal;

/// A random cluster whose prefill workers, in which little fits, have tiers.
fn random_cluster(rng: &mut ChaCha8Rng) -> (Workload, Deployment) {
    let workload = cluster_properties::workload(rng);
    let mut deployment = cluster_properties::deployment(rng);
    let Topology::Disaggregated { prefill, decode, .. } = &mut deployment.topology else { unreachable!() };
    let longest = workload.requests.iter().map(|r| r.input_tokens + r.output_tokens).max().unwrap();
    for pool in [&mut *prefill, decode] {
        pool.engine.attention_dp = 1;
        pool.engine.block_size = BLOCK;
    }
    let engine = &mut prefill.engine;
    let longest = longest.div_ceil(BLOCK);
    engine.gpu_blocks = ((f64::from(longest) * [0.8, 1.1, 1.6, 4.0][rng.random_range(0..4)]) as u32).max(2);
    (engine.prefix_caching, engine.speculation) = (true, None);
    let disk = rng.random_bool(0.5).then(|| random_tier(rng, longest));
    engine.tiers = Some(TierConfig { block_bytes: 1.3e5, host: random_tier(rng, longest), disk });
    deployment.peer_compat = false;
    (workload, deployment)
}

#[test]
fn what_a_prefill_worker_evicted_comes_back_from_its_host() {
    let workload = workload(&[(0.0, A, 2), (1000.0, B, 2), (2000.0, A, 2)]);
    let again = |tiers: Option<TierConfig>| {
        let mut deployment = deployment(Backend::Vllm, 10, tiers);
        let Topology::Aggregated(prefill) = deployment.topology else { unreachable!() };
        let mut decode = prefill.clone();
        (decode.engine.gpu_blocks, decode.engine.tiers) = (100, None);
        deployment.topology = Topology::Disaggregated {
            prefill,
            decode,
            transfer: TransferConfig { latency_ms: 1.0, ..Default::default() },
            local_prefill: LocalPrefill { below_tokens: 0, most_of_prompt: 1.0, most_kv: 1.0 },
        };
        let outcome = simulate(&deployment, &workload, 1, true);
        check(1, &deployment, &outcome);
        records(&outcome)[2].clone()
    };
    // 7 blocks at 4 MB/ms; the last token is computed again.
    let host = tier(100, 4.0, 0.0);
    let restored = again(Some(TierConfig { block_bytes: 4e6, host, disk: None }));
    let computed = again(None);
    assert!(computed.reused_tokens < 7 * BLOCK && computed.host_tokens == 0, "{computed:?}");
    assert_eq!(restored.reused_tokens, 7 * BLOCK, "{restored:?}");
    assert_eq!(restored.host_tokens, 7 * BLOCK - computed.reused_tokens, "{restored:?}");
    let copied_ms = f64::from(restored.host_tokens / BLOCK);
    assert!((restored.tier_wait_ms - copied_ms).abs() < 1e-9, "{restored:?}");
    assert!(adds_up(&restored, 1e-9) && adds_up(&computed, 1e-9), "{restored:?} {computed:?}");
}

#[test]
fn jumping_equals_doing_every_pass_with_tiers_of_prefill_workers() {
    let (mut host, mut disk, mut waits) = (0.0, 0.0, 0);
    for seed in cases(150) {
        let mut rng = ChaCha8Rng::seed_from_u64(4_000_000 + seed);
        let (workload, mut deployment) = random_cluster(&mut rng);
        let jumped = simulate(&deployment, &workload, seed, true);
        check(seed, &deployment, &jumped);
        deployment.pass_by_pass = true;
        let plain = simulate(&deployment, &workload, seed, true);
        assert_equal(seed, &deployment, &jumped, &plain);
        for (a, b) in records(&jumped).iter().zip(records(&plain)) {
            assert_eq!((a.host_tokens, a.disk_tokens), (b.host_tokens, b.disk_tokens), "seed {seed}: {deployment:?}");
            waits += u32::from(a.tier_wait_ms > 0.0);
        }
        host += jumped.metrics.get(Metric::HostHitTokens);
        disk += jumped.metrics.get(Metric::DiskHitTokens);
    }
    assert!(host > 1e4 && disk > 1e3 && waits > 100, "{host} {disk} {waits}");
}

#[test]
fn nothing_is_lost_when_prefill_workers_with_tiers_come_and_go() {
    let (mut host, mut retries) = (0.0, 0.0);
    for seed in cases(150) {
        let mut rng = ChaCha8Rng::seed_from_u64(5_000_000 + seed);
        let (workload, mut deployment) = random_cluster(&mut rng);
        deployment.faults.keep_tokens = rng.random_bool(0.5);
        let run = || {
            let (chaos, _) = Chaos::new(seed, 40);
            let pools = deployment.topology.pools();
            let policies = pools.iter().map(|&(role, _)| router::policy(&deployment.router, role, seed));
            cluster::simulate(&deployment, &workload, policies.collect(), vec![Box::new(chaos)], true)
        };
        let outcome = run();
        check(seed, &deployment, &outcome);
        assert_eq!(format!("{outcome:?}"), format!("{:?}", run()), "{seed}");
        host += outcome.metrics.get(Metric::HostHitTokens);
        retries += outcome.metrics.get(Metric::Retries);
    }
    assert!(host > 1e4 && retries > 200.0, "{host} {retries}");
}

#[test]
fn the_knobs_reach_prefill_workers_alone() {
    const SPLIT: &str = "deployment.mode = \"disaggregated\"\nprefill.tp = 2\nprefill.workers = 1\n\
                         decode.tp = 2\ndecode.workers = 1\nkv.host_gib = 64\n";
    let deployment = deployed(SPLIT).unwrap();
    let Topology::Disaggregated { prefill, decode, .. } = deployment.topology else { panic!("disaggregated") };
    assert!(prefill.engine.tiers.is_some() && decode.engine.tiers.is_none());
    let drafting = deployed(&format!("{SPLIT}engine.speculative_tokens = 2\n"));
    assert!(drafting.is_ok(), "prefill workers draft nothing: {drafting:?}");
    let refused = deployed(&format!("{SPLIT}prefill.attention_dp = 2\n")).unwrap_err();
    assert!(refused.contains("kv.host_gib = 64 with prefill.attention_dp = 2"), "{refused}");
}
