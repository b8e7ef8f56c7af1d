//! `shortlist.md`: the shortlist for people.

use std::fmt::Write;

use super::misses::bound_words;
use super::shape::shape_words;
use super::why_markdown::{chance, interval_words, robust_markdown};
use super::words::{count, counted, metric_label, metric_phrase, percent, significant, with_unit};
use super::{Assessed, BoundChance, Margin, Pick, Role, Shortlist, write::directory_name};
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
            Role::LeastBroken => "least broken by the scenarios".into(),
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
            write_pick(out, run, shortlist, pick)?;
        }
        let robust = shortlist.assessment.as_ref().and_then(|a| a.robust.as_ref());
        if let Some(robust) = robust {
            writeln!(out, "{}", robust_markdown(study, robust, &shortlist.picks))?;
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

/// Titles and cells of the table of all entries.
pub(crate) fn overview_cells(run: &RunData, shortlist: &Shortlist) -> (Vec<String>, Vec<Vec<String>>) {
    let study = &run.study;
    let evaluations = run.evaluations();
    let objectives: Vec<usize> = study.objectives.iter().map(|o| o.metric).collect();
    let margins: &[Margin] = shortlist.picks.first().map_or(&[], |pick| &pick.margins);
    let gpus = Metric::GpusMean as usize;
    let is_assessed = shortlist.assessment.is_some();
    let mut titles: Vec<String> = vec!["Rank".into(), "Why".into(), "Deployment".into()];
    for &metric in &objectives {
        titles.push(column_title(metric));
        titles.extend(is_assessed.then(|| "80 %".into()));
    }
    titles.extend(margins.iter().map(bound_words));
    if is_assessed {
        titles.extend(["P(feasible)".to_string(), "P(frontier)".into()]);
    }
    titles.extend(["GPUs".to_string(), "Id".into()]);
    let row = |pick: &Pick| {
        let evaluation = evaluations[pick.row];
        let assessed = shortlist.assessed(pick);
        let mut cells =
            vec![pick.rank.to_string(), roles_words(study, pick), shape_words(&study.space, &evaluation.candidate)];
        for &metric in &objectives {
            cells.push(column_value(metric, evaluation.metrics[metric]));
            cells.extend(is_assessed.then(|| interval_words(assessed, metric).unwrap_or_else(|| "-".into())));
        }
        cells.extend(pick.margins.iter().map(|m| format!("{} ({})", column_value(m.metric, m.value), room_words(m))));
        if is_assessed {
            let share = |of: fn(&Assessed) -> f64| assessed.map_or("-".into(), |a| chance(of(a)));
            cells.extend([share(|a| a.feasible), share(|a| a.frontier)]);
        }
        cells.extend([column_value(gpus, evaluation.metrics[gpus]), pick.id.clone()]);
        cells
    };
    (titles, shortlist.picks.iter().map(row).collect())
}

fn write_overview(out: &mut String, run: &RunData, shortlist: &Shortlist) -> std::fmt::Result {
    if let Some(assessment) = &shortlist.assessment {
        writeln!(
            out,
            "The columns \"80 %\" say where a value lies on real servers under traffic like this, with that chance: {} draws, each with the workload resampled in {} blocks of time and an error of pass times; the same draws for every candidate. Errors of pass times: {}. P(feasible) is the share of draws in which every constraint holds, P(frontier) that in which moreover none of the {} other candidates simulated beats it.\n",
            assessment.draws,
            assessment.blocks,
            escape_markdown(&assessment.timing_errors),
            assessment.candidates.len().saturating_sub(1)
        )?;
    }
    let (titles, rows) = overview_cells(run, shortlist);
    writeln!(out, "| {} |", titles.join(" | "))?;
    let rules: Vec<&str> =
        (0..titles.len()).map(|i| if (1..3).contains(&i) || i + 1 == titles.len() { "---" } else { "---:" }).collect();
    writeln!(out, "|{}|", rules.join("|"))?;
    for mut row in rows {
        if let Some(id) = row.pop() {
            let cells: Vec<String> = row.iter().map(|cell| escape_markdown(cell)).collect();
            writeln!(out, "| {} | `{id}` |", cells.join(" | "))?;
        }
    }
    writeln!(out)
}

fn write_pick(out: &mut String, run: &RunData, shortlist: &Shortlist, pick: &Pick) -> std::fmt::Result {
    let study = &run.study;
    let evaluation: &Evaluation = run.evaluations()[pick.row];
    let shape = shape_words(&study.space, &evaluation.candidate);
    let roles = escape_markdown(&capitalised(&roles_words(study, pick)));
    writeln!(out, "## {}. {roles}: {}\n", pick.rank, escape_markdown(&shape))?;
    writeln!(out, "{}\n", escape_markdown(&pick.why))?;
    let directory = format!("shortlist/{}", directory_name(pick));
    writeln!(out, "Files: `{directory}/`. Replay it with `servescout replay {directory}/candidate.toml`.\n")?;

    if shortlist.assessment.as_ref().is_some_and(|a| a.explanation(&pick.id).is_some()) {
        writeln!(out, "What one step in each knob would change, and where the time goes: `{directory}/why.md`.\n")?;
    }
    let assessed = shortlist.assessed(pick);
    let (title, rule) = if assessed.is_some() { (" 80 % |", "---:|") } else { ("", "") };
    writeln!(out, "| Predicted | Value |{title} Name |\n|---|---:|{rule}---|")?;
    for metric in shown_metrics(study) {
        let value = with_unit(metric, evaluation.metrics[metric]);
        let interval = assessed
            .map(|_| interval_words(assessed, metric).unwrap_or_else(|| "-".into()))
            .map_or(String::new(), |words| format!(" {words} |"));
        writeln!(out, "| {} | {value} |{interval} `{}` |", metric_label(metric), METRICS[metric].name)?;
    }
    writeln!(out)?;
    if !pick.margins.is_empty() {
        let (title, rule) = if assessed.is_some() { (" Chance that it holds |", "---:|") } else { ("", "") };
        writeln!(out, "| Constraint | Predicted | Room |{title}\n|---|---:|---:|{rule}")?;
        for margin in &pick.margins {
            let bound = bound_words(margin);
            let value = with_unit(margin.metric, margin.value);
            let same = |b: &&BoundChance| (b.metric.as_str(), b.is_max) == (margin.name(), margin.is_max);
            let holds = assessed.and_then(|a| a.bounds.iter().find(same));
            let holds = holds.map_or(String::new(), |b| format!(" {} |", chance(b.holds)));
            writeln!(out, "| {} | {value} | {} |{holds}", escape_markdown(&bound), room_words(margin))?;
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
