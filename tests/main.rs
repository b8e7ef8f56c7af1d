//! The integration tests: one program, a file per behaviour. `cargo test --test it NAME` runs those
//! whose path contains NAME, such as `cli_search` or `resume::`.

mod cli_common;
mod fixture;
mod reference;
mod search_common;

mod archive_run_dir;
mod catalog;
mod cli_errors;
mod cli_replay;
mod cli_search;
mod cli_surface;
mod determinism;
mod docs;
mod frontier_properties;
mod layering;
mod plot_figures;
mod resume;
mod search_driver;
mod shortlist_selection;
mod space_deploy;
mod space_docs;
mod space_errors;
mod space_study;
mod timing_kinds;
mod timing_memory;
mod timing_surface;
mod trace_errors;
mod trace_files;
mod trace_generator;
mod trace_loading;
mod twin_equivalence;
