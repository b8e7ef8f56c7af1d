//! The operators of a worker's pass put together.
//!
//! `pass = F(tokens) + L(sampled) + context attention + decode attention`, a plain sum.

use super::attention::{Kernel, Slice};
use super::comm::AllReduce;
use super::format::{Format, Quant};
use super::gemm::Product;
use super::mla::{self, Absorb};
use super::moe::{Layer, Shape};
use super::{PerfDb, Products, Scales};
use crate::catalog::{Attention, Backend, MoeSpec};
use crate::timing::WorkerShape;

/// How unevenly tokens are taken to spread over experts, and over those of the models with latent
/// attention.
const SPREAD: &str = "power_law_1.2";
const LATENT_SPREAD: &str = "power_law_1.01";
/// Attention prefill overhead beyond the kernel, as a factor on its memory traffic.
const PREFILL_MARGIN: f64 = 1.1;

/// Everything that a pass of one worker is made of.
#[derive(Debug)]
pub struct Composition {
    /// Operators over the tokens of a pass, each so many times.
    tokens: Operators,
    /// The same for passes that only decode, where they differ.
    decode_tokens: Option<Operators>,
    sampled: Product,
    attention: Vec<Attending>,
    context_constant_ms: f64,
    prefill_samples: bool,
}

/// Operators, each so many times.
type Operators = Vec<(f64, Operator)>;

/// An operator that works on all tokens of a pass.
#[derive(Debug)]
enum Operator {
    /// Streams so many bytes per token.
    Stream {
        bytes: f64,
        rate: f64,
        latency_ms: f64,
    },
    Product(Product),
    Experts(Layer),
    AllReduce {
        each: AllReduce,
        width: u32,
    },
    Absorb(Absorb),
    /// Two streams at once: the longer counts.
    Overlap(Operators, Operators),
}

fn sum_ms(operators: &[(f64, Operator)], tokens: f64) -> f64 {
    operators.iter().map(|(times, operator)| times * operator.ms(tokens)).sum()
}

impl Operator {
    fn ms(&self, tokens: f64) -> f64 {
        match self {
            Operator::Stream { bytes, rate, latency_ms } => bytes * tokens / rate * 1e3 + latency_ms,
            Operator::Product(product) => product.ms(tokens),
            Operator::Experts(layer) => layer.ms(tokens),
            Operator::AllReduce { each, width } => each.ms(tokens * f64::from(*width)),
            Operator::Absorb(product) => product.ms(tokens),
            Operator::Overlap(one, other) => sum_ms(one, tokens).max(sum_ms(other, tokens)),
        }
    }

    /// Token counts at which the duration may bend.
    fn knots(&self) -> Vec<u32> {
        match self {
            Operator::Stream { .. } => Vec::new(),
            Operator::Product(product) => product.knots().collect(),
            Operator::Experts(layer) => layer.knots().collect(),
            Operator::AllReduce { each, width } => each.knots(*width).collect(),
            Operator::Absorb(product) => product.knots().collect(),
            Operator::Overlap(one, other) => one.iter().chain(other).flat_map(|(_, o)| o.knots()).collect(),
        }
    }
}

/// So many layers that attend alike.
#[derive(Debug)]
enum Attending {
    Grouped { layers: f64, prefill: Kernel, decode: Kernel },
    Latent { layers: f64, prefill: mla::Kernel, decode: mla::Kernel },
}

impl Attending {
    fn prefill_ms(&self, batch: f64, length: f64) -> f64 {
        match self {
            Attending::Grouped { layers, prefill, .. } => layers * prefill.prefill_ms(batch, length),
            Attending::Latent { layers, prefill, .. } => layers * prefill.prefill_ms(batch, length),
        }
    }

    fn decode_ms(&self, batch: f64, length: f64) -> f64 {
        match self {
            Attending::Grouped { layers, decode, .. } => layers * decode.decode_ms(batch, length),
            Attending::Latent { layers, decode, .. } => layers * decode.decode_ms(batch, length),
        }
    }
}

impl Composition {
    /// The composition of a worker. `whole_experts` gives every GPU whole experts instead of a
    /// share of each.
    ///
    /// # Errors
    /// When an operator of it was not measured; says which.
    pub fn new(db: &PerfDb, shape: &WorkerShape, quant: Quant, whole_experts: bool) -> Result<Composition, String> {
        let model = &shape.model;
        if model.moe.is_some_and(|moe| {
            quant.experts == Format::Fp8Block && !whole_experts && !(moe.expert_ffn / shape.tp).is_multiple_of(128)
        }) {
            return Err(format!("tp {} breaks experts into less than blocks of 128", shape.tp));
        }
        let parts =
            Parts { db, shape, products: db.products(quant.products)?, plain: None, scales: Parts::scales(db, quant)? };
        match (model.attention, model.moe) {
            (Attention::Mla { .. }, Some(moe)) => parts.latent(quant, moe, whole_experts),
            (Attention::Mla { .. }, None) => Err("latent attention without experts is not composed".into()),
            _ => parts.grouped(quant, whole_experts),
        }
    }

    /// Everything but attention and head for a pass of so many tokens, ms.
    pub fn tokens_ms(&self, tokens: f64) -> f64 {
        sum_ms(&self.tokens, tokens)
    }

    /// The same for a pass that only decodes, ms.
    pub fn decode_tokens_ms(&self, sequences: f64) -> f64 {
        sum_ms(self.decode_tokens.as_ref().unwrap_or(&self.tokens), sequences)
    }

    /// Whether the two differ.
    pub fn decodes_apart(&self) -> bool {
        self.decode_tokens.is_some()
    }

    /// The language-model head for so many sequences, ms.
    pub fn sampled_ms(&self, sequences: f64) -> f64 {
        self.sampled.ms(sequences)
    }

    /// Context attention of `batch` sequences of `length` tokens without prefix, ms, less the
    /// constant.
    pub fn prefill_attention_ms(&self, batch: f64, length: f64) -> f64 {
        self.attention.iter().map(|a| a.prefill_ms(batch, length)).sum()
    }

    /// The part of context attention that depends on nothing, ms per pass.
    pub fn context_constant_ms(&self) -> f64 {
        self.context_constant_ms
    }

    /// Decode attention of `batch` sequences of `length` tokens, ms.
    pub fn decode_attention_ms(&self, batch: f64, length: f64) -> f64 {
        self.attention.iter().map(|a| a.decode_ms(batch, length)).sum()
    }

    /// Whether the source counts the head in passes that prefill.
    pub fn prefill_samples(&self) -> bool {
        self.prefill_samples
    }

    /// Token counts at which [`Composition::tokens_ms`] may bend, up to `limit`.
    pub fn token_knots(&self, limit: u32) -> Vec<u32> {
        // Beyond what was measured durations are extrapolated, and bend slowly.
        let mut knots: Vec<u32> = vec![1, 49_152, 65_536, 98_304, limit];
        let operators = self.tokens.iter().chain(self.decode_tokens.iter().flatten());
        knots.extend(operators.flat_map(|(_, operator)| operator.knots()));
        knots.retain(|k| (1..=limit).contains(k));
        knots.sort_unstable();
        knots.dedup();
        knots
    }

    /// Sequence counts at which [`Composition::sampled_ms`] may bend, up to `limit`.
    pub fn sampled_knots(&self, limit: u32) -> Vec<u32> {
        let mut knots: Vec<u32> = self.sampled.knots().chain([1, limit]).filter(|k| (1..=limit).contains(k)).collect();
        knots.sort_unstable();
        knots.dedup();
        knots
    }
}

/// What compositions are made with.
struct Parts<'a> {
    db: &'a PerfDb,
    shape: &'a WorkerShape,
    products: Products,
    plain: Option<Products>,
    /// Quantising steps to take off: of every product, of those whose input is 8-bit already.
    scales: [Option<Scales>; 2],
}

impl Parts<'_> {
    fn scales(db: &PerfDb, quant: Quant) -> Result<[Option<Scales>; 2], String> {
        if quant.products == Format::Fp8Static { db.scales() } else { Ok([None, None]) }
    }

    /// A product in the worker's format. `quantised_input`: what feeds it leaves 8-bit values.
    fn product(&self, n: u32, k: u32, quantised_input: bool) -> Result<Operator, String> {
        let [every, quantised] = &self.scales;
        let less = every.iter().chain(quantised.iter().filter(|_| quantised_input)).cloned().collect();
        Ok(Operator::Product(self.products.product(n, k, &self.db.system, less)?))
    }

    fn bf16(&self, n: u32, k: u32) -> Result<Product, String> {
        self.plain.as_ref().unwrap_or(&self.products).product(n, k, &self.db.system, Vec::new())
    }

    fn stream(&self, bytes: f64) -> Operator {
        let system = &self.db.system;
        Operator::Stream {
            bytes,
            rate: system.memory_rate * system.memory_share,
            latency_ms: system.memory_latency * 1e3,
        }
    }

    fn all_reduce(&self, tp: u32) -> Result<Operator, String> {
        Ok(Operator::AllReduce {
            each: self.db.all_reduces()?.among(tp, &self.db.system)?,
            width: self.shape.model.hidden,
        })
    }

    fn gated(&self, layers: f64, width: u32, into: &mut Operators) -> Result<(), String> {
        let (hidden, tp) = (self.shape.model.hidden, self.shape.tp);
        let (both, one) = (2 * width / tp, width / tp);
        into.push((layers, self.product(both, hidden, false)?));
        into.push((layers, self.stream(2.0 * f64::from(both + one))));
        into.push((layers, self.product(hidden, one, true)?));
        Ok(())
    }

    /// The routed experts of one layer.
    fn experts(&self, moe: MoeSpec, quant: Quant, whole_experts: bool, spread: &str) -> Result<Operator, String> {
        let (tp, ep) = if whole_experts { (1, self.shape.tp) } else { (self.shape.tp, 1) };
        let MoeSpec { experts, top_k, expert_ffn: inner, .. } = moe;
        let shape = Shape { hidden: self.shape.model.hidden, inner, top_k, experts, tp, ep };
        Ok(Operator::Experts(self.db.experts()?.layer(shape, quant.experts, spread, &self.db.system)?))
    }

    /// A model with grouped queries, with or without windows and experts.
    fn grouped(mut self, quant: Quant, whole_experts: bool) -> Result<Composition, String> {
        if quant.products != Format::Bf16 {
            self.plain = Some(self.db.products(Format::Bf16)?);
        }
        let model = &self.shape.model;
        let tp = self.shape.tp;
        let (layers, hidden) = (f64::from(model.layers), model.hidden);
        let (heads, kv_heads) = (model.heads / tp, model.kv_heads.div_ceil(tp));
        let width = heads * model.head_dim;
        let wide = f64::from(hidden);

        let mut tokens = vec![
            (1.0, self.stream(2.0 * wide)),
            (1.0, self.all_reduce(tp)?),
            (2.0 * layers, self.stream(8.0 * wide)),
            (layers, self.product(width + 2 * kv_heads * model.head_dim, hidden, false)?),
            (layers, self.product(hidden, width, true)?),
            (2.0 * layers, self.all_reduce(tp)?),
        ];
        match model.moe {
            None => self.gated(layers, model.ffn, &mut tokens)?,
            Some(moe) => {
                let routed = f64::from(model.layers - moe.dense_layers);
                if moe.dense_layers > 0 {
                    self.gated(f64::from(moe.dense_layers), model.ffn, &mut tokens)?;
                }
                if moe.shared_ffn > 0 {
                    self.gated(routed, moe.shared_ffn, &mut tokens)?;
                }
                tokens.push((routed, Operator::Product(self.bf16(moe.experts, hidden)?)));
                tokens.push((routed, self.experts(moe, quant, whole_experts, SPREAD)?));
            }
        }

        let (window, windowed) = match model.attention {
            Attention::SlidingWindow { window_tokens, windowed_layers } => (window_tokens, windowed_layers),
            _ => (0, 0),
        };
        let mut attention = Vec::new();
        for (layers, window) in [(windowed, window), (model.layers - windowed, 0)] {
            if layers > 0 {
                attention.push(self.attending(f64::from(layers), heads, kv_heads, window, quant)?);
            }
        }
        let arithmetic_fp8 = attention.iter().any(|(_, fp8)| *fp8);
        Ok(Composition {
            tokens,
            decode_tokens: None,
            sampled: self.bf16(model.vocab / tp, hidden)?,
            attention: attention.into_iter().map(|(a, _)| a).collect(),
            context_constant_ms: layers * self.prefill_extra_ms(heads, kv_heads, arithmetic_fp8),
            prefill_samples: model.moe.is_none(),
        })
    }

    /// Attention of layers that see `window` tokens (0 for all), and whether its arithmetic is
    /// 8-bit. With an 8-bit cache it is, except under vLLM and where it was not measured so.
    fn attending(
        &self,
        layers: f64,
        heads: u32,
        kv_heads: u32,
        window: u32,
        quant: Quant,
    ) -> Result<(Attending, bool), String> {
        let slice = |arithmetic| Slice {
            arithmetic,
            cache: quant.kv_name(),
            kv_heads: if heads == kv_heads { 0 } else { kv_heads },
            head_dim: self.shape.model.head_dim,
            window,
        };
        let kernel =
            |prefill: bool, arithmetic| self.db.attention(prefill)?.kernel(&slice(arithmetic), heads, &self.db.system);
        let decode = kernel(false, "")?;
        if quant.kv_fp8
            && self.db.backend != Backend::Vllm
            && let Ok(prefill) = kernel(true, "fp8")
        {
            return Ok((Attending::Grouped { layers, prefill, decode }, true));
        }
        Ok((Attending::Grouped { layers, prefill: kernel(true, "bfloat16")?, decode }, false))
    }

    /// A model with latent attention: every layer counts as one of experts, as in the source.
    fn latent(mut self, quant: Quant, moe: MoeSpec, whole_experts: bool) -> Result<Composition, String> {
        if quant.products != Format::Bf16 {
            self.plain = Some(self.db.products(Format::Bf16)?);
        }
        let (model, tp) = (&self.shape.model, self.shape.tp);
        let (layers, hidden, heads) = (f64::from(model.layers), model.hidden, model.heads / tp);
        let Attention::Mla { q_rank, kv_rank, rope_dim, nope_dim, value_dim } = model.attention else {
            return Err("not latent attention".into());
        };
        let wide = f64::from(hidden);
        let mut prefill = vec![(1.0, self.stream(2.0 * wide)), (2.0 * layers, self.stream(8.0 * wide))];
        let mut decode = vec![(1.0, self.stream(2.0 * wide)), (2.0 * layers, self.stream(8.0 * wide))];

        let attention = match self.module(layers, heads, quant) {
            Ok(module) => module,
            Err(no_module) => {
                for tokens in [&mut prefill, &mut decode] {
                    tokens.push((layers, self.product(q_rank + kv_rank + rope_dim, hidden, false)?));
                    tokens.push((layers, self.product(heads * (nope_dim + rope_dim), q_rank, false)?));
                    tokens.push((layers, self.product(hidden, heads * value_dim, false)?));
                }
                prefill.push((layers, self.product(heads * (nope_dim + value_dim), kv_rank, false)?));
                let absorbing = self.db.absorbing()?;
                for pre in [true, false] {
                    let product = absorbing.product(quant.products, pre, heads, model.attention, &self.db.system)?;
                    decode.push((layers, Operator::Absorb(product)));
                }
                self.bare(layers, heads, quant).map_err(|e| format!("{no_module}; {e}"))?
            }
        };

        // In prefill shared experts run before the routed ones, in decode beside them.
        let mut shared = Vec::new();
        if moe.shared_ffn > 0 {
            self.gated_plainly(layers, moe.shared_ffn, &mut prefill)?;
            self.gated_plainly(layers, moe.shared_ffn, &mut shared)?;
        }
        let routed = || -> Result<Operators, String> {
            Ok(vec![
                (layers, Operator::Product(self.bf16(moe.experts, hidden)?)),
                (2.0 * layers, self.all_reduce(tp)?),
                (layers, self.experts(moe, quant, whole_experts, LATENT_SPREAD)?),
            ])
        };
        prefill.extend(routed()?);
        decode.push((1.0, Operator::Overlap(routed()?, shared)));
        if self.db.backend == Backend::Vllm {
            prefill.push((2.0 * layers, self.all_reduce(tp)?));
            decode.push((2.0 * layers, self.all_reduce(tp)?));
        }
        Ok(Composition {
            tokens: prefill,
            decode_tokens: Some(decode),
            sampled: self.bf16(model.vocab / tp, hidden)?,
            attention: vec![attention],
            context_constant_ms: 0.0,
            prefill_samples: true,
        })
    }

    /// As `gated`, but no input counts as quantised already.
    fn gated_plainly(&self, layers: f64, width: u32, into: &mut Operators) -> Result<(), String> {
        let (hidden, tp) = (self.shape.model.hidden, self.shape.tp);
        let (both, one) = (2 * width / tp, width / tp);
        into.push((layers, self.product(both, hidden, false)?));
        into.push((layers, self.stream(2.0 * f64::from(both + one))));
        into.push((layers, self.product(hidden, one, false)?));
        Ok(())
    }

    /// Latent attention measured as a whole, projections included.
    fn module(&self, layers: f64, heads: u32, quant: Quant) -> Result<Attending, String> {
        self.latent_attention(layers, heads, quant, quant.products.name(), true)
    }

    /// Its kernel alone.
    fn bare(&self, layers: f64, heads: u32, quant: Quant) -> Result<Attending, String> {
        self.latent_attention(layers, heads, quant, "", false)
    }

    fn latent_attention(
        &self,
        layers: f64,
        heads: u32,
        quant: Quant,
        products: &'static str,
        is_module: bool,
    ) -> Result<Attending, String> {
        let prefill = self.db.latent(true, is_module)?;
        let kernel = |latent: &mla::Latent, arithmetic| {
            let slice = mla::Slice { arithmetic, cache: quant.kv_name(), products };
            latent.kernel(slice, heads, self.shape.model.attention, &self.db.system)
        };
        let eight_bit = quant.kv_fp8 && self.db.backend != Backend::Vllm;
        let prefill = match eight_bit.then(|| kernel(&prefill, "fp8")) {
            Some(Ok(kernel)) => kernel,
            _ => kernel(&prefill, "bfloat16")?,
        };
        let decode = kernel(&self.db.latent(false, is_module)?, "")?;
        Ok(Attending::Latent { layers, prefill, decode })
    }

    /// Rotary embedding, cache write and, where the model has it, the norm of queries and keys: of
    /// one token, as the source counts them.
    fn prefill_extra_ms(&self, heads: u32, kv_heads: u32, arithmetic_fp8: bool) -> f64 {
        let d = f64::from(self.shape.model.head_dim);
        let (queries, keys) = (f64::from(heads) * d, f64::from(kv_heads) * d);
        let stream = |bytes: f64| self.db.system.stream_ms(bytes);
        let norm = if self.shape.model.qk_norm { 4.0 * stream(2.0 * queries) + 4.0 * stream(2.0 * keys) } else { 0.0 };
        let arithmetic_bytes = if arithmetic_fp8 { 1.0 } else { 2.0 };
        PREFILL_MARGIN * (norm + 2.0 * stream(2.0 * queries + 2.0 * keys) + 2.0 * stream(keys * arithmetic_bytes))
    }
}
