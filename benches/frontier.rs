//! The geometry of many points: the non-dominated filter and exact hypervolume.

#![forbid(unsafe_code)]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use servescout::frontier::{contributions, hypervolume, nondominated};

fn uniform(n: usize, m: usize) -> Vec<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    (0..n * m).map(|_| rng.random()).collect()
}

/// On the line through (1, 0) and (0, 1), give or take: about 12,600 of 10^6 are non-dominated.
fn anticorrelated(n: usize) -> Vec<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut points = Vec::with_capacity(2 * n);
    for _ in 0..n {
        let x: f64 = rng.random();
        let noise: f64 = rng.random();
        points.extend([x, 1.0 - x + 0.004 * noise]);
    }
    points
}

/// Uniform directions on the unit sphere's negative orthant, shifted to [0, 1]: all non-dominated.
fn sphere(n: usize, m: usize) -> Vec<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut points = Vec::with_capacity(n * m);
    for _ in 0..n {
        let p: Vec<f64> = (0..m).map(|_| f64::abs(StandardNormal.sample(&mut rng))).collect();
        let norm = p.iter().map(|v| v * v).sum::<f64>().sqrt();
        points.extend(p.iter().map(|v| 1.0 - v / norm));
    }
    points
}

fn filter(c: &mut Criterion) {
    let mut group = c.benchmark_group("nondominated");
    group.sample_size(10);
    for (name, m, points) in [
        ("uniform_2d", 2, uniform(1_000_000, 2)),
        ("uniform_3d", 3, uniform(1_000_000, 3)),
        ("uniform_4d", 4, uniform(1_000_000, 4)),
        ("anticorrelated_2d", 2, anticorrelated(1_000_000)),
        ("front_3d_10k", 3, sphere(10_000, 3)),
    ] {
        eprintln!("{name}: {} non-dominated", nondominated(&points, m).len());
        group.bench_function(name, |b| b.iter(|| nondominated(black_box(&points), m)));
    }
    group.finish();
}

fn volume(c: &mut Criterion) {
    let mut group = c.benchmark_group("hypervolume");
    group.sample_size(20);
    for (m, n) in [(2, 100), (2, 1000), (2, 10_000), (3, 100), (3, 1000), (3, 10_000), (4, 100), (4, 1000), (5, 100)] {
        let points = sphere(n, m);
        let reference = vec![1.1; m];
        group.bench_function(BenchmarkId::new(format!("{m}d"), n), |b| {
            b.iter(|| hypervolume(black_box(&points), m, &reference))
        });
        if n <= 1000 {
            group.bench_function(BenchmarkId::new(format!("contributions_{m}d"), n), |b| {
                b.iter(|| contributions(black_box(&points), m, &reference))
            });
        }
    }
    group.finish();
}

criterion_group!(benches, filter, volume);
criterion_main!(benches);
