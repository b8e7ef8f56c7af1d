//! Number formats as the tables name them, and the combinations that a worker runs.

use crate::catalog::{Backend, Dtype};

/// Format of a matrix product or of experts, in the tables' words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Format {
    Bf16,
    /// 8-bit floats, activations scaled as they come.
    Fp8,
    /// 8-bit floats with scales from the checkpoint.
    Fp8Static,
    /// 8-bit floats with a scale per block of 128 x 128 weights.
    Fp8Block,
    Nvfp4,
    /// 4-bit integers, weights only.
    Int4,
    /// MXFP4 weights, bfloat16 activations.
    Mxfp4,
    /// MXFP4 weights, MXFP8 activations.
    Mxfp4Mxfp8,
}

/// Which matrix rate of the GPU a format computes at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    Bf16,
    Fp8,
    Fp4,
}

impl Format {
    /// The name in the tables.
    pub fn name(self) -> &'static str {
        match self {
            Format::Bf16 => "bfloat16",
            Format::Fp8 => "fp8",
            Format::Fp8Static => "fp8_static",
            Format::Fp8Block => "fp8_block",
            Format::Nvfp4 => "nvfp4",
            Format::Int4 => "int4_wo",
            Format::Mxfp4 => "w4a16_mxfp4",
            Format::Mxfp4Mxfp8 => "w4a8_mxfp4_mxfp8",
        }
    }

    /// Bytes of a value.
    pub fn bytes(self) -> f64 {
        match self {
            Format::Bf16 => 2.0,
            Format::Fp8 | Format::Fp8Static | Format::Fp8Block => 1.0,
            Format::Nvfp4 => 9.0 / 16.0,
            Format::Int4 | Format::Mxfp4 | Format::Mxfp4Mxfp8 => 0.5,
        }
    }

    /// The rate of its arithmetic.
    pub fn rate(self) -> Rate {
        match self {
            Format::Bf16 | Format::Int4 | Format::Mxfp4 => Rate::Bf16,
            Format::Fp8 | Format::Fp8Static | Format::Fp8Block | Format::Mxfp4Mxfp8 => Rate::Fp8,
            Format::Nvfp4 => Rate::Fp4,
        }
    }
}

/// The formats of one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quant {
    /// Matrix products outside the experts.
    pub products: Format,
    pub experts: Format,
    /// KV cache: bfloat16 or 8-bit.
    pub kv_fp8: bool,
}

/// Names of weight formats as users write them: products, experts.
const NAMED: &[(&str, Format, Format)] = &[
    ("bf16", Format::Bf16, Format::Bf16),
    ("fp8", Format::Fp8, Format::Fp8),
    ("fp8_static", Format::Fp8Static, Format::Fp8),
    ("fp8_block", Format::Fp8Block, Format::Fp8Block),
    ("fp8mix", Format::Fp8, Format::Fp8Block),
    ("nvfp4", Format::Nvfp4, Format::Nvfp4),
    ("int4", Format::Bf16, Format::Int4),
    ("mxfp4", Format::Bf16, Format::Mxfp4),
    ("mxfp4_mxfp8", Format::Bf16, Format::Mxfp4Mxfp8),
];

impl Quant {
    /// A quantisation by name, such as `fp8_block` or `fp8_kvbf16`: quantised weights bring an
    /// 8-bit cache unless `_kvbf16` says otherwise; `_kvfp8` asks for one.
    pub fn parse(name: &str) -> Option<Quant> {
        let (weights, kv_fp8) = match (name.strip_suffix("_kvbf16"), name.strip_suffix("_kvfp8")) {
            (Some(weights), _) => (weights, false),
            (_, Some(weights)) => (weights, true),
            _ => (name, !matches!(name, "bf16" | "int4" | "mxfp4" | "mxfp4_mxfp8")),
        };
        let (_, products, experts) = NAMED.iter().find(|(n, ..)| *n == weights)?;
        Some(Quant { products: *products, experts: *experts, kv_fp8 })
    }

    /// The name that [`Quant::parse`] reads.
    pub fn name(&self) -> String {
        let found = NAMED.iter().find(|(_, p, e)| *p == self.products && *e == self.experts);
        let weights = found.map_or("mixed", |(name, ..)| name);
        match Quant::parse(weights) {
            Some(plain) if plain.kv_fp8 == self.kv_fp8 => weights.to_owned(),
            _ => format!("{weights}_{}", if self.kv_fp8 { "kvfp8" } else { "kvbf16" }),
        }
    }

    /// Names of weight formats that [`Quant::parse`] knows.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMED.iter().map(|(name, ..)| *name)
    }

    /// The cache's name in the tables.
    pub fn kv_name(&self) -> &'static str {
        if self.kv_fp8 { "fp8" } else { "bfloat16" }
    }

    /// Bytes of a cached value.
    pub fn kv_bytes(&self) -> f64 {
        if self.kv_fp8 { 1.0 } else { 2.0 }
    }
}

/// Weight formats that stand for a worker's, best first (see `surface::select` for the reasons).
pub fn variants(backend: Backend, dtype: Dtype, is_moe: bool, is_blackwell: bool) -> &'static [&'static str] {
    match (backend, dtype) {
        (_, Dtype::Bf16) => &["bf16"],
        (_, Dtype::Nvfp4) => &["nvfp4"],
        (Backend::Vllm, Dtype::Fp8) if is_moe && !is_blackwell => &["fp8_block", "fp8"],
        (Backend::Vllm, Dtype::Fp8) => &["fp8_static", "fp8", "fp8_block"],
        (Backend::Sglang | Backend::Trtllm, Dtype::Fp8) => &["fp8_block", "fp8", "fp8_static"],
        (Backend::Trtllm, Dtype::Mxfp4) if is_blackwell => &["mxfp4_mxfp8", "mxfp4"],
        (_, Dtype::Mxfp4) => &["mxfp4", "mxfp4_mxfp8"],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for weights in Quant::names() {
            for suffix in ["", "_kvbf16", "_kvfp8"] {
                let quant = Quant::parse(&format!("{weights}{suffix}")).unwrap();
                assert_eq!(Quant::parse(&quant.name()), Some(quant), "{weights}{suffix}");
            }
        }
        assert_eq!(Quant::parse("fp8_kvbf16").unwrap().name(), "fp8_kvbf16");
        assert_eq!(Quant::parse("bf16_kvbf16").unwrap().name(), "bf16");
        assert_eq!(Quant::parse("fp7"), None);
    }
}
