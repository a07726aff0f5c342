//! What a crash has left: torn records are cut off, and each segment is finished.
//!
//! An index is written before its records, and synced before them. So after a crash of the agent, and mostly after one
//! of the machine, the last entries may be without their records, and the last record may be torn: both are cut off, in
//! place, because the disk may be full. What else is wrong (a damaged, shortened or missing index, or that of another
//! segment) is no crash of the agent. Then nothing that is there is thrown away: records without an entry that can be
//! believed are found again by their newlines (`store::rebuild`), and belong to connection 0. A segment that has bytes
//! and not one whole record stays, with an index that says so.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::compress;
use super::directory::bytes_of;
use super::disk::{is_full, is_too_large};
use super::numbering::{NUMBER_MOST, parse_state};
use crate::store::STATE_FILE;
use crate::store::cut::Cut;
use crate::store::index::{ENTRY_BYTES, HEAD_BYTES, Head, PAYLOAD_MAX, RUN_MAX};
use crate::store::listing::{Listed, each_segment, is_alone};
use crate::store::name::{Packing, SegmentName};
use crate::store::reader::{End, SegmentReader};
use crate::store::rebuild::{Rebuild, Rebuilt};

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
    recover_lines(directory, PAYLOAD_MAX)
}

/// The same. What is found again by its newlines is taken for records of `line_max` bytes at most.
pub fn recover_lines(directory: &Path, line_max: usize) -> io::Result<Recovered> {
    let mut recovered = Recovered::default();
    (recovered.number, recovered.opened) = remembered(directory)?;
    remove_leftovers(directory)?;
    // Changing a directory while it is listed may show a file twice; looking twice at a segment does no harm.
    let mut failed = Ok(());
    each_segment(directory, |Listed { name, packing }| {
        if name.number > NUMBER_MOST {
            let what = "its number leaves none for those behind it";
            failed = Err(cannot_recover(&directory.join(name.data(packing)), &io::Error::other(what)));
        }
        recovered.number = recovered.number.max(name.number);
        recovered.opened = recovered.opened.max(name.opened);
    })?;
    failed?;
    let mut failed = Ok(());
    each_segment(directory, |segment| {
        if failed.is_ok() && segment.packing == Packing::Plain {
            let done = recover_segment(directory, segment.name, line_max, &mut recovered);
            failed = done.map_err(|error| cannot_recover(&directory.join(segment.name.data(Packing::Plain)), &error));
        }
    })?;
    failed?;
    recovered.bytes = bytes_of(directory)?;
    Ok(recovered)
}

/// Number and time of the newest segment, as the state file has them; zeros, if it does not.
///
/// # Errors
/// The file is there and cannot be read. Without it the numbers of segments that are gone would be used again.
fn remembered(directory: &Path) -> io::Result<(u64, u64)> {
    let path = directory.join(STATE_FILE);
    let state = match fs::read_to_string(&path) {
        Ok(state) => parse_state(&state),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((0, 0)),
        // It is no text.
        Err(error) if error.kind() == io::ErrorKind::InvalidData => None,
        Err(error) => return Err(cannot_recover(&path, &error)),
    };
    Ok(state.unwrap_or_else(|| {
        let path = path.display();
        log::warn!(
            "{path} is not believed: it has no number and time of a segment; numbers go on behind the newest segment \
             that is there"
        );
        (0, 0)
    }))
}

fn cannot_recover(file: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot recover {}: {error}; repair it, or move it away", file.display()))
}

/// Files that were being made when the agent ended: packed segments, indexes. Plain segments that are packed already.
/// And indexes whose segments are gone: nobody else would look at them, and they take room.
fn remove_leftovers(directory: &Path) -> io::Result<()> {
    for file in fs::read_dir(directory)? {
        let file = file?;
        let name = file.file_name();
        let Some(name) = name.to_str() else { continue };
        let unfinished = name
            .strip_suffix(compress::UNFINISHED)
            .is_some_and(|whole| SegmentName::owns(whole) || whole == STATE_FILE);
        let packed = SegmentName::parse_data(name).filter(|(_, packing)| *packing != Packing::Plain);
        if unfinished {
            remove(&file.path())?;
        } else if let Some((segment, packing)) = packed {
            let plain = directory.join(segment.data(Packing::Plain));
            if !plain.exists() {
                continue;
            }
            let stays = packed_stays(directory, segment, packing).map_err(|error| cannot_recover(&plain, &error))?;
            if stays {
                // It may have been made, or have got its name, a moment before the agent ended.
                File::open(file.path())?.sync_all()?;
                File::open(directory)?.sync_all()?;
                remove(&plain)?;
            } else {
                log::warn!("{name} does not have all that {segment} is to have, and is removed: there is a plain one");
                remove(&file.path())?;
            }
        } else if SegmentName::parse_index(name).is_some_and(|segment| is_alone(directory, segment)) {
            log::info!("{name} is removed: its segment is not there any more");
            if let Err(error) = remove(&file.path()) {
                log::warn!("an index without a segment stays: {error}");
            }
        }
    }
    Ok(())
}

/// True if of a segment that is there twice the packed one stays: it ends where the index says, and no fewer of its
/// records are those that were received. It was durable before the plain one was to go, which may never have been.
///
/// One that was not finished is set right here, which nobody can do with a packed one.
///
/// # Errors
/// The plain one cannot be read: so nobody knows what is in it. Or the packed one is damaged and has more all the same.
fn packed_stays(directory: &Path, name: SegmentName, packing: Packing) -> io::Result<bool> {
    if let Ok((packed, End::Whole)) = intact(directory, name, packing) {
        return Ok(intact(directory, name, Packing::Plain)?.0 <= packed);
    }
    let plain = io::copy(&mut File::open(directory.join(name.data(Packing::Plain)))?, &mut io::sink())?;
    let mut packed = compress::unpack(&directory.join(name.data(packing)), packing)?;
    // As far as it can be read: this ends with an error where it cannot.
    let has_more = io::copy(&mut packed.by_ref().take(plain), &mut io::sink()).is_ok_and(|bytes| bytes == plain)
        && packed.read(&mut [0]).is_ok_and(|more| more > 0);
    if has_more {
        let what = format!("{} is damaged, and has more: keep one of the two", name.data(packing));
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    Ok(false)
}

/// How many records of a segment are those that were received, and how it ends.
fn intact(directory: &Path, name: SegmentName, packing: Packing) -> io::Result<(u64, End)> {
    let data = compress::unpack(&directory.join(name.data(packing)), packing)?;
    let mut reader = SegmentReader::with(data, File::open(directory.join(name.index()))?, packing);
    let records = reader.count_intact()?;
    // The checksum of a packed one is read behind its last record.
    Ok((records, reader.end()?))
}

/// A segment that is not finished, and how many bytes its data have.
struct Unfinished<'d> {
    directory: &'d Path,
    name: SegmentName,
    data: &'d File,
    bytes: u64,
}

impl Unfinished<'_> {
    fn data_path(&self) -> PathBuf {
        self.directory.join(self.name.data(Packing::Plain))
    }

    fn index_path(&self) -> PathBuf {
        self.directory.join(self.name.index())
    }

    /// Where a new index is made.
    fn new_path(&self) -> PathBuf {
        self.directory.join(format!("{}{}", self.name.index(), compress::UNFINISHED))
    }
}

fn recover_segment(directory: &Path, name: SegmentName, line_max: usize, recovered: &mut Recovered) -> io::Result<()> {
    let data_path = directory.join(name.data(Packing::Plain));
    let index_path = directory.join(name.index());
    let data = match OpenOptions::new().read(true).write(true).open(&data_path) {
        // Somebody was faster, or it is a link that leads nowhere.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            log::warn!("{name} is not looked at: {} is not there", data_path.display());
            return Ok(());
        }
        opened => opened?,
    };
    let bytes = data.metadata()?.len();
    let index = match File::open(&index_path) {
        Ok(index) => Some(index),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let finished = index.as_ref().map_or(Ok(None), finished_bytes)?;
    if finished == Some(bytes) {
        return Ok(());
    }
    recovered.unfinished += 1;
    if bytes == 0 {
        return remove_segment(&data_path, &index_path);
    }
    let segment = Unfinished { directory, name, data: &data, bytes };
    if finished.is_none()
        && let Some(index) = &index
        && let Some(cut) = Cut::find(&data, bytes, index)?
    {
        say_cut(name, bytes - cut.bytes, cut.records);
        recovered.bytes_cut += bytes - cut.bytes;
        return leave_for_want_of_space(name, cut_in_place(&data, &index_path, &cut));
    }
    let rebuilt = rebuild(&segment, index, finished.is_some(), line_max, recovered);
    if rebuilt.is_err() {
        // It takes space that others need.
        let _ = fs::remove_file(segment.new_path());
    }
    leave_for_want_of_space(name, rebuilt)
}

/// Where there is no space for an index, the segment stays as it is. It is read as far as its index goes, is never
/// packed, and may be deleted to make room; the agent starts, and the next start tries again.
fn leave_for_want_of_space(name: SegmentName, recovered: io::Result<()>) -> io::Result<()> {
    match recovered {
        Err(error) if is_full(&error) || is_too_large(&error) => {
            log::warn!("{name} stays unfinished until the next start: its index cannot be written: {error}");
            Ok(())
        }
        recovered => recovered,
    }
}

/// Makes the index anew.
fn rebuild(
    segment: &Unfinished<'_>,
    index: Option<File>,
    finished: bool,
    line_max: usize,
    recovered: &mut Recovered,
) -> io::Result<()> {
    let &Unfinished { directory, name, data, bytes } = segment;
    let new_path = segment.new_path();
    let index = index.map(|mut index| index.rewind().map(|()| index)).transpose()?;
    let mut rebuild = Rebuild::new(data, bytes, File::create(&new_path)?, name.opened * 1_000_000, line_max)?;
    rebuild.walk(index, finished)?;
    let Rebuilt { bytes: good, records, found, damaged } = rebuild.finish()?;
    let cut = bytes - good;
    recovered.records_found += found;
    recovered.records_damaged += damaged;
    recovered.bytes_cut += cut;
    say_cut(name, cut, records);
    if found > 0 {
        log::warn!("{name}: {found} records had no sound entry in its index, and were found again by their newlines");
    }
    if damaged > 0 {
        log::error!("{name}: {damaged} records are not those that were received");
    }
    if records == 0 && bytes > 0 {
        log::warn!("{name}: none of its {bytes} bytes are a whole record; they stay as they are");
    } else if records == 0 {
        fs::remove_file(&new_path)?;
        return remove_segment(&segment.data_path(), &segment.index_path());
    }
    data.set_len(good)?;
    data.sync_data()?;
    fs::rename(&new_path, segment.index_path())?;
    File::open(directory)?.sync_all()
}

fn remove_segment(data: &Path, index: &Path) -> io::Result<()> {
    remove(data)?;
    remove(index)
}

/// Deletes a file, unless somebody was faster.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => {
            removed.map_err(|error| io::Error::new(error.kind(), format!("cannot delete {}: {error}", path.display())))
        }
    }
}

fn say_cut(name: SegmentName, cut: u64, records: u64) {
    if cut > 0 {
        log::warn!("{name}: {cut} bytes of torn records were cut off; it has {records} records");
    }
}

/// Ends both files where the good part does. That takes no space, but for the mark: without it the segment is as good,
/// and the next start looks at it once more. (A limit on the size of files holds for what is written in place, too, and
/// a disk that copies what it changes needs space for it: then only the data are cut.)
fn cut_in_place(data: &File, index_path: &Path, cut: &Cut) -> io::Result<()> {
    data.set_len(cut.bytes)?;
    data.sync_data()?;
    let index = OpenOptions::new().write(true).open(index_path)?;
    let end = cut.index_bytes + cut.run.len() as u64;
    index.write_all_at(&cut.run, cut.index_bytes)?;
    index.set_len(end)?;
    let mark = Head::end_mark(cut.bytes as u32, cut.records).encode();
    match index.write_all_at(&mark, end) {
        Err(error) if is_full(&error) || is_too_large(&error) => {
            index.set_len(end)?;
            log::warn!("{}: the mark at its end was not written: {error}", index_path.display());
        }
        marked => marked?,
    }
    index.sync_data()
}

/// True if the index of a plain segment says that it was finished as it is.
pub fn is_marked(directory: &Path, name: SegmentName) -> io::Result<bool> {
    let index = File::open(directory.join(name.index()))?;
    let plain = fs::metadata(directory.join(name.data(Packing::Plain)))?;
    Ok(finished_bytes(&index)? == Some(plain.len()))
}

/// With how many bytes the segment was finished, if the mark at the end of its index says that it was.
///
/// Entries are made of what a sender has sent, so four of them may look like a mark, or like the head of a run. A mark
/// that may lie within a run is believed only after a walk over all runs from the front.
fn finished_bytes(index: &File) -> io::Result<Option<u64>> {
    let length = index.metadata()?.len();
    let head_bytes = HEAD_BYTES as u64;
    if length < 2 * head_bytes || length % ENTRY_BYTES as u64 != 0 {
        return Ok(None);
    }
    let mark_at = length - head_bytes;
    // As far back as a run goes.
    let from = mark_at.saturating_sub((HEAD_BYTES + RUN_MAX * ENTRY_BYTES) as u64).max(head_bytes);
    let mut tail = vec![0; (length - from) as usize];
    index.read_exact_at(&mut tail, from)?;
    let mark = tail.last_chunk().and_then(Head::decode_repaired);
    let Some((finished, _)) = mark.and_then(|mark| mark.as_end_mark()) else { return Ok(None) };
    let mut heads = tail.windows(HEAD_BYTES).step_by(ENTRY_BYTES).zip((from..mark_at).step_by(ENTRY_BYTES));
    let may_be_within = heads.any(|(bytes, at)| {
        let head = bytes.first_chunk().and_then(Head::decode);
        head.is_some_and(|head| at + run_bytes(&head) > mark_at)
    });
    Ok((!may_be_within || runs_end_at(index, mark_at)?).then_some(finished))
}

fn run_bytes(head: &Head) -> u64 {
    (HEAD_BYTES + head.entries_bytes()) as u64
}

/// True if run follows run from the front of an index, and the last of them ends at `end`.
fn runs_end_at(index: &File, end: u64) -> io::Result<bool> {
    let mut at = HEAD_BYTES as u64;
    while at < end {
        let mut bytes = [0; HEAD_BYTES];
        index.read_exact_at(&mut bytes, at)?;
        let head = Head::decode_repaired(&bytes).filter(|head| head.as_end_mark().is_none());
        let Some(head) = head else { return Ok(false) };
        at += run_bytes(&head);
    }
    Ok(at == end)
}
