//! A checksum of a whole Parquet file inside that file, checked before anything is decoded.
//!
//! Parquet decoders trust their input more than a file that outlived a crash deserves. So the footer
//! has an entry with the SHA-256 of all bytes of the file, taken with zeros in the digest's place.

use sha2::{Digest, Sha256};

/// Footer key; [`PREFIX`] follows it after the encoding's own header of the value.
const KEY: &str = "servescout.seal";
const PREFIX: &str = "sha256:";
/// Hexadecimal digits of the digest.
const DIGITS: usize = 64;
/// Bytes that may lie between key and value: field headers and the value's length.
const GAP: usize = 8;

/// The footer entry of a file that is still to be sealed.
pub(crate) fn open_entry() -> (&'static str, String) {
    (KEY, format!("{PREFIX}{}", "0".repeat(DIGITS)))
}

/// What a file's seal says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seal {
    /// Every byte is as it was written.
    Whole,
    /// There is a seal, and the bytes are others.
    Broken,
    /// There is none.
    Absent,
}

/// Where the digest lies: the last place that looks like one, because the footer comes last.
fn digest_place(bytes: &[u8]) -> Option<usize> {
    let find = |needle: &[u8], hay: &[u8]| hay.windows(needle.len()).rposition(|window| window == needle);
    let after_key = find(KEY.as_bytes(), bytes)? + KEY.len();
    let gap = &bytes[after_key..bytes.len().min(after_key + GAP + PREFIX.len())];
    let start = after_key + find(PREFIX.as_bytes(), gap)? + PREFIX.len();
    (start + DIGITS <= bytes.len()).then_some(start)
}

fn digest(bytes: &[u8], place: usize) -> String {
    let mut hash = Sha256::new();
    hash.update(&bytes[..place]);
    hash.update("0".repeat(DIGITS));
    hash.update(&bytes[place + DIGITS..]);
    super::batch::hex(&hash.finalize())
}

/// Puts the digest in its place in a file made with [`open_entry`]; `None` when it has no place.
pub(crate) fn seal(mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    let place = digest_place(&bytes)?;
    let digest = digest(&bytes, place);
    bytes[place..place + DIGITS].copy_from_slice(digest.as_bytes());
    Some(bytes)
}

/// Checks a file's bytes.
pub(crate) fn check(bytes: &[u8]) -> Seal {
    match digest_place(bytes) {
        None => Seal::Absent,
        Some(place) if bytes[place..place + DIGITS] == *digest(bytes, place).as_bytes() => Seal::Whole,
        Some(_) => Seal::Broken,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed() -> Vec<u8> {
        let (key, value) = open_entry();
        seal(format!("PAR1 rows {key}\u{1}\u{2}{value} footer PAR1").into_bytes()).unwrap()
    }

    #[test]
    fn any_flip_or_cut_is_noticed() {
        let whole = sealed();
        assert_eq!(check(&whole), Seal::Whole);
        for position in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[position] ^= 1;
            assert_ne!(check(&flipped), Seal::Whole, "flip at {position}");
            assert_ne!(check(&whole[..position]), Seal::Whole, "cut at {position}");
        }
    }

    #[test]
    fn rows_that_name_the_key_do_not_hide_the_seal() {
        let (key, value) = open_entry();
        let text = format!("PAR1 a row says {key} {value} and more {key}\u{1}{value} PAR1");
        assert_eq!(check(&seal(text.into_bytes()).unwrap()), Seal::Whole);
        assert_eq!(check(b"PAR1 nothing PAR1"), Seal::Absent);
    }
}
