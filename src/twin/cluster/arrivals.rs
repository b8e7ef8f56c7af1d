//! Requests whose arrival is known.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::event::At;

/// Arrivals in the order of (time, rank). Most are known from the start, and those of a trace come
/// sorted: they are kept as a list, and only what is learned later goes through a heap.
#[derive(Debug)]
pub(super) struct Arrivals {
    /// Known from the start, the next one last.
    first: Vec<At<u32>>,
    later: BinaryHeap<Reverse<At<u32>>>,
}

impl Arrivals {
    /// With what is known from the start.
    pub fn new(mut first: Vec<At<u32>>) -> Self {
        first.sort_unstable_by(|a, b| b.cmp(a));
        Arrivals { first, later: BinaryHeap::new() }
    }

    /// Learns of one more.
    pub fn push(&mut self, arrival: At<u32>) {
        self.later.push(Reverse(arrival));
    }

    /// When the next one comes; infinite for never.
    pub fn next_ms(&self) -> f64 {
        let first = self.first.last().map_or(f64::INFINITY, |a| a.ms);
        self.later.peek().map_or(first, |a| first.min(a.0.ms))
    }

    /// Takes out the next one.
    pub fn pop(&mut self) -> Option<At<u32>> {
        match (self.first.last(), self.later.peek()) {
            (Some(first), Some(Reverse(later))) if later < first => self.later.pop().map(|a| a.0),
            (None, _) => {
                // Of a million requests it is worth giving back.
                self.first = Vec::new();
                self.later.pop().map(|a| a.0)
            }
            (Some(_), _) => self.first.pop(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_come_out_in_one_order() {
        let at = |ms, rank, what| At { ms, rank, what };
        let mut arrivals = Arrivals::new(vec![at(5.0, 2, 1), at(1.0, 1, 0), at(5.0, 4, 2)]);
        arrivals.push(at(5.0, 3, 3));
        arrivals.push(at(0.5, 9, 4));
        assert_eq!(arrivals.next_ms(), 0.5);
        let order: Vec<u32> = std::iter::from_fn(|| arrivals.pop()).map(|a| a.what).collect();
        assert_eq!(order, [4, 0, 1, 3, 2]);
        assert_eq!(arrivals.next_ms(), f64::INFINITY);
    }
}
