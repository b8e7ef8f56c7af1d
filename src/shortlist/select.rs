//! Choosing from the frontier: pure geometry over normalised objectives, with deployment shapes.

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use super::shape::{Shape, shape_of};
use crate::frontier::reference::MARGIN;
use crate::frontier::{Reference, Scale, hypervolume, knee};
use crate::search::Evaluation;
use crate::space::Study;

/// Half edge of the box around a frontier member within which others of its shape count as
/// near-duplicates, as a share of the frontier's range.
const EPSILON: f64 = 0.02;
/// Values closer than this are one, far below what the twin can tell apart: one percent, ln(1.01) on
/// logarithmic scales; a percent of the range on linear ones.
const SAME: f64 = 0.01;
/// Weight of a candidate's hypervolume gain for each earlier pick of its shape.
const REPEATED_SHAPE: f64 = 0.5;
/// How far a hedge may lie behind a frontier member in every objective: ten times [`SAME`], about
/// what the twin may be wrong by.
const HEDGE_SLACK: f64 = 10.0;
/// Shortlists shorter than this have no place to spare for a hedge.
const HEDGE_FROM: usize = 5;

/// Why a candidate is on the shortlist.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Giving up a little of one objective stops buying much of another here.
    Knee,
    /// Best of the frontier in this objective (index into the study's).
    Best(usize),
    /// Adds most hypervolume to the picks before it.
    Covers,
    /// Another kind of deployment, almost as good as the frontier.
    Hedge,
    /// Infeasible, but by the least.
    NearestMiss,
    /// Breaks a constraint in some scenario, but by the least.
    LeastBroken,
}

/// One chosen candidate.
#[derive(Clone, Debug, PartialEq)]
pub struct Chosen {
    /// Index of its evaluation.
    pub row: usize,
    pub roles: Vec<Role>,
    /// Share of the frontier's hypervolume that it added to those before it.
    pub gain: f64,
    /// Near-duplicates that it stands for.
    pub merged: Vec<usize>,
}

/// What was chosen, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selection {
    pub chosen: Vec<Chosen>,
    /// Frontier members that are worth telling apart.
    pub distinct: usize,
    /// Share of the frontier's hypervolume that the chosen cover together.
    pub coverage: Option<f64>,
}

/// A frontier member that stands for its near-duplicates.
struct Member {
    row: usize,
    /// Normalised objectives.
    point: Vec<f64>,
    shape: Shape,
    roles: Vec<Role>,
    merged: Vec<usize>,
}

/// Chooses up to `size` from a frontier (rows into `evaluations`, not empty).
pub(crate) fn from_frontier(study: &Study, evaluations: &[&Evaluation], frontier: &[usize], size: usize) -> Selection {
    let m = study.objectives.len();
    let raw: Vec<f64> = frontier.iter().flat_map(|&row| &evaluations[row].objectives).copied().collect();
    let Some(reference) = Reference::by_rule(&raw, m) else { return Selection::default() };
    let points: Vec<f64> = raw.chunks_exact(m).flat_map(|p| reference.normalise(p)).collect();
    let same = sameness(&reference);
    let geometry = Geometry { m, points, same: same.clone() };
    let worthwhile = geometry.worthwhile();
    let anchors = geometry.anchors(&worthwhile);
    let members = merge(study, evaluations, frontier, &geometry, &worthwhile, &anchors);
    let points = geometry.points;

    let corner = vec![1.0 + MARGIN; m];
    let volume = |points: &[f64]| hypervolume(points, m, &corner);
    let total = volume(&points);
    let mut selection = Selection { distinct: members.len(), ..Selection::default() };
    let mut covered: Vec<f64> = Vec::new();
    let mut left: Vec<&Member> = members.iter().collect();
    let mut picked: Vec<&Member> = Vec::new();

    let hedge = (size >= HEDGE_FROM).then(|| hedge(study, evaluations, &members, &reference, &same)).flatten();
    let places = size - usize::from(hedge.is_some() && members.len() >= size);
    let anchored = members.iter().filter(|a| !a.roles.is_empty()).count();
    while selection.chosen.len() < places && !left.is_empty() {
        let base = volume(&covered);
        let gain = |member: &Member| volume(&[covered.as_slice(), &member.point].concat()) - base;
        let next = if anchored <= places {
            // The knee first, then the best of each objective in the study's order.
            left.iter().enumerate().filter_map(|(i, a)| Some((rank_of(a.roles.first()?), i))).min().map(|(_, i)| i)
        } else {
            None
        };
        let next = next.unwrap_or_else(|| {
            let weight = |member: &Member| {
                let repeats = picked.iter().filter(|p| p.shape == member.shape).count() as i32;
                gain(member) * REPEATED_SHAPE.powi(repeats)
            };
            let weights: Vec<f64> = left.iter().map(|member| weight(member)).collect();
            // Of equals, the first in the frontier's order.
            (0..left.len()).max_by(|&a, &b| weights[a].total_cmp(&weights[b]).then(b.cmp(&a))).unwrap_or(0)
        });
        let member = left.remove(next);
        let roles = if member.roles.is_empty() { vec![Role::Covers] } else { member.roles.clone() };
        let gain = gain(member) / total;
        selection.chosen.push(Chosen { row: member.row, roles, gain, merged: member.merged.clone() });
        covered.extend(&member.point);
        picked.push(member);
    }
    if let Some(row) = hedge.filter(|_| selection.chosen.len() < size) {
        selection.chosen.push(Chosen { row, roles: vec![Role::Hedge], gain: 0.0, merged: Vec::new() });
    }
    selection.coverage = Some(volume(&covered) / total);
    selection
}

fn rank_of(role: &Role) -> usize {
    match role {
        Role::Knee => 0,
        Role::Best(objective) => 1 + objective,
        _ => usize::MAX,
    }
}

/// Per objective, the normalised difference below which two values are one.
fn sameness(reference: &Reference) -> Vec<f64> {
    let ranges = reference.nadir.iter().zip(&reference.ideal).map(|(nadir, ideal)| nadir - ideal);
    let scales = reference.scales.iter();
    scales.zip(ranges).map(|(scale, range)| if *scale == Scale::Linear { SAME } else { SAME / range }).collect()
}

/// The frontier's members as points, by position.
struct Geometry {
    m: usize,
    /// Normalised objectives, row-major.
    points: Vec<f64>,
    /// Differences per objective that say nothing.
    same: Vec<f64>,
}

/// A member and those that it makes superfluous.
type WithFollowers = (usize, Vec<usize>);

impl Geometry {
    fn point(&self, position: usize) -> &[f64] {
        &self.points[position * self.m..][..self.m]
    }

    fn sum(&self, position: usize) -> f64 {
        self.point(position).iter().sum()
    }

    /// Whether `a` is clearly better than `b` in one objective, and at most imperceptibly worse in
    /// the others: `b` is on the frontier, but not worth measuring.
    fn outclasses(&self, a: usize, b: usize) -> bool {
        let compared = || self.point(a).iter().zip(self.point(b)).zip(&self.same);
        compared().all(|((a, b), same)| *a <= b + same) && compared().any(|((a, b), same)| *a < b - same)
    }

    /// Members that no other outclasses, each with those that it outclasses. The best on the whole
    /// come first, so that none is dropped for one that is dropped itself.
    fn worthwhile(&self) -> Vec<WithFollowers> {
        let mut order: Vec<usize> = (0..self.points.len() / self.m).collect();
        order.sort_by(|&a, &b| self.sum(a).total_cmp(&self.sum(b)).then(a.cmp(&b)));
        let mut kept: Vec<WithFollowers> = Vec::new();
        for position in order {
            match kept.iter_mut().find(|(better, _)| self.outclasses(*better, position)) {
                Some((_, followers)) => followers.push(position),
                None => kept.push((position, Vec::new())),
            }
        }
        kept.sort_by_key(|(position, _)| *position);
        kept
    }

    /// Roles of worthwhile members by position: the knee, and the best in each objective.
    fn anchors(&self, worthwhile: &[WithFollowers]) -> FxHashMap<usize, Vec<Role>> {
        let positions: Vec<usize> = worthwhile.iter().map(|(position, _)| *position).collect();
        let points: Vec<f64> = positions.iter().flat_map(|&i| self.point(i)).copied().collect();
        let mut roles: FxHashMap<usize, Vec<Role>> = FxHashMap::default();
        if let Some(index) = knee(&points, self.m) {
            roles.entry(positions[index]).or_default().push(Role::Knee);
        }
        for objective in 0..self.m {
            let key = |i: usize| self.point(i)[objective];
            let better = |a: usize, b: usize| {
                key(a).total_cmp(&key(b)).then(self.sum(a).total_cmp(&self.sum(b))).then(a.cmp(&b))
            };
            let best = positions.iter().copied().min_by(|&a, &b| better(a, b));
            roles.entry(best.unwrap_or(0)).or_default().push(Role::Best(objective));
        }
        roles
    }
}

/// Merges near-duplicates: a member stands for the later ones of its shape within the epsilon box
/// around it. The knee and the best of each objective come first and are never merged away.
fn merge(
    study: &Study,
    evaluations: &[&Evaluation],
    frontier: &[usize],
    geometry: &Geometry,
    worthwhile: &[WithFollowers],
    anchors: &FxHashMap<usize, Vec<Role>>,
) -> Vec<Member> {
    let half_edges: Vec<f64> = geometry.same.iter().map(|same| same.max(EPSILON)).collect();
    let mut order: Vec<&WithFollowers> = worthwhile.iter().collect();
    order.sort_by_key(|(position, _)| !anchors.contains_key(position));
    let mut members: Vec<Member> = Vec::new();
    let mut of_shape: FxHashMap<Shape, Vec<usize>> = FxHashMap::default();
    for (position, followers) in order {
        let row = frontier[*position];
        let point = geometry.point(*position);
        let shape = shape_of(&study.space, &evaluations[row].candidate);
        let roles = anchors.get(position).cloned().unwrap_or_default();
        let mut merged: Vec<usize> = followers.iter().map(|&follower| frontier[follower]).collect();
        let alike = of_shape.entry(shape.clone()).or_default();
        let is_near = |member: &Member| {
            let offsets = point.iter().zip(&member.point).map(|(a, b)| (a - b).abs());
            offsets.zip(&half_edges).all(|(offset, edge)| offset <= *edge)
        };
        let twin = alike.iter().copied().find(|&index| is_near(&members[index]));
        match twin.filter(|_| roles.is_empty()) {
            Some(index) => {
                members[index].merged.push(row);
                members[index].merged.append(&mut merged);
            }
            None => {
                alike.push(members.len());
                members.push(Member { row, point: point.to_vec(), shape, roles, merged });
            }
        }
    }
    members
}

/// The feasible candidate that lies least behind a frontier member among those of a kind (mode,
/// backend, tensor-parallel sizes) that no frontier member has; `None` when all lie further behind
/// than [`HEDGE_SLACK`] in some objective.
fn hedge(
    study: &Study,
    evaluations: &[&Evaluation],
    members: &[Member],
    reference: &Reference,
    same: &[f64],
) -> Option<usize> {
    let mut nearest: Option<(f64, usize)> = None;
    for (row, evaluation) in evaluations.iter().enumerate() {
        if !evaluation.is_feasible() || !evaluation.objectives.iter().all(|v| v.is_finite()) {
            continue;
        }
        let point = reference.normalise(&evaluation.objectives);
        // Behind one member: in its worst objective, in units of what is imperceptible.
        let behind = |member: &Member| {
            let offsets = point.iter().zip(&member.point).zip(same).map(|((x, y), same)| (x - y) / same);
            offsets.fold(f64::NEG_INFINITY, f64::max)
        };
        let behind = members.iter().map(behind).fold(f64::INFINITY, f64::min);
        if behind <= HEDGE_SLACK && nearest.is_none_or(|(least, _)| behind < least) {
            let kind = shape_of(&study.space, &evaluation.candidate).kind;
            if members.iter().all(|f| f.shape.kind != kind) {
                nearest = Some((behind, row));
            }
        }
    }
    nearest.map(|(_, row)| row)
}
