//! The same search gives the same bytes, whatever the threads.

use std::path::Path;

use crate::cli_common::{arg, assert_same_files, promised_files, run_to, small_search};

#[test]
fn threads_change_no_byte() {
    let directory = tempfile::tempdir().unwrap();
    let [one, two, seven] = ["one", "two", "seven"].map(|name| directory.path().join(name));
    for (out, threads) in [(&one, "1"), (&two, "2"), (&seven, "7")] {
        run_to(0, &small_search(out, &["--budget", "40", "--threads", threads]));
    }
    let files = promised_files(&one);
    for name in [
        "evaluations/batch-000000.parquet",
        "frontier.csv",
        "frontier.parquet",
        "shortlist.md",
        "shortlist.json",
        "shortlist.csv",
        "plots/frontier.svg",
        "plots/frontier.png",
        "plots/hypervolume.svg",
    ] {
        assert!(files.get(Path::new(name)).is_some_and(|bytes| !bytes.is_empty()), "{name} is missing");
    }
    assert_same_files(&one, &two);
    assert_same_files(&one, &seven);
}

#[test]
fn the_seed_matters() {
    let directory = tempfile::tempdir().unwrap();
    let [one, two] = ["one", "two"].map(|name| directory.path().join(name));
    run_to(0, &small_search(&one, &["--budget", "16", "--seed", "1"]));
    run_to(0, &small_search(&two, &["--budget", "16", "--seed", "2"]));
    let batch = Path::new("evaluations/batch-000000.parquet");
    assert_ne!(promised_files(&one)[batch], promised_files(&two)[batch]);
}

/// Every strategy that the command line offers runs, deterministically.
#[test]
fn every_strategy_gives_the_same_bytes_twice() {
    let directory = tempfile::tempdir().unwrap();
    for (strategy, _) in servescout::search::STRATEGIES {
        let [one, two] = ["one", "two"].map(|name| directory.path().join(format!("{strategy}-{name}")));
        for (out, threads) in [(&one, "2"), (&two, "1")] {
            // The grid's first candidates are the smallest: with the space's own bound, all too slow.
            let bound = "--set=constraints.ttft_p99_ms={ max = 30000 }";
            let more = ["--budget", "24", "--strategy", strategy, "--threads", threads, bound];
            let (text, _) = run_to(0, &small_search(out, &more));
            assert!(text.contains(arg(out)), "says where the files are: {text}");
        }
        assert_same_files(&one, &two);
    }
}
