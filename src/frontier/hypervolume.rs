//! Exact hypervolume: the volume between a set of points and a reference point.
//!
//! Two and three objectives: sweeps in O(n log n). Four: a sweep over the fourth objective that
//! adds each point's exclusive volume in the first three, O(n^2). More: exclusive volumes of
//! limited sets, sliced by the last objective (While et al., "A fast way of calculating exact
//! hypervolumes", 2012), with four dimensions as the base.

use super::staircase::{Staircase, dense_ranks};
use super::{nondominated, rows, weakly_dominates};

/// Volume of the region that some point weakly dominates and that weakly dominates the reference
/// point. Points not strictly below the reference in every objective, or not finite, add nothing.
pub fn hypervolume(points: &[f64], m: usize, reference: &[f64]) -> f64 {
    rows(points, m);
    assert_eq!(reference.len(), m, "the reference has one value per objective");
    let inside: Vec<f64> = points.chunks_exact(m).filter(|p| is_inside(p, reference)).flatten().copied().collect();
    volume(&inside, m, reference)
}

/// The volume that each point alone adds: hypervolume of all minus hypervolume of all others.
/// 0 for points that are dominated, repeated, not finite, or not below the reference.
pub fn contributions(points: &[f64], m: usize, reference: &[f64]) -> Vec<f64> {
    let n = rows(points, m);
    assert_eq!(reference.len(), m, "the reference has one value per objective");
    let row = |i: usize| &points[i * m..][..m];
    let inside: Vec<usize> = (0..n).filter(|&i| is_inside(row(i), reference)).collect();
    let flat: Vec<f64> = inside.iter().flat_map(|&i| row(i)).copied().collect();
    let front: Vec<usize> = nondominated(&flat, m).into_iter().map(|i| inside[i]).collect();
    let mut out = vec![0.0; n];
    for (&i, own) in front.iter().zip(exclusive_volumes(&inside, &front, points, m, reference)) {
        out[i] = own;
    }
    out
}

/// The volume that `point` alone adds to `others`; see [`contributions`].
pub(crate) fn exclusive_volume<'a>(point: &[f64], others: impl Iterator<Item = &'a [f64]>, reference: &[f64]) -> f64 {
    if !is_inside(point, reference) {
        return 0.0;
    }
    let others: Vec<f64> = others.filter(|q| is_inside(q, reference)).flatten().copied().collect();
    exclusive(point, &others, reference)
}

fn is_inside(point: &[f64], reference: &[f64]) -> bool {
    point.iter().zip(reference).all(|(p, r)| p.is_finite() && p < r)
}

/// Volume of points that are all inside.
fn volume(inside: &[f64], m: usize, reference: &[f64]) -> f64 {
    match m {
        1 => inside.iter().map(|p| reference[0] - p).fold(0.0, f64::max),
        2 => volume_2d(inside, reference),
        3 => volume_3d(inside, reference),
        4 => volume_4d(inside, reference),
        _ => volume_sliced(inside, m, reference),
    }
}

fn volume_2d(inside: &[f64], reference: &[f64]) -> f64 {
    let (pairs, _) = inside.as_chunks::<2>();
    let mut order = pairs.to_vec();
    order.sort_unstable_by(|a, b| a.partial_cmp(b).expect("finite"));
    let mut lowest = reference[1];
    let mut area = 0.0;
    for [x, y] in order {
        if y < lowest {
            area += (reference[0] - x) * (lowest - y);
            lowest = y;
        }
    }
    area
}

fn volume_3d(inside: &[f64], reference: &[f64]) -> f64 {
    let (ranks, x) = dense_ranks(&inside.iter().step_by(3).copied().collect::<Vec<_>>());
    let mut order: Vec<(f64, f64, u32)> =
        inside.chunks_exact(3).zip(ranks).map(|(p, rank)| (p[2], p[1], rank)).collect();
    order.sort_unstable_by(|a, b| a.partial_cmp(b).expect("finite"));
    let mut stairs = Staircase::new(x.len());
    let (mut area, mut total) = (0.0, 0.0);
    for (i, &(z, y, rank)) in order.iter().enumerate() {
        area += area_gained(&mut stairs, rank as usize, y, &x, reference);
        let next_z = order.get(i + 1).map_or(reference[2], |o| o.0);
        total += area * (next_z - z);
    }
    total
}

/// Adds a point to the staircase; the area between the old and the new one.
fn area_gained(stairs: &mut Staircase, rank: usize, y: f64, x: &[f64], reference: &[f64]) -> f64 {
    let mut height = stairs.height(rank).unwrap_or(reference[1]);
    if height <= y {
        return 0.0;
    }
    let mut gained = 0.0;
    let mut left = x[rank];
    loop {
        let next = stairs.next(rank);
        let right = next.map_or(reference[0], |(r, _)| x[r]);
        gained += (height - y) * (right - left);
        match next {
            Some((r, lower)) if lower >= y => {
                stairs.remove(r);
                left = right;
                height = lower;
            }
            _ => break,
        }
    }
    stairs.put(rank, y);
    gained
}

fn volume_4d(inside: &[f64], reference: &[f64]) -> f64 {
    let (points, _) = inside.as_chunks::<4>();
    let mut order = points.to_vec();
    order.sort_unstable_by(|a, b| a[3].total_cmp(&b[3]).then_with(|| a.partial_cmp(b).expect("finite")));
    let reference_3d = [reference[0], reference[1], reference[2]];
    // Mutually non-dominated in three objectives, ascending in the third.
    let mut below: Vec<[f64; 3]> = Vec::with_capacity(order.len());
    let mut steps = Vec::new();
    let mut total = 0.0;
    for [x, y, z, w] in order {
        let point = [x, y, z];
        let own = exclusive_3d(point, &below, reference_3d, &mut steps);
        if own > 0.0 {
            total += own * (reference[3] - w);
            // Only what is not below it in the third can it dominate.
            let place = below.partition_point(|q| q[2] < z);
            let mut kept = place;
            for at in place..below.len() {
                let q = below[at];
                below[kept] = q;
                kept += usize::from(!(x <= q[0] && y <= q[1]));
            }
            below.truncate(kept);
            below.insert(place, point);
        }
    }
    total
}

/// The volume that `point` adds to `others` (ascending in the third objective) in three
/// objectives: its box less the union of the others' parts of it. `steps` is scratch.
fn exclusive_3d<'a>(
    point: [f64; 3],
    others: impl IntoIterator<Item = &'a [f64; 3]>,
    reference: [f64; 3],
    steps: &mut Vec<[f64; 2]>,
) -> f64 {
    let [px, py, pz] = point;
    // What the others hide of the box's floor, as seen from the height `z`: `steps` holds their
    // staircase, x ascending and y falling, each moved into the box; `open` is the rest's area.
    let mut edge_x = reference[0];
    let mut edge_y = reference[1];
    let mut open = (edge_x - px) * (edge_y - py);
    steps.clear();
    let mut free = 0.0;
    let mut z = pz;
    for &[x, y, oz] in others {
        if x >= edge_x || y >= edge_y {
            continue;
        }
        let (x, y) = (x.max(px), y.max(py));
        let place = steps.partition_point(|s| s[0] <= x);
        let mut height = if place > 0 { steps[place - 1][1] } else { reference[1] };
        if height <= y {
            continue;
        }
        if oz > z {
            free += open * (oz - z);
            z = oz;
        }
        if x == px && y == py {
            // Covers the whole box from here up.
            return free;
        }
        let mut left = x;
        let mut end = place;
        loop {
            let next = steps.get(end);
            let right = next.map_or(reference[0], |s| s[0]);
            open -= (height - y) * (right - left);
            match next {
                Some(s) if s[1] >= y => (left, height) = (s[0], s[1]),
                _ => break,
            }
            end += 1;
        }
        // One at the same x, which was higher.
        let first = if place > 0 && steps[place - 1][0] == x { place - 1 } else { place };
        if first < end {
            steps[first] = [x, y];
            steps.drain(first + 1..end);
        } else {
            steps.insert(first, [x, y]);
        }
        if x == px {
            edge_y = y;
        }
        if y == py {
            edge_x = x;
        }
    }
    free + open * (reference[2] - z)
}

/// Five objectives and more: points in ascending order of the last, each adding its exclusive
/// volume in the others times its height in the last.
fn volume_sliced(inside: &[f64], m: usize, reference: &[f64]) -> f64 {
    let mut order: Vec<&[f64]> = inside.chunks_exact(m).collect();
    order.sort_unstable_by(|a, b| a[m - 1].total_cmp(&b[m - 1]).then_with(|| a.partial_cmp(b).expect("finite")));
    let mut below: Vec<f64> = Vec::with_capacity(inside.len());
    let mut total = 0.0;
    for point in order {
        let (last, rest) = point.split_last().expect("m > 0");
        if below.chunks_exact(m - 1).any(|q| weakly_dominates(q, rest)) {
            continue;
        }
        total += exclusive(rest, &below, &reference[..m - 1]) * (reference[m - 1] - last);
        below.extend_from_slice(rest);
    }
    total
}

/// The volume that `point` adds to `others`, any number of objectives.
fn exclusive(point: &[f64], others: &[f64], reference: &[f64]) -> f64 {
    let m = point.len();
    let whole: f64 = point.iter().zip(reference).map(|(p, r)| r - p).product();
    let limited: Vec<f64> = others.chunks_exact(m).flat_map(|q| q.iter().zip(point).map(|(a, b)| a.max(*b))).collect();
    let kept: Vec<f64> = nondominated(&limited, m).into_iter().flat_map(|i| &limited[i * m..][..m]).copied().collect();
    (whole - volume(&kept, m, reference)).max(0.0)
}

/// The exclusive volume of each front member against all other points inside: a dominated point
/// can share the volume of the only member that dominates it.
fn exclusive_volumes(inside: &[usize], front: &[usize], points: &[f64], m: usize, reference: &[f64]) -> Vec<f64> {
    let row = |i: usize| &points[i * m..][..m];
    match m {
        2 => exclusive_volumes_2d(inside, front, points, reference),
        3 => {
            let mut by_z: Vec<([f64; 3], usize)> =
                inside.iter().map(|&i| ([row(i)[0], row(i)[1], row(i)[2]], i)).collect();
            by_z.sort_unstable_by(|a, b| a.0[2].total_cmp(&b.0[2]).then(a.1.cmp(&b.1)));
            let reference = [reference[0], reference[1], reference[2]];
            let mut steps = Vec::new();
            let mut own = |i: usize| {
                let others = by_z.iter().filter(|(_, j)| *j != i).map(|(q, _)| q);
                exclusive_3d([row(i)[0], row(i)[1], row(i)[2]], others, reference, &mut steps)
            };
            front.iter().map(|&i| own(i)).collect()
        }
        _ => {
            let others =
                |i: usize| -> Vec<f64> { inside.iter().filter(|&&j| j != i).flat_map(|&j| row(j)).copied().collect() };
            front.iter().map(|&i| exclusive(row(i), &others(i), reference)).collect()
        }
    }
}

/// As [`exclusive_volumes`]: the box between a member's two neighbours, less what dominated points
/// within that box take of it.
fn exclusive_volumes_2d(inside: &[usize], front: &[usize], points: &[f64], reference: &[f64]) -> Vec<f64> {
    let xy = |i: usize| (points[2 * i], points[2 * i + 1]);
    let mut order: Vec<usize> = (0..front.len()).collect();
    order.sort_unstable_by(|&a, &b| xy(front[a]).0.total_cmp(&xy(front[b]).0));
    let place_of: Vec<f64> = order.iter().map(|&k| xy(front[k]).0).collect();
    // The corner of each member's box, and the dominated points in it.
    let corner = |place: usize| {
        let right = order.get(place + 1).map_or(reference[0], |&k| xy(front[k]).0);
        let top = if place > 0 { xy(front[order[place - 1]]).1 } else { reference[1] };
        [right, top]
    };
    let mut shared: Vec<Vec<f64>> = vec![Vec::new(); front.len()];
    for &i in inside {
        let (x, y) = xy(i);
        let place = place_of.partition_point(|&p| p <= x).saturating_sub(1);
        // The member itself, which is no rival, is the lowest index of its position.
        if front[order[place]] != i && is_inside(&[x, y], &corner(place)) {
            shared[order[place]].extend([x, y]);
        }
    }
    let mut out = vec![0.0; front.len()];
    for (place, &k) in order.iter().enumerate() {
        let (x, y) = xy(front[k]);
        let corner = corner(place);
        out[k] = ((corner[0] - x) * (corner[1] - y) - volume_2d(&shared[k], &corner)).max(0.0);
    }
    out
}
