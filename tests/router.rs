//! The router: every policy, the user's own formula, queue, admission, lag of KV events, affinity.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use servescout::catalog::Backend;
use servescout::timing::Timing;
use servescout::twin::cluster::{self, Cluster, Controller};
use servescout::twin::deployment::*;
use servescout::twin::metrics::Metric;
use servescout::twin::router::formula::Formula;
use servescout::twin::router::{Placement, Policy, Summary, View, policy};
use servescout::twin::{Outcome, RequestRecord, Status, simulate};
use servescout::workload::spec::{Arrivals, Lengths, SyntheticSpec};
use servescout::workload::{Workload, generate};

/// Prompts of which half are shared by groups, at a rate that keeps four workers busy.
fn workload(seed: u64, sessions: u32, turns: u32, rate_per_s: f64) -> Workload {
    generate(&SyntheticSpec {
        seed,
        sessions,
        turns,
        arrivals: Arrivals::Poisson { rate_per_s },
        input_tokens: Lengths::LogNormal { mean: 1500.0, std: 2000.0 },
        output_tokens: Lengths::LogNormal { mean: 120.0, std: 80.0 },
        think_ms: 2000.0,
        common_prefix_tokens: 128,
        prefix_groups: 12,
        group_prefix_tokens: 2048,
        block_tokens: 64,
    })
    .expect("a valid spec")
}

fn deployment(workers: u32, router: RouterConfig) -> Deployment {
    Deployment {
        router,
        ..Deployment::new(Topology::Aggregated(Pool {
            workers,
            gpus_per_worker: 1,
            engine: EngineConfig {
                backend: Backend::Vllm,
                gpu_blocks: 600,
                max_num_batched_tokens: 2048,
                ..Default::default()
            },
            timing: Timing::Polynomial { floor_means: false },
        }))
    }
}

fn expression(text: &str, coefficients: &[(&str, f64)]) -> RouterPolicy {
    let value = |name: &str| coefficients.iter().find(|c| c.0 == name).map(|c| c.1);
    RouterPolicy::Expression(Formula::parse(text).unwrap().bind(value).unwrap())
}

fn policies() -> Vec<RouterPolicy> {
    use RouterPolicy::*;
    let own = expression("active_requests + predicted_prefill_ms / 10 - overlap_blocks", &[]);
    vec![RoundRobin, Random, LeastLoaded, PowerOfTwo, Kv, Lmetric, TwoTier, own]
}

fn with(policy: RouterPolicy) -> RouterConfig {
    RouterConfig { policy, ..Default::default() }
}

fn run(router: RouterConfig, workload: &Workload) -> Outcome {
    simulate(&deployment(4, router), workload, 3, true)
}

fn records(outcome: &Outcome) -> &[RequestRecord] {
    outcome.requests.as_deref().unwrap()
}

/// The policy `kv`, term by term in the order of its own sums.
const KV: &str = "scale * max(0, prefill_blocks \
    - credit * (1 / (1 + decay * excess_prefill_blocks / max(1, request_blocks))) * overlap_blocks) \
    + decode_blocks + weight * active_requests";

#[test]
fn kv_written_as_a_formula_places_every_request_alike() {
    let workload = workload(5, 600, 1, 9.0);
    for (scale, credit, decay, weight, temperature) in
        [(1.0, 1.0, 0.0, 0.0, 0.0), (0.25, 1.5, 0.7, 3.0, 0.0), (2.0, 0.5, 0.1, 0.0, 0.4), (0.0, 0.0, 0.0, 1.0, 0.0)]
    {
        let kv = RouterConfig {
            overlap_credit: credit,
            overlap_decay: decay,
            prefill_load_scale: scale,
            decode_request_weight: weight,
            temperature,
            ..with(RouterPolicy::Kv)
        };
        let values = [("scale", scale), ("credit", credit), ("decay", decay), ("weight", weight)];
        let formula = RouterConfig { temperature, ..with(expression(KV, &values)) };
        // As text, since what does not apply is no number.
        assert_eq!(format!("{:?}", run(kv, &workload)), format!("{:?}", run(formula, &workload)), "{values:?}");
    }
}

#[test]
fn coefficients_matter() {
    let workload = workload(5, 300, 1, 9.0);
    let reuse = |credit: f64| {
        let formula = expression("prefill_blocks - credit * overlap_blocks + decode_blocks", &[("credit", credit)]);
        run(with(formula), &workload).metrics.get(Metric::PrefixReuseRatio)
    };
    assert!(reuse(8.0) > reuse(0.0) + 0.02, "{} and {}", reuse(8.0), reuse(0.0));
}

/// A policy whose every decision is checked.
struct Checked(Box<dyn Policy>);

impl Checked {
    fn check(&self, placement: Placement, view: &View) -> Placement {
        if let Placement::Worker(worker) = placement {
            assert!(view.candidates().contains(&worker), "worker {worker} takes no requests");
        }
        placement
    }
}

impl Policy for Checked {
    fn place(&mut self, request: u32, view: &View) -> Placement {
        let placement = self.0.place(request, view);
        self.check(placement, view)
    }
    fn watches_requests(&self) -> bool {
        self.0.watches_requests()
    }
    fn reads_caches(&self) -> bool {
        self.0.reads_caches()
    }
    fn hears_late(&self) -> bool {
        self.0.hears_late()
    }
    fn first_token(&mut self, request: u32, worker: usize, view: &View) {
        self.0.first_token(request, worker, view);
    }
    fn ended(&mut self, request: u32, worker: usize, view: &View) {
        self.0.ended(request, worker, view);
    }
    fn withdrawn(&mut self, request: u32, worker: usize, view: &View) {
        self.0.withdrawn(request, worker, view);
    }
    fn worker_ready(&mut self, worker: usize, view: &View) {
        self.0.worker_ready(worker, view);
    }
    fn worker_draining(&mut self, worker: usize, view: &View) {
        self.0.worker_draining(worker, view);
    }
    fn worker_removed(&mut self, worker: usize, view: &View) {
        self.0.worker_removed(worker, view);
    }
    fn queued(&self) -> usize {
        self.0.queued()
    }
    fn release(&mut self, view: &View) -> Option<(u32, Placement)> {
        let (request, placement) = self.0.release(view)?;
        Some((request, self.check(placement, view)))
    }
    fn wake_ms(&self) -> f64 {
        self.0.wake_ms()
    }
    fn summary(&self) -> Summary {
        self.0.summary()
    }
}

/// Scales up and down and kills workers at random, so that their ids and columns are used again.
struct Unrest {
    next_ms: f64,
    rng: ChaCha8Rng,
}

impl Controller for Unrest {
    fn next_ms(&self) -> f64 {
        self.next_ms
    }

    fn act(&mut self, now_ms: f64, cluster: &mut Cluster) {
        self.next_ms = now_ms + self.rng.random_range(200.0..3000.0);
        if self.rng.random_bool(0.3) {
            let active = cluster.fleet.active(Role::Aggregated).to_vec();
            if active.len() > 1 {
                cluster.kill(active[self.rng.random_range(0..active.len())], None, now_ms);
            }
        }
        cluster.scale_to(Role::Aggregated, self.rng.random_range(1..6), 500.0, now_ms);
    }
}

/// On a restless cluster, every policy with every kind of gate places on active workers only, and
/// every request ends; the same seed repeats it all.
#[test]
fn policies_place_on_active_workers_and_queues_lose_nothing() {
    let (mut refused, mut queued) = (0.0, 0);
    for seed in 0..48 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let workload = workload(seed, 60, rng.random_range(1..4), 20.0);
        let policies = policies();
        let config = RouterConfig {
            temperature: [0.0, 0.3][rng.random_range(0..2)],
            prefill_load_model: rng.random_bool(0.5),
            kv_event_lag_ms: [0.0, 300.0][rng.random_range(0..2)],
            queue_threshold: [None, Some(0.0), Some(0.5)][rng.random_range(0..3)],
            queue_order: [QueueOrder::Fcfs, QueueOrder::Lcfs, QueueOrder::Wspt][rng.random_range(0..3)],
            admission: [RouterAdmission::Off, RouterAdmission::Queue, RouterAdmission::Reject][rng.random_range(0..3)],
            admission_ttft_ms: [1.0, 100.0, 2000.0][rng.random_range(0..3)],
            session_affinity_ttl_s: [None, Some(3.0)][rng.random_range(0..2)],
            ..with(policies[seed as usize % policies.len()].clone())
        };
        let deployment = deployment(3, config.clone());
        let simulate = || {
            let router: Box<dyn Policy> = Box::new(Checked(policy(&config, Role::Aggregated, seed)));
            let unrest = Unrest { next_ms: 100.0, rng: ChaCha8Rng::seed_from_u64(seed) };
            cluster::simulate(&deployment, &workload, vec![router], vec![Box::new(unrest)], true)
        };
        let outcome = simulate();
        for record in records(&outcome) {
            assert_ne!(record.status, Status::Unfinished, "seed {seed}: {record:?}");
            let fits = record.input_tokens + 1000 < 600 * 64;
            let is_refused = record.status == Status::Rejected && fits;
            assert!(!is_refused || config.admission == RouterAdmission::Reject, "seed {seed}: {record:?}");
            queued += u32::from(record.queue_ms > 500.0);
        }
        refused += outcome.metrics.get(Metric::RejectedByRouter);
        assert_eq!(format!("{outcome:?}"), format!("{:?}", simulate()), "seed {seed}");
    }
    assert!(refused > 50.0 && queued > 50, "{refused} refused, {queued} queued");
}

/// What cannot matter changes nothing: bounds that are never reached, affinity of sessions with one
/// request, names of coefficients.
#[test]
fn what_is_irrelevant_changes_nothing() {
    let workload = workload(8, 300, 1, 6.0);
    for chosen in policies() {
        let plain = run(with(chosen.clone()), &workload);
        for admission in [RouterAdmission::Queue, RouterAdmission::Reject] {
            let idle = RouterConfig {
                queue_threshold: Some(1e6),
                queue_order: QueueOrder::Lcfs,
                admission,
                admission_ttft_ms: 1e9,
                session_affinity_ttl_s: Some(1e6),
                ..with(chosen.clone())
            };
            let idle = run(idle, &workload);
            // A router that knows more may count what it missed.
            for (a, b) in records(&plain).iter().zip(records(&idle)) {
                assert_eq!((a.worker, a.status, a.reused_tokens), (b.worker, b.status, b.reused_tokens), "{chosen:?}");
                assert!((a.ttft_ms - b.ttft_ms).abs() < 1e-6 || a.ttft_ms.is_nan(), "{chosen:?}: {a:?} and {b:?}");
            }
        }
    }
    let named = |a: &str, b: &str| {
        let text = format!("{a} * decode_blocks + {b} * active_requests - overlap_blocks");
        run(with(expression(&text, &[(a, 0.5), (b, 4.0)])), &workload)
    };
    assert_eq!(format!("{:?}", named("a", "b")), format!("{:?}", named("b", "a")));
}

#[test]
fn late_kv_events_cost_reuse() {
    let workload = workload(2, 500, 1, 9.0);
    let reuse = |lag_ms: f64| {
        let config = RouterConfig { kv_event_lag_ms: lag_ms, ..with(RouterPolicy::Kv) };
        run(config, &workload).metrics.get(Metric::PrefixReuseRatio)
    };
    assert!(reuse(0.0) > reuse(60_000.0) + 0.03, "{} and {}", reuse(0.0), reuse(60_000.0));
    // A lag beyond the end of time is a router that never hears.
    let deaf = RouterConfig { kv_event_lag_ms: 1e9, ..with(RouterPolicy::Kv) };
    assert_eq!(run(deaf, &workload).metrics.get(Metric::OverlapRegret), 0.0, "nothing known, nothing missed");
    let load = run(with(RouterPolicy::Kv), &workload).metrics.get(Metric::OverlapRegret);
    assert!(load > 0.0 && load < 0.5, "{load}");
    assert!(run(with(RouterPolicy::RoundRobin), &workload).metrics.get(Metric::OverlapRegret).is_nan());
}

#[test]
fn the_queue_holds_requests_back_and_its_order_matters() {
    let workload = workload(4, 500, 1, 14.0);
    let config =
        |order| RouterConfig { queue_threshold: Some(0.5), queue_order: order, ..with(RouterPolicy::LeastLoaded) };
    let [fcfs, lcfs, wspt] =
        [QueueOrder::Fcfs, QueueOrder::Lcfs, QueueOrder::Wspt].map(|order| run(config(order), &workload).metrics);
    // The shortest first: the mean falls, while the longest wait.
    assert!(wspt.get(Metric::TtftMean) < 0.8 * fcfs.get(Metric::TtftMean));
    assert!(lcfs.get(Metric::TtftP50) < fcfs.get(Metric::TtftP50));
    assert!(lcfs.get(Metric::QueueP90) > 0.0 && fcfs.get(Metric::Completed) == 500.0);
    let free = run(with(RouterPolicy::LeastLoaded), &workload).metrics;
    assert_ne!(free.get(Metric::TtftMean), fcfs.get(Metric::TtftMean));
}

#[test]
fn admission_keeps_the_first_token_within_its_bound_or_refuses() {
    let workload = workload(6, 500, 1, 300.0);
    let config = |admission, admission_ttft_ms| RouterConfig { admission, admission_ttft_ms, ..with(RouterPolicy::Kv) };
    // Room for every prompt, so that prefill is what is short.
    let run = |router, workload: &Workload| {
        let mut deployment = deployment(4, router);
        let Topology::Aggregated(pool) = &mut deployment.topology else { unreachable!() };
        pool.engine.gpu_blocks = 16_384;
        simulate(&deployment, workload, 3, true)
    };
    let off = run(config(RouterAdmission::Off, f64::INFINITY), &workload).metrics;
    let reject = run(config(RouterAdmission::Reject, 1500.0), &workload).metrics;
    let queue = run(config(RouterAdmission::Queue, 1500.0), &workload).metrics;
    assert!(off.get(Metric::TtftP90) > 3000.0, "not overloaded: {}", off.get(Metric::TtftP90));
    let refused = reject.get(Metric::RejectedByRouter);
    assert!(refused > 20.0, "{refused} refused");
    assert!(refused <= reject.get(Metric::Rejected));
    assert_eq!(reject.get(Metric::Rejected) + reject.get(Metric::Completed), 500.0);
    assert!(reject.get(Metric::TtftP90) < 0.6 * off.get(Metric::TtftP90), "{}", reject.get(Metric::TtftP90));
    assert_eq!((queue.get(Metric::Completed), queue.get(Metric::RejectedByRouter)), (500.0, 0.0));
    assert_ne!(queue.get(Metric::TtftMean), off.get(Metric::TtftMean));
}

#[test]
fn affinity_keeps_sessions_on_their_worker_while_it_lasts() {
    let workload = workload(7, 60, 4, 2.0);
    let moves = |ttl: Option<f64>| {
        let config = RouterConfig { session_affinity_ttl_s: ttl, ..with(RouterPolicy::Random) };
        let outcome = run(config, &workload);
        let session = |s: u32| records(&outcome).iter().filter(move |r| r.session == s).map(|r| r.worker);
        (0..60).filter(|&s| session(s).any(|w| Some(w) != session(s).next())).count()
    };
    assert_eq!(moves(Some(1e4)), 0);
    assert!(moves(None) > 40);
    assert!(moves(Some(1.0)) > 10, "think times last longer");
}

#[test]
fn the_model_of_prefill_times_changes_placements() {
    let workload = workload(9, 500, 1, 9.0);
    let workers = |prefill_load_model| {
        let outcome = run(RouterConfig { prefill_load_model, ..with(RouterPolicy::Kv) }, &workload);
        records(&outcome).iter().map(|r| r.worker).collect::<Vec<_>>()
    };
    assert_ne!(workers(true), workers(false));
}

#[test]
fn policies_differ() {
    let workload = workload(9, 400, 1, 9.0);
    let placed: Vec<Vec<u32>> = policies()
        .into_iter()
        .map(|policy| records(&run(with(policy), &workload)).iter().map(|r| r.worker).collect())
        .collect();
    for a in 0..placed.len() {
        for b in 0..a {
            assert_ne!(placed[a], placed[b], "{a} and {b}");
        }
    }
}
