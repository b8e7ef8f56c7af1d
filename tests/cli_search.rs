//! `search`, end to end, on the quickstart that the README names.

use std::path::Path;

use serde_json::Value as Json;

use crate::cli_common::{arg, run_to, small_search};

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// What the shortlist expects of a candidate, its replay gives.
#[test]
fn a_shortlisted_candidate_replays_to_what_is_expected_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("run");
    let (text, err) = run_to(
        0,
        &["search", "search-spaces/quickstart.toml", "--budget", "48", "--set=shortlist.draws=0", "--out", arg(&out)],
    );
    assert!(err.is_empty(), "a progress bar is for terminals only: {err}");
    assert!(text.contains("Frontier") && text.contains("Shortlist of") && text.contains("shortlist.md"), "{text}");

    let frontier = read(&out.join("frontier.csv"));
    assert!(frontier.lines().count() > 1, "a frontier of at least one: {frontier}");
    let entries: Vec<_> = std::fs::read_dir(out.join("shortlist")).unwrap().map(|e| e.unwrap().path()).collect();
    assert!(!entries.is_empty());
    for entry in entries {
        let expected: Json = serde_json::from_str(&read(&entry.join("expected.json"))).unwrap();
        let (replayed, _) = run_to(0, &["replay", arg(&entry.join("candidate.toml")), "--json"]);
        let replayed: Json = serde_json::from_str(&replayed).unwrap();
        let metrics = expected["metrics"].as_object().unwrap();
        assert!(!metrics.is_empty());
        for (name, value) in metrics {
            assert_eq!(value["value"], replayed["metrics"][name], "{}: {name}", entry.display());
        }
        // A candidate is a space of one: it can be checked as one too.
        run_to(0, &["check", arg(&entry.join("candidate.toml")), "--set", "search.budget=1"]);
    }
    let id = frontier.lines().nth(1).unwrap().split(',').next().unwrap();
    assert!(read(&out.join("shortlist.md")).contains("# Shortlist") && id.len() == 12);
}

#[test]
fn nothing_feasible_has_an_exit_code_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("run");
    let impossible = ["--budget", "16", "--set", "constraints.ttft_p99_ms.max=0.001"];
    let (text, _) = run_to(3, &small_search(&out, &impossible));
    assert!(text.contains("NOTHING IS FEASIBLE"), "{text}");
    assert!(text.contains("ttft_p99_ms"), "names the constraint that killed most: {text}");
    assert!(out.join("shortlist").read_dir().unwrap().count() > 0, "the nearest misses are kept");
    let (_, _) = run_to(3, &["search", "--resume", arg(&out)]);
}

#[test]
fn every_candidate_refused_is_nothing_feasible() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("run");
    let (text, _) = run_to(3, &small_search(&out, &["--budget", "8", "--set", "aggregated.workers=[33, 34]"]));
    assert!(text.contains("no candidate could be simulated") && text.contains("gpu_budget"), "{text}");
}

#[test]
fn an_existing_run_is_not_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("run");
    run_to(0, &small_search(&out, &["--budget", "8"]));
    let before = crate::cli_common::promised_files(&out);
    let (_, err) = run_to(2, &small_search(&out, &["--budget", "8"]));
    assert!(err.contains("--out") && err.contains("--resume"), "{err}");
    assert_eq!(before, crate::cli_common::promised_files(&out));
}

#[test]
fn runs_land_under_results_by_name_and_time() {
    let directory = tempfile::tempdir().unwrap();
    let space = Path::new(env!("CARGO_MANIFEST_DIR")).join("search-spaces/quickstart.toml");
    let output = crate::cli_common::servescout(["search", arg(&space), "--budget", "4"])
        .args(&crate::cli_common::SMALL[1..])
        .current_dir(directory.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let runs: Vec<_> = std::fs::read_dir(directory.path().join("results")).unwrap().map(|e| e.unwrap()).collect();
    assert_eq!(runs.len(), 1);
    let name = runs[0].file_name().into_string().unwrap();
    assert!(name.starts_with("quickstart-20") && name.ends_with('Z'), "{name}");
}

#[test]
fn a_space_without_objectives_is_for_replay_only() {
    let (_, err) = run_to(2, &["search", "search-spaces/peer-vllm-8w.toml"]);
    assert!(err.contains("objectives"), "{err}");
}

#[test]
fn a_run_needs_a_place_that_can_be_written() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let output = crate::cli_common::run(small_search(&file.join("run"), &["--budget", "8"]));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}
