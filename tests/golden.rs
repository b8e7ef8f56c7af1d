//! What a small search finds and what a replay gives each request, recorded per platform: it changes only
//! when somebody means it to. `UPDATE_GOLDEN=1 cargo test --test it golden` records it anew;
//! `SERVESCOUT=FILE` asks another build of the program, such as the release build, for the same.
//!
//! Pass times are given and columns are few, so that better tables and further metrics change nothing.

use std::fmt::Write;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::cli_common::{arg, run_to, small_search};

/// Architecture, system and C library decide which mathematics is linked.
fn platform() -> String {
    let library = match () {
        () if cfg!(target_env = "gnu") => "-gnu",
        () if cfg!(target_env = "musl") => "-musl",
        () => "",
    };
    format!("{}-{}{library}", std::env::consts::ARCH, std::env::consts::OS)
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Some columns of a CSV file.
fn columns(file: &Path, wanted: &[&str]) -> String {
    let content = std::fs::read_to_string(file).unwrap();
    let header: Vec<&str> = content.lines().next().unwrap().split(',').collect();
    let places: Vec<usize> = wanted.iter().map(|name| header.iter().position(|h| h == name).unwrap()).collect();
    let row = |line: &str| {
        let cells: Vec<&str> = line.split(',').collect();
        places.iter().map(|&place| cells[place]).collect::<Vec<_>>().join(",") + "\n"
    };
    content.lines().skip(1).map(row).collect()
}

#[test]
fn results_are_those_that_were_recorded() {
    let directory = tempfile::tempdir().unwrap();
    let [out, requests] = ["out", "requests.jsonl"].map(|name| directory.path().join(name));
    let timing = "timing={ kind = \"fixed\", prefill_ms = 31.7, decode_ms = 9.3 }";
    run_to(0, &small_search(&out, &["--budget", "40", "--strategy", "sobol", "--set", timing]));
    let trace = "workload.trace=\"traces/chat-sessions.jsonl\"";
    run_to(0, &["replay", "search-spaces/peer-vllm-8w.toml", "--set", trace, "--per-request", arg(&requests)]);
    let frontier = columns(&out.join("frontier.csv"), &["id", "batch", "usd_per_mtok_output", "ttft_p90_ms"]);
    assert!(frontier.lines().count() > 2, "{frontier}");
    let found = [("frontier", digest(frontier.as_bytes())), ("requests", digest(&std::fs::read(&requests).unwrap()))];
    let now: toml::Table = found.into_iter().map(|(name, hex)| (name.to_owned(), hex.into())).collect();

    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden.toml");
    let mut recorded: toml::Table = std::fs::read_to_string(&file).unwrap().parse().unwrap();
    let platform = platform();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        recorded.insert(platform.clone(), now.clone().into());
        let head = "# SHA-256 of what a small search and a replay give, by platform: see golden.rs.\n\n";
        std::fs::write(&file, format!("{head}{}", toml::to_string(&recorded).unwrap())).unwrap();
    }
    let Some(of_platform) = recorded.get(&platform) else {
        println!("skipped: nothing is recorded for {platform}; add to tests/golden.toml\n[{platform}]\n{now}");
        return;
    };
    assert_eq!(
        of_platform,
        &toml::Value::from(now),
        "results have changed on {platform}; if that is meant, say so in CHANGELOG.md and run UPDATE_GOLDEN=1 cargo test --test it golden"
    );
}
