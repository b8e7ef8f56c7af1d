//! Sizes that several knobs make together, read from the names of the knobs: a space that has
//! pools of workers has GPUs in all, and a share of them that prefill alone. Models learn from
//! these what they would else have to learn from products and sums of knobs.
//!
//! A pool is an integer knob `NAME.workers`; its workers are as many GPUs wide as `NAME.tp`,
//! `engine.tp` or `tp` says, the first of them that the space has, or one.

use super::Features;
use crate::space::{Candidate, Space, Value};

/// See the module.
#[derive(Clone, Debug)]
pub struct Sizes {
    space: Space,
    pools: Vec<Pool>,
}

#[derive(Clone, Debug)]
struct Pool {
    workers: usize,
    width: Option<usize>,
    only_prefills: bool,
}

impl Sizes {
    /// Those of a space; `None` where it has no pools, or their size is one knob's.
    pub fn of(space: &Space) -> Option<Sizes> {
        let named = |name: &str| space.knobs.iter().position(|k| k.name == name);
        let is_count = |k: usize| space.knobs[k].domain.values.iter().all(|v| v.as_f64().is_some_and(|v| v > 0.0));
        let mut pools = Vec::new();
        for (workers, knob) in space.knobs.iter().enumerate() {
            let Some(pool) = knob.name.strip_suffix(".workers") else { continue };
            if !is_count(workers) {
                continue;
            }
            let width = named(&format!("{pool}.tp")).or_else(|| named("engine.tp")).or_else(|| named("tp"));
            let width = width.filter(|&w| is_count(w));
            pools.push(Pool { workers, width, only_prefills: pool == "prefill" });
        }
        let is_one_knob = pools.iter().all(|p| p.width.is_none()) && pools.len() < 2;
        (!is_one_knob).then(|| Sizes { space: space.clone(), pools })
    }
}

impl Features for Sizes {
    /// GPUs in all; and where there are pools that only prefill, their share of all GPUs.
    fn features(&self, candidate: &Candidate) -> Option<Vec<f64>> {
        let number = |knob| self.space.value(candidate, knob).and_then(Value::as_f64);
        let (mut all, mut prefill) = (0.0, 0.0);
        for pool in &self.pools {
            let Some(workers) = number(pool.workers) else { continue };
            let gpus = workers * pool.width.and_then(number).unwrap_or(1.0);
            all += gpus;
            prefill += if pool.only_prefills { gpus } else { 0.0 };
        }
        let mut sizes = vec![all];
        if self.pools.iter().any(|p| p.only_prefills) {
            sizes.push(if all > 0.0 { prefill / all } else { 0.0 });
        }
        Some(sizes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::instances::Instance;

    #[test]
    fn pools_are_known_by_their_names() {
        let space = Instance::Agents.space();
        let sizes = Sizes::of(&space).unwrap();
        // Disaggregated, plain, 3 prefill workers of 2 GPUs, 2 decode workers of 4.
        let absent = Candidate::ABSENT;
        let split = Candidate { levels: vec![1, 0, absent, absent, 1, 2, 2, 1, 0, 0, 0].into() };
        assert_eq!(sizes.features(&split), Some(vec![14.0, 6.0 / 14.0]));
        let whole = Candidate { levels: vec![0, 0, 3, 4, absent, absent, absent, absent, 0, 0, 0].into() };
        assert_eq!(sizes.features(&whole), Some(vec![40.0, 0.0]));

        let shared = Sizes::of(&Instance::Batch.space()).unwrap();
        let candidate = Candidate { levels: vec![2, 6, 0, 0, 0, absent, 0].into() };
        assert_eq!(shared.features(&candidate), Some(vec![28.0]), "7 workers of 4 GPUs");
        assert!(Sizes::of(&crate::search::problems::Problem::Zdt1.space()).is_none());
    }
}
