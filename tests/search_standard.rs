//! Strategies on problems whose true front is known: standard functions, and tables of everything.

use serde_json::Value as Json;
use servescout::search::benchmark::{Benchmark, Look};
use servescout::search::problems::Problem;

use crate::cli_common::{arg, run_to, small_search};

fn median(problem: Problem, evaluations: usize) -> f64 {
    let look = Look { evaluations: vec![evaluations], levels: vec![], batch: 50 };
    Benchmark::standard(problem).run_over_seeds("genetic", 3, &look).unwrap().quartiles[0][1]
}

/// A fifth to a half of the budget of the published comparison; `docs/search.md` has the whole one.
/// The bounds lie a little below what is found, and far above what it is without crossover, without
/// small mutations, or with survival by rank alone.
#[test]
fn the_genetic_strategy_finds_standard_fronts() {
    for (problem, evaluations, least) in [
        (Problem::Zdt1, 5000, 0.85),
        (Problem::Zdt2, 5000, 0.7),
        (Problem::Zdt3, 5000, 0.84),
        (Problem::Zdt6, 4000, 0.95),
        (Problem::Dtlz2, 2000, 0.86),
    ] {
        let share = median(problem, evaluations);
        assert!(share > least, "{}: {share} of the hypervolume after {evaluations}", problem.name());
    }
}

/// A run of the strategy `grid` is a table: its refusals and its violations too.
#[test]
fn an_exhaustive_run_is_a_problem_for_strategies() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("run");
    let space = [
        "--strategy=grid",
        "--budget=1000",
        "--set=hardware.max_gpus=12",
        "--set=aggregated.tp=[1, 2, 4]",
        "--set=aggregated.workers={ min = 1, max = 6 }",
        "--set=engine.max_num_seqs=[32, 128]",
        "--set=engine.max_num_batched_tokens=8192",
        "--set=router.policy=\"round_robin\"",
        "--set=router.overlap_credit=0.0",
        "--set=router.prefill_load_scale=0.0",
        "--set=constraints.ttft_p99_ms.max=600",
    ];
    run_to(0, &small_search(&out, &space));
    let table = out.join("evaluations");
    let bench = |more: &[&str]| {
        let knobs = "--knobs=aggregated.tp,aggregated.workers,engine.max_num_seqs";
        let mut args = vec!["bench", "search", "--table", arg(&table), knobs, "--log", "--json"];
        args.extend(["--minimize=usd_per_mtok_output,ttft_p90_ms", "--seeds=3", "--batch=2"]);
        args.extend(more);
        run_to(0, &args).0
    };
    // 36 configurations, of which those of more than 12 GPUs were refused: 3 of 18 shapes, twice.
    let text = bench(&[
        "--violation=violation",
        "--strategy=grid",
        "--strategy=auto",
        "--evaluations=4,30",
        "--reach=0.5,0.9999",
    ]);
    let json: Json = serde_json::from_str(&text).unwrap();
    let problem = &json["problems"][0];
    assert_eq!((&problem["configurations"], &problem["space_size"]), (&30.0.into(), &36.0.into()));
    for strategy in problem["strategies"].as_array().unwrap() {
        let shares = strategy["shares"].as_array().unwrap();
        assert!((shares[1]["median"].as_f64().unwrap() - 1.0).abs() < 1e-12, "all of it is all of it: {text}");
        assert!(shares[0]["median"].as_f64().unwrap() < 0.999, "{text}");
        let reached: Vec<u64> = (0..2).map(|k| strategy["reached"][k]["median"].as_u64().unwrap()).collect();
        assert!(reached[0] < reached[1] && reached[1] <= 30 && reached[1] > 4, "{text}");
    }
    // The same as a figure: a curve and a name for each.
    let figure = directory.path().join("new/shares.svg");
    let plot = format!("--plot={}", arg(&figure));
    bench(&["--violation=violation", "--strategy=random", "--strategy=genetic", "--evaluations=4,8,16,30", &plot]);
    let svg = std::fs::read_to_string(&figure).unwrap();
    assert!(["random", "genetic", "99 % found", "3 seeds"].iter().all(|text| svg.contains(text)), "{svg}");
    let (_, err) = run_to(2, &["bench", "search", "--problem=batch", "--plot=figure.png"]);
    assert!(err.contains("figure.png") && err.contains(".svg"), "{err}");
    let (_, err) = run_to(2, &["bench", "search", "--problem=zdt1", "--problem=zdt2", "--plot=figure.svg"]);
    assert!(err.contains("one problem"), "{err}");
    // A column of many values makes combinations that the table does not hold: that a run ends early is said.
    let sparse = "--knobs=aggregated.tp,aggregated.workers,engine.max_num_seqs,e2e_mean_ms";
    let mut args = vec!["bench", "search", "--table", arg(&table), sparse, "--violation=violation"];
    args.extend(["--minimize=usd_per_mtok_output,ttft_p90_ms", "--seeds=1", "--strategy=random", "--evaluations=30"]);
    let text = run_to(0, &args).0;
    assert!(text.contains("30 configurations of a space of") && text.contains("of 30 evaluations in a run"), "{text}");
    // What cannot be decoded is an error of the file.
    let whole = std::fs::read(std::fs::read_dir(&table).unwrap().next().unwrap().unwrap().path()).unwrap();
    let torn = directory.path().join("torn.parquet");
    for (at, byte) in [(whole.len() / 3, 0xff), (40, 0x7f), (whole.len() - 300, 0x80)] {
        let mut bytes = whole.clone();
        bytes[at..at + 24].fill(byte);
        std::fs::write(&torn, &bytes).unwrap();
        let args = ["bench", "search", "--table", arg(&torn), "--knobs=aggregated.tp", "--minimize=ttft_p90_ms"];
        let (_, err) = run_to(2, &args);
        assert!(err.contains("torn.parquet") && !err.contains("panicked"), "{err}");
    }
    // Without the column, the refused rows have no objectives to go by.
    let args = ["bench", "search", "--table", arg(&table), "--knobs=aggregated.tp", "--minimize=ttft_p90_ms"];
    let (_, err) = run_to(2, &args);
    assert!(err.contains("ttft_p90_ms") || err.contains("same knobs"), "{err}");
}
