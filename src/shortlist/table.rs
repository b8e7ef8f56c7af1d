//! The frontier and the shortlist as tables for the terminal.

use super::markdown::{column_value, margin_cell, roles_words};
use super::misses::bound_words;
use super::shape::shape_words;
use super::why_markdown::{chance, interval_words};
use super::words::{count, counted, percent};
use super::{Assessed, Pick, Robust, Shortlist};
use crate::archive::RunData;
use crate::search::Evaluation;
use crate::twin::metrics::{METRICS, Metric};

/// A column of the table: title, cells, and whether they are numbers.
pub(crate) struct Column {
    pub title: String,
    pub cells: Vec<String>,
    pub is_number: bool,
}

/// The shortlist as plain text, with a line of summary. No colour, no trailing blanks.
pub fn render_terminal(run: &RunData, shortlist: &Shortlist) -> String {
    let counts = &shortlist.counts;
    let mut out = format!(
        "{} evaluated: {} feasible, {} infeasible, {} refused{}; {} on the frontier\n",
        counted(counts.evaluated, "candidate"),
        count(counts.feasible),
        count(counts.infeasible),
        count(counts.refused),
        counts.spared_words(),
        count(counts.frontier)
    );
    match (shortlist.coverage, shortlist.picks.is_empty()) {
        (Some(share), _) => {
            let (chosen, asked) = (shortlist.picks.len(), shortlist.size);
            let fewer = if chosen < asked {
                format!(" ({asked} asked for; no more is worth telling apart)")
            } else {
                String::new()
            };
            let share = percent(share);
            out.push_str(&format!("Shortlist of {chosen}{fewer}, covering {share} of the frontier's hypervolume:\n\n"));
        }
        (None, false) if shortlist.feasible => {
            out.push_str(&format!("Shortlist of {} by worst cases:\n\n", shortlist.picks.len()));
        }
        (None, true) => out.push_str("NOTHING IS FEASIBLE, and no candidate could be simulated.\n"),
        (None, false) => {
            out.push_str("NOTHING IS FEASIBLE. The nearest misses, each of which breaks a constraint:\n\n")
        }
    }
    if !shortlist.picks.is_empty() {
        out.push_str(&layout(&columns(run, shortlist)));
    }
    if let Some(assessment) = &shortlist.assessment {
        out.push_str(&format!(
            "80 %: where it lies on real servers under such traffic, of {} draws. Errors of pass times: {}.\n",
            assessment.draws, assessment.timing_errors
        ));
        if let Some(robust) = &assessment.robust {
            out.push_str(&robust_lines(robust));
        }
    }
    if !shortlist.feasible {
        for blocker in shortlist.blockers.iter().take(5) {
            let verb = if blocker.is_refusal { "refused" } else { "not" };
            out.push_str(&format!("  {:>6}  {verb}: {}\n", blocker.candidates, blocker.cause));
        }
    }
    if !shortlist.inert.is_empty() {
        let names: Vec<&str> = shortlist.inert.iter().map(|knob| knob.name.as_str()).collect();
        out.push_str(&format!("\nChanged nothing wherever that could be seen: {}\n", names.join(", ")));
    }
    out
}

/// What the choice by worst cases rests on.
fn robust_lines(robust: &Robust) -> String {
    let mut out = format!(
        "\nChosen by worst cases: {} of {} frontier members keep every constraint in every scenario.\n",
        count(robust.survivors),
        count(robust.candidates.len())
    );
    for scenario in &robust.scenarios {
        out.push_str(&format!("  {}: {}\n", scenario.name, scenario.words));
    }
    out
}

fn columns(run: &RunData, shortlist: &Shortlist) -> Vec<Column> {
    let study = &run.study;
    let evaluations = run.evaluations();
    let picks = &shortlist.picks;
    let column = |title: String, is_number: bool, cell: &dyn Fn(&Pick) -> String| Column {
        title,
        is_number,
        cells: picks.iter().map(cell).collect(),
    };
    let mut columns = vec![
        column("#".into(), true, &|p| p.rank.to_string()),
        column("id".into(), false, &|p| p.id.clone()),
        column("deployment".into(), false, &|p| shape_words(&study.space, &evaluations[p.row].candidate)),
    ];
    for objective in &study.objectives {
        let metric = objective.metric;
        let cell = |p: &Pick| column_value(metric, evaluations[p.row].metrics[metric]);
        columns.push(column(title(metric), true, &cell));
        if shortlist.assessment.is_some() {
            let cell = |p: &Pick| interval_words(shortlist.assessed(p), metric).unwrap_or_else(|| "-".into());
            columns.push(column("80 %".into(), true, &cell));
        }
    }
    for index in 0..picks.first().map_or(0, |pick| pick.margins.len()) {
        let cell = |p: &Pick| margin_cell(study, &p.margins[index]);
        columns.push(column(bound_words(&picks[0].margins[index]), true, &cell));
    }
    if shortlist.assessment.is_some() {
        let share = |p: &Pick, of: fn(&Assessed) -> f64| shortlist.assessed(p).map_or("-".into(), |a| chance(of(a)));
        if !study.constraints.is_empty() {
            columns.push(column("P(feasible)".into(), true, &|p| share(p, |a| a.feasible)));
        }
        columns.push(column("P(frontier)".into(), true, &|p| share(p, |a| a.frontier)));
    }
    let gpus = Metric::GpusMean as usize;
    columns.push(column("GPUs".into(), true, &|p| column_value(gpus, evaluations[p.row].metrics[gpus])));
    columns.push(column("why".into(), false, &|p| roles_words(study, p)));
    columns
}

/// The frontier as plain text, ascending in the first objective, thinned evenly to at most `most`
/// rows; empty when nothing is feasible.
pub fn render_frontier(run: &RunData, most: usize) -> String {
    let (study, evaluations, frontier) = (&run.study, run.evaluations(), run.frontier());
    let shown = frontier.len().min(most);
    if shown == 0 {
        return String::new();
    }
    let rows: Vec<usize> = (0..shown).map(|i| frontier[i * (frontier.len() - 1) / (shown - 1).max(1)]).collect();
    let column = |title: String, is_number: bool, cell: &dyn Fn(&Evaluation) -> String| Column {
        title,
        is_number,
        cells: rows.iter().map(|&row| cell(evaluations[row])).collect(),
    };
    let mut columns = vec![
        column("id".into(), false, &|e| study.space.id(&e.candidate)),
        column("deployment".into(), false, &|e| shape_words(&study.space, &e.candidate)),
    ];
    for metric in study.objectives.iter().map(|o| o.metric) {
        columns.push(column(title(metric), true, &|e| column_value(metric, e.metrics[metric])));
    }
    let gpus = Metric::GpusMean as usize;
    columns.push(column("GPUs".into(), true, &|e| column_value(gpus, e.metrics[gpus])));
    let of = if shown < frontier.len() { format!(" ({shown} of {} shown)", frontier.len()) } else { String::new() };
    format!("Frontier{of}:\n\n{}", layout(&columns))
}

/// The metric's name, which says its unit; ratios are shown as percentages.
fn title(metric: usize) -> String {
    let percent = if METRICS[metric].unit == "ratio" { " (%)" } else { "" };
    format!("{}{percent}", METRICS[metric].name)
}

pub(crate) fn layout(columns: &[Column]) -> String {
    let width = |text: &str| text.chars().count();
    let widths: Vec<usize> =
        columns.iter().map(|c| c.cells.iter().chain([&c.title]).map(|text| width(text)).max().unwrap_or(0)).collect();
    let line = |cell: &dyn Fn(&Column) -> String| {
        let cells = columns.iter().zip(&widths).map(|(column, &wide)| {
            let text = cell(column);
            let blanks = " ".repeat(wide - width(&text));
            if column.is_number { blanks + &text } else { text + &blanks }
        });
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    let mut out = line(&|c| c.title.clone());
    for row in 0..columns[0].cells.len() {
        out.push_str(&line(&|c| c.cells[row].clone()));
    }
    out
}
