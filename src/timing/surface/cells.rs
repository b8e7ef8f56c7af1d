//! Piecewise linear tables over (batch, length) that are asked without a search.
//!
//! Batches are powers of two, so that the row is the position of the leading bit. Lengths are cut
//! into `PER_OCTAVE` equal cells per doubling, found from exponent and leading mantissa bits; the
//! measured knots all lie on boundaries of cells, so that a cell is one straight line.

use super::library::Axes;

/// A table of straight lines; see the module.
#[derive(Debug, PartialEq)]
pub struct Cells<const PER_OCTAVE: u32> {
    /// Cell-major, rows of batch within; rounded to single precision, as the rest of a surface, and kept
    /// as they are computed with.
    lines: Box<[[f64; 2]]>,
    rows: usize,
    /// Where each cell's line ends: the next measured knot; `None` for the last.
    ends: Box<[Option<u32>]>,
    /// Cell number of the first measured knot, less one.
    origin: u64,
}

fn rounded(value: f64) -> f64 {
    f64::from(value as f32)
}

/// A straight line over length.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    intercept: f64,
    /// Growth per token.
    pub slope: f64,
}

impl Line {
    /// The value at a length.
    #[inline]
    pub fn at(self, length: f64) -> f64 {
        self.intercept + self.slope * length
    }
}

impl<const PER_OCTAVE: u32> Cells<PER_OCTAVE> {
    const SHIFT: u32 = 52 - PER_OCTAVE.ilog2();

    /// Lines through the values of a row-major table over checked axes. Constant below the first
    /// length, extended beyond the last.
    pub fn new(values: &[f64], axes: &Axes) -> Self {
        let (rows, columns) = (axes.batch.len(), axes.length.len());
        let origin = Self::number(axes.length[0].into()) - 1;
        let cells = (Self::number(axes.length[columns - 1].into()) - origin) as usize + 1;
        let mut lines = Vec::with_capacity(cells * rows);
        let mut ends = Vec::with_capacity(cells);
        for cell in 0..cells {
            let start = if cell == 0 { 0.0 } else { Self::start(cell as u64 + origin) };
            let after = axes.length.partition_point(|&knot| f64::from(knot) <= start);
            ends.push(axes.length.get(after).copied());
            for row in values.chunks_exact(columns) {
                lines.push(if after == 0 {
                    [rounded(row[0]), 0.0]
                } else {
                    let left = (after - 1).min(columns - 2);
                    let (x, y) = (f64::from(axes.length[left]), row[left]);
                    let slope = (row[left + 1] - y) / (f64::from(axes.length[left + 1]) - x);
                    [rounded(y - slope * x), rounded(slope)]
                });
            }
        }
        Cells { lines: lines.into(), rows, ends: ends.into(), origin }
    }

    /// Every value times a factor.
    pub fn scaled(&self, factor: f64) -> Self {
        let scale = |line: &[f64; 2]| line.map(|v| rounded(v * factor));
        Cells {
            lines: self.lines.iter().map(scale).collect(),
            rows: self.rows,
            ends: self.ends.clone(),
            origin: self.origin,
        }
    }

    /// The cell of a length of 0 or more.
    #[inline]
    pub fn cell(&self, length: f64) -> usize {
        (Self::number(length).saturating_sub(self.origin) as usize).min(self.ends.len() - 1)
    }

    /// The length at which the line of a cell gives way to another; `None` for the last.
    #[inline]
    pub fn end(&self, cell: usize) -> Option<u32> {
        self.ends[cell]
    }

    /// The line of a cell at a batch: linear between powers of two, extended beyond the last.
    #[inline]
    pub fn line(&self, batch: u32, cell: usize) -> Line {
        let (low, high, weight) = self.between(batch, cell);
        Line { intercept: low[0] + weight * (high[0] - low[0]), slope: low[1] + weight * (high[1] - low[1]) }
    }

    /// The value at a batch and a length of 0 or more.
    #[inline]
    pub fn at(&self, batch: u32, length: f64) -> f64 {
        self.line(batch, self.cell(length)).at(length)
    }

    /// Linear in batch between the squares of the lines: for tables that hold square roots.
    #[inline]
    pub fn at_squared(&self, batch: u32, length: f64) -> f64 {
        let (low, high, weight) = self.between(batch, self.cell(length));
        let squared = |line: [f64; 2]| {
            let root = line[0] + line[1] * length;
            root * root
        };
        let (low, high) = (squared(low), squared(high));
        low + weight * (high - low)
    }

    /// The rows around a batch in a cell, and how far the batch lies towards the second.
    #[inline]
    fn between(&self, batch: u32, cell: usize) -> ([f64; 2], [f64; 2], f64) {
        let batch = batch.max(1);
        let row = (batch.ilog2() as usize).min(self.rows - 2);
        let first = cell * self.rows + row;
        // batch / 2^row - 1, the power of two made from its exponent.
        let weight = f64::from(batch) * f64::from_bits((1023 - row as u64) << 52) - 1.0;
        let [low, high] = self.lines[first..first + 2] else { unreachable!("two rows") };
        (low, high, weight)
    }

    /// Number of the cell among all positive lengths.
    #[inline]
    fn number(length: f64) -> u64 {
        length.to_bits() >> Self::SHIFT
    }

    /// Where the cell with this number starts.
    fn start(number: u64) -> f64 {
        f64::from_bits(number << Self::SHIFT)
    }
}

/// Whether a table over these axes can be cut into cells.
///
/// # Errors
/// When batches are not 1, 2, 4, ... or a length is not on a boundary of cells.
pub fn check_axes<const PER_OCTAVE: u32>(axes: &Axes) -> Result<(), String> {
    if axes.batch.len() < 2 || !axes.batch.iter().enumerate().all(|(i, &b)| b == 1 << i) {
        return Err(format!("batches must be 1, 2, 4, ..., not {:?}", axes.batch));
    }
    if axes.length.len() < 2 || axes.length[0] == 0 || !axes.length.is_sorted_by(|a, b| a < b) {
        return Err(format!("lengths must increase from 1 or more, not {:?}", axes.length));
    }
    let on_boundary =
        |length: u32| length == (Cells::<PER_OCTAVE>::start(Cells::<PER_OCTAVE>::number(length.into()))) as u32;
    match axes.length.iter().find(|&&l| !on_boundary(l)) {
        None => Ok(()),
        Some(l) => Err(format!("length {l} is not on a {PER_OCTAVE}th of an octave")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axes() -> Axes {
        Axes { batch: vec![1, 2, 4], length: vec![16, 24, 64, 96, 128] }
    }

    fn values() -> Vec<f64> {
        (0..15).map(|i| f64::from(i * i % 7 + i)).collect()
    }

    #[test]
    fn knots_are_met_and_lines_join_them() {
        let (axes, values) = (axes(), values());
        let cells = Cells::<2>::new(&values, &axes);
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-5, "{a} is not {b}");
        for (r, &batch) in axes.batch.iter().enumerate() {
            let row = &values[r * 5..][..5];
            for (&length, &value) in axes.length.iter().zip(row) {
                near(cells.at(batch, length.into()), value);
            }
            near(cells.at(batch, 44.0), (row[1] + row[2]) / 2.0);
            near(cells.at(batch, 3.0), row[0]);
            near(cells.at(batch, 160.0), row[4] + (row[4] - row[3]));
        }
        near(cells.at(3, 64.0), (values[7] + values[12]) / 2.0);
        near(cells.at(8, 64.0), values[12] + 2.0 * (values[12] - values[7]));
        assert_eq!(cells.end(cells.cell(30.0)), Some(64), "a line spans the cells between two knots");
        assert_eq!(cells.end(cells.cell(64.0)), Some(96));
        assert_eq!(cells.end(cells.cell(0.0)), Some(16));
        assert_eq!(cells.end(cells.cell(1e9)), None);
    }

    #[test]
    fn roots_are_squared_before_batches_are_mixed() {
        let cells = Cells::<2>::new(&[1.0, 3.0, 2.0, 4.0], &Axes { batch: vec![1, 2], length: vec![16, 32] });
        assert!((cells.at_squared(1, 24.0) - 4.0).abs() < 1e-6);
        assert!((cells.at_squared(2, 24.0) - 9.0).abs() < 1e-6);
        assert!((cells.at_squared(3, 24.0) - 14.0).abs() < 1e-6);
    }

    #[test]
    fn axes_that_cannot_be_cut_are_refused() {
        assert!(check_axes::<2>(&axes()).is_ok());
        assert!(check_axes::<2>(&Axes { batch: vec![1, 3], ..axes() }).unwrap_err().contains("batches"));
        assert!(check_axes::<2>(&Axes { length: vec![16, 20], ..axes() }).unwrap_err().contains("length 20"));
        assert!(check_axes::<4>(&Axes { length: vec![16, 20], ..axes() }).is_ok());
        assert!(check_axes::<4>(&Axes { length: vec![16, 16], ..axes() }).unwrap_err().contains("increase"));
    }
}
