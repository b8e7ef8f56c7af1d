//! The twin held against queueing theory, and against itself: what must be so whatever the figures.

use std::sync::Arc;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use servescout::timing::Timing;
use servescout::twin::deployment::{
    Charge, Deployment, EngineConfig, LocalPrefill, Pool, RouterConfig, RouterPolicy, Topology, TransferConfig,
};
use servescout::twin::metrics::Metric;
use servescout::twin::{Outcome, RequestRecord, Status, simulate, simulate_traced};
use servescout::workload::spec::{Arrivals, Lengths, SyntheticSpec};
use servescout::workload::{Load, Workload, generate};

use crate::{cluster_properties, twin_equivalence};

/// Prompt tokens of the requests made here: within one block.
const PROMPT: u32 = 8;

/// Poisson arrivals of short prompts without anything in common.
fn poisson(seed: u64, requests: u32, rate_per_s: f64, output_tokens: u32) -> Workload {
    generate(&SyntheticSpec {
        seed,
        sessions: requests,
        turns: 1,
        arrivals: Arrivals::Poisson { rate_per_s },
        input_tokens: Lengths::Fixed(PROMPT),
        output_tokens: Lengths::Fixed(output_tokens),
        think_ms: 0.0,
        common_prefix_tokens: 0,
        prefix_groups: 0,
        group_prefix_tokens: 0,
        block_tokens: 16,
    })
    .expect("a valid spec")
}

/// Servers that take one request at a time, each for `prefill_ms` and `decode_ms` for every token but
/// the first.
fn servers(workers: u32, prefill_ms: f64, decode_ms: f64) -> Pool {
    Pool {
        workers,
        gpus_per_worker: 1,
        engine: EngineConfig { max_num_seqs: 1, prefix_caching: false, block_size: 16, ..Default::default() },
        timing: Timing::Fixed { prefill_ms, decode_ms },
    }
}

fn served_by(topology: Topology, policy: RouterPolicy) -> Deployment {
    Deployment { router: RouterConfig { policy, ..Default::default() }, ..Deployment::new(topology) }
}

fn records(outcome: &Outcome) -> &[RequestRecord] {
    outcome.requests.as_ref().expect("records were asked for")
}

/// Checks each wait against Lindley's recursion, worker by worker: a request starts when it has come and
/// the one before it on its worker has left.
fn assert_lindley(outcome: &Outcome, service_ms: impl Fn(&RequestRecord) -> f64) {
    let mut free_ms = [0.0f64; 16];
    for r in records(outcome) {
        let free = &mut free_ms[r.worker as usize];
        let starts_ms = free.max(r.arrival_ms);
        *free = starts_ms + service_ms(r);
        let (wait_ms, e2e_ms) = (starts_ms - r.arrival_ms, *free - r.arrival_ms);
        let near = |a: f64, b: f64| (a - b).abs() <= 1e-9 * *free;
        assert!(near(r.queue_ms, wait_ms) && near(r.e2e_ms, e2e_ms), "waits {wait_ms}, ends after {e2e_ms}: {r:?}");
    }
}

/// The relative deviation of a mean wait from theory, and what noise accounts for. Waits of one queue
/// remember each other for about `2 / (1 - rho)^2` services, and scatter by about their mean.
fn assert_mean_wait(outcome: &Outcome, rho: f64, wanted_ms: f64, what: &str) {
    let found_ms = outcome.metrics.get(Metric::QueueMean);
    let requests = outcome.metrics.get(Metric::Completed);
    let independent = requests * (1.0 - rho).powi(2) / 2.0;
    let tolerance = 3.0 * ((1.0 + 1.0 / rho) / independent).sqrt();
    let off = found_ms / wanted_ms - 1.0;
    assert!(off.abs() < tolerance, "{what}, load {rho}: waits {found_ms} ms, theory says {wanted_ms} ms");
    assert!(tolerance < 0.2, "{what}, load {rho}: a tolerance of {tolerance} says nothing");
}

/// One server, equal services: `rho s / (2 (1 - rho))` (Pollaczek and Khinchine).
#[test]
fn a_single_server_with_equal_services_is_m_d_1() {
    let service_ms = 10.0;
    for rho in [0.2, 0.5, 0.7, 0.85] {
        let workload = poisson(11, 60_000, rho * 1000.0 / service_ms, 1);
        let pool = servers(1, service_ms, 1e9);
        let capacity = pool.kv_blocks_per_worker() as f64;
        let outcome = simulate(&served_by(Topology::Aggregated(pool), RouterPolicy::RoundRobin), &workload, 1, true);
        assert_lindley(&outcome, |_| service_ms);
        assert_mean_wait(&outcome, rho, rho * service_ms / (2.0 * (1.0 - rho)), "M/D/1");
        // A request holds one block for as long as it is served.
        let busy = outcome.metrics.get(Metric::KvUtilMean) * capacity;
        let services_s = outcome.metrics.get(Metric::Completed) * service_ms / 1000.0;
        let wanted = services_s / outcome.metrics.get(Metric::DurationS);
        assert!((busy / wanted - 1.0).abs() < 1e-9, "busy for {busy} of the time, not {wanted}");
    }
}

/// One server, geometric services of a thousand decode passes in the mean, which is as good as
/// exponential: the sojourn is `1 / (mu - lambda)`.
#[test]
fn a_single_server_with_exponential_services_is_m_m_1() {
    let (pass_ms, mean_passes) = (0.5, 1000.0);
    let service_ms: f64 = pass_ms * mean_passes;
    for rho in [0.3, 0.6, 0.8] {
        let mut workload = poisson(12, 60_000, rho * 1000.0 / service_ms, 1);
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        for request in &mut workload.requests {
            let u: f64 = rng.random();
            request.output_tokens = 1 + ((1.0 - u).ln() / (1.0f64 - 1.0 / mean_passes).ln()) as u32;
        }
        let deployment = served_by(Topology::Aggregated(servers(1, pass_ms, pass_ms)), RouterPolicy::RoundRobin);
        let outcome = simulate(&deployment, &workload, 1, true);
        assert_lindley(&outcome, |r| f64::from(r.output_tokens) * pass_ms);
        assert_mean_wait(&outcome, rho, rho * service_ms / (1.0 - rho), "M/M/1");
        // So are the waits exponential beyond nought: the 90th percentile is ln(10 rho) sojourns.
        let p90 = outcome.metrics.get(Metric::QueueP90) / ((10.0 * rho).ln() * service_ms / (1.0 - rho));
        assert!((p90 - 1.0).abs() < 0.15, "load {rho}: {p90} of the 90th percentile in theory");
    }
}

/// A Poisson stream that is split at random is Poisson streams; one that is dealt out in turn is not.
#[test]
fn workers_are_queues_of_their_own() {
    let (service_ms, workers, rho) = (10.0, 4, 0.8);
    let workload = poisson(13, 100_000, f64::from(workers) * rho * 1000.0 / service_ms, 1);
    let serve = |policy| {
        let outcome =
            simulate(&served_by(Topology::Aggregated(servers(workers, service_ms, 0.0)), policy), &workload, 1, true);
        assert_lindley(&outcome, |_| service_ms);
        outcome
    };
    let random = serve(RouterPolicy::Random);
    assert_mean_wait(&random, rho, rho * service_ms / (2.0 * (1.0 - rho)), "M/D/1 split at random");
    // Dealt out in turn, equal services are those of one queue before all workers (M/D/c): whoever is next
    // goes to the one that is free next.
    let in_turn = serve(RouterPolicy::RoundRobin);
    let mut free_ms = vec![0.0f64; workers as usize];
    for r in records(&in_turn) {
        let next = free_ms.iter_mut().min_by(|a, b| a.total_cmp(b)).expect("a worker");
        let starts_ms = next.max(r.arrival_ms);
        assert!((r.queue_ms - (starts_ms - r.arrival_ms)).abs() <= 1e-9 * starts_ms, "starts at {starts_ms}: {r:?}");
        *next = starts_ms + service_ms;
    }
    // So nothing beats that, and knowing how many requests each has beats knowing nothing.
    let waits = |outcome: &Outcome| outcome.metrics.get(Metric::QueueMean);
    let informed = waits(&serve(RouterPolicy::LeastLoaded));
    assert!(waits(&in_turn) < informed && informed < waits(&random) / 3.0, "{informed}");
}

/// Two servers in line with equal services: behind the slower one nobody waits, before it as in M/D/1.
#[test]
fn prefill_and_decode_are_servers_in_line() {
    let (prefill_ms, rho) = (10.0, 0.7);
    let workload = poisson(14, 40_000, rho * 1000.0 / prefill_ms, 5);
    for (decode_ms, slower_ms) in [(1.5, 10.0), (2.0, 10.0), (2.4, 12.0)] {
        let deployment = served_by(
            Topology::Disaggregated {
                prefill: servers(1, prefill_ms, 1e9),
                decode: servers(1, 1e9, decode_ms),
                transfer: TransferConfig::default(),
                local_prefill: LocalPrefill::OFF,
            },
            RouterPolicy::RoundRobin,
        );
        let outcome = simulate(&deployment, &workload, 1, true);
        // All five tokens come from the decode worker. Friedman: the order of equal services does not matter to when a request leaves.
        let (mut first_ms, mut second_ms) = (0.0f64, 0.0f64);
        for r in records(&outcome) {
            first_ms = first_ms.max(r.arrival_ms) + prefill_ms;
            second_ms = second_ms.max(first_ms) + 5.0 * decode_ms;
            let off = r.arrival_ms + r.e2e_ms - second_ms;
            assert!(off.abs() <= 1e-9 * second_ms, "ends {off} ms after {second_ms}: {r:?}");
        }
        let rho = slower_ms * rho / prefill_ms;
        let wanted_ms = rho * slower_ms / (2.0 * (1.0 - rho)) + prefill_ms + 5.0 * decode_ms;
        let found_ms = outcome.metrics.get(Metric::E2eMean);
        assert!((found_ms / wanted_ms - 1.0).abs() < 0.1, "sojourn {found_ms} ms, theory says {wanted_ms} ms");
    }
}

/// One request after the other: as many a second as the service is short.
#[test]
fn a_closed_loop_of_one_is_never_idle_and_never_queues() {
    let mut workload = poisson(15, 500, 1.0, 21);
    workload.load = Load::Closed { concurrency: 1 };
    let deployment = served_by(Topology::Aggregated(servers(1, 30.0, 2.0)), RouterPolicy::RoundRobin);
    let outcome = simulate(&deployment, &workload, 1, true);
    let per_s = outcome.metrics.get(Metric::RequestsPerS);
    assert!((per_s * 0.070 - 1.0).abs() < 1e-9, "{per_s} a second of 70 ms each");
    assert_eq!(outcome.metrics.get(Metric::QueueMean), 0.0);
    assert!(records(&outcome).iter().all(|r| (r.ttft_ms - 30.0).abs() < 1e-6));
}

/// What the engines hold at an instant, as the twin counts it, is what the records say is under way; so
/// the time average of the former is arrivals a second times their time in the system.
#[test]
fn littles_law_holds_on_every_run() {
    let (mut samples, mut exact, mut laws, mut most) = (0, 0, 0, 0.0f64);
    for seed in 0..150u64 {
        let mut rng = ChaCha8Rng::seed_from_u64(7_000_000 + seed);
        let (workload, deployment) = if seed % 2 == 0 {
            let workload = cluster_properties::workload(&mut rng);
            (workload, cluster_properties::deployment(&mut rng))
        } else {
            let workload = twin_equivalence::workload(&mut rng);
            let deployment = twin_equivalence::deployment(&mut rng, &workload);
            (workload, deployment)
        };
        let whole = simulate(&deployment, &workload, seed, true);
        let (first_ms, last_ms) = records(&whole)
            .iter()
            .filter(|r| r.status == Status::Completed)
            .fold((f64::INFINITY, 0.0f64), |(a, b), r| (a.min(r.arrival_ms), b.max(r.arrival_ms + r.e2e_ms)));
        if last_ms <= first_ms {
            continue;
        }
        // An interval that no event of the workload is a multiple of.
        let interval_ms = (last_ms - first_ms) / 211.37;
        let (outcome, rows) = simulate_traced(&deployment, &workload, seed, true, interval_ms);
        let all = records(&outcome);
        let mut at = std::collections::BTreeMap::<u64, u32>::new();
        for row in &rows {
            *at.entry(row.to_ms.to_bits()).or_default() += row.queued + row.running;
        }
        let last = at.keys().last().copied();
        let mut counted = 0.0;
        for (&bits, &found) in at.iter().filter(|(bits, _)| Some(**bits) != last) {
            let now_ms = f64::from_bits(bits);
            // Between pools a request is with neither engine, and the records do not tell when; nor do they
            // tell when one was refused.
            let (mut least, mut greatest) = (0, 0);
            for r in all {
                let within = |from_ms: f64, to_ms: f64, slack_ms: f64| {
                    r.arrival_ms + from_ms <= now_ms + slack_ms && now_ms < r.arrival_ms + to_ms + slack_ms
                };
                let (is_completed, travelled) = (r.status == Status::Completed, r.prefill_worker != u32::MAX);
                let travels = travelled && within(r.queue_ms, r.ttft_ms, 1e-6);
                least += u32::from(is_completed && !travels && within(0.0, r.e2e_ms, -1e-6));
                greatest += u32::from(within(0.0, if is_completed { r.e2e_ms } else { f64::INFINITY }, 1e-6));
            }
            assert!(
                (least..=greatest).contains(&found),
                "{seed}: {found} in the engines at {now_ms} ms, {least} to {greatest} by the records\n{deployment:?}"
            );
            counted += f64::from(found);
            exact += u32::from(least == greatest);
            samples += 1;
        }
        most = most.max(counted);
        // Little's law itself, L = lambda W, where each request's stay is known; noise is the samples'.
        let metrics = &outcome.metrics;
        if all.iter().all(|r| r.status == Status::Completed && r.prefill_worker == u32::MAX) {
            let lw = metrics.get(Metric::RequestsPerS) * metrics.get(Metric::E2eMean) / 1000.0;
            let l = counted / at.len() as f64;
            assert!((l - lw).abs() <= 0.08 * lw + 0.1, "{seed}: {l} on average, {lw} by rate and time");
            laws += 1;
        }
    }
    assert!(samples > 20_000 && exact > 10_000 && laws > 30 && most > 1000.0, "{samples} {exact} {laws} {most}");
}

/// With caches off and requests dealt out in turn, twice the workers serve no fewer tokens a second and
/// let nobody wait longer.
#[test]
fn more_workers_are_never_worse() {
    let mut gained = 0;
    for seed in 0..120u64 {
        let mut rng = ChaCha8Rng::seed_from_u64(8_000_000 + seed);
        let workload = cluster_properties::workload(&mut rng);
        let mut deployment = cluster_properties::deployment(&mut rng);
        deployment.router.policy = RouterPolicy::RoundRobin;
        for pool in pools(&mut deployment.topology) {
            pool.engine.prefix_caching = false;
            pool.engine.gpu_blocks = 100_000 / pool.engine.block_size;
            pool.engine.speculation = None;
        }
        if let Topology::Disaggregated { transfer, local_prefill, .. } = &mut deployment.topology {
            (transfer.charge, *local_prefill) = (Charge::FullPrompt, LocalPrefill::OFF);
        }
        if seed % 2 == 0 {
            let Topology::Disaggregated { decode, .. } = deployment.topology else { unreachable!() };
            deployment.topology = Topology::Aggregated(decode);
        }
        let before = simulate(&deployment, &workload, seed, false).metrics;
        for pool in pools(&mut deployment.topology) {
            pool.workers *= 2;
        }
        let after = simulate(&deployment, &workload, seed, false).metrics;
        let rate = after.get(Metric::OutputTokensPerS) / before.get(Metric::OutputTokensPerS);
        assert!(rate > 0.97, "{seed}: {rate} of the throughput with twice the workers\n{deployment:?}");
        if workload.load == Load::Open && !workload.has_turns() {
            let (a, b) = (before.get(Metric::TtftMean), after.get(Metric::TtftMean));
            assert!(
                b <= a * 1.03 + 1.0,
                "{seed}: first tokens after {b} ms, with half the workers {a}\n{deployment:?}"
            );
        }
        gained += u32::from(rate > 1.2);
    }
    assert!(gained > 15, "the cases are worth something only where capacity was short: {gained}");
}

fn pools(topology: &mut Topology) -> Vec<&mut Pool> {
    match topology {
        Topology::Aggregated(pool) => vec![pool],
        Topology::Disaggregated { prefill, decode, .. } => vec![prefill, decode],
    }
}

/// The same deployment and workload with a clock that runs at another speed.
fn slowed(deployment: &Deployment, workload: &mut Workload, k: f64) -> Deployment {
    for request in &mut workload.requests {
        request.arrival_ms *= k;
        request.delay_ms *= k;
    }
    let mut slow = deployment.clone();
    for pool in pools(&mut slow.topology) {
        pool.timing = Timing::Slowed { timing: Arc::new(pool.timing.clone()), factor: k };
    }
    if let Topology::Disaggregated { transfer, .. } = &mut slow.topology {
        transfer.gbps = transfer.gbps.map(|gbps| gbps / k);
        transfer.latency_ms *= k;
    }
    slow.router.kv_event_lag_ms *= k;
    slow.router.admission_ttft_ms *= k;
    slow.router.session_affinity_ttl_s = slow.router.session_affinity_ttl_s.map(|ttl| ttl * k);
    slow.sla.ttft_ms = slow.sla.ttft_ms.map(|ms| ms * k);
    slow
}

/// When passes, gaps, links and bounds all take `k` times as long, so does everything, to the bit for a
/// power of two: no instant is compared with a constant.
#[test]
fn a_slower_clock_changes_nothing_but_times() {
    for seed in 0..150u64 {
        let build = || {
            let mut rng = ChaCha8Rng::seed_from_u64(9_000_000 + seed);
            if seed % 2 == 0 {
                let workload = cluster_properties::workload(&mut rng);
                let deployment = cluster_properties::deployment(&mut rng);
                return (workload, deployment);
            }
            let workload = twin_equivalence::workload(&mut rng);
            let mut deployment = twin_equivalence::deployment(&mut rng, &workload);
            if matches!(deployment.router.policy, RouterPolicy::Expression(_)) {
                // The formula of those tests weighs milliseconds against requests.
                deployment.router.policy = RouterPolicy::Kv;
            }
            (workload, deployment)
        };
        let (workload, deployment) = build();
        let usual = simulate(&deployment, &workload, seed, true);
        for k in [2.0, 1.0 / 1024.0, 65_536.0] {
            let (mut workload, deployment) = build();
            let slow = slowed(&deployment, &mut workload, k);
            let outcome = simulate(&slow, &workload, seed, true);
            assert_eq!(usual.passes, outcome.passes, "{seed} x {k}\n{deployment:?}");
            for (a, b) in records(&usual).iter().zip(records(&outcome)) {
                let counts = |r: &RequestRecord| {
                    (r.status, r.worker, r.prefill_worker, r.output_tokens, r.reused_tokens, r.preemptions)
                };
                assert_eq!(counts(a), counts(b), "{seed} x {k}: {a:?}\n{deployment:?}");
                let times = |r: &RequestRecord, k: f64| {
                    let all = [r.arrival_ms, r.ttft_ms, r.e2e_ms, r.tpot_ms, r.queue_ms, r.transfer_ms, r.prefill_ms];
                    all.map(|ms| if ms.is_nan() { None } else { Some((ms * k).to_bits()) })
                };
                assert_eq!(times(a, k), times(b, 1.0), "{seed} x {k}: {a:?}\n{b:?}\n{deployment:?}");
            }
            for (metric, power) in [
                (Metric::TtftP99, 1.0),
                (Metric::E2eMean, 1.0),
                (Metric::DurationS, 1.0),
                (Metric::GpuHours, 1.0),
                (Metric::OutputTokensPerS, -1.0),
                (Metric::KvUtilMean, 0.0),
                (Metric::PrefixReuseRatio, 0.0),
            ] {
                let (a, b) = (usual.metrics.get(metric) * k.powf(power), outcome.metrics.get(metric));
                let same = (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-12 * a.abs();
                assert!(same, "{seed} x {k}: {metric:?} is {b}, not {a}");
            }
        }
    }
}
