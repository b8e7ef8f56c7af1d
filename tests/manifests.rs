//! `servescout manifests`: what is written starts what was simulated, and nothing else.

use std::fs;
use std::path::Path;

use serde_json::Value as Json;
use servescout::manifests::{Api, DYNAMO, Options, Written, write};
use servescout::shortlist;
use servescout::space::{Study, parse};
use servescout::workload::load;
use yaml_rust2::{Yaml, YamlLoader};

use crate::cli_common::{arg, run_to, small_search};
use crate::fixture::{TEXT, candidate, evaluation, metrics, run_in};

/// One entry whose knobs are pinned; the files by name.
struct Entry {
    directory: tempfile::TempDir,
    written: Written,
}

impl Entry {
    fn of(study: &Study, options: &Options) -> Entry {
        let directory = tempfile::tempdir().unwrap();
        let only = candidate(study, &[]);
        let metrics = metrics(&[("usd_per_mtok_output", 1.0), ("ttft_p90_ms", 100.0), ("itl_p90_ms", 20.0)]);
        let data = run_in(directory.path(), study, &[evaluation(study, only, metrics, 0.0, None)]);
        let shortlist = shortlist::build(&data, 1);
        shortlist::write(directory.path(), &data, &shortlist).unwrap();
        let workload = load(&study.workload).unwrap();
        let written = write(directory.path(), &data, &workload, &shortlist, options).unwrap();
        Entry { directory, written: written[0].clone() }
    }

    fn text(&self, name: &str) -> String {
        let file = self.written.files.iter().find(|f| f.ends_with(name));
        let file = file.unwrap_or_else(|| panic!("no {name} among {:?}", self.written.files));
        fs::read_to_string(self.directory.path().join(file)).unwrap()
    }

    fn dynamo(&self) -> Yaml {
        YamlLoader::load_from_str(&self.text("dynamo.yaml")).expect("is YAML").remove(0)
    }
}

fn options() -> Options {
    Options { api: Api::V1beta1, checkpoint: None, dynamo: DYNAMO.into() }
}

/// The fixture's study with these knobs instead.
fn pinned(knobs: &str, more: &str) -> Study {
    let (head, tail) = TEXT.split_once("[knobs]").unwrap();
    let (_, tail) = tail.split_once("[objectives]").unwrap();
    let head = head.replace("name = \"Qwen/Qwen3-32B\"", "name = \"Qwen/Qwen3-32B\"\ndtype = \"fp8\"");
    parse(&format!("{head}{more}\n[knobs]\n{knobs}\n[objectives]{tail}"), None, &[]).unwrap_or_else(|e| panic!("{e}"))
}

const VLLM: &str = "aggregated.tp = 2\naggregated.workers = 3\nengine.max_num_seqs = 96\nrouter.policy = \"kv\"\nrouter.overlap_credit = 0.5\nrouter.temperature = 0.25\nengine.admission = \"first_chunk\"";
const SGLANG: &str = "engine.backend = \"sglang\"\naggregated.tp = 4\naggregated.workers = 1\nengine.waiting_order = \"longest_prefix\"\nengine.gpu_blocks = 1000\nengine.schedule_conservativeness = 0.8";

/// The value after a flag in a list of arguments.
fn flag<'a>(arguments: &'a Yaml, name: &str) -> Option<&'a str> {
    let list = arguments.as_vec()?;
    let at = list.iter().position(|a| a.as_str() == Some(name))?;
    list.get(at + 1)?.as_str()
}

fn container(component: &Yaml) -> &Yaml {
    &component["podTemplate"]["spec"]["containers"][0]
}

#[test]
fn an_aggregated_vllm_deployment_says_what_was_simulated() {
    let entry = Entry::of(&pinned(VLLM, "[sla]\nttft_ms = 800\ntpot_ms = 40"), &options());
    let document = entry.dynamo();
    assert_matches_schema(&document);
    let components = document["spec"]["components"].as_vec().unwrap();
    let (frontend, worker) = (&components[0], &components[1]);
    assert_eq!(worker["replicas"].as_i64(), Some(3));
    let args = &container(worker)["args"];
    for (name, value) in [
        ("--model", "Qwen/Qwen3-32B"),
        ("--tensor-parallel-size", "2"),
        ("--quantization", "fp8"),
        ("--max-num-seqs", "96"),
        ("--max-num-batched-tokens", "8192"),
        ("--block-size", "64"),
    ] {
        assert_eq!(flag(args, name), Some(value), "{name}");
    }
    assert_eq!(flag(args, "--num-gpu-blocks-override"), None, "nobody asked for a number of blocks");
    let events: Json = serde_json::from_str(flag(args, "--kv-events-config").unwrap()).unwrap();
    assert_eq!(events["enable_kv_cache_events"], true);
    assert_eq!(container(worker)["resources"]["limits"]["nvidia.com/gpu"].as_str(), Some("2"));
    let env = container(frontend)["env"].as_vec().unwrap();
    let variable = |name: &str| env.iter().find(|v| v["name"].as_str() == Some(name)).and_then(|v| v["value"].as_str());
    assert_eq!(variable("DYN_ROUTER_MODE"), Some("kv"));
    assert_eq!(variable("DYN_ROUTER_KV_OVERLAP_SCORE_CREDIT"), Some("0.5"));
    assert_eq!(variable("DYN_ROUTER_TEMPERATURE"), Some("0.25"));
    assert_eq!(variable("DYN_ROUTER_QUEUE_THRESHOLD"), Some("None"));
    assert_eq!(entry.written.gaps, Vec::<String>::new(), "everything is expressed");
    assert!(entry.text("router.env").contains("\nDYN_ROUTER_PREFILL_LOAD_SCALE=1\n"));

    let serve = entry.text("serve.sh");
    assert!(serve.contains("vllm serve Qwen/Qwen3-32B \\\n  --tensor-parallel-size 2"), "{serve}");
    let benchmark = entry.text("benchmark.sh");
    assert!(benchmark.contains("--input-file ../window.jsonl"), "{benchmark}");
    assert!(benchmark.contains("'time_to_first_token:800 inter_token_latency:40'"));
    for script in ["serve.sh", "benchmark.sh"] {
        let file = entry.written.files.iter().find(|f| f.ends_with(script)).unwrap();
        let checked =
            std::process::Command::new("bash").arg("-n").arg(entry.directory.path().join(file)).status().unwrap();
        assert!(checked.success(), "{script} is no script");
    }
    let rows = fs::read_to_string(entry.directory.path().join("shortlist/window.jsonl")).unwrap();
    assert_eq!(rows.lines().count(), 100);
}

#[test]
fn an_sglang_server_has_sglangs_flags() {
    let entry = Entry::of(&pinned(SGLANG, ""), &options());
    let document = entry.dynamo();
    assert_matches_schema(&document);
    let worker = &document["spec"]["components"][1];
    let args = &container(worker)["args"];
    for (name, value) in [
        ("--model-path", "Qwen/Qwen3-32B"),
        ("--tp-size", "4"),
        ("--max-total-tokens", "64000"),
        ("--schedule-policy", "lpm"),
        ("--schedule-conservativeness", "0.8"),
        ("--chunked-prefill-size", "8192"),
    ] {
        assert_eq!(flag(args, name), Some(value), "{name}");
    }
    assert!(entry.text("serve.sh").contains("exec python -m sglang.launch_server"));
}

#[test]
fn what_no_flag_says_is_named_in_every_file() {
    let knobs = "aggregated.tp = 2\naggregated.workers = 2\nengine.preemption = \"fifo\"\nengine.speculative_tokens = 2\nrouter.policy = \"lmetric\"\nrouter.admission = \"reject\"\nrouter.admission_ttft_ms = 500\nrouter.queue_threshold = 4\nrouter.queue_policy = \"lcfs\"\nrouter.kv_event_lag_ms = 5";
    let entry = Entry::of(&pinned(knobs, ""), &options());
    for knob in [
        "engine.preemption",
        "engine.speculative_tokens",
        "router.policy",
        "router.admission",
        "router.queue_policy",
        "router.kv_event_lag_ms",
    ] {
        assert!(
            entry.written.gaps.iter().any(|gap| gap.contains(knob)),
            "{knob} was dropped: {:?}",
            entry.written.gaps
        );
        for file in ["dynamo.yaml", "serve.sh", "router.env"] {
            let text = entry.text(file);
            assert!(text.lines().any(|l| l.starts_with("# NOT EXPRESSED") && l.contains(knob)), "{file}: {knob}");
        }
    }
}

#[test]
fn how_prompts_are_handed_over_is_said_once() {
    let split = "deployment.mode = \"disaggregated\"\nprefill.tp = 2\nprefill.workers = 1\ndecode.tp = 2\ndecode.workers = 1\nrouter.policy = \"kv\"\nengine.admission = \"first_chunk\"";
    let gaps = |knobs: &str| Entry::of(&pinned(&format!("{split}\n{knobs}"), ""), &options()).written.gaps;
    let plain = gaps("transfer.gbps = 25");
    assert_eq!(plain.len(), 1, "{plain:?}");
    assert!(plain[0].starts_with("transfer.gbps = 25, transfer.latency_ms = 0"), "{plain:?}");
    let more = gaps("decode.local_prefill_tokens = 512\nrouter.decode_policy = \"least_loaded\"");
    for named in ["decode.local_prefill_tokens = 512, ", "router.decode_policy = least_loaded: "] {
        assert!(more.iter().any(|gap| gap.starts_with(named)), "{named}: {more:?}");
    }
    assert_eq!(more.len(), 3, "{more:?}");
}

/// Every knob that a candidate can have is expressed or named, whatever knobs there will be.
#[test]
fn no_knob_is_dropped_in_silence() {
    for knobs in [VLLM, SGLANG] {
        let study = pinned(&format!("{knobs}\nengine.max_model_len = 32768"), "");
        let entry = Entry::of(&study, &options());
        let all = entry.text("dynamo.yaml");
        assert!(all.contains("32768") && entry.written.gaps.iter().all(|g| !g.contains("max_model_len")));
    }
}

#[test]
fn tiers_are_set_up_as_each_server_has_them() {
    let tiers = "kv.host_gib = 64\nkv.disk_gib = 128\nrouter.host_hit_weight = 0.5\nkv.host_gbps = 20";
    let entry = Entry::of(&pinned(&format!("{VLLM}\n{tiers}"), ""), &options());
    let document = entry.dynamo();
    assert_matches_schema(&document);
    let worker = container(&document["spec"]["components"][1]);
    let env = |name: &str| {
        let variable = worker["env"].as_vec().unwrap().iter().find(|v| v["name"].as_str() == Some(name));
        variable.and_then(|v| v["value"].as_str()).map(String::from)
    };
    // Gibibytes as gigabytes.
    assert_eq!(env("DYN_KVBM_CPU_CACHE_GB").as_deref(), Some("69"));
    assert_eq!(env("DYN_KVBM_DISK_CACHE_GB").as_deref(), Some("137"));
    assert_eq!(env("DYN_KVBM_DISABLE_DISK_OFFLOAD_FILTER").as_deref(), Some("true"));
    assert!(flag(&worker["args"], "--kv-transfer-config").is_some_and(|v| v.contains("DynamoConnector")));
    let serve = entry.text("serve.sh");
    assert!(serve.contains("--kv-offloading-size 64") && !serve.contains("DynamoConnector"), "{serve}");
    let router = entry.text("router.env");
    assert!(router.contains("DYN_ROUTER_HOST_CACHE_HIT_WEIGHT=0.5"), "{router}");
    for named in ["kv.host_gbps = 20", "kv.disk_gib in serve.sh"] {
        assert!(entry.written.gaps.iter().any(|gap| gap.contains(named)), "{:?}", entry.written.gaps);
    }
    let shared = format!("{SGLANG}\nkv.host_gib = 64\nkv.host_scope = \"cluster\"");
    let entry = Entry::of(&pinned(&shared, ""), &options());
    let document = entry.dynamo();
    let worker = container(&document["spec"]["components"][1]);
    // Of each of four ranks.
    assert_eq!(flag(&worker["args"], "--hicache-size"), Some("17"));
    assert!(entry.text("serve.sh").contains("--enable-hierarchical-cache"));
    assert!(entry.written.gaps.iter().any(|gap| gap.contains("kv.host_scope = cluster")));
    // Prefill workers hand over besides; decode workers have no tiers.
    let split = "deployment.mode = \"disaggregated\"\nprefill.tp = 2\nprefill.workers = 1\ndecode.tp = 2\n\
                 decode.workers = 1\nengine.backend = \"vllm\"\nkv.host_gib = 64";
    let entry = Entry::of(&pinned(split, ""), &options());
    let document = entry.dynamo();
    assert_matches_schema(&document);
    let connectors = [1, 2].map(|n| {
        let worker = container(&document["spec"]["components"][n]);
        let flags = worker["args"].as_vec().unwrap().iter().filter(|a| a.as_str() == Some("--kv-transfer-config"));
        assert_eq!(flags.count(), 1);
        flag(&worker["args"], "--kv-transfer-config").unwrap().to_owned()
    });
    assert!(connectors[0].contains("DynamoConnector") && connectors[0].contains("NixlConnector"), "{connectors:?}");
    assert!(!connectors[1].contains("DynamoConnector") && connectors[1].contains("NixlConnector"), "{connectors:?}");
    // Without tiers nothing is said of them.
    let plain = Entry::of(&pinned(VLLM, ""), &options());
    assert!(!plain.text("dynamo.yaml").contains("KVBM") && !plain.text("router.env").contains("HOST_CACHE"));
}

/// The configuration of the planner and what it leaves out.
fn planner_of(pool: &str, knobs: &str) -> (Json, Vec<String>) {
    let entry = Entry::of(&pinned(&format!("{pool}\n{knobs}"), "[sla]\nttft_ms = 800"), &options());
    let document = entry.dynamo();
    assert_matches_schema(&document);
    let planner = &document["spec"]["components"][1];
    assert_eq!(planner["type"].as_str(), Some("planner"));
    assert!(container(planner)["image"].as_str().unwrap().contains("dynamo-planner"));
    let config = flag(&container(planner)["args"], "--config").unwrap();
    let gaps = entry.written.gaps.into_iter().filter(|gap| gap.starts_with("planner."));
    (serde_json::from_str(config).unwrap(), gaps.collect())
}

#[test]
fn a_planner_is_a_component_with_its_own_configuration() {
    let (config, gaps) = planner_of(
        VLLM,
        "planner.policy = \"sla\"\nplanner.load_interval_s = 10\nplanner.sensitivity = 0.7\nplanner.max_workers = 4\nplanner.min_workers = 2",
    );
    for (field, value) in [
        ("mode", Json::from("agg")),
        ("backend", "vllm".into()),
        ("optimization_target", "sla".into()),
        ("ttft_ms", 800.0.into()),
        ("itl_ms", 50.0.into()),
        ("enable_load_scaling", true.into()),
        ("enable_throughput_scaling", false.into()),
        ("load_adjustment_interval_seconds", 10.into()),
        ("load_scaling_down_sensitivity", 70.into()),
        ("pre_deployment_sweeping_mode", "none".into()),
        ("decode_engine_num_gpu", 2.into()),
        ("max_gpu_budget", 8.into()),
        ("min_endpoint", 2.into()),
    ] {
        assert_eq!(config[field], value, "{field}: {config}");
    }
    assert_eq!(config.get("throughput_adjustment_interval_seconds"), None, "there is no such loop");
    let only_startup = |gaps: &[String]| gaps.len() == 1 && gaps[0].starts_with("planner.startup_s = 60");
    assert!(only_startup(&gaps), "everything else is expressed: {gaps:?}");

    let split = "deployment.mode = \"disaggregated\"\nprefill.tp = 1\nprefill.workers = 2\ndecode.tp = 2\ndecode.workers = 1\nengine.max_model_len = 10000";
    let custom = "planner.policy = \"load\"\nplanner.thresholds = \"custom\"\nplanner.prefill_up = 0.5\nplanner.prefill_down = 0.05\nplanner.decode_up = 0.9\nplanner.decode_down = 0.07";
    let (config, gaps) = planner_of(split, custom);
    for (field, value) in [
        ("mode", Json::from("disagg")),
        ("optimization_target", "load".into()),
        ("prefill_engine_num_gpu", 1.into()),
        ("decode_engine_num_gpu", 2.into()),
        ("prefill_scale_up_queue_tokens", 5000.into()),
        ("prefill_scale_down_queue_tokens", 500.into()),
        ("decode_scale_up_kv_rate", 90.0.into()),
        ("decode_scale_down_kv_rate", 7.0.into()),
    ] {
        assert_eq!(config[field], value, "{field}: {config}");
    }
    assert!(only_startup(&gaps), "{gaps:?}");
    assert_eq!(planner_of(VLLM, "planner.policy = \"load\"").0["optimization_target"], "throughput");
}

#[test]
fn what_dynamos_planner_has_not_is_named() {
    let (config, gaps) = planner_of(
        VLLM,
        "planner.policy = \"hybrid\"\nplanner.load_interval_s = 2.5\nplanner.throughput_interval_s = 60\nplanner.predictor = \"holt\"\nplanner.headroom = 0.2\nplanner.startup_s = 90\nplanner.cooldown_s = 30\nplanner.confirm_down = 3\nplanner.wait_for_starting = false",
    );
    assert_eq!(config["load_predictor"], "kalman");
    assert_eq!(config["throughput_adjustment_interval_seconds"], 60);
    for named in [
        "planner.policy: the throughput loop",
        "planner.load_interval_s",
        "planner.predictor",
        "planner.headroom = 0.2",
        "planner.startup_s = 90",
        "planner.cooldown_s = 30",
        "planner.confirm_down = 3",
        "planner.wait_for_starting = false",
    ] {
        assert!(gaps.iter().any(|gap| gap.contains(named)), "{named}: {gaps:?}");
    }
    assert_eq!(gaps.len(), 8, "{gaps:?}");
    // Where the number of workers is fixed there is none.
    let fixed = Entry::of(&pinned(&format!("{VLLM}\nplanner.policy = \"off\""), ""), &options());
    assert!(!fixed.text("dynamo.yaml").contains("planner") && fixed.written.gaps.is_empty());
}

#[test]
fn hostile_names_stay_texts() {
    let evil = "x\"; $(touch /tmp/pwned) `id`\nkind: Pod\n# 'q' \\";
    let entry = Entry::of(&pinned(VLLM, ""), &Options { checkpoint: Some(evil.into()), ..options() });
    let document = entry.dynamo();
    assert_matches_schema(&document);
    assert_eq!(flag(&container(&document["spec"]["components"][1])["args"], "--model"), Some(evil));
    // The shell passes the very text on.
    let benchmark = entry.text("benchmark.sh");
    let stub = format!("aiperf() {{ printf '%s' \"$3\"; }}\n{}", benchmark.replace("cd \"$(dirname \"$0\")\"\n", ""));
    let shown = std::process::Command::new("bash").args(["-c", &stub]).output().unwrap();
    assert_eq!(String::from_utf8(shown.stdout).unwrap(), evil);
}

#[test]
fn the_older_api_has_services() {
    let entry = Entry::of(&pinned(VLLM, ""), &Options { api: Api::V1alpha1, ..options() });
    let document = entry.dynamo();
    assert_eq!(document["apiVersion"].as_str(), Some("nvidia.com/v1alpha1"));
    let worker = &document["spec"]["services"]["VllmWorker"];
    assert_eq!(worker["componentType"].as_str(), Some("worker"));
    assert_eq!(worker["resources"]["limits"]["gpu"].as_str(), Some("2"));
    assert_eq!(flag(&worker["extraPodSpec"]["mainContainer"]["args"], "--max-num-seqs"), Some("96"));
}

#[test]
fn the_command_writes_beside_the_shortlist_and_clears_what_is_no_longer_on_it() {
    let directory = tempfile::tempdir().unwrap();
    let run = directory.path().join("run");
    run_to(0, &small_search(&run, &["--budget", "24", "--threads", "2"]));
    let (listed, _) = run_to(0, &["manifests", arg(&run)]);
    assert!(listed.lines().all(|file| Path::new(file).is_file()), "{listed}");
    assert!(listed.lines().filter(|f| f.ends_with("dynamo.yaml")).count() >= 2, "{listed}");
    run_to(0, &["shortlist", arg(&run), "--size", "1"]);
    run_to(0, &["manifests", arg(&run), "--api", "v1alpha1"]);
    let entries = fs::read_dir(run.join("shortlist")).unwrap().filter(|e| e.as_ref().unwrap().path().is_dir()).count();
    assert_eq!(entries, 1, "directories of former entries go");
    let (_, error) = run_to(2, &["manifests", arg(&run), "--dynamo", "a b"]);
    assert!(error.contains("--dynamo"), "{error}");
    let (_, error) = run_to(2, &["manifests", arg(directory.path())]);
    assert!(error.contains("manifest.toml"), "{error}");
}

/// Holds a document against the schema in `tests/fixtures/manifests`.
fn assert_matches_schema(document: &Yaml) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/manifests/dgd-v1beta1.schema.json");
    let schema: Json = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let mut faults = Vec::new();
    check(&to_json(document), &schema, "", &mut faults);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

fn to_json(yaml: &Yaml) -> Json {
    match yaml {
        Yaml::String(text) => Json::String(text.clone()),
        Yaml::Integer(number) => Json::from(*number),
        Yaml::Boolean(flag) => Json::Bool(*flag),
        Yaml::Array(items) => items.iter().map(to_json).collect(),
        Yaml::Hash(map) => map.iter().map(|(k, v)| (k.as_str().unwrap().to_owned(), to_json(v))).collect(),
        other => panic!("{other:?} is in no manifest"),
    }
}

/// The part of JSON Schema that ours uses, and `dns`: a name that Kubernetes takes.
fn check(value: &Json, schema: &Json, path: &str, faults: &mut Vec<String>) {
    let mut fault = |what: String| faults.push(format!("{path}: {what}"));
    let is = match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64(),
        _ => true,
    };
    if !is {
        fault(format!("{value} is no {}", schema["type"]));
    }
    if schema.get("const").is_some_and(|only| only != value) {
        fault(format!("{value} is not {}", schema["const"]));
    }
    if schema["enum"].as_array().is_some_and(|legal| !legal.contains(value)) {
        fault(format!("{value} is none of {}", schema["enum"]));
    }
    if let (Some(least), Some(number)) = (schema["minimum"].as_i64(), value.as_i64())
        && number < least
    {
        fault(format!("{number} is below {least}"));
    }
    if let Some(text) = value.as_str() {
        if schema["maxLength"].as_u64().is_some_and(|most| text.len() as u64 > most) {
            fault(format!("{text} is too long"));
        }
        let is_dns = text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        if schema["dns"] == true && !is_dns {
            fault(format!("{text} is no name"));
        }
    }
    if let Some(items) = value.as_array() {
        let (least, most) = (schema["minItems"].as_u64().unwrap_or(0), schema["maxItems"].as_u64().unwrap_or(u64::MAX));
        if !(least..=most).contains(&(items.len() as u64)) {
            fault(format!("{} items", items.len()));
        }
        items.iter().enumerate().for_each(|(i, item)| check(item, &schema["items"], &format!("{path}[{i}]"), faults));
    }
    if let Some(map) = value.as_object() {
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str) {
            if !map.contains_key(name) {
                faults.push(format!("{path}: {name} is missing"));
            }
        }
        for (key, inner) in map {
            match schema["properties"].get(key) {
                Some(own) => check(inner, own, &format!("{path}.{key}"), faults),
                None if schema["additionalProperties"] == false => faults.push(format!("{path}: {key} is not known")),
                None => {}
            }
        }
    }
}
