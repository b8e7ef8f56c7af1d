//! Malformed traces and settings: each is an error that says where, what, why and what to do.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use servescout::workload::spec::Window;
use servescout::workload::{self, WorkloadError, WorkloadSpec};

/// The error of loading these bytes as a trace.
fn error_of(bytes: impl AsRef<[u8]>) -> WorkloadError {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), &bytes).unwrap();
    match workload::load(&WorkloadSpec::trace(file.path())) {
        Err(error) => error,
        Ok(_) => panic!("accepted: {}", String::from_utf8_lossy(bytes.as_ref())),
    }
}

const GOOD: &str = r#"{"timestamp":0,"input_length":600,"output_length":5,"hash_ids":[1,2]}"#;

#[test]
fn malformed_rows_are_located_and_explained() {
    // A row after a good one, the field to blame, words of the reason, words of the remedy.
    let cases: &[(&str, Option<&str>, &str, &str)] = &[
        (
            r#"{"timestamp":1,"input_length":-5,"output_length":5}"#,
            Some("input_length"),
            "is -5: a length cannot be negative",
            "whole number of tokens",
        ),
        (r#"{"timestamp":1,"input_length":5,"output_length":-1}"#, Some("output_length"), "negative", "whole number"),
        (
            r#"{"timestamp":1,"input_length":12.5,"output_length":5}"#,
            Some("input_length"),
            "is 12.5: not a whole number",
            "whole number",
        ),
        (
            r#"{"timestamp":1,"input_length":4294967296,"output_length":5}"#,
            Some("input_length"),
            "is 4294967296: more than 4294967295",
            "whole number",
        ),
        (
            r#"{"timestamp":1,"input_length":1000000000000000000,"output_length":5}"#,
            Some("input_length"),
            "1000000000000000000: more than",
            "whole number",
        ),
        (
            r#"{"timestamp":1,"input_length":1e30,"output_length":5}"#,
            Some("input_length"),
            "1e30: more than",
            "whole number",
        ),
        (
            r#"{"timestamp":1,"input_length":4294967295,"output_length":5}"#,
            Some("input_length"),
            "out of proportion to the file",
            "larger block_tokens",
        ),
        (
            r#"{"timestamp":1,"input_length":0,"output_length":5}"#,
            Some("input_length"),
            "at least 1 token",
            "drop the row",
        ),
        (
            r#"{"timestamp":1,"output_length":5,"hash_ids":[]}"#,
            Some("input_length"),
            "at least 1 token",
            "drop the row",
        ),
        (
            r#"{"timestamp":1,"output_length":5}"#,
            Some("input_length"),
            "is missing, and so are `hash_ids`",
            "prompt length",
        ),
        (r#"{"timestamp":1,"input_length":5}"#, Some("output_length"), "is missing", "tokens to generate"),
        (
            r#"{"timestamp":1,"input_length":"5","output_length":5}"#,
            Some("input_length"),
            r#"string "5", expected a number, at column 33"#,
            "a row looks like",
        ),
        (
            r#"{"timestamp":true,"input_length":5,"output_length":5}"#,
            Some("timestamp"),
            "boolean `true`, expected a number",
            "a row looks like",
        ),
        (
            r#"{"timestamp":NaN,"input_length":5,"output_length":5}"#,
            Some("timestamp"),
            "expected",
            "NaN and Infinity are not JSON numbers",
        ),
        (r#"{"timestamp":1e999,"input_length":5,"output_length":5}"#, Some("timestamp"), "number out of range", "JSON"),
        (
            r#"{"timestamp":1e18,"input_length":5,"output_length":5}"#,
            Some("timestamp"),
            "is 1e18: beyond 2^53 ms",
            "not nanoseconds",
        ),
        (
            r#"{"timestamp":-1,"input_length":5,"output_length":5}"#,
            Some("timestamp"),
            "is -1 ms, before the 0 ms of line 1",
            "servescout trace slice TRACE --sort --out SORTED",
        ),
        (r#"{"input_length":5,"output_length":5}"#, Some("timestamp"), "is missing on the first turn", "closed loop"),
        (
            r#"{"timestamp":1,"delay":4,"input_length":5,"output_length":5}"#,
            Some("delay"),
            "is 4 ms on the first turn of its session",
            "session_id",
        ),
        (
            r#"{"timestamp":1,"delay":-4,"input_length":5,"output_length":5}"#,
            Some("delay"),
            "a delay cannot be negative",
            "think time",
        ),
        (
            r#"{"timestamp":1,"session_id":"","input_length":5,"output_length":5}"#,
            Some("session_id"),
            "is empty",
            "name the session",
        ),
        (
            r#"{"timestamp":1,"session_id":[1],"input_length":5,"output_length":5}"#,
            Some("session_id"),
            "expected a name",
            "a row looks like",
        ),
        (
            r#"{"timestamp":1,"input_length":5,"input_length":6,"output_length":5}"#,
            Some("input_length"),
            "is given twice",
            "keep one",
        ),
        (
            r#"{"timestamp":1,"input_length":5,"input_tokens":5,"output_length":5}"#,
            Some("input_tokens"),
            "perhaps under an alias",
            "keep one",
        ),
        (
            r#"{"timestamp":1,"input_length":1024,"output_length":5,"hash_ids":[1,2,3]}"#,
            Some("hash_ids"),
            "has 3 ids, which at 512 tokens each stand for more than 1024 tokens, but `input_length` is 1024",
            "give 2 ids",
        ),
        (
            r#"{"timestamp":1,"input_length":1025,"output_length":5,"hash_ids":[1,2]}"#,
            Some("hash_ids"),
            "at most 1024 tokens, but `input_length` is 1025",
            "give 3 ids",
        ),
        (
            r#"{"timestamp":1,"input_length":64,"output_length":5,"hash_ids":[1,2,3,4]}"#,
            Some("hash_ids"),
            "has 4 ids",
            "block_tokens = 16",
        ),
        (
            r#"{"timestamp":1,"input_length":5,"output_length":5,"hash_ids":[1.5]}"#,
            Some("hash_ids"),
            "expected an integer of at most 64 bits",
            "a row looks like",
        ),
        (
            r#"{"timestamp":1,"input_length":5,"output_length":5,"hash_ids":[99999999999999999999]}"#,
            Some("hash_ids"),
            "expected an integer of at most 64 bits",
            "a row looks like",
        ),
        (
            r#"{"timestamp":1,"input_length":5,"output_length":5,"hash_ids":"1"}"#,
            Some("hash_ids"),
            "expected an array of integers",
            "a row looks like",
        ),
        (
            r#"{"timestamp":1,"input_length":5,"output_length":5,"output_token_ids":[1,2]}"#,
            Some("output_token_ids"),
            "has 2 ids, but `output_length` is 5",
            "make them agree",
        ),
        (
            r#"{"timestamp":1,"input_length":5,"output_length":5,"output_token_ids":7}"#,
            Some("output_token_ids"),
            "is not an array",
            "leave it out",
        ),
        (
            r#"{"timestamp":1,"input_length":5,"output_length":5,"sesion_id":"a"}"#,
            Some("sesion_id"),
            "is not a field",
            "write `session_id`",
        ),
        (
            r#"{"timestamp":1,"input_length":5,"output_length":5,"wait_for":["r1"]}"#,
            Some("wait_for"),
            "agentic graph",
            "flatten",
        ),
        (
            r#"{"timestamp":1,"output_length":5,"messages":[{"role":"user"}]}"#,
            Some("messages"),
            "tokenizer",
            "`input_length`",
        ),
        (
            r#"{"chat_id":159,"timestamp":61.1,"input_length":5,"output_length":5}"#,
            Some("chat_id"),
            "Qwen-Bailian",
            "block_tokens = 16",
        ),
        (r#"[1,2]"#, None, "sequence, expected a JSON object", "a row looks like"),
        (r#"5"#, None, "expected a JSON object", "a row looks like"),
        (
            r#"{"timestamp":1,"input_length":5,"output_length":5} {}"#,
            None,
            "trailing characters",
            "one JSON object per line",
        ),
        (r#"{"timestamp":1,"input_length":5,"#, None, "ends in the middle of a row", "one JSON object per line"),
        (r#"{timestamp:1}"#, None, "key must be a string", "one JSON object per line"),
    ];
    for &(row, field, why, help) in cases {
        let error = error_of(format!("{GOOD}\n{row}\n{GOOD}\n"));
        let text = error.to_string();
        assert_eq!(error.line(), Some(2), "{row}: {text}");
        assert_eq!(error.field(), field, "{row}: {text}");
        assert_eq!(error.exit_code(), 2);
        let (said_why, said_help) = text.split_once("\n  help: ").unwrap_or_else(|| panic!("no help: {text}"));
        assert!(said_why.contains(why), "{row}: {text}");
        assert!(said_help.contains(help), "{row}: {text}");
        assert!(said_why.contains(":2: "), "{text}");
    }
}

#[test]
fn turns_out_of_order_name_both_lines() {
    let rows = r#"{"timestamp":0,"session_id":"a","input_length":5,"output_length":5}
{"timestamp":9,"session_id":"a","input_length":5,"output_length":5}
{"timestamp":8,"session_id":"a","input_length":5,"output_length":5}"#;
    let error = error_of(rows);
    assert_eq!((error.line(), error.field()), (Some(3), Some("timestamp")));
    assert!(error.to_string().contains("is 8 ms, before the 9 ms of its session's turn on line 2"), "{error}");
}

#[test]
fn files_that_are_no_trace() {
    let cases: &[(&[u8], Option<u64>, &str, &str)] = &[
        (b"", None, "is empty", "one JSON object per line"),
        (b"\n \n\n", None, "is empty", "one JSON object per line"),
        (b"TIMESTAMP,ContextTokens,GeneratedTokens\n", None, "has no usable row", "at least one request"),
        (b"\x1f\x8b\x08\x00", None, "gzip", "gunzip"),
        (b"PAR1....", None, "Parquet", "JSON Lines"),
        (b"\xff\xfe{\x00", None, "UTF-16", "UTF-8"),
        (b"{\"timestamp\":0,\"\xc3\x28\":1}\n", Some(1), "is not UTF-8 text (byte 17 of the line)", "UTF-8"),
        (b"[{\"timestamp\":0}]", Some(1), "starts a JSON array", "jq -c '.[]'"),
        (b"{\n  \"timestamp\": 0\n}\n", Some(1), "ends in the middle", "indented JSON"),
        (b"time,in,out\n1,2,3\n", Some(1), "nor a known CSV header", "ContextTokens"),
        (
            b"TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03,1\n",
            Some(2),
            "has 2 columns, but the header has 3",
            "delete",
        ),
        (
            b"TIMESTAMP,ContextTokens,GeneratedTokens\nyesterday,1,1\n",
            Some(2),
            "not a date and time",
            "2023-11-16 18:17:03",
        ),
        (
            b"TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03,-1,1\n",
            Some(2),
            "not a whole number",
            "delete the row",
        ),
        (
            b"arrived_at,num_prefill_tokens,num_decode_tokens\nnan,1,1\n",
            Some(2),
            "not a number of seconds",
            "give seconds",
        ),
        (
            b"arrived_at,num_prefill_tokens,num_decode_tokens\n5,1,1\n4,1,1\n",
            Some(3),
            "before the 5000 ms of line 2",
            "--sort",
        ),
    ];
    for &(bytes, line, why, help) in cases {
        let error = error_of(bytes);
        let text = error.to_string();
        assert_eq!(error.line(), line, "{text}");
        assert_eq!(error.exit_code(), 2, "{text}");
        let (said_why, said_help) = text.split_once("\n  help: ").unwrap();
        assert!(said_why.contains(why) && said_help.contains(help), "{text}");
    }
    let cut = error_of(format!("{GOOD}\n{}", &GOOD[..40]));
    assert_eq!(cut.line(), Some(2));
    assert!(cut.to_string().contains("the last line is cut off"), "{cut}");
}

#[test]
fn paths_that_are_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let load = |path: &Path| workload::load(&WorkloadSpec::trace(path)).unwrap_err();
    let error = load(directory.path());
    assert!(error.to_string().contains("is a directory"), "{error}");
    assert_eq!(error.exit_code(), 2);
    let error = load(&directory.path().join("none.jsonl"));
    assert!(error.to_string().contains("none.jsonl: no such file"), "{error}");
    assert_eq!(error.exit_code(), 2);
}

#[test]
fn settings_out_of_range() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), GOOD).unwrap();
    let base = WorkloadSpec::trace(file.path());
    let window = |start_s, end_s| WorkloadSpec { window: Some(Window { start_s, end_s }), ..base.clone() };
    let cases = [
        (WorkloadSpec { speedup: 0.0, ..base.clone() }, "speedup"),
        (WorkloadSpec { speedup: -1.0, ..base.clone() }, "speedup"),
        (WorkloadSpec { speedup: f64::NAN, ..base.clone() }, "speedup"),
        (WorkloadSpec { concurrency: Some(0), ..base.clone() }, "concurrency"),
        (WorkloadSpec { limit: Some(0), ..base.clone() }, "limit"),
        (window(5.0, 5.0), "window"),
        (window(-1.0, 5.0), "window"),
        (window(f64::NAN, 5.0), "window"),
        (window(0.0, f64::NAN), "window"),
        (window(5.0, 6.0), "window"),
        (WorkloadSpec::new(workload::SourceSpec::Trace { path: file.path().into(), block_tokens: 0 }), "block_tokens"),
    ];
    for (spec, field) in cases {
        let error = workload::load(&spec).unwrap_err();
        assert_eq!(error.field(), Some(field), "{error}");
        assert_eq!(error.exit_code(), 2);
    }
    // Two rows a year apart cannot be stretched a billion billion times.
    fs::write(file.path(), format!("{GOOD}\n{}\n", GOOD.replace(":0,", ":31536000000,"))).unwrap();
    let error = workload::load(&WorkloadSpec { speedup: 1e-18, ..base }).unwrap_err();
    assert_eq!(error.field(), Some("speedup"), "{error}");
}

#[test]
fn a_file_of_countless_unknown_fields_is_refused() {
    let rows: String =
        (0..100).map(|i| GOOD.replace("\"hash_ids\"", &format!("\"x{i}y\":1,\"hash_ids\"")) + "\n").collect();
    let error = error_of(rows);
    assert_eq!(error.line(), Some(65));
    assert!(error.to_string().contains("more than 64"), "{error}");
}

/// Rows made of pieces that are each likely to be wrong somewhere.
fn hostile_row() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        Just("0".to_owned()),
        Just("-0.0".to_owned()),
        Just("null".to_owned()),
        Just("[]".to_owned()),
        Just("[0,-9223372036854775808,18446744073709551615]".to_owned()),
        Just("\"a\\u00e9\\n\"".to_owned()),
        Just("4294967295".to_owned()),
        Just("1e308".to_owned()),
        Just("{\"a\":[[[1]]]}".to_owned()),
        (0u32..2000).prop_map(|n| n.to_string()),
        proptest::collection::vec(0u64..5, 0..5).prop_map(|ids| format!("{ids:?}")),
        any::<f64>().prop_map(|x| x.to_string()),
    ];
    let key = prop_oneof![
        Just("timestamp"),
        Just("input_length"),
        Just("output_length"),
        Just("hash_ids"),
        Just("session_id"),
        Just("delay"),
        Just("priority"),
        Just("output_token_ids"),
        Just("other"),
        Just("wait_for"),
    ];
    let pairs = proptest::collection::vec((key, value), 0..7);
    let row = pairs.prop_map(|pairs| {
        let fields: Vec<String> = pairs.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
        format!("{{{}}}", fields.join(","))
    });
    (row, 0usize..400).prop_map(|(row, keep)| row.chars().take(keep.max(20)).collect())
}

proptest! {
    /// Whatever the bytes, loading answers, and what it accepts is a sound workload.
    #[test]
    fn nothing_panics(rows in proptest::collection::vec(hostile_row(), 0..6), closed in any::<bool>()) {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), rows.join("\n")).unwrap();
        let mut spec = WorkloadSpec::trace(file.path());
        spec.concurrency = closed.then_some(1);
        if let Ok(w) = workload::load(&spec) {
            for (index, r) in w.requests.iter().enumerate() {
                prop_assert!(r.arrival_ms >= 0.0 && r.arrival_ms.is_finite() && r.delay_ms >= 0.0);
                let blocks = w.blocks_of(index);
                prop_assert_eq!(blocks.len(), r.input_tokens.div_ceil(512) as usize);
                prop_assert!(blocks.iter().all(|&b| b < w.distinct_blocks()));
                prop_assert_eq!(w.session(r.session as usize)[r.turn as usize] as usize, index);
            }
        }
    }

    #[test]
    fn arbitrary_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), bytes).unwrap();
        let _ = workload::load(&WorkloadSpec::trace(file.path()));
    }
}
