//! From a measured database to the packed library.
//!
//! Every embedded configuration is composed operator by operator, decomposed, thinned and
//! quantised. The same tables give the same bytes: nothing depends on the order of threads or on
//! the clock.

use std::path::Path;

use rayon::prelude::*;

use super::library::{Axes, Curve, Library, Measured, MoeLayout, encode_ms};
use crate::catalog::{self, Backend, Dtype};
use crate::timing::WorkerShape;
use crate::timing::perfdb::format::Quant;
use crate::timing::perfdb::{self, Composition};

/// Said of the tables wherever they are shown.
const ATTRIBUTION: &str = "Derived from the measured operator tables of NVIDIA AI Configurator 0.12.0 \
(aiconfigurator-core, https://github.com/ai-dynamo/aiconfigurator), Apache-2.0, Copyright NVIDIA \
CORPORATION & AFFILIATES; modified: composed into passes, decomposed, thinned to 0.5% and quantised.";

/// A straight line between kept knots departs from the measured curve by at most this.
const TOLERANCE: f64 = 0.005;
/// Largest pass and largest batch on a curve.
const MOST_TOKENS: u32 = 131_072;
const MOST_SEQS: u32 = 2048;

/// Which configurations are embedded: the models whose grids are checked against AI Configurator's,
/// and those that the public serving measurements beside it have.
struct Wanted {
    gpus: &'static [&'static str],
    backends: &'static [&'static str],
    model: &'static str,
    quants: &'static [&'static str],
    layout: MoeLayout,
    tps: &'static [u8],
}

const HOPPER: &[&str] = &["h100_sxm", "h200_sxm"];
const H200: &[&str] = &["h200_sxm"];
const BLACKWELL: &[&str] = &["b200_sxm"];
const ALL: &[&str] = &["h100_sxm", "h200_sxm", "b200_sxm"];
const GRIDS: &[&str] = &["vllm", "sglang"];
const VLLM: &[&str] = &["vllm"];
const TRTLLM: &[&str] = &["trtllm"];
const EVERY: &[u8] = &[1, 2, 4, 8];
const SHARED: &[u8] = &[2, 4, 8];

const fn dense(
    gpus: &'static [&'static str],
    backends: &'static [&'static str],
    model: &'static str,
    quants: &'static [&'static str],
) -> Wanted {
    Wanted { gpus, backends, model, quants, layout: MoeLayout::Dense, tps: EVERY }
}

const fn split(
    gpus: &'static [&'static str],
    backends: &'static [&'static str],
    model: &'static str,
    quants: &'static [&'static str],
    tps: &'static [u8],
) -> Wanted {
    Wanted { gpus, backends, model, quants, layout: MoeLayout::TensorParallel, tps }
}

const fn whole(
    gpus: &'static [&'static str],
    backends: &'static [&'static str],
    model: &'static str,
    quants: &'static [&'static str],
) -> Wanted {
    Wanted { gpus, backends, model, quants, layout: MoeLayout::ExpertParallel, tps: SHARED }
}

const QWEN_32B: &str = "Qwen/Qwen3-32B";
const QWEN_30B: &str = "Qwen/Qwen3-30B-A3B";
const QWEN_235B: &str = "Qwen/Qwen3-235B-A22B";
const LLAMA_8B: &str = "meta-llama/Llama-3.1-8B";
const LLAMA_70B: &str = "meta-llama/Llama-3.1-70B";
const MINIMAX: &str = "MiniMaxAI/MiniMax-M2.5";
const GPT_OSS: &str = "openai/gpt-oss-120b";

const WANTED: &[Wanted] = &[
    dense(ALL, GRIDS, QWEN_32B, &["bf16", "fp8_block", "fp8_static", "fp8_block_kvbf16", "fp8_kvbf16"]),
    dense(ALL, GRIDS, LLAMA_70B, &["fp8_static", "bf16"]),
    dense(ALL, GRIDS, LLAMA_8B, &["bf16"]),
    split(ALL, GRIDS, QWEN_30B, &["bf16"], EVERY),
    whole(ALL, GRIDS, QWEN_30B, &["bf16", "fp8_block"]),
    split(ALL, GRIDS, QWEN_30B, &["fp8_block"], &[1, 2]),
    split(ALL, GRIDS, QWEN_235B, &["bf16"], EVERY),
    split(ALL, GRIDS, QWEN_235B, &["fp8_block", "fp8mix_kvbf16"], &[1, 2, 4]),
    whole(ALL, GRIDS, QWEN_235B, &["fp8_block", "fp8mix_kvbf16"]),
    split(BLACKWELL, GRIDS, QWEN_235B, &["nvfp4"], EVERY),
    whole(BLACKWELL, GRIDS, QWEN_235B, &["nvfp4"]),
    dense(HOPPER, TRTLLM, QWEN_32B, &["bf16", "fp8_block"]),
    dense(ALL, TRTLLM, LLAMA_8B, &["bf16"]),
    dense(ALL, TRTLLM, LLAMA_70B, &["fp8_static"]),
    dense(BLACKWELL, TRTLLM, LLAMA_70B, &["nvfp4"]),
    dense(BLACKWELL, VLLM, LLAMA_70B, &["nvfp4"]),
    split(HOPPER, TRTLLM, QWEN_235B, &["fp8_block", "fp8_block_kvbf16"], &[4]),
    whole(HOPPER, TRTLLM, QWEN_235B, &["fp8_block", "fp8_block_kvbf16"]),
    split(BLACKWELL, VLLM, MINIMAX, &["fp8"], &[1, 2, 4]),
    split(BLACKWELL, VLLM, MINIMAX, &["nvfp4"], EVERY),
    whole(BLACKWELL, VLLM, MINIMAX, &["fp8", "nvfp4"]),
    split(HOPPER, VLLM, MINIMAX, &["fp8_block"], &[2, 4]),
    whole(HOPPER, VLLM, MINIMAX, &["fp8_block"]),
    // Blocks of 128 do not divide its experts by 8.
    split(H200, VLLM, MINIMAX, &["fp8"], &[8]),
    split(ALL, VLLM, GPT_OSS, &["mxfp4", "mxfp4_kvfp8"], EVERY),
    split(H200, TRTLLM, GPT_OSS, &["mxfp4"], &[1]),
    split(BLACKWELL, TRTLLM, GPT_OSS, &["mxfp4_mxfp8_kvfp8"], &[1]),
];

/// The axes of attention: batches are powers of two, lengths on the boundaries of cells.
fn decode_axes() -> Axes {
    let length = [
        16, 32, 64, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 12_288, 16_384, 24_576,
        32_768, 49_152, 65_536, 98_304, 131_072,
    ];
    Axes { batch: (0..11).map(|i| 1 << i).collect(), length: length.into() }
}

fn context_axes() -> Axes {
    let length = [
        16, 32, 64, 128, 256, 512, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 10_240, 12_288, 16_384, 32_768, 65_536,
        131_072,
    ];
    Axes { batch: (0..6).map(|i| 1 << i).collect(), length: length.into() }
}

/// One configuration, composed.
struct Distilled {
    measured: Measured,
    tokens: Curve,
    sampled: Curve,
    decode: Vec<u16>,
    context: Vec<u16>,
}

/// The embedded configurations out of a database (see [`perfdb::locate`]), and what was wanted but
/// not measured.
///
/// # Errors
/// When the database cannot be read.
pub fn from_database(directory: &Path) -> Result<(Library, Vec<String>), String> {
    perfdb::locate(directory)?;
    let mut asked = Vec::new();
    for wanted in WANTED {
        for &gpu in wanted.gpus {
            for &backend in wanted.backends {
                for &quant in wanted.quants {
                    asked.extend(wanted.tps.iter().map(|&tp| (wanted, gpu, backend, quant, tp)));
                }
            }
        }
    }
    let (decode_axes, context_axes) = (decode_axes(), context_axes());
    let distilled: Vec<Result<Distilled, String>> = asked
        .par_iter()
        .map(|&(wanted, gpu, backend, quant, tp)| {
            distil(directory, wanted, gpu, backend, quant, tp, &decode_axes, &context_axes)
                .map_err(|e| format!("{gpu} {backend} {} {quant} tp {tp}: {e}", wanted.model))
        })
        .collect();
    let mut library = Library { attribution: ATTRIBUTION.into(), decode_axes, context_axes, ..Library::default() };
    let mut missing = Vec::new();
    for one in distilled {
        match one {
            Err(reason) => missing.push(reason),
            Ok(one) => {
                let tokens_curve = index_of(&mut library.curves, one.tokens)?;
                let sampled_curve = index_of(&mut library.curves, one.sampled)?;
                let decode_table = index_of(&mut library.decode_tables, one.decode)?;
                let context_table = index_of(&mut library.context_tables, one.context)?;
                library.configurations.push(Measured {
                    tokens_curve,
                    sampled_curve,
                    decode_table,
                    context_table,
                    ..one.measured
                });
            }
        }
    }
    Ok((library, missing))
}

#[allow(clippy::too_many_arguments, reason = "one configuration is that many words")]
fn distil(
    directory: &Path,
    wanted: &Wanted,
    gpu: &str,
    backend: &str,
    quant: &str,
    tp: u8,
    decode_axes: &Axes,
    context_axes: &Axes,
) -> Result<Distilled, String> {
    let parsed = Quant::parse(quant).ok_or("no such quantisation")?;
    let shape = WorkerShape {
        model: catalog::model(wanted.model).ok_or("not in the catalogue")?.clone(),
        gpu: catalog::gpu(gpu).ok_or("not in the catalogue")?.clone(),
        backend: Backend::parse(backend).ok_or("no such backend")?,
        // Number formats are those of the quantisation.
        dtype: Dtype::Bf16,
        kv_dtype: if parsed.kv_fp8 { Dtype::Fp8 } else { Dtype::Bf16 },
        tp: tp.into(),
    };
    let db = perfdb::open(directory, gpu, shape.backend, None)?;
    let c = Composition::new(&db, &shape, parsed, wanted.layout == MoeLayout::ExpertParallel)?;
    if c.decodes_apart() {
        return Err("passes that only decode have other operators, which the packed form cannot hold".into());
    }
    let layers = f64::from(shape.model.layers);
    let table = |axes: &Axes, ms: &dyn Fn(f64, f64) -> f64| -> Result<Vec<u16>, String> {
        let cells = axes.batch.iter().flat_map(|&b| axes.length.iter().map(move |&l| (f64::from(b), f64::from(l))));
        cells.map(|(b, l)| encode(ms(b, l) / layers)).collect()
    };
    Ok(Distilled {
        tokens: thinned(&c.token_knots(MOST_TOKENS), &|x| c.tokens_ms(x))?,
        sampled: thinned(&c.sampled_knots(MOST_SEQS), &|x| c.sampled_ms(x))?,
        decode: table(decode_axes, &|b, l| c.decode_attention_ms(b, l))?,
        context: table(context_axes, &|b, l| c.prefill_attention_ms(b, l))?,
        measured: Measured {
            system: gpu.into(),
            backend: backend.into(),
            version: db.version().into(),
            model: wanted.model.into(),
            quant: quant.into(),
            moe: wanted.layout,
            tp,
            layers: u8::try_from(shape.model.layers).map_err(|_| "too many layers")?,
            prefill_samples: c.prefill_samples(),
            context_constant_ms: c.context_constant_ms() as f32,
            tokens_curve: 0,
            sampled_curve: 0,
            decode_table: 0,
            context_table: 0,
        },
    })
}

fn encode(ms: f64) -> Result<u16, String> {
    encode_ms(ms).ok_or_else(|| format!("{ms} ms is out of range"))
}

/// A curve at as few of its knots as keep the tolerance: the worst is added until none is off.
fn thinned(knots: &[u32], ms: &dyn Fn(f64) -> f64) -> Result<Curve, String> {
    let points: Vec<(f64, f64)> = knots.iter().map(|&k| (f64::from(k), ms(k.into()))).collect();
    let mut kept = vec![true; points.len()];
    kept[1..points.len() - 1].fill(false);
    loop {
        let mut worst = (TOLERANCE, None);
        let mut left = 0;
        for right in (1..points.len()).filter(|&i| kept[i]) {
            let (a, b) = (points[left], points[right]);
            for (i, &(x, y)) in points.iter().enumerate().take(right).skip(left + 1) {
                let line = a.1 + (b.1 - a.1) * (x - a.0) / (b.0 - a.0);
                let error = (line / y - 1.0).abs();
                if error > worst.0 {
                    worst = (error, Some(i));
                }
            }
            left = right;
        }
        match worst.1 {
            Some(i) => kept[i] = true,
            None => break,
        }
    }
    let chosen = || points.iter().zip(&kept).filter(|(_, kept)| **kept).map(|(point, _)| *point);
    Ok(Curve {
        knots: chosen().map(|(x, _)| x as u32).collect(),
        codes: chosen().map(|(_, y)| encode(y)).collect::<Result<_, _>>()?,
    })
}

/// Where an equal item lies in the list, appending it if there is none.
fn index_of<T: PartialEq>(list: &mut Vec<T>, item: T) -> Result<u16, String> {
    let index = list.iter().position(|other| *other == item).unwrap_or_else(|| {
        list.push(item);
        list.len() - 1
    });
    u16::try_from(index).map_err(|_| "too many tables".into())
}
