//! Malformed search spaces: each is refused with the place, the field and what to write instead.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use servescout::space::{self, SpaceError};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/spaces").join(format!("{name}.toml"))
}

/// Fixture, line, column, field, remedy, number of errors.
type Case = (&'static str, usize, usize, &'static str, &'static str, usize);

#[rustfmt::skip]
const CASES: &[Case] = &[
    ("comments_only", 1, 1, "", "begin with a copy of search-spaces/quickstart.toml", 1),
    ("constraint_is_a_number", 30, 15, "constraints.ttft_p99_ms", "write { max = 4000 }", 1),
    ("constraint_reversed", 30, 35, "constraints.ttft_p99_ms", "write { min = 40, max = 4000 }", 1),
    ("constraint_without_bound", 30, 1, "constraints.ttft_p99_ms", "write { max = .. }", 1),
    ("duplicate_key", 4, 1, "study.seed", "keep one of the two; a dotted key and a `[table]` of the same name count as the same", 1),
    ("duplicate_table", 32, 2, "hardware", "keep one of the two; a dotted key and a `[table]` of the same name count as the same", 2),
    ("duplicate_value", 20, 33, "knobs.engine.max_num_seqs[2]", "remove one of the two", 1),
    ("empty", 1, 1, "", "begin with a copy of search-spaces/quickstart.toml", 1),
    ("empty_list", 20, 23, "knobs.engine.max_num_seqs", "list at least one value, or remove the line to take the default", 1),
    ("empty_window", 14, 34, "workload.window", "raise end_s", 1),
    ("fraction_for_integer", 11, 12, "hardware.max_gpus", "write 32", 1),
    ("goodput_without_sla", 28, 13, "objectives.maximize[0]", "add `[sla]` with ttft_ms, tpot_ms or e2e_ms", 1),
    ("half_a_prefix", 15, 17, "workload.synthetic.prefix_groups", "give `group_prefix_tokens` too, or remove `prefix_groups`", 1),
    ("infinite", 15, 45, "workload.synthetic.arrivals.rate_per_s", "write for example rate_per_s = 1.0", 1),
    ("integer_overflow", 3, 8, "study.seed", "write 9223372036854775807 or less; left out, it is 0", 1),
    ("key_does_not_apply", 15, 50, "workload.synthetic.arrivals.burstiness", "remove it, or set workload.synthetic.arrivals.kind = \"gamma\"", 1),
    ("key_of_another_section", 12, 1, "hardware.budget", "`budget` belongs to `[search]`", 1),
    ("knob_at_top", 1, 1, "engine", "put it under `[knobs]`: `[knobs.engine]`", 1),
    ("log_from_zero", 24, 30, "knobs.router.temperature.min", "raise min above 0, or remove log = true", 1),
    ("missing_key", 9, 2, "hardware.max_gpus", "add a line `max_gpus = ..` to `[hardware]`", 1),
    ("missing_knob", 19, 2, "knobs.aggregated.workers", "add `aggregated.workers = { min = 1, max = 16 }`, or one value to pin it, to `[knobs]`", 1),
    ("missing_section", 1, 1, "hardware", "add `[hardware]` with `gpu`, `max_gpus`", 1),
    ("missing_trace", 14, 9, "workload.trace", "did you mean `base.toml`? it lies in the same directory", 1),
    ("mode_is_unknown", 20, 34, "knobs.deployment.mode[1]", "write one of `aggregated`, `disaggregated`", 1),
    ("name_climbs", 2, 8, "study.name", "write name = \"case\"", 1),
    ("name_control", 2, 8, "study.name", "write name = \"ca-se\"", 1),
    ("name_empty", 2, 8, "study.name", "write name = \"study\"", 1),
    ("name_long", 2, 8, "study.name", "write name = \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"", 1),
    ("nan", 24, 41, "knobs.router.temperature.max", "write for example max = 1.0", 1),
    ("no_source", 13, 2, "workload", "add trace = \"..\" or a section `[workload.synthetic]`", 1),
    ("not_toml", 3, 7, "study", "write `key = value` lines under `[section]` headings; `servescout schema` and docs/space.md list them all", 1),
    ("not_utf8", 2, 12, "", "save it as UTF-8; if it is compressed, decompress it", 1),
    ("objective_both_ways", 28, 13, "objectives.maximize[0]", "remove one of the two", 1),
    ("one_objective", 26, 2, "objectives", "list another metric, such as minimize = [\"usd_per_mtok_output\", \"ttft_p90_ms\"]", 1),
    ("out_of_range", 34, 10, "search.budget", "write 1 or more; left out, it is 500", 1),
    ("range_key", 22, 42, "knobs.aggregated.workers.stp", "did you mean `step`?", 1),
    ("range_of_names", 23, 17, "knobs.router.policy", "write a list of values", 1),
    ("range_without_max", 22, 22, "knobs.aggregated.workers", "write { min = .., max = .. }", 1),
    ("reversed_range", 22, 22, "knobs.aggregated.workers.min", "write { min = 1, max = 8 }", 1),
    ("speedup_of_closed_loop", 14, 1, "workload.speedup", "remove one of the two", 1),
    ("steps_do_not_land", 24, 53, "knobs.router.temperature.step", "write max = 0.9 or max = 1.2", 1),
    ("strategy_is_unknown", 33, 12, "search.strategy", "write one of `auto`, `bayesian`, `coordinate`, `genetic`, `sobol`, `random`, `grid`", 1),
    ("too_many_levels", 20, 23, "knobs.engine.max_num_seqs", "give a larger step, or log = true", 1),
    ("tp_does_not_divide", 22, 27, "knobs.aggregated.tp", "write some of 1, 2, 4", 1),
    ("tp_not_a_power_of_two", 21, 24, "knobs.aggregated.tp[2]", "write 2 or 4", 1),
    ("trace_is_directory", 14, 9, "workload.trace", "name a file in it", 1),
    ("two_sources", 15, 11, "workload", "remove `trace`, or `[workload.synthetic]`", 1),
    ("unclosed_string", 2, 13, "study.name", "close the quotes, and put text in \"double quotes\"", 1),
    ("unknown_gpu", 10, 7, "hardware.gpu", "did you mean `h200_sxm`?", 1),
    ("unknown_group", 24, 1, "knobs.ruoter", "did you mean `router`?", 1),
    ("unknown_key", 34, 1, "search.budgte", "did you mean `budget`?", 1),
    ("unknown_knob", 20, 8, "knobs.engine.max_num_seq", "did you mean `engine.max_num_seqs`?", 1),
    ("unknown_metric", 27, 36, "objectives.minimize[1]", "did you mean `ttft_p90_ms`?", 1),
    ("unknown_model", 6, 8, "model.name", "did you mean `Qwen/Qwen3-32B`?", 1),
    ("unknown_section", 32, 2, "serach", "did you mean `[search]`?", 1),
    ("wrong_type", 34, 10, "search.budget", "write 100 without the quotes", 1),
    ("wrong_type_in_list", 20, 28, "knobs.engine.max_num_seqs[1]", "write 128 without the quotes", 1),
    ("wrong_unit", 30, 1, "constraints.ttft_p99_s", "did you mean `ttft_p99_ms`?", 1),
    ("zero_step", 24, 53, "knobs.router.temperature.step", "write a number above 0", 1),
];

#[test]
fn every_malformed_space_is_refused_with_place_field_and_remedy() {
    for &(name, line, column, field, remedy, count) in CASES {
        let path = fixture(name);
        let errors = space::load(&path, &[]).expect_err(name).0;
        let first = &errors[0];
        assert_eq!((first.line, first.column), (line, column), "{name}: place\n{first}");
        assert_eq!(first.path, field, "{name}: field\n{first}");
        assert_eq!(first.remedy, remedy, "{name}: remedy\n{first}");
        assert_eq!(errors.len(), count, "{name}: number of errors");
        let shown = first.to_string();
        assert!(shown.contains(&format!("{}:{line}:{column}", path.display())), "{name}: no place in\n{shown}");
    }
}

#[test]
fn every_fixture_is_a_case() {
    let directory = fixture("base").parent().unwrap().to_path_buf();
    let mut names: Vec<String> = directory
        .read_dir()
        .unwrap()
        .map(|e| e.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .filter(|n| !["base", "everything", "several"].contains(&n.as_str()))
        .collect();
    names.sort_unstable();
    assert_eq!(names, CASES.iter().map(|c| c.0.to_owned()).collect::<Vec<_>>());
}

#[test]
fn the_spaces_that_the_tests_break_are_legal() {
    for name in ["base", "everything"] {
        let study = space::load(&fixture(name), &[]).unwrap_or_else(|e| panic!("{e}"));
        assert!(study.warnings.is_empty());
    }
}

#[test]
fn all_errors_are_reported_in_the_order_of_the_file() {
    let errors = space::load(&fixture("several"), &[]).unwrap_err();
    let places: Vec<(usize, &str)> = errors.0.iter().map(|e| (e.line, e.path.as_str())).collect();
    assert_eq!(
        places,
        [
            (10, "hardware.gpu"),
            (20, "knobs.engine.max_num_seqs[1]"),
            (23, "knobs.router.policy[1]"),
            (34, "search.budget"),
            (35, "search.batchsize"),
        ]
    );
    assert!(errors.to_string().ends_with("5 errors in the search space"));
}

#[test]
fn errors_show_the_line_and_point_at_the_value() {
    let path = fixture("unknown_knob");
    let error = space::load(&path, &[]).unwrap_err().0.remove(0);
    let expected = format!(
        "\
error: there is no knob `engine.max_num_seq`
  --> {}:20:8
   |
20 | engine.max_num_seq = [64, 128, 256]
   |        ^^^^^^^^^^^
   = field: knobs.engine.max_num_seq
   = help: did you mean `engine.max_num_seqs`?
",
        path.display()
    );
    assert_eq!(error.to_string(), expected);
}

fn only_error(path: &Path) -> SpaceError {
    let mut errors = space::load(path, &[]).unwrap_err().0;
    assert_eq!(errors.len(), 1);
    errors.remove(0)
}

#[test]
fn what_is_no_file_is_said_to_be_none() {
    let error = only_error(&fixture("no-such-space"));
    assert_eq!((error.what.as_str(), error.line), ("there is no such file", 0));
    let error = only_error(fixture("base").parent().unwrap());
    assert_eq!(error.what, "this is a directory, not a search space");
    assert_eq!(error.remedy, "name a TOML file in it");
}

#[test]
fn a_trace_given_as_the_space_is_refused_without_reading_it_all() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("trace.jsonl");
    std::fs::write(&path, "{\"timestamp\": 0}\n".repeat(400_000)).unwrap();
    assert_eq!(only_error(&path).remedy, "give the search space, not the trace");
}

#[test]
fn a_file_of_another_kind_is_refused_with_few_errors() {
    for text in
        ["{\"timestamp\": 0}\n".repeat(60_000), "zz = 1\n".repeat(100_000), format!("a = {}", "[".repeat(900_000))]
    {
        let errors = space::parse(&text, None, &[]).unwrap_err();
        assert!(errors.0.len() <= 100);
        assert!(errors.to_string().len() < 50_000, "long lines are clipped");
    }
    let keys: String = (0..60_000).map(|i| format!("knob{i} = 1\n")).collect();
    let errors = space::parse(&keys, None, &[]).unwrap_err();
    assert!(errors.to_string().ends_with("100 errors or more in the search space, the first 25 shown"));
}

#[test]
fn errors_in_overrides_point_at_the_override() {
    for (set, column, field, remedy) in [
        ("engine.max_num_seqs=[64,", 25, "", "write --set 'engine.max_num_seqs=[64, 128]' or --set search.budget=100"),
        ("search.budget", 14, "", "write --set 'engine.max_num_seqs=[64, 128]' or --set search.budget=100"),
        ("search.budget=0", 15, "search.budget", "write 1 or more; left out, it is 500"),
        ("search.budgte=10", 8, "search.budgte", "did you mean `budget`?"),
        ("enigne.block_size=16", 1, "enigne", "did you mean `[knobs.engine]`?"),
        ("router.policy=kvv", 15, "knobs.router.policy", "did you mean `kv`?"),
        ("aggregated.tp=[1,3]", 18, "knobs.aggregated.tp[1]", "write 2 or 4"),
        (
            "engine.max_num_seqs.min=3",
            8,
            "knobs.engine.max_num_seqs",
            "replace it whole: --set 'knobs.engine.max_num_seqs={ min = .., max = .. }'",
        ),
        ("a=1\nb=2", 1, "", "write one --set per setting, such as --set search.budget=100"),
    ] {
        let errors = space::load(&fixture("base"), &[set.to_owned()]).expect_err(set).0;
        let first = &errors[0];
        assert_eq!((first.file.as_str(), first.line, first.column), ("--set", 1, column), "{set}");
        assert_eq!((first.path.as_str(), first.remedy.as_str()), (field, remedy), "{set}");
    }
}

#[test]
fn a_replay_lists_every_knob_that_is_not_pinned() {
    let errors = space::load_replay(&fixture("base"), &["aggregated.tp=2".to_owned()]).unwrap_err().0;
    let fields: Vec<&str> = errors.iter().map(|e| e.path.as_str()).collect();
    assert_eq!(
        fields,
        ["knobs.engine.max_num_seqs", "knobs.aggregated.workers", "knobs.router.policy", "knobs.router.temperature",]
    );
    assert_eq!(errors[0].what, "`engine.max_num_seqs` has 3 values: [64, 128, 256]");
    assert_eq!(errors[0].remedy, "pin it, here or with --set engine.max_num_seqs=64");
}

#[test]
fn a_knob_that_can_never_act_is_warned_about() {
    let study = space::load(&fixture("base"), &["router.policy=random".to_owned()]).unwrap();
    let [warning] = study.warnings.as_slice() else { panic!("{:?}", study.warnings) };
    assert_eq!((warning.line, warning.path.as_str()), (24, "knobs.router.temperature"));
    let summaries = study.knob_summaries();
    let temperature = summaries.iter().find(|k| k.name == "router.temperature").unwrap();
    assert_eq!(temperature.active_when, ["`router.policy` is kv or lmetric or expression"], "which it never is");
    assert!(warning.as_warning().to_string().starts_with("warning: `router.temperature` means nothing"));
}

proptest! {
    /// Whatever is done to a space, the answer is a study or errors with places in the text.
    #[test]
    fn mangled_spaces_never_panic(
        base in prop::sample::select(vec!["base", "everything"]),
        cuts in proptest::collection::vec((any::<prop::sample::Index>(), 0usize..12, "[\\[\\]{}=.,\"'#a-z0-9é\n -]{0,6}"), 1..4),
        set in proptest::option::of("[a-z.]{0,12}=?[\\[\\]{}0-9a-z\",.=-]{0,12}"),
    ) {
        let mut text = std::fs::read_to_string(fixture(base)).unwrap();
        for (at, length, with) in cuts {
            let boundary = |mut i: usize, text: &str| {
                while !text.is_char_boundary(i) {
                    i -= 1;
                }
                i
            };
            let start = boundary(at.index(text.len() + 1), &text);
            let end = boundary((start + length).min(text.len()), &text);
            text.replace_range(start..end, &with);
        }
        let sets: Vec<String> = set.into_iter().collect();
        if let Err(errors) = space::parse(&text, None, &sets) {
            prop_assert!(!errors.0.is_empty());
            for error in &errors.0 {
                let source = if error.file == "--set" { &sets[0] } else { &text };
                let lines = source.split('\n').count();
                prop_assert!((1..=lines).contains(&error.line), "{error}");
                prop_assert!(!error.what.is_empty() && !error.remedy.is_empty(), "{error}");
            }
        }
    }
}
