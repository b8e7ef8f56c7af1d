//! Figures: what they say, that they say it twice in the same bytes, and that odd data draws too.

use std::fs;
use std::path::Path;

use servescout::archive::RunData;
use servescout::plot::Figures;
use servescout::search::Evaluation;
use servescout::shortlist::{Role, build};
use servescout::space::Study;

use crate::fixture;
use fixture::{candidate, large_study, metrics, modelled, run_in, study, study_with};

fn run(study: &Study, rows: &[Evaluation]) -> RunData {
    run_in(tempfile::tempdir().unwrap().path(), study, rows)
}

/// Draws all figures of a run; file names and contents.
fn drawn(run: &RunData) -> Vec<(String, Vec<u8>)> {
    let directory = tempfile::tempdir().unwrap();
    let files = Figures::of(run, &build(run, 6)).unwrap().write(directory.path()).unwrap();
    let listed = fs::read_dir(directory.path()).unwrap().count();
    assert_eq!(files.len(), listed, "nothing but the figures is left behind");
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    files.iter().map(|path| (name(path), fs::read(path).unwrap())).collect()
}

fn svg(files: &[(String, Vec<u8>)], name: &str) -> String {
    let (_, bytes) = files.iter().find(|(n, _)| n == &format!("{name}.svg")).unwrap_or_else(|| panic!("no {name}.svg"));
    String::from_utf8(bytes.clone()).unwrap()
}

/// The texts of an SVG, in order.
fn texts(svg: &str) -> Vec<String> {
    let inside = svg.split("<text").skip(1).map(|t| t.split_once('>').unwrap().1);
    let unescape = |t: &str| t.replace("&lt;", "<").replace("&gt;", ">").replace("&apos;", "'").replace("&amp;", "&");
    inside.map(|t| unescape(t.split_once("</text>").unwrap().0.trim())).collect()
}

/// Colours that have a meaning.
const FRONTIER: &str = "#0072B2";
const PICK: &str = "#D55E00";
const INFEASIBLE: &str = "#9A9A9A";

#[test]
fn the_frontier_figure_says_what_it_shows() {
    let study = study_with(
        "[objectives]\nminimize = [\"usd_per_mtok_output\", \"ttft_p90_ms\"]\n[constraints]\nitl_p90_ms = { max = 22 }\nttft_p90_ms = { max = 400 }",
    );
    let run = run(&study, &modelled(&study, 800));
    let list = build(&run, 6);
    let files = drawn(&run);
    let figure = svg(&files, "frontier");
    let texts = texts(&figure);
    let has = |text: &str| texts.iter().any(|t| t == text);
    assert!(has("TTFT p90 against cost per million output tokens"), "{texts:?}");
    assert!(has("Cost per million output tokens (USD/Mtok), lower is better"), "{texts:?}");
    assert!(has("TTFT p90 (ms), lower is better"));
    assert!(has("≤ 400"), "a bound on an axis is drawn: {texts:?}");
    assert!(has(&format!("frontier ({})", list.counts.frontier)));
    assert!(has(&format!("infeasible ({})", list.counts.infeasible)));
    for pick in &list.picks {
        let labelled =
            texts.iter().filter(|t| t.split(' ').next() == Some(&pick.rank.to_string()) && !t.contains('=')).count();
        assert!(labelled >= 1, "pick {} has no label in {texts:?}", pick.rank);
    }
    let roles: Vec<Role> = list.picks.iter().flat_map(|pick| pick.roles.clone()).collect();
    let named = |role: &Role, words: &str| roles.contains(role) == texts.iter().any(|t| t.contains(words));
    assert!(named(&Role::Knee, " knee"), "{roles:?} {texts:?}");
    assert!(texts.iter().any(|t| t.ends_with(" lowest cost")) && texts.iter().any(|t| t.ends_with(" lowest TTFT p90")));
    let discs = |color: &str| figure.lines().filter(|l| l.starts_with("<circle") && l.contains(color)).count();
    assert_eq!(discs(PICK), list.picks.len() + 1, "one per pick and one in the legend");
    assert!(figure.lines().any(|l| l.starts_with("<polyline") && l.contains(INFEASIBLE)), "crosses");
    assert!(figure.contains("<title>") && figure.contains("<desc>"));
    assert!(figure.contains("font-weight=\"bold\"") && figure.contains("DejaVu Sans"));
}

#[test]
fn the_staircase_has_a_step_per_member() {
    let study = study();
    let point = |tp: &str, cost: f64, ttft: f64| {
        let values = [("usd_per_mtok_output", cost), ("ttft_p90_ms", ttft), ("itl_p90_ms", 10.0)];
        fixture::evaluation(&study, candidate(&study, &[("aggregated.tp", tp)]), metrics(&values), 0.0, None)
    };
    let rows = [point("1", 1.0, 900.0), point("2", 2.0, 500.0), point("4", 3.0, 400.0), point("8", 4.0, 950.0)];
    let figure = svg(&drawn(&run(&study, &rows)), "frontier");
    let path = figure.lines().find(|l| l.starts_with("<polyline") && l.contains(FRONTIER)).expect("a staircase");
    let points: Vec<(f64, f64)> = path
        .split_once("points=\"")
        .unwrap()
        .1
        .split_whitespace()
        .filter_map(|p| p.trim_end_matches("\"/>").split_once(','))
        .map(|(x, y)| (x.parse().unwrap(), y.parse().unwrap()))
        .collect();
    // From above the first member, through three members with a corner between each two, to the right.
    assert_eq!(points.len(), 1 + 3 + 2 + 1, "{points:?}");
    for pair in points.windows(2) {
        let ((ax, ay), (bx, by)) = (pair[0], pair[1]);
        assert!(ax == bx || ay == by, "only level and upright lines: {pair:?}");
        assert!(bx >= ax && by >= ay, "rightwards and down the page: {pair:?}");
    }
}

#[test]
fn same_run_same_bytes() {
    let study = study();
    let run = run(&study, &modelled(&study, 300));
    assert!(drawn(&run) == drawn(&run));
}

#[test]
fn pngs_are_pngs_of_the_stated_size() {
    let study = study();
    for (name, bytes) in drawn(&run(&study, &modelled(&study, 50))) {
        if name.ends_with(".png") {
            assert_eq!(&bytes[..8], b"\x89PNG\r\n\x1a\n", "{name}");
            let side = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
            assert_eq!((side(16), side(20)), (1200, 800), "{name}");
        }
    }
}

#[test]
fn figures_of_forty_six_thousand_candidates_are_small() {
    let study = large_study();
    let rows = modelled(&study, 46_000);
    assert_eq!(rows.len(), 46_000);
    let run = run(&study, &rows);
    for (name, bytes) in drawn(&run) {
        assert!(bytes.len() < 1_000_000, "{name} has {} bytes", bytes.len());
    }
}

#[test]
fn spread_out_points_stay_below_the_size_limit_too() {
    let study = large_study();
    let mut rows = modelled(&study, 20_000);
    for (i, row) in rows.iter_mut().enumerate() {
        // Everywhere in the plane, half of it infeasible.
        let (x, y) = ((i as f64 * 0.618_034).fract(), (i as f64 * 0.414_214).fract());
        let values = [("usd_per_mtok_output", 1.0 + x), ("ttft_p90_ms", 100.0 + 800.0 * y), ("itl_p90_ms", 10.0)];
        let violation = if i % 2 == 0 { 0.0 } else { 0.5 };
        *row = fixture::evaluation(&study, row.candidate.clone(), metrics(&values), violation, None);
    }
    let figure = svg(&drawn(&run(&study, &rows)), "frontier");
    assert!(figure.len() < 1_000_000, "{}", figure.len());
    assert!(figure.matches("<circle").count() > 1000, "and it is not empty: {}", figure.matches("<circle").count());
}

#[test]
fn odd_runs_draw() {
    let study = study();
    let point = |tp: &str, cost: f64, ttft: f64, violation: f64| {
        let values = [("usd_per_mtok_output", cost), ("ttft_p90_ms", ttft), ("itl_p90_ms", 10.0)];
        fixture::evaluation(&study, candidate(&study, &[("aggregated.tp", tp)]), metrics(&values), violation, None)
    };
    let cases: [(&str, Vec<Evaluation>, &str); 8] = [
        ("none at all", vec![], "No candidate has a value in both metrics."),
        ("only NaN", vec![point("1", f64::NAN, f64::NAN, f64::INFINITY)], "No candidate has a value in both metrics."),
        ("one", vec![point("1", 2.0, 300.0, 0.0)], "frontier (1)"),
        ("all alike", ["1", "2", "4"].map(|tp| point(tp, 2.0, 300.0, 0.0)).to_vec(), "dominated (2)"),
        ("nothing feasible", vec![point("1", 2.0, 300.0, 0.5), point("2", 3.0, 200.0, 0.2)], "nearest misses (2)"),
        ("zeros", vec![point("1", 0.0, 0.0, 0.0), point("2", 0.0, 5.0, 0.0)], "frontier (1)"),
        ("infinite", vec![point("1", f64::INFINITY, 5.0, 0.0), point("2", 1.0, 5.0, 0.0)], "frontier (1)"),
        ("extreme", vec![point("1", 1e-12, 1e300, 0.0), point("2", 1e200, 1e-3, 0.0)], "frontier (2)"),
    ];
    for (name, rows, expected) in cases {
        let files = drawn(&run(&study, &rows));
        assert_eq!(files.len(), 14, "{name}");
        let texts = texts(&svg(&files, "frontier"));
        assert!(texts.iter().any(|t| t == expected), "{name}: {texts:?}");
    }
}

#[test]
fn three_objectives_have_three_planes() {
    let study = study_with(
        "[objectives]\nminimize = [\"usd_per_mtok_output\", \"ttft_p90_ms\"]\nmaximize = [\"tokens_per_s_per_user\"]\n[constraints]\nitl_p90_ms = { max = 60 }",
    );
    let files = drawn(&run(&study, &modelled(&study, 200)));
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).filter(|n| n.ends_with(".svg")).collect();
    assert_eq!(
        names,
        [
            "frontier.svg",
            "frontier-1-3.svg",
            "frontier-2-3.svg",
            "hypervolume.svg",
            "per-gpu-vs-per-user.svg",
            "frontier-configurations.svg",
            "knob-importance.svg",
            "slices-usd_per_mtok_output.svg",
            "slices-ttft_p90_ms.svg",
            "slices-tokens_per_s_per_user.svg"
        ]
    );
    let texts = texts(&svg(&files, "frontier-2-3"));
    assert!(texts.iter().any(|t| t == "Speed per user (tokens/s/user), higher is better"), "{texts:?}");
}

#[test]
fn the_hypervolume_figure_counts_simulations_and_ends_at_the_top() {
    let study = study();
    let run = run(&study, &modelled(&study, 400));
    let figure = svg(&drawn(&run), "hypervolume");
    let texts = texts(&figure);
    assert!(texts.iter().any(|t| t == "Simulations"), "{texts:?}");
    assert!(texts.iter().any(|t| t == "Share of the final hypervolume (%)"));
    assert!(texts.iter().any(|t| t == "random"), "the strategy is named");
    assert!(texts.iter().any(|t| t.starts_with("99 % after ")));
}

#[test]
fn what_the_objectives_depend_on_is_what_the_model_says() {
    let study = study();
    let run = run(&study, &modelled(&study, 640));
    let importance = servescout::shortlist::knob_importance(&run).unwrap();
    let of = |knob: &str, objective: usize| {
        let place = importance.knobs.iter().position(|name| name == knob).unwrap_or_else(|| panic!("no {knob}"));
        importance.objectives[objective].importance[place]
    };
    assert!(importance.objectives.iter().all(|o| o.explained > 0.8), "{importance:?}");
    // Cost is a matter of GPUs; latency of the tensor-parallel size, and not of the number of workers.
    assert!(of("aggregated.tp", 0) > 0.3 && of("aggregated.workers", 0) > 0.1, "{importance:?}");
    assert!(of("aggregated.tp", 1) > 0.5 && of("aggregated.workers", 1) < 0.1, "{importance:?}");
    assert!(!importance.knobs.iter().any(|knob| knob == "router.overlap_decay"), "pinned knobs explain nothing");
    let texts = texts(&svg(&drawn(&run), "knob-importance"));
    assert!(texts.iter().any(|t| t == "aggregated.tp"), "{texts:?}");
    assert!(texts.iter().any(|t| t.starts_with("TTFT p90 (") && t.ends_with("% explained)")), "{texts:?}");
}

#[test]
fn configurations_and_slices_name_knobs_and_values() {
    let study = study();
    let run = run(&study, &modelled(&study, 640));
    let list = build(&run, 6);
    let files = drawn(&run);
    let found = texts(&svg(&files, "frontier-configurations"));
    for expected in ["workers", "tp", "TTFT p90", "USD/Mtok", &format!("shortlist ({})", list.picks.len())] {
        assert!(found.iter().any(|t| t == expected), "no {expected} in {found:?}");
    }
    for pick in &list.picks {
        assert!(found.iter().any(|t| *t == pick.rank.to_string()), "no {} in {found:?}", pick.rank);
    }
    let found = texts(&svg(&files, "slices-ttft_p90_ms"));
    for expected in ["aggregated.tp", "8", "TTFT p90 (ms), lower is better", "best of each value"] {
        assert!(found.iter().any(|t| t == expected), "no {expected} in {found:?}");
    }
}

#[test]
fn a_hostile_name_stays_text() {
    let study = study();
    let mut run = run(&study, &modelled(&study, 30));
    run.workload.source = "\u{7}</text><script>&\r\n.jsonl".into();
    for (name, bytes) in drawn(&run) {
        if name.ends_with(".svg") {
            let figure = String::from_utf8(bytes).unwrap();
            assert!(!figure.contains("<script"), "{name}");
            assert!(figure.contains("&lt;script&gt;") || name == "knob-importance.svg", "{name}");
            assert!(!figure.chars().any(|c| c.is_control() && c != '\n'), "{name}");
        }
    }
}

#[test]
fn an_unwritable_directory_is_named() {
    let study = study();
    let run = run(&study, &modelled(&study, 5));
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("plots");
    fs::write(&file, "a file").unwrap();
    let error = Figures::of(&run, &build(&run, 6)).unwrap().write(&file).unwrap_err().to_string();
    assert!(error.contains("plots"), "{error}");
}
