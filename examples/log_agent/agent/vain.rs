//! Deletions that do not help on a full disk: how many there may be, and how fast.
//!
//! What is deleted may not become free, or not yet: there are links to it, snapshots, somebody who reads it. So a few
//! are deleted one behind the other, and further ones ever more slowly. All writers share one count, because they share
//! one disk.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Segments that are deleted one behind the other, though nothing can be written in spite of it.
const AT_ONCE: u32 = 4;
/// From then on: until the next, doubled with each, up to the longest. Of a night that is some sixty.
const WAIT_FIRST: Duration = Duration::from_secs(2);
const WAIT_LONGEST: Duration = Duration::from_secs(600);

/// An append, or a sync, that found the disk full.
#[derive(Debug, Clone, Copy)]
pub struct Failed {
    /// Bytes that it wanted. As long as fewer were deleted, nothing is known about whether deleting helps.
    pub bytes: u64,
    pub now: Instant,
}

/// What was deleted since something was last written for good.
#[derive(Debug, Default)]
pub struct Vain(Mutex<Deleted>);

#[derive(Debug, Default)]
struct Deleted {
    bytes: u64,
    /// Segments that were deleted in vain.
    segments: u32,
    /// The wait that was set last, and its end.
    wait: Option<(Duration, Instant)>,
}

impl Vain {
    /// True if one more may be deleted for what has failed.
    pub fn may_delete(&self, failed: Failed) -> bool {
        let deleted = self.0.lock();
        deleted.segments < AT_ONCE || deleted.wait.is_none_or(|(_, end)| failed.now >= end)
    }

    /// A segment of so many `bytes` was deleted for it.
    pub fn deleted(&self, bytes: u64, failed: Failed) {
        let mut deleted = self.0.lock();
        deleted.bytes += bytes;
        if deleted.bytes < failed.bytes {
            return;
        }
        deleted.segments = deleted.segments.saturating_add(1);
        if deleted.segments >= AT_ONCE {
            let wait = deleted.wait.map_or(WAIT_FIRST, |(wait, _)| (wait * 2).min(WAIT_LONGEST));
            deleted.wait = Some((wait, failed.now + wait));
        }
    }

    /// Something was written for good: what was deleted may have helped.
    pub fn progress(&self) {
        *self.0.lock() = Deleted::default();
    }
}
