//! The knee of a front: where giving up a little of one objective stops buying much of another.

use super::{is_finite, rows};

/// Index of the front's point farthest, towards the ideal point, from the chord through the
/// front's extremes, with every objective scaled to [0, 1] between the front's best and worst.
/// With three or more objectives the chord becomes the plane through the worst value of each.
/// `None` for fewer than three points, or when no point lies on the ideal point's side.
pub fn knee(front: &[f64], m: usize) -> Option<usize> {
    let n = rows(front, m);
    let finite: Vec<usize> = (0..n).filter(|&i| is_finite(&front[i * m..][..m])).collect();
    if finite.len() < 3 {
        return None;
    }
    let mut depth = vec![1.0; n];
    for k in 0..m {
        let values = finite.iter().map(|&i| front[i * m + k]);
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        if high > low {
            for &i in &finite {
                depth[i] -= (front[i * m + k] - low) / (high - low);
            }
        }
    }
    let deepest = finite.into_iter().max_by(|&a, &b| depth[a].total_cmp(&depth[b]).then(b.cmp(&a)))?;
    (depth[deepest] > 0.0).then_some(deepest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_elbow_is_the_knee() {
        let front = [0.0, 10.0, 1.0, 2.0, 5.0, 1.5, 10.0, 0.0];
        assert_eq!(knee(&front, 2), Some(1));
    }

    #[test]
    fn a_straight_or_bulging_front_has_no_knee() {
        assert_eq!(knee(&[0.0, 2.0, 1.0, 1.0, 2.0, 0.0], 2), None);
        assert_eq!(knee(&[0.0, 2.0, 1.9, 1.9, 2.0, 0.0], 2), None);
        assert_eq!(knee(&[0.0, 2.0, 2.0, 0.0], 2), None);
    }
}
