//! When the records of one thread are due. Knows no clock: times are given, since the thread began.

use std::time::Duration;

/// At least so much time is between two sendings: what is due sooner is sent together.
const TICK: Duration = Duration::from_millis(2);
/// Nobody sleeps longer without a look at whether the end has come.
const LOOK: Duration = Duration::from_millis(100);

/// The pace of one thread. Its records are due between those of the others, as if one after the other sent one.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Records a second, of this thread.
    rate: f64,
    /// The time until its first record, as a part of the time between two.
    shift: f64,
}

impl Pace {
    /// That of one of `threads` threads, which send `pps` records a second together.
    pub fn new(pps: u64, thread: u16, threads: u16) -> Self {
        let threads = f64::from(threads);
        Self { rate: pps as f64 / threads, shift: f64::from(thread) / threads }
    }

    /// How many records are due after `time`.
    pub fn due(&self, time: Duration) -> u64 {
        (time.as_secs_f64() * self.rate + 1.0 - self.shift) as u64
    }

    /// How long to sleep after `time`, if record `number`, from 0, is the next one.
    pub fn pause(&self, number: u64, time: Duration) -> Duration {
        let left = (number as f64 + self.shift) / self.rate - time.as_secs_f64();
        Duration::from_secs_f64(left.clamp(TICK.as_secs_f64(), LOOK.as_secs_f64()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_threads_together_keep_the_rate_from_the_start() {
        let paces: Vec<_> = (0..50).map(|thread| Pace::new(10, thread, 50)).collect();
        for tenths in 0..200 {
            // Not where one is just due.
            let time = Duration::from_millis(tenths * 100 + 50);
            assert_eq!(paces.iter().map(|pace| pace.due(time)).sum::<u64>(), tenths + 1, "{time:?}");
        }
        assert_eq!(Pace::new(u64::MAX, 0, 1).due(Duration::from_secs(2)), u64::MAX);
    }

    #[test]
    fn a_thread_sleeps_until_its_next_record_is_due() {
        let millis = Duration::from_millis;
        // Its records are due after 0.25, 1.25, 2.25 seconds.
        let pace = Pace::new(4, 1, 4);
        assert_eq!([249, 251, 1249, 1251].map(|time| pace.due(millis(time))), [0, 1, 1, 2]);
        assert_eq!(pace.pause(0, millis(200)), millis(50));
        assert_eq!(pace.pause(1, millis(1225)), millis(25));
        assert_eq!(pace.pause(1, millis(260)), LOOK, "the end may come sooner");
        assert_eq!(pace.pause(1, millis(1249)), TICK);
        assert_eq!(pace.pause(1, millis(3000)), TICK);
    }
}
