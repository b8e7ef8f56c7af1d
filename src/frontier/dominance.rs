//! Pareto dominance, plain and constrained. Every objective is minimised.

use std::cmp::Ordering;

/// Whether `a` is no worse than `b` in every objective. False when any compared value is NaN.
pub fn weakly_dominates(a: &[f64], b: &[f64]) -> bool {
    a.iter().zip(b).all(|(x, y)| x <= y)
}

/// Whether `a` is no worse than `b` in every objective and better in one. False when any
/// compared value is NaN.
pub fn dominates(a: &[f64], b: &[f64]) -> bool {
    weakly_dominates(a, b) && a.iter().zip(b).any(|(x, y)| x < y)
}

/// Constrained domination (Deb et al., NSGA-II, 2002): the smaller violation wins (0 is feasible,
/// so feasible beats infeasible); between equal violations, plain dominance decides.
pub fn constrained_dominates(a: &[f64], a_violation: f64, b: &[f64], b_violation: f64) -> bool {
    match a_violation.total_cmp(&b_violation) {
        Ordering::Less => true,
        Ordering::Greater => false,
        Ordering::Equal => dominates(a, b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dominance_needs_one_strict_improvement() {
        assert!(dominates(&[1.0, 2.0], &[1.0, 3.0]));
        assert!(!dominates(&[1.0, 2.0], &[1.0, 2.0]));
        assert!(weakly_dominates(&[1.0, 2.0], &[1.0, 2.0]));
        assert!(!dominates(&[0.0, 4.0], &[1.0, 3.0]));
    }

    #[test]
    fn nan_neither_dominates_nor_is_dominated() {
        assert!(!dominates(&[f64::NAN, 0.0], &[1.0, 1.0]));
        assert!(!dominates(&[0.0, 0.0], &[f64::NAN, 1.0]));
    }

    #[test]
    fn feasibility_comes_before_objectives() {
        assert!(constrained_dominates(&[9.0, 9.0], 0.0, &[1.0, 1.0], 0.1));
        assert!(constrained_dominates(&[9.0, 9.0], 0.1, &[1.0, 1.0], 0.2));
        assert!(!constrained_dominates(&[9.0, 9.0], 0.1, &[1.0, 1.0], 0.1));
        assert!(constrained_dominates(&[1.0, 1.0], 0.1, &[1.0, 2.0], 0.1));
    }
}
