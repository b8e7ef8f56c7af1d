//! Crowding distance (Deb et al., NSGA-II, 2002).

use super::rows;

/// The crowding distance of each point within its front: the sum over objectives of the gap
/// between its two neighbours, relative to the front's range; infinite for the ends. An
/// objective in which all points agree adds nothing. Ties are ordered by index.
pub fn crowding_distance(points: &[f64], m: usize) -> Vec<f64> {
    let n = rows(points, m);
    let mut distance = vec![0.0; n];
    let mut order: Vec<usize> = (0..n).collect();
    for k in 0..m {
        let value = |i: usize| points[i * m + k];
        order.sort_unstable_by(|&a, &b| value(a).total_cmp(&value(b)).then(a.cmp(&b)));
        let (Some(&first), Some(&last)) = (order.first(), order.last()) else { break };
        let range = value(last) - value(first);
        distance[first] = f64::INFINITY;
        distance[last] = f64::INFINITY;
        if range > 0.0 {
            for w in order.windows(3) {
                distance[w[1]] += (value(w[2]) - value(w[0])) / range;
            }
        }
    }
    distance
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_relative_and_ends_infinite() {
        let d = crowding_distance(&[0.0, 10.0, 1.0, 6.0, 4.0, 0.0], 2);
        assert_eq!(d, [f64::INFINITY, 2.0, f64::INFINITY]);
    }

    #[test]
    fn few_or_equal_points_do_not_divide_by_zero() {
        assert!(crowding_distance(&[], 2).is_empty());
        assert_eq!(crowding_distance(&[1.0, 1.0], 2), [f64::INFINITY]);
        assert!(crowding_distance(&[1.0; 8], 2).iter().all(|d| !d.is_nan()));
    }
}
