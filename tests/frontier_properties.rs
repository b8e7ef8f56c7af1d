//! The fast geometry against definitions that are too slow to be wrong.

use proptest::prelude::*;
use servescout::frontier::{
    Front, constrained_dominates, contributions, dominates, hypervolume, nondominated, nondominated_sort,
};

/// Few distinct values, so that ties and duplicates are the rule; now and then not a number.
fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        30 => (0..8_i32).prop_map(f64::from),
        10 => -1.0..9.0_f64,
        1 => prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(f64::NEG_INFINITY), Just(-0.0)],
    ]
}

/// The number of objectives and that many values per point.
fn points(most: usize, objectives: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = (usize, Vec<f64>)> {
    (objectives, 0..=most).prop_flat_map(|(m, n)| (Just(m), prop::collection::vec(value(), n * m)))
}

fn is_finite(p: &[f64]) -> bool {
    p.iter().all(|v| v.is_finite())
}

fn nondominated_by_definition(points: &[f64], m: usize) -> Vec<usize> {
    let rows: Vec<&[f64]> = points.chunks(m).collect();
    let beaten = |i: usize| {
        (0..rows.len()).any(|j| is_finite(rows[j]) && (dominates(rows[j], rows[i]) || (j < i && rows[j] == rows[i])))
    };
    (0..rows.len()).filter(|&i| is_finite(rows[i]) && !beaten(i)).collect()
}

/// By inclusion and exclusion over grid cells: every cell between consecutive coordinates is
/// covered or not as a whole.
fn hypervolume_by_cells(points: &[f64], m: usize, reference: &[f64]) -> f64 {
    let rows: Vec<&[f64]> =
        points.chunks(m).filter(|p| is_finite(p) && p.iter().zip(reference).all(|(a, r)| a < r)).collect();
    let axes: Vec<Vec<f64>> = (0..m)
        .map(|k| {
            let mut axis: Vec<f64> = rows.iter().map(|p| p[k]).chain([reference[k]]).collect();
            axis.sort_by(f64::total_cmp);
            axis.dedup();
            axis
        })
        .collect();
    let mut cell = vec![0; m];
    let mut total = 0.0;
    if axes.iter().any(|a| a.len() < 2) {
        return 0.0;
    }
    loop {
        let corner: Vec<f64> = cell.iter().zip(&axes).map(|(&c, axis)| axis[c]).collect();
        if rows.iter().any(|p| p.iter().zip(&corner).all(|(a, c)| a <= c)) {
            total += cell.iter().zip(&axes).map(|(&c, axis)| axis[c + 1] - axis[c]).product::<f64>();
        }
        let Some(k) = (0..m).rev().find(|&k| cell[k] + 2 < axes[k].len()) else { return total };
        cell[k] += 1;
        cell[k + 1..].fill(0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..Default::default() })]

    #[test]
    fn nondominated_is_the_definition((m, points) in points(60, 1..=6)) {
        prop_assert_eq!(nondominated(&points, m), nondominated_by_definition(&points, m));
    }

    #[test]
    fn a_grown_front_is_the_nondominated_set((m, points) in points(60, 1..=5)) {
        let mut front = Front::new(m);
        for (i, p) in points.chunks(m).enumerate() {
            front.insert(p, i);
        }
        let mut keys = front.keys().to_vec();
        keys.sort_unstable();
        prop_assert_eq!(keys, nondominated_by_definition(&points, m));
        for (key, p) in front.keys().iter().zip(front.points().chunks(m)) {
            prop_assert_eq!(p, &points[key * m..][..m]);
        }
    }

    #[test]
    fn hypervolume_is_the_sum_of_covered_cells((m, points) in points(9, 1..=6)) {
        let reference = vec![7.5; m];
        let expected = hypervolume_by_cells(&points, m, &reference);
        let found = hypervolume(&points, m, &reference);
        prop_assert!((found - expected).abs() <= 1e-9 * expected.max(1.0), "{found} is not {expected}");
    }

    #[test]
    fn low_dimensional_hypervolume_holds_for_more_points((m, points) in points(25, 2..=4)) {
        let reference = vec![7.5; m];
        let expected = hypervolume_by_cells(&points, m, &reference);
        let found = hypervolume(&points, m, &reference);
        prop_assert!((found - expected).abs() <= 1e-9 * expected.max(1.0), "{found} is not {expected}");
    }

    #[test]
    fn a_contribution_is_the_loss_on_removal((m, points) in points(14, 1..=5)) {
        let reference = vec![7.5; m];
        let whole = hypervolume(&points, m, &reference);
        for (i, own) in contributions(&points, m, &reference).into_iter().enumerate() {
            let mut others = points.clone();
            others.drain(i * m..(i + 1) * m);
            let loss = whole - hypervolume(&others, m, &reference);
            prop_assert!((own - loss).abs() <= 1e-9 * whole.max(1.0), "point {i}: {own} is not {loss}");
        }
    }

    #[test]
    fn ranks_peel_one_front_after_another(
        (m, points) in points(40, 1..=4),
        violations in prop::collection::vec(prop_oneof![3 => Just(0.0), 1 => Just(0.5), 1 => Just(f64::INFINITY)], 40),
    ) {
        let n = points.len() / m;
        let violations = &violations[..n];
        let row = |i: usize| &points[i * m..][..m];
        // Within one violation, what is not finite comes after everything that is.
        let beats = |j: usize, i: usize| match (is_finite(row(j)), is_finite(row(i))) {
            _ if violations[i] != violations[j] => violations[j] < violations[i],
            (true, true) => constrained_dominates(row(j), violations[j], row(i), violations[i]),
            (finite, other) => finite && !other,
        };
        let mut left: Vec<usize> = (0..n).collect();
        let ranks = nondominated_sort(&points, m, violations);
        for rank in 0.. {
            if left.is_empty() { break; }
            let front: Vec<usize> =
                left.iter().copied().filter(|&i| !left.iter().any(|&j| beats(j, i))).collect();
            let found: Vec<usize> = (0..n).filter(|&i| ranks[i] == rank).collect();
            prop_assert_eq!(&found, &front);
            left.retain(|i| !front.contains(i));
        }
    }
}

/// Large enough for the filters before the sweeps to act: uniform, on a front, and clustered.
#[test]
fn large_sets_agree_with_the_definition() {
    let mut state = 1_u64;
    let mut uniform = move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    for m in 2..=5 {
        for kind in 0..4 {
            let n = 6000;
            let mut points = Vec::with_capacity(n * m);
            for i in 0..n {
                let p: Vec<f64> = (0..m).map(|_| uniform()).collect();
                let sum: f64 = p.iter().sum();
                match kind {
                    0 => points.extend(p),
                    1 => points.extend(p.iter().map(|v| v / sum + 1e-2 * uniform())),
                    2 => points.extend(p.iter().map(|v| (v * 16.0).floor())),
                    _ if i % 97 == 0 => points.extend(p.iter().map(|v| if *v < 0.3 { f64::NAN } else { v * 1e9 })),
                    _ => points.extend(p.iter().map(|v| v * v)),
                }
            }
            assert_eq!(nondominated(&points, m), nondominated_by_definition(&points, m), "m = {m}, kind {kind}");
        }
    }
}
