//! The typed study out of a checked document: `[model]`, `[hardware]`, `[timing]`, `[search]`, `[sla]`,
//! and the rules that span several of their keys.
//!
//! `[workload]` is read in [`super::requests`], `[objectives]` and `[constraints]` in [`super::goals`].

use std::path::{Path, PathBuf};

use super::check::Checked;
use super::domains::Given;
use super::source::{Finding, Sources};
use super::{SearchSpec, Value};
use crate::catalog::{self, Attention, Dtype, GpuSpec, ModelSpec, MoeSpec};
use crate::timing::perfdb::{self, PerfDbOptions};
use crate::timing::surface::SurfaceOptions;
use crate::timing::{Calibration, TimingSpec};
use crate::twin::deployment::{Sla, Speculation};

/// `[model]`: the architecture and its number formats.
pub(crate) fn model(checked: &Checked, sources: &mut Sources) -> Option<(ModelSpec, Dtype, Dtype)> {
    let name = checked.text("model.name");
    let custom = checked.place("model.architecture").is_some();
    let spec = match &name {
        _ if custom => architecture(checked, name.as_deref().unwrap_or("custom"), sources)?,
        Some(name) => catalog::model(name)?.clone(),
        None => {
            if checked.place("model.name").is_none() && checked.place("model").is_some() {
                let why = "the twin must know which model is served";
                let remedy = "write name = \"Qwen/Qwen3-32B\" or another of `servescout catalog models`, or give `[model.architecture]`";
                sources.error(
                    checked.span("model"),
                    "model.name",
                    Finding::new("`model.name` is missing", why, remedy),
                );
            }
            return None;
        }
    };
    let dtype = match checked.text("model.dtype") {
        Some(name) => Dtype::parse(&name)?,
        None if checked.place("model.dtype").is_some() => return None,
        None => spec.dtype,
    };
    let kv_dtype = Dtype::parse(&checked.text("model.kv_dtype")?)?;
    Some((spec, dtype, kv_dtype))
}

fn architecture(checked: &Checked, name: &str, sources: &mut Sources) -> Option<ModelSpec> {
    let size = |key: &str| checked.u32(&format!("model.architecture.{key}"));
    let (hidden, heads) = (size("hidden")?, size("heads")?);
    let attention = |key: &str| size(&format!("attention.{key}"));
    let kind = checked.text("model.architecture.attention.kind")?;
    let spec = ModelSpec {
        name: name.to_owned().into(),
        aliases: Vec::new().into(),
        layers: size("layers")?,
        hidden,
        heads,
        kv_heads: size("kv_heads")?,
        head_dim: size("head_dim").unwrap_or(hidden / heads),
        ffn: size("ffn")?,
        vocab: size("vocab")?,
        qk_norm: checked.flag("model.architecture.qk_norm")?,
        tied_embeddings: checked.flag("model.architecture.tied_embeddings")?,
        attention: match kind.as_str() {
            "sliding_window" => Attention::SlidingWindow {
                window_tokens: attention("window_tokens")?,
                windowed_layers: attention("windowed_layers")?,
            },
            "mla" => Attention::Mla {
                q_rank: attention("q_rank")?,
                kv_rank: attention("kv_rank")?,
                rope_dim: attention("rope_dim")?,
                nope_dim: attention("nope_dim")?,
                value_dim: attention("value_dim")?,
            },
            _ => Attention::Gqa,
        },
        moe: match checked.place("model.architecture.moe") {
            None => None,
            Some(_) => Some(MoeSpec {
                experts: size("moe.experts")?,
                top_k: size("moe.top_k")?,
                expert_ffn: size("moe.expert_ffn")?,
                shared_ffn: size("moe.shared_ffn")?,
                dense_layers: size("moe.dense_layers")?,
            }),
        },
        max_context: size("max_context")?,
        dtype: Dtype::Bf16,
        source: "[model.architecture] of the search space".into(),
    };
    if let Err(fault) = spec.check() {
        let finding = Finding::new(
            format!("no model has this architecture: {fault}"),
            "",
            "compare it with the model's config.json",
        );
        sources.error(checked.span("model.architecture"), "model.architecture", finding);
        return None;
    }
    Some(spec)
}

/// `[hardware]`: the GPU, how many, the price.
pub(crate) fn hardware(checked: &Checked) -> Option<(GpuSpec, u32, f64)> {
    let gpu = catalog::gpu(&checked.text("hardware.gpu")?)?.clone();
    let price = checked.real("hardware.usd_per_gpu_hour").unwrap_or(gpu.usd_per_gpu_hour);
    Some((gpu, checked.u32("hardware.max_gpus")?, price))
}

/// `[timing]`. The database's path is made absolute or relative to `base`, the directory of the file.
pub(crate) fn timing(checked: &Checked, base: Option<&Path>, sources: &mut Sources) -> Option<TimingSpec> {
    let surface = SurfaceOptions {
        aic_parity: checked.flag("timing.aic_parity").unwrap_or(false),
        host_ms: checked.given("timing.host_ms").and_then(|found| found.value.as_f64()),
        expert_parallel: checked.flag("timing.expert_parallel"),
        quant: checked.text("timing.quant"),
    };
    Some(match checked.text("timing.kind")?.as_str() {
        // The peer asks its polynomial with floored means.
        "polynomial" => TimingSpec::Polynomial { floor_means: checked.flag("twin.peer_compat")? },
        "fixed" => TimingSpec::Fixed {
            prefill_ms: checked.real("timing.prefill_ms")?,
            decode_ms: checked.real("timing.decode_ms")?,
        },
        "roofline" => TimingSpec::Roofline,
        "perfdb" => {
            let found = checked.given("timing.path")?;
            let path = PathBuf::from(checked.text("timing.path")?);
            // A path given by --set is relative to where the command runs.
            let base = base.filter(|_| !found.span.is_override());
            let path = base.map_or(path.clone(), |base| base.join(&path));
            if let Err(reason) = perfdb::locate(&path) {
                let finding = Finding::new(reason, "", "install it with pip, and name where");
                sources.error(found.span, "timing.path", finding);
                return None;
            }
            TimingSpec::PerfDb(PerfDbOptions { path, version: checked.text("timing.version"), surface })
        }
        _ => TimingSpec::Surface(surface),
    })
}

/// `[timing] calibration`: what it says, and the file that it is in where it is one. The path is made
/// absolute or relative to `base`, the directory of the file.
pub(crate) fn calibration(
    checked: &Checked,
    base: Option<&Path>,
    sources: &mut Sources,
) -> Option<(Option<Calibration>, Option<PathBuf>)> {
    let name = checked.text("timing.calibration")?;
    let Some(found) = checked.given("timing.calibration") else { return Some((None, None)) };
    let is_file = !["none", "default"].contains(&name.as_str());
    let base = base.filter(|_| !found.span.is_override());
    let calibration = match Calibration::named(&name, base) {
        Ok(calibration) => calibration,
        Err(reason) => {
            let remedy =
                "write none, default, or a file that `servescout validate` or `servescout fidelity --fit` wrote";
            let finding = Finding::new(format!("cannot read the calibration: {reason}"), "", remedy);
            sources.error(found.span, "timing.calibration", finding);
            return None;
        }
    };
    if let (Some(_), Some(host)) = (&calibration, checked.given("timing.host_ms")) {
        let finding = Finding::new(
            "`timing.host_ms` has no effect beside a calibration",
            "the calibration says what the host adds",
            "leave out one of them",
        );
        sources.warn(host.span, "timing.host_ms", finding);
    }
    let file = is_file.then(|| base.map_or_else(|| PathBuf::from(&name), |base| base.join(&name)));
    Some((calibration, file))
}

/// `[speculation]`: acceptance rates by position, and the cost of drafting.
pub(crate) fn speculation(checked: &Checked) -> Option<(Vec<f64>, f64)> {
    let rates = checked.shares.get("speculation.acceptance_rates").cloned();
    Some((rates.unwrap_or_else(|| Speculation::ACCEPTANCE.to_vec()), checked.real("speculation.draft_cost")?))
}

/// `[search]`.
pub(crate) fn search(checked: &Checked) -> Option<SearchSpec> {
    let size = |key: &str| checked.int(key).and_then(|v| usize::try_from(v).ok());
    Some(SearchSpec {
        strategy: checked.text("search.strategy")?,
        budget: size("search.budget")?,
        batch: size("search.batch")?,
        replicates: size("search.replicates")?,
        ladder: match checked.text("search.ladder")?.as_str() {
            "on" => Some(true),
            "off" => Some(false),
            _ => None,
        },
        ladder_share: checked.real("search.ladder_share")?,
        early_abort: checked.flag("search.early_abort")?,
        stagnation_window: size("search.stagnation_window"),
        stagnation_gain: checked.real("search.stagnation_gain")?,
        max_wall_s: checked.given("search.max_wall_s").and_then(|found| found.value.as_f64()),
    })
}

/// `[sla]`.
pub(crate) fn sla(checked: &Checked) -> Sla {
    let bound = |key: &str| checked.given(key).and_then(|found| found.value.as_f64());
    Sla { ttft_ms: bound("sla.ttft_ms"), tpot_ms: bound("sla.tpot_ms"), e2e_ms: bound("sla.e2e_ms") }
}

/// Tensor-parallel sizes that the model's heads cannot be split over.
pub(crate) fn check_shapes(given: &[Given], model: &ModelSpec, sources: &mut Sources) {
    for knob in given.iter().filter(|g| g.row.name.ends_with(".tp")) {
        for (value, span) in &knob.values {
            let Value::Int(tp) = value else { continue };
            let heads = i64::from(model.heads);
            if heads % tp != 0 {
                let legal: Vec<String> =
                    (0..=10).map(|p| 1i64 << p).filter(|t| heads % t == 0).map(|t| t.to_string()).collect();
                let path = format!("knobs.{}", knob.row.name);
                let what =
                    format!("tensor parallelism of {tp} does not divide the {heads} attention heads of {}", model.name);
                let remedy = format!("write some of {}", legal.join(", "));
                sources.error(*span, &path, Finding::new(what, "every rank holds the same number of heads", remedy));
            }
        }
    }
}
