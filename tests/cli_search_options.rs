//! What `[search]` says besides strategy and budget, end to end: replications, the ladder, early
//! aborts, and when to stop.

use std::path::Path;

use crate::cli_common::{assert_same_files, run_to, small_search};

/// Rows of a run's frontier, as maps from column to cell.
fn frontier(run: &Path) -> Vec<std::collections::BTreeMap<String, String>> {
    let text = std::fs::read_to_string(run.join("frontier.csv")).unwrap();
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().unwrap().split(',').collect();
    lines.map(|line| header.iter().map(|h| (*h).to_owned()).zip(line.split(',').map(str::to_owned)).collect()).collect()
}

#[test]
fn replications_give_means_with_intervals() {
    let directory = tempfile::tempdir().unwrap();
    let (one, three) = (directory.path().join("one"), directory.path().join("three"));
    let options = ["--budget", "8", "--strategy", "sobol"];
    run_to(0, &small_search(&one, &options));
    let replicated = [&options[..], &["--set", "search.replicates=3"]].concat();
    run_to(0, &small_search(&three, &replicated));
    let column = "ttft_p90_ms.half_width_80";
    assert!(frontier(&one).iter().all(|row| !row.contains_key(column)));
    let rows = frontier(&three);
    let widths: Vec<f64> = rows.iter().map(|row| row[column].parse().unwrap()).collect();
    assert!(!widths.is_empty() && widths.iter().all(|w| *w > 0.0), "other draws, other latencies: {widths:?}");
    // Same bytes on two threads.
    let again = directory.path().join("again");
    run_to(0, &small_search(&again, &[&replicated[..], &["--threads", "2"]].concat()));
    assert_same_files(&three, &again);
}

#[test]
fn the_ladder_simulates_whole_what_is_on_the_frontier() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("run");
    let ladder =
        ["--set", "search.ladder=on", "--set", "search.ladder_share=0.3", "--set", "workload.synthetic.sessions=400"];
    let options = [&["--budget", "80", "--strategy", "sobol", "--threads", "2"][..], &ladder].concat();
    let (text, _) = run_to(0, &small_search(&out, &options));
    assert!(text.contains("candidates seen through windows only"), "{text}");
    assert!(frontier(&out).iter().all(|row| row["fidelity"] == "full"));
    let once_more = directory.path().join("again");
    run_to(0, &small_search(&once_more, &[&options[..5], &["1"], &ladder[..]].concat()));
    assert_same_files(&out, &once_more);
}

#[test]
fn a_closed_loop_has_no_windows() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("run");
    let options = ["--budget", "4", "--set", "search.ladder=on", "--set", "workload.concurrency=8"];
    let (_, err) = run_to(2, &small_search(&out, &options));
    assert!(err.contains("search.ladder") && err.contains("workload.concurrency"), "{err}");
}

#[test]
fn stagnation_and_time_end_a_run_and_say_so() {
    let directory = tempfile::tempdir().unwrap();
    let stagnant = ["--budget", "400", "--set", "search.stagnation_window=32", "--set", "search.stagnation_gain=0.5"];
    let (text, _) = run_to(0, &small_search(&directory.path().join("a"), &stagnant));
    assert!(text.contains("over the last 32 the hypervolume grew less than 50 %"), "{text}");
    let timed = ["--budget", "400", "--set", "search.max_wall_s=0.001"];
    let (text, _) = run_to(0, &small_search(&directory.path().join("b"), &timed));
    assert!(text.contains("ended after") && text.contains("0.001 s are over"), "{text}");
}

/// The same candidates with and without: the same verdicts, and the same frontier to the bit.
#[test]
fn early_aborts_change_no_verdict() {
    let directory = tempfile::tempdir().unwrap();
    let (plain, aborting) = (directory.path().join("plain"), directory.path().join("aborting"));
    let space = ["--set", "constraints.ttft_p99_ms.max=200", "--set", "workload.synthetic.sessions=300"];
    let options = [&["--budget", "96", "--strategy", "sobol", "--threads", "2"][..], &space].concat();
    run_to(0, &small_search(&plain, &options));
    let (text, _) =
        run_to(0, &small_search(&aborting, &[&options[..], &["--set", "search.early_abort=true"]].concat()));
    assert!(text.contains("not simulated to the end"), "{text}");
    let whole = std::fs::read_to_string(plain.join("frontier.csv")).unwrap();
    assert_eq!(whole, std::fs::read_to_string(aborting.join("frontier.csv")).unwrap());
}
