//! The frontier in parallel coordinates: one line per member through its knobs and objectives.

use plotters::style::RGBColor;

use super::axis::{Axis, tick_label};
use super::chart::{Key, PLOT, empty, header};
use super::scatter::{run_note, short_label};
use super::scene::{Anchor, Point, Rect, Scene, fitted, text_width};
use super::style::{BLUE, FAINT_INK, GREY, INK, NOTE, PAPER, VERMILLION};
use super::thin::thin;
use crate::archive::RunData;
use crate::search::Evaluation;
use crate::shortlist::Shortlist;
use crate::space::Candidate;
use crate::twin::metrics::METRICS;

/// The figure's title.
pub(crate) const TITLE: &str = "The frontier's configurations";
/// Most knobs shown: those with the most values on the frontier.
const MOST_KNOBS: usize = 6;
/// Most lines of members that are not on the shortlist.
const MOST_LINES: usize = 400;
/// Most levels of a knob that get a label.
const MOST_LABELS: usize = 9;
const TOP: f64 = 235.0;
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
    let mut coordinates = knob_coordinates(run, &members);
    coordinates.extend(run.study.objectives.iter().map(|o| metric_coordinate(o.metric, &members)));

    let (left, right) = (PLOT.left - 30.0, PLOT.right - 60.0);
    let step = (right - left) / coordinates.len().saturating_sub(1).max(1) as f64;
    let across = |index: usize| left + step * index as f64;
    for (index, coordinate) in coordinates.iter().enumerate() {
        let x = across(index);
        scene.line(vec![(x, TOP), (x, PLOT.bottom)], GREY, 2.0);
        for (line, title) in coordinate.titles.iter().enumerate() {
            let title = fitted(title, SIZE, true, step - 10.0);
            let wide = text_width(&title, SIZE, true) / 2.0;
            // The outer titles stay on the page.
            let center = x.clamp(wide + 12.0, super::style::WIDTH - wide - 12.0);
            scene.bold((center, TOP - 56.0 + 27.0 * line as f64), title, SIZE, INK, Anchor::Middle);
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
    scene.text(
        (PLOT.left, PLOT.bottom + 60.0),
        "Knobs that are equal on the whole frontier are left out.",
        NOTE,
        FAINT_INK,
        Anchor::Start,
    );
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
    let x = right + 92.0;
    let mut free = f64::NEG_INFINITY;
    for (y, rank) in ends {
        let at = y.max(free + NOTE + 2.0);
        scene.line(vec![(right, y), (x - 14.0, at)], VERMILLION, 1.4);
        scene.bold((x, at), rank.to_string(), NOTE, INK, Anchor::Middle);
        free = at;
    }
}

/// Knobs that vary on the frontier, in the order of the space.
fn knob_coordinates(run: &RunData, members: &[&Evaluation]) -> Vec<Coordinate> {
    let space = &run.study.space;
    let levels = |knob: usize| -> Vec<u32> {
        let mut levels: Vec<u32> = members.iter().map(|e| e.candidate.levels[knob]).collect();
        // Absent sorts last, and is drawn at the bottom.
        levels.sort_unstable();
        levels.dedup();
        levels
    };
    let mut varying: Vec<usize> = (0..space.knobs.len()).filter(|&knob| levels(knob).len() > 1).collect();
    if varying.len() > MOST_KNOBS {
        varying.sort_by_key(|&knob| (std::cmp::Reverse(levels(knob).len()), knob));
        varying.truncate(MOST_KNOBS);
        varying.sort_unstable();
    }
    varying
        .into_iter()
        .map(|knob| {
            let levels = levels(knob);
            let gap = (PLOT.bottom - TOP - 40.0) / (levels.len() - 1) as f64;
            let height = |place: usize| {
                // Low at the bottom; an absent knob below the lowest.
                let up = if levels[place] == Candidate::ABSENT {
                    0
                } else {
                    place + usize::from(levels.last() == Some(&Candidate::ABSENT))
                };
                PLOT.bottom - 20.0 - gap * up as f64
            };
            let place_of = |level: u32| levels.iter().position(|&l| l == level).unwrap_or(0);
            let heights = members.iter().map(|e| height(place_of(e.candidate.levels[knob]))).collect();
            let stride = levels.len().div_ceil(MOST_LABELS);
            let labels = (0..levels.len()).filter(|place| place % stride == 0).map(|place| {
                let value = space.knobs[knob].domain.values.get(levels[place] as usize);
                (height(place), value.map_or("–".to_string(), ToString::to_string))
            });
            let (group, name) = space.knobs[knob].name.split_once('.').unwrap_or(("", &space.knobs[knob].name));
            Coordinate { titles: [group.to_string(), name.to_string()], heights, labels: labels.collect() }
        })
        .collect()
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
        titles: [short_label(metric), METRICS[metric].unit.to_string()],
        heights: values.iter().map(|&v| axis.pixel(v)).collect(),
        labels,
    }
}
