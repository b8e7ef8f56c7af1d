//! Extremely randomised trees with several outputs (Geurts, Ernst, Wehenkel, 2006): cheap at any
//! number of observations, at home with cliffs and names, and honest about strata never seen.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

/// Rows are not split below this many.
const LEAST_SPLIT: usize = 4;

/// Trees grown on rows of columns, each with several outputs.
pub(super) struct Forest {
    trees: Vec<Tree>,
    outputs: usize,
}

#[derive(Default)]
struct Tree {
    nodes: Vec<Node>,
    /// Mean outputs of the leaves, one after the other.
    leaves: Vec<f64>,
}

enum Node {
    /// Goes to `left` when the column is below the cut, else to the node after.
    Split {
        column: usize,
        below: f64,
        left: u32,
        right: u32,
    },
    Leaf(u32),
}

/// What the forest says about a row.
#[derive(Clone, Debug)]
pub(super) struct Guess {
    /// Mean of each output.
    pub mean: Vec<f64>,
    /// Standard deviation of each output over the trees.
    pub deviation: Vec<f64>,
}

impl Forest {
    /// Grows trees on all rows; `targets` holds `outputs` numbers a row.
    pub fn grow(rows: &[Vec<f64>], targets: &[f64], outputs: usize, trees: usize, rng: &mut ChaCha8Rng) -> Self {
        // Outputs in units of their own spread count alike.
        let weights: Vec<f64> = (0..outputs)
            .map(|k| {
                let column: Vec<f64> = targets.iter().skip(k).step_by(outputs).copied().collect();
                let (_, sd) = super::gp::standard(&column);
                1.0 / (sd * sd)
            })
            .collect();
        let count = rows.first().map_or(0, Vec::len);
        let columns: Vec<Vec<f64>> = (0..count).map(|c| rows.iter().map(|row| row[c]).collect()).collect();
        let grow = |&seed: &u64| {
            let rng = ChaCha8Rng::seed_from_u64(seed);
            let mut all: Vec<u32> = (0..rows.len() as u32).collect();
            let side = Vec::with_capacity(rows.len());
            let grown = Tree::default();
            let mut grower = Grower { columns: &columns, targets, outputs, weights: &weights, tree: grown, side, rng };
            grower.node(&mut all);
            grower.tree
        };
        // A generator a tree, so that they can grow side by side.
        let seeds: Vec<u64> = (0..trees).map(|_| rng.random()).collect();
        Forest { trees: seeds.par_iter().map(grow).collect(), outputs }
    }

    /// Mean and spread over the trees, of many rows. A tree after the other, so that each is at
    /// hand while it is asked.
    pub fn guesses(&self, rows: &[Vec<f64>]) -> Vec<Guess> {
        let outputs = self.outputs;
        let none = Guess { mean: vec![0.0; outputs], deviation: vec![0.0; outputs] };
        let mut guesses = vec![none; rows.len()];
        for tree in &self.trees {
            for (row, guess) in rows.iter().zip(&mut guesses) {
                let leaf = tree.leaf(row, outputs);
                for ((mean, square), v) in guess.mean.iter_mut().zip(&mut guess.deviation).zip(leaf) {
                    *mean += v;
                    *square += v * v;
                }
            }
        }
        let n = self.trees.len() as f64;
        for guess in &mut guesses {
            for (mean, square) in guess.mean.iter_mut().zip(&mut guess.deviation) {
                *mean /= n;
                *square = (*square / n - *mean * *mean).max(0.0).sqrt();
            }
        }
        guesses
    }
}

impl Tree {
    fn leaf(&self, row: &[f64], outputs: usize) -> &[f64] {
        let mut at = 0;
        loop {
            match self.nodes[at] {
                Node::Leaf(leaf) => return &self.leaves[leaf as usize * outputs..][..outputs],
                Node::Split { column, below, left, right } => {
                    at = if row[column] < below { left } else { right } as usize;
                }
            }
        }
    }
}

struct Grower<'a> {
    columns: &'a [Vec<f64>],
    targets: &'a [f64],
    outputs: usize,
    weights: &'a [f64],
    tree: Tree,
    /// Scratch: the rows on one side of a cut.
    side: Vec<u32>,
    rng: ChaCha8Rng,
}

impl Grower<'_> {
    /// Grows the node of these rows and all below it; its index.
    fn node(&mut self, of: &mut [u32]) -> u32 {
        let index = self.tree.nodes.len() as u32;
        let split = if of.len() < LEAST_SPLIT { None } else { self.split(of) };
        let Some((column, below)) = split else {
            self.tree.nodes.push(Node::Leaf((self.tree.leaves.len() / self.outputs) as u32));
            let mean = self.sums(of);
            self.tree.leaves.extend(mean.iter().map(|s| s / of.len() as f64));
            return index;
        };
        self.tree.nodes.push(Node::Leaf(0));
        let mut middle = 0;
        for at in 0..of.len() {
            if self.columns[column][of[at] as usize] < below {
                of.swap(at, middle);
                middle += 1;
            }
        }
        let (left, right) = of.split_at_mut(middle);
        let left = self.node(left);
        let right = self.node(right);
        self.tree.nodes[index as usize] = Node::Split { column, below, left, right };
        index
    }

    fn sums(&self, of: &[u32]) -> Vec<f64> {
        let mut sums = vec![0.0; self.outputs];
        for &row in of {
            for (sum, v) in sums.iter_mut().zip(&self.targets[row as usize * self.outputs..]) {
                *sum += v;
            }
        }
        sums
    }

    /// The best of one random cut in each of several random columns; `None` when all rows are
    /// alike or all targets are.
    fn split(&mut self, of: &[u32]) -> Option<(usize, f64)> {
        let columns = self.columns.len();
        let tries = (columns * 2).div_ceil(3);
        let total = self.sums(of);
        let n = of.len() as f64;
        let mut order: Vec<usize> = (0..columns).collect();
        let mut side = std::mem::take(&mut self.side);
        let mut best: Option<(f64, usize, f64)> = None;
        let mut tried = 0;
        for at in 0..columns {
            let pick = self.rng.random_range(at..columns);
            order.swap(at, pick);
            let column = &self.columns[order[at]];
            let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
            for &row in of.iter() {
                let v = column[row as usize];
                low = if v < low { v } else { low };
                high = if v > high { v } else { high };
            }
            if low >= high {
                continue;
            }
            let below = low + (high - low) * self.rng.random_range(0.0..1.0_f64);
            let below = if below > low { below } else { high };
            // The smaller side is summed, without a branch for what no branch can be guessed for.
            let left = of.iter().filter(|&&row| column[row as usize] < below).count();
            let of_left = 2 * left <= of.len();
            side.resize(of.len() + 1, 0);
            let mut end = 0;
            for &row in of.iter() {
                side[end] = row;
                end += usize::from((column[row as usize] < below) == of_left);
            }
            let sums = self.sums(&side[..end]);
            let count = end as f64;
            let gain: f64 = (0..self.outputs)
                .map(|k| {
                    let (one, other) = (sums[k], total[k] - sums[k]);
                    self.weights[k] * (one * one / count + other * other / (n - count) - total[k] * total[k] / n)
                })
                .sum();
            if best.is_none_or(|(most, ..)| gain > most) {
                best = Some((gain, order[at], below));
            }
            tried += 1;
            if tried >= tries {
                break;
            }
        }
        self.side = side;
        best.filter(|(gain, ..)| *gain > 1e-12).map(|(_, column, below)| (column, below))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::draw::rng;

    #[test]
    fn a_cliff_is_found_and_the_unseen_is_in_between() {
        let mut random = rng(3, "test", 0);
        let rows: Vec<Vec<f64>> = (0..200).map(|_| (0..4).map(|_| random.random::<f64>()).collect()).collect();
        let targets: Vec<f64> = rows.iter().flat_map(|r| [if r[1] > 0.6 { 5.0 } else { 1.0 }, r[2]]).collect();
        let forest = Forest::grow(&rows, &targets, 2, 50, &mut random);
        let guess = |x: f64, y: f64| forest.guesses(&[vec![0.5, x, y, 0.5]])[0].mean.clone();
        assert!((guess(0.9, 0.5)[0] - 5.0).abs() < 0.4 && (guess(0.2, 0.5)[0] - 1.0).abs() < 0.4);
        assert!((guess(0.5, 0.1)[1] - 0.1).abs() < 0.15 && (guess(0.5, 0.9)[1] - 0.9).abs() < 0.15);
        let spread = forest.guesses(&[vec![0.5, 0.6, 0.5, 0.5], vec![0.5, 0.1, 0.5, 0.5]]);
        assert!(spread[0].deviation[0] > spread[1].deviation[0]);
    }

    #[test]
    fn alike_rows_make_one_leaf() {
        let mut random = rng(3, "test", 1);
        let forest =
            Forest::grow(&vec![vec![0.5, 1.0]; 9], &[1.0, 2.0, 3.0, 1.0, 2.0, 3.0, 1.0, 2.0, 3.0], 1, 3, &mut random);
        assert!((forest.guesses(&[vec![0.0, 0.0]])[0].mean[0] - 2.0).abs() < 1e-12);
    }
}
