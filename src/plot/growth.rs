//! Cost against size, for the pages on performance: one curve, its values written at its points.

use std::path::Path;

use super::axis::Axis;
use super::chart::{Key, PLOT, axes, header};
use super::scene::{Anchor, Point, Scene};
use super::style::{INK, NOTE, SERIES, ensure_font};
use super::{PlotError, render};
use crate::archive::{ArchiveError, write_atomic};

/// One curve over sizes that grow by factors.
#[derive(Clone, Debug)]
pub struct Growth<'a> {
    pub title: &'a str,
    /// Under the title: what was done, on what.
    pub note: &'a str,
    pub x_title: &'a str,
    pub y_title: &'a str,
    /// (size, cost), ascending in size.
    pub points: &'a [(f64, f64)],
}

/// Draws the curve as SVG; the cost axis starts at 0, so that flat looks flat.
///
/// # Errors
/// `File` when it cannot be written; `Draw` when the library refuses.
pub fn draw_growth(growth: &Growth, path: &Path) -> Result<(), PlotError> {
    ensure_font()?;
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).map_err(ArchiveError::io("create", directory))?;
    }
    let (first, last) = (growth.points.first(), growth.points.last());
    let (Some(first), Some(last)) = (first, last) else { return Ok(()) };
    let most = growth.points.iter().map(|p| p.1).fold(0.0, f64::max);
    let x = Axis::new(first.0, last.0, true, PLOT.left, PLOT.right);
    let y = Axis::starting_at(0.0, 1.25 * most, PLOT.bottom, PLOT.top);
    let mut scene = Scene::default();
    axes(&mut scene, &x, &y, growth.x_title, growth.y_title);
    let curve: Vec<Point> = growth.points.iter().map(|&(size, cost)| (x.pixel(size), y.pixel(cost))).collect();
    scene.line(curve.clone(), SERIES[0], 4.0);
    for (&(across, up), &(_, cost)) in curve.iter().zip(growth.points) {
        scene.disc((across, up), 7.0, SERIES[0], 1.0);
        scene.text((across, up - 22.0), format!("{cost:.2}"), NOTE, INK, Anchor::Middle);
    }
    header(&mut scene, growth.title, growth.note, &[(Key::Line(SERIES[0]), growth.y_title.to_owned())]);
    let svg = render::svg(&scene, growth.title, growth.note)?;
    write_atomic(path, svg.as_bytes())?;
    Ok(())
}
