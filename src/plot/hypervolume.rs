//! How the hypervolume grew over the simulations.

use plotters::style::RGBColor;

use super::axis::Axis;
use super::chart::{Key, PLOT, axes, empty, header};
use super::scatter::run_note;
use super::scene::{Anchor, Point, Scene};
use super::style::{FAINT_INK, GREY, NOTE, SERIES};
use crate::archive::RunData;
use crate::frontier::reference::MARGIN;
use crate::frontier::{Front, Reference, hypervolume};
use crate::shortlist::{Shortlist, count};

/// The figure's title.
pub(crate) const TITLE: &str = "Hypervolume over simulations";

/// The hypervolume after some number of simulations.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    /// Simulations so far; candidates refused before simulation do not count.
    pub simulations: usize,
    /// Share of the final frontier's hypervolume.
    pub share: f64,
    /// Index into the strategies of the run, in order of first appearance.
    pub strategy: usize,
}

/// The growth of the hypervolume, in units that the final frontier fixes, and the strategies' names.
/// At most about `most` samples, and one wherever the strategy changes.
pub(crate) fn growth(run: &RunData, most: usize) -> (Vec<Sample>, Vec<String>) {
    let m = run.study.objectives.len();
    let evaluations = run.evaluations();
    let frontier: Vec<f64> = run.frontier().iter().flat_map(|&row| &evaluations[row].objectives).copied().collect();
    let mut names: Vec<String> = Vec::new();
    let Some(reference) = (m > 0).then(|| Reference::by_rule(&frontier, m)).flatten() else {
        return (Vec::new(), names);
    };
    let corner = vec![1.0 + MARGIN; m];
    let total = reference.hypervolume(&frontier);
    let every = evaluations.len().div_ceil(most).max(1);
    let mut samples = Vec::new();
    let mut front = Front::new(m);
    let (mut simulations, mut share, mut is_stale) = (0, 0.0, false);
    for batch in &run.batches {
        let strategy = names.iter().position(|name| *name == batch.strategy).unwrap_or_else(|| {
            names.push(batch.strategy.clone());
            names.len() - 1
        });
        for (index, evaluation) in batch.evaluations.iter().enumerate() {
            if evaluation.is_feasible() {
                is_stale |= front.insert(&reference.normalise(&evaluation.objectives), simulations);
            }
            simulations += usize::from(!evaluation.is_refused());
            let is_last_of_batch = index + 1 == batch.evaluations.len();
            if simulations.is_multiple_of(every) || is_last_of_batch {
                if is_stale {
                    share = hypervolume(front.points(), m, &corner) / total;
                    is_stale = false;
                }
                samples.push(Sample { simulations, share, strategy });
            }
        }
    }
    (samples, names)
}

/// The figure.
pub(crate) fn scene(run: &RunData, shortlist: &Shortlist) -> Scene {
    let mut scene = Scene::default();
    let note = run_note(run, shortlist);
    let (samples, names) = growth(run, 1000);
    let Some(last) = samples.last() else {
        empty(&mut scene, TITLE, &note, "No feasible candidate, so no hypervolume.");
        return scene;
    };
    let x = Axis::starting_at(0.0, last.simulations as f64, PLOT.left, PLOT.right);
    let y = Axis::starting_at(0.0, 100.0, PLOT.bottom, PLOT.top);
    axes(&mut scene, &x, &y, "Simulations", "Share of the final hypervolume (%)");
    let color = |strategy: usize| -> RGBColor { SERIES[strategy % SERIES.len()] };

    let mut path: Vec<Point> = vec![(x.pixel(0.0), y.pixel(0.0))];
    let mut current = samples[0].strategy;
    for sample in &samples {
        if sample.strategy != current {
            let joint = path.last().copied();
            scene.line(std::mem::take(&mut path), color(current), 4.0);
            path.extend(joint);
            current = sample.strategy;
        }
        let (across, up) = (x.pixel(sample.simulations as f64), y.pixel(100.0 * sample.share));
        let level = path.last().map_or(up, |point| point.1);
        // A step: the hypervolume stays until the candidate that raises it.
        if level != up {
            path.push((across, level));
        }
        path.push((across, up));
    }
    path.dedup();
    scene.line(path, color(current), 4.0);

    if let Some(sample) = samples.iter().find(|s| s.share >= 0.99) {
        let at = x.pixel(sample.simulations as f64);
        scene.dashed((at, y.pixel(99.0)), (at, PLOT.bottom), GREY, 2.0);
        let words = format!("99 % after {}", count(sample.simulations));
        let (place, anchor) =
            if at > (PLOT.left + PLOT.right) / 2.0 { (at - 12.0, Anchor::End) } else { (at + 12.0, Anchor::Start) };
        scene.text((place, y.pixel(50.0)), words, NOTE, FAINT_INK, anchor);
    }
    let legend: Vec<(Key, String)> =
        names.iter().enumerate().map(|(index, name)| (Key::Line(color(index)), name.clone())).collect();
    header(&mut scene, TITLE, &note, &legend);
    scene
}
