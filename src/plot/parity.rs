//! Predicted against measured latencies, on logarithmic axes.

use std::path::Path;

use super::axis::Axis;
use super::chart::{Key, PLOT, axes, empty, header};
use super::scene::Scene;
use super::style::{FAINT_INK, GREY, SERIES};
use super::{PlotError, render, style};
use crate::archive::write_atomic;

const TITLE: &str = "Predicted against measured latency";

/// A measured point with its predictions, ms: measured first.
#[derive(Clone, Debug)]
pub struct Parity {
    /// What it is coloured by.
    pub series: String,
    pub ttft: (f64, f64),
    pub tpot: (f64, f64),
}

/// Whether a file's ending says how to draw into it.
///
/// # Errors
/// In words, when it does not.
pub fn check_name(file: &Path) -> Result<(), String> {
    match file.extension().and_then(|e| e.to_str()) {
        Some("svg" | "png") => Ok(()),
        _ => Err(format!("{} names no kind of figure", file.display())),
    }
}

/// Draws the points into a file, TTFT and TPOT in one plane: equal distances are equal errors.
///
/// # Errors
/// `File` when it cannot be written; `Draw` when the library refuses.
pub fn draw_parity(points: &[Parity], note: &str, file: &Path) -> Result<(), PlotError> {
    style::ensure_font()?;
    let scene = scene(points, note);
    if file.extension().is_some_and(|e| e == "png") {
        return render::write_png(&scene, file);
    }
    let description = "Time to first token and time per output token of measured serving points: measured across, \
                       predicted up, with the line of equality and lines of 20% error.";
    write_atomic(file, render::svg(&scene, TITLE, description)?.as_bytes())?;
    Ok(())
}

fn scene(points: &[Parity], note: &str) -> Scene {
    let mut scene = Scene::default();
    let all = || points.iter().flat_map(|p| [p.ttft, p.tpot]).flat_map(|(m, p)| [m, p]);
    if points.is_empty() {
        empty(&mut scene, TITLE, note, "No point was both measured and predicted.");
        return scene;
    }
    let low = all().fold(f64::INFINITY, f64::min) / 1.2;
    let high = all().fold(0.0, f64::max) * 1.2;
    let (x, y) = (Axis::new(low, high, true, PLOT.left, PLOT.right), Axis::new(low, high, true, PLOT.bottom, PLOT.top));
    axes(&mut scene, &x, &y, "Measured (ms)", "Predicted (ms)");
    let mut along = |factor: f64, color, width| {
        let (from, to) = ((low / factor).max(low), (high / factor).min(high));
        scene.line(vec![(x.pixel(from), y.pixel(from * factor)), (x.pixel(to), y.pixel(to * factor))], color, width);
    };
    along(1.0, FAINT_INK, 3.0);
    along(1.2, GREY, 1.5);
    along(1.0 / 1.2, GREY, 1.5);
    let mut series: Vec<&str> = points.iter().map(|p| &*p.series).collect();
    series.sort_unstable();
    series.dedup();
    let color = |name: &str| SERIES[series.iter().position(|s| *s == name).unwrap_or(0) % SERIES.len()];
    for point in points {
        scene.disc((x.pixel(point.ttft.0), y.pixel(point.ttft.1)), 4.0, color(&point.series), 0.55);
        scene.cross((x.pixel(point.tpot.0), y.pixel(point.tpot.1)), 4.0, color(&point.series));
    }
    let mut legend: Vec<(Key, String)> = series.iter().map(|s| (Key::Line(color(s)), (*s).to_string())).collect();
    legend.push((Key::Disc(FAINT_INK, 4.0), "TTFT".into()));
    legend.push((Key::Cross(FAINT_INK), "TPOT".into()));
    legend.push((Key::Line(GREY), "20 % off".into()));
    header(&mut scene, TITLE, note, &legend);
    scene
}
