//! Problems of the kind that serving poses, small enough that every configuration can be computed
//! and the true frontier is known: mixed and conditional knobs, several basins, cliffs where
//! capacity runs out, resonances, knobs that hardly matter, and the roughness of a finite trace.
//!
//! They are caricatures with constants of their own, meant to compare strategies and to test them,
//! and say nothing about any real system.

use rand::RngExt;

use super::draw::rng;
use super::{Evaluate, Evaluation};
use crate::space::{Candidate, Condition, Domain, Knob, Space, Value};

/// One problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instance {
    /// Chat traffic: one pool or two, a router with a weight, a planner with a resonance, host memory.
    Chat,
    /// Long prompts with shared prefixes: three backends with knobs of their own, pools of unlike
    /// shape, candidates refused for want of GPUs, and a bound on latency.
    Agents,
    /// Batch work: few knobs, wide ranges, a deep narrow basin beside a broad one.
    Batch,
}

impl Instance {
    /// All of them.
    pub const ALL: [Instance; 3] = [Instance::Chat, Instance::Agents, Instance::Batch];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Instance::Chat => "chat",
            Instance::Agents => "agents",
            Instance::Batch => "batch",
        }
    }

    /// Its knobs.
    pub fn space(self) -> Space {
        let mut knobs = Knobs(Space::default());
        match self {
            Instance::Chat => {
                let mode = knobs.names("deployment.mode", &["aggregated", "disaggregated"], vec![], "shape");
                knobs.numbers("engine.tp", &[1, 2, 4, 8], vec![], "shape");
                knobs.counts("aggregated.workers", 16, only(mode, &[0]), "split");
                knobs.counts("prefill.workers", 10, only(mode, &[1]), "split");
                knobs.counts("decode.workers", 12, only(mode, &[1]), "split");
                knobs.numbers("engine.max_num_seqs", &[8, 16, 32, 64, 128, 256], vec![], "limits");
                let policy = knobs.names("router.policy", &["round_robin", "least_loaded", "kv"], vec![], "router");
                knobs.numbers("router.weight", &[0, 1, 2, 3, 4, 6, 8], only(policy, &[2]), "router");
                let planner = knobs.names("planner.policy", &["off", "load"], vec![], "planner");
                knobs.numbers("planner.interval_s", &[5, 15, 30, 60, 120, 300], only(planner, &[1]), "planner");
            }
            Instance::Agents => {
                let mode = knobs.names("deployment.mode", &["aggregated", "disaggregated"], vec![], "shape");
                let backend = knobs.names("engine.backend", &["plain", "radix", "static"], vec![], "shape");
                knobs.numbers("aggregated.tp", &[1, 2, 4, 8], only(mode, &[0]), "shape");
                knobs.counts("aggregated.workers", 14, only(mode, &[0]), "split");
                knobs.numbers("prefill.tp", &[1, 2, 4, 8], only(mode, &[1]), "shape");
                knobs.counts("prefill.workers", 8, only(mode, &[1]), "split");
                knobs.numbers("decode.tp", &[1, 2, 4, 8], only(mode, &[1]), "shape");
                knobs.counts("decode.workers", 8, only(mode, &[1]), "split");
                knobs.numbers("engine.chunk", &[512, 1024, 2048, 4096, 8192], only(backend, &[0, 1]), "limits");
                knobs.numbers("kv.host_gib", &[0, 128, 512, 1024], only(backend, &[0, 1]), "tiers");
                knobs.numbers("router.overlap", &[0, 1, 2, 4, 8, 16], vec![], "router");
            }
            Instance::Batch => {
                knobs.numbers("engine.tp", &[1, 2, 4, 8], vec![], "shape");
                knobs.counts("engine.workers", 24, vec![], "split");
                knobs.numbers("engine.max_num_seqs", &[16, 32, 48, 64, 96, 128, 192, 256, 384, 512], vec![], "limits");
                knobs.numbers("engine.budget", &[1024, 2048, 4096, 8192, 16384, 32768], vec![], "limits");
                let speculative = knobs.names("engine.speculative", &["off", "draft"], vec![], "shape");
                knobs.counts("engine.draft_tokens", 8, only(speculative, &[1]), "shape");
                knobs.names("engine.eviction", &["lru", "lfu"], vec![], "limits");
            }
        }
        knobs.0
    }
}

fn only(knob: usize, levels: &[u32]) -> Vec<Condition> {
    vec![Condition { knob, levels: levels.to_vec() }]
}

struct Knobs(Space);

impl Knobs {
    fn add(&mut self, name: &str, values: Vec<Value>, ordered: bool, conditions: Vec<Condition>, block: &str) -> usize {
        let log = ordered && values.iter().all(|v| v.as_f64().is_some_and(|v| v > 0.0));
        let domain = Domain { values, ordered, log };
        self.0.knobs.push(Knob { name: name.into(), domain, conditions, block: block.into() });
        self.0.knobs.len() - 1
    }

    fn names(&mut self, name: &str, values: &[&str], conditions: Vec<Condition>, block: &str) -> usize {
        self.add(name, values.iter().map(|&v| Value::Text(v.into())).collect(), false, conditions, block)
    }

    fn numbers(&mut self, name: &str, values: &[i64], conditions: Vec<Condition>, block: &str) -> usize {
        self.add(name, values.iter().map(|&v| Value::Int(v)).collect(), true, conditions, block)
    }

    fn counts(&mut self, name: &str, most: i64, conditions: Vec<Condition>, block: &str) -> usize {
        self.numbers(name, &(1..=most).collect::<Vec<_>>(), conditions, block)
    }
}

/// Requests a second, and tokens of a request.
#[derive(Clone, Copy, Debug)]
struct Traffic {
    rate: f64,
    input: f64,
    output: f64,
}

impl Traffic {
    /// Other traffic of the same kind: each figure times something between 0.6 and 1.7.
    fn varied(self, variant: u64) -> Self {
        let mut rng = rng(variant, "traffic", 0);
        let mut factor = || (0.6_f64.ln() + rng.random::<f64>() * (1.7_f64 / 0.6).ln()).exp();
        Traffic { rate: self.rate * factor(), input: self.input * factor(), output: self.output * factor() }
    }
}

/// Cost, latency, and throughput negated; or a refusal.
type Computed = Result<[f64; 3], String>;

impl Instance {
    /// The values of a candidate's knobs: numbers as they are, names by level, NaN where absent.
    fn values(self, space: &Space, candidate: &Candidate) -> Vec<f64> {
        (0..space.knobs.len())
            .map(|k| {
                let level = f64::from(candidate.levels[k]);
                space.value(candidate, k).map_or(f64::NAN, |v| v.as_f64().unwrap_or(level))
            })
            .collect()
    }

    fn compute(self, traffic: Traffic, x: &[f64]) -> Computed {
        match self {
            Instance::Chat => chat(traffic, x),
            Instance::Agents => agents(traffic, x),
            Instance::Batch => batch(traffic, x),
        }
    }

    /// The traffic that it is named for.
    fn traffic(self) -> Traffic {
        let (rate, input, output) = match self {
            Instance::Chat => (11.0, 1800.0, 260.0),
            Instance::Agents => (3.2, 14_000.0, 420.0),
            Instance::Batch => (40.0, 900.0, 520.0),
        };
        Traffic { rate, input, output }
    }

    /// How rough a finite trace makes the objectives, as relative half widths.
    fn roughness(self) -> [f64; 3] {
        match self {
            Instance::Chat => [0.003, 0.02, 0.004],
            Instance::Agents => [0.006, 0.012, 0.008],
            Instance::Batch => [0.004, 0.008, 0.002],
        }
    }
}

/// Mean waiting time over service time of a queue with some servers (Sakasegawa's approximation),
/// and beyond its capacity a backlog that grows over the length of the trace.
fn waiting(load: f64, servers: f64, backlog: f64) -> f64 {
    let within = load.min(0.98);
    within.powf((2.0 * (servers + 1.0)).sqrt() - 1.0) / (servers * (1.0 - within)) + backlog * (load - 0.98).max(0.0)
}

/// Falls from 1 to 0 as a ratio passes 1: the share of requests within a limit.
fn within(ratio: f64, steepness: f64) -> f64 {
    1.0 / (1.0 + (steepness * ratio.ln()).exp())
}

fn chat(traffic: Traffic, x: &[f64]) -> Computed {
    let [mode, tp, aggregated, prefill, decode, seqs, policy, weight, planner, interval] = *x else { unreachable!() };
    let Traffic { rate, input, output } = traffic;
    // The router trades prefix hits against balance.
    let (hit, imbalance) = match policy as u32 {
        0 => (0.18, 1.12),
        1 => (0.15, 1.03),
        _ => (0.62 - 0.44 * (-0.55 * weight).exp(), 1.02 + 0.006 * weight * weight),
    };
    let fresh = input * (1.0 - hit);
    let prefill_rate = 5200.0 * tp.powf(0.82);
    let (workers, pools) = if mode == 0.0 { (aggregated, aggregated) } else { (prefill + decode, decode) };
    // Tokens of context that fit beside the weights.
    let room = (tp * 80.0 - 52.0).max(6.0) * 3400.0;
    let step_at = |batch: f64| (0.0075 + 0.0245 / tp.powf(0.9) + 0.00021 * batch / tp.powf(0.7)) * imbalance;
    // A few turns towards the batch that the load itself makes.
    let mut batch: f64 = 8.0;
    for _ in 0..12 {
        let interference = if mode == 0.0 { rate / pools * fresh / prefill_rate } else { 0.0 };
        let step = step_at(batch) / (1.0 - interference.min(0.9));
        batch = 0.5 * batch + 0.5 * (rate / pools * output * step).min(seqs);
    }
    let interference = if mode == 0.0 { rate / pools * fresh / prefill_rate } else { 0.0 };
    let step = step_at(batch) / (1.0 - interference.min(0.9));
    // Recomputation sets in where contexts do not fit.
    let pressure = batch * (input + 0.5 * output) / room;
    let thrash = 1.0 + 2.4 * (pressure - 0.9).max(0.0).powf(1.3);
    let slots = rate * output * step * thrash / (pools * seqs);
    let prefill_load = if mode == 0.0 {
        rate * fresh / (prefill_rate * aggregated) + 0.35 * slots
    } else {
        rate * fresh / (prefill_rate * prefill)
    };
    let servers = if mode == 0.0 { aggregated } else { prefill };
    let service = fresh / prefill_rate;
    let transfer = if mode == 0.0 { 0.0 } else { 0.035 + 0.012 * tp.ln() };
    let queue = service * imbalance * waiting(prefill_load * imbalance, servers, 400.0)
        + output * step * waiting(slots * imbalance, pools * seqs, 300.0);
    let mut latency = transfer + service + queue * 1.8 + output * step * thrash;
    let mut gpus = workers * tp;
    if planner == 1.0 {
        // Scaling saves GPUs where there is slack; a slow planner misses bursts, a fast one
        // flaps, and one near the traffic's own period swings against it.
        let slack = (1.0 - prefill_load.max(slots)).clamp(0.0, 0.75);
        gpus *= 1.0 - 0.62 * slack * (-interval / 400.0).exp();
        let resonance = (-((interval / 60.0).ln() / 0.35).powi(2)).exp();
        latency *= 1.0 + 0.04 * (15.0 / interval) + 0.0007 * interval + 0.85 * resonance;
    }
    let served = rate * (1.0 / prefill_load.max(slots).max(1.0));
    let good = 0.04 + 0.96 * within(latency / 16.0, 9.0);
    let cost = gpus * 2.9 / 3600.0 / (served * output * good) * 1e6;
    let capacity = rate * output / prefill_load.max(slots).max(0.02);
    Ok([cost, latency, -capacity])
}

fn agents(traffic: Traffic, x: &[f64]) -> Computed {
    let [mode, backend, tp, workers, prefill_tp, prefills, decode_tp, decodes, chunk, host, overlap] = *x else {
        unreachable!()
    };
    let Traffic { rate, input, output } = traffic;
    let (prefill_tp, prefills, decode_tp, decodes) =
        if mode == 0.0 { (tp, workers, tp, workers) } else { (prefill_tp, prefills, decode_tp, decodes) };
    let gpus = if mode == 0.0 { tp * workers } else { prefill_tp * prefills + decode_tp * decodes };
    if gpus > 48.0 {
        return Err(format!("needs {gpus} GPUs, 48 are there"));
    }
    let fixed = backend == 2.0;
    let (chunk, host) = if fixed { (8192.0, 0.0) } else { (chunk, host) };
    // Prefixes live on the GPU, or in host memory at a price; the radix backend keeps more.
    let room = (decode_tp * decodes * 34.0 + if backend == 1.0 { 60.0 } else { 0.0 }) / 420.0;
    let kept = (room / (1.0 + room)) * [0.72, 0.86, 0.5][backend as usize] + 0.22 * (host / (host + 300.0));
    let hit = kept.min(0.93) * (1.0 - 0.75 * (-0.4 * overlap).exp());
    let imbalance = 1.0 + 0.0035 * overlap.powf(1.6) / (1.0 + 0.1 * decodes);
    let fresh = input * (1.0 - hit) + 0.0009 * host * hit * 300.0;
    let quick: f64 = [1.0, 0.94, 1.31][backend as usize];
    let efficiency = chunk / (chunk + 380.0) * (1.0 - 0.05 * (chunk / 8192.0).powi(2));
    let prefill_rate = 8800.0 * prefill_tp.powf(0.88) * efficiency * quick.sqrt();
    let service = fresh / prefill_rate;
    let shared = if mode == 0.0 { rate * fresh / (prefill_rate * workers) } else { 0.0 };
    // Large chunks stall the decodes of a shared worker.
    let stall = if mode == 0.0 { shared * (0.6 + chunk / 5200.0) } else { 0.0 };
    let mut batch: f64 = 4.0;
    let step_at = |batch: f64| (0.009 + 0.028 / decode_tp.powf(0.8) + 0.0009 * batch / decode_tp.powf(0.75)) / quick;
    for _ in 0..12 {
        batch = 0.5 * batch + 0.5 * (rate / decodes * output * step_at(batch) * (1.0 + stall)).min(160.0);
    }
    let step = step_at(batch) * (1.0 + stall);
    let space = (decode_tp * 62.0 - 40.0).max(5.0) * 1500.0;
    let pressure = batch * (input + output) / space;
    let reserve = if fixed { 1.25 } else { 1.0 };
    let thrash = 1.0 + 1.6 * (pressure * reserve - 0.95).max(0.0);
    let load = (rate * fresh * imbalance / (prefill_rate * prefills)).max(batch * pressure / 160.0);
    let transfer = if mode == 0.0 { 0.0 } else { 0.25 + 0.1 * (prefill_tp / decode_tp).ln().abs() };
    let latency =
        transfer + service * (1.0 + 2.0 * waiting(load, prefills, 500.0)) + output * step * thrash * imbalance;
    let good = 0.03 + 0.97 * within(latency / 24.0, 12.0);
    let cost = gpus * 3.7 / 3600.0 / (rate * good / load.max(1.0)) * 1e3;
    let capacity = rate / load.max(0.02);
    Ok([cost, latency, -capacity])
}

fn batch(traffic: Traffic, x: &[f64]) -> Computed {
    let [tp, workers, seqs, budget, speculative, drafts, eviction] = *x else { unreachable!() };
    let Traffic { rate, input, output } = traffic;
    let room = (tp * 74.0 - 66.0).max(3.0) * 5200.0;
    // Accepted draft tokens fall off; drafting costs more in large batches.
    let gain = if speculative == 1.0 { (1.0 - 0.72_f64.powf(drafts + 1.0)) / 0.28 } else { 1.0 };
    let draft_cost = if speculative == 1.0 { 0.0011 * drafts } else { 0.0 };
    let verify = if speculative == 1.0 { 1.0 + drafts } else { 1.0 };
    let step_at =
        |b: f64| 0.006 + 0.034 / tp.powf(0.93) + (0.00009 * b * verify + 2e-7 * b * b) / tp.powf(0.6) + draft_cost;
    let mut running: f64 = 16.0;
    for _ in 0..16 {
        running = 0.5 * running + 0.5 * (rate / workers * output * step_at(running) / gain).min(seqs);
    }
    let pressure = running * (input + 0.5 * output) / room;
    let reuse = if eviction == 1.0 { 0.22 } else { 0.2 + 0.05 * (1.0 - pressure.min(1.0)) };
    let thrash = 1.0 + 3.0 * (pressure - 0.85).max(0.0);
    let prefill_share = rate / workers * input * (1.0 - reuse) / (14_500.0 * tp.powf(0.85) * budget / (budget + 900.0));
    // One shape fits the kernels: a deep and narrow basin.
    let resonance = (-((running / 46.0).ln() / 0.22).powi(2) - (2.0 * (tp.log2() - 1.0)).powi(2)).exp();
    let step = step_at(running) / gain / (1.0 - prefill_share.min(0.95)) * thrash * (1.0 - 0.4 * resonance)
        + 0.000_000_12 * budget;
    let load = (rate * output * step / (workers * seqs)).max(prefill_share);
    let latency = input / (14_500.0 * tp.powf(0.85)) + output * step * (1.0 + 1.5 * waiting(load, workers, 300.0));
    let cost = tp * workers * 2.2 / 3600.0 / (rate * output / load.max(1.0)) * 1e6;
    let capacity = rate * output / load.max(0.02);
    Ok([cost, latency, -capacity])
}

/// An instance with its space, over the first objectives.
#[derive(Clone, Debug)]
pub struct Problem {
    instance: Instance,
    space: Space,
    objectives: usize,
    variant: u64,
    traffic: Traffic,
}

impl Problem {
    /// With two objectives (cost, latency) or three (and capacity).
    ///
    /// # Panics
    /// With any other number of objectives.
    pub fn new(instance: Instance, objectives: usize) -> Self {
        Self::varied(instance, objectives, 0)
    }

    /// The same under other traffic and with other roughness, so that its front lies elsewhere;
    /// variant 0 is the instance itself. A strategy that was tuned on that can be judged on these.
    ///
    /// # Panics
    /// With other than two or three objectives.
    pub fn varied(instance: Instance, objectives: usize, variant: u64) -> Self {
        assert!((2..=3).contains(&objectives), "an instance has two or three objectives");
        let traffic = if variant == 0 { instance.traffic() } else { instance.traffic().varied(variant) };
        Problem { instance, space: instance.space(), objectives, variant, traffic }
    }

    /// Its space.
    pub fn space(&self) -> &Space {
        &self.space
    }

    /// The objectives of every feasible configuration, row by row.
    pub fn points(&self) -> Vec<f64> {
        let all = self.space.enumerate().map(|candidate| self.evaluate(&candidate));
        all.filter(Evaluation::is_feasible).flat_map(|e| e.objectives).collect()
    }
}

impl Evaluate for Problem {
    fn objectives(&self) -> usize {
        self.objectives
    }

    fn evaluate(&self, candidate: &Candidate) -> Evaluation {
        let m = self.objectives;
        let computed = self.instance.compute(self.traffic, &self.instance.values(&self.space, candidate));
        let candidate = candidate.clone();
        match computed {
            Err(reason) => Evaluation::refused(candidate, m, 0, reason),
            Ok(values) => {
                let rough = |k: usize| {
                    1.0 + self.instance.roughness()[k] * signed_unit(&candidate, k as u64 + 8 * self.variant)
                };
                let objectives: Vec<f64> = (0..m).map(|k| values[k] * rough(k)).collect();
                // Only the second instance bounds its latency.
                let limit = if self.instance == Instance::Agents { 40.0 } else { f64::INFINITY };
                let violation = (objectives[1] / limit - 1.0).max(0.0);
                let reason = (violation > 0.0).then(|| format!("latency {:.1} s is above {limit} s", objectives[1]));
                Evaluation { violation, reason, ..Evaluation::plain(candidate, objectives) }
            }
        }
    }
}

/// A number in [-1, 1) that looks random and depends on the candidate alone (FNV-1a, then the
/// finaliser of SplitMix64).
fn signed_unit(candidate: &Candidate, salt: u64) -> f64 {
    let mut h = candidate
        .levels
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64 ^ salt, |h, &l| (h ^ u64::from(l)).wrapping_mul(0x100_0000_01b3));
    h = (h ^ (h >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    h = (h ^ (h >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    h ^= h >> 31;
    (h >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frontier::nondominated;

    /// What the module promises of them: size, basins, refusals.
    #[test]
    fn instances_are_of_the_kind() {
        for instance in Instance::ALL {
            let problem = Problem::new(instance, 2);
            let size = problem.space().size();
            assert!((20_000.0..1e6).contains(&size), "{}: {size}", instance.name());
            let feasible: Vec<Evaluation> =
                problem.space().enumerate().map(|c| problem.evaluate(&c)).filter(Evaluation::is_feasible).collect();
            assert_eq!(feasible.len() < size as usize, instance == Instance::Agents);
            let points: Vec<f64> = feasible.iter().flat_map(|e| e.objectives.clone()).collect();
            assert!(points.iter().all(|v| v.is_finite() && *v > 0.0));
            let front = nondominated(&points, 2);
            assert!(front.len() > 20, "{}: {} points", instance.name(), front.len());
            // The unordered first choices all appear on it.
            let names: Vec<usize> =
                (0..problem.space().knobs.len()).filter(|&k| !problem.space().knobs[k].domain.ordered).collect();
            let shared = names.iter().any(|&k| {
                let first = feasible[front[0]].candidate.levels[k];
                front.iter().any(|&i| feasible[i].candidate.levels[k] != first)
            });
            assert!(shared, "{}: one choice rules the whole front", instance.name());
        }
    }
}
