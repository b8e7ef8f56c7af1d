//! Attention: which kernel's measurements answer, and their roofline.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::format::Rate;
use super::grid::{Grid, Rule};
use super::rows::Rows;
use super::system::System;

/// Kernels that the database ranks by name before it ranks by coverage.
const KNOWN_LANES: [&str; 5] = ["fa3", "fla", "flashinfer", "triton", "trtllm_mha"];

/// What the points of one grid have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slice {
    /// Number format of the arithmetic; empty in decode, where only the cache's counts.
    pub arithmetic: &'static str,
    pub cache: &'static str,
    /// Key-value heads on a rank; 0 where each query head has its own.
    pub kv_heads: u32,
    pub head_dim: u32,
    /// Tokens that a query sees; 0 for all.
    pub window: u32,
}

/// Points of every slice, with their durations.
type Slices = HashMap<Slice, Vec<([u32; 3], f64)>>;

/// Prefill or decode attention of all kernels.
#[derive(Debug)]
pub struct Attention {
    is_prefill: bool,
    /// Kernels by name: the slices of each, as (heads, middle, inner) points: prefill
    /// (heads, length, batch), decode (heads, batch, length).
    lanes: BTreeMap<String, Slices>,
    /// Kernels in order of preference.
    order: Vec<String>,
}

impl Attention {
    /// Collects the rows of all sources, the preferred first. `default_lane` is the framework's own
    /// choice where the database names one.
    pub fn new(is_prefill: bool, sources: &[Rows], default_lane: Option<&str>) -> Attention {
        let mut lanes: BTreeMap<String, Slices> = BTreeMap::new();
        let mut densities = Vec::new();
        for rows in sources {
            let column = |name| rows.integers(name);
            let [heads, kv_heads, dims, windows] =
                ["num_heads", "num_key_value_heads", "head_dim", "window_size"].map(column);
            let [batches, lengths, steps] = ["batch_size", "isl", "step"].map(column);
            let mut density: BTreeMap<String, (BTreeSet<Slice>, usize)> = BTreeMap::new();
            for row in 0..rows.len() {
                let (Some(arithmetic), Some(cache)) =
                    (known(rows.text("attn_dtype", row)), known(rows.text("kv_cache_dtype", row)))
                else {
                    continue;
                };
                let slice = Slice {
                    arithmetic: if is_prefill { arithmetic } else { "" },
                    cache,
                    kv_heads: if heads[row] == kv_heads[row] { 0 } else { kv_heads[row] },
                    head_dim: dims[row],
                    window: windows[row],
                };
                let at = if is_prefill {
                    [heads[row], lengths[row], batches[row]]
                } else {
                    [heads[row], batches[row], lengths[row] + steps[row]]
                };
                let lane = rows.text("kernel_source", row);
                let seen = density.entry(lane.to_owned()).or_default();
                seen.0.insert(slice.clone());
                seen.1 += 1;
                let slices = lanes.entry(lane.to_owned()).or_default();
                slices.entry(slice).or_default().push((at, rows.latency[row]));
            }
            densities.push(density.into_iter().map(|(lane, (s, n))| (lane, (s.len(), n))).collect());
        }
        let order = order(&densities, default_lane, lanes.keys().map(String::as_str));
        Attention { is_prefill, lanes, order }
    }

    /// The grid of a slice out of the preferred kernel that has it.
    ///
    /// # Errors
    /// When no kernel was measured so.
    pub fn kernel(&self, slice: &Slice, heads: u32, system: &System) -> Result<Kernel, String> {
        let points = self.order.iter().find_map(|lane| self.lanes.get(lane)?.get(slice)).ok_or_else(|| {
            let phase = if self.is_prefill { "prefill" } else { "decode" };
            format!("{phase} attention was not measured with {slice:?}")
        })?;
        let ideal = Ideal::new(slice, system)?;
        let raised = |&(at, ms): &([u32; 3], f64)| {
            let [a, b, c] = at.map(f64::from);
            // Decode rows are raised to the roofline, prefill rows taken as they are.
            (at, if self.is_prefill { ms } else { ms.max(ideal.decode_ms(a, b, c)) })
        };
        Ok(Kernel { grid: Grid::new(points.iter().map(raised)), ideal, heads: f64::from(heads) })
    }
}

fn known(name: &str) -> Option<&'static str> {
    ["bfloat16", "fp8"].into_iter().find(|known| *known == name)
}

/// Preference among kernels. Where the database names the framework's default: that kernel, then
/// those of the preferred version by coverage, then the others; else plain alphabetical order.
fn order<'a>(
    densities: &[BTreeMap<String, (usize, usize)>],
    default_lane: Option<&str>,
    all: impl Iterator<Item = &'a str>,
) -> Vec<String> {
    let all: Vec<String> = all.map(str::to_owned).collect();
    let Some(default_lane) = default_lane else { return all };
    let merged = densities.iter().fold(BTreeMap::<String, (usize, usize)>::new(), |mut merged, density| {
        for (lane, (slices, rows)) in density {
            let entry = merged.entry(lane.clone()).or_default();
            *entry = (entry.0.max(*slices), entry.1 + rows);
        }
        merged
    });
    let pinned: Vec<String> = (default_lane != "default").then(|| default_lane.to_owned()).into_iter().collect();
    let walk = |density: &BTreeMap<String, (usize, usize)>| {
        let rank = |lane: &str| {
            let (slices, rows) = density.get(lane).copied().unwrap_or_default();
            (std::cmp::Reverse(slices), std::cmp::Reverse(rows), lane.to_owned())
        };
        let mut known: Vec<String> =
            KNOWN_LANES.iter().map(|l| (*l).to_owned()).filter(|l| !pinned.contains(l)).collect();
        known.sort_by_key(|l| rank(l));
        let mut others: Vec<String> = density
            .keys()
            .filter(|l| !KNOWN_LANES.contains(&l.as_str()) && *l != "default" && !pinned.contains(l))
            .cloned()
            .collect();
        others.sort_by_key(|l| rank(l));
        known.into_iter().chain(["default".to_owned()]).chain(others)
    };
    let mut order = pinned.clone();
    if let Some(primary) = densities.first().filter(|d| !d.is_empty()) {
        order.extend(walk(primary).filter(|lane| primary.contains_key(lane)));
    }
    for lane in walk(&merged).chain(all) {
        if !order.contains(&lane) {
            order.push(lane);
        }
    }
    order
}

/// One kernel at one number of query heads.
#[derive(Debug)]
pub struct Kernel {
    grid: Grid,
    ideal: Ideal,
    heads: f64,
}

impl Kernel {
    /// Prefill of `batch` sequences of `length` tokens without prefix in one layer, ms.
    pub fn prefill_ms(&self, batch: f64, length: f64) -> f64 {
        let ideal_ms = |[heads, length, batch]: [f64; 3]| self.ideal.prefill_ms(heads, length, batch);
        self.grid.at([self.heads, length, batch], &Rule { ideal_ms: &ideal_ms, root_of_middle: true })
    }

    /// Decode of `batch` sequences of `length` tokens, the new one included, in one layer, ms: the
    /// mean over five lengths around it, as the source takes it.
    pub fn decode_ms(&self, batch: f64, length: f64) -> f64 {
        let ideal_ms = |[heads, batch, length]: [f64; 3]| self.ideal.decode_ms(heads, batch, length);
        let rule = Rule { ideal_ms: &ideal_ms, root_of_middle: false };
        let low = (0.9 * length).floor().max(1.0);
        let high = (1.1 * length).floor().max(low);
        let at = |i: u32| low + ((high - low) * f64::from(i) / 4.0).floor();
        (0..5).map(|i| self.grid.at([self.heads, batch, at(i)], &rule)).sum::<f64>() / 5.0
    }
}

/// The roofline of a kernel.
#[derive(Clone, Copy, Debug)]
struct Ideal {
    kv_heads: f64,
    head_dim: f64,
    cache_bytes: f64,
    window: f64,
    prefill_rate: f64,
    decode_rate: f64,
    memory_rate: f64,
}

impl Ideal {
    fn new(slice: &Slice, system: &System) -> Result<Ideal, String> {
        let rate = |name: &str| {
            let rate = if name == "fp8" { Rate::Fp8 } else { Rate::Bf16 };
            system.rate(rate).ok_or_else(|| format!("this GPU has no {name} arithmetic"))
        };
        Ok(Ideal {
            kv_heads: f64::from(slice.kv_heads),
            head_dim: f64::from(slice.head_dim),
            cache_bytes: if slice.cache == "fp8" { 1.0 } else { 2.0 },
            window: f64::from(slice.window),
            prefill_rate: rate(slice.arithmetic)?,
            decode_rate: rate(slice.cache)?,
            memory_rate: system.memory_rate,
        })
    }

    fn kv_heads(&self, heads: f64) -> f64 {
        if self.kv_heads == 0.0 { heads } else { self.kv_heads }
    }

    fn prefill_ms(&self, heads: f64, length: f64, batch: f64) -> f64 {
        let d = self.head_dim;
        let pairs =
            if self.window > 0.0 && length > self.window { 2.0 * length * self.window } else { length * length };
        let compute = 2.0 * batch * pairs * heads * d / self.prefill_rate;
        let bytes =
            4.0 * batch * heads * length * d + self.cache_bytes * 2.0 * batch * self.kv_heads(heads) * length * d;
        compute.max(bytes / self.memory_rate) * 1e3
    }

    fn decode_ms(&self, heads: f64, batch: f64, length: f64) -> f64 {
        let d = self.head_dim;
        let seen = if self.window > 0.0 { (length - 1.0).min(self.window) } else { length - 1.0 };
        let compute = 4.0 * batch * heads * d * seen / self.decode_rate;
        let bytes = batch * (4.0 * heads * d + 2.0 * self.kv_heads(heads) * seen * d * self.cache_bytes);
        compute.max(bytes / self.memory_rate) * 1e3
    }
}
