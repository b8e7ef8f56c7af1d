//! Candidates in the plane of two metrics: dominated, infeasible, the frontier as a staircase, the
//! shortlist with labels.

use super::axis::{Axis, tick_label};
use super::chart::{Key, PLOT, axes, chevron, empty, header};
use super::labels::{self, Obstacles, Request};
use super::scene::{Anchor, Point, Rect, Scene};
use super::style::{BLUE, FAINT_INK, GREY, NOTE, PAPER, PURPLE, SKY, VERMILLION};
use super::thin::thin;
use crate::archive::RunData;
use crate::frontier::nondominated;
use crate::search::Evaluation;
use crate::shortlist::{Role, Shortlist, count, counted, metric_label};
use crate::space::Objective;
use crate::twin::metrics::METRICS;

/// Most marks of each sort; together they keep an SVG well below a megabyte.
const MOST_DOMINATED: usize = 2500;
const MOST_INFEASIBLE: usize = 1200;
const MOST_BEYOND: usize = 200;
const MOST_FRONTIER: usize = 800;
/// How far an axis reaches beyond the frontier, in units of the frontier's own extent: towards the
/// worse, and towards the better (where only infeasible candidates lie).
const WORSE_REACH: f64 = 1.8;
const BETTER_REACH: f64 = 0.3;
/// Room for labels on the better side of the frontier, in the same units.
const LABEL_ROOM: f64 = 0.12;
/// A wider range of values than this ratio gets a logarithmic axis.
const DECADE: f64 = 10.0;

/// What a scatter shows.
pub(crate) struct Scatter<'a> {
    pub title: String,
    /// Which metric lies across and whether more of it is better.
    pub x: Objective,
    pub y: Objective,
    pub run: &'a RunData,
    pub shortlist: &'a Shortlist,
    /// Rows of the run's frontier.
    pub frontier: &'a [usize],
}

/// Rows that have both metrics, by what they are.
struct Rows {
    frontier: Vec<usize>,
    dominated: Vec<usize>,
    infeasible: Vec<usize>,
    picks: Vec<usize>,
}

/// The note under the titles of a run's figures.
pub(crate) fn run_note(run: &RunData, shortlist: &Shortlist) -> String {
    let counts = &shortlist.counts;
    let refused = if counts.refused == 0 { String::new() } else { format!(", {} refused", count(counts.refused)) };
    format!(
        "{}: {} ({} feasible, {} infeasible{refused}{}); {} from {}",
        run.study.name,
        counted(counts.evaluated, "candidate"),
        count(counts.feasible),
        count(counts.infeasible),
        counts.spared_words(),
        counted(run.workload.requests, "request"),
        run.workload.source
    )
}

/// The axis title of a metric, with unit and direction.
pub(crate) fn axis_title(objective: Objective) -> String {
    let better = if objective.maximize { "higher is better" } else { "lower is better" };
    format!("{} ({}), {better}", metric_label(objective.metric), METRICS[objective.metric].unit)
}

impl Scatter<'_> {
    /// The figure.
    pub fn scene(&self) -> Scene {
        let mut scene = Scene::default();
        let evaluations = self.run.evaluations();
        let note = run_note(self.run, self.shortlist);
        let rows = self.rows(&evaluations);
        if rows.frontier.len() + rows.dominated.len() + rows.infeasible.len() == 0 {
            empty(&mut scene, &self.title, &note, "No candidate has a value in both metrics.");
            return scene;
        }
        let value = |row: usize, objective: Objective| evaluations[row].metrics[objective.metric];
        let axis = |objective: Objective, from: f64, to: f64| {
            let values = |rows: &[usize]| rows.iter().map(|&row| value(row, objective)).collect::<Vec<_>>();
            let core = if rows.frontier.is_empty() { values(&rows.picks) } else { values(&rows.frontier) };
            let feasible = [values(&rows.frontier), values(&rows.dominated)].concat();
            let all = [feasible.clone(), values(&rows.infeasible)].concat();
            axis_over(&core, if feasible.is_empty() { &all } else { &feasible }, &all, objective.maximize, from, to)
        };
        let x = axis(self.x, PLOT.left, PLOT.right);
        let y = axis(self.y, PLOT.bottom, PLOT.top);
        let at = |row: usize| (x.pixel(value(row, self.x)), y.pixel(value(row, self.y)));
        let shown = |row: &usize| x.shows(value(*row, self.x)) && y.shows(value(*row, self.y));
        axes(&mut scene, &x, &y, &axis_title(self.x), &axis_title(self.y));

        let points = |rows: &[usize]| rows.iter().copied().filter(shown).map(at).collect::<Vec<Point>>();
        let infeasible = points(&rows.infeasible);
        let dominated = points(&rows.dominated);
        // What is drawn, for labels to keep off.
        let mut crowd: Vec<Point> = Vec::new();
        for index in thin(&infeasible, MOST_INFEASIBLE) {
            scene.cross(infeasible[index], 5.0, GREY);
            crowd.push(infeasible[index]);
        }
        for index in thin(&dominated, MOST_DOMINATED) {
            scene.disc(dominated[index], 4.5, SKY, 0.75);
            crowd.push(dominated[index]);
        }
        let beyond = self.beyond(&mut scene, &rows, &x, &y, &at, &shown);
        let bounds = self.bounds(&mut scene, &x, &y);

        let frontier: Vec<Point> = rows.frontier.iter().map(|&row| at(row)).collect();
        let staircase = self.staircase(&rows, &evaluations, &at);
        if staircase.len() > 1 {
            scene.line(staircase.clone(), BLUE, 3.5);
        }
        for index in thin(&frontier, MOST_FRONTIER) {
            scene.disc(frontier[index], 6.0, BLUE, 1.0);
            crowd.push(frontier[index]);
        }
        let bars = self.intervals(&mut scene, &x, &y, &at);
        let has_intervals = !bars.is_empty();
        let mut lines: Vec<(Point, Point)> = staircase.windows(2).map(|pair| (pair[0], pair[1])).collect();
        lines.extend(bars);
        self.label_picks(&mut scene, &at, &Obstacles { points: crowd, lines });

        let mut legend: Vec<(Key, String)> = Vec::new();
        let entry = |legend: &mut Vec<(Key, String)>, n: usize, key: Key, text: &str| {
            if n > 0 {
                legend.push((key, format!("{text} ({})", count(n))));
            }
        };
        // In a plane of other metrics the staircase is not the run's frontier.
        if self.is_whole_frontier() {
            entry(&mut legend, rows.frontier.len(), Key::Line(BLUE), "frontier");
        } else {
            entry(&mut legend, rows.frontier.len(), Key::Disc(BLUE, 7.0), "frontier");
            if staircase.len() > 1 {
                legend.push((Key::Line(BLUE), "edge of this plane".into()));
            }
        }
        entry(&mut legend, rows.dominated.len(), Key::Disc(SKY, 6.0), "dominated");
        entry(&mut legend, rows.infeasible.len(), Key::Cross(GREY), "infeasible");
        entry(&mut legend, beyond, Key::Chevron(GREY), "beyond the axes");
        let picked = if self.shortlist.feasible { "shortlist" } else { "nearest misses" };
        entry(&mut legend, rows.picks.len(), Key::Disc(VERMILLION, 9.0), picked);
        if has_intervals {
            legend.push((Key::Line(VERMILLION), "80 % interval".into()));
        }
        if bounds {
            legend.push((Key::Dash(PURPLE), "constraint".into()));
        }
        header(&mut scene, &self.title, &note, &legend);
        scene
    }

    /// The intervals of picks, as crosses about their medians, which lie beside the prediction where
    /// pass times were taken uncorrected: a dotted line then leads there. Their bars.
    fn intervals(&self, scene: &mut Scene, x: &Axis, y: &Axis, at: &impl Fn(usize) -> Point) -> Vec<(Point, Point)> {
        let mut bars = Vec::new();
        for pick in &self.shortlist.picks {
            let Some(assessed) = self.shortlist.assessed(pick) else { continue };
            let (Some(across), Some(up)) = (assessed.interval(self.x.metric), assessed.interval(self.y.metric)) else {
                continue;
            };
            // An axis ends where it ends; a bar that goes on is cut there.
            let (middle_x, middle_y) = (x.pixel(across.median), y.pixel(up.median));
            let (left, right) = (x.pixel(across.low), x.pixel(across.high));
            let (bottom, top) = (y.pixel(up.low), y.pixel(up.high));
            scene.dashed(at(pick.row), (middle_x, middle_y), VERMILLION, 1.0);
            let own = [((left, middle_y), (right, middle_y)), ((middle_x, bottom), (middle_x, top))];
            for (from, to) in own {
                scene.line(vec![from, to], VERMILLION, 2.0);
            }
            for end in [left, right] {
                scene.line(vec![(end, middle_y - 5.0), (end, middle_y + 5.0)], VERMILLION, 2.0);
            }
            for end in [bottom, top] {
                scene.line(vec![(middle_x - 5.0, end), (middle_x + 5.0, end)], VERMILLION, 2.0);
            }
            bars.extend(own);
        }
        bars
    }

    /// Whether the plane is that of the study's objectives, all of them.
    fn is_whole_frontier(&self) -> bool {
        self.run.study.objectives == [self.x, self.y]
    }

    fn rows(&self, evaluations: &[&Evaluation]) -> Rows {
        let has_both = |row: &usize| {
            let metrics = &evaluations[*row].metrics;
            [self.x, self.y].iter().all(|o| metrics.get(o.metric).is_some_and(|v| v.is_finite()))
        };
        let on_frontier: rustc_hash::FxHashSet<usize> = self.frontier.iter().copied().collect();
        let all = || (0..evaluations.len()).filter(has_both);
        Rows {
            frontier: self.frontier.iter().copied().filter(has_both).collect(),
            dominated: all().filter(|row| evaluations[*row].is_feasible() && !on_frontier.contains(row)).collect(),
            infeasible: all().filter(|row| evaluations[*row].is_whole() && !evaluations[*row].is_feasible()).collect(),
            picks: self.shortlist.picks.iter().map(|pick| pick.row).filter(has_both).collect(),
        }
    }

    /// Points beyond the axes, as chevrons at the edge; how many there are.
    fn beyond(
        &self,
        scene: &mut Scene,
        rows: &Rows,
        x: &Axis,
        y: &Axis,
        at: &impl Fn(usize) -> Point,
        shown: &impl Fn(&usize) -> bool,
    ) -> usize {
        let out: Vec<usize> =
            [&rows.dominated, &rows.infeasible].into_iter().flatten().copied().filter(|r| !shown(r)).collect();
        let tips: Vec<Point> = out.iter().map(|&row| at(row)).collect();
        let middle = (PLOT.left + PLOT.right) / 2.0;
        let evaluations = self.run.evaluations();
        for index in thin(&tips, MOST_BEYOND) {
            let metrics = |objective: Objective| evaluations[out[index]].metrics[objective.metric];
            let direction = if !y.shows(metrics(self.y)) {
                (0.0, if tips[index].1 < (PLOT.top + PLOT.bottom) / 2.0 { -1.0 } else { 1.0 })
            } else {
                debug_assert!(!x.shows(metrics(self.x)));
                (if tips[index].0 < middle { -1.0 } else { 1.0 }, 0.0)
            };
            chevron(scene, tips[index], direction, GREY);
        }
        out.len()
    }

    /// Bounds of the study on either metric, as dashed lines; whether there is any.
    fn bounds(&self, scene: &mut Scene, x: &Axis, y: &Axis) -> bool {
        let mut any = false;
        for constraint in &self.run.study.constraints {
            for bound in [constraint.min, constraint.max].into_iter().flatten() {
                let relation = if Some(bound) == constraint.max { "≤" } else { "≥" };
                let words = format!("{relation} {}", tick_label(bound, bound.abs().max(1e-9) / 100.0));
                if constraint.metric == self.x.metric && x.shows(bound) {
                    let at = x.pixel(bound);
                    scene.dashed((at, PLOT.top), (at, PLOT.bottom), PURPLE, 2.5);
                    scene.text((at + 8.0, PLOT.top + 16.0), words, NOTE, FAINT_INK, Anchor::Start);
                    any = true;
                } else if constraint.metric == self.y.metric && y.shows(bound) {
                    let at = y.pixel(bound);
                    scene.dashed((PLOT.left, at), (PLOT.right, at), PURPLE, 2.5);
                    scene.text((PLOT.right - 4.0, at - 16.0), words, NOTE, FAINT_INK, Anchor::End);
                    any = true;
                }
            }
        }
        any
    }

    /// The edge of what feasible candidates attain in this plane: from the worst of one metric, along
    /// the non-dominated corners, to the worst of the other.
    fn staircase(&self, rows: &Rows, evaluations: &[&Evaluation], at: &impl Fn(usize) -> Point) -> Vec<Point> {
        let feasible: Vec<usize> = [rows.frontier.as_slice(), &rows.dominated].concat();
        let minimised = |row: usize, o: Objective| {
            let value = evaluations[row].metrics[o.metric];
            if o.maximize { -value } else { value }
        };
        let points: Vec<f64> =
            feasible.iter().flat_map(|&row| [minimised(row, self.x), minimised(row, self.y)]).collect();
        let mut corners: Vec<usize> = nondominated(&points, 2);
        corners.sort_by(|&a, &b| points[2 * a].total_cmp(&points[2 * b]));
        let corners: Vec<Point> = corners.into_iter().map(|i| at(feasible[i])).collect();
        let (Some(&first), Some(&last)) = (corners.first(), corners.last()) else { return Vec::new() };
        let worst_x = if self.x.maximize { PLOT.left } else { PLOT.right };
        let worst_y = if self.y.maximize { PLOT.bottom } else { PLOT.top };
        let mut path = vec![(first.0, worst_y), first];
        for pair in corners.windows(2) {
            path.extend([(pair[1].0, pair[0].1), pair[1]]);
        }
        path.push((worst_x, last.1));
        path
    }

    /// The picks, with labels `1 knee`, `2 lowest TTFT p90`, `3`, ...
    fn label_picks(&self, scene: &mut Scene, at: &impl Fn(usize) -> Point, obstacles: &Obstacles) {
        let evaluations = self.run.evaluations();
        let has_both = |row: usize| {
            [self.x, self.y].iter().all(|o| evaluations[row].metrics.get(o.metric).is_some_and(|v| v.is_finite()))
        };
        let requests: Vec<Request> = self
            .shortlist
            .picks
            .iter()
            .filter(|pick| has_both(pick.row))
            .map(|pick| {
                let mut words = vec![pick.rank.to_string()];
                words.extend(pick.roles.iter().filter_map(|role| self.role_word(*role)));
                let separated = words.len().min(2);
                let text = format!(
                    "{}{}",
                    words[..separated].join(" "),
                    words[separated..].iter().fold(String::new(), |all, w| all + ", " + w)
                );
                Request { at: at(pick.row), text }
            })
            .collect();
        let towards = (if self.x.maximize { 1.0 } else { -1.0 }, if self.y.maximize { -1.0 } else { 1.0 });
        let inside = Rect { left: PLOT.left + 4.0, top: PLOT.top + 4.0, right: PLOT.right, bottom: PLOT.bottom - 4.0 };
        let places = labels::place(&requests, &inside, towards, obstacles);
        labels::draw_leaders(scene, &requests, &places);
        for Request { at, .. } in &requests {
            scene.disc(*at, 11.0, PAPER, 1.0);
            scene.disc(*at, 9.0, VERMILLION, 1.0);
        }
        labels::draw(scene, &requests, &places);
    }

    fn role_word(&self, role: Role) -> Option<String> {
        match role {
            Role::Knee => Some("knee".into()),
            Role::Best(objective) => {
                let spec = self.run.study.objectives[objective];
                let extreme = if spec.maximize { "highest" } else { "lowest" };
                Some(format!("{extreme} {}", short_label(spec.metric)))
            }
            Role::Hedge => Some("hedge".into()),
            Role::Covers | Role::NearestMiss | Role::LeastBroken => None,
        }
    }
}

/// A metric in a word or two, for labels within figures.
pub(crate) fn short_label(metric: usize) -> String {
    match METRICS[metric].name {
        "usd_per_mtok_output" | "usd_per_kreq_good" | "cost_usd" => "cost".into(),
        "e2e_mean_ms" | "e2e_p50_ms" | "e2e_p90_ms" | "e2e_p95_ms" | "e2e_p99_ms" => "latency".into(),
        "output_tokens_per_s_per_gpu" | "output_tokens_per_s" | "input_tokens_per_s" | "tokens_per_s_per_user" => {
            METRICS[metric].unit.into()
        }
        _ => metric_label(metric),
    }
}

/// An axis that shows the frontier large and everything else as far as there is room.
fn axis_over(core: &[f64], basis: &[f64], all: &[f64], maximize: bool, from: f64, to: f64) -> Axis {
    let range = |values: &[f64]| {
        values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &v| (low.min(v), high.max(v)))
    };
    // Overload explodes latencies: then infeasible candidates alone span decades.
    let (low, high) = range(all);
    let log = low > 0.0 && high / low > DECADE;
    let scale = |v: f64| if log { v.max(f64::MIN_POSITIVE).log10() } else { v };
    let unscale = |v: f64| if log { 10f64.powf(v) } else { v };
    let scaled = |values: &[f64]| {
        let (low, high) = range(values);
        (scale(low), scale(high))
    };
    let (all_low, all_high) = scaled(all);
    let (basis_low, basis_high) = scaled(basis);
    let (core_low, core_high) = if core.is_empty() { (basis_low, basis_high) } else { scaled(core) };
    let tiny = 1e-9 * core_high.abs().max(1e-9);
    let (mut low, mut high) = (all_low, all_high);
    if core_high - core_low > tiny {
        let extent = core_high - core_low;
        let (below, above) = if maximize { (WORSE_REACH, BETTER_REACH) } else { (BETTER_REACH, WORSE_REACH) };
        low = low.max(core_low - below * extent);
        high = high.min(core_high + above * extent);
        // Labels lie on the better side, where nothing else is.
        if maximize {
            high = high.max(core_high + LABEL_ROOM * extent);
        } else {
            low = low.min(core_low - LABEL_ROOM * extent);
            low = if log { low } else { low.max(0.0f64.min(all_low)) };
        }
    } else if basis_high - basis_low > tiny {
        let extent = basis_high - basis_low;
        low = low.max(basis_low - extent);
        high = high.min(basis_high + extent);
    }
    Axis::new(unscale(low), unscale(high), log, from, to)
}
