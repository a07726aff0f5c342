//! For how long nothing was taken in, because too much waited or the disk failed.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The pauses that are over, together, and since when there is one now.
#[derive(Debug, Default)]
pub struct Pauses(Mutex<(Duration, Option<Instant>)>);

impl Pauses {
    /// From `now` on something is taken in, or nothing is.
    pub fn note(&self, open: bool, now: Instant) {
        let (over, since) = &mut *self.0.lock();
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
        let (over, since) = *self.0.lock();
        over + since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
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
}
