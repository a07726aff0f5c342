//! The segment that is being written: its two files, how far they are written, and how far that is durable.

use std::io::{self, IoSlice};
use std::mem;
use std::time::Instant;

use super::directory::Directory;
use super::disk::NamedFile;
use super::fsync::Fsync;
use crate::store::index::{HEAD_BYTES, HEADER, Head, Runs};
use crate::store::name::{Kind, Packing, SegmentName};

/// How far a segment goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    pub bytes: u64,
    pub records: u64,
    index_bytes: u64,
}

/// Bytes that a record of `length` bytes takes in a segment of its own, with all that belongs to it.
pub fn alone_bytes(length: u64) -> u64 {
    Extent::EMPTY.with_mark() + length + 1 + Runs::RECORD_MOST as u64
}

impl Extent {
    pub const EMPTY: Self = Self { bytes: 0, records: 0, index_bytes: HEAD_BYTES as u64 };

    /// What a segment takes that goes so far and is finished.
    pub fn with_mark(self) -> u64 {
        self.all_bytes() + MARK_BYTES
    }

    fn all_bytes(self) -> u64 {
        self.bytes + self.index_bytes
    }
}

/// What somebody has deleted of a segment that is being written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// Its records, and maybe its index.
    Data,
    /// Its index alone.
    Index,
}

/// Bytes of the mark at the end of an index. They are promised to each segment from its beginning.
const MARK_BYTES: u64 = HEAD_BYTES as u64;

/// With syncs, the disk begins with each piece of so many bytes while the next is copied: without that all of a group
/// would be written by the sync, while the writer waits, and the copying would wait for the disk in turn.
const PIECE: usize = 1 << 20;
/// For less it is not told: the sync comes soon.
const PIECE_LEAST: usize = 64 << 10;

/// A segment that is being written.
pub struct Segment {
    pub name: SegmentName,
    /// When it was opened.
    pub since: Instant,
    data: NamedFile,
    index: NamedFile,
    written: Extent,
    synced: Extent,
    /// The disk was told to begin with everything before this, or has it.
    begun: Extent,
    /// An append has failed: behind `written` there may be anything, up to so many bytes.
    torn: Option<u64>,
    /// The disk may have what is torn: it comes back with a crash until the sync of its cut.
    torn_may_come_back: bool,
    policy: Fsync,
    /// A sync has failed. Another may succeed without what the kernel has forgotten since.
    sync_failed: bool,
}

impl Segment {
    /// Makes the two files. Where syncs will come, they are found again after a crash of the machine.
    pub fn open(directory: &Directory, kind: Kind, since: Instant, policy: Fsync) -> io::Result<Self> {
        let least = Extent::EMPTY.with_mark();
        directory.space.take(least)?;
        let opened = Self::make(directory, kind, since, policy);
        match &opened {
            Ok(segment) => {
                directory.space.landed(Extent::EMPTY.all_bytes());
                directory.numbers.segments_opened.add(1);
                log::debug!("{} begins", segment.name);
            }
            Err(_) => directory.space.withdraw(least),
        }
        opened
    }

    fn make(directory: &Directory, kind: Kind, since: Instant, policy: Fsync) -> io::Result<Self> {
        let name = directory.next_name(kind)?;
        let [data_name, index_name] = [name.data(Packing::Plain), name.index()];
        let make = || {
            let data = NamedFile::create(&*directory.disk, data_name.clone())?;
            let mut index = NamedFile::create(&*directory.disk, index_name.clone())?;
            index.write_all(&mut [IoSlice::new(&HEADER)])?;
            if policy != Fsync::Never {
                directory.disk.sync_names()?;
            }
            Ok((data, index))
        };
        match make() {
            Ok((data, index)) => {
                let [written, synced, begun] = [Extent::EMPTY; 3];
                let (torn, torn_may_come_back, sync_failed) = (None, false, false);
                Ok(Self {
                    name,
                    since,
                    data,
                    index,
                    written,
                    synced,
                    begun,
                    torn,
                    torn_may_come_back,
                    policy,
                    sync_failed,
                })
            }
            Err(error) => {
                // Whichever of them exists; what can't be removed is empty, and recovery removes it. What was there
                // before is somebody else's.
                if io::Error::kind(&error) != io::ErrorKind::AlreadyExists {
                    let _ = directory.disk.remove(&data_name);
                    let _ = directory.disk.remove(&index_name);
                }
                directory.closed(name);
                Err(error)
            }
        }
    }

    /// How far it is written.
    pub fn written(&self) -> Extent {
        self.written
    }

    /// Appends `records` whole records, `slices`, with their runs of the `index`. All of them or none: what a failed
    /// append has left is cut off by the next.
    ///
    /// The index comes first, here and with [`sync`](Self::sync): after a crash no whole record is without its entry,
    /// so what is cut off was torn.
    ///
    /// # Errors
    /// That one of the two files would have more than `most` bytes is known before anything is written.
    pub fn append(
        &mut self,
        directory: &Directory,
        slices: &mut [IoSlice<'_>],
        index: &[u8],
        records: u64,
        most: u64,
    ) -> io::Result<()> {
        self.mend(directory)?;
        let bytes: usize = slices.iter().map(|slice| slice.len()).sum();
        self.check_size(bytes as u64, index.len() as u64, most)?;
        let all = (bytes + index.len()) as u64;
        directory.space.take(all)?;
        self.torn = Some(all);
        if let Err(error) = self.write(slices, index) {
            // Now, if it can be: who looks for room then counts what is there, and not what is torn. Else the next does
            // it.
            let _ = self.mend(directory);
            return Err(error);
        }
        self.torn = None;
        directory.space.landed(all);
        self.written.bytes += bytes as u64;
        self.written.records += records;
        self.written.index_bytes += index.len() as u64;
        Ok(())
    }

    /// The mark at the end of the index has to find its place, too.
    fn check_size(&self, bytes: u64, index_bytes: u64, most: u64) -> io::Result<()> {
        let Extent { bytes: had, index_bytes: index_had, .. } = self.written;
        let (name, has) = match (had + bytes > most, index_had + index_bytes + MARK_BYTES > most) {
            (true, _) => (self.name.data(Packing::Plain), had + bytes),
            (false, true) => (self.name.index(), index_had + index_bytes + MARK_BYTES),
            (false, false) => return Ok(()),
        };
        let what = format!(
            "cannot write {name}: it would have {has} bytes, and a file may have {most} at most here: raise that limit \
             (ulimit -f)"
        );
        Err(io::Error::new(io::ErrorKind::FileTooLarge, what))
    }

    fn write(&mut self, slices: &mut [IoSlice<'_>], index: &[u8]) -> io::Result<()> {
        self.index.write_all(&mut [IoSlice::new(index)])?;
        if self.policy == Fsync::Never {
            return self.data.write_all(slices);
        }
        let bytes: usize = slices.iter().map(|slice| slice.len()).sum();
        if bytes >= PIECE_LEAST {
            // Before the pieces: the sync of another writer may make durable what the disk has of these files by then.
            // And with what smaller groups were left to a sync: an index with a hole would not go further than its
            // data.
            let end = self.written.index_bytes + index.len() as u64;
            self.index.begin_writeback(self.begun.index_bytes..end);
            self.begun.index_bytes = end;
        }
        self.write_behind(slices)
    }

    /// Writes piece by piece, so that the disk and the copying work at the same time.
    fn write_behind(&mut self, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        let mut end = self.written.bytes;
        while !slices.is_empty() {
            let (count, bytes) = piece(slices);
            let (now, later) = slices.split_at_mut(count);
            self.data.write_all(now)?;
            end += bytes as u64;
            if bytes >= PIECE_LEAST {
                self.data.begin_writeback(self.begun.bytes..end);
                self.begun.bytes = end;
            }
            slices = later;
        }
        Ok(())
    }

    /// Cuts off what a failed append has left.
    ///
    /// The next sync begins with the index, which may go less far than what is torn. So if the disk may have that
    /// already, because of a sync or because it was told to begin with it, the cut of the data is made durable first.
    /// This is tried once: a disk that does not sync is not waited for.
    pub fn mend(&mut self, directory: &Directory) -> io::Result<()> {
        if self.torn.is_none() {
            return Ok(());
        }
        // Kept until it is cut: that may fail.
        self.torn_may_come_back |= self.begun.bytes > self.written.bytes;
        self.cut_data(self.written)?;
        if mem::take(&mut self.torn_may_come_back) {
            self.data.sync().inspect_err(|_| {
                self.sync_failed = true;
                directory.numbers.syncs_failed.add(1);
            })?;
        }
        self.cut_index(self.written, directory)
    }

    /// True if something is not durable.
    pub fn is_dirty(&self) -> bool {
        self.written != self.synced
    }

    /// Makes durable what was written.
    ///
    /// The index comes first. A crash of the machine between the two then leaves one that goes further than its data,
    /// which recovery cuts where it lies. Of records without their entries it would know neither where they end nor
    /// whose they are, and the new index would have to find its place on the disk. So the data do not follow an index
    /// that was not synced, if they are written once more elsewhere. If they are not, records alone are better than
    /// none: nobody else forces them to disk.
    pub fn sync(&mut self) -> io::Result<()> {
        self.torn_may_come_back |= self.torn.is_some();
        let index = self.index.sync();
        let data = if index.is_ok() || self.policy != Fsync::Batch { self.data.sync() } else { Ok(()) };
        self.note_sync(index.and(data))
    }

    /// Makes durable that both files were cut. The data come first, for the same reason.
    pub fn sync_cut(&mut self) -> io::Result<()> {
        let synced = self.data.sync().and_then(|()| self.index.sync());
        self.note_sync(synced)
    }

    fn note_sync(&mut self, synced: io::Result<()>) -> io::Result<()> {
        match synced {
            Ok(()) => [self.synced, self.begun] = [self.written; 2],
            Err(_) => self.sync_failed = true,
        }
        synced
    }

    /// What somebody has deleted of it.
    pub fn deleted(&self) -> io::Result<Option<Deleted>> {
        Ok(match (self.data.is_deleted()?, self.index.is_deleted()?) {
            (true, _) => Some(Deleted::Data),
            (false, true) => Some(Deleted::Index),
            (false, false) => None,
        })
    }

    /// How far it is durable.
    pub fn synced(&self) -> Extent {
        self.synced
    }

    /// What is behind `safe` is going to be written once more, elsewhere.
    pub fn lower_synced_to(&mut self, safe: Extent) {
        self.synced = safe;
    }

    /// Takes back what is not durable. Nothing may be told about the kernel's copy of it any more.
    pub fn cut_to_synced(&mut self, directory: &Directory) -> io::Result<()> {
        let _deleting = directory.deletes();
        self.cut_data(self.synced)?;
        self.cut_index(self.synced, directory)?;
        directory.space.give_back(self.written.all_bytes() - self.synced.all_bytes());
        self.written = self.synced;
        Ok(())
    }

    /// Closes it for good, when nothing in it is torn. A segment without records is removed.
    pub fn finish(mut self, directory: &Directory) {
        let is_empty = self.written.records == 0;
        // With syncs that are told to nobody, nobody has looked since the last group.
        match self.deleted().unwrap_or(None) {
            Some(Deleted::Data) => return self.forget(directory),
            Some(Deleted::Index) if is_empty => {
                log::warn!("{}: its index was deleted before anything in it was safe; a new segment begins", self.name);
                directory.numbers.segments_deleted.add(1);
                return self.remove(directory);
            }
            Some(Deleted::Index) => return self.leave(directory),
            None if is_empty => return self.remove(directory),
            None => {}
        }
        // Without it the segment is as good. It is not packed, and recovery will look at it once more.
        if let Err(error) = self.mark(directory) {
            directory.space.withdraw(MARK_BYTES);
            log::warn!("{}: the mark at the end of its index was not written: {error}", self.name);
        }
        directory.numbers.segments_finished.add(1);
        log::debug!("{}: finished with {} records, {} bytes", self.name, self.written.records, self.written.bytes);
        directory.closed(self.name);
    }

    fn mark(&mut self, directory: &Directory) -> io::Result<()> {
        if self.sync_failed {
            return Err(io::Error::other("a sync has failed, so it may not be as it was written"));
        }
        let mark = Head::end_mark(self.written.bytes as u32, self.written.records).encode();
        let marked = self.index.write_all(&mut [IoSlice::new(&mark)]);
        match marked {
            Ok(()) => directory.space.landed(MARK_BYTES),
            Err(_) => self.index.cut(self.written.index_bytes)?,
        }
        marked
    }

    fn remove(self, directory: &Directory) {
        let _deleting = directory.deletes();
        for file in [self.name.data(Packing::Plain), self.name.index()] {
            match directory.disk.remove(&file) {
                // Somebody else has deleted it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => log::warn!("an empty segment stays: {error}"),
                Ok(()) => {}
            }
        }
        self.give_up(directory);
    }

    /// Somebody has deleted its data while it was being written. An index without data goes, too; data that is there
    /// under that name is not what was written here, and somebody else's.
    pub fn forget(self, directory: &Directory) {
        let records = self.written.records;
        log::warn!("{}, {records} records, was deleted while it was being written; a new segment begins", self.name);
        directory.numbers.segments_deleted.add(1);
        let _deleting = directory.deletes();
        if !directory.path.join(self.name.data(Packing::Plain)).exists() {
            let _ = directory.disk.remove(&self.name.index());
        }
        self.give_up(directory);
    }

    /// Closes it without its index, which somebody has deleted. Its records stay; the next start makes the index anew.
    fn leave(self, directory: &Directory) {
        let records = self.written.records;
        log::warn!("{}: its index was deleted; its {records} records stay, and the next start finds them", self.name);
        directory.numbers.segments_deleted.add(1);
        let _deleting = directory.deletes();
        self.give_up(directory);
    }

    /// Counts what is left, if anything: what somebody has deleted, another count may have missed already.
    fn give_up(self, directory: &Directory) {
        directory.space.withdraw(MARK_BYTES + self.torn.unwrap_or(0));
        directory.recount();
        directory.closed(self.name);
    }

    /// The data come first: wherever the agent ends, the index goes further.
    fn cut_data(&mut self, to: Extent) -> io::Result<()> {
        self.begun.bytes = self.begun.bytes.min(to.bytes);
        self.data.cut(to.bytes)
    }

    fn cut_index(&mut self, to: Extent, directory: &Directory) -> io::Result<()> {
        self.begun.index_bytes = self.begun.index_bytes.min(to.index_bytes);
        self.index.cut(to.index_bytes)?;
        directory.space.withdraw(self.torn.take().unwrap_or(0));
        Ok(())
    }
}

/// How many slices are one piece, at least one, and their bytes.
fn piece(slices: &[IoSlice<'_>]) -> (usize, usize) {
    let mut bytes = slices[0].len();
    let rest = slices[1..].iter().take_while(|slice| {
        let fits = bytes + slice.len() <= PIECE;
        bytes += if fits { slice.len() } else { 0 };
        fits
    });
    (1 + rest.count(), bytes)
}
