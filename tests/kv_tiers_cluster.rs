//! KV tiers in a cluster: workers that come, drain and die, planners, and routers that look below GPU memory.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use servescout::catalog::Backend;
use servescout::space::{self, Deployer};
use servescout::twin::cluster;
use servescout::twin::deployment::*;
use servescout::twin::faults::{FaultConfig, FaultEvent, FaultKind};
use servescout::twin::kv::tier::{LinkRates, Tier, TierConfig};
use servescout::twin::metrics::Metric;
use servescout::twin::planner::{PlannerConfig, ScalingPolicy};
use servescout::twin::router::formula::Formula;
use servescout::twin::{Outcome, RequestRecord, Status, router, simulate};

use crate::cluster_properties::Chaos;
use crate::kv_tiers::{A, B, BLOCK, SPACE, adds_up, cases, deployment, pool, random_cluster, tier, workload};

fn shared(blocks: u32, gbps: f64) -> Tier {
    let rates = LinkRates { gbps, shared_gbps: Some(0.0), latency_ms: 0.0 };
    Tier { blocks, shared: true, rates }
}

pub fn records(outcome: &Outcome) -> &[RequestRecord] {
    outcome.requests.as_ref().unwrap()
}

const C: &[u32] = &[21, 22, 23, 24, 25, 26, 27, 28];

/// Every request ended, once; those completed took as long as their parts.
pub fn check(seed: u64, deployment: &Deployment, outcome: &Outcome) {
    for r in records(outcome) {
        assert_ne!(r.status, Status::Unfinished, "{seed}: {r:?}\n{deployment:?}");
        assert!(r.host_tokens + r.disk_tokens <= r.reused_tokens, "{seed}: {r:?}");
        assert!(r.status != Status::Completed || adds_up(r, 1e-6), "{seed}: {r:?}");
    }
    let ended = [Metric::Completed, Metric::Rejected, Metric::Failed];
    let ended: f64 = ended.iter().map(|&m| outcome.metrics.get(m)).sum();
    assert_eq!(ended as usize, records(outcome).len(), "{seed}");
}

#[test]
fn nothing_is_lost_with_tiers_when_workers_come_and_go() {
    let (mut host, mut retries, mut shared, mut waits) = (0.0, 0.0, 0, 0);
    for seed in cases(200) {
        let mut rng = ChaCha8Rng::seed_from_u64(2_000_000 + seed);
        let (workload, mut deployment) = random_cluster(&mut rng);
        deployment.faults.keep_tokens = rng.random_bool(0.5);
        let run = |deployment: &Deployment| {
            let (chaos, _) = Chaos::new(seed, 40);
            let policies = vec![router::policy(&deployment.router, Role::Aggregated, seed)];
            cluster::simulate(deployment, &workload, policies, vec![Box::new(chaos)], true)
        };
        let outcome = run(&deployment);
        check(seed, &deployment, &outcome);
        assert_eq!(format!("{outcome:?}"), format!("{:?}", run(&deployment)), "{seed}");
        host += outcome.metrics.get(Metric::HostHitTokens);
        retries += outcome.metrics.get(Metric::Retries);
        shared += u32::from(pool(&mut deployment).engine.tiers.unwrap().host.shared);
        waits += records(&outcome).iter().filter(|r| r.tier_wait_ms > 0.0 && r.retries > 0).count();
    }
    assert!(host > 1e4 && retries > 200.0 && shared > 20 && waits > 20, "{host} {retries} {shared} {waits}");
}

#[test]
fn nothing_is_lost_with_tiers_under_a_planner_and_faults() {
    let (mut host, mut scaled, mut retries) = (0.0, 0.0, 0.0);
    for seed in cases(100) {
        let mut rng = ChaCha8Rng::seed_from_u64(3_000_000 + seed);
        let (workload, mut deployment) = random_cluster(&mut rng);
        let policies = [ScalingPolicy::Load, ScalingPolicy::Sla, ScalingPolicy::Hybrid];
        deployment.planner = Some(PlannerConfig {
            policy: policies[rng.random_range(0..3)],
            load_interval_ms: rng.random_range(50.0..400.0),
            throughput_interval_ms: 500.0,
            ttft_ms: 50.0,
            max_workers: 4,
            max_gpus: 16,
            startup_ms: rng.random_range(0.0..300.0),
            ..Default::default()
        });
        deployment.faults = FaultConfig { mtbf_ms: Some(2000.0), restart_ms: Some(100.0), ..Default::default() };
        let outcome = simulate(&deployment, &workload, seed, true);
        check(seed, &deployment, &outcome);
        host += outcome.metrics.get(Metric::HostHitTokens);
        scaled += outcome.metrics.get(Metric::ScaleEvents);
        retries += outcome.metrics.get(Metric::Retries);
    }
    assert!(host > 1e3 && scaled > 50.0 && retries > 20.0, "{host} {scaled} {retries}");
}

#[test]
fn a_worker_takes_its_own_host_memory_with_it_and_leaves_what_is_shared() {
    // Worker 0 computes A, and dies; the one that comes for it is asked for A.
    let workload = workload(&[(0.0, A, 2), (2000.0, A, 2)]);
    let after_death = |host: Tier| {
        let tiers = TierConfig { block_bytes: 1e6, host, disk: None };
        let mut deployment = deployment(Backend::Vllm, 50, Some(tiers));
        deployment.faults = FaultConfig {
            restart_ms: Some(100.0),
            events: vec![FaultEvent { at_ms: 1000.0, worker: 0, kind: FaultKind::Death }],
            ..Default::default()
        };
        let outcome = simulate(&deployment, &workload, 1, true);
        let record = records(&outcome)[1].clone();
        assert_eq!(record.worker, 1, "the replacement");
        // What was copied stays counted when the worker is gone.
        assert!(outcome.metrics.get(Metric::HostTransferGb) >= 0.008, "{:?}", outcome.metrics);
        record
    };
    assert_eq!(after_death(shared(100, 0.0)).host_tokens, 7 * BLOCK);
    let own = after_death(tier(100, 0.0, 0.0));
    assert_eq!((own.host_tokens, own.reused_tokens), (0, 0));
}

/// Which of two workers computed A first, and who got it again, long after other prompts had pushed most
/// of it out of the GPUs of both.
fn asked_again(seed: u64, router: RouterConfig, host: u32, disk: Option<Tier>) -> (u32, u32) {
    let rows: [(f64, &[u32], u32); 4] = [(0.0, A, 2), (1000.0, B, 2), (1001.0, C, 2), (2000.0, A, 2)];
    let tiers = TierConfig { block_bytes: 1e6, host: tier(host, 0.0, 0.0), disk };
    let mut deployment = deployment(Backend::Vllm, 10, Some(tiers));
    pool(&mut deployment).workers = 2;
    deployment.router = router;
    let outcome = simulate(&deployment, &workload(&rows), seed, true);
    let worker = |row: usize| records(&outcome)[row].worker;
    assert_ne!(worker(1), worker(2), "seed {seed}: each has its own");
    (worker(0), worker(3))
}

#[test]
fn routers_give_credit_for_what_lies_below_the_gpu() {
    let kv = |host_hit_weight: f64, disk_hit_weight: f64| RouterConfig {
        policy: RouterPolicy::Kv,
        overlap_credit: 0.0,
        host_hit_weight,
        disk_hit_weight,
        ..Default::default()
    };
    let formula = |text: &str| {
        let program = Formula::parse(text).unwrap().bind(|_| None).unwrap();
        // So that B and C go to different workers.
        RouterConfig { policy: RouterPolicy::Expression(program), ..Default::default() }
    };
    let disk = || Some(tier(100, 0.0, 0.0));
    let returns = |router: &RouterConfig, host: u32, disk: Option<Tier>| {
        let comes_back = |&seed: &u64| {
            let (first, again) = asked_again(seed, router.clone(), host, disk);
            first == again
        };
        (0..16).filter(comes_back).count()
    };
    assert_eq!(returns(&kv(0.75, 0.0), 100, None), 16, "what is in host memory counts");
    assert_eq!(returns(&kv(0.0, 0.25), 9, disk()), 16, "what is on disk counts");
    for (router, host, disk) in [(kv(0.0, 0.25), 100, None), (kv(0.75, 0.0), 9, disk()), (kv(0.0, 0.0), 9, disk())] {
        let by_chance = returns(&router, host, disk);
        assert!((3..14).contains(&by_chance), "{by_chance} of 16 with nothing to go by");
    }
    let in_host = formula("100 * active_requests - host_blocks");
    assert_eq!(returns(&in_host, 100, None), 16);
    let on_disk = formula("100 * active_requests - disk_blocks");
    assert_eq!(returns(&on_disk, 9, disk()), 16);
}

#[test]
fn weights_reach_the_router_and_are_absent_without_tiers() {
    let router = |knobs: &str| {
        let text = format!(
            "{SPACE}router.policy = \"kv\"\n{knobs}\n[objectives]\nminimize = [\"ttft_p90_ms\", \"cost_usd\"]\n"
        );
        let study = space::parse(&text, None, &[]).map_err(|errors| errors.to_string())?;
        let spec = servescout::workload::load(&study.workload).map_err(|e| e.to_string())?;
        let candidate = study.space.canonical(&vec![0; study.space.knobs.len()]);
        let deployment = Deployer::new(&study, &spec).deployment(&candidate).map_err(|refusal| refusal.to_string())?;
        Ok::<_, String>((deployment.router.host_hit_weight, deployment.router.disk_hit_weight))
    };
    let weights = "router.host_hit_weight = 0.5\nrouter.disk_hit_weight = 0.125";
    assert_eq!(router(&format!("kv.host_gib = 64\nkv.disk_gib = 64\n{weights}")), Ok((0.5, 0.125)));
    assert_eq!(router("kv.host_gib = 64\nkv.disk_gib = 64"), Ok((0.75, 0.25)));
    assert_eq!(router(weights), Ok((0.75, 0.25)), "without tiers they mean nothing");
    assert!(router("kv.host_gib = 64\nrouter.host_hit_weight = -1").is_err());
}
