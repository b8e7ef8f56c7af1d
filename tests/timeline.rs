//! `replay --timeline`: what it says adds up to what the metrics say.

use servescout::space::{self, Deployer};
use servescout::twin::metrics::Metric;
use servescout::twin::timeline::TimelineRow;
use servescout::twin::{self, Outcome};
use servescout::workload::load;

use crate::cli_common::{arg, run_to};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/search-spaces/planner.toml");

fn traced(overrides: &[&str], interval_ms: f64) -> (Outcome, Outcome, Vec<TimelineRow>) {
    let overrides: Vec<String> = overrides.iter().map(|s| (*s).to_owned()).collect();
    let study = space::load_replay(EXAMPLE.as_ref(), &overrides).unwrap_or_else(|e| panic!("{e}"));
    let workload = load(&study.workload).unwrap_or_else(|e| panic!("{e}"));
    let candidate = study.space.canonical(&vec![0; study.space.knobs.len()]);
    let deployment = Deployer::new(&study, &workload).deployment(&candidate).unwrap_or_else(|e| panic!("{e}"));
    let plain = twin::simulate(&deployment, &workload, 7, false);
    let (outcome, rows) = twin::simulate_traced(&deployment, &workload, 7, false, interval_ms);
    (plain, outcome, rows)
}

#[test]
fn gpu_time_is_the_integral_of_the_timeline() {
    let few = "workload.synthetic.sessions=800";
    for overrides in [
        &[few][..],
        &[few, "planner.policy=off"],
        &[few, "faults.mtbf_s=40", "faults.restart_s=7"],
        &[few, "faults.events=[{at_s=20,worker=1}]", "faults.after_death=gone"],
    ] {
        for interval_ms in [700.0, 10_000.0, 1e9] {
            let (plain, outcome, rows) = traced(overrides, interval_ms);
            let gpu_ms = |r: &TimelineRow| (r.gpus_starting + r.gpus_active + r.gpus_draining) * (r.to_ms - r.from_ms);
            let hours = rows.iter().map(gpu_ms).sum::<f64>() / 3_600_000.0;
            let charged = outcome.metrics.get(Metric::GpuHours);
            assert!((hours - charged).abs() < 1e-9 * charged, "{overrides:?}: {hours} of {charged}");
            // Looking changes nothing.
            for metric in [Metric::TtftP90, Metric::GpuHours, Metric::Completed, Metric::ScaleEvents] {
                let (a, b) = (plain.metrics.get(metric), outcome.metrics.get(metric));
                assert!((a - b).abs() <= 1e-9 * a.abs(), "{overrides:?}: {a} {b}");
            }
            let sum = |count: fn(&TimelineRow) -> u32| rows.iter().map(count).sum::<u32>();
            assert_eq!((sum(|r| r.arrived), sum(|r| r.ended)), (800, 800));
            assert!(rows.windows(2).all(|w| w[0].to_ms == w[1].from_ms), "{overrides:?}");
            assert!(rows.iter().all(|r| (0.0..=1.0).contains(&r.kv_util)));
            if interval_ms < 1e4 {
                assert!(rows.iter().any(|r| r.running > 0) && rows.iter().any(|r| r.ttft_p90_ms > 0.0));
            }
        }
    }
}

#[test]
fn replay_writes_table_and_figure() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("over-time");
    run_to(0, &["replay", EXAMPLE, "--set", "workload.synthetic.sessions=300", "--timeline", arg(&out)]);
    assert!(std::fs::read(out.join("timeline.parquet")).unwrap().starts_with(b"PAR1"));
    let svg = std::fs::read_to_string(out.join("timeline.svg")).unwrap();
    assert!(svg.contains("TTFT p90") && svg.contains("GPUs serving"));
    assert!(out.join("timeline.png").is_file());
}
