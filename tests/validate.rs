//! `servescout validate`: measurements in, errors, calibration and the corrected frontier out.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};
use servescout::archive::{RunData, RunDir};
use servescout::catalog::Backend;
use servescout::evaluator::Evaluator;
use servescout::search::Evaluate;
use servescout::timing::Calibration;
use servescout::timing::calibration::{BackendCalibration, Factors};
use servescout::twin::metrics::{METRICS, index_of};
use servescout::validate::calibrate;
use servescout::validate::judge::Pair;
use servescout::validate::measured::{self, Measurement};
use servescout::workload;

use crate::cli_common::{arg, run_to, small_search};

/// A finished small search.
struct Run {
    directory: tempfile::TempDir,
}

impl Run {
    fn new(more: &[&str]) -> Run {
        let directory = tempfile::tempdir().unwrap();
        let mut args =
            vec!["--budget", "60", "--threads", "2", "--set=shortlist.size=7", "--set=workload.synthetic.sessions=100"];
        args.extend(more);
        run_to(0, &small_search(&directory.path().join("run"), &args));
        Run { directory }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("run")
    }

    fn load(&self) -> RunData {
        RunDir::open(&self.path()).unwrap().load().unwrap()
    }

    /// A calibration file of the truth.
    fn truth(&self, factors: Factors) -> PathBuf {
        let path = self.directory.path().join("truth.toml");
        fs::write(&path, truth(factors).to_toml()).unwrap();
        path
    }

    /// The shortlist's entries: id and directory.
    fn entries(&self) -> Vec<(String, PathBuf)> {
        let directories = fs::read_dir(self.path().join("shortlist")).unwrap().map(|e| e.unwrap().path());
        let mut entries: Vec<(String, PathBuf)> = directories
            .filter(|p| p.is_dir())
            .map(|p| (p.file_name().unwrap().to_str().unwrap().split_once('-').unwrap().1.to_owned(), p))
            .collect();
        entries.sort();
        entries
    }

    /// Replays an entry under a calibration and leaves what AIPerf would have.
    fn measure(&self, entry: &Path, truth: &Path) -> PathBuf {
        let candidate = entry.join("candidate.toml");
        let (out, _) = run_to(0, &["replay", arg(&candidate), "--calibration", arg(truth), "--json"]);
        let replayed: Json = serde_json::from_str(&out).unwrap();
        let directory = entry.join("measured");
        fs::create_dir_all(&directory).unwrap();
        let file = directory.join("profile_export_aiperf.json");
        fs::write(&file, aiperf(&replayed["metrics"]).to_string()).unwrap();
        file
    }
}

fn truth(factors: Factors) -> Calibration {
    let own = BackendCalibration { factors, ..Calibration::embedded().vllm.unwrap() };
    Calibration { vllm: Some(own), sglang: None, trtllm: None, ..Calibration::embedded() }
}

/// AIPerf's summary of these metrics; TTFT in seconds, to see that units count.
fn aiperf(metrics: &Json) -> Json {
    let latency = |family: &str, unit: &str, scale: f64| {
        let value = |statistic: &str| metrics[format!("{family}_{statistic}_ms")].as_f64().unwrap() * scale;
        json!({ "unit": unit, "avg": value("mean"), "p50": value("p50"), "p90": value("p90"), "p95": value("p95"), "p99": value("p99") })
    };
    json!({
        "schema_version": "1.5",
        "aiperf_version": "0.14.0",
        "is_complete": true,
        "time_to_first_token": latency("ttft", "sec", 1e-3),
        "inter_token_latency": latency("tpot", "ms", 1.0),
        "request_latency": latency("e2e", "ms", 1.0),
        "output_token_throughput": { "unit": "tokens/sec", "avg": metrics["output_tokens_per_s"] },
        "request_count": { "unit": "requests", "avg": metrics["completed"] },
    })
}

fn close(found: f64, true_value: f64, what: &str) {
    assert!((found / true_value - 1.0).abs() < 0.03, "{what}: {found} for {true_value}");
}

/// The whole archive under a calibration: ids with objectives, of what is feasible.
fn under(data: &RunData, truth: Calibration) -> Vec<(String, Vec<f64>)> {
    let mut study = data.study.clone();
    study.calibration = Some(truth);
    let workload = workload::load(&study.workload).unwrap();
    let evaluator = Evaluator::new(&study, &workload, data.run.seed);
    let evaluations = data.evaluations();
    let again = evaluations.iter().map(|e| evaluator.evaluate(&e.candidate));
    again.filter(|e| e.is_feasible()).map(|e| (study.space.id(&e.candidate), e.objectives.to_vec())).collect()
}

/// By how much, as a share, the nearest of the chosen is worse than a point in its worst objective; of all
/// points the largest.
fn regret(all: &[(String, Vec<f64>)], chosen: &BTreeSet<String>) -> f64 {
    let chosen: Vec<&Vec<f64>> = all.iter().filter(|(id, _)| chosen.contains(id)).map(|(_, o)| o).collect();
    let worse = |own: &[f64], best: &[f64]| {
        own.iter().zip(best).map(|(own, best)| (own - best) / best.abs()).fold(0.0, f64::max)
    };
    let nearest = |best: &Vec<f64>| chosen.iter().map(|own| worse(own, best)).fold(f64::INFINITY, f64::min);
    all.iter().map(|(_, objectives)| nearest(objectives)).fold(0.0, f64::max)
}

fn frontier(data: &RunData) -> BTreeSet<String> {
    data.frontier_ids().into_iter().collect()
}

#[test]
fn a_perturbed_server_is_recovered_and_the_frontier_corrected() {
    let run = Run::new(&[]);
    let true_factors = Factors { prefill: 1.2, decode: 0.9, host_ms: 3.0, ..Factors::NONE };
    let file = run.truth(true_factors);
    let mut args = vec!["validate".to_owned(), arg(&run.path()).to_owned(), "--measured".to_owned()];
    args.extend(run.entries().iter().map(|(_, entry)| arg(&run.measure(entry, &file)).to_owned()));
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let (out, _) = run_to(0, &args);
    assert!(out.contains("TTFT mean") && out.contains("Under the calibration"), "{out}");
    let calibration = Calibration::read(&run.path().join("validate/calibration.toml")).unwrap();
    let found = calibration.of(Backend::Vllm).unwrap().factors;
    close(found.prefill, 1.2, "prefill");
    close(found.decode, 0.9, "decode");
    close(found.host_ms, 3.0, "host_ms");
    assert!(found.request_ms < 0.3, "{found:?}");
    // On the true server nothing in the archive is better than the corrected frontier by more than neighbours
    // differ. (Which of those neighbours are its members is beyond what the factors are found to.)
    let old = run.load();
    let ranked = RunDir::open(&run.path().join("validate/run")).unwrap().load().unwrap();
    let all = under(&old, truth(true_factors));
    let (before, after) = (regret(&all, &frontier(&old)), regret(&all, &frontier(&ranked)));
    assert!(after < 0.005 && after <= before, "{after} after, {before} before");
    assert!(ranked.evaluations().len() < old.evaluations().len(), "what cannot matter is left");
    for file in ["errors.csv", "predicted-against-measured.svg", "run/shortlist.md", "run/frontier.csv"] {
        assert!(run.path().join("validate").join(file).is_file(), "{file}");
    }
    // Again, over what is there; and the calibration serves the commands that take one.
    run_to(0, &args);
    let json: Json = serde_json::from_str(&run_to(0, &[&args[..], &["--json"]].concat()).0).unwrap();
    assert_eq!(json["measurements"].as_array().unwrap().len(), run.entries().len());
    assert!(json["calibration"]["vllm"]["mean_error"]["left_out"].as_f64().unwrap() < 0.02, "{json:#}");
}

/// Fits to what the twin says of some candidates under true factors, with a factor on each value.
fn fit_to(
    data: &RunData,
    factors: Factors,
    pick: usize,
    noise: impl Fn(usize, usize) -> f64,
) -> Result<Factors, String> {
    let workload = workload::load(&data.study.workload).unwrap();
    let mut study = data.study.clone();
    study.calibration = Some(truth(factors));
    let evaluator = Evaluator::new(&study, &workload, data.run.seed);
    let evaluations = data.evaluations();
    let feasible: Vec<usize> = (0..evaluations.len()).filter(|&row| evaluations[row].is_feasible()).collect();
    let step = feasible.len().div_ceil(pick).max(1);
    let pairs: Vec<Pair> = feasible
        .iter()
        .step_by(step)
        .enumerate()
        .map(|(index, &row)| {
            let directory = tempfile::tempdir().unwrap();
            let file = directory.path().join("m.csv");
            let again = evaluator.evaluate(&evaluations[row].candidate);
            let names = ["ttft_mean_ms", "ttft_p90_ms", "tpot_mean_ms", "tpot_p90_ms", "e2e_p50_ms"];
            let values: Vec<String> = names
                .iter()
                .map(|n| again.metrics[index_of(n).unwrap()])
                .enumerate()
                .map(|(k, v)| (v * noise(index, k)).to_string())
                .collect();
            fs::write(&file, format!("{}\n{}\n", names.join(","), values.join(","))).unwrap();
            let measurement = measured::read(&file).unwrap().remove(0);
            Pair {
                measurement,
                row,
                id: data.study.space.id(&evaluations[row].candidate),
                predicted: evaluations[row].metrics.clone(),
            }
        })
        .collect();
    let fit = calibrate::fit(data, &workload, &pairs)?;
    Ok(fit.calibration.of(Backend::Vllm).unwrap().factors)
}

#[test]
fn other_perturbations_are_recovered_too() {
    let run = Run::new(&[]);
    let data = run.load();
    for truth in [
        Factors { prefill: 0.85, decode: 1.15, host_ms: 0.5, ..Factors::NONE },
        Factors { prefill: 1.4, decode: 1.05, host_ms: 2.0, ..Factors::NONE },
    ] {
        let found = fit_to(&data, truth, 5, |_, _| 1.0).unwrap();
        close(found.prefill, truth.prefill, "prefill");
        close(found.decode, truth.decode, "decode");
        assert!((found.host_ms - truth.host_ms).abs() < 0.1, "{found:?}");
    }
}

#[test]
fn measurements_that_support_no_calibration_are_refused_with_the_reason() {
    let run = Run::new(&[]);
    let data = run.load();
    let shifted = Factors { prefill: 1.3, host_ms: 1.15, ..Factors::NONE };
    assert!(fit_to(&data, shifted, 2, |_, _| 1.0).unwrap_err().contains("3 or more"));
    let as_is = Factors { host_ms: 1.15, ..Factors::NONE };
    assert!(fit_to(&data, as_is, 5, |_, _| 1.0).unwrap_err().contains("nothing to correct"));
}

#[test]
fn what_cannot_be_compared_is_refused_with_the_reason() {
    let run = Run::new(&[]);
    let (id, entry) = run.entries().remove(0);
    let file = run.measure(&entry, &run.truth(Factors { host_ms: 1.15, ..Factors::NONE }));
    let good: Json = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    let with = |key: &str, value: Json| {
        let mut changed = good.clone();
        changed[key] = value;
        fs::write(&file, changed.to_string()).unwrap();
        run_to(2, &["validate", arg(&run.path()), "--measured", arg(&file)]).1
    };
    let unit = |unit: &str, avg: f64| json!({ "unit": unit, "avg": avg });
    assert!(with("error_request_count", unit("requests", 20.0)).contains("failed"));
    assert!(with("request_count", unit("requests", 150.0)).contains("another window"));
    assert!(with("output_sequence_length", unit("tokens", 12.0)).contains("outputs of 12.0 tokens"));
    assert!(with("input_sequence_length", unit("tokens", 12.0)).contains("prompts of 12.0 tokens"));
    assert!(with("osl_mismatch_diff_pct", unit("%", 9.0)).contains("ignore_eos"));
    assert!(with("replay_sched_lag_p99", unit("ms", 900.0)).contains("late"));
    assert!(with("replay_sched_degraded", json!(true)).contains("schedule"));
    assert!(with("is_complete", json!(false)).contains("not complete"));
    // Formats and names.
    assert!(with("schema_version", json!("9.9")).contains("1.4 and 1.5"));
    assert!(with("time_to_first_token", unit("parsecs", 9.0)).contains("parsecs"));
    let stray = run.directory.path().join("stray.json");
    fs::write(&stray, good.to_string()).unwrap();
    let (_, error) = run_to(2, &["validate", arg(&run.path()), "--measured", arg(&stray)]);
    assert!(error.contains("--candidate ID=FILE") && error.contains(&id), "{error}");
    run_to(0, &["validate", arg(&run.path()), "--no-fit", "--candidate", &format!("{id}={}", arg(&stray))]);
    let (_, error) =
        run_to(2, &["validate", arg(&run.path()), "--candidate", &format!("ffffffffffff={}", arg(&stray))]);
    assert!(error.contains("no candidate"), "{error}");
    fs::write(&stray, "hello").unwrap();
    let (_, error) = run_to(2, &["validate", arg(&run.path()), "--measured", arg(&stray)]);
    assert!(error.contains("is none of"), "{error}");
}

fn read(name: &str, text: &str) -> Measurement {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join(name);
    fs::write(&file, text).unwrap();
    measured::read(&file).unwrap_or_else(|e| panic!("{e}")).remove(0)
}

fn value(measurement: &Measurement, metric: &str) -> f64 {
    let value = measurement.values[index_of(metric).unwrap()];
    assert!(!value.is_nan(), "{metric} was not read");
    value
}

#[test]
fn every_format_is_converted_by_the_contract() {
    let rows = r#"{"metadata":{"request_start_ns":1000000000,"request_end_ns":2000000000,"benchmark_phase":"profiling"},"metrics":{"time_to_first_token":{"value":100,"unit":"ms"},"inter_token_latency":{"value":0.01,"unit":"sec"},"request_latency":{"value":1000,"unit":"ms"},"output_sequence_length":{"value":91,"unit":"tokens"}},"error":null}
{"metadata":{"request_start_ns":1500000000,"request_end_ns":3000000000,"benchmark_phase":"profiling"},"metrics":{"time_to_first_token":{"value":300,"unit":"ms"},"inter_token_latency":{"value":20,"unit":"ms"},"request_latency":{"value":1500,"unit":"ms"},"output_sequence_length":{"value":61,"unit":"tokens"}},"error":null}
{"metadata":{"request_start_ns":0,"request_end_ns":9,"benchmark_phase":"warmup"},"metrics":{"time_to_first_token":{"value":9000,"unit":"ms"}},"error":null}
{"metadata":{"request_start_ns":1500000000,"request_end_ns":1600000000},"metrics":{},"error":{"code":500}}
"#;
    let found = read("profile_export.jsonl", rows);
    assert_eq!(value(&found, "ttft_mean_ms"), 200.0);
    assert_eq!(value(&found, "tpot_mean_ms"), 15.0);
    assert_eq!(value(&found, "output_tokens_per_s"), 76.0);
    assert_eq!((found.facts.completed, found.facts.failed), (Some(2.0), Some(1.0)));

    let vllm = json!({ "duration": 10.0, "completed": 4, "failed": 0, "total_input_tokens": 4000, "total_output_tokens": 400, "request_throughput": 0.4, "output_throughput": 40.0, "mean_ttft_ms": 55.0, "median_ttft_ms": 50.0, "p99_ttft_ms": 90.0, "mean_tpot_ms": 11.0, "median_tpot_ms": 10.5, "mean_itl_ms": 12.0, "ttfts": [0.04, 0.05, 0.06, 0.09], "itls": [[0.01, 0.02], [0.03]] });
    let found = read("bench.json", &vllm.to_string());
    assert_eq!(value(&found, "ttft_p50_ms"), 50.0);
    assert_eq!(value(&found, "ttft_p90_ms"), 90.0, "from the list, in seconds");
    assert_eq!(value(&found, "itl_mean_ms"), 12.0);
    assert_eq!(value(&found, "tpot_mean_ms"), 11.0);
    assert_eq!(value(&found, "input_tokens_per_s"), 400.0);
    assert_eq!((found.facts.input_mean, found.facts.output_mean), (Some(1000.0), Some(100.0)));

    let latency = |mean: f64| json!({ "successful": { "mean": mean, "median": mean, "count": 7, "percentiles": { "p90": 2.0 * mean, "p99": 3.0 * mean } }, "errored": { "count": 0 } });
    let guidellm = json!({ "benchmarks": [{ "metrics": {
        "time_to_first_token_ms": latency(80.0), "inter_token_latency_ms": latency(9.0), "time_per_output_token_ms": latency(99.0), "request_latency": latency(1.5),
        "requests_per_second": { "successful": { "mean": 2.0 } }, "output_tokens_per_second": { "successful": { "mean": 200.0 } },
        "request_totals": { "successful": 7, "errored": 1, "incomplete": 2, "total": 10 } } }] });
    let found = read("benchmarks.json", &guidellm.to_string());
    assert_eq!(value(&found, "ttft_p99_ms"), 240.0);
    assert_eq!(value(&found, "tpot_mean_ms"), 9.0, "not GuideLLM's TPOT, which counts the first token");
    assert_eq!(value(&found, "e2e_mean_ms"), 1500.0, "seconds");
    assert_eq!((found.facts.completed, found.facts.failed), (Some(7.0), Some(3.0)));

    let csv = "candidate,ttft_p90_ms,aggregated.tp,errors\nabcdef123456,120.5,2,0\n";
    let found = read("own.csv", csv);
    assert_eq!(value(&found, "ttft_p90_ms"), 120.5);
    assert_eq!(found.whose.id.as_deref(), Some("abcdef123456"));
    assert_eq!(found.whose.knobs, [("aggregated.tp".to_owned(), "2".to_owned())]);
    assert!(METRICS.len() > 40);
}

#[test]
fn damaged_files_are_refused_with_their_place() {
    let says = |name: &str, text: &str| {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(name);
        fs::write(&file, text).unwrap();
        measured::read(&file).unwrap_err()
    };
    assert!(says("x.csv", "candidate,ttft_p90\na,1\n").contains("did you mean `ttft_p"));
    assert!(says("x.csv", "candidate,ttft_p90_ms\na,fast\n").contains("line 2: `ttft_p90_ms` is `fast`"));
    assert!(says("x.csv", "candidate,ttft_p90_ms\na\n").contains("line 2: has 1 cells"));
    assert!(says("x.json", "{\"benchmarks\": []}").contains("`benchmarks` is empty"));
    assert!(says("x.json", "{\"benchmarks\": [{}]}").contains("benchmarks[0]: has no `metrics`"));
    assert!(says("x.json", "{\"a\": ").contains("as JSON"));
    assert!(says("x.json", "").contains("is empty"));
    assert!(
        says("x.json", "{\"schema_version\": \"1.4\", \"aiperf_version\": \"0.13\"}").contains("none of the metrics")
    );
    let negative = "{\"total_output_tokens\": 1, \"mean_ttft_ms\": -4}";
    assert!(says("x.json", negative).contains("`mean_ttft_ms` is -4"));
    let row = "{\"metadata\":{},\"metrics\":{\"time_to_first_token\":{\"value\":1,\"unit\":\"ms\"}}}\n{\"metadata\":\n";
    assert!(says("x.jsonl", row).contains("line 2"));
}
