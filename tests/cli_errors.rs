//! Malformed input to the program: exit code 2, nothing on standard output, and a message that says
//! where and what to do.

use std::path::{Path, PathBuf};

use crate::cli_common::{arg, run_to};

/// The fixtures that are as they should be.
const WELL_FORMED: [&str; 2] = ["base.toml", "everything.toml"];

/// Every malformed space of the fixtures, through the program.
#[test]
fn malformed_spaces_are_refused() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/spaces");
    let mut refused = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let is_sound = WELL_FORMED.iter().any(|name| path.ends_with(name));
        if path.extension().is_none_or(|e| e != "toml") || is_sound {
            continue;
        }
        let (out, err) = run_to(2, &["check", arg(&path)]);
        assert!(out.is_empty(), "{}: {out}", path.display());
        assert!(err.starts_with("error: ") && err.contains("= help: "), "{}: {err}", path.display());
        assert!(err.contains(path.file_name().unwrap().to_str().unwrap()), "{err}");
        refused += 1;
    }
    assert!(refused >= 20, "only {refused} malformed spaces were found");
}

const ROW: &str = r#"{"timestamp":0,"input_length":600,"output_length":5,"hash_ids":[1,2]}"#;

/// Content of a trace, the line to blame, words of the message.
const TRACES: &[(&str, u32, &str)] = &[
    ("", 0, "is empty"),
    ("\n\n", 0, "empty"),
    ("[1, 2, 3]\n", 1, "JSON array"),
    ("hello\n", 1, "neither a JSON object"),
    (r#"{"timestamp":0,"input_length":600,"outp"#, 1, "help:"),
    ("ROW\n{\"timestamp\":1,\"input_length\":600,\"output_length\":", 2, "help:"),
    ("ROW\n{\"timestamp\":NaN,\"input_length\":600,\"output_length\":5}\n", 2, "timestamp"),
    ("ROW\n{\"timestamp\":1,\"input_length\":-5,\"output_length\":5}\n", 2, "negative"),
    ("ROW\n{\"timestamp\":1,\"input_length\":5,\"output_length\":-1}\n", 2, "negative"),
    ("ROW\n{\"timestamp\":1,\"input_length\":5,\"input_length\":6,\"output_length\":1}\n", 2, "input_length"),
    ("ROW\n{\"timestamp\":1,\"input_length\":0,\"output_length\":1}\n", 2, "at least 1"),
    (
        "{\"timestamp\":5,\"input_length\":5,\"output_length\":1}\n{\"timestamp\":1,\"input_length\":5,\"output_length\":1}\n",
        2,
        "sort",
    ),
    ("ROW\n{\"timestamp\":1,\"output_length\":1}\n", 2, "input_length"),
    ("ROW\n\u{0}\u{1}\n", 2, "help:"),
    ("ROW\n\"text\"\n", 2, "help:"),
    ("a,b,c\n1,2,3\n", 1, "help:"),
];

#[test]
fn malformed_traces_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    for (index, (content, line, words)) in TRACES.iter().enumerate() {
        let trace = directory.path().join(format!("trace-{index}.jsonl"));
        std::fs::write(&trace, content.replace("ROW", ROW)).unwrap();
        let set = format!("workload.trace={}", arg(&trace));
        for command in
            [&["trace", "stats", arg(&trace)][..], &["replay", arg(&config(directory.path())), "--set", &set]]
        {
            let (out, err) = run_to(2, command);
            assert!(out.is_empty(), "{content:?}: {out}");
            let place =
                if *line == 0 { format!("trace-{index}.jsonl: ") } else { format!("trace-{index}.jsonl:{line}: ") };
            assert!(err.contains(&place), "{content:?}: no `{place}` in {err}");
            assert!(err.contains(words) && err.contains("help:"), "{content:?}: no `{words}` in {err}");
        }
    }
}

#[test]
fn traces_that_are_no_files_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (_, err) = run_to(2, &["trace", "stats", arg(directory.path())]);
    assert!(err.contains("directory") && err.contains("help:"), "{err}");
    let missing = directory.path().join("no-such.jsonl");
    let (_, err) = run_to(2, &["trace", "stats", arg(&missing)]);
    assert!(err.contains("no-such.jsonl") && err.contains("help:"), "{err}");
}

#[test]
fn every_message_names_its_place_once() {
    let (_, err) = run_to(2, &["check", "no-such-space.toml"]);
    assert!(err.contains("no-such-space.toml") && err.contains("there is no such file"), "{err}");
    assert_eq!(err.matches("error:").count(), 1, "{err}");
    let (_, err) = run_to(2, &["check", "search-spaces/quickstart.toml", "--set", "search.budgte=5"]);
    assert!(
        err.contains("--> --set:1:8") && err.contains("search.budgte=5") && err.contains("did you mean `budget`?"),
        "{err}"
    );
}

#[test]
fn a_replay_needs_pinned_knobs() {
    let (_, err) = run_to(2, &["replay", "search-spaces/quickstart.toml"]);
    assert!(err.contains("`aggregated.tp` has 4 values") && err.contains("--set aggregated.tp=1"), "{err}");
}

#[test]
fn a_deployment_that_cannot_be_is_refused_with_its_arithmetic() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path());
    let (out, err) = run_to(2, &["replay", arg(&config), "--set", "aggregated.workers=64"]);
    assert!(out.is_empty() && err.contains("gpu_budget: 64 workers x TP 1 = 64 GPUs, max_gpus = 8"), "{err}");
}

#[test]
fn output_files_are_checked_before_the_simulation() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path());
    for (name, words) in [
        ("requests.csv", ".jsonl or .parquet"),
        ("requests", ".jsonl or .parquet"),
        ("no/such/r.jsonl", "no directory"),
    ] {
        let path = directory.path().join(name);
        let (_, err) = run_to(2, &["replay", arg(&config), "--per-request", arg(&path)]);
        assert!(err.contains(words) && err.contains("help:"), "{name}: {err}");
        assert!(!path.exists());
    }
    let path = directory.path().join("d.jsonl");
    std::fs::create_dir(&path).unwrap();
    let (_, err) = run_to(2, &["replay", arg(&config), "--per-request", arg(&path)]);
    assert!(err.contains("this is a directory"), "{err}");
}

/// A small pinned configuration in a directory.
fn config(directory: &Path) -> PathBuf {
    let path = directory.join("config.toml");
    std::fs::write(
        &path,
        r#"
[model]
name = "Qwen/Qwen3-32B"
[hardware]
gpu = "h200_sxm"
max_gpus = 8
[workload]
trace = "good.jsonl"
[knobs]
aggregated.tp = 1
aggregated.workers = 1
"#,
    )
    .unwrap();
    std::fs::write(directory.join("good.jsonl"), format!("{ROW}\n")).unwrap();
    path
}
