//! `servescout fidelity`: the twin against measured serving points.

use std::path::Path;

use serde_json::Value as Json;

use crate::cli_common::{arg, run_to, servescout, text};

const HEADER: &str = "source,backend,backend_version,model_path,system,precision,quant_variant,isl,osl,concurrency,\
                      tp_size,moe_tp_size,moe_ep_size,fair,measured_ttft_ms,measured_tpot_ms";

/// Qwen3-32B on 2 x H100 under vLLM at 1024/1024, as published with DynoSim: concurrency, TTFT, TPOT.
const PUBLISHED: [(u32, f64, f64); 5] =
    [(8, 154.0, 15.9), (16, 187.0, 17.4), (32, 237.0, 20.1), (64, 381.0, 26.1), (128, 652.0, 37.8)];

fn published() -> String {
    let rows = PUBLISHED.map(|(concurrency, ttft, tpot)| {
        format!("gap,vllm,0.12.0,Qwen/Qwen3-32B,h100_sxm,,bf16,1024,1024,{concurrency},2,1,1,True,{ttft},{tpot}\n")
    });
    format!("{HEADER}\n{}", rows.concat())
}

fn write(directory: &Path, content: &str) -> String {
    let file = directory.join("points.csv");
    std::fs::write(&file, content).unwrap();
    arg(&file).to_owned()
}

fn json(args: &[&str]) -> Json {
    serde_json::from_str(&run_to(0, args).0).unwrap()
}

#[test]
fn published_points_are_predicted_better_than_by_the_peer() {
    let directory = tempfile::tempdir().unwrap();
    let file = write(directory.path(), &published());
    let answer = json(&["fidelity", &file, "--json"]);
    let mut fields: Vec<&str> = answer["overall"].as_object().unwrap().keys().map(String::as_str).collect();
    fields.sort_unstable();
    let mut wanted = [
        "n",
        "tpot_mape",
        "tpot_median_ape",
        "tpot_signed",
        "ttft_mape",
        "ttft_median_ape",
        "ttft_signed",
        "spearman_tpot",
        "spearman_throughput_per_gpu",
    ];
    wanted.sort_unstable();
    assert_eq!(fields, wanted);
    let error = |name: &str| answer["overall"][name].as_f64().unwrap();
    assert_eq!(answer["overall"]["n"], 5);
    // DynoSim's own mean absolute errors on these points.
    assert!(error("tpot_mape") < 13.8, "{answer}");
    assert!(error("ttft_mape") < 8.5, "{answer}");
    for group in ["vllm", "dense", "gap", "gap vllm Qwen/Qwen3-32B bf16 h100_sxm"] {
        assert_eq!(answer["groups"][group]["n"], 5, "{group}");
    }
    let plain = json(&["fidelity", &file, "--json", "--calibration", "none"]);
    assert!(plain["overall"] != answer["overall"], "the calibration does something");
}

#[test]
fn what_is_left_out_is_counted_and_named() {
    let directory = tempfile::tempdir().unwrap();
    let content = published()
        + "gap,vllm,0.12.0,Qwen/Qwen3-32B,h100_sxm,,bf16,1024,1024,64,2,1,1,False,1,1\n\
           inferencex,vllm,0.19.0,deepseek-ai/DeepSeek-V3,h200_sxm,fp8,label,1024,1024,4,8,8,1,True,100,12\n\
           inferencex,vllm,0.19.0,Qwen/Qwen3-32B,h100_sxm,,bf16,1024,1024,4,16,1,1,True,100,12\n\
           inferencex,vllm,0.19.0,MiniMaxAI/MiniMax-M2.5,h200_sxm,fp8,label,1024,1024,4,4,2,2,True,100,12\n";
    let file = write(directory.path(), &content);
    let answer = json(&["fidelity", &file, "--json"]);
    assert_eq!(answer["overall"]["n"], 5);
    assert_eq!(answer["groups"]["estimated, no measured tables"]["n"], 1, "{answer}");
    assert_eq!(answer["groups"]["unfiltered, fair or not"]["n"], 7);
    let skipped = answer["skipped"].as_array().unwrap();
    let lines: Vec<u64> = skipped.iter().map(|s| s["line"].as_u64().unwrap()).collect();
    assert_eq!(lines, [9, 10]);
    assert!(skipped[0]["why"].as_str().unwrap().contains("spans servers"), "{answer}");
    let (out, _) = run_to(0, &["fidelity", &file]);
    assert!(out.contains("2 points could not be simulated") && out.contains("line 10"), "{out}");
    assert!(out.contains("\noverall"), "{out}");
}

#[test]
fn mistakes_name_file_line_and_field() {
    let directory = tempfile::tempdir().unwrap();
    let file = write(directory.path(), &published().replace(",1024,1024,16,", ",1024,many,16,"));
    let (out, err) = run_to(2, &["fidelity", &file, "--json"]);
    assert!(out.is_empty() && err.contains("points.csv: line 3, `osl`: `many` is no number"), "{err}");
    let (_, err) = run_to(2, &["fidelity", "/nowhere.csv"]);
    assert!(err.contains("/nowhere.csv"), "{err}");
    let file = write(directory.path(), &published());
    let (_, err) = run_to(2, &["fidelity", &file, "--calibration", "/nowhere.toml"]);
    assert!(err.contains("/nowhere.toml") && err.contains("none, default"), "{err}");
    let (_, err) = run_to(2, &["fidelity", &file, "--plot", "figure.gif"]);
    assert!(err.contains("figure.gif"), "{err}");
}

#[test]
fn outputs_do_not_depend_on_threads() {
    let directory = tempfile::tempdir().unwrap();
    let file = write(directory.path(), &published());
    let with = |threads: &str| {
        let rows = directory.path().join(format!("rows-{threads}.csv"));
        let figure = directory.path().join(format!("figure-{threads}.svg"));
        let output = servescout(["fidelity", &file, "--rows", arg(&rows), "--plot", arg(&figure)])
            .env("RAYON_NUM_THREADS", threads)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        let read = |path: &Path| std::fs::read_to_string(path).unwrap();
        (text(&output.stdout), read(&rows), read(&figure))
    };
    let one = with("1");
    assert_eq!(one, with("3"));
    assert_eq!(one.1.lines().count(), 6);
    assert!(one.2.contains("Predicted against measured") && one.2.contains("vllm"));
}

#[test]
fn a_fit_improves_what_it_was_fitted_to_and_can_be_used() {
    let directory = tempfile::tempdir().unwrap();
    let rows = published();
    let file = write(directory.path(), &rows);
    let fitted = directory.path().join("own.toml");
    let (out, _) = run_to(0, &["fidelity", &file, "--fit", arg(&fitted)]);
    assert!(out.contains("cross-validated by workload") && out.contains("vllm    prefill"), "{out}");
    let error = |calibration: &str| {
        let answer = json(&["fidelity", &file, "--json", "--calibration", calibration]);
        ["tpot_mape", "ttft_mape"].map(|name| answer["overall"][name].as_f64().unwrap())
    };
    let (plain, own) = (error("none"), error(arg(&fitted)));
    assert!(own[0] < plain[0] && own[0] + own[1] < plain[0] + plain[1], "{plain:?} to {own:?}");
}

/// The public measurements, where they are at hand.
#[test]
fn the_public_measurements_are_predicted_better_than_by_the_peer() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/reference/silicon.csv");
    if !file.exists() {
        eprintln!("skipped: ../shared/reference/silicon.csv is not here");
        return;
    }
    let answer = json(&["fidelity", arg(&file), "--json"]);
    let peer = &answer["groups"]["AI Configurator on the same fair points"];
    assert_eq!(peer["n"], answer["overall"]["n"]);
    assert!(peer["n"].as_u64().unwrap() > 150, "{peer}");
    for name in ["tpot_mape", "tpot_median_ape", "ttft_mape", "ttft_median_ape"] {
        let (own, theirs) = (answer["overall"][name].as_f64().unwrap(), peer[name].as_f64().unwrap());
        assert!(own < theirs, "{name}: {own} against {theirs}");
    }
}
