//! Non-dominated sorting with constraint domination.

use std::cmp::Ordering;

use super::{dominates, is_finite, rows};

/// The rank of each point: 0 for the non-dominated ones, 1 for those non-dominated once rank 0
/// is removed, and so on, under constrained domination (`violation` 0 is feasible; every smaller
/// violation comes before every larger one). Equal points share a rank. Points that are not
/// finite in every objective share the last rank of their violation.
///
/// Efficient non-dominated sort with binary search (Zhang et al., 2015): points in lexicographic
/// order, each placed in the first front none of whose members dominates it.
pub fn nondominated_sort(points: &[f64], m: usize, violation: &[f64]) -> Vec<u32> {
    let n = rows(points, m);
    assert_eq!(n, violation.len(), "one violation per point");
    let row = |i: usize| &points[i * m..][..m];
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_unstable_by(|&a, &b| {
        let group = violation[a].total_cmp(&violation[b]);
        let finite_first = || is_finite(row(b)).cmp(&is_finite(row(a)));
        // Numbers, not bits: 0 and -0 are one value. Not finite: by index.
        let by_objectives = || row(a).partial_cmp(row(b)).unwrap_or(Ordering::Equal);
        group
            .then_with(finite_first)
            .then_with(|| if is_finite(row(a)) { by_objectives() } else { Ordering::Equal })
            .then(a.cmp(&b))
    });
    let mut rank = vec![0_u32; n];
    let mut base = 0;
    for group in order.chunk_by(|&a, &b| violation[a].total_cmp(&violation[b]).is_eq()) {
        let (finite, rest) = group.split_at(group.partition_point(|&i| is_finite(row(i))));
        // Fronts as lists of members; the latest members are the likeliest to dominate.
        let mut fronts: Vec<Vec<usize>> = Vec::new();
        for &i in finite {
            let beaten = |front: &Vec<usize>| front.iter().rev().any(|&j| dominates(row(j), row(i)));
            let place = fronts.partition_point(beaten);
            if place == fronts.len() {
                fronts.push(Vec::new());
            }
            fronts[place].push(i);
            rank[i] = base + place as u32;
        }
        base += fronts.len() as u32;
        for &i in rest {
            rank[i] = base;
        }
        base += u32::from(!rest.is_empty());
    }
    rank
}
