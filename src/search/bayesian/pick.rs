//! A batch out of a pool: the most promising are looked at closely, and picked one by one by what
//! each should add to the front and to those before it.

use rayon::prelude::*;

use super::acquisition::Improvement;
use super::forest::Guess;
use super::gp::Posterior;
use super::targets::Targets;
use super::{Bayesian, Models};
use crate::space::Candidate;

/// Reference point of the acquisition, in units of the front; and where it is moved to in one
/// objective when an end of the front is sought.
const REFERENCE: f64 = 1.1;
const PUSHED: f64 = 2.0;
/// Candidates of the pool that are looked at closely.
const SHORTLIST: usize = 600;
/// Those of which the processes' means are computed.
const ROUGH: usize = 2000;
/// Fewest candidates that are worth another thread.
const LEAST_SHARE: usize = 32;
/// How many are put to the forest at a time.
const SHARE: usize = 128;

/// A candidate that is looked at closely.
struct Entry {
    candidate: Candidate,
    row: Vec<f64>,
    posteriors: Vec<Posterior>,
    /// Chance that it keeps the constraints and lies near the front, and the same with each
    /// objective allowed beyond the front's end.
    weights: Vec<f64>,
    /// How many picks its variances know of.
    believed: usize,
    taken: bool,
}

impl Entry {
    /// Expected gain times the chances, those with an objective beyond the front's end, or none.
    fn worth(&self, improvement: &Improvement, models: &Models, ending: usize) -> f64 {
        if !models.any_feasible {
            return self.weights[0];
        }
        let mean: Vec<f64> = self.posteriors.iter().map(|p| p.mean).collect();
        let gps = models.gps.iter().zip(&self.posteriors);
        let deviation: Vec<f64> = gps.map(|(gp, p)| gp.deviation(p.variance)).collect();
        improvement.expected(&mean, &deviation) * self.weights[ending]
    }
}

impl Bayesian<'_> {
    /// Up to `n` of a pool, one by one, each believed before the next.
    pub(super) fn pick(
        &mut self,
        n: usize,
        pool: Vec<Candidate>,
        models: &Models,
        targets: &Targets,
    ) -> Vec<Candidate> {
        let m = targets.m;
        let mut entries = self.shortlist(pool, models, targets);
        let mut front = targets.front.clone();
        let mut picks: Vec<usize> = Vec::with_capacity(n);
        // What each was worth when it was last looked at, with each reference point. A pick makes
        // nothing worth more, so only what could still be the best is looked at again.
        let mut worth: Vec<Vec<f64>> = vec![Vec::new(); m + 1];
        for _ in 0..n {
            let mut reference = vec![REFERENCE; m];
            let push_every = if self.memory.known().len() < 100 { 2 } else { 4 };
            let mut ending = 0;
            if self.picked.is_multiple_of(push_every) {
                let end = (self.picked / push_every) as usize % m;
                reference[end] = PUSHED;
                ending = end + 1;
            }
            self.picked += 1;
            let improvement = Improvement::new(&front, m, &reference);
            let score = |e: &Entry| e.worth(&improvement, models, ending);
            let worth = &mut worth[ending];
            let is_first = worth.is_empty();
            if is_first {
                (0..entries.len()).for_each(|i| believe(&mut entries, i, &picks, models));
                *worth = entries.par_iter().with_min_len(LEAST_SHARE).map(score).collect();
            }
            let mut is_fresh = vec![is_first; entries.len()];
            let chosen = loop {
                let open = (0..entries.len()).filter(|&i| !entries[i].taken);
                let Some(at) = open.reduce(|best, i| if worth[i] > worth[best] { i } else { best }) else { break None };
                if is_fresh[at] {
                    break Some(at);
                }
                believe(&mut entries, at, &picks, models);
                worth[at] = score(&entries[at]);
                is_fresh[at] = true;
            };
            let Some(at) = chosen else { break };
            entries[at].taken = true;
            front.extend(entries[at].posteriors.iter().map(|p| p.mean));
            self.fresh.mark(&entries[at].candidate);
            picks.push(at);
        }
        picks.into_iter().map(|at| entries[at].candidate.clone()).collect()
    }

    fn shortlist(&self, pool: Vec<Candidate>, models: &Models, targets: &Targets) -> Vec<Entry> {
        let m = targets.m;
        struct Rough {
            candidate: Candidate,
            row: Vec<f64>,
            guess: Guess,
            order: [f64; 2],
        }
        let roughly = |candidates: &[Candidate]| -> Vec<Rough> {
            let encoded = candidates.iter().filter_map(|c| Some((c.clone(), self.row(c)?)));
            let (candidates, rows): (Vec<Candidate>, Vec<Vec<f64>>) = encoded.unzip();
            let guesses = models.forest.guesses(&rows);
            let all = candidates.into_iter().zip(rows).zip(guesses);
            all.map(|((candidate, row), guess)| {
                let order = models.promise(&guess, &guess.mean[..m], targets);
                Rough { candidate, row, guess, order }
            })
            .collect()
        };
        let mut rough: Vec<Rough> = pool.par_chunks(SHARE).flat_map_iter(roughly).collect();
        let keep = |rough: &mut Vec<Rough>, count: usize| {
            // A quarter for the ends of the front.
            rough.sort_by(|a, b| b.order[0].total_cmp(&a.order[0]));
            let (whole, own) = (rough.len(), (count - count / 4).min(rough.len()));
            rough[own..].sort_by(|a, b| b.order[1].total_cmp(&a.order[1]));
            rough.truncate(count.min(whole));
        };
        keep(&mut rough, ROUGH);
        rough.par_iter_mut().with_min_len(LEAST_SHARE).for_each(|r| {
            let mean: Vec<f64> =
                models.gps.iter().zip(&r.guess.mean).map(|(gp, forest)| 0.5 * (gp.mean(&r.row) + forest)).collect();
            r.order = models.promise(&r.guess, &mean, targets);
        });
        keep(&mut rough, SHORTLIST);
        rough
            .into_par_iter()
            .with_min_len(LEAST_SHARE)
            .map(|r| {
                let posteriors: Vec<Posterior> = models.gps.iter().map(|gp| gp.posterior(&r.row)).collect();
                let feasible = if models.has_violations { r.guess.mean[m + 1] } else { 1.0 };
                let near = [r.guess.mean[m]].into_iter().chain(r.guess.mean[m + 3..].iter().copied());
                let weights = match models.any_feasible {
                    true => near.map(|near| near * feasible).collect(),
                    false => vec![r.order[0]; m + 1],
                };
                Entry { candidate: r.candidate, row: r.row, posteriors, weights, believed: 0, taken: false }
            })
            .collect()
    }
}

/// Lowers the variances of an entry for the picks that were not yet believed for it.
fn believe(entries: &mut [Entry], at: usize, picks: &[usize], models: &Models) {
    let mut posteriors = std::mem::take(&mut entries[at].posteriors);
    let first = entries[at].believed;
    if !entries[at].taken {
        for &picked in &picks[first..] {
            let picked = &entries[picked];
            for ((gp, picked_posterior), other) in models.gps.iter().zip(&picked.posteriors).zip(&mut posteriors) {
                gp.believe((&picked.row, picked_posterior), (&entries[at].row, other));
            }
        }
    }
    entries[at].believed = picks.len();
    entries[at].posteriors = posteriors;
}
