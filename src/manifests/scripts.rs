//! Shell scripts: servers on one machine, and the benchmark that replays the run's own requests.

use std::fmt::Write;

use super::launch::{engine_flags, flags_of};
use super::yaml::comment;
use super::{Candidate, TRACE, dynamo, shell, tiers};
use crate::catalog::Backend;
use crate::twin::deployment::{Role, Topology};
use crate::workload::{Load, Workload};

const HEAD: &str = "#!/usr/bin/env bash\n";

/// `serve.sh`: a server for every worker, on consecutive ports; `None` where servers alone do not
/// make the deployment.
pub(super) fn serve(candidate: &Candidate<'_>) -> Option<String> {
    let pools = candidate.deployment.topology.pools();
    let [(Role::Aggregated, pool)] = pools[..] else { return None };
    let backend = candidate.backend();
    let mut flags =
        engine_flags(candidate.study, candidate.checkpoint, pool, candidate.limits_blocks(Role::Aggregated));
    flags.extend(tiers::alone(pool));
    let start = match backend {
        Backend::Vllm => {
            // `vllm serve` takes the model by its place.
            flags.remove(0);
            "vllm serve"
        }
        Backend::Sglang => "python -m sglang.launch_server",
        Backend::Trtllm => return None,
    };
    let gpus = pool.gpus_per_worker;
    let mut out = String::from(HEAD);
    out += &comment(&format!(
        "Candidate {}: {} x {} GPUs, servers without Kubernetes. Flags of {}.",
        candidate.id,
        pool.workers,
        gpus,
        flags_of(backend)
    ));
    out += &candidate.gap_lines();
    let node = candidate.study.gpu.gpus_per_node;
    if candidate.deployment.topology.gpus() > node {
        out += &comment(&format!(
            "Needs {} GPUs, a {} server has {node}: run the servers that do not fit on other machines.",
            candidate.deployment.topology.gpus(),
            candidate.study.gpu.name
        ));
    }
    if pool.workers > 1 {
        out += &comment(
            "Nothing here places requests on the servers: the router of the candidate is in dynamo.yaml (router.env for a frontend of your own).",
        );
    }
    if candidate.planner.config.is_some() {
        out += &comment(
            "Nothing here adds or takes away servers: the candidate's planner is in dynamo.yaml, these are the servers that it begins with.",
        );
    }
    out.push_str("set -euo pipefail\nPORT=\"${PORT:-8000}\"\n");
    let command = shell::command(start, &flags);
    if pool.workers == 1 {
        let _ = writeln!(out, "exec {command} \\\n  --host 0.0.0.0 --port \"$PORT\"");
        return Some(out);
    }
    let _ = write!(
        out,
        "for worker in $(seq 0 {last}); do\n  CUDA_VISIBLE_DEVICES=$(seq -s, $((worker * {gpus})) $((worker * {gpus} + {gpus} - 1))) \\\n  {command} \\\n  --host 0.0.0.0 --port \"$((PORT + worker))\" &\ndone\nwait\n",
        last = pool.workers - 1,
    );
    Some(out)
}

/// `router.env`: the frontend's environment, for `python -m dynamo.frontend` outside Kubernetes.
pub(super) fn environment(candidate: &Candidate<'_>, dynamo: &str) -> String {
    let mut out = comment(&format!(
        "Router of candidate {}: environment of `python -m dynamo.frontend`, Dynamo {dynamo}.",
        candidate.id
    ));
    out += &candidate.gap_lines();
    for (name, value) in &candidate.router.env {
        let _ = writeln!(out, "{name}={value}");
    }
    out
}

/// `benchmark.sh`: AIPerf over the requests of the run, against a server that is up.
pub(super) fn benchmark(candidate: &Candidate<'_>, workload: &Workload) -> String {
    let study = candidate.study;
    let mut out = String::from(HEAD);
    out += &comment(&format!(
        "Measures candidate {} with AIPerf 0.13: the {} requests that were simulated ({}).",
        candidate.id,
        workload.requests.len(),
        workload.source
    ));
    out += &comment(
        "Start with empty caches (restart the workers) and nothing else on the GPUs; then give what it leaves in measured/ to",
    );
    out += &comment(&format!(
        "`servescout validate RUN --measured {}/measured/profile_export_aiperf.json`.",
        candidate.directory
    ));
    if workload.has_turns() {
        out += &comment(
            "Sessions have several turns: prompts must have the lengths that the trace says, which `validate` checks.",
        );
    }
    out.push_str("set -euo pipefail\ncd \"$(dirname \"$0\")\"\n");
    let frontend = format!("http://{}-frontend:8000", dynamo::deployment_name(&candidate.id));
    let _ = writeln!(out, "URL=\"${{URL:-{frontend}}}\"");
    let mut flags: Vec<String> = Vec::new();
    let mut set = |flag: &str, value: String| flags.extend([flag.to_owned(), value]);
    set("--model", candidate.checkpoint.name.clone());
    set("--tokenizer", candidate.checkpoint.name.clone());
    set("--endpoint-type", "chat".into());
    set("--input-file", format!("../{TRACE}"));
    set("--custom-dataset-type", "mooncake_trace".into());
    set("--prompt-input-tokens-block-size", workload.block_tokens.to_string());
    set("--extra-inputs", "ignore_eos:true".into());
    let bounds = [
        ("time_to_first_token", study.sla.ttft_ms),
        ("inter_token_latency", study.sla.tpot_ms),
        ("request_latency", study.sla.e2e_ms),
    ];
    let goodput: Vec<String> = bounds.iter().filter_map(|(name, ms)| ms.map(|ms| format!("{name}:{ms}"))).collect();
    if !goodput.is_empty() {
        set("--goodput", goodput.join(" "));
    }
    set("--random-seed", study.seed.to_string());
    set("--artifact-dir", "measured".into());
    match workload.load {
        Load::Open => flags.extend(["--fixed-schedule".into(), "--fixed-schedule-auto-offset".into()]),
        Load::Closed { concurrency } => {
            flags.extend(["--no-fixed-schedule".into(), "--concurrency".into(), concurrency.to_string()]);
        }
    }
    let _ = writeln!(out, "{} \\\n  --streaming --url \"$URL\"", shell::command("aiperf profile", &flags));
    out
}

/// Whether the deployment is of one pool.
pub(super) fn is_aggregated(topology: &Topology) -> bool {
    matches!(topology.pools()[..], [(Role::Aggregated, _)])
}
