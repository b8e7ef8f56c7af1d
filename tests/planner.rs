//! The planner on whole clusters: what each policy does, that every knob arrives, and what must hold
//! over random clusters with planner and faults.

use proptest::prelude::*;
use servescout::catalog::Backend;
use servescout::space::{self, Deployer, RefusalCode};
use servescout::timing::Timing;
use servescout::twin::deployment::{Deployment, Pool, RouterConfig, RouterPolicy, Topology};
use servescout::twin::faults::{FaultConfig, FaultEvent, FaultKind};
use servescout::twin::metrics::{METRICS, Metric, Metrics};
use servescout::twin::planner::{PlannerConfig, PredictorKind, ScalingPolicy, Thresholds};
use servescout::twin::{self, Outcome, RequestRecord, Status};
use servescout::workload::{Load, Workload, load};

use crate::jumping::{Row, engines, is_close, rows, workload};

/// A study of bursts on workers whose passes take constant times.
const BASE: &str = r#"
[model]
name = "Qwen/Qwen3-32B"
[hardware]
gpu = "h200_sxm"
max_gpus = 8
[workload.synthetic]
sessions = 400
input_tokens = { mean = 3000, std = 2000 }
output_tokens = 60
arrivals = { kind = "gamma", rate_per_s = 3.0, burstiness = 3.0 }
[timing]
kind = "fixed"
prefill_ms = 150
decode_ms = 20
[knobs]
aggregated.tp = 1
aggregated.workers = 1
engine.gpu_blocks = 1000
engine.max_num_seqs = 16
engine.max_num_batched_tokens = 2048
"#;

/// Simulates the base study with overrides.
pub fn run(overrides: &[&str]) -> Outcome {
    let overrides: Vec<String> = overrides.iter().map(|s| (*s).to_owned()).collect();
    let study = space::parse_replay(BASE, None, &overrides).unwrap_or_else(|e| panic!("{e}"));
    let workload: Workload = load(&study.workload).unwrap_or_else(|e| panic!("{e}"));
    let deployer = Deployer::new(&study, &workload);
    let candidate = study.space.canonical(&vec![0; study.space.knobs.len()]);
    let deployment = deployer.deployment(&candidate).unwrap_or_else(|e| panic!("{e}"));
    twin::simulate(&deployment, &workload, study.seed, true)
}

fn refusal(overrides: &[&str]) -> (RefusalCode, String) {
    let overrides: Vec<String> = overrides.iter().map(|s| (*s).to_owned()).collect();
    let study = space::parse_replay(BASE, None, &overrides).unwrap_or_else(|e| panic!("{e}"));
    let workload = load(&study.workload).unwrap();
    let candidate = study.space.canonical(&vec![0; study.space.knobs.len()]);
    let refusal = Deployer::new(&study, &workload).deployment(&candidate).unwrap_err();
    (refusal.code, refusal.reason)
}

/// All metrics, bit for bit.
pub fn bits(metrics: &Metrics) -> Vec<u64> {
    metrics.values.iter().map(|v| v.to_bits()).collect()
}

/// Metrics that differ between two outcomes.
fn differences(a: &Metrics, b: &Metrics) -> Vec<&'static str> {
    let differ = |i: &usize| a.values[*i].to_bits() != b.values[*i].to_bits();
    (0..METRICS.len()).filter(differ).map(|i| METRICS[i].name).collect()
}

#[test]
fn load_is_followed_and_gpu_time_is_paid_for() {
    let fixed = run(&[]).metrics;
    let scaled = run(&["planner.policy=load", "planner.startup_s=0"]).metrics;
    assert_eq!(fixed.get(Metric::ScaleEvents), 0.0);
    assert!(scaled.get(Metric::ScaleEvents) > 4.0);
    assert!(scaled.get(Metric::TtftP90) < 0.5 * fixed.get(Metric::TtftP90), "{:?}", scaled.get(Metric::TtftP90));
    assert!(scaled.get(Metric::GpusPeak) > 2.0 && scaled.get(Metric::GpusPeak) <= 8.0);
    let mean = scaled.get(Metric::GpusMean);
    assert!(mean > 1.0 && mean < scaled.get(Metric::GpusPeak));
    let hours = mean * scaled.get(Metric::DurationS) / 3600.0;
    assert!((scaled.get(Metric::GpuHours) - hours).abs() < 1e-9);
    assert!(scaled.get(Metric::CostUsd) / fixed.get(Metric::CostUsd) > 1.0);
    // The peak never passes what there is, though leaving workers keep their GPUs for a while.
    let tight = run(&["planner.policy=load", "planner.startup_s=0", "hardware.max_gpus=3"]).metrics;
    assert_eq!(tight.get(Metric::GpusPeak), 3.0);
    let slow = run(&["planner.policy=load", "planner.startup_s=40"]).metrics;
    assert!(slow.get(Metric::TtftP90) > scaled.get(Metric::TtftP90), "workers that start late help late");
}

#[test]
fn a_cluster_that_may_shrink_to_nothing_serves_everything() {
    let few = ["workload.synthetic.arrivals={kind=\"poisson\",rate_per_s=0.004}", "workload.synthetic.sessions=30"];
    let with = |knobs: &[&str]| run(&[&few, knobs].concat()).metrics;
    for policy in ["load", "sla"] {
        let policy = format!("planner.policy={policy}");
        let zero = with(&[&policy, "planner.min_workers=0", "planner.startup_s=3"]);
        let one = with(&[&policy, "planner.startup_s=3"]);
        assert_eq!((zero.get(Metric::Completed), one.get(Metric::Completed)), (30.0, 30.0));
        assert!(zero.get(Metric::GpusMean) < 0.7 && one.get(Metric::GpusMean) >= 1.0, "{policy}");
        assert!(zero.get(Metric::TtftP90) >= 3000.0, "{policy}: a cold start takes as long as it takes");
    }
}

#[test]
fn a_steady_load_does_not_make_the_planner_flap() {
    // Constant gaps and lengths on enough workers for them: two workers, or one, but not both in turn.
    let steady = [
        "workload.synthetic.arrivals={kind=\"constant\",rate_per_s=2.0}",
        "workload.synthetic.input_tokens=2000",
        "aggregated.workers=2",
        "planner.startup_s=30",
    ];
    let with = |knobs: &[&str]| run(&[&steady, knobs].concat()).metrics.get(Metric::ScaleEvents);
    let free = with(&["planner.policy=sla", "planner.ttft_ms=1000", "planner.itl_ms=200"]);
    let guarded = with(&[
        "planner.policy=sla",
        "planner.ttft_ms=1000",
        "planner.itl_ms=200",
        "planner.confirm_down=12",
        "planner.cooldown_s=60",
    ]);
    assert!(guarded <= free && guarded <= 3.0, "{guarded} events with guards, {free} without");
}

/// Each knob's loss would be noticed: another value gives another outcome.
#[test]
fn every_knob_arrives() {
    let cases: &[(&[&str], &str)] = &[
        (&[], "planner.policy=load"),
        (&["planner.policy=load"], "planner.policy=sla"),
        (&["planner.policy=sla"], "planner.policy=predictive"),
        (&["planner.policy=predictive"], "planner.policy=hybrid"),
        (&["planner.policy=sla"], "planner.load_interval_s=7"),
        (&["planner.policy=predictive"], "planner.throughput_interval_s=20"),
        (&["planner.policy=load"], "planner.thresholds=latency"),
        (
            &["planner.policy=load", "planner.thresholds=custom", "planner.startup_s=0", "planner.prefill_down=0.02"],
            "planner.prefill_up=0.05",
        ),
        (&["planner.policy=load", "planner.thresholds=custom", "planner.startup_s=0"], "planner.prefill_down=0.01"),
        (&["planner.policy=load", "planner.thresholds=custom", "planner.decode_down=0.1"], "planner.decode_up=0.3"),
        (&["planner.policy=load", "planner.thresholds=custom"], "planner.decode_down=0.05"),
        (&["planner.policy=sla", "planner.startup_s=0", "planner.itl_ms=200"], "planner.ttft_ms=900"),
        (&["planner.policy=sla"], "sla.ttft_ms=900"),
        (&["planner.policy=sla", "planner.ttft_ms=4000"], "planner.itl_ms=400"),
        (
            &["planner.policy=sla", "planner.startup_s=0", "planner.ttft_ms=2000", "planner.itl_ms=200"],
            "planner.sensitivity=0.2",
        ),
        (&["planner.policy=predictive", "planner.throughput_interval_s=15"], "planner.predictor=holt"),
        (&["planner.policy=predictive", "planner.throughput_interval_s=15"], "planner.predictor=kalman"),
        (
            &["planner.policy=predictive", "planner.throughput_interval_s=15", "planner.predictor=seasonal"],
            "planner.season_s=45",
        ),
        (&["planner.policy=predictive", "planner.throughput_interval_s=15"], "planner.headroom=0.8"),
        (
            &["planner.policy=sla", "aggregated.workers=4", "planner.ttft_ms=3000", "planner.itl_ms=200"],
            "planner.min_workers=3",
        ),
        (&["planner.policy=sla"], "planner.max_workers=2"),
        (&["planner.policy=sla"], "planner.startup_s=5"),
        (&["planner.policy=load", "planner.startup_s=0"], "planner.cooldown_s=50"),
        (&["planner.policy=sla", "planner.startup_s=0"], "planner.confirm_up=4"),
        (&["planner.policy=load", "planner.startup_s=0"], "planner.confirm_down=6"),
        (&["planner.policy=sla"], "planner.wait_for_starting=false"),
    ];
    for (base, knob) in cases {
        let before = run(base).metrics;
        let after = run(&[*base, &[*knob]].concat()).metrics;
        assert!(!differences(&before, &after).is_empty(), "{knob} changed nothing beside {base:?}");
    }
}

#[test]
fn contradictions_are_refused_with_their_figures() {
    let of = |knobs: &[&str]| refusal(&[&["planner.policy=hybrid"], knobs].concat());
    for (knobs, code, words) in [
        (&["planner.min_workers=3", "planner.max_workers=2"][..], RefusalCode::Limits, "min_workers = 3 is above"),
        (&["planner.min_workers=2"], RefusalCode::Limits, "aggregated.workers = 1 is below planner.min_workers = 2"),
        (
            &["aggregated.workers=4", "planner.max_workers=2"],
            RefusalCode::Limits,
            "aggregated.workers = 4 is above planner.max_workers = 2",
        ),
        (&["planner.load_interval_s=200"], RefusalCode::Limits, "load_interval_s = 200 is not below"),
    ] {
        let (found, reason) = of(knobs);
        assert_eq!(found, code, "{reason}");
        assert!(reason.contains(words), "{reason}");
    }
    let thresholds = ["planner.policy=load", "planner.thresholds=custom", "planner.decode_down=2"];
    assert!(refusal(&thresholds).1.contains("decode_down = 2 is above planner.decode_up = 1"));
}

fn planners() -> impl Strategy<Value = PlannerConfig> {
    let policy = prop::sample::select(vec![
        ScalingPolicy::Load,
        ScalingPolicy::Sla,
        ScalingPolicy::Predictive,
        ScalingPolicy::Hybrid,
    ]);
    let predictor = prop::sample::select(vec![
        PredictorKind::Constant,
        PredictorKind::Holt,
        PredictorKind::Kalman,
        PredictorKind::Seasonal { windows: 3 },
    ]);
    let times =
        (150.0..3000.0, 300.0..9000.0, prop_oneof![Just(0.0), 1.0..4000.0], prop_oneof![Just(0.0), 1.0..5000.0]);
    let bounds = (0u32..3, 2u32..6, 4u32..9);
    let guards = (1u32..3, 1u32..4, any::<bool>(), any::<bool>());
    (policy, predictor, times, bounds, guards, 20.0..3000.0).prop_map(
        |(policy, predictor, (load, throughput, startup, cooldown), (min, max, gpus), guards, ttft_ms)| PlannerConfig {
            policy,
            load_interval_ms: load,
            throughput_interval_ms: throughput,
            thresholds: if guards.3 { Thresholds::LATENCY } else { Thresholds::THROUGHPUT },
            ttft_ms,
            itl_ms: 30.0,
            predictor,
            min_workers: min,
            max_workers: max,
            max_gpus: gpus,
            context_tokens: 2000,
            startup_ms: startup,
            cooldown_ms: cooldown,
            confirm_up: guards.0,
            confirm_down: guards.1,
            wait_for_starting: guards.2,
            ..Default::default()
        },
    )
}

fn faults() -> impl Strategy<Value = FaultConfig> {
    let maybe = |range| prop::option::of(range);
    let event = (1.0..9000.0, 0u32..5, prop::option::of((1.0..5.0, 10.0..4000.0))).prop_map(|(at_ms, worker, slow)| {
        let kind = slow.map_or(FaultKind::Death, |(factor, for_ms)| FaultKind::Slow { factor, for_ms });
        FaultEvent { at_ms, worker, kind }
    });
    (
        maybe(2000.0..40_000.0),
        maybe(0.0..4000.0),
        0u32..4,
        any::<bool>(),
        maybe(500.0..20_000.0),
        prop::collection::vec(event, 0..4),
    )
        .prop_map(|(mtbf_ms, restart_ms, retries, keep_tokens, slow_every_ms, events)| FaultConfig {
            mtbf_ms,
            restart_ms,
            retries,
            keep_tokens,
            slow_every_ms,
            slow_factor: 2.5,
            slow_ms: 700.0,
            events,
        })
}

/// Rows whose arrivals never coincide: workers then do not run in step, so that what happens at one
/// instant does not hang on rounding.
fn apart(rows: Vec<Row>) -> Vec<Row> {
    rows.into_iter()
        .enumerate()
        .map(|(i, (gap, ids, missing, out))| (gap + 0.1 + i as f64 * 1e-3, ids, missing, out))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 250,
        rng_seed: proptest::test_runner::RngSeed::Fixed(11),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Conservation, liveness, determinism; and jumping changes nothing. In debug builds the cluster
    /// itself checks blocks, and GPU time against the integral of its workers' lives.
    #[test]
    fn planner_and_faults_lose_nothing(
        rows in rows(),
        engine in engines(),
        planner in prop::option::of(planners()),
        faults in faults(),
        workers in 1u32..4,
        policy in prop::sample::select(vec![
            RouterPolicy::RoundRobin, RouterPolicy::LeastLoaded, RouterPolicy::PowerOfTwo, RouterPolicy::Kv,
        ]),
        seed in 0u64..1000,
    ) {
        let workload = workload(&apart(rows), 1, Load::Open, false);
        let max_gpus = planner.as_ref().map_or(workers, |p| p.max_gpus.max(workers));
        let simulate = |pass_by_pass: bool| {
            let topology = Topology::Aggregated(Pool {
                workers,
                gpus_per_worker: 1,
                engine: engine.clone(),
                timing: Timing::Polynomial { floor_means: false },
            });
            let deployment = Deployment {
                router: RouterConfig { policy: policy.clone(), ..Default::default() },
                planner: planner.clone(),
                faults: faults.clone(),
                pass_by_pass,
                ..Deployment::new(topology)
            };
            twin::simulate(&deployment, &workload, seed, true)
        };
        let jumped = simulate(false);
        let again = simulate(false);
        prop_assert_eq!(bits(&jumped.metrics), bits(&again.metrics));
        let records = |o: Outcome| o.requests.unwrap();
        let counted: f64 =
            [Metric::Completed, Metric::Rejected, Metric::Failed].iter().map(|&m| jumped.metrics.get(m)).sum();
        prop_assert_eq!(counted, workload.requests.len() as f64);
        prop_assert!(jumped.metrics.get(Metric::GpusPeak) <= f64::from(max_gpus));
        // Where SGLang-like engines retract, being stopped in a run of passes shifts their order of
        // eviction now and then: a known difference, kept out of here.
        if engine.backend == Backend::Sglang {
            return Ok(());
        }
        let stepped = simulate(true);
        let (passes, scale_events) = (jumped.passes, jumped.metrics.get(Metric::ScaleEvents));
        prop_assert_eq!(passes, stepped.passes);
        prop_assert_eq!(scale_events, stepped.metrics.get(Metric::ScaleEvents));
        let hours = [&jumped, &stepped].map(|o| o.metrics.get(Metric::GpuHours));
        prop_assert!((hours[0] - hours[1]).abs() <= 1e-9 * hours[0].max(1.0), "{:?}", hours);
        for (a, b) in records(jumped).iter().zip(&records(stepped)) {
            prop_assert!(a.status != Status::Unfinished, "{:?}", a);
            prop_assert!(a.retries <= faults.retries);
            prop_assert!(a.status != Status::Completed || a.output_tokens > 0 || a.e2e_ms.is_nan());
            let counts = |r: &RequestRecord| (r.status, r.output_tokens, r.reused_tokens, r.preemptions, r.worker, r.retries);
            prop_assert_eq!(counts(a), counts(b), "row {}", a.row);
            for (a_ms, b_ms) in [(a.ttft_ms, b.ttft_ms), (a.e2e_ms, b.e2e_ms), (a.queue_ms, b.queue_ms)] {
                prop_assert!(is_close(a_ms, b_ms, a.arrival_ms + a_ms), "{:?}\n{:?}", a, b);
            }
        }
    }
}
