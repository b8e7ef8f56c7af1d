//! One look for all figures: colours that stay apart for colour-blind readers, and one font.
//!
//! Colours are those of Okabe and Ito ("Color Universal Design", 2008), with greys.

use std::sync::OnceLock;

use plotters::style::{FontDesc, FontFamily, FontStyle, RGBColor, register_font};

use super::PlotError;

pub(crate) const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
pub(crate) const FAINT_INK: RGBColor = RGBColor(0x5a, 0x5a, 0x5a);
pub(crate) const GRID: RGBColor = RGBColor(0xe4, 0xe4, 0xe4);
pub(crate) const PAPER: RGBColor = RGBColor(0xff, 0xff, 0xff);
pub(crate) const GREY: RGBColor = RGBColor(0x9a, 0x9a, 0x9a);
pub(crate) const BLUE: RGBColor = RGBColor(0x00, 0x72, 0xb2);
pub(crate) const SKY: RGBColor = RGBColor(0x56, 0xb4, 0xe9);
pub(crate) const GREEN: RGBColor = RGBColor(0x00, 0x9e, 0x73);
pub(crate) const ORANGE: RGBColor = RGBColor(0xe6, 0x9f, 0x00);
pub(crate) const VERMILLION: RGBColor = RGBColor(0xd5, 0x5e, 0x00);
pub(crate) const PURPLE: RGBColor = RGBColor(0xcc, 0x79, 0xa7);

/// Colours for several series of one figure, in order.
pub(crate) const SERIES: [RGBColor; 6] = [BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILLION];

/// Size of every figure, in logical pixels.
pub(crate) const WIDTH: f64 = 1200.0;
pub(crate) const HEIGHT: f64 = 800.0;

/// Font sizes, in logical pixels: large, because figures are shown small.
pub(crate) const TITLE: f64 = 34.0;
pub(crate) const LABEL: f64 = 27.0;
pub(crate) const TICK: f64 = 25.0;
pub(crate) const NOTE: f64 = 23.0;

/// The family by which the embedded font is registered, which SVG viewers read as a list of
/// fonts: those without DejaVu take the next.
pub(crate) const FAMILY: &str = "DejaVu Sans, Verdana, Helvetica, Arial, sans-serif";

/// Registers the embedded font with plotters, once: without a font even SVG has no text.
pub(crate) fn ensure_font() -> Result<(), PlotError> {
    static REGISTERED: OnceLock<bool> = OnceLock::new();
    let registered = REGISTERED.get_or_init(|| {
        let normal = register_font(FAMILY, FontStyle::Normal, dejavu::sans::regular());
        let bold = register_font(FAMILY, FontStyle::Bold, dejavu::sans::bold());
        normal.is_ok() && bold.is_ok()
    });
    if *registered { Ok(()) } else { Err(PlotError::Draw("the embedded font cannot be read".into())) }
}

/// The embedded font at a size. (plotters' `FontDesc::style` would keep the regular letterforms.)
pub(crate) fn font(size: f64, bold: bool) -> FontDesc<'static> {
    FontDesc::new(FontFamily::Name(FAMILY), size, if bold { FontStyle::Bold } else { FontStyle::Normal })
}
