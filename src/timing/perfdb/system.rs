//! What the database says of a GPU and of the versions it was measured with.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::fs;
use std::path::Path;

use yaml_rust2::parser::{Event, Parser};
use yaml_rust2::{Yaml, YamlLoader};

use super::format::Rate;
use crate::catalog::Backend;

/// Rates and sizes of a GPU, as the database has them.
#[derive(Clone, Debug, PartialEq)]
pub struct System {
    /// Memory bandwidth, bytes per second.
    pub memory_rate: f64,
    /// Share of it that streaming reaches.
    pub memory_share: f64,
    /// Latency of a small kernel, seconds.
    pub memory_latency: f64,
    /// Matrix rates, operations per second.
    bf16: f64,
    fp8: Option<f64>,
    fp4: Option<f64>,
    /// Compute capability: 90 Hopper, 100 Blackwell.
    pub sm: i64,
    pub gpus_per_node: u32,
    /// Links within and between servers, bytes per second and direction.
    pub intra_node: f64,
    pub inter_node: f64,
}

impl System {
    /// Reads `<name>.yaml`.
    ///
    /// # Errors
    /// When the file is not there, is no YAML or lacks a figure.
    pub fn read(systems: &Path, name: &str) -> Result<System, String> {
        let path = systems.join(format!("{name}.yaml"));
        let document = load(&path)?;
        let figure = |table: &str, key: &str| real(&document[table][key]);
        let needed = |table: &str, key: &str| {
            figure(table, key).ok_or_else(|| format!("{}: {table}.{key} is no number", path.display()))
        };
        Ok(System {
            memory_rate: needed("gpu", "mem_bw")?,
            memory_share: needed("gpu", "mem_bw_empirical_scaling_factor")?,
            memory_latency: needed("gpu", "mem_empirical_constant_latency")?,
            bf16: needed("gpu", "bfloat16_tc_flops")?,
            fp8: figure("gpu", "fp8_tc_flops"),
            fp4: figure("gpu", "fp4_tc_flops"),
            sm: figure("gpu", "sm_version").map_or(-1, |v| v as i64),
            gpus_per_node: needed("node", "num_gpus_per_node")? as u32,
            intra_node: needed("node", "intra_node_bw")?,
            inter_node: needed("node", "inter_node_bw")?,
        })
    }

    /// Operations per second; `None` where the GPU cannot compute in that format.
    pub fn rate(&self, rate: Rate) -> Option<f64> {
        match rate {
            Rate::Bf16 => Some(self.bf16),
            Rate::Fp8 => self.fp8,
            Rate::Fp4 => self.fp4,
        }
    }

    /// Duration of an operation that only streams, ms.
    pub fn stream_ms(&self, bytes: f64) -> f64 {
        (bytes / (self.memory_rate * self.memory_share) + self.memory_latency) * 1e3
    }
}

/// The version of a backend that the database answers with by default.
///
/// # Errors
/// When `query_versions.yaml` is unusable or knows no such backend.
pub fn current_version(systems: &Path, system: &str, backend: Backend) -> Result<String, String> {
    let path = systems.join("query_versions.yaml");
    let document = load(&path)?;
    let current = |table: &Yaml| table[backend.name()]["current"].as_str().map(str::to_owned);
    current(&document["overrides"][system])
        .or_else(|| current(&document["defaults"]))
        .ok_or_else(|| format!("{}: no current version of {}", path.display(), backend.name()))
}

/// The attention kernel that a backend uses by default on a GPU of this compute capability.
/// `None` where the database does not say.
///
/// # Errors
/// When `attention_lane_defaults.yaml` is no YAML.
pub fn default_lane(systems: &Path, backend: Backend, version: &str, sm: i64) -> Result<Option<String>, String> {
    let path = systems.join("attention_lane_defaults.yaml");
    if !path.exists() {
        return Ok(None);
    }
    let document = load(&path)?;
    let Some(versions) = document[backend.name()].as_hash() else { return Ok(None) };
    let best = versions
        .iter()
        .filter_map(|(key, lanes)| key.as_str().map(|key| (key, lanes)))
        .filter(|(key, _)| compare_versions(key, version) != Ordering::Greater)
        .max_by(|(a, _), (b, _)| compare_versions(a, b));
    Ok(best.and_then(|(_, lanes)| keyed(lanes, sm)))
}

fn keyed(lanes: &Yaml, sm: i64) -> Option<String> {
    lanes.as_hash()?.get(&Yaml::Integer(sm))?.as_str().map(str::to_owned)
}

/// Most nodes of a description, those that aliases repeat included; the database's have hundreds.
const MOST_NODES: usize = 100_000;
/// Its deepest nesting; the database's have four levels.
const DEEPEST: usize = 32;

fn load(path: &Path) -> Result<Yaml, String> {
    let text = fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    check_extent(&text).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut documents = YamlLoader::load_from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?;
    if documents.is_empty() { Err(format!("{}: empty", path.display())) } else { Ok(documents.swap_remove(0)) }
}

/// Refuses what the loader, which calls itself for every level and copies what an alias names, would not
/// survive.
fn check_extent(text: &str) -> Result<(), String> {
    let mut parser = Parser::new_from_str(text);
    let mut nodes = 0;
    // Anchor and the nodes before it of each open list or table; nodes below each anchor.
    let mut open: Vec<(usize, usize)> = Vec::new();
    let mut below = HashMap::new();
    loop {
        let (event, marker) = parser.next_token().map_err(|e| e.to_string())?;
        match event {
            Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _) => {
                open.push((anchor, nodes));
                nodes += 1;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let (anchor, before) = open.pop().expect("the parser pairs them");
                below.insert(anchor, nodes - before);
            }
            Event::Scalar(_, _, anchor, _) => {
                nodes += 1;
                below.insert(anchor, 1);
            }
            Event::Alias(anchor) => nodes += below.get(&anchor).unwrap_or(&1),
            Event::StreamEnd => return Ok(()),
            _ => {}
        }
        if nodes > MOST_NODES || open.len() > DEEPEST {
            let why = if nodes > MOST_NODES { "holds too many values" } else { "is nested too deeply" };
            return Err(format!("line {}: {why} for a description of a GPU", marker.line()));
        }
    }
}

fn real(value: &Yaml) -> Option<f64> {
    value.as_f64().or_else(|| value.as_i64().map(|v| v as f64)).filter(|v| v.is_finite() && *v > 0.0)
}

/// Orders versions such as `0.5.6.post2` and `1.3.0rc20`: a candidate comes before its release,
/// a post-release after it.
pub fn compare_versions(a: &str, b: &str) -> Ordering {
    version_key(a).cmp(&version_key(b))
}

fn version_key(version: &str) -> Vec<(i32, u64)> {
    let mut key = Vec::new();
    let mut rest = version;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits > 0 {
            key.push((1, rest[..digits].parse().unwrap_or(u64::MAX)));
            rest = &rest[digits..];
            continue;
        }
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        if letters > 0 {
            let rank = match &rest[..letters] {
                "post" => 0,
                "rc" => -2,
                "b" | "beta" => -3,
                "a" | "alpha" => -4,
                _ => -5,
            };
            key.push((rank, 0));
            rest = &rest[letters..];
            continue;
        }
        let mut chars = rest.chars();
        chars.next();
        rest = chars.as_str();
    }
    // Ends a release: above candidates, below post-releases and further numbers.
    key.push((-1, 0));
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_they_were_released() {
        let ordered = ["0.1.dev19262", "0.5.6", "0.5.6.post2", "0.5.9", "0.5.14", "1.3.0rc10", "1.3.0rc20", "1.3.0"];
        for pair in ordered.windows(2) {
            assert_eq!(compare_versions(pair[0], pair[1]), Ordering::Less, "{pair:?}");
        }
        assert_eq!(compare_versions("1.0", "1.0"), Ordering::Equal);
    }
}
