//! Runs out of an index, one by one, also of one that is damaged or still grows.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek};

use super::index::{ENTRY_BYTES, Entry, HEAD_BYTES, HEADER, Head};

/// What comes next in an index.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// A run. Its entries are with the reader; `sound` if they are those that were written.
    Run { head: Head, sound: bool },
    /// Here was no head. The next piece is the first sound one behind it.
    Damaged,
    /// The end, for now.
    NoMore,
    /// The segment was finished here.
    Finished,
}

/// Reads an index from its front. Holds one run at a time.
pub struct RunReader<R> {
    index: R,
    /// A head, or the part of it that is there.
    head: Vec<u8>,
    /// Its entries, or the part of them that is there.
    entries: Vec<u8>,
    header_seen: bool,
    /// What is looked at may lie in the middle of anything.
    lost: bool,
    /// Bytes and records of the segment, once its end mark was read.
    finished: Option<(u64, u64)>,
}

impl<R: Read> RunReader<R> {
    pub fn new(index: R) -> Self {
        let [head, entries] = [Vec::with_capacity(HEAD_BYTES), Vec::new()];
        Self { index, head, entries, header_seen: false, lost: false, finished: None }
    }

    /// Looks at the header; false if it is another. `None` as long as it is not there.
    pub fn header(&mut self) -> io::Result<Option<bool>> {
        if self.header_seen {
            return Ok(Some(true));
        }
        let Some(header) = self.fill_head()? else { return Ok(None) };
        self.header_seen = true;
        self.head.clear();
        Ok(Some(header == HEADER))
    }

    /// The next piece. After [`Piece::NoMore`] it can be asked again: an index grows.
    pub fn next(&mut self) -> io::Result<Piece> {
        loop {
            let Some(bytes) = self.fill_head()? else { return Ok(Piece::NoMore) };
            let found = if self.lost { Head::decode(&bytes) } else { Head::decode_repaired(&bytes) };
            let Some(head) = found else {
                // Everything in an index has a multiple of eight bytes.
                self.head.drain(..ENTRY_BYTES);
                if !std::mem::replace(&mut self.lost, true) {
                    return Ok(Piece::Damaged);
                }
                continue;
            };
            self.lost = false;
            if let Some(extent) = head.as_end_mark() {
                self.finished = Some(extent);
                self.head.clear();
                return Ok(Piece::Finished);
            }
            let missing = head.entries_bytes() - self.entries.len();
            self.index.by_ref().take(missing as u64).read_to_end(&mut self.entries)?;
            if self.entries.len() < head.entries_bytes() {
                return Ok(Piece::NoMore);
            }
            self.head.clear();
            let sound = head.check(&mut self.entries);
            return Ok(Piece::Run { head, sound });
        }
    }

    /// How many bytes and records the segment was finished with, behind [`Piece::Finished`].
    pub fn finished(&self) -> Option<(u64, u64)> {
        self.finished
    }

    /// The entries of the run that was read last, in order, with the payloads' places that follow from their lengths.
    /// They end at an entry that cannot be one.
    pub fn take_entries(&mut self, head: Head) -> Entries {
        Entries { head, bytes: std::mem::take(&mut self.entries), at: 0, offset: u64::from(head.offset) }
    }

    /// Of a run whose end is missing: its head, and the entries that are there as a whole.
    pub fn take_torn(&mut self) -> Option<Entries> {
        let head = Head::decode_repaired(self.head.first_chunk()?)?;
        self.head.clear();
        Some(self.take_entries(head))
    }

    fn fill_head(&mut self) -> io::Result<Option<[u8; HEAD_BYTES]>> {
        let missing = HEAD_BYTES - self.head.len();
        self.index.by_ref().take(missing as u64).read_to_end(&mut self.head)?;
        Ok(self.head.first_chunk().copied())
    }
}

impl RunReader<BufReader<File>> {
    /// True if the index is shorter now than what was read of it.
    pub fn was_cut(&mut self) -> io::Result<bool> {
        let index = self.index.get_mut();
        Ok(index.metadata()?.len() < index.stream_position()?)
    }
}

/// The entries of a run.
#[derive(Debug)]
pub struct Entries {
    head: Head,
    bytes: Vec<u8>,
    at: usize,
    offset: u64,
}

impl Iterator for Entries {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        let entry = self.head.entry(self.offset, self.bytes.get(self.at..)?.first_chunk()?)?;
        self.at += ENTRY_BYTES;
        self.offset = entry.line_end();
        Some(entry)
    }
}
