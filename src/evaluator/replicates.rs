//! Replications of one candidate: other draws each, the same ones for every candidate.

use crate::space::Study;
use crate::twin::metrics::METRIC_COUNT;
use crate::workload::{SourceSpec, Workload, WorkloadError, load};

/// The workloads of a study's replications after the first: a generated one is drawn anew for each,
/// a trace is what it is and comes back as nothing but other seeds of the twin.
///
/// # Errors
/// As for loading the workload itself.
pub fn replicate_workloads(study: &Study) -> Result<Vec<Workload>, WorkloadError> {
    let drawn = |replicate: usize| {
        let mut spec = study.workload.clone();
        if let SourceSpec::Synthetic(synthetic) = &mut spec.source {
            synthetic.seed = seed(synthetic.seed, replicate);
        }
        load(&spec)
    };
    (1..study.search.replicates).map(drawn).collect()
}

/// The seed of a replication; the first keeps the study's own.
pub(super) fn seed(seed: u64, replicate: usize) -> u64 {
    seed.wrapping_add((replicate as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// Metrics over replications.
pub(super) struct Means {
    /// The means; of one replication, its values.
    pub values: [f64; METRIC_COUNT],
    /// Standard errors of the means; `None` for one replication.
    errors: Option<[f64; METRIC_COUNT]>,
    replicates: usize,
}

impl Means {
    /// Of at least one replication.
    pub fn of(all: Vec<[f64; METRIC_COUNT]>) -> Means {
        let n = all.len();
        if let [only] = all[..] {
            return Means { values: only, errors: None, replicates: 1 };
        }
        let mut values = [0.0; METRIC_COUNT];
        let mut errors = [0.0; METRIC_COUNT];
        for metric in 0..METRIC_COUNT {
            let mean = all.iter().map(|v| v[metric]).sum::<f64>() / n as f64;
            let squares = all.iter().map(|v| (v[metric] - mean).powi(2)).sum::<f64>();
            values[metric] = mean;
            errors[metric] = (squares / (n - 1) as f64 / n as f64).sqrt();
        }
        Means { values, errors: Some(errors), replicates: n }
    }

    /// Half the width of the 80 % interval of a metric's mean: Student's t times its standard error;
    /// `None` for one replication.
    pub fn half_width(&self, metric: usize) -> Option<f64> {
        self.errors.map(|errors| t_90(self.replicates - 1) * errors[metric])
    }
}

/// The 90th percentile of Student's t distribution (two-sided 80 %), three decimals, from the usual
/// tables; from 30 degrees of freedom by the first term of its expansion around the normal's.
fn t_90(degrees: usize) -> f64 {
    const TABLE: [f64; 29] = [
        3.078, 1.886, 1.638, 1.533, 1.476, 1.440, 1.415, 1.397, 1.383, 1.372, 1.363, 1.356, 1.350, 1.345, 1.341, 1.337,
        1.333, 1.330, 1.328, 1.325, 1.323, 1.321, 1.319, 1.318, 1.316, 1.315, 1.314, 1.313, 1.311,
    ];
    const NORMAL: f64 = 1.281_55;
    let expansion = || NORMAL + (NORMAL.powi(3) + NORMAL) / (4.0 * degrees as f64);
    TABLE.get(degrees.max(1) - 1).copied().unwrap_or_else(expansion)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_and_intervals() {
        let replicate = |v: f64| {
            let mut values = [v; METRIC_COUNT];
            values[1] = f64::NAN;
            values
        };
        let means = Means::of(vec![replicate(1.0), replicate(2.0), replicate(6.0)]);
        assert_eq!(means.values[0], 3.0);
        assert!(means.values[1].is_nan());
        // s^2 = (4 + 1 + 9) / 2 = 7; s / sqrt 3 = 1.5275; t(2) = 1.886.
        assert!((means.half_width(0).unwrap() - 1.886 * (7.0_f64 / 3.0).sqrt()).abs() < 1e-12);
        assert_eq!(Means::of(vec![replicate(1.0)]).half_width(0), None);
    }

    #[test]
    fn quantiles_meet_where_table_and_expansion_do() {
        assert!((t_90(29) - t_90(30)).abs() < 2e-3);
        assert!((t_90(1000) - 1.282).abs() < 1e-3);
    }
}
