//! The sections, and the keys of all but `[model]` and `[workload]`.

use super::model::MODEL;
use super::row::{DEFAULT, OPTIONAL, REQUIRED, choice, flag, int, not_negative, positive, value, when};
use super::workload::WORKLOAD;
use super::{Catalogue, Fallback, Key, Kind, Literal, Section};
use crate::catalog;
use crate::twin::deployment::Speculation;

const fn section(path: &'static str, optional: bool, doc: &'static str) -> Section {
    Section { path, optional, doc }
}

/// Kinds of timing that rest on measured tables.
const MEASURED: &[&str] = &["surface", "perfdb"];

/// Every section and sub-table, in the order of the documentation.
pub const SECTIONS: &[Section] = &[
    section("study", true, "What this study is called, and the seed of everything random in it."),
    section("model", false, "The model that is served: a name of the catalogue, or an architecture."),
    section(
        "model.architecture",
        true,
        "A model that the catalogue does not have; the figures are those of its `config.json`.",
    ),
    section(
        "model.architecture.attention",
        true,
        "How its layers attend, which decides the bytes of KV cache per token.",
    ),
    section("model.architecture.moe", true, "Its experts; leave it out for a dense model."),
    section("hardware", false, "The GPUs, how many there are, and what they cost."),
    section("workload", false, "The requests: exactly one of `trace` and `[workload.synthetic]`."),
    section("workload.window", true, "Keep only sessions that start within a window of the trace."),
    section("workload.synthetic", true, "Requests from a seeded generator."),
    section("workload.synthetic.arrivals", false, "When sessions start."),
    section(
        "workload.synthetic.input_tokens",
        true,
        "Distribution of new prompt tokens per turn; a number is a fixed length.",
    ),
    section(
        "workload.synthetic.output_tokens",
        true,
        "Distribution of generated tokens per turn; a number is a fixed length.",
    ),
    section("timing", true, "How long a forward pass takes."),
    section(
        "speculation",
        true,
        "How drafted tokens fare, where `engine.speculative_tokens` is above 0: a property of the model, its drafting head and the traffic, to be measured.",
    ),
    section("twin", true, "How the simulation works."),
    section("knobs", false, "What is searched: a list, a range, or one value per knob."),
    section("faults", true, "What goes wrong with workers; nothing without it."),
    section("objectives", true, "The metrics to trade off, two to four in all."),
    section(
        "constraints",
        true,
        "Bounds on metrics, `metric = { min = .., max = .. }`: a candidate outside is infeasible.",
    ),
    section("sla", true, "Bounds that a good request keeps; goodput and attainment count by them."),
    section("search", true, "How the budget of simulations is spent."),
    section("shortlist", true, "How many configurations are worth measuring on GPUs."),
];

/// Every key of every section; knobs, and metrics as keys of `[constraints]`, are apart.
pub const KEYS: &[Key] = &joined::<{ MODEL.len() + WORKLOAD.len() + OTHERS.len() }>([MODEL, WORKLOAD, OTHERS]);

const fn joined<const N: usize>(parts: [&[Key]; 3]) -> [Key; N] {
    let mut keys = [DEFAULT; N];
    let (mut part, mut at) = (0, 0);
    while part < parts.len() {
        let mut i = 0;
        while i < parts[part].len() {
            keys[at] = parts[part][i];
            i += 1;
            at += 1;
        }
        part += 1;
    }
    keys
}

const OTHERS: &[Key] = &[
    Key {
        path: "study.name",
        kind: Kind::FileName,
        fallback: Fallback::Unset("the file's name without `.toml`"),
        doc: "Names the run directory: letters, digits, `.`, `_` and `-`, at most 64 of them.",
        ..DEFAULT
    },
    int("study.seed", 0, i64::MAX, value(Literal::Int(0)), "", "Seed of the search and of the simulations' own draws."),
    Key {
        path: "hardware.gpu",
        kind: Kind::Name(Catalogue {
            what: "GPU",
            names: || catalog::gpus().iter().map(|g| g.name.as_ref()).collect(),
            has: |name| catalog::gpu(name).is_some(),
            label_beside: None,
        }),
        doc: "A GPU of the catalogue (`servescout catalog gpus`).",
        ..DEFAULT
    },
    int(
        "hardware.max_gpus",
        1,
        1 << 20,
        REQUIRED,
        "GPUs",
        "Most GPUs that a candidate may use; one that needs more is refused before it is simulated.",
    ),
    positive(
        "hardware.usd_per_gpu_hour",
        Fallback::Unset("the catalogue's dated list price"),
        "USD",
        "Your own price of one GPU for one hour.",
    ),
    Key {
        path: "hardware.gpu_memory_utilization",
        kind: Kind::Real { min: 0.0, max: 1.0, open: true },
        fallback: Fallback::Unset("the backend's own default"),
        doc: "Share of GPU memory that the engine may use for weights, activations and KV cache.",
        ..DEFAULT
    },
    choice(
        "timing.kind",
        &["surface", "perfdb", "roofline", "polynomial", "fixed"],
        value(Literal::Text("surface")),
        "`surface`: measured tables, and the roofline where nothing was measured; `perfdb`: the same out of the tables of your own aiconfigurator-core (`servescout timing import`); `roofline`: physics of the model on the GPU, an estimate; `polynomial`: the peer simulator's default, the same for every model, GPU and shape; `fixed`: constant times.",
    ),
    Key {
        path: "timing.calibration",
        kind: Kind::Path,
        fallback: value(Literal::Text("none")),
        doc: "Factors by which servers differ from the pass times, host time included: `none`; `default`, fitted to public measurements (docs/fidelity.md); or a file that `servescout validate` wrote. `host_ms` is left out beside it.",
        ..DEFAULT
    },
    when(
        Key {
            path: "timing.path",
            kind: Kind::Path,
            fallback: REQUIRED,
            doc: "The installed aiconfigurator-core: its directory, the `systems` in it, or the virtual environment that it is in.",
            ..DEFAULT
        },
        "timing.kind",
        &["perfdb"],
    ),
    when(
        Key {
            path: "timing.version",
            kind: Kind::Label,
            fallback: Fallback::Unset("the database's current version"),
            doc: "Version of the backend whose measurements are used; older ones fill its gaps.",
            ..DEFAULT
        },
        "timing.kind",
        &["perfdb"],
    ),
    when(
        flag(
            "timing.aic_parity",
            value(Literal::Bool(false)),
            "Compose the tables exactly as AI Configurator does, flaws included.",
        ),
        "timing.kind",
        MEASURED,
    ),
    when(
        not_negative(
            "timing.host_ms",
            Fallback::Unset("1.15 under vLLM, 2 under SGLang, 0.2 under TRT-LLM, 0 with `aic_parity`"),
            "ms",
            "What scheduling, sampling and launching on the host add to every pass.",
        ),
        "timing.kind",
        MEASURED,
    ),
    when(
        flag(
            "timing.expert_parallel",
            Fallback::Unset("split experts, and whole ones where only that was measured"),
            "Whether each GPU holds whole experts, or a part of every expert.",
        ),
        "timing.kind",
        MEASURED,
    ),
    when(
        Key {
            path: "timing.quant",
            kind: Kind::Label,
            fallback: Fallback::Unset("chosen from `model.dtype` and `model.kv_dtype`"),
            doc: "Quantisation in the measurements' own words, such as `fp8_block`.",
            ..DEFAULT
        },
        "timing.kind",
        MEASURED,
    ),
    when(
        not_negative("timing.prefill_ms", REQUIRED, "ms", "Duration of the prefill part of a pass."),
        "timing.kind",
        &["fixed"],
    ),
    when(
        positive("timing.decode_ms", REQUIRED, "ms", "Duration of the decode part of a pass."),
        "timing.kind",
        &["fixed"],
    ),
    Key {
        path: "speculation.acceptance_rates",
        kind: Kind::Shares,
        fallback: Fallback::Unset("`[0.85, 0.3, 0.0]`, as in the peer's mocker"),
        doc: "Chance that each drafted token is accepted once all before it are, by position; the last one holds for all later positions. Draws are seeded.",
        ..DEFAULT
    },
    Key {
        path: "speculation.draft_cost",
        kind: Kind::Real { min: 0.0, max: 100.0, open: false },
        fallback: value(Literal::Real(Speculation::DRAFT_COST)),
        doc: "Time to draft one token for a batch, over that of a pass that decodes the batch; about 1 / layers for a head of one layer.",
        ..DEFAULT
    },
    flag(
        "twin.peer_compat",
        value(Literal::Bool(false)),
        "Follow the peer simulator where this one is otherwise better, to compare request by request.",
    ),
    flag(
        "twin.pass_by_pass",
        value(Literal::Bool(false)),
        "Simulate every pass by itself: the slow reference, with the same results.",
    ),
    positive(
        "faults.mtbf_s",
        Fallback::Unset("no worker dies by chance"),
        "s",
        "Mean time from when a worker is ready until it dies, exponentially distributed. Its KV is lost; the pass it is in is its last.",
    ),
    choice(
        "faults.after_death",
        &["restart", "gone"],
        value(Literal::Text("restart")),
        "Whether another worker starts at once on the GPUs of a dead one, or they are given back.",
    ),
    when(
        not_negative(
            "faults.restart_s",
            value(Literal::Real(60.0)),
            "s",
            "Time from a death until the new worker takes requests, paid for.",
        ),
        "faults.after_death",
        &["restart"],
    ),
    int(
        "faults.retries",
        0,
        1_000_000,
        value(Literal::Int(3)),
        "times",
        "How often a request whose worker died is tried again on another; after that it has failed.",
    ),
    flag(
        "faults.keep_tokens",
        value(Literal::Bool(false)),
        "Whether a request that is tried again goes on after the tokens already streamed, whose KV is computed again with the prompt's. Else it starts over: its first token is that of the last try.",
    ),
    positive(
        "faults.slow_every_s",
        Fallback::Unset("no worker is slow by chance"),
        "s",
        "Mean time between slowdowns of one worker, exponentially distributed.",
    ),
    Key {
        path: "faults.slow_factor",
        kind: Kind::Real { min: 1.0, max: 1e6, open: false },
        fallback: value(Literal::Real(2.0)),
        doc: "How many times as long passes take during a slowdown by chance.",
        ..DEFAULT
    },
    positive("faults.slow_for_s", value(Literal::Real(60.0)), "s", "How long a slowdown by chance lasts."),
    Key {
        path: "faults.events",
        kind: Kind::Faults,
        fallback: Fallback::Unset("none"),
        doc: "Faults at given times: `{ at_s = 600, worker = 2 }` kills, `{ at_s = 900, worker = 0, slow = 3.0, for_s = 120 }` slows down. Workers count from 0 in the order in which they are started; nothing happens to one that is not there.",
        ..DEFAULT
    },
    Key {
        path: "objectives.minimize",
        kind: Kind::Metrics,
        fallback: Fallback::Unset("none"),
        doc: "Metrics to make small.",
        ..DEFAULT
    },
    Key {
        path: "objectives.maximize",
        kind: Kind::Metrics,
        fallback: Fallback::Unset("none"),
        doc: "Metrics to make large.",
        ..DEFAULT
    },
    positive("sla.ttft_ms", OPTIONAL, "ms", "Longest time to first token of a good request."),
    positive("sla.tpot_ms", OPTIONAL, "ms", "Longest mean time per output token after the first of a good request."),
    positive("sla.e2e_ms", OPTIONAL, "ms", "Longest end-to-end latency of a good request."),
    choice(
        "search.strategy",
        &["auto", "bayesian", "coordinate", "genetic", "sobol", "random", "grid"],
        value(Literal::Text("auto")),
        "Who proposes candidates.",
    ),
    int("search.budget", 1, 100_000_000, value(Literal::Int(500)), "simulations", "Most simulations."),
    int(
        "search.batch",
        1,
        65_536,
        value(Literal::Int(16)),
        "candidates",
        "Candidates per batch: part of the study, not of the machine, so that results do not depend on the number of threads.",
    ),
    int(
        "search.replicates",
        1,
        64,
        value(Literal::Int(1)),
        "simulations",
        "Simulations per candidate, each with other seeds, the same ones for all candidates; objectives and constraints are means over them, and the 80 % interval of each objective is kept. A generated workload is drawn anew for each.",
    ),
    choice(
        "search.ladder",
        &["auto", "on", "off"],
        value(Literal::Text("auto")),
        "Look at each candidate through windows of the workload first, and simulate whole only what could still be on the frontier. `auto`: in open loop from 50,000 requests. Whatever is on the frontier or the shortlist was simulated whole.",
    ),
    Key {
        path: "search.ladder_share",
        kind: Kind::Real { min: 0.0, max: 0.5, open: true },
        fallback: value(Literal::Real(0.1)),
        doc: "Share of the workload's time that the windows take together; a third of each warms the caches and is not measured.",
        ..DEFAULT
    },
    flag(
        "search.early_abort",
        value(Literal::Bool(false)),
        "End a simulation as soon as its candidate provably breaks a constraint or is dominated. What is feasible and what is on the frontier stays the same; the values of such a candidate are lower bounds, marked `aborted`.",
    ),
    int(
        "search.stagnation_window",
        1,
        100_000_000,
        OPTIONAL,
        "simulations",
        "End the search when the hypervolume has grown less than `stagnation_gain` over so many simulations.",
    ),
    Key {
        path: "search.stagnation_gain",
        kind: Kind::Real { min: 0.0, max: 1.0, open: false },
        fallback: value(Literal::Real(0.001)),
        doc: "Growth of the hypervolume over the window, as a share of it, below which the search ends.",
        ..DEFAULT
    },
    positive(
        "search.max_wall_s",
        OPTIONAL,
        "s",
        "End the search after the first batch that is complete so long after the command began; a resumed run has the time anew.",
    ),
    int("shortlist.size", 1, 1000, value(Literal::Int(6)), "configurations", "Most entries of the shortlist."),
    int(
        "shortlist.draws",
        0,
        10000,
        value(Literal::Int(48)),
        "simulations",
        "Simulations of each entry, and of up to ten neighbours on the frontier, under resampled traffic and drawn errors of pass times, from which intervals and chances come; 0 simulates nothing for the shortlist.",
    ),
];
