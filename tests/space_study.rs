//! What a search space says becomes a study: types, defaults, overrides, candidates.

use std::path::{Path, PathBuf};

use servescout::catalog::Dtype;
use servescout::space::{self, Candidate, Study, Value};
use servescout::timing::TimingSpec;
use servescout::twin::metrics;
use servescout::workload::SourceSpec;
use servescout::workload::spec::{Arrivals, Lengths, Window};

/// The sample of the design, with what this version simulates.
const SAMPLE: &str = r#"
[study]
name = "qwen3-32b-h200"
seed = 7

[model]
name = "Qwen/Qwen3-32B"
dtype = "fp8"

[hardware]
gpu = "h200_sxm"
max_gpus = 32
usd_per_gpu_hour = 4.10

[workload]
trace = "tests/fixtures/spaces/base.toml"
speedup = 1.0
window = { start_s = 0, end_s = 600 }
limit = 500

[knobs]
deployment.mode         = ["aggregated"]
engine.backend          = ["vllm"]
engine.max_num_seqs     = [64, 128, 256, 512]
engine.max_num_batched_tokens = [2048, 4096, 8192, 16384]
aggregated.tp           = [1, 2, 4, 8]
aggregated.workers      = { min = 1, max = 16 }
router.policy           = ["round_robin", "least_loaded", "power_of_two", "kv"]
router.overlap_credit   = { min = 0.0, max = 2.0, step = 0.25 }
router.prefill_load_scale = { values = [0.0, 0.25, 0.5, 1.0, 2.0, 4.0] }
router.temperature      = { min = 0.0, max = 1.0, step = 0.1 }

[objectives]
minimize = ["usd_per_mtok_output", "ttft_p90_ms"]
[constraints]
ttft_p99_ms = { max = 4000 }
itl_p90_ms  = { max = 60 }

[search]
strategy = "coordinate"
budget = 2000
[shortlist]
size = 6
"#;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sample(overrides: &[&str]) -> Study {
    let overrides: Vec<String> = overrides.iter().map(|s| (*s).to_owned()).collect();
    space::parse(SAMPLE, Some(&root().join("sample.toml")), &overrides).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn the_designs_sample_is_read_whole() {
    let study = sample(&[]);
    assert_eq!((study.name.as_str(), study.seed), ("qwen3-32b-h200", 7));
    assert_eq!((study.model.name.as_ref(), study.dtype, study.kv_dtype), ("Qwen/Qwen3-32B", Dtype::Fp8, Dtype::Bf16));
    assert_eq!((study.gpu.name.as_ref(), study.max_gpus, study.usd_per_gpu_hour), ("h200_sxm", 32, 4.10));
    assert_eq!(study.timing, TimingSpec::default(), "measured tables");
    let trace = root().join("tests/fixtures/spaces/base.toml");
    assert_eq!(study.workload.source, SourceSpec::Trace { path: trace, block_tokens: 512 });
    assert_eq!(study.workload.window, Some(Window { start_s: 0.0, end_s: 600.0 }));
    assert_eq!((study.workload.speedup, study.workload.concurrency, study.workload.limit), (1.0, None, Some(500)));
    let objectives: Vec<_> = study.objectives.iter().map(|o| (metrics::METRICS[o.metric].name, o.maximize)).collect();
    assert_eq!(objectives, [("usd_per_mtok_output", false), ("ttft_p90_ms", false)]);
    let constraints: Vec<_> =
        study.constraints.iter().map(|c| (metrics::METRICS[c.metric].name, c.min, c.max)).collect();
    assert_eq!(constraints, [("ttft_p99_ms", None, Some(4000.0)), ("itl_p90_ms", None, Some(60.0))]);
    assert_eq!((study.search.strategy.as_str(), study.search.budget, study.search.batch), ("coordinate", 2000, 16));
    assert_eq!(study.shortlist_size, 6);
    assert_eq!(study.text, SAMPLE, "without overrides the text is the user's own");
    assert!(study.warnings.is_empty());
}

#[test]
fn the_size_counts_what_is_distinct() {
    // Per worker count above one: three plain policies, and for kv either no prefill weight (no
    // credit) or one of five with nine credits, each with eleven temperatures.
    let kv = (1 + 5 * 9) * 11;
    let per_limits = 4 * (1 + 15 * (3 + kv));
    assert_eq!(sample(&[]).space.size(), f64::from(4 * 4 * per_limits));
}

#[test]
fn knobs_that_were_left_out_have_their_defaults() {
    let study = sample(&[]);
    let summaries = study.knob_summaries();
    let find = |name: &str| summaries.iter().find(|k| k.name == name);
    let block_size = find("engine.block_size").unwrap();
    assert_eq!((block_size.values, block_size.is_given), (&[Value::Int(64)][..], false));
    assert!(find("aggregated.tp").unwrap().is_given);
    assert_eq!(find("router.policy").unwrap().active_when, ["`aggregated.workers` is not 1 or there is a planner"]);
    assert!(find("engine.gpu_blocks").is_none(), "it comes from the memory model");
    assert!(find("deployment.mode").unwrap().active_when.is_empty());
}

#[test]
fn the_order_of_the_file_changes_nothing() {
    let mut lines: Vec<&str> = SAMPLE.lines().collect();
    let first = lines.iter().position(|l| l.starts_with("deployment.mode")).unwrap();
    let last = lines.iter().position(|l| l.starts_with("router.temperature")).unwrap();
    lines[first..=last].reverse();
    let reversed = space::parse(&lines.join("\n"), Some(&root().join("sample.toml")), &[]).unwrap();
    assert_eq!(reversed.space, sample(&[]).space);
}

#[test]
fn dotted_keys_quoted_keys_and_tables_mean_the_same() {
    let base = std::fs::read_to_string(root().join("tests/fixtures/spaces/base.toml")).unwrap();
    let knobs = "engine.max_num_seqs = [64, 128, 256]\n";
    let space =
        |with: &str| space::parse(&base.replace(knobs, with), None, &[]).unwrap_or_else(|e| panic!("{e}")).space;
    let dotted = space(knobs);
    assert_eq!(space("engine = { max_num_seqs = [64, 128, 256] }\n"), dotted);
    assert_eq!(space("\"engine.max_num_seqs\" = [64, 128, 256]\n"), dotted);
    let table =
        base.replace(knobs, "").replace("[objectives]", "[knobs.engine]\nmax_num_seqs = [256, 64, 128]\n[objectives]");
    assert_eq!(space::parse(&table, None, &[]).unwrap().space, dotted);
}

#[test]
fn overrides_take_the_place_of_what_the_file_says() {
    let study = sample(&[
        "engine.max_num_seqs=[32,64]",
        "knobs.engine.block_size=16",
        "router.policy=kv",
        "router.overlap_credit.max=0.5",
        "search.budget=10",
        "constraints.itl_p90_ms={max=20}",
        "study.name=other",
    ]);
    let values = |name: &str| study.space.knobs[study.space.find(name).unwrap()].domain.values.clone();
    assert_eq!(values("engine.max_num_seqs"), [Value::Int(32), Value::Int(64)]);
    assert_eq!(values("engine.block_size"), [Value::Int(16)]);
    assert_eq!(values("router.policy"), [Value::Text("kv".into())]);
    assert_eq!(values("router.overlap_credit"), [Value::Real(0.0), Value::Real(0.25), Value::Real(0.5)]);
    assert_eq!((study.search.budget, study.name.as_str()), (10, "other"));
    assert_eq!(study.constraints[1].max, Some(20.0));
}

/// Everything but the texts and the places.
fn content(study: &Study) -> String {
    let mut study = study.clone();
    study.text = String::new();
    study.warnings.clear();
    let debug = format!("{study:?}");
    debug[..debug.find("document:").unwrap()].to_owned()
}

#[test]
fn the_text_with_overrides_reads_as_the_same_study() {
    let study =
        sample(&["engine.max_num_seqs=[32,64]", "workload.concurrency=64", "workload={ trace = 'Cargo.toml' }"]);
    let again = space::parse(&study.text, study.path.as_deref(), &[]).unwrap_or_else(|e| panic!("{e}\n{}", study.text));
    let trace = |s: &Study| match &s.workload.source {
        SourceSpec::Trace { path, .. } => path.canonicalize().unwrap(),
        other => panic!("{other:?}"),
    };
    assert_eq!(trace(&study), root().join("Cargo.toml").canonicalize().unwrap(), "relative to the current directory");
    assert_eq!(trace(&again), trace(&study));
    let same_path = |mut s: Study| {
        s.workload.source = SourceSpec::Trace { path: PathBuf::new(), block_tokens: 1 };
        content(&s)
    };
    assert_eq!(same_path(again), same_path(study));
}

#[test]
fn a_candidate_replays_as_it_is() {
    let study = sample(&[]);
    let directory = tempfile::tempdir().unwrap();
    for level in [0, 1, 3, 100] {
        let candidate = study.space.canonical(&vec![level; study.space.knobs.len()]);
        let path = directory.path().join("candidate.toml");
        std::fs::write(&path, study.candidate_toml(&candidate, directory.path())).unwrap();
        let replay = space::load_replay(&path, &[]).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(replay.space.size(), 1.0);
        let only = replay.space.enumerate().next().unwrap();
        assert_eq!(replay.space.id(&only), study.space.id(&candidate), "the id is the candidate's own");
        assert_eq!(replay.usd_per_gpu_hour, study.usd_per_gpu_hour);
        match (&replay.workload.source, &study.workload.source) {
            (SourceSpec::Trace { path: a, .. }, SourceSpec::Trace { path: b, .. }) => {
                assert_eq!(a.canonicalize().unwrap(), b.canonicalize().unwrap());
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_candidate_carries_its_generator() {
    let study = space::load(&root().join("search-spaces/quickstart.toml"), &["sla={ttft_ms=500}".to_owned()]).unwrap();
    let candidate = study.space.canonical(&vec![2; study.space.knobs.len()]);
    let text = study.candidate_toml(&candidate, root());
    let replay = space::parse_replay(&text, None, &[]).unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert_eq!((&replay.workload, replay.sla), (&study.workload, study.sla));
    assert_eq!((replay.seed, &replay.name, &replay.timing), (study.seed, &study.name, &study.timing));
    assert_eq!(replay.space.id(&replay.space.enumerate().next().unwrap()), study.space.id(&candidate));
}

#[test]
fn a_replay_needs_neither_objectives_nor_search() {
    let text = "
        model.name = 'Qwen/Qwen3-32B'
        hardware = { gpu = 'h200', max_gpus = 64 }
        workload = { trace = 'Cargo.toml', concurrency = 64 }
        timing = { kind = 'fixed', prefill_ms = 10, decode_ms = 1.5 }
        twin = { peer_compat = true, pass_by_pass = true }
        knobs = { aggregated = { tp = 1, workers = 4 } }
    ";
    let study =
        space::parse_replay(text, Some(&root().join("My study (1).toml")), &[]).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(study.name, "My-study--1", "named after the file");
    assert_eq!(study.timing, TimingSpec::Fixed { prefill_ms: 10.0, decode_ms: 1.5 });
    assert_eq!((study.workload.concurrency, study.peer_compat, study.pass_by_pass), (Some(64), true, true));
    assert!(study.objectives.is_empty());
    assert_eq!(study.gpu.name, "h200_sxm", "an alias of the catalogue");
    assert!(space::parse(text, Some(&root().join("x.toml")), &[]).is_err(), "a search needs objectives");
}

#[test]
fn the_generator_is_read_in_all_its_forms() {
    let study = |synthetic: &str| {
        let text = format!(
            "[model]\nname = 'Qwen/Qwen3-32B'\n[hardware]\ngpu = 'h200_sxm'\nmax_gpus = 4\n[workload.synthetic]\n{synthetic}\n[knobs]\naggregated = {{ tp = 1, workers = 1 }}\n"
        );
        match space::parse_replay(&text, None, &[]).unwrap_or_else(|e| panic!("{e}")).workload.source {
            SourceSpec::Synthetic(spec) => spec,
            other => panic!("{other:?}"),
        }
    };
    let spec = study(
        "sessions = 10\nturns = 3\nseed = 5\narrivals = { rate_per_s = 2 }\ninput_tokens = 100\noutput_tokens = { mean = 50, std = 0 }",
    );
    assert_eq!((spec.sessions, spec.turns, spec.seed), (10, 3, 5));
    assert_eq!(spec.arrivals, Arrivals::Poisson { rate_per_s: 2.0 });
    assert_eq!(
        (spec.input_tokens, spec.output_tokens),
        (Lengths::Fixed(100), Lengths::Normal { mean: 50.0, std: 0.0 })
    );
    let lengths = "input_tokens = { kind = 'log_normal', mean = 100, std = 40 }\noutput_tokens = 1\nsessions = 1\n";
    let arrivals = |text: &str| study(&format!("{lengths}arrivals = {{ {text} }}")).arrivals;
    assert_eq!(arrivals("kind = 'burst'"), Arrivals::Burst);
    assert_eq!(arrivals("kind = 'constant', rate_per_s = 3"), Arrivals::Constant { rate_per_s: 3.0 });
    assert_eq!(
        arrivals("kind = 'gamma', rate_per_s = 3, burstiness = 2"),
        Arrivals::Gamma { rate_per_s: 3.0, burstiness: 2.0 }
    );
    assert_eq!(
        arrivals("kind = 'diurnal', rate_per_s = 3, swing = 0.5, period_s = 3600"),
        Arrivals::Diurnal { rate_per_s: 3.0, swing: 0.5, period_s: 3600.0 }
    );
    assert_eq!(
        study(&format!("{lengths}arrivals.kind = 'burst'")).input_tokens,
        Lengths::LogNormal { mean: 100.0, std: 40.0 }
    );
}

#[test]
fn a_model_can_be_described() {
    let text = "
        hardware = { gpu = 'h100_sxm', max_gpus = 8 }
        knobs = { aggregated = { tp = 4, workers = 1 } }
        [model]
        name = 'my own'
        dtype = 'fp8'
        [model.architecture]
        layers = 28
        hidden = 3584
        heads = 28
        kv_heads = 4
        ffn = 18944
        vocab = 152064
        moe = { experts = 8, top_k = 2, expert_ffn = 2048 }
        attention = { kind = 'sliding_window', window_tokens = 128, windowed_layers = 14 }
        [workload]
        trace = 'Cargo.toml'
    ";
    let study = space::parse_replay(text, Some(&root().join("x.toml")), &[]).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!((study.model.name.as_ref(), study.model.head_dim, study.dtype), ("my own", 128, Dtype::Fp8));
    assert_eq!(study.model.moe.unwrap().experts, 8);
    let refused = text.replace("kv_heads = 4", "kv_heads = 5");
    let errors = space::parse_replay(&refused, Some(&root().join("x.toml")), &[]).unwrap_err().0;
    assert!(errors[0].what.contains("multiple of kv_heads (5)"), "{}", errors[0]);
}

#[test]
fn surfaces_take_their_settings() {
    let study = sample(&["timing={ aic_parity = true, host_ms = 0.5, quant = 'fp8_static' }"]);
    let TimingSpec::Surface(options) = &study.timing else { panic!("{:?}", study.timing) };
    assert_eq!((options.aic_parity, options.host_ms, options.quant.as_deref()), (true, Some(0.5), Some("fp8_static")));
    let set = "timing.quant=int3".to_owned();
    let errors = space::parse(SAMPLE, Some(&root().join("sample.toml")), &[set]).unwrap_err().0;
    assert_eq!((errors[0].file.as_str(), errors[0].path.as_str()), ("--set", "timing.quant"));
    assert!(errors[0].what.contains("measured: "), "it lists what was measured: {}", errors[0].what);
}

#[test]
fn the_shipped_spaces_are_legal() {
    let spaces = root().join("search-spaces");
    let quickstart = space::load(&spaces.join("quickstart.toml"), &[]).unwrap_or_else(|e| panic!("{e}"));
    assert!(quickstart.space.size() > 1000.0);
    assert!(matches!(quickstart.workload.source, SourceSpec::Synthetic(_)), "it needs no download");
    let trace = "../shared/traces/mooncake_conversation.jsonl";
    if !root().join(trace).exists() {
        eprintln!("SKIPPED: conversation.toml and peer-vllm-8w.toml, because {trace} is not there");
        return;
    }
    let conversation = space::load(&spaces.join("conversation.toml"), &[]).unwrap_or_else(|e| panic!("{e}"));
    assert!(conversation.space.size() > 500.0);
    let peer = space::load_replay(&spaces.join("peer-vllm-8w.toml"), &[]).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(peer.timing, TimingSpec::Polynomial { floor_means: true });
    assert_eq!(peer.space.enumerate().count(), 1);
    let candidate: Candidate = peer.space.enumerate().next().unwrap();
    assert!(peer.space.describe(&candidate).contains(&("engine.gpu_blocks", "16384".to_owned())));
}
