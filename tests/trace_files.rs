//! Traces as files: written and read back, cut, sorted, converted, and made again; the commands.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use proptest::prelude::*;
use servescout::cli::trace::{TraceArgs, run_to};
use servescout::workload::spec::{Arrivals, Lengths, SyntheticSpec, Window};
use servescout::workload::{self, SliceOptions, Workload, WorkloadError, WorkloadSpec};

#[derive(Parser)]
enum Program {
    Trace(TraceArgs),
}

/// Runs `servescout trace ...`; what it prints, or its error. Arguments that do not parse panic.
fn trace(arguments: &[&str]) -> Result<String, WorkloadError> {
    let Program::Trace(args) =
        Program::try_parse_from(["servescout", "trace"].iter().chain(arguments)).unwrap_or_else(|e| panic!("{e}"));
    let mut out = Vec::new();
    run_to(&args, &mut out)?;
    Ok(String::from_utf8(out).unwrap())
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn fixture(name: &str) -> PathBuf {
    root().join("tests/fixtures/traces").join(name)
}

fn text_of(workload: &Workload) -> String {
    let mut bytes = Vec::new();
    workload::write_mooncake(workload, &mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

fn read_back(text: &str, grows: bool) -> Workload {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), text).unwrap();
    let spec = WorkloadSpec { grows: Some(grows), ..WorkloadSpec::trace(file.path()) };
    workload::load(&spec).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

/// Asserts equality in all but the source, and in rows only when they are asked for.
fn assert_same(a: &Workload, b: &Workload, rows_too: bool) {
    assert_eq!(a.requests.len(), b.requests.len());
    for (a, b) in a.requests.iter().zip(&b.requests) {
        let row = if rows_too { b.row } else { a.row };
        assert_eq!(a, &workload::Request { row, ..*b });
    }
    assert_eq!(a.contents, b.contents);
    assert_eq!((&a.session_offsets, &a.session_requests), (&b.session_offsets, &b.session_requests));
    assert_eq!((&a.session_names, a.block_tokens, a.grows), (&b.session_names, b.block_tokens, b.grows));
}

fn chat() -> SyntheticSpec {
    SyntheticSpec {
        seed: 3,
        sessions: 40,
        turns: 3,
        arrivals: Arrivals::Gamma { rate_per_s: 1.0, burstiness: 2.0 },
        input_tokens: Lengths::LogNormal { mean: 700.0, std: 500.0 },
        output_tokens: Lengths::LogNormal { mean: 200.0, std: 100.0 },
        think_ms: 2000.0,
        common_prefix_tokens: 512,
        prefix_groups: 4,
        group_prefix_tokens: 1024,
        block_tokens: 512,
    }
}

#[test]
fn a_generated_workload_is_written_and_read_back() {
    let w = workload::generate(&chat()).unwrap();
    let text = text_of(&w);
    assert_same(&w, &read_back(&text, true), true);
    assert_eq!(text.lines().count(), 120);
    let second = text.lines().nth(1).unwrap();
    assert!(second.starts_with("{\"session_id\":\"s0\",\"delay\":"), "later turns need no timestamp: {second}");
}

#[test]
fn a_trace_is_written_and_read_back() {
    let w = workload::load(&WorkloadSpec::trace(fixture("sessions.jsonl"))).unwrap();
    assert_same(&w, &read_back(&text_of(&w), false), true);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// load(write(w)) == w over generated workloads, whole, sped up, and in parts.
    #[test]
    fn writing_and_reading_back_changes_nothing(
        seed in any::<u64>(),
        sessions in 1u32..30,
        turns in 1u32..4,
        think_ms in prop_oneof![Just(0.0), 1.0f64..1e5],
        speedup in prop_oneof![3 => Just(1.0), 1 => 0.1f64..10.0],
        window in prop_oneof![Just(None), (0.0f64..20.0).prop_map(Some)],
        limit in 1usize..60,
    ) {
        let source = workload::SourceSpec::Synthetic(SyntheticSpec { seed, sessions, turns, think_ms, ..chat() });
        let spec = WorkloadSpec { speedup, limit: Some(limit), ..WorkloadSpec::new(source) };
        let whole = workload::load(&spec).unwrap();
        let mut w = window.and_then(|start_s| whole.window(start_s, start_s + 10.0)).unwrap_or(whole);
        let again = read_back(&text_of(&w), w.grows);
        if speedup != 1.0 {
            // Times are written to the microsecond.
            for (r, again) in w.requests.iter_mut().zip(&again.requests) {
                prop_assert!((r.delay_ms - again.delay_ms).abs() < 6e-4);
                prop_assert!((r.arrival_ms - again.arrival_ms).abs() < 6e-4);
                (r.delay_ms, r.arrival_ms) = (again.delay_ms, again.arrival_ms);
            }
        }
        assert_same(&w, &again, false);
    }

    /// Rows in a random order, sessions interleaved: sorting and reading back agree.
    #[test]
    fn a_shuffled_trace_is_sorted(starts in proptest::collection::vec((0u32..1000, 0u32..8, 1u32..2000), 1..40)) {
        let mut seen = [0u32; 8];
        let rows: String = starts
            .iter()
            .map(|&(at, session, tokens)| {
                let turn = seen[session as usize];
                seen[session as usize] += 1;
                let ids: Vec<u32> = (0..tokens.div_ceil(512)).map(|b| session * 10 + b).collect();
                let when = if turn == 0 { format!("\"timestamp\":{at}") } else { format!("\"delay\":{at}") };
                format!("{{{when},\"session_id\":{session},\"input_length\":{tokens},\"output_length\":1,\"hash_ids\":{ids:?}}}\n")
            })
            .collect();
        let directory = tempfile::tempdir().unwrap();
        let (input, output) = (directory.path().join("in"), directory.path().join("out"));
        fs::write(&input, rows).unwrap();
        let options = SliceOptions { block_tokens: 512, limit: None, sort: true, window: None };
        let sorted = workload::slice_file(&input, &output, &options, false).unwrap().workload;
        let again = workload::load(&WorkloadSpec::trace(&output)).unwrap();
        assert_same(&sorted, &again, false);
        prop_assert_eq!(sorted.requests.len(), starts.len());
        let arrivals: Vec<f64> = sorted.requests.iter().map(|r| r.arrival_ms).collect();
        prop_assert!(arrivals.is_sorted(), "{arrivals:?}");
        let (mut tokens, mut expected): (Vec<u32>, Vec<u32>) =
            (sorted.requests.iter().map(|r| r.input_tokens).collect(), starts.iter().map(|s| s.2).collect());
        tokens.sort_unstable();
        expected.sort_unstable();
        prop_assert_eq!(tokens, expected);
    }
}

#[test]
fn slices_of_slices_are_slices() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    workload::generate_file(&chat(), &path("whole"), false).unwrap();
    let cut = |input: &str, output: &str, start_s, end_s| {
        let window = Some(Window { start_s, end_s });
        let options = SliceOptions { block_tokens: 512, limit: None, sort: false, window };
        workload::slice_file(&path(input), &path(output), &options, false).unwrap();
    };
    // The same sessions by way of one window and of two: times count from each first arrival.
    let starts: Vec<f64> = {
        let w = workload::load(&WorkloadSpec::trace(path("whole"))).unwrap();
        (0..w.sessions()).map(|s| w.requests[w.session(s)[0] as usize].arrival_ms / 1e3).collect()
    };
    cut("whole", "direct", starts[12], starts[30]);
    cut("whole", "half", starts[5], starts[35]);
    cut("half", "twice", starts[12] - starts[5] - 1e-6, starts[30] - starts[5] - 1e-6);
    let (direct, twice) = (fs::read_to_string(path("direct")).unwrap(), fs::read_to_string(path("twice")).unwrap());
    assert_eq!(direct.lines().count(), twice.lines().count());
    let ids = |text: &str| text.lines().map(|l| l.split("input_length").nth(1).unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(ids(&direct), ids(&twice));
}

#[test]
fn existing_files_stay_unless_forced_and_nothing_is_left_behind() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out.jsonl");
    fs::write(&out, "precious").unwrap();
    let error = workload::generate_file(&chat(), &out, false).unwrap_err();
    assert!(matches!(error, WorkloadError::Exists { .. }), "{error}");
    assert_eq!((error.exit_code(), fs::read_to_string(&out).unwrap().as_str()), (2, "precious"));
    workload::generate_file(&chat(), &out, true).unwrap();
    assert!(fs::read_to_string(&out).unwrap().starts_with("{\"timestamp\":0,"));
    let in_itself = SliceOptions { block_tokens: 512, limit: None, sort: false, window: None };
    let error = workload::slice_file(&out, &out, &in_itself, true).unwrap_err();
    assert!(error.to_string().contains("is the trace that is read"), "{error}");
    for (target, why) in [(directory.path().to_path_buf(), "is a directory"), (out.join("x"), "cannot be written")] {
        let error = workload::generate_file(&chat(), &target, true).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
        assert_eq!(error.exit_code(), 2);
    }
    let error = workload::generate_file(&chat(), &directory.path().join("no/such/out"), false).unwrap_err();
    assert!(error.to_string().contains("its directory does not exist"), "{error}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "only out.jsonl");
}

#[test]
fn the_committed_traces_are_what_their_commands_make() {
    let readme = fs::read_to_string(root().join("traces/README.md")).unwrap();
    let commands: Vec<&str> = readme.lines().filter(|l| l.starts_with("servescout trace generate ")).collect();
    assert_eq!(commands.len(), 2);
    let directory = tempfile::tempdir().unwrap();
    for command in commands {
        let mut arguments: Vec<String> = command.split(' ').skip(2).map(str::to_owned).collect();
        let out = arguments.iter().position(|a| a == "--out").unwrap() + 1;
        let committed = root().join(&arguments[out]);
        let again = directory.path().join("again.jsonl");
        arguments[out] = again.to_string_lossy().into_owned();
        arguments.push("--force".to_owned());
        trace(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
        let bytes = fs::read(&committed).unwrap();
        assert!(bytes == fs::read(&again).unwrap(), "{} differs from what its command makes", committed.display());
        assert!(bytes.len() < 300_000);
    }
    // As made: the chats grow, and are believed to.
    let chats = root().join("traces/chat-sessions.jsonl");
    let w = workload::load(&WorkloadSpec { grows: Some(true), ..WorkloadSpec::trace(chats) }).unwrap();
    assert_eq!((w.requests.len(), w.sessions()), (1000, 250));
}

#[test]
fn stats_as_text_and_as_json() {
    let file = fixture("sessions.jsonl").to_string_lossy().into_owned();
    let text = trace(&["stats", &file]).unwrap();
    for line in [
        "requests              7",
        "sessions              3 (2.33 turns each, at most 3)",
        "12 of 512 tokens, 10 distinct",
    ] {
        // 4 + 2 + 5 + 2 + 1 + 2 + 1 ids.
        let line = line.replace("12 of", "17 of");
        assert!(text.contains(&line), "{line} not in:\n{text}");
    }
    let json: serde_json::Value = serde_json::from_str(&trace(&["stats", &file, "--json"]).unwrap()).unwrap();
    assert_eq!(json["requests"], 7);
    assert_eq!(json["input_tokens"]["max"], 2560.0);
    assert_eq!(json["span_s"], 1.0005);
    // Reused: one of two blocks; four of five; one block of two; one block (5 tokens).
    let reused = 512.0 + 2048.0 + 0.0 + 5.0;
    assert_eq!(json["ideal_prefix_reuse_ratio"], reused / json["input_tokens_total"].as_f64().unwrap());
    assert_eq!(json["sha256"].as_str().unwrap().len(), 64);
}

#[test]
fn slice_and_convert_commands() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
    let azure = fixture("azure2023.csv").to_string_lossy().into_owned();
    trace(&["convert", &azure, "--out", &path("azure.jsonl")]).unwrap();
    let converted = fs::read_to_string(path("azure.jsonl")).unwrap();
    assert!(
        converted.starts_with("{\"timestamp\":0,\"input_length\":4808,\"output_length\":10,\"hash_ids\":[0,"),
        "{converted}"
    );
    trace(&["slice", &path("azure.jsonl"), "--out", &path("cut.jsonl"), "--start-s", "0.05", "--limit", "2"]).unwrap();
    let cut = fs::read_to_string(path("cut.jsonl")).unwrap();
    assert_eq!(cut, "{\"timestamp\":0,\"input_length\":3180,\"output_length\":8,\"hash_ids\":[0,1,2,3,4,5,6]}\n");
    // The remedy for unsorted traces works.
    let mut lines: Vec<&str> = converted.lines().collect();
    lines.reverse();
    fs::write(path("reversed.jsonl"), lines.join("\n")).unwrap();
    let error = trace(&["stats", &path("reversed.jsonl")]).unwrap_err();
    assert_eq!((error.line(), error.field()), (Some(2), Some("timestamp")));
    trace(&["slice", &path("reversed.jsonl"), "--sort", "--out", &path("sorted.jsonl")]).unwrap();
    assert_eq!(fs::read_to_string(path("sorted.jsonl")).unwrap(), converted);
    let error = trace(&["slice", &path("azure.jsonl"), "--out", &path("x"), "--start-s", "100"]).unwrap_err();
    assert_eq!(error.field(), Some("window"), "{error}");
    assert!(error.to_string().contains("between 0 s and 60.098189 s"), "{error}");
    let error = trace(&["slice", &path("azure.jsonl"), "--out", &path("cut.jsonl")]).unwrap_err();
    assert!(matches!(error, WorkloadError::Exists { .. }), "{error}");
}

#[test]
fn generate_refuses_options_that_do_nothing_and_wants_those_that_are_missing() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out").to_string_lossy().into_owned();
    let base = ["generate", "--out", &out, "--sessions", "5", "--input", "100", "--output", "9"];
    let cases: &[(&[&str], &str, &str)] = &[
        (&[], "--rate", "is missing"),
        (&["--rate", "1", "--burstiness", "2"], "--burstiness", "does nothing with poisson"),
        (&["--arrivals", "gamma", "--rate", "1"], "--burstiness", "is missing"),
        (&["--arrivals", "burst", "--rate", "1"], "--rate", "does nothing with burst"),
        (&["--arrivals", "diurnal", "--rate", "1", "--swing", "0.5"], "--period-s", "is missing"),
        (&["--rate", "1", "--think-ms", "5"], "--think-ms", "does nothing with one turn"),
        (&["--rate", "1", "--lengths", "normal"], "--lengths", "does nothing"),
        (&["--rate", "0"], "--rate", "is 0"),
        (&["--rate", "1", "--common-prefix", "100"], "--common-prefix", "not a whole number of blocks"),
        (&["--rate", "1", "--groups", "3"], "--groups", "have no prefix"),
    ];
    for (more, option, why) in cases {
        let error = trace(&[&base[..], more].concat()).unwrap_err();
        assert_eq!(error.field(), Some(*option), "{more:?}: {error}");
        assert!(error.to_string().contains(why), "{error}");
        assert!(!Path::new(&out).exists());
    }
    for wrong in
        [["--input", "x"], ["--input", "1.5"], ["--output", "5:y"], ["--sessions", "-1"], ["--arrivals", "bursty"]]
    {
        let arguments = [&["servescout", "trace"], &base[..], &["--rate", "1"], &wrong[..]].concat();
        assert!(Program::try_parse_from(arguments).is_err(), "{wrong:?}");
    }
    trace(&[&base[..], &["--arrivals", "burst"]].concat()).unwrap();
    assert_eq!(fs::read_to_string(&out).unwrap().lines().count(), 5);
}
