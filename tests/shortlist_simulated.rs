//! What the shortlist simulates: intervals, chances, worst cases, explanations.

use std::fs;
use std::path::Path;

use serde_json::Value as Json;

use crate::cli_common::{arg, promised_files, run_to, small_search};

fn json(path: &Path) -> Json {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// A search of a moment, with few draws.
fn searched(out: &Path) -> String {
    run_to(0, &small_search(out, &["--budget", "48", "--set=shortlist.draws=12", "--set=shortlist.size=3"])).0
}

#[test]
fn a_search_says_how_sure_it_is_in_every_file() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("run");
    let text = searched(&out);
    assert!(text.contains("P(frontier)") && text.contains("of 12 draws"), "{text}");
    let list = json(&out.join("shortlist.json"));
    assert_eq!(list["intervals"]["draws"], 12);
    for entry in list["entries"].as_array().unwrap() {
        let p = |key: &str| entry["chances"][key].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&p("frontier")) && p("frontier") <= p("feasible") && p("feasible") <= 1.0);
        let ttft = &entry["metrics"]["ttft_p90_ms"];
        let [low, median, high] = ["low", "median", "high"].map(|key| ttft[key].as_f64().unwrap());
        assert!(low < median && median < high, "{ttft}");
        let directory = out.join(entry["directory"].as_str().unwrap());
        let expected = json(&directory.join("expected.json"));
        assert_eq!(expected["metrics"]["ttft_p90_ms"], *ttft);
        let why = fs::read_to_string(directory.join("why.md")).unwrap();
        assert!(why.contains("## Where the time goes") && why.contains("| engine.max_num_seqs |"), "{why}");
    }
    let assessment = json(&out.join("assessment.json"));
    for explained in assessment["explained"].as_array().unwrap() {
        let ms = |key: &str| explained["phases"][key].as_f64().unwrap();
        let phases = [
            "queue_ms",
            "tier_wait_ms",
            "prefill_ms",
            "transfer_ms",
            "decode_ms",
            "recomputation_ms",
            "preemption_ms",
            "outside_ms",
        ];
        assert!(phases.iter().all(|key| ms(key) >= 0.0), "{explained}");
        let id = explained["id"].as_str().unwrap();
        let entry = list["entries"].as_array().unwrap().iter().find(|e| e["id"] == id).unwrap();
        let e2e = entry["metrics"]["e2e_mean_ms"]["value"].as_f64().unwrap();
        let sum: f64 = phases.iter().map(|key| ms(key)).sum();
        assert!((sum / e2e - 1.0).abs() < 1e-6, "{sum} {e2e}");
    }
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.contains("80 %") && page.contains("Where the time of a mean request goes"));

    // Redone from what lies there: nothing is simulated, and nothing changes.
    let before = promised_files(&out);
    run_to(0, &["shortlist", arg(&out)]);
    run_to(0, &["report", arg(&out)]);
    let after = promised_files(&out);
    let changed: Vec<_> = before.iter().filter(|(name, bytes)| after[*name] != **bytes).map(|(name, _)| name).collect();
    assert!(changed.is_empty(), "{changed:?}");
}

#[test]
fn a_torn_or_foreign_assessment_is_named_and_made_again() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("run");
    searched(&out);
    let file = out.join("assessment.json");
    let whole = fs::read_to_string(&file).unwrap();
    let fingerprint = json(&file)["fingerprint"].as_str().unwrap().to_owned();
    let cases = [
        (whole[..whole.len() / 2].to_owned(), "does not read back"),
        (whole.replacen(&fingerprint, "another", 1), "is of another run"),
        (whole.replacen(&format!("\"format\":{}", json(&file)["format"]), "\"format\":9", 1), "has format 9"),
    ];
    for (text, why) in cases {
        fs::write(&file, &text).unwrap();
        let before = fs::read(out.join("shortlist.json")).unwrap();
        for command in ["shortlist", "report", "plot"] {
            let (_, said) = run_to(2, &[command, arg(&out)]);
            assert!(said.contains("assessment.json") && said.contains(why) && said.contains("--draws"), "{said}");
        }
        assert!(fs::read(out.join("shortlist.json")).unwrap() == before, "nothing is rewritten");
    }
    run_to(0, &["shortlist", arg(&out), "--draws", "12"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), whole);
}

#[test]
fn worst_cases_choose_and_stay_chosen() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("run");
    searched(&out);
    let (text, _) = run_to(0, &["shortlist", arg(&out), "--robust", "--draws", "9"]);
    assert!(text.contains("one worker lost") && text.contains("start-up x2: does not apply"), "{text}");
    assert!(text.contains("by worst cases") && !text.contains("NOTHING IS FEASIBLE"), "{text}");
    let list = json(&out.join("shortlist.json"));
    let robust = &list["robust"];
    let candidates = robust["candidates"].as_array().unwrap();
    assert_eq!(robust["scenarios"].as_array().unwrap().len(), 5);
    let ids = |list: &Json, key: &str| -> Vec<String> {
        list[key].as_array().unwrap().iter().map(|e| e["id"].as_str().unwrap().to_string()).collect()
    };
    assert_eq!(ids(&list, "entries"), ids(robust, "chosen"));
    let frontier = fs::read_to_string(out.join("frontier.csv")).unwrap();
    let header: Vec<&str> = frontier.lines().next().unwrap().split(',').collect();
    let at = header.iter().position(|name| *name == "ttft_p90_ms").unwrap();
    let mut worse = 0;
    for candidate in candidates {
        let line = frontier.lines().find(|line| line.starts_with(candidate["id"].as_str().unwrap())).unwrap();
        let plain: f64 = line.split(',').nth(at).unwrap().parse().unwrap();
        let Some(worst) = candidate["worst"][1][0].as_f64() else {
            assert!(!candidate["broken"].as_array().unwrap().is_empty(), "{candidate}");
            continue;
        };
        assert!(worst >= plain, "{candidate} {plain}");
        worse += usize::from(worst > plain * 1.01);
    }
    assert!(worse > 0, "no scenario was felt: {robust}");
    // Others redo it from the archive and keep the choice.
    let page = || fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page().contains("Worst cases"));
    run_to(0, &["report", arg(&out)]);
    assert!(page().contains("Worst cases"));
    run_to(0, &["shortlist", arg(&out)]);
    assert_eq!(ids(&json(&out.join("shortlist.json")), "entries"), ids(robust, "chosen"));
    // The plain choice comes back when it is asked for.
    run_to(0, &["shortlist", arg(&out), "--draws", "9"]);
    assert_eq!(json(&out.join("shortlist.json"))["robust"], Json::Null);
}

#[test]
fn a_candidate_is_explained_by_what_is_next_to_it() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("run");
    searched(&out);
    let (text, _) = run_to(0, &["explain", arg(&out), "1"]);
    for part in ["Where the time", "One knob moved", "Nearest loser", "Nearest miss", "P(feasible)"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let (explained, _) = run_to(0, &["explain", arg(&out), "1", "--json"]);
    let explained: Json = serde_json::from_str(&explained).unwrap();
    let id = explained["id"].as_str().unwrap();
    let (same, _) = run_to(0, &["explain", arg(&out), &id[..8], "--json"]);
    assert_eq!(explained, serde_json::from_str::<Json>(&same).unwrap());
    // What goes with the value that it needs is not told as a change.
    assert!(!text.contains("absent"), "{text}");
    // A step is what a replay of it says.
    let steps = explained["steps"].as_array().unwrap();
    let is_whole =
        |step: &&Json| step["values"]["ttft_p90_ms"].is_number() && step["besides"].as_array().unwrap().is_empty();
    let step = steps.iter().find(is_whole).unwrap_or_else(|| panic!("{explained}"));
    let first = json(&out.join("shortlist.json"))["entries"][0]["directory"].as_str().unwrap().to_string();
    let set = format!("{}={}", step["knob"].as_str().unwrap(), step["to"].as_str().unwrap());
    let set = if step["to"].as_str().unwrap().parse::<f64>().is_ok()
        || ["true", "false"].contains(&step["to"].as_str().unwrap())
    {
        set
    } else {
        format!("{}=\"{}\"", step["knob"].as_str().unwrap(), step["to"].as_str().unwrap())
    };
    let candidate = out.join(first).join("candidate.toml");
    let (replayed, _) = run_to(0, &["replay", arg(&candidate), "--json", "--set", &set]);
    let replayed: Json = serde_json::from_str(&replayed).unwrap();
    assert_eq!(replayed["metrics"]["ttft_p90_ms"], step["values"]["ttft_p90_ms"], "{step}");

    for (id, message) in
        [("99", "entries, not 99"), ("zzzz", "hexadecimal"), ("ffff", "begins with"), ("ab", "4 or more")]
    {
        let (_, error) = run_to(2, &["explain", arg(&out), id]);
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn simulating_needs_the_error_model_and_the_workload_that_it_names() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("run");
    searched(&out);
    let (_, error) = run_to(2, &["shortlist", arg(&out), "--calibration", "nowhere.toml"]);
    assert!(error.contains("nowhere.toml") && error.contains("help:"), "{error}");
    let (text, _) = run_to(0, &["shortlist", arg(&out), "--calibration", "none", "--draws", "9"]);
    assert!(text.contains("only the workload varies"), "{text}");
    // Another workload under the same name is another workload.
    let manifest = fs::read_to_string(out.join("manifest.toml")).unwrap();
    let digest = manifest.lines().find(|line| line.starts_with("sha256")).unwrap();
    fs::write(out.join("manifest.toml"), manifest.replace(digest, &format!("sha256 = \"{}\"", "0".repeat(64))))
        .unwrap();
    let (_, error) = run_to(2, &["shortlist", arg(&out), "--draws", "9"]);
    assert!(error.contains("SHA-256"), "{error}");
}

#[test]
fn of_equals_the_one_that_bears_slower_passes_is_listed() {
    let directory = tempfile::tempdir().unwrap();
    let listed = |name: &str, draws: &str| {
        let out = directory.path().join(name);
        let knobs = [
            "engine.max_num_seqs=[128, 256]",
            "engine.max_num_batched_tokens=4096",
            "aggregated.tp=8",
            "aggregated.workers=3",
            "router.policy=kv",
            "router.overlap_credit=1.5",
            "router.prefill_load_scale=4.0",
            "search.strategy=grid",
        ];
        let mut args = vec!["search", "search-spaces/quickstart.toml", "--out", arg(&out), "--set", draws];
        args.extend(knobs.iter().flat_map(|knob| ["--set", knob]));
        run_to(0, &args);
        let entry = json(&out.join("shortlist.json"))["entries"][0].clone();
        let candidate = out.join(entry["directory"].as_str().unwrap()).join("candidate.toml");
        (out, entry, fs::read_to_string(candidate).unwrap())
    };

    let (_, first, tight) = listed("predicted", "shortlist.draws=0");
    assert!(tight.contains("max_num_seqs = 128"), "{tight}");
    let (out, entry, roomy) = listed("drawn", "shortlist.draws=16");
    assert!(roomy.contains("max_num_seqs = 256"), "{roomy}");
    let value = |entry: &Json| entry["metrics"]["ttft_p90_ms"]["value"].clone();
    assert_eq!(value(&first), value(&entry));
    let why = entry["why"].as_str().unwrap();
    let place = format!("Takes the place of {}, found first", first["id"].as_str().unwrap());
    assert!(why.contains(&place) && why.contains("over 16 draws"), "{why}");
    assert_eq!(entry["stands_for"][0], first["id"]);
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    let on_the_frontier = format!("[{},\"aggregated vllm, 3 × TP8\",1,", entry["id"]);
    assert!(page.contains(&on_the_frontier), "nothing dominates it");

    // It is so again from what lies there.
    let before = promised_files(&out);
    run_to(0, &["shortlist", arg(&out)]);
    assert_eq!(before, promised_files(&out));
}
