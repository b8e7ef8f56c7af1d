//! The integration tests: one program, a file per behaviour. `cargo test --test it NAME` runs those
//! whose path contains NAME, such as `cli_search` or `resume::`.

#![forbid(unsafe_code)]

mod cli_common;
mod evaluator_features;
mod fixture;
mod reference;
mod search_common;

mod archive_run_dir;
mod catalog;
mod cli_errors;
mod cli_replay;
mod cli_search;
mod cli_search_options;
mod cli_surface;
mod cluster_properties;
mod compare;
mod conformance;
mod determinism;
mod disaggregation;
mod docs;
mod docs_commands;
mod faults;
mod fidelity;
mod frontier_properties;
mod fuzz_seeds;
mod golden;
mod hostile_input;
mod intervals;
mod jumping;
mod killed;
mod killed_folding;
mod kv_tiers;
mod kv_tiers_cluster;
mod kv_tiers_disaggregated;
mod large_archive;
mod layering;
mod manifests;
mod planner;
mod plot_figures;
mod report_page;
mod resume;
mod router;
mod router_space;
mod search_driver;
mod search_standard;
mod shortlist_commands;
mod shortlist_selection;
mod shortlist_simulated;
mod space_deploy;
mod space_docs;
mod space_errors;
mod space_study;
mod supply_chain;
mod timeline;
mod timing_calibration;
mod timing_kinds;
mod timing_memory;
mod timing_perfdb;
mod timing_relative;
mod timing_roofline;
mod timing_surface;
mod trace_errors;
mod trace_files;
mod trace_generator;
mod trace_loading;
mod twin_engines;
mod twin_equivalence;
mod twin_theory;
mod validate;

/// A file that nobody names would be a test that nobody runs.
#[test]
fn every_file_is_run() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let package = std::fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let mut forgotten = Vec::new();
    for entry in std::fs::read_dir(root.join("tests")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Some(stem) = name.strip_suffix(".rs") else { continue };
        let is_module = include_str!("main.rs").lines().any(|line| line == format!("mod {stem};"));
        if !is_module && !package.contains(&format!("path = \"tests/{name}\"")) {
            forgotten.push(name);
        }
    }
    assert!(forgotten.is_empty(), "neither in tests/main.rs nor in Cargo.toml: {forgotten:?}");
}
