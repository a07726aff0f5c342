//! The wall clock of the server: what `Date` says.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Unix seconds in one atomic. The cycle sets it from its own `now`; encoders read it from any thread.
#[derive(Debug, Default)]
pub struct WallClock {
    unix_seconds: AtomicU64,
}

impl WallClock {
    /// A clock that shows `unix_seconds`.
    pub fn at(unix_seconds: u64) -> Self {
        Self { unix_seconds: AtomicU64::new(unix_seconds) }
    }

    /// Seconds since 1970-01-01T00:00:00Z.
    #[inline]
    pub fn unix_seconds(&self) -> u64 {
        self.unix_seconds.load(Relaxed)
    }

    /// Sets the clock. Called by the cycle.
    pub fn set(&self, unix_seconds: u64) {
        self.unix_seconds.store(unix_seconds, Relaxed);
    }
}

/// The length of IMF-fixdate.
const DATE: usize = 29;
/// The length of a `Date` line.
pub const DATE_LINE: usize = DATE_NAME.len() + DATE + 2;
const DATE_NAME: &[u8; 6] = b"Date: ";

/// The `Date` line of one second, formatted again only when the second changes.
#[derive(Debug, Clone)]
pub struct DateText {
    second: u64,
    line: [u8; DATE_LINE],
}

impl Default for DateText {
    fn default() -> Self {
        Self { second: u64::MAX, line: [b' '; DATE_LINE] }
    }
}

impl DateText {
    /// IMF-fixdate of `unix_seconds` (RFC 9110 section 5.6.7).
    pub fn of(&mut self, unix_seconds: u64) -> [u8; DATE] {
        let line = self.line_of(unix_seconds);
        std::array::from_fn(|at| line[DATE_NAME.len() + at])
    }

    /// The whole line, with its end.
    #[inline]
    pub fn line_of(&mut self, unix_seconds: u64) -> &[u8; DATE_LINE] {
        if self.second != unix_seconds {
            self.second = unix_seconds;
            let line = [DATE_NAME, format_date(unix_seconds).as_slice(), b"\r\n"].concat();
            self.line.copy_from_slice(&line);
        }
        &self.line
    }
}

fn format_date(unix_seconds: u64) -> [u8; DATE] {
    /// The last second that IMF-fixdate can express with its four digits for the year.
    const END_OF_9999: u64 = 253_402_300_799;
    let time: SystemTime = UNIX_EPOCH + Duration::from_secs(unix_seconds.min(END_OF_9999));
    let mut text = [b' '; DATE];
    let formatted = httpdate::HttpDate::from(time).to_string();
    text.iter_mut().zip(formatted.as_bytes()).for_each(|(to, from)| *to = *from);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_follows_the_second() {
        let mut date = DateText::default();
        assert_eq!(&date.of(784_111_777), b"Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(&date.of(784_111_778), b"Sun, 06 Nov 1994 08:49:38 GMT");
        assert_eq!(&date.of(u64::MAX), b"Fri, 31 Dec 9999 23:59:59 GMT");
    }
}
