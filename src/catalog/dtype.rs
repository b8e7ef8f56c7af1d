//! Number formats of weights and KV cache.

use serde::Serialize;

/// How weights, or the KV cache, are stored. Embedding, language-model head and router stay
/// bfloat16 under every format, as servers keep them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// bfloat16, or float16: two bytes, the same peak rate.
    Bf16,
    /// 8-bit floats (E4M3), scales aside.
    Fp8,
    /// NVFP4: 4 bits and one 8-bit scale for 16 values.
    Nvfp4,
    /// MXFP4 experts (4 bits and one 8-bit scale for 32 values), everything else bfloat16: the
    /// checkpoints of gpt-oss.
    Mxfp4,
}

impl Dtype {
    /// Every format.
    pub const ALL: [Dtype; 4] = [Dtype::Bf16, Dtype::Fp8, Dtype::Nvfp4, Dtype::Mxfp4];

    /// The name in TOML and reports.
    pub fn name(self) -> &'static str {
        match self {
            Dtype::Bf16 => "bf16",
            Dtype::Fp8 => "fp8",
            Dtype::Nvfp4 => "nvfp4",
            Dtype::Mxfp4 => "mxfp4",
        }
    }

    /// The format with this name; `bfloat16`, `float16`, `fp16` and `fp4` are understood too.
    pub fn parse(name: &str) -> Option<Dtype> {
        match name {
            "bfloat16" | "float16" | "fp16" => Some(Dtype::Bf16),
            "fp4" => Some(Dtype::Nvfp4),
            _ => Dtype::ALL.into_iter().find(|d| d.name() == name),
        }
    }

    /// Bytes of one weight outside the experts, block scales included.
    pub fn dense_bytes(self) -> f64 {
        match self {
            Dtype::Bf16 | Dtype::Mxfp4 => 2.0,
            Dtype::Fp8 => 1.0,
            Dtype::Nvfp4 => 9.0 / 16.0,
        }
    }

    /// Bytes of one expert weight, block scales included.
    pub fn expert_bytes(self) -> f64 {
        match self {
            Dtype::Bf16 => 2.0,
            Dtype::Fp8 => 1.0,
            Dtype::Nvfp4 => 9.0 / 16.0,
            Dtype::Mxfp4 => 17.0 / 32.0,
        }
    }

    /// Bytes of one KV-cache element; `None` where engines keep no cache in this format.
    pub fn kv_bytes(self) -> Option<u32> {
        match self {
            Dtype::Bf16 => Some(2),
            Dtype::Fp8 => Some(1),
            Dtype::Nvfp4 | Dtype::Mxfp4 => None,
        }
    }
}
