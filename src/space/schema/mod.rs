//! The search-space TOML as data: every section, key and knob with its type, range, default, unit
//! and meaning.
//!
//! This is the only place that knows what may be written. The parser's checks, the nearest-name
//! hints, the defaults that `check` prints, the JSON Schema and `docs/space.md` are derived from
//! it. A new knob is one row of [`KNOBS`] and one line in [`super::deploy`].

mod coefficients;
mod keys;
mod knobs;
mod model;
mod planner;
mod pools;
mod row;
mod tiers;
mod workload;

pub use coefficients::{COEFFICIENT, COEFFICIENTS};
pub use keys::{KEYS, SECTIONS};
pub use knobs::KNOBS;

use super::Value;

/// A default as a constant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Literal {
    Bool(bool),
    Int(i64),
    Real(f64),
    Text(&'static str),
}

impl From<Literal> for Value {
    fn from(literal: Literal) -> Value {
        match literal {
            Literal::Bool(v) => Value::Bool(v),
            Literal::Int(v) => Value::Int(v),
            Literal::Real(v) => Value::Real(v),
            Literal::Text(v) => Value::Text(v.into()),
        }
    }
}

/// What happens when a key is not given.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fallback {
    /// It is an error.
    Required,
    /// This value is taken.
    Value(Literal),
    /// No value is taken; the words say what happens instead.
    Unset(&'static str),
}

/// What a key or knob may hold.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Bool,
    /// An integer in `min..=max`.
    Int {
        min: i64,
        max: i64,
    },
    /// A finite number from `min` (excluded when `open`) to `max`.
    Real {
        min: f64,
        max: f64,
        open: bool,
    },
    /// One of `legal`.
    Choice {
        legal: &'static [&'static str],
    },
    /// A name out of a catalogue.
    Name(Catalogue),
    /// Any text that is not empty.
    Label,
    /// A name that becomes part of file names: letters, digits, `.`, `_` and `-`.
    FileName,
    /// A path, relative to the TOML file (in `--set`: to the current directory).
    Path,
    /// A list of metric names.
    Metrics,
    /// A list of shares between 0 and 1.
    Shares,
    /// A formula over the router's terms.
    Formula,
    /// A list of faults at given times.
    Faults,
}

/// A catalogue that names are looked up in.
#[derive(Clone, Copy, Debug)]
pub struct Catalogue {
    /// What it lists, such as `GPU`.
    pub what: &'static str,
    /// The names to offer.
    pub names: fn() -> Vec<&'static str>,
    /// Whether it has a name, aliases included.
    pub has: fn(&str) -> bool,
    /// A key beside it that makes any other name legal, as a label.
    pub label_beside: Option<&'static str>,
}

/// A key applies only while another key of the same document has one of these values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct When {
    /// Full path of the other key.
    pub key: &'static str,
    /// Its values under which this key applies.
    pub is: &'static [&'static str],
}

/// A section (`[hardware]`) or sub-table (`workload.window`).
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// Path, such as `workload.synthetic`.
    pub path: &'static str,
    /// Whether its required keys are required only once the section is there.
    pub optional: bool,
    /// What it is for, in a sentence.
    pub doc: &'static str,
}

/// One key of a section. Knobs, objectives' metrics and constraints' metrics are not among these.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Full path, such as `workload.speedup`.
    pub path: &'static str,
    pub kind: Kind,
    pub fallback: Fallback,
    /// Unit of the value; empty for none.
    pub unit: &'static str,
    /// Under which other choice it applies; always when `None`.
    pub when: Option<When>,
    /// What it means, in a sentence.
    pub doc: &'static str,
}

/// When a knob means anything, in terms of an earlier knob's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Active {
    /// The knob has one of these values.
    Is(&'static str, &'static [&'static str]),
    /// The knob is true.
    On(&'static str),
    /// The knob is a number other than 0.
    NotZero(&'static str),
    /// The knob is a number other than 0, or not given.
    NotZeroIfGiven(&'static str),
    /// The first knob has one of these values, or the second is given.
    IsOrGiven(&'static str, &'static [&'static str], &'static str),
    /// The first knob has one of these values, or one of the others is not given.
    IsUnlessGiven(&'static str, &'static [&'static str], &'static [&'static str]),
    /// A formula that the knob holds names the conditional knob, a coefficient.
    NamedBy(&'static str),
    /// The knob, a number of workers, is above 1 or means nothing itself, or the planner of some candidate
    /// may change it.
    Several(&'static str),
}

impl Active {
    /// The earlier knob.
    pub fn knob(&self) -> &'static str {
        match self {
            Active::Is(knob, _) | Active::On(knob) | Active::NotZero(knob) => knob,
            Active::NotZeroIfGiven(knob) | Active::Several(knob) => knob,
            Active::IsOrGiven(knob, ..) | Active::IsUnlessGiven(knob, ..) | Active::NamedBy(knob) => knob,
        }
    }

    /// Whether the condition holds when the earlier knob has this value; `None` where it is absent.
    pub fn holds(&self, value: Option<&Value>) -> bool {
        match (self, value) {
            (
                Active::Is(_, names) | Active::IsOrGiven(_, names, _) | Active::IsUnlessGiven(_, names, _),
                Some(Value::Text(v)),
            ) => names.contains(&v.as_str()),
            (Active::Is(..) | Active::IsOrGiven(..) | Active::IsUnlessGiven(..), _) => false,
            (Active::NamedBy(_), v) => v.is_some(),
            (Active::On(_), v) => v == Some(&Value::Bool(true)),
            (Active::NotZero(_), v) => v.and_then(Value::as_f64).is_some_and(|v| v != 0.0),
            (Active::NotZeroIfGiven(_), v) => v.and_then(Value::as_f64).is_none_or(|v| v != 0.0),
            (Active::Several(_), v) => v.and_then(Value::as_f64).is_none_or(|v| v != 1.0),
        }
    }

    /// The condition in words, such as `router.policy is kv`.
    pub fn words(&self) -> String {
        match self {
            Active::Is(knob, names) => format!("`{knob}` is {}", names.join(" or ")),
            Active::On(knob) => format!("`{knob}` is true"),
            Active::NotZero(knob) | Active::NotZeroIfGiven(knob) => format!("`{knob}` is not 0"),
            Active::IsOrGiven(knob, names, other) => {
                format!("`{knob}` is {} or `{other}` is given", names.join(" or "))
            }
            Active::IsUnlessGiven(knob, names, others) => {
                let others: Vec<String> = others.iter().map(|o| format!("`{o}`")).collect();
                format!("(`{knob}` is {} or not all of {} are given)", names.join(" or "), others.join(", "))
            }
            Active::NamedBy(knob) => format!("a formula of `{knob}` names it"),
            Active::Several(knob) => format!("`{knob}` is not 1 or there is a planner"),
        }
    }
}

/// One knob.
#[derive(Clone, Copy, Debug)]
pub struct KnobRow {
    /// Full dotted name without the leading `knobs.`, such as `engine.max_num_seqs`.
    pub name: &'static str,
    pub kind: Kind,
    /// Whether only powers of two are legal.
    pub power_of_two: bool,
    /// Whether its values are best compared on a logarithmic scale.
    pub log: bool,
    pub fallback: Fallback,
    /// Unit of the value; empty for none.
    pub unit: &'static str,
    /// Knobs that interact, see [`super::Knob::block`].
    pub block: &'static str,
    /// When it means anything: all of these hold.
    pub active: &'static [Active],
    /// What it means, in a sentence.
    pub doc: &'static str,
}

/// The section with this path.
pub fn section(path: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|s| s.path == path)
}

/// The key with this full path.
pub fn key(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|k| k.path == path)
}

/// The knob with this name.
pub fn knob(name: &str) -> Option<&'static KnobRow> {
    KNOBS.iter().find(|k| k.name == name).or_else(|| coefficients::row(name))
}

/// Keys directly in a section.
pub fn keys_of(section: &str) -> impl Iterator<Item = &'static Key> {
    KEYS.iter().filter(move |k| k.section() == section)
}

impl Key {
    /// Path of the table it lies in.
    pub fn section(&self) -> &'static str {
        self.path.rsplit_once('.').map_or("", |(section, _)| section)
    }

    /// The last part of its path.
    pub fn name(&self) -> &'static str {
        self.path.rsplit('.').next().unwrap_or(self.path)
    }
}

/// The first parts of knobs' names: `engine`, `router`, ...
pub fn knob_groups() -> Vec<&'static str> {
    let mut groups: Vec<&str> = Vec::new();
    for group in KNOBS.iter().filter_map(|k| k.name.split('.').next()) {
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    groups
}

/// Whether knobs' names begin with this part.
pub fn is_knob_group(name: &str) -> bool {
    knob_groups().contains(&name) || name == COEFFICIENTS
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::catalog::Backend;
    use crate::twin::deployment::{EngineConfig, RouterConfig};
    use crate::twin::faults::FaultConfig;
    use crate::twin::planner::{PlannerConfig, Thresholds};

    #[test]
    fn paths_are_unique_and_every_key_lies_in_a_section() {
        let mut seen = BTreeSet::new();
        for key in KEYS {
            assert!(seen.insert(key.path), "{} twice", key.path);
            assert!(section(key.section()).is_some(), "{} lies in no section", key.path);
            assert!(key.when.is_none_or(|w| self::key(w.key).is_some()), "{} hangs on an unknown key", key.path);
        }
        for knob in KNOBS {
            assert!(seen.insert(knob.name), "{} twice", knob.name);
        }
    }

    #[test]
    fn knobs_are_in_dependency_order() {
        for (index, knob) in KNOBS.iter().enumerate() {
            for active in knob.active {
                let earlier = KNOBS[..index].iter().find(|k| k.name == active.knob());
                assert!(earlier.is_some(), "{} depends on {}, which is not before it", knob.name, active.knob());
            }
        }
    }

    #[test]
    fn defaults_are_legal_values() {
        let all =
            KEYS.iter().map(|k| (k.path, k.kind, k.fallback)).chain(KNOBS.iter().map(|k| (k.name, k.kind, k.fallback)));
        for (name, kind, fallback) in all {
            let Fallback::Value(literal) = fallback else { continue };
            let legal = match (kind, literal) {
                (Kind::Bool, Literal::Bool(_)) => true,
                (Kind::Int { min, max }, Literal::Int(v)) => (min..=max).contains(&v),
                (Kind::Real { min, max, open }, Literal::Real(v)) => v <= max && (v > min || (v == min && !open)),
                (Kind::Choice { legal, .. }, Literal::Text(v)) => legal.contains(&v),
                (Kind::Path, Literal::Text(_)) => true,
                _ => false,
            };
            assert!(legal, "{name}: {literal:?} is no legal {kind:?}");
        }
    }

    /// The twin's own defaults and the defaults that users read about are the same.
    #[test]
    fn defaults_are_the_twins() {
        let default = |name: &str| match knob(name).unwrap().fallback {
            Fallback::Value(v) => Value::from(v),
            other => panic!("{name}: {other:?}"),
        };
        let engine = EngineConfig::default();
        assert_eq!(default("engine.backend"), Value::Text(engine.backend.name().into()));
        assert_eq!(default("engine.block_size"), Value::Int(engine.block_size.into()));
        assert_eq!(default("engine.max_num_seqs"), Value::Int(engine.max_num_seqs.into()));
        assert_eq!(default("engine.max_num_batched_tokens"), Value::Int(engine.max_num_batched_tokens.into()));
        assert_eq!(default("engine.prefix_caching"), Value::Bool(engine.prefix_caching));
        assert_eq!(default("engine.chunked_prefill"), Value::Bool(engine.chunked_prefill));
        assert_eq!(default("engine.max_prefill_tokens"), Value::Int(engine.max_prefill_tokens.into()));
        assert_eq!(default("engine.schedule_conservativeness"), Value::Real(engine.schedule_conservativeness));
        let Fallback::Unset(host_ms) = key("timing.host_ms").unwrap().fallback else { panic!("it depends") };
        let [vllm, sglang, trtllm] =
            [Backend::Vllm, Backend::Sglang, Backend::Trtllm].map(crate::timing::default_host_ms);
        assert!(host_ms.starts_with(&format!("{vllm} under vLLM, {sglang} under SGLang, {trtllm} under TRT-LLM")));
        let planner = PlannerConfig::default();
        for (name, ms) in [
            ("planner.load_interval_s", planner.load_interval_ms),
            ("planner.throughput_interval_s", planner.throughput_interval_ms),
            ("planner.startup_s", planner.startup_ms),
            ("planner.cooldown_s", planner.cooldown_ms),
        ] {
            assert_eq!(default(name), Value::Real(ms / 1000.0), "{name}");
        }
        let Thresholds { prefill_up, prefill_down, decode_up, decode_down } = planner.thresholds;
        assert_eq!(planner.thresholds, Thresholds::THROUGHPUT);
        for (name, value) in [
            ("planner.prefill_up", prefill_up),
            ("planner.prefill_down", prefill_down),
            ("planner.decode_up", decode_up),
            ("planner.decode_down", decode_down),
            ("planner.sensitivity", planner.sensitivity),
            ("planner.headroom", planner.headroom),
        ] {
            assert_eq!(default(name), Value::Real(value), "{name}");
        }
        assert_eq!(default("planner.min_workers"), Value::Int(planner.min_workers.into()));
        assert_eq!(default("planner.confirm_up"), Value::Int(planner.confirm_up.into()));
        assert_eq!(default("planner.confirm_down"), Value::Int(planner.confirm_down.into()));
        assert_eq!(default("planner.wait_for_starting"), Value::Bool(planner.wait_for_starting));
        let faults = FaultConfig::default();
        let faults_default = |path: &str| match key(path).unwrap().fallback {
            Fallback::Value(v) => Value::from(v),
            other => panic!("{path}: {other:?}"),
        };
        assert_eq!(faults_default("faults.restart_s"), Value::Real(faults.restart_ms.unwrap() / 1000.0));
        assert_eq!(faults_default("faults.retries"), Value::Int(faults.retries.into()));
        assert_eq!(faults_default("faults.keep_tokens"), Value::Bool(faults.keep_tokens));
        assert_eq!(faults_default("faults.slow_factor"), Value::Real(faults.slow_factor));
        assert_eq!(faults_default("faults.slow_for_s"), Value::Real(faults.slow_ms / 1000.0));
        let router = RouterConfig::default();
        assert_eq!(default("router.policy"), Value::Text("round_robin".into()));
        assert_eq!(default("router.overlap_credit"), Value::Real(router.overlap_credit));
        assert_eq!(default("router.overlap_decay"), Value::Real(router.overlap_decay));
        assert_eq!(default("router.prefill_load_scale"), Value::Real(router.prefill_load_scale));
        assert_eq!(default("router.decode_request_weight"), Value::Real(router.decode_request_weight));
        assert_eq!(default("router.host_hit_weight"), Value::Real(router.host_hit_weight));
        assert_eq!(default("router.disk_hit_weight"), Value::Real(router.disk_hit_weight));
        assert_eq!(default("router.temperature"), Value::Real(router.temperature));
        assert_eq!(default("router.prefill_load_model"), Value::Bool(router.prefill_load_model));
        assert_eq!(default("router.kv_event_lag_ms"), Value::Real(router.kv_event_lag_ms));
        assert_eq!(default("router.admission"), Value::Text("off".into()));
        assert_eq!(default("router.queue_policy"), Value::Text("fcfs".into()));
        assert_eq!((router.queue_threshold, router.session_affinity_ttl_s), (None, None));
    }
}
