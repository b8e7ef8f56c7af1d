//! The lines of a text file and the SHA-256 of its bytes, in one pass and in bounded memory.
//!
//! Hashing takes longer than parsing on processors without instructions for it: that of a file of some
//! size goes on beside the parsing, on a thread of its own.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use sha2::{Digest, Sha256};

use super::error::{Fault, WorkloadError};

const BUFFER_BYTES: usize = 1 << 18;
/// Longest line: prompts of half a gigatoken in blocks of 512 have shorter ones.
const MOST_LINE_BYTES: u64 = 1 << 26;
/// Buffers read and not hashed yet.
const UNHASHED_BUFFERS: usize = 4;

/// Reads a text file line by line; holds one line in memory.
pub(crate) struct Lines {
    path: PathBuf,
    reader: BufReader<Hashed<File>>,
    line: Vec<u8>,
    number: u64,
    bytes: u64,
}

/// One line, without its terminator.
pub(crate) struct Line<'a> {
    pub text: &'a str,
    /// From 1.
    pub number: u64,
    /// Whether a line break follows; a last line without one may have been cut off.
    pub terminated: bool,
    /// Bytes of the file up to the end of this line.
    pub bytes: u64,
}

impl Lines {
    pub fn open(path: &Path) -> Result<Self, WorkloadError> {
        let file = File::open(path).map_err(|source| match source.kind() {
            ErrorKind::NotFound => WorkloadError::file(
                path,
                "no such file",
                "check the path; in a search space it is relative to the TOML file",
            ),
            ErrorKind::PermissionDenied => {
                WorkloadError::file(path, "may not be read: permission denied", "make it readable (chmod +r)")
            }
            _ => WorkloadError::Read { path: path.to_path_buf(), source },
        })?;
        if file.metadata().is_ok_and(|m| m.is_dir()) {
            return Err(WorkloadError::file(path, "is a directory", "name one trace file in it"));
        }
        let reader = BufReader::with_capacity(BUFFER_BYTES, Hashed { inner: file, hash: Hash::Here(Sha256::new()) });
        Ok(Self { path: path.to_path_buf(), reader, line: Vec::new(), number: 0, bytes: 0 })
    }

    /// The next line that is not blank.
    pub fn next_line(&mut self) -> Result<Option<Line<'_>>, WorkloadError> {
        loop {
            self.line.clear();
            let read = self
                .reader
                .by_ref()
                .take(MOST_LINE_BYTES)
                .read_until(b'\n', &mut self.line)
                .map_err(|source| WorkloadError::Read { path: self.path.clone(), source })?;
            if read == 0 {
                return Ok(None);
            }
            self.number += 1;
            if read as u64 == MOST_LINE_BYTES {
                let why = format!("has {} MiB without a line break", MOST_LINE_BYTES >> 20);
                return Err(Fault::row(why, "a trace has one request per line").at(&self.path, self.number));
            }
            self.bytes += read as u64;
            if self.number == 1 {
                refuse_binary(&self.line, &self.path)?;
            }
            if !self.line.trim_ascii().is_empty() {
                break;
            }
        }
        let terminated = self.line.ends_with(b"\n");
        let mut bytes = self.line.trim_ascii_end();
        if self.number == 1 {
            bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        }
        let text = std::str::from_utf8(bytes).map_err(|e| {
            let why = format!("is not UTF-8 text (byte {} of the line)", e.valid_up_to() + 1);
            Fault::row(why, "convert the file to UTF-8").at(&self.path, self.number)
        })?;
        Ok(Some(Line { text, number: self.number, terminated, bytes: self.bytes }))
    }

    /// SHA-256 of the whole file, lower-case hex; reads what is left of it.
    pub fn sha256(mut self) -> Result<String, WorkloadError> {
        io::copy(&mut self.reader, &mut io::sink())
            .map_err(|source| WorkloadError::Read { path: self.path.clone(), source })?;
        Ok(hex(&self.reader.into_inner().hash.finish().finalize()))
    }
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Says what a file is when its first bytes show that it is no text.
fn refuse_binary(start: &[u8], path: &Path) -> Result<(), WorkloadError> {
    let kinds: [(&[u8], &str, &str); 6] = [
        (b"\x1f\x8b", "is gzip-compressed", "decompress it first: gunzip -k FILE"),
        (b"\x28\xb5\x2f\xfd", "is zstd-compressed", "decompress it first: unzstd FILE"),
        (b"PK\x03\x04", "is a zip archive", "unzip it first"),
        (b"PAR1", "is a Parquet file", "export it as JSON Lines"),
        (b"\xff\xfe", "is UTF-16 text", "convert it to UTF-8: iconv -f UTF-16 -t UTF-8"),
        (b"\xfe\xff", "is UTF-16 text", "convert it to UTF-8: iconv -f UTF-16 -t UTF-8"),
    ];
    match kinds.iter().find(|(magic, ..)| start.starts_with(magic)) {
        Some((_, why, help)) => Err(WorkloadError::file(path, *why, *help)),
        None => Ok(()),
    }
}

/// A reader that hashes what it reads.
struct Hashed<R> {
    inner: R,
    hash: Hash,
}

/// A hash in the making.
enum Hash {
    Here(Sha256),
    /// On a thread that takes what is to be hashed and returns the hasher when there is no more.
    Beside(SyncSender<Vec<u8>>, JoinHandle<Sha256>),
}

impl Hash {
    fn update(&mut self, bytes: &[u8]) {
        if let Hash::Here(hasher) = self
            && bytes.len() == BUFFER_BYTES
        {
            *self = Hash::beside(hasher.clone());
        }
        match self {
            Hash::Here(hasher) => hasher.update(bytes),
            Hash::Beside(to, _) => to.send(bytes.to_vec()).expect("the thread takes all there is"),
        }
    }

    /// Goes on beside the reading, where the system has a thread for it.
    fn beside(hasher: Sha256) -> Hash {
        let (to, from) = sync_channel::<Vec<u8>>(UNHASHED_BUFFERS);
        let mut hashing = hasher.clone();
        let thread = std::thread::Builder::new().name("hash".into()).spawn(move || {
            from.iter().for_each(|bytes| hashing.update(&bytes));
            hashing
        });
        thread.map_or(Hash::Here(hasher), |thread| Hash::Beside(to, thread))
    }

    fn finish(self) -> Sha256 {
        match self {
            Hash::Here(hasher) => hasher,
            Hash::Beside(to, thread) => {
                drop(to);
                thread.join().expect("hashing does not fail")
            }
        }
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hash.update(&buffer[..read]);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(bytes: &[u8]) -> Lines {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        io::Write::write_all(&mut file, bytes).unwrap();
        Lines::open(file.path()).unwrap()
    }

    #[test]
    fn blank_lines_count_but_are_skipped_and_the_hash_is_of_all_bytes() {
        let mut lines = lines_of(b"\xef\xbb\xbfabc\r\n\n  \nlast");
        let first = lines.next_line().unwrap().unwrap();
        assert_eq!((first.text, first.number, first.terminated), ("abc", 1, true));
        let last = lines.next_line().unwrap().unwrap();
        assert_eq!((last.text, last.number, last.terminated), ("last", 4, false));
        assert!(lines.next_line().unwrap().is_none());
        // sha256 of "abc", from FIPS 180-2.
        let mut abc = lines_of(b"abc");
        abc.next_line().unwrap();
        assert_eq!(abc.sha256().unwrap(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn a_hash_made_beside_the_reading_is_that_of_all_bytes() {
        let text: String = (0..300_000).map(|n| format!("{n}\n")).collect();
        assert!(text.len() > 6 * BUFFER_BYTES);
        let mut lines = lines_of(text.as_bytes());
        while lines.next_line().unwrap().is_some() {}
        assert_eq!(lines.sha256().unwrap(), hex(&Sha256::digest(&text)));
    }

    #[test]
    fn bytes_that_are_not_utf8_are_located() {
        let mut lines = lines_of(b"ok\n{\"a\xff\":1}\n");
        lines.next_line().unwrap();
        let error = lines.next_line().err().unwrap();
        assert_eq!(error.line(), Some(2));
        assert!(error.to_string().contains("byte 4 of the line"), "{error}");
    }
}
