//! Multi-head latent attention: measured as a whole module (projections and all), or as its kernel
//! and the products that absorb keys and values into the latent.

use std::collections::{BTreeMap, HashMap};

use super::format::{Format, Rate};
use super::gemm::along;
use super::grid::{Grid, Rule};
use super::rows::Rows;
use super::system::System;
use crate::catalog::Attention;

type Points = Vec<([u32; 3], f64)>;

/// What the points of one grid have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slice {
    /// Number format of the attention arithmetic in prefill.
    pub arithmetic: &'static str,
    pub cache: &'static str,
    /// Format of the products inside a module; empty for a bare kernel.
    pub products: &'static str,
}

/// Latent attention in one phase.
#[derive(Debug, Default)]
pub struct Latent {
    is_prefill: bool,
    slices: HashMap<Slice, Points>,
}

const NAMES: [&str; 5] = ["bfloat16", "fp8", "fp8_block", "nvfp4", ""];

fn known(name: &str) -> Option<&'static str> {
    NAMES.into_iter().find(|known| *known == name)
}

impl Latent {
    /// Collects the rows of all sources, the preferred first.
    pub fn new(is_prefill: bool, is_module: bool, sources: &[Rows]) -> Latent {
        let mut latent = Latent { is_prefill, ..Latent::default() };
        for rows in sources {
            let [heads, batches, lengths, steps] = ["num_heads", "batch_size", "isl", "step"].map(|c| rows.integers(c));
            for row in 0..rows.len() {
                let products = if is_module { rows.text("gemm_type", row) } else { "" };
                let names = [rows.text("mla_dtype", row), rows.text("kv_cache_dtype", row), products];
                let [Some(arithmetic), Some(cache), Some(products)] = names.map(known) else { continue };
                // The cache alone decides how a sequence decodes.
                let slice = Slice { arithmetic: if is_prefill { arithmetic } else { "" }, cache, products };
                let at = if is_prefill {
                    [heads[row], lengths[row], batches[row]]
                } else {
                    [heads[row], batches[row], lengths[row] + steps[row]]
                };
                latent.slices.entry(slice).or_default().push((at, rows.latency[row]));
            }
        }
        latent
    }

    /// The kernel of a slice.
    ///
    /// # Errors
    /// When it was not measured.
    pub fn kernel(&self, slice: Slice, heads: u32, attention: Attention, system: &System) -> Result<Kernel, String> {
        let slice = Slice { arithmetic: if self.is_prefill { slice.arithmetic } else { "" }, ..slice };
        let points = self.slices.get(&slice).ok_or_else(|| {
            let phase = if self.is_prefill { "prefill" } else { "decode" };
            format!("{phase} latent attention was not measured with {slice:?}")
        })?;
        Ok(Kernel {
            grid: Grid::new(points.iter().copied()),
            heads: f64::from(heads),
            ideal: Ideal::new(slice, attention, system)?,
        })
    }
}

/// One kernel, or module, at one number of heads.
#[derive(Debug)]
pub struct Kernel {
    grid: Grid,
    heads: f64,
    ideal: Ideal,
}

impl Kernel {
    /// Prefill of `batch` sequences of `length` tokens without prefix in one layer, ms.
    pub fn prefill_ms(&self, batch: f64, length: f64) -> f64 {
        let ideal_ms = |[heads, length, batch]: [f64; 3]| self.ideal.prefill_ms(heads, length, batch);
        self.grid.at([self.heads, length, batch], &Rule { ideal_ms: &ideal_ms, root_of_middle: true })
    }

    /// Decode of `batch` sequences of `length` tokens in one layer, ms.
    pub fn decode_ms(&self, batch: f64, length: f64) -> f64 {
        let ideal_ms = |[heads, batch, length]: [f64; 3]| self.ideal.decode_ms(heads, batch, length);
        self.grid.at([self.heads, batch, length], &Rule { ideal_ms: &ideal_ms, root_of_middle: false })
    }
}

/// The roofline of a kernel.
#[derive(Clone, Copy, Debug)]
struct Ideal {
    /// Widths of a head's query and value in a prompt.
    query: f64,
    value: f64,
    /// Widths of the latent with and without the rotary key.
    cached: f64,
    latent: f64,
    /// Width of a key's part without position.
    plain: f64,
    cache_bytes: f64,
    /// Bytes of a module's weights; 0 for a bare kernel.
    weight_bytes: f64,
    prefill_rate: f64,
    decode_rate: f64,
    memory_rate: f64,
}

impl Ideal {
    fn new(slice: Slice, attention: Attention, system: &System) -> Result<Ideal, String> {
        let Attention::Mla { kv_rank, rope_dim, nope_dim, value_dim, .. } = attention else {
            return Err("not latent attention".into());
        };
        let rate = |name: &str| {
            let rate = if name.starts_with("fp8") { Rate::Fp8 } else { Rate::Bf16 };
            system.rate(rate).ok_or_else(|| format!("this GPU has no {name} arithmetic"))
        };
        let is_module = !slice.products.is_empty();
        Ok(Ideal {
            query: f64::from(nope_dim + rope_dim),
            value: f64::from(value_dim),
            cached: f64::from(kv_rank + rope_dim),
            latent: f64::from(kv_rank),
            plain: f64::from(nope_dim),
            cache_bytes: if slice.cache == "fp8" { 1.0 } else { 2.0 },
            weight_bytes: match slice.products {
                "" => 0.0,
                "bfloat16" => 2.0,
                "nvfp4" => Format::Nvfp4.bytes(),
                _ => 1.0,
            },
            prefill_rate: rate(slice.arithmetic)?,
            decode_rate: rate(if is_module { slice.products } else { slice.cache })?,
            memory_rate: system.memory_rate,
        })
    }

    fn prefill_ms(&self, heads: f64, length: f64, batch: f64) -> f64 {
        let width = self.query + self.value;
        let compute = batch * heads * width * length * length / self.prefill_rate;
        let bytes = batch * length * heads * width * (2.0 + self.cache_bytes);
        compute.max(bytes / self.memory_rate) * 1e3
    }

    fn decode_ms(&self, heads: f64, batch: f64, length: f64) -> f64 {
        let seen = self.cached + self.latent;
        let mut operations = batch * heads * 2.0 * seen * length;
        let mut bytes = batch * (heads * seen * 2.0 + self.cached * (length - 1.0) * self.cache_bytes);
        if self.weight_bytes > 0.0 {
            let absorbed = 2.0 * self.plain * self.latent;
            operations += batch * heads * 2.0 * absorbed;
            bytes += self.weight_bytes * heads * (absorbed + batch * 2.0 * (self.plain + self.latent));
        }
        (operations / self.decode_rate).max(bytes / self.memory_rate) * 1e3
    }
}

/// Products that take queries into the latent (`pre`) and values out of it, over tokens.
#[derive(Debug, Default)]
pub struct Absorbing(HashMap<(String, bool, u32), BTreeMap<u32, f64>>);

impl Absorbing {
    /// Collects the rows of all sources, the preferred first.
    pub fn new(sources: &[Rows]) -> Absorbing {
        let mut all = Absorbing::default();
        for rows in sources {
            let [heads, tokens] = ["num_heads", "num_tokens"].map(|c| rows.integers(c));
            for row in 0..rows.len() {
                let pre = rows.text("op_name", row).ends_with("pre");
                let key = (rows.text("bmm_dtype", row).to_owned(), pre, heads[row]);
                all.0.entry(key).or_default().entry(tokens[row]).or_insert(rows.latency[row]);
            }
        }
        all
    }

    /// The product before (`pre`) or after the kernel.
    ///
    /// # Errors
    /// When it was not measured.
    pub fn product(
        &self,
        format: Format,
        pre: bool,
        heads: u32,
        attention: Attention,
        system: &System,
    ) -> Result<Absorb, String> {
        let Attention::Mla { kv_rank, nope_dim, .. } = attention else { return Err("not latent attention".into()) };
        let format = if format == Format::Bf16 { Format::Bf16 } else { Format::Fp8 };
        let points = self.0.get(&(format.name().to_owned(), pre, heads)).ok_or_else(|| {
            format!("the products around latent attention of {heads} heads in {} were not measured", format.name())
        })?;
        Ok(Absorb {
            points: points.iter().map(|(&m, &ms)| (f64::from(m), ms)).collect(),
            heads: f64::from(heads),
            widths: [f64::from(nope_dim), f64::from(kv_rank)],
            bytes: format.bytes(),
            rate: system.rate(format.rate()).ok_or("this GPU has no 8-bit arithmetic")?,
            memory_rate: system.memory_rate,
        })
    }
}

/// One such product, ready to be asked by tokens.
#[derive(Debug)]
pub struct Absorb {
    points: Vec<(f64, f64)>,
    heads: f64,
    widths: [f64; 2],
    bytes: f64,
    rate: f64,
    memory_rate: f64,
}

impl Absorb {
    /// Duration for so many tokens, ms.
    pub fn ms(&self, tokens: f64) -> f64 {
        let [plain, latent] = self.widths;
        along(&self.points, tokens, |m| {
            let compute = 2.0 * m * self.heads * plain * latent / self.rate;
            let bytes = self.bytes * self.heads * (plain * latent + m * (plain + latent));
            compute.max(bytes / self.memory_rate) * 1e3
        })
    }

    /// Token counts at which the duration may bend.
    pub fn knots(&self) -> impl Iterator<Item = u32> {
        self.points.iter().map(|p| p.0 as u32)
    }
}
