//! Intervals cover what they say that they cover.

use rayon::prelude::*;
use servescout::shortlist::Assessor;
use servescout::space::{Study, parse};
use servescout::twin::metrics::index_of;
use servescout::workload::load;

/// Traffic of a known kind on two workers; the error model is that of the binary.
fn study(sessions: u32, seed: u64) -> Study {
    let text = format!(
        r#"
[study]
name = "coverage"
seed = 1
[model]
name = "Qwen/Qwen3-32B"
dtype = "fp8"
[hardware]
gpu = "h200_sxm"
max_gpus = 8
[workload.synthetic]
seed = {seed}
sessions = {sessions}
input_tokens = {{ kind = "log_normal", mean = 900, std = 600 }}
output_tokens = {{ kind = "log_normal", mean = 60, std = 30 }}
arrivals = {{ kind = "poisson", rate_per_s = 4.0 }}
[timing]
calibration = "default"
[knobs]
aggregated.tp = [2]
aggregated.workers = [1, 2]
[objectives]
minimize = ["usd_per_mtok_output", "ttft_p90_ms"]
[search]
budget = 2
"#
    );
    parse(&text, None, &[]).unwrap_or_else(|errors| panic!("{errors}"))
}

/// In each repetition somebody has a trace and the calibration, and reality is a draw of the error
/// model under much more of the same traffic: what the metric is in the long run on those servers.
#[test]
fn eighty_percent_intervals_hold_the_truth_in_eighty_percent_of_cases() {
    const REPETITIONS: u64 = 200;
    const METRICS: [&str; 4] = ["ttft_p90_ms", "ttft_mean_ms", "tpot_mean_ms", "e2e_p90_ms"];
    let metrics = METRICS.map(|name| index_of(name).unwrap());
    let one = |repetition: u64| -> Vec<bool> {
        let short = study(240, 1000 + repetition);
        let workload = load(&short.workload).unwrap();
        let candidate = short.space.canonical(&vec![0; short.space.knobs.len()]);
        let assessed = Assessor::new(&short, &workload, &[], repetition).assess(&[&candidate], &[], 19);
        let long = study(2400, 50_000 + repetition);
        let workload = load(&long.workload).unwrap();
        // One draw, of a seed that the intervals' draws do not have.
        let truth = Assessor::new(&long, &workload, &[], 777_000 + repetition).reality(&candidate);
        metrics
            .iter()
            .map(|&m| {
                let interval = assessed[0].interval(m).unwrap();
                (interval.low..=interval.high).contains(&truth[m])
            })
            .collect()
    };
    let hits: Vec<Vec<bool>> = (0..REPETITIONS).into_par_iter().map(one).collect();
    for (index, name) in METRICS.iter().enumerate() {
        let covered = hits.iter().filter(|hit| hit[index]).count() as f64 / REPETITIONS as f64;
        println!("{name}: {covered}");
        assert!((0.72..=0.88).contains(&covered), "{name}: {covered}");
    }
}
