//! A Gaussian process over encoded rows.
//!
//! Kernel: Matern with smoothness 5/2 and a length scale per group of columns, plus a linear kernel
//! for the trend (objectives on a logarithmic scale are nearly sums of the knobs' logarithms), plus
//! noise for what a finite trace makes rough. Rasmussen and Williams, "Gaussian Processes for
//! Machine Learning" (2006), algorithm 2.1 and equations 5.8 and 5.9.

use super::linalg::{Cholesky, add_scaled, dot, exp_nonpositive};

/// `sqrt(5)`.
const ROOT5: f64 = 2.236_067_977_499_79;
/// Added to the diagonal beside the noise, in units of the targets' variance.
const JITTER: f64 = 1e-8;

/// Hyperparameters, all as logarithms: one length scale per group, then signal, trend and noise
/// standard deviations in units of the targets' own.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Hyper {
    pub log: Vec<f64>,
}

impl Hyper {
    /// The middle of the priors.
    pub fn middle(groups: usize) -> Self {
        let mut log = vec![prior_length(groups); groups];
        log.extend([PRIOR_SIGNAL.0, PRIOR_TREND.0, PRIOR_NOISE.0]);
        Hyper { log }
    }

    fn groups(&self) -> usize {
        self.log.len() - 3
    }

    fn weights(&self) -> Vec<f64> {
        self.log[..self.groups()].iter().map(|l| (-2.0 * l).exp()).collect()
    }

    fn signal(&self) -> f64 {
        (2.0 * self.log[self.groups()]).exp()
    }

    fn trend(&self) -> f64 {
        (2.0 * self.log[self.groups() + 1]).exp()
    }

    fn noise(&self) -> f64 {
        (2.0 * self.log[self.groups() + 2]).exp() + JITTER
    }

    /// Mean and standard deviation of the normal prior of each logarithm.
    fn prior(&self, index: usize) -> (f64, f64) {
        match index.checked_sub(self.groups()) {
            None => (prior_length(self.groups()), 0.9),
            Some(0) => PRIOR_SIGNAL,
            Some(1) => PRIOR_TREND,
            Some(_) => PRIOR_NOISE,
        }
    }
}

const PRIOR_SIGNAL: (f64, f64) = (-0.2, 0.7);
const PRIOR_TREND: (f64, f64) = (-1.0, 0.8);
const PRIOR_NOISE: (f64, f64) = (-3.5, 0.8);

/// Columns span [0, 1]; the more there are, the farther apart points lie.
fn prior_length(groups: usize) -> f64 {
    0.5 * (groups as f64 / 3.0).max(1.0).ln() - 0.1
}

/// Rows and targets, ready to be fitted.
pub(super) struct Data<'a> {
    pub rows: &'a [Vec<f64>],
    /// The group of each column.
    pub groups: &'a [usize],
    /// Standardised targets.
    pub targets: &'a [f64],
}

impl Data<'_> {
    /// Squared distances by group of every pair `i > j`: for each row, one group after the other,
    /// all that come before it.
    fn pair_distances(&self) -> Vec<f64> {
        let count = self.groups.iter().max().map_or(0, |g| g + 1);
        let n = self.rows.len();
        let mut out = vec![0.0; n * n.saturating_sub(1) / 2 * count];
        let mut rest = &mut out[..];
        for (i, row) in self.rows.iter().enumerate().skip(1) {
            let (own, after) = rest.split_at_mut(i * count);
            for (j, other) in self.rows[..i].iter().enumerate() {
                for ((a, b), &g) in row.iter().zip(other).zip(self.groups) {
                    own[g * i + j] += (a - b) * (a - b);
                }
            }
            rest = after;
        }
        out
    }
}

/// The negative logarithm of the posterior of the hyperparameters, and its gradient.
pub(super) struct Objective<'a> {
    data: &'a Data<'a>,
    pairs: Vec<f64>,
    /// Linear kernel of every pair and of every row with itself.
    trend: Vec<f64>,
}

/// What belongs to the pairs of row `i` among what is stored for all, `each` numbers a pair.
fn of_row(all: &[f64], i: usize, each: usize) -> &[f64] {
    &all[i * i.saturating_sub(1) / 2 * each..][..i * each]
}

impl<'a> Objective<'a> {
    pub fn new(data: &'a Data<'a>) -> Self {
        let n = data.rows.len();
        let trend =
            (0..n).flat_map(|i| (0..=i).map(move |j| (i, j))).map(|(i, j)| linear(&data.rows[i], &data.rows[j]));
        Objective { data, pairs: data.pair_distances(), trend: trend.collect() }
    }

    /// Value and gradient; infinite where the matrix cannot be factored.
    pub fn value_and_gradient(&self, hyper: &Hyper) -> (f64, Vec<f64>) {
        let n = self.data.rows.len();
        let groups = hyper.groups();
        let (weights, signal, trend, noise) = (hyper.weights(), hyper.signal(), hyper.trend(), hyper.noise());
        let mut kernel = vec![0.0; n * n];
        // What the derivatives need of every pair.
        let mut slopes = vec![0.0; n * n.saturating_sub(1) / 2];
        let mut shapes = slopes.clone();
        let mut decay = vec![0.0; n];
        let (mut open_slopes, mut open_shapes) = (&mut slopes[..], &mut shapes[..]);
        for i in 0..n {
            let (slopes, shapes);
            (slopes, open_slopes) = open_slopes.split_at_mut(i);
            (shapes, open_shapes) = open_shapes.split_at_mut(i);
            let decay = &mut decay[..i];
            // `shapes` holds distances until they are known.
            for (distances, &weight) in of_row(&self.pairs, i, groups).chunks_exact(i.max(1)).zip(&weights) {
                add_scaled(shapes, weight, distances);
            }
            for (r, decay) in shapes.iter_mut().zip(decay.iter_mut()) {
                *r = ROOT5 * r.sqrt();
                *decay = -*r;
            }
            exp_nonpositive(decay);
            let own_trend = &self.trend[i * (i + 1) / 2..][..=i];
            let row = &mut kernel[i * n..][..=i];
            for j in 0..i {
                let (r, decay) = (shapes[j], signal * decay[j]);
                shapes[j] = decay * (1.0 + r + r * r / 3.0);
                slopes[j] = decay * (1.0 + r) * (5.0 / 3.0);
                row[j] = shapes[j] + trend * own_trend[j];
            }
            row[i] = signal + trend * own_trend[i] + noise;
        }
        let Some(cholesky) = Cholesky::new(kernel, n) else {
            return (f64::INFINITY, vec![0.0; groups + 3]);
        };
        let mut alpha = self.data.targets.to_vec();
        cholesky.solve_lower(&mut alpha);
        let fit = dot(&alpha, &alpha);
        cholesky.solve_upper(&mut alpha);
        let mut inverse = cholesky.inverse();
        let mut value = 0.5 * (fit + cholesky.log_determinant());

        // Half the trace of (K^-1 - a a^T) dK, over the lower triangle.
        let mut gradient = vec![0.0; groups + 3];
        let (mut by_signal, mut by_trend, mut by_noise) = (0.0, 0.0, 0.0);
        for i in 0..n {
            let row = &mut inverse[i * n..][..=i];
            add_scaled(row, -alpha[i], &alpha[..=i]);
            let own_trend = &self.trend[i * (i + 1) / 2..][..=i];
            let (w, own) = row.split_at_mut(i);
            by_signal += dot(w, of_row(&shapes, i, 1)) + 0.5 * own[0] * signal;
            by_trend += dot(w, &own_trend[..i]) + 0.5 * own[0] * own_trend[i];
            by_noise += 0.5 * own[0];
            w.iter_mut().zip(of_row(&slopes, i, 1)).for_each(|(w, slope)| *w *= slope);
            for (g, distances) in gradient.iter_mut().zip(of_row(&self.pairs, i, groups).chunks_exact(i.max(1))) {
                *g += dot(w, distances);
            }
        }
        for (g, weight) in gradient[..groups].iter_mut().zip(&weights) {
            *g *= weight;
        }
        gradient[groups] = 2.0 * by_signal;
        gradient[groups + 1] = 2.0 * by_trend * trend;
        gradient[groups + 2] = 2.0 * by_noise * (noise - JITTER);
        for (index, (g, &log)) in gradient.iter_mut().zip(&hyper.log).enumerate() {
            let (mean, sd) = hyper.prior(index);
            let z = (log - mean) / sd;
            value += 0.5 * z * z;
            *g += z / sd;
        }
        (value, gradient)
    }
}

/// The linear kernel about the middle of the columns.
fn linear(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| (x - 0.5) * (y - 0.5)).sum()
}

/// A fitted process.
pub(super) struct Gp {
    /// Columns of the rows divided by their length scales, and about their middle.
    scaled: Vec<Vec<f64>>,
    centred: Vec<Vec<f64>>,
    /// Reciprocals of the columns' length scales.
    lengths: Vec<f64>,
    signal: f64,
    trend: f64,
    noise: f64,
    cholesky: Cholesky,
    alpha: Vec<f64>,
    /// What the trend makes of each column.
    slopes: Vec<f64>,
    mean: f64,
    sd: f64,
}

impl Gp {
    /// Conditions on raw targets under given hyperparameters.
    pub fn new(rows: &[Vec<f64>], groups: &[usize], targets: &[f64], hyper: &Hyper) -> Self {
        let weights = hyper.weights();
        let lengths: Vec<f64> = groups.iter().map(|&g| weights[g].sqrt()).collect();
        let (mean, sd) = standard(targets);
        let columns = |of: &dyn Fn(f64, f64) -> f64| -> Vec<Vec<f64>> {
            lengths.iter().enumerate().map(|(c, &l)| rows.iter().map(|row| of(row[c], l)).collect()).collect()
        };
        let (scaled, centred) = (columns(&|v, l| v * l), columns(&|v, _| v - 0.5));
        let n = rows.len();
        let (signal, trend, noise) = (hyper.signal(), hyper.trend(), hyper.noise());
        let mut kernel = vec![0.0; n * n];
        for (i, row) in rows.iter().enumerate() {
            let own = &mut kernel[i * n..][..=i];
            covariances(&scaled, &scale(row, &lengths), signal, own);
            add_trend(&centred, row, trend, own);
        }
        let mut extra = 0.0;
        let cholesky = loop {
            let mut noisy = kernel.clone();
            noisy.iter_mut().step_by(n + 1).for_each(|v| *v += noise + extra);
            match Cholesky::new(noisy, n) {
                Some(cholesky) => break cholesky,
                // Noise that repairs rounding; ends, as the diagonal comes to rule the matrix.
                None => extra = (10.0 * extra).max(1e-6),
            }
        };
        let mut alpha: Vec<f64> = targets.iter().map(|t| (t - mean) / sd).collect();
        cholesky.solve_lower(&mut alpha);
        cholesky.solve_upper(&mut alpha);
        let slopes = centred.iter().map(|column| trend * dot(column, &alpha)).collect();
        Gp { scaled, centred, lengths, signal, trend, noise: noise + extra, cholesky, alpha, slopes, mean, sd }
    }

    fn mean_of(&self, row: &[f64], near: &[f64]) -> f64 {
        let trend: f64 = row.iter().zip(&self.slopes).map(|(v, slope)| (v - 0.5) * slope).sum();
        self.mean + self.sd * (dot(near, &self.alpha) + trend)
    }

    /// The mean at a row.
    pub fn mean(&self, row: &[f64]) -> f64 {
        let mut near = vec![0.0; self.alpha.len()];
        covariances(&self.scaled, &scale(row, &self.lengths), self.signal, &mut near);
        self.mean_of(row, &near)
    }

    /// Everything about a row, so that later picks can be taken into account.
    pub fn posterior(&self, row: &[f64]) -> Posterior {
        let scaled = scale(row, &self.lengths);
        let mut reduced = vec![0.0; self.alpha.len()];
        covariances(&self.scaled, &scaled, self.signal, &mut reduced);
        let mean = self.mean_of(row, &reduced);
        add_trend(&self.centred, row, self.trend, &mut reduced);
        self.cholesky.solve_lower(&mut reduced);
        let prior = self.signal + self.trend * linear(row, row);
        let variance = (prior - dot(&reduced, &reduced)).max(1e-12);
        Posterior { mean, variance, reduced, scaled }
    }

    /// Standard deviation, in the targets' units, of a variance in the process's.
    pub fn deviation(&self, variance: f64) -> f64 {
        self.sd * variance.max(1e-12).sqrt()
    }

    /// Lowers the variance of another row as if `picked` had been observed at its mean (a believer:
    /// the means stay).
    pub fn believe(&self, picked: (&[f64], &Posterior), other: (&[f64], &mut Posterior)) {
        let ((picked_row, picked), (row, other)) = (picked, other);
        let root = (picked.variance + self.noise).sqrt();
        let prior = self.signal * matern(&picked.scaled, &other.scaled) + self.trend * linear(picked_row, row);
        let shared = (prior - dot(&picked.reduced, &other.reduced)) / root;
        other.variance = (other.variance - shared * shared).max(1e-12);
        other.reduced.push(shared);
    }
}

/// What the process says about a row.
#[derive(Clone, Debug)]
pub(super) struct Posterior {
    pub mean: f64,
    pub variance: f64,
    reduced: Vec<f64>,
    scaled: Vec<f64>,
}

fn scale(row: &[f64], lengths: &[f64]) -> Vec<f64> {
    row.iter().zip(lengths).map(|(v, l)| v * l).collect()
}

/// `signal` times the Matern kernel of a scaled row with the first rows of some columns, as many as
/// there is room for in `out`.
fn covariances(columns: &[Vec<f64>], scaled: &[f64], signal: f64, out: &mut [f64]) {
    out.fill(0.0);
    let n = out.len();
    for (column, &here) in columns.iter().zip(scaled) {
        for (sum, v) in out.iter_mut().zip(&column[..n]) {
            *sum += (v - here) * (v - here);
        }
    }
    // In pieces that stay in the fastest memory.
    let mut decay = [0.0; 64];
    for piece in out.chunks_mut(64) {
        let decay = &mut decay[..piece.len()];
        for (r, decay) in piece.iter_mut().zip(decay.iter_mut()) {
            *r = ROOT5 * r.sqrt();
            *decay = -*r;
        }
        exp_nonpositive(decay);
        for (r, decay) in piece.iter_mut().zip(decay) {
            *r = signal * (1.0 + *r + *r * *r / 3.0) * *decay;
        }
    }
}

/// Adds `trend` times the linear kernel of a row with the first rows of some columns.
fn add_trend(centred: &[Vec<f64>], row: &[f64], trend: f64, out: &mut [f64]) {
    let n = out.len();
    for (column, v) in centred.iter().zip(row) {
        add_scaled(out, trend * (v - 0.5), &column[..n]);
    }
}

fn matern(a: &[f64], b: &[f64]) -> f64 {
    let squared: f64 = a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum();
    let r = ROOT5 * squared.sqrt();
    (1.0 + r + r * r / 3.0) * (-r).exp()
}

/// Mean and standard deviation, the latter never 0.
pub(super) fn standard(values: &[f64]) -> (f64, f64) {
    let n = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n;
    (mean, if variance > 1e-18 { variance.sqrt() } else { 1.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> (Vec<Vec<f64>>, Vec<f64>) {
        let at = |i: usize, p: usize| ((i * p) % 17) as f64 / 16.0;
        let rows: Vec<Vec<f64>> = (0..17).map(|i| vec![at(i, 3), at(i, 5), f64::from(u8::from(i % 2 == 0))]).collect();
        let targets = rows.iter().map(|r| (3.0 * r[0]).sin() + r[1] * r[1] + 0.5 * r[2]).collect();
        (rows, targets)
    }

    #[test]
    fn the_gradient_is_that_of_the_value() {
        let (rows, targets) = rows();
        let (mean, sd) = standard(&targets);
        let targets: Vec<f64> = targets.iter().map(|t| (t - mean) / sd).collect();
        let data = Data { rows: &rows, groups: &[0, 1, 1], targets: &targets };
        let objective = Objective::new(&data);
        let mut hyper = Hyper { log: vec![-0.4, 0.2, 0.1, -0.7, -2.0] };
        let (_, gradient) = objective.value_and_gradient(&hyper);
        for (index, analytic) in gradient.into_iter().enumerate() {
            let here = hyper.log[index];
            let mut at = |log: f64| {
                hyper.log[index] = log;
                objective.value_and_gradient(&hyper).0
            };
            let numeric = (at(here + 1e-5) - at(here - 1e-5)) / 2e-5;
            hyper.log[index] = here;
            assert!((numeric - analytic).abs() < 1e-4 * (1.0 + analytic.abs()), "{index}: {numeric} {analytic}");
        }
    }

    #[test]
    fn it_passes_near_what_it_was_told_and_is_unsure_elsewhere() {
        let (rows, targets) = rows();
        let mut hyper = Hyper::middle(3);
        hyper.log[5] = -6.0;
        let gp = Gp::new(&rows, &[0, 1, 2], &targets, &hyper);
        for (row, target) in rows.iter().zip(&targets) {
            let told = gp.posterior(row);
            assert!((told.mean - target).abs() < 0.02 && gp.deviation(told.variance) < 0.05);
        }
        let far = gp.posterior(&[2.5, -1.0, 0.5]);
        assert!(gp.deviation(far.variance) > 0.3);
    }

    /// Believing is conditioning: the variances are those of a process that was told.
    #[test]
    fn a_believed_pick_lowers_variances_as_an_observation_would() {
        let (rows, targets) = rows();
        let hyper = Hyper::middle(3);
        let gp = Gp::new(&rows, &[0, 1, 2], &targets, &hyper);
        let (picked, other) = (vec![0.31, 0.77, 1.0], vec![0.4, 0.7, 1.0]);
        let at = gp.posterior(&picked);
        let mut there = gp.posterior(&other);
        gp.believe((&picked, &at), (&other, &mut there));

        let mut more = rows;
        more.push(picked);
        let mut told = targets.clone();
        told.push(at.mean);
        let after = Gp::new(&more, &[0, 1, 2], &told, &hyper).posterior(&other);
        assert!((there.variance - after.variance).abs() < 1e-9, "{} {}", there.variance, after.variance);
    }
}
