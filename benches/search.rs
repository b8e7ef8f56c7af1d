//! What the driver and a strategy cost per simulation, with simulations that cost nothing; and what
//! a proposal of the Bayesian strategy costs when much is known.

#![forbid(unsafe_code)]

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use servescout::search::instances::{Instance, Problem};
use servescout::search::{Driver, Evaluate, Evaluation, Settings, strategy};
use servescout::space::{Candidate, Domain, Knob, Space, Value};

/// Twelve knobs of nine levels: 2.8e11 candidates.
fn space() -> Space {
    let knob = |k: i64| Knob {
        name: format!("block{}.knob{k}", k / 3),
        domain: Domain { values: (0..9).map(Value::Int).collect(), ordered: k % 4 != 3, log: false },
        conditions: vec![],
        block: format!("block{}", k / 3),
    };
    Space { knobs: (0..12).map(knob).collect() }
}

/// Two smooth objectives in conflict, and as many metrics as a real simulation has.
struct Free;

impl Evaluate for Free {
    fn objectives(&self) -> usize {
        2
    }

    fn evaluate(&self, candidate: &Candidate) -> Evaluation {
        let x: Vec<f64> = candidate.levels.iter().map(|&l| f64::from(l) / 8.0).collect();
        let distance = |to: f64| x.iter().map(|v| (v - to).powi(2)).sum::<f64>();
        let objectives = vec![1.0 + distance(0.2), 1.0 + distance(0.8)];
        Evaluation { metrics: vec![0.0; 46], ..Evaluation::plain(candidate.clone(), objectives) }
    }
}

fn overhead(c: &mut Criterion) {
    const SIMULATIONS: usize = 2000;
    let space = space();
    let mut group = c.benchmark_group("search_2000_simulations");
    group.sample_size(10);
    for name in ["sobol", "random", "grid", "genetic", "coordinate"] {
        group.throughput(criterion::Throughput::Elements(SIMULATIONS as u64));
        group.bench_function(BenchmarkId::from_parameter(name), |b| {
            b.iter(|| {
                let mut strategy = strategy(name, &space, 2, 7, SIMULATIONS).unwrap();
                let settings = Settings::plain(SIMULATIONS, 16, 1);
                Driver::new(&space, &Free, settings).run(strategy.as_mut(), &mut ()).unwrap()
            })
        });
    }
    group.finish();
}

/// Fit and proposal of a batch of 16, knowing 1,000 evaluations that a genetic search left, so that
/// many lie near the front.
fn proposal(c: &mut Criterion) {
    let mut group = c.benchmark_group("bayesian_1000_known");
    group.sample_size(10);
    for (instance, objectives) in [(Instance::Chat, 2), (Instance::Agents, 2), (Instance::Chat, 3)] {
        let problem = Problem::new(instance, objectives);
        let mut genetic = strategy("genetic", problem.space(), objectives, 7, 1000).unwrap();
        let run = Driver::new(problem.space(), &problem, Settings::plain(1000, 16, 1));
        let known: Vec<Evaluation> = run.run(genetic.as_mut(), &mut ()).unwrap().evaluations();
        let name = BenchmarkId::new(instance.name(), format!("{objectives} objectives"));
        group.bench_function(name, |b| {
            let informed = || {
                let mut bayesian = strategy("bayesian", problem.space(), objectives, 7, 2000).unwrap();
                // Its first points, which cost no fit.
                bayesian.ask(24);
                bayesian.tell(&known);
                bayesian
            };
            b.iter_batched(informed, |mut bayesian| bayesian.ask(16), BatchSize::PerIteration)
        });
    }
    group.finish();
}

criterion_group!(benches, overhead, proposal);
criterion_main!(benches);
