//! `servescout compare`, and searches that begin where another ended.

use std::fs;

use serde_json::Value as Json;
use servescout::archive::RunDir;

use crate::cli_common::{arg, assert_same_files, run_to, small_search};

fn search(path: &std::path::Path, more: &[&str]) {
    let args = [&["--budget", "40", "--threads", "2"], more].concat();
    run_to(0, &small_search(path, &args));
}

#[test]
fn staying_with_the_old_choice_has_a_price() {
    let directory = tempfile::tempdir().unwrap();
    let (a, b) = (directory.path().join("a"), directory.path().join("b"));
    search(&a, &[]);
    search(&b, &["--set=hardware.usd_per_gpu_hour=7.18"]);
    let json: Json = serde_json::from_str(&run_to(0, &["compare", arg(&a), arg(&b), "--json"]).0).unwrap();
    let differences = json["differences"].as_array().unwrap();
    assert_eq!(differences.len(), 1, "{json:#}");
    assert_eq!(differences[0]["what"], "price of a GPU hour, USD");
    assert!(json["frontier"]["gone"].as_array().unwrap().is_empty(), "a price for all GPUs moves nobody");
    for staying in json["staying"].as_array().unwrap() {
        assert_eq!(staying["fate"], "feasible");
        for objective in staying["objectives"].as_array().unwrap() {
            assert!(objective["worse_by"].as_f64().unwrap().abs() < 1e-9, "{staying:#}");
        }
    }
    let cost = &json["best"][0];
    let ratio = cost["now"]["value"].as_f64().unwrap() / cost["before"]["value"].as_f64().unwrap();
    assert!((ratio - 2.0).abs() < 1e-6, "{ratio}");
    // Against itself with a constraint that nobody on the cheap end keeps, and a smaller space.
    let c = directory.path().join("c");
    search(&c, &["--set=aggregated.tp=[4, 8]", "--set=constraints.ttft_p99_ms={ max = 400 }"]);
    let (text, _) = run_to(0, &["compare", arg(&a), arg(&c)]);
    assert!(text.contains("goals") && text.contains("knobs") && text.contains("Staying with"), "{text}");
    let (_, error) = run_to(2, &["compare", arg(&a), arg(directory.path())]);
    assert!(error.contains("manifest.toml"), "{error}");
}

#[test]
fn a_warm_start_begins_with_the_other_runs_frontier_and_resumes_to_the_same_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let (a, b, c) = (directory.path().join("a"), directory.path().join("b"), directory.path().join("c"));
    search(&a, &[]);
    let warm = ["--seed", "11", "--warm-start", arg(&a)];
    search(&b, &warm);
    let first = RunDir::open(&a).unwrap().load().unwrap();
    let second = RunDir::open(&b).unwrap().load().unwrap();
    let evaluations = first.evaluations();
    let frontier = first.frontier();
    let space = &second.study.space;
    assert_eq!(second.batches[0].strategy, "warm-start");
    let begun: Vec<String> = second.batches[0].evaluations.iter().map(|e| space.id(&e.candidate)).collect();
    let wanted: Vec<String> = frontier.iter().map(|&row| first.study.space.id(&evaluations[row].candidate)).collect();
    assert_eq!(begun[..], wanted[..begun.len()]);
    assert!(second.batches.iter().any(|batch| batch.strategy == "genetic"), "the strategy goes on");
    // Interrupted after its first batch, it ends with the same bytes.
    search(&c, &warm);
    for batch in fs::read_dir(c.join("evaluations")).unwrap().map(|e| e.unwrap().path()) {
        if !batch.ends_with("batch-000000.parquet") {
            fs::remove_file(batch).unwrap();
        }
    }
    let manifest = fs::read_to_string(c.join("manifest.toml")).unwrap();
    let line = manifest.lines().find(|l| l.starts_with("complete_batches")).unwrap();
    fs::write(c.join("manifest.toml"), manifest.replace(&format!("{line}\n"), "")).unwrap();
    run_to(0, &["search", "--resume", arg(&c)]);
    assert_same_files(&b, &c);
}
