//! Fewer marks where many would lie on top of one another: an SVG of 46,000 circles helps nobody.

use rustc_hash::FxHashSet;

use super::scene::Point;

/// Indices of points to draw, ascending: all of them when they are no more than `most`, else one per
/// cell of the finest grid that leaves no more than that. The first point of a cell is kept.
pub(crate) fn thin(points: &[Point], most: usize) -> Vec<usize> {
    if points.len() <= most {
        return (0..points.len()).collect();
    }
    let mut cell = 2.0;
    loop {
        let mut occupied = FxHashSet::default();
        let mut kept = Vec::with_capacity(most + 1);
        for (index, &(x, y)) in points.iter().enumerate() {
            if occupied.insert(((x / cell).floor() as i64, (y / cell).floor() as i64)) {
                kept.push(index);
                // Of a million points the first few thousand tell that the grid is too fine.
                if kept.len() > most {
                    break;
                }
            }
        }
        if kept.len() <= most {
            return kept;
        }
        cell *= 1.3;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_stay_as_they_are_and_many_keep_their_outline() {
        let grid: Vec<Point> = (0..40_000).map(|i| (f64::from(i % 200) * 5.0, f64::from(i / 200) * 2.5)).collect();
        assert_eq!(thin(&grid[..100], 100).len(), 100);
        let kept = thin(&grid, 3000);
        assert!((1000..=3000).contains(&kept.len()), "{}", kept.len());
        let widest = kept.iter().map(|&i| grid[i].0).fold(0.0, f64::max);
        assert!(widest > 960.0, "{widest}");
    }
}
