//! Where a segment is to be cut whose index is sound up to there: nothing new has to be written, and a full disk does
//! not matter.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek};

use crc_fast::{CrcAlgorithm, Digest};

use super::index::{Entry, HEAD_BYTES, Runs};
use super::runs::{Piece, RunReader};

/// Bytes that are read at once.
const CHUNK: usize = 64 << 10;

/// The good part of a segment and of its index.
#[derive(Debug, Default)]
pub struct Cut {
    pub bytes: u64,
    pub records: u64,
    /// So much of the index stays, and behind it comes what is left of the run that is cut.
    pub index_bytes: u64,
    pub run: Vec<u8>,
}

impl Cut {
    /// Looks at a segment of `bytes` bytes. `None` if there is more to say than that its end is torn, or if there is no
    /// whole record.
    pub fn find(data: &File, bytes: u64, index: &File) -> io::Result<Option<Self>> {
        let mut data = BufReader::with_capacity(CHUNK, data);
        data.rewind()?;
        let mut runs = RunReader::new(BufReader::new(index));
        if runs.header()? != Some(true) {
            return Ok(None);
        }
        let mut cut = Self { index_bytes: HEAD_BYTES as u64, ..Self::default() };
        loop {
            let (head, entries) = match runs.next()? {
                Piece::Run { head, sound: true } => (head, runs.take_entries(head)),
                // Torn entries are those of records that were never written.
                Piece::NoMore if cut.bytes == bytes => break,
                Piece::Run { .. } | Piece::Damaged | Piece::Finished | Piece::NoMore => return Ok(None),
            };
            let mut whole = Runs::default();
            let before = cut.records;
            for entry in entries {
                if u64::from(entry.offset) != cut.bytes {
                    return Ok(None);
                }
                if entry.line_end() > bytes {
                    cut.run = whole.bytes().to_vec();
                    return Ok((cut.records > 0).then_some(cut));
                }
                if !agrees(&mut data, &entry)? {
                    return Ok(None);
                }
                whole.push(&entry);
                cut.bytes = entry.line_end();
                cut.records += 1;
            }
            if cut.records - before != head.records() {
                return Ok(None);
            }
            cut.index_bytes += (HEAD_BYTES + head.entries_bytes()) as u64;
        }
        Ok((cut.records > 0).then_some(cut))
    }
}

/// True if the next bytes are the line of that entry.
fn agrees(data: &mut BufReader<&File>, entry: &Entry) -> io::Result<bool> {
    let mut left = entry.length as usize;
    let mut crc = Digest::new(CrcAlgorithm::Crc32Iscsi);
    while left > 0 {
        let chunk = data.fill_buf()?;
        let length = chunk.len().min(left);
        if length == 0 {
            return Ok(false);
        }
        crc.update(&chunk[..length]);
        data.consume(length);
        left -= length;
    }
    let mut newline = true;
    if entry.newline_added {
        newline = data.fill_buf()?.first() == Some(&b'\n');
        data.consume(usize::from(newline));
    }
    Ok(newline && crc.finalize() as u32 == entry.crc)
}
