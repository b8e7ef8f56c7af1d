//! Which measured tables answer for a worker.

use super::library::{Library, Measured, MoeLayout};
use crate::catalog::{self, Backend, Dtype};
use crate::timing::WorkerShape;
use crate::timing::perfdb::format::Quant;

/// Indices of the configurations whose tables are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Selection {
    /// Gives matrix products and sampling: the format of the weights decides.
    pub products: usize,
    /// Gives attention: the format of the KV cache decides.
    pub attention: usize,
}

/// The tables to use for a worker: products by weight format, attention by cache format, both at
/// the worker's tensor-parallel size. Architectures are compared, not names, so that a fine-tuned
/// model finds the tables of its base. `None` where either was not measured.
///
/// A `quant` of the source's own ([`Measured::quant`]) overrides both choices.
pub fn select(library: &Library, shape: &WorkerShape, layouts: &[MoeLayout], quant: Option<&str>) -> Option<Selection> {
    let layouts = if shape.model.moe.is_some() { layouts } else { &[MoeLayout::Dense] };
    let find = |backend: &str, layout: MoeLayout, fits: &dyn Fn(&str) -> bool| {
        library
            .configurations
            .iter()
            .position(|c| c.moe == layout && fits(&c.quant) && c.backend == backend && is_of(c, shape))
    };
    let first = |variants: &[(&str, &str)]| {
        variants.iter().find_map(|(backend, quant)| layouts.iter().find_map(|l| find(backend, *l, &|q| q == *quant)))
    };
    let backend = shape.backend.name();
    if let Some(quant) = quant {
        // A per-tensor FP8 checkpoint brings its scales: the source calls it plain fp8 too.
        let with_scales = if quant == "fp8" { "fp8_static" } else { quant };
        let both = first(&[(backend, quant), (backend, with_scales)])?;
        return Some(Selection { products: both, attention: both });
    }
    let products = first(weight_variants(shape))?;
    let fits = |quant: &str| cache_format(quant) == shape.kv_dtype;
    let own = &library.configurations[products];
    if own.backend == backend && fits(&own.quant) {
        return Some(Selection { products, attention: products });
    }
    // Experts have no part in attention: either layout will do.
    let any_layout = [MoeLayout::Dense, MoeLayout::TensorParallel, MoeLayout::ExpertParallel];
    let attention = any_layout.iter().find_map(|l| find(backend, *l, &fits))?;
    Some(Selection { products, attention })
}

/// Quantisations of the source that were measured for a worker, whatever its formats.
pub fn quantisations<'a>(library: &'a Library, shape: &WorkerShape) -> Vec<&'a str> {
    let mut found: Vec<&str> = Vec::new();
    for c in library.configurations.iter().filter(|c| c.backend == shape.backend.name() && is_of(c, shape)) {
        if !found.contains(&&*c.quant) {
            found.push(&c.quant);
        }
    }
    found
}

/// Whether a configuration has the worker's GPU, tensor-parallel size and architecture.
fn is_of(c: &Measured, shape: &WorkerShape) -> bool {
    c.system == shape.gpu.name
        && u32::from(c.tp) == shape.tp
        && catalog::model(&c.model).is_some_and(|m| m.same_architecture(&shape.model))
}

/// Tables (backend and quantisation) that stand for the worker's weight format, best first.
///
/// vLLM's `fp8_block` products carry 55 us (Hopper) to 230 us (Blackwell) of launch in every small
/// product, which the same products do not carry under SGLang, so per-tensor tables come first,
/// then SGLang's block tables. Except for mixtures of experts on Hopper, whose published
/// checkpoints are by blocks and really are that slow: of the 21 measured serving points of
/// Qwen3-235B-A22B-FP8 on H200 that ship with AI Configurator 0.12.0, block tables put TPOT 20%
/// too low in the median, per-tensor tables 39%. SGLang serves FP8 checkpoints as published, by
/// blocks.
fn weight_variants(shape: &WorkerShape) -> &'static [(&'static str, &'static str)] {
    let blackwell = shape.gpu.fp4_tflops.is_some();
    match (shape.backend, shape.dtype) {
        (Backend::Vllm, Dtype::Bf16) => &[("vllm", "bf16")],
        (Backend::Vllm, Dtype::Fp8) if shape.model.moe.is_some() && !blackwell => {
            &[("vllm", "fp8_block"), ("vllm", "fp8mix_kvbf16"), ("vllm", "fp8")]
        }
        (Backend::Vllm, Dtype::Fp8) => &[
            ("vllm", "fp8_static"),
            ("vllm", "fp8"),
            ("vllm", "fp8_kvbf16"),
            ("vllm", "fp8mix_kvbf16"),
            ("sglang", "fp8_block"),
        ],
        (Backend::Vllm, Dtype::Nvfp4) => &[("vllm", "nvfp4")],
        (Backend::Sglang, Dtype::Bf16) => &[("sglang", "bf16")],
        (Backend::Sglang, Dtype::Fp8) => {
            &[("sglang", "fp8_block"), ("sglang", "fp8"), ("sglang", "fp8_static"), ("sglang", "fp8mix_kvbf16")]
        }
        (Backend::Sglang, Dtype::Nvfp4) => &[("sglang", "nvfp4")],
        (Backend::Trtllm, Dtype::Bf16) => &[("trtllm", "bf16")],
        (Backend::Trtllm, Dtype::Fp8) => {
            &[("trtllm", "fp8_block"), ("trtllm", "fp8_static"), ("trtllm", "fp8_block_kvbf16")]
        }
        (Backend::Trtllm, Dtype::Nvfp4) => &[("trtllm", "nvfp4")],
        (Backend::Vllm, Dtype::Mxfp4) => &[("vllm", "mxfp4"), ("vllm", "mxfp4_kvfp8")],
        (Backend::Trtllm, Dtype::Mxfp4) => &[("trtllm", "mxfp4_mxfp8_kvfp8"), ("trtllm", "mxfp4")],
        (Backend::Sglang, Dtype::Mxfp4) => &[],
    }
}

/// Format of the KV cache under a quantisation of the source.
fn cache_format(quant: &str) -> Dtype {
    if Quant::parse(quant).is_some_and(|q| q.kv_fp8) { Dtype::Fp8 } else { Dtype::Bf16 }
}
