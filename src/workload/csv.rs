//! CSV traces, told apart by their header; columns are found by name.
//!
//! | trace | columns | times |
//! |---|---|---|
//! | Azure 2023, 2024 | `TIMESTAMP,ContextTokens,GeneratedTokens` | date and time of day |
//! | BurstGPT | `Timestamp,[Session ID,Elapsed time,]Model,Request tokens,Response tokens,...` | seconds |
//! | Vidur | `arrived_at,num_prefill_tokens,num_decode_tokens` | seconds |
//!
//! None of them says what prompts share, so every prompt is a prefix of its own. Rows with no
//! prompt or no output are failures (BurstGPT says so of its own) and are dropped with a note.
//! BurstGPT's sessions become turns: the think time is what lies between the end of a response
//! (timestamp + elapsed time) and the next request, 0 when they overlap.

use std::borrow::Cow;

use rustc_hash::FxHashMap;

use super::builder::{Builder, MAX_MS, Row};
use super::error::Fault;
use super::lines::Line;
use crate::units::MS_PER_S;

/// The headers known, for error messages.
pub(crate) const HEADERS: &str = "TIMESTAMP,ContextTokens,GeneratedTokens (Azure); \
     Timestamp,Model,Request tokens,Response tokens,... (BurstGPT); \
     arrived_at,num_prefill_tokens,num_decode_tokens (Vidur)";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Azure,
    BurstGpt,
    Vidur,
}

/// Reads the rows after a header.
#[derive(Debug)]
pub(crate) struct CsvReader {
    format: Format,
    /// Names of all columns.
    header: Vec<String>,
    time: usize,
    input: usize,
    output: usize,
    session: Option<usize>,
    elapsed: Option<usize>,
    /// First instant, in 100 ns ticks: subtracted before conversion, because ticks since 1970 do
    /// not fit a double.
    origin_ticks: Option<i64>,
    /// When the last response of each session was complete, ms.
    ends: FxHashMap<String, f64>,
    dropped: u64,
    overlaps: u64,
}

impl CsvReader {
    /// The reader for a header line; `None` when it is none of the known ones.
    pub fn detect(header: &str) -> Option<Self> {
        let header: Vec<String> = split(header).into_iter().map(|name| name.trim().to_owned()).collect();
        let column = |name: &str| header.iter().position(|h| h == name);
        let formats = [
            (Format::Azure, ["TIMESTAMP", "ContextTokens", "GeneratedTokens"]),
            (Format::BurstGpt, ["Timestamp", "Request tokens", "Response tokens"]),
            (Format::Vidur, ["arrived_at", "num_prefill_tokens", "num_decode_tokens"]),
        ];
        formats.iter().find_map(|&(format, [time, input, output])| {
            Some(Self {
                format,
                time: column(time)?,
                input: column(input)?,
                output: column(output)?,
                session: column("Session ID"),
                elapsed: column("Elapsed time"),
                header: header.clone(),
                origin_ticks: None,
                ends: FxHashMap::default(),
                dropped: 0,
                overlaps: 0,
            })
        })
    }

    /// Takes one line.
    pub fn line(&mut self, line: &Line<'_>, builder: &mut Builder) -> Result<(), Fault> {
        let fields = split(line.text);
        if fields.len() != self.header.len() {
            let why = format!("has {} columns, but the header has {}", fields.len(), self.header.len());
            let help = if line.terminated { "mend or delete the line" } else { "the last line is cut off: delete it" };
            return Err(Fault::row(why, help));
        }
        let timestamp_ms = self.instant_ms(&fields[self.time])?;
        let input_tokens = self.tokens(self.input, &fields)?;
        let output_tokens = self.tokens(self.output, &fields)?;
        if input_tokens == 0 || output_tokens == 0 {
            self.dropped += 1;
            return Ok(());
        }
        let session = self.session.map(|column| fields[column].trim()).filter(|name| !name.is_empty());
        let delay_ms = self.think_time(session, timestamp_ms, &fields)?;
        let row = Row {
            line: line.number,
            timestamp_ms: Some(timestamp_ms),
            delay_ms,
            session,
            input_tokens: Some(input_tokens),
            output_tokens,
            has_ids: false,
        };
        builder.push(row, line.bytes)
    }

    /// What was dropped or changed, in sentences.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.dropped > 0 {
            notes.push(format!("{} rows without prompt or without output are dropped as failures", self.dropped));
        }
        if self.overlaps > 0 {
            notes.push(format!(
                "{} turns were sent before the turn before was complete; their think time is 0",
                self.overlaps
            ));
        }
        notes
    }

    /// Think time of a session's later turn, from the end of the response before it.
    fn think_time(
        &mut self,
        session: Option<&str>,
        timestamp_ms: f64,
        fields: &[Cow<'_, str>],
    ) -> Result<Option<f64>, Fault> {
        let (Some(session), Some(column)) = (session, self.elapsed) else {
            return Ok(None);
        };
        let elapsed = self.seconds(column, &fields[column])?;
        if elapsed < 0.0 {
            return Err(self.fault(column, format!("is {elapsed}: negative"), "mend or delete the row"));
        }
        let end = timestamp_ms + elapsed * MS_PER_S;
        Ok(self.ends.insert(session.to_owned(), end).map(|before| {
            self.overlaps += u64::from(timestamp_ms < before);
            (timestamp_ms - before).max(0.0)
        }))
    }

    fn instant_ms(&mut self, text: &str) -> Result<f64, Fault> {
        if self.format != Format::Azure {
            // Microseconds, so that decimal seconds do not become endless milliseconds.
            return Ok((self.seconds(self.time, text)? * 1e6).round() / 1e3);
        }
        let ticks = ticks(text.trim()).ok_or_else(|| {
            let help = "write it as 2023-11-16 18:17:03.9799600, in UTC";
            self.fault(self.time, format!("is {text:?}, not a date and time"), help)
        })?;
        Ok((ticks - *self.origin_ticks.get_or_insert(ticks)) as f64 / 1e4)
    }

    fn seconds(&self, column: usize, text: &str) -> Result<f64, Fault> {
        let seconds = text.trim().parse().ok().filter(|s: &f64| s.abs() <= MAX_MS / MS_PER_S);
        seconds.ok_or_else(|| self.fault(column, format!("is {text:?}, not a number of seconds"), "give seconds"))
    }

    fn tokens(&self, column: usize, fields: &[Cow<'_, str>]) -> Result<u32, Fault> {
        let text = fields[column].trim();
        // Exports by way of a data frame write whole numbers as 472.0.
        let whole = text.strip_suffix(".0").unwrap_or(text);
        whole.parse().map_err(|_| {
            let why = format!("is {text:?}, not a whole number of tokens below 2^32");
            self.fault(column, why, "mend or delete the row")
        })
    }

    fn fault(&self, column: usize, why: String, help: &str) -> Fault {
        Fault::field(self.header[column].as_str(), why, help)
    }
}

/// Splits a line at commas outside double quotes; doubled quotes inside them are one.
fn split(line: &str) -> Vec<Cow<'_, str>> {
    if !line.contains('"') {
        return line.split(',').map(Cow::Borrowed).collect();
    }
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                fields.last_mut().expect("never empty").push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => fields.last_mut().expect("never empty").push(c),
        }
    }
    fields.into_iter().map(Cow::Owned).collect()
}

/// 100 ns ticks since 1970 of `YYYY-MM-DD hh:mm:ss[.fffffff][Z|+hh:mm|-hh:mm]`; `T` may stand for
/// the space. `None` when it is no such instant.
fn ticks(text: &str) -> Option<i64> {
    let digits = |from: usize, to: usize| -> Option<i64> {
        let part = text.get(from..to)?;
        part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok())?
    };
    let bytes = text.as_bytes();
    let separators = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
    if separators.iter().any(|&(at, byte)| bytes.get(at) != Some(&byte)) || !matches!(bytes.get(10), Some(b' ' | b'T'))
    {
        return None;
    }
    let (year, month, day) = (digits(0, 4)?, digits(5, 7)?, digits(8, 10)?);
    let (hour, minute, second) = (digits(11, 13)?, digits(14, 16)?, digits(17, 19)?);
    let legal = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second < 61;
    if !legal {
        return None;
    }
    let mut rest = &text[19..];
    let mut fraction = 0;
    if let Some(after) = rest.strip_prefix('.') {
        let length = after.bytes().take_while(u8::is_ascii_digit).count();
        if !(1..=9).contains(&length) {
            return None;
        }
        // Nanoseconds are cut to ticks.
        fraction = format!("{:0<7}", &after[..length])[..7].parse().ok()?;
        rest = &after[length..];
    }
    let offset_minutes = match rest.as_bytes() {
        [] | [b'Z'] => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] if [h1, h2, m1, m2].iter().all(|b| b.is_ascii_digit()) => {
            let two = |a: &u8, b: &u8| i64::from(a - b'0') * 10 + i64::from(b - b'0');
            let minutes = two(h1, h2) * 60 + two(m1, m2);
            if *sign == b'-' { -minutes } else { minutes }
        }
        _ => return None,
    };
    let seconds = ((days(year, month, day) * 24 + hour) * 60 + minute - offset_minutes) * 60 + second;
    Some(seconds * 10_000_000 + fraction)
}

/// Days from 1970-01-01 to a date of the Gregorian calendar: years counted from March, so that
/// the leap day is the last of its year.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let before_year = 365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // 306 days from March to December; (153 m + 2) / 5 days in the m months since March.
    before_year + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_ticks_since_1970() {
        assert_eq!(ticks("1970-01-01 00:00:00"), Some(0));
        // `date -u -d ... +%s` gives 1700158623 and 1715299200.
        assert_eq!(ticks("2023-11-16 18:17:03.9799600"), Some(17_001_586_239_799_600));
        assert_eq!(ticks("2024-05-10 00:00:00+00:00"), Some(17_152_992_000_000_000));
        assert_eq!(ticks("2024-05-10T02:00:00+02:00"), ticks("2024-05-10 00:00:00Z"));
        assert_eq!(ticks("2024-03-01 00:00:00").unwrap() - ticks("2024-02-28 00:00:00").unwrap(), 2 * 864_000_000_000);
        for wrong in
            ["", "2023", "2023-13-01 00:00:00", "2023-11-16 18:17", "2023-11-16 18:17:03.", "2023-11-16 18:17:03x"]
        {
            assert_eq!(ticks(wrong), None, "{wrong}");
        }
        assert_eq!(ticks("2023-11-16 18:17:\u{e9}3"), None);
    }

    #[test]
    fn quotes_protect_commas() {
        assert_eq!(split("a,b,"), ["a", "b", ""]);
        assert_eq!(split(r#"1,"x,""y""",2"#), ["1", "x,\"y\"", "2"]);
    }

    #[test]
    fn headers_are_told_apart() {
        let format = |header| CsvReader::detect(header).map(|r| r.format);
        assert_eq!(format("TIMESTAMP,ContextTokens,GeneratedTokens"), Some(Format::Azure));
        assert_eq!(
            format("Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type"),
            Some(Format::BurstGpt)
        );
        assert_eq!(format("arrived_at,num_prefill_tokens,num_decode_tokens"), Some(Format::Vidur));
        assert_eq!(format("time,in,out"), None);
    }
}
