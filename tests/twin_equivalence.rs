//! Jumping over runs of decode passes gives what doing every pass by itself gives: all counts
//! exactly, all times to 1e-9 relative, over random deployments, workloads and seeds.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use servescout::catalog::{self, Backend, Dtype};
use servescout::timing::{Timing, TimingSpec, WorkerShape};
use servescout::twin::deployment::*;
use servescout::twin::metrics::{METRICS, Metric};
use servescout::twin::router::formula::Formula;
use servescout::twin::{Outcome, simulate};
use servescout::workload::spec::{Arrivals, Lengths, SyntheticSpec};
use servescout::workload::{Load, Workload, generate};

fn pick<T: Clone>(rng: &mut ChaCha8Rng, from: &[T]) -> T {
    from[rng.random_range(0..from.len())].clone()
}

pub fn workload(rng: &mut ChaCha8Rng) -> Workload {
    let mean = f64::from(pick(rng, &[40, 400, 3000]));
    let output = f64::from(pick(rng, &[3, 60, 700]));
    let lengths = |mean: f64, kind: u32| match kind {
        0 => Lengths::Fixed(mean as u32),
        1 => Lengths::Normal { mean, std: mean / 3.0 },
        _ => Lengths::LogNormal { mean, std: mean },
    };
    let rate_per_s = pick(rng, &[0.5, 3.0, 30.0]);
    let prefix_groups = pick(rng, &[0, 4]);
    let block_tokens = pick(rng, &[16, 64, 512]);
    let spec = SyntheticSpec {
        seed: rng.random(),
        sessions: rng.random_range(1..120),
        turns: pick(rng, &[1, 1, 3]),
        arrivals: pick(
            rng,
            &[Arrivals::Burst, Arrivals::Poisson { rate_per_s }, Arrivals::Gamma { rate_per_s, burstiness: 3.0 }],
        ),
        input_tokens: lengths(mean, rng.random_range(0..3)),
        output_tokens: lengths(output, rng.random_range(0..3)),
        think_ms: pick(rng, &[0.0, 400.0]),
        common_prefix_tokens: pick(rng, &[0, block_tokens]),
        prefix_groups,
        group_prefix_tokens: if prefix_groups > 0 { 2 * block_tokens } else { 0 },
        block_tokens,
    };
    let mut workload = generate(&spec).expect("a valid spec");
    if rng.random_bool(0.3) {
        workload.load = Load::Closed { concurrency: rng.random_range(1..20) };
    }
    workload
}

fn timing(rng: &mut ChaCha8Rng, backend: Backend) -> Timing {
    let shape = WorkerShape {
        model: catalog::model("Qwen/Qwen3-32B").expect("in the catalogue").clone(),
        gpu: catalog::gpu("h200_sxm").expect("in the catalogue").clone(),
        backend,
        dtype: Dtype::Bf16,
        kv_dtype: Dtype::Bf16,
        tp: 2,
    };
    let spec = match rng.random_range(0..4) {
        0 => TimingSpec::Polynomial { floor_means: true },
        // Exact in binary, so that workers in step stay in step whichever way sums are made.
        1 => TimingSpec::Fixed { prefill_ms: 31.75, decode_ms: 7.25 },
        2 => TimingSpec::Roofline,
        _ => TimingSpec::default(),
    };
    spec.build(&shape).expect("a timing")
}

fn router(rng: &mut ChaCha8Rng) -> RouterConfig {
    let formula = Formula::parse("active_requests + predicted_prefill_ms / 10 - overlap_blocks").unwrap();
    RouterConfig {
        policy: pick(
            rng,
            &[
                RouterPolicy::RoundRobin,
                RouterPolicy::Random,
                RouterPolicy::LeastLoaded,
                RouterPolicy::PowerOfTwo,
                RouterPolicy::Kv,
                RouterPolicy::Kv,
                RouterPolicy::Lmetric,
                RouterPolicy::TwoTier,
                RouterPolicy::Expression(formula.bind(|_| None).unwrap()),
            ],
        ),
        temperature: pick(rng, &[0.0, 0.5]),
        prefill_load_model: rng.random_bool(0.3),
        kv_event_lag_ms: pick(rng, &[0.0, 0.0, 37.0, 1500.0]),
        queue_threshold: pick(rng, &[None, None, Some(0.1), Some(1.5)]),
        queue_order: pick(rng, &[QueueOrder::Fcfs, QueueOrder::Lcfs, QueueOrder::Wspt]),
        admission: pick(
            rng,
            &[RouterAdmission::Off, RouterAdmission::Off, RouterAdmission::Queue, RouterAdmission::Reject],
        ),
        admission_ttft_ms: pick(rng, &[50.0, 400.0]),
        session_affinity_ttl_s: pick(rng, &[None, Some(5.0)]),
        ..Default::default()
    }
}

pub fn deployment(rng: &mut ChaCha8Rng, workload: &Workload) -> Deployment {
    let backend = pick(rng, &[Backend::Vllm, Backend::Vllm, Backend::Sglang, Backend::Trtllm]);
    let block_size: u32 = pick(rng, &[1, 16, 24, 64, 512]);
    let block_size = if backend == Backend::Vllm { block_size.max(2) } else { block_size };
    let longest = workload.requests.iter().map(|r| r.input_tokens + r.output_tokens).max().unwrap_or(1);
    // From a pool that some requests cannot fit into, to one without pressure.
    let room = pick(rng, &[0.7, 1.3, 3.0, 50.0]);
    let max_num_seqs = pick(rng, &[1, 4, 32, 256]);
    let engine = EngineConfig {
        backend,
        block_size,
        gpu_blocks: ((f64::from(longest) * room / f64::from(block_size)) as u32).max(2),
        max_num_seqs,
        max_num_batched_tokens: pick(rng, &[512u32, 2048, 8192]).max(max_num_seqs),
        prefix_caching: rng.random_bool(0.8),
        chunked_prefill: rng.random_bool(0.8),
        preemption: pick(rng, &[Preemption::Lifo, Preemption::Fifo]),
        max_model_len: rng.random_bool(0.2).then_some(2000),
        waiting_order: pick(rng, &[WaitingOrder::Fifo, WaitingOrder::LongestPrefix]),
        attention_dp: pick(rng, &[1, 1, 3]),
        ..Default::default()
    };
    let timing = timing(rng, backend);
    // Without random think times, workers fed by each other's completions tie at every pass but for
    // the last bit of their sums: which comes first is then a matter of rounding.
    let ties = workload.load != Load::Open || workload.requests.iter().any(|r| r.turn > 0 && r.delay_ms == 0.0);
    let topology = Topology::Aggregated(Pool {
        workers: if ties { 1 } else { pick(rng, &[1, 2, 5]) },
        gpus_per_worker: 2,
        engine,
        timing,
    });
    Deployment {
        router: router(rng),
        sla: Sla { ttft_ms: Some(1000.0), ..Default::default() },
        usd_per_gpu_hour: 2.0,
        ..Deployment::new(topology)
    }
}

/// Equal to `relative` of their size, or of `scale` where that is larger.
fn close(a: f64, b: f64, relative: f64, scale: f64) -> bool {
    (a.is_nan() && b.is_nan()) || (a - b).abs() <= relative * a.abs().max(b.abs()).max(scale)
}

pub fn assert_equal(seed: u64, deployment: &Deployment, jumped: &Outcome, plain: &Outcome) {
    let context = || format!("seed {seed}: {deployment:?}");
    let (a, b) = (jumped.requests.as_ref().unwrap(), plain.requests.as_ref().unwrap());
    for (x, y) in a.iter().zip(b) {
        let counts =
            |r: &servescout::twin::RequestRecord| (r.status, r.worker, r.output_tokens, r.reused_tokens, r.preemptions);
        assert_eq!(counts(x), counts(y), "row {}, {}", x.row, context());
        // Durations are differences of instants, and as exact as those.
        let clock_ms = y.arrival_ms + y.e2e_ms.max(0.0);
        for (x, y) in [
            (x.arrival_ms, y.arrival_ms),
            (x.ttft_ms, y.ttft_ms),
            (x.e2e_ms, y.e2e_ms),
            (x.tpot_ms, y.tpot_ms),
            (x.queue_ms, y.queue_ms),
        ] {
            assert!(close(x, y, 1e-9, clock_ms), "{x} and {y}, {}", context());
        }
    }
    assert_eq!(jumped.passes, plain.passes, "passes, {}", context());
    let blocks = deployment.topology.pools().iter().map(|(_, pool)| pool.engine.gpu_blocks).min().unwrap();
    for (info, (&x, &y)) in METRICS.iter().zip(jumped.metrics.values.iter().zip(&plain.metrics.values)) {
        // Blocks held are taken to grow linearly over a jump; quantiles of gaps are those of a bucket's middle.
        let tolerance = match info.name {
            "kv_util_mean" => 0.01 + 2.0 / f64::from(blocks),
            name if name.starts_with("itl_p") => 4e-3,
            _ => 1e-9,
        };
        assert!(close(x, y, tolerance, 1.0), "{}: {x} and {y}, {}", info.name, context());
    }
}

#[test]
fn jumping_equals_doing_every_pass() {
    let (mut jumps, mut preempted, mut rejected) = (0, 0.0, 0.0);
    for seed in 0..400 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let workload = workload(&mut rng);
        let mut deployment = deployment(&mut rng, &workload);
        let jumped = simulate(&deployment, &workload, seed, true);
        deployment.pass_by_pass = true;
        let plain = simulate(&deployment, &workload, seed, true);
        assert_equal(seed, &deployment, &jumped, &plain);
        jumps += u32::from(jumped.steps * 2 < plain.steps);
        preempted += jumped.metrics.get(Metric::Preemptions);
        rejected += jumped.metrics.get(Metric::Rejected);
    }
    // The cases are worth something only if they jump, run out of memory and meet misfits.
    assert!(jumps > 100 && preempted > 100.0 && rejected > 100.0, "{jumps} {preempted} {rejected}");
}

#[test]
fn the_same_seed_gives_the_same_outcome() {
    for seed in 0..40 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let workload = workload(&mut rng);
        let deployment = deployment(&mut rng, &workload);
        let (a, b) = (simulate(&deployment, &workload, seed, true), simulate(&deployment, &workload, seed, true));
        assert_eq!(format!("{a:?}"), format!("{b:?}"));
    }
}
