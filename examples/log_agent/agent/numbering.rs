//! The names of segments: one number over all writers and restarts, and times that do not go back.

use std::io;

use super::disk::Disk;
use crate::store::STATE_FILE;
use crate::store::name::{Kind, SegmentName};
use crate::store::utc::Utc;

/// A segment with a larger number is none of ours: it leaves none for those behind it, or few.
pub const NUMBER_MOST: u64 = u64::MAX / 2;

/// Gives each segment its name. One for all writers, behind a lock.
#[derive(Debug)]
pub struct Numbering {
    /// Those of the newest segment.
    number: u64,
    opened: u64,
    /// The segments that are being written.
    open: Vec<u64>,
}

impl Numbering {
    /// Goes on behind the newest name that is known.
    pub fn after(number: u64, opened: u64) -> Self {
        Self { number, opened, open: Vec::new() }
    }

    /// The next name, remembered on `disk` before it is used.
    ///
    /// # Errors
    /// Besides those of the disk: there is none that would be found again.
    pub fn next(&mut self, disk: &dyn Disk, kind: Kind, now: u64) -> io::Result<SegmentName> {
        let number = self.number.checked_add(1).ok_or_else(|| no_name("a segment with the largest number is there"))?;
        let grows = number.to_string().len() > self.number.to_string().len().max(4);
        // A clock that was set back does not change the order of names. Nor does a number with one digit more, which
        // would sort before the others of its second.
        let opened = now.max(self.opened.saturating_add(u64::from(grows)));
        if opened > Utc::LAST {
            return Err(no_name("the clock, or the newest segment, is at the end of the year 9999"));
        }
        let state = format!("number {number}\nopened {opened}\n");
        disk.replace(STATE_FILE, state.as_bytes())?;
        (self.number, self.opened) = (number, opened);
        self.open.push(number);
        Ok(SegmentName { kind, opened, number })
    }

    /// A segment is not written any more.
    pub fn closed(&mut self, number: u64) {
        self.open.retain(|open| *open != number);
    }

    /// True while a segment is being written.
    pub fn is_open(&self, number: u64) -> bool {
        self.open.contains(&number)
    }
}

fn no_name(why: &str) -> io::Error {
    io::Error::other(format!("there is no name for a new segment: {why}"))
}

/// Reads what was remembered: number and time of the newest segment. `None` also if no segment can have them.
pub fn parse_state(text: &str) -> Option<(u64, u64)> {
    let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    let possible = |(number, opened): &(u64, u64)| *number <= NUMBER_MOST && *opened <= Utc::LAST;
    value("number ").zip(value("opened ")).filter(possible)
}
