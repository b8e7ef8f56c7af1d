//! Decoders of others run within bounds: the Parquet decoder panics on some files that were altered, and
//! that is an error of the file, not of this program.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};

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

/// Whether this thread is within [`guarded`]: a panic will be an error that is told as one.
pub fn is_guarded() -> bool {
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
