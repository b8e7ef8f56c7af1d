//! A front that grows one point at a time.

use super::{is_finite, weakly_dominates};

/// The non-dominated points among all that were inserted, each with the key it came with.
#[derive(Clone, Debug, Default)]
pub struct Front {
    m: usize,
    /// Row-major objectives, parallel to `keys`.
    points: Vec<f64>,
    keys: Vec<usize>,
}

impl Front {
    /// An empty front of `m` objectives.
    pub fn new(m: usize) -> Self {
        Front { m, points: Vec::new(), keys: Vec::new() }
    }

    /// Adds a point unless it is not finite or some member weakly dominates it; removes the
    /// members that it dominates. Whether it was added.
    pub fn insert(&mut self, point: &[f64], key: usize) -> bool {
        let m = self.m;
        if !is_finite(point) || self.points.chunks_exact(m).any(|p| weakly_dominates(p, point)) {
            return false;
        }
        let mut kept = 0;
        for i in 0..self.keys.len() {
            if !weakly_dominates(point, &self.points[i * m..][..m]) {
                self.points.copy_within(i * m..(i + 1) * m, kept * m);
                self.keys[kept] = self.keys[i];
                kept += 1;
            }
        }
        self.points.truncate(kept * m);
        self.keys.truncate(kept);
        self.points.extend_from_slice(point);
        self.keys.push(key);
        true
    }

    /// Row-major objectives, in insertion order.
    pub fn points(&self) -> &[f64] {
        &self.points
    }

    /// The keys of the members, in insertion order.
    pub fn keys(&self) -> &[usize] {
        &self.keys
    }

    /// Number of members.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether nothing finite was inserted yet.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}
