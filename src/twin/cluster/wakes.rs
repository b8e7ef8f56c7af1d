//! When each worker next has something to decide.

/// The wakes of all workers, as a tournament: each match is won by the earlier of two, so that a new
/// wake costs one match per round and the next one is known at once.
#[derive(Debug, Default)]
pub(super) struct Wakes {
    /// Winners: the root at 1, the workers themselves in the second half, by id.
    matches: Vec<Wake>,
}

/// When a worker wakes.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Wake {
    ms: f64,
    /// The worker, and [`BEGINS`] where no run of passes that began before ends then: what such a run
    /// makes visible comes before anything else at that time.
    order: u32,
}

const BEGINS: u32 = 1 << 31;
const NEVER: Wake = Wake { ms: f64::INFINITY, order: BEGINS };

impl Wake {
    fn comes_before(self, other: Wake) -> bool {
        self.ms < other.ms || (self.ms == other.ms && self.order < other.order)
    }
}

impl Wakes {
    /// Sets when a worker wakes, and whether a run of passes that began before ends there.
    pub fn set(&mut self, worker: usize, ms: f64, ends_run: bool) {
        if worker >= self.matches.len() / 2 {
            self.grow(worker + 1);
        }
        let mut at = self.matches.len() / 2 + worker;
        let mut winner = Wake { ms, order: worker as u32 | if ends_run { 0 } else { BEGINS } };
        if self.matches[at] == winner {
            return;
        }
        self.matches[at] = winner;
        while at > 1 {
            let rival = self.matches[at ^ 1];
            if rival.comes_before(winner) {
                winner = rival;
            }
            at /= 2;
            self.matches[at] = winner;
        }
    }

    /// The worker that wakes first (at equal times one whose run ends, then the lowest id), when, and
    /// whether a run of it ends there; infinite when none does.
    pub fn next(&self) -> (usize, f64, bool) {
        let Wake { ms, order } = self.matches.get(1).copied().unwrap_or(NEVER);
        ((order & !BEGINS) as usize, ms, order & BEGINS == 0)
    }

    fn grow(&mut self, workers: usize) {
        let wakes = self.matches.split_off(self.matches.len() / 2);
        self.matches = vec![NEVER; 2 * workers.next_power_of_two()];
        for (worker, wake) in wakes.into_iter().enumerate() {
            self.set(worker, wake.ms, wake.order & BEGINS == 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_wins_and_ends_of_runs_come_before_begins() {
        let mut wakes = Wakes::default();
        assert_eq!(wakes.next().1, f64::INFINITY);
        wakes.set(0, 5.0, false);
        wakes.set(1, 7.0, true);
        wakes.set(6, 5.0, true);
        assert_eq!(wakes.next(), (6, 5.0, true));
        wakes.set(2, 5.0, true);
        assert_eq!(wakes.next(), (2, 5.0, true));
        wakes.set(2, 9.0, false);
        wakes.set(6, f64::INFINITY, false);
        assert_eq!(wakes.next(), (0, 5.0, false));
        wakes.set(17, 5.0, false);
        assert_eq!(wakes.next(), (0, 5.0, false));
        wakes.set(0, 8.0, false);
        assert_eq!(wakes.next(), (17, 5.0, false));
    }
}
