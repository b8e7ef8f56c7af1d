//! What the pages of a Parquet column say of themselves, read without decoding any.
//!
//! The decoder makes room for what a page's header says, up to two gigabytes, before it looks at the
//! page; and the sizes and encodings in the footer bind no page. So the headers are read first: structs
//! of Thrift's compact protocol, as the Parquet format defines them
//! (<https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift>).

use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::reader::ChunkReader;

use super::guarded;

/// Encodings of values by their number in the format.
const ENCODINGS: [&str; 10] = [
    "PLAIN",
    "1, which is none",
    "PLAIN_DICTIONARY",
    "RLE",
    "BIT_PACKED",
    "DELTA_BINARY_PACKED",
    "DELTA_LENGTH_BYTE_ARRAY",
    "DELTA_BYTE_ARRAY",
    "RLE_DICTIONARY",
    "BYTE_STREAM_SPLIT",
];
/// A later text may be a beginning of an earlier one, for two bytes.
pub const DELTA_BYTE_ARRAY: usize = 7;

/// What the pages of a column of a row group say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pages {
    /// Bytes that the largest unfolds to, without its dictionary.
    pub largest: u64,
    /// Bytes that the dictionary unfolds to.
    pub dictionary: u64,
    /// A bit for each encoding of values, by its number.
    encodings: u16,
}

impl Pages {
    /// Bytes that a reader has in memory at once.
    fn at_once(&self) -> u64 {
        self.largest + self.dictionary
    }

    /// Whether any page has its values in this encoding.
    pub fn has(&self, encoding: usize) -> bool {
        self.encodings & (1 << encoding) != 0
    }

    /// The name of the first encoding that is not one of `these`.
    pub fn encoding_beyond(&self, these: &[usize]) -> Option<&'static str> {
        (0..ENCODINGS.len()).find(|e| self.has(*e) && !these.contains(e)).map(|e| ENCODINGS[e])
    }
}

/// The pages of a column of a row group.
///
/// # Errors
/// What is wrong with them, to follow the name of the file.
fn of(file: &impl ChunkReader, chunk: &ColumnChunkMetaData) -> Result<Pages, String> {
    let broken = || "has a column whose pages cannot be told apart".to_string();
    // Both panic on a place that is not in the file.
    let bytes = guarded(|| {
        let (start, length) = chunk.byte_range();
        file.get_bytes(start, usize::try_from(length).ok()?).ok()
    });
    let bytes = bytes.flatten().ok_or_else(broken)?;
    let mut rest: &[u8] = &bytes;
    let mut pages = Pages::default();
    while !rest.is_empty() {
        let mut header = Header { rest, ..Header::default() };
        header.read_struct(Of::Page).ok_or_else(broken)?;
        let (folded, unfolded) = (header.folded.ok_or_else(broken)?, header.unfolded.ok_or_else(broken)?);
        rest = header.rest.get(usize::try_from(folded).map_err(|_| broken())?..).ok_or_else(broken)?;
        let unfolded = u64::try_from(unfolded).map_err(|_| broken())?;
        let size = if header.is_dictionary { &mut pages.dictionary } else { &mut pages.largest };
        *size = unfolded.max(*size);
        if let Some(encoding) = header.encoding {
            let number = usize::try_from(encoding).ok().filter(|&e| e < ENCODINGS.len());
            pages.encodings |= 1 << number.ok_or_else(broken)?;
        }
    }
    Ok(pages)
}

/// Bytes that a reader has in memory at once where it reads some columns, by their numbers, of the row group that
/// takes most. Each column's pages are shown to `look` first.
///
/// # Errors
/// What is wrong with the pages, or what `look` says of them.
pub fn at_once(
    file: &impl ChunkReader,
    metadata: &ParquetMetaData,
    is_read: impl Fn(usize) -> bool,
    mut look: impl FnMut(&ColumnChunkMetaData, &Pages) -> Result<(), String>,
) -> Result<u64, String> {
    let mut most = 0;
    for group in metadata.row_groups() {
        let mut at_once = 0u64;
        for (_, chunk) in group.columns().iter().enumerate().filter(|(column, _)| is_read(*column)) {
            let pages = of(file, chunk)?;
            look(chunk, &pages)?;
            at_once = at_once.saturating_add(pages.at_once());
        }
        most = most.max(at_once);
    }
    Ok(most)
}

/// The structs whose fields matter.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Page,
    Data,
    DataV2,
    /// One that only has to be passed over, within so many others.
    Other(u8),
}

/// A header that is being read.
#[derive(Default)]
struct Header<'a> {
    rest: &'a [u8],
    unfolded: Option<i64>,
    folded: Option<i64>,
    is_dictionary: bool,
    encoding: Option<i64>,
}

impl Header<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    fn pass(&mut self, bytes: u64) -> Option<()> {
        self.rest = self.rest.get(usize::try_from(bytes).ok()?..)?;
        Some(())
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    /// A signed number: those near zero of either sign are short.
    fn zigzag(&mut self) -> Option<i64> {
        let value = self.varint()?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn read_struct(&mut self, of: Of) -> Option<()> {
        let mut field = 0i64;
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Some(());
            }
            field = match head >> 4 {
                0 => self.zigzag()?,
                step => field.checked_add(i64::from(step))?,
            };
            match head & 15 {
                // Booleans are in the head.
                1 | 2 => {}
                3 => self.pass(1)?,
                4..=6 => {
                    let value = self.zigzag()?;
                    match (of, field) {
                        (Of::Page, 2) => self.unfolded = Some(value),
                        (Of::Page, 3) => self.folded = Some(value),
                        (Of::Data, 2) | (Of::DataV2, 4) => self.encoding = Some(value),
                        _ => {}
                    }
                }
                7 => self.pass(8)?,
                8 => {
                    let length = self.varint()?;
                    self.pass(length)?;
                }
                12 => {
                    self.is_dictionary |= (of == Of::Page) && field == 7;
                    self.read_struct(match (of, field) {
                        (Of::Page, 5) => Of::Data,
                        (Of::Page, 8) => Of::DataV2,
                        (Of::Other(depth), _) => Of::Other(depth.checked_sub(1)?),
                        _ => Of::Other(8),
                    })?;
                }
                // No header has a list, a set or a map.
                _ => return None,
            }
        }
    }
}
