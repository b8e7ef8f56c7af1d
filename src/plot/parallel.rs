//! The frontier in parallel coordinates: one line per member through its knobs and objectives.

use plotters::style::RGBColor;

use super::axis::{Axis, tick_label};
use super::chart::{Key, PLOT, empty, header};
use super::scatter::{run_note, short_label};
use super::scene::{Anchor, Point, Rect, Scene, fitted, text_width};
use super::style::{BLUE, FAINT_INK, GREY, INK, NOTE, PAPER, VERMILLION, WIDTH};
use super::thin::thin;
use crate::archive::RunData;
use crate::search::Evaluation;
use crate::shortlist::{Shortlist, counted};
use crate::space::Candidate;
use crate::twin::metrics::METRICS;

/// The figure's title.
pub(crate) const TITLE: &str = "The frontier's configurations";
/// Most knobs shown.
const MOST_KNOBS: usize = 6;
/// Most lines of members that are not on the shortlist.
const MOST_LINES: usize = 400;
/// Most levels of a knob that get a label.
const MOST_LABELS: usize = 9;
const TOP: f64 = 258.0;
const SIZE: f64 = NOTE - 2.0;

/// A vertical axis: where each member crosses it, and its labels.
struct Coordinate {
    titles: [String; 2],
    heights: Vec<f64>,
    labels: Vec<(f64, String)>,
}

/// The figure.
pub(crate) fn scene(run: &RunData, shortlist: &Shortlist, frontier: &[usize]) -> Scene {
    let mut scene = Scene::default();
    let note = run_note(run, shortlist);
    let evaluations = run.evaluations();
    let picks: Vec<usize> = shortlist.picks.iter().map(|pick| pick.row).collect();
    let mut rows: Vec<usize> = frontier.iter().copied().filter(|row| !picks.contains(row)).collect();
    let others = rows.len();
    rows.extend(&picks);
    if frontier.is_empty() {
        empty(&mut scene, TITLE, &note, "No feasible candidate, so no frontier.");
        return scene;
    }
    let members: Vec<&Evaluation> = rows.iter().map(|&row| evaluations[row]).collect();
    let varying = varying_knobs(run, &members);
    let shown = most_varied(run, &members, &varying);
    let omitted = match varying.len() - shown.len() {
        0 => "Knobs that are equal on the whole frontier are left out.".to_string(),
        n => format!(
            "Left out: knobs that are equal on the whole frontier, and {} with fewer values.",
            counted(n, "knob")
        ),
    };
    let mut coordinates: Vec<Coordinate> = shown.iter().map(|&knob| knob_coordinate(run, &members, knob)).collect();
    coordinates.extend(run.study.objectives.iter().map(|o| metric_coordinate(o.metric, &members)));

    let (left, right) = (PLOT.left - 20.0, PLOT.right - 115.0);
    let step = (right - left) / coordinates.len().saturating_sub(1).max(1) as f64;
    let across = |index: usize| left + step * index as f64;
    for (index, coordinate) in coordinates.iter().enumerate() {
        let x = across(index);
        // Every other title is set higher where they stand close, on a longer axis.
        let is_raised = coordinates.len() > 5 && index % 2 == 1;
        let top = if is_raised { TOP - 58.0 } else { TOP };
        scene.line(vec![(x, top), (x, PLOT.bottom)], GREY, 2.0);
        let room = if coordinates.len() > 5 { 2.0 * step - 20.0 } else { step - 12.0 };
        for (line, title) in coordinate.titles.iter().enumerate() {
            // Long names are set smaller before they are cut.
            let size = if text_width(title, SIZE, true) > room { SIZE - 4.0 } else { SIZE };
            let title = fitted(title, size, true, room);
            let wide = text_width(&title, size, true) / 2.0;
            // The outer titles stay on the page.
            let center = x.clamp(wide + 12.0, WIDTH - wide - 12.0);
            scene.bold((center, top - 44.0 + 25.0 * line as f64), title, size, INK, Anchor::Middle);
        }
    }
    let path = |member: usize| -> Vec<Point> {
        coordinates.iter().enumerate().map(|(index, c)| (across(index), c.heights[member])).collect()
    };
    let ends: Vec<Point> =
        (0..others).map(|member| (member as f64, coordinates[coordinates.len() - 1].heights[member])).collect();
    for member in thin(&ends, MOST_LINES) {
        scene.line(path(member), BLUE, 1.4);
    }
    for member in others..rows.len() {
        scene.line(path(member), VERMILLION, 3.6);
    }
    for (index, coordinate) in coordinates.iter().enumerate() {
        for (y, label) in &coordinate.labels {
            let wide = text_width(label, SIZE, false);
            let center = (across(index) + 10.0 + wide / 2.0, *y);
            scene.rect(Rect::around(center, wide / 2.0 + 3.0, SIZE / 2.0 + 1.0), PAPER, 0.85);
            scene.text((across(index) + 10.0, *y), label, SIZE, INK, Anchor::Start);
        }
    }
    rank_labels(&mut scene, shortlist, &coordinates, others, right);
    scene.text((PLOT.left, PLOT.bottom + 60.0), omitted, NOTE, FAINT_INK, Anchor::Start);
    let entry = |color: RGBColor, text: String| (Key::Line(color), text);
    let legend = [
        entry(VERMILLION, format!("shortlist ({})", picks.len())),
        entry(BLUE, format!("rest of the frontier ({others})")),
    ];
    header(&mut scene, TITLE, &note, &legend);
    scene
}

/// Ranks of the shortlist at the right end, pushed apart where they would overlap.
fn rank_labels(scene: &mut Scene, shortlist: &Shortlist, coordinates: &[Coordinate], others: usize, right: f64) {
    let last = &coordinates[coordinates.len() - 1];
    let mut ends: Vec<(f64, usize)> =
        shortlist.picks.iter().enumerate().map(|(index, pick)| (last.heights[others + index], pick.rank)).collect();
    ends.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let x = right + 100.0;
    let mut free = f64::NEG_INFINITY;
    for (y, rank) in ends {
        let at = y.max(free + NOTE + 2.0);
        scene.line(vec![(right, y), (x - 14.0, at)], VERMILLION, 1.4);
        scene.bold((x, at), rank.to_string(), NOTE, INK, Anchor::Middle);
        free = at;
    }
}

/// The levels of a knob among some candidates, ascending; absent comes last.
fn levels_of(members: &[&Evaluation], knob: usize) -> Vec<u32> {
    let mut levels: Vec<u32> = members.iter().map(|e| e.candidate.levels[knob]).collect();
    levels.sort_unstable();
    levels.dedup();
    levels
}

/// Searched knobs that vary on the frontier, in the order of the space.
fn varying_knobs(run: &RunData, members: &[&Evaluation]) -> Vec<usize> {
    let knobs = run.study.space.knobs.iter().enumerate();
    let free = knobs.filter(|(_, knob)| knob.domain.values.len() > 1).map(|(index, _)| index);
    free.filter(|&knob| levels_of(members, knob).len() > 1).collect()
}

/// Those that there is room for: deployment shape first, then those with the most values.
fn most_varied(run: &RunData, members: &[&Evaluation], varying: &[usize]) -> Vec<usize> {
    let is_shape = |knob: usize| ["shape", "split"].contains(&run.study.space.knobs[knob].block.as_str());
    let mut shown = varying.to_vec();
    shown.sort_by_key(|&knob| (!is_shape(knob), std::cmp::Reverse(levels_of(members, knob).len()), knob));
    shown.truncate(MOST_KNOBS);
    shown.sort_unstable();
    shown
}

fn knob_coordinate(run: &RunData, members: &[&Evaluation], knob: usize) -> Coordinate {
    let spec = &run.study.space.knobs[knob];
    let levels = levels_of(members, knob);
    let has_absent = levels.last() == Some(&Candidate::ABSENT);
    let gap = (PLOT.bottom - TOP - 40.0) / (levels.len() - 1).max(1) as f64;
    // Low at the bottom, and absent below the lowest.
    let height = |place: usize| {
        let up = if levels[place] == Candidate::ABSENT { 0 } else { place + usize::from(has_absent) };
        PLOT.bottom - 20.0 - gap * up as f64
    };
    let place_of = |level: u32| levels.iter().position(|&l| l == level).unwrap_or(0);
    let stride = levels.len().div_ceil(MOST_LABELS);
    let labels = (0..levels.len()).filter(|place| place % stride == 0).map(|place| {
        let value = spec.domain.values.get(levels[place] as usize);
        (height(place), value.map_or("–".to_string(), ToString::to_string))
    });
    let (group, name) = spec.name.split_once('.').unwrap_or(("", &spec.name));
    Coordinate {
        titles: [group.to_string(), name.to_string()],
        heights: members.iter().map(|e| height(place_of(e.candidate.levels[knob]))).collect(),
        labels: labels.collect(),
    }
}

fn metric_coordinate(metric: usize, members: &[&Evaluation]) -> Coordinate {
    let values: Vec<f64> = members.iter().map(|e| e.metrics[metric]).collect();
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let axis = Axis::new(low, high, low > 0.0 && high / low > 4.0, PLOT.bottom, TOP);
    let mut labels: Vec<(f64, String)> =
        axis.ticks().into_iter().filter_map(|tick| Some((axis.pixel(tick.value), tick.label?))).collect();
    if labels.is_empty() {
        labels.push((axis.pixel(low), tick_label(low, low.abs() / 100.0)));
    }
    Coordinate {
        titles: if short_label(metric) == METRICS[metric].unit {
            [String::new(), METRICS[metric].unit.to_string()]
        } else {
            [short_label(metric), METRICS[metric].unit.to_string()]
        },
        heights: values.iter().map(|&v| axis.pixel(v)).collect(),
        labels,
    }
}
