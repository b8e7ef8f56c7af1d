//! Predictions held against measurements on real GPUs.
//!
//! * [`points`]: measured serving points from a file.
//! * [`server`], [`protocol`]: how their servers and clients were set up.
//! * [`replay`]: a point through the twin.
//! * [`score`], [`groups`]: errors and rank correlations, by group.
//! * [`fit`]: the error model from the residuals, cross-validated.
//!
//! And of a run's own candidates, once they were measured:
//!
//! * [`measured`]: benchmark results, a reader per format;
//! * [`matching`]: whose they are, and whether they can be compared;
//! * [`judge`]: errors by metric;
//! * [`calibrate`]: physical factors from them;
//! * [`rerank`]: the frontier under a calibration.

pub mod calibrate;
pub mod fit;
pub mod groups;
pub mod judge;
pub mod matching;
pub mod measured;
pub mod points;
pub mod protocol;
pub mod replay;
pub mod rerank;
pub mod score;
pub mod server;
