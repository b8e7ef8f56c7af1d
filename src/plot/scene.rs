//! A figure as a list of marks in logical pixels, from the top left: laid out once, then drawn as
//! SVG and as PNG.

use plotters::style::RGBColor;

use super::style::font;

/// A place, in logical pixels: right, down.
pub(crate) type Point = (f64, f64);

/// Where a text's position lies within it, across.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// One thing to draw.
#[derive(Clone, Debug)]
pub(crate) enum Mark {
    Line { points: Vec<Point>, color: RGBColor, width: f64, opacity: f64 },
    Disc { center: Point, radius: f64, color: RGBColor, opacity: f64 },
    Area { points: Vec<Point>, color: RGBColor, opacity: f64 },
    Text(Text),
}

/// A line of text, centred on its position in height.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    pub at: Point,
    pub text: String,
    pub size: f64,
    pub color: RGBColor,
    pub bold: bool,
    pub anchor: Anchor,
}

/// A figure.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scene {
    pub marks: Vec<Mark>,
}

impl Scene {
    pub fn line(&mut self, points: Vec<Point>, color: RGBColor, width: f64) {
        self.marks.push(Mark::Line { points, color, width, opacity: 1.0 });
    }

    /// A line of dashes of 10 with gaps of 8.
    pub fn dashed(&mut self, from: Point, to: Point, color: RGBColor, width: f64) {
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let length = dx.hypot(dy);
        let at = |d: f64| (from.0 + dx * d / length, from.1 + dy * d / length);
        let mut start = 0.0;
        while start < length {
            self.line(vec![at(start), at((start + 10.0).min(length))], color, width);
            start += 18.0;
        }
    }

    pub fn disc(&mut self, center: Point, radius: f64, color: RGBColor, opacity: f64) {
        self.marks.push(Mark::Disc { center, radius, color, opacity });
    }

    pub fn cross(&mut self, center: Point, arm: f64, color: RGBColor) {
        let (x, y) = center;
        self.line(vec![(x - arm, y - arm), (x + arm, y + arm)], color, 1.5);
        self.line(vec![(x - arm, y + arm), (x + arm, y - arm)], color, 1.5);
    }

    pub fn area(&mut self, points: Vec<Point>, color: RGBColor, opacity: f64) {
        self.marks.push(Mark::Area { points, color, opacity });
    }

    pub fn rect(&mut self, area: Rect, color: RGBColor, opacity: f64) {
        let Rect { left, top, right, bottom } = area;
        self.area(vec![(left, top), (right, top), (right, bottom), (left, bottom)], color, opacity);
    }

    pub fn text(&mut self, at: Point, text: impl Into<String>, size: f64, color: RGBColor, anchor: Anchor) {
        self.set(Text { at, text: text.into(), size, color, bold: false, anchor });
    }

    pub fn bold(&mut self, at: Point, text: impl Into<String>, size: f64, color: RGBColor, anchor: Anchor) {
        self.set(Text { at, text: text.into(), size, color, bold: true, anchor });
    }

    /// Names out of files may hold characters that no XML document can.
    fn set(&mut self, mut text: Text) {
        text.text.retain(|c| !c.is_control());
        self.marks.push(Mark::Text(text));
    }
}

/// A rectangle, in logical pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rect {
    pub left: f64,
    pub top: f64,
    pub right: f64,
    pub bottom: f64,
}

impl Rect {
    pub fn around(center: Point, half_width: f64, half_height: f64) -> Rect {
        Rect {
            left: center.0 - half_width,
            top: center.1 - half_height,
            right: center.0 + half_width,
            bottom: center.1 + half_height,
        }
    }

    pub fn width(&self) -> f64 {
        self.right - self.left
    }

    pub fn contains(&self, (x, y): Point) -> bool {
        (self.left..=self.right).contains(&x) && (self.top..=self.bottom).contains(&y)
    }

    pub fn overlaps(&self, other: &Rect) -> bool {
        self.left < other.right && other.left < self.right && self.top < other.bottom && other.top < self.bottom
    }

    pub fn encloses(&self, other: &Rect) -> bool {
        self.left <= other.left && self.right >= other.right && self.top <= other.top && self.bottom >= other.bottom
    }
}

/// Width of a text in logical pixels.
pub(crate) fn text_width(text: &str, size: f64, bold: bool) -> f64 {
    // The font is registered before any figure is laid out; the estimate is for a broken one.
    let measured = font(size, bold).box_size(text);
    measured.map_or(text.chars().count() as f64 * size * 0.6, |(width, _)| f64::from(width))
}

/// The text, cut with an ellipsis to fit a width.
pub(crate) fn fitted(text: &str, size: f64, bold: bool, width: f64) -> String {
    if text_width(text, size, bold) <= width {
        return text.to_string();
    }
    let mut letters: Vec<char> = text.chars().collect();
    while !letters.is_empty() {
        letters.pop();
        let cut: String = letters.iter().collect::<String>().trim_end().to_string() + "…";
        if text_width(&cut, size, bold) <= width {
            return cut;
        }
    }
    String::new()
}
