//! A table of counts per prefix segment and worker, kept by rows: one look-up answers a question about
//! every worker at once.

use crate::twin::pages::{NONE, Pages};
use crate::workload::prefix::BlockPaths;

/// Counts per segment (row) and worker (column). Rows of zeros take no memory.
#[derive(Debug, Default)]
pub struct Rows {
    columns: usize,
    /// Row of each segment.
    row_of: Pages,
    /// Rows, one after the other.
    counts: Vec<u32>,
    /// Columns of each row that are not zero.
    filled: Vec<u32>,
    /// Segment of each row.
    segment_of: Vec<u32>,
    spare: Vec<u32>,
}

impl Rows {
    /// Makes room for this many columns.
    pub fn widen(&mut self, columns: usize) {
        if columns <= self.columns {
            return;
        }
        let wide = columns.next_multiple_of(8);
        let mut counts = vec![0; self.filled.len() * wide];
        for row in 0..self.filled.len() {
            let old = &self.counts[row * self.columns..(row + 1) * self.columns];
            counts[row * wide..row * wide + self.columns].copy_from_slice(old);
        }
        (self.columns, self.counts) = (wide, counts);
    }

    /// The row of a segment; none when it is all zeros.
    pub fn get(&self, segment: u32) -> Option<&[u32]> {
        let row = self.row_of.get(segment);
        (row != NONE).then(|| &self.counts[row as usize * self.columns..(row as usize + 1) * self.columns])
    }

    /// Sets one count; the value before.
    pub fn set(&mut self, segment: u32, column: usize, count: u32) -> u32 {
        debug_assert!(column < self.columns);
        let mut row = self.row_of.get(segment);
        if row == NONE {
            if count == 0 {
                return 0;
            }
            row = self.new_row(segment);
        }
        let cell = &mut self.counts[row as usize * self.columns + column];
        let before = std::mem::replace(cell, count);
        let filled = &mut self.filled[row as usize];
        *filled = *filled + u32::from(count > 0) - u32::from(before > 0);
        if *filled == 0 {
            self.row_of.set(segment, NONE);
            self.spare.push(row);
        }
        before
    }

    /// One count.
    pub fn count(&self, segment: u32, column: usize) -> u32 {
        self.get(segment).map_or(0, |row| row[column])
    }

    /// Sets a whole column to zero.
    pub fn clear_column(&mut self, column: usize) {
        for row in 0..self.filled.len() {
            if self.filled[row] > 0 && self.counts[row * self.columns + column] > 0 {
                self.set(self.segment_of[row], column, 0);
            }
        }
    }

    fn new_row(&mut self, segment: u32) -> u32 {
        let row = self.spare.pop().unwrap_or_else(|| {
            self.counts.resize(self.counts.len() + self.columns, 0);
            self.filled.push(0);
            self.segment_of.push(0);
            self.filled.len() as u32 - 1
        });
        self.segment_of[row as usize] = segment;
        self.row_of.set(segment, row);
        row
    }

    /// How many leading blocks of a request's prompt each column has, when a count is the number of
    /// a segment's leading blocks that are there. `found` has one entry per column afterwards.
    pub fn prefix_blocks(&self, paths: &BlockPaths, request: u32, walk: &mut Walk) {
        walk.begin(self.columns);
        for &segment in paths.prompt_path(request) {
            let Some(row) = self.get(segment) else { return };
            let blocks = paths.blocks(segment);
            let mut alive = 0;
            for ((found, mask), &have) in walk.found.iter_mut().zip(&mut walk.alive).zip(row) {
                *found += have & *mask;
                *mask = if have >= blocks { *mask } else { 0 };
                alive |= *mask;
            }
            if alive == 0 {
                return;
            }
        }
    }

    /// The same when a count above zero means that all of a segment's blocks are there.
    pub fn whole_prefix_blocks(&self, paths: &BlockPaths, request: u32, walk: &mut Walk) {
        walk.begin(self.columns);
        for &segment in paths.prompt_path(request) {
            let Some(row) = self.get(segment) else { return };
            let blocks = paths.blocks(segment);
            let mut alive = 0;
            for ((found, mask), &count) in walk.found.iter_mut().zip(&mut walk.alive).zip(row) {
                *mask = if count > 0 { *mask } else { 0 };
                *found += blocks & *mask;
                alive |= *mask;
            }
            if alive == 0 {
                return;
            }
        }
    }
}

/// Where a walk along a prompt got to, for every column.
#[derive(Debug, Default)]
pub struct Walk {
    /// Blocks found in each column.
    pub found: Vec<u32>,
    /// All ones where every block so far was found.
    alive: Vec<u32>,
}

impl Walk {
    fn begin(&mut self, columns: usize) {
        self.found.clear();
        self.found.resize(columns, 0);
        self.alive.clear();
        self.alive.resize(columns, u32::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_zeros_are_given_back_and_used_again() {
        let mut rows = Rows::default();
        rows.widen(3);
        assert_eq!(rows.set(7, 2, 5), 0);
        assert_eq!(rows.set(7, 0, 1), 0);
        assert_eq!(rows.set(7, 2, 0), 5);
        assert_eq!((rows.count(7, 0), rows.count(7, 2)), (1, 0));
        rows.clear_column(0);
        assert!(rows.get(7).is_none());
        rows.set(9, 1, 4);
        assert_eq!(rows.get(9).unwrap()[..3], [0, 4, 0], "nothing is left of segment 7");
        assert_eq!(rows.filled.len(), 1, "one row served both");
    }

    #[test]
    fn widening_keeps_what_is_there() {
        let mut rows = Rows::default();
        rows.widen(1);
        rows.set(0, 0, 3);
        rows.set(1, 0, 4);
        rows.widen(20);
        rows.set(1, 19, 9);
        assert_eq!((rows.count(0, 0), rows.count(1, 0), rows.count(1, 19), rows.count(0, 19)), (3, 4, 9, 0));
    }
}
