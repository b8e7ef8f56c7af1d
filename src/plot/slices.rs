//! One objective against each knob: a small panel per knob, a dot per feasible candidate, and the
//! best that each value attains.

use super::axis::Axis;
use super::chart::{Key, empty, header};
use super::scatter::{axis_title, run_note};
use super::scene::{Anchor, Point, Scene, fitted, text_width};
use super::style::{BLUE, GRID, INK, NOTE, SKY, VERMILLION};
use super::thin::thin;
use crate::archive::RunData;
use crate::search::Evaluation;
use crate::shortlist::{KnobImportance, Shortlist};
use crate::space::{Candidate, Objective};

/// Most panels.
const MOST_PANELS: usize = 6;
const LEFT: f64 = 100.0;
const RIGHT: f64 = 1180.0;
const TOP: f64 = 185.0;
const BOTTOM: f64 = 785.0;
const SIZE: f64 = NOTE - 1.0;
/// Most dots in a panel.
const MOST_DOTS: usize = 500;
/// Most values of a knob that get a label.
const MOST_LABELS: usize = 6;

/// The figure for one objective (index into the study's).
pub(crate) fn scene(
    run: &RunData,
    shortlist: &Shortlist,
    objective: usize,
    importance: Option<&KnobImportance>,
    title: &str,
) -> Scene {
    let mut scene = Scene::default();
    let spec = run.study.objectives[objective];
    let note = run_note(run, shortlist);
    let evaluations = run.evaluations();
    let feasible: Vec<&Evaluation> =
        evaluations.iter().copied().filter(|e| e.is_feasible() && e.metrics[spec.metric].is_finite()).collect();
    let knobs = shown_knobs(run, &feasible, objective, importance);
    if knobs.is_empty() {
        empty(&mut scene, title, &note, "No knob varies among feasible candidates.");
        return scene;
    }
    let values: Vec<f64> = feasible.iter().map(|e| e.metrics[spec.metric]).collect();
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let is_log = low > 0.0 && high / low > 10.0;
    let (columns, rows) = grid(knobs.len());
    let pitch = ((RIGHT - LEFT) / columns as f64, (BOTTOM - TOP) / rows as f64);
    for (place, &knob) in knobs.iter().enumerate() {
        let corner = (LEFT + pitch.0 * (place % columns) as f64, TOP + pitch.1 * (place / columns) as f64);
        let frame = Frame {
            left: corner.0,
            right: corner.0 + pitch.0 - 70.0,
            top: corner.1 + 34.0,
            bottom: corner.1 + pitch.1 - 50.0,
        };
        let y = Axis::new(low, high, is_log, frame.bottom, frame.top);
        panel(&mut scene, run, &feasible, shortlist, knob, spec, &frame, &y);
    }
    scene.bold((30.0, 156.0), fitted(&axis_title(spec), NOTE, true, RIGHT - 30.0), NOTE, INK, Anchor::Start);
    let legend = [
        (Key::Disc(SKY, 6.0), "feasible candidate".to_string()),
        (Key::Line(BLUE), "best of each value".to_string()),
        (Key::Disc(VERMILLION, 8.0), "shortlist".to_string()),
    ];
    header(&mut scene, title, &note, &legend);
    scene
}

/// Columns and rows of panels, so that they fill the figure.
fn grid(panels: usize) -> (usize, usize) {
    match panels {
        0..=2 => (panels.max(1), 1),
        3 => (3, 1),
        4 => (2, 2),
        _ => (3, 2),
    }
}

struct Frame {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
}

/// The knobs that vary, the most important first where that is known, as many as there are panels.
fn shown_knobs(
    run: &RunData,
    feasible: &[&Evaluation],
    objective: usize,
    importance: Option<&KnobImportance>,
) -> Vec<usize> {
    let space = &run.study.space;
    let mut knobs: Vec<usize> = (0..space.knobs.len())
        .filter(|&knob| space.knobs[knob].domain.values.len() > 1)
        .filter(|&knob| feasible.windows(2).any(|w| w[0].candidate.levels[knob] != w[1].candidate.levels[knob]))
        .collect();
    let weight = |knob: usize| -> f64 {
        let found = importance.and_then(|i| {
            let place = i.knobs.iter().position(|name| *name == space.knobs[knob].name)?;
            Some(i.objectives.iter().find(|o| o.objective == objective)?.importance[place])
        });
        found.unwrap_or(0.0)
    };
    knobs.sort_by(|&a, &b| weight(b).total_cmp(&weight(a)).then(a.cmp(&b)));
    knobs.truncate(MOST_PANELS);
    knobs
}

#[allow(clippy::too_many_arguments, reason = "a panel is drawn from all of it")]
fn panel(
    scene: &mut Scene,
    run: &RunData,
    feasible: &[&Evaluation],
    shortlist: &Shortlist,
    knob: usize,
    spec: Objective,
    frame: &Frame,
    y: &Axis,
) {
    let spec_knob = &run.study.space.knobs[knob];
    // What each level attains; levels in order, absent last.
    let size = spec_knob.domain.values.len();
    let mut best_of: Vec<Option<f64>> = vec![None; size + 1];
    for e in feasible {
        let value = e.metrics[spec.metric];
        let best = &mut best_of[(e.candidate.levels[knob] as usize).min(size)];
        *best = Some(match *best {
            Some(best) if spec.maximize => best.max(value),
            Some(best) => best.min(value),
            None => value,
        });
    }
    let level_of = |place: usize| if place == size { Candidate::ABSENT } else { place as u32 };
    let attained: Vec<(u32, f64)> =
        best_of.iter().enumerate().filter_map(|(place, best)| Some((level_of(place), (*best)?))).collect();
    let levels: Vec<u32> = attained.iter().map(|&(level, _)| level).collect();
    let step = (frame.right - frame.left) / levels.len() as f64;
    let mut places: Vec<f64> = vec![frame.left; size + 1];
    for (place, &level) in levels.iter().enumerate() {
        places[(level as usize).min(size)] = frame.left + step * (place as f64 + 0.5);
    }
    let across = |level: u32| places[(level as usize).min(size)];
    for tick in y.ticks() {
        let at = y.pixel(tick.value);
        if let Some(label) = tick.label {
            scene.line(vec![(frame.left, at), (frame.right, at)], GRID, 1.4);
            scene.text((frame.left - 8.0, at), label, SIZE - 2.0, INK, Anchor::End);
        }
    }
    scene.line(vec![(frame.left, frame.top), (frame.left, frame.bottom), (frame.right, frame.bottom)], INK, 1.6);
    let name = fitted(&spec_knob.name, SIZE, true, frame.right - frame.left + 50.0);
    scene.bold((frame.left, frame.top - 18.0), name, SIZE, INK, Anchor::Start);

    let spread = (step * 0.3).min(14.0);
    let dots: Vec<Point> = feasible
        .iter()
        .enumerate()
        .map(|(index, e)| {
            // A fixed jitter, so that equal values show as several dots.
            let jitter = (index as f64 * 0.618_033_988_75).fract() * 2.0 - 1.0;
            (across(e.candidate.levels[knob]) + spread * jitter, y.pixel(e.metrics[spec.metric]))
        })
        .collect();
    for index in thin(&dots, MOST_DOTS) {
        scene.disc(dots[index], 3.0, SKY, 0.6);
    }
    let best: Vec<Point> = attained.iter().map(|&(level, value)| (across(level), y.pixel(value))).collect();
    // A line says that neighbouring values are alike; between names there is nothing.
    if spec_knob.domain.ordered && !levels.contains(&Candidate::ABSENT) {
        scene.line(best, BLUE, 3.0);
    } else {
        let half = (step * 0.36).min(40.0);
        best.iter().for_each(|&(x, at)| scene.line(vec![(x - half, at), (x + half, at)], BLUE, 3.5));
    }
    let evaluations = run.evaluations();
    for pick in shortlist.picks.iter().filter(|pick| evaluations[pick.row].is_feasible()) {
        let evaluation = evaluations[pick.row];
        scene.disc(
            (across(evaluation.candidate.levels[knob]), y.pixel(evaluation.metrics[spec.metric])),
            6.0,
            VERMILLION,
            1.0,
        );
    }
    let stride = levels.len().div_ceil(MOST_LABELS);
    let room = step * stride as f64 - 4.0;
    for &level in levels.iter().step_by(stride) {
        let value = spec_knob.domain.values.get(level as usize).map_or("–".to_string(), ToString::to_string);
        for (line, label) in lines(&value, SIZE - 3.0, room).into_iter().enumerate() {
            scene.text(
                (across(level), frame.bottom + 16.0 + 20.0 * line as f64),
                label,
                SIZE - 3.0,
                INK,
                Anchor::Middle,
            );
        }
    }
}

/// A name on one line, or on two broken at an underscore where it is too wide, cut if need be.
fn lines(name: &str, size: f64, room: f64) -> Vec<String> {
    let breaks = name.match_indices('_').map(|(at, _)| at + 1);
    let middle = breaks.min_by_key(|at| at.abs_diff(name.len() / 2));
    match middle {
        Some(at) if text_width(name, size, false) > room => {
            [&name[..at], &name[at..]].map(|half| fitted(half, size, false, room)).to_vec()
        }
        _ => vec![fitted(name, size, false, room)],
    }
}
