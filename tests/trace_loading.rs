//! What a trace means once it is loaded: sessions, think times, ids, windows, formats.

use std::fs;
use std::path::{Path, PathBuf};

use servescout::workload::spec::Window;
use servescout::workload::{self, Load, SourceSpec, Workload, WorkloadSpec};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/traces").join(name)
}

/// The real one-hour trace, when the reference data lies beside the project.
fn conversation() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/traces/mooncake_conversation.jsonl");
    if !path.exists() {
        eprintln!("SKIPPED: {} is not here", path.display());
    }
    path.exists().then_some(path)
}

/// Loads rows as a trace of 512-token blocks.
fn load_rows(rows: &str, change: impl FnOnce(&mut WorkloadSpec)) -> Workload {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), rows).unwrap();
    let mut spec = WorkloadSpec::trace(file.path());
    change(&mut spec);
    workload::load(&spec).unwrap_or_else(|e| panic!("{e}"))
}

/// (session, turn, arrival, delay, input, output) of every request.
fn told(workload: &Workload) -> Vec<(u32, u32, f64, f64, u32, u32)> {
    let tell = |r: &workload::Request| (r.session, r.turn, r.arrival_ms, r.delay_ms, r.input_tokens, r.output_tokens);
    workload.requests.iter().map(tell).collect()
}

#[test]
fn sessions_think_times_aliases_and_ids() {
    let loaded = workload::load_with_notes(&WorkloadSpec::trace(fixture("sessions.jsonl"))).unwrap();
    let w = loaded.workload;
    assert_eq!(
        told(&w),
        [
            (0, 0, 0.0, 0.0, 2048, 128),
            (1, 0, 500.0, 0.0, 600, 10),
            // Its instant is not in the trace: the turn before, plus the think time.
            (0, 1, 50.0, 50.0, 2560, 128),
            // input_length is what two ids hold.
            (2, 0, 1000.5, 0.0, 1024, 0),
            // No delay: the difference of timestamps.
            (2, 1, 3000.5, 2000.0, 100, 1),
            // Neither: at once.
            (2, 2, 3000.5, 0.0, 513, 1),
            // Both: the delay counts, the timestamp says when it was.
            (0, 2, 8000.0, 25.0, 5, 7),
        ]
    );
    assert_eq!(w.session_names, ["a", "", "b"]);
    assert_eq!(w.session(0), [0, 2, 6]);
    assert_eq!(w.session(2), [3, 4, 5]);
    assert_eq!(w.requests.iter().map(|r| r.row).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6]);
    let ids: Vec<Vec<u32>> = (0..7).map(|i| w.blocks_of(i)).collect();
    // Raw 1 2 3 4 | 1 9 | 1 2 3 4 5 | 7 7 | fresh | fresh fresh | 1, in order of appearance.
    assert_eq!(ids, [&[0, 1, 2, 3][..], &[0, 4], &[0, 1, 2, 3, 5], &[6, 6], &[7], &[8, 9], &[0]]);
    assert_eq!(w.distinct_blocks(), 10);
    assert_eq!((w.load, w.grows, w.source.as_str()), (Load::Open, false, "sessions.jsonl"));
    let notes = loaded.notes.join("\n");
    for said in
        ["`model` is ignored (1 rows)", "`priority` is ignored (1 rows)", "`output_token_ids` is ignored (1 rows)"]
    {
        assert!(notes.contains(said), "{said} not in:\n{notes}");
    }
    assert!(!notes.contains("request_id"), "{notes}");
}

#[test]
fn rows_without_hash_ids_share_nothing() {
    let w = load_rows(
        "{\"timestamp\":0,\"input_length\":600,\"output_length\":1}\n\
         {\"timestamp\":0,\"input_length\":600,\"output_length\":1,\"hash_ids\":[0,1]}\n\
         {\"timestamp\":0,\"input_length\":512,\"output_length\":1}\n",
        |_| {},
    );
    assert_eq!(w.contents.all_ids().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    assert_eq!(workload::stats(&w).ideal_prefix_reuse_ratio, 0.0);
}

#[test]
fn large_negative_and_small_ids_are_all_ids() {
    let w = load_rows(
        "{\"timestamp\":0,\"output_length\":1,\"hash_ids\":[18446744073709551615,-1,9007199254740993,9007199254740992]}\n\
         {\"timestamp\":0,\"output_length\":1,\"hash_ids\":[-1,18446744073709551615,9007199254740992,5]}\n",
        |_| {},
    );
    assert_eq!(w.contents.all_ids().collect::<Vec<_>>(), [0, 1, 2, 3, 1, 0, 3, 4]);
}

#[test]
fn speedup_divides_arrivals_and_think_times() {
    let mut spec = WorkloadSpec::trace(fixture("sessions.jsonl"));
    spec.speedup = 2.0;
    let fast = workload::load(&spec).unwrap();
    let plain = workload::load(&WorkloadSpec::trace(fixture("sessions.jsonl"))).unwrap();
    for (fast, plain) in fast.requests.iter().zip(&plain.requests) {
        assert_eq!((fast.arrival_ms, fast.delay_ms), (plain.arrival_ms / 2.0, plain.delay_ms / 2.0));
    }
}

#[test]
fn limit_keeps_the_first_rows_and_the_hash_of_the_whole_file() {
    let mut spec = WorkloadSpec::trace(fixture("sessions.jsonl"));
    let whole = workload::load(&spec).unwrap();
    spec.limit = Some(3);
    let first = workload::load(&spec).unwrap();
    assert_eq!(told(&first), told(&whole)[..3]);
    assert_eq!(first.sha256, whole.sha256);
    assert_eq!(first.session_requests, [0, 2, 1]);
    // Rows beyond the limit are not even looked at.
    let cut = load_rows("{\"timestamp\":0,\"input_length\":1,\"output_length\":1}\nnonsense\n", |s| s.limit = Some(1));
    assert_eq!(cut.requests.len(), 1);
}

#[test]
fn a_window_keeps_whole_sessions_by_their_start() {
    let mut spec = WorkloadSpec::trace(fixture("sessions.jsonl"));
    spec.window = Some(Window { start_s: 0.5, end_s: 1.0005 });
    let w = workload::load(&spec).unwrap();
    // Only the second row starts in it: session b starts at its end, exclusive.
    assert_eq!(told(&w), [(0, 0, 0.0, 0.0, 600, 10)]);
    assert_eq!(w.requests[0].row, 1, "rows are those of the file");
    assert_eq!((w.blocks_of(0), w.distinct_blocks()), (vec![0, 1], 2));
    spec.window = Some(Window { start_s: 0.6, end_s: f64::INFINITY });
    let w = workload::load(&spec).unwrap();
    assert_eq!(w.session_names, ["b"]);
    assert_eq!(w.requests.iter().map(|r| r.arrival_ms).collect::<Vec<_>>(), [0.0, 2000.0, 2000.0]);
}

#[test]
fn closed_loop_needs_no_timestamps_and_ignores_their_order() {
    let rows = "{\"input_length\":5,\"output_length\":1}\n\
                {\"timestamp\":90,\"input_length\":5,\"output_length\":1,\"session_id\":\"x\"}\n\
                {\"timestamp\":70,\"input_length\":5,\"output_length\":1}\n\
                {\"timestamp\":95,\"input_length\":5,\"output_length\":1,\"session_id\":\"x\"}\n";
    let w = load_rows(rows, |s| s.concurrency = Some(2));
    assert_eq!(w.load, Load::Closed { concurrency: 2 });
    let times: Vec<_> = w.requests.iter().map(|r| (r.arrival_ms, r.delay_ms)).collect();
    assert_eq!(times, [(0.0, 0.0), (20.0, 0.0), (0.0, 0.0), (25.0, 5.0)]);
}

#[test]
fn growth_is_believed_only_when_the_prompts_grow() {
    let grown = "{\"timestamp\":0,\"session_id\":\"x\",\"input_length\":700,\"output_length\":300,\"hash_ids\":[1,2]}\n\
                 {\"session_id\":\"x\",\"input_length\":1100,\"output_length\":1,\"hash_ids\":[1,2,3]}\n";
    assert!(load_rows(grown, |s| s.grows = Some(true)).grows);
    assert!(!load_rows(grown, |_| {}).grows, "a trace does not say so by itself");
    for (not_grown, why) in [
        (grown.replace("1100", "1030").replace(":300", ":400"), "has 1030 tokens, but the turn before ended with 1100"),
        (grown.replace("[1,2,3]", "[1,4,3]"), "does not begin with the one of the turn before"),
    ] {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), not_grown).unwrap();
        let mut spec = WorkloadSpec::trace(file.path());
        spec.grows = Some(true);
        let error = workload::load(&spec).unwrap_err().to_string();
        assert!(error.contains(why) && error.contains("row 2"), "{error}");
    }
}

#[test]
fn line_ends_blank_lines_and_a_missing_last_break_do_not_matter() {
    let row = "{\"timestamp\":0,\"input_length\":1,\"output_length\":1}";
    let w = load_rows(&format!("\u{feff}{row}\r\n\r\n  {row}  \n\n{row}"), |_| {});
    assert_eq!(w.requests.iter().map(|r| r.row).collect::<Vec<_>>(), [0, 2, 4]);
}

/// Long conversations in small blocks: what is loaded grows with what is new, not with what is repeated.
#[test]
fn repeated_beginnings_take_no_memory() {
    let mut rows = String::new();
    for turn in 1..=40u64 {
        for session in 0..10u64 {
            // Hashes of any size, as some exporters write them.
            let id = |i: u64| (session << 32 | i).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let ids: Vec<String> = (0..20 * turn).map(|i| id(i).to_string()).collect();
            rows += &format!(
                "{{\"timestamp\":{},\"session_id\":{session},\"output_length\":1,\"hash_ids\":[{}]}}\n",
                turn * 1000 + session,
                ids.join(",")
            );
        }
    }
    let w = load_rows(&rows, |_| {});
    assert_eq!((w.contents.blocks(), w.distinct_blocks()), (10 * 20 * 41 * 20, 10 * 40 * 20));
    // Each turn adds one run to those of the turn before.
    assert_eq!(w.contents.all_runs().len(), 10 * 41 * 20);
    let prompt = |session: usize, turn: usize| w.blocks_of(w.session(session)[turn] as usize);
    assert!(prompt(3, 39).starts_with(&prompt(3, 38)) && prompt(3, 39).len() == 800);
    assert_eq!(workload::stats(&w).prompt_blocks, 164_000);
}

#[test]
fn the_real_conversation_trace() {
    let Some(path) = conversation() else { return };
    let w = workload::load(&WorkloadSpec::trace(&path)).unwrap();
    let stats = workload::stats(&w);
    assert_eq!((stats.requests, stats.sessions, stats.distinct_blocks), (12_031, 12_031, 182_790));
    assert_eq!(stats.span_s.round(), 3537.0);
    assert_eq!(stats.prompt_blocks, 288_500);
    // 0.373624, counted by an independent program.
    assert!((stats.ideal_prefix_reuse_ratio - 0.373_623_7).abs() < 1e-6, "{}", stats.ideal_prefix_reuse_ratio);
    assert!((stats.sessions_per_s.unwrap() - 12_030.0 / stats.span_s).abs() < 1e-9);
    // Its ids are already numbered in order of appearance.
    assert_eq!(&w.blocks_of(1)[..3], [0, 14, 15]);
}

#[test]
fn azure_rows_are_instants_and_failures_are_dropped() {
    let loaded = workload::load_with_notes(&WorkloadSpec::trace(fixture("azure2023.csv"))).unwrap();
    let rows: Vec<_> = told(&loaded.workload).iter().map(|r| (r.2, r.4, r.5)).collect();
    assert_eq!(rows, [(0.0, 4808, 10), (52.0, 3180, 8), (60_098.189, 7433, 14)]);
    assert_eq!(loaded.notes, ["1 rows without prompt or without output are dropped as failures"]);
    assert_eq!(loaded.workload.contents.blocks(), 10 + 7 + 15);
    assert_eq!(loaded.workload.distinct_blocks(), 32);
    let w = workload::load(&WorkloadSpec::trace(fixture("azure2024.csv"))).unwrap();
    assert_eq!(w.requests.iter().map(|r| r.arrival_ms).collect::<Vec<_>>(), [0.0, 500.0]);
}

#[test]
fn burstgpt_sessions_think_from_the_end_of_a_response() {
    let w = workload::load(&WorkloadSpec::trace(fixture("burstgpt_v1.csv"))).unwrap();
    let rows: Vec<_> = told(&w).iter().map(|r| (r.2, r.4, r.5)).collect();
    assert_eq!(rows, [(0.0, 472, 18), (40_000.0, 1087, 230), (113_000.0, 417, 276)]);
    let loaded = workload::load_with_notes(&WorkloadSpec::trace(fixture("burstgpt_v2.csv"))).unwrap();
    assert_eq!(
        told(&loaded.workload),
        [
            (0, 0, 0.0, 0.0, 906, 446),
            (1, 0, 51_000.0, 0.0, 36, 29),
            // Sent at 60.25 s, 17.25 s after the response of 43 s.
            (0, 1, 60_250.0, 17_250.0, 1400, 100),
            // Sent at 62 s, before the response of 65.25 s.
            (0, 2, 62_000.0, 0.0, 1600, 50),
            (2, 0, 70_000.0, 0.0, 20, 5),
        ]
    );
    assert!(loaded.notes[0].starts_with("1 turns were sent before"), "{:?}", loaded.notes);
    let w = workload::load(&WorkloadSpec::trace(fixture("vidur.csv"))).unwrap();
    assert_eq!(w.requests[1].arrival_ms, 4314.579);
}

#[test]
fn block_tokens_are_of_the_trace() {
    let source = SourceSpec::Trace { path: fixture("vidur.csv"), block_tokens: 16 };
    let w = workload::load(&WorkloadSpec::new(source)).unwrap();
    assert_eq!((w.block_tokens, w.blocks_of(0).len()), (16, 24));
}
