//! The index of a segment, made anew: from what can be believed of the old one, and from newlines.
//!
//! However long a record or a line is, it is looked at piece by piece: recovery has to be within the memory ceiling,
//! too.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};

use crc_fast::{CrcAlgorithm, Digest};

use super::index::{Entry, HEAD_BYTES, HEADER, Head, Origin, Runs};
use super::runs::{Entries, Piece, RunReader};

/// Bytes that are read at once.
const CHUNK: usize = 64 << 10;
/// Bytes of runs that are written at once.
const RUNS: usize = 64 << 10;
/// What a crash of the machine leaves empty is whole blocks of the disk, none of them smaller.
const BLOCK: u64 = 512;

/// How much of a segment is good.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rebuilt {
    pub bytes: u64,
    pub records: u64,
    /// Records that had no entry, and those that do not agree with theirs.
    pub found: u64,
    pub damaged: u64,
}

/// Walks through a segment and writes its index anew.
pub struct Rebuild<'d> {
    data: BufReader<&'d File>,
    /// Bytes of the segment.
    bytes: u64,
    index: File,
    index_bytes: u64,
    runs: Runs,
    /// Whether what is in `runs` is certain. The two are never in one run.
    runs_good: bool,
    /// How far it has come; the last of it may be damaged records.
    at: Rebuilt,
    /// Up to the last record that is certain, and the bytes of its index.
    good: Rebuilt,
    good_index_bytes: u64,
    last_micros: u64,
    /// No record is longer.
    line_max: u64,
    /// The old index says that the segment was whole once, with other bytes: its end is not torn.
    finished: bool,
    /// The records behind the last certain one have their newlines where their entries say.
    fits: bool,
}

/// What lies at some place.
#[derive(Debug, Clone, Copy, Default)]
struct Stretch {
    length: u64,
    crc: u32,
    newline: bool,
    last: Option<u8>,
}

impl<'d> Rebuild<'d> {
    pub fn new(data: &'d File, bytes: u64, mut index: File, micros: u64, line_max: usize) -> io::Result<Self> {
        let mut data = BufReader::with_capacity(CHUNK, data);
        data.rewind()?;
        index.write_all(&HEADER)?;
        let [at, good] = [Rebuilt::default(); 2];
        let [index_bytes, good_index_bytes] = [HEAD_BYTES as u64; 2];
        let (runs, line_max) = (Runs::with_capacity(RUNS), line_max as u64);
        let (runs_good, last_micros) = (true, micros);
        let (finished, fits) = (false, true);
        Ok(Self {
            data,
            bytes,
            index,
            index_bytes,
            runs,
            runs_good,
            at,
            good,
            good_index_bytes,
            last_micros,
            line_max,
            finished,
            fits,
        })
    }

    /// Goes through the old index, which may say that the segment was `finished`.
    pub fn walk(&mut self, index: Option<File>, finished: bool) -> io::Result<()> {
        self.finished = finished;
        if let Some(index) = index {
            let mut runs = RunReader::new(BufReader::new(index));
            // A header that is damaged or torn off says nothing about the runs behind it.
            runs.header()?;
            loop {
                let (entries, sound) = match runs.next()? {
                    Piece::Run { head, sound } => (runs.take_entries(head), sound),
                    Piece::Damaged | Piece::Finished => continue,
                    Piece::NoMore => break,
                };
                if self.take_run(entries, sound)? {
                    return self.end(true);
                }
            }
            if let Some(entries) = runs.take_torn() {
                let overshot = self.take_run(entries, false)?;
                return self.end(overshot);
            }
        }
        self.end(false)
    }

    /// The index says nothing more. What is behind the last certain record is torn, or damaged, or of another segment
    /// whose files were mixed up with these; `overshot`: the next entry has more bytes than are left.
    fn end(&mut self, overshot: bool) -> io::Result<()> {
        if self.at.bytes > self.good.bytes {
            let certain = self.good.records - self.good.found - self.good.damaged;
            if certain > 0 && self.is_empty_somewhere()? {
                // What the machine's crash has left of records that were not synced.
                return Ok(());
            }
            if certain > 0 && self.fits {
                self.keep_damaged()?;
            } else {
                // Entries that none, or not even the newlines agree with, are not of these records.
                self.go_back()?;
                return self.find_lines(self.bytes, false);
            }
        }
        // With an index that ends too early, what is behind it was written all the same.
        if overshot && !self.finished { Ok(()) } else { self.find_lines(self.bytes, false) }
    }

    /// True if something behind the last certain record was never written, which shows as bytes of 0: at the end, where
    /// every line has another, or in a whole block of the disk.
    fn is_empty_somewhere(&mut self) -> io::Result<bool> {
        let mut at = self.good.bytes;
        self.data.seek(SeekFrom::Start(at))?;
        // Those since another byte, and those of this block, whose front may be certain.
        let (mut zeros, mut block_zeros) = (0, 0);
        loop {
            let chunk = self.data.fill_buf()?;
            if chunk.is_empty() || block_zeros == BLOCK {
                break;
            }
            let length = chunk.len().min((BLOCK - at % BLOCK) as usize);
            let trailing = chunk[..length].iter().rev().take_while(|byte| **byte == 0).count() as u64;
            let all = trailing == length as u64;
            zeros = if all { zeros + trailing } else { trailing };
            block_zeros = if at.is_multiple_of(BLOCK) { 0 } else { block_zeros } + if all { trailing } else { 0 };
            at += length as u64;
            self.data.consume(length);
        }
        self.data.seek(SeekFrom::Start(self.at.bytes))?;
        Ok(zeros > 0 || block_zeros == BLOCK)
    }

    /// What is damaged at the end stays, as what it is.
    fn keep_damaged(&mut self) -> io::Result<()> {
        self.good = self.at;
        self.runs_good = true;
        self.write_runs()
    }

    /// Forgets what was taken behind the last certain record.
    fn go_back(&mut self) -> io::Result<()> {
        self.runs.clear();
        self.runs_good = true;
        self.index_bytes = self.good_index_bytes;
        self.index.set_len(self.index_bytes)?;
        self.index.seek(SeekFrom::Start(self.index_bytes))?;
        self.at = self.good;
        self.data.seek(SeekFrom::Start(self.at.bytes)).map(drop)
    }

    /// True if an entry has more bytes than are left.
    fn take_run(&mut self, entries: Entries, sound: bool) -> io::Result<bool> {
        for entry in entries {
            let offset = u64::from(entry.offset);
            if offset < self.at.bytes {
                // It says nothing about what is behind the entry before it.
                continue;
            }
            if !sound && !self.is_there(&entry)? {
                // Nor do those behind it: where they begin, this one's length has said.
                return Ok(false);
            }
            if offset > self.at.bytes {
                self.find_lines(offset.min(self.bytes), true)?;
            }
            if entry.line_end() > self.bytes {
                return Ok(true);
            }
            self.take_entry(entry)?;
        }
        Ok(false)
    }

    /// True if its payload lies where it says.
    fn is_there(&mut self, entry: &Entry) -> io::Result<bool> {
        if entry.payload_end() > self.bytes {
            return Ok(false);
        }
        self.data.seek(SeekFrom::Start(u64::from(entry.offset)))?;
        let Stretch { length, crc, .. } = self.pass(u64::from(entry.length), false)?;
        self.data.seek(SeekFrom::Start(self.at.bytes))?;
        Ok(length == u64::from(entry.length) && crc == entry.crc)
    }

    fn take_entry(&mut self, entry: Entry) -> io::Result<()> {
        let payload = self.pass(u64::from(entry.length), false)?;
        let newline = self.pass(u64::from(entry.newline_added), false)?;
        // Without its newline it is torn, and the next record would not be where its entry says.
        let whole =
            payload.crc == entry.crc && payload.length + newline.length == entry.line_end() - u64::from(entry.offset);
        self.last_micros = entry.origin.received_micros;
        self.push(entry, whole)?;
        self.at.bytes = entry.payload_end() + newline.length;
        self.at.records += 1;
        if whole {
            (self.good, self.fits) = (self.at, true)
        } else {
            self.at.damaged += 1
        }
        let end = if entry.newline_added { newline.last } else { payload.last };
        self.fits &= whole || end == Some(b'\n');
        Ok(())
    }

    /// Makes entries for the lines up to `end`. A last one without a newline is torn, unless there is a record behind
    /// it.
    fn find_lines(&mut self, end: u64, record_behind: bool) -> io::Result<()> {
        while self.at.bytes < end {
            let most = self.line_max.min(end - self.at.bytes);
            let Stretch { length, crc, mut newline, .. } = self.pass(most, true)?;
            if !newline && length == self.line_max && length < end - self.at.bytes {
                newline = self.data.fill_buf()?.first() == Some(&b'\n');
                self.data.consume(usize::from(newline));
            }
            // A line that is longer than any record is none, but nothing says what it is; it stays, in pieces.
            let ends = newline || record_behind || length == self.line_max;
            if length + u64::from(newline) == 0 || !ends {
                break;
            }
            let origin = Origin { received_micros: self.last_micros, ..Origin::default() };
            let [offset, length] = [self.at.bytes as u32, length as u32];
            let entry = Entry { offset, length, crc, newline_added: newline, origin };
            self.push(entry, true)?;
            self.at.bytes = entry.line_end();
            self.at.records += 1;
            self.at.found += 1;
            self.good = self.at;
        }
        // Where the next entry says that its record is.
        self.data.seek(SeekFrom::Start(self.at.bytes)).map(drop)
    }

    /// Passes over the next `most` bytes, or, for a line, what is before and including the first newline in them.
    fn pass(&mut self, most: u64, line: bool) -> io::Result<Stretch> {
        let mut passed = Stretch::default();
        let mut crc = Digest::new(CrcAlgorithm::Crc32Iscsi);
        while passed.length < most && !passed.newline {
            let chunk = self.data.fill_buf()?;
            let chunk = &chunk[..chunk.len().min((most - passed.length).min(CHUNK as u64) as usize)];
            if chunk.is_empty() {
                break;
            }
            let newline = if line { chunk.iter().position(|byte| *byte == b'\n') } else { None };
            let length = newline.unwrap_or(chunk.len());
            crc.update(&chunk[..length]);
            passed.last = chunk[..length].last().copied().or(passed.last);
            passed.length += length as u64;
            passed.newline = newline.is_some();
            self.data.consume(length + usize::from(passed.newline));
        }
        passed.crc = crc.finalize() as u32;
        Ok(passed)
    }

    fn push(&mut self, entry: Entry, good: bool) -> io::Result<()> {
        if good != self.runs_good || !self.runs.has_room() {
            self.write_runs()?;
            self.runs_good = good;
        }
        self.runs.push(&entry);
        Ok(())
    }

    fn write_runs(&mut self) -> io::Result<()> {
        let bytes = self.runs.bytes();
        self.index.write_all(bytes)?;
        self.index_bytes += bytes.len() as u64;
        self.runs.clear();
        if self.runs_good {
            self.good_index_bytes = self.index_bytes;
        }
        Ok(())
    }

    /// Ends the new index behind the last record that is certain. Without any, all bytes stay, whatever they are.
    pub fn finish(mut self) -> io::Result<Rebuilt> {
        self.write_runs()?;
        if self.good.records == 0 {
            self.good.bytes = self.bytes;
        }
        self.index.set_len(self.good_index_bytes)?;
        self.index.seek(SeekFrom::Start(self.good_index_bytes))?;
        self.index.write_all(&Head::end_mark(self.good.bytes as u32, self.good.records).encode())?;
        self.index.sync_data()?;
        Ok(self.good)
    }
}
