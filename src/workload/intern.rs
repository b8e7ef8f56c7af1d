//! Hash ids of a trace, as dense integers in order of first appearance.

use rustc_hash::FxHashMap;

/// Ids below this are looked up in an array (16 MiB when full) and not in a map: the ids of
/// published traces are small consecutive integers, and an array is several times faster.
const ARRAY_IDS: u64 = 1 << 22;
/// And ids below this many times the number of ids seen, which then take no more memory than in a map.
const ARRAY_IDS_PER_SEEN: u64 = 4;
const UNSEEN: u32 = u32::MAX;

/// Gives equal ids equal dense integers: 0, 1, 2, ... in order of first appearance.
#[derive(Default)]
pub(crate) struct Interner {
    small: Vec<u32>,
    large: FxHashMap<u64, u32>,
    negative: FxHashMap<i64, u32>,
    next: u32,
}

impl Interner {
    /// The dense id of a hash id.
    pub fn intern(&mut self, id: u64) -> u32 {
        if let Some(&dense) = self.small.get(id as usize)
            && dense != UNSEEN
        {
            return dense;
        }
        if id >= ARRAY_IDS {
            if let Some(&dense) = self.large.get(&id) {
                return dense;
            }
            if id >= ARRAY_IDS_PER_SEEN * u64::from(self.next) {
                return Self::entry(&mut self.next, self.large.entry(id).or_insert(UNSEEN));
            }
        }
        let index = id as usize;
        if index >= self.small.len() {
            // By a quarter, not doubled: the array of a large trace is large.
            self.small.resize((index + 1 + index / 4).max(1 << 10), UNSEEN);
        }
        Self::entry(&mut self.next, &mut self.small[index])
    }

    /// The dense id of a negative hash id (signed 64-bit hashes are written so).
    pub fn intern_negative(&mut self, id: i64) -> u32 {
        Self::entry(&mut self.next, self.negative.entry(id).or_insert(UNSEEN))
    }

    fn entry(next: &mut u32, slot: &mut u32) -> u32 {
        if *slot == UNSEEN {
            *slot = *next;
            *next += 1;
        }
        *slot
    }

    /// The first of `count` dense ids that no hash id has or will have.
    pub fn fresh(&mut self, count: u32) -> u32 {
        let first = self.next;
        self.next += count;
        first
    }

    /// Dense ids given so far.
    pub fn distinct(&self) -> u32 {
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_dense_in_order_of_first_appearance() {
        let mut ids = Interner::default();
        let raw = [7, u64::MAX, 7, ARRAY_IDS, ARRAY_IDS - 1, 0, u64::MAX];
        assert_eq!(raw.map(|id| ids.intern(id)), [0, 1, 0, 2, 3, 4, 1]);
        assert_eq!(ids.fresh(3), 5);
        assert_eq!(ids.intern(9), 8);
        assert_eq!(ids.distinct(), 9);
    }

    #[test]
    fn an_id_of_the_map_keeps_its_place_when_the_array_grows_over_it() {
        let mut ids = Interner::default();
        let late = ARRAY_IDS + 5;
        assert_eq!(ids.intern(late), 0);
        ids.fresh(ARRAY_IDS as u32);
        assert_eq!(ids.intern(late + 1), ARRAY_IDS as u32 + 1, "now in the array");
        assert_eq!(ids.intern(late), 0);
        assert_eq!(ids.intern(late + 1), ARRAY_IDS as u32 + 1);
        assert_eq!((ids.small.len() as u64 > late, ids.large.len()), (true, 1));
    }

    #[test]
    fn negative_ids_are_ids_of_their_own() {
        let mut ids = Interner::default();
        assert_eq!(ids.intern_negative(-1), 0);
        assert_eq!(ids.intern(u64::MAX), 1, "same bits as -1, another id");
        assert_eq!(ids.intern_negative(-1), 0);
    }
}
