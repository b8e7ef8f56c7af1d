//! A space and an evaluator for driver and strategy tests: mixed, conditional, with refusals and
//! constraint violations.

use servescout::search::{Evaluate, Evaluation};
use servescout::space::{Candidate, Condition, Domain, Knob, Space, Value};

fn knob(name: &str, levels: i64, ordered: bool, conditions: Vec<Condition>, block: &str) -> Knob {
    let values = (0..levels).map(Value::Int).collect();
    Knob { name: name.into(), domain: Domain { values, ordered, log: false }, conditions, block: block.into() }
}

/// Two modes with knobs of their own, a shared shape, an unordered policy with a weight that only
/// one policy has: 14,080 candidates.
pub fn space() -> Space {
    let only = |knob: usize, level: u32| vec![Condition { knob, levels: vec![level] }];
    Space {
        knobs: vec![
            knob("mode", 2, false, vec![], "shape"),
            knob("tp", 4, true, vec![], "shape"),
            knob("workers", 16, true, only(0, 0), "split"),
            knob("prefill", 8, true, only(0, 1), "split"),
            knob("decode", 8, true, only(0, 1), "split"),
            knob("policy", 3, false, vec![], "router"),
            knob("weight", 9, true, only(5, 2), "router"),
            knob("pinned", 1, true, vec![], "limits"),
            knob("seqs", 4, true, vec![], "limits"),
        ],
    }
}

/// Cost against latency with a cliff where capacity is short, a refusal above 24 GPUs, and a bound
/// on latency.
pub struct Toy;

impl Evaluate for Toy {
    fn objectives(&self) -> usize {
        2
    }

    fn evaluate(&self, candidate: &Candidate) -> Evaluation {
        let level = |k: usize| candidate.levels[k];
        let at = |k: usize| f64::from(if level(k) == Candidate::ABSENT { 0 } else { level(k) });
        let tp = f64::from(1_u32 << level(1));
        let workers = if level(0) == 0 { at(2) + 1.0 } else { at(3) + at(4) + 2.0 };
        let gpus = tp * workers;
        if gpus > 24.0 {
            return Evaluation::refused(candidate.clone(), 2, 3, format!("needs {gpus} GPUs"));
        }
        let balance = if level(0) == 0 { 1.3 } else { 1.0 + 0.2 * (at(3) - 0.5 * at(4) - 1.0).abs() };
        let router = 1.0 + 0.15 * f64::from(2 - level(5)) + 0.02 * (at(6) - 5.0).powi(2);
        let load = 6.0 * balance / (workers * tp.powf(0.7) * (1.0 + 0.2 * at(8)));
        let latency =
            router * (40.0 / tp.powf(0.6)) * (1.0 + load + 30.0 * (load - 1.0).max(0.0)) * (1.0 + 0.05 * at(8));
        let cost = gpus * (1.0 + 2.0 * (load - 1.0).max(0.0));
        let over = (latency / 200.0 - 1.0).max(0.0);
        Evaluation {
            violation: over,
            metrics: vec![gpus, cost, latency],
            reason: (over > 0.0).then(|| "latency".to_owned()),
            ..Evaluation::plain(candidate.clone(), vec![cost, latency])
        }
    }
}
