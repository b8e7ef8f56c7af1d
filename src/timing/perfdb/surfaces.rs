//! Compositions at knots: what surfaces are expanded from.

use super::Composition;
use crate::timing::surface::library::Axes;
use crate::timing::surface::parts::{Knots, Parts};

/// Largest pass at whose size durations are still taken from the composition, tokens.
const MOST_TOKENS: u32 = 131_072;
/// The same for sampled sequences.
const MOST_SEQS: u32 = 4096;
/// Where a straight line between knots departs by more, another knot is put in.
const TOLERANCE: f64 = 1e-4;

/// Batches and contexts at which decode attention is taken.
pub(super) fn decode_axes() -> Axes {
    Axes {
        batch: (0..12).map(|i| 1 << i).collect(),
        length: (4..=17).flat_map(|i| [1 << i, 3 << (i - 1)]).take(27).collect(),
    }
}

/// Batches and lengths at which context attention is taken: the measured ones and octaves beyond.
pub(super) fn context_axes() -> Axes {
    let length = [
        16, 32, 64, 128, 256, 512, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 10_240, 12_288, 16_384, 24_576, 32_768,
        49_152, 65_536, 131_072,
    ];
    Axes { batch: (0..9).map(|i| 1 << i).collect(), length: length.into() }
}

impl Composition {
    /// The composition at knots. `label` says what was measured, `source` by whom.
    pub fn parts(&self, label: String, source: String) -> Parts {
        let tokens = |ms: &dyn Fn(f64) -> f64| refined(&self.token_knots(MOST_TOKENS), ms);
        let (decode_axes, context_axes) = (decode_axes(), context_axes());
        let table = |axes: &Axes, ms: &dyn Fn(f64, f64) -> f64| {
            let row = |&batch: &u32| axes.length.iter().map(move |&length| ms(batch.into(), length.into()));
            axes.batch.iter().flat_map(row).collect()
        };
        Parts {
            tokens: tokens(&|x| self.tokens_ms(x)),
            decode_tokens: self.decodes_apart().then(|| tokens(&|x| self.decode_tokens_ms(x))),
            sampled: refined(&self.sampled_knots(MOST_SEQS), &|x| self.sampled_ms(x)),
            decode: table(&decode_axes, &|batch, length| self.decode_attention_ms(batch, length)),
            context: table(&context_axes, &|batch, length| self.prefill_attention_ms(batch, length)),
            decode_axes,
            context_axes,
            context_constant_ms: self.context_constant_ms(),
            prefill_samples: self.prefill_samples(),
            label,
            source,
        }
    }
}

/// A duration at given knots and at as many in between as a straight line needs.
fn refined(knots: &[u32], ms: &dyn Fn(f64) -> f64) -> Knots {
    let mut out = vec![(f64::from(knots[0]), ms(knots[0].into()))];
    for pair in knots.windows(2) {
        let last = *out.last().expect("not empty");
        between(last, (f64::from(pair[1]), ms(pair[1].into())), ms, &mut out);
    }
    out
}

/// Appends what lies after `left` up to and with `right`.
fn between(left: (f64, f64), right: (f64, f64), ms: &dyn Fn(f64) -> f64, out: &mut Knots) {
    let middle = ((left.0 + right.0) / 2.0).floor();
    if middle > left.0 {
        let line = left.1 + (right.1 - left.1) * (middle - left.0) / (right.0 - left.0);
        let true_ms = ms(middle);
        if (line - true_ms).abs() > TOLERANCE * true_ms {
            between(left, (middle, true_ms), ms, out);
            between((middle, true_ms), right, ms, out);
            return;
        }
    }
    out.push(right);
}
