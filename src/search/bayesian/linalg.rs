//! The few pieces of dense linear algebra that a Gaussian process needs, row-major, in a fixed
//! order of operations, so that the same numbers come out on every machine and thread count.

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
fn add_scaled(y: &mut [f64], factor: f64, x: &[f64]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += factor * x;
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
    /// Factors in place; only the lower triangle is read. `None` when the matrix is not positive
    /// definite.
    pub fn new(mut a: Vec<f64>, n: usize) -> Option<Self> {
        for i in 0..n {
            let (above, rest) = a.split_at_mut(i * n);
            let row = &mut rest[..n];
            for j in 0..i {
                let other = &above[j * n..][..n];
                row[j] = (row[j] - dot(&row[..j], &other[..j])) / other[j];
            }
            let pivot = row[i] - dot(&row[..i], &row[..i]);
            if pivot.is_nan() || pivot <= 0.0 {
                return None;
            }
            row[i] = pivot.sqrt();
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
        // The inverse of the factor, row by row.
        let mut lower = vec![0.0; n * n];
        for i in 0..n {
            let (above, rest) = lower.split_at_mut(i * n);
            let own = &mut rest[..=i];
            let row = self.row(i);
            for k in 0..i {
                add_scaled(&mut own[..=k], -row[k], &above[k * n..][..=k]);
            }
            let pivot = 1.0 / row[i];
            own[..i].iter_mut().for_each(|v| *v *= pivot);
            own[i] = pivot;
        }
        let mut inverse = vec![0.0; n * n];
        for k in 0..n {
            let row = &lower[k * n..][..=k];
            for i in 0..=k {
                add_scaled(&mut inverse[i * n..][..=i], row[i], &row[..=i]);
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
        let n = 11;
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
        assert!(Cholesky::new(vec![1.0, 2.0, 2.0, 1.0], 2).is_none());
    }
}
