//! The oldest segments of a directory, from one listing for many deletions: to list it anew for each would take longer
//! than all else, where there are many small segments.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::store::name::{Kind, SegmentName};

/// Names that are remembered.
const MOST: usize = 8192;
/// And so many of segments that could not be deleted.
const REFUSED_MOST: usize = 1024;
/// What they all take, in bytes, with the trees around them.
pub const MEMORY: u64 = 512 << 10;

/// How long a listing holds at least. Others delete files, too, and what they have deleted is found by the next.
const HOLDS: Duration = Duration::from_secs(1);
/// And it holds so many times as long as it took.
const HOLDS_TIMES: u32 = 10;

/// What is deleted next.
#[derive(Default)]
pub struct Oldest {
    /// By number. Who was open when they were listed may be finished now, and is among them.
    names: BTreeSet<Key>,
    stale_at: Option<Instant>,
    refused: Refused,
    /// Those that could not be deleted are listed, too.
    with_refused: bool,
}

type Key = (u64, u64, bool);

/// Segments that could not be deleted. They are passed over as long as there are others: tried again and again, they
/// would keep all behind them.
#[derive(Default)]
struct Refused {
    keys: BTreeSet<Key>,
    /// All with smaller numbers count as refused, too: those that are remembered no more. The oldest is tried first, so
    /// few of them are others.
    from: u64,
}

impl Refused {
    /// False if it was known.
    fn add(&mut self, key: Key) -> bool {
        let is_new = key.0 >= self.from && self.keys.insert(key);
        if self.keys.len() > REFUSED_MOST
            && let Some((smallest, ..)) = self.keys.pop_first()
        {
            self.from = self.from.max(smallest.saturating_add(1));
        }
        is_new
    }

    fn has(&self, key: &Key) -> bool {
        key.0 < self.from || self.keys.contains(key)
    }
}

impl Oldest {
    /// One that was listed. Of too many those with the smallest numbers stay.
    pub fn add(&mut self, name: SegmentName) {
        if !self.with_refused && self.refused.has(&key(name)) {
            return;
        }
        self.names.insert(key(name));
        if self.names.len() > MOST {
            self.names.pop_last();
        }
    }

    /// All were listed, from `began` to `now`.
    pub fn listed(&mut self, began: Instant, now: Instant) {
        self.stale_at = Some(now + HOLDS.max(now.saturating_duration_since(began) * HOLDS_TIMES));
    }

    /// Forgets what was listed.
    pub fn clear(&mut self) {
        self.names.clear();
        self.stale_at = None;
    }

    /// The same, before they are listed anew: `with_refused`, also those that could not be deleted.
    pub fn begin(&mut self, with_refused: bool) {
        self.clear();
        self.with_refused = with_refused;
    }

    /// True if some could not be deleted.
    pub fn has_refused(&self) -> bool {
        self.refused.from > 0 || !self.refused.keys.is_empty()
    }

    /// It could not be deleted. False if that was known.
    pub fn refuse(&mut self, name: SegmentName) -> bool {
        self.names.remove(&key(name));
        self.refused.add(key(name))
    }

    /// The one with the smallest number that is finished, unless the directory has to be listed for it.
    pub fn first(&self, now: Instant, is_open: impl Fn(SegmentName) -> bool) -> Option<SegmentName> {
        self.stale_at.filter(|stale_at| now < *stale_at)?;
        let mut names = self.names.iter().map(|&(number, opened, bad)| {
            let kind = if bad { Kind::Bad } else { Kind::Log };
            SegmentName { kind, opened, number }
        });
        names.find(|name| !is_open(*name))
    }

    /// It was deleted.
    pub fn remove(&mut self, name: SegmentName) {
        self.names.remove(&key(name));
        self.refused.keys.remove(&key(name));
    }
}

/// No two segments have one number, unless somebody has copied files.
fn key(name: SegmentName) -> Key {
    (name.number, name.opened, name.kind == Kind::Bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: u64) -> SegmentName {
        SegmentName { kind: Kind::Log, opened: 7, number }
    }

    #[test]
    fn of_too_many_the_oldest_are_remembered() {
        let (mut oldest, now) = (Oldest::default(), Instant::now());
        (1..=MOST as u64 + 5).rev().for_each(|number| oldest.add(name(number)));
        oldest.listed(now, now);
        assert_eq!(oldest.names.len(), MOST);
        assert_eq!(oldest.first(now, |_| false), Some(name(1)));
        assert_eq!(oldest.first(now, |name| name.number < 3), Some(name(3)), "who is open is passed over");
        oldest.remove(name(1));
        assert_eq!(oldest.first(now, |_| false), Some(name(2)));
    }

    #[test]
    fn what_cannot_be_deleted_is_passed_over_and_remembered_within_bounds() {
        let (mut oldest, now) = (Oldest::default(), Instant::now());
        let most = REFUSED_MOST as u64;
        assert!(!oldest.has_refused());
        for number in 1..=most + 2 {
            assert!(oldest.refuse(name(number)), "that is new");
            assert!(!oldest.refuse(name(number)) && oldest.has_refused());
        }
        assert_eq!(oldest.refused.keys.len(), REFUSED_MOST);
        let first = |oldest: &mut Oldest, with_refused| {
            oldest.begin(with_refused);
            (1..=most + 3).for_each(|number| oldest.add(name(number)));
            oldest.listed(now, now);
            oldest.first(now, |_| false)
        };
        assert_eq!(first(&mut oldest, false), Some(name(most + 3)));
        assert_eq!(first(&mut oldest, true), Some(name(1)), "nothing else was left");
        oldest.remove(name(most));
        assert!(!oldest.refuse(name(1)) && oldest.refuse(name(most)), "one that was deleted is not known any more");
    }

    #[test]
    fn a_listing_holds_ten_times_as_long_as_it_took_and_a_second_at_least() {
        let began = Instant::now();
        for (took, holds) in
            [(0, 1000), (100, 1000), (3000, 30_000)].map(|pair| (pair.0, Duration::from_millis(pair.1)))
        {
            let mut oldest = Oldest::default();
            oldest.add(name(1));
            assert_eq!(oldest.first(began, |_| false), None, "nothing was listed to its end");
            let now = began + Duration::from_millis(took);
            oldest.listed(began, now);
            assert!(oldest.first(now + holds - Duration::from_millis(1), |_| false).is_some());
            assert_eq!(oldest.first(now + holds, |_| false), None);
        }
    }
}
