//! A search that is killed or stopped continues to the bytes that it would have had.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::cli_common::{arg, assert_same_files, run_to, servescout, small_search, text};

const BUDGET: &str = "160";

/// What the search gives when nobody disturbs it.
fn undisturbed(directory: &Path) -> PathBuf {
    let out = directory.join("undisturbed");
    run_to(0, &small_search(&out, &["--budget", BUDGET]));
    out
}

/// Starts the same search and returns it once this many batches lie in the archive.
fn disturbed(out: &Path, batches: usize) -> Child {
    let mut child = servescout(small_search(out, &["--budget", BUDGET, "--threads", "1"]))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let last = out.join(format!("evaluations/batch-{:06}.parquet", batches - 1));
    let started = Instant::now();
    while !last.exists() {
        assert!(started.elapsed() < Duration::from_secs(120), "no {} after two minutes", last.display());
        if let Some(status) = child.try_wait().unwrap() {
            panic!("the search ended by itself: {status}");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    child
}

fn batches(out: &Path) -> usize {
    let entries = std::fs::read_dir(out.join("evaluations")).unwrap();
    entries.filter(|e| e.as_ref().is_ok_and(|e| e.path().extension().is_some_and(|x| x == "parquet"))).count()
}

#[test]
fn a_killed_search_resumes_to_the_same_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let whole = undisturbed(directory.path());
    let all = batches(&whole);
    for after in [1, 3, 6] {
        let out = directory.path().join(format!("killed-after-{after}"));
        let mut child = disturbed(&out, after);
        // SIGKILL on Unix.
        child.kill().unwrap();
        child.wait().unwrap();
        let left = batches(&out);
        assert!(left < all, "killed too late to test anything: {left} of {all} batches");
        assert!(!out.join("frontier.csv").exists());
        let (summary, _) = run_to(0, &["search", "--resume", arg(&out)]);
        assert!(summary.contains("Shortlist of"), "{summary}");
        assert_same_files(&whole, &out);
    }
}

#[test]
fn a_finished_search_resumes_to_itself() {
    let directory = tempfile::tempdir().unwrap();
    let [out, copy] = ["out", "copy"].map(|name| directory.path().join(name));
    for path in [&out, &copy] {
        run_to(0, &small_search(path, &["--budget", "24"]));
    }
    std::fs::remove_file(out.join("shortlist.md")).unwrap();
    let (summary, _) = run_to(0, &["search", "--resume", arg(&out), "--threads", "2"]);
    assert!(summary.contains("0 candidates in"), "nothing is simulated again: {summary}");
    assert_same_files(&copy, &out);
}

#[cfg(unix)]
#[test]
fn control_c_stops_after_the_batch_and_says_how_to_go_on() {
    use std::process::Command;
    let directory = tempfile::tempdir().unwrap();
    let whole = undisturbed(directory.path());
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let out = directory.path().join(signal);
        let child = disturbed(&out, 2);
        let sent = Command::new("kill").args([format!("-{signal}"), child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        let output = child.wait_with_output().unwrap();
        let told = text(&output.stdout);
        assert_eq!(output.status.code(), Some(code), "{told}{}", text(&output.stderr));
        let again = format!("servescout search --resume {}", arg(&out));
        assert!(told.contains(&again), "no `{again}` in {told}");
        assert!(batches(&out) < batches(&whole), "it stopped in mid-search");
        run_to(0, &["search", "--resume", arg(&out)]);
        assert_same_files(&whole, &out);
    }
}

#[test]
fn a_resumed_run_keeps_its_options() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    let args = small_search(&out, &["--budget", "16", "--seed", "3"]);
    run_to(0, &args);
    let resume = |more: &[&str], code| {
        let mut line = vec!["search", "--resume", arg(&out)];
        line.extend(more);
        run_to(code, &line).1
    };
    // The very command line again is no contradiction.
    let mut same = args.clone();
    same.extend(["--resume", arg(&out)]);
    run_to(0, &same);
    resume(&["--budget", "16", "--seed", "3", "--strategy", "genetic"], 0);
    for more in [&["--budget", "17"][..], &["--seed", "4"], &["--strategy", "sobol"], &["--set", "search.batch=4"]] {
        let err = resume(more, 2);
        assert!(err.contains("keeps the options that it was started with") && err.contains("help:"), "{err}");
    }
    let err = resume(&["search-spaces/quickstart.toml"], 2);
    assert!(err.contains("another search space"), "{err}");
    let err = resume(&["--out", arg(directory.path())], 2);
    assert!(err.contains("its own directory"), "{err}");
}

#[test]
fn what_is_no_run_is_not_resumed() {
    let directory = tempfile::tempdir().unwrap();
    let (_, err) = run_to(2, &["search", "--resume", arg(directory.path())]);
    assert!(err.contains("is not a run directory"), "{err}");
    let (_, err) = run_to(2, &["search", "--resume", arg(&directory.path().join("none"))]);
    assert!(err.contains("is not a run directory"), "{err}");
}

#[test]
fn a_damaged_run_names_the_file_and_the_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    run_to(0, &small_search(&out, &["--budget", "24"]));
    let batch = out.join("evaluations/batch-000001.parquet");
    let bytes = std::fs::read(&batch).unwrap();
    std::fs::write(&batch, &bytes[..bytes.len() / 2]).unwrap();
    let (_, err) = run_to(2, &["search", "--resume", arg(&out)]);
    assert!(err.contains("batch-000001.parquet") && err.contains("delete it"), "{err}");
}
