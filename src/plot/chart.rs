//! The frame that figures share: title, legend, axes with ticks and titles.

use plotters::style::RGBColor;

use super::axis::Axis;
use super::scene::{Anchor, Point, Rect, Scene, fitted, text_width};
use super::style::{FAINT_INK, GRID, INK, LABEL, NOTE, TICK, TITLE, WIDTH};

/// Where data is drawn, in logical pixels.
pub(crate) const PLOT: Rect = Rect { left: 130.0, top: 190.0, right: 1165.0, bottom: 690.0 };

/// How a legend entry is marked.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Key {
    Disc(RGBColor, f64),
    Cross(RGBColor),
    Line(RGBColor),
    Dash(RGBColor),
    Chevron(RGBColor),
}

/// Title, a note under it, and the legend.
pub(crate) fn header(scene: &mut Scene, title: &str, note: &str, legend: &[(Key, String)]) {
    let width = WIDTH - 60.0;
    scene.bold((30.0, 36.0), fitted(title, TITLE, true, width), TITLE, INK, Anchor::Start);
    scene.text((30.0, 76.0), fitted(note, NOTE, false, width), NOTE, FAINT_INK, Anchor::Start);
    let gap = 34.0;
    let widths: Vec<f64> = legend.iter().map(|(_, text)| 32.0 + text_width(text, NOTE, false)).collect();
    let needed = widths.iter().sum::<f64>() + gap * legend.len().saturating_sub(1) as f64;
    // A legend too wide for its line is set smaller rather than cut.
    let shrink = (width / needed).min(1.0);
    let mut x = 30.0;
    for ((key, text), entry_width) in legend.iter().zip(&widths) {
        legend_key(scene, *key, (x + 12.0 * shrink, 116.0));
        scene.text((x + 32.0 * shrink, 116.0), text, NOTE * shrink, INK, Anchor::Start);
        x += (entry_width + gap) * shrink;
    }
}

fn legend_key(scene: &mut Scene, key: Key, center: Point) {
    let (x, y) = center;
    match key {
        Key::Disc(color, radius) => scene.disc(center, radius, color, 1.0),
        Key::Cross(color) => scene.cross(center, 6.0, color),
        Key::Line(color) => scene.line(vec![(x - 12.0, y), (x + 12.0, y)], color, 4.0),
        Key::Dash(color) => scene.dashed((x - 14.0, y), (x + 14.0, y), color, 3.0),
        Key::Chevron(color) => chevron(scene, (x + 5.0, y), (1.0, 0.0), color),
    }
}

/// A small triangle that points out of the plot: what lies beyond the axes.
pub(crate) fn chevron(scene: &mut Scene, tip: Point, (dx, dy): (f64, f64), color: RGBColor) {
    let (x, y) = tip;
    let back = (x - 11.0 * dx, y - 11.0 * dy);
    let side = (6.0 * dy, 6.0 * dx);
    scene.area(vec![tip, (back.0 + side.0, back.1 + side.1), (back.0 - side.0, back.1 - side.1)], color, 1.0);
}

/// Grid, ticks and titles of both axes. The vertical axis has its title above it, where it reads
/// without turning the head.
pub(crate) fn axes(scene: &mut Scene, x: &Axis, y: &Axis, x_title: &str, y_title: &str) {
    let Rect { left, top, right, bottom } = PLOT;
    let mut free_from = f64::NEG_INFINITY;
    for tick in x.ticks() {
        let at = x.pixel(tick.value);
        scene.line(vec![(at, top), (at, bottom)], GRID, if tick.label.is_some() { 1.6 } else { 1.0 });
        if let Some(label) = tick.label {
            let half = text_width(&label, TICK, false) / 2.0;
            if at - half > free_from && at + half < WIDTH {
                scene.text((at, bottom + 24.0), label, TICK, INK, Anchor::Middle);
                free_from = at + half + 14.0;
            }
        }
    }
    let mut free_below = f64::INFINITY;
    for tick in y.ticks() {
        let at = y.pixel(tick.value);
        scene.line(vec![(left, at), (right, at)], GRID, if tick.label.is_some() { 1.6 } else { 1.0 });
        if let Some(label) = tick.label
            && at + TICK / 2.0 < free_below
        {
            scene.text((left - 12.0, at), label, TICK, INK, Anchor::End);
            free_below = at - TICK / 2.0 - 2.0;
        }
    }
    scene.line(vec![(left, top), (left, bottom), (right, bottom)], INK, 2.0);
    scene.bold((30.0, top - 32.0), fitted(y_title, LABEL, true, WIDTH - 60.0), LABEL, INK, Anchor::Start);
    let title = fitted(x_title, LABEL, true, WIDTH - 60.0);
    scene.bold((right, bottom + 72.0), title, LABEL, INK, Anchor::End);
}

/// A figure that has nothing to show says so.
pub(crate) fn empty(scene: &mut Scene, title: &str, note: &str, message: &str) {
    header(scene, title, note, &[]);
    let Rect { left, top, right, bottom } = PLOT;
    scene.line(vec![(left, top), (right, top), (right, bottom), (left, bottom), (left, top)], GRID, 2.0);
    let message = fitted(message, LABEL, false, PLOT.width() - 40.0);
    scene.text(((left + right) / 2.0, (top + bottom) / 2.0), message, LABEL, FAINT_INK, Anchor::Middle);
}
