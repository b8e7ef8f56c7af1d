//! Disaggregated deployments from the search space to the outcome: each knob reaches the twin, and one
//! study searches both kinds of deployment.

use std::path::Path;

use serde_json::Value as Json;
use servescout::space::{self, Candidate, Deployer, Study};
use servescout::twin::deployment::{Charge, Deployment, RouterPolicy, Topology, TransferConfig};
use servescout::twin::metrics::Metric;
use servescout::twin::{Outcome, simulate};
use servescout::workload::{self, Workload};

use crate::cli_common::{arg, run_to};

const SPACE: &str = "search-spaces/disaggregated.toml";

/// A disaggregated deployment of 2 + 2 workers on a short workload, with more knobs.
fn pinned(more: &[&str]) -> (Study, Candidate, Workload) {
    let mut sets: Vec<String> = [
        "deployment.mode='disaggregated'",
        "workload.synthetic.sessions=80",
        "engine.max_num_batched_tokens=8192",
        "engine.max_num_seqs=64",
        "prefill.tp=1",
        "prefill.workers=2",
        "prefill.max_num_batched_tokens=16384",
        "decode.tp=2",
        "decode.workers=2",
        "decode.local_prefill_tokens=0",
        "router.policy='round_robin'",
        "router.decode_policy='least_loaded'",
    ]
    .map(str::to_owned)
    .to_vec();
    sets.extend(more.iter().map(|&set| set.to_owned()));
    // What is set later wins; knobs of aggregated deployments only draw a warning.
    let study = space::load_replay(&Path::new(env!("CARGO_MANIFEST_DIR")).join(SPACE), &sets);
    let study = study.unwrap_or_else(|e| panic!("{e}"));
    let candidate = study.space.enumerate().next().unwrap();
    let workload = workload::load(&study.workload).unwrap();
    (study, candidate, workload)
}

fn deploy(more: &[&str]) -> (Deployment, Workload) {
    let (study, candidate, workload) = pinned(more);
    let deployment = Deployer::new(&study, &workload).deployment(&candidate).unwrap_or_else(|e| panic!("{e}"));
    (deployment, workload)
}

fn outcome(more: &[&str]) -> Outcome {
    let (deployment, workload) = deploy(more);
    simulate(&deployment, &workload, 3, true)
}

#[test]
fn every_knob_reaches_the_deployment() {
    let (deployment, _) = deploy(&[
        "decode.max_num_seqs=32",
        "prefill.gpu_blocks=1000",
        "decode.gpu_blocks=2000",
        "decode.attention_dp=2",
        "decode.local_prefill_tokens=700",
        "decode.local_prefill_share=0.25",
        "decode.local_prefill_kv_share=0.5",
        "transfer.gbps=12.5",
        "transfer.latency_ms=2.0",
        "transfer.charge='full_prompt'",
        "transfer.contention=false",
    ]);
    let Topology::Disaggregated { prefill, decode, transfer, local_prefill } = deployment.topology else {
        panic!("it is disaggregated")
    };
    assert_eq!((prefill.workers, prefill.gpus_per_worker, decode.workers, decode.gpus_per_worker), (2, 1, 2, 4));
    let limits = |p: &servescout::twin::deployment::Pool| {
        (p.engine.max_num_seqs, p.engine.max_num_batched_tokens, p.engine.gpu_blocks, p.engine.attention_dp)
    };
    assert_eq!(limits(&prefill), (64, 16384, 1000, 1));
    assert_eq!(limits(&decode), (32, 8192, 2000, 2));
    assert_eq!((local_prefill.below_tokens, local_prefill.most_of_prompt, local_prefill.most_kv), (700, 0.25, 0.5));
    assert_eq!((transfer.gbps, transfer.latency_ms, transfer.contention), (Some(12.5), 2.0, false));
    assert_eq!(transfer.charge, Charge::FullPrompt);
    // 64 layers, 8 heads of 128, key and value, a byte each (fp8) or two.
    let values = f64::from(64 * 8 * 128 * 2);
    assert!([values, 2.0 * values].contains(&transfer.bytes_per_token), "{}", transfer.bytes_per_token);
    assert_eq!(deployment.router.decode_policy, Some(RouterPolicy::LeastLoaded));
    let (unlimited, _) = deploy(&["transfer.gbps=0"]);
    let Topology::Disaggregated { transfer, .. } = unlimited.topology else { unreachable!() };
    assert_eq!(transfer.gbps, None);
    // Left out, it is a network card; as the peer has it, nothing.
    let base = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(SPACE)).unwrap();
    let text = base.replace("transfer.gbps = 50 ", "");
    for (peer_compat, expected) in [(false, Some(TransferConfig::GBPS)), (true, None)] {
        let sets = [format!("twin.peer_compat={peer_compat}"), "deployment.mode='disaggregated'".to_owned()];
        let study = space::parse(&text, None, &sets).unwrap_or_else(|e| panic!("{e}"));
        let workload = workload::load(&study.workload).unwrap();
        let deployer = Deployer::new(&study, &workload);
        let deployment = study.space.enumerate().find_map(|c| deployer.deployment(&c).ok()).unwrap();
        let Topology::Disaggregated { transfer, .. } = deployment.topology else { unreachable!() };
        assert_eq!(transfer.gbps, expected);
    }
}

#[test]
fn a_slow_link_shows_in_transfers_and_first_tokens() {
    let fast = outcome(&[]);
    let slow = outcome(&["transfer.gbps=2"]);
    let alone = outcome(&["transfer.gbps=2", "transfer.contention=false"]);
    let mean = |o: &Outcome| {
        let sent = o.requests.as_ref().unwrap().iter().map(|r| r.transfer_ms);
        sent.clone().sum::<f64>() / sent.count() as f64
    };
    assert!(mean(&slow) > 20.0 * mean(&fast), "{} {}", mean(&slow), mean(&fast));
    assert!(mean(&slow) > 1.05 * mean(&alone), "{} {}", mean(&slow), mean(&alone));
    assert!(slow.metrics.get(Metric::TtftMean) > fast.metrics.get(Metric::TtftMean) + 100.0);
    // Time on the way is that of the bytes.
    let (deployment, _) = deploy(&["transfer.gbps=2", "transfer.contention=false", "transfer.charge='full_prompt'"]);
    let Topology::Disaggregated { transfer, .. } = &deployment.topology else { unreachable!() };
    let full = outcome(&["transfer.gbps=2", "transfer.contention=false", "transfer.charge='full_prompt'"]);
    for r in full.requests.as_ref().unwrap() {
        let expected = f64::from(r.input_tokens) * transfer.bytes_per_token / 2e6;
        assert!((r.transfer_ms - expected).abs() < 1e-6 * expected, "{r:?} {expected}");
    }
}

#[test]
fn cached_second_turns_stay_on_the_decode_worker() {
    let sent = outcome(&[]);
    let kept = outcome(&["decode.local_prefill_tokens=2048"]);
    let local = |o: &Outcome| o.requests.as_ref().unwrap().iter().filter(|r| r.prefill_worker == u32::MAX).count();
    assert_eq!(local(&sent), 0);
    assert!(local(&kept) > 10, "{}", local(&kept));
    for r in kept.requests.as_ref().unwrap().iter().filter(|r| r.prefill_worker == u32::MAX) {
        assert!(r.input_tokens - r.reused_tokens < 2048 + 64 && r.transfer_ms.is_nan(), "{r:?}");
    }
    let few = outcome(&["decode.local_prefill_tokens=2048", "decode.local_prefill_share=0.1"]);
    assert!(local(&few) < local(&kept), "{} {}", local(&few), local(&kept));
    let busy = outcome(&["decode.local_prefill_tokens=2048", "decode.local_prefill_kv_share=0.005"]);
    assert!(local(&busy) < local(&kept), "{} {}", local(&busy), local(&kept));
}

#[test]
fn what_each_pool_overrides_has_no_meaning_in_common() {
    let space = |more: &str| {
        let sets = [more.to_owned(), "decode.local_prefill_tokens=0".to_owned()];
        space::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join(SPACE), &sets).unwrap_or_else(|e| panic!("{e}"))
    };
    let study = space("decode.max_num_batched_tokens=4096");
    let disaggregated =
        |c: &Candidate| study.space.describe(c).contains(&("deployment.mode", "disaggregated".to_owned()));
    let (mut both, mut has) = ([0, 0], [0, 0]);
    for candidate in study.space.enumerate().step_by(7) {
        let kind = usize::from(disaggregated(&candidate));
        both[kind] += 1;
        let names = study.space.describe(&candidate);
        has[kind] += usize::from(names.iter().any(|(n, _)| *n == "engine.max_num_batched_tokens"));
        let own = names.iter().any(|(n, _)| n.starts_with("prefill.") || n.starts_with("transfer."));
        assert_eq!(own, kind == 1, "{names:?}");
    }
    assert!(both[0] > 10 && both[1] > 100, "{both:?}");
    assert_eq!(has, [both[0], 0], "the prefill pool and the decode pool have limits of their own");
}

#[test]
fn one_study_searches_both_kinds() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("run");
    let small = "workload.synthetic.sessions=80";
    run_to(0, &["search", SPACE, "--budget", "64", "--set", small, "--out", arg(&out)]);
    let frontier = std::fs::read_to_string(out.join("frontier.csv")).unwrap();
    assert!(frontier.contains("aggregated"), "{frontier}");
    // Which kind is worth more is up to the search; of the one that has two pools every figure comes back.
    let out = directory.path().join("split");
    let mode = "deployment.mode=disaggregated";
    run_to(0, &["search", SPACE, "--budget", "16", "--set", small, "--set", mode, "--out", arg(&out)]);
    let shortlisted: Vec<_> = std::fs::read_dir(out.join("shortlist")).unwrap().map(|e| e.unwrap().path()).collect();
    let is_split = |p: &std::path::PathBuf| {
        std::fs::read_to_string(p.join("candidate.toml")).unwrap().contains("mode = \"disaggregated\"")
    };
    let split = shortlisted.iter().find(|p| is_split(p)).expect("a disaggregated candidate is worth measuring");
    let candidate = split.join("candidate.toml");
    let (replayed, _) = run_to(0, &["replay", arg(&candidate), "--json"]);
    let replayed: Json = serde_json::from_str(&replayed).unwrap();
    let expected: Json = serde_json::from_str(&std::fs::read_to_string(split.join("expected.json")).unwrap()).unwrap();
    for (name, value) in expected["metrics"].as_object().unwrap() {
        assert_eq!(value["value"], replayed["metrics"][name], "{name}");
    }
    let (human, _) = run_to(0, &["replay", arg(&candidate)]);
    assert!(human.contains(" prefill x TP") && human.contains(" decode x TP"), "{human}");
}
