//! What a GPU is.

use std::borrow::Cow;

use serde::Serialize;

use super::Dtype;

/// A GPU as a server holds it. Rates are dense (no structured sparsity) data-sheet peaks; decimal
/// units except memory.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GpuSpec {
    /// Name in TOML and reports, such as `h200_sxm`.
    pub name: Cow<'static, str>,
    /// Other names that mean the same.
    pub aliases: Cow<'static, [&'static str]>,
    /// Memory, GiB.
    pub memory_gib: f64,
    /// Memory bandwidth, TB/s.
    pub hbm_tbps: f64,
    /// bfloat16 matrix rate, TFLOP/s.
    pub bf16_tflops: f64,
    /// 8-bit float matrix rate, TFLOP/s; `None` where tensor cores lack it.
    pub fp8_tflops: Option<f64>,
    /// 4-bit float matrix rate, TFLOP/s; `None` where tensor cores lack it.
    pub fp4_tflops: Option<f64>,
    /// NVLink bandwidth per direction, GB/s; `None` where GPUs talk over PCIe.
    pub nvlink_gbps: Option<f64>,
    /// PCIe bandwidth per direction, GB/s.
    pub pcie_gbps: f64,
    /// GPUs in one server.
    pub gpus_per_node: u32,
    /// GPUs that reach each other at `nvlink_gbps` (at PCIe speed where there is no NVLink): the
    /// largest tensor-parallel group that is modelled.
    pub link_domain: u32,
    /// Default price of one GPU for one hour, US dollars.
    pub usd_per_gpu_hour: f64,
    /// Whose price that is, and of which date.
    pub price_source: Cow<'static, str>,
    /// Where the other figures come from.
    pub source: Cow<'static, str>,
}

impl GpuSpec {
    /// Peak matrix rate in TFLOP/s for activations in the widest format that the tensor cores can
    /// use with weights of this format: weight-only kernels compute in bfloat16.
    pub fn tflops(&self, weights: Dtype) -> f64 {
        match weights {
            Dtype::Bf16 => self.bf16_tflops,
            Dtype::Fp8 => self.fp8_tflops.unwrap_or(self.bf16_tflops),
            Dtype::Nvfp4 => self.fp4_tflops.unwrap_or(self.bf16_tflops),
            // Blackwell runs MXFP4 experts with 8-bit activations, older GPUs weight-only.
            Dtype::Mxfp4 if self.fp4_tflops.is_some() => self.fp8_tflops.unwrap_or(self.bf16_tflops),
            Dtype::Mxfp4 => self.bf16_tflops,
        }
    }

    /// Bandwidth between two GPUs of one tensor-parallel group, GB/s per direction.
    pub fn link_gbps(&self) -> f64 {
        self.nvlink_gbps.unwrap_or(self.pcie_gbps)
    }
}
