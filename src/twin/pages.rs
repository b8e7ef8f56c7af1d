//! Numbers by prefix segment, of which few are there at a time.
//!
//! A day of traffic has millions of segments, and a worker holds blocks of some hundred of them: an
//! array over all segments in each of 32 workers would be most of what a simulation takes. Segments are
//! numbered in the order of requests, so those that are there lie close together: the array is kept in
//! pages, and pages with nothing on them are given back.

/// What a segment has that was given nothing, or [`NONE`] itself.
pub const NONE: u32 = u32::MAX;

const PAGE: usize = 64;

/// The page of all segments that have nothing near them; it stays empty, so that asking for a number
/// needs no case of its own.
const EMPTY: u32 = 0;

/// One number for each segment.
#[derive(Debug)]
pub struct Pages {
    /// Where each page stands among `cells`, in pages.
    table: Vec<u32>,
    cells: Vec<u32>,
    /// Numbers on each page.
    filled: Vec<u8>,
    spare: Vec<u32>,
}

impl Default for Pages {
    fn default() -> Self {
        Pages::new(0)
    }
}

impl Pages {
    /// Nothing for any segment; room for `0..segments`, of which it may have more.
    pub fn new(segments: usize) -> Self {
        let table = vec![EMPTY; segments.div_ceil(PAGE)];
        Pages { table, cells: vec![NONE; PAGE], filled: vec![0], spare: Vec::new() }
    }

    /// The number of a segment; [`NONE`] when it has none.
    #[inline]
    pub fn get(&self, segment: u32) -> u32 {
        let page = self.table.get(segment as usize / PAGE).copied().unwrap_or(EMPTY);
        self.cells[page as usize * PAGE + segment as usize % PAGE]
    }

    /// Gives a segment a number, or with [`NONE`] takes it away.
    pub fn set(&mut self, segment: u32, value: u32) {
        let place = segment as usize / PAGE;
        if self.table.len() <= place {
            self.table.resize(place + 1, EMPTY);
        }
        let mut page = self.table[place];
        if page == EMPTY {
            if value == NONE {
                return;
            }
            page = self.new_page();
            self.table[place] = page;
        }
        let cell = &mut self.cells[page as usize * PAGE + segment as usize % PAGE];
        let before = std::mem::replace(cell, value);
        let filled = &mut self.filled[page as usize];
        *filled = *filled + u8::from(value != NONE) - u8::from(before != NONE);
        if *filled == 0 {
            self.table[place] = EMPTY;
            self.spare.push(page);
        }
    }

    /// All numbers that are there.
    pub fn values(&self) -> impl Iterator<Item = u32> + '_ {
        self.cells.iter().copied().filter(|&value| value != NONE)
    }

    fn new_page(&mut self) -> u32 {
        self.spare.pop().unwrap_or_else(|| {
            self.cells.resize(self.cells.len() + PAGE, NONE);
            self.filled.push(0);
            self.filled.len() as u32 - 1
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_an_array_whose_empty_pages_are_given_back(
            steps in prop::collection::vec((0u32..1000, prop::option::of(0u32..9)), 1..300),
        ) {
            let (mut pages, mut plain) = (Pages::new(500), [NONE; 1000]);
            let mut most = 0;
            for (segment, value) in steps {
                plain[segment as usize] = value.unwrap_or(NONE);
                pages.set(segment, value.unwrap_or(NONE));
                most = most.max(plain.chunks(PAGE).filter(|page| page.iter().any(|&v| v != NONE)).count());
                prop_assert_eq!(pages.get(segment), plain[segment as usize]);
            }
            prop_assert!((0..1000).all(|s| pages.get(s) == plain[s as usize]));
            prop_assert_eq!(pages.values().count(), plain.iter().filter(|&&v| v != NONE).count());
            prop_assert_eq!(pages.filled.len() - 1, most, "as many pages as were needed at once");
        }
    }
}
