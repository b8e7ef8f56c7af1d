//! How long asking a surface takes: random passes of each kind over one shared table.

#![forbid(unsafe_code)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rand::RngExt;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use servescout::catalog::{self, Backend, Dtype};
use servescout::timing::{PassLoad, Timing, TimingSpec, WorkerShape};

const QUERIES: usize = 4096;
const POOL: u64 = 1 << 20;

fn timing(spec: &TimingSpec) -> Timing {
    let shape = WorkerShape {
        model: catalog::model("Qwen/Qwen3-32B").expect("in the catalogue").clone(),
        gpu: catalog::gpu("h100_sxm").expect("in the catalogue").clone(),
        backend: Backend::Vllm,
        dtype: Dtype::Fp8,
        kv_dtype: Dtype::Fp8,
        tp: 2,
    };
    spec.build(&shape).expect("a possible worker")
}

fn decode(rng: &mut ChaCha8Rng) -> PassLoad {
    let seqs = rng.random_range(1..512);
    PassLoad::decode(seqs, u64::from(seqs) * rng.random_range(16..32_768), POOL)
}

fn prefill(rng: &mut ChaCha8Rng) -> PassLoad {
    let chunks = rng.random_range(1..4);
    (0..chunks).fold(PassLoad::default(), |load, _| {
        let prefix = if rng.random() { rng.random_range(0..16_384) } else { 0 };
        load.with_prefill(rng.random_range(16..2048), prefix, true)
    })
}

fn mixed(rng: &mut ChaCha8Rng) -> PassLoad {
    let decoding = decode(rng);
    let mut load = prefill(rng);
    load.decode_seqs = decoding.decode_seqs;
    load.decode_context_tokens = decoding.decode_context_tokens;
    load.sampled_seqs += decoding.sampled_seqs;
    load
}

type Make = fn(&mut ChaCha8Rng) -> PassLoad;

fn queries(c: &mut Criterion) {
    let mut group = c.benchmark_group("pass_ms");
    group.throughput(Throughput::Elements(QUERIES as u64));
    for (kind, spec) in [("surface", TimingSpec::default()), ("roofline", TimingSpec::Roofline)] {
        let timing = timing(&spec);
        let kinds: [(&str, Make); 3] = [("decode", decode), ("prefill", prefill), ("mixed", mixed)];
        for (name, make) in kinds {
            let mut rng = ChaCha8Rng::seed_from_u64(7);
            let loads: Vec<PassLoad> = (0..QUERIES).map(|_| make(&mut rng)).collect();
            group.bench_function(format!("{kind}/{name}"), |b| {
                b.iter(|| loads.iter().map(|load| timing.pass_ms(black_box(load))).sum::<f64>());
            });
        }
    }
    group.finish();
    let mut group = c.benchmark_group("decode_run");
    group.throughput(Throughput::Elements(QUERIES as u64));
    let timing = timing(&TimingSpec::default());
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let loads: Vec<PassLoad> = (0..QUERIES).map(|_| decode(&mut rng)).collect();
    group.bench_function("surface", |b| {
        b.iter(|| {
            let run = |l: &PassLoad| timing.decode_run(l.decode_seqs, l.decode_context_tokens, POOL);
            loads.iter().map(|load| run(black_box(load)).base_ms).sum::<f64>()
        });
    });
    group.finish();
}

criterion_group!(benches, queries);
criterion_main!(benches);
