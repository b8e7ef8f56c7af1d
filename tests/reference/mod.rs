//! Reading the shared reference data, which is not part of the repository.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::HashMap;
use std::io::Read;
use std::path::PathBuf;

use servescout::catalog::{Backend, Dtype};
use servescout::timing::PassLoad;

/// A CSV file in memory.
pub struct Csv {
    columns: HashMap<String, usize>,
    text: String,
}

/// One line of a CSV file.
pub struct Row<'a> {
    columns: &'a HashMap<String, usize>,
    fields: Vec<&'a str>,
}

/// The file's path, or `None`, loudly, where the reference data is absent.
pub fn path(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/reference").join(name);
    if path.exists() {
        return Some(path);
    }
    eprintln!("SKIPPED: {} is absent, so nothing was compared with it", path.display());
    None
}

/// The bytes of a gzip file of the reference data.
pub fn read_gz(name: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path(name)?).unwrap();
    flate2::read::GzDecoder::new(file).read_to_end(&mut bytes).unwrap();
    Some(bytes)
}

/// A gzipped CSV without quoted commas before the columns that tests read.
pub fn read_csv(name: &str) -> Option<Csv> {
    Some(csv(String::from_utf8(read_gz(name)?).unwrap()))
}

/// A CSV without quoted commas before the columns that tests read.
pub fn csv(text: String) -> Csv {
    let header = text.lines().next().unwrap();
    let columns = header.split(',').enumerate().map(|(i, c)| (c.to_string(), i)).collect();
    Csv { columns, text }
}

impl Csv {
    pub fn iter(&self) -> impl Iterator<Item = Row<'_>> {
        self.text.lines().skip(1).map(|line| Row { columns: &self.columns, fields: line.split(',').collect() })
    }
}

impl<'a> Row<'a> {
    pub fn text(&self, column: &str) -> &'a str {
        self.fields[self.columns[column]]
    }

    pub fn real(&self, column: &str) -> f64 {
        self.text(column).parse().unwrap_or_else(|_| panic!("{column}: {}", self.text(column)))
    }

    pub fn int<T: std::str::FromStr>(&self, column: &str) -> T {
        self.text(column).parse().unwrap_or_else(|_| panic!("{column}: {}", self.text(column)))
    }
}

pub fn backend(name: &str) -> Backend {
    Backend::parse(name).unwrap()
}

/// Weight and cache formats of the reference's quantisation names.
pub fn formats(quant: &str) -> (Dtype, Dtype) {
    match quant {
        "bf16" => (Dtype::Bf16, Dtype::Bf16),
        "fp8" | "fp8_block" | "fp8_static" => (Dtype::Fp8, Dtype::Fp8),
        "fp8_block_kvbf16" | "fp8_kvbf16" | "fp8mix_kvbf16" => (Dtype::Fp8, Dtype::Bf16),
        "fp8_static_kvbf16" => (Dtype::Fp8, Dtype::Bf16),
        "nvfp4" => (Dtype::Nvfp4, Dtype::Fp8),
        "mxfp4" | "mxfp4_mxfp8" => (Dtype::Mxfp4, Dtype::Bf16),
        "mxfp4_kvfp8" | "mxfp4_mxfp8_kvfp8" => (Dtype::Mxfp4, Dtype::Fp8),
        other => panic!("quantisation {other}"),
    }
}

/// Decode, prefill and mixed passes over the range that servers use.
pub fn loads() -> Vec<PassLoad> {
    let mut loads = Vec::new();
    for seqs in [1u32, 4, 16, 64, 256] {
        for context in [256, 1024, 4096, 16_384] {
            loads.push(PassLoad::decode(seqs, context * u64::from(seqs), 1 << 24));
        }
    }
    for new in [128, 512, 2048, 8192] {
        for prefix in [0, 4096, 16_384] {
            loads.push(PassLoad::default().with_prefill(new, prefix, true));
        }
    }
    for (new, seqs, context) in [(256, 8, 1024u64), (512, 64, 2048), (2048, 32, 4096), (1024, 128, 1024)] {
        let mut load = PassLoad::default().with_prefill(new, 0, true);
        load.decode_seqs = seqs;
        load.sampled_seqs += seqs;
        load.decode_context_tokens = context * u64::from(seqs);
        loads.push(load);
    }
    loads
}
