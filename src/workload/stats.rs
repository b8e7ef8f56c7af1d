//! What a workload looks like: rates, burstiness, lengths, and how much of it a cache could save.

use std::fmt;

use serde::Serialize;

use super::Workload;
use super::trie::Trie;
use crate::units::MS_PER_S;

const WINDOW_MS: f64 = 60.0 * MS_PER_S;

/// Statistics of a workload. Rates and burstiness are of first turns, whose arrivals the workload
/// fixes; when later turns come depends on how they are served.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TraceStats {
    /// File name or generator.
    pub source: String,
    /// Of the trace's bytes, or of the generator's settings.
    pub sha256: String,
    pub requests: u64,
    pub sessions: u64,
    pub turns_per_session_mean: f64,
    pub turns_per_session_max: u64,
    /// First to last arrival of a first turn, seconds.
    pub span_s: f64,
    /// Sessions per second: inverse of the mean gap between arrivals; `None` when all come at once.
    pub sessions_per_s: Option<f64>,
    /// Most arrivals in any 60 s, per second over those 60 s.
    pub peak_minute_sessions_per_s: f64,
    /// Coefficient of variation of the gaps between arrivals: 0 even, 1 Poisson, more is burstier;
    /// `None` below two gaps, or when all come at once.
    pub burstiness: Option<f64>,
    /// Prompt lengths (ISL).
    pub input_tokens: Spread,
    /// Output lengths (OSL).
    pub output_tokens: Spread,
    /// Think times before later turns, ms; `None` without such turns.
    pub think_ms: Option<Spread>,
    pub input_tokens_total: u64,
    pub output_tokens_total: u64,
    /// Tokens per block id.
    pub block_tokens: u32,
    pub prompt_blocks: u64,
    pub distinct_blocks: u64,
    /// Share of prompt tokens that an endless cache would hold when the prompt comes, in file
    /// order and by whole blocks: the longest run of leading blocks that an earlier prompt began
    /// with. In a workload that grows, outputs of the session's earlier turns count as well.
    pub ideal_prefix_reuse_ratio: f64,
    /// Whether prompts contain the outputs of the turns before.
    pub grows: bool,
}

/// A distribution; percentiles are nearest rank.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    pub mean: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub max: f64,
}

impl Spread {
    /// `None` for no values. Sorts them.
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let max = *values.last()?;
        let rank = |p: f64| values[((p * values.len() as f64).ceil() as usize).clamp(1, values.len()) - 1];
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        Some(Self { mean, p50: rank(0.50), p90: rank(0.90), p99: rank(0.99), max })
    }
}

/// Statistics of a workload, which has at least one request.
pub fn stats(workload: &Workload) -> TraceStats {
    let requests = &workload.requests;
    let sessions = workload.sessions();
    let mut starts: Vec<f64> = requests.iter().filter(|r| r.turn == 0).map(|r| r.arrival_ms).collect();
    starts.sort_by(f64::total_cmp);
    let span_ms = starts.last().copied().unwrap_or(0.0) - starts.first().copied().unwrap_or(0.0);
    let gaps = starts.len().saturating_sub(1) as f64;
    let spread = |value: fn(&super::Request) -> u32| {
        Spread::of(requests.iter().map(|r| f64::from(value(r))).collect()).unwrap_or(Spread {
            mean: 0.0,
            p50: 0.0,
            p90: 0.0,
            p99: 0.0,
            max: 0.0,
        })
    };
    let total = |value: fn(&super::Request) -> u32| requests.iter().map(|r| u64::from(value(r))).sum::<u64>();
    let input_tokens_total = total(|r| r.input_tokens);
    TraceStats {
        source: workload.source.clone(),
        sha256: workload.sha256.clone(),
        requests: requests.len() as u64,
        sessions: sessions as u64,
        turns_per_session_mean: requests.len() as f64 / sessions.max(1) as f64,
        turns_per_session_max: (0..sessions).map(|s| workload.session(s).len() as u64).max().unwrap_or(0),
        span_s: span_ms / MS_PER_S,
        sessions_per_s: (span_ms > 0.0).then(|| gaps * MS_PER_S / span_ms),
        peak_minute_sessions_per_s: peak_minute(&starts) as f64 * MS_PER_S / WINDOW_MS,
        burstiness: burstiness(&starts),
        input_tokens: spread(|r| r.input_tokens),
        output_tokens: spread(|r| r.output_tokens),
        think_ms: Spread::of(requests.iter().filter(|r| r.turn > 0).map(|r| r.delay_ms).collect()),
        input_tokens_total,
        output_tokens_total: total(|r| r.output_tokens),
        block_tokens: workload.block_tokens,
        prompt_blocks: workload.contents.blocks(),
        distinct_blocks: workload.distinct_blocks().into(),
        ideal_prefix_reuse_ratio: ideal_reuse_tokens(workload) as f64 / input_tokens_total.max(1) as f64,
        grows: workload.grows,
    }
}

/// Most instants within any half-open 60 s.
fn peak_minute(sorted: &[f64]) -> usize {
    let mut first = 0;
    let counts = sorted.iter().enumerate().map(|(last, &now)| {
        while now - sorted[first] >= WINDOW_MS {
            first += 1;
        }
        last + 1 - first
    });
    counts.max().unwrap_or(0)
}

/// Coefficient of variation (of the population) of the gaps.
fn burstiness(sorted: &[f64]) -> Option<f64> {
    let gaps = || sorted.windows(2).map(|w| w[1] - w[0]);
    let count = gaps().count() as f64;
    let mean = gaps().sum::<f64>() / count;
    let variance = gaps().map(|g| (g - mean).powi(2)).sum::<f64>() / count;
    (count >= 2.0 && mean > 0.0).then(|| variance.sqrt() / mean)
}

/// Prompt tokens that an endless cache would hold. An id stands for its content only together with
/// all ids before it, so prefixes are kept as a tree.
fn ideal_reuse_tokens(workload: &Workload) -> u64 {
    let mut trie = Trie::new(&workload.contents);
    let mut generated = vec![0u64; workload.sessions()];
    let mut reused = 0;
    for (index, request) in workload.requests.iter().enumerate() {
        let (_, known) = trie.insert(workload.contents.range(index).start, workload.contents.len_of(index));
        let known = u64::from(known);
        let block_tokens = u64::from(workload.block_tokens);
        let input_tokens = u64::from(request.input_tokens);
        let context = &mut generated[request.session as usize];
        let grown = if workload.grows { *context / block_tokens * block_tokens } else { 0 };
        *context = input_tokens + u64::from(request.output_tokens);
        reused += (known * block_tokens).max(grown).min(input_tokens);
    }
    reused
}

impl fmt::Display for TraceStats {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let share = |x: f64| format!("{:.1} %", 100.0 * x);
        let or = |x: Option<f64>, unit: &str| x.map_or("undefined".to_owned(), |x| format!("{x:.3}{unit}"));
        let mut line = |name: &str, value: String| writeln!(f, "{name:<22}{value}");
        line("source", self.source.clone())?;
        line("sha256", self.sha256.clone())?;
        line("requests", grouped(self.requests))?;
        let turns = format!("{:.2} turns each, at most {}", self.turns_per_session_mean, self.turns_per_session_max);
        line("sessions", format!("{} ({turns})", grouped(self.sessions)))?;
        line("span", format!("{:.1} s", self.span_s))?;
        line("arrival rate", or(self.sessions_per_s, " sessions/s"))?;
        line("peak minute", format!("{:.3} sessions/s", self.peak_minute_sessions_per_s))?;
        line("burstiness", format!("{} (variation of gaps; 1 is Poisson)", or(self.burstiness, "")))?;
        line("input (ISL)", self.input_tokens.text("tokens"))?;
        line("output (OSL)", self.output_tokens.text("tokens"))?;
        if let Some(think) = &self.think_ms {
            line("think time", think.text("ms"))?;
        }
        let totals = (grouped(self.input_tokens_total), grouped(self.output_tokens_total));
        line("total", format!("{} input tokens, {} output tokens", totals.0, totals.1))?;
        let (all, distinct) = (grouped(self.prompt_blocks), grouped(self.distinct_blocks));
        line("prompt blocks", format!("{all} of {} tokens, {distinct} distinct", self.block_tokens))?;
        let with = if self.grows { ", outputs of earlier turns included" } else { "" };
        line("ideal prefix reuse", format!("{} of input tokens{with}", share(self.ideal_prefix_reuse_ratio)))
    }
}

impl Spread {
    fn text(&self, unit: &str) -> String {
        let Self { mean, p50, p90, p99, max } = self;
        format!("mean {mean:.1}, p50 {p50:.0}, p90 {p90:.0}, p99 {p99:.0}, max {max:.0} {unit}")
    }
}

/// A count with a comma every three digits.
fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_rank() {
        let spread = Spread::of((1..=10).rev().map(f64::from).collect()).unwrap();
        assert_eq!(spread, Spread { mean: 5.5, p50: 5.0, p90: 9.0, p99: 10.0, max: 10.0 });
        assert_eq!(Spread::of(Vec::new()), None);
    }

    #[test]
    fn the_peak_minute_is_any_half_open_minute() {
        assert_eq!(peak_minute(&[0.0, 59_999.0, 60_000.0, 119_998.0]), 3);
        assert_eq!(peak_minute(&[0.0, 60_000.0]), 1);
        assert_eq!(peak_minute(&[]), 0);
    }

    #[test]
    fn burstiness_is_zero_for_even_gaps() {
        assert_eq!(burstiness(&[0.0, 10.0, 20.0]), Some(0.0));
        // Gaps 0 and 2: mean 1, standard deviation 1.
        assert_eq!(burstiness(&[0.0, 0.0, 2.0]), Some(1.0));
        assert_eq!(burstiness(&[0.0, 1.0]), None);
        assert_eq!(burstiness(&[5.0, 5.0, 5.0]), None);
    }

    #[test]
    fn counts_are_grouped_by_threes() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"].map(str::to_owned));
    }
}
