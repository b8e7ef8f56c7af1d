//! Random disaggregated clusters, with workers that start, drain and die: nothing is lost, nothing
//! gets stuck, and jumping changes nothing.

use std::cell::RefCell;
use std::rc::Rc;

use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use servescout::catalog::Backend;
use servescout::timing::Timing;
use servescout::twin::cluster::{self, Cluster, Controller, State};
use servescout::twin::deployment::{
    Charge, Deployment, EngineConfig, LocalPrefill, Pool, Role, RouterConfig, RouterPolicy, Speculation, Topology,
    TransferConfig,
};
use servescout::twin::metrics::Metric;
use servescout::twin::outcome::{Outcome, Status};
use servescout::twin::{router, simulate};
use servescout::workload::spec::{Arrivals, Lengths, SyntheticSpec};
use servescout::workload::{Load, Workload, generate};

const CASES: u64 = 250;

pub fn workload(rng: &mut ChaCha8Rng) -> Workload {
    let mut workload = generate(&SyntheticSpec {
        seed: rng.random(),
        sessions: rng.random_range(1..60),
        turns: *[1, 1, 3].choose(rng).unwrap(),
        arrivals: Arrivals::Poisson { rate_per_s: *[0.5, 5.0, 200.0].choose(rng).unwrap() },
        input_tokens: Lengths::LogNormal { mean: 300.0, std: 400.0 },
        output_tokens: Lengths::LogNormal { mean: 40.0, std: 60.0 },
        think_ms: 50.0,
        common_prefix_tokens: *[0, 64].choose(rng).unwrap(),
        prefix_groups: 3,
        group_prefix_tokens: 128,
        block_tokens: 16,
    })
    .expect("a valid spec");
    if rng.random_bool(0.3) {
        workload.load = Load::Closed { concurrency: rng.random_range(1..20) };
    }
    workload
}

fn pool(rng: &mut ChaCha8Rng, backend: Backend, block_size: u32) -> Pool {
    let attention_dp = *[1, 1, 1, 2].choose(rng).unwrap();
    Pool {
        workers: rng.random_range(1..4),
        gpus_per_worker: attention_dp * rng.random_range(1..3),
        engine: EngineConfig {
            backend,
            block_size,
            // From pools in which nearly nothing fits to ample ones.
            gpu_blocks: *[400u32, 1000, 3000, 100_000].choose(rng).unwrap() / block_size,
            max_num_seqs: *[1, 3, 256].choose(rng).unwrap(),
            max_num_batched_tokens: *[256, 2048].choose(rng).unwrap(),
            prefix_caching: rng.random_bool(0.7),
            attention_dp,
            speculation: (backend != Backend::Sglang && rng.random_bool(0.15)).then(|| Speculation {
                tokens: 2,
                acceptance: vec![0.7],
                draft_cost: 0.03,
                seed: 1,
            }),
            ..Default::default()
        },
        timing: Timing::Polynomial { floor_means: false },
    }
}

pub fn deployment(rng: &mut ChaCha8Rng) -> Deployment {
    let backend = *[Backend::Vllm, Backend::Sglang, Backend::Trtllm].choose(rng).unwrap();
    let block_size = *[1, 16, 64].choose(rng).unwrap();
    let policies = [RouterPolicy::RoundRobin, RouterPolicy::LeastLoaded, RouterPolicy::PowerOfTwo, RouterPolicy::Kv];
    let topology = Topology::Disaggregated {
        prefill: pool(rng, backend, block_size),
        decode: pool(rng, backend, block_size),
        transfer: TransferConfig {
            gbps: *[None, Some(0.01), Some(1.0)].choose(rng).unwrap(),
            latency_ms: *[0.0, 3.0].choose(rng).unwrap(),
            bytes_per_token: 100_000.0,
            charge: *[Charge::FullPrompt, Charge::DestinationMissing].choose(rng).unwrap(),
            contention: rng.random_bool(0.7),
        },
        local_prefill: LocalPrefill {
            below_tokens: *[0, 0, 100, 1000].choose(rng).unwrap(),
            most_of_prompt: *[0.5, 1.0].choose(rng).unwrap(),
            most_kv: *[0.5, 1.0].choose(rng).unwrap(),
        },
    };
    Deployment {
        router: RouterConfig { policy: policies.choose(rng).unwrap().clone(), ..Default::default() },
        peer_compat: rng.random_bool(0.2),
        ..Deployment::new(topology)
    }
}

/// Every request ended once, with what it asked for, in the order in which things can happen.
fn check(seed: u64, outcome: &Outcome, workload: &Workload) {
    let records = outcome.requests.as_ref().unwrap();
    assert_eq!(records.len(), workload.requests.len());
    for r in records {
        assert_ne!(r.status, Status::Unfinished, "{seed}: {r:?}");
        if r.status == Status::Completed {
            assert!(r.ttft_ms >= r.queue_ms && r.e2e_ms >= r.ttft_ms, "{seed}: {r:?}");
            assert!(r.worker != u32::MAX, "{seed}: {r:?}");
            // Computed where it decodes, or elsewhere and sent.
            let is_local = r.prefill_worker == u32::MAX;
            assert!(is_local || (r.transfer_ms >= 0.0 && r.ttft_ms > r.transfer_ms), "{seed}: {r:?}");
        }
    }
    let all = [Metric::Completed, Metric::Rejected].iter().map(|&m| outcome.metrics.get(m)).sum::<f64>();
    assert_eq!(all as usize, records.len(), "{seed}");
}

fn close(x: f64, y: f64) -> bool {
    x == y || (x.is_nan() && y.is_nan()) || (x - y).abs() <= 1e-9 * x.abs().max(y.abs()).max(1e4)
}

#[test]
fn disaggregated_clusters_serve_everything_and_jumping_changes_nothing() {
    let (mut jumps, mut preempted, mut rejected, mut completed) = (0, 0.0, 0.0, 0.0);
    for seed in 0..CASES {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let workload = workload(&mut rng);
        let mut deployment = deployment(&mut rng);
        let jumped = simulate(&deployment, &workload, seed, true);
        check(seed, &jumped, &workload);
        let again = simulate(&deployment, &workload, seed, true);
        assert_eq!(format!("{jumped:?}"), format!("{again:?}"), "{seed}");
        deployment.pass_by_pass = true;
        let plain = simulate(&deployment, &workload, seed, true);
        for (x, y) in jumped.requests.as_ref().unwrap().iter().zip(plain.requests.as_ref().unwrap()) {
            let counts = |r: &servescout::twin::RequestRecord| {
                (r.status, r.output_tokens, r.reused_tokens, r.preemptions, r.worker, r.prefill_worker)
            };
            assert_eq!(counts(x), counts(y), "{seed}: {x:?}\n{y:?}\n{deployment:?}");
            for (a, b) in
                [(x.ttft_ms, y.ttft_ms), (x.e2e_ms, y.e2e_ms), (x.queue_ms, y.queue_ms), (x.transfer_ms, y.transfer_ms)]
            {
                assert!(close(a, b), "{seed}: {x:?}\n{y:?}\n{deployment:?}");
            }
        }
        assert_eq!(jumped.passes, plain.passes, "{seed}");
        jumps += u32::from(jumped.steps * 2 < plain.steps);
        preempted += jumped.metrics.get(Metric::Preemptions);
        rejected += jumped.metrics.get(Metric::Rejected);
        completed += jumped.metrics.get(Metric::Completed);
    }
    // The cases are worth something only if they jump, run out of memory, and serve most requests.
    assert!(jumps > 60 && preempted > 100.0 && rejected > 100.0, "{jumps} {preempted} {rejected}");
    assert!(completed > rejected, "{completed} of {rejected}");
}

/// (time, GPUs) after each act.
pub type Seen = Rc<RefCell<Vec<(f64, u32)>>>;

/// Starts, drains and kills workers at random, and adds up GPU time by itself.
pub struct Chaos {
    rng: ChaCha8Rng,
    next_ms: f64,
    steps: u32,
    /// (time, GPUs) as it sees them after each of its acts.
    seen: Seen,
}

impl Chaos {
    /// That many acts, and what it sees.
    pub fn new(seed: u64, steps: u32) -> (Self, Seen) {
        let seen = Rc::new(RefCell::new(Vec::new()));
        (Chaos { rng: ChaCha8Rng::seed_from_u64(seed), next_ms: 5.0, steps, seen: seen.clone() }, seen)
    }
}

impl Controller for Chaos {
    fn next_ms(&self) -> f64 {
        self.next_ms
    }

    fn act(&mut self, now_ms: f64, cluster: &mut Cluster) {
        for role in Role::ALL {
            if cluster.fleet.pool(role).is_none() {
                continue;
            }
            let startup_ms = self.rng.random_range(0.0..400.0);
            match self.rng.random_range(0..4) {
                0 => {
                    let target = self.rng.random_range(1..5);
                    cluster.scale_to(role, target, startup_ms, now_ms);
                }
                1 => {
                    let active: Vec<usize> = cluster.fleet.ids(role, State::Active).collect();
                    if let Some(&victim) = active.choose(&mut self.rng) {
                        cluster.kill(victim, None, now_ms);
                        cluster.start_worker(role, startup_ms, now_ms);
                    }
                }
                _ => {}
            }
        }
        self.seen.borrow_mut().push((now_ms, cluster.fleet.gpus()));
        self.steps -= 1;
        self.next_ms = if self.steps == 0 { f64::INFINITY } else { now_ms + self.rng.random_range(1.0..300.0) };
    }
}

#[test]
fn nothing_is_lost_when_workers_come_and_go() {
    let (mut acts, mut completed) = (0, 0.0);
    for seed in 0..CASES {
        let mut rng = ChaCha8Rng::seed_from_u64(1_000_000 + seed);
        let workload = workload(&mut rng);
        let mut deployment = deployment(&mut rng);
        if seed % 3 == 0 {
            let Topology::Disaggregated { prefill, .. } = deployment.topology else { unreachable!() };
            deployment.topology = Topology::Aggregated(prefill);
        }
        let run = || {
            let (chaos, seen) = Chaos::new(seed, 40);
            let pools = deployment.topology.pools();
            let policies = pools.iter().map(|&(role, _)| router::policy(&deployment.router, role, seed));
            let outcome = cluster::simulate(&deployment, &workload, policies.collect(), vec![Box::new(chaos)], true);
            let seen = seen.take();
            (outcome, seen)
        };
        let (outcome, seen) = run();
        let records = outcome.requests.as_ref().unwrap();
        for r in records {
            assert_ne!(r.status, Status::Unfinished, "{seed}: {r:?}\n{deployment:?}");
            if r.status == Status::Completed {
                assert!(r.e2e_ms >= r.ttft_ms && r.ttft_ms >= r.queue_ms, "{seed}: {r:?}");
            }
        }
        // GPUs only come at its acts, so between two of them they only get fewer.
        let most = seen.iter().map(|s| s.1).max().unwrap_or(0).max(deployment.topology.gpus());
        let peak = outcome.metrics.get(Metric::GpusPeak);
        assert!(peak <= f64::from(most), "{seed}: {peak} above {most}");
        assert_eq!(format!("{outcome:?}"), format!("{:?}", run().0), "{seed}");
        acts += seen.len();
        completed += outcome.metrics.get(Metric::Completed);
    }
    assert!(acts > 1000 && completed > 1000.0, "{acts} {completed}");
}
