//! How much the segments take on the disk, and how much they may.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counts the bytes of all segments and indexes.
#[derive(Debug)]
pub struct Space {
    /// What lies there, and what was promised to somebody who writes.
    used: AtomicU64,
    /// The second of these alone: it may lie there already, in part, or not yet.
    promised: AtomicU64,
    most: Option<u64>,
}

impl Space {
    pub fn new(used: u64, most: Option<u64>) -> Self {
        Self { used: AtomicU64::new(used), promised: AtomicU64::new(0), most }
    }

    /// Bytes in use.
    pub fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    /// Promises `bytes` more to somebody who is going to write them.
    ///
    /// # Errors
    /// That would be too much; nothing was promised. As an error of the disk, because it is one for whoever writes.
    pub fn take(&self, bytes: u64) -> io::Result<()> {
        // Before it is used: a recount in between counts it twice, and not too little.
        self.promised.fetch_add(bytes, Relaxed);
        let fits = |used: u64| Some(used + bytes).filter(|sum| self.most.is_none_or(|most| *sum <= most));
        match self.used.fetch_update(Relaxed, Relaxed, fits) {
            Ok(_) => Ok(()),
            Err(used) => {
                self.promised.fetch_sub(bytes, Relaxed);
                let what = format!("--disk-max {} leaves no room beside {used} bytes", self.most.unwrap_or(0));
                Err(io::Error::new(io::ErrorKind::StorageFull, what))
            }
        }
    }

    /// `bytes` that were promised lie there now.
    pub fn landed(&self, bytes: u64) {
        self.promised.fetch_sub(bytes, Relaxed);
    }

    /// `bytes` that were promised do not lie there, and will not.
    pub fn withdraw(&self, bytes: u64) {
        self.give_back(bytes);
        self.promised.fetch_sub(bytes, Relaxed);
    }

    /// Takes `bytes` off that are gone. Clamped: operators delete files, too.
    pub fn give_back(&self, bytes: u64) {
        let _ = self.used.fetch_update(Relaxed, Relaxed, |used| Some(used.saturating_sub(bytes)));
    }

    /// Books `bytes` that are on the disk already, whether that is too much or not.
    pub fn add(&self, bytes: u64) {
        self.used.fetch_add(bytes, Relaxed);
    }

    /// Sets what was found by counting anew. What was promised comes on top, as if none of it had been found.
    pub fn recount(&self, found: u64) {
        self.used.store(found + self.promised.load(Relaxed), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_can_be_used_and_no_more() {
        let space = Space::new(10, Some(100));
        space.take(90).expect("exactly");
        let error = space.take(1).expect_err("one too many");
        assert_eq!(error.to_string(), "--disk-max 100 leaves no room beside 100 bytes");
        space.withdraw(1);
        space.take(1).expect("again");
        space.landed(90);
        space.recount(0);
        assert_eq!(space.used(), 0);
        Space::new(0, None).take(u64::MAX / 2).expect("no limit");
    }

    #[test]
    fn what_was_promised_stays_so_when_somebody_counts() {
        let space = Space::new(0, Some(100));
        space.take(40).expect("room");
        space.recount(30);
        assert_eq!(space.used(), 70, "it may be among what was found, or not");
        space.landed(40);
        space.give_back(40);
        assert_eq!(space.used(), 30);
    }
}
