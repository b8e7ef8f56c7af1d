//! The driver: order, budget, threads, resume, interruption.

use crate::search_common;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use search_common::{Toy, space};
use servescout::frontier::nondominated;
use servescout::search::{
    Committed, Driver, DriverError, Evaluate, Evaluation, Fidelity, Progress, STRATEGIES, Settings, Sink, SinkError,
    Stagnation, StopReason, Strategy, hypervolume_history, strategy,
};
use servescout::space::{Candidate, Space};

#[derive(Default)]
struct Kept {
    batches: Vec<(usize, Vec<Evaluation>)>,
    last: Option<Progress>,
    fail_at: Option<usize>,
}

impl Sink for Kept {
    fn batch(&mut self, batch: usize, committed: &[Committed]) -> Result<(), SinkError> {
        if self.fail_at == Some(batch) {
            return Err("the disk is full".into());
        }
        assert!(committed.iter().all(|c| c.batch == batch));
        self.batches.push((batch, committed.iter().map(|c| c.evaluation.clone()).collect()));
        Ok(())
    }

    fn progress(&mut self, progress: &Progress) {
        if let Some(last) = self.last {
            assert!(progress.simulations >= last.simulations && progress.hypervolume >= last.hypervolume);
        }
        self.last = Some(*progress);
    }
}

fn run(name: &str, settings: Settings, stored: Vec<(usize, Vec<Evaluation>)>) -> (Kept, StopReason) {
    let space = space();
    let mut strategy = strategy(name, &space, 2, 11, settings.budget).unwrap();
    let mut kept = Kept::default();
    let summary = Driver::new(&space, &Toy, settings).resume(stored).run(strategy.as_mut(), &mut kept).unwrap();
    assert_eq!(kept.last, Some(summary.progress));
    (kept, summary.stop)
}

/// Bits, because NaN is not equal to itself.
fn bits(batches: &[(usize, Vec<Evaluation>)]) -> Vec<(usize, Candidate, Vec<u64>)> {
    let of = |e: &Evaluation| e.objectives.iter().map(|v| v.to_bits()).collect();
    batches.iter().flat_map(|(b, es)| es.iter().map(move |e| (*b, e.candidate.clone(), of(e)))).collect()
}

const SETTINGS: Settings = Settings::plain(150, 16, 1);

#[test]
fn threads_change_nothing() {
    for (name, _) in STRATEGIES {
        let (one, _) = run(name, SETTINGS, vec![]);
        for threads in [2, 7] {
            let (more, _) = run(name, Settings { threads, ..SETTINGS }, vec![]);
            assert_eq!(bits(&one.batches), bits(&more.batches), "{name} with {threads} threads");
        }
    }
}

#[test]
fn a_resumed_run_is_the_uninterrupted_one() {
    for (name, _) in STRATEGIES {
        let (whole, reason) = run(name, SETTINGS, vec![]);
        for cut in [0, 1, whole.batches.len() / 2, whole.batches.len()] {
            let (rest, resumed) = run(name, Settings { threads: 2, ..SETTINGS }, whole.batches[..cut].to_vec());
            assert_eq!(bits(&rest.batches), bits(&whole.batches[cut..]), "{name} resumed after batch {cut}");
            assert_eq!((resumed, rest.last), (reason, whole.last));
        }
    }
}

#[test]
fn the_budget_counts_simulations_and_nothing_is_simulated_twice() {
    for (name, _) in STRATEGIES {
        let (kept, reason) = run(name, SETTINGS, vec![]);
        let all: Vec<&Evaluation> = kept.batches.iter().flat_map(|(_, es)| es).collect();
        let simulated = all.iter().filter(|e| !e.is_refused()).count();
        assert_eq!((reason, simulated), (StopReason::Budget, 150), "{name}");
        let distinct: BTreeSet<&Candidate> = all.iter().map(|e| &e.candidate).collect();
        assert_eq!(distinct.len(), all.len(), "{name} committed a candidate twice");
        assert!(distinct.iter().all(|c| space().contains(c)), "{name} proposed a candidate that is not canonical");
    }
}

#[test]
fn another_seed_asks_otherwise() {
    let space = space();
    for name in ["coordinate", "genetic", "sobol", "random"] {
        let first = |seed| strategy(name, &space, 2, seed, 100).unwrap().ask(8);
        assert_eq!(first(1), first(1), "{name}");
        assert_ne!(first(1), first(2), "{name}");
    }
}

#[test]
fn batches_of_another_run_are_rejected() {
    let (whole, _) = run("sobol", SETTINGS, vec![]);
    let space = space();
    let rejected = |stored: Vec<(usize, Vec<Evaluation>)>| {
        let mut strategy = strategy("sobol", &space, 2, 11, 150).unwrap();
        match Driver::new(&space, &Toy, SETTINGS).resume(stored).run(strategy.as_mut(), &mut ()) {
            Err(DriverError::Mismatch { batch, detail }) => (batch, detail),
            other => panic!("not rejected: {other:?}"),
        }
    };
    let mut swapped = whole.batches[..3].to_vec();
    swapped[1].1.swap(0, 1);
    assert_eq!(rejected(swapped).0, 1);
    let mut short = whole.batches[..3].to_vec();
    short[2].1.pop();
    assert_eq!(rejected(short).0, 2);
    let gap = vec![whole.batches[0].clone(), whole.batches[2].clone()];
    let (batch, detail) = rejected(gap);
    assert_eq!((batch, detail.contains("missing")), (1, true), "{detail}");
}

#[test]
fn grid_and_sampling_end_with_the_space() {
    let mut space = space();
    space.knobs.truncate(3);
    struct Flat;
    impl Evaluate for Flat {
        fn objectives(&self) -> usize {
            2
        }
        fn evaluate(&self, candidate: &Candidate) -> Evaluation {
            let objectives = vec![f64::from(candidate.levels[1]), -f64::from(candidate.levels[1])];
            Evaluation::plain(candidate.clone(), objectives)
        }
    }
    assert_eq!(space.size(), 68.0);
    for (name, _) in STRATEGIES {
        let mut strategy = strategy(name, &space, 2, 3, 1000).unwrap();
        let settings = Settings::plain(1000, 16, 1);
        let summary = Driver::new(&space, &Flat, settings).run(strategy.as_mut(), &mut ()).unwrap();
        assert_eq!((summary.stop, summary.progress.simulations), (StopReason::Exhausted, 68), "{name}");
    }
}

#[test]
fn a_space_full_of_refusals_ends() {
    struct Refuse;
    impl Evaluate for Refuse {
        fn objectives(&self) -> usize {
            2
        }
        fn evaluate(&self, candidate: &Candidate) -> Evaluation {
            Evaluation::refused(candidate.clone(), 2, 0, "does not fit".into())
        }
    }
    for (name, _) in STRATEGIES {
        let space = space();
        let mut strategy = strategy(name, &space, 2, 3, 20).unwrap();
        let settings = Settings::plain(20, 16, 1);
        let summary = Driver::new(&space, &Refuse, settings).run(strategy.as_mut(), &mut ()).unwrap();
        assert_eq!((summary.stop, summary.progress.simulations), (StopReason::Refusals, 0), "{name}");
        assert!(summary.progress.refused <= 20 * 20 + 16);
    }
}

#[test]
fn the_stop_flag_ends_after_the_batch_in_flight() {
    struct Interrupting<'a>(&'a AtomicBool, AtomicUsize);
    impl Evaluate for Interrupting<'_> {
        fn objectives(&self) -> usize {
            2
        }
        fn evaluate(&self, candidate: &Candidate) -> Evaluation {
            if self.1.fetch_add(1, Ordering::Relaxed) == 20 {
                self.0.store(true, Ordering::Relaxed);
            }
            Toy.evaluate(candidate)
        }
    }
    let flag = AtomicBool::new(false);
    let space = space();
    let mut strategy = strategy("random", &space, 2, 3, 150).unwrap();
    let evaluate = Interrupting(&flag, AtomicUsize::new(0));
    let mut kept = Kept::default();
    let driver = Driver::new(&space, &evaluate, SETTINGS).stop_when(&flag);
    let summary = driver.run(strategy.as_mut(), &mut kept).unwrap();
    assert_eq!((summary.stop, kept.batches.len()), (StopReason::Interrupted, 2));
}

#[test]
fn a_failing_sink_ends_the_run_with_its_error() {
    let space = space();
    let mut strategy = strategy("grid", &space, 2, 3, 150).unwrap();
    let mut kept = Kept { fail_at: Some(2), ..Kept::default() };
    let error = Driver::new(&space, &Toy, SETTINGS).run(strategy.as_mut(), &mut kept).unwrap_err();
    assert_eq!(error.to_string(), "batch 2 could not be kept: the disk is full");
}

#[test]
fn asking_for_the_known_again_is_answered_from_the_cache() {
    /// Asks for the first candidates again and again, and once twice in a batch.
    struct Repeating(Space, usize);
    impl Strategy for Repeating {
        fn name(&self) -> &'static str {
            "repeating"
        }
        fn ask(&mut self, n: usize) -> Vec<Candidate> {
            self.1 += 1;
            let first: Vec<Candidate> = self.0.enumerate().take(n / 2).collect();
            [first.clone(), first].concat()
        }
        fn tell(&mut self, evaluations: &[Evaluation]) {
            assert_eq!(evaluations.len(), 16, "told everything it asked for");
            assert_eq!(evaluations[0].candidate, evaluations[8].candidate);
        }
    }
    let space = space();
    let mut repeating = Repeating(space.clone(), 0);
    let summary = Driver::new(&space, &Toy, SETTINGS).run(&mut repeating, &mut ()).unwrap();
    assert_eq!((summary.stop, summary.progress.simulations, summary.progress.batches), (StopReason::Exhausted, 8, 1));
    assert!(repeating.1 > 1);
}

#[test]
fn the_history_never_falls_and_ends_at_the_front() {
    let space = space();
    let mut strategy = strategy("genetic", &space, 2, 3, 150).unwrap();
    let summary = Driver::new(&space, &Toy, SETTINGS).run(strategy.as_mut(), &mut ()).unwrap();
    let evaluations = summary.evaluations();
    let (reference, history) = hypervolume_history(&evaluations).unwrap();
    assert_eq!(history.len(), evaluations.len());
    assert!(history.is_sorted());
    let feasible: Vec<f64> =
        evaluations.iter().filter(|e| e.is_feasible()).flat_map(|e| e.objectives.clone()).collect();
    assert!((history.last().unwrap() - reference.hypervolume(&feasible)).abs() < 1e-12);
    assert_eq!(hypervolume_history(&[]), None);
}

#[test]
fn an_unknown_strategy_is_named_with_the_known_ones() {
    let error = strategy("annealing", &space(), 2, 1, 10).err().unwrap().to_string();
    assert!(error.contains("annealing") && error.contains("genetic") && error.contains("grid"), "{error}");
}

/// The toy with looks that are 20 % too low, give or take what the candidate makes of it.
struct Looking;

impl Looking {
    fn off(candidate: &Candidate) -> f64 {
        0.8 + 0.01 * f64::from(candidate.levels.iter().filter(|l| **l != Candidate::ABSENT).sum::<u32>() % 7)
    }
}

impl Evaluate for Looking {
    fn objectives(&self) -> usize {
        2
    }
    fn evaluate(&self, candidate: &Candidate) -> Evaluation {
        Toy.evaluate(candidate)
    }
    fn screen_cost(&self) -> Option<f64> {
        Some(0.1)
    }
    fn screen(&self, candidate: &Candidate) -> Evaluation {
        let mut look = Toy.evaluate(candidate);
        look.objectives.iter_mut().for_each(|v| *v *= Self::off(candidate));
        look.fidelity = if look.is_refused() { Fidelity::Full } else { Fidelity::Windows };
        look
    }
}

fn front_of(evaluations: &[Evaluation]) -> Vec<Vec<u64>> {
    let feasible: Vec<&Evaluation> = evaluations.iter().filter(|e| e.is_feasible()).collect();
    let points: Vec<f64> = feasible.iter().flat_map(|e| e.objectives.clone()).collect();
    let mut front: Vec<Vec<u64>> = nondominated(&points, 2)
        .into_iter()
        .map(|i| feasible[i].objectives.iter().map(|v| v.to_bits()).collect())
        .collect();
    front.sort();
    front
}

#[test]
fn the_ladder_spares_simulations_and_keeps_the_frontier() {
    let space = space();
    let run = |settings: Settings, stored| {
        let mut strategy = strategy("sobol", &space, 2, 5, 100).unwrap();
        let mut kept = Kept::default();
        let summary = Driver::new(&space, &Looking, settings).resume(stored).run(strategy.as_mut(), &mut kept).unwrap();
        (summary, kept)
    };
    let plain = run(Settings::plain(600, 16, 1), vec![]).0;
    let with = Settings { ladder: true, ..Settings::plain(600, 16, 1) };
    let (ladder, kept) = run(with, vec![]);
    let seen = ladder.progress.simulations + ladder.progress.screened;
    assert!((599..=600).contains(&ladder.progress.spent), "{:?}", ladder.progress);
    assert!(ladder.progress.screened > 100 && seen > 700, "{:?}", ladder.progress);
    // Of the candidates that both saw, the ladder has missed none of the frontier.
    let both: Vec<Evaluation> = ladder.evaluations().into_iter().take(plain.committed.len()).collect();
    let whole: Vec<Evaluation> = both.iter().map(|e| Toy.evaluate(&e.candidate)).collect();
    assert_eq!(front_of(&both), front_of(&whole));
    assert!(ladder.evaluations().iter().all(|e| e.is_feasible() <= (e.fidelity == Fidelity::Full)));
    // On two threads, and resumed, it is the same.
    let cut = kept.batches.len() / 2;
    let (resumed, rest) = run(Settings { threads: 2, ..with }, kept.batches[..cut].to_vec());
    assert_eq!(resumed.progress, ladder.progress);
    assert_eq!(bits(&rest.batches), bits(&kept.batches[cut..]));
    // A store that was made without the ladder is not taken for one made with it.
    let mut strategy = strategy("sobol", &space, 2, 5, 100).unwrap();
    let batches = plain.committed.chunk_by(|a, b| a.batch == b.batch).enumerate();
    let without = batches.map(|(i, c)| (i, c.iter().map(|c| c.evaluation.clone()).collect())).collect();
    let refused = Driver::new(&space, &Looking, with).resume(without).run(strategy.as_mut(), &mut ());
    assert!(matches!(refused, Err(DriverError::Mismatch { .. })), "{refused:?}");
}

#[test]
fn a_search_ends_when_nothing_grows_any_more() {
    let space = space();
    let run = |stagnation| {
        let mut strategy = strategy("genetic", &space, 2, 5, 3000).unwrap();
        let settings = Settings { stagnation, ..Settings::plain(3000, 16, 1) };
        Driver::new(&space, &Toy, settings).run(strategy.as_mut(), &mut ()).unwrap()
    };
    let ended = run(Some(Stagnation { window: 300, gain: 1e-3 }));
    assert_eq!(ended.stop, StopReason::Stagnation);
    assert!((300..3000).contains(&ended.progress.simulations), "{:?}", ended.progress);
    let patient = run(Some(Stagnation { window: 2900, gain: 0.0 }));
    assert!(patient.progress.simulations > ended.progress.simulations);
}

#[test]
fn no_time_at_all_is_one_batch() {
    let space = space();
    let mut strategy = strategy("sobol", &space, 2, 5, 100).unwrap();
    let settings = Settings { max_wall: Some(Duration::ZERO), ..SETTINGS };
    let summary = Driver::new(&space, &Toy, settings).run(strategy.as_mut(), &mut ()).unwrap();
    assert_eq!((summary.stop, summary.progress.batches), (StopReason::WallTime, 1));
}
