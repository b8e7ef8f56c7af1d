//! Environmental selection: which of many evaluated candidates stay in a population.

use crate::frontier::{crowding_distance, hypervolume::exclusive_volume, nondominated_sort};

/// A member of a population, as selection and mating see it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Member {
    /// Which of the given points it is.
    pub index: usize,
    /// Non-domination rank.
    pub rank: u32,
    /// How lonely it is within its rank: crowding distance, or hypervolume contribution.
    pub loneliness: f64,
}

impl Member {
    /// Whether it wins a tournament: lower rank, then lonelier.
    pub fn beats(&self, other: &Member) -> bool {
        (self.rank, -self.loneliness) < (other.rank, -other.loneliness)
    }
}

/// The `size` best: whole ranks under constrained domination while they fit; the rank that does
/// not fit is thinned one by one, the most crowded (two objectives, five and more) or the least
/// contributing to the hypervolume (three and four: SMS-EMOA, Beume et al., 2007) first.
pub(super) fn survivors(points: &[f64], m: usize, violation: &[f64], size: usize) -> Vec<Member> {
    let rank = nondominated_sort(points, m, violation);
    let mut by_rank: Vec<usize> = (0..violation.len()).collect();
    by_rank.sort_by_key(|&i| rank[i]);
    let mut members: Vec<Member> = Vec::with_capacity(size);
    for front in by_rank.chunk_by(|&a, &b| rank[a] == rank[b]) {
        let room = size - members.len();
        if room == 0 {
            break;
        }
        let rows: Vec<f64> = front.iter().flat_map(|&i| &points[i * m..][..m]).copied().collect();
        let finite = rows.iter().all(|v| v.is_finite());
        let (kept, loneliness) = match m {
            _ if !finite => ((0..front.len().min(room)).collect(), vec![0.0; front.len()]),
            3 | 4 => thin_by_contribution(&rows, m, room),
            _ => thin_by_crowding(&rows, m, room),
        };
        members.extend(kept.into_iter().map(|k| Member {
            index: front[k],
            rank: rank[front[k]],
            loneliness: loneliness[k],
        }));
    }
    members
}

/// Removes the most crowded until `room` are left: their indices, and a value for each point.
fn thin_by_crowding(rows: &[f64], m: usize, room: usize) -> (Vec<usize>, Vec<f64>) {
    let mut kept: Vec<usize> = (0..rows.len() / m).collect();
    let mut loneliness = vec![0.0; kept.len()];
    loop {
        let left: Vec<f64> = kept.iter().flat_map(|&k| &rows[k * m..][..m]).copied().collect();
        let distance = crowding_distance(&left, m);
        if kept.len() <= room {
            for (&k, d) in kept.iter().zip(distance) {
                loneliness[k] = d;
            }
            return (kept, loneliness);
        }
        let crowded = (0..kept.len()).min_by(|&a, &b| distance[a].total_cmp(&distance[b])).expect("not empty");
        kept.remove(crowded);
    }
}

/// Removes the least contributing until `room` are left: their indices, and a value for each
/// point. Removing a point never lowers another's contribution, so an old value is a lower bound
/// and only the smallest need be computed again.
fn thin_by_contribution(rows: &[f64], m: usize, room: usize) -> (Vec<usize>, Vec<f64>) {
    let n = rows.len() / m;
    let unit = to_unit_box(rows, m);
    let row = |k: usize| &unit[k * m..][..m];
    // Far enough that the ends stay.
    let reference = vec![2.0; m];
    let mut alive = vec![true; n];
    let own = |k: usize, alive: &[bool]| {
        let others = (0..n).filter(|&j| j != k && alive[j]).map(row);
        exclusive_volume(row(k), others, &reference)
    };
    let mut bound: Vec<f64> = (0..n).map(|k| own(k, &alive)).collect();
    let mut fresh = vec![true; n];
    let mut left = n;
    while left > room {
        let least = (0..n).filter(|&k| alive[k]).min_by(|&a, &b| bound[a].total_cmp(&bound[b])).expect("not empty");
        if fresh[least] {
            alive[least] = false;
            left -= 1;
            fresh.fill(false);
        } else {
            bound[least] = own(least, &alive);
            fresh[least] = true;
        }
    }
    ((0..n).filter(|&k| alive[k]).collect(), bound)
}

/// Each objective scaled to [0, 1] over the rows.
fn to_unit_box(rows: &[f64], m: usize) -> Vec<f64> {
    let mut unit = rows.to_vec();
    for k in 0..m {
        let column = rows.iter().skip(k).step_by(m);
        let (low, high) = column.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), &v| (l.min(v), h.max(v)));
        let width = if high > low { high - low } else { 1.0 };
        unit.iter_mut().skip(k).step_by(m).for_each(|v| *v = (*v - low) / width);
    }
    unit
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;

    #[test]
    fn whole_ranks_come_first_then_the_lonely() {
        // A front of four, of which (2.1, 1.9) is crowded by (2, 2), and one dominated point.
        let points = [0.0, 4.0, 2.0, 2.0, 2.1, 1.9, 4.0, 0.0, 4.0, 4.0];
        let kept: Vec<usize> = survivors(&points, 2, &[0.0; 5], 3).iter().map(|s| s.index).collect();
        assert!(kept.contains(&0) && kept.contains(&3) && kept.len() == 3 && !kept.contains(&4));
        assert_eq!(survivors(&points, 2, &[0.0; 5], 5).last().map(|s| (s.index, s.rank)), Some((4, 1)));
    }

    #[test]
    fn the_infeasible_and_the_refused_come_last() {
        let points = [0.0, 0.0, 5.0, 5.0, f64::NAN, f64::NAN];
        let order: Vec<usize> = survivors(&points, 2, &[0.5, 0.0, f64::INFINITY], 3).iter().map(|s| s.index).collect();
        assert_eq!(order, [1, 0, 2]);
    }

    /// From three objectives up crowding distance says little: a sphere's octant is covered better by
    /// contribution.
    #[test]
    fn contribution_covers_more_than_crowding_in_three_dimensions() {
        use crate::frontier::hypervolume;
        let mut random = crate::search::draw::rng(3, "test", 0);
        let mut rows = Vec::new();
        for _ in 0..120 {
            let v: Vec<f64> = (0..3).map(|_| random.random::<f64>()).collect();
            let norm = v.iter().map(|x| x * x).sum::<f64>().sqrt();
            rows.extend(v.iter().map(|x| x / norm));
        }
        let volume = |(kept, _): (Vec<usize>, Vec<f64>)| {
            let points: Vec<f64> = kept.iter().flat_map(|&k| &rows[k * 3..][..3]).copied().collect();
            hypervolume(&points, 3, &[1.1; 3])
        };
        let (contributed, crowded) =
            (volume(thin_by_contribution(&rows, 3, 20)), volume(thin_by_crowding(&rows, 3, 20)));
        assert!(contributed > crowded + 0.01, "{contributed} {crowded}");
    }

    #[test]
    fn three_objectives_are_thinned_by_contribution() {
        // The middle point adds least: it lies just under the plane of the others.
        let points = [0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.66, 0.66, 0.66, 0.1, 0.1, 0.5];
        let kept: Vec<usize> = survivors(&points, 3, &[0.0; 5], 4).iter().map(|s| s.index).collect();
        assert_eq!(kept, [0, 1, 2, 4]);
    }
}
