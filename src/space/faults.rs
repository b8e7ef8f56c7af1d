//! `[faults]`: what goes wrong with workers, by chance and at given times.

use super::check::Checked;
use super::nearest::did_you_mean;
use super::source::{Finding, Sources};
use super::tree::{Entry, Node, Raw};
use crate::twin::faults::{FaultConfig, FaultEvent, FaultKind};
use crate::units::MS_PER_S;

/// Keys of one entry of `faults.events`.
pub(crate) const EVENT_KEYS: [&str; 4] = ["at_s", "worker", "slow", "for_s"];

/// The section; nothing goes wrong without it.
pub(crate) fn faults(checked: &Checked, sources: &mut Sources) -> Option<FaultConfig> {
    let ms = |key: &str| checked.given(key).and_then(|found| found.value.as_f64()).map(|s| s * MS_PER_S);
    let restarts = checked.text("faults.after_death")? == "restart";
    Some(FaultConfig {
        mtbf_ms: ms("faults.mtbf_s"),
        restart_ms: if restarts { Some(checked.real("faults.restart_s")? * MS_PER_S) } else { None },
        retries: checked.u32("faults.retries")?,
        keep_tokens: checked.flag("faults.keep_tokens")?,
        slow_every_ms: ms("faults.slow_every_s"),
        slow_factor: checked.real("faults.slow_factor")?,
        slow_ms: checked.real("faults.slow_for_s")? * MS_PER_S,
        events: checked.fault_events.as_ref().map_or_else(Vec::new, |node| events(node, sources)),
    })
}

fn events(node: &Node, sources: &mut Sources) -> Vec<FaultEvent> {
    let example =
        "write for example events = [{ at_s = 600, worker = 2 }, { at_s = 900, worker = 0, slow = 3.0, for_s = 120 }]";
    let Raw::List(items) = &node.raw else {
        let what = format!("`faults.events` must be a list of tables, not {}", node.raw.type_words());
        sources.error(node.span, "faults.events", Finding::new(what, "", example));
        return Vec::new();
    };
    let mut found = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let path = format!("faults.events[{index}]");
        match &item.raw {
            Raw::Table(entries) => found.extend(event(entries, item, &path, sources)),
            raw => {
                let what = format!("a fault is a table, not {}", raw.type_words());
                sources.error(item.span, &path, Finding::new(what, "", example));
            }
        }
    }
    found
}

fn event(entries: &[Entry], node: &Node, path: &str, sources: &mut Sources) -> Option<FaultEvent> {
    let errors = sources.error_count();
    let mut values = [None; EVENT_KEYS.len()];
    for entry in entries {
        let at = format!("{path}.{}", entry.key);
        let Some(key) = EVENT_KEYS.iter().position(|k| *k == entry.key) else {
            let what = format!("a fault has no `{}`", entry.key);
            let why = "it has `at_s` and `worker`, and `slow` with `for_s` where the worker does not die";
            sources.error(entry.key_span, &at, Finding::new(what, why, did_you_mean(&entry.key, &EVENT_KEYS)));
            continue;
        };
        let value = match entry.node.raw {
            Raw::Int(v) => v as f64,
            Raw::Real(v) => v,
            _ => f64::NAN,
        };
        let (is_legal, wanted) = match EVENT_KEYS[key] {
            "worker" => (value >= 0.0 && value.fract() == 0.0 && value < 65_536.0, "the number of a worker, from 0"),
            "slow" => ((1.0..=1e6).contains(&value), "how many times as long passes take, 1 to 1000000"),
            _ => ((0.0..=1e12).contains(&value), "a number of seconds, 0 or more"),
        };
        if !is_legal {
            let what = format!("`{at}` must be {wanted}");
            sources.error(entry.node.span, &at, Finding::new(what, "", format!("write {} = 60", entry.key)));
        }
        values[key] = Some(value);
    }
    let [at_s, worker, slow, for_s] = values;
    for (key, value) in [("at_s", at_s), ("worker", worker)] {
        if value.is_none() {
            let what = format!("`{path}` has no `{key}`");
            let why = "a fault happens to one worker at one time";
            sources.error(node.span, path, Finding::new(what, why, "write { at_s = 600, worker = 2 }"));
        }
    }
    if slow.is_some() != for_s.is_some() {
        let what = format!("`{path}` has only one of `slow` and `for_s`");
        let why = "a slow worker is slow by a factor and for a time; without both, the worker dies";
        sources.error(
            node.span,
            path,
            Finding::new(what, why, "write { at_s = 900, worker = 0, slow = 3.0, for_s = 120 }"),
        );
    }
    let kind = match (slow, for_s) {
        (Some(factor), Some(for_s)) => FaultKind::Slow { factor, for_ms: for_s * MS_PER_S },
        _ => FaultKind::Death,
    };
    let (at_s, worker) = (at_s?, worker?);
    (sources.error_count() == errors).then_some(FaultEvent { at_ms: at_s * MS_PER_S, worker: worker as u32, kind })
}
