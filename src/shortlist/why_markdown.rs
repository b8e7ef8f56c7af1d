//! `why.md` of an entry, and what `explain` prints: deltas of one-step changes, the split of a
//! request's time, the nearest loser and miss.

use std::fmt::Write;

use super::assess::Assessed;
use super::explain::{Explained, Phases, Rival};
use super::markdown::{column_title, column_value, escape_markdown};
use super::robust::{Robust, WorstCase};
use super::table::{Column, layout};
use super::words::{change, percent, significant, with_unit};
use super::{Assessment, Pick};
use crate::archive::RunData;
use crate::space::Study;
use crate::twin::metrics::{METRICS, index_of};

/// A chance in percent, without pretending to more than draws can say.
pub(crate) fn chance(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// An interval for a column whose title has the unit: `280 to 410`.
pub(crate) fn interval_words(assessed: Option<&Assessed>, metric: usize) -> Option<String> {
    let interval = assessed?.interval(metric)?;
    Some(format!("{} to {}", column_value(metric, interval.low), column_value(metric, interval.high)))
}

/// The objectives' columns of one-step changes, and what they do to feasibility.
struct Deltas<'a> {
    study: &'a Study,
    explained: &'a Explained,
}

impl Deltas<'_> {
    fn header(&self) -> Vec<String> {
        let objectives = self.study.objectives.iter().map(|o| METRICS[o.metric].name.to_string());
        ["knob", "change"].map(String::from).into_iter().chain(objectives).chain(["then".into()]).collect()
    }

    fn rows(&self) -> Vec<Vec<String>> {
        let row = |step: &super::explain::Step| {
            let besides =
                if step.besides.is_empty() { String::new() } else { format!(" ({})", step.besides.join(", ")) };
            let mut cells = vec![step.knob.clone(), format!("{} → {}{besides}", step.from, step.to)];
            cells.extend(self.study.objectives.iter().map(|o| {
                let name = METRICS[o.metric].name;
                match (self.explained.values.get(name), step.values.get(name)) {
                    (Some(from), Some(to)) => change(*from, *to),
                    _ => "-".into(),
                }
            }));
            cells.push(if step.broken.is_empty() { "feasible".into() } else { step.broken.join("; ") });
            cells
        };
        self.explained.steps.iter().map(row).collect()
    }
}

/// Titles and cells of the table of one-step changes.
pub(crate) fn step_cells(study: &Study, explained: &Explained) -> (Vec<String>, Vec<Vec<String>>) {
    let deltas = Deltas { study, explained };
    (deltas.header(), deltas.rows())
}

fn phase_rows(phases: &Phases) -> Vec<[String; 3]> {
    let total = phases.total_ms();
    let row = |(name, ms): (&str, f64)| [name.to_string(), significant(ms), percent(ms / total.max(1e-9))];
    phases.named().into_iter().map(row).collect()
}

/// Another candidate in a few sentences.
pub(crate) fn rival_words(rival: &Rival) -> String {
    let broken =
        if rival.broken.is_empty() { String::new() } else { format!(" NOT FEASIBLE: {}.", rival.broken.join("; ")) };
    let differences =
        if rival.differences.is_empty() { String::new() } else { format!(" With {}.", rival.differences.join(", ")) };
    format!("{}, {}: {}.{broken}{differences}", rival.id, rival.deployment, rival.objectives.join(", "))
}

/// An explanation as plain text.
pub fn render_explained(study: &Study, explained: &Explained, assessed: Option<&Assessed>) -> String {
    let mut out = format!("{}: {}\n\n", explained.id, explained.deployment);
    for (name, value) in &explained.values {
        let metric = index_of(name);
        let value = metric.map_or_else(|| significant(*value), |m| with_unit(m, *value));
        let interval = metric.and_then(|m| interval_words(assessed, m));
        let interval = interval.map_or(String::new(), |words| format!("  (80 %: {words})"));
        let _ = writeln!(out, "{name:<32} {value}{interval}");
    }
    if let Some(assessed) = assessed {
        let _ = writeln!(
            out,
            "\nP(feasible) {}, P(on the frontier) {}",
            chance(assessed.feasible),
            chance(assessed.frontier)
        );
    }
    if let Some(phases) = &explained.phases {
        let _ = writeln!(out, "\nWhere the time of a mean request goes ({} ms):\n", significant(phases.total_ms()));
        for [name, ms, share] in phase_rows(phases) {
            let _ = writeln!(out, "{name:<16} {ms:>10} ms  {share:>7}");
        }
    }
    let deltas = Deltas { study, explained };
    let rows = deltas.rows();
    if !rows.is_empty() {
        let columns = deltas.header().into_iter().enumerate().map(|(index, title)| Column {
            title,
            cells: rows.iter().map(|row| row[index].clone()).collect(),
            is_number: index > 1 && index < rows[0].len() - 1,
        });
        let _ = write!(out, "\nOne knob moved by one step:\n\n{}", layout(&columns.collect::<Vec<_>>()));
    }
    let told = |rival: &Option<Rival>, none: &str| rival.as_ref().map_or(none.into(), rival_words);
    let _ = writeln!(out, "\nNearest loser: {}", told(&explained.loser, "it beats no other feasible candidate."));
    let _ = writeln!(out, "Nearest miss: {}", told(&explained.miss, "none: what it does not beat is feasible."));
    out
}

/// `why.md`.
pub(crate) fn why_markdown(run: &RunData, pick: &Pick, assessment: &Assessment) -> Option<String> {
    let explained = assessment.explanation(&pick.id)?;
    let study = &run.study;
    let mut out = format!(
        "# Why {}: {}\n\nEntry {} of the shortlist of {}. {}\n",
        pick.id,
        escape_markdown(&explained.deployment),
        pick.rank,
        escape_markdown(&study.name),
        escape_markdown(&pick.why)
    );
    if let Some(assessed) = assessment.of(&pick.id) {
        let _ = writeln!(
            out,
            "\nOf {} draws of pass times and traffic it keeps every constraint in {}, and is on the frontier in {}.",
            assessment.draws,
            chance(assessed.feasible),
            chance(assessed.frontier)
        );
    }
    if let Some(phases) = &explained.phases {
        let _ = writeln!(
            out,
            "\n## Where the time goes\n\nMean of {} completed requests, {} ms in all.\n\n| Phase | ms | Share |\n|---|---:|---:|",
            phases.requests,
            significant(phases.total_ms())
        );
        for cells in phase_rows(phases) {
            let _ = writeln!(out, "| {} |", cells.join(" | "));
        }
    }
    let deltas = Deltas { study, explained };
    let rows = deltas.rows();
    if !rows.is_empty() {
        let header = deltas.header();
        let _ = writeln!(
            out,
            "\n## One knob moved by one step\n\nEverything else as it is; simulated.\n\n| {} |\n|{}|",
            header.join(" | "),
            "---|".repeat(header.len()).trim_end_matches('|')
        );
        for cells in rows {
            let cells: Vec<String> = cells.iter().map(|cell| escape_markdown(cell)).collect();
            let _ = writeln!(out, "| {} |", cells.join(" | "));
        }
    }
    let told =
        |rival: &Option<Rival>, none: &str| rival.as_ref().map_or(none.into(), |r| escape_markdown(&rival_words(r)));
    let _ = writeln!(
        out,
        "\n## What came nearest\n\n* Loser: {}\n* Miss: {}",
        told(&explained.loser, "it beats no other feasible candidate."),
        told(&explained.miss, "none: what it does not beat is feasible.")
    );
    if let Some(robust) = &assessment.robust
        && let Some(worst) = robust.worst_of(&pick.id)
    {
        let _ = write!(out, "\n## In the worst case\n\n{}\n", worst_words(study, worst));
    }
    Some(out)
}

fn worst_words(study: &Study, worst: &WorstCase) -> String {
    let objectives = study.objectives.iter().zip(&worst.worst).map(|(o, (value, scenario))| match value {
        Some(value) => format!("{} {} ({scenario})", METRICS[o.metric].name, with_unit(o.metric, *value)),
        None => format!("{} has no value ({scenario})", METRICS[o.metric].name),
    });
    let objectives: Vec<String> = objectives.collect();
    let broken = if worst.broken.is_empty() {
        "Every constraint holds.".into()
    } else {
        format!("Breaks {}.", worst.broken.join("; "))
    };
    escape_markdown(&format!("{}. {broken}", objectives.join(", ")))
}

/// The scenarios and the worst case of each entry, as Markdown.
pub(crate) fn robust_markdown(study: &Study, robust: &Robust, picks: &[Pick]) -> String {
    let mut out = format!(
        "## Worst cases\n\nChosen by the worst case over these scenarios; {} of {} frontier members that were looked at keep every constraint in all of them.\n\n",
        robust.survivors,
        robust.candidates.len()
    );
    for scenario in &robust.scenarios {
        let _ = writeln!(out, "* {}: {}", escape_markdown(&scenario.name), escape_markdown(&scenario.words));
    }
    let titles: Vec<String> = study.objectives.iter().map(|o| format!("worst {}", column_title(o.metric))).collect();
    let _ = writeln!(out, "\n| Rank | {} | Breaks |\n|---:|{}---|", titles.join(" | "), "---:|".repeat(titles.len()));
    for pick in picks {
        let Some(worst) = robust.worst_of(&pick.id) else { continue };
        let cells = study.objectives.iter().zip(&worst.worst).map(|(o, (value, scenario))| {
            let value = value.map_or("-".into(), |v| column_value(o.metric, v));
            format!("{value} ({})", escape_markdown(scenario))
        });
        let broken = if worst.broken.is_empty() { "nothing".into() } else { escape_markdown(&worst.broken.join("; ")) };
        let _ = writeln!(out, "| {} | {} | {broken} |", pick.rank, cells.collect::<Vec<_>>().join(" | "));
    }
    out
}
