//! Geometry of objective vectors: dominance, the non-dominated set, exact hypervolume, crowding,
//! the knee, and the reference point by rule. It knows nothing of serving or of searching.
//!
//! Conventions, throughout: every objective is minimised; a set of points is one row-major slice
//! of `n * m` numbers for `n` points of `m` objectives; points that are not finite in every
//! objective are excluded (they are never in a front and add no hypervolume).

pub mod crowding;
pub mod dominance;
pub mod front;
pub mod hypervolume;
pub mod knee;
pub mod nondominated;
pub mod reference;
pub mod sort;
mod staircase;

pub use crowding::crowding_distance;
pub use dominance::{constrained_dominates, dominates, weakly_dominates};
pub use front::Front;
pub use hypervolume::{contributions, hypervolume};
pub use knee::knee;
pub use nondominated::nondominated;
pub use reference::{Reference, Scale};
pub use sort::nondominated_sort;

/// Number of points in a row-major slice of `m` objectives.
///
/// # Panics
/// When `m` is 0 or does not divide the slice: a mistake of the caller, never of a user.
pub(crate) fn rows(points: &[f64], m: usize) -> usize {
    assert!(m > 0 && points.len().is_multiple_of(m), "{} numbers are not rows of {m} objectives", points.len());
    points.len() / m
}

/// Whether every objective is finite.
pub(crate) fn is_finite(point: &[f64]) -> bool {
    point.iter().all(|v| v.is_finite())
}
