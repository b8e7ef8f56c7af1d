//! Measured points over up to three axes, and the value between and beyond them.
//!
//! Between points: bracket by bracket, linear (or linear in the square root along one axis).
//! Beyond the measured hull: the four nearest points lend their utilisation, the share of the
//! roofline's speed that they reach, weighted by distance in octaves.

/// Values by increasing coordinate.
type Keyed<T> = Vec<(f64, T)>;

/// Points (outer, middle, inner) with a duration each, ms.
#[derive(Debug, Default)]
pub struct Grid {
    planes: Keyed<Keyed<Keyed<f64>>>,
    /// Logarithms to base 2 of every point, and its duration.
    leaves: Vec<([f64; 3], [f64; 3], f64)>,
}

/// What interpolation needs besides the points.
pub struct Rule<'a> {
    /// The roofline at a point, ms.
    pub ideal_ms: &'a dyn Fn([f64; 3]) -> f64,
    /// Whether the square root is linear along the middle axis.
    pub root_of_middle: bool,
}

impl Grid {
    /// A grid of points in any order; the first of equal coordinates counts.
    pub fn new(points: impl IntoIterator<Item = ([u32; 3], f64)>) -> Grid {
        let mut sorted = std::collections::BTreeMap::new();
        for (at, ms) in points {
            sorted.entry(at).or_insert(ms);
        }
        let mut grid = Grid::default();
        for ([a, b, c], ms) in sorted {
            let [a, b, c] = [a, b, c].map(f64::from);
            if grid.planes.last().is_none_or(|(key, _)| *key != a) {
                grid.planes.push((a, Vec::new()));
            }
            let plane = &mut grid.planes.last_mut().expect("just pushed").1;
            if plane.last().is_none_or(|(key, _)| *key != b) {
                plane.push((b, Vec::new()));
            }
            plane.last_mut().expect("just pushed").1.push((c, ms));
            grid.leaves.push(([a, b, c].map(f64::log2), [a, b, c], ms));
        }
        grid
    }

    /// The duration at a point, ms.
    pub fn at(&self, point: [f64; 3], rule: &Rule<'_>) -> f64 {
        self.inside(point, rule).unwrap_or_else(|| self.outside(point, rule))
    }

    fn inside(&self, [a, b, c]: [f64; 3], rule: &Rule<'_>) -> Option<f64> {
        let line = |a: f64, b: f64, line: &[(f64, f64)]| {
            between(line, c, |v| Some(*v), |k| (rule.ideal_ms)([a, b, c]) / (rule.ideal_ms)([a, b, k]), false)
        };
        let plane = |a: f64, plane: &[(f64, Vec<(f64, f64)>)]| {
            let scale = |k: f64| (rule.ideal_ms)([a, b, c]) / (rule.ideal_ms)([a, k, c]);
            between_keyed(plane, b, |key, row| line(a, key, row), scale, rule.root_of_middle)
        };
        let scale = |k: f64| (rule.ideal_ms)([a, b, c]) / (rule.ideal_ms)([k, b, c]);
        between_keyed(&self.planes, a, |key, rows| plane(key, rows), scale, false)
    }

    /// Utilisation of the nearest points: inverse-distance weights that fall to 0 at the fifth.
    fn outside(&self, point: [f64; 3], rule: &Rule<'_>) -> f64 {
        const NEIGHBOURS: usize = 4;
        let wanted = point.map(f64::log2);
        let mut near: Vec<(f64, usize)> = self
            .leaves
            .iter()
            .enumerate()
            .map(|(i, (at, ..))| (at.iter().zip(&wanted).map(|(x, y)| (x - y) * (x - y)).sum::<f64>(), i))
            .collect();
        if near.len() > NEIGHBOURS + 1 {
            near.select_nth_unstable_by(NEIGHBOURS, |x, y| x.0.total_cmp(&y.0).then(x.1.cmp(&y.1)));
            near.truncate(NEIGHBOURS + 1);
        }
        near.sort_by(|x, y| x.0.total_cmp(&y.0).then(x.1.cmp(&y.1)));
        let radius = if near.len() > NEIGHBOURS { near[NEIGHBOURS].0.sqrt() } else { f64::INFINITY };
        let (mut weights, mut shares) = (0.0, 0.0);
        for &(squared, i) in near.iter().take(NEIGHBOURS) {
            let distance = squared.sqrt();
            let (_, at, ms) = self.leaves[i];
            let weight =
                if radius.is_finite() { ((radius - distance) / (radius * distance)).powi(2) } else { 1.0 / squared };
            weights += weight;
            shares += weight * (rule.ideal_ms)(at) / ms;
        }
        if weights > 0.0 {
            return (rule.ideal_ms)(point) * weights / shares;
        }
        // All at one distance: they count alike.
        let mean: f64 = near.iter().map(|&(_, i)| (rule.ideal_ms)(self.leaves[i].1) / self.leaves[i].2).sum::<f64>();
        (rule.ideal_ms)(point) * near.len() as f64 / mean
    }
}

fn between_keyed<T>(
    keyed: &[(f64, T)],
    at: f64,
    value: impl Fn(f64, &T) -> Option<f64>,
    scale: impl Fn(f64) -> f64,
    root: bool,
) -> Option<f64> {
    let after = keyed.partition_point(|(key, _)| *key < at);
    let right = keyed.get(after)?;
    if right.0 == at {
        return value(right.0, &right.1);
    }
    let left = keyed.get(after.checked_sub(1)?)?;
    let weight = (at - left.0) / (right.0 - left.0);
    match (value(left.0, &left.1), value(right.0, &right.1)) {
        (Some(low), Some(high)) if root => {
            let (low, high) = (low.sqrt(), high.sqrt());
            Some((low + (high - low) * weight).powi(2))
        }
        (Some(low), Some(high)) => Some(low + (high - low) * weight),
        // Where one side was not measured, the other is carried over at its utilisation.
        (Some(low), None) => Some(low * scale(left.0)),
        (None, Some(high)) => Some(high * scale(right.0)),
        (None, None) => None,
    }
}

fn between<T>(
    keyed: &[(f64, T)],
    at: f64,
    value: impl Fn(&T) -> Option<f64>,
    scale: impl Fn(f64) -> f64,
    root: bool,
) -> Option<f64> {
    between_keyed(keyed, at, |_, v| value(v), scale, root)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAT: Rule<'static> = Rule { ideal_ms: &|_| 1.0, root_of_middle: false };

    #[test]
    fn brackets_are_linear_and_roots_where_asked() {
        let grid =
            Grid::new([([1, 1, 1], 1.0), ([1, 1, 3], 3.0), ([1, 3, 1], 9.0), ([1, 3, 3], 9.0), ([1, 1, 1], 7.0)]);
        assert_eq!(grid.at([1.0, 1.0, 2.0], &FLAT), 2.0, "the first of equal points counts");
        assert_eq!(grid.at([1.0, 2.0, 1.0], &FLAT), 5.0);
        assert_eq!(grid.at([1.0, 2.0, 1.0], &Rule { root_of_middle: true, ..FLAT }), 4.0);
    }

    #[test]
    fn a_missing_side_is_carried_over_at_its_utilisation() {
        let grid = Grid::new([([1, 1, 1], 1.0), ([1, 1, 4], 4.0), ([1, 4, 1], 5.0)]);
        let rule = Rule { ideal_ms: &|[_, b, c]| b * c, root_of_middle: false };
        // (1, 4) ends at 1, so 2 comes from (1, 1) alone: 2 ms there, twice the roofline here.
        assert_eq!(grid.at([1.0, 2.0, 2.0], &rule), 4.0);
    }

    #[test]
    fn beyond_the_hull_the_nearest_lend_their_utilisation() {
        let points = (0..6).map(|i| ([1, 1, 1 << i], 2.0 * f64::from(1 << i)));
        let grid = Grid::new(points);
        let rule = Rule { ideal_ms: &|[_, _, c]| c, root_of_middle: false };
        assert!((grid.at([1.0, 1.0, 256.0], &rule) - 512.0).abs() < 1e-9);
    }
}
