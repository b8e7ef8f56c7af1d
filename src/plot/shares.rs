//! How soon strategies find a known frontier: what is still missing after so many evaluations.

use std::path::Path;

use super::axis::Axis;
use super::chart::{Key, PLOT, axes, header};
use super::scene::{Anchor, Point, Scene};
use super::style::{FAINT_INK, NOTE, SERIES, ensure_font};
use super::{PlotError, render};
use crate::archive::{ArchiveError, write_atomic};

/// The least missing share that is told from nothing missing.
const LEAST: f64 = 1e-3;

/// One strategy's curve.
#[derive(Clone, Debug)]
pub struct SharesCurve {
    pub name: String,
    /// Evaluations, ascending, and the median share of the true hypervolume found after them.
    pub points: Vec<(f64, f64)>,
}

/// Draws the curves as SVG, both axes logarithmic, with lines where 5 % and 1 % are missing.
///
/// # Errors
/// `File` when it cannot be written; `Draw` when the library refuses.
pub fn draw_shares(title: &str, note: &str, curves: &[SharesCurve], path: &Path) -> Result<(), PlotError> {
    ensure_font()?;
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).map_err(ArchiveError::io("create", directory))?;
    }
    let all = || curves.iter().flat_map(|c| &c.points);
    let span = |values: &mut dyn Iterator<Item = f64>| {
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)))
    };
    let (first, last) = span(&mut all().map(|p| p.0));
    let missing = |share: f64| (1.0 - share).max(LEAST);
    let (_, most) = span(&mut all().map(|p| missing(p.1)));
    let x = Axis::new(first, last.max(first * 2.0), true, PLOT.left, PLOT.right);
    let y = Axis::new(LEAST, most.max(0.1) * 1.1, true, PLOT.bottom, PLOT.top);
    let mut scene = Scene::default();
    axes(&mut scene, &x, &y, "Simulations", "Share of the hypervolume not yet found");
    for (level, label) in [(0.05, "95 % found"), (0.01, "99 % found")] {
        let up = y.pixel(level);
        scene.dashed((PLOT.left, up), (PLOT.right, up), FAINT_INK, 2.0);
        scene.text((PLOT.left + 8.0, up - 14.0), label, NOTE, FAINT_INK, Anchor::Start);
    }
    let mut legend = Vec::new();
    for (index, curve) in curves.iter().enumerate() {
        let color = SERIES[index % SERIES.len()];
        let line: Vec<Point> = curve.points.iter().map(|&(n, share)| (x.pixel(n), y.pixel(missing(share)))).collect();
        line.iter().for_each(|&at| scene.disc(at, 6.0, color, 1.0));
        scene.line(line, color, 4.0);
        legend.push((Key::Line(color), curve.name.clone()));
    }
    header(&mut scene, title, note, &legend);
    write_atomic(path, render::svg(&scene, title, note)?.as_bytes())?;
    Ok(())
}
