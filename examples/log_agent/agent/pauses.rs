//! For how long nothing was taken in, because too much waited or the disk failed.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Pauses, and how long they are together.
#[derive(Debug, Default)]
pub struct Pauses(Mutex<Sum>);

#[derive(Debug, Default)]
struct Sum {
    /// Of those that are over.
    over: Duration,
    /// When one has begun that is not.
    since: Option<Instant>,
    /// The most that was told. Whoever notes that a pause is over may have looked what time it was before that.
    told: Duration,
}

impl Pauses {
    /// From `now` on something is taken in, or nothing is.
    pub fn note(&self, open: bool, now: Instant) {
        let Sum { over, since, .. } = &mut *self.0.lock();
        match (open, *since) {
            (false, None) => *since = Some(now),
            (true, Some(began)) => {
                *over += now.saturating_duration_since(began);
                *since = None;
            }
            _ => {}
        }
    }

    /// All of them until `now`. It never becomes less.
    pub fn total(&self, now: Instant) -> Duration {
        let Sum { over, since, told } = &mut *self.0.lock();
        *told = (*told).max(*over + since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since)));
        *told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_counts_once_while_it_lasts_and_when_it_is_over() {
        let (pauses, began) = (Pauses::default(), Instant::now());
        let at = |second| began + Duration::from_secs(second);
        // When what is noted, and how many seconds that is a second later.
        for (second, open, seconds) in [
            (0, true, 0),
            (10, false, 1),
            (20, false, 11),
            (30, true, 20),
            (40, true, 20),
            (50, false, 21),
            (51, true, 21),
        ] {
            let before = pauses.total(at(second));
            pauses.note(open, at(second));
            assert_eq!(pauses.total(at(second)), before, "noting it changes nothing");
            assert_eq!(pauses.total(at(second + 1)), Duration::from_secs(seconds), "{second}");
        }
    }

    #[test]
    fn what_was_told_does_not_become_less_if_the_end_is_noted_late() {
        let (pauses, began) = (Pauses::default(), Instant::now());
        let at = |second| began + Duration::from_secs(second);
        pauses.note(false, at(0));
        assert_eq!(pauses.total(at(12)), Duration::from_secs(12));
        // Somebody looked what time it is, and somebody else was faster to tell.
        pauses.note(true, at(10));
        assert_eq!(pauses.total(at(13)), Duration::from_secs(12));
        pauses.note(false, at(20));
        assert_eq!(pauses.total(at(25)), Duration::from_secs(15));
    }
}
