//! Records out of a segment, one by one, through its index.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::Path;

use crc_fast::{CrcAlgorithm, Digest};

use super::index::{Entry, PAYLOAD_MAX};
use super::listing::{Listed, is_there, packings};
use super::name::Packing;
use super::rebuild::Rebuild;
use super::runs::{Entries, Piece, RunReader};

/// Bytes of a record that are looked at in one piece, where the record is not wanted as a whole.
const CHUNK: usize = 8 << 10;

/// Reads a segment from its front. Holds one record at a time.
pub struct SegmentReader {
    runs: RunReader<BufReader<File>>,
    /// What is left of the run that was read last.
    entries: Option<Entries>,
    data: Box<dyn Read>,
    /// How far into the segment it has read.
    position: u64,
    payload: Vec<u8>,
    /// An entry that was read before its payload was there.
    pending: Option<Entry>,
    /// As what it was found.
    packing: Packing,
    /// Where the last record ends that it has come to.
    line_end: u64,
    /// Of how many records the index has told, and for how many it was said what became of them.
    told: u64,
    passed: u64,
}

/// What the reader has come to.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// A record, and whether its bytes are those that were received.
    Record { entry: Entry, payload: &'a [u8], intact: bool },
    /// Of the index more is damaged than can be set right: so many records at least can't be told from each other.
    Damaged { records: u64 },
    /// Nothing more is there yet.
    NoMore,
    /// The segment was finished here.
    Finished,
}

/// How a segment ends.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// As its index says.
    Whole,
    /// Without the mark at the end of its index: it is being written, or whoever wrote it has crashed.
    Open,
    /// In another way than its index says. So many records are known to be missing.
    Fault { what: &'static str, records: u64 },
}

impl SegmentReader {
    /// Opens a segment and its index. If it was packed since it was listed, the packed one; [`io::ErrorKind::NotFound`]
    /// says that it was deleted, or is being made.
    pub fn open(directory: &Path, segment: Listed) -> io::Result<Self> {
        let open = |name: String| {
            let path = directory.join(name);
            File::open(&path).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
        };
        let is_gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        let Listed { name, packing } = segment;
        let mut found = open(name.data(packing)).map(|data| (packing, data));
        for packing in packings(packing).skip(1) {
            if found.as_ref().is_err_and(is_gone) {
                found = open(name.data(packing)).map(|data| (packing, data));
            }
        }
        let (packing, data) = found?;
        let mut index = open(name.index());
        // The index is made behind the segment and before anything is in that; and it is deleted behind it.
        if index.as_ref().is_err_and(is_gone) && (packing != Packing::Plain || data.metadata()?.len() > 0) {
            index = open(name.index());
            if index.as_ref().is_err_and(is_gone) && packings(packing).any(|form| is_there(directory, name, form)) {
                return Err(invalid("its index is missing"));
            }
        }
        let data: Box<dyn Read> = match packing {
            Packing::Plain => Box::new(BufReader::new(data)),
            Packing::Gzip => Box::new(BufReader::new(flate2::read::GzDecoder::new(data))),
            Packing::Zstd => Box::new(BufReader::new(zstd::Decoder::new(data)?)),
        };
        Ok(Self::with(data, index?, packing))
    }

    /// Reads `data`, of which `index` tells.
    pub fn with(data: Box<dyn Read>, index: File, packing: Packing) -> Self {
        let runs = RunReader::new(BufReader::new(index));
        let (entries, payload, pending) = (None, Vec::new(), None);
        Self { runs, entries, data, position: 0, payload, pending, packing, line_end: 0, told: 0, passed: 0 }
    }

    /// Opens a plain segment that has no index. One is made anew, in `scratch`, an empty file that can be read, too:
    /// the same that recovery makes.
    pub fn open_by_lines(directory: &Path, segment: Listed, mut scratch: File) -> io::Result<Self> {
        let mut data = File::open(directory.join(segment.name.data(Packing::Plain)))?;
        let (bytes, micros) = (data.metadata()?.len(), segment.name.opened * 1_000_000);
        let mut rebuild = Rebuild::new(&data, bytes, scratch.try_clone()?, micros, PAYLOAD_MAX)?;
        rebuild.walk(None, false)?;
        rebuild.finish()?;
        data.rewind()?;
        scratch.rewind()?;
        Ok(Self::with(Box::new(BufReader::new(data)), scratch, Packing::Plain))
    }

    /// As what it was found: it may have been packed since it was listed.
    pub fn packing(&self) -> Packing {
        self.packing
    }

    /// True if the index is shorter now than what was read of it: an append has failed, and was taken back.
    pub fn was_cut(&mut self) -> bool {
        self.runs.was_cut().unwrap_or(false)
    }

    /// The next record. After [`Step::NoMore`] it can be asked again: a segment that is being written grows.
    pub fn step(&mut self) -> io::Result<Step<'_>> {
        let entry = match self.pending.take() {
            Some(entry) => entry,
            None => match self.next_entry()? {
                Ok(entry) => entry,
                Err(step) => return Ok(step),
            },
        };
        // Behind damaged entries there is a gap, and behind most payloads a newline.
        let skip = u64::from(entry.offset).saturating_sub(self.position);
        let skipped = self.skip(skip)?;
        let length = entry.length as usize;
        // An empty record is there when its newline is.
        let least = length.max(usize::from(entry.newline_added));
        if skipped == skip {
            let missing = (least - self.payload.len()) as u64;
            self.position += self.data.by_ref().take(missing).read_to_end(&mut self.payload)? as u64;
        }
        if skipped < skip || self.payload.len() < least {
            self.pending = Some(entry);
            return Ok(Step::NoMore);
        }
        let payload = &self.payload[..length];
        let intact = entry.agrees_with(payload);
        self.pending = None;
        self.passed += 1;
        Ok(Step::Record { entry, payload, intact })
    }

    /// Goes on to the end, and counts those records whose bytes are those that were received. However long one is, it
    /// is looked at piece by piece: recovery has to be within the memory ceiling, too.
    pub fn count_intact(&mut self) -> io::Result<u64> {
        let (mut intact, mut chunk) = (0, [0; CHUNK]);
        loop {
            let entry = match self.next_entry()? {
                Ok(entry) => entry,
                Err(Step::Damaged { .. }) => continue,
                Err(_) => return Ok(intact),
            };
            let skip = u64::from(entry.offset).saturating_sub(self.position);
            if self.skip(skip)? < skip {
                return Ok(intact);
            }
            let (length, crc) = self.checksum(u64::from(entry.length), &mut chunk)?;
            // An empty record is there when its newline is.
            let newline = u64::from(entry.length == 0 && entry.newline_added);
            if length < u64::from(entry.length) || self.skip(newline)? < newline {
                return Ok(intact);
            }
            self.passed += 1;
            intact += u64::from(crc == entry.crc);
        }
    }

    /// How many of the next `bytes` are there, and their checksum. They go through `chunk`: one that is made for each
    /// record would be cleared for each.
    fn checksum(&mut self, bytes: u64, chunk: &mut [u8; CHUNK]) -> io::Result<(u64, u32)> {
        let mut crc = Digest::new(CrcAlgorithm::Crc32Iscsi);
        let mut data = self.data.by_ref().take(bytes);
        let mut length = 0;
        loop {
            match data.read(chunk) {
                Ok(0) => break,
                Ok(count) => {
                    crc.update(&chunk[..count]);
                    length += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.position += length;
        Ok((length, crc.finalize() as u32))
    }

    /// The next entry, or what else there is to say.
    fn next_entry(&mut self) -> io::Result<Result<Entry, Step<'static>>> {
        self.payload.clear();
        match self.runs.header()? {
            None => return Ok(Err(Step::NoMore)),
            Some(true) => {}
            Some(false) => {
                return Err(invalid("its index is not one that this program knows"));
            }
        }
        loop {
            if let Some(entry) = self.entries.as_mut().and_then(Iterator::next) {
                self.line_end = entry.line_end();
                return Ok(Ok(entry));
            }
            let piece = self.runs.next()?;
            self.entries = match piece {
                Piece::Run { head, sound } => {
                    let entries = self.runs.take_entries(head);
                    self.told += head.records();
                    if !sound {
                        self.passed += head.records();
                        return Ok(Err(Step::Damaged { records: head.records() }));
                    }
                    Some(entries)
                }
                Piece::Damaged => {
                    self.told += 1;
                    self.passed += 1;
                    return Ok(Err(Step::Damaged { records: 1 }));
                }
                Piece::NoMore => return Ok(Err(Step::NoMore)),
                Piece::Finished => return Ok(Err(Step::Finished)),
            };
        }
    }

    /// How the segment ends, to be asked once, behind the last step. What is written meanwhile is no fault: an index is
    /// written before its records, and its mark behind all of them.
    pub fn end(&mut self) -> io::Result<End> {
        let was_finished = self.runs.finished().is_some();
        let lost = self.lost();
        let fault = |what, records| Ok(End::Fault { what, records });
        if let Some((bytes, _)) = self.runs.finished() {
            self.skip(bytes.saturating_sub(self.position))?;
            return match () {
                () if self.position < bytes => fault("it ends before its index does", lost),
                () if self.skip(1)? > 0 => fault("there is more behind its end", lost),
                () if lost > 0 && was_finished => fault("records are missing in its index", lost),
                () if was_finished => Ok(End::Whole),
                () => Ok(End::Open),
            };
        }
        if self.packing != Packing::Plain {
            return fault("its index ends before it does", lost);
        }
        let rest = self.line_end.saturating_sub(self.position);
        // The records of the last entries may still come. But what is there had its entry before.
        let unknown = lost == 0 && self.skip(rest + 1)? > rest;
        if unknown && self.lost() == 0 && self.runs.finished().is_none() {
            return fault("there is more behind its last record", 0);
        }
        Ok(End::Open)
    }

    /// How many records are missing, as far as the index tells. Nothing can be read behind that.
    pub fn lost(&mut self) -> u64 {
        // Without its header an index has nothing else, and one that can't be read tells no more.
        while let (None, Ok(Some(_))) = (self.runs.finished(), self.runs.header()) {
            match self.runs.next() {
                Ok(Piece::Run { head, .. }) => {
                    self.runs.take_entries(head);
                    self.told += head.records();
                }
                Ok(Piece::Damaged) => self.told += 1,
                Ok(Piece::Finished) => {}
                Ok(Piece::NoMore) | Err(_) => break,
            }
        }
        let all = self.runs.finished().map_or(self.told, |(_, records)| records.max(self.told));
        all - self.passed
    }

    /// Passes over so many bytes of the segment, or fewer if it ends; how many.
    fn skip(&mut self, bytes: u64) -> io::Result<u64> {
        let skipped = io::copy(&mut self.data.by_ref().take(bytes), &mut io::sink())?;
        self.position += skipped;
        Ok(skipped)
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
