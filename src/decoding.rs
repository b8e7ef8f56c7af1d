//! Decoders of others run within bounds: the Parquet decoder panics on some files that were altered, and
//! unfolds some that take a few kilobytes to gigabytes (a dictionary of one long text that a million rows
//! refer to). Both are errors of the file, not of this program.

pub mod pages;

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};

/// Bytes in memory that a file may take for one of its own.
pub const UNFOLDING: u64 = 50;
/// Bytes in memory that any file may take besides.
const ALLOWANCE: u64 = 16 << 20;

/// Bytes that a file of so many may unfold to.
pub fn most_unfolded(file_bytes: u64) -> u64 {
    UNFOLDING * file_bytes + ALLOWANCE
}

thread_local! {
    static DECODES: Cell<bool> = const { Cell::new(false) };
}

/// What a decoder returns, or `None` when it panics.
pub fn guarded<T>(decode: impl FnOnce() -> T) -> Option<T> {
    let before = DECODES.replace(true);
    let outcome = panic::catch_unwind(AssertUnwindSafe(decode));
    DECODES.set(before);
    outcome.ok()
}

/// Whether this thread is within [`guarded`].
fn is_guarded() -> bool {
    DECODES.get()
}

/// From here on a panic within [`guarded`] is not told on standard error, for the error will be.
pub fn tell_panics_once() {
    let tell = panic::take_hook();
    panic::set_hook(Box::new(move |what| {
        if !is_guarded() {
            tell(what);
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_nothing_and_the_guard_ends() {
        assert_eq!(guarded(is_guarded), Some(true));
        assert_eq!(guarded(|| [0u8; 0].first().expect("none, that is the test").to_owned()), None);
        assert!(!is_guarded());
    }
}
