//! `servescout shortlist` and `servescout plot` on a run directory.

use std::fs;
use std::path::Path;

use assert_cmd::Command;

use crate::fixture::{modelled, run_in, study, study_with};

fn servescout() -> Command {
    Command::cargo_bin("servescout").unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_shortlist_of_another_size_stays_that_size_in_the_figures() {
    let study = study();
    let directory = tempfile::tempdir().unwrap();
    run_in(directory.path(), &study, &modelled(&study, 300));
    let run = directory.path().to_str().unwrap();
    let done = servescout().args(["shortlist", run, "--size", "2"]).assert().code(0);
    let output = text(&done.get_output().stdout);
    assert!(output.contains("Shortlist of 2,"), "{output}");
    assert!(text(&done.get_output().stderr).contains("not complete"));
    assert!(directory.path().join("shortlist.md").is_file());
    assert!(!directory.path().join("plots").exists(), "figures are redone only where there are any");

    let done = servescout().args(["plot", run]).assert().code(0);
    let listed = text(&done.get_output().stdout);
    assert!(listed.lines().all(|file| Path::new(file).is_file()) && listed.lines().count() >= 6, "{listed}");
    let figure = || fs::read_to_string(directory.path().join("plots/frontier.svg")).unwrap();
    assert!(figure().contains("shortlist (2)"));
    servescout().args(["shortlist", run, "--size", "3"]).assert().code(0);
    assert!(figure().contains("shortlist (3)"), "the figures follow the shortlist");
}

#[test]
fn json_is_all_that_standard_output_gets() {
    let study = study();
    let directory = tempfile::tempdir().unwrap();
    run_in(directory.path(), &study, &modelled(&study, 200));
    let done = servescout().args(["shortlist", directory.path().to_str().unwrap(), "--json"]).assert().code(0);
    let json: serde_json::Value = serde_json::from_slice(&done.get_output().stdout).unwrap();
    assert_eq!(json["size"], 6);
    assert!(!json["entries"].as_array().unwrap().is_empty());
    assert_eq!(text(&done.get_output().stdout), fs::read_to_string(directory.path().join("shortlist.json")).unwrap());
}

#[test]
fn nothing_feasible_is_exit_code_3() {
    let study = study_with(
        "[objectives]\nminimize = [\"usd_per_mtok_output\", \"ttft_p90_ms\"]\n[constraints]\nitl_p90_ms = { max = 1 }",
    );
    let directory = tempfile::tempdir().unwrap();
    run_in(directory.path(), &study, &modelled(&study, 50));
    let done = servescout().args(["shortlist", directory.path().to_str().unwrap()]).assert().code(3);
    assert!(text(&done.get_output().stdout).contains("NOTHING IS FEASIBLE"));
}

#[test]
fn what_is_no_run_or_is_damaged_is_exit_code_2() {
    let study = study();
    let directory = tempfile::tempdir().unwrap();
    for command in ["shortlist", "plot"] {
        let done = servescout().args([command, directory.path().to_str().unwrap()]).assert().code(2);
        assert!(text(&done.get_output().stderr).contains("no manifest.toml"));
    }
    let run = directory.path().join("run");
    run_in(&run, &study, &modelled(&study, 50));
    fs::write(run.join("evaluations/batch-000000.parquet"), "PAR1").unwrap();
    for command in ["shortlist", "plot"] {
        let done = servescout().args([command, run.to_str().unwrap()]).assert().code(2);
        let message = text(&done.get_output().stderr);
        assert!(message.contains("batch-000000.parquet") && message.contains("--resume"), "{message}");
    }
    servescout().args(["shortlist", run.to_str().unwrap(), "--size", "0"]).assert().code(2);
}
