//! The keys of `[workload]` and its sub-tables.

use super::row::{DEFAULT, OPTIONAL, REQUIRED, TOKENS, choice, flag, int, not_negative, positive, value, when};
use super::{Fallback, Key, Kind, Literal};
use crate::workload::spec::DEFAULT_BLOCK_TOKENS;

const ARRIVALS: &str = "workload.synthetic.arrivals.kind";

pub(super) const WORKLOAD: &[Key] = &[
    Key {
        path: "workload.trace",
        kind: Kind::Path,
        fallback: Fallback::Unset("give this or `[workload.synthetic]`"),
        doc: "A trace file: Mooncake JSONL, or a CSV of Azure, BurstGPT or Vidur.",
        ..DEFAULT
    },
    int(
        "workload.trace_block_tokens",
        1,
        1 << 20,
        value(Literal::Int(DEFAULT_BLOCK_TOKENS as i64)),
        "tokens",
        "Tokens that one hash id of the trace stands for.",
    ),
    positive(
        "workload.speedup",
        value(Literal::Real(1.0)),
        "",
        "Divides arrival gaps and think times: 2 offers the trace at twice its rate. Open loop only.",
    ),
    int(
        "workload.concurrency",
        1,
        1 << 24,
        Fallback::Unset("open loop: requests arrive at their own times"),
        "requests",
        "Closed loop: this many requests (sessions, where they have several turns) are in flight at all times.",
    ),
    int("workload.limit", 1, 1 << 40, OPTIONAL, "rows", "Keep only the first rows."),
    flag(
        "workload.grows",
        Fallback::Unset("no for a trace, yes for a generator of several turns"),
        "Whether a session's next prompt contains the tokens generated before it, so that their KV blocks are reused.",
    ),
    not_negative(
        "workload.window.start_s",
        value(Literal::Real(0.0)),
        "s",
        "Start of the window, from the first arrival, before `speedup`.",
    ),
    positive("workload.window.end_s", REQUIRED, "s", "End of the window, excluded."),
    int(
        "workload.synthetic.seed",
        0,
        i64::MAX,
        value(Literal::Int(0)),
        "",
        "Seed of the generator, apart from `study.seed` so that the workload stays when the search's seed changes.",
    ),
    int("workload.synthetic.sessions", 1, 10_000_000, REQUIRED, "sessions", "Number of sessions."),
    int(
        "workload.synthetic.turns",
        1,
        10_000,
        value(Literal::Int(1)),
        "turns",
        "Turns of each session; each prompt holds the whole conversation before it.",
    ),
    int(
        "workload.synthetic.input_tokens",
        1,
        TOKENS,
        REQUIRED,
        "tokens",
        "New prompt tokens of each turn: a number, or `{ kind, mean, std }`.",
    ),
    int(
        "workload.synthetic.output_tokens",
        1,
        TOKENS,
        REQUIRED,
        "tokens",
        "Generated tokens of each turn: a number, or `{ kind, mean, std }`.",
    ),
    not_negative(
        "workload.synthetic.think_ms",
        value(Literal::Real(0.0)),
        "ms",
        "Mean think time between turns, exponential; 0 for none.",
    ),
    int(
        "workload.synthetic.common_prefix_tokens",
        0,
        TOKENS,
        value(Literal::Int(0)),
        "tokens",
        "Tokens common to every prompt: a system prompt.",
    ),
    int(
        "workload.synthetic.prefix_groups",
        0,
        1 << 24,
        value(Literal::Int(0)),
        "groups",
        "Number of groups whose sessions share a further prefix.",
    ),
    int(
        "workload.synthetic.group_prefix_tokens",
        0,
        TOKENS,
        value(Literal::Int(0)),
        "tokens",
        "Tokens that the sessions of one group share after the common prefix.",
    ),
    int(
        "workload.synthetic.block_tokens",
        1,
        1 << 20,
        value(Literal::Int(DEFAULT_BLOCK_TOKENS as i64)),
        "tokens",
        "Tokens per hash id of the workload made: prefixes are shared in whole blocks of this size.",
    ),
    choice(
        ARRIVALS,
        &["burst", "constant", "poisson", "gamma", "diurnal"],
        value(Literal::Text("poisson")),
        "The arrival process of sessions.",
    ),
    when(
        positive("workload.synthetic.arrivals.rate_per_s", REQUIRED, "sessions/s", "Mean rate."),
        ARRIVALS,
        &["constant", "poisson", "gamma", "diurnal"],
    ),
    when(
        positive(
            "workload.synthetic.arrivals.burstiness",
            REQUIRED,
            "",
            "Coefficient of variation of the gaps: 1 is Poisson, more is burstier.",
        ),
        ARRIVALS,
        &["gamma"],
    ),
    when(
        Key {
            path: "workload.synthetic.arrivals.swing",
            kind: Kind::Real { min: 0.0, max: 1.0, open: false },
            doc: "How far the rate swings about its mean, as a share of it.",
            ..DEFAULT
        },
        ARRIVALS,
        &["diurnal"],
    ),
    when(
        positive("workload.synthetic.arrivals.period_s", REQUIRED, "s", "Period of the swing."),
        ARRIVALS,
        &["diurnal"],
    ),
    choice(
        "workload.synthetic.input_tokens.kind",
        &["normal", "log_normal"],
        value(Literal::Text("normal")),
        "Shape of the distribution; lengths are rounded and at least 1.",
    ),
    positive("workload.synthetic.input_tokens.mean", REQUIRED, "tokens", "Mean length."),
    not_negative(
        "workload.synthetic.input_tokens.std",
        REQUIRED,
        "tokens",
        "Standard deviation of the length (of a log-normal too, not of its logarithm).",
    ),
    choice(
        "workload.synthetic.output_tokens.kind",
        &["normal", "log_normal"],
        value(Literal::Text("normal")),
        "Shape of the distribution; lengths are rounded and at least 1.",
    ),
    positive("workload.synthetic.output_tokens.mean", REQUIRED, "tokens", "Mean length."),
    not_negative(
        "workload.synthetic.output_tokens.std",
        REQUIRED,
        "tokens",
        "Standard deviation of the length (of a log-normal too, not of its logarithm).",
    ),
];
