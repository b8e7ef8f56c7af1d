//! What prompts contain, run-length coded.
//!
//! A prompt is a list of content ids, one per block. Ids are dense integers in order of first
//! appearance, so whatever is new in a prompt is one run of consecutive ids, and what it repeats of
//! another is that one's runs again: a day of conversations whose prompts have 118 million ids is
//! two million runs. Traces whose ids come in no order take twice what the ids themselves would.

use std::collections::BTreeMap;

/// Consecutive ids `first .. first + len`; never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    pub first: u32,
    pub len: u32,
}

/// The content ids of all prompts, in runs as long as they can be: equal prompts have equal runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    runs: Vec<Run>,
    /// CSR offsets into `runs`, one more than prompts.
    offsets: Vec<u32>,
    /// Ids in all prompts, repeated ones every time.
    blocks: u64,
    /// All ids are below it.
    end_id: u32,
}

impl Default for Contents {
    fn default() -> Self {
        Contents { runs: Vec::new(), offsets: vec![0], blocks: 0, end_id: 0 }
    }
}

impl Contents {
    /// Adds an id to the prompt being made.
    pub fn push(&mut self, id: u32) {
        self.push_run(Run { first: id, len: 1 });
    }

    /// Adds consecutive ids to the prompt being made.
    pub fn push_run(&mut self, run: Run) {
        if run.len == 0 {
            return;
        }
        self.blocks += u64::from(run.len);
        self.end_id = self.end_id.max(run.first + run.len);
        let begun = self.offsets.last().is_none_or(|&start| (start as usize) < self.runs.len());
        match self.runs.last_mut().filter(|last| begun && last.first + last.len == run.first) {
            Some(last) => last.len += run.len,
            None => self.runs.push(run),
        }
    }

    /// Ends the prompt being made.
    ///
    /// # Panics
    /// When there are more than 4 billion runs, see [`Self::is_full`].
    pub fn end_prompt(&mut self) {
        self.offsets.push(u32::try_from(self.runs.len()).expect("the caller asked whether it is full"));
    }

    /// Whether a prompt that has been begun cannot be ended any more.
    pub fn is_full(&self) -> bool {
        self.runs.len() >= u32::MAX as usize
    }

    /// Ids in the prompt that has been begun.
    pub fn begun(&self) -> u64 {
        let start = self.offsets.last().map_or(0, |&start| start as usize);
        self.runs[start..].iter().map(|run| u64::from(run.len)).sum()
    }

    /// The runs of a prompt.
    pub fn runs(&self, prompt: usize) -> &[Run] {
        &self.runs[self.range(prompt)]
    }

    /// Places of a prompt's runs among [`Self::all_runs`].
    pub(super) fn range(&self, prompt: usize) -> std::ops::Range<usize> {
        self.offsets[prompt] as usize..self.offsets[prompt + 1] as usize
    }

    /// The runs of all prompts, one after the other.
    pub fn all_runs(&self) -> &[Run] {
        &self.runs
    }

    /// The ids of a prompt.
    pub fn ids(&self, prompt: usize) -> impl Iterator<Item = u32> + Clone + '_ {
        self.runs(prompt).iter().flat_map(|run| run.first..run.first + run.len)
    }

    /// The ids of all prompts, one after the other.
    pub fn all_ids(&self) -> impl Iterator<Item = u32> + Clone + '_ {
        self.runs.iter().flat_map(|run| run.first..run.first + run.len)
    }

    /// Ids in a prompt.
    pub fn len_of(&self, prompt: usize) -> u32 {
        self.runs(prompt).iter().map(|run| run.len).sum()
    }

    /// Ids in all prompts, repeated ones every time.
    pub fn blocks(&self) -> u64 {
        self.blocks
    }

    /// One more than the greatest id; the number of distinct ones where ids are dense.
    pub fn end_id(&self) -> u32 {
        self.end_id
    }

    /// Whether two prompts have the same first `blocks` ids, and at least as many.
    pub fn share(&self, a: usize, b: usize, blocks: u32) -> bool {
        let (mut a, mut b) = (self.runs(a).iter(), self.runs(b).iter());
        let mut left = blocks;
        while left > 0 {
            let (Some(a), Some(b)) = (a.next(), b.next()) else { return false };
            // Runs are as long as they can be: they differ in length only where one prompt goes on otherwise.
            let common = a.len.min(b.len).min(left);
            if a.first != b.first || (common < left && a.len != b.len) {
                return false;
            }
            left -= common;
        }
        true
    }
}

/// New ids for old ones, in order of first appearance, a run at a time.
#[derive(Debug, Default)]
pub(super) struct Renumbering<K: Ord + Copy = ()> {
    /// By kind of content and first old id: how many follow it, and the new id of the first.
    known: BTreeMap<(K, u32), Run>,
    next: u32,
}

impl<K: Ord + Copy> Renumbering<K> {
    /// Adds the new ids of a run of old ones to the prompt being made.
    pub fn push(&mut self, kind: K, run: Run, to: &mut Contents) {
        let (mut at, end) = (run.first, run.first + run.len);
        while at < end {
            let before = self.known.range(..=(kind, at)).next_back().filter(|((k, _), _)| *k == kind);
            if let Some((&(_, old), &new)) = before
                && at < old + new.len
            {
                let len = (old + new.len).min(end) - at;
                to.push_run(Run { first: new.first + (at - old), len });
                at += len;
                continue;
            }
            let after = self.known.range((kind, at)..).next().filter(|((k, _), _)| *k == kind);
            let len = after.map_or(end, |(&(_, old), _)| old.min(end)) - at;
            let new = Run { first: self.next, len };
            self.next += len;
            // What follows the run before in both is a part of it.
            match before.map(|(&key, &value)| (key, value)) {
                Some((key, value)) if key.1 + value.len == at && value.first + value.len == new.first => {
                    self.known.insert(key, Run { len: value.len + len, ..value });
                }
                _ => {
                    self.known.insert((kind, at), new);
                }
            }
            to.push_run(new);
            at += len;
        }
    }
}

/// A value for each id, kept by runs of ids that have the same.
#[derive(Debug, Default)]
pub(super) struct RunMap<T: Copy + PartialEq> {
    /// By first id: how many, and the value. Runs do not overlap.
    runs: BTreeMap<u32, (u32, T)>,
}

impl<T: Copy + PartialEq> RunMap<T> {
    /// Changes the values of a run of ids; the old value is none for an id not met before.
    pub fn update(&mut self, run: Run, value: impl Fn(Option<T>) -> T) {
        self.split(run.first);
        self.split(run.first + run.len);
        let (mut at, end) = (run.first, run.first + run.len);
        while at < end {
            match self.runs.range_mut(at..end).next() {
                Some((&first, (len, old))) if first == at => {
                    *old = value(Some(*old));
                    at += *len;
                }
                next => {
                    let len = next.map_or(end, |(&first, _)| first) - at;
                    self.runs.insert(at, (len, value(None)));
                    at += len;
                }
            }
        }
    }

    /// Makes a run begin at an id, where one goes over it.
    fn split(&mut self, at: u32) {
        if let Some((&first, (len, value))) = self.runs.range_mut(..at).next_back()
            && first + *len > at
        {
            let (rest, value) = (first + *len - at, *value);
            *len = at - first;
            self.runs.insert(at, (rest, value));
        }
    }

    /// The parts of a run that have one value each; all ids have been met.
    pub fn parts(&self, run: Run) -> impl Iterator<Item = (Run, T)> + '_ {
        let end = run.first + run.len;
        let start = self.runs.range(..=run.first).next_back().map_or(run.first, |(&first, _)| first);
        self.runs.range(start..end).filter_map(move |(&first, &(len, value))| {
            let (from, to) = (first.max(run.first), (first + len).min(end));
            (from < to).then_some((Run { first: from, len: to - from }, value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn contents(prompts: &[Vec<u32>]) -> Contents {
        let mut contents = Contents::default();
        for prompt in prompts {
            prompt.iter().for_each(|&id| contents.push(id));
            contents.end_prompt();
        }
        contents
    }

    #[test]
    fn a_run_ends_where_ids_do_not_follow_or_the_prompt_ends() {
        let c = contents(&[vec![0, 1, 2], vec![3, 4, 0, 1], vec![], vec![2]]);
        let run = |first, len| Run { first, len };
        assert_eq!(c.runs(0), [run(0, 3)]);
        assert_eq!(c.runs(1), [run(3, 2), run(0, 2)]);
        assert_eq!((c.runs(2), c.runs(3)), (&[][..], &[run(2, 1)][..]));
        assert_eq!((c.blocks(), c.end_id(), c.len_of(1)), (8, 5, 4));
    }

    proptest! {
        #[test]
        fn ids_come_back_and_common_beginnings_are_seen(
            prompts in prop::collection::vec(prop::collection::vec(0u32..4, 0..9), 2..5),
        ) {
            let c = contents(&prompts);
            for (a, left) in prompts.iter().enumerate() {
                prop_assert_eq!(&c.ids(a).collect::<Vec<_>>(), left);
                for (b, right) in prompts.iter().enumerate() {
                    for blocks in 0..10 {
                        let is_shared = left.len() >= blocks && right.len() >= blocks && left[..blocks] == right[..blocks];
                        prop_assert_eq!(c.share(a, b, blocks as u32), is_shared, "{:?} {:?} {}", left, right, blocks);
                    }
                }
            }
        }

        /// As a map from each single id to the next free one gives them.
        #[test]
        fn renumbering_is_by_first_appearance(
            runs in prop::collection::vec((0u8..2, 0u32..30, 1u32..12), 1..20),
        ) {
            let (mut renumbering, mut to) = (Renumbering::default(), Contents::default());
            let (mut known, mut wanted) = (BTreeMap::new(), Vec::new());
            for &(kind, first, len) in &runs {
                renumbering.push(kind, Run { first, len }, &mut to);
                for id in first..first + len {
                    let next = known.len() as u32;
                    wanted.push(*known.entry((kind, id)).or_insert(next));
                }
            }
            to.end_prompt();
            prop_assert_eq!(to.ids(0).collect::<Vec<_>>(), wanted);
            prop_assert_eq!(to.end_id(), known.len() as u32);
        }

        #[test]
        fn a_run_map_is_a_map_of_ids(runs in prop::collection::vec((0u32..30, 1u32..12, 1u32..5), 1..20)) {
            let (mut map, mut plain) = (RunMap::default(), BTreeMap::new());
            let change = |old: Option<u32>, with: u32| old.unwrap_or(100) * 3 + with;
            for &(first, len, with) in &runs {
                map.update(Run { first, len }, |old| change(old, with));
                for id in first..first + len {
                    let old = plain.get(&id).copied();
                    plain.insert(id, change(old, with));
                }
                let parts = map.parts(Run { first, len });
                let told: Vec<_> = parts.flat_map(|(r, v)| (r.first..r.first + r.len).map(move |id| (id, v))).collect();
                let wanted: Vec<_> = (first..first + len).map(|id| (id, plain[&id])).collect();
                prop_assert_eq!(told, wanted);
            }
        }
    }

    #[test]
    fn what_is_numbered_in_order_stays_one_run() {
        let mut renumbering = Renumbering::default();
        let mut to = Contents::default();
        for first in [10, 20, 30] {
            renumbering.push((), Run { first, len: 10 }, &mut to);
        }
        to.end_prompt();
        assert_eq!((renumbering.known.len(), to.runs(0)), (1, &[Run { first: 0, len: 30 }][..]));
    }
}
