//! `report.html`: a run as one page that needs nothing else.
//!
//! Text, shortlist and figures are in the page as they are; table and chart of the candidates are made
//! by its script out of the data beside it. Nothing is fetched: the page forbids it to itself. All text
//! out of a study is escaped, here and by the script, which only ever sets text.

mod data;

use std::fmt::Write;

use crate::archive::{Manifest, RunData};
use crate::plot::{Drawn, Figures, PlotError};
use crate::shortlist::{
    Explained, Pick, Robust, Shortlist, count, counted, entry_directory, overview_cells, significant, with_unit,
};
use crate::space::Study;
use crate::twin::metrics::METRICS;
use data::{Rows, embeddable, json};

/// Most bytes of figures in a page.
const MOST_FIGURES: usize = 1_200_000;
/// Colours of the phases of a request's time, in their order (Okabe and Ito, and a grey).
const PHASES: [&str; 7] = ["#e69f00", "#0072b2", "#cc79a7", "#56b4e9", "#d55e00", "#222222", "#9a9a9a"];

/// The page of a run, with its figures.
///
/// # Errors
/// `Draw` when the drawing library refuses.
pub fn html(run: &RunData, manifest: &Manifest, shortlist: &Shortlist, figures: &Figures) -> Result<String, PlotError> {
    let mut figures = figures.svgs()?;
    // The page has a chart of its own in the place of these.
    figures.retain(|figure| !figure.name.starts_with("frontier-1") && figure.name != "frontier-2-3");
    let mut page = String::new();
    // Writing to a string cannot fail.
    let _ = write_page(&mut page, run, manifest, shortlist, &figures);
    Ok(page)
}

/// Text that is safe in HTML, between tags and in quoted attributes.
pub fn escape_html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() && c != '\n' && c != '\t' => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

fn write_page(
    out: &mut String,
    run: &RunData,
    manifest: &Manifest,
    shortlist: &Shortlist,
    figures: &[Drawn],
) -> std::fmt::Result {
    let study = &run.study;
    let rows = Rows::of(&run.evaluations(), &run.frontier(), shortlist);
    let name = escape_html(&study.name);
    writeln!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'\">\n<link rel=\"icon\" href=\"data:,\">\n<title>{name}: Servescout</title>\n<style>\n{}</style>\n</head>\n<body>\n<a class=\"skip\" href=\"#candidates\">Skip to the candidates</a>",
        include_str!("page.css")
    )?;
    write_head(out, run, shortlist)?;
    writeln!(out, "<main>")?;
    write_shortlist(out, run, shortlist)?;
    if let Some(robust) = shortlist.assessment.as_ref().and_then(|a| a.robust.as_ref()) {
        write_robust(out, study, robust, shortlist)?;
    }
    write_chart(out, shortlist)?;
    write_table(out, &rows)?;
    write_figures(out, figures)?;
    write_manifest(out, manifest)?;
    let data = embeddable(&json(run, shortlist, &rows));
    writeln!(
        out,
        "</main>\n<script type=\"application/json\" id=\"data\">{data}</script>\n<script>\n{}</script>\n</body>\n</html>",
        include_str!("page.js")
    )
}

fn write_head(out: &mut String, run: &RunData, shortlist: &Shortlist) -> std::fmt::Result {
    let (study, counts) = (&run.study, &shortlist.counts);
    let objectives: Vec<String> = study
        .objectives
        .iter()
        .map(|o| format!("{} {}", if o.maximize { "maximise" } else { "minimise" }, METRICS[o.metric].name))
        .collect();
    let bounds: Vec<String> = study
        .constraints
        .iter()
        .flat_map(|c| {
            let name = METRICS[c.metric].name;
            [c.min.map(|b| format!("{name} ≥ {b}")), c.max.map(|b| format!("{name} ≤ {b}"))]
        })
        .flatten()
        .collect();
    let bounds = if bounds.is_empty() { "none".into() } else { bounds.join(", ") };
    writeln!(
        out,
        "<header>\n<h1>{}</h1>\n<p>{} on {}, at most {} GPUs. {}. Constraints: {}. Workload: {} from {}.</p>\n<p>{} evaluated: {} feasible, {} infeasible, {} refused, {} not simulated to the end; {} on the frontier.</p>",
        escape_html(&study.name),
        escape_html(&study.model.name),
        escape_html(&study.gpu.name),
        study.max_gpus,
        escape_html(&objectives.join(", ")),
        escape_html(&bounds),
        counted(run.workload.requests, "request"),
        escape_html(&run.workload.source),
        counted(counts.evaluated, "candidate"),
        count(counts.feasible),
        count(counts.infeasible),
        count(counts.refused),
        count(counts.spared),
        count(counts.frontier)
    )?;
    writeln!(
        out,
        "<nav aria-label=\"Contents\"><ul><li><a href=\"#shortlist\">Shortlist</a></li><li><a href=\"#chart\">Chart</a></li><li><a href=\"#candidates\">Candidates</a></li><li><a href=\"#figures\">Figures</a></li><li><a href=\"#manifest\">Manifest</a></li></ul></nav>\n</header>"
    )
}

/// A table.
fn write_cells(out: &mut String, caption: &str, titles: &[String], rows: &[Vec<String>]) -> std::fmt::Result {
    writeln!(
        out,
        "<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"{0}\"><table><caption>{0}</caption><thead><tr>",
        escape_html(caption)
    )?;
    for title in titles {
        write!(out, "<th scope=\"col\">{}</th>", escape_html(title))?;
    }
    writeln!(out, "</tr></thead><tbody>")?;
    for row in rows {
        write!(out, "<tr>")?;
        for cell in row {
            // The step from one value to another reads from the left.
            let is_number = cell.starts_with(|c: char| c.is_ascii_digit() || "+-±×".contains(c))
                && cell.len() < 28
                && !cell.contains('→');
            let class = if is_number {
                " class=\"n\""
            } else if cell.len() > 48 {
                " class=\"wrap\""
            } else {
                ""
            };
            write!(out, "<td{class}>{}</td>", escape_html(cell))?;
        }
        writeln!(out, "</tr>")?;
    }
    writeln!(out, "</tbody></table></div>")
}

fn write_shortlist(out: &mut String, run: &RunData, shortlist: &Shortlist) -> std::fmt::Result {
    writeln!(out, "<section id=\"shortlist\" aria-labelledby=\"h-shortlist\">\n<h2 id=\"h-shortlist\">Shortlist</h2>")?;
    if !shortlist.feasible {
        writeln!(
            out,
            "<p class=\"bad\">Nothing is feasible. What follows are the nearest misses: every one breaks a constraint.</p>"
        )?;
    }
    let (titles, rows) = overview_cells(run, shortlist);
    write_cells(out, "Entries in the order in which they are worth measuring", &titles, &rows)?;
    if let Some(assessment) = &shortlist.assessment {
        writeln!(
            out,
            "<p class=\"note\">80 %: where a value lies on real servers under traffic like this, with that chance, from {} draws of resampled traffic and of errors of pass times. Errors of pass times: {}.</p>",
            assessment.draws,
            escape_html(&assessment.timing_errors)
        )?;
    }
    for pick in &shortlist.picks {
        write_pick(out, run, shortlist, pick)?;
    }
    writeln!(out, "</section>")
}

fn write_pick(out: &mut String, run: &RunData, shortlist: &Shortlist, pick: &Pick) -> std::fmt::Result {
    let study = &run.study;
    let explained = shortlist.assessment.as_ref().and_then(|a| a.explanation(&pick.id));
    let shape = crate::shortlist::shape_words(&study.space, &run.evaluations()[pick.row].candidate);
    writeln!(
        out,
        "<details{}>\n<summary><strong>{}. {}</strong> <code>{}</code></summary>\n<p>{}</p>",
        if pick.rank == 1 { " open" } else { "" },
        pick.rank,
        escape_html(&shape),
        escape_html(&pick.id),
        escape_html(&pick.why)
    )?;
    writeln!(
        out,
        "<p class=\"note\">Replay it: <code>servescout replay shortlist/{}/candidate.toml</code></p>",
        escape_html(&entry_directory(pick))
    )?;
    if let Some(explained) = explained {
        write_explained(out, study, explained)?;
    }
    writeln!(out, "</details>")
}

fn write_explained(out: &mut String, study: &Study, explained: &Explained) -> std::fmt::Result {
    if let Some(phases) = &explained.phases {
        let total = phases.total_ms().max(1e-9);
        let parts: Vec<(usize, &str, f64)> =
            phases.named().into_iter().enumerate().map(|(i, (name, ms))| (i, name, ms)).filter(|p| p.2 > 0.0).collect();
        let words: Vec<String> = parts
            .iter()
            .map(|(_, name, ms)| format!("{name} {} ms ({:.1} %)", significant(*ms), 100.0 * ms / total))
            .collect();
        writeln!(
            out,
            "<h3>Where the time of a mean request goes: {} ms</h3>\n<div class=\"split\" role=\"img\" aria-label=\"{}\">",
            significant(total),
            escape_html(&words.join(", "))
        )?;
        for (index, _, ms) in &parts {
            write!(out, "<span style=\"width:{:.2}%;background:{}\"></span>", 100.0 * ms / total, PHASES[*index])?;
        }
        write!(out, "</div>\n<p class=\"split-key\">")?;
        for ((index, _, _), words) in parts.iter().zip(&words) {
            write!(out, "<i style=\"background:{}\"></i>{} ", PHASES[*index], escape_html(words))?;
        }
        writeln!(out, "</p>")?;
    }
    let (titles, rows) = crate::shortlist::step_cells(study, explained);
    if !rows.is_empty() {
        write_cells(out, "One knob moved by one step, simulated", &titles, &rows)?;
    }
    for (what, rival) in [("Nearest loser", &explained.loser), ("Nearest miss", &explained.miss)] {
        if let Some(rival) = rival {
            let words = crate::shortlist::rival_words(rival);
            writeln!(out, "<p><strong>{what}:</strong> {}</p>", escape_html(&words))?;
        }
    }
    Ok(())
}

fn write_robust(out: &mut String, study: &Study, robust: &Robust, shortlist: &Shortlist) -> std::fmt::Result {
    writeln!(
        out,
        "<section aria-labelledby=\"h-worst\">\n<h2 id=\"h-worst\">Worst cases</h2>\n<p>Chosen by the worst case over these scenarios; {} of {} frontier members that were looked at keep every constraint in all of them.</p>\n<ul>",
        robust.survivors,
        robust.candidates.len()
    )?;
    for scenario in &robust.scenarios {
        writeln!(out, "<li>{}: {}</li>", escape_html(&scenario.name), escape_html(&scenario.words))?;
    }
    writeln!(out, "</ul>")?;
    let mut titles = vec!["#".to_string()];
    titles.extend(study.objectives.iter().map(|o| format!("worst {}", METRICS[o.metric].name)));
    titles.push("breaks".into());
    let row = |pick: &Pick| {
        let worst = robust.worst_of(&pick.id)?;
        let mut cells = vec![pick.rank.to_string()];
        cells.extend(study.objectives.iter().zip(&worst.worst).map(|(o, (value, scenario))| {
            format!("{} ({scenario})", value.map_or("-".into(), |v| with_unit(o.metric, v)))
        }));
        cells.push(if worst.broken.is_empty() { "nothing".into() } else { worst.broken.join("; ") });
        Some(cells)
    };
    let rows: Vec<Vec<String>> = shortlist.picks.iter().filter_map(row).collect();
    write_cells(out, "The worst case of each entry", &titles, &rows)?;
    writeln!(out, "</section>")
}

fn write_chart(out: &mut String, shortlist: &Shortlist) -> std::fmt::Result {
    let key = |shape: &str, text: &str| {
        format!("<li><svg width=\"18\" height=\"14\" aria-hidden=\"true\">{shape}</svg> {text}</li>")
    };
    let picked = if shortlist.feasible { "shortlist" } else { "nearest misses" };
    let keys = [
        key("<circle cx=\"9\" cy=\"7\" r=\"6\" fill=\"#d55e00\"/>", picked),
        key("<circle cx=\"9\" cy=\"7\" r=\"5\" fill=\"#0072b2\"/>", "frontier"),
        key("<circle cx=\"9\" cy=\"7\" r=\"4\" fill=\"#56b4e9\"/>", "dominated"),
        key("<path d=\"M5,3l8,8m0,-8l-8,8\" stroke=\"#8a8a8a\"/>", "infeasible"),
        key("<path d=\"M0,7H18M9,0V14\" stroke=\"#b34700\" stroke-width=\"2\"/>", "80 % interval"),
    ];
    writeln!(
        out,
        "<section id=\"chart\" aria-labelledby=\"h-chart\">\n<h2 id=\"h-chart\">Candidates by two metrics</h2>\n<p class=\"note\">Point at a mark, or move among the frontier with Tab and the arrow keys, to see its configuration; click or Enter selects it. Draw a rectangle, or move the sliders, to keep a part: table and chart follow.</p>\n<noscript><p class=\"bad\">Chart and table of candidates need JavaScript; shortlist and figures do not.</p></noscript>\n<div class=\"controls\"><label>Across<select id=\"x\"></select></label><label>Up<select id=\"y\"></select></label></div>\n<div class=\"controls\" id=\"brushes\"></div>\n<ul class=\"key\">{}</ul>\n<div class=\"chart\"><svg id=\"plot\" viewBox=\"0 0 1000 600\" role=\"group\" aria-label=\"Candidates in the plane of two metrics\"></svg><div id=\"detail\" aria-live=\"polite\"></div></div>\n<p id=\"said\" class=\"note\" role=\"status\"></p>\n</section>",
        keys.concat()
    )
}

fn write_table(out: &mut String, rows: &Rows) -> std::fmt::Result {
    let left_out = if rows.shown.len() < rows.simulated {
        format!(
            " Of {} simulated candidates {} are in this page: the shortlist, the frontier, and an even part of the others; all are in <code>evaluations/*.parquet</code>.",
            count(rows.simulated),
            count(rows.shown.len())
        )
    } else {
        String::new()
    };
    writeln!(
        out,
        "<section id=\"candidates\" aria-labelledby=\"h-candidates\">\n<h2 id=\"h-candidates\">Candidates</h2>\n<p class=\"note\">Words filter by id, deployment, state and knobs, such as <code>aggregated.tp=4</code>; all must match. A column's title sorts by it.{left_out}</p>\n<div class=\"controls\"><label>Filter<input type=\"search\" id=\"filter\" autocomplete=\"off\" spellcheck=\"false\"></label><label>Show<select id=\"state\"><option value=\"all\">all</option><option value=\"feasible\">feasible</option><option value=\"frontier\">frontier</option><option value=\"shortlist\">shortlist</option></select></label><button type=\"button\" id=\"reset\">Show all again</button></div>\n<p id=\"count\" role=\"status\"></p>\n<div class=\"wide\"><table id=\"table\"><caption>Simulated candidates; select a row to see it in the chart</caption><thead></thead><tbody></tbody></table></div>\n<div class=\"controls\"><button type=\"button\" id=\"before\">Previous page</button><button type=\"button\" id=\"after\">Next page</button></div>\n</section>"
    )
}

fn write_figures(out: &mut String, figures: &[Drawn]) -> std::fmt::Result {
    writeln!(out, "<section id=\"figures\" aria-labelledby=\"h-figures\">\n<h2 id=\"h-figures\">Figures</h2>")?;
    let mut left = MOST_FIGURES;
    for figure in figures {
        let name = escape_html(&figure.name);
        if figure.svg.len() > left {
            writeln!(
                out,
                "<p class=\"note\">{}: too large for this page, see <code>plots/{name}.svg</code>.</p>",
                escape_html(&figure.title)
            )?;
            continue;
        }
        left -= figure.svg.len();
        let label = format!("<svg role=\"img\" aria-label=\"{}\" ", escape_html(&figure.description));
        let svg = figure.svg.replacen("<svg ", &label, 1);
        writeln!(
            out,
            "<figure>{svg}<figcaption>{}. {} <code>plots/{name}.svg</code></figcaption></figure>",
            escape_html(&figure.title),
            escape_html(&figure.description)
        )?;
    }
    writeln!(out, "</section>")
}

fn write_manifest(out: &mut String, manifest: &Manifest) -> std::fmt::Result {
    let run = &manifest.run;
    writeln!(
        out,
        "<section id=\"manifest\" aria-labelledby=\"h-manifest\">\n<h2 id=\"h-manifest\">Manifest</h2>\n<dl class=\"facts\">"
    )?;
    let mut facts = vec![
        ("Servescout", run.servescout.clone()),
        ("Seed", run.seed.to_string()),
        ("Strategy", run.strategy.clone()),
        ("Budget", counted(run.budget, "simulation")),
        ("Batch", counted(run.batch, "candidate")),
        ("Workload", format!("{}, {}", manifest.workload.source, counted(manifest.workload.requests, "request"))),
        ("Workload SHA-256", manifest.workload.sha256.clone()),
        ("Fingerprint", run.fingerprint.clone()),
    ];
    facts.extend(manifest.timing.provenance.iter().map(|line| ("Pass times", line.clone())));
    for session in &manifest.sessions {
        let wall = session.wall_s.map_or(String::new(), |s| format!(", {} s", significant(s)));
        let words =
            format!("{}{wall}, {} threads, {} {}", session.started_utc, session.threads, session.os, session.arch);
        facts.push(("Session", words));
    }
    for (name, value) in facts {
        writeln!(out, "<dt>{name}</dt><dd>{}</dd>", escape_html(&value))?;
    }
    writeln!(
        out,
        "</dl>\n<details><summary>The search space</summary><pre tabindex=\"0\">{}</pre></details>\n</section>",
        escape_html(&manifest.space.toml)
    )
}
