//! The non-dominated set of many points.
//!
//! Two objectives: points are dropped against the running minimum over equal slices of the first
//! objective (linear), what is left is sorted and swept. More: points are dropped against a few
//! strong members of a sample's front (linear), what is left is sorted; three objectives are then
//! swept with a staircase in O(n log n), four and more are compared with the front found so far.

use super::staircase::{Staircase, dense_ranks};
use super::{is_finite, rows, weakly_dominates};

/// Indices, ascending, of the points that no other point dominates. Of equal points, only the
/// one of lowest index is kept. Points that are not finite in every objective are excluded.
pub fn nondominated(points: &[f64], m: usize) -> Vec<usize> {
    let n = rows(points, m);
    let mut front = match m {
        1 => minimum(points),
        2 => sweep_2d(points, slice_filter(points)),
        3 => sweep_3d(points, sample_filter::<3>(points, n)),
        4 => compare_all(points, m, sample_filter::<4>(points, n)),
        _ => compare_all(points, m, (0..n).filter(|&i| is_finite(&points[i * m..][..m])).collect()),
    };
    front.sort_unstable();
    front
}

fn minimum(points: &[f64]) -> Vec<usize> {
    let finite = (0..points.len()).filter(|&i| points[i].is_finite());
    finite.min_by(|&a, &b| points[a].partial_cmp(&points[b]).expect("finite")).into_iter().collect()
}

/// Drops what is dominated by the lowest point of any slice of the first objective further left.
fn slice_filter(points: &[f64]) -> Vec<usize> {
    let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
    let mut all_finite = true;
    for p in points.chunks_exact(2) {
        all_finite &= p[0].is_finite() & p[1].is_finite();
        low = low.min(p[0]);
        high = high.max(p[0]);
    }
    let n = points.len() / 2;
    let width = high - low;
    if !all_finite || n < 256 || !width.is_finite() || width <= 0.0 {
        return (0..n).filter(|&i| is_finite(&points[i * 2..][..2])).collect();
    }
    let slices = (n / 16).min(1 << 15);
    let scale = slices as f64 / width;
    // Monotone in x, so a smaller slice means a smaller x.
    let slice = |x: f64| (((x - low) * scale) as usize).min(slices - 1);
    let mut floor = vec![f64::INFINITY; slices + 1];
    for p in points.chunks_exact(2) {
        let lowest = &mut floor[slice(p[0]) + 1];
        *lowest = lowest.min(p[1]);
    }
    // floor[s] becomes the lowest y strictly left of slice s.
    for s in 1..=slices {
        floor[s] = floor[s].min(floor[s - 1]);
    }
    (0..n).filter(|&i| points[2 * i + 1] < floor[slice(points[2 * i])]).collect()
}

fn sweep_2d(points: &[f64], survivors: Vec<usize>) -> Vec<usize> {
    let mut order: Vec<(f64, f64, usize)> =
        survivors.into_iter().map(|i| (points[2 * i], points[2 * i + 1], i)).collect();
    order.sort_unstable_by(|a, b| a.partial_cmp(b).expect("finite"));
    let mut lowest = f64::INFINITY;
    order.retain(|&(_, y, _)| {
        let keep = y < lowest;
        lowest = lowest.min(y);
        keep
    });
    order.into_iter().map(|(_, _, i)| i).collect()
}

/// Drops what is not finite and what is dominated by one of a few strong points.
fn sample_filter<const M: usize>(points: &[f64], n: usize) -> Vec<usize> {
    let (rows, _) = points.as_chunks::<M>();
    let strong = strong_points(rows);
    let mut survivors = Vec::with_capacity(if strong.is_empty() { n } else { n / 8 });
    for (i, p) in rows.iter().enumerate() {
        if !strong.iter().any(|s| below(s, p)) && is_finite(p) {
            survivors.push(i);
        }
    }
    survivors
}

/// `weakly_dominates` and not equal, for arrays: branch-free, because it runs on every point.
#[inline(always)]
fn below<const M: usize>(a: &[f64; M], b: &[f64; M]) -> bool {
    let (mut all, mut any) = (true, false);
    for k in 0..M {
        all &= a[k] <= b[k];
        any |= a[k] < b[k];
    }
    all & any
}

/// Points of a sample that together dominate most of it, the strongest first; empty when the
/// set is small or no point dominates a worthwhile part.
fn strong_points<const M: usize>(rows: &[[f64; M]]) -> Vec<[f64; M]> {
    const SAMPLE: usize = 1024;
    const MOST: usize = 16;
    if rows.len() < 4 * SAMPLE {
        return Vec::new();
    }
    let mut left: Vec<[f64; M]> =
        rows.iter().step_by(rows.len() / SAMPLE).filter(|p| is_finite(p.as_slice())).copied().collect();
    let worthwhile = left.len() / 200;
    let mut strong = Vec::new();
    let flat: Vec<f64> = left.concat();
    let mut candidates: Vec<[f64; M]> =
        compare_all(&flat, M, (0..left.len()).collect()).into_iter().map(|i| left[i]).collect();
    while strong.len() < MOST {
        let kills = |c: &[f64; M]| left.iter().filter(|p| below(c, p)).count();
        let best = candidates.iter().enumerate().map(|(i, c)| (kills(c), i)).max_by_key(|&(k, i)| (k, usize::MAX - i));
        match best {
            Some((killed, i)) if killed > worthwhile => {
                let best = candidates.swap_remove(i);
                left.retain(|p| !below(&best, p));
                strong.push(best);
            }
            _ => break,
        }
    }
    strong
}

fn sweep_3d(points: &[f64], survivors: Vec<usize>) -> Vec<usize> {
    let mut order: Vec<([f64; 3], usize)> =
        survivors.into_iter().map(|i| ([points[3 * i], points[3 * i + 1], points[3 * i + 2]], i)).collect();
    order.sort_unstable_by(|a, b| a.partial_cmp(b).expect("finite"));
    let (ranks, distinct) = dense_ranks(&order.iter().map(|(p, _)| p[1]).collect::<Vec<_>>());
    let mut stairs = Staircase::new(distinct.len());
    // Only an earlier point in lexicographic order can weakly dominate a later one.
    order.iter().zip(ranks).filter(|((p, _), rank)| stairs.insert(*rank as usize, p[2])).map(|((_, i), _)| *i).collect()
}

/// Sorts by the sum of objectives and compares each point with the front so far: a sum in floats
/// is monotone in each term, so only an earlier point can dominate a later one.
fn compare_all(points: &[f64], m: usize, mut survivors: Vec<usize>) -> Vec<usize> {
    let row = |i: usize| &points[i * m..][..m];
    let mut keyed: Vec<(f64, usize)> = survivors.drain(..).map(|i| (row(i).iter().sum(), i)).collect();
    keyed.sort_unstable_by(|a, b| {
        let by_rows = || row(a.1).partial_cmp(row(b.1)).expect("finite");
        a.0.partial_cmp(&b.0).expect("sums of finite numbers").then_with(by_rows).then(a.1.cmp(&b.1))
    });
    let mut front = Vec::new();
    let mut rows: Vec<f64> = Vec::new();
    for (_, i) in keyed {
        if !rows.chunks_exact(m).any(|f| weakly_dominates(f, row(i))) {
            front.push(i);
            rows.extend_from_slice(row(i));
        }
    }
    front
}
