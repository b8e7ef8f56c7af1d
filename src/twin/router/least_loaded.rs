//! The worker with the fewest requests in flight: those placed and not ended.

use super::choose::Cost;
use super::facts::{Facts, Needs};

/// The cost function: requests in flight.
#[derive(Clone, Copy, Debug, Default)]
pub struct LeastLoaded;

impl Cost for LeastLoaded {
    fn needs(&self) -> Needs {
        Needs { books: true, ..Needs::default() }
    }

    fn costs(&mut self, facts: &Facts, costs: &mut Vec<f64>) {
        costs.extend_from_slice(&facts.active_requests);
    }
}
