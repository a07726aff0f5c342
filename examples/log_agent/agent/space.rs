//! How much the segments take on the disk, and how much they may.

use std::error::Error;
use std::fmt;
use std::io;

use parking_lot::Mutex;

/// Counts the bytes of all segments and indexes.
#[derive(Debug)]
pub struct Space {
    booked: Mutex<Booked>,
    most: Option<u64>,
}

#[derive(Debug, Default)]
struct Booked {
    /// What lies there, and what was promised to somebody who writes.
    used: u64,
    /// The second of these alone: it may lie there already, in part, or not yet.
    promised: u64,
    /// What was promised once and lies there now, since the start.
    landed: u64,
    /// What has gone, or was found to have gone, since the start. Not what was promised and withdrawn.
    freed: u64,
}

/// A promise that would have been too much.
#[derive(Debug)]
struct Refused {
    most: u64,
    used: u64,
    lacking: u64,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { most, used, .. } = self;
        write!(f, "--disk-max {most} leaves no room beside {used} bytes")
    }
}

impl Error for Refused {}

/// How many bytes are lacking, if it is `--disk-max` that leaves no room. `None` for an error of the disk itself.
pub fn lacking(error: &io::Error) -> Option<u64> {
    error.get_ref()?.downcast_ref::<Refused>().map(|refused| refused.lacking)
}

/// What was booked when somebody began to count.
#[derive(Debug, Clone, Copy)]
pub struct Since {
    landed: u64,
}

impl Space {
    pub fn new(used: u64, most: Option<u64>) -> Self {
        Self { booked: Mutex::new(Booked { used, ..Booked::default() }), most }
    }

    /// Bytes in use.
    pub fn used(&self) -> u64 {
        self.booked.lock().used
    }

    /// Bytes that have gone since the start. A promise that was withdrawn is not among them: whoever got it is going to
    /// ask for it again.
    pub fn freed(&self) -> u64 {
        self.booked.lock().freed
    }

    /// Promises `bytes` more to somebody who is going to write them.
    ///
    /// # Errors
    /// That would be too much; nothing was promised. As an error of the disk, because it is one for whoever writes.
    pub fn take(&self, bytes: u64) -> io::Result<()> {
        let mut booked = self.booked.lock();
        if self.most.is_some_and(|most| booked.used + bytes > most) {
            let (most, used) = (self.most.unwrap_or(0), booked.used);
            let refused = Refused { most, used, lacking: used + bytes - most };
            return Err(io::Error::new(io::ErrorKind::StorageFull, refused));
        }
        booked.used += bytes;
        booked.promised += bytes;
        Ok(())
    }

    /// `bytes` that were promised lie there now.
    pub fn landed(&self, bytes: u64) {
        let mut booked = self.booked.lock();
        booked.promised -= bytes;
        booked.landed += bytes;
    }

    /// `bytes` that were promised do not lie there, and will not.
    pub fn withdraw(&self, bytes: u64) {
        let mut booked = self.booked.lock();
        booked.promised -= bytes;
        booked.used = booked.used.saturating_sub(bytes);
    }

    /// Takes `bytes` off that are gone. Clamped: operators delete files, too.
    pub fn give_back(&self, bytes: u64) {
        let mut booked = self.booked.lock();
        booked.used = booked.used.saturating_sub(bytes);
        booked.freed += bytes;
    }

    /// Books `bytes` that are on the disk already, whether that is too much or not.
    pub fn add(&self, bytes: u64) {
        self.booked.lock().used += bytes;
    }

    /// Somebody begins to count anew what lies there.
    pub fn begin_count(&self) -> Since {
        Since { landed: self.booked.lock().landed }
    }

    /// Sets what was found by counting. On top comes what is promised, and what has landed since the count began, as if
    /// none of it had been found: too much is set right by the next count, and too little would not be noticed.
    pub fn recount(&self, found: u64, since: Since) {
        let mut booked = self.booked.lock();
        let used = found + booked.promised + (booked.landed - since.landed);
        booked.freed += booked.used.saturating_sub(used);
        booked.used = used;
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
        assert_eq!(lacking(&space.take(7).expect_err("seven too many")), Some(7));
        assert_eq!(lacking(&io::ErrorKind::StorageFull.into()), None, "the disk does not say");
        space.withdraw(1);
        space.take(1).expect("again");
        space.landed(90);
        space.recount(0, space.begin_count());
        assert_eq!(space.used(), 0);
        Space::new(0, None).take(u64::MAX / 2).expect("no limit");
    }

    #[test]
    fn what_was_promised_stays_so_when_somebody_counts() {
        let space = Space::new(0, Some(100));
        space.take(40).expect("room");
        space.recount(30, space.begin_count());
        assert_eq!(space.used(), 70, "it may be among what was found, or not");
        space.landed(40);
        space.give_back(40);
        assert_eq!((space.used(), space.freed()), (30, 40));
        space.take(40).expect("room");
        space.withdraw(40);
        space.recount(20, space.begin_count());
        assert_eq!((space.used(), space.freed()), (20, 50), "what somebody has deleted, and not what was withdrawn");
    }

    #[test]
    fn what_lands_while_somebody_counts_is_not_forgotten() {
        let space = Space::new(0, Some(100));
        space.take(40).expect("room");
        let since = space.begin_count();
        // The files are looked at here, and what is written now was not in them.
        space.landed(40);
        space.take(10).expect("room");
        space.landed(10);
        space.recount(0, since);
        assert_eq!(space.used(), 50);
    }
}
