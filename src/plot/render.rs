//! A scene as SVG text and as PNG bytes, through plotters' backends.

use std::path::Path;

use plotters::backend::{BitMapBackend, DrawingBackend, SVGBackend};
use plotters::drawing::IntoDrawingArea;
use plotters::element::{Circle, PathElement, Polygon};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, ShapeStyle, TextStyle};

use super::PlotError;
use super::font::{CAPITAL_PER_EM, LINE_PER_EM, bearings};
use super::scene::{Anchor, Mark, Scene, Text, text_width};
use super::style::{HEIGHT, PAPER, WIDTH, font};
use crate::archive::{ArchiveError, commit_temporary, temporary_name};

/// Bitmaps are drawn this many times larger and averaged down, which smooths every edge and puts
/// letters on fractions of a pixel.
const OVERSAMPLING: usize = 3;

/// The two ways in which plotters' backends treat text.
#[derive(Clone, Copy, PartialEq)]
enum TextMode {
    /// The viewer sets it.
    Real,
    /// Glyphs are painted.
    Painted,
}

/// Draws every mark on a backend at a scale.
fn draw<B: DrawingBackend>(scene: &Scene, backend: B, scale: f64, mode: TextMode) -> Result<(), PlotError> {
    let failed = |e: &dyn std::fmt::Display| PlotError::Draw(e.to_string());
    let root = backend.into_drawing_area();
    root.fill(&PAPER).map_err(|e| failed(&e))?;
    let at = |(x, y): (f64, f64)| ((x * scale).round() as i32, (y * scale).round() as i32);
    for mark in &scene.marks {
        let drawn = match mark {
            Mark::Line { points, color, width, opacity } => {
                let width = (width * scale).round().max(1.0) as u32;
                let style = ShapeStyle { color: color.mix(*opacity), filled: false, stroke_width: width };
                let points: Vec<(i32, i32)> = points.iter().map(|&p| at(p)).collect();
                root.draw(&PathElement::new(points, style))
            }
            Mark::Disc { center, radius, color, opacity } => {
                let radius = (radius * scale).round().max(1.0) as u32;
                root.draw(&Circle::new(at(*center), radius, color.mix(*opacity).filled()))
            }
            Mark::Area { points, color, opacity } => {
                let points: Vec<(i32, i32)> = points.iter().map(|&p| at(p)).collect();
                root.draw(&Polygon::new(points, color.mix(*opacity).filled()))
            }
            Mark::Text(text) if mode == TextMode::Real => {
                // The SVG backend puts the baseline half an x-height below its point; a capital is
                // centred when the baseline is half a capital's height below.
                let em = text.size / SVG_SIZE_PER_EM;
                let lower = em * (CAPITAL_PER_EM - X_HEIGHT_PER_EM) / 2.0;
                root.draw_text(&text.text, &text_style(text, scale, text.anchor), at((text.at.0, text.at.1 + lower)))
            }
            Mark::Text(text) => paint(text, scale)
                .into_iter()
                .try_for_each(|(glyph, place)| root.draw_text(&glyph, &text_style(text, scale, Anchor::Start), place)),
        };
        drawn.map_err(|e| failed(&e))?;
    }
    root.present().map_err(|e| failed(&e))
}

/// plotters divides a text's size by this to get SVG's size, which is that of the em.
const SVG_SIZE_PER_EM: f64 = 1.24;
/// Height of a small letter without ascender, in units of the em (`ex`, DejaVu Sans).
const X_HEIGHT_PER_EM: f64 = 0.547;

/// Each glyph of a text with the place at which plotters is to paint it.
fn paint(text: &Text, scale: f64) -> Vec<(String, (i32, i32))> {
    let size = text.size * scale;
    let em = size / LINE_PER_EM;
    // plotters paints the baseline half the size below the top of its box, whose height is
    // size / 1.24 and which is centred on the point.
    let baseline = size / 2.0 - size / SVG_SIZE_PER_EM / 2.0;
    let y = text.at.1 * scale + em * CAPITAL_PER_EM / 2.0 - baseline;
    let width = text_width(&text.text, size, text.bold);
    let start = text.at.0 * scale
        - match text.anchor {
            Anchor::Start => 0.0,
            Anchor::Middle => width / 2.0,
            Anchor::End => width,
        };
    let bearings = bearings(text.bold);
    let mut glyphs = Vec::with_capacity(text.text.len());
    for (index, c) in text.text.char_indices() {
        // The pen after the letters before, kerning included.
        let before = &text.text[..index];
        let kerned = text_width(&text.text[..index + c.len_utf8()], size, text.bold);
        let pen =
            if before.is_empty() { 0.0 } else { kerned - text_width(c.encode_utf8(&mut [0; 4]), size, text.bold) };
        let x = start + pen + bearings.of(c) * em;
        glyphs.push((c.to_string(), (x.floor() as i32, y.round() as i32)));
    }
    glyphs
}

fn text_style(text: &Text, scale: f64, anchor: Anchor) -> TextStyle<'_> {
    let across = match anchor {
        Anchor::Start => HPos::Left,
        Anchor::Middle => HPos::Center,
        Anchor::End => HPos::Right,
    };
    TextStyle::from(font(text.size * scale, text.bold)).color(&text.color).pos(Pos::new(across, VPos::Center))
}

/// The scene as an SVG document; `title` and `description` are for readers who cannot see it.
pub(crate) fn svg(scene: &Scene, title: &str, description: &str) -> Result<String, PlotError> {
    let mut document = String::new();
    draw(scene, SVGBackend::with_string(&mut document, (WIDTH as u32, HEIGHT as u32)), 1.0, TextMode::Real)?;
    // The root element is the first; what it says about itself goes right behind its opening tag.
    let opening = document.find('>').map_or(0, |end| end + 1);
    let about = format!("\n<title>{}</title>\n<desc>{}</desc>", escape_xml(title), escape_xml(description));
    document.insert_str(opening, &about);
    Ok(document)
}

/// Text that is safe between XML tags.
fn escape_xml(text: &str) -> String {
    let clean = text.chars().filter(|c| !c.is_control());
    clean.collect::<String>().replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Writes the scene as a PNG file at `path`, which must end in `.png`: a reader, or a kill, sees the old file
/// or the new one.
pub(crate) fn write_png(scene: &Scene, path: &Path) -> Result<(), PlotError> {
    let (width, height) = (WIDTH as usize, HEIGHT as usize);
    let (wide, high) = (width * OVERSAMPLING, height * OVERSAMPLING);
    let mut large = vec![0u8; wide * high * 3];
    let backend = BitMapBackend::with_buffer(&mut large, (wide as u32, high as u32));
    draw(scene, backend, OVERSAMPLING as f64, TextMode::Painted)?;
    let mut small = vec![0u8; width * height * 3];
    let samples = (OVERSAMPLING * OVERSAMPLING) as u32;
    for y in 0..height {
        for x in 0..width {
            let mut sums = [samples / 2; 3];
            for row in 0..OVERSAMPLING {
                let start = ((y * OVERSAMPLING + row) * wide + x * OVERSAMPLING) * 3;
                for pixel in large[start..start + 3 * OVERSAMPLING].chunks_exact(3) {
                    pixel.iter().zip(&mut sums).for_each(|(&channel, sum)| *sum += u32::from(channel));
                }
            }
            let place = (y * width + x) * 3;
            sums.iter().enumerate().for_each(|(c, sum)| small[place + c] = (sum / samples) as u8);
        }
    }
    let failed = |e: &dyn std::fmt::Display| PlotError::Draw(format!("{}: {e}", path.display()));
    let partial = temporary_name(path);
    let mut file = BitMapBackend::new(&partial, (width as u32, height as u32));
    file.blit_bitmap((0, 0), (width as u32, height as u32), &small).map_err(|e| failed(&e))?;
    file.present().map_err(|e| failed(&e))?;
    drop(file);
    let sync = || std::fs::File::open(&partial)?.sync_all();
    sync().map_err(ArchiveError::io("sync", path))?;
    Ok(commit_temporary(&partial, path)?)
}
