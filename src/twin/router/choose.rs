//! How a policy chooses among candidates, and how it takes the cheapest by a cost.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::facts::{Facts, Needs};

/// A placement policy without its books: chooses by what is known about the candidates.
pub trait Chooser {
    /// What it weighs.
    fn needs(&self) -> Needs;
    /// The position of the chosen one. There is at least one candidate.
    fn choose(&mut self, facts: &Facts) -> usize;
}

/// A cost function: lower wins.
pub trait Cost {
    /// What it weighs.
    fn needs(&self) -> Needs;
    /// Appends the cost of each candidate.
    fn costs(&mut self, facts: &Facts, costs: &mut Vec<f64>);
}

/// Takes the cheapest candidate, ties at random; or samples by cost when there is a temperature.
pub struct Cheapest<C> {
    cost: C,
    temperature: f64,
    costs: Vec<f64>,
    rng: ChaCha8Rng,
}

impl<C: Cost> Cheapest<C> {
    /// `temperature` 0 takes the cheapest.
    pub fn new(cost: C, temperature: f64, rng: ChaCha8Rng) -> Self {
        Cheapest { cost, temperature, costs: Vec::new(), rng }
    }
}

impl<C: Cost> Chooser for Cheapest<C> {
    fn needs(&self) -> Needs {
        self.cost.needs()
    }

    fn choose(&mut self, facts: &Facts) -> usize {
        self.costs.clear();
        self.cost.costs(facts, &mut self.costs);
        if self.temperature == 0.0 {
            argmin_random_tie(self.costs.iter().copied().enumerate(), &mut self.rng)
        } else {
            softmax(&self.costs, self.temperature, &mut self.rng)
        }
    }
}

/// Draws by weights exp(-(cost - least) / (range x temperature)): costs are scaled to their range, so
/// that a temperature means the same at every load.
fn softmax(costs: &[f64], temperature: f64, rng: &mut ChaCha8Rng) -> usize {
    let finite = costs.iter().copied().filter(|c| c.is_finite());
    let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), c| (l.min(c), h.max(c)));
    if high <= low || !(high - low).is_finite() {
        return argmin_random_tie(costs.iter().copied().enumerate(), rng);
    }
    let weight = |cost: f64| (-(cost - low) / ((high - low) * temperature)).exp();
    let total: f64 = costs.iter().map(|&c| weight(c)).sum();
    let mut draw = rng.random::<f64>() * total;
    let last = costs.len() - 1;
    let chosen = costs[..last].iter().position(|&c| {
        draw -= weight(c);
        draw < 0.0
    });
    chosen.unwrap_or(last)
}

/// The item with the least cost; ties go to a uniformly random one. At least one item.
pub fn argmin_random_tie(items: impl Iterator<Item = (usize, f64)>, rng: &mut ChaCha8Rng) -> usize {
    let (mut best, mut least, mut ties) = (0, f64::INFINITY, 0u32);
    for (item, cost) in items {
        if cost < least || ties == 0 {
            (best, least, ties) = (item, cost, 1);
        } else if cost == least {
            ties += 1;
            if rng.random_range(0..ties) == 0 {
                best = item;
            }
        }
    }
    best
}
