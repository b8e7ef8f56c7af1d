//! `docs/space.md`, written from the schema so that it cannot rot.

use std::fmt::Write;

use super::domains::MAX_LEVELS;
use super::ranges::{LEVELS_PER_OCTAVE, REAL_LEVELS};
use super::schema::{self, Active, COEFFICIENT, Fallback, KNOBS, Kind, SECTIONS};
use super::{Value, scalar};
use crate::twin::router::formula::{FUNCTIONS, TERMS};

/// The reference of the search-space TOML in Markdown: `docs/space.md`.
pub fn reference_markdown() -> String {
    let mut out = introduction();
    for section in SECTIONS {
        let _ = write!(out, "\n## `[{}]`\n\n{}\n", section.path, section.doc);
        match section.path {
            "knobs" => knobs(&mut out),
            "constraints" => out.push_str(CONSTRAINTS),
            path if schema::keys_of(path).next().is_some() => keys(&mut out, path),
            _ => {}
        }
    }
    out
}

fn introduction() -> String {
    format!(
        "\
<!-- Generated from the schema (src/space/schema); `UPDATE_DOCS=1 cargo test --test it space_docs` writes it anew. -->

# The search-space TOML

One file says what is served, on what, under which requests, what may vary, and what is wanted.
`servescout check SPACE.toml` reads it and simulates nothing; `servescout schema` prints a JSON
Schema for your editor. Complete examples are in `search-spaces/`.

A key that is not listed here, a value out of range, a knob that cannot be simulated: each is an
error with line, column and remedy. Nothing is ignored. Paths are relative to the file.
`--set name=value` overrides any key; a knob needs no `knobs.` in front, and a bare word no quotes:
`--set engine.max_num_seqs=[64,128] --set router.policy=kv --set search.budget=100`. A path given
in this way is relative to the current directory.

## How a knob is written

| form | levels |
|---|---|
| `engine.block_size = 64` | this value: pinned |
| `engine.max_num_seqs = [64, 128, 256]` | these |
| `router.temperature = {{ values = [0.1, 0.2, 0.8], log = true }}` | these; `log` says that ratios matter, not differences |
| `aggregated.workers = {{ min = 1, max = 16 }}` | integers: every one; reals: {REAL_LEVELS} evenly spaced |
| `router.overlap_credit = {{ min = 0.0, max = 2.0, step = 0.25 }}` | from `min` by `step`, which must land on `max` |
| `engine.max_num_seqs = {{ min = 16, max = 1024, log = true }}` | integers: about {LEVELS_PER_OCTAVE} to each factor of two, rounded; reals: {REAL_LEVELS} at equal ratios |
| `engine.max_num_seqs = {{ min = 16, max = 1024, log = true, step = 2 }}` | from `min` times `step`, which must land on `max` |
| `aggregated.tp = {{ min = 1, max = 8 }}` | the powers of two: a knob of which only these are legal |

A knob has at most {MAX_LEVELS} levels, `min` and `max` among them; reals are rounded to 12
significant digits. Dotted keys and tables (`[knobs.engine]`) mean the same. A knob that is left out
has its default. A knob that means nothing under a candidate's other choices (the column `active
when`) is absent from the candidate: two candidates that differ only there are one, and are
simulated once.

A candidate's id is the first 12 hexadecimal digits of the SHA-256 of its active knobs, written as
`name=value` lines in the order of the names. Before a candidate is simulated, its GPUs are compared
with `max_gpus`, its tensor-parallel size with the model and the server, its scheduler limits with
each other, and the longest request with the KV cache that fits; the reason of a refusal is recorded
with its arithmetic.
"
    )
}

const CONSTRAINTS: &str = "
| key | type | meaning |
|---|---|---|
| any metric, such as `ttft_p99_ms` | `{ min = number, max = number }`, one of the two or both | A candidate beyond a bound is infeasible, by as much as it is beyond it, relative to the bound. |
";

fn keys(out: &mut String, section: &str) {
    out.push_str("\n| key | type | default | unit | meaning |\n|---|---|---|---|---|\n");
    for key in schema::keys_of(section) {
        let applies = key.when.map_or(String::new(), |w| {
            let other = w.key.rsplit('.').next().unwrap_or(w.key);
            format!(" Only with `{other}` {}.", w.is.join(", "))
        });
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | {} | {}{applies} |",
            key.name(),
            type_cell(key.kind, false),
            default_cell(key.fallback),
            key.unit,
            key.doc
        );
    }
}

fn knobs(out: &mut String) {
    out.push_str("\n| knob | values | default | unit | active when | meaning |\n|---|---|---|---|---|---|\n");
    for knob in KNOBS.iter().chain([&COEFFICIENT]) {
        let active: Vec<String> = knob.active.iter().map(Active::words).collect();
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | {} | {} | {} |",
            knob.name,
            type_cell(knob.kind, knob.power_of_two),
            default_cell(knob.fallback),
            knob.unit,
            if active.is_empty() { "always".to_owned() } else { active.join(" and ") },
            knob.doc
        );
    }
    formulas(out);
}

fn formulas(out: &mut String) {
    out.push_str(FORMULAS);
    out.push_str("| term | unit | of | meaning |\n|---|---|---|---|\n");
    for term in TERMS {
        let of = if term.of_worker { "worker" } else { "request" };
        let _ = writeln!(out, "| `{}` | {} | {of} | {} |", term.name, term.unit, term.doc);
    }
    out.push_str("\n| function | meaning |\n|---|---|\n");
    for (name, _, meaning) in FUNCTIONS {
        let _ = writeln!(out, "| `{name}` | {meaning} |");
    }
}

const FORMULAS: &str = "
### A cost function of your own

With `router.policy = \"expression\"` the router places each request on the worker for which a formula is
least; ties go to a random one. Names in it are the terms below, or coefficients, which are knobs:

```toml
router.policy = \"expression\"
router.expression = \"scale * max(0, prefill_blocks - credit * overlap_blocks) + decode_blocks\"
router.coefficients.scale = [0.5, 1.0, 2.0]
router.coefficients.credit = { min = 0.0, max = 2.0, step = 0.25 }
```

This is the policy `kv` with `prefill_load_scale` and `overlap_credit`. A coefficient is absent from
candidates whose formula does not name it. The operators are `+ - * / %`, `< <= > >= == !=`, `&& || !`, with
the precedence they have in Rust; comparisons give 1 or 0, and anything but 0 counts as true. A worker for
which the formula gives no number (0/0, the logarithm of a negative number) comes after all others. In a
disaggregated deployment the same formula serves both routers: for prefill workers `decode_blocks` is 0, for
decode workers what concerns caches and prefill is.

";

fn type_cell(kind: Kind, power_of_two: bool) -> String {
    match kind {
        Kind::Int { max, .. } if power_of_two => format!("power of two, up to {max}"),
        Kind::Int { min, max: i64::MAX } => format!("integer from {min}"),
        Kind::Int { min, max } => format!("integer, {min} to {max}"),
        Kind::Real { min, max, open } => {
            let from = if open { "above" } else { "from" };
            let most = if max >= scalar::UNBOUNDED { String::new() } else { format!(" to {max}") };
            format!("number {from} {min}{most}")
        }
        Kind::Bool => "`true` or `false`".into(),
        Kind::Choice { legal } => legal.iter().map(|v| format!("`{v}`")).collect::<Vec<_>>().join(", "),
        Kind::Name(catalogue) => format!("name of a {}", catalogue.what),
        Kind::Label => "text".into(),
        Kind::FileName => "name".into(),
        Kind::Path => "path".into(),
        Kind::Metrics => "list of metrics".into(),
        Kind::Shares => "list of numbers from 0 to 1".into(),
        Kind::Formula => "formula".into(),
        Kind::Faults => "list of tables".into(),
    }
}

fn default_cell(fallback: Fallback) -> String {
    match fallback {
        Fallback::Required => "**required**".into(),
        Fallback::Value(literal) => format!("`{}`", Value::from(literal).to_toml()),
        Fallback::Unset(words) => words.into(),
    }
}
