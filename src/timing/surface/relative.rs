//! Where nothing was measured: the tables of the nearest measured relative, through the roofline.
//!
//! A relative differs in few things from the worker that is asked for: in tensor-parallel size, GPU or
//! format of the cache. Every duration of its tables is multiplied by what the roofline says of the two
//! workers, part by part, so that what the roofline gets wrong for both cancels out. How far each
//! difference leads astray was measured by leaving out what was measured
//! (`estimates_from_relatives_are_as_good_as_stated` in `tests/timing_relative.rs`); the differences
//! of a relative add up, and the least sum is the nearest.

use std::collections::BTreeSet;

use super::SurfaceOptions;
use super::library::{Axes, Library};
use super::parts::{Knots, Parts};
use super::select::{self, Selection};
use super::tables::{Expansion, Surface, interpolate};
use crate::catalog::{self, Dtype, GpuSpec};
use crate::timing::roofline::{Coefficients, Roofline, coefficients};
use crate::timing::{PassLoad, WorkerShape};

/// Nine of ten passes come out within these, as logarithms of estimated over measured, where a
/// relative differs in one thing only. Across engines, models, formats of weights and generations of
/// GPUs the roofline alone is as good.
mod astray {
    /// Twice or half the tensor-parallel size; further steps as often.
    pub const TP_STEP: f64 = 0.15;
    /// Another GPU of the same generation.
    pub const GPU: f64 = 0.12;
    /// Format of the KV cache.
    pub const CACHE: f64 = 0.05;
}

/// A measured worker that stands for another.
#[derive(Clone, Debug, PartialEq)]
pub struct Relative {
    pub shape: WorkerShape,
    pub selection: Selection,
    /// Within this come nine of ten estimates, as the logarithm of estimated over measured.
    pub astray: f64,
}

impl Relative {
    /// The error to expect, percent, in steps of 5.
    pub fn error_percent(&self) -> f64 {
        (self.astray.exp_m1() * 20.0).ceil() * 5.0
    }
}

/// The nearest measured relative of a worker among those that `may_stand`, unless the roofline alone
/// promises as much.
pub fn nearest(
    library: &Library,
    shape: &WorkerShape,
    options: &SurfaceOptions,
    may_stand: impl Fn(&WorkerShape) -> bool,
) -> Option<Relative> {
    let measured: BTreeSet<(&str, &str, &str, u8)> =
        library.configurations.iter().map(|c| (&*c.model, &*c.system, &*c.backend, c.tp)).collect();
    let mut relatives = Vec::new();
    for (model, gpu, backend, tp) in measured {
        let (Some(model), Some(gpu)) = (catalog::model(model), catalog::gpu(gpu)) else { continue };
        if backend != shape.backend.name() || !model.same_architecture(&shape.model) {
            continue;
        }
        for kv_dtype in [Dtype::Bf16, Dtype::Fp8] {
            let (model, gpu) = (model.clone(), gpu.clone());
            let relative = WorkerShape { model, gpu, kv_dtype, tp: tp.into(), ..shape.clone() };
            if let Some(astray) = distance(shape, &relative) {
                relatives.push((astray, relative));
            }
        }
    }
    // Stable: equally near ones in the order of their names.
    relatives.sort_by(|a, b| a.0.total_cmp(&b.0));
    let nearest =
        relatives.into_iter().filter(|(_, relative)| may_stand(relative)).find_map(|(astray, relative)| {
            let selection = select::select(library, &relative, options.layouts(), None)?;
            Some(Relative { shape: relative, selection, astray })
        })?;
    (nearest.error_percent() < coefficients::error_percent(shape)).then_some(nearest)
}

/// Sum of what each difference costs; `None` where GPUs differ in generation or in kind of link: tables
/// of an H100 say nothing of an L40S, which has the number formats of one but no NVLink.
fn distance(of: &WorkerShape, relative: &WorkerShape) -> Option<f64> {
    let generation = |gpu: &GpuSpec| (gpu.fp8_tflops.is_some(), gpu.fp4_tflops.is_some(), gpu.nvlink_gbps.is_some());
    if generation(&relative.gpu) != generation(&of.gpu) {
        return None;
    }
    let costs = |differs: bool, astray: f64| if differs { astray } else { 0.0 };
    let octaves = (f64::from(relative.tp) / f64::from(of.tp)).log2().abs();
    Some(
        octaves * astray::TP_STEP
            + costs(relative.gpu.name != of.gpu.name, astray::GPU)
            + costs(relative.kv_dtype != of.kv_dtype, astray::CACHE),
    )
}

/// The surface of a worker from the tables of a relative; `reason` says why there is no measurement,
/// where that is known.
pub fn surface(
    library: &Library,
    relative: &Relative,
    shape: &WorkerShape,
    host_ms: f64,
    reason: Option<&str>,
) -> Surface {
    let estimated = Some(relative.error_percent());
    let mut parts = parts(library, relative, shape);
    if let Some(reason) = reason {
        parts.label += &format!("; {reason}");
    }
    Surface::expand(
        &parts,
        &Expansion { kind: "surface", aic_parity: false, host_ms, backend: shape.backend, estimated },
    )
}

/// The tables of a relative, carried over to the worker.
fn parts(library: &Library, relative: &Relative, shape: &WorkerShape) -> Parts {
    let theirs = library.parts(relative.selection);
    let roofline = |s: &WorkerShape| Roofline::with_coefficients(s, Coefficients::of(s));
    let (own, kin) = (roofline(shape), roofline(&relative.shape));
    let over = |part: &dyn Fn(&Roofline) -> f64| part(&own) / part(&kin);
    let decode = carried(&theirs.decode, &theirs.decode_axes, &|seqs, context| {
        over(&|r| r.decode_attention_ms(seqs, u64::from(seqs) * u64::from(context)))
    });
    let context = carried(&theirs.context, &theirs.context_axes, &|seqs, length| {
        let load = (0..seqs).fold(PassLoad::default(), |load, _| load.with_prefill(length, 0, true));
        over(&|r| r.prefill_attention_ms(&load))
    });
    Parts {
        tokens: carried_knots(&theirs.tokens, &|x| over(&|r| r.products_ms(x, 0))),
        decode_tokens: theirs.decode_tokens.as_ref().map(|k| carried_knots(k, &|x| over(&|r| r.products_ms(x, 0)))),
        sampled: carried_knots(&theirs.sampled, &|x| over(&|r| r.head_ms(x as u32))),
        decode,
        context,
        label: format!("from {}: {}", relative.shape.label(), theirs.label),
        ..theirs
    }
}

fn carried(table: &[f64], axes: &Axes, ratio: &dyn Fn(u32, u32) -> f64) -> Vec<f64> {
    let cells = axes.batch.iter().flat_map(|&b| axes.length.iter().map(move |&l| (b, l)));
    table.iter().zip(cells).map(|(ms, (b, l))| ms * ratio(b, l)).collect()
}

/// A curve carried over at its own knots and at four more per doubling: where it is straight, the
/// ratio need not be.
fn carried_knots(knots: &Knots, ratio: &dyn Fn(u64) -> f64) -> Knots {
    let (first, last) = (knots[0].0.max(1.0), knots[knots.len() - 1].0);
    let steps = (4.0 * (last / first).log2()).floor() as i32;
    let between = (0..=steps).map(|i| (first * (f64::from(i) / 4.0).exp2()).round() as u64);
    let at: BTreeSet<u64> = knots.iter().map(|(x, _)| *x as u64).chain(between).filter(|x| *x > 0).collect();
    at.into_iter().map(|x| (x as f64, interpolate(knots, x as f64) * ratio(x))).collect()
}
