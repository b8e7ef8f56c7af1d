//! Input that means harm: what steers a terminal, climbs out of a directory, breaks out of a page or a
//! script, or is larger than anything is. Refused in a short message, or shown as text.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use servescout::catalog::Backend;
use servescout::timing::perfdb::PerfDb;
use yaml_rust2::YamlLoader;

use crate::cli_common::{arg, copy_directory, run, run_to, text};

const ESCAPE: &str = "\u{1b}[31m\u{9b}1m\u{202e}";

/// A study of one GPU type, without workload, knobs and objectives.
const HEAD: &str = r#"
[study]
name = "hostile"
[model]
name = "Qwen/Qwen3-32B"
[hardware]
gpu = "h200_sxm"
max_gpus = 64
usd_per_gpu_hour = 3.5
"#;

/// Nothing that a terminal obeys.
fn assert_harmless(said: &str, what: &str) {
    let steers = |c: char| (c.is_control() && c != '\n' && c != '\t') || ('\u{202a}'..='\u{202e}').contains(&c);
    assert!(!said.contains(steers), "{what}: {said:?}");
}

fn config(directory: &Path, name: &str, more: &str) -> PathBuf {
    let path = directory.join(name);
    let text = format!(
        r#"{HEAD}[workload.synthetic]
sessions = 20
input_tokens = 300
output_tokens = 20
arrivals = {{ kind = "poisson", rate_per_s = 5.0 }}
[objectives]
minimize = ["usd_per_mtok_output", "ttft_p90_ms"]
[knobs]
aggregated.tp = 2
aggregated.workers = 2
{more}
"#
    );
    fs::write(&path, text).unwrap();
    path
}

/// Every place where text of the user's comes back in a message.
#[test]
fn no_text_steers_the_terminal() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let file = |name: &str, content: &str| {
        fs::write(at(name), content).unwrap();
        at(name).to_str().unwrap().to_owned()
    };
    let row = r#"{"timestamp":0,"input_length":60,"output_length":5"#;
    let sound = config(directory.path(), "sound.toml", "");
    let sound = arg(&sound);
    let set = |value: &str| vec!["check".into(), sound.into(), "--set".into(), value.into()];
    let csv = format!("id,{ESCAPE},ttft_p90_ms\n{ESCAPE},1,5\n");
    let cases: Vec<(i32, Vec<String>)> = vec![
        (2, vec!["check".into(), at(&format!("no{ESCAPE}file")).to_str().unwrap().into()]),
        (2, vec!["check".into(), file(&format!("a{ESCAPE}file.toml"), "name = 5\n")]),
        (2, vec!["check".into(), file("raw.toml", &format!("[study]\nname = \"{ESCAPE}\"\n"))]),
        (2, vec!["check".into(), file("key.toml", &format!("[study]\n\"{ESCAPE}\" = 1\n"))]),
        (2, set(&format!("model.name=\"x{ESCAPE}\""))),
        (2, set("model.name=\"x\\u001b[31m\"")),
        (2, set("hardware.gpu=\"x\\u001b[31m\"")),
        (2, set("study.name=\"x\\u001b[31m\"")),
        (2, set("router.policy=\"x\\u001b[31m\"")),
        (2, set("workload.trace=\"x\\u001b[31m\"")),
        (2, set(&format!("{ESCAPE}=3"))),
        (0, vec!["trace".into(), "stats".into(), file("field.jsonl", &format!("{row},\"x\\u001b[31m\":1}}\n"))]),
        (
            0,
            vec![
                "trace".into(),
                "stats".into(),
                file("id.jsonl", &format!("{row},\"session_id\":\"\\u001b[31m\"}}\n")),
            ],
        ),
        (2, vec!["trace".into(), "stats".into(), file("head.csv", &format!("{ESCAPE},b,c\n1,2,3\n"))]),
        (2, vec!["compare".into(), at(&format!("x{ESCAPE}")).to_str().unwrap().into(), sound.into()]),
        (2, vec!["validate".into(), "results/example-quickstart".into(), "--measured".into(), file("m.csv", &csv)]),
        (2, vec!["explain".into(), "results/example-quickstart".into(), format!("x{ESCAPE}")]),
    ];
    for (code, args) in cases {
        let output = run(&args);
        let said = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        assert!(!said.is_empty());
        assert_harmless(&said, &format!("{args:?}"));
    }
}

/// Numbers beyond all measure: refused with the number and the bound in a line that can be read.
#[test]
fn absurd_sizes_are_refused_in_few_words() {
    let directory = tempfile::tempdir().unwrap();
    let sound = config(directory.path(), "sound.toml", "");
    for set in [
        "workload.synthetic.sessions=1000000000000000000",
        "workload.synthetic.turns=1000000000000000000",
        "workload.synthetic.input_tokens=1000000000000000000",
        "workload.synthetic.output_tokens=-1",
        "workload.synthetic.output_tokens={ kind = \"log_normal\", mean = 1e300, std = 1 }",
        "workload.synthetic.output_tokens={ kind = \"normal\", mean = 1e6, std = 1e15 }",
        "workload.synthetic.arrivals={ kind = \"poisson\", rate_per_s = 1e-300 }",
        "workload.synthetic.arrivals={ kind = \"poisson\", rate_per_s = inf }",
        "workload.synthetic.arrivals={ kind = \"poisson\", rate_per_s = nan }",
        "workload.synthetic.think_ms=1e300",
        "workload.synthetic.block_tokens=0",
        "workload.speedup=1e-300",
        "workload.speedup=-inf",
        "workload.concurrency=1000000000000",
        "workload.window={ start_s = 1e308, end_s = 1e309 }",
        "aggregated.workers=1000000000",
        "aggregated.workers={ min = 1, max = 1000000000 }",
        "aggregated.tp=0",
        "engine.max_num_seqs=[1000000000000000000]",
        "engine.gpu_blocks=4294967296",
        "engine.block_size=4294967296",
        "engine.max_num_batched_tokens=9223372036854775807",
        "router.temperature={ min = 0, max = 1, step = 1e-300 }",
        "hardware.max_gpus=1000000000",
        "hardware.usd_per_gpu_hour=1e300",
        "hardware.usd_per_gpu_hour=-0.0",
        "search.budget=9223372036854775807",
        "search.batch=1000000000",
        "shortlist.size=1000000000",
        "study.seed=9223372036854775808",
        "timing={ kind = \"fixed\", prefill_ms = nan, decode_ms = 1 }",
        "constraints.ttft_p99_ms={ max = nan }",
    ] {
        let (out, err) = run_to(2, &["check", arg(&sound), "--set", set]);
        assert!(out.is_empty(), "{set}: {out}");
        assert!(err.contains("help:"), "{set}: {err}");
        let longest = err.lines().map(str::len).max().unwrap();
        assert!(longest < 400 && err.lines().count() < 30, "{set}: a message nobody reads: {err}");
    }
}

/// Each setting in its range, all of them at its edge at once: no answer is wrong, none takes long.
#[test]
fn legal_extremes_are_served_or_refused_with_their_reason() {
    let directory = tempfile::tempdir().unwrap();
    for (code, more) in [
        (0, "router.policy = \"round_robin\"\n[knobs.engine]\nblock_size = 65536"),
        (2, "engine.max_num_seqs = 16777216"),
        (2, "engine.gpu_blocks = 16777216"),
        (0, "[timing]\nkind = \"fixed\"\nprefill_ms = 1e15\ndecode_ms = 1e15"),
        (0, "[timing]\nkind = \"fixed\"\nprefill_ms = 1e-300\ndecode_ms = 1e-300"),
        (0, "[faults]\nmtbf_s = 1e-9\nretries = 2"),
        (0, "[sla]\nttft_ms = 1e-300"),
    ] {
        let config = config(directory.path(), "edge.toml", more);
        let output = run(["replay", "--json", arg(&config)]);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{more}: {out}{err}");
        if code == 0 {
            let answer: serde_json::Value = serde_json::from_str(&out).unwrap();
            let counts = ["completed", "rejected", "failed", "unfinished"];
            let all: f64 = counts.iter().filter_map(|name| answer["metrics"][name].as_f64()).sum();
            assert_eq!(all, 20.0, "{more}: every request is accounted for: {out}");
        } else {
            assert!(err.contains("help:"), "{more}: {err}");
        }
    }
}

/// Starting many workers is not quadratic: tens of thousands stand in the schema.
#[test]
fn as_many_workers_as_the_schema_allows() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path(), "many.toml", "router.policy = \"round_robin\"");
    let set = ["--set", "hardware.max_gpus=131072", "--set", "aggregated.workers=65536"];
    let mut args = vec!["replay", "--json", arg(&config)];
    args.extend(set);
    let (out, _) = run_to(0, &args);
    let answer: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(answer["metrics"]["gpus_peak"].as_f64(), Some(131_072.0), "{out}");
}

/// A study's name is the name of a directory: none that leads elsewhere is taken, wherever it stands.
#[test]
fn no_name_climbs_out_of_its_directory() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["../../evil", "/etc/evil", "..", "a/b", "a\\\\b", "con\\u0000", "", ".hidden", "-rf", "a b;c"] {
        let set = format!("study.name=\"{name}\"");
        let sound = config(directory.path(), "sound.toml", "");
        let (_, err) = run_to(2, &["check", arg(&sound), "--set", &set]);
        assert!(err.contains("study.name"), "{name}: {err}");
    }
    // Out of a manifest too, which anybody can edit.
    let run = directory.path().join("run");
    copy_directory(&Path::new(env!("CARGO_MANIFEST_DIR")).join("results/example-quickstart"), &run);
    let manifest = fs::read_to_string(run.join("manifest.toml")).unwrap();
    fs::write(run.join("manifest.toml"), manifest.replace("name = \"quickstart\"", "name = \"../../evil\"")).unwrap();
    let (_, err) = run_to(2, &["shortlist", arg(&run)]);
    assert!(err.contains("study.name") && err.contains("manifest.toml"), "{err}");
}

/// A file name with all that HTML, YAML, a shell and a table know: it stays a name in everything that a
/// run leaves.
#[test]
fn a_traces_name_breaks_out_of_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let name = "a'b\"$(touch pwned)`id`;<img src=x onerror=alert(1)>|&\n- kind: Pod # ]]>.jsonl";
    let row = r#"{"timestamp":0,"input_length":600,"output_length":9}"#;
    let rows: String = (0..30).map(|i| row.replace(":0,", &format!(":{},", 200 * i)) + "\n").collect();
    fs::write(directory.path().join(name), rows).unwrap();
    let space = directory.path().join("space.toml");
    let quoted = toml::Value::String(name.into());
    fs::write(
        &space,
        format!(
            r#"{HEAD}[workload]
trace = {quoted}
[knobs]
aggregated.tp = [2, 4]
aggregated.workers = [1, 2]
[objectives]
minimize = ["usd_per_mtok_output", "ttft_p90_ms"]
[shortlist]
draws = 0
"#
        ),
    )
    .unwrap();
    let out = directory.path().join("run");
    let (said, err) = run_to(0, &["search", arg(&space), "--out", arg(&out), "--strategy", "grid"]);
    assert_harmless(&(said + &err), "search");
    run_to(0, &["manifests", arg(&out)]);
    run_to(0, &["report", arg(&out)]);
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.contains("&lt;img src=x") && !page.contains("<img") && page.matches("<script").count() == 2);
    let mut scripts = 0;
    for entry in fs::read_dir(out.join("shortlist")).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir()) {
        for file in fs::read_dir(&entry).unwrap().map(|e| e.unwrap().path()) {
            let content = fs::read_to_string(&file).unwrap();
            match file.extension().and_then(|e| e.to_str()) {
                Some("yaml") => {
                    for document in YamlLoader::load_from_str(&content).unwrap_or_else(|e| panic!("{file:?}: {e}")) {
                        assert_ne!(document["kind"].as_str(), Some("Pod"), "{file:?}");
                    }
                }
                Some("sh") => {
                    // Programs that would be run only say so; a substitution in the name would run all the same.
                    let quiet =
                        "curl() { :; }; python3() { :; }; vllm() { :; }; aiperf() { :; }; export PATH=/nonexistent\n";
                    let mut shell = Command::new("/bin/bash");
                    shell.args(["-c", &format!("{quiet}{content}")]).arg(&file).current_dir(&entry);
                    let _ = shell.output();
                    scripts += 1;
                }
                Some("json") => drop(serde_json::from_str::<serde_json::Value>(&content).unwrap()),
                Some("toml") => drop(content.parse::<toml::Table>().unwrap()),
                _ => {}
            }
        }
        assert!(!entry.join("pwned").exists() && !out.join("pwned").exists());
    }
    assert!(scripts > 0 && !Path::new(env!("CARGO_MANIFEST_DIR")).join("pwned").exists());
}

/// Somebody else's database: a directory with descriptions and one table.
struct Database(tempfile::TempDir);

impl Database {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("data/gpu/gemm/vllm/1.0")).unwrap();
        let database = Database(directory);
        database.write("query_versions.yaml", b"defaults: {vllm: {current: '1.0'}}");
        database.write(
            "gpu.yaml",
            b"gpu: {mem_bw: 1.0e12, mem_bw_empirical_scaling_factor: 0.8, mem_empirical_constant_latency: 1.0e-6, \
              bfloat16_tc_flops: 1.0e15}\nnode: {num_gpus_per_node: 8, intra_node_bw: 1.0e11, inter_node_bw: 1.0e10}",
        );
        database
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.0.path().join(name), bytes).unwrap();
    }

    fn open(&self) -> Result<PerfDb, String> {
        PerfDb::open(self.0.path(), "gpu", Backend::Vllm, None)
    }
}

/// YAML that unfolds to more than fits in memory, or is nested until the stack overflows.
#[test]
fn descriptions_of_gpus_are_bounded() {
    let mut laughs = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..30 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(",");
        laughs += &format!("a{level}: &a{level} [{aliases}]\n");
    }
    let database = Database::new();
    for (yaml, words) in [
        (laughs, "too many values"),
        ("- ".repeat(100_000), "nested too deeply"),
        ("[".repeat(100_000), "recursion limit"),
        (format!("{}x{}", "{a: ".repeat(100_000), "}".repeat(100_000)), "gpu.yaml"),
        ("&a [*a, *a]".to_owned(), "gpu.yaml"),
        ("\u{0}".to_owned(), "gpu.yaml"),
    ] {
        database.write("gpu.yaml", yaml.as_bytes());
        let error = database.open().unwrap_err();
        assert!(error.contains(words), "no `{words}` in {error}");
    }
}

fn table(rows: usize, text: impl Fn(usize) -> String) -> Vec<u8> {
    let integers = || Arc::new(Int64Array::from(vec![64; rows])) as ArrayRef;
    let latencies = Arc::new(Float64Array::from(vec![0.5; rows])) as ArrayRef;
    let texts = Arc::new(StringArray::from_iter_values((0..rows).map(text))) as ArrayRef;
    let columns =
        [("m", integers()), ("n", integers()), ("k", integers()), ("gemm_dtype", texts), ("latency", latencies)];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

/// A few bytes of Parquet that unfold to more rows than anybody measured, or to as many names as rows.
#[test]
fn tables_are_bounded() {
    let gemm = "data/gpu/gemm/vllm/1.0/gemm_perf.parquet";
    let question = |bytes: &[u8]| {
        let database = Database::new();
        database.write(gemm, bytes);
        let database = database.open()?;
        composed(&database)
    };
    for (bytes, words) in [
        (table(2_000_000, |_| "bfloat16".into()), "more rows than"),
        (table(5000, |row| format!("text {row}")), "distinct texts"),
        (b"PAR1".repeat(3), "gemm_perf.parquet"),
    ] {
        let error = question(&bytes).unwrap_err();
        assert!(error.contains(words), "no `{words}` in {error}");
    }
}

/// What asking a database for a worker's operators says.
fn composed(database: &PerfDb) -> Result<(), String> {
    use servescout::catalog::{self, Dtype};
    use servescout::timing::perfdb::Composition;
    use servescout::timing::perfdb::format::Quant;
    let shape = servescout::timing::WorkerShape {
        model: catalog::model("Qwen/Qwen3-32B").unwrap().clone(),
        gpu: catalog::gpu("h200_sxm").unwrap().clone(),
        backend: Backend::Vllm,
        dtype: Dtype::Bf16,
        kv_dtype: Dtype::Bf16,
        tp: 1,
    };
    Composition::new(database, &shape, Quant::parse("bf16").expect("a format"), false).map(drop)
}

/// What has no end is not read to its end.
#[cfg(unix)]
#[test]
fn endless_files_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let sound = config(directory.path(), "sound.toml", "");
    for args in [
        &["trace", "stats", "/dev/zero"][..],
        &["check", "/dev/zero"],
        &["replay", arg(&sound), "--set", "workload.trace=\"/dev/zero\""],
        &["replay", "/dev/zero"],
    ] {
        let (_, err) = run_to(2, args);
        assert!(err.contains("/dev/zero") && err.contains("help:"), "{args:?}: {err}");
    }
}

/// Objects that take a hundred times their text in memory.
#[test]
fn results_of_empty_objects_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("results.json");
    fs::write(&file, format!("{{\"a\":[{}{{}}]}}", "{\"\":0},".repeat(100_000))).unwrap();
    let (_, err) = run_to(2, &["validate", "results/example-quickstart", "--measured", arg(&file)]);
    assert!(err.contains("results.json") && err.contains("next to nothing"), "{err}");
}
