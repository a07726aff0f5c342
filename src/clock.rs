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
    pub fn unix_seconds(&self) -> u64 {
        self.unix_seconds.load(Relaxed)
    }

    /// Sets the clock; the cycle does.
    pub fn set(&self, unix_seconds: u64) {
        self.unix_seconds.store(unix_seconds, Relaxed);
    }
}

/// The `Date` text of one second, formatted again only when the second changes.
#[derive(Debug, Clone)]
pub struct DateText {
    second: u64,
    text: [u8; 29],
}

impl Default for DateText {
    fn default() -> Self {
        Self { second: u64::MAX, text: [b' '; 29] }
    }
}

impl DateText {
    /// IMF-fixdate of `unix_seconds` (RFC 9110 section 5.6.7).
    pub fn of(&mut self, unix_seconds: u64) -> [u8; 29] {
        if self.second != unix_seconds {
            self.second = unix_seconds;
            self.text = format_date(unix_seconds);
        }
        self.text
    }
}

fn format_date(unix_seconds: u64) -> [u8; 29] {
    /// The last second that IMF-fixdate, with its four digits for the year, can say.
    const END_OF_9999: u64 = 253_402_300_799;
    let time: SystemTime = UNIX_EPOCH + Duration::from_secs(unix_seconds.min(END_OF_9999));
    let mut text = [b' '; 29];
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
