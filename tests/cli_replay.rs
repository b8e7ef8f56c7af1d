//! `replay`: one object, one row per request, and the peer's figures.

use std::path::{Path, PathBuf};

use crate::cli_common::{arg, run_to};
use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value as Json;
use servescout::twin::metrics::METRICS;

const FIELDS: [&str; 19] = [
    "row",
    "session",
    "turn",
    "status",
    "arrival_ms",
    "ttft_ms",
    "e2e_ms",
    "tpot_ms",
    "input_tokens",
    "output_tokens",
    "reused_tokens",
    "preemptions",
    "worker",
    "prefill_worker",
    "queue_ms",
    "transfer_ms",
    "host_tokens",
    "disk_tokens",
    "tier_wait_ms",
];

/// The quickstart, pinned.
const PINNED: [&str; 8] = [
    "search-spaces/quickstart.toml",
    "--set=workload.synthetic.sessions=80",
    "--set=aggregated.tp=2",
    "--set=aggregated.workers=3",
    "--set=engine.max_num_seqs=64",
    "--set=engine.max_num_batched_tokens=4096",
    "--set=router.policy=random",
    "--set=sla.ttft_ms=500",
];

fn replay(more: &[&str]) -> (String, String) {
    let mut args = vec!["replay"];
    args.extend(PINNED);
    args.extend(more);
    run_to(0, &args)
}

fn json(more: &[&str]) -> Json {
    let mut args = vec!["--json"];
    args.extend(more);
    let (out, _) = replay(&args);
    serde_json::from_str(&out).expect("standard output is one JSON object")
}

#[test]
fn json_is_one_object_with_the_documented_parts() {
    let object = json(&[]);
    let keys: Vec<&str> = object.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["counts", "load_ms", "metrics", "passes", "steps", "wall_ms"]);
    let metrics = object["metrics"].as_object().unwrap();
    assert_eq!(metrics.len(), METRICS.len());
    for metric in METRICS {
        assert!(metrics[metric.name].is_f64() || metrics[metric.name].is_null(), "{}", metric.name);
    }
    assert!(metrics["sla_attainment"].as_f64().unwrap() > 0.0, "a bound was set");
    let counts = &object["counts"];
    assert_eq!(counts["requests"], 240);
    assert_eq!(counts["completed"], 240);
    assert_eq!((&counts["workers"], &counts["gpus"]), (&Json::from(3), &Json::from(6)));
    assert!(object["passes"].as_u64().unwrap() >= object["steps"].as_u64().unwrap());
}

#[test]
fn the_order_of_metrics_is_that_of_the_contract() {
    let (out, _) = replay(&["--json"]);
    let places: Vec<usize> = METRICS.iter().map(|m| out.find(&format!("\"{}\"", m.name)).unwrap()).collect();
    assert!(places.is_sorted());
}

#[test]
fn the_table_has_units_and_goes_to_standard_output() {
    let (out, err) = replay(&[]);
    assert!(!err.contains("error"), "{err}");
    for words in
        ["TTFT", "latency, ms", "tokens/s/GPU", "USD/Mtok", "3 x TP2 = 6 GPUs", "constraint ttft_p99_ms <= 1000"]
    {
        assert!(out.contains(words), "no `{words}` in\n{out}");
    }
}

#[test]
fn the_same_seed_gives_the_same_result_and_another_another() {
    let metrics = |more: &[&str]| json(more)["metrics"].clone();
    assert_eq!(metrics(&["--seed", "5"]), metrics(&["--seed", "5"]));
    assert_ne!(metrics(&["--seed", "5"]), metrics(&["--seed", "6"]), "random placement is seeded");
}

#[test]
fn pass_by_pass_gives_the_same_metrics() {
    let (jumping, plain) = (json(&[]), json(&["--pass-by-pass"]));
    assert_eq!(jumping["passes"], plain["passes"]);
    assert_eq!(plain["steps"], plain["passes"], "each pass is a step");
    assert_ne!(jumping["steps"], jumping["passes"], "runs of passes are jumped over");
    for metric in METRICS {
        let value = |object: &Json| object["metrics"][metric.name].as_f64();
        let (a, b) = (value(&jumping), value(&plain));
        // Blocks held are averaged over a jump, by its trapezium.
        let tolerance = if metric.name == "kv_util_mean" { 0.01 } else { 1e-9 };
        let near = |a: f64, b: f64| (a - b).abs() <= tolerance * a.abs().max(b.abs());
        assert!(a.zip(b).map_or(a == b, |(a, b)| near(a, b)), "{}: {a:?} {b:?}", metric.name);
    }
}

#[test]
fn rows_per_request_are_the_same_in_both_formats() {
    let directory = tempfile::tempdir().unwrap();
    let (lines, parquet) = (directory.path().join("r.jsonl"), directory.path().join("r.parquet"));
    let object = json(&["--per-request", arg(&lines)]);
    replay(&["--per-request", arg(&parquet)]);

    let text = std::fs::read_to_string(&lines).unwrap();
    let rows: Vec<Json> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(rows.len() as u64, object["counts"]["requests"].as_u64().unwrap());
    for field in FIELDS {
        assert!(text.lines().next().unwrap().contains(&format!("\"{field}\":")), "{field}");
    }
    assert_eq!(rows[0].as_object().unwrap().len(), FIELDS.len());
    let mean = rows.iter().map(|r| r["ttft_ms"].as_f64().unwrap()).sum::<f64>() / rows.len() as f64;
    assert!((mean / object["metrics"]["ttft_mean_ms"].as_f64().unwrap() - 1.0).abs() < 1e-9);
    assert!(rows.iter().all(|r| r["status"] == "completed" && r["prefill_worker"].is_null()));
    assert!(rows.iter().all(|r| r["session"].is_string()), "sessions of several turns have names");

    let table = read(&parquet);
    for (index, row) in rows.iter().enumerate() {
        let integer = |name: &str| table.column_by_name(name).unwrap().as_primitive::<Int64Type>().value(index);
        let real = |name: &str| table.column_by_name(name).unwrap().as_primitive::<Float64Type>().value(index);
        assert_eq!(row["row"].as_i64().unwrap(), integer("row"));
        assert_eq!(row["reused_tokens"].as_i64().unwrap(), integer("reused_tokens"));
        // The JSON reader of this test rounds its last digit its own way.
        assert!((row["e2e_ms"].as_f64().unwrap() / real("e2e_ms") - 1.0).abs() < 1e-15);
        assert_eq!(row["session"], table.column_by_name("session").unwrap().as_string::<i32>().value(index));
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2, "nothing half-written is left");
}

fn read(path: &Path) -> RecordBatch {
    let file = std::fs::File::open(path).unwrap();
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let names: Vec<String> = builder.schema().fields().iter().map(|f| f.name().clone()).collect();
    assert_eq!(names, FIELDS);
    builder.with_batch_size(1 << 20).build().unwrap().next().unwrap().unwrap()
}

/// The real hour of traffic through eight round-robin workers takes the peer's number of passes.
#[test]
fn the_conversation_trace_takes_the_peers_passes() {
    let trace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/traces/mooncake_conversation.jsonl");
    if !trace.exists() {
        eprintln!("SKIPPED: no {}; see traces/README.md for where to get it", trace.display());
        return;
    }
    let set = format!("--set=workload.trace={}", arg(&trace));
    let (out, _) = run_to(0, &["replay", "search-spaces/peer-vllm-8w.toml", &set, "--json"]);
    let object: Json = serde_json::from_str(&out).unwrap();
    assert_eq!(object["passes"], 2_999_196);
    assert_eq!(object["counts"]["completed"], 12_031);
    assert!(object["steps"].as_u64().unwrap() < 100_000, "runs of decode passes are jumped over");
}

#[test]
fn relative_paths_start_at_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let config: PathBuf = directory.path().join("c.toml");
    std::fs::write(directory.path().join("t.jsonl"), "{\"timestamp\":0,\"input_length\":9,\"output_length\":3}\n")
        .unwrap();
    std::fs::write(
        &config,
        "[model]\nname = \"Qwen/Qwen3-32B\"\n[hardware]\ngpu = \"h200_sxm\"\nmax_gpus = 1\n[workload]\ntrace = \"t.jsonl\"\n\
         [timing]\nkind = \"fixed\"\nprefill_ms = 10.0\ndecode_ms = 2.0\n[knobs]\naggregated.tp = 1\naggregated.workers = 1\n",
    )
    .unwrap();
    let (out, _) = run_to(0, &["replay", arg(&config), "--json"]);
    let object: Json = serde_json::from_str(&out).unwrap();
    assert_eq!(object["metrics"]["ttft_p50_ms"], 10.0);
    assert_eq!(object["metrics"]["e2e_p50_ms"], 14.0);
}
