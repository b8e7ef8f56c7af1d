//! The knobs of the planner; `planner.policy` itself stands before the router's, which depend on it.

use super::knobs::DEFAULT;
use super::{Active, Fallback, Kind, KnobRow, Literal};

/// Policies that act at all.
const ON: &[Active] = &[Active::Is("planner.policy", &["load", "sla", "predictive", "hybrid"])];
/// Those with a load loop.
const LOAD_LOOP: &[Active] = &[Active::Is("planner.policy", &["load", "sla", "hybrid"])];
/// Those with a throughput loop.
const THROUGHPUT_LOOP: &[Active] = &[Active::Is("planner.policy", &["predictive", "hybrid"])];
/// Those that look at the SLA.
const TARGETED: &[Active] = &[Active::Is("planner.policy", &["sla", "predictive", "hybrid"])];
const SLA_LOOP: &[Active] = &[Active::Is("planner.policy", &["sla", "hybrid"])];
const THRESHOLDS: &[Active] = &[Active::Is("planner.policy", &["load"])];
const CUSTOM: &[Active] = &[Active::Is("planner.thresholds", &["custom"])];
const SEASONAL: &[Active] = &[Active::Is("planner.predictor", &["seasonal"])];

/// Longest time that a knob takes, s: a year.
const YEAR_S: f64 = 365.0 * 86_400.0;
const SECONDS: Kind = Kind::Real { min: 0.0, max: YEAR_S, open: true };
const SECONDS_OR_0: Kind = Kind::Real { min: 0.0, max: YEAR_S, open: false };
const SHARE: Kind = Kind::Real { min: 0.0, max: 1e6, open: false };
const MILLISECONDS: Kind = Kind::Real { min: 0.0, max: 1e9, open: true };

const ROW: KnobRow = KnobRow { block: "planner", ..DEFAULT };

const fn real(literal: f64) -> Fallback {
    Fallback::Value(Literal::Real(literal))
}

/// Every knob of the planner but its policy.
pub(super) const PLANNER: &[KnobRow] = &[
    KnobRow {
        name: "planner.load_interval_s",
        kind: SECONDS,
        log: true,
        fallback: real(5.0),
        unit: "s",
        active: LOAD_LOOP,
        doc: "Time between two decisions from the load of the moment; each moves a pool by one worker at most.",
        ..ROW
    },
    KnobRow {
        name: "planner.throughput_interval_s",
        kind: SECONDS,
        log: true,
        fallback: real(180.0),
        unit: "s",
        active: THROUGHPUT_LOOP,
        doc: "Time between two decisions from forecast demand, and the window that is forecast; longer than the load interval.",
        ..ROW
    },
    KnobRow {
        name: "planner.thresholds",
        kind: Kind::Choice { legal: &["throughput", "latency", "custom"] },
        fallback: Fallback::Value(Literal::Text("throughput")),
        active: THRESHOLDS,
        doc: "When load is high or low: `throughput` fills workers (prefill 1 and 0.1, decode 1 and 0.6), `latency` keeps queues short (prefill 0.1 and 0, decode 0.4 and 0.1), `custom` takes the four knobs below.",
        ..ROW
    },
    KnobRow {
        name: "planner.prefill_up",
        kind: SHARE,
        fallback: real(1.0),
        active: CUSTOM,
        doc: "Queued prompt tokens over the longest context, on any worker, from which one worker more is wanted.",
        ..ROW
    },
    KnobRow {
        name: "planner.prefill_down",
        kind: SHARE,
        fallback: real(0.1),
        active: CUSTOM,
        doc: "The same on every worker, below which one worker less is wanted (0: nothing queued).",
        ..ROW
    },
    KnobRow {
        name: "planner.decode_up",
        kind: SHARE,
        fallback: real(1.0),
        active: CUSTOM,
        doc: "KV tokens held and waited for over the KV pool, on any worker, above which one worker more is wanted.",
        ..ROW
    },
    KnobRow {
        name: "planner.decode_down",
        kind: SHARE,
        fallback: real(0.6),
        active: CUSTOM,
        doc: "The same on every worker, below which one worker less is wanted (0: nothing held).",
        ..ROW
    },
    KnobRow {
        name: "planner.ttft_ms",
        kind: MILLISECONDS,
        log: true,
        fallback: Fallback::Unset("`sla.ttft_ms`, else 500"),
        unit: "ms",
        active: TARGETED,
        doc: "Time to first token that the planner aims at.",
        ..ROW
    },
    KnobRow {
        name: "planner.itl_ms",
        kind: MILLISECONDS,
        log: true,
        fallback: Fallback::Unset("`sla.tpot_ms`, else 50"),
        unit: "ms",
        active: TARGETED,
        doc: "Time between tokens that the planner aims at.",
        ..ROW
    },
    KnobRow {
        name: "planner.sensitivity",
        kind: Kind::Real { min: 0.0, max: 1.0, open: true },
        fallback: real(0.8),
        active: SLA_LOOP,
        doc: "Share of the targets that the remaining workers may use up for one to be taken away: less keeps more workers.",
        ..ROW
    },
    KnobRow {
        name: "planner.predictor",
        kind: Kind::Choice { legal: &["constant", "holt", "kalman", "seasonal"] },
        fallback: Fallback::Value(Literal::Text("constant")),
        active: THROUGHPUT_LOOP,
        doc: "How the next window is foretold: as the last; by Holt's linear trend; by a Kalman filter of level and trend; as one season ago, scaled to the present level.",
        ..ROW
    },
    KnobRow {
        name: "planner.season_s",
        kind: SECONDS,
        log: true,
        fallback: real(86_400.0),
        unit: "s",
        active: SEASONAL,
        doc: "Length of a season, rounded to whole windows.",
        ..ROW
    },
    KnobRow {
        name: "planner.headroom",
        kind: SHARE,
        fallback: real(0.0),
        active: THROUGHPUT_LOOP,
        doc: "Capacity wanted beyond the forecast demand, as a share of it.",
        ..ROW
    },
    KnobRow {
        name: "planner.min_workers",
        kind: Kind::Int { min: 0, max: 65_536 },
        fallback: Fallback::Value(Literal::Int(1)),
        unit: "workers",
        active: ON,
        doc: "Fewest workers of a pool; with 0 the last one goes when nothing is left to do, and the next request has one started.",
        ..ROW
    },
    KnobRow {
        name: "planner.max_workers",
        kind: Kind::Int { min: 1, max: 65_536 },
        log: true,
        fallback: Fallback::Unset("as many as `hardware.max_gpus` has GPUs for"),
        unit: "workers",
        active: ON,
        doc: "Most workers of a pool. GPUs of workers that are leaving are not free before they are gone.",
        ..ROW
    },
    KnobRow {
        name: "planner.startup_s",
        kind: SECONDS_OR_0,
        fallback: real(60.0),
        unit: "s",
        active: ON,
        doc: "Time from the decision for a worker until it takes requests; its GPUs are paid for meanwhile.",
        ..ROW
    },
    KnobRow {
        name: "planner.cooldown_s",
        kind: SECONDS_OR_0,
        fallback: real(0.0),
        unit: "s",
        active: ON,
        doc: "After any change of a pool, time in which no worker of it is taken away.",
        ..ROW
    },
    KnobRow {
        name: "planner.confirm_up",
        kind: Kind::Int { min: 1, max: 10_000 },
        log: true,
        fallback: Fallback::Value(Literal::Int(1)),
        unit: "decisions",
        active: LOAD_LOOP,
        doc: "Load decisions in a row that must want a worker more before it is started.",
        ..ROW
    },
    KnobRow {
        name: "planner.confirm_down",
        kind: Kind::Int { min: 1, max: 10_000 },
        log: true,
        fallback: Fallback::Value(Literal::Int(1)),
        unit: "decisions",
        active: LOAD_LOOP,
        doc: "Load decisions in a row that must want a worker less before it is taken away.",
        ..ROW
    },
    KnobRow {
        name: "planner.wait_for_starting",
        fallback: Fallback::Value(Literal::Bool(true)),
        active: LOAD_LOOP,
        doc: "Whether load decides nothing about a pool while workers of it are starting.",
        ..ROW
    },
];
