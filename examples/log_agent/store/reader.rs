//! Records out of a segment, one by one, through its index.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use super::index::Entry;
use super::listing::Listed;
use super::name::Packing;
use super::runs::{Entries, Piece, RunReader};

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

impl SegmentReader {
    /// Opens a segment and its index.
    pub fn open(directory: &Path, segment: Listed) -> io::Result<Self> {
        let open = |name: String| {
            let path = directory.join(name);
            File::open(&path).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
        };
        let Listed { name, packing } = segment;
        let data = open(name.data(packing))?;
        let runs = RunReader::new(BufReader::new(open(name.index())?));
        let data: Box<dyn Read> = match packing {
            Packing::Plain => Box::new(BufReader::new(data)),
            Packing::Gzip => Box::new(BufReader::new(flate2::read::GzDecoder::new(data))),
            Packing::Zstd => Box::new(BufReader::new(zstd::Decoder::new(data)?)),
        };
        Ok(Self { runs, entries: None, data, position: 0, payload: Vec::new(), pending: None })
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
        let skipped = io::copy(&mut self.data.by_ref().take(skip), &mut io::sink())?;
        self.position += skipped;
        let have = self.payload.len();
        if skipped == skip {
            let missing = u64::from(entry.length) - have as u64;
            self.position += self.data.by_ref().take(missing).read_to_end(&mut self.payload)? as u64;
        }
        if self.payload.len() < entry.length as usize {
            self.pending = Some(entry);
            return Ok(Step::NoMore);
        }
        let intact = entry.agrees_with(&self.payload);
        self.pending = None;
        Ok(Step::Record { entry, payload: &self.payload, intact })
    }

    /// The next entry, or what else there is to say.
    fn next_entry(&mut self) -> io::Result<Result<Entry, Step<'static>>> {
        self.payload.clear();
        match self.runs.header()? {
            None => return Ok(Err(Step::NoMore)),
            Some(true) => {}
            Some(false) => {
                let what = "its index is not one that this program knows";
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            }
        }
        loop {
            if let Some(entry) = self.entries.as_mut().and_then(Iterator::next) {
                return Ok(Ok(entry));
            }
            let piece = self.runs.next()?;
            self.entries = match piece {
                Piece::Run { head, sound } => {
                    let entries = self.runs.take_entries(head);
                    if !sound {
                        return Ok(Err(Step::Damaged { records: head.records() }));
                    }
                    Some(entries)
                }
                Piece::Damaged => return Ok(Err(Step::Damaged { records: 1 })),
                Piece::NoMore => return Ok(Err(Step::NoMore)),
                Piece::Finished => return Ok(Err(Step::Finished)),
            };
        }
    }
}
