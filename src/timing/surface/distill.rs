//! From decomposed surfaces as JSON to the packed library.

use std::collections::HashMap;

use serde::Deserialize;

use super::cells;
use super::library::{Axes, Curve, Library, Measured, MoeLayout, encode_ms};
use crate::catalog;

/// Said of the tables wherever they are shown.
const ATTRIBUTION: &str = "Derived from the measured operator tables of NVIDIA AI Configurator 0.12.0 \
(aiconfigurator-core, https://github.com/ai-dynamo/aiconfigurator), Apache-2.0, Copyright NVIDIA \
CORPORATION & AFFILIATES; modified: composed into passes, decomposed, thinned to 0.5% and quantised.";

#[derive(Deserialize)]
struct Surfaces {
    dec_axes: DecodeAxes,
    ctx_axes: ContextAxes,
    attn_tables: HashMap<String, Vec<f64>>,
    configs: Vec<Config>,
}

#[derive(Deserialize)]
struct DecodeAxes {
    batch: Vec<u32>,
    context: Vec<u32>,
}

#[derive(Deserialize)]
struct ContextAxes {
    batch: Vec<u32>,
    full_seq: Vec<u32>,
}

#[derive(Deserialize)]
#[allow(non_snake_case, reason = "field names of the source")]
struct Config {
    system: String,
    backend: String,
    version: String,
    hf_path: String,
    quant: String,
    moe_mode: Option<String>,
    tp: u8,
    layers: u8,
    ctx_attn_const_ms: f32,
    prefill_has_logits: bool,
    F_tokens: Vec<u32>,
    F_ms: Vec<f64>,
    L_seqs: Vec<u32>,
    L_ms: Vec<f64>,
    dec_attn: String,
    ctx_attn: String,
}

/// Reads decomposed surfaces (`surfaces.json`: axes, attention tables by name, and for every
/// configuration its token and sampling curves and the names of its attention tables; durations in
/// ms, attention per layer). Equal tables are kept once; the order is the source's.
///
/// # Errors
/// When the JSON has another form, a duration is out of range, or a model is not in the catalogue.
pub fn from_json(json: &[u8]) -> Result<Library, String> {
    let source: Surfaces = serde_json::from_slice(json).map_err(|e| format!("not decomposed surfaces: {e}"))?;
    let mut library = Library {
        attribution: ATTRIBUTION.into(),
        decode_axes: Axes { batch: source.dec_axes.batch, length: source.dec_axes.context },
        context_axes: Axes { batch: source.ctx_axes.batch, length: source.ctx_axes.full_seq },
        ..Library::default()
    };
    cells::check_axes::<2>(&library.decode_axes).map_err(|e| format!("dec_axes: {e}"))?;
    cells::check_axes::<4>(&library.context_axes).map_err(|e| format!("ctx_axes: {e}"))?;
    for config in source.configs {
        let model =
            catalog::model(&config.hf_path).ok_or_else(|| format!("the catalogue has no model {}", config.hf_path))?;
        let place =
            format!("{} {} {} {} tp {}", config.system, config.backend, config.hf_path, config.quant, config.tp);
        let at = |e: String| format!("{place}: {e}");
        let curve = |knots: Vec<u32>, ms: &[f64]| {
            if knots.len() != ms.len() || knots.len() < 2 || !knots.is_sorted_by(|a, b| a < b) {
                return Err(at("a curve needs two or more increasing knots with one duration each".into()));
            }
            Ok(Curve { knots, codes: encode(ms).map_err(at)? })
        };
        let tokens_curve = index_of(&mut library.curves, curve(config.F_tokens, &config.F_ms)?)?;
        let sampled_curve = index_of(&mut library.curves, curve(config.L_seqs, &config.L_ms)?)?;
        let table = |name: &str, axes: &Axes| {
            let ms = source.attn_tables.get(name).ok_or_else(|| at(format!("there is no attention table {name}")))?;
            if ms.len() != axes.batch.len() * axes.length.len() {
                return Err(at(format!("attention table {name} does not fill its axes")));
            }
            encode(ms).map_err(at)
        };
        let decode = table(&config.dec_attn, &library.decode_axes)?;
        let context = table(&config.ctx_attn, &library.context_axes)?;
        let moe = match config.moe_mode.as_deref() {
            None => MoeLayout::Dense,
            Some("tp") => MoeLayout::TensorParallel,
            Some("ep") => MoeLayout::ExpertParallel,
            Some(other) => return Err(at(format!("unknown expert layout {other}"))),
        };
        library.configurations.push(Measured {
            system: config.system,
            backend: config.backend,
            version: config.version,
            model: model.name.to_string(),
            quant: config.quant,
            moe,
            tp: config.tp,
            layers: config.layers,
            prefill_samples: config.prefill_has_logits,
            context_constant_ms: config.ctx_attn_const_ms,
            tokens_curve,
            sampled_curve,
            decode_table: index_of(&mut library.decode_tables, decode)?,
            context_table: index_of(&mut library.context_tables, context)?,
        });
    }
    Ok(library)
}

fn encode(ms: &[f64]) -> Result<Vec<u16>, String> {
    ms.iter().map(|&v| encode_ms(v).ok_or_else(|| format!("{v} ms is out of range"))).collect()
}

/// Where an equal item lies in the list, appending it if there is none.
fn index_of<T: PartialEq>(list: &mut Vec<T>, item: T) -> Result<u16, String> {
    let index = list.iter().position(|other| *other == item).unwrap_or_else(|| {
        list.push(item);
        list.len() - 1
    });
    u16::try_from(index).map_err(|_| "too many tables".into())
}
