//! What the command line offers without simulating: help, manual, completions, schema, catalogue.

use crate::cli_common::run_to;

#[test]
fn help_and_version_go_to_standard_output() {
    let (out, err) = run_to(0, &["--help"]);
    assert!(err.is_empty() && out.contains("Usage: servescout <COMMAND>") && out.contains("Exit codes:"), "{out}");
    for command in
        ["search", "replay", "check", "shortlist", "plot", "trace", "catalog", "schema", "completions", "man"]
    {
        assert!(out.contains(&format!("\n  {command} ")), "{command} is not in the help");
        let (help, _) = run_to(0, &[command, "--help"]);
        assert!(help.contains("Usage: servescout"), "{help}");
    }
    let (version, _) = run_to(0, &["--version"]);
    assert_eq!(version, format!("servescout {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn mistakes_in_the_words_are_the_users() {
    let (out, err) = run_to(2, &[]);
    assert!(out.is_empty() && err.contains("Usage:"), "{err}");
    let (_, err) = run_to(2, &["serach"]);
    assert!(err.contains("'search'"), "offers the nearest command: {err}");
    let (_, err) = run_to(2, &["search", "a.toml", "--budgte", "5"]);
    assert!(err.contains("--budget"), "offers the nearest option: {err}");
    let (_, err) = run_to(2, &["search"]);
    assert!(err.contains("SPACE.toml"), "{err}");
    let (_, err) = run_to(2, &["search", "a.toml", "--threads", "0"]);
    assert!(err.contains("--threads"), "{err}");
    let (_, err) = run_to(2, &["search", "a.toml", "--strategy", "annealing"]);
    assert!(err.contains("genetic"), "lists the strategies: {err}");
}

#[test]
fn every_shell_gets_completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (script, _) = run_to(0, &["completions", shell]);
        for word in ["servescout", "replay", "per-request", "generate"] {
            assert!(script.contains(word), "{shell} does not complete {word}");
        }
    }
    run_to(2, &["completions", "cmd.exe"]);
}

#[test]
fn every_command_has_a_manual_page() {
    let (page, _) = run_to(0, &["man"]);
    assert!(page.contains(".TH servescout 1") && page.contains("Exit codes"), "{page}");
    let (page, _) = run_to(0, &["man", "search"]);
    assert!(page.contains(".TH servescout-search 1") && page.contains("\\-\\-resume"), "{page}");
    let (page, _) = run_to(0, &["man", "trace", "stats"]);
    assert!(page.contains(".TH servescout-trace-stats 1"), "{page}");
    let (_, err) = run_to(2, &["man", "serach"]);
    assert!(err.contains("no command `serach`") && err.contains("search, replay"), "{err}");
}

#[test]
fn the_schema_is_json() {
    let (out, _) = run_to(0, &["schema"]);
    let schema: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert!(schema["properties"]["knobs"].is_object());
}

#[test]
fn the_catalogue_and_the_pass_times_are_shown() {
    let (out, _) = run_to(0, &["catalog", "models"]);
    assert!(out.contains("Qwen/Qwen3-32B"), "{out}");
    let (out, _) = run_to(0, &["timing", "show", "Qwen/Qwen3-32B", "h200_sxm", "--tp", "2"]);
    assert!(out.contains("decode, ms"), "{out}");
    let (_, err) = run_to(2, &["timing", "show", "Qwen/Qwen3-33B", "h200_sxm"]);
    assert!(err.starts_with("error: ") && err.contains("did you mean Qwen/Qwen3-32B"), "{err}");
}

#[test]
fn check_says_what_a_space_holds() {
    let (out, err) = run_to(0, &["check", "search-spaces/quickstart.toml"]);
    assert!(err.is_empty(), "{err}");
    for words in
        ["distinct candidates", "aggregated.tp", "1, 2, 4, 8", "requests", "gpu_budget", "minimize", "strategy"]
    {
        assert!(out.contains(words), "no `{words}` in\n{out}");
    }
}

/// A reader that has seen enough (`| head -1`) is neither an error nor a panic.
#[cfg(unix)]
#[test]
fn a_closed_pipe_is_no_failure() {
    use std::io::Read;
    use std::process::Stdio;
    for args in [
        &["schema"][..],
        &["catalog", "models"],
        &["completions", "bash"],
        &["trace", "stats", "traces/bursty-rag.jsonl"],
    ] {
        let mut child =
            crate::cli_common::servescout(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
        drop(child.stdout.take());
        let status = child.wait().unwrap();
        let mut err = String::new();
        child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        assert!(status.success() && err.is_empty(), "{args:?}: {status}: {err}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_a_failure() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = crate::cli_common::servescout(["schema"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(crate::cli_common::text(&output.stderr).starts_with("error: cannot write to standard output"));
}

#[test]
fn bench_replay_times_every_case() {
    let (out, _) = run_to(0, &["bench", "replay", "--runs", "1", "--json"]);
    let answer: serde_json::Value = serde_json::from_str(&out).unwrap();
    let cases = answer["cases"].as_array().unwrap();
    assert_eq!(cases.len(), servescout::twin::cases::cases().len());
    for case in cases {
        assert!(case["passes"].as_u64() > case["steps"].as_u64(), "no jumps in {case}");
        assert!(case["min_ms"].as_f64().unwrap() > 0.0);
    }
}
