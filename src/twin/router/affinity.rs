//! Session affinity: a session stays with its worker while its turns follow each other quickly enough.

use rustc_hash::FxHashMap;

/// Which worker each session is bound to.
#[derive(Debug)]
pub struct Affinity {
    ttl_ms: f64,
    /// Worker and time of the last placement, by session.
    bound: FxHashMap<u32, (usize, f64)>,
}

impl Affinity {
    /// Bindings last `ttl_ms` after their last use.
    pub fn new(ttl_ms: f64) -> Self {
        Affinity { ttl_ms, bound: FxHashMap::default() }
    }

    /// The position of a session's worker among the candidates; none when it is not bound, its time is
    /// over, or the worker takes no requests any more.
    pub fn position(&self, session: u32, candidates: &[usize], now_ms: f64) -> Option<usize> {
        let &(worker, last_ms) = self.bound.get(&session)?;
        if now_ms - last_ms > self.ttl_ms {
            return None;
        }
        candidates.binary_search(&worker).ok()
    }

    /// Binds a session, or uses its binding.
    pub fn bind(&mut self, session: u32, worker: usize, now_ms: f64) {
        self.bound.insert(session, (worker, now_ms));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binding_lasts_while_it_is_used_and_its_worker_takes_requests() {
        let mut affinity = Affinity::new(100.0);
        assert_eq!(affinity.position(1, &[2, 5], 0.0), None);
        affinity.bind(1, 5, 0.0);
        assert_eq!(affinity.position(1, &[2, 5], 100.0), Some(1));
        assert_eq!(affinity.position(2, &[2, 5], 100.0), None, "another session");
        assert_eq!(affinity.position(1, &[2], 50.0), None, "it drains");
        affinity.bind(1, 5, 100.0);
        assert_eq!(affinity.position(1, &[2, 5], 200.0), Some(1), "the time runs from the last use");
        assert_eq!(affinity.position(1, &[2, 5], 200.1), None);
    }
}
