//! Calibrated pass times: factors in the tables, and a calibration from the space to the metrics.

use std::fs;
use std::sync::Arc;

use serde_json::Value as Json;
use servescout::catalog::{self, Backend, Dtype};
use servescout::space::parse;
use servescout::timing::calibration::Factors;
use servescout::timing::{
    Calibration, Corrected, PassFactors, PassLoad, SurfaceOptions, Timing, TimingSpec, WorkerShape,
};

use crate::cli_common::{SMALL, arg, run_to, small_search};
use crate::fixture::TEXT;

fn shape() -> WorkerShape {
    WorkerShape {
        model: catalog::model("Qwen/Qwen3-32B").unwrap().clone(),
        gpu: catalog::gpu("h200_sxm").unwrap().clone(),
        backend: Backend::Vllm,
        dtype: Dtype::Fp8,
        kv_dtype: Dtype::Bf16,
        tp: 2,
    }
}

fn bare() -> Timing {
    TimingSpec::Surface(SurfaceOptions { host_ms: Some(0.0), ..SurfaceOptions::default() }).build(&shape()).unwrap()
}

const FACTORS: PassFactors =
    PassFactors { prefill: 1.2, decode: 0.9, host_ms: 3.0, prompt_host_ms: 2.0, request_ms: 5.0 };

#[test]
fn factors_in_the_tables_are_those_around_them() {
    let baked = TimingSpec::default().build_corrected(&shape(), FACTORS).unwrap();
    assert!(matches!(baked, Timing::Surface(_)), "asking costs what it did");
    let around = Timing::Corrected(Arc::new(Corrected::new(bare(), FACTORS)));
    let near = |a: f64, b: f64, what: &str| assert!((a - b).abs() <= 2e-5 * b.abs(), "{what}: {a} {b}");
    let mut passes = 0;
    for seqs in [0u32, 1, 7, 64, 300, 1500] {
        for mean in [1u64, 900, 20_000] {
            let decoding = PassLoad::decode(seqs, u64::from(seqs) * mean, 1 << 20);
            for (new, prefix) in [(0, 0), (300, 0), (4096, 0), (64, 30_000), (17_000, 500)] {
                let load = if new == 0 { decoding } else { decoding.with_prefill(new, prefix, true) };
                let load = PassLoad { draft_tokens: if seqs == 64 { 128 } else { 0 }, ..load };
                near(baked.pass_ms(&load), around.pass_ms(&load), &format!("{load:?}"));
                passes += usize::from(load != PassLoad::default());
            }
            let (a, b) =
                (baked.decode_run(seqs, u64::from(seqs) * mean, 0), around.decode_run(seqs, u64::from(seqs) * mean, 0));
            near(a.base_ms, b.base_ms, "base");
            assert_eq!(a.passes, b.passes);
        }
    }
    assert!(passes > 60);
    assert!((baked.request_ms(), around.request_ms()) == (5.0, 5.0));
    assert!(baked.provenance().label.contains("prefill x 1.2"), "{}", baked.provenance().label);
    let none = PassFactors { prefill: 1.0, decode: 1.0, host_ms: 0.0, prompt_host_ms: 0.0, request_ms: 0.0 };
    let same = TimingSpec::default().build_corrected(&shape(), none).unwrap();
    let load = PassLoad::decode(9, 9000, 0).with_prefill(512, 64, true);
    assert_eq!(same.pass_ms(&load), bare().pass_ms(&load), "no correction changes no bit");
}

/// A calibration of vLLM alone, in a file.
fn file(directory: &std::path::Path, factors: Factors) -> std::path::PathBuf {
    let mut calibration = Calibration::embedded();
    (calibration.sglang, calibration.trtllm) = (None, None);
    calibration.vllm.as_mut().unwrap().factors = factors;
    let path = directory.join("calibration.toml");
    fs::write(&path, calibration.to_toml()).unwrap();
    path
}

#[test]
fn a_replay_under_a_calibration_is_slower_by_what_it_says() {
    let directory = tempfile::tempdir().unwrap();
    let replay = |more: &[&str]| -> Json {
        let pinned = [
            "--set=aggregated.tp=2",
            "--set=aggregated.workers=8",
            "--set=engine.max_num_seqs=128",
            "--set=engine.max_num_batched_tokens=8192",
            "--set=router.policy=\"round_robin\"",
            "--json",
        ];
        let args: Vec<&str> = ["replay"]
            .into_iter()
            .chain(SMALL[..2].iter().copied())
            .chain(pinned)
            .chain(more.iter().copied())
            .collect();
        serde_json::from_str(&run_to(0, &args).0).unwrap()
    };
    let metric = |json: &Json, name: &str| json["metrics"][name].as_f64().unwrap();
    let plain = replay(&[]);
    // What the run has without any, said as a calibration.
    let own = file(directory.path(), Factors { host_ms: 1.15, ..Factors::NONE });
    let same = replay(&["--calibration", arg(&own)]);
    for name in ["ttft_p90_ms", "tpot_mean_ms", "e2e_p99_ms"] {
        assert!((metric(&same, name) / metric(&plain, name) - 1.0).abs() < 1e-6, "{name}");
    }
    let later = file(directory.path(), Factors { host_ms: 1.15, request_ms: 7.0, ..Factors::NONE });
    let later = replay(&["--calibration", arg(&later)]);
    assert!((metric(&later, "tpot_mean_ms") / metric(&plain, "tpot_mean_ms") - 1.0).abs() < 0.05);
    let shift = metric(&later, "ttft_p50_ms") - metric(&plain, "ttft_p50_ms");
    assert!((shift - 7.0).abs() < 2.0, "{shift}");
    let slow = file(directory.path(), Factors { decode: 2.0, host_ms: 1.15, ..Factors::NONE });
    let slow = replay(&["--calibration", arg(&slow)]);
    assert!(metric(&slow, "tpot_p50_ms") > 1.6 * metric(&plain, "tpot_p50_ms"));
    let default = replay(&["--set=timing.calibration=\"default\""]);
    assert!(metric(&default, "ttft_p50_ms") > metric(&plain, "ttft_p50_ms") + 6.0);
}

#[test]
fn mistakes_are_named_where_they_are() {
    let directory = tempfile::tempdir().unwrap();
    let own = file(directory.path(), Factors::NONE);
    let errors = |timing: &str, knobs: &str| {
        let text = TEXT.replace("[knobs]", &format!("[timing]\n{timing}\n[knobs]\n{knobs}"));
        parse(&text, None, &[]).unwrap_err().to_string()
    };
    let with = |path: &std::path::Path| format!("calibration = {:?}", path.display().to_string());
    assert!(errors("calibration = \"nowhere.toml\"", "").contains("nowhere.toml"));
    assert!(errors(&with(&own), "engine.backend = [\"vllm\", \"sglang\"]").contains("no [sglang]"));
    let text = TEXT.replace("[knobs]", &format!("[timing]\n{}\nhost_ms = 2.0\n[knobs]\n", with(&own)));
    let warned = parse(&text, None, &[]).unwrap().warnings;
    assert!(warned[0].to_string().contains("`timing.host_ms` has no effect"), "{}", warned[0]);
    fs::write(&own, "version = 1\nsource = \"x\"\n[vllm]\npoints = 3\n").unwrap();
    assert!(errors(&with(&own), "").contains("factors"));
}

#[test]
fn a_search_keeps_its_calibration() {
    let directory = tempfile::tempdir().unwrap();
    let own = file(directory.path(), Factors { prefill: 1.5, host_ms: 2.0, ..Factors::NONE });
    let run = directory.path().join("run");
    run_to(0, &small_search(&run, &["--budget", "12", "--threads", "2", "--calibration", arg(&own)]));
    // Entries replay under it, from where they lie.
    let entries = fs::read_dir(run.join("shortlist")).unwrap();
    let entry = entries.map(|e| e.unwrap().path()).find(|p| p.is_dir()).unwrap();
    let text = fs::read_to_string(entry.join("candidate.toml")).unwrap();
    assert!(text.contains("calibration.toml"), "{text}");
    let replayed: Json =
        serde_json::from_str(&run_to(0, &["replay", arg(&entry.join("candidate.toml")), "--json"]).0).unwrap();
    let expected: Json = serde_json::from_str(&fs::read_to_string(entry.join("expected.json")).unwrap()).unwrap();
    assert_eq!(replayed["metrics"]["ttft_p90_ms"], expected["metrics"]["ttft_p90_ms"]["value"]);
    // Another content of the file is another run.
    file(directory.path(), Factors { prefill: 1.4, host_ms: 2.0, ..Factors::NONE });
    let (_, error) = run_to(2, &["search", "--resume", arg(&run)]);
    assert!(error.contains("other pass times"), "{error}");
}
