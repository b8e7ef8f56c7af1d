//! What is fuzzed: each reader of files that others wrote, as a function of bytes. The functions return
//! whatever the reader says, and panic when it panics or breaks a promise. `cargo fuzz` drives them from
//! `fuzz_targets/`, `tests/fuzz_seeds.rs` over the seeds.
#![allow(dead_code, reason = "each target is a program of its own")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::UNIX_EPOCH;

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use servescout::archive::{Batch, RunDir, Setup};
use servescout::catalog::{self, Backend, Dtype};
use servescout::evaluator::Evaluator;
use servescout::search::Evaluate;
use servescout::space::{self, Candidate, Deployer, Study};
use servescout::timing::perfdb::format::Quant;
use servescout::timing::perfdb::{Composition, PerfDb};
use servescout::timing::{Calibration, Timing, TimingSpec, WorkerShape};
use servescout::twin::deployment::{Deployment, EngineConfig, Pool, Topology};
use servescout::twin::{self, Status};
use servescout::validate::{measured as measurements, points};
use servescout::workload::{self, Load, SourceSpec, Workload, WorkloadSpec};
use sha2::{Digest, Sha256};

/// A name, and what does something with bytes.
pub type Target = (&'static str, fn(&[u8]));

/// The targets.
pub const TARGETS: [Target; 5] =
    [("archive", archive), ("measured", measured), ("perfdb", perfdb), ("space", space), ("trace", trace)];

/// A directory of this process, in memory where there is such a place.
static SCRATCH: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
    tempfile::tempdir_in(place).expect("a place for scratch files")
});

fn scratch(name: &str) -> PathBuf {
    SCRATCH.path().join(name)
}

fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().expect("within a directory")).expect("scratch directories");
    fs::write(path, bytes).expect("scratch files");
}

/// A search space: parsed as one and as a single deployment; where it is legal its candidates have ids and
/// deployments, the pinned text of one says the same again, and small ones are simulated.
pub fn space(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let path = scratch("space/space.toml");
    match space::parse(text, Some(&path), &[]) {
        Ok(study) => explore(&study),
        Err(errors) => assert!(!errors.to_string().is_empty()),
    }
    match space::parse_replay(text, Some(&path), &[]) {
        Ok(study) => explore(&study),
        Err(errors) => assert!(!errors.to_string().is_empty()),
    }
}

fn explore(study: &Study) {
    let (space, knobs) = (&study.space, study.space.knobs.len());
    assert!(space.size() >= 1.0);
    let requests = small_workload();
    // A database lies outside of what is fuzzed here.
    let is_synthetic = !matches!(study.timing, TimingSpec::PerfDb(_));
    let is_small = study.worker_shapes().len() <= 16;
    let deployer = (is_synthetic && is_small).then(|| Deployer::new(study, &requests));
    for share in [0.0, 0.3, 0.999] {
        let candidate = space.from_unit(&vec![share; knobs]);
        assert!(space.contains(&candidate));
        let (id, pinned) = (space.id(&candidate), study.candidate_toml(&candidate, SCRATCH.path()));
        if let Ok(again) = space::parse_replay(&pinned, Some(&scratch("candidate.toml")), &[]) {
            let only = again.space.canonical(&vec![0; again.space.knobs.len()]);
            assert_eq!(again.space.id(&only), id, "{pinned}");
        }
        let Some(Ok(deployment)) = deployer.as_ref().map(|d| d.deployment(&candidate)) else { continue };
        if deployment.topology.gpus() <= 256 {
            let outcome = twin::simulate(&deployment, &requests, 1, true);
            let records = outcome.requests.expect("asked for");
            assert!(deployment.planner.is_some() || records.iter().all(|r| r.status != Status::Unfinished));
        }
    }
}

fn small_workload() -> Workload {
    let rows = "{\"timestamp\":0,\"input_length\":700,\"output_length\":9,\"hash_ids\":[1,2]}\n".repeat(6);
    let path = scratch("small.jsonl");
    if !path.exists() {
        write(&path, rows.as_bytes());
    }
    workload::load(&WorkloadSpec::trace(path)).expect("a legal trace")
}

/// A trace of any format: read in open and closed loop, described, written and read again, and simulated
/// where it is short.
pub fn trace(data: &[u8]) {
    let path = scratch("trace/trace");
    write(&path, data);
    let spec = WorkloadSpec::new(SourceSpec::Trace { path: path.clone(), block_tokens: 512 });
    for spec in [
        spec.clone(),
        WorkloadSpec { concurrency: Some(2), limit: Some(3), ..spec.clone() },
        WorkloadSpec { grows: Some(true), speedup: 0.37, ..spec },
    ] {
        match workload::load_with_notes(&spec) {
            Ok(loaded) => used(&loaded.workload),
            Err(error) => {
                let message = error.to_string();
                assert!(message.contains("help:") && message.len() < 4000, "{message}");
            }
        }
    }
}

fn used(workload: &Workload) {
    assert!(!workload.requests.is_empty());
    let stats = workload::stats(workload);
    let _ = format!("{stats:?}");
    let mut written = Vec::new();
    workload::write_mooncake(workload, &mut written).expect("into memory");
    let tokens: u64 = workload.requests.iter().map(|r| u64::from(r.input_tokens) + u64::from(r.output_tokens)).sum();
    if workload.load == Load::Open && written.len() < 1 << 20 {
        let path = scratch("trace/again");
        write(&path, &written);
        let source = SourceSpec::Trace { path, block_tokens: workload.block_tokens };
        let again = workload::load(&WorkloadSpec::new(source)).expect("what was written is legal");
        assert_eq!(again.requests.len(), workload.requests.len());
    }
    if workload.requests.len() <= 64 && tokens < 1 << 17 {
        let outcome = twin::simulate(&plain(), workload, 1, true);
        let records = outcome.requests.expect("asked for");
        assert!(records.iter().all(|r| r.status != Status::Unfinished), "{records:?}");
    }
}

fn plain() -> Deployment {
    Deployment::new(Topology::Aggregated(Pool {
        workers: 2,
        gpus_per_worker: 1,
        engine: EngineConfig { gpu_blocks: 2048, ..Default::default() },
        timing: Timing::Polynomial { floor_means: false },
    }))
}

/// Results of benchmarks, points measured on GPUs, a calibration.
pub fn measured(data: &[u8]) {
    let path = scratch("measured/results");
    write(&path, data);
    match measurements::read(&path) {
        Ok(found) => assert!(found.iter().all(|m| m.values.iter().all(|v| v.is_nan() || v.is_finite()))),
        Err(message) => assert!(message.contains("results"), "{message}"),
    }
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = points::read(text);
    }
    let _ = Calibration::read(&path);
}

const DESCRIPTIONS: [(&str, &str); 3] = [
    ("query_versions.yaml", "defaults: {vllm: {current: '1.0'}}\n"),
    (
        "gpu.yaml",
        "gpu: {mem_bw: 4.8e12, mem_bw_empirical_scaling_factor: 0.8, mem_empirical_constant_latency: 3.0e-6,\n  \
         bfloat16_tc_flops: 9.9e14, fp8_tc_flops: 1.98e15, sm_version: 90}\n\
         node: {num_gpus_per_node: 8, intra_node_bw: 4.5e11, inter_node_bw: 5.0e10}\n",
    ),
    ("attention_lane_defaults.yaml", "vllm: {'1.0': {90: flash}}\n"),
];
const TABLES: [&str; 4] = [
    "data/gpu/gemm/vllm/1.0/gemm_perf.parquet",
    "data/gpu/attention/vllm/1.0/context_attention_perf.parquet",
    "data/gpu/attention/vllm/1.0/generation_attention_perf.parquet",
    "data/gpu/comm/vllm/1.0/custom_allreduce_perf.parquet",
];

/// Integer columns, and text columns with the text that all rows have.
type Columns = (&'static [&'static str], &'static [(&'static str, &'static str)]);

/// The files of a small database: names and content.
pub fn database() -> Vec<(&'static str, Vec<u8>)> {
    let columns: [Columns; 4] = [
        (&["m", "n", "k"], &[("gemm_dtype", "bfloat16")]),
        (
            &["num_heads", "num_key_value_heads", "head_dim", "window_size", "batch_size", "isl", "step"],
            &[("attn_dtype", "bfloat16"), ("kv_cache_dtype", "bfloat16"), ("kernel_source", "flash")],
        ),
        (
            &["num_heads", "num_key_value_heads", "head_dim", "window_size", "batch_size", "isl", "step"],
            &[("attn_dtype", "bfloat16"), ("kv_cache_dtype", "bfloat16"), ("kernel_source", "flash")],
        ),
        (&["num_gpus", "message_size"], &[("kernel_source", "nccl")]),
    ];
    let texts = DESCRIPTIONS.map(|(name, text)| (name, text.as_bytes().to_vec()));
    let tables = TABLES.iter().zip(columns).map(|(&name, (integers, texts))| (name, table(integers, texts)));
    texts.into_iter().chain(tables).collect()
}

/// Sixty-four rows over a grid of sizes.
fn table(integers: &[&str], texts: &[(&str, &str)]) -> Vec<u8> {
    const ROWS: i64 = 64;
    let value = |name: &str, row: i64| match name {
        "num_heads" => 64,
        "num_key_value_heads" => 8,
        "head_dim" => 128,
        "window_size" => 0,
        "num_gpus" => 2 << (row % 3),
        "n" | "k" => 1 << (10 + row % 4),
        "batch_size" => 1 << (row % 8),
        _ => 1 << (row / 4),
    };
    let column = |name: &str| Arc::new(Int64Array::from_iter_values((0..ROWS).map(|r| value(name, r)))) as ArrayRef;
    let text = |value: &str| Arc::new(StringArray::from(vec![value; ROWS as usize])) as ArrayRef;
    let latency = Arc::new(Float64Array::from_iter_values((0..ROWS).map(|r| 0.01 + r as f64 / 50.0))) as ArrayRef;
    let columns = integers.iter().map(|&name| (name, column(name)));
    let columns = columns.chain(texts.iter().map(|&(name, value)| (name, text(value)))).chain([("latency", latency)]);
    let batch = RecordBatch::try_from_iter(columns).expect("columns of one length");
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).expect("a writer");
    writer.write(&batch).expect("into memory");
    writer.close().expect("into memory");
    bytes
}

/// A database of measured pass times, one of whose files is `data` but for the first byte, which says which.
pub fn perfdb(data: &[u8]) {
    static FILES: LazyLock<Vec<(&'static str, Vec<u8>)>> = LazyLock::new(database);
    let Some((&which, content)) = data.split_first() else { return };
    let systems = scratch("perfdb");
    for (index, (name, sound)) in FILES.iter().enumerate() {
        let path = systems.join(name);
        let is_fuzzed = index == usize::from(which) % FILES.len();
        if is_fuzzed {
            write(&path, content);
        } else if !fs::metadata(&path).is_ok_and(|m| m.len() == sound.len() as u64) {
            write(&path, sound);
        }
    }
    let answers = PerfDb::open(&systems, "gpu", Backend::Vllm, None).and_then(|db| {
        let shape = WorkerShape {
            model: catalog::model("Qwen/Qwen3-32B").expect("in the catalogue").clone(),
            gpu: catalog::gpu("h200_sxm").expect("in the catalogue").clone(),
            backend: Backend::Vllm,
            dtype: Dtype::Bf16,
            kv_dtype: Dtype::Bf16,
            tp: 2,
        };
        let composed = Composition::new(&db, &shape, Quant::parse("bf16").expect("a format"), false)?;
        let passes = [composed.tokens_ms(300.0), composed.prefill_attention_ms(1.0, 900.0)];
        let decoding = [composed.decode_attention_ms(7.0, 2000.0), composed.sampled_ms(7.0)];
        Ok([passes, decoding].concat())
    });
    // The sound file again, for the next.
    let (name, sound) = &FILES[usize::from(which) % FILES.len()];
    write(&systems.join(name), sound);
    match answers {
        Ok(ms) => assert!(ms.iter().all(|ms| ms.is_finite() && *ms >= 0.0), "{ms:?}"),
        Err(message) => assert!(!message.is_empty()),
    }
}

const STUDY: &str = r#"
[study]
name = "fuzz"
[model]
name = "Qwen/Qwen3-32B"
[hardware]
gpu = "h200_sxm"
max_gpus = 16
usd_per_gpu_hour = 4.0
[workload.synthetic]
sessions = 10
input_tokens = 500
output_tokens = 20
arrivals = { kind = "poisson", rate_per_s = 2.0 }
[timing]
kind = "fixed"
prefill_ms = 20.0
decode_ms = 8.0
[knobs]
aggregated.tp = [1, 2, 4]
aggregated.workers = [1, 2, 3, 4]
router.policy = ["round_robin", "kv"]
router.temperature = [0.0, 0.5]
[objectives]
minimize = ["usd_per_mtok_output", "ttft_p90_ms"]
[search]
batch = 4
"#;

/// A run of two batches: its study, its manifest and the batches' bytes.
pub struct Sound {
    study: Study,
    pub manifest: Vec<u8>,
    pub batches: [Vec<u8>; 2],
}

/// That run, made once.
pub fn sound_run() -> &'static Sound {
    static SOUND: LazyLock<Sound> = LazyLock::new(|| {
        let study = space::parse(STUDY, None, &[]).unwrap_or_else(|e| panic!("{e}"));
        let path = scratch("sound");
        let requests = workload::load(&study.workload).expect("a generator");
        let setup = Setup {
            seed: 1,
            strategy: "grid".into(),
            budget: 8,
            batch: 4,
            workload_source: requests.source.clone(),
            workload_sha256: requests.sha256.clone(),
            workload_requests: requests.requests.len(),
            timing: vec![],
            threads: 1,
        };
        let mut run = RunDir::create(&path, &study, &setup, UNIX_EPOCH).expect("a new directory");
        let evaluator = Evaluator::new(&study, &requests, 1);
        let candidates: Vec<Candidate> = study.space.enumerate().take(8).collect();
        for (index, chunk) in candidates.chunks(4).enumerate() {
            let evaluations = chunk.iter().map(|candidate| evaluator.evaluate(candidate)).collect();
            let batch = Batch { index: index as u32, strategy: "grid".into(), evaluations };
            run.commit(&study, &batch).expect("a new batch");
        }
        let read = |name: &str| fs::read(path.join(name)).expect("it was written");
        let batches = ["evaluations/batch-000000.parquet", "evaluations/batch-000001.parquet"].map(read);
        Sound { manifest: read("manifest.toml"), batches, study }
    });
    &SOUND
}

/// A run directory one of whose files is `data` but for the first byte: its manifest, its second batch as it
/// is, or its second batch with a seal that fits.
pub fn archive(data: &[u8]) {
    let path = scratch("archive");
    if !forged_run(&path, data) {
        return;
    }
    let run = match RunDir::open(&path) {
        Ok(run) => run,
        Err(error) => return assert!(error.to_string().contains("archive"), "{error}"),
    };
    let sound = sound_run();
    match run.batches(&sound.study) {
        Ok(batches) => {
            // What is read is of the study, whoever wrote it.
            for evaluation in batches.iter().flat_map(|b| &b.evaluations) {
                assert!(sound.study.space.contains(&evaluation.candidate));
            }
            run.write_frontier(&sound.study, &batches).expect("a scratch file");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Writes the run directory that [`archive`] opens; whether there is one.
pub fn forged_run(path: &Path, data: &[u8]) -> bool {
    let Some((&which, content)) = data.split_first() else { return false };
    let sound = sound_run();
    let (mut manifest, mut batch) = (sound.manifest.clone(), sound.batches[1].clone());
    match which % 3 {
        0 => manifest = content.to_vec(),
        1 => batch = content.to_vec(),
        _ => batch = sealed(content.to_vec()),
    }
    write(&path.join("manifest.toml"), &manifest);
    write(&path.join("evaluations/batch-000000.parquet"), &sound.batches[0]);
    write(&path.join("evaluations/batch-000001.parquet"), &batch);
    true
}

/// The bytes with a digest that fits in the place of their seal, if they have one (as `archive/seal.rs` says).
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let place = bytes.windows(7).rposition(|window| window == b"sha256:").map(|at| at + 7);
    let Some(place) = place.filter(|place| place + 64 <= bytes.len()) else { return bytes };
    bytes[place..place + 64].fill(b'0');
    let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    bytes[place..place + 64].copy_from_slice(digest.as_bytes());
    bytes
}
