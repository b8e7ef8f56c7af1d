//! The GPUs that the catalogue knows.
//!
//! Rates are NVIDIA's data-sheet figures without sparsity. Memory is the marketed capacity read as
//! GiB, which is what the drivers report to within 1% (an H100 shows 79.6 GiB, an H200 140.4, a
//! B200 179.1); the A100, H100, H200, B200 and L40S values and bandwidths are those of the system
//! files of NVIDIA AI Configurator 0.12.0 (Apache-2.0), so that its KV capacities can be compared.
//! Prices are on-demand list prices of one GPU rental cloud on the stated date: a starting point
//! for users who have not given their own.

use std::borrow::Cow;
use std::sync::LazyLock;

use super::{GpuSpec, nearest};

const RUNPOD_2026_03: &str = "RunPod on-demand list price, March 2026";

fn named(
    name: &'static str,
    aliases: &'static [&'static str],
    source: &'static str,
    price: (f64, &'static str),
) -> GpuSpec {
    GpuSpec {
        name: Cow::Borrowed(name),
        aliases: Cow::Borrowed(aliases),
        memory_gib: 0.0,
        hbm_tbps: 0.0,
        bf16_tflops: 0.0,
        fp8_tflops: None,
        fp4_tflops: None,
        nvlink_gbps: None,
        pcie_gbps: 0.0,
        gpus_per_node: 8,
        link_domain: 8,
        usd_per_gpu_hour: price.0,
        price_source: Cow::Borrowed(price.1),
        source: Cow::Borrowed(source),
    }
}

static GPUS: LazyLock<[GpuSpec; 6]> = LazyLock::new(|| {
    [
        GpuSpec {
            memory_gib: 80.0,
            hbm_tbps: 2.039,
            bf16_tflops: 312.0,
            nvlink_gbps: Some(300.0),
            pcie_gbps: 32.0,
            ..named(
                "a100_sxm",
                &["a100", "a100_80gb", "a100_sxm4_80gb"],
                "NVIDIA A100 80GB SXM data sheet",
                (1.39, RUNPOD_2026_03),
            )
        },
        GpuSpec {
            memory_gib: 80.0,
            hbm_tbps: 3.35,
            bf16_tflops: 989.0,
            fp8_tflops: Some(1978.0),
            nvlink_gbps: Some(450.0),
            pcie_gbps: 64.0,
            ..named("h100_sxm", &["h100", "h100_80gb"], "NVIDIA H100 SXM data sheet", (2.69, RUNPOD_2026_03))
        },
        GpuSpec {
            memory_gib: 141.0,
            hbm_tbps: 4.8,
            bf16_tflops: 989.0,
            fp8_tflops: Some(1978.0),
            nvlink_gbps: Some(450.0),
            pcie_gbps: 64.0,
            ..named("h200_sxm", &["h200", "h200_141gb"], "NVIDIA H200 SXM data sheet", (3.59, RUNPOD_2026_03))
        },
        GpuSpec {
            memory_gib: 180.0,
            hbm_tbps: 7.7,
            bf16_tflops: 2250.0,
            fp8_tflops: Some(4500.0),
            fp4_tflops: Some(9000.0),
            nvlink_gbps: Some(900.0),
            pcie_gbps: 128.0,
            ..named("b200_sxm", &["b200", "b200_180gb"], "NVIDIA DGX/HGX B200 data sheet", (5.98, RUNPOD_2026_03))
        },
        GpuSpec {
            memory_gib: 186.0,
            hbm_tbps: 8.0,
            bf16_tflops: 2500.0,
            fp8_tflops: Some(5000.0),
            fp4_tflops: Some(10_000.0),
            nvlink_gbps: Some(900.0),
            pcie_gbps: 128.0,
            gpus_per_node: 4,
            link_domain: 72,
            ..named(
                "gb200",
                &["gb200_nvl72", "gb200_sxm"],
                "NVIDIA GB200 NVL72 data sheet (per GPU: rack figures over 72)",
                (4.54, "Spheron on-demand, 17 March 2026: 9.08 per two-GPU superchip"),
            )
        },
        GpuSpec {
            memory_gib: 45.0,
            hbm_tbps: 0.864,
            bf16_tflops: 362.0,
            fp8_tflops: Some(733.0),
            pcie_gbps: 32.0,
            ..named("l40s", &["l40s_48gb"], "NVIDIA L40S data sheet", (0.79, RUNPOD_2026_03))
        },
    ]
});

/// Every GPU of the catalogue.
pub fn gpus() -> &'static [GpuSpec] {
    &*GPUS
}

/// The GPU with this name or alias, ignoring case.
pub fn gpu(name: &str) -> Option<&'static GpuSpec> {
    let is = |candidate: &str| candidate.eq_ignore_ascii_case(name);
    GPUS.iter().find(|g| is(&g.name) || g.aliases.iter().any(|a| is(a)))
}

/// The catalogue name closest to a mistyped one.
pub fn nearest_gpu(name: &str) -> &'static str {
    nearest(name, GPUS.iter().map(|g| g.name.as_ref())).expect("the catalogue has GPUs")
}
