//! When requests are due in an open loop.

use std::time::{Duration, Instant};

/// A steady rate, dealt to the connections in turn: the connection `c` of `n` sends the requests `c`, `c + n`,
/// `c + 2n`.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    start: Instant,
    /// Between two requests, in nanoseconds.
    every: f64,
    connections: u64,
}

impl Schedule {
    /// `rate`: requests per second, over all connections.
    pub fn new(start: Instant, rate: f64, connections: usize) -> Self {
        Self { start, every: 1e9 / rate, connections: connections as u64 }
    }

    /// When the request `number` is due.
    fn time(&self, number: u64) -> Instant {
        self.start + Duration::from_nanos((number as f64 * self.every) as u64)
    }

    /// When the request `nth` of `connection` is due, both from 0.
    pub fn intended(&self, connection: usize, nth: u64) -> Instant {
        self.time(nth * self.connections + connection as u64)
    }

    /// How many requests are due at `now`, over all connections.
    pub fn due(&self, now: Instant) -> u64 {
        let Some(passed) = now.checked_duration_since(self.start) else { return 0 };
        let mut due = (passed.as_nanos() as f64 / self.every) as u64 + 1;
        // What is divided and multiplied again may be one off.
        while due > 0 && self.time(due - 1) > now {
            due -= 1;
        }
        while self.time(due) <= now {
            due += 1;
        }
        due
    }

    /// How long it is until the request `number` is due.
    pub fn until(&self, number: u64, now: Instant) -> Duration {
        self.time(number).saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_as_many_requests_as_the_rate_says() {
        let start = Instant::now();
        for rate in [0.5, 1.0, 3.0, 7.7, 1000.0, 123_456.0] {
            let schedule = Schedule::new(start, rate, 4);
            // The first is due at once.
            assert_eq!(schedule.due(start), 1);
            let due = schedule.due(start + Duration::from_secs(100));
            assert!((due as f64 - 100.0 * rate).abs() <= 1.0, "{due} at {rate}");
        }
    }

    #[test]
    fn nothing_is_due_before_the_start() {
        let start = Instant::now() + Duration::from_secs(1);
        assert_eq!(Schedule::new(start, 1000.0, 1).due(start - Duration::from_nanos(1)), 0);
    }

    #[test]
    fn due_and_time_agree_to_the_nanosecond() {
        let start = Instant::now();
        for rate in [3.0, 7.7, 999.0, 123_456.0] {
            let schedule = Schedule::new(start, rate, 1);
            for number in (0..100_000).step_by(97) {
                let time = schedule.time(number);
                assert_eq!(schedule.due(time), number + 1, "at {rate}");
                assert!(number == 0 || schedule.due(time - Duration::from_nanos(1)) == number, "{number} at {rate}");
            }
        }
    }

    #[test]
    fn connections_take_turns() {
        let start = Instant::now();
        let schedule = Schedule::new(start, 1000.0, 3);
        let milliseconds = |connection, nth| schedule.intended(connection, nth).duration_since(start).as_millis();
        assert_eq!([milliseconds(0, 0), milliseconds(1, 0), milliseconds(2, 0)], [0, 1, 2]);
        assert_eq!([milliseconds(0, 1), milliseconds(1, 5)], [3, 16]);
        assert_eq!(schedule.until(7, start), Duration::from_millis(7));
        assert_eq!(schedule.until(7, start + Duration::from_secs(1)), Duration::ZERO);
    }
}
