//! Why an entry was chosen, in sentences made from its numbers.

use super::words::{change, counted, metric_label, metric_phrase, percent, with_unit};
use super::{Pick, Role};
use crate::archive::RunData;
use crate::search::Evaluation;
use crate::space::Study;

/// The explanation of one pick, against the entry that is nearest to it.
pub(crate) fn explain(
    run: &RunData,
    evaluations: &[&Evaluation],
    picks: &[Pick],
    index: usize,
    by_worst_case: bool,
) -> String {
    let pick = &picks[index];
    let study = &run.study;
    let mut sentences: Vec<String> = if by_worst_case {
        let roles: Vec<String> = pick.roles.iter().map(|role| role.words(study)).collect();
        vec![format!("Chosen by its worst case over all scenarios: {}.", roles.join(", "))]
    } else {
        pick.roles.iter().map(|role| role_sentence(study, evaluations, pick, role)).collect()
    };
    if !pick.stands_for.is_empty() {
        let n = pick.stands_for.len();
        sentences
            .push(format!("Stands for {} that gain next to nothing on it.", counted(n, "further frontier member")));
    }
    if let Some(choice) = &pick.preferred {
        sentences.push(choice.sentence());
    }
    if let Some(other) = nearest(study, evaluations, picks, index) {
        sentences.push(against(study, evaluations, pick, &picks[other]));
    }
    sentences.join(" ")
}

fn role_sentence(study: &Study, evaluations: &[&Evaluation], pick: &Pick, role: &Role) -> String {
    match *role {
        Role::Knee => "The knee: from here, a little more of one objective costs the most of another.".into(),
        Role::Best(objective) => {
            let metric = study.objectives[objective].metric;
            let value = evaluations[pick.row].metrics[metric];
            let extreme = if study.objectives[objective].maximize { "highest" } else { "lowest" };
            let name = format!("{extreme} {} of the frontier", metric_phrase(metric));
            // A member that pays dearly for a last fraction of a percent was dropped for this one.
            let own = evaluations[pick.row].objectives[objective];
            // Ids cost a digest each: only of those that are better.
            let better = evaluations.iter().filter(|e| e.is_feasible() && e.objectives[objective] < own);
            let followers = better.filter(|e| pick.stands_for.contains(&study.space.id(&e.candidate)));
            let best = followers.map(|e| e.objectives[objective]).fold(own, f64::min);
            let best = if study.objectives[objective].maximize { -best } else { best };
            if best == value {
                format!("The {name}: {}.", with_unit(metric, value))
            } else {
                format!("Within {} of the {name}: {}.", percent((value / best - 1.0).abs()), with_unit(metric, value))
            }
        }
        Role::Covers if pick.gain < 0.0005 => "On the frontier, close to the entries above it.".into(),
        Role::Covers => format!(
            "Of the remaining frontier, it extends the entries above it most: {} of the frontier's hypervolume that they leave out.",
            percent(pick.gain)
        ),
        Role::Hedge => "A hedge: another kind of deployment than any on the frontier, and within a tenth of a frontier member in every objective, which the simulation may be wrong by.".into(),
        Role::LeastBroken => "Breaks a constraint in some scenario, but by the least.".into(),
        Role::NearestMiss => {
            let broken: Vec<String> = pick
                .margins
                .iter()
                .filter(|margin| !margin.holds())
                .map(|margin| {
                    let side = if margin.is_max { "over" } else { "under" };
                    let bound = with_unit(margin.metric, margin.bound);
                    if margin.value.is_nan() {
                        return format!("{} has no value, the bound is {bound}", metric_label(margin.metric));
                    }
                    let value = with_unit(margin.metric, margin.value);
                    format!(
                        "{} is {value}, {} {side} the bound of {bound}",
                        metric_label(margin.metric),
                        percent(margin.room.abs())
                    )
                })
                .collect();
            let reason = evaluations[pick.row].reason.clone().unwrap_or_else(|| "it breaks a constraint".into());
            let broken = if broken.is_empty() { reason } else { broken.join("; ") };
            format!("NOT FEASIBLE, but near: {broken}.")
        }
    }
}

/// The other pick whose objectives are most alike, as the largest ratio between two values.
fn nearest(study: &Study, evaluations: &[&Evaluation], picks: &[Pick], index: usize) -> Option<usize> {
    let metrics = |pick: &Pick| &evaluations[pick.row].metrics;
    let apart = |other: usize| {
        let ratios = study.objectives.iter().map(|o| {
            let (a, b) = (metrics(&picks[index])[o.metric], metrics(&picks[other])[o.metric]);
            (a / b).abs().ln().abs()
        });
        ratios.filter(|r| r.is_finite()).fold(0.0, f64::max)
    };
    let others = (0..picks.len()).filter(|&other| other != index);
    others.min_by(|&a, &b| apart(a).total_cmp(&apart(b)).then(a.cmp(&b)))
}

fn against(study: &Study, evaluations: &[&Evaluation], pick: &Pick, other: &Pick) -> String {
    let (ours, theirs) = (evaluations[pick.row], evaluations[other.row]);
    let deltas: Vec<String> = study
        .objectives
        .iter()
        .map(|o| format!("{} {}", metric_phrase(o.metric), change(theirs.metrics[o.metric], ours.metrics[o.metric])))
        .collect();
    // Knobs that only the other has go with the value that they need, which is among those named.
    let knobs = study.space.knobs.iter().enumerate().filter_map(|(knob, spec)| {
        let value = |e: &Evaluation| study.space.value(&e.candidate, knob).map(ToString::to_string);
        let (here, there) = (value(ours)?, value(theirs));
        let instead = there.as_ref().map_or(String::new(), |there| format!(" instead of {there}"));
        (there.as_ref() != Some(&here)).then(|| format!("{} {here}{instead}", spec.name))
    });
    let differences: Vec<String> = knobs.collect();
    let differences = if differences.is_empty() { String::new() } else { format!(", with {}", differences.join(", ")) };
    format!("Against #{}, its nearest neighbour here: {}{differences}.", other.rank, deltas.join(", "))
}
