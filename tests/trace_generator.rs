//! The generator: what it draws, how sessions grow, and that equal settings give equal workloads.

use proptest::prelude::*;
use servescout::workload::spec::{Arrivals, Lengths, SourceSpec, SyntheticSpec};
use servescout::workload::{self, Workload, WorkloadSpec, generate};

fn chat() -> SyntheticSpec {
    SyntheticSpec {
        seed: 7,
        sessions: 200,
        turns: 4,
        arrivals: Arrivals::Poisson { rate_per_s: 2.0 },
        input_tokens: Lengths::LogNormal { mean: 300.0, std: 200.0 },
        output_tokens: Lengths::Normal { mean: 150.0, std: 40.0 },
        think_ms: 5000.0,
        common_prefix_tokens: 128,
        prefix_groups: 5,
        group_prefix_tokens: 192,
        block_tokens: 64,
    }
}

/// Everything but where it came from.
fn same(a: &Workload, b: &Workload) -> bool {
    a.requests == b.requests && a.contents == b.contents
}

#[test]
fn equal_settings_give_equal_workloads_and_every_setting_changes_the_hash() {
    let base = generate(&chat()).unwrap();
    let again = generate(&chat()).unwrap();
    assert!(same(&base, &again));
    assert_eq!(base.sha256, again.sha256);
    assert_eq!(base.sha256.len(), 64);
    let changed = [
        SyntheticSpec { seed: 8, ..chat() },
        SyntheticSpec { sessions: 201, ..chat() },
        SyntheticSpec { turns: 5, ..chat() },
        SyntheticSpec { arrivals: Arrivals::Constant { rate_per_s: 2.0 }, ..chat() },
        SyntheticSpec { input_tokens: Lengths::Fixed(300), ..chat() },
        SyntheticSpec { output_tokens: Lengths::Fixed(150), ..chat() },
        SyntheticSpec { think_ms: 5000.5, ..chat() },
        SyntheticSpec { common_prefix_tokens: 64, ..chat() },
        SyntheticSpec { prefix_groups: 6, ..chat() },
        SyntheticSpec { group_prefix_tokens: 256, ..chat() },
        SyntheticSpec { block_tokens: 32, ..chat() },
    ];
    for spec in changed {
        let other = generate(&spec).unwrap();
        assert_ne!(other.sha256, base.sha256, "{spec:?}");
        assert!(!same(&base, &other), "{spec:?} changes nothing");
    }
}

#[test]
fn a_setting_does_not_shift_the_draws_of_another() {
    let base = generate(&chat()).unwrap();
    let outputs = |w: &Workload| w.requests.iter().map(|r| r.output_tokens).collect::<Vec<_>>();
    let starts = |w: &Workload| w.requests.iter().filter(|r| r.turn == 0).map(|r| r.arrival_ms).collect::<Vec<_>>();
    let thinks = |w: &Workload| w.requests.iter().map(|r| r.delay_ms).collect::<Vec<_>>();
    let inputs = generate(&SyntheticSpec { input_tokens: Lengths::Fixed(9), ..chat() }).unwrap();
    assert_eq!((outputs(&base), starts(&base), thinks(&base)), (outputs(&inputs), starts(&inputs), thinks(&inputs)));
    let arrivals = generate(&SyntheticSpec { arrivals: Arrivals::Burst, ..chat() }).unwrap();
    assert_eq!((outputs(&base), thinks(&base)), (outputs(&arrivals), thinks(&arrivals)));
    assert_eq!(base.contents, arrivals.contents);
}

#[test]
fn sessions_grow_by_their_own_outputs() {
    let w = generate(&chat()).unwrap();
    assert!(w.grows);
    assert_eq!((w.requests.len(), w.sessions()), (800, 200));
    for session in 0..w.sessions() {
        for pair in w.session(session).windows(2) {
            let (before, after) = (pair[0] as usize, pair[1] as usize);
            let (first, next) = (w.requests[before], w.requests[after]);
            assert!(next.input_tokens > first.input_tokens + first.output_tokens, "new input is at least 1 token");
            // The id of a last block that is only begun is kept when it is filled.
            assert!(w.blocks_of(after).starts_with(&w.blocks_of(before)));
            // To the microsecond, the grain of times.
            assert!((next.arrival_ms - first.arrival_ms - next.delay_ms).abs() < 1e-6);
        }
    }
    for (index, r) in w.requests.iter().enumerate() {
        assert_eq!(w.blocks_of(index).len(), r.input_tokens.div_ceil(64) as usize);
        assert_eq!((r.row, r.turn), (index as u32, index as u32 % 4));
    }
}

#[test]
fn ids_are_shared_by_all_then_by_group_then_by_nobody() {
    let w = generate(&chat()).unwrap();
    let first_prompts: Vec<Vec<u32>> = (0..200).map(|s| w.blocks_of(w.session(s)[0] as usize)).collect();
    assert!(first_prompts.iter().all(|p| p[..2] == [0, 1]), "128 common tokens are 2 blocks");
    let mut groups: Vec<&[u32]> = first_prompts.iter().map(|p| &p[2..5]).collect();
    groups.sort_unstable();
    groups.dedup();
    assert_eq!(groups.len(), 5, "192 tokens of each group are 3 blocks");
    let mut own: Vec<u32> =
        (0..200).flat_map(|s| w.blocks_of(*w.session(s).last().unwrap() as usize)[5..].to_vec()).collect();
    let drawn = own.len();
    own.sort_unstable();
    own.dedup();
    assert_eq!(own.len(), drawn, "the rest is a session's own");
    assert_eq!(w.distinct_blocks() as usize, 2 + 5 * 3 + own.len());
    // Numbered in order of first appearance, as a trace read back would be.
    let mut next = 0;
    for block in w.contents.all_ids() {
        assert!(block <= next);
        next = next.max(block + 1);
    }
    assert_eq!(next, w.distinct_blocks());
}

#[test]
fn lengths_have_the_mean_and_deviation_asked_for() {
    let drawn = |lengths| {
        let spec = SyntheticSpec {
            sessions: 20_000,
            turns: 1,
            output_tokens: lengths,
            prefix_groups: 0,
            group_prefix_tokens: 0,
            ..chat()
        };
        generate(&spec).unwrap().requests.iter().map(|r| f64::from(r.output_tokens)).collect::<Vec<_>>()
    };
    for lengths in [Lengths::Normal { mean: 500.0, std: 60.0 }, Lengths::LogNormal { mean: 500.0, std: 300.0 }] {
        let (Lengths::Normal { mean, std } | Lengths::LogNormal { mean, std }) = lengths else { unreachable!() };
        let tokens = drawn(lengths);
        let count = tokens.len() as f64;
        let found = tokens.iter().sum::<f64>() / count;
        let deviation = (tokens.iter().map(|t| (t - found).powi(2)).sum::<f64>() / count).sqrt();
        assert!((found - mean).abs() < 5.0 * std / count.sqrt(), "{lengths:?}: mean {found}");
        assert!((deviation / std - 1.0).abs() < 0.05, "{lengths:?}: deviation {deviation}");
    }
    assert!(drawn(Lengths::Fixed(17)).iter().all(|&t| t == 17.0));
    // A median of 500 exp(-s^2 / 2), s^2 = ln(1 + (std/mean)^2): skewed, unlike the normal.
    let mut tokens = drawn(Lengths::LogNormal { mean: 500.0, std: 300.0 });
    tokens.sort_by(f64::total_cmp);
    assert!((tokens[10_000] - 428.7).abs() < 10.0, "median {}", tokens[10_000]);
    // Half of this normal is below 1.
    let clipped = drawn(Lengths::Normal { mean: 1.0, std: 50.0 });
    assert!(clipped.iter().all(|&t| t >= 1.0) && clipped.iter().filter(|&&t| t == 1.0).count() > 9_000);
}

#[test]
fn think_times_are_exponential_with_their_mean() {
    let w = generate(&SyntheticSpec { sessions: 5000, ..chat() }).unwrap();
    let think = workload::stats(&w).think_ms.unwrap();
    assert!((think.mean / 5000.0 - 1.0).abs() < 0.05, "{think:?}");
    assert!((think.p50 / (5000.0 * std::f64::consts::LN_2) - 1.0).abs() < 0.06, "{think:?}");
    let none = generate(&SyntheticSpec { think_ms: 0.0, ..chat() }).unwrap();
    assert!(none.requests.iter().all(|r| r.delay_ms == 0.0));
}

#[test]
fn stats_agree_with_what_was_asked_for() {
    let spec =
        SyntheticSpec { sessions: 4000, arrivals: Arrivals::Gamma { rate_per_s: 5.0, burstiness: 2.0 }, ..chat() };
    let stats = workload::stats(&generate(&spec).unwrap());
    assert!((stats.sessions_per_s.unwrap() - 5.0).abs() < 0.6, "{stats:?}");
    assert!((stats.burstiness.unwrap() - 2.0).abs() < 0.25, "{stats:?}");
    assert!(stats.peak_minute_sessions_per_s > 5.0);
    assert_eq!((stats.turns_per_session_mean, stats.turns_per_session_max), (4.0, 4));
    // Each first turn finds 128 + 192 of its tokens (but for the first of all and of its group);
    // each later one all whole blocks of the turn before and its output.
    let w = generate(&chat()).unwrap();
    let mut expected = 0;
    let mut groups_seen = std::collections::BTreeSet::new();
    for session in 0..w.sessions() {
        let requests = w.session(session);
        let first = requests[0] as usize;
        if groups_seen.insert(w.blocks_of(first)[2]) {
            expected += if session == 0 { 0 } else { 128 };
        } else {
            expected += 320;
        }
        for pair in requests.windows(2) {
            let before = w.requests[pair[0] as usize];
            let blocks = before.input_tokens.div_ceil(64).max((before.input_tokens + before.output_tokens) / 64);
            expected += (blocks * 64).min(w.requests[pair[1] as usize].input_tokens);
        }
    }
    let stats = workload::stats(&w);
    let ratio = f64::from(expected) / stats.input_tokens_total as f64;
    assert!((stats.ideal_prefix_reuse_ratio - ratio).abs() < 1e-12, "{} {ratio}", stats.ideal_prefix_reuse_ratio);
}

#[test]
fn loading_applies_limit_and_load_to_generated_requests() {
    let spec =
        WorkloadSpec { limit: Some(6), concurrency: Some(3), ..WorkloadSpec::new(SourceSpec::Synthetic(chat())) };
    let w = workload::load(&spec).unwrap();
    assert_eq!((w.requests.len(), w.sessions()), (6, 2));
    assert_eq!(w.load, workload::Load::Closed { concurrency: 3 });
    assert!(w.grows);
    assert_eq!(w.contents.all_ids().max().map(|b| b + 1), Some(w.distinct_blocks()));
    let ungrown = WorkloadSpec { grows: Some(false), ..spec };
    assert!(!workload::load(&ungrown).unwrap().grows);
}

#[test]
fn impossible_settings_are_errors() {
    let cases = [
        (SyntheticSpec { sessions: 0, ..chat() }, "sessions"),
        (SyntheticSpec { sessions: u32::MAX, ..chat() }, "sessions"),
        (SyntheticSpec { turns: 0, ..chat() }, "turns"),
        (SyntheticSpec { block_tokens: 0, ..chat() }, "block_tokens"),
        (SyntheticSpec { input_tokens: Lengths::Fixed(0), ..chat() }, "input_tokens"),
        (SyntheticSpec { input_tokens: Lengths::Normal { mean: f64::NAN, std: 1.0 }, ..chat() }, "input_tokens"),
        (SyntheticSpec { output_tokens: Lengths::Normal { mean: 5.0, std: -1.0 }, ..chat() }, "output_tokens"),
        (
            SyntheticSpec { output_tokens: Lengths::LogNormal { mean: 4e9, std: 4e9 }, turns: 1, ..chat() },
            "output_tokens",
        ),
        (
            SyntheticSpec {
                input_tokens: Lengths::Fixed(u32::MAX),
                block_tokens: 1 << 30,
                common_prefix_tokens: 0,
                prefix_groups: 0,
                group_prefix_tokens: 0,
                ..chat()
            },
            "turns",
        ),
        (SyntheticSpec { input_tokens: Lengths::Fixed(1 << 24), block_tokens: 1, ..chat() }, "block_tokens"),
        (SyntheticSpec { think_ms: -1.0, ..chat() }, "think_ms"),
        (SyntheticSpec { think_ms: f64::INFINITY, ..chat() }, "think_ms"),
        (SyntheticSpec { common_prefix_tokens: 100, ..chat() }, "common_prefix_tokens"),
        (SyntheticSpec { group_prefix_tokens: 100, ..chat() }, "group_prefix_tokens"),
        (SyntheticSpec { prefix_groups: 0, ..chat() }, "group_prefix_tokens"),
        (SyntheticSpec { group_prefix_tokens: 0, ..chat() }, "prefix_groups"),
        (SyntheticSpec { common_prefix_tokens: 1 << 31, block_tokens: 1, ..chat() }, "block_tokens"),
        (SyntheticSpec { arrivals: Arrivals::Poisson { rate_per_s: -1.0 }, ..chat() }, "rate_per_s"),
    ];
    for (spec, field) in cases {
        let error = generate(&spec).unwrap_err();
        assert_eq!(error.field(), Some(field), "{spec:?}: {error}");
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("\n  help: "), "{error}");
    }
    // As many groups as there are numbers cost nothing: only those drawn exist.
    assert!(generate(&SyntheticSpec { prefix_groups: u32::MAX, ..chat() }).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn generated_workloads_are_sound(
        seed in any::<u64>(),
        sessions in 1u32..20,
        turns in 1u32..5,
        input in 1.0f64..2000.0,
        groups in 0u32..3,
        block_tokens in prop_oneof![Just(16u32), Just(64), Just(512)],
    ) {
        let spec = SyntheticSpec {
            seed,
            sessions,
            turns,
            input_tokens: Lengths::LogNormal { mean: input, std: input },
            prefix_groups: groups,
            group_prefix_tokens: if groups > 0 { 512 } else { 0 },
            common_prefix_tokens: 512,
            block_tokens,
            ..chat()
        };
        let w = generate(&spec).unwrap();
        prop_assert_eq!(w.requests.len(), (sessions * turns) as usize);
        for (index, r) in w.requests.iter().enumerate() {
            prop_assert!(r.input_tokens > 512 && r.output_tokens >= 1 && r.arrival_ms >= 0.0);
            prop_assert_eq!(w.blocks_of(index).len(), r.input_tokens.div_ceil(block_tokens) as usize);
        }
        prop_assert_eq!(w.grows, turns > 1);
    }
}
