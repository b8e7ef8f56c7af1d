//! Workers that die or slow down: what becomes of their requests, that every key arrives, and what the
//! reader of `faults.events` refuses.

use servescout::space;
use servescout::twin::metrics::Metric;
use servescout::twin::{Outcome, RequestRecord, Status};

use crate::planner::{bits, run};

/// Two workers under a steady load, so that the second is busy when it dies.
const STEADY: [&str; 4] = [
    "aggregated.workers=2",
    "workload.synthetic.sessions=60",
    "workload.synthetic.arrivals={kind=\"constant\",rate_per_s=1.0}",
    "workload.synthetic.output_tokens=200",
];

fn with(overrides: &[&str]) -> Outcome {
    run(&[&STEADY, overrides].concat())
}

fn records(outcome: &Outcome) -> &[RequestRecord] {
    outcome.requests.as_ref().unwrap()
}

#[test]
fn requests_of_a_dead_worker_are_tried_again_elsewhere() {
    let death = "faults.events=[{at_s=20.5,worker=1}]";
    let calm = with(&[]);
    let hit = with(&[death]);
    assert_eq!(calm.metrics.get(Metric::Retries), 0.0);
    assert_eq!(hit.metrics.get(Metric::Completed), 60.0);
    let retried: Vec<&RequestRecord> = records(&hit).iter().filter(|r| r.retries > 0).collect();
    assert!(!retried.is_empty() && hit.metrics.get(Metric::Retries) == retried.len() as f64);
    for record in &retried {
        assert_eq!((record.retries, record.status, record.worker), (1, Status::Completed, 0), "{record:?}");
        assert!(record.arrival_ms + record.ttft_ms > 20_500.0, "it starts over: {record:?}");
    }
    // The replacement is worker 2, and ready a minute later: when all have arrived.
    assert!(records(&hit).iter().all(|r| r.worker != 2 && (r.worker != 1 || r.arrival_ms < 20_500.0)));
    let soon = with(&[death, "faults.restart_s=5"]);
    let served = records(&soon).iter().filter(|r| r.worker == 2).map(|r| r.arrival_ms).fold(f64::INFINITY, f64::min);
    assert!((25_500.0..27_500.0).contains(&served), "{served}");
    // Its GPU is paid for as the dead one's was; without a replacement it is given back.
    assert_eq!(soon.metrics.get(Metric::GpusMean), 2.0);
    assert_eq!(soon.metrics.get(Metric::GpusPeak), 2.0);
    let gone = with(&[death, "faults.after_death=gone"]);
    assert!(gone.metrics.get(Metric::GpusMean) < 1.6 && gone.metrics.get(Metric::Completed) == 60.0);
}

#[test]
fn kept_tokens_are_not_generated_again() {
    let death = "faults.events=[{at_s=20.5,worker=1}]";
    let calm = with(&[]);
    let kept = with(&[death, "faults.keep_tokens=true"]);
    let anew = with(&[death]);
    let moved: Vec<usize> = (0..60).filter(|&i| records(&kept)[i].retries > 0).collect();
    assert_eq!(moved, (0..60).filter(|&i| records(&anew)[i].retries > 0).collect::<Vec<_>>());
    let began = |i: &&usize| records(&calm)[**i].arrival_ms + records(&calm)[**i].ttft_ms < 20_400.0;
    let began: Vec<&usize> = moved.iter().filter(began).collect();
    assert!(!began.is_empty());
    for &&i in &began {
        let (calm, kept, anew) = (&records(&calm)[i], &records(&kept)[i], &records(&anew)[i]);
        assert_eq!(kept.ttft_ms, calm.ttft_ms, "the first token had been streamed");
        assert!(anew.ttft_ms > kept.ttft_ms && anew.e2e_ms > kept.e2e_ms);
        assert_eq!(kept.output_tokens, 200);
    }
    assert!(kept.metrics.get(Metric::RecomputedTokens) > 0.0);
}

#[test]
fn a_request_fails_when_its_tries_are_used_up_or_nobody_is_left() {
    let twice = "faults.events=[{at_s=20.5,worker=1},{at_s=21.5,worker=0},{at_s=26,worker=2},{at_s=27,worker=3}]";
    let counts = |o: &Outcome| [Metric::Completed, Metric::Failed, Metric::Retries].map(|m| o.metrics.get(m));
    let none = with(&[twice, "faults.retries=0", "faults.restart_s=1"]);
    let [completed, failed, retries] = counts(&none);
    assert!(failed > 1.0 && retries == 0.0 && completed + failed == 60.0);
    assert!(records(&none).iter().filter(|r| r.status == Status::Failed).all(|r| r.e2e_ms.is_nan()));
    let many = with(&[twice, "faults.retries=9", "faults.restart_s=1"]);
    assert_eq!(counts(&many)[1], 0.0);
    // Both die for good: what was there and what comes later fails, and the simulation ends.
    let [completed, failed, _] = counts(&with(&[twice, "faults.after_death=gone", "faults.slow_every_s=3"]));
    assert!(completed > 5.0 && failed > 30.0 && completed + failed == 60.0);
}

#[test]
fn a_planner_replaces_the_dead() {
    let deaths = "faults.events=[{at_s=20.5,worker=1},{at_s=21.5,worker=0}]";
    let gone = ["faults.after_death=gone", "planner.policy=sla", "planner.startup_s=2", deaths];
    let outcome = with(&gone);
    assert_eq!(outcome.metrics.get(Metric::Completed), 60.0);
    assert!(outcome.metrics.get(Metric::ScaleEvents) >= 1.0);
}

#[test]
fn slow_workers_are_slow_for_a_while() {
    let slow = with(&["faults.events=[{at_s=10,worker=0,slow=4,for_s=10}]"]);
    let calm = with(&[]);
    let during = |o: &Outcome, worker: u32| {
        let those = records(o).iter().filter(|r| r.worker == worker && (10_500.0..17_000.0).contains(&r.arrival_ms));
        those.map(|r| r.tpot_ms).fold(0.0, f64::max)
    };
    assert!(during(&slow, 0) > 1.5 * during(&calm, 0));
    assert_eq!(during(&slow, 1), during(&calm, 1));
    let early = |o: &Outcome| records(o).iter().take(5).map(|r| r.e2e_ms).collect::<Vec<_>>();
    assert_eq!(early(&slow), early(&calm));
    let late = |o: &Outcome| records(o).last().unwrap().e2e_ms;
    assert!((late(&slow) - late(&calm)).abs() < 1e-6);
}

#[test]
fn every_key_arrives() {
    let chance = ["faults.mtbf_s=15", "faults.slow_every_s=10"];
    let base = with(&chance).metrics;
    assert!(base.get(Metric::Retries) > 0.0);
    for key in [
        "faults.mtbf_s=12",
        "faults.restart_s=8",
        "faults.after_death=gone",
        "faults.retries=0",
        "faults.keep_tokens=true",
        "faults.slow_every_s=5",
        "faults.slow_factor=3",
        "faults.slow_for_s=4",
        "faults.events=[{at_s=20.5,worker=0},{at_s=20.5,worker=1},{at_s=20.5,worker=2},{at_s=20.5,worker=3}]",
        "study.seed=2",
    ] {
        let other = with(&[&chance[..], &[key]].concat()).metrics;
        assert_ne!(bits(&base), bits(&other), "{key} changed nothing");
    }
    assert_eq!(bits(&base), bits(&with(&chance).metrics), "the same seed gives the same faults");
    // A worker's fate is its own: it does not hang on how many there are.
    let first_death = |workers: &str| {
        let outcome = with(&[workers, "faults.mtbf_s=15", "faults.retries=0", "faults.after_death=gone"]);
        let of_0 = records(&outcome).iter().filter(|r| r.worker == 0 && r.status == Status::Completed);
        of_0.map(|r| r.arrival_ms + r.e2e_ms).fold(0.0, f64::max)
    };
    assert!((first_death("aggregated.workers=2") - first_death("aggregated.workers=3")).abs() < 5_000.0);
}

#[test]
fn malformed_faults_are_named() {
    let base =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/spaces/base.toml")).unwrap();
    for (events, words) in [
        ("3", "`faults.events` must be a list of tables"),
        ("[3]", "a fault is a table"),
        ("[{ at_s = 3 }]", "`faults.events[0]` has no `worker`"),
        ("[{ worker = 3 }]", "`faults.events[0]` has no `at_s`"),
        ("[{ at_s = -1, worker = 0 }]", "`faults.events[0].at_s` must be a number of seconds"),
        ("[{ at_s = 1, worker = 0.5 }]", "`faults.events[0].worker` must be the number of a worker"),
        ("[{ at_s = 1, worker = 0, slow = 0.5, for_s = 3 }]", "`faults.events[0].slow` must be how many times"),
        ("[{ at_s = 1, worker = 0 }, { at_s = 1, worker = 0, slow = 2 }]", "`faults.events[1]` has only one of"),
        ("[{ at_s = 1, wroker = 0 }]", "did you mean `worker`"),
    ] {
        let text = format!("{base}\n[faults]\nevents = {events}\n");
        let errors = space::parse(&text, None, &[]).unwrap_err().to_string();
        assert!(errors.contains(words), "{events}: {errors}");
    }
}
