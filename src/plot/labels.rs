//! Labels that keep apart: each is pushed away from its point until it covers nothing that matters.

use super::scene::{Anchor, Point, Rect, Scene, text_width};
use super::style::{INK, NOTE, PAPER};

/// A label to be placed.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The point that it names.
    pub at: Point,
    pub text: String,
}

/// What labels keep clear of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Obstacles {
    /// Points that labels avoid where they can, such as other candidates.
    pub points: Vec<Point>,
    /// Lines, such as the frontier's staircase.
    pub lines: Vec<(Point, Point)>,
}

const SIZE: f64 = NOTE;
const PADDING: f64 = 4.0;
/// Distances between point and label's edge at which places are tried.
const REACHES: [f64; 10] = [18.0, 26.0, 36.0, 48.0, 64.0, 84.0, 108.0, 136.0, 172.0, 220.0];
/// Directions tried at each distance.
const DIRECTIONS: usize = 24;
/// Radius around a labelled point that no label covers.
const CLEAR: f64 = 12.0;

/// Places the labels within `bounds`, in the order given; `towards` is the direction that is likely
/// to be empty. Returns one rectangle per request.
pub(crate) fn place(requests: &[Request], bounds: &Rect, towards: (f64, f64), obstacles: &Obstacles) -> Vec<Rect> {
    let mut placed: Vec<Rect> = Vec::with_capacity(requests.len());
    for request in requests {
        let half_width = text_width(&request.text, SIZE, true) / 2.0 + PADDING;
        let half_height = SIZE / 2.0 + PADDING;
        let mut best: Option<(f64, Rect)> = None;
        for reach in REACHES {
            for step in 0..DIRECTIONS {
                let angle = step as f64 / DIRECTIONS as f64 * std::f64::consts::TAU;
                let (dx, dy) = (angle.cos(), angle.sin());
                // As far as puts the label's nearest edge at the distance, so that wide labels
                // neither cover their point nor lie far from it.
                let across = (half_width + reach) / dx.abs().max(1e-9);
                let down = (half_height + reach) / dy.abs().max(1e-9);
                let away = across.min(down);
                let center = (request.at.0 + dx * away, request.at.1 + dy * away);
                let area = Rect::around(center, half_width, half_height);
                let astray = 1.0 - (dx * towards.0 + dy * towards.1) / towards.0.hypot(towards.1).max(1e-9);
                let cost = reach + 12.0 * astray + crowding(&area, request, requests, &placed, bounds, obstacles);
                if best.is_none_or(|(least, _)| cost < least) {
                    best = Some((cost, area));
                }
            }
        }
        placed.extend(best.map(|(_, area)| area));
    }
    placed
}

/// What a label here would cover, as a cost: other labels and labelled points above all.
fn crowding(
    area: &Rect,
    request: &Request,
    requests: &[Request],
    placed: &[Rect],
    bounds: &Rect,
    obstacles: &Obstacles,
) -> f64 {
    let outside = if bounds.encloses(area) { 0.0 } else { 10_000.0 };
    let labels = placed.iter().filter(|other| other.overlaps(area)).count() as f64 * 5000.0;
    let named = requests.iter().filter(|other| Rect::around(other.at, CLEAR, CLEAR).overlaps(area)).count() as f64;
    let leader = (request.at, nearest_on(area, request.at));
    let crossed = placed.iter().filter(|other| crosses(other, leader)).count() as f64;
    let lines = obstacles.lines.iter().filter(|line| crosses(area, **line)).count() as f64;
    let points = obstacles.points.iter().filter(|point| area.contains(**point)).count() as f64;
    outside + labels + 1000.0 * named + 600.0 * crossed + 60.0 * lines + 3.0 * points.min(20.0)
}

/// The point of a rectangle that is nearest to another point.
fn nearest_on(area: &Rect, (x, y): Point) -> Point {
    (x.clamp(area.left, area.right), y.clamp(area.top, area.bottom))
}

/// Whether a segment touches a rectangle, by clipping it to each side in turn.
fn crosses(area: &Rect, (from, to): (Point, Point)) -> bool {
    let (mut enter, mut leave) = (0.0f64, 1.0f64);
    for (start, delta, low, high) in
        [(from.0, to.0 - from.0, area.left, area.right), (from.1, to.1 - from.1, area.top, area.bottom)]
    {
        if delta.abs() < 1e-12 {
            if start < low || start > high {
                return false;
            }
            continue;
        }
        let (a, b) = ((low - start) / delta, (high - start) / delta);
        enter = enter.max(a.min(b));
        leave = leave.min(a.max(b));
    }
    enter <= leave
}

/// Draws lines that lead from points to their labels.
pub(crate) fn draw_leaders(scene: &mut Scene, requests: &[Request], places: &[Rect]) {
    for (request, area) in requests.iter().zip(places) {
        let end = nearest_on(area, request.at);
        // Of a shorter one the point's disc leaves a stray dash.
        if (end.0 - request.at.0).hypot(end.1 - request.at.1) > 20.0 {
            scene.line(vec![request.at, end], INK, 1.6);
        }
    }
}

/// Draws placed labels.
pub(crate) fn draw(scene: &mut Scene, requests: &[Request], places: &[Rect]) {
    for (request, area) in requests.iter().zip(places) {
        scene.rect(*area, PAPER, 0.88);
        let center = ((area.left + area.right) / 2.0, (area.top + area.bottom) / 2.0);
        scene.bold(center, &request.text, SIZE, INK, Anchor::Middle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Rect = Rect { left: 0.0, top: 0.0, right: 1000.0, bottom: 500.0 };

    fn requests(points: &[Point]) -> Vec<Request> {
        let number = |(i, &at): (usize, &Point)| Request { at, text: format!("{} lowest TTFT p90", i + 1) };
        points.iter().enumerate().map(number).collect()
    }

    #[test]
    fn labels_never_overlap_nor_leave_nor_hide_a_point() {
        super::super::style::ensure_font().unwrap();
        // All in one place, in a row, and in the corners.
        let cases: [Vec<Point>; 3] = [
            vec![(500.0, 250.0); 6],
            (0..8).map(|i| (480.0 + 4.0 * f64::from(i), 250.0)).collect(),
            vec![(2.0, 2.0), (998.0, 2.0), (2.0, 498.0), (998.0, 498.0), (500.0, 250.0)],
        ];
        for points in cases {
            let requests = requests(&points);
            let places = place(&requests, &BOUNDS, (-1.0, 1.0), &Obstacles::default());
            assert_eq!(places.len(), points.len());
            for (index, area) in places.iter().enumerate() {
                assert!(BOUNDS.encloses(area), "{area:?}");
                assert!(places[..index].iter().all(|other| !other.overlaps(area)), "{index} of {points:?}");
                assert!(points.iter().all(|p| !area.contains(*p)), "{index} hides a point of {points:?}");
            }
        }
    }

    #[test]
    fn a_lone_label_goes_where_it_is_empty() {
        super::super::style::ensure_font().unwrap();
        let places = place(&requests(&[(500.0, 250.0)]), &BOUNDS, (-1.0, 1.0), &Obstacles::default());
        let middle = (places[0].left + places[0].right) / 2.0;
        assert!(middle < 500.0 && places[0].top > 250.0, "{places:?}");
    }

    #[test]
    fn a_label_keeps_off_lines_where_there_is_room() {
        super::super::style::ensure_font().unwrap();
        // The bars of an interval below and to the left, where the label would go.
        let lines = vec![((380.0, 280.0), (520.0, 280.0)), ((450.0, 200.0), (450.0, 420.0))];
        let obstacles = Obstacles { points: Vec::new(), lines: lines.clone() };
        let request = requests(&[(500.0, 250.0)]);
        let free = place(&request, &BOUNDS, (-1.0, 1.0), &Obstacles::default())[0];
        assert!(lines.iter().any(|line| crosses(&free, *line)), "the case shows nothing: {free:?}");
        let area = place(&request, &BOUNDS, (-1.0, 1.0), &obstacles)[0];
        assert!(lines.iter().all(|line| !crosses(&area, *line)), "{area:?}");
    }

    #[test]
    fn segments_and_rectangles() {
        let area = Rect { left: 10.0, top: 10.0, right: 20.0, bottom: 20.0 };
        assert!(crosses(&area, ((0.0, 15.0), (30.0, 15.0))));
        assert!(crosses(&area, ((15.0, 0.0), (15.0, 12.0))));
        assert!(!crosses(&area, ((0.0, 15.0), (5.0, 15.0))));
        assert!(!crosses(&area, ((0.0, 0.0), (9.0, 30.0))));
    }
}
