//! Reading a trace: parsing, checking, interning and hashing, in bytes per second on one core.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use servescout::workload::spec::{Arrivals, Lengths, SyntheticSpec};
use servescout::workload::{self, WorkloadSpec};

/// A trace of the real one's kind: about 24 ids a row.
fn generated(directory: &Path) -> PathBuf {
    let spec = SyntheticSpec {
        seed: 1,
        sessions: 12_000,
        turns: 1,
        arrivals: Arrivals::Poisson { rate_per_s: 3.4 },
        input_tokens: Lengths::LogNormal { mean: 10_000.0, std: 12_000.0 },
        output_tokens: Lengths::LogNormal { mean: 340.0, std: 300.0 },
        think_ms: 0.0,
        common_prefix_tokens: 512,
        prefix_groups: 500,
        group_prefix_tokens: 2048,
        block_tokens: 512,
    };
    let path = directory.join("generated.jsonl");
    workload::generate_file(&spec, &path, true).expect("the temporary directory can be written");
    path
}

fn loading(c: &mut Criterion) {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let mut traces = vec![("generated", generated(directory.path()))];
    let real = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/traces/mooncake_conversation.jsonl");
    if real.exists() {
        traces.push(("mooncake_conversation", real));
    } else {
        eprintln!("skipped: {} is not here", real.display());
    }
    let mut group = c.benchmark_group("trace_load");
    for (name, path) in traces {
        let spec = WorkloadSpec::trace(&path);
        let bytes = path.metadata().expect("the trace is there").len();
        group.throughput(Throughput::Bytes(bytes));
        group.bench_function(name, |b| b.iter(|| workload::load(&spec).expect("the trace is sound")));
    }
    group.finish();
}

criterion_group!(benches, loading);
criterion_main!(benches);
