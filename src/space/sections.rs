//! The typed study out of a checked document, and the rules that span several keys.

use std::path::{Path, PathBuf};

use super::check::Checked;
use super::domains::Given;
use super::nearest::{did_you_mean, nearest};
use super::source::{Finding, Sources, Span};
use super::tree::{Entry, Node, Raw};
use super::{Constraint, Objective, SearchSpec, Value};
use crate::catalog::{self, Attention, Dtype, GpuSpec, ModelSpec, MoeSpec};
use crate::timing::TimingSpec;
use crate::twin::deployment::Sla;
use crate::twin::metrics::{self, METRICS, Metric};
use crate::workload::SourceSpec;
use crate::workload::spec::{Arrivals, Lengths, SyntheticSpec, Window, WorkloadSpec};

/// Fewest objectives of a search: with one there is nothing to trade off.
pub const MIN_OBJECTIVES: usize = 2;
/// Most objectives of a search: hypervolume is exact up to three.
pub const MAX_OBJECTIVES: usize = 3;
/// Most requests that the generator makes.
const MAX_REQUESTS: i64 = 50_000_000;

/// Metrics that count good requests and so need `[sla]`.
const NEEDS_SLA: [Metric; 4] =
    [Metric::GoodputRps, Metric::GoodputTokensPerS, Metric::SlaAttainment, Metric::UsdPerKreqGood];

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

/// `[workload]`. Trace paths are made absolute or relative to `base`, the directory of the file.
pub(crate) fn workload(checked: &Checked, base: Option<&Path>, sources: &mut Sources) -> Option<WorkloadSpec> {
    let section = checked.place("workload")?;
    let (trace, synthetic) = (checked.place("workload.trace"), checked.place("workload.synthetic"));
    let source = match (trace, synthetic) {
        (None, None) => {
            let finding = Finding::new(
                "`[workload]` says neither where its requests come from nor how to make them",
                "",
                "add trace = \"..\" or a section `[workload.synthetic]`",
            );
            sources.error(section, "workload", finding);
            None
        }
        (Some(trace), Some(synthetic)) => {
            let finding = Finding::new(
                "`[workload]` has both a trace and a generator",
                "requests come from one of them",
                "remove `trace`, or `[workload.synthetic]`",
            );
            sources.error(trace.max(synthetic), "workload", finding);
            None
        }
        (Some(_), None) => trace_source(checked, base, sources),
        (None, Some(_)) => synthetic_source(checked, sources),
    };
    if let (Some(at), Some(_)) = (checked.place("workload.trace_block_tokens"), synthetic) {
        let finding = Finding::new(
            "`workload.trace_block_tokens` does not apply here",
            "there is no trace",
            "remove it; the generator's own is `workload.synthetic.block_tokens`",
        );
        sources.error(at, "workload.trace_block_tokens", finding);
    }
    if let (Some(at), Some(_)) = (checked.place("workload.speedup"), checked.place("workload.concurrency")) {
        let finding = Finding::new(
            "`workload.speedup` does not apply together with `workload.concurrency`",
            "a closed loop has no arrival times to speed up",
            "remove one of the two",
        );
        sources.error(at, "workload.speedup", finding);
    }
    let window = window(checked, sources);
    Some(WorkloadSpec {
        source: source?,
        speedup: checked.real("workload.speedup")?,
        concurrency: checked.u32("workload.concurrency"),
        limit: checked.int("workload.limit").and_then(|v| usize::try_from(v).ok()),
        window,
        grows: checked.flag("workload.grows"),
    })
}

fn window(checked: &Checked, sources: &mut Sources) -> Option<Window> {
    checked.place("workload.window")?;
    let window =
        Window { start_s: checked.real("workload.window.start_s")?, end_s: checked.real("workload.window.end_s")? };
    if window.start_s >= window.end_s {
        let what = format!("the window is empty: start_s = {} is not before end_s = {}", window.start_s, window.end_s);
        let finding = Finding::new(what, "it keeps sessions from start_s up to, but not at, end_s", "raise end_s");
        sources.error(checked.span("workload.window.end_s"), "workload.window", finding);
    }
    Some(window)
}

fn trace_source(checked: &Checked, base: Option<&Path>, sources: &mut Sources) -> Option<SourceSpec> {
    let found = checked.given("workload.trace")?;
    let Value::Text(written) = &found.value else { return None };
    // What is typed on the command line is relative to where it is typed.
    let path = match base {
        Some(base) if !found.span.is_override() => base.join(written),
        _ => PathBuf::from(written),
    };
    let place = "a path is relative to the directory of this file (in --set: to the current directory)";
    let finding = match path.metadata() {
        Ok(meta) if meta.is_dir() => {
            Some(Finding::new(format!("`{written}` is a directory, not a trace"), "", "name a file in it"))
        }
        Ok(_) => None,
        Err(error) => {
            let what = format!("cannot read the trace `{}`: {error}", path.display());
            Some(Finding::new(what, place, similar_file(&path).unwrap_or_else(|| "correct the path".into())))
        }
    };
    if let Some(finding) = finding {
        sources.error(found.span, "workload.trace", finding);
        return None;
    }
    Some(SourceSpec::Trace { path, block_tokens: checked.u32("workload.trace_block_tokens")? })
}

/// The file beside a missing one whose name is nearest.
fn similar_file(path: &Path) -> Option<String> {
    let wanted = path.file_name()?.to_str()?;
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut names: Vec<String> =
        parent.read_dir().ok()?.take(1000).filter_map(|e| e.ok()?.file_name().into_string().ok()).collect();
    names.sort_unstable();
    let near = nearest(wanted, names.iter().map(String::as_str))?;
    Some(format!("did you mean `{near}`? it lies in the same directory"))
}

fn synthetic_source(checked: &Checked, sources: &mut Sources) -> Option<SourceSpec> {
    let at = |key: &str| format!("workload.synthetic.{key}");
    let (sessions, turns) = (checked.u32(&at("sessions")), checked.u32(&at("turns")));
    if let (Some(sessions), Some(turns)) = (sessions, turns)
        && i64::from(sessions) * i64::from(turns) > MAX_REQUESTS
    {
        let what = format!("{sessions} sessions of {turns} turns are more than {MAX_REQUESTS} requests");
        let finding = Finding::new(what, "every request is held in memory", "lower sessions or turns");
        sources.error(checked.span(&at("sessions")), &at("sessions"), finding);
    }
    let (groups, tokens) = (checked.u32(&at("prefix_groups"))?, checked.u32(&at("group_prefix_tokens"))?);
    if (groups == 0) != (tokens == 0) {
        let (given, missing) = if groups == 0 {
            ("group_prefix_tokens", "prefix_groups")
        } else {
            ("prefix_groups", "group_prefix_tokens")
        };
        let what = format!("`{given}` without `{missing}` does nothing");
        let finding = Finding::new(
            what,
            "groups share a prefix only if there are groups and it has tokens",
            format!("give `{missing}` too, or remove `{given}`"),
        );
        sources.error(checked.span(&at(given)), &at(given), finding);
    }
    let lengths = (lengths(checked, &at("input_tokens")), lengths(checked, &at("output_tokens")));
    Some(SourceSpec::Synthetic(SyntheticSpec {
        seed: checked.int(&at("seed"))?.unsigned_abs(),
        sessions: sessions?,
        turns: turns?,
        arrivals: arrivals(checked)?,
        input_tokens: lengths.0?,
        output_tokens: lengths.1?,
        think_ms: checked.real(&at("think_ms"))?,
        common_prefix_tokens: checked.u32(&at("common_prefix_tokens"))?,
        prefix_groups: groups,
        group_prefix_tokens: tokens,
        block_tokens: checked.u32(&at("block_tokens"))?,
    }))
}

fn arrivals(checked: &Checked) -> Option<Arrivals> {
    let real = |key: &str| checked.real(&format!("workload.synthetic.arrivals.{key}"));
    let rate_per_s = real("rate_per_s");
    Some(match checked.text("workload.synthetic.arrivals.kind")?.as_str() {
        "burst" => Arrivals::Burst,
        "constant" => Arrivals::Constant { rate_per_s: rate_per_s? },
        "gamma" => Arrivals::Gamma { rate_per_s: rate_per_s?, burstiness: real("burstiness")? },
        "diurnal" => Arrivals::Diurnal { rate_per_s: rate_per_s?, swing: real("swing")?, period_s: real("period_s")? },
        _ => Arrivals::Poisson { rate_per_s: rate_per_s? },
    })
}

fn lengths(checked: &Checked, path: &str) -> Option<Lengths> {
    if let Some(fixed) = checked.u32(path) {
        return Some(Lengths::Fixed(fixed));
    }
    let (mean, std) = (checked.real(&format!("{path}.mean"))?, checked.real(&format!("{path}.std"))?);
    Some(match checked.text(&format!("{path}.kind"))?.as_str() {
        "log_normal" => Lengths::LogNormal { mean, std },
        _ => Lengths::Normal { mean, std },
    })
}

/// `[timing]`.
pub(crate) fn timing(checked: &Checked) -> Option<TimingSpec> {
    Some(match checked.text("timing.kind")?.as_str() {
        "polynomial" => TimingSpec::Polynomial { floor_means: checked.flag("twin.peer_compat")? },
        "fixed" => TimingSpec::Fixed {
            prefill_ms: checked.real("timing.prefill_ms")?,
            decode_ms: checked.real("timing.decode_ms")?,
        },
        _ => TimingSpec::Roofline,
    })
}

/// `[search]`.
pub(crate) fn search(checked: &Checked) -> Option<SearchSpec> {
    let size = |key: &str| checked.int(key).and_then(|v| usize::try_from(v).ok());
    Some(SearchSpec {
        strategy: checked.text("search.strategy")?,
        budget: size("search.budget")?,
        batch: size("search.batch")?,
    })
}

/// `[sla]`.
pub(crate) fn sla(checked: &Checked) -> Sla {
    let bound = |key: &str| checked.given(key).and_then(|found| found.value.as_f64());
    Sla { ttft_ms: bound("sla.ttft_ms"), tpot_ms: bound("sla.tpot_ms"), e2e_ms: bound("sla.e2e_ms") }
}

/// The metric of this name, if it exists and `[sla]` has what it needs.
fn metric(name: &str, span: Span, path: &str, checked: &Checked, sources: &mut Sources) -> Option<usize> {
    let Some(index) = metrics::index_of(name) else {
        let names: Vec<&str> = METRICS.iter().map(|m| m.name).collect();
        let what = format!("there is no metric `{name}`");
        let remedy = match nearest(name, names.iter().copied()) {
            Some(_) => did_you_mean(name, &names),
            None => format!("{}; docs/metrics.md defines them all", same_family(name, &names)),
        };
        sources.error(span, path, Finding::new(what, "names carry the statistic and the unit", remedy));
        return None;
    };
    if NEEDS_SLA.iter().any(|m| *m as usize == index) && sla(checked).is_empty() {
        let what = format!("`{name}` counts good requests, but `[sla]` does not say what is good");
        let finding = Finding::new(what, METRICS[index].definition, "add `[sla]` with ttft_ms, tpot_ms or e2e_ms");
        sources.error(span, path, finding);
        return None;
    }
    Some(index)
}

/// Metrics that begin like `name` (`ttft`: all of TTFT), or all of them.
fn same_family(name: &str, names: &[&str]) -> String {
    let stem = name.split('_').next().unwrap_or(name);
    let family: Vec<&str> = names.iter().copied().filter(|n| n.split('_').next() == Some(stem)).collect();
    super::nearest::one_of(if family.is_empty() { names } else { &family })
}

/// `[objectives]`: minimised ones first, each in the order written.
pub(crate) fn objectives(checked: &Checked, is_search: bool, sources: &mut Sources) -> Vec<Objective> {
    let mut found: Vec<Objective> = Vec::new();
    let before = sources.error_count();
    for (path, maximize) in [("objectives.minimize", false), ("objectives.maximize", true)] {
        let Some(node) = checked.metric_lists.get(path) else { continue };
        for (index, (name, span)) in names(node, path, sources).into_iter().enumerate() {
            let path = format!("{path}[{index}]");
            let Some(metric) = metric(&name, span, &path, checked, sources) else { continue };
            match found.iter().find(|o| o.metric == metric) {
                None => found.push(Objective { metric, maximize }),
                Some(first) => {
                    let what = if first.maximize == maximize {
                        format!("`{name}` is listed twice")
                    } else {
                        format!("`{name}` is to be both minimized and maximized")
                    };
                    sources.error(span, &path, Finding::new(what, "", "remove one of the two"));
                }
            }
        }
    }
    let count = found.len();
    let is_given = checked.place("objectives").is_some();
    let wrong = (is_search && count < MIN_OBJECTIVES) || count > MAX_OBJECTIVES;
    if is_given && wrong && sources.error_count() == before {
        let what = format!("a search has {MIN_OBJECTIVES} or {MAX_OBJECTIVES} objectives, and this one has {count}");
        let why = "a frontier trades objectives off against each other; its hypervolume is exact up to three";
        let remedy = if count < MIN_OBJECTIVES {
            "list another metric, such as minimize = [\"usd_per_mtok_output\", \"ttft_p90_ms\"]"
        } else {
            "turn some of them into `[constraints]`"
        };
        sources.error(checked.span("objectives"), "objectives", Finding::new(what, why, remedy));
    }
    found
}

/// The strings of a list and their places.
fn names(node: &Node, path: &str, sources: &mut Sources) -> Vec<(String, Span)> {
    let Raw::List(items) = &node.raw else {
        let what = format!("`{path}` must be a list of metric names, not {}", node.raw.type_words());
        let remedy = match &node.raw {
            Raw::Text(name) => format!("write [\"{name}\"]"),
            _ => "write for example [\"usd_per_mtok_output\", \"ttft_p90_ms\"]".into(),
        };
        sources.error(node.span, path, Finding::new(what, "", remedy));
        return Vec::new();
    };
    let mut names = Vec::new();
    for (index, item) in items.iter().enumerate() {
        match &item.raw {
            Raw::Text(name) => names.push((name.clone(), item.span)),
            raw => {
                let what = format!("a metric is a name, not {}", raw.type_words());
                sources.error(item.span, &format!("{path}[{index}]"), Finding::new(what, "", "write it in quotes"));
            }
        }
    }
    names
}

/// `[constraints]`, in the order written.
pub(crate) fn constraints(checked: &Checked, sources: &mut Sources) -> Vec<Constraint> {
    let mut found = Vec::new();
    for entry in &checked.constraints {
        let path = format!("constraints.{}", entry.key);
        let metric = metric(&entry.key, entry.key_span, &path, checked, sources);
        if let (Some((min, max)), Some(metric)) = (bounds(entry, metric, &path, sources), metric) {
            found.push(Constraint { metric, min, max });
        }
    }
    found
}

type Bounds = (Option<f64>, Option<f64>);

fn bounds(entry: &Entry, metric: Option<usize>, path: &str, sources: &mut Sources) -> Option<Bounds> {
    let side = if metric.is_some_and(|m| METRICS[m].higher_is_better) { "min" } else { "max" };
    let Raw::Table(entries) = &entry.node.raw else {
        let what = format!("`{path}` must be a table of bounds, not {}", entry.node.raw.type_words());
        let bound = match &entry.node.raw {
            Raw::Int(v) => v.to_string(),
            Raw::Real(v) if v.is_finite() => v.to_string(),
            _ => "..".into(),
        };
        sources.error(entry.node.span, path, Finding::new(what, "", format!("write {{ {side} = {bound} }}")));
        return None;
    };
    let (mut min, mut max) = (None, None);
    let mut fine = true;
    for bound in entries {
        let bound_path = format!("{path}.{}", bound.key);
        let slot = match bound.key.as_str() {
            "min" => &mut min,
            "max" => &mut max,
            other => {
                let what = format!("a constraint has no `{other}`");
                let finding = Finding::new(what, "it has `min`, `max`, or both", did_you_mean(other, &["min", "max"]));
                sources.error(bound.key_span, &bound_path, finding);
                fine = false;
                continue;
            }
        };
        *slot = match bound.node.raw {
            Raw::Int(v) => Some((v as f64, bound.node.span)),
            Raw::Real(v) if v.is_finite() => Some((v, bound.node.span)),
            _ => {
                let what = format!("`{bound_path}` must be a finite number");
                sources.error(bound.node.span, &bound_path, Finding::new(what, "", format!("write {side} = 4000")));
                fine = false;
                continue;
            }
        };
    }
    match (min, max) {
        (None, None) if fine => {
            let what = format!("`{path}` has neither `min` nor `max`");
            let finding = Finding::new(what, "it would hold for every candidate", format!("write {{ {side} = .. }}"));
            sources.error(entry.key_span, path, finding);
            return None;
        }
        (Some((low, _)), Some((high, span))) if low > high => {
            let what = format!("no value keeps `{path}`: min = {low} is above max = {high}");
            sources.error(span, path, Finding::new(what, "", format!("write {{ min = {high}, max = {low} }}")));
            return None;
        }
        _ => {}
    }
    fine.then_some((min.map(|b| b.0), max.map(|b| b.0)))
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
