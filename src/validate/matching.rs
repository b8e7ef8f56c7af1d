//! Which candidate of a run a measurement is of, and whether the two can be compared.

use std::path::Path;

use super::measured::Measurement;
use crate::archive::RunData;
use crate::search::Fidelity;
use crate::space::identity::{self, ID_DIGITS};
use crate::twin::metrics::Metric;
use crate::workload::Workload;

/// Candidates of a run by id, those that were simulated whole.
#[derive(Debug)]
pub struct Candidates {
    /// Id and index into [`RunData::evaluations`].
    ids: Vec<(String, usize)>,
    /// Name and value of each active knob, by the same index as `ids`.
    knobs: Vec<Vec<(String, String)>>,
}

impl Candidates {
    /// Of a run.
    pub fn of(run: &RunData) -> Candidates {
        let evaluations = run.evaluations();
        let whole = evaluations.iter().enumerate().filter(|(_, e)| e.fidelity == Fidelity::Full && !e.is_refused());
        let (space, told) = (&run.study.space, run.study.space.ids());
        let (ids, knobs) = whole
            .map(|(row, e)| {
                let described = space.describe(&e.candidate).into_iter();
                ((told.text(&e.candidate), row), described.map(|(name, value)| (name.to_owned(), value)).collect())
            })
            .unzip();
        Candidates { ids, knobs }
    }

    /// The candidate with this id, among those that were simulated whole.
    ///
    /// # Errors
    /// As [`identity::by_prefix`].
    pub fn find(&self, id: &str) -> Result<usize, String> {
        identity::by_prefix(self.ids.iter().cloned(), id).map_err(|what| format!("{what}, of those simulated whole"))
    }

    /// The candidate of a measurement: by what its file says, else by an id in the file's path.
    ///
    /// # Errors
    /// Why there is none, and what to do.
    pub fn of_measurement(&self, measurement: &Measurement) -> Result<usize, String> {
        if let Some(id) = &measurement.whose.id {
            return self.find(id);
        }
        if !measurement.whose.knobs.is_empty() {
            return self.by_knobs(&measurement.whose.knobs);
        }
        let ids = ids_in(&measurement.file);
        let mut rows: Vec<usize> =
            ids.iter().filter_map(|id| self.ids.iter().find(|(own, _)| own == id)).map(|(_, row)| *row).collect();
        rows.dedup();
        match rows[..] {
            [row] => Ok(row),
            [] => Err("neither the file nor its path names a candidate: give it as --candidate ID=FILE".into()),
            _ => Err("its path names several candidates: give it as --candidate ID=FILE".into()),
        }
    }

    fn by_knobs(&self, wanted: &[(String, String)]) -> Result<usize, String> {
        let same = |a: &str, b: &str| match (a.parse::<f64>(), b.parse::<f64>()) {
            (Ok(a), Ok(b)) => a == b,
            _ => a == b,
        };
        let fits = |knobs: &[(String, String)]| {
            wanted.iter().all(|(name, value)| knobs.iter().any(|(own, is)| own == name && same(is, value)))
        };
        let mut rows = self.ids.iter().zip(&self.knobs).filter(|(_, knobs)| fits(knobs)).map(|((_, row), _)| *row);
        match (rows.next(), rows.next()) {
            (Some(row), None) => Ok(row),
            (Some(_), Some(_)) => {
                Err("several candidates have these knobs: give more of them, or the id as `candidate`".into())
            }
            (None, _) => Err("no candidate of the run that was simulated whole has these knobs".into()),
        }
    }
}

/// Ids within a path: runs of hexadecimal digits as long as an id.
fn ids_in(path: &Path) -> Vec<String> {
    let text = path.to_string_lossy().into_owned();
    let runs = text.split(|c: char| !c.is_ascii_alphanumeric());
    runs.filter(|r| r.len() == ID_DIGITS && r.bytes().all(|b| b.is_ascii_hexdigit()))
        .map(str::to_ascii_lowercase)
        .collect()
}

/// Share of requests that may fail.
const FAILED: f64 = 0.01;
/// How far the number of requests, and the mean prompt and output may be from those of the workload.
const REQUESTS: f64 = 0.02;
const PROMPTS: f64 = 0.05;
const OUTPUTS: f64 = 0.03;
/// How late the client may send: ms, or this share of the mean time to first token.
const LAG_MS: f64 = 20.0;
const LAG_SHARE: f64 = 0.1;

/// Why a measurement cannot be compared with a simulation of the workload; empty when it can.
pub fn objections(measurement: &Measurement, workload: &Workload) -> Vec<String> {
    let facts = &measurement.facts;
    let mut found = facts.objections.clone();
    let n = workload.requests.len() as f64;
    if let (Some(failed), Some(completed)) = (facts.failed, facts.completed) {
        let share = failed / (failed + completed).max(1.0);
        if share > FAILED {
            found.push(format!(
                "{failed} of {} requests failed: {:.1} %, at most {:.0} % may",
                failed + completed,
                100.0 * share,
                100.0 * FAILED
            ));
        }
    }
    if let Some(completed) = facts.completed {
        let all = completed + facts.failed.unwrap_or(0.0);
        if (all / n - 1.0).abs() > REQUESTS {
            found.push(format!("it has {all} requests, the simulated workload {n}: another window, or another trace"));
        }
    }
    let mean =
        |of: fn(&crate::workload::Request) -> u32| workload.requests.iter().map(|r| f64::from(of(r))).sum::<f64>() / n;
    let mut compare = |what: &str, measured: Option<f64>, simulated: f64, most: f64| {
        if let Some(measured) = measured
            && (measured / simulated - 1.0).abs() > most
        {
            found.push(format!(
                "{what} of {measured:.1} tokens in the mean, {simulated:.1} in the simulated workload: more than {:.0} % apart",
                100.0 * most
            ));
        }
    };
    compare("prompts", facts.input_mean, mean(|r| r.input_tokens), PROMPTS);
    compare("outputs", facts.output_mean, mean(|r| r.output_tokens), OUTPUTS);
    if let Some(off) = facts.output_off_percent.filter(|off| off.abs() > 100.0 * OUTPUTS) {
        found.push(format!(
            "outputs were {off:.1} % off the lengths asked for: let the server ignore the end of sequence (ignore_eos)"
        ));
    }
    if let Some(lag) = facts.lag_p99_ms {
        let ttft = measurement.get(Metric::TtftMean);
        let most = if ttft.is_nan() { LAG_MS } else { LAG_MS.max(LAG_SHARE * ttft) };
        if lag > most {
            found
                .push(format!("the client sent up to {lag:.1} ms late (99th percentile), at most {most:.1} ms may be"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_in_paths() {
        let ids = |path: &str| ids_in(Path::new(path));
        assert_eq!(ids("run/shortlist/01-7ce430035094/measured/profile.json"), ["7ce430035094"]);
        assert_eq!(ids("cand-7CE430035094.json"), ["7ce430035094"]);
        assert_eq!(ids("7ce4300350941/abc"), Vec::<String>::new());
    }
}
