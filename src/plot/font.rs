//! Left bearings of the embedded font's glyphs.
//!
//! plotters draws a bitmap glyph with the left edge of its ink at the pen, without the bearing that
//! belongs between them, so that letters stand unevenly (`TTFT` runs together). The renderer puts
//! the bearing back; this reads it from the font's own tables (OpenType `cmap` format 4, `hhea`,
//! `hmtx`).

use std::sync::OnceLock;

/// Left bearings of the characters of the Basic Multilingual Plane.
pub(crate) struct Bearings {
    /// By character code, in units of the em.
    of_character: Vec<f32>,
}

impl Bearings {
    /// The bearing of a character at a font size of one unit per em; 0 for one that it lacks.
    pub fn of(&self, c: char) -> f64 {
        self.of_character.get(c as usize).map_or(0.0, |&bearing| f64::from(bearing))
    }
}

/// Bearings of the regular or the bold font.
pub(crate) fn bearings(bold: bool) -> &'static Bearings {
    static REGULAR: OnceLock<Bearings> = OnceLock::new();
    static BOLD: OnceLock<Bearings> = OnceLock::new();
    let (cell, bytes) = if bold { (&BOLD, dejavu::sans::bold()) } else { (&REGULAR, dejavu::sans::regular()) };
    // A font without these tables would be drawn as plotters does it: legible, but uneven.
    cell.get_or_init(|| read(bytes).unwrap_or(Bearings { of_character: Vec::new() }))
}

/// Height of the font's line box in units of the em: plotters sizes bitmap text by it.
pub(crate) const LINE_PER_EM: f64 = 1.164;
/// Height of a capital or a digit in units of the em.
pub(crate) const CAPITAL_PER_EM: f64 = 0.729;

fn read(font: &[u8]) -> Option<Bearings> {
    let u16_at = |at: usize| Some(u16::from_be_bytes(font.get(at..at + 2)?.try_into().ok()?));
    let i16_at = |at: usize| Some(u16_at(at)? as i16);
    let u32_at = |at: usize| Some(u32::from_be_bytes(font.get(at..at + 4)?.try_into().ok()?));
    let table = |tag: &[u8; 4]| {
        let tables = usize::from(u16_at(4)?);
        let entry = (0..tables).map(|i| 12 + 16 * i).find(|&at| font.get(at..at + 4) == Some(tag))?;
        u32_at(entry + 8).map(|offset| offset as usize)
    };
    let units_per_em = f32::from(u16_at(table(b"head")? + 18)?);
    let advances = usize::from(u16_at(table(b"hhea")? + 34)?);
    let hmtx = table(b"hmtx")?;
    let bearing = |glyph: usize| {
        let at = if glyph < advances { hmtx + 4 * glyph + 2 } else { hmtx + 4 * advances + 2 * (glyph - advances) };
        i16_at(at)
    };

    let cmap = table(b"cmap")?;
    let subtables = usize::from(u16_at(cmap + 2)?);
    let format_4 = (0..subtables)
        .filter_map(|i| u32_at(cmap + 4 + 8 * i + 4))
        .map(|offset| cmap + offset as usize)
        .find(|&at| u16_at(at) == Some(4))?;
    let doubled = usize::from(u16_at(format_4 + 6)?);
    let (ends, starts) = (format_4 + 14, format_4 + 16 + doubled);
    let (deltas, offsets) = (starts + doubled, starts + 2 * doubled);
    let mut of_character = vec![0.0; 1 << 16];
    for segment in (0..doubled).step_by(2) {
        let (start, end) = (u16_at(starts + segment)?, u16_at(ends + segment)?);
        let (delta, offset) = (u16_at(deltas + segment)?, u16_at(offsets + segment)?);
        for code in start..=end {
            let glyph = if offset == 0 {
                code.wrapping_add(delta)
            } else {
                let at = offsets + segment + usize::from(offset) + 2 * usize::from(code - start);
                match u16_at(at).unwrap_or(0) {
                    0 => 0,
                    glyph => glyph.wrapping_add(delta),
                }
            };
            if let Some(units) = bearing(usize::from(glyph)) {
                of_character[usize::from(code)] = f32::from(units) / units_per_em;
            }
        }
    }
    Some(Bearings { of_character })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bearings_are_those_of_the_letterforms() {
        for bold in [false, true] {
            let bearings = bearings(bold);
            // A stem stands off the pen, a bar or a diagonal hardly.
            assert!(bearings.of('l') > 0.07 && bearings.of('H') > 0.08, "{}", bearings.of('l'));
            assert!(bearings.of('T').abs() < 0.02 && bearings.of('A').abs() < 0.03, "{}", bearings.of('T'));
            // An overhanging letter reaches left of it.
            assert!(bearings.of('j') < 0.0, "{}", bearings.of('j'));
            assert!(bearings.of('×') > 0.05, "beyond ASCII too: {}", bearings.of('×'));
        }
    }

    #[test]
    fn a_broken_font_has_no_bearings_rather_than_a_panic() {
        let font = dejavu::sans::regular();
        for length in [0, 3, 11, 200, 5000, font.len() / 2] {
            let _ = read(&font[..length]);
        }
        assert!(read(b"not a font at all").is_none());
    }
}
