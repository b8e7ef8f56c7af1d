//! Unit conversions. Times are `f64` milliseconds and sizes plain integers whose names end in
//! their unit (`_ms`, `_tokens`, `_blocks`, `_gib`), everywhere.

/// Milliseconds in a second.
pub const MS_PER_S: f64 = 1e3;
/// Milliseconds in an hour.
pub const MS_PER_HOUR: f64 = 3.6e6;
/// Bytes in a gibibyte.
pub const BYTES_PER_GIB: f64 = 1_073_741_824.0;
/// Bytes in a gigabyte, as rates of links are given.
pub const BYTES_PER_GB: f64 = 1e9;

/// A number in a message: in full while that is short, else with an exponent.
pub fn shown(v: f64) -> String {
    let size = v.abs();
    if size >= 1e16 || (size > 0.0 && size < 1e-6) { format!("{v:e}") } else { v.to_string() }
}
