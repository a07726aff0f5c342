//! How much the segments take on the disk, and how much they may.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counts the bytes of all segments and indexes.
#[derive(Debug)]
pub struct Space {
    used: AtomicU64,
    most: Option<u64>,
}

impl Space {
    pub fn new(used: u64, most: Option<u64>) -> Self {
        Self { used: AtomicU64::new(used), most }
    }

    /// Bytes in use.
    pub fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    /// Books `bytes` more.
    ///
    /// # Errors
    /// That would be too much; nothing was booked. As an error of the disk, because it is one for whoever writes.
    pub fn take(&self, bytes: u64) -> io::Result<()> {
        let fits = |used: u64| Some(used + bytes).filter(|sum| self.most.is_none_or(|most| *sum <= most));
        match self.used.fetch_update(Relaxed, Relaxed, fits) {
            Ok(_) => Ok(()),
            Err(used) => {
                let what = format!("--disk-max {} leaves no room beside {used} bytes", self.most.unwrap_or(0));
                Err(io::Error::new(io::ErrorKind::StorageFull, what))
            }
        }
    }

    /// Takes `bytes` off that are gone. Clamped: operators delete files, too.
    pub fn give_back(&self, bytes: u64) {
        let _ = self.used.fetch_update(Relaxed, Relaxed, |used| Some(used.saturating_sub(bytes)));
    }

    /// Books `bytes` that are on the disk already, whether that is too much or not.
    pub fn add(&self, bytes: u64) {
        self.used.fetch_add(bytes, Relaxed);
    }

    /// Sets what was found by counting anew.
    pub fn recount(&self, used: u64) {
        self.used.store(used, Relaxed);
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
        space.give_back(1);
        space.take(1).expect("again");
        space.recount(0);
        assert_eq!(space.used(), 0);
        Space::new(0, None).take(u64::MAX / 2).expect("no limit");
    }
}
