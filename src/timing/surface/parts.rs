//! What a surface is expanded from: durations at knots.

use serde::{Deserialize, Serialize};

use super::cells;
use super::library::Axes;

/// A duration, ms, over an increasing count; linear in between.
pub type Knots = Vec<(f64, f64)>;

/// The pass times of one worker at knots, before anything is made monotone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Parts {
    /// Everything but attention and head, by tokens in the pass.
    pub tokens: Knots,
    /// The same for passes that only decode, where it differs.
    pub decode_tokens: Option<Knots>,
    /// The language-model head, by sampled sequences.
    pub sampled: Knots,
    pub decode_axes: Axes,
    /// Decode attention, row-major over batch and context.
    pub decode: Vec<f64>,
    pub context_axes: Axes,
    /// Context attention of sequences without prefix, row-major over batch and length.
    pub context: Vec<f64>,
    /// Part of context attention that depends on nothing, ms per pass.
    pub context_constant_ms: f64,
    /// Whether passes that prefill sample in parity with the source.
    pub prefill_samples: bool,
    /// What was measured, such as `vllm 0.24.0 fp8_static`.
    pub label: String,
    /// Whose measurements these are.
    pub source: String,
}

impl Parts {
    /// Whether a surface can be expanded from them.
    ///
    /// # Errors
    /// Names what is missing or out of order.
    pub fn check(&self) -> Result<(), String> {
        for (what, knots) in
            [("tokens", Some(&self.tokens)), ("decode", self.decode_tokens.as_ref()), ("head", Some(&self.sampled))]
        {
            let Some(knots) = knots else { continue };
            if knots.len() < 2 || !knots.is_sorted_by(|a, b| a.0 < b.0) || !knots.iter().all(|(_, ms)| ms.is_finite()) {
                return Err(format!("the curve of {what} needs two or more increasing knots"));
            }
        }
        cells::check_axes::<2>(&self.decode_axes)?;
        cells::check_axes::<4>(&self.context_axes)?;
        for (what, table, axes) in
            [("decode", &self.decode, &self.decode_axes), ("context", &self.context, &self.context_axes)]
        {
            if table.len() != axes.batch.len() * axes.length.len() || !table.iter().all(|ms| ms.is_finite()) {
                return Err(format!("the table of {what} attention does not fill its axes"));
            }
        }
        Ok(())
    }
}
