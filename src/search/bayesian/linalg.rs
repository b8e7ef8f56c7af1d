//! The few pieces of dense linear algebra that a Gaussian process needs, row-major, in a fixed
//! order of operations, so that the same numbers come out on every machine and thread count.
//! Loops run over a few lanes side by side, which the compiler puts into vector registers.

/// Columns of a panel that are factored together.
const LANES: usize = 8;

/// Inner product with eight partial sums, which lets the compiler use vector registers.
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let (a8, a_rest) = a.as_chunks::<8>();
    let (b8, b_rest) = b.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for (x, y) in a8.iter().zip(b8) {
        for lane in 0..8 {
            sums[lane] += x[lane] * y[lane];
        }
    }
    let tail: f64 = a_rest.iter().zip(b_rest).map(|(x, y)| x * y).sum();
    ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7])) + tail
}

/// `y += factor * x`.
pub(super) fn add_scaled(y: &mut [f64], factor: f64, x: &[f64]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += factor * x;
    }
}

/// Four of these in one pass over `y`.
fn add_four_scaled(y: &mut [f64], factors: [f64; 4], x: [&[f64]; 4]) {
    let n = y.len();
    let [a, b, c, d] = x.map(|x| &x[..n]);
    for i in 0..n {
        y[i] += (factors[0] * a[i] + factors[1] * b[i]) + (factors[2] * c[i] + factors[3] * d[i]);
    }
}

/// `exp(x)` for `x <= 0` in place, to 4e-16 relative; 0 below -700. A power of two times the Taylor
/// series of what is left: the same bits on every machine, which a system's own function is not,
/// and many at a time.
pub(super) fn exp_nonpositive(values: &mut [f64]) {
    /// Adding it rounds to an integer, which stands in the lowest bits.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    const LN2_HIGH: f64 = 6.931_471_803_691_238e-1;
    const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    for v in values {
        let x = v.max(-700.0);
        let rounded = x * std::f64::consts::LOG2_E + ROUND;
        let k = rounded - ROUND;
        let r = (x - k * LN2_HIGH) - k * LN2_LOW;
        let mut p = 1.0 / 6_227_020_800.0;
        p = p * r + 1.0 / 479_001_600.0;
        p = p * r + 1.0 / 39_916_800.0;
        p = p * r + 1.0 / 3_628_800.0;
        p = p * r + 1.0 / 362_880.0;
        p = p * r + 1.0 / 40_320.0;
        p = p * r + 1.0 / 5_040.0;
        p = p * r + 1.0 / 720.0;
        p = p * r + 1.0 / 120.0;
        p = p * r + 1.0 / 24.0;
        p = p * r + 1.0 / 6.0;
        p = p * r + 0.5;
        p = p * r + 1.0;
        p = p * r + 1.0;
        let power = f64::from_bits((rounded.to_bits() << 52).wrapping_add(1.0_f64.to_bits()));
        *v = if x > -700.0 { p * power } else { 0.0 };
    }
}

/// The lower Cholesky factor of a symmetric positive definite matrix.
#[derive(Clone, Debug)]
pub(super) struct Cholesky {
    n: usize,
    /// Row-major; what lies above the diagonal has no meaning.
    factor: Vec<f64>,
}

impl Cholesky {
    /// Factors in place, panel by panel; only the lower triangle is read. `None` when the matrix is
    /// not positive definite.
    pub fn new(mut a: Vec<f64>, n: usize) -> Option<Self> {
        let mut packed: Vec<[f64; LANES]> = Vec::with_capacity(n);
        for first in (0..n).step_by(LANES) {
            let width = LANES.min(n - first);
            // What is known of the panel's own rows, a column after the other.
            packed.clear();
            packed.extend((0..first).map(|k| {
                let at = |lane: usize| if lane < width { a[(first + lane) * n + k] } else { 0.0 };
                std::array::from_fn(at)
            }));
            for row in a[first * n..].chunks_exact_mut(n) {
                let (known, own) = row.split_at_mut(first);
                let mut sums = [0.0; LANES];
                for (l, lanes) in known.iter().zip(&packed) {
                    for lane in 0..LANES {
                        sums[lane] += l * lanes[lane];
                    }
                }
                own.iter_mut().zip(sums).for_each(|(v, sum)| *v -= sum);
            }
            // The panel itself: its triangle row by row, then the rows below.
            let mut triangle = [[0.0; LANES]; LANES];
            let mut inverse = [0.0; LANES];
            for (i, row) in a[first * n..].chunks_exact_mut(n).enumerate() {
                let own = &mut row[first..first + width];
                for lane in 0..width.min(i) {
                    let known: f64 = (0..lane).map(|k| own[k] * triangle[lane][k]).sum();
                    own[lane] = (own[lane] - known) * inverse[lane];
                }
                if i < width {
                    let pivot = own[i] - own[..i].iter().map(|v| v * v).sum::<f64>();
                    if pivot.is_nan() || pivot <= 0.0 {
                        return None;
                    }
                    own[i] = pivot.sqrt();
                    inverse[i] = 1.0 / own[i];
                    triangle[i][..=i].copy_from_slice(&own[..=i]);
                }
            }
        }
        Some(Cholesky { n, factor: a })
    }

    fn row(&self, i: usize) -> &[f64] {
        &self.factor[i * self.n..][..self.n]
    }

    /// Solves `L x = b` in place.
    pub fn solve_lower(&self, b: &mut [f64]) {
        for i in 0..self.n {
            let row = self.row(i);
            b[i] = (b[i] - dot(&row[..i], &b[..i])) / row[i];
        }
    }

    /// Solves `L^T x = b` in place.
    pub fn solve_upper(&self, b: &mut [f64]) {
        for i in (0..self.n).rev() {
            let row = self.row(i);
            b[i] /= row[i];
            let x = b[i];
            add_scaled(&mut b[..i], -x, &row[..i]);
        }
    }

    /// Logarithm of the determinant of the matrix.
    pub fn log_determinant(&self) -> f64 {
        2.0 * (0..self.n).map(|i| self.row(i)[i].ln()).sum::<f64>()
    }

    /// The inverse of the matrix; only its lower triangle is filled.
    pub fn inverse(&self) -> Vec<f64> {
        let n = self.n;
        // The inverse of the factor, row by row; zero above the diagonal, so that rows of unlike
        // length go together.
        let mut lower = vec![0.0; n * n];
        for i in 0..n {
            let (above, rest) = lower.split_at_mut(i * n);
            let own = &mut rest[..=i];
            let row = self.row(i);
            let at = |k: usize| &above[k * n..][..n];
            let fours = i / 4 * 4;
            for k in (0..fours).step_by(4) {
                let factors = std::array::from_fn(|lane| -row[k + lane]);
                add_four_scaled(&mut own[..k + 4], factors, std::array::from_fn(|lane| at(k + lane)));
            }
            for k in fours..i {
                add_scaled(&mut own[..=k], -row[k], at(k));
            }
            let pivot = 1.0 / row[i];
            own[..i].iter_mut().for_each(|v| *v *= pivot);
            own[i] = pivot;
        }
        let mut inverse = vec![0.0; n * n];
        let at = |k: usize| &lower[k * n..][..n];
        for (i, out) in inverse.chunks_exact_mut(n.max(1)).enumerate() {
            let out = &mut out[..=i];
            let mut k = i;
            while k + 4 <= n {
                let factors = std::array::from_fn(|lane| at(k + lane)[i]);
                add_four_scaled(out, factors, std::array::from_fn(|lane| at(k + lane)));
                k += 4;
            }
            for k in k..n {
                add_scaled(out, at(k)[i], at(k));
            }
        }
        inverse
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factor_solves_and_inverts() {
        for n in [1, 7, 8, 11, 37] {
            check(n);
        }
        assert!(Cholesky::new(vec![1.0, 2.0, 2.0, 1.0], 2).is_none());
    }

    fn check(n: usize) {
        let at = |i: usize, j: usize| if i == j { 3.0 } else { 1.0 / (1.0 + i.abs_diff(j) as f64) };
        let a: Vec<f64> = (0..n * n).map(|p| at(p / n, p % n)).collect();
        let cholesky = Cholesky::new(a, n).unwrap();
        let x: Vec<f64> = (0..n).map(|i| i as f64 - 4.0).collect();
        let mut b: Vec<f64> = (0..n).map(|i| (0..n).map(|j| at(i, j) * x[j]).sum()).collect();
        cholesky.solve_lower(&mut b);
        cholesky.solve_upper(&mut b);
        assert!(b.iter().zip(&x).all(|(b, x)| (b - x).abs() < 1e-10), "{b:?}");
        let inverse = cholesky.inverse();
        let full = |i: usize, j: usize| inverse[i.max(j) * n + i.min(j)];
        for i in 0..n {
            for j in 0..n {
                let product: f64 = (0..n).map(|k| at(i, k) * full(k, j)).sum();
                assert!((product - f64::from(u8::from(i == j))).abs() < 1e-10);
            }
        }
    }

    #[test]
    fn the_exponential_is_exact() {
        let at: Vec<f64> = (0..4000).map(|i| -0.171_3 * f64::from(i)).collect();
        let mut values = at.clone();
        exp_nonpositive(&mut values);
        for (x, v) in at.iter().zip(&values) {
            assert!((v - x.exp()).abs() <= 1e-15 * x.exp(), "{x}: {v}");
        }
        let mut ends = [0.0, -0.0, -701.0, f64::NEG_INFINITY];
        exp_nonpositive(&mut ends);
        assert_eq!(ends, [1.0, 1.0, 0.0, 0.0]);
    }
}
