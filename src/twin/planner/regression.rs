//! How long passes take, learnt from those seen: ordinary least squares over a spread sample
//! (`semantics` 8.5).

/// Samples kept.
const KEPT: usize = 64;
/// Cells over which they are spread.
const CELLS: usize = 16;

/// One pass: the features that its time is a function of, and the time, ms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    pub x: [f64; 2],
    pub wall_ms: f64,
}

/// `wall = base + slope[0] x[0] + slope[1] x[1]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fit {
    pub base: f64,
    pub slope: [f64; 2],
}

impl Fit {
    /// The time foretold, ms, never negative.
    pub fn wall_ms(&self, x: [f64; 2]) -> f64 {
        (self.base + self.slope[0] * x[0] + self.slope[1] * x[1]).max(0.0)
    }
}

/// A pass-time regression that forgets old samples where it has the most of them.
#[derive(Clone, Debug)]
pub struct Regression {
    /// Number of features in use: with one, the second is always 0.
    features: usize,
    /// Whether a negative slope over the first feature is taken for 0 instead of refusing the fit.
    clips_first: bool,
    /// In order of age.
    samples: Vec<Sample>,
    fit: Option<Fit>,
}

impl Regression {
    /// Of so many features (1 or 2), from samples known beforehand.
    pub fn new(features: usize, clips_first: bool, known: impl IntoIterator<Item = Sample>) -> Self {
        let mut regression = Regression { features, clips_first, samples: Vec::new(), fit: None };
        for sample in known {
            regression.keep(sample);
        }
        regression.refit();
        regression
    }

    /// Learns from passes.
    pub fn learn(&mut self, samples: impl IntoIterator<Item = Sample>) {
        let mut is_new = false;
        for sample in samples {
            self.keep(sample);
            is_new = true;
        }
        if is_new {
            self.refit();
        }
    }

    /// The last fit that made sense; `None` before the first.
    pub fn fit(&self) -> Option<&Fit> {
        self.fit.as_ref()
    }

    fn keep(&mut self, sample: Sample) {
        self.samples.push(sample);
        if self.samples.len() <= KEPT {
            return;
        }
        let cells = self.cells();
        let mut counts = [0usize; CELLS];
        cells.iter().for_each(|&c| counts[usize::from(c)] += 1);
        let fullest = (0..CELLS).max_by_key(|&c| (counts[c], std::cmp::Reverse(c))).unwrap_or(0);
        let oldest = cells.iter().position(|&c| usize::from(c) == fullest).unwrap_or(0);
        self.samples.remove(oldest);
    }

    /// The cell of each of the kept samples and one more: 16 along the only feature, or 4 by 4, over
    /// the range of the samples.
    fn cells(&self) -> [u8; KEPT + 1] {
        let bins = if self.features == 1 { CELLS } else { 4 };
        let (mut low, mut high) = ([f64::INFINITY; 2], [f64::NEG_INFINITY; 2]);
        for sample in &self.samples {
            for f in 0..2 {
                low[f] = low[f].min(sample.x[f]);
                high[f] = high[f].max(sample.x[f]);
            }
        }
        let per_unit = [0, 1].map(|f| if high[f] > low[f] { bins as f64 / (high[f] - low[f]) } else { 0.0 });
        let bin = |s: &Sample, f: usize| (((s.x[f] - low[f]) * per_unit[f]) as usize).min(bins - 1);
        let mut cells = [0; KEPT + 1];
        for (cell, sample) in cells.iter_mut().zip(&self.samples) {
            let first = bin(sample, 0);
            *cell = if self.features == 1 { first } else { first * bins + bin(sample, 1) } as u8;
        }
        cells
    }

    /// Refuses fits that say that more work takes less time; the one before is kept then.
    fn refit(&mut self) {
        let Some(fit) = self.least_squares(&[true, self.features == 2]) else { return };
        let is_sound = |fit: &Fit| fit.slope.iter().all(|&s| s >= 0.0);
        if is_sound(&fit) {
            self.fit = Some(fit);
        } else if self.clips_first && fit.slope[0] < 0.0 {
            self.fit = self.least_squares(&[false, true]).filter(is_sound).or(self.fit);
        }
    }

    /// Least squares with an intercept over some of the features, by normal equations of centred
    /// data; `None` where the samples do not tell the features apart.
    fn least_squares(&self, used: &[bool; 2]) -> Option<Fit> {
        let n = self.samples.len() as f64;
        let active: Vec<usize> = (0..2).filter(|&f| used[f]).collect();
        if self.samples.len() < active.len() + 1 {
            return None;
        }
        let mean = |of: &dyn Fn(&Sample) -> f64| self.samples.iter().map(of).sum::<f64>() / n;
        let centre = [mean(&|s| s.x[0]), mean(&|s| s.x[1])];
        let wall = mean(&|s| s.wall_ms);
        let product = |a: &dyn Fn(&Sample) -> f64, b: &dyn Fn(&Sample) -> f64| {
            self.samples.iter().map(|s| a(s) * b(s)).sum::<f64>()
        };
        let x = |f: usize| move |s: &Sample| s.x[f] - centre[f];
        let y = move |s: &Sample| s.wall_ms - wall;
        let mut slope = [0.0; 2];
        match active[..] {
            [f] => {
                let square = product(&x(f), &x(f));
                if square <= 0.0 {
                    return None;
                }
                slope[f] = product(&x(f), &y) / square;
            }
            _ => {
                let (aa, ab, bb) = (product(&x(0), &x(0)), product(&x(0), &x(1)), product(&x(1), &x(1)));
                let determinant = aa * bb - ab * ab;
                // Of the size of rounding: the features move together.
                if determinant <= 1e-9 * aa * bb {
                    return None;
                }
                let (ay, by) = (product(&x(0), &y), product(&x(1), &y));
                slope = [(bb * ay - ab * by) / determinant, (aa * by - ab * ay) / determinant];
            }
        }
        // What is of the size of rounding is nothing.
        for (f, slope) in slope.iter_mut().enumerate() {
            let spread = (product(&x(f), &x(f)) / n).sqrt();
            if (*slope * spread).abs() <= 1e-9 * wall.abs() {
                *slope = 0.0;
            }
        }
        Some(Fit { base: wall - slope[0] * centre[0] - slope[1] * centre[1], slope })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plane(x: [f64; 2]) -> Sample {
        Sample { x, wall_ms: 5.0 + 0.02 * x[0] + 0.001 * x[1] }
    }

    #[test]
    fn recovers_a_plane_and_follows_its_change() {
        let grid = (0..64).map(|i| plane([f64::from(i % 8) * 100.0, f64::from(i / 8) * 1000.0]));
        let mut regression = Regression::new(2, false, grid);
        let fit = *regression.fit().unwrap();
        assert!((fit.base - 5.0).abs() < 1e-9 && (fit.slope[0] - 0.02).abs() < 1e-12, "{fit:?}");
        // A GPU of half the speed: once every cell has been seen anew, nothing old is left.
        for i in 0..64 {
            let sample = plane([f64::from(i % 8) * 100.0, f64::from(i / 8) * 1000.0]);
            regression.learn([Sample { wall_ms: 2.0 * sample.wall_ms, ..sample }]);
        }
        assert_eq!(regression.samples.len(), KEPT);
        assert!((regression.fit().unwrap().slope[0] - 0.04).abs() < 1e-12);
    }

    #[test]
    fn a_cell_seen_often_does_not_push_out_the_rest() {
        let mut regression = Regression::new(1, false, (0..16).map(|i| plane([f64::from(i) * 100.0, 0.0])));
        regression.learn((0..500).map(|_| plane([10.0, 0.0])));
        let high = regression.samples.iter().filter(|s| s.x[0] > 100.0).count();
        assert_eq!((regression.samples.len(), high), (KEPT, 14));
    }

    #[test]
    fn refuses_fits_in_which_work_saves_time() {
        let mut regression = Regression::new(1, false, [plane([0.0, 0.0]), plane([1000.0, 0.0])]);
        let before = *regression.fit().unwrap();
        let faster = (1..60).map(|i| Sample { x: [f64::from(i) * 20.0, 0.0], wall_ms: 100.0 - f64::from(i) });
        regression.learn(faster);
        assert_eq!(*regression.fit().unwrap(), before);
        // Of decode passes, the batch size may say nothing, and then is left out.
        let falls = (0..20).map(|i| Sample {
            x: [f64::from(i % 4), f64::from(i)],
            wall_ms: 10.0 + f64::from(i) - 0.5 * f64::from(i % 4),
        });
        let clipped = *Regression::new(2, true, falls).fit().unwrap();
        assert_eq!(clipped.slope[0], 0.0);
        assert!(clipped.slope[1] > 0.5);
        assert!(Regression::new(1, false, [plane([3.0, 0.0]); 9]).fit().is_none(), "one point is no line");
    }
}
