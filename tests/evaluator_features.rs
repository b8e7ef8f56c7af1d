//! What the search is told of a candidate before it is simulated.

use servescout::evaluator::Evaluator;
use servescout::search::Features;
use servescout::space::{Study, parse};
use servescout::workload;

use crate::fixture::{TEXT, candidate};

fn features(study: &Study, knobs: &[(&str, &str)]) -> Option<Vec<f64>> {
    let workload = workload::load(&study.workload).unwrap();
    Evaluator::new(study, &workload, study.seed).features(&candidate(study, knobs))
}

#[test]
fn sizes_and_load_follow_the_deployment() {
    let study = parse(TEXT, None, &[]).unwrap();
    let small = features(&study, &[("aggregated.tp", "2"), ("aggregated.workers", "2")]).unwrap();
    let large = features(&study, &[("aggregated.tp", "2"), ("aggregated.workers", "8")]).unwrap();
    assert_eq!((small[0], small[1], small[2]), (4.0, 2.0, 0.0));
    assert_eq!((large[0], large[1]), (16.0, 2.0));
    assert_eq!(large[3], 4.0 * small[3], "KV tokens");
    assert!((small[4] / large[4] - 4.0).abs() < 1e-9, "share of time under prefill: {} {}", small[4], large[4]);
    assert!(small[6] > large[6] && small[7] > large[7], "a loaded worker is slower: {small:?} {large:?}");
    let wide = features(&study, &[("aggregated.tp", "8"), ("aggregated.workers", "2")]).unwrap();
    assert!(wide[6] < small[6] && wide[7] < small[7], "and a wider one faster: {small:?} {wide:?}");
}

#[test]
fn a_closed_loop_is_estimated_from_what_is_in_flight() {
    let closed = TEXT.replace("[workload.synthetic]", "[workload]\nconcurrency = 64\n[workload.synthetic]");
    let study = parse(&closed, None, &[]).unwrap();
    let few = features(&study, &[("aggregated.workers", "2"), ("engine.max_num_seqs", "64")]).unwrap();
    assert_eq!(few[5], 0.5, "32 of 64 slots");
}

#[test]
fn what_would_be_refused_has_none() {
    let tight = TEXT.replace("max_gpus = 64", "max_gpus = 8");
    let study = parse(&tight, None, &[]).unwrap();
    assert!(features(&study, &[("aggregated.tp", "8"), ("aggregated.workers", "8")]).is_none());
}
