//! What is not on a data sheet: efficiencies and overheads, fitted to the measured tables.
//!
//! `cargo test --release --test timing_roofline -- --ignored --nocapture` fits them again and
//! prints the errors quoted here. One set per weight format, shared by backends and GPUs: sets of
//! their own gain a point in the median and nothing on what was held out.

use crate::catalog::{Attention, Dtype};
use crate::timing::WorkerShape;

/// Efficiencies and overheads; everything that is not on a data sheet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coefficients {
    /// Share of peak memory bandwidth when reading dense weights.
    pub weight_bandwidth: f64,
    /// Share of peak memory bandwidth when reading expert weights.
    pub expert_bandwidth: f64,
    /// Share of the peak matrix rate in dense products.
    pub dense_compute: f64,
    /// Share of the peak matrix rate in expert products (imbalance, padding).
    pub expert_compute: f64,
    /// Share of peak memory bandwidth when reading the KV cache.
    pub kv_bandwidth: f64,
    /// Share of the peak bfloat16 rate in attention over a prompt.
    pub attention_compute: f64,
    /// Bytes that every token moves through memory per layer, in units of the residual's width at
    /// 2 bytes.
    pub token_traffic: f64,
    /// Launch and synchronisation per layer, microseconds.
    pub layer_us: f64,
    /// The same for a layer's experts, microseconds.
    pub expert_layer_us: f64,
    /// Additional per layer when a pass decodes, microseconds.
    pub decode_layer_us: f64,
    /// Additional per layer and decoding sequence, microseconds.
    pub decode_seq_us: f64,
    /// Additional per layer when a pass prefills, microseconds.
    pub prefill_layer_us: f64,
    /// Latency of one all-reduce, microseconds.
    pub allreduce_us: f64,
    /// Share of link bandwidth in an all-reduce.
    pub link_bandwidth: f64,
}

/// bfloat16 weights. Fit on 138 configurations of five models; on the 158 that there are now the median
/// error is 5.2%, 90% within 20%.
pub const BF16: Coefficients = Coefficients {
    weight_bandwidth: 0.866,
    expert_bandwidth: 0.890,
    dense_compute: 0.769,
    expert_compute: 0.247,
    kv_bandwidth: 0.914,
    attention_compute: 0.619,
    token_traffic: 23.2,
    layer_us: 18.5,
    expert_layer_us: 16.5,
    decode_layer_us: 17.3,
    decode_seq_us: 0.120,
    prefill_layer_us: 74.7,
    allreduce_us: 4.29,
    link_bandwidth: 0.870,
};

/// 8-bit weights. Fit on 208 configurations of five models: median error 6.7%, 90% within 22%.
pub const FP8: Coefficients = Coefficients {
    weight_bandwidth: 0.876,
    expert_bandwidth: 0.858,
    dense_compute: 0.630,
    expert_compute: 0.145,
    kv_bandwidth: 0.837,
    attention_compute: 0.693,
    token_traffic: 28.3,
    layer_us: 20.2,
    expert_layer_us: 20.3,
    decode_layer_us: 28.1,
    decode_seq_us: 0.138,
    prefill_layer_us: 92.1,
    allreduce_us: 3.21,
    link_bandwidth: 0.794,
};

/// 4-bit weights with 4-bit arithmetic. Fit on 29 configurations of three models: median error 5.9%, 90%
/// within 23%.
pub const FP4: Coefficients = Coefficients {
    weight_bandwidth: 0.658,
    expert_bandwidth: 0.950,
    dense_compute: 0.511,
    expert_compute: 0.194,
    kv_bandwidth: 0.871,
    attention_compute: 0.697,
    token_traffic: 39.7,
    layer_us: 24.1,
    expert_layer_us: 7.62,
    decode_layer_us: 19.6,
    decode_seq_us: 0.158,
    prefill_layer_us: 85.4,
    allreduce_us: 7.14,
    link_bandwidth: 0.686,
};

/// Share of the PCIe bandwidth that an all-reduce over so many GPUs has, and its latency, microseconds:
/// rings of four and more cross the processors. Of 32 GB/s, 20, 4.3 and 1.8 are left (NCCL 2.27.3 and the
/// servers' own all-reduces on L40S, in the tables of AI Configurator 0.12.0); as for eight beyond.
pub(super) fn pcie_allreduce(gpus: u32) -> (f64, f64) {
    const MEASURED: [(f64, f64); 3] = [(20.0, 7.0), (4.3, 12.0), (1.8, 20.0)];
    let octave = f64::from(gpus.clamp(2, 8)).log2() - 1.0;
    let (below, part) = ((octave as usize).min(1), octave - (octave as usize).min(1) as f64);
    let between = |a: f64, b: f64| a * (b / a).powf(part);
    let ((gbps, us), (next_gbps, next_us)) = (MEASURED[below], MEASURED[below + 1]);
    (between(gbps, next_gbps) / 32.0, between(us, next_us))
}

/// Nine of ten passes of a model, or of a GPU, that was left out of the fit came out within this,
/// percent (26 over models, 23 over GPUs and backends; median 7). The worst model was MiniMax-M2.5 in FP8,
/// 45, and Llama-3.1-70B in FP4, 77: with it goes the only dense model of that format.
const ERROR_OF_RELATIVES: f64 = 25.0;
/// Said where no relative was measured: other attention than grouped queries, other formats, other GPUs.
/// Of dense models on A100 and L40S nine of ten passes were within 34 and 21 of the tables of AI
/// Configurator 0.12.0, TP 1 to 8, vLLM and SGLang; for attention and formats it is a judgement.
const ERROR_OF_STRANGERS: f64 = 40.0;
/// The same of mixtures of experts in bfloat16 on such GPUs (A100 53, L40S 38).
const ERROR_OF_STRANGE_EXPERTS: f64 = 55.0;
/// The same in fewer bits, whose kernels those GPUs have late or not at all (L40S: 220; the median is 42, too
/// fast).
const ERROR_OF_STRANGE_SMALL_EXPERTS: f64 = 220.0;

impl Coefficients {
    /// The set for a worker: by the arithmetic that its weights allow on its GPU. Weight-only
    /// formats compute, and were measured, like bfloat16.
    pub fn of(shape: &WorkerShape) -> &'static Coefficients {
        let four_bit = shape.gpu.fp4_tflops.is_some();
        match shape.dtype {
            Dtype::Fp8 if shape.gpu.fp8_tflops.is_some() => &FP8,
            Dtype::Nvfp4 | Dtype::Mxfp4 if four_bit => &FP4,
            _ => &BF16,
        }
    }
}

/// The error to expect of an estimate, percent.
pub fn error_percent(shape: &WorkerShape) -> f64 {
    let gpu_is_related = shape.gpu.fp8_tflops.is_some() && shape.gpu.nvlink_gbps.is_some();
    match (gpu_is_related, shape.model.moe.is_some(), shape.dtype) {
        (false, true, Dtype::Bf16) => ERROR_OF_STRANGE_EXPERTS,
        (false, true, _) => ERROR_OF_STRANGE_SMALL_EXPERTS,
        (true, _, Dtype::Fp8 | Dtype::Bf16 | Dtype::Nvfp4) if shape.model.attention == Attention::Gqa => {
            ERROR_OF_RELATIVES
        }
        _ => ERROR_OF_STRANGERS,
    }
}
