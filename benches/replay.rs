//! Simulations of one hour of traffic: what a search runs thousands of. Load and path building are
//! excluded; they happen once per workload. `servescout bench replay` times the same cases.
//!
//! Without the conversation trace in ../shared a generated workload stands in, and the name says so.

#![forbid(unsafe_code)]

use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, criterion_group, criterion_main};
use servescout::twin::{cases, simulate};
use servescout::workload::{Load, Workload, WorkloadSpec, generate, load};

const TRACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/traces/mooncake_conversation.jsonl");

fn workload() -> (&'static str, Workload) {
    if Path::new(TRACE).exists() {
        return ("conversation", load(&WorkloadSpec::trace(TRACE)).expect("the trace is whole"));
    }
    ("generated", generate(&cases::like_conversation()).expect("a valid spec"))
}

fn replay(c: &mut Criterion) {
    let (name, mut workload) = workload();
    let mut group = c.benchmark_group(format!("replay/{name}"));
    group.sample_size(20);
    for case in cases::cases() {
        workload.load = case.concurrency.map_or(Load::Open, |concurrency| Load::Closed { concurrency });
        group.bench_function(case.name, |b| b.iter(|| black_box(simulate(&case.deployment, &workload, 7, false))));
    }
    group.finish();
}

criterion_group!(benches, replay);
criterion_main!(benches);
