//! A two-dimensional staircase (a set of mutually non-dominated points) over ranked abscissas:
//! the inner structure of the three-dimensional sweeps.

/// A set of integers below a fixed bound, with predecessor and successor in a few word
/// operations: a tree of 64-bit words, one bit per occupied word of the level below.
struct RankSet {
    /// `levels[0]` holds the members; each further level summarises the one before it.
    levels: Vec<Vec<u64>>,
}

impl RankSet {
    fn new(bound: usize) -> Self {
        let mut levels = Vec::new();
        let mut words = bound.div_ceil(64).max(1);
        loop {
            levels.push(vec![0_u64; words]);
            if words == 1 {
                return RankSet { levels };
            }
            words = words.div_ceil(64);
        }
    }

    fn insert(&mut self, mut rank: usize) {
        for level in &mut self.levels {
            level[rank / 64] |= 1 << (rank % 64);
            rank /= 64;
        }
    }

    fn remove(&mut self, mut rank: usize) {
        for level in &mut self.levels {
            level[rank / 64] &= !(1 << (rank % 64));
            if level[rank / 64] != 0 {
                return;
            }
            rank /= 64;
        }
    }

    /// The largest member that is at most `rank`.
    fn at_most(&self, rank: usize) -> Option<usize> {
        let mut bound = rank + 1;
        for (height, level) in self.levels.iter().enumerate() {
            let (word, bit) = (bound / 64, bound % 64);
            let below = if bit == 0 { 0 } else { level[word] & ((1 << bit) - 1) };
            if below != 0 {
                return Some(self.descend(height, word * 64 + 63 - below.leading_zeros() as usize, true));
            }
            bound = word;
        }
        None
    }

    /// The smallest member that is greater than `rank`.
    fn above(&self, rank: usize) -> Option<usize> {
        let mut bound = rank;
        for (height, level) in self.levels.iter().enumerate() {
            let (word, bit) = (bound / 64, bound % 64);
            let above = if bit == 63 { 0 } else { level[word] & (!0 << (bit + 1)) };
            if above != 0 {
                return Some(self.descend(height, word * 64 + above.trailing_zeros() as usize, false));
            }
            bound = word;
        }
        None
    }

    /// From an occupied position at `height` down to its last or first member.
    fn descend(&self, height: usize, mut position: usize, last: bool) -> usize {
        for level in self.levels[..height].iter().rev() {
            let word = level[position];
            let bit = if last { 63 - word.leading_zeros() } else { word.trailing_zeros() };
            position = position * 64 + bit as usize;
        }
        position
    }
}

/// Mutually non-dominated points `(x, y)`, `x` given by its dense rank among all abscissas that
/// will ever be inserted. As the rank grows, `y` falls.
pub(super) struct Staircase {
    members: RankSet,
    y: Vec<f64>,
}

impl Staircase {
    /// An empty staircase for ranks below `ranks`.
    pub fn new(ranks: usize) -> Self {
        Staircase { members: RankSet::new(ranks + 1), y: vec![0.0; ranks] }
    }

    /// Whether some member is no worse in both coordinates.
    pub fn covers(&self, rank: usize, y: f64) -> bool {
        self.members.at_most(rank).is_some_and(|r| self.y[r] <= y)
    }

    /// The lowest `y` at or left of `rank`.
    pub fn height(&self, rank: usize) -> Option<f64> {
        self.members.at_most(rank).map(|r| self.y[r])
    }

    /// The next member to the right of `rank`.
    pub fn next(&self, rank: usize) -> Option<(usize, f64)> {
        self.members.above(rank).map(|r| (r, self.y[r]))
    }

    /// Removes a member.
    pub fn remove(&mut self, rank: usize) {
        self.members.remove(rank);
    }

    /// Adds a point that no member covers, without looking for members that it covers.
    pub fn put(&mut self, rank: usize, y: f64) {
        self.members.insert(rank);
        self.y[rank] = y;
    }

    /// Adds a point unless a member covers it; removes the members that it covers. Whether it
    /// was added.
    pub fn insert(&mut self, rank: usize, y: f64) -> bool {
        if self.covers(rank, y) {
            return false;
        }
        while let Some((r, _)) = self.next(rank).filter(|&(_, other)| other >= y) {
            self.remove(r);
        }
        self.put(rank, y);
        true
    }
}

/// Dense ranks (equal values share one) and the number of distinct values.
pub(super) fn dense_ranks(values: &[f64]) -> (Vec<u32>, Vec<f64>) {
    let mut order: Vec<(f64, u32)> = values.iter().copied().zip(0..).collect();
    order.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let mut ranks = vec![0; values.len()];
    let mut distinct: Vec<f64> = Vec::with_capacity(values.len());
    for (value, index) in order {
        if distinct.last().is_none_or(|&last| last != value) {
            distinct.push(value);
        }
        ranks[index as usize] = distinct.len() as u32 - 1;
    }
    (ranks, distinct)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn rank_set_agrees_with_a_btree_set() {
        for bound in [1_usize, 63, 64, 65, 4096, 5000, 300_000] {
            let mut set = RankSet::new(bound + 1);
            let mut truth = BTreeSet::new();
            let mut state = 12345_u64;
            for step in 0..3000 {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let rank = (state >> 33) as usize % bound;
                if step % 3 == 0 {
                    set.remove(rank);
                    truth.remove(&rank);
                } else if step % 3 == 1 {
                    set.insert(rank);
                    truth.insert(rank);
                }
                assert_eq!(set.at_most(rank), truth.range(..=rank).next_back().copied());
                assert_eq!(set.above(rank), truth.range(rank + 1..).next().copied());
            }
        }
    }

    #[test]
    fn staircase_keeps_only_the_uncovered() {
        let mut stairs = Staircase::new(10);
        assert!(stairs.insert(5, 5.0));
        assert!(!stairs.insert(5, 5.0), "an equal point is covered");
        assert!(!stairs.insert(7, 6.0));
        assert!(stairs.insert(7, 2.0));
        assert!(stairs.insert(3, 2.0), "covers both");
        assert_eq!(stairs.next(0), Some((3, 2.0)));
        assert_eq!(stairs.next(3), None);
    }

    #[test]
    fn equal_values_share_a_rank() {
        let (ranks, distinct) = dense_ranks(&[3.0, 1.0, 3.0, 0.0, -0.0]);
        assert_eq!(ranks, [2, 1, 2, 0, 0]);
        assert_eq!(distinct.len(), 3);
    }
}
