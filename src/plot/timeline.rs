//! A replay over time: GPUs by state, requests, KV use and time to first token, one above the other.

use std::path::Path;

use plotters::style::RGBColor;

use super::axis::Axis;
use super::chart::{Key, header};
use super::scene::{Anchor, Point, Rect, Scene, text_width};
use super::style::{BLUE, GREEN, GRID, INK, NOTE, ORANGE, PURPLE, SKY, VERMILLION, ensure_font};
use super::{PlotError, render};
use crate::archive::write_atomic;
use crate::twin::deployment::Role;
use crate::twin::timeline::TimelineRow;
use crate::units::MS_PER_S;

const LEFT: f64 = 110.0;
const RIGHT: f64 = 1165.0;
const TOP: f64 = 150.0;
/// Height of a panel with its title, and of the plot within it.
const PITCH: f64 = 150.0;
const HIGH: f64 = 106.0;
const SIZE: f64 = NOTE - 2.0;

/// What is drawn of a pool's row.
type Value = fn(&TimelineRow) -> f64;

/// One curve of a panel.
struct Curve {
    color: RGBColor,
    points: Vec<(f64, f64)>,
}

/// Draws the timeline as `timeline.svg` and `timeline.png` in a directory; `note` says of what.
///
/// # Errors
/// `File` when they cannot be written; `Draw` when the library refuses.
pub fn draw_timeline(rows: &[TimelineRow], note: &str, directory: &Path) -> Result<(), PlotError> {
    ensure_font()?;
    let title = "Replay over time";
    let scene = scene(rows, title, note);
    write_atomic(&directory.join("timeline.svg"), render::svg(&scene, title, note)?.as_bytes())?;
    render::write_png(&scene, &directory.join("timeline.png"))
}

fn scene(rows: &[TimelineRow], title: &str, note: &str) -> Scene {
    let mut scene = Scene::default();
    let mut roles: Vec<Role> = Vec::new();
    for row in rows {
        if !roles.contains(&row.role) {
            roles.push(row.role);
        }
    }
    let start_ms = rows.first().map_or(0.0, |r| r.from_ms);
    let seconds = |ms: f64| (ms - start_ms) / MS_PER_S;
    let end_s = rows.last().map_or(1.0, |r| seconds(r.to_ms)).max(1e-3);
    let time = Axis::starting_at(0.0, end_s / 1.06, LEFT, RIGHT);
    // Sums over pools, stacked: what is below belongs to the curve below.
    let stacked = |parts: &[Value]| -> Vec<(f64, f64)> {
        let per_interval = rows.chunk_by(|a, b| a.from_ms == b.from_ms);
        let value = |rows: &[TimelineRow]| rows.iter().map(|r| parts.iter().map(|part| part(r)).sum::<f64>()).sum();
        per_interval.flat_map(|r| [(seconds(r[0].from_ms), value(r)), (seconds(r[0].to_ms), value(r))]).collect()
    };
    let of_pool = |role: Role, value: Value| -> Vec<(f64, f64)> {
        let rows = rows.iter().filter(|r| r.role == role);
        rows.map(|r| (seconds(r.to_ms), value(r))).filter(|p| !p.1.is_nan()).collect()
    };
    let gpus: [(RGBColor, &[Value]); 3] = [
        (SKY, &[|r| r.gpus_active, |r| r.gpus_draining, |r| r.gpus_starting]),
        (ORANGE, &[|r| r.gpus_active, |r| r.gpus_draining]),
        (BLUE, &[|r| r.gpus_active]),
    ];
    let gpus = gpus.map(|(color, parts)| Curve { color, points: stacked(parts) });
    let first = roles.first().copied().unwrap_or(Role::Aggregated);
    let ends = |value: Value| -> Vec<(f64, f64)> { stacked(&[value]).into_iter().skip(1).step_by(2).collect() };
    let requests = [
        Curve { color: GREEN, points: ends(|r| f64::from(r.running)) },
        Curve { color: VERMILLION, points: ends(|r| f64::from(r.queued)) },
    ];
    let kv: Vec<Curve> = roles
        .iter()
        .zip([INK, PURPLE, GREEN])
        .map(|(&role, color)| Curve { color, points: of_pool(role, |r| 100.0 * r.kv_util) })
        .collect();
    let ttft = [Curve { color: PURPLE, points: of_pool(first, |r| r.ttft_p90_ms / MS_PER_S) }];
    let kv_title = match roles[..] {
        [Role::Prefill, Role::Decode] => "KV blocks held, % (black: prefill, purple: decode)",
        _ => "KV blocks held, %",
    };
    panel(&mut scene, 0, &time, "GPUs", &gpus, true);
    panel(&mut scene, 1, &time, "Requests", &requests, false);
    panel(&mut scene, 2, &time, kv_title, &kv, false);
    panel(&mut scene, 3, &time, "TTFT p90 of each interval, s", &ttft, false);
    let bottom = TOP + 3.0 * PITCH + 34.0 + HIGH;
    for tick in time.ticks() {
        if let Some(label) = tick.label {
            scene.text((time.pixel(tick.value), bottom + 18.0), label, SIZE, INK, Anchor::Middle);
        }
    }
    let words = "s";
    scene.text((RIGHT + 4.0, bottom + 18.0), words, SIZE, INK, Anchor::Start);
    let legend = [
        (Key::Line(BLUE), "GPUs serving".to_owned()),
        (Key::Line(ORANGE), "leaving".to_owned()),
        (Key::Line(SKY), "starting".to_owned()),
        (Key::Line(GREEN), "requests running".to_owned()),
        (Key::Line(VERMILLION), "queued".to_owned()),
    ];
    header(&mut scene, title, note, &legend);
    scene
}

/// One quantity over time; `filled` draws areas, each over the one before.
fn panel(scene: &mut Scene, place: usize, time: &Axis, title: &str, curves: &[Curve], filled: bool) {
    let top = TOP + PITCH * place as f64 + 34.0;
    let frame = Rect { left: LEFT, top, right: RIGHT, bottom: top + HIGH };
    let most = curves.iter().flat_map(|c| &c.points).map(|p| p.1).fold(0.0, f64::max);
    let y = Axis::starting_at(0.0, most, frame.bottom, frame.top);
    scene.bold((30.0, top - 18.0), title, SIZE, INK, Anchor::Start);
    let mut free_below = f64::INFINITY;
    for tick in y.ticks() {
        let at = y.pixel(tick.value);
        scene.line(vec![(frame.left, at), (frame.right, at)], GRID, 1.0);
        if let Some(label) = tick.label
            && at + SIZE < free_below
        {
            debug_assert!(text_width(&label, SIZE, false) < frame.left);
            scene.text((frame.left - 10.0, at), label, SIZE, INK, Anchor::End);
            free_below = at - SIZE / 2.0;
        }
    }
    for curve in curves {
        let mut line: Vec<Point> = curve.points.iter().map(|&(s, v)| (time.pixel(s), y.pixel(v))).collect();
        let (Some(&first), Some(&last)) = (line.first(), line.last()) else { continue };
        if filled {
            line.push((last.0, frame.bottom));
            line.push((first.0, frame.bottom));
            scene.area(line, curve.color, 1.0);
        } else {
            scene.line(line, curve.color, 2.5);
        }
    }
    scene.line(vec![(frame.left, frame.top), (frame.left, frame.bottom), (frame.right, frame.bottom)], INK, 1.6);
}
