//! The shortlist on cases made by hand: what is chosen, why, and what the files say.

use std::fs;

use servescout::archive::RunData;
use servescout::search::Evaluation;
use servescout::shortlist::{Role, Shortlist, build, escape_markdown, render_terminal, write};
use servescout::space::{Candidate, Study, load_replay};

use crate::fixture;
use fixture::{candidate, metrics, run_in, study, study_with};

/// An evaluation by shape, cost, latency and the constrained metric.
fn point(study: &Study, tp: u32, workers: u32, seqs: u32, cost: f64, ttft: f64, itl: f64) -> Evaluation {
    let (tp, workers, seqs) = (tp.to_string(), workers.to_string(), seqs.to_string());
    let knobs = [("aggregated.tp", tp.as_str()), ("aggregated.workers", &workers), ("engine.max_num_seqs", &seqs)];
    with_values(study, candidate(study, &knobs), cost, ttft, itl)
}

fn with_values(study: &Study, candidate: Candidate, cost: f64, ttft: f64, itl: f64) -> Evaluation {
    let values = [("usd_per_mtok_output", cost), ("ttft_p90_ms", ttft), ("itl_p90_ms", itl), ("gpus_mean", 8.0)];
    let over = if itl > 60.0 { (itl - 60.0) / 60.0 } else { 0.0 };
    let reason = (over > 0.0).then_some("itl_p90_ms is over its bound");
    fixture::evaluation(study, candidate, metrics(&values), over, reason)
}

fn refused(study: &Study, tp: u32, workers: u32, reason: &str) -> Evaluation {
    let candidate = point(study, tp, workers, 64, 1.0, 1.0, 1.0).candidate;
    fixture::evaluation(study, candidate, metrics(&[]), f64::INFINITY, Some(reason))
}

fn shortlist(study: &Study, rows: &[Evaluation], size: usize) -> (RunData, Shortlist) {
    let directory = tempfile::tempdir().unwrap();
    let run = run_in(directory.path(), study, rows);
    let shortlist = build(&run, size);
    (run, shortlist)
}

fn roles(shortlist: &Shortlist) -> Vec<(usize, Vec<Role>)> {
    shortlist.picks.iter().map(|p| (p.row, p.roles.clone())).collect()
}

/// A convex frontier of seven, two dominated points and an infeasible one that would dominate all.
fn convex(study: &Study) -> Vec<Evaluation> {
    vec![
        point(study, 1, 2, 64, 1.0, 4000.0, 50.0),
        point(study, 1, 3, 64, 1.2, 1500.0, 50.0),
        point(study, 2, 2, 64, 1.5, 700.0, 45.0),
        point(study, 2, 3, 64, 2.2, 520.0, 40.0),
        point(study, 4, 2, 64, 3.5, 420.0, 30.0),
        point(study, 4, 3, 64, 6.0, 370.0, 25.0),
        point(study, 8, 2, 64, 9.0, 350.0, 20.0),
        point(study, 1, 8, 64, 2.5, 3000.0, 50.0),
        point(study, 8, 8, 64, 12.0, 900.0, 50.0),
        point(study, 8, 3, 64, 0.9, 340.0, 90.0),
    ]
}

#[test]
fn knee_extremes_then_what_covers_most() {
    let study = study();
    let (_, list) = shortlist(&study, &convex(&study), 4);
    let chosen = roles(&list);
    assert_eq!(chosen[0], (2, vec![Role::Knee]));
    assert_eq!(chosen[1], (0, vec![Role::Best(0)]));
    assert_eq!(chosen[2], (6, vec![Role::Best(1)]));
    assert_eq!(chosen[3].1, vec![Role::Covers]);
    assert!(list.picks[3].gain > 0.0);
    assert!(list.feasible && list.coverage.unwrap() > 0.9, "{:?}", list.coverage);
    assert_eq!(list.counts.frontier, 7);
    assert_eq!((list.counts.feasible, list.counts.infeasible, list.counts.refused), (9, 1, 0));
}

#[test]
fn the_fourth_pick_is_the_one_that_adds_most_hypervolume() {
    let study = study();
    let rows = convex(&study);
    let (run, list) = shortlist(&study, &rows, 4);
    // By hand, over every possible fourth member.
    let frontier = run.frontier();
    let points: Vec<f64> = frontier.iter().flat_map(|&i| rows[i].objectives.clone()).collect();
    let reference = servescout::frontier::Reference::by_rule(&points, 2).unwrap();
    let volume = |picks: &[usize]| -> f64 {
        let points: Vec<f64> = picks.iter().flat_map(|&i| rows[i].objectives.clone()).collect();
        reference.hypervolume(&points)
    };
    let best = frontier
        .iter()
        .filter(|i| ![0, 2, 6].contains(*i))
        .max_by(|&&a, &&b| volume(&[0, 2, 6, a]).total_cmp(&volume(&[0, 2, 6, b])))
        .unwrap();
    assert_eq!(list.picks[3].row, *best);
    let gain = (volume(&[0, 2, 6, *best]) - volume(&[0, 2, 6])) / volume(&frontier);
    assert!((list.picks[3].gain - gain).abs() < 1e-12);
}

#[test]
fn more_places_than_members_take_them_all_once() {
    let study = study();
    let (_, list) = shortlist(&study, &convex(&study), 50);
    let mut rows: Vec<usize> = list.picks.iter().map(|p| p.row).collect();
    rows.sort_unstable();
    assert_eq!(rows, [0, 1, 2, 3, 4, 5, 6]);
    assert!((list.coverage.unwrap() - 1.0).abs() < 1e-12);
}

#[test]
fn one_place_goes_to_the_knee_or_to_the_widest() {
    let study = study();
    let (_, list) = shortlist(&study, &convex(&study), 1);
    assert_eq!(list.picks.len(), 1);
    let (_, none) = shortlist(&study, &convex(&study), 0);
    assert!(none.picks.is_empty());
}

#[test]
fn near_duplicates_of_one_shape_are_merged_and_named() {
    let study = study();
    let mut rows = convex(&study);
    // Three settings of one shape within a few thousandths of each other, between rows 3 and 4.
    rows.push(point(&study, 2, 8, 64, 2.7000, 480.0, 40.0));
    rows.push(point(&study, 2, 8, 128, 2.7004, 479.9, 40.0));
    rows.push(point(&study, 2, 8, 256, 2.7008, 479.8, 40.0));
    // The same values in another shape stay.
    rows.push(point(&study, 4, 6, 64, 2.7006, 479.85, 40.0));
    let (run, list) = shortlist(&study, &rows, 50);
    assert_eq!(list.counts.frontier, 11);
    assert_eq!(list.counts.distinct, 9);
    let merged: Vec<_> = list.picks.iter().filter(|p| !p.stands_for.is_empty()).collect();
    assert_eq!(merged.len(), 1);
    assert_eq!(merged[0].row, 10);
    let ids: Vec<String> = [11, 12].map(|i| study.space.id(&run.evaluations()[i].candidate)).to_vec();
    assert_eq!(merged[0].stands_for, ids);
    assert!(merged[0].why.contains("Stands for 2 further frontier members"), "{}", merged[0].why);
}

#[test]
fn a_member_that_pays_for_an_imperceptible_gain_is_not_worth_measuring() {
    let study = study();
    let rows = vec![
        point(&study, 1, 2, 64, 1.0, 4000.0, 10.0),
        point(&study, 2, 2, 64, 2.0, 700.0, 10.0),
        point(&study, 4, 2, 64, 4.0, 300.0, 10.0),
        // Half a percent faster for half as much again.
        point(&study, 4, 3, 64, 6.0, 298.5, 10.0),
        // A third of a percent further.
        point(&study, 8, 3, 64, 9.0, 297.5, 10.0),
    ];
    let (_, list) = shortlist(&study, &rows, 6);
    assert_eq!((list.counts.frontier, list.counts.distinct), (5, 3));
    let fastest = list.picks.iter().find(|p| p.roles.contains(&Role::Best(1))).unwrap();
    assert_eq!((fastest.row, fastest.stands_for.len()), (2, 2));
    assert!(fastest.why.starts_with("Within 0.8 % of the lowest TTFT p90 of the frontier: 300 ms."), "{}", fastest.why);
}

#[test]
fn a_shape_already_chosen_yields_to_another() {
    let study = study();
    let rows = vec![
        point(&study, 1, 2, 64, 1.0, 10_000.0, 10.0),
        point(&study, 4, 2, 64, 100.0, 100.0, 10.0),
        // The knee, and after it the largest gain, of the same shape.
        point(&study, 2, 2, 64, 2.9, 3000.0, 10.0),
        point(&study, 2, 2, 128, 10.0, 1000.0, 10.0),
        // A smaller gain, but more than half of the other, in a shape of its own.
        point(&study, 8, 2, 64, 60.0, 170.0, 10.0),
    ];
    let (_, list) = shortlist(&study, &rows, 4);
    assert_eq!(list.picks.iter().map(|p| p.row).collect::<Vec<_>>(), [2, 0, 1, 4]);
    let (_, list) = shortlist(&study, &rows[..4], 4);
    assert_eq!(list.picks[3].row, 3, "without a rival it is taken");
}

#[test]
fn another_kind_close_behind_the_frontier_is_a_hedge() {
    let study = study();
    let mut rows: Vec<Evaluation> = convex(&study).into_iter().filter(|e| e.is_feasible()).take(6).collect();
    // TP8 is on no frontier now; here it is 2 % behind row 3 in both objectives.
    rows.push(point(&study, 8, 2, 64, 2.2 * 1.02, 520.0 * 1.02, 40.0));
    // And this one costs the same as a frontier member, but is far slower.
    rows.push(point(&study, 8, 3, 64, 2.2, 4000.0, 40.0));
    let (_, list) = shortlist(&study, &rows, 6);
    assert_eq!(list.picks.len(), 6);
    assert_eq!(list.picks[5].roles, [Role::Hedge]);
    assert_eq!(list.picks[5].row, 6);
    rows.remove(6);
    let (_, list) = shortlist(&study, &rows, 6);
    assert!(list.picks.iter().all(|p| !p.roles.contains(&Role::Hedge)));
    assert_eq!(list.picks.len(), 6, "its place goes back to the frontier");
}

#[test]
fn three_objectives_with_one_maximised() {
    let study = study_with(
        "[objectives]\nminimize = [\"usd_per_mtok_output\", \"ttft_p90_ms\"]\nmaximize = [\"output_tokens_per_s\"]\n[constraints]\nitl_p90_ms = { max = 60 }",
    );
    let row = |tp: &str, cost: f64, ttft: f64, rate: f64| {
        let values =
            [("usd_per_mtok_output", cost), ("ttft_p90_ms", ttft), ("output_tokens_per_s", rate), ("itl_p90_ms", 9.0)];
        fixture::evaluation(&study, candidate(&study, &[("aggregated.tp", tp)]), metrics(&values), 0.0, None)
    };
    let rows = [
        row("1", 1.0, 900.0, 100.0),
        row("2", 2.0, 300.0, 150.0),
        row("4", 4.0, 250.0, 150.0),
        row("8", 5.0, 800.0, 900.0),
    ];
    let (_, list) = shortlist(&study, &rows, 4);
    let best = |objective: usize| list.picks.iter().find(|p| p.roles.contains(&Role::Best(objective))).unwrap().row;
    assert_eq!([best(0), best(1), best(2)], [0, 2, 3]);
    let why = &list.picks.iter().find(|p| p.row == 3).unwrap().why;
    assert!(why.contains("highest output throughput"), "{why}");
}

#[test]
fn nothing_feasible_gives_the_nearest_misses_marked() {
    let study = study();
    let rows = vec![
        point(&study, 1, 2, 64, 1.0, 4000.0, 120.0),
        point(&study, 2, 2, 64, 1.5, 700.0, 66.0),
        point(&study, 2, 2, 128, 1.6, 690.0, 63.0),
        point(&study, 4, 2, 64, 3.5, 420.0, 75.0),
        refused(&study, 8, 8, "needs 64 GPUs, max_gpus is 32"),
        refused(&study, 8, 6, "needs 48 GPUs, max_gpus is 32"),
    ];
    let (run, list) = shortlist(&study, &rows, 3);
    assert!(!list.feasible && list.coverage.is_none());
    // One per shape before any second, then by how little they miss.
    assert_eq!(list.picks.iter().map(|p| p.row).collect::<Vec<_>>(), [2, 3, 0]);
    assert!(list.picks.iter().all(|p| p.roles == [Role::NearestMiss]));
    assert!((list.picks[0].margins[0].room + 0.05).abs() < 1e-12 && !list.picks[0].margins[0].holds());
    assert!(list.picks[0].why.contains("5.0 % over the bound of 60 ms"), "{}", list.picks[0].why);
    assert_eq!(list.blockers[0].cause, "itl_p90_ms ≤ 60 ms");
    assert_eq!((list.blockers[0].candidates, list.blockers[1].candidates), (4, 2));
    assert_eq!(list.blockers[1].cause, "needs # GPUs, max_gpus is #");
    assert_eq!(list.counts.refused, 2);
    let table = render_terminal(&run, &list);
    assert!(table.contains("NOTHING IS FEASIBLE") && table.contains("OVER by 5.0 %"), "{table}");
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), &run, &list).unwrap();
    let text = fs::read_to_string(directory.path().join("shortlist.md")).unwrap();
    assert!(text.contains("**Nothing is feasible.**") && text.contains("NEAREST MISS"), "{text}");
}

#[test]
fn everything_refused_lists_the_reasons() {
    let study = study();
    let rows = vec![refused(&study, 8, 8, "needs 64 GPUs, max_gpus is 32")];
    let (run, list) = shortlist(&study, &rows, 3);
    assert!(list.picks.is_empty());
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), &run, &list).unwrap();
    let text = fs::read_to_string(directory.path().join("shortlist.md")).unwrap();
    assert!(text.contains("no candidate could be simulated") && text.contains("max_gpus"), "{text}");
    assert!(render_terminal(&run, &list).contains("max_gpus"));
}

#[test]
fn an_empty_run_is_said_so() {
    let study = study();
    let (run, list) = shortlist(&study, &[], 6);
    assert!(list.picks.is_empty() && !list.feasible);
    assert!(render_terminal(&run, &list).starts_with("0 candidates evaluated"));
}

#[test]
fn inert_knobs_are_those_that_never_changed_a_metric() {
    let study = study();
    let mut rows = Vec::new();
    for tp in ["1", "2", "4"] {
        for seqs in ["64", "128"] {
            for caching in ["false", "true"] {
                let knobs = [("aggregated.tp", tp), ("engine.max_num_seqs", seqs), ("engine.prefix_caching", caching)];
                let cost = tp.parse::<f64>().unwrap() + if caching == "true" { 0.0 } else { 0.5 };
                rows.push(with_values(&study, candidate(&study, &knobs), cost, 500.0 / cost, 10.0));
            }
        }
    }
    let (_, list) = shortlist(&study, &rows, 3);
    let inert: Vec<(&str, usize)> = list.inert.iter().map(|k| (k.name.as_str(), k.comparisons)).collect();
    assert_eq!(inert, [("engine.max_num_seqs", 6)]);
}

#[test]
fn files_are_the_same_bytes_twice_and_stale_entries_go() {
    let study = study();
    let directory = tempfile::tempdir().unwrap();
    let run = run_in(directory.path(), &study, &convex(&study));
    write(directory.path(), &run, &build(&run, 6)).unwrap();
    let entries = || {
        let mut names: Vec<String> = fs::read_dir(directory.path().join("shortlist"))
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert_eq!(entries().len(), 6);
    let kept = entries()[5].clone();
    fs::write(directory.path().join("shortlist").join(&kept).join("measured.json"), "{}").unwrap();
    let read =
        || ["shortlist.md", "shortlist.json", "shortlist.csv"].map(|f| fs::read(directory.path().join(f)).unwrap());
    let first = read();
    write(directory.path(), &run, &build(&run, 6)).unwrap();
    assert!(first == read());
    write(directory.path(), &run, &build(&run, 2)).unwrap();
    assert_eq!(entries().len(), 3, "two entries, and the one with a user's file in it");
    assert!(entries().contains(&kept));
}

#[test]
fn a_candidate_toml_is_the_candidate_and_nothing_else() {
    let study = study();
    let directory = tempfile::tempdir().unwrap();
    let run = run_in(directory.path(), &study, &convex(&study));
    let list = build(&run, 4);
    write(directory.path(), &run, &list).unwrap();
    for pick in &list.picks {
        let path = directory.path().join(format!("shortlist/{:02}-{}/candidate.toml", pick.rank, pick.id));
        let pinned = load_replay(&path, &[]).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(pinned.space.size(), 1.0);
        let only = pinned.space.canonical(&vec![0; pinned.space.knobs.len()]);
        let mut ours = pinned.space.describe(&only);
        let mut theirs = study.space.describe(&run.evaluations()[pick.row].candidate);
        ours.sort();
        theirs.sort();
        assert_eq!(ours, theirs);
        assert_eq!(pinned.space.id(&only), pick.id, "the same candidate has the same id");
        assert_eq!(pinned.workload, study.workload);
        assert_eq!((pinned.seed, pinned.usd_per_gpu_hour), (study.seed, study.usd_per_gpu_hour));
        assert_eq!(pinned.constraints, study.constraints);
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains("[search]") && !text.contains("[shortlist]"), "{text}");
        assert!(text.contains("engine.block_size = 64"), "defaults are pinned too: {text}");
    }
}

#[test]
fn json_and_csv_hold_what_was_predicted() {
    let study = study();
    let directory = tempfile::tempdir().unwrap();
    let run = run_in(directory.path(), &study, &convex(&study));
    let list = build(&run, 3);
    write(directory.path(), &run, &list).unwrap();
    let json: serde_json::Value =
        serde_json::from_slice(&fs::read(directory.path().join("shortlist.json")).unwrap()).unwrap();
    let first = &json["entries"][0];
    assert_eq!(first["id"], list.picks[0].id.as_str());
    assert_eq!(first["roles"][0], "knee");
    assert_eq!(first["metrics"]["ttft_p90_ms"]["value"], 700.0);
    assert_eq!(first["metrics"]["ttft_p90_ms"]["unit"], "ms");
    assert!(first["metrics"]["queue_p90_ms"]["value"].is_null());
    assert_eq!(first["knobs"]["aggregated.tp"]["value"], 2);
    assert_eq!(first["margins"][0]["max"], 60.0);
    assert_eq!(first["margins"][0]["room"], 0.25);
    let expected: serde_json::Value = serde_json::from_slice(
        &fs::read(directory.path().join(first["directory"].as_str().unwrap()).join("expected.json")).unwrap(),
    )
    .unwrap();
    assert_eq!(expected["metrics"], first["metrics"]);
    assert_eq!(expected["workload"]["sha256"], "ab".repeat(32));
    let csv = fs::read_to_string(directory.path().join("shortlist.csv")).unwrap();
    let rows: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(rows.len(), 4);
    assert!(rows.iter().all(|row| row.len() == rows[0].len()));
    let column = |name: &str| rows[0].iter().position(|title| *title == name).unwrap();
    assert_eq!(rows[1][column("ttft_p90_ms")], "700");
    assert_eq!(rows[1][column("room_itl_p90_ms_max")], "0.25");
    assert_eq!(rows[1][column("id")], list.picks[0].id);
}

#[test]
fn a_hostile_workload_name_does_not_break_the_page() {
    let study = study();
    let directory = tempfile::tempdir().unwrap();
    let mut run = run_in(directory.path(), &study, &convex(&study));
    run.workload.source = "evil|name`<img src=x onerror=alert(1)>\n# Heading".into();
    write(directory.path(), &run, &build(&run, 3)).unwrap();
    let text = fs::read_to_string(directory.path().join("shortlist.md")).unwrap();
    assert!(text.contains(&escape_markdown(&run.workload.source)));
    assert!(!text.contains("<img") && !text.contains("\n# Heading"), "{text}");
}

#[test]
fn every_table_row_has_the_cells_of_its_header() {
    let study = study();
    let directory = tempfile::tempdir().unwrap();
    let run = run_in(directory.path(), &study, &convex(&study));
    write(directory.path(), &run, &build(&run, 6)).unwrap();
    let text = fs::read_to_string(directory.path().join("shortlist.md")).unwrap();
    let cells = |line: &str| line.replace("\\|", "").matches('|').count();
    let lines: Vec<&str> = text.lines().collect();
    let mut tables = 0;
    for (index, line) in lines.iter().enumerate() {
        if line.starts_with("|---") {
            tables += 1;
            let rows = lines[index..].iter().take_while(|l| l.starts_with('|'));
            assert!(rows.chain([&lines[index - 1]]).all(|row| cells(row) == cells(line)), "table at line {index}");
        }
    }
    assert_eq!(tables, 1 + 3 * 6 + 1, "{text}");
}
