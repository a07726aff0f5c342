//! Records out of a segment, one by one, through its index.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use super::index::{ENTRY_BYTES, Entry, HEADER};
use super::listing::Listed;
use super::name::Packing;

/// Reads a segment from its front. Holds one record at a time.
pub struct SegmentReader {
    entries: BufReader<File>,
    header_seen: bool,
    data: Box<dyn Read>,
    /// How far into the segment it has read.
    position: u64,
    payload: Vec<u8>,
    /// An entry that was read before its payload was there.
    pending: Option<Entry>,
    /// Bytes of an entry that was not there as a whole.
    partial: Vec<u8>,
}

/// What the reader has come to.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// A record, and whether its bytes are those that were received.
    Record { entry: Entry, payload: &'a [u8], intact: bool },
    /// An entry of the index is damaged; its record can't be told from the next.
    Damaged,
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
        let entries = BufReader::new(open(name.index())?);
        let data: Box<dyn Read> = match packing {
            Packing::Plain => Box::new(BufReader::new(data)),
            Packing::Gzip => Box::new(BufReader::new(flate2::read::GzDecoder::new(data))),
            Packing::Zstd => Box::new(BufReader::new(zstd::Decoder::new(data)?)),
        };
        let [payload, partial] = [Vec::new(), Vec::new()];
        Ok(Self { entries, header_seen: false, data, position: 0, payload, pending: None, partial })
    }

    /// The next record. After [`Step::NoMore`] it can be asked again: a segment that is being written grows.
    pub fn step(&mut self) -> io::Result<Step<'_>> {
        let entry = match self.pending.take() {
            Some(entry) => entry,
            None => match self.next_entry()? {
                Next::Entry(entry) => entry,
                Next::Damaged => return Ok(Step::Damaged),
                Next::NoMore => return Ok(Step::NoMore),
            },
        };
        if entry.is_end_mark() {
            return Ok(Step::Finished);
        }
        // Behind a damaged entry there is a gap, and behind most payloads a newline.
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

    fn next_entry(&mut self) -> io::Result<Next> {
        self.payload.clear();
        loop {
            let missing = (ENTRY_BYTES - self.partial.len()) as u64;
            self.entries.by_ref().take(missing).read_to_end(&mut self.partial)?;
            let Some(bytes) = self.partial.first_chunk::<ENTRY_BYTES>().copied() else { return Ok(Next::NoMore) };
            self.partial.clear();
            if self.header_seen {
                return Ok(Entry::decode(&bytes).map_or(Next::Damaged, Next::Entry));
            }
            if bytes != HEADER {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "its index is not one that this program knows"));
            }
            self.header_seen = true;
        }
    }
}

enum Next {
    Entry(Entry),
    Damaged,
    NoMore,
}
