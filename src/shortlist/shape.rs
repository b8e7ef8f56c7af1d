//! The shape of a deployment: what hardware it occupies and how, whatever its other settings.

use crate::space::{Candidate, Space};

/// Mode, backend, tensor-parallel sizes and worker counts of a candidate.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shape {
    /// Mode, backend and tensor-parallel sizes: what kind of deployment it is.
    pub kind: Vec<String>,
    /// Worker counts: how much of it.
    pub workers: Vec<String>,
}

/// The last part of a knob's name.
fn leaf(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// A candidate's shape.
pub fn shape_of(space: &Space, candidate: &Candidate) -> Shape {
    let values = |wanted: &[&str]| -> Vec<String> {
        let described = space.describe(candidate).into_iter();
        described.filter(|(name, _)| wanted.contains(&leaf(name))).map(|(name, v)| format!("{name}={v}")).collect()
    };
    Shape { kind: values(&["mode", "backend", "tp"]), workers: values(&["workers"]) }
}

/// The shape in words, such as `aggregated vllm, 6 x TP4`.
pub(crate) fn shape_words(space: &Space, candidate: &Candidate) -> String {
    let described = space.describe(candidate);
    let value = |name: &str| described.iter().find(|(n, _)| *n == name).map(|(_, v)| v.as_str());
    let named: Vec<&str> = ["deployment.mode", "engine.backend"].into_iter().filter_map(value).collect();
    let pools = described.iter().filter_map(|(name, workers)| {
        let pool = name.strip_suffix(".workers")?;
        let size = value(&format!("{pool}.tp")).map_or(String::new(), |tp| format!(" × TP{tp}"));
        let pool = if pool == "aggregated" { String::new() } else { format!("{pool} ") };
        Some(format!("{pool}{workers}{size}"))
    });
    let parts: Vec<String> = std::iter::once(named.join(" ")).chain(pools).filter(|p| !p.is_empty()).collect();
    if parts.is_empty() { "-".into() } else { parts.join(", ") }
}
