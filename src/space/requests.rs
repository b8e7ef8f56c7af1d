//! `[workload]`: where requests come from, and how they are offered.

use std::path::{Path, PathBuf};

use super::Value;
use super::check::Checked;
use super::nearest::nearest;
use super::source::{Finding, Sources};
use crate::workload::SourceSpec;
use crate::workload::spec::{Arrivals, Lengths, SyntheticSpec, Window, WorkloadSpec};

/// Most requests that the generator makes.
const MAX_REQUESTS: i64 = 10_000_000;

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
