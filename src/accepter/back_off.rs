//! How the accepter waits while the kernel gives it no connections.

use std::time::{Duration, Instant};

/// How long it waits after the first failure; doubled by each that follows.
const BACK_OFF_FIRST: Duration = Duration::from_millis(50);
/// The longest wait between two tries.
const BACK_OFF_LAST: Duration = Duration::from_secs(1);
/// Failures that are closer together than this are one episode, with one line in the log.
const EPISODE_GAP: Duration = Duration::from_secs(10);

/// How long to wait after failures, and whether one of them is news.
#[derive(Debug, Default)]
pub(super) struct BackOff {
    pub(super) delay: Duration,
    last_failure: Option<Instant>,
}

impl BackOff {
    /// Counts a failure; true if it begins a new episode. A server at its limit fails and recovers all the time, so an
    /// episode ends after a while without failures, not with the first success.
    pub(super) fn failed(&mut self, now: Instant) -> bool {
        self.delay = (self.delay * 2).clamp(BACK_OFF_FIRST, BACK_OFF_LAST);
        let last = self.last_failure.replace(now);
        last.is_none_or(|last| now.saturating_duration_since(last) > EPISODE_GAP)
    }

    pub(super) fn succeeded(&mut self) {
        self.delay = Duration::ZERO;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_back_off_and_are_one_episode() {
        let (mut back_off, start) = (BackOff::default(), Instant::now());
        assert!(back_off.failed(start), "news");
        assert_eq!(back_off.delay, BACK_OFF_FIRST);
        for _ in 0..10 {
            assert!(!back_off.failed(start), "the same episode");
        }
        assert_eq!(back_off.delay, BACK_OFF_LAST);
        back_off.succeeded();
        assert!(!back_off.failed(start + EPISODE_GAP), "still the same, but from the first delay");
        assert_eq!(back_off.delay, BACK_OFF_FIRST);
        assert!(back_off.failed(start + EPISODE_GAP * 3), "another one");
    }
}
