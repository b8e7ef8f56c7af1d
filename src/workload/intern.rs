//! Hash ids of a trace, as dense integers in order of first appearance.

use std::hash::BuildHasher;

use hashbrown::HashTable;
use rustc_hash::{FxBuildHasher, FxHashMap};

/// Ids below this are looked up in an array (16 MiB when full) and not in a map: the ids of
/// published traces are small consecutive integers, and an array is several times faster.
const ARRAY_IDS: u64 = 1 << 22;
/// And ids below this many times the number of ids seen, which then take no more memory than in a map.
const ARRAY_IDS_PER_SEEN: u64 = 4;
const UNSEEN: u32 = u32::MAX;

/// Most dense ids, but for what the last row adds: other workloads made from this one have up to four
/// times as many.
const MOST_IDS: u32 = 1 << 30;

/// Gives equal ids equal dense integers: 0, 1, 2, ... in order of first appearance.
#[derive(Default)]
pub(crate) struct Interner {
    small: Vec<u32>,
    large: Large,
    negative: FxHashMap<i64, u32>,
    next: u32,
}

/// Ids too large for the array. A map of 64-bit keys would take 17 bytes a slot and half as much again
/// while it grows; this takes 8 bytes an id and 5 a slot.
#[derive(Default)]
struct Large {
    /// In order of first appearance.
    ids: Vec<u64>,
    /// Places in `ids`, by the hashes of the ids.
    places: HashTable<u32>,
    /// Dense id less place, from a place on: they grow together but where other ids come between.
    shifts: Vec<(u32, u32)>,
}

impl Large {
    fn hash(id: u64) -> u64 {
        FxBuildHasher.hash_one(id)
    }

    fn get(&self, id: u64) -> Option<u32> {
        let place = *self.places.find(Self::hash(id), |&place| self.ids[place as usize] == id)?;
        let shift = self.shifts[self.shifts.partition_point(|&(from, _)| from <= place) - 1].1;
        Some(place + shift)
    }

    fn insert(&mut self, id: u64, dense: u32) {
        let place = self.ids.len() as u32;
        let shift = dense - place;
        if self.shifts.last().is_none_or(|last| last.1 != shift) {
            self.shifts.push((place, shift));
        }
        self.ids.push(id);
        self.places.insert_unique(Self::hash(id), place, |&place| Self::hash(self.ids[place as usize]));
    }
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
            if let Some(dense) = self.large.get(id) {
                return dense;
            }
            if id >= ARRAY_IDS_PER_SEEN * u64::from(self.next) {
                self.large.insert(id, self.next);
                self.next += 1;
                return self.next - 1;
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

    /// Whether there are more than there should be.
    pub fn is_full(&self) -> bool {
        self.next > MOST_IDS
    }

    /// The first of `count` dense ids that no hash id has or will have; none when there are not so many.
    pub fn fresh(&mut self, count: u64) -> Option<u32> {
        let first = self.next;
        self.next = u32::try_from(u64::from(first) + count).ok().filter(|&next| next <= MOST_IDS)?;
        Some(first)
    }

    /// Dense ids given so far.
    #[cfg(test)]
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
        assert_eq!(ids.fresh(3), Some(5));
        assert_eq!(ids.intern(9), 8);
        assert_eq!(ids.distinct(), 9);
    }

    #[test]
    fn an_id_of_the_map_keeps_its_place_when_the_array_grows_over_it() {
        let mut ids = Interner::default();
        let late = ARRAY_IDS + 5;
        assert_eq!(ids.intern(late), 0);
        ids.fresh(ARRAY_IDS).unwrap();
        assert_eq!(ids.intern(late + 1), ARRAY_IDS as u32 + 1, "now in the array");
        assert_eq!(ids.intern(late), 0);
        assert_eq!(ids.intern(late + 1), ARRAY_IDS as u32 + 1);
        assert_eq!((ids.small.len() as u64 > late, ids.large.ids.len()), (true, 1));
    }

    #[test]
    fn ids_may_run_out() {
        let mut ids = Interner::default();
        assert_eq!(ids.fresh(u64::from(MOST_IDS)), Some(0));
        assert!(!ids.is_full());
        assert_eq!((ids.fresh(1), ids.fresh(1 << 40)), (None, None));
        ids.intern(0);
        assert!(ids.is_full());
    }

    #[test]
    fn large_ids_among_others_keep_their_own() {
        let mut ids = Interner::default();
        let (mut wanted, mut known) = (Vec::new(), FxHashMap::default());
        let raw = |n: u64| if n.is_multiple_of(7) { n } else { n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 << 63 };
        for n in (0..5000).chain(2000..3000) {
            let next = known.len() as u32;
            wanted.push((n, *known.entry(raw(n)).or_insert(next)));
            assert_eq!((n, ids.intern(raw(n))), wanted[wanted.len() - 1]);
        }
        assert_eq!(ids.distinct(), 5000);
        assert!(ids.large.shifts.len() < 1000, "one for each small id between large ones");
    }

    #[test]
    fn negative_ids_are_ids_of_their_own() {
        let mut ids = Interner::default();
        assert_eq!(ids.intern_negative(-1), 0);
        assert_eq!(ids.intern(u64::MAX), 1, "same bits as -1, another id");
        assert_eq!(ids.intern_negative(-1), 0);
    }
}
