//! What a crash has left: torn records are cut off, and each segment is finished.
//!
//! An index is written before its records. So after a crash of the agent the last entries may be without their records,
//! and the last record may be torn: both are cut off. What else is wrong (a damaged, shortened or missing index) is no
//! crash of the agent. Then nothing that is there is thrown away: records without a sound entry are found again by their
//! newlines, and belong to connection 0.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::compress;
use super::directory::bytes_of;
use super::numbering::{STATE_FILE, parse_state};
use crate::store::index::{ENTRY_BYTES, Entry, HEADER, behind};
use crate::store::listing::{Listed, each_segment};
use crate::store::name::{Packing, SegmentName};

/// What was found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Number and time of the newest segment.
    pub number: u64,
    pub opened: u64,
    /// Bytes of all segments and indexes.
    pub bytes: u64,
    /// Segments that were not finished, and what was cut off them.
    pub unfinished: u64,
    pub bytes_cut: u64,
    /// Records whose entry was damaged or missing, and those that do not agree with their entry.
    pub records_found: u64,
    pub records_damaged: u64,
}

/// Looks at all segments in `directory`, and finishes those that are not.
pub fn recover(directory: &Path) -> io::Result<Recovered> {
    let mut recovered = Recovered::default();
    if let Ok(state) = fs::read_to_string(directory.join(STATE_FILE)) {
        let (number, opened) = parse_state(&state).unwrap_or_default();
        (recovered.number, recovered.opened) = (number, opened);
    }
    remove_leftovers(directory)?;
    // Changing a directory while it is listed may show a file twice; looking twice at a segment does no harm.
    each_segment(directory, |Listed { name, .. }| {
        recovered.number = recovered.number.max(name.number);
        recovered.opened = recovered.opened.max(name.opened);
    })?;
    let mut failed = Ok(());
    each_segment(directory, |segment| {
        if failed.is_ok() && segment.packing == Packing::Plain {
            let done = recover_segment(directory, segment.name, &mut recovered);
            failed = done.map_err(|error| {
                let what = format!("cannot recover {}: {error}", directory.join(segment.name.to_string()).display());
                io::Error::new(error.kind(), what)
            });
        }
    })?;
    failed?;
    recovered.bytes = bytes_of(directory)?;
    Ok(recovered)
}

/// Files that were being made when the agent ended: packed segments, indexes. And plain segments that are packed already.
fn remove_leftovers(directory: &Path) -> io::Result<()> {
    for file in fs::read_dir(directory)? {
        let file = file?;
        let name = file.file_name();
        let Some(name) = name.to_str() else { continue };
        let unfinished = name.strip_suffix(compress::UNFINISHED).is_some_and(|whole| {
            let is_index = SegmentName::parse_index(whole).is_some();
            is_index || SegmentName::parse_data(whole).is_some() || whole == STATE_FILE
        });
        let packed = SegmentName::parse_data(name).filter(|(_, packing)| *packing != Packing::Plain);
        if unfinished {
            fs::remove_file(file.path())?;
        } else if let Some((segment, _)) = packed {
            let plain = directory.join(segment.data(Packing::Plain));
            if plain.exists() {
                fs::remove_file(plain)?;
            }
        }
    }
    Ok(())
}

fn recover_segment(directory: &Path, name: SegmentName, recovered: &mut Recovered) -> io::Result<()> {
    let data_path = directory.join(name.data(Packing::Plain));
    let index_path = directory.join(name.index());
    let data = OpenOptions::new().read(true).write(true).open(&data_path)?;
    let bytes = data.metadata()?.len();
    let index = match File::open(&index_path) {
        Ok(index) => Some(index),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    if let Some(index) = &index
        && is_finished(index, bytes)?
    {
        return Ok(());
    }
    recovered.unfinished += 1;
    let new_path = directory.join(format!("{}{}", name.index(), compress::UNFINISHED));
    let slots = Slots::new(index)?;
    let mut rebuilt = Rebuild::new(&data, bytes, File::create(&new_path)?, name.opened * 1_000_000)?;
    rebuilt.walk(slots)?;
    let Rebuilt { good, found, damaged } = rebuilt.finish()?;
    let cut = bytes - good.bytes;
    recovered.records_found += found;
    recovered.records_damaged += damaged;
    recovered.bytes_cut += cut;
    if cut > 0 {
        log::warn!("{name}: {cut} bytes of torn records were cut off; it has {} records", good.records);
    }
    if found > 0 {
        log::warn!("{name}: {found} records had no sound entry in its index, and were found again by their newlines");
    }
    if damaged > 0 {
        log::error!("{name}: {damaged} records are not those that were received");
    }
    if good.records == 0 {
        fs::remove_file(&data_path)?;
        fs::remove_file(&new_path)?;
        return fs::remove_file(&index_path).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        });
    }
    data.set_len(good.bytes)?;
    data.sync_data()?;
    fs::rename(&new_path, &index_path)?;
    File::open(directory)?.sync_all()
}

/// True if the last entry says that the segment was finished with so many bytes.
fn is_finished(mut index: &File, bytes: u64) -> io::Result<bool> {
    let length = index.metadata()?.len();
    let entry_bytes = ENTRY_BYTES as u64;
    if length < 2 * entry_bytes || length % entry_bytes != 0 {
        return Ok(false);
    }
    let mut last = [0; ENTRY_BYTES];
    index.seek(SeekFrom::Start(length - entry_bytes))?;
    index.read_exact(&mut last)?;
    index.rewind()?;
    Ok(Entry::decode(&last).is_some_and(|entry| entry.is_end_mark() && u64::from(entry.offset) == bytes))
}

/// The entries of an old index, as far as they are sound.
struct Slots(Option<BufReader<File>>);

impl Slots {
    fn new(index: Option<File>) -> io::Result<Self> {
        let Some(index) = index else { return Ok(Self(None)) };
        let mut index = BufReader::new(index);
        // A header that is damaged or torn off says nothing about the entries behind it.
        io::copy(&mut index.by_ref().take(ENTRY_BYTES as u64), &mut io::sink())?;
        Ok(Self(Some(index)))
    }

    /// The next sound entry of a record; what is not sound is passed over.
    fn next_sound(&mut self) -> io::Result<Option<Entry>> {
        let Some(index) = &mut self.0 else { return Ok(None) };
        loop {
            let mut slot = Vec::with_capacity(ENTRY_BYTES);
            index.by_ref().take(ENTRY_BYTES as u64).read_to_end(&mut slot)?;
            let Some(slot) = slot.first_chunk::<ENTRY_BYTES>() else { return Ok(None) };
            if let Some(entry) = Entry::decode(slot).filter(|entry| !entry.is_end_mark()) {
                return Ok(Some(entry));
            }
        }
    }
}

/// How much of a segment is good.
#[derive(Debug, Clone, Copy, Default)]
struct Good {
    bytes: u64,
    records: u64,
    found: u64,
    damaged: u64,
}

struct Rebuilt {
    good: Good,
    found: u64,
    damaged: u64,
}

/// Walks through a segment and writes its index anew.
struct Rebuild<'d> {
    data: BufReader<&'d File>,
    /// Bytes of the segment.
    bytes: u64,
    index: BufWriter<File>,
    /// How far it has come; the last of it may be damaged records.
    at: Good,
    /// Up to the last record that is certain.
    good: Good,
    last_micros: u64,
    payload: Vec<u8>,
}

impl<'d> Rebuild<'d> {
    fn new(data: &'d File, bytes: u64, index: File, micros: u64) -> io::Result<Self> {
        let mut data = BufReader::new(data);
        data.rewind()?;
        let mut index = BufWriter::new(index);
        index.write_all(&HEADER)?;
        let [at, good] = [Good::default(); 2];
        Ok(Self { data, bytes, index, at, good, last_micros: micros, payload: Vec::new() })
    }

    fn walk(&mut self, mut slots: Slots) -> io::Result<()> {
        while let Some(entry) = slots.next_sound()? {
            let offset = u64::from(entry.offset);
            if offset < self.at.bytes {
                // It says nothing about what is behind the entry before it.
                continue;
            }
            if offset > self.at.bytes {
                self.find_lines(offset.min(self.bytes), true)?;
            }
            if entry.payload_end() > self.bytes || offset > self.bytes {
                // Torn: neither it nor anything behind it is whole.
                return Ok(());
            }
            self.take_entry(entry)?;
        }
        // With an index that ends too early, what is behind it was written all the same.
        self.find_lines(self.bytes, false)
    }

    fn take_entry(&mut self, entry: Entry) -> io::Result<()> {
        self.payload.clear();
        self.data.by_ref().take(u64::from(entry.length)).read_to_end(&mut self.payload)?;
        let end = behind(entry.payload_end(), &self.payload);
        let newline = end - entry.payload_end();
        let skipped = io::copy(&mut self.data.by_ref().take(newline), &mut io::sink())?;
        self.at.bytes = entry.payload_end() + skipped;
        self.at.records += 1;
        self.last_micros = entry.received_micros;
        self.index.write_all(&entry.encode())?;
        // Without its newline it is torn, and the next record would not be where its entry says.
        match entry.agrees_with(&self.payload) && skipped == newline {
            true => self.good = self.at,
            false => self.at.damaged += 1,
        }
        Ok(())
    }

    /// Makes entries for the lines up to `end`. A last one without a newline is torn, unless there is a record behind it.
    fn find_lines(&mut self, end: u64, record_behind: bool) -> io::Result<()> {
        while self.at.bytes < end {
            self.payload.clear();
            self.data.by_ref().take(end - self.at.bytes).read_until(b'\n', &mut self.payload)?;
            let whole = self.payload.last() == Some(&b'\n');
            if self.payload.is_empty() || (!whole && !record_behind) {
                break;
            }
            let line = self.payload.len() - usize::from(whole);
            let entry = Entry::of(self.at.bytes as u32, &self.payload[..line], 0, self.last_micros);
            self.index.write_all(&entry.encode())?;
            self.at.bytes += self.payload.len() as u64;
            self.at.records += 1;
            self.at.found += 1;
            self.good = self.at;
        }
        // Where the next entry says that its record is.
        self.data.seek(SeekFrom::Start(self.at.bytes)).map(drop)
    }

    fn finish(mut self) -> io::Result<Rebuilt> {
        let good = self.good;
        self.index.flush()?;
        let mut index = self.index.into_inner().map_err(io::IntoInnerError::into_error)?;
        let length = (good.records + 1) * ENTRY_BYTES as u64;
        index.set_len(length)?;
        index.seek(SeekFrom::Start(length))?;
        index.write_all(&Entry::end_mark(good.bytes as u32).encode())?;
        index.sync_data()?;
        Ok(Rebuilt { good, found: good.found, damaged: good.damaged })
    }
}
