//! Request by request against the peer: DynoSim's own answers on the real trace, replayed here with
//! the same polynomial timing. `cargo test --test it conformance -- --nocapture` prints the tables of
//! `docs/conformance.md`.

use std::cell::Cell;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use flate2::read::GzDecoder;
use serde_json::Value;
use servescout::catalog::Backend;
use servescout::timing::Timing;
use servescout::twin::deployment::{
    Charge, Deployment, EngineConfig, LocalPrefill, Pool, RouterConfig, RouterPolicy, Topology, TransferConfig,
};
use servescout::twin::router::{Chooser, Cost, Facts, Kv, Needs, Router};
use servescout::twin::{self, RequestRecord, Role, Status};
use servescout::workload::{self, Workload, WorkloadSpec};

/// One run of the peer: how it was configured and what became of every request.
struct Case {
    name: String,
    workload: Workload,
    deployment: Deployment,
    peer: Vec<Value>,
}

/// The peer's cases; none, and said so, where the reference data is not beside the project.
fn cases(wanted: impl Fn(&str) -> bool) -> Vec<Case> {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let dir = shared.join("reference/dynosim");
    let Ok(files) = std::fs::read_dir(&dir) else {
        eprintln!("SKIPPED: no reference data in {}", dir.display());
        return Vec::new();
    };
    let mut names: Vec<String> = files
        .filter_map(|f| Some(f.ok()?.file_name().to_str()?.strip_suffix(".config.json")?.to_owned()))
        .filter(|name| wanted(name))
        .collect();
    names.sort();
    names.iter().map(|name| Case::load(&dir, name, &shared.join("traces"))).collect()
}

impl Case {
    /// Reads a case.
    fn load(dir: &Path, name: &str, traces: &Path) -> Case {
        let config: Value =
            serde_json::from_reader(File::open(dir.join(format!("{name}.config.json"))).unwrap()).unwrap();
        let pool = |prefix: &str| {
            let engine = &config[format!("{prefix}args")]["engine"];
            let number = |key: &str| engine[key].as_u64().unwrap_or_else(|| panic!("{name}: no {key}")) as u32;
            let engine = EngineConfig {
                backend: match engine["backend"].as_str() {
                    Some("vllm") => Backend::Vllm,
                    Some("sglang") => Backend::Sglang,
                    other => panic!("{name}: backend {other:?}"),
                },
                block_size: number("block_size"),
                gpu_blocks: number("num_gpu_blocks"),
                max_num_seqs: number("max_num_seqs"),
                max_num_batched_tokens: number("max_num_batched_tokens"),
                ..Default::default()
            };
            Pool {
                workers: config[format!("{prefix}workers")].as_u64().unwrap() as u32,
                gpus_per_worker: 1,
                engine,
                timing: Timing::Polynomial { floor_means: true },
            }
        };
        let topology = match config["topology"].as_str() {
            Some("disaggregated") => Topology::Disaggregated {
                prefill: pool("prefill_"),
                decode: pool("decode_"),
                transfer: TransferConfig {
                    gbps: None,
                    latency_ms: 0.0,
                    bytes_per_token: 0.0,
                    charge: Charge::FullPrompt,
                    contention: false,
                },
                local_prefill: LocalPrefill::OFF,
            },
            _ => Topology::Aggregated(pool("")),
        };
        let policy = match config["router"].as_str() {
            Some("round_robin") => RouterPolicy::RoundRobin,
            Some("kv_router") => RouterPolicy::Kv,
            other => panic!("{name}: router {other:?}"),
        };
        let mut spec = WorkloadSpec::trace(trace(traces, &config));
        spec.limit = config["limit"].as_u64().map(|n| n as usize);
        spec.concurrency = config["max_in_flight"].as_u64().map(|n| n as u32);
        spec.speedup = config["arrival_speedup_ratio"].as_f64().unwrap_or(1.0);
        let requests = BufReader::new(GzDecoder::new(File::open(dir.join(format!("{name}.jsonl.gz"))).unwrap()));
        Case {
            name: name.to_owned(),
            workload: workload::load(&spec).unwrap_or_else(|e| panic!("{e}")),
            deployment: Deployment {
                router: RouterConfig { policy, ..Default::default() },
                peer_compat: true,
                ..Deployment::new(topology)
            },
            peer: requests.lines().map(|l| serde_json::from_str(&l.unwrap()).unwrap()).collect(),
        }
    }

    fn simulate(&self, seed: u64) -> Vec<RequestRecord> {
        twin::simulate(&self.deployment, &self.workload, seed, true).requests.unwrap()
    }

    /// Worker that the peer chose, by request.
    fn placements(&self) -> Vec<usize> {
        let mut workers = vec![0; self.peer.len()];
        for peer in &self.peer {
            workers[row(peer)] = peer["worker"].as_u64().unwrap() as usize;
        }
        workers
    }

    /// The same with every request on the worker that the peer chose; and by how many blocks that was
    /// not the cheapest one for our router, at worst.
    fn simulate_on_the_peers_workers(&self) -> (Vec<RequestRecord>, f64) {
        let router = &self.deployment.router;
        let regret = Rc::new(Cell::new(0.0));
        let chooser =
            Recorded { workers: self.placements(), cost: Kv::new(router), costs: Vec::new(), regret: regret.clone() };
        let policy = Router::new(Box::new(chooser), router, Role::Aggregated);
        let outcome = twin::simulate_placed(&self.deployment, &self.workload, vec![Box::new(policy)], 7, true);
        (outcome.requests.unwrap(), regret.get())
    }
}

/// Where the trace lies that a configuration names.
fn trace(traces: &Path, config: &Value) -> PathBuf {
    traces.join(Path::new(config["trace"].as_str().unwrap()).file_name().unwrap())
}

fn row(peer: &Value) -> usize {
    peer["row"].as_u64().unwrap() as usize
}

/// Placements as they were recorded, with the costs of the KV-aware policy beside them.
struct Recorded {
    workers: Vec<usize>,
    cost: Kv,
    costs: Vec<f64>,
    regret: Rc<Cell<f64>>,
}

impl Chooser for Recorded {
    fn needs(&self) -> Needs {
        self.cost.needs()
    }

    fn choose(&mut self, facts: &Facts) -> usize {
        let chosen = self.workers[facts.request as usize];
        self.costs.clear();
        self.cost.costs(facts, &mut self.costs);
        let least = self.costs.iter().copied().fold(f64::INFINITY, f64::min);
        self.regret.set(self.regret.get().max(self.costs[chosen] - least));
        chosen
    }
}

/// How many requests of a case came out as the peer has them.
#[derive(Debug, Default, PartialEq)]
struct Agreement {
    requests: usize,
    /// TTFT and E2E within 1 ms or 0.1%.
    times: usize,
    completed: usize,
    reused: usize,
    preemptions: usize,
    /// Largest difference of a TTFT or an E2E, ms.
    worst_ms: f64,
}

impl Agreement {
    fn of(ours: &[RequestRecord], peer: &[Value]) -> Agreement {
        assert_eq!(ours.len(), peer.len());
        let mut agreement = Agreement { requests: peer.len(), ..Default::default() };
        for peer in peer {
            let ours = &ours[row(peer)];
            let mut equal = true;
            for (ours, field) in [(ours.ttft_ms, "ttft_ms"), (ours.e2e_ms, "e2e_ms")] {
                let peer = peer[field].as_f64().unwrap();
                // Not `>`: a missing time is a difference.
                equal &= (ours - peer).abs() <= (1e-3 * peer).max(1.0);
                agreement.worst_ms = agreement.worst_ms.max((ours - peer).abs());
            }
            let equals = |count: u32, field: &str| usize::from(u64::from(count) == peer[field].as_u64().unwrap());
            agreement.times += usize::from(equal);
            agreement.completed += usize::from((ours.status == Status::Completed) == (peer["status"] == "Completed"));
            agreement.reused += equals(ours.reused_tokens, "reused_input_tokens");
            agreement.preemptions += equals(ours.preemptions, "readmissions");
        }
        agreement
    }

    fn is_complete(&self) -> bool {
        [self.times, self.completed, self.reused, self.preemptions].iter().all(|&n| n == self.requests)
    }
}

const HEAD: &str = "| case | requests | equal times | equal reuse | equal preemptions | largest difference |
|---|---:|---:|---:|---:|---:|
";

/// Compares cases, prints the table, and names those that do not agree in every request.
fn compare(cases: &[Case], simulate: impl Fn(&Case) -> Vec<RequestRecord>) {
    let mut table = String::from(HEAD);
    let mut short = Vec::new();
    for case in cases {
        let a = Agreement::of(&simulate(case), &case.peer);
        let share = |n: usize| format!("{:.2}%", 100.0 * n as f64 / a.requests as f64);
        let (times, reused, preemptions) = (share(a.times), share(a.reused), share(a.preemptions));
        let (name, requests) = (&case.name, a.requests);
        writeln!(table, "| {name} | {requests} | {times} | {reused} | {preemptions} | {:.4} ms |", a.worst_ms).unwrap();
        if !a.is_complete() {
            short.push(format!("{name}: {a:?}"));
        }
    }
    println!("{table}");
    assert!(short.is_empty(), "{}", short.join("\n"));
}

#[test]
fn round_robin_cases_agree_in_every_request() {
    compare(&cases(|name| !name.contains("_kv_")), |case| case.simulate(0));
}

/// Ties go at random in the peer, so its own placements are used; each is one of least cost here.
#[test]
fn kv_routed_cases_agree_in_every_request_on_the_peers_workers() {
    compare(&cases(|name| name.contains("_kv_")), |case| {
        let (records, regret) = case.simulate_on_the_peers_workers();
        assert!(regret < 1e-9, "{}: the peer chose a worker that costs {regret} blocks too many", case.name);
        records
    });
}

/// With ties of our own, the peer's run must look like one of ours: its means and quantiles lie
/// within three standard deviations over seeds.
#[test]
fn the_peers_kv_routed_runs_are_among_ours() {
    let mut table = String::from(
        "| case | mean TTFT, ms | peer | p90 TTFT, ms | peer | reuse | peer |\n|---|---:|---:|---:|---:|---:|---:|\n",
    );
    let mut outliers = Vec::new();
    for case in cases(|name| name.contains("_kv_")) {
        let number = |peer: &Value, field: &str| peer[field].as_f64().unwrap();
        let prompts: f64 = case.peer.iter().map(|p| number(p, "input_length")).sum();
        let summary = |ttft: Vec<f64>, reused: f64| [mean(&ttft), p90(ttft), reused / prompts];
        let peer = summary(
            case.peer.iter().map(|p| number(p, "ttft_ms")).collect(),
            case.peer.iter().map(|p| number(p, "reused_input_tokens")).sum(),
        );
        let runs: Vec<[f64; 3]> = (0..SEEDS)
            .map(|seed| {
                let ours = case.simulate(seed);
                let reused = ours.iter().map(|r| f64::from(r.reused_tokens)).sum();
                summary(ours.iter().map(|r| r.ttft_ms).collect(), reused)
            })
            .collect();
        write!(table, "| {} |", case.name).unwrap();
        for (figure, (&peer, digits)) in peer.iter().zip([1, 1, 4]).enumerate() {
            let values: Vec<f64> = runs.iter().map(|run| run[figure]).collect();
            let (mean, deviation) = (mean(&values), deviation(&values));
            write!(table, " {mean:.digits$} ± {deviation:.digits$} | {peer:.digits$} |").unwrap();
            if (peer - mean).abs() > 3.0 * deviation {
                outliers.push(format!("{}: figure {figure} is {peer}, ours {mean} ± {deviation}", case.name));
            }
        }
        table.push('\n');
    }
    println!("{table}");
    assert!(outliers.is_empty(), "{}", outliers.join("\n"));
}

/// Runs with different ties.
const SEEDS: u64 = 20;

fn deviation(values: &[f64]) -> f64 {
    let mean = mean(values);
    (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (values.len() - 1) as f64).sqrt()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Nearest rank.
fn p90(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(0.9 * values.len() as f64).ceil() as usize - 1]
}
