//! A random forest for tables of levels: what predicts an outcome, and how well.
//!
//! Regression trees on bootstrap samples with a random part of the features at each split (Breiman,
//! "Random Forests", 2001). Features are small integers in a meaningful order, so that the best split
//! is found exactly from sums per level. Deterministic for a seed.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const TREES: usize = 80;
/// A node with fewer rows is a leaf.
const LEAST_ROWS: usize = 5;
const DEEPEST: usize = 24;

/// How an outcome depends on features, as far as a forest can tell.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Dependence {
    /// Share of the outcome's variance that trees predict on rows that they were not grown on;
    /// negative when they are worse than the mean.
    pub explained: f64,
    /// Per feature, the share of the variance that it causes, alone or together with others: half
    /// the squared error that shuffling its values among those rows adds (Jansen's estimator of the
    /// total effect, 1999, with the error of the forest itself taken off). Not negative.
    pub importance: Vec<f64>,
}

/// A table: `features[f][row]` is a level, `outcome[row]` a number.
pub(crate) struct Table<'a> {
    pub features: &'a [Vec<u32>],
    pub outcome: &'a [f64],
}

enum Node {
    Leaf(f64),
    /// Rows with a level below `below` go to the first child, which follows; others to `right`.
    Split {
        feature: usize,
        below: u32,
        right: usize,
    },
}

/// Grows a forest and measures what each feature contributes. `None` for fewer rows than it takes,
/// or an outcome that never changes.
pub(crate) fn dependence(table: &Table, seed: u64) -> Option<Dependence> {
    let rows = table.outcome.len();
    let mean = table.outcome.iter().sum::<f64>() / rows.max(1) as f64;
    let variance = table.outcome.iter().map(|y| (y - mean).powi(2)).sum::<f64>() / rows.max(1) as f64;
    if rows < 4 * LEAST_ROWS || variance <= 1e-18 * mean.abs().max(1e-12).powi(2) {
        return None;
    }
    let features = table.features.len();
    let (mut error, mut out_of_bag) = (0.0, 0usize);
    let mut shuffled_error = vec![0.0; features];
    for tree in 0..TREES {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(tree as u64);
        let mut is_drawn = vec![false; rows];
        let bag: Vec<usize> = (0..rows)
            .map(|_| {
                let row = rng.random_range(0..rows);
                is_drawn[row] = true;
                row
            })
            .collect();
        let mut nodes = Vec::new();
        grow(table, bag, 0, &mut nodes, &mut rng);
        let rest: Vec<usize> = (0..rows).filter(|&row| !is_drawn[row]).collect();
        let miss = |predicted: f64, row: usize| (predicted - table.outcome[row]).powi(2);
        out_of_bag += rest.len();
        error += rest.iter().map(|&row| miss(predict(&nodes, |f| table.features[f][row]), row)).sum::<f64>();
        for (feature, shuffled_error) in shuffled_error.iter_mut().enumerate() {
            let mut others = rest.clone();
            for last in (1..others.len()).rev() {
                others.swap(last, rng.random_range(0..=last));
            }
            let level = |f: usize, row: usize, other: usize| table.features[f][if f == feature { other } else { row }];
            let pairs = rest.iter().zip(&others);
            *shuffled_error +=
                pairs.map(|(&row, &other)| miss(predict(&nodes, |f| level(f, row, other)), row)).sum::<f64>();
        }
    }
    let total = variance * out_of_bag.max(1) as f64;
    let importance = shuffled_error.iter().map(|shuffled| ((shuffled - error) / total / 2.0).max(0.0)).collect();
    Some(Dependence { explained: 1.0 - error / total, importance })
}

fn predict(nodes: &[Node], level: impl Fn(usize) -> u32) -> f64 {
    let mut at = 0;
    loop {
        match nodes[at] {
            Node::Leaf(value) => return value,
            Node::Split { feature, below, right } => at = if level(feature) < below { at + 1 } else { right },
        }
    }
}

fn grow(table: &Table, rows: Vec<usize>, depth: usize, nodes: &mut Vec<Node>, rng: &mut ChaCha8Rng) {
    let mean = rows.iter().map(|&row| table.outcome[row]).sum::<f64>() / rows.len().max(1) as f64;
    let split =
        (rows.len() >= 2 * LEAST_ROWS && depth < DEEPEST).then(|| best_split(table, &rows, mean, rng)).flatten();
    let Some((feature, below)) = split else {
        nodes.push(Node::Leaf(mean));
        return;
    };
    let at = nodes.len();
    nodes.push(Node::Split { feature, below, right: 0 });
    let (left, right): (Vec<usize>, Vec<usize>) =
        rows.into_iter().partition(|&row| table.features[feature][row] < below);
    grow(table, left, depth + 1, nodes, rng);
    let start = nodes.len();
    if let Node::Split { right, .. } = &mut nodes[at] {
        *right = start;
    }
    grow(table, right, depth + 1, nodes, rng);
}

/// The split, among a random half of the features, that lowers the squared error most.
fn best_split(table: &Table, rows: &[usize], mean: f64, rng: &mut ChaCha8Rng) -> Option<(usize, u32)> {
    let mut features: Vec<usize> = (0..table.features.len()).collect();
    for last in (1..features.len()).rev() {
        features.swap(last, rng.random_range(0..=last));
    }
    features.truncate(features.len().div_ceil(2));
    let mut best: Option<(f64, usize, u32)> = None;
    for feature in features {
        let levels = &table.features[feature];
        let highest = rows.iter().map(|&row| levels[row]).max()?;
        let mut sums = vec![(0usize, 0.0); highest as usize + 1];
        for &row in rows {
            let (count, sum) = &mut sums[levels[row] as usize];
            *count += 1;
            // About the mean, which keeps differences of large sums exact enough.
            *sum += table.outcome[row] - mean;
        }
        let (mut left_count, mut left_sum) = (0usize, 0.0);
        for (level, &(count, sum)) in sums.iter().enumerate().take(highest as usize) {
            left_count += count;
            left_sum += sum;
            let right_count = rows.len() - left_count;
            if count == 0 || left_count < LEAST_ROWS || right_count < LEAST_ROWS {
                continue;
            }
            // The two sums are opposite, as they are taken about the mean.
            let gain = left_sum * left_sum * (1.0 / left_count as f64 + 1.0 / right_count as f64);
            if gain > best.map_or(1e-12, |(most, _, _)| most) {
                best = Some((gain, feature, level as u32 + 1));
            }
        }
    }
    best.map(|(_, feature, below)| (feature, below))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: usize, outcome: impl Fn(&[u32]) -> f64) -> (Vec<Vec<u32>>, Vec<f64>) {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let features: Vec<Vec<u32>> = (0..5).map(|_| (0..rows).map(|_| rng.random_range(0..6)).collect()).collect();
        let outcome = (0..rows).map(|row| outcome(&features.iter().map(|f| f[row]).collect::<Vec<_>>())).collect();
        (features, outcome)
    }

    #[test]
    fn importance_follows_the_variance_that_a_feature_causes() {
        // Variances of the two terms are 9 : 1; the other three features do nothing.
        let (features, outcome) = table(1500, |x| 3.0 * f64::from(x[1]) + f64::from(x[3]));
        let found = dependence(&Table { features: &features, outcome: &outcome }, 7).unwrap();
        assert!(found.explained > 0.9, "{}", found.explained);
        let [a, b, c, d, e] = found.importance[..] else { panic!() };
        assert!(b > 5.0 * d && d > 5.0 * a.max(c).max(e), "{:?}", found.importance);
        assert!((b - 0.9).abs() < 0.1 && (d - 0.1).abs() < 0.05, "{b} {d}");
    }

    #[test]
    fn an_interaction_without_main_effects_is_seen() {
        let (features, outcome) = table(2000, |x| if (x[0] < 3) == (x[2] < 3) { 1.0 } else { -1.0 });
        let found = dependence(&Table { features: &features, outcome: &outcome }, 7).unwrap();
        assert!(found.importance[0] > 0.6 && found.importance[2] > 0.6, "{:?}", found.importance);
    }

    #[test]
    fn noise_is_not_explained() {
        let (features, _) = table(600, |_| 0.0);
        let mut rng = ChaCha8Rng::seed_from_u64(9);
        let outcome: Vec<f64> = (0..600).map(|_| rng.random::<f64>()).collect();
        let found = dependence(&Table { features: &features, outcome: &outcome }, 7).unwrap();
        assert!(found.explained < 0.1, "{}", found.explained);
        assert!(found.importance.iter().all(|&i| i < 0.1), "{:?}", found.importance);
    }

    #[test]
    fn too_little_says_nothing_and_the_same_says_the_same() {
        let (features, outcome) = table(300, |x| f64::from(x[0]));
        let table = Table { features: &features, outcome: &outcome };
        assert_eq!(dependence(&table, 3), dependence(&table, 3));
        let few: Vec<Vec<u32>> = features.iter().map(|f| f[..10].to_vec()).collect();
        assert_eq!(dependence(&Table { features: &few, outcome: &outcome[..10] }, 3), None);
        assert_eq!(dependence(&Table { features: &features, outcome: &[4.0; 300] }, 3), None);
    }
}
