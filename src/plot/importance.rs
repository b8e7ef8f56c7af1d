//! Which knobs matter, as bars per knob and objective.

use super::axis::Axis;
use super::chart::{Key, PLOT, empty, header};
use super::scatter::run_note;
use super::scene::{Anchor, Rect, Scene, fitted};
use super::style::{BLUE, FAINT_INK, GREEN, GRID, INK, LABEL, NOTE, ORANGE, TICK};
use crate::archive::RunData;
use crate::shortlist::{KnobImportance, Shortlist, counted, metric_phrase};

/// The figure's title.
pub(crate) const TITLE: &str = "What the objectives depend on";
/// A knob that causes less than this share of every objective's variance is not shown.
const LEAST: f64 = 0.01;
/// Most knobs shown.
const MOST: usize = 9;
/// Where the bars begin: knob names are left of it.
const LEFT: f64 = 430.0;

/// The figure.
pub(crate) fn scene(run: &RunData, shortlist: &Shortlist, importance: Option<&KnobImportance>) -> Scene {
    let mut scene = Scene::default();
    let Some(found) = importance else {
        let message = "Too few candidates to tell which knobs matter.";
        empty(&mut scene, TITLE, &run_note(run, shortlist), message);
        return scene;
    };
    let colors = [BLUE, ORANGE, GREEN];
    let strongest = |knob: usize| found.objectives.iter().map(|o| o.importance[knob]).fold(0.0, f64::max);
    let mut order: Vec<usize> = (0..found.knobs.len()).collect();
    order.sort_by(|&a, &b| strongest(b).total_cmp(&strongest(a)).then(a.cmp(&b)));
    order.retain(|&knob| strongest(knob) >= LEAST);
    let weak = found.knobs.len() - order.len();
    order.truncate(MOST);
    if order.is_empty() {
        empty(&mut scene, TITLE, &run_note(run, shortlist), "No knob alone causes a hundredth of the variance.");
        return scene;
    }

    let top = PLOT.top - 40.0;
    let most = order.iter().map(|&knob| strongest(knob)).fold(0.0, f64::max).max(0.01);
    let x = Axis::starting_at(0.0, 100.0 * most, LEFT, PLOT.right);
    for tick in x.ticks() {
        let at = x.pixel(tick.value);
        scene.line(vec![(at, top), (at, PLOT.bottom)], GRID, 1.6);
        scene.text((at, PLOT.bottom + 24.0), tick.label.unwrap_or_default(), TICK, INK, Anchor::Middle);
    }
    let pitch = (PLOT.bottom - top) / order.len().max(1) as f64;
    let thickness = (pitch * 0.74 / found.objectives.len() as f64).min(30.0);
    for (place, &knob) in order.iter().enumerate() {
        let middle = top + (place as f64 + 0.5) * pitch;
        let name = fitted(&found.knobs[knob], TICK, false, LEFT - 60.0);
        scene.text((LEFT - 14.0, middle), name, TICK, INK, Anchor::End);
        let block = thickness * found.objectives.len() as f64;
        for (index, objective) in found.objectives.iter().enumerate() {
            let upper = middle - block / 2.0 + index as f64 * thickness;
            let right = x.pixel(100.0 * objective.importance[knob]).max(LEFT + 1.0);
            let bar = Rect { left: LEFT, top: upper + 1.0, right, bottom: upper + thickness - 1.0 };
            scene.rect(bar, colors[index % colors.len()], 1.0);
        }
    }
    scene.line(vec![(LEFT, top), (LEFT, PLOT.bottom)], INK, 2.0);
    let title = "Share of the variance that a knob causes, alone or with others (%)";
    scene.bold((PLOT.right, PLOT.bottom + 72.0), title, LABEL, INK, Anchor::End);

    let legend: Vec<(Key, String)> = found
        .objectives
        .iter()
        .enumerate()
        .map(|(index, objective)| {
            let metric = run.study.objectives[objective.objective].metric;
            let explained = 100.0 * objective.explained.max(0.0);
            (Key::Line(colors[index % colors.len()]), format!("{} ({explained:.0} % explained)", metric_phrase(metric)))
        })
        .collect();
    let which = if found.feasible_only { "feasible candidate" } else { "simulated candidate" };
    let below = if weak == 0 { String::new() } else { format!("; {} below 1 % left out", counted(weak, "knob")) };
    let note = format!("{}: random forest over {}{below}", run.study.name, counted(found.candidates, which));
    header(&mut scene, TITLE, &note, &legend);
    if found.objectives.iter().any(|o| o.explained < 0.5) {
        let warning = "Less than half is explained: not to be trusted";
        scene.text((PLOT.right, top + 14.0), warning, NOTE, FAINT_INK, Anchor::End);
    }
    scene
}
