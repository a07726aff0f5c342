//! The oldest segments of a directory, from one listing for many deletions: to list it anew for each would take longer
//! than all else, where there are many small segments.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::store::name::{Kind, SegmentName};

/// Names that are remembered.
const MOST: usize = 8192;
/// What they take, in bytes, with the tree around them.
pub const MEMORY: u64 = 512 << 10;

/// How long a listing holds at least. Others delete files, too, and what they have deleted is found by the next.
const HOLDS: Duration = Duration::from_secs(1);
/// And it holds so many times as long as it took.
const HOLDS_TIMES: u32 = 10;

/// How long those that could not be deleted are passed over at most. What has failed for a moment only is the oldest
/// still, and goes first again.
const PASSED_OVER: Duration = Duration::from_secs(60);

/// What is deleted next.
#[derive(Default)]
pub struct Oldest {
    /// By number. Who was open when they were listed may be finished now, and is among them.
    names: BTreeSet<Key>,
    stale_at: Option<Instant>,
    /// The last that could not be deleted. It is passed over, and so are all before it, which were tried before: tried
    /// again and again, they would keep all behind them.
    passed: Option<Key>,
    /// When they are tried again at the latest. As long as that, nothing more is said of them.
    again_at: Option<Instant>,
}

type Key = (u64, u64, bool);

impl Oldest {
    /// One that was listed. Of too many those with the smallest numbers stay.
    pub fn add(&mut self, name: SegmentName) {
        if self.passed >= Some(key(name)) {
            return;
        }
        self.names.insert(key(name));
        if self.names.len() > MOST {
            self.names.pop_last();
        }
    }

    /// All were listed, which `took` so long.
    pub fn listed(&mut self, took: Duration, now: Instant) {
        self.stale_at = Some(now + HOLDS.max(took * HOLDS_TIMES));
    }

    /// Forgets what was listed.
    pub fn clear(&mut self) {
        self.names.clear();
        self.stale_at = None;
    }

    /// It cannot be deleted: the next is tried.
    pub fn pass_over(&mut self, name: SegmentName) {
        self.names.remove(&key(name));
        self.passed = self.passed.max(Some(key(name)));
    }

    /// Nothing is left behind those that were passed over: they are the next.
    pub fn begin_again(&mut self) {
        if self.passed.take().is_some() {
            self.clear();
        }
    }

    /// The same, once they have been passed over long enough.
    pub fn begin_again_if_due(&mut self, now: Instant) {
        if self.again_at.is_some_and(|at| now >= at) {
            self.again_at = None;
            self.begin_again();
        }
    }

    /// Something cannot be deleted. True if that is to be said.
    pub fn is_news(&mut self, now: Instant) -> bool {
        let is_news = self.again_at.is_none();
        self.again_at.get_or_insert(now + PASSED_OVER);
        is_news
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
        oldest.listed(Duration::ZERO, now);
        assert_eq!(oldest.names.len(), MOST);
        assert_eq!(oldest.first(now, |_| false), Some(name(1)));
        assert_eq!(oldest.first(now, |name| name.number < 3), Some(name(3)), "who is open is passed over");
        oldest.remove(name(1));
        assert_eq!(oldest.first(now, |_| false), Some(name(2)));
    }

    #[test]
    fn what_cannot_be_deleted_is_passed_over_until_nothing_else_is_left_or_a_minute_is_over() {
        let (mut oldest, now) = (Oldest::default(), Instant::now());
        let list = |oldest: &mut Oldest| {
            oldest.clear();
            (1..=4).for_each(|number| oldest.add(name(number)));
            oldest.listed(Duration::ZERO, now);
            oldest.first(now, |_| false)
        };
        assert_eq!(list(&mut oldest), Some(name(1)));
        oldest.pass_over(name(3));
        assert_eq!(oldest.first(now, |_| false), Some(name(1)), "one that was open when the others were tried");
        oldest.pass_over(name(1));
        assert_eq!(oldest.first(now, |_| false), Some(name(2)));
        assert_eq!(list(&mut oldest), Some(name(4)), "which no listing brings back");
        oldest.begin_again();
        assert_eq!((oldest.first(now, |_| false), list(&mut oldest)), (None, Some(name(1))));
        oldest.begin_again();
        assert_eq!(oldest.first(now, |_| false), Some(name(1)), "there is no need to list anew");

        oldest.pass_over(name(1));
        assert!(oldest.is_news(now) && !oldest.is_news(now), "it is said once");
        oldest.begin_again_if_due(now + PASSED_OVER - Duration::from_millis(1));
        assert!(!oldest.is_news(now) && list(&mut oldest) == Some(name(2)));
        oldest.begin_again_if_due(now + PASSED_OVER);
        assert!(list(&mut oldest) == Some(name(1)) && oldest.is_news(now));
    }

    #[test]
    fn a_listing_holds_ten_times_as_long_as_it_took_and_a_second_at_least() {
        let now = Instant::now();
        for (took, holds) in [(0, 1000), (100, 1000), (3000, 30_000)] {
            let [took, holds] = [took, holds].map(Duration::from_millis);
            let mut oldest = Oldest::default();
            oldest.add(name(1));
            assert_eq!(oldest.first(now, |_| false), None, "nothing was listed to its end");
            oldest.listed(took, now);
            assert!(oldest.first(now + holds - Duration::from_millis(1), |_| false).is_some());
            assert_eq!(oldest.first(now + holds, |_| false), None);
        }
    }
}
