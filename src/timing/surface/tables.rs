//! Measured tables expanded for asking.
//!
//! Everything is looked up by index, without a search: token and sampling durations are dense
//! arrays, attention a straight line per cell (`cells`).

use super::cells::Cells;
use super::library::Axes;
use super::parts::{Knots, Parts};
use crate::catalog::Backend;
use crate::timing::load::{DecodeRun, PassLoad};
use crate::timing::{PassFactors, Provenance};

/// Largest pass whose token duration is stored densely.
const DENSE_TOKENS: u32 = 16_384;
/// Largest batch whose sampling duration is stored densely.
const DENSE_SEQS: u32 = 1024;
/// Largest batch that engines capture as a CUDA graph by default.
const LARGEST_GRAPH: u32 = 512;

/// How to expand.
pub(in crate::timing) struct Expansion {
    /// Kind of timing, as in TOML.
    pub kind: &'static str,
    pub aic_parity: bool,
    pub host_ms: f64,
    pub backend: Backend,
    /// Where the parts are an estimate: its error, percent.
    pub estimated: Option<f64>,
}

/// The pass times of one worker.
#[derive(Debug, PartialEq)]
pub struct Surface {
    /// Everything but attention and head, by tokens in the pass.
    tokens: Dense,
    /// The language-model head, by sampled sequences.
    sampled: Dense,
    /// Both for a pass that only decodes, by batch: padded to the next CUDA graph.
    decode_only: Dense,
    /// Decode attention, by batch and mean context.
    decode: Cells<2>,
    /// Root of context attention of sequences without prefix, by batch and length.
    context: Cells<4>,
    /// Part of context attention that depends on nothing, ms per pass.
    context_constant_ms: f64,
    /// Whether passes that prefill sample in parity with the source.
    prefill_samples: bool,
    /// Tokens of passes that only decode, where they differ and the batch is beyond `decode_only`.
    decode_tokens: Option<Dense>,
    aic_parity: bool,
    host_ms: f64,
    /// What corrections leave beside the scaled tables: host time of passes that prefill, the factor
    /// of prompts over that of decoding, time of a request outside passes.
    prompt_host_ms: f64,
    prompts_over_decode: f64,
    request_ms: f64,
    kind: &'static str,
    label: String,
    source: String,
    estimated: Option<f64>,
}

impl Surface {
    /// Expands checked parts.
    pub(in crate::timing) fn expand(parts: &Parts, how: &Expansion) -> Surface {
        let monotone = !how.aic_parity;
        let tokens = Dense::new(&parts.tokens, DENSE_TOKENS, monotone);
        let sampled = Dense::new(&parts.sampled, DENSE_SEQS, monotone);
        let decode_tokens = parts.decode_tokens.as_ref().map(|knots| Dense::new(knots, DENSE_SEQS, monotone));
        let decoding = decode_tokens.as_ref().unwrap_or(&tokens);
        let decode_only = Dense {
            ms: (0..=DENSE_SEQS)
                .map(|seqs| {
                    let computed = if monotone { graph_size(how.backend, seqs) } else { seqs };
                    (decoding.at(computed.into()) + sampled.at(seqs.into())) as f32
                })
                .collect(),
            tail: Vec::new(),
        };
        let table = |ms: &[f64], axes: &Axes| {
            let mut ms = ms.to_vec();
            if monotone {
                make_monotone(&mut ms, axes.length.len());
            }
            ms
        };
        let decode = table(&parts.decode, &parts.decode_axes);
        let mut context = table(&parts.context, &parts.context_axes);
        context.iter_mut().for_each(|ms| *ms = ms.sqrt());
        Surface {
            tokens,
            sampled,
            decode_only,
            decode: Cells::new(&decode, &parts.decode_axes),
            context: Cells::new(&context, &parts.context_axes),
            context_constant_ms: parts.context_constant_ms,
            prefill_samples: parts.prefill_samples,
            decode_tokens,
            aic_parity: how.aic_parity,
            host_ms: how.host_ms,
            prompt_host_ms: 0.0,
            prompts_over_decode: 1.0,
            request_ms: 0.0,
            kind: how.kind,
            label: parts.label.clone(),
            source: parts.source.clone(),
            estimated: how.estimated,
        }
    }

    /// The surface with corrections in its tables, so that asking it costs no more: equal to
    /// [`Corrected`](crate::timing::Corrected) to the precision of the tables. `None` in parity with
    /// the source, whose passes do not split into prompts and decoding.
    pub(in crate::timing) fn corrected(&self, factors: &PassFactors) -> Option<Surface> {
        if self.aic_parity {
            return None;
        }
        let PassFactors { prefill, decode, .. } = *factors;
        Some(Surface {
            tokens: self.tokens.scaled(prefill),
            sampled: self.sampled.scaled(prefill),
            decode_only: self.decode_only.scaled(decode),
            decode: self.decode.scaled(decode),
            // It holds roots.
            context: self.context.scaled(prefill.sqrt()),
            context_constant_ms: prefill * self.context_constant_ms,
            prefill_samples: self.prefill_samples,
            decode_tokens: self.decode_tokens.as_ref().map(|tokens| tokens.scaled(prefill)),
            aic_parity: false,
            // What it had scales as the pass that it is part of.
            host_ms: decode * self.host_ms + factors.host_ms,
            prompt_host_ms: factors.prompt_host_ms,
            prompts_over_decode: prefill / decode,
            request_ms: factors.request_ms,
            kind: self.kind,
            label: format!("{}; {}", self.label, factors.words()),
            source: self.source.clone(),
            estimated: self.estimated,
        })
    }

    /// Time of a request outside passes, ms.
    pub(in crate::timing) fn request_ms(&self) -> f64 {
        self.request_ms
    }

    /// What the durations rest on.
    pub fn provenance(&self) -> Provenance {
        let parity = if self.aic_parity { "; AIC parity" } else { "" };
        Provenance {
            kind: self.kind,
            label: match self.estimated {
                None => format!("measured: {}{parity}", self.label),
                Some(percent) => format!("estimated, +-{percent}% ({}{parity})", self.label),
            },
            source: self.source.clone(),
            estimated: self.estimated,
        }
    }

    /// Duration of a pass, ms; 0 when nothing is in it.
    #[inline]
    pub fn pass_ms(&self, load: &PassLoad) -> f64 {
        let decode_seqs = u64::from(load.decode_seqs);
        if load.new_tokens == 0 {
            if decode_seqs == 0 {
                return 0.0;
            }
            return self.decode_only_ms(load.decode_seqs + load.draft_tokens as u32)
                + self.decode.at(load.decode_seqs, mean(load.decode_context_tokens, load.decode_seqs));
        }
        let mut ms = self.host_ms
            + self.prompt_host_ms
            + self.tokens.at(load.new_tokens + decode_seqs + load.draft_tokens)
            + self.prefill_attention_ms(load);
        if decode_seqs > 0 {
            ms += self.decode.at(load.decode_seqs, mean(load.decode_context_tokens, load.decode_seqs));
            if self.prompts_over_decode != 1.0 {
                // Decoding sequences have their own factor for their share of the products too.
                let own = self.decode_products_ms(load.decode_seqs + load.draft_tokens as u32);
                ms += own * (1.0 - self.prompts_over_decode);
            }
        }
        let sampled = match (self.aic_parity, self.prefill_samples) {
            (false, _) => load.sampled_seqs,
            (true, true) => {
                if decode_seqs > 0 {
                    1
                } else {
                    load.prefill_seqs
                }
            }
            (true, false) => 0,
        };
        ms + self.sampled.at(u64::from(sampled))
    }

    /// The piece up to where the mean context crosses the next knot of the measured table.
    #[inline]
    pub fn decode_run(&self, seqs: u32, context_tokens: u64) -> DecodeRun {
        if seqs == 0 {
            return DecodeRun::constant(0.0);
        }
        let mean = mean(context_tokens, seqs);
        let cell = self.decode.cell(mean);
        let line = self.decode.line(seqs, cell);
        let passes = match self.decode.end(cell) {
            None => u64::MAX,
            // Passes whose mean context stays below the knot; the first one does.
            Some(end) => (u64::from(end) * u64::from(seqs) - context_tokens).div_ceil(u64::from(seqs)),
        };
        DecodeRun { base_ms: self.decode_only_ms(seqs) + line.at(mean), slope_ms: line.slope, curve_ms: 0.0, passes }
    }

    #[inline]
    fn decode_only_ms(&self, seqs: u32) -> f64 {
        self.host_ms + self.decode_products_ms(seqs)
    }

    /// Everything but attention and host of a pass that only decodes.
    #[inline]
    fn decode_products_ms(&self, seqs: u32) -> f64 {
        if seqs <= DENSE_SEQS {
            self.decode_only.at(u64::from(seqs))
        } else {
            let tokens = self.decode_tokens.as_ref().unwrap_or(&self.tokens);
            (tokens.at(u64::from(seqs)) + self.sampled.at(u64::from(seqs))) / self.prompts_over_decode
        }
    }

    /// Attention of the prefilling sequences. The table holds sequences without prefix; a prefix
    /// leaves the share of the causal square that is new. Sequences of unlike length count with
    /// the root of their mean square, which preserves their work (their mean in parity).
    #[inline]
    fn prefill_attention_ms(&self, load: &PassLoad) -> f64 {
        let seqs = f64::from(load.prefill_seqs.max(1));
        let lengths = to_f64(load.new_tokens + load.prefix_tokens);
        if self.aic_parity {
            let (full, prefix) = (lengths / seqs, to_f64(load.prefix_tokens) / seqs);
            return self.context.at_squared(load.prefill_seqs, full) * (1.0 - (prefix / full) * (prefix / full))
                + self.context_constant_ms;
        }
        let share = 1.0 / seqs;
        let full = (load.context_sq * share).sqrt();
        let computed = self.context.at_squared(load.prefill_seqs, full) * (1.0 - load.prefix_sq / load.context_sq);
        // A suffix reads the cache of its prefix at least as a decoding sequence does. Asked even
        // without a prefix: a branch that half of the passes take costs more than the answer.
        let read = self.decode.at(load.prefill_seqs, lengths * share);
        let read = if load.prefix_tokens > 0 { read * self.prompts_over_decode } else { 0.0 };
        computed.max(read) + self.context_constant_ms
    }
}

#[inline]
fn mean(total: u64, count: u32) -> f64 {
    total as f64 / f64::from(count)
}

/// A count of tokens: signed integers convert in one instruction, unsigned ones in six.
#[inline]
fn to_f64(tokens: u64) -> f64 {
    tokens as i64 as f64
}

/// The captured CUDA-graph size that a decode batch is padded to: vLLM captures 1, 2, 4, multiples
/// of 8 to 256 and of 16 to 512 (`cudagraph_capture_sizes`), SGLang also 12 (`cuda_graph_bs`).
fn graph_size(backend: Backend, seqs: u32) -> u32 {
    match seqs {
        0..=2 => seqs,
        3..=4 => 4,
        9..=12 if backend == Backend::Sglang => 12,
        5..=256 => seqs.next_multiple_of(8),
        257..=LARGEST_GRAPH => seqs.next_multiple_of(16),
        _ => seqs,
    }
}

/// Lowers every entry of a row-major table to the least of those with as much batch and length or
/// more, so that more work never takes less time.
fn make_monotone(ms: &mut [f64], columns: usize) {
    for index in (0..ms.len()).rev() {
        if (index + 1) % columns != 0 {
            ms[index] = ms[index].min(ms[index + 1]);
        }
        if let Some(&below) = ms.get(index + columns) {
            ms[index] = ms[index].min(below);
        }
    }
}

/// A duration over an integer: stored for every value up to a limit, linear between knots beyond.
#[derive(Debug, PartialEq)]
struct Dense {
    /// Durations of 0, 1, 2, ...; the first is 0.
    ms: Box<[f32]>,
    /// Knots from the last stored value on; the last two extend without end.
    tail: Vec<(f64, f64)>,
}

impl Dense {
    /// With `monotone`, every duration is lowered to the least of those at or above it: what a
    /// server reaches by padding.
    fn new(knots: &Knots, limit: u32, monotone: bool) -> Dense {
        let mut ms: Vec<f64> = (0..=limit).map(|x| interpolate(knots, f64::from(x))).collect();
        let mut tail: Vec<(f64, f64)> = vec![(f64::from(limit), ms[limit as usize])];
        tail.extend(knots.iter().filter(|(x, _)| *x > f64::from(limit)));
        if tail.len() < 2 {
            let (x1, y1) = knots[knots.len() - 2];
            let (x2, y2) = knots[knots.len() - 1];
            tail.push((f64::from(limit) + 1.0, tail[0].1 + ((y2 - y1) / (x2 - x1)).max(0.0)));
        }
        if monotone {
            for i in (0..tail.len() - 1).rev() {
                tail[i].1 = tail[i].1.min(tail[i + 1].1);
            }
            ms[limit as usize] = tail[0].1;
            for i in (0..limit as usize).rev() {
                ms[i] = ms[i].min(ms[i + 1]);
            }
        }
        ms[0] = 0.0;
        Dense { ms: ms.into_iter().map(|v| v as f32).collect(), tail }
    }

    /// Every duration times a factor.
    fn scaled(&self, factor: f64) -> Dense {
        Dense {
            ms: self.ms.iter().map(|&ms| (f64::from(ms) * factor) as f32).collect(),
            tail: self.tail.iter().map(|&(x, ms)| (x, ms * factor)).collect(),
        }
    }

    #[inline]
    fn at(&self, x: u64) -> f64 {
        match self.ms.get(x as usize) {
            Some(&ms) => f64::from(ms),
            None => self.beyond(x),
        }
    }

    #[cold]
    fn beyond(&self, x: u64) -> f64 {
        interpolate(&self.tail, x as f64)
    }
}

/// Linear between knots, constant before the first, extended after the last.
pub(super) fn interpolate(knots: &[(f64, f64)], x: f64) -> f64 {
    if x <= knots[0].0 {
        return knots[0].1;
    }
    let i = knots.partition_point(|(k, _)| *k <= x).clamp(1, knots.len() - 1);
    let ((x1, y1), (x2, y2)) = (knots[i - 1], knots[i]);
    y1 + (y2 - y1) * ((x - x1) / (x2 - x1))
}
