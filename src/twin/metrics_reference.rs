//! `docs/metrics.md`: each metric's definition, and what other tools call the same quantity.

use std::fmt::Write;

use super::metrics::METRICS;

/// What other tools call a quantity; empty where they do not report it.
#[derive(Clone, Copy, Debug)]
struct PeerNames {
    /// Our name; `*` stands for the statistic.
    ours: &'static str,
    /// AIPerf 0.13, `profile_export_aiperf.json`.
    aiperf: &'static str,
    /// `vllm bench serve --save-result`.
    vllm: &'static str,
    /// GuideLLM 0.8, `benchmarks.json`, under `metrics.<name>.successful`.
    guidellm: &'static str,
    /// AIConfigurator's tables.
    aiconfigurator: &'static str,
    /// What differs besides the name.
    differs: &'static str,
}

const NONE: PeerNames = PeerNames { ours: "", aiperf: "", vllm: "", guidellm: "", aiconfigurator: "", differs: "" };

/// Quantities that at least one other tool reports.
const PEERS: &[PeerNames] = &[
    PeerNames {
        ours: "ttft_*_ms",
        aiperf: "time_to_first_token",
        vllm: "*_ttft_ms",
        guidellm: "time_to_first_token_ms",
        aiconfigurator: "ttft",
        differs: "All measure from dispatch; ours from arrival, which in an open loop includes the router's queue. AIConfigurator's is an analytic estimate of the mean.",
    },
    PeerNames {
        ours: "tpot_*_ms",
        aiperf: "inter_token_latency",
        vllm: "*_tpot_ms",
        guidellm: "inter_token_latency_ms",
        aiconfigurator: "tpot",
        differs: "Per request, without the first token. What AIPerf and GuideLLM call inter-token latency is this, not `itl`. GuideLLM's `time_per_output_token_ms` is another quantity: E2E over all output tokens, (ttft + tpot (n - 1)) / n.",
    },
    PeerNames {
        ours: "itl_*_ms",
        vllm: "*_itl_ms",
        differs: "Every gap between tokens, pooled: a long answer counts more than a short one, so its mean is not that of `tpot`.",
        ..NONE
    },
    PeerNames {
        ours: "e2e_*_ms",
        aiperf: "request_latency",
        vllm: "*_e2el_ms",
        guidellm: "request_latency",
        aiconfigurator: "request_latency",
        differs: "GuideLLM's is in seconds. vLLM writes it only with `--percentile-metrics ...,e2el`.",
    },
    PeerNames {
        ours: "output_tokens_per_s",
        aiperf: "output_token_throughput",
        vllm: "output_throughput",
        guidellm: "output_tokens_per_second",
        aiconfigurator: "",
        differs: "",
    },
    PeerNames {
        ours: "input_tokens_per_s",
        vllm: "total_input_tokens / duration",
        differs: "vLLM's `total_token_throughput` is input and output together.",
        ..NONE
    },
    PeerNames {
        ours: "output_tokens_per_s_per_gpu",
        aiconfigurator: "tokens/s/gpu",
        differs: "Ours divides by the time-averaged GPUs in use; AIConfigurator's `tokens/s/gpu_cluster` by the whole budget, idle leftovers included.",
        ..NONE
    },
    PeerNames {
        ours: "tokens_per_s_per_user",
        aiperf: "output_token_throughput_per_user",
        aiconfigurator: "tokens/s/user",
        differs: "Mean over requests of 1000 / TPOT, as AIPerf; AIConfigurator's is 1000 / mean TPOT, which is never more.",
        ..NONE
    },
    PeerNames {
        ours: "requests_per_s",
        aiperf: "request_throughput",
        vllm: "request_throughput",
        guidellm: "requests_per_second",
        aiconfigurator: "req/s",
        differs: "",
    },
    PeerNames {
        ours: "goodput_rps",
        aiperf: "goodput",
        vllm: "request_goodput",
        differs: "Good requests per second. Dynamo's simulator calls good output tokens per second goodput: that is `goodput_tokens_per_s`.",
        ..NONE
    },
    PeerNames { ours: "sla_attainment", aiperf: "good_request_fraction", differs: "", ..NONE },
    PeerNames { ours: "completed", aiperf: "request_count", vllm: "completed", differs: "", ..NONE },
    PeerNames {
        ours: "rejected",
        aiperf: "error_request_count",
        vllm: "failed",
        differs: "Theirs count every kind of error; ours only requests that an engine refuses.",
        ..NONE
    },
    PeerNames {
        ours: "duration_s",
        aiperf: "benchmark_duration",
        vllm: "duration",
        differs: "Ours ends with the last completion.",
        ..NONE
    },
];

const INTRODUCTION: &str = "\
<!-- Made from src/twin/metrics.rs and src/twin/metrics_reference.rs: UPDATE_DOCS=1 cargo test --test it docs -->

# Metrics

One row per metric, in the order of the archive's columns and of `replay --json`. A metric that does
not apply to a run (goodput without `[sla]`, token gaps when every answer has one token) is null, and
a candidate whose objective does not apply is infeasible.

Conventions: times start at a request's arrival, in a closed loop at its admission. Percentiles are
nearest rank over completed requests: of n sorted values the one at index round((n - 1) q), halves
away from zero; those of `itl` come from a histogram whose buckets are 0.2 % wide. Rates divide by the time
from the first arrival to the last completion. A rejected or unfinished request is counted under that
name and in `sla_attainment`, and is in no latency. Cost is time-integrated GPUs times the price.

| metric | unit | better | definition |
|---|---|---|---|
";

const PEERS_INTRODUCTION: &str = "
## The same quantity in other tools

`*` stands for the statistic: ours are `mean`, `p50`, `p90`, `p95`, `p99`; AIPerf has them as fields
`avg`, `p50` ..; vLLM writes `mean`, `median`, `p99` and what `--metric-percentiles` adds; GuideLLM
has `mean`, `median` and `percentiles.p50` ... Percentiles of those tools interpolate between ranks,
so that small samples differ. AIConfigurator gives one analytic value.

| ours | AIPerf | vLLM bench | GuideLLM | AIConfigurator | what differs |
|---|---|---|---|---|---|
";

/// The page's text. `tests/docs.rs` keeps the file equal to it.
pub fn metrics_markdown() -> String {
    let mut page = INTRODUCTION.to_owned();
    for metric in METRICS {
        let better = if metric.higher_is_better { "higher" } else { "lower" };
        let _ = writeln!(page, "| `{}` | {} | {better} | {} |", metric.name, metric.unit, metric.definition);
    }
    page.push_str(PEERS_INTRODUCTION);
    let name = |text: &str| if text.is_empty() { String::new() } else { format!("`{text}`") };
    for peer in PEERS {
        let names = [peer.ours, peer.aiperf, peer.vllm, peer.guidellm, peer.aiconfigurator].map(name);
        let _ = writeln!(page, "| {} | {} |", names.join(" | "), peer.differs);
    }
    page.push_str(
        "\nCost, prefix reuse, preemptions, recomputed tokens and KV use have no counterpart in these result\n\
         files.\n\n\
         Sources: AIPerf 0.13 (its JSON export schema), vLLM (`vllm bench serve`), GuideLLM 0.8 (`request_stats.py`),\n\
         AIConfigurator 0.12 (its result tables).\n",
    );
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_ours_is_a_metric() {
        for peer in PEERS {
            let known = match peer.ours.split_once('*') {
                Some((before, after)) => {
                    METRICS.iter().any(|m| m.name.starts_with(before) && m.name.ends_with(after) && m.name != peer.ours)
                }
                None => METRICS.iter().any(|m| m.name == peer.ours),
            };
            assert!(known, "{}", peer.ours);
        }
    }
}
