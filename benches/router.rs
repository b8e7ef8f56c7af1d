//! One decision of the KV-aware router over 64 workers, for prompts of about 250 blocks that every worker
//! has a part of: the difference between replays of the same requests routed by cache and in turn would
//! hide it, so the policy is wrapped and its own time taken.

#![forbid(unsafe_code)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use servescout::timing::Timing;
use servescout::twin::deployment::{Deployment, EngineConfig, Pool, Role, RouterConfig, RouterPolicy, Topology};
use servescout::twin::router::formula::Formula;
use servescout::twin::router::{Placement, Policy, View, policy};
use servescout::twin::simulate_placed;
use servescout::workload::spec::{Arrivals, Lengths, SyntheticSpec};
use servescout::workload::{Workload, generate};

/// Takes the time of every decision.
struct Timed {
    policy: Box<dyn Policy>,
    spent: std::rc::Rc<std::cell::Cell<(Duration, u32)>>,
}

impl Policy for Timed {
    fn place(&mut self, request: u32, view: &View) -> Placement {
        let start = Instant::now();
        let placement = black_box(self.policy.place(request, view));
        let (time, count) = self.spent.get();
        self.spent.set((time + start.elapsed(), count + 1));
        placement
    }
    fn reads_caches(&self) -> bool {
        self.policy.reads_caches()
    }
    fn first_token(&mut self, request: u32, worker: usize, view: &View) {
        self.policy.first_token(request, worker, view);
    }
    fn ended(&mut self, request: u32, worker: usize, view: &View) {
        self.policy.ended(request, worker, view);
    }
    fn worker_ready(&mut self, worker: usize, view: &View) {
        self.policy.worker_ready(worker, view);
    }
    fn worker_removed(&mut self, worker: usize, view: &View) {
        self.policy.worker_removed(worker, view);
    }
}

fn workload() -> Workload {
    generate(&SyntheticSpec {
        seed: 1,
        sessions: 4000,
        turns: 1,
        arrivals: Arrivals::Poisson { rate_per_s: 40.0 },
        input_tokens: Lengths::Fixed(12_000),
        output_tokens: Lengths::Fixed(200),
        think_ms: 0.0,
        common_prefix_tokens: 512,
        prefix_groups: 50,
        group_prefix_tokens: 3520,
        block_tokens: 64,
    })
    .expect("a valid spec")
}

fn decisions(c: &mut Criterion) {
    let workload = workload();
    let formula = "max(0, prefill_blocks - credit * overlap_blocks) + decode_blocks + weight * active_requests";
    let formula = Formula::parse(formula).expect("a formula").bind(|_| Some(1.0)).expect("every name has a value");
    let mut group = c.benchmark_group("decision/64_workers_250_blocks");
    group.sample_size(10);
    for (name, chosen) in [("kv", RouterPolicy::Kv), ("expression", RouterPolicy::Expression(formula))] {
        let router = RouterConfig { policy: chosen, ..Default::default() };
        let deployment = Deployment {
            router: router.clone(),
            ..Deployment::new(Topology::Aggregated(Pool {
                workers: 64,
                gpus_per_worker: 1,
                engine: EngineConfig::default(),
                timing: Timing::Polynomial { floor_means: false },
            }))
        };
        group.bench_function(name, |b| {
            b.iter_custom(|iterations| {
                let spent = std::rc::Rc::new(std::cell::Cell::new((Duration::ZERO, 0)));
                let timed = Timed { policy: policy(&router, Role::Aggregated, 7), spent: spent.clone() };
                black_box(simulate_placed(&deployment, &workload, vec![Box::new(timed)], 7, false));
                let (time, count) = spent.get();
                // The time of one decision, as often as asked for.
                time.mul_f64(iterations as f64 / f64::from(count))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decisions);
criterion_main!(benches);
