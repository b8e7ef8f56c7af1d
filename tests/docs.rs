//! Pages that are made from the code are what the code says.

use std::path::Path;

use servescout::{cli, twin};

use crate::cli_common::{arg, run_to};

fn keep_current(name: &str, wanted: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == wanted, "docs/{name} is out of date; run UPDATE_DOCS=1 cargo test --test it docs");
}

#[test]
fn the_command_line_page_is_current() {
    keep_current("cli.md", &cli::reference::markdown());
}

#[test]
fn the_metrics_page_is_current() {
    let page = twin::metrics_reference::metrics_markdown();
    for metric in twin::metrics::METRICS {
        assert!(page.contains(&format!("| `{}` |", metric.name)), "{}", metric.name);
    }
    keep_current("metrics.md", &page);
}

#[test]
fn the_example_run_replays_to_what_it_expects() {
    let shortlist = Path::new(env!("CARGO_MANIFEST_DIR")).join("results/example-quickstart/shortlist");
    let mut entries: Vec<_> = std::fs::read_dir(shortlist).unwrap().map(|e| e.unwrap().path()).collect();
    entries.sort();
    assert_eq!(entries.len(), 5);
    let expected = std::fs::read(entries[0].join("expected.json")).unwrap();
    let expected: serde_json::Value = serde_json::from_slice(&expected).unwrap();
    let (out, _) = run_to(0, &["replay", "--json", arg(&entries[0].join("candidate.toml"))]);
    let replayed: serde_json::Value = serde_json::from_str(&out).unwrap();
    for (name, metric) in expected["metrics"].as_object().unwrap() {
        let (wanted, found) = (metric["value"].as_f64(), replayed["metrics"][name].as_f64());
        let same = wanted.zip(found).is_none_or(|(a, b)| (a - b).abs() <= 1e-9 * a.abs());
        assert!(wanted.is_some() == found.is_some() && same, "{name}: {found:?}, expected {wanted:?}");
    }
}
