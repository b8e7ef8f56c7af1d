//! Pages that are made from the code are what the code says.

use std::path::Path;

use servescout::{cli, twin};

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
