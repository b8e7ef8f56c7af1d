//! All-reduces over elements.

use std::collections::BTreeMap;

use super::rows::Rows;
use super::system::System;

/// The all-reduces of a backend by number of GPUs.
#[derive(Debug, Default)]
pub struct AllReduces(BTreeMap<u32, BTreeMap<u32, f64>>);

impl AllReduces {
    /// Collects the rows of all sources, the preferred first. Launches outside a CUDA graph are
    /// left out.
    pub fn new(sources: &[Rows]) -> AllReduces {
        let mut all = AllReduces::default();
        for rows in sources {
            let [gpus, elements] = ["num_gpus", "message_size"].map(|c| rows.integers(c));
            for row in (0..rows.len()).filter(|&row| !rows.text("kernel_source", row).ends_with("_eager")) {
                all.0.entry(gpus[row]).or_default().entry(elements[row]).or_insert(rows.latency[row]);
            }
        }
        all
    }

    /// The all-reduce among `gpus` GPUs.
    ///
    /// # Errors
    /// When none was measured.
    pub fn among(&self, gpus: u32, system: &System) -> Result<AllReduce, String> {
        if gpus <= 1 {
            return Ok(AllReduce { points: Vec::new(), scale: 0.0 });
        }
        let (&measured, points) = self
            .0
            .range(..=gpus)
            .next_back()
            .or_else(|| self.0.iter().next())
            .ok_or("all-reduces were not measured")?;
        // A ring of n moves (n - 1) / n of its bytes through every link.
        let ring = |n: u32| f64::from(n - 1) / f64::from(n);
        let link = |n: u32| if n > system.gpus_per_node { system.inter_node } else { system.intra_node };
        let scale = if measured == gpus { 1.0 } else { ring(gpus) / ring(measured) * link(measured) / link(gpus) };
        Ok(AllReduce { points: points.iter().map(|(&x, &ms)| (f64::from(x), ms)).collect(), scale })
    }
}

/// One all-reduce, ready to be asked by elements.
#[derive(Debug)]
pub struct AllReduce {
    points: Vec<(f64, f64)>,
    scale: f64,
}

impl AllReduce {
    /// Duration for so many elements, ms: linear between points, proportional beyond them.
    pub fn ms(&self, elements: f64) -> f64 {
        let (Some(first), Some(last)) = (self.points.first(), self.points.last()) else { return 0.0 };
        let ms = if elements < first.0 {
            first.1 * elements / first.0
        } else if elements > last.0 {
            last.1 * elements / last.0
        } else {
            super::gemm::along(&self.points, elements, |_| 1.0)
        };
        ms * self.scale
    }

    /// Token counts at which the duration of `width` elements each may bend.
    pub fn knots(&self, width: u32) -> impl Iterator<Item = u32> {
        self.points.iter().flat_map(move |(elements, _)| {
            let at = *elements as u32 / width;
            [at, at + 1]
        })
    }
}
