//! Dates and times in UTC, as names of segments and options have them. Proleptic Gregorian, without leap seconds.

const DAY: u64 = 24 * 60 * 60;

/// A second, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Utc {
    pub year: u64,
    pub month: u64,
    pub day: u64,
    pub hour: u64,
    pub minute: u64,
    pub second: u64,
}

impl Utc {
    /// The last second, since 1970, whose year has four digits.
    pub const LAST: u64 = 253_402_300_799;

    /// The second that is `unix` seconds after the beginning of 1970.
    pub fn of_unix(unix: u64) -> Self {
        // Years begin in March here, so that the day that comes and goes is the last one of its year; eras have 400
        // years. After Howard Hinnant, "chrono-compatible low-level date algorithms".
        let days = unix / DAY + 719_468;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * day_of_year + 2) / 153;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        let second = unix % DAY;
        Self {
            year: era * 400 + year_of_era + u64::from(month <= 2),
            month,
            day: day_of_year - (153 * from_march + 2) / 5 + 1,
            hour: second / 3600,
            minute: second / 60 % 60,
            second: second % 60,
        }
    }

    /// Seconds since the beginning of 1970; `None` if there is no such second, or none since then.
    pub fn unix(self) -> Option<u64> {
        let Self { year, month, day, hour, minute, second } = self;
        let ranges = (1970..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
        if !ranges || hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let (years, from_march) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
        let (era, year_of_era) = (years / 400, years % 400);
        let day_of_year = (153 * from_march + 2) / 5 + day - 1;
        let days = era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468;
        let unix = days * DAY + hour * 3600 + minute * 60 + second;
        // The 31st of a month that has 30 days would come back as the 1st of the next.
        (Self::of_unix(unix) == self).then_some(unix)
    }
}

/// A time as people write it: seconds since 1970, `2026-11-21`, or `2026-11-21T09:30:00` with or without a `Z`.
pub fn parse_time(text: &str) -> Result<u64, String> {
    let expected = || "expected unix seconds, or UTC such as 2026-11-21 or 2026-11-21T09:30:00".to_owned();
    if let Ok(unix) = text.parse() {
        return Ok(unix);
    }
    let (date, time) = text.strip_suffix('Z').unwrap_or(text).split_once(['T', ' ']).unwrap_or((text, "00:00:00"));
    let three = |text: &str, mark: char| -> Option<[u64; 3]> {
        let parts: Result<Vec<u64>, _> = text.split(mark).map(str::parse).collect();
        parts.ok()?.try_into().ok()
    };
    let ([year, month, day], [hour, minute, second]) = three(date, '-').zip(three(time, ':')).ok_or_else(expected)?;
    Utc { year, month, day, hour, minute, second }.unix().ok_or_else(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_seconds() {
        let parts = |unix| {
            let Utc { year, month, day, hour, minute, second } = Utc::of_unix(unix);
            [year, month, day, hour, minute, second]
        };
        assert_eq!(parts(0), [1970, 1, 1, 0, 0, 0]);
        assert_eq!(parts(951_782_400), [2000, 2, 29, 0, 0, 0]);
        assert_eq!(parts(1_000_000_000), [2001, 9, 9, 1, 46, 40]);
        assert_eq!(parts(4_102_444_799), [2099, 12, 31, 23, 59, 59]);
        assert_eq!(parts(Utc::LAST), [9999, 12, 31, 23, 59, 59]);
    }

    #[test]
    fn there_and_back() {
        for unix in (0..5_000_000_000).step_by(86_399) {
            assert_eq!(Utc::of_unix(unix).unix(), Some(unix));
        }
    }

    #[test]
    fn times_are_read_as_people_write_them() {
        assert_eq!(parse_time("1000000000"), Ok(1_000_000_000));
        assert_eq!(parse_time("2001-09-09T01:46:40Z"), Ok(1_000_000_000));
        assert_eq!(parse_time("2001-09-09 01:46:40"), Ok(1_000_000_000));
        assert_eq!(parse_time("1970-01-02"), Ok(86_400));
        for wrong in [
            "",
            "yesterday",
            "2001-02-29",
            "2001-13-01",
            "2001-09-09T24:00:00",
            "1969-12-31",
            "2001-09",
            "2001-09-09T01:46:40ZZ",
        ] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
    }
}
