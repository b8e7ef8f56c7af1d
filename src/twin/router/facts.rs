//! What a router knows about each candidate when it decides about a request.

/// One decision's facts, a column of values per fact. Columns that no part of the router needs are
/// zero.
#[derive(Debug, Default)]
pub struct Facts {
    /// The request.
    pub request: u32,
    /// Number of candidates.
    pub candidates: usize,
    /// The worker of each, ascending; several in a row where its ranks are candidates.
    pub workers: Vec<usize>,
    /// Tokens of the prompt.
    pub prompt_tokens: f64,
    /// Full blocks of the prompt.
    pub prompt_blocks: f64,
    /// Tokens per block.
    pub block_size: f64,
    /// Blocks of a worker's pool.
    pub kv_blocks: f64,
    /// Requests placed on each candidate and not ended.
    pub active_requests: Vec<f64>,
    /// Prompt tokens still to be computed there for requests placed before.
    pub queued_prefill_tokens: Vec<f64>,
    /// Those and the whole prompt, blocks.
    pub prefill_blocks: Vec<f64>,
    /// How much more prefill is queued there than on the least loaded candidate, blocks.
    pub excess_prefill_blocks: Vec<f64>,
    /// Distinct prompt blocks of the requests active there, this one's included.
    pub decode_blocks: Vec<f64>,
    /// Leading prompt blocks in the worker's GPU cache, as far as the router has been told.
    pub overlap_blocks: Vec<f64>,
    /// Prompt blocks that follow those in host memory, where the deployment keeps KV there.
    pub host_blocks: Vec<f64>,
    /// Prompt blocks that then follow on disk.
    pub disk_blocks: Vec<f64>,
    /// Predicted time until the prefill queued there is done, ms.
    pub queued_prefill_ms: Vec<f64>,
    /// Predicted time to compute what is not cached there of this prompt, ms.
    pub predicted_prefill_ms: Vec<f64>,
}

impl Facts {
    /// Makes room for so many candidates. What nobody fills is zero and stays so.
    pub fn resize(&mut self, candidates: usize) {
        if self.candidates == candidates {
            return;
        }
        self.candidates = candidates;
        let columns = [
            &mut self.active_requests,
            &mut self.queued_prefill_tokens,
            &mut self.prefill_blocks,
            &mut self.excess_prefill_blocks,
            &mut self.decode_blocks,
            &mut self.overlap_blocks,
            &mut self.host_blocks,
            &mut self.disk_blocks,
            &mut self.queued_prefill_ms,
            &mut self.predicted_prefill_ms,
        ];
        columns.into_iter().for_each(|column| column.resize(candidates, 0.0));
    }
}

/// Which facts somebody needs, besides active requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Anything at all that depends on what happened before.
    pub books: bool,
    /// What is cached where.
    pub caches: bool,
    /// What is in host memory and on disk, beyond the caches.
    pub tiers: bool,
    /// Prefill work outstanding, tokens and blocks.
    pub prefill: bool,
    /// Distinct active blocks.
    pub decode: bool,
    /// Predictions, ms.
    pub predictions: bool,
}

impl Needs {
    /// What either needs.
    pub fn or(self, other: Needs) -> Needs {
        Needs {
            books: self.books || other.books,
            caches: self.caches || other.caches,
            tiers: self.tiers || other.tiers,
            prefill: self.prefill || other.prefill,
            decode: self.decode || other.decode,
            predictions: self.predictions || other.predictions,
        }
    }
}
