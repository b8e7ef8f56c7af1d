//! Calendar time in UTC, from a clock that the caller passes in so that tests can hold it still.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// A second of the proleptic Gregorian calendar in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Utc {
    pub year: i64,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    pub hour: u8,
    pub minute: u8,
    pub second: u8,
}

impl Utc {
    /// The calendar second that contains `time`.
    pub fn of(time: SystemTime) -> Utc {
        let seconds = match time.duration_since(UNIX_EPOCH) {
            Ok(after) => after.as_secs() as i64,
            Err(before) => {
                let before = before.duration();
                -(before.as_secs() as i64) - i64::from(before.subsec_nanos() > 0)
            }
        };
        let (year, month, day) = civil_from_days(seconds.div_euclid(86_400));
        let of_day = seconds.rem_euclid(86_400);
        Utc {
            year,
            month,
            day,
            hour: (of_day / 3600) as u8,
            minute: (of_day / 60 % 60) as u8,
            second: (of_day % 60) as u8,
        }
    }

    /// Without separators, for file names: `20261122T100853Z`.
    pub fn compact(&self) -> String {
        let Utc { year, month, day, hour, minute, second } = self;
        format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
    }
}

impl fmt::Display for Utc {
    /// RFC 3339: `2026-11-22T10:08:53Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Utc { year, month, day, hour, minute, second } = self;
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

/// Year, month and day of a day number counted from 1970-01-01.
///
/// The calendar repeats every 400 years, which are 146,097 days. With years that begin on 1 March
/// the leap day is the last of its year, and month lengths from March follow
/// `floor((153 m + 2) / 5)` (Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn civil_from_days(days_since_1970: i64) -> (i64, u8, u8) {
    const DAYS_FROM_0000_03_01_TO_1970: i64 = 719_468;
    const DAYS_IN_400_YEARS: i64 = 146_097;
    let days = days_since_1970 + DAYS_FROM_0000_03_01_TO_1970;
    let era = days.div_euclid(DAYS_IN_400_YEARS);
    let of_era = days.rem_euclid(DAYS_IN_400_YEARS);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month as u8, day as u8)
}

/// The directory of a new run, `<results>/<name>-<utc>`, or with `-2`, `-3`, ... appended when that
/// exists (two runs in one second).
pub fn default_run_path(results: &Path, name: &str, now: SystemTime) -> PathBuf {
    let stem = format!("{name}-{}", Utc::of(now).compact());
    let first = results.join(&stem);
    if !first.exists() {
        return first;
    }
    (2u32..).map(|n| results.join(format!("{stem}-{n}"))).find(|path| !path.exists()).unwrap_or(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(seconds: u64) -> String {
        Utc::of(UNIX_EPOCH + Duration::from_secs(seconds)).to_string()
    }

    #[test]
    fn known_instants() {
        // Expected values: `date -u -d @SECONDS`.
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(at(1_709_251_199), "2024-02-29T23:59:59Z");
        assert_eq!(at(1_795_342_133), "2026-11-22T10:08:53Z");
        assert_eq!(at(4_107_542_400), "2100-03-01T00:00:00Z");
        assert_eq!(at(4_107_542_399), "2100-02-28T23:59:59Z");
    }

    #[test]
    fn before_the_epoch() {
        let time = UNIX_EPOCH - Duration::from_millis(500);
        assert_eq!(Utc::of(time).to_string(), "1969-12-31T23:59:59Z");
    }

    #[test]
    fn every_day_of_four_centuries_follows_the_last() {
        let mut previous = civil_from_days(-1);
        for day in 0..146_097 {
            let (y, m, d) = civil_from_days(day);
            let next_day = (previous.0, previous.1, previous.2 + 1) == (y, m, d);
            let next_month = d == 1 && (previous.0, previous.1 + 1) == (y, m) && previous.2 >= 28;
            let next_year = (y, m, d) == (previous.0 + 1, 1, 1) && (previous.1, previous.2) == (12, 31);
            assert!(next_day || next_month || next_year, "{previous:?} then {:?}", (y, m, d));
            previous = (y, m, d);
        }
        assert_eq!(previous, (2369, 12, 31));
    }

    #[test]
    fn two_runs_in_one_second_get_two_directories() {
        let results = tempfile::tempdir().unwrap();
        let now = UNIX_EPOCH + Duration::from_secs(1_795_342_133);
        let first = default_run_path(results.path(), "a", now);
        assert_eq!(first.file_name().unwrap(), "a-20261122T100853Z");
        std::fs::create_dir(&first).unwrap();
        assert_eq!(default_run_path(results.path(), "a", now).file_name().unwrap(), "a-20261122T100853Z-2");
    }
}
