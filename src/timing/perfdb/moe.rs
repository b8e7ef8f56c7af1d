//! Expert layers: durations over tokens for collected shapes.

use std::collections::{BTreeMap, HashMap};

use super::format::Format;
use super::gemm::along;
use super::rows::Rows;
use super::system::System;

/// Largest pass that TRT-LLM's low-latency kernel is used for, tokens.
const LOW_LATENCY_TOKENS: f64 = 128.0;
const LOW_LATENCY: &str = "moe_torch_flow_min_latency";
const UNGATED: &str = "moe_torch_flow_nongated";

/// A layer of experts and its layout over GPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    pub hidden: u32,
    pub inner: u32,
    pub top_k: u32,
    pub experts: u32,
    /// GPUs that split every expert.
    pub tp: u32,
    /// GPUs that share out whole experts.
    pub ep: u32,
}

type Points = BTreeMap<u32, f64>;

/// All collected shapes of one format and one spread of tokens over experts.
#[derive(Debug, Default)]
pub struct Experts {
    shapes: HashMap<(String, String, Shape), Points>,
    low_latency: HashMap<(String, String, Shape), Points>,
}

impl Experts {
    /// Collects the rows of all sources, the preferred first.
    pub fn new(sources: &[Rows]) -> Experts {
        let mut experts = Experts::default();
        for rows in sources {
            let [hidden, inner, top_k, count, tp, ep, tokens] =
                ["hidden_size", "inter_size", "topk", "num_experts", "moe_tp_size", "moe_ep_size", "num_tokens"]
                    .map(|c| rows.integers(c));
            for row in 0..rows.len() {
                let kernel = rows.text("kernel_source", row);
                let shape = Shape {
                    hidden: hidden[row],
                    inner: inner[row],
                    top_k: top_k[row],
                    experts: count[row],
                    tp: tp[row],
                    ep: ep[row],
                };
                let key = (rows.text("moe_dtype", row).to_owned(), rows.text("distribution", row).to_owned(), shape);
                let table = match kernel {
                    UNGATED => continue,
                    LOW_LATENCY => &mut experts.low_latency,
                    _ => &mut experts.shapes,
                };
                table.entry(key).or_default().entry(tokens[row]).or_insert(rows.latency[row]);
            }
        }
        experts
    }

    /// The layer of a shape under a spread of tokens such as `power_law_1.2`, else an even one.
    ///
    /// # Errors
    /// When the shape was not collected in this format.
    pub fn layer(&self, shape: Shape, format: Format, spread: &str, system: &System) -> Result<Layer, String> {
        let find = |table: &HashMap<(String, String, Shape), Points>| {
            let with = |spread: &str| table.get(&(format.name().to_owned(), spread.to_owned(), shape));
            let points = with(spread).or_else(|| with("uniform"))?;
            Some(points.iter().map(|(&m, &ms)| (f64::from(m), ms)).collect::<Vec<_>>())
        };
        let Shape { hidden, inner, top_k, experts, tp, ep } = shape;
        let rate = system.rate(format.rate()).ok_or_else(|| format!("this GPU has no {} arithmetic", format.name()))?;
        let points = find(&self.shapes).ok_or_else(|| {
            format!(
                "experts in {} of {hidden} x {inner}, {top_k} of {experts}, split over {tp} and shared out over {ep} GPUs, were not measured",
                format.name()
            )
        })?;
        let low_latency =
            if format == Format::Nvfp4 { find(&self.low_latency).unwrap_or_default() } else { Vec::new() };
        Ok(Layer { shape, bytes: format.bytes(), rate, memory_rate: system.memory_rate, points, low_latency })
    }
}

/// A layer of experts, ready to be asked by tokens.
#[derive(Debug)]
pub struct Layer {
    shape: Shape,
    bytes: f64,
    rate: f64,
    memory_rate: f64,
    points: Vec<(f64, f64)>,
    low_latency: Vec<(f64, f64)>,
}

impl Layer {
    /// Duration for `tokens` tokens, ms.
    pub fn ms(&self, tokens: f64) -> f64 {
        let points =
            if tokens <= LOW_LATENCY_TOKENS && !self.low_latency.is_empty() { &self.low_latency } else { &self.points };
        match (points.first(), points.last()) {
            (Some(first), _) if tokens < first.0 => self.ideal_ms(tokens) * first.1 / self.ideal_ms(first.0),
            (_, Some(last)) if tokens > last.0 => self.ideal_ms(tokens) * last.1 / self.ideal_ms(last.0),
            _ => along(points, tokens, |m| self.ideal_ms(m)),
        }
    }

    /// Token counts at which the duration may bend or jump.
    pub fn knots(&self) -> impl Iterator<Item = u32> {
        let low = self.low_latency.iter().filter(|p| p.0 <= LOW_LATENCY_TOKENS).map(|p| p.0 as u32);
        let jump = (!self.low_latency.is_empty()).then_some([LOW_LATENCY_TOKENS as u32, LOW_LATENCY_TOKENS as u32 + 1]);
        self.points.iter().map(|p| p.0 as u32).chain(low).chain(jump.into_iter().flatten())
    }

    /// The roofline, in the whole numbers in which the source counts.
    fn ideal_ms(&self, tokens: f64) -> f64 {
        let whole = |v: f64| v.floor();
        let Shape { hidden, inner, top_k, experts, tp, ep } = self.shape;
        let [hidden, inner, top_k, experts, tp, ep] = [hidden, inner, top_k, experts, tp, ep].map(f64::from);
        let visits = tokens * top_k;
        let operations = whole(whole(visits * hidden * inner * 3.0 * 2.0 / ep) / tp);
        let own = whole(visits / ep);
        let elements = own * hidden * 2.0
            + whole(own * inner * 3.0 / tp)
            + whole(hidden * inner * 3.0 / tp) * whole(experts / ep).min(own);
        (operations / self.rate).max(self.bytes * elements / self.memory_rate) * 1e3
    }
}
