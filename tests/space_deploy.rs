//! From candidates to deployments: what is refused before simulation, and why.

use std::path::Path;

use servescout::catalog::Backend;
use servescout::space::{self, Candidate, Deployer, Refusal, RefusalCode, Study, Value};
use servescout::twin::Deployment;
use servescout::twin::deployment::{Pool, Preemption, RouterPolicy, Topology, WaitingOrder};
use servescout::workload::{self, Workload, WorkloadSpec};

/// A workload of single requests with these prompt and output lengths.
fn workload(lengths: &[(u32, u32)]) -> Workload {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("trace.jsonl");
    let line = |(input, output): &(u32, u32)| {
        format!("{{\"timestamp\": 0, \"input_length\": {input}, \"output_length\": {output}}}\n")
    };
    std::fs::write(&path, lengths.iter().map(line).collect::<String>()).unwrap();
    workload::load(&WorkloadSpec::trace(path)).unwrap_or_else(|e| panic!("{e}"))
}

fn study(overrides: &[&str]) -> Study {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/spaces/base.toml");
    let overrides: Vec<String> = overrides.iter().map(|s| (*s).to_owned()).collect();
    space::load(&path, &overrides).unwrap_or_else(|e| panic!("{e}"))
}

/// The candidate with these values, first levels elsewhere.
fn candidate(study: &Study, values: &[(&str, Value)]) -> Candidate {
    let mut levels = vec![0; study.space.knobs.len()];
    for (name, value) in values {
        let knob = study.space.find(name).unwrap();
        let level = study.space.knobs[knob].domain.values.iter().position(|v| v == value).unwrap();
        levels[knob] = level as u32;
    }
    study.space.canonical(&levels)
}

fn deploy(study: &Study, lengths: &[(u32, u32)], values: &[(&str, Value)]) -> Result<Deployment, Refusal> {
    Deployer::new(study, &workload(lengths)).deployment(&candidate(study, values))
}

fn pool(deployment: &Deployment) -> &Pool {
    match &deployment.topology {
        Topology::Aggregated(pool) => pool,
        other => panic!("{other:?} is not aggregated"),
    }
}

const SHORT: &[(u32, u32)] = &[(1000, 100)];

#[test]
fn every_knob_arrives_in_the_deployment() {
    let study = study(&[
        "engine.block_size=32",
        "engine.gpu_blocks=[1000,2000]",
        "engine.max_num_batched_tokens=[2048,4096]",
        "engine.prefix_caching=[true,false]",
        "engine.chunked_prefill=[true,false]",
        "engine.preemption=[\"lifo\",\"fifo\"]",
        "engine.max_model_len=[8192,16384]",
        "router.overlap_credit=[1.0,0.5]",
        "router.overlap_decay=[0.0,0.25]",
        "router.prefill_load_scale=[1.0,2.0]",
        "router.decode_request_weight=[0.0,3.0]",
        "sla={ttft_ms=500,tpot_ms=50}",
        "hardware.usd_per_gpu_hour=2.5",
        "twin.pass_by_pass=true",
    ]);
    let values = [
        ("aggregated.tp", Value::Int(2)),
        ("aggregated.workers", Value::Int(3)),
        ("engine.gpu_blocks", Value::Int(2000)),
        ("engine.max_num_seqs", Value::Int(128)),
        ("engine.max_num_batched_tokens", Value::Int(4096)),
        ("engine.chunked_prefill", Value::Bool(false)),
        ("engine.preemption", Value::Text("fifo".into())),
        ("engine.max_model_len", Value::Int(16384)),
        ("router.policy", Value::Text("kv".into())),
        ("router.overlap_credit", Value::Real(0.5)),
        ("router.overlap_decay", Value::Real(0.25)),
        ("router.prefill_load_scale", Value::Real(2.0)),
        ("router.decode_request_weight", Value::Real(3.0)),
        ("router.temperature", Value::Real(0.75)),
    ];
    let deployment = deploy(&study, SHORT, &values).unwrap();
    let Pool { workers, gpus_per_worker, engine, .. } = pool(&deployment);
    assert_eq!((*workers, *gpus_per_worker), (3, 2));
    assert_eq!((engine.block_size, engine.gpu_blocks), (32, 2000));
    assert_eq!((engine.max_num_seqs, engine.max_num_batched_tokens), (128, 4096));
    assert_eq!((engine.prefix_caching, engine.chunked_prefill), (true, false));
    assert_eq!((engine.preemption, engine.max_model_len), (Preemption::Fifo, Some(16384)));
    let router = &deployment.router;
    assert_eq!(router.policy, RouterPolicy::Kv);
    assert_eq!((router.overlap_credit, router.overlap_decay, router.prefill_load_scale), (0.5, 0.25, 2.0));
    assert_eq!((router.decode_request_weight, router.temperature), (3.0, 0.75));
    assert_eq!(
        (deployment.sla.ttft_ms, deployment.sla.tpot_ms, deployment.sla.e2e_ms),
        (Some(500.0), Some(50.0), None)
    );
    assert_eq!((deployment.usd_per_gpu_hour, deployment.peer_compat, deployment.pass_by_pass), (2.5, false, true));

    let without = [("engine.prefix_caching", Value::Bool(false)), ("aggregated.workers", Value::Int(1))];
    let deployment = deploy(&study, SHORT, &without).unwrap();
    assert!(!pool(&deployment).engine.prefix_caching);
    assert_eq!(deployment.router.policy, RouterPolicy::RoundRobin, "one worker needs no policy");
}

#[test]
fn larger_tensor_parallelism_decodes_faster() {
    let study = study(&[]);
    let decode_ms = |tp: i64| {
        let deployment = deploy(&study, SHORT, &[("aggregated.tp", Value::Int(tp))]).unwrap();
        pool(&deployment).timing.decode_run(32, 32 * 4000, 1_000_000).base_ms
    };
    assert!(decode_ms(1) > decode_ms(2) && decode_ms(2) > decode_ms(4) && decode_ms(4) > decode_ms(8));
}

#[test]
fn more_gpus_than_there_are_is_refused_with_the_sum() {
    let study = study(&["hardware.max_gpus=16"]);
    let values = |tp: i64| [("aggregated.tp", Value::Int(tp)), ("aggregated.workers", Value::Int(8))];
    assert!(deploy(&study, SHORT, &values(2)).is_ok(), "16 of 16");
    let refusal = deploy(&study, SHORT, &values(4)).unwrap_err();
    assert_eq!(refusal.code, RefusalCode::GpuBudget);
    assert_eq!(refusal.reason, "8 workers x TP 4 = 32 GPUs, max_gpus = 16");
    assert_eq!(refusal.to_string(), "gpu_budget: 8 workers x TP 4 = 32 GPUs, max_gpus = 16");
}

#[test]
fn shapes_that_span_servers_are_refused() {
    let study = study(&["aggregated.tp=[8,16]", "hardware.max_gpus=64"]);
    assert!(deploy(&study, SHORT, &[("aggregated.tp", Value::Int(8))]).is_ok());
    let refusal = deploy(&study, SHORT, &[("aggregated.tp", Value::Int(16))]).unwrap_err();
    assert_eq!(refusal.code, RefusalCode::Shape);
    assert!(refusal.reason.contains("tp 16 spans servers"), "{refusal}");
}

#[test]
fn weights_that_do_not_fit_are_refused_with_the_arithmetic() {
    // 65 GB of bfloat16 weights on a GPU of 45 GiB.
    let study = study(&["hardware.gpu=l40s", "model.dtype=bf16"]);
    let refusal = deploy(&study, SHORT, &[("aggregated.tp", Value::Int(1))]).unwrap_err();
    assert_eq!(refusal.code, RefusalCode::KvCapacity);
    assert!(refusal.reason.contains("does not fit") && refusal.reason.contains("weights"), "{refusal}");
    assert!(deploy(&study, SHORT, &[("aggregated.tp", Value::Int(4))]).is_ok());
}

#[test]
fn the_longest_request_must_fit() {
    let study = study(&["engine.block_size=512"]);
    let blocks = pool(&deploy(&study, SHORT, &[]).unwrap()).engine.gpu_blocks;
    let most = blocks * 512;
    assert!(deploy(&study, &[(most - 100, 100)], &[]).is_ok());
    let refusal = deploy(&study, &[(10, 10), (most - 100, 101)], &[]).unwrap_err();
    assert_eq!(refusal.code, RefusalCode::KvCapacity);
    let expected = format!(
        "the longest request has {} tokens = {} blocks of 512, and a worker has {blocks}; per GPU: ",
        most + 1,
        blocks + 1
    );
    assert!(refusal.reason.starts_with(&expected), "{refusal}");
    // A request that the engine rejects anyway need not fit.
    let bounded = self::study(&["engine.block_size=512", "engine.max_model_len=8192"]);
    assert!(deploy(&bounded, &[(10, 10), (most - 100, 101)], &[]).is_ok());
}

#[test]
fn more_blocks_than_fit_are_refused_where_timing_is_physical() {
    let sets = ["engine.gpu_blocks=1000000", "engine.block_size=512"];
    let refusal = deploy(&study(&sets), SHORT, &[]).unwrap_err();
    assert_eq!(refusal.code, RefusalCode::KvCapacity);
    assert!(refusal.reason.starts_with("engine.gpu_blocks = 1000000 of 512 tokens, but "), "{refusal}");
    for timing in ["timing={kind='polynomial'}", "timing={kind='fixed',prefill_ms=1,decode_ms=1}"] {
        let deployment = deploy(&study(&[sets[0], sets[1], timing]), SHORT, &[]).unwrap();
        assert_eq!(pool(&deployment).engine.gpu_blocks, 1_000_000, "the memory model is not asked");
    }
}

#[test]
fn the_peer_simulates_what_it_rejects() {
    let sets = ["engine.gpu_blocks=4", "timing={kind='polynomial'}"];
    assert_eq!(deploy(&study(&sets), SHORT, &[]).unwrap_err().code, RefusalCode::KvCapacity);
    assert!(deploy(&study(&[sets[0], sets[1], "twin.peer_compat=true"]), SHORT, &[]).is_ok());
}

#[test]
fn contradicting_limits_are_refused() {
    let study = study(&["engine.max_num_batched_tokens=[128,2048]", "engine.chunked_prefill=[true,false]"]);
    let limits = |seqs: i64, tokens: i64, chunked: bool, lengths: &[(u32, u32)]| {
        let values = [
            ("engine.max_num_seqs", Value::Int(seqs)),
            ("engine.max_num_batched_tokens", Value::Int(tokens)),
            ("engine.chunked_prefill", Value::Bool(chunked)),
        ];
        deploy(&study, lengths, &values)
    };
    assert!(limits(128, 128, true, SHORT).is_ok());
    let refusal = limits(256, 128, true, SHORT).unwrap_err();
    assert_eq!(refusal.code, RefusalCode::Limits);
    assert!(refusal.reason.contains("max_num_batched_tokens = 128 is below max_num_seqs = 256"), "{refusal}");
    assert!(limits(64, 2048, false, &[(2048, 1)]).is_ok());
    let refusal = limits(64, 2048, false, &[(2049, 1)]).unwrap_err();
    assert!(refusal.reason.contains("the longest prompt has 2049 tokens"), "{refusal}");
    assert!(limits(64, 2048, true, &[(2049, 1)]).is_ok());
}

#[test]
fn each_backend_has_its_own_knobs_and_limits() {
    let study = study(&[
        "engine.backend=['vllm','sglang','trtllm']",
        "engine.preemption=['lifo','fifo']",
        "engine.waiting_order=['fifo','longest_prefix']",
        "engine.max_prefill_tokens=[4096,8192]",
        "engine.schedule_conservativeness=[0.3,1.0]",
        "engine.max_num_batched_tokens=128",
        "engine.max_num_seqs=[128,256]",
    ]);
    let of = |backend: &str| candidate(&study, &[("engine.backend", Value::Text(backend.into()))]);
    let names = |candidate: &Candidate| -> Vec<String> {
        study.space.describe(candidate).into_iter().map(|(name, _)| name.to_owned()).collect()
    };
    let has = |backend: &str, name: &str| names(&of(backend)).iter().any(|n| n == name);
    for (backend, preemption, sglang) in [("vllm", true, false), ("sglang", false, true), ("trtllm", false, false)] {
        assert_eq!(has(backend, "engine.preemption"), preemption, "{backend}");
        for knob in ["engine.waiting_order", "engine.max_prefill_tokens", "engine.schedule_conservativeness"] {
            assert_eq!(has(backend, knob), sglang, "{backend} {knob}");
        }
    }
    let values = [
        ("engine.backend", Value::Text("sglang".into())),
        ("engine.waiting_order", Value::Text("longest_prefix".into())),
        ("engine.max_prefill_tokens", Value::Int(4096)),
        ("engine.schedule_conservativeness", Value::Real(0.3)),
        ("engine.max_num_seqs", Value::Int(256)),
    ];
    let deployment = deploy(&study, SHORT, &values).unwrap();
    let engine = &pool(&deployment).engine;
    assert_eq!((engine.backend, engine.waiting_order), (Backend::Sglang, WaitingOrder::LongestPrefix));
    assert_eq!((engine.max_prefill_tokens, engine.schedule_conservativeness), (4096, 0.3));
    let trtllm = [("engine.backend", Value::Text("trtllm".into())), ("engine.max_num_seqs", Value::Int(256))];
    assert_eq!(deploy(&study, SHORT, &trtllm).unwrap_err().code, RefusalCode::Limits);
}

#[test]
fn a_whole_space_is_deployed_or_refused_alike_every_time() {
    let study = study(&["hardware.max_gpus=16"]);
    let workload = workload(SHORT);
    let (once, again) = (Deployer::new(&study, &workload), Deployer::new(&study, &workload));
    let mut refused = 0;
    for candidate in study.space.enumerate() {
        let (a, b) = (once.deployment(&candidate), again.deployment(&candidate));
        refused += usize::from(a.is_err());
        let shown = |d: Deployment| format!("{} x {:?}, {:?}", pool(&d).workers, pool(&d).engine, d.router);
        assert_eq!(a.map(shown), b.map(shown));
    }
    assert!(refused > 0 && (refused as f64) < study.space.size());
}
