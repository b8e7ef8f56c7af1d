//! `shortlist.md`: the shortlist for people.

use std::fmt::Write;

use super::misses::bound_words;
use super::shape::shape_words;
use super::words::{count, counted, metric_label, metric_phrase, percent, significant, with_unit};
use super::{Margin, Pick, Role, Shortlist, write::directory_name};
use crate::archive::{RunData, knob_unit};
use crate::search::Evaluation;
use crate::space::Study;
use crate::twin::metrics::{METRICS, Metric};

/// Text that Markdown shows as it is, in a table cell or a paragraph, on one line.
pub fn escape_markdown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '`' | '*' | '[' | ']' | '|' | '~' | '$' => {
                out.push('\\');
                out.push(c);
            }
            '#' if out.is_empty() => out.push_str("\\#"),
            // Between letters an underscore is only that; elsewhere it could begin emphasis.
            '_' if !out.chars().last().is_some_and(char::is_alphanumeric) => out.push_str("\\_"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

impl Role {
    /// The role in a few words.
    pub(crate) fn words(self, study: &Study) -> String {
        match self {
            Role::Knee => "knee".into(),
            Role::Best(objective) => {
                let spec = study.objectives[objective];
                format!("{} {}", if spec.maximize { "highest" } else { "lowest" }, metric_phrase(spec.metric))
            }
            Role::Covers => "covers the frontier".into(),
            Role::Hedge => "hedge".into(),
            Role::NearestMiss => "NEAREST MISS".into(),
        }
    }
}

/// With its first letter as a capital.
fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().collect::<String>() + letters.as_str())
}

/// All roles of a pick in a few words.
pub(crate) fn roles_words(study: &Study, pick: &Pick) -> String {
    pick.roles.iter().map(|role| role.words(study)).collect::<Vec<_>>().join(", ")
}

/// Metrics that a reader of a shortlist wants beside objectives and constraints.
const CONTEXT: [Metric; 10] = [
    Metric::OutputTokensPerSPerGpu,
    Metric::TokensPerSPerUser,
    Metric::TtftP50,
    Metric::TtftP99,
    Metric::ItlP90,
    Metric::UsdPerMtokOutput,
    Metric::GpusMean,
    Metric::PrefixReuseRatio,
    Metric::KvUtilMean,
    Metric::Preemptions,
];

/// Objectives, then constrained metrics, then context, each once.
pub(crate) fn shown_metrics(study: &Study) -> Vec<usize> {
    let mut metrics = Vec::new();
    let objectives = study.objectives.iter().map(|o| o.metric);
    let constraints = study.constraints.iter().map(|c| c.metric);
    for metric in objectives.chain(constraints).chain(CONTEXT.iter().map(|&m| m as usize)) {
        if !metrics.contains(&metric) {
            metrics.push(metric);
        }
    }
    metrics
}

/// `TTFT p90 (ms)`.
pub(crate) fn column_title(metric: usize) -> String {
    match METRICS[metric].unit {
        "ratio" => format!("{} (%)", metric_label(metric)),
        unit => format!("{} ({unit})", metric_label(metric)),
    }
}

/// A value for a column whose title has the unit.
pub(crate) fn column_value(metric: usize, value: f64) -> String {
    significant(if METRICS[metric].unit == "ratio" { value * 100.0 } else { value })
}

/// The room to a bound in words: `23.1 % room`, `OVER by 4.0 %`.
pub(crate) fn room_words(margin: &Margin) -> String {
    match margin {
        Margin { room, .. } if room.is_nan() => "NO VALUE".into(),
        Margin { room, .. } if *room >= 0.0 => format!("{} room", percent(*room)),
        Margin { room, is_max, .. } => format!("{} by {}", if *is_max { "OVER" } else { "UNDER" }, percent(-room)),
    }
}

/// Value and room, or the room alone where the value has a column of its own.
pub(crate) fn margin_cell(study: &Study, margin: &Margin) -> String {
    if study.objectives.iter().any(|o| o.metric == margin.metric) {
        return room_words(margin);
    }
    format!("{} ({})", column_value(margin.metric, margin.value), room_words(margin))
}

/// The document.
pub(crate) fn markdown(run: &RunData, shortlist: &Shortlist) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_document(&mut out, run, shortlist);
    out
}

fn write_document(out: &mut String, run: &RunData, shortlist: &Shortlist) -> std::fmt::Result {
    let study = &run.study;
    writeln!(out, "# Shortlist: {}\n", escape_markdown(&study.name))?;
    write_summary(out, run, shortlist)?;
    if !shortlist.picks.is_empty() {
        write_overview(out, run, shortlist)?;
        for pick in &shortlist.picks {
            write_pick(out, run, pick)?;
        }
    }
    if !shortlist.blockers.is_empty() {
        writeln!(out, "## What ruled candidates out\n\n| Cause | Candidates |\n|---|---:|")?;
        for blocker in &shortlist.blockers {
            let how = if blocker.is_refusal { "refused before simulation:" } else { "broke" };
            writeln!(out, "| {how} {} | {} |", escape_markdown(&blocker.cause), blocker.candidates)?;
        }
        writeln!(out)?;
    }
    writeln!(out, "## Knobs that changed nothing\n")?;
    if shortlist.inert.is_empty() {
        writeln!(out, "None that this run can show.")?;
    } else {
        writeln!(
            out,
            "Candidates that differ only in one of these had equal metrics throughout, so it can be left at its default:\n"
        )?;
        for knob in &shortlist.inert {
            writeln!(out, "* {} ({} comparisons)", escape_markdown(&knob.name), knob.comparisons)?;
        }
    }
    Ok(())
}

fn write_summary(out: &mut String, run: &RunData, shortlist: &Shortlist) -> std::fmt::Result {
    let counts = &shortlist.counts;
    let study = &run.study;
    let objectives: Vec<String> = study
        .objectives
        .iter()
        .map(|o| {
            let verb = if o.maximize { "maximise" } else { "minimise" };
            format!("{verb} {} (`{}`)", metric_phrase(o.metric), METRICS[o.metric].name)
        })
        .collect();
    writeln!(out, "Objectives: {}.", objectives.join("; "))?;
    let bounds: Vec<String> =
        study.constraints.iter().flat_map(|c| Margin::of(c, &[])).map(|margin| bound_words(&margin)).collect();
    let bounds = if bounds.is_empty() { "none".into() } else { bounds.join("; ") };
    writeln!(out, "Constraints: {}.", escape_markdown(&bounds))?;
    let requests = counted(run.workload.requests, "request");
    writeln!(out, "Workload: {requests} from {}.\n", escape_markdown(&run.workload.source))?;
    writeln!(
        out,
        "{} evaluated: {} feasible, {} infeasible, {} refused before simulation{}.",
        counted(counts.evaluated, "candidate"),
        count(counts.feasible),
        count(counts.infeasible),
        count(counts.refused),
        counts.spared_words()
    )?;
    if shortlist.feasible {
        let coverage = shortlist.coverage.map_or(String::new(), |share| {
            format!(" The entries below cover {} of the frontier's hypervolume.", percent(share))
        });
        writeln!(
            out,
            "The frontier has {}, of which {} worth telling apart: the rest gain less than a percent, or are near-duplicates of one deployment shape.{coverage}\n",
            counted(counts.frontier, "member"),
            if counts.distinct == 1 { "1 is".to_string() } else { format!("{} are", count(counts.distinct)) }
        )
    } else if shortlist.picks.is_empty() {
        writeln!(
            out,
            "\n**Nothing is feasible, and no candidate could be simulated.** See below for what ruled them out.\n"
        )
    } else {
        writeln!(
            out,
            "\n**Nothing is feasible.** The entries below are the nearest misses: every one breaks a constraint. Relax the constraint, or widen the space.\n"
        )
    }
}

fn write_overview(out: &mut String, run: &RunData, shortlist: &Shortlist) -> std::fmt::Result {
    let study = &run.study;
    let evaluations = run.evaluations();
    let objectives: Vec<usize> = study.objectives.iter().map(|o| o.metric).collect();
    let margins: &[Margin] = shortlist.picks.first().map_or(&[], |pick| &pick.margins);
    let gpus = Metric::GpusMean as usize;
    let mut titles: Vec<String> = vec!["Rank".into(), "Why".into(), "Deployment".into()];
    titles.extend(objectives.iter().map(|&m| column_title(m)));
    titles.extend(margins.iter().map(bound_words));
    titles.extend(["GPUs".to_string(), "Id".into()]);
    writeln!(out, "| {} |", titles.join(" | "))?;
    let mut rules = vec!["---:", "---", "---"];
    rules.extend(vec!["---:"; objectives.len() + margins.len() + 1]);
    rules.push("---");
    writeln!(out, "|{}|", rules.join("|"))?;
    for pick in &shortlist.picks {
        let evaluation = evaluations[pick.row];
        let mut cells = vec![
            pick.rank.to_string(),
            escape_markdown(&roles_words(study, pick)),
            escape_markdown(&shape_words(&study.space, &evaluation.candidate)),
        ];
        cells.extend(objectives.iter().map(|&m| column_value(m, evaluation.metrics[m])));
        cells.extend(
            pick.margins
                .iter()
                .map(|margin| format!("{} ({})", column_value(margin.metric, margin.value), room_words(margin))),
        );
        cells.extend([column_value(gpus, evaluation.metrics[gpus]), format!("`{}`", pick.id)]);
        writeln!(out, "| {} |", cells.join(" | "))?;
    }
    writeln!(out)
}

fn write_pick(out: &mut String, run: &RunData, pick: &Pick) -> std::fmt::Result {
    let study = &run.study;
    let evaluation: &Evaluation = run.evaluations()[pick.row];
    let shape = shape_words(&study.space, &evaluation.candidate);
    let roles = escape_markdown(&capitalised(&roles_words(study, pick)));
    writeln!(out, "## {}. {roles}: {}\n", pick.rank, escape_markdown(&shape))?;
    writeln!(out, "{}\n", escape_markdown(&pick.why))?;
    let directory = format!("shortlist/{}", directory_name(pick));
    writeln!(out, "Files: `{directory}/`. Replay it with `servescout replay {directory}/candidate.toml`.\n")?;

    writeln!(out, "| Predicted | Value | Name |\n|---|---:|---|")?;
    for metric in shown_metrics(study) {
        let value = with_unit(metric, evaluation.metrics[metric]);
        writeln!(out, "| {} | {value} | `{}` |", metric_label(metric), METRICS[metric].name)?;
    }
    writeln!(out)?;
    if !pick.margins.is_empty() {
        writeln!(out, "| Constraint | Predicted | Room |\n|---|---:|---:|")?;
        for margin in &pick.margins {
            let bound = bound_words(margin);
            let value = with_unit(margin.metric, margin.value);
            writeln!(out, "| {} | {value} | {} |", escape_markdown(&bound), room_words(margin))?;
        }
        writeln!(out)?;
    }
    writeln!(out, "| Knob | Value |\n|---|---|")?;
    for (name, value) in study.space.describe(&evaluation.candidate) {
        let unit = knob_unit(name).map_or(String::new(), |unit| format!(" {unit}"));
        writeln!(out, "| {} | {}{unit} |", escape_markdown(name), escape_markdown(&value))?;
    }
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_stays_in_its_cell() {
        let hostile = "a|b\n`rm` <script>alert(1)</script> [x](http://y) *b* _c_ #1 \\";
        let escaped = escape_markdown(hostile);
        assert!(!escaped.contains('\n') && !escaped.contains('<'), "{escaped}");
        for (index, c) in escaped.char_indices() {
            if "|`[]*".contains(c) {
                assert_eq!(escaped.as_bytes()[index - 1], b'\\', "{c} at {index} of {escaped}");
            }
        }
        assert_eq!(escape_markdown("engine.max_num_seqs"), "engine.max_num_seqs");
        assert_eq!(escape_markdown("_c_"), "\\_c_");
        assert_eq!(escape_markdown("# no heading, #2"), "\\# no heading, #2");
    }
}
