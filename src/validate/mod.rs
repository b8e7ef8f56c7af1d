//! Predictions held against measurements on real GPUs.
//!
//! * [`points`]: measured serving points from a file.
//! * [`server`], [`protocol`]: how their servers and clients were set up.
//! * [`replay`]: a point through the twin.
//! * [`score`], [`groups`]: errors and rank correlations, by group.
//! * [`fit`]: the error model from the residuals, cross-validated.

pub mod fit;
pub mod groups;
pub mod points;
pub mod protocol;
pub mod replay;
pub mod score;
pub mod server;
