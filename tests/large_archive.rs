//! A run of very many candidates, to time the commands that are computed from an archive:
//!
//! ```text
//! LARGE_RUN=/tmp/large cargo test --release --test it large_archive -- --ignored
//! time servescout report /tmp/large
//! ```
//!
//! `LARGE_CANDIDATES` and `LARGE_BATCH` say how many, and how many to a batch.

use std::time::UNIX_EPOCH;

use servescout::archive::{Batch, RunDir, Setup};
use servescout::space::{Study, parse};

use crate::fixture;

/// A space of 1.3 million candidates.
fn study() -> Study {
    let list = |values: Vec<f64>| values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let text = fixture::TEXT
        .replace("[2, 3, 4, 6, 8]", &format!("[{}]", list((2..34).map(f64::from).collect())))
        .replace("[64, 128, 256, 512]", &format!("[{}]", list((1..65).map(|v| f64::from(8 * v)).collect())))
        .replace("[0.0, 0.5, 1.0]", &format!("[{}]", list((0..160).map(|v| f64::from(v) / 64.0).collect())));
    parse(&text, None, &[]).unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
#[ignore = "takes a minute and a gigabyte; see the module"]
fn a_run_of_a_million_candidates() {
    let Some(directory) = std::env::var_os("LARGE_RUN") else {
        println!("skipped: LARGE_RUN names no directory");
        return;
    };
    let number = |name: &str, other| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(other);
    let (candidates, batch) = (number("LARGE_CANDIDATES", 1_000_000), number("LARGE_BATCH", 1000));
    let study = study();
    let evaluations = fixture::modelled(&study, candidates);
    assert_eq!(evaluations.len(), candidates);
    let setup = Setup { batch, budget: candidates, ..fixture::setup() };
    let mut run = RunDir::create(directory.as_ref(), &study, &setup, UNIX_EPOCH).unwrap();
    for (index, rows) in (0u32..).zip(evaluations.chunks(batch)) {
        run.commit(&study, &Batch { index, strategy: "random".into(), evaluations: rows.to_vec() }).unwrap();
    }
    run.finish(true, candidates, 0.0, UNIX_EPOCH).unwrap();
    drop(evaluations);
    assert!(!run.load().unwrap().frontier().is_empty());
}
