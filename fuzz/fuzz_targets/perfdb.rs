#![no_main]

#[path = "../targets.rs"]
mod targets;

// libFuzzer aborts at any panic, even at those of the decoder that become errors.
libfuzzer_sys::fuzz_target!(
    init: servescout::decoding::tell_panics_once(),
    |data: &[u8]| targets::perfdb(data)
);
