//! The records of a group that go into one kind of segment: how far they are written, and how far that is durable.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::io;
use std::time::Instant;

use sluicegate::flow::RunPlace;

use super::directory::Directory;
use super::disk::{is_full, is_too_large};
use super::fsync::Fsync;
use super::gather::{Cursor, Gathered, Limits, gather};
use super::segment::{Deleted, Extent, Segment};
use super::tag::{Head, LogBatch};
use crate::store::index::Runs;
use crate::store::name::Kind;

/// Bytes of an index that are written at once: of some 15,000 records of one sender.
pub const INDEX_BYTES: usize = 128 << 10;
/// Bytes of records that are appended at once, unless a single record has more. On a slow disk the end of the agent
/// waits for one append.
const APPEND_MOST: u64 = 4 << 20;

/// How a lane is to write.
#[derive(Clone, Copy)]
pub struct Way<'w> {
    /// On a full disk a failed append is halved and tried again, down to one record. Otherwise the error is returned,
    /// and the writer makes room.
    pub in_parts: bool,
    /// True once the lane has to stop. Asked before each append.
    pub is_over: &'w dyn Fn() -> bool,
}

/// A lane was to stop, and nothing is wrong with the disk. An error of the disk may have the same kind.
#[derive(Debug)]
pub struct TimeIsOver;

impl TimeIsOver {
    /// True if `error` says that, and nothing else.
    pub fn is(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|error| error.is::<Self>())
    }
}

impl fmt::Display for TimeIsOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the time for it is over")
    }
}

impl Error for TimeIsOver {}

/// Writes the records of one kind.
pub struct Lane {
    kind: Kind,
    policy: Fsync,
    segment: Option<Segment>,
    /// A write or a sync of it has failed. What is torn or not durable has to be cut off before anything else is
    /// written.
    condemned: Option<Segment>,
    /// Everything before this is written.
    next: Cursor,
    /// Everything before this is written for good, as the policy has it.
    safe: Cursor,
    /// Where the segment begins; the front of the group, if it has records that are not in the group any more.
    began: Cursor,
    runs: Runs,
    /// The most bytes that are appended at once, unless a single record has more: less than usual after a whole new
    /// file, the share of a segment, or what is left of a full disk was too small. It grows again with each append that
    /// succeeds, because the limit of a file may be raised at any time, and a disk may get space.
    append_most: u64,
    /// Appends behind `safe`.
    pending: u64,
    /// Appends before `safe`: what is only written may have to be written once more, as often as its sync fails.
    settled: u64,
    /// Bytes that the pending appends have taken.
    pending_bytes: u64,
    /// Bytes that the last append or sync wanted which has failed.
    wanted: u64,
    /// Why the last sync has failed, if what it was to make durable is not written once more.
    unsynced: Option<io::Error>,
}

impl Lane {
    pub fn new(kind: Kind, policy: Fsync) -> Self {
        let [next, safe, began] = [Cursor::default(); 3];
        let runs = Runs::with_capacity(INDEX_BYTES);
        let (append_most, pending, settled, pending_bytes, wanted) = (u64::MAX, 0, 0, 0, 0);
        Self {
            kind,
            policy,
            segment: None,
            condemned: None,
            next,
            safe,
            began,
            runs,
            append_most,
            pending,
            settled,
            pending_bytes,
            wanted,
            unsynced: None,
        }
    }

    /// Writes the records of `group` that are not written yet and that are of its kind. After an error it can be called
    /// again, and goes on where it stood.
    ///
    /// # Errors
    /// [`TimeIsOver`], if it had to stop before all was written. A full disk is an error as soon as an append finds no
    /// space; in parts, once the append of a single record finds none.
    pub fn write(
        &mut self,
        directory: &Directory,
        group: &VecDeque<LogBatch>,
        now: Instant,
        way: Way<'_>,
    ) -> io::Result<()> {
        self.skip_others(group);
        // What it has passed over does not wait for the sync of a segment that has none of it.
        self.settle();
        self.cut_condemned(directory)?;
        if !group.is_empty() {
            self.notice_deleted(directory, group, None)?;
        }
        loop {
            let from = self.segment.as_ref().map_or(0, |segment| segment.written().bytes);
            let file_most = directory.disk.file_most();
            let most = directory.rotation.bytes.min(u64::from(u32::MAX)).min(file_most);
            let limits = Limits { most, at_once: self.append_most.min(APPEND_MOST) };
            let gathered = gather(&mut self.runs, group, self.next, self.kind, from, limits, directory.start);
            if gathered.records == 0 && gathered.end.batch >= group.len() {
                self.next = gathered.end;
                self.settle();
                return Ok(());
            }
            if (way.is_over)() {
                return Err(io::Error::new(io::ErrorKind::TimedOut, TimeIsOver));
            }
            if gathered.records == 0 {
                self.next = gathered.end;
                self.rotate(directory, group)?;
                continue;
            }
            if self.exceeds_share(directory, &gathered) {
                if self.has_records() {
                    self.rotate(directory, group)?
                } else {
                    self.halve(gathered.bytes)
                }
                continue;
            }
            self.wanted = gathered.bytes + self.runs.bytes().len() as u64;
            if self.segment.is_none() {
                self.wanted += Extent::EMPTY.with_mark();
                self.segment = Some(Segment::open(directory, self.kind, now, self.policy)?);
                self.began = self.next;
            }
            let (end, records, bytes) = (gathered.end, gathered.records, gathered.bytes);
            match self.append(directory, group, gathered, file_most) {
                Err(error) if is_too_large(&error) => self.make_it_fit(directory, group, error, records, bytes)?,
                Err(error) if is_full(&error) && way.in_parts && records > 1 => self.halve(bytes),
                done => {
                    done?;
                    // From what was written: one record may be more than the most, and those behind it are as large.
                    self.append_most = self.append_most.max(bytes).saturating_mul(2);
                    self.next = end;
                    self.settle();
                }
            }
        }
    }

    /// Goes on behind what is not of its kind: that does not wait until this lane can write.
    fn skip_others(&mut self, group: &VecDeque<LogBatch>) {
        while let Some(batch) = group.get(self.next.batch) {
            for run in batch.runs(self.next.run) {
                if self.is_for(&Head::decode(run.head)) {
                    return;
                }
                self.next.run = run.end();
            }
            self.next = Cursor { batch: self.next.batch + 1, ..Cursor::default() };
        }
    }

    /// True if its segment may not take what was `gathered`, and the index of that in `runs`. A single record is never
    /// too much where there is nothing else.
    fn exceeds_share(&mut self, directory: &Directory, gathered: &Gathered<'_>) -> bool {
        let had = self.segment.as_ref().map_or(Extent::EMPTY, Segment::written);
        let is_alone = had.records == 0 && gathered.records == 1;
        !is_alone && had.with_mark() + gathered.bytes + self.runs.bytes().len() as u64 > directory.rotation.share
    }

    /// After an append of `records`, together `bytes`, has failed because the file would be larger than one may be
    /// (`ulimit -f`), prepares for another try:
    ///
    /// - The segment has records: it is finished, and the next append begins a new one.
    /// - It has none, and this was more than one record: the next append has half as many bytes at most.
    /// - It has none, and this was a single record: no file may hold it. The `error` is returned, and the writer tries
    ///   again later, as on a full disk.
    fn make_it_fit(
        &mut self,
        directory: &Directory,
        group: &VecDeque<LogBatch>,
        error: io::Error,
        records: u64,
        bytes: u64,
    ) -> io::Result<()> {
        if self.has_records() {
            return self.rotate(directory, group);
        }
        if records == 1 {
            return Err(error);
        }
        self.halve(bytes);
        Ok(())
    }

    /// `bytes` were too many: the next append has half as many at most.
    fn halve(&mut self, bytes: u64) {
        self.append_most = bytes / 2;
    }

    fn append(
        &mut self,
        directory: &Directory,
        group: &VecDeque<LogBatch>,
        mut gathered: Gathered<'_>,
        file_most: u64,
    ) -> io::Result<()> {
        let Some(segment) = &mut self.segment else { return Ok(()) };
        let index = self.runs.bytes();
        match segment.append(directory, &mut gathered.slices, index, gathered.records, file_most) {
            Ok(()) => {
                self.pending += 1;
                self.pending_bytes += std::mem::take(&mut self.wanted);
                directory.numbers.records_written.add(gathered.records);
                directory.numbers.bytes_written.add(gathered.bytes + index.len() as u64);
                Ok(())
            }
            // There will be space again, and the segment is as good as before.
            Err(error) if is_full(&error) || is_too_large(&error) => Err(error),
            Err(error) => {
                self.write_failed(directory, group, &error);
                Err(error)
            }
        }
    }

    /// Something is broken, and maybe only where this segment lies: it gets nothing more. What is not safe in it is
    /// written to a new one.
    fn write_failed(&mut self, directory: &Directory, group: &VecDeque<LogBatch>, error: &io::Error) {
        let Some(segment) = self.segment.take() else { return };
        log::error!("{error}; a new segment begins");
        self.go_back(directory, group);
        self.condemned = Some(segment);
    }

    /// What is behind `safe` is written once more.
    fn go_back(&mut self, directory: &Directory, group: &VecDeque<LogBatch>) {
        let again = self.records_behind(group, self.safe) - self.records_behind(group, self.next);
        directory.numbers.records_rewritten.add(again as u64);
        self.next = self.safe;
        (self.pending, self.pending_bytes) = (0, 0);
    }

    /// Where nothing is promised about syncs, what is written is written for good.
    fn settle(&mut self) {
        if self.policy != Fsync::Batch {
            self.all_is_safe();
        }
    }

    fn all_is_safe(&mut self) {
        self.safe = self.next;
        self.settled += std::mem::take(&mut self.pending);
        self.pending_bytes = 0;
    }

    /// Bytes that the last append or sync wanted which has failed; 0, if one behind it has succeeded.
    pub fn wanted(&self) -> u64 {
        self.wanted
    }

    /// Appends whose records are as safe as the policy wants it.
    pub fn settled(&self) -> u64 {
        self.settled
    }

    /// Why the last sync has failed, if a crash of the machine may take what it was to make durable.
    pub fn unsynced(&mut self) -> Option<io::Error> {
        self.unsynced.take()
    }

    /// True if something is not durable.
    pub fn is_dirty(&self) -> bool {
        self.segment.as_ref().is_some_and(Segment::is_dirty)
    }

    /// Makes durable what was written. False if it has to be written once more, because somebody has deleted it: also
    /// what was durable already, as long as nobody was told of it.
    pub fn sync(&mut self, directory: &Directory, group: &VecDeque<LogBatch>) -> io::Result<bool> {
        let Some(segment) = self.segment.as_mut().filter(|segment| segment.is_dirty()) else {
            if self.policy == Fsync::Batch && self.notice_deleted(directory, group, None)? {
                return Ok(false);
            }
            self.all_is_safe();
            return Ok(true);
        };
        let (began, safe) = (Instant::now(), segment.synced());
        match segment.sync() {
            Ok(()) => {
                directory.numbers.synced(began.elapsed());
                self.unsynced = None;
            }
            Err(error) => return self.sync_failed(directory, group, error).map(|()| true),
        }
        if self.policy == Fsync::Batch && self.notice_deleted(directory, group, Some(safe))? {
            return Ok(false);
        }
        self.all_is_safe();
        Ok(true)
    }

    /// After a failed sync the kernel may have forgotten what it had, and a second sync may succeed without it. So this
    /// segment gets nothing more. What is still held is written to a new one; before that it is cut off here, or it
    /// might be there twice.
    fn sync_failed(&mut self, directory: &Directory, group: &VecDeque<LogBatch>, error: io::Error) -> io::Result<()> {
        directory.numbers.syncs_failed.add(1);
        let Some(mut segment) = self.segment.take() else { return Err(error) };
        if self.policy == Fsync::Batch {
            self.wanted = self.pending_bytes;
            self.go_back(directory, group);
            self.condemned = Some(segment);
            return Err(error);
        }
        log::error!("{error}; what it has may not be durable, and a new segment begins");
        self.unsynced = Some(error);
        if let Err(error) = segment.mend(directory) {
            self.condemned = Some(segment);
            return Err(error);
        }
        segment.finish(directory);
        Ok(())
    }

    fn cut_condemned(&mut self, directory: &Directory) -> io::Result<()> {
        if let Some(segment) = &mut self.condemned {
            match self.policy {
                Fsync::Batch => segment.cut_to_synced(directory)?,
                Fsync::Never | Fsync::Interval(_) => segment.mend(directory)?,
            }
            let synced = match self.policy {
                // What is cut off is written once more. It would be there twice if a crash of the machine undid this.
                Fsync::Batch => segment.sync_cut(),
                Fsync::Interval(_) if segment.is_dirty() => segment.sync(),
                Fsync::Interval(_) | Fsync::Never => Ok(()),
            };
            if let Err(error) = synced {
                directory.numbers.syncs_failed.add(1);
                log::error!("{error}; a crash of the machine may take what it has, or bring back what was cut off");
                if self.policy != Fsync::Batch {
                    self.unsynced = Some(error);
                }
            }
        }
        if let Some(segment) = self.condemned.take() {
            segment.finish(directory);
        }
        Ok(())
    }

    /// True if the segment has been deleted, or its index: what is behind `safe` is written to the next. Without an
    /// index the segment gets nothing more, and keeps what is safe in it. Where senders are told, what was in a segment
    /// that is gone is written once more, as far as it is still held: nobody was told of it.
    fn notice_deleted(
        &mut self,
        directory: &Directory,
        group: &VecDeque<LogBatch>,
        safe: Option<Extent>,
    ) -> io::Result<bool> {
        let Some(deleted) = self.segment.as_ref().map_or(Ok(None), Segment::deleted)? else { return Ok(false) };
        let Some(mut segment) = self.segment.take() else { return Ok(false) };
        if deleted == Deleted::Data && self.policy == Fsync::Batch {
            self.safe = self.began;
        }
        self.go_back(directory, group);
        match deleted {
            Deleted::Data => segment.forget(directory),
            Deleted::Index => {
                segment.lower_synced_to(safe.unwrap_or(segment.synced()));
                self.condemned = Some(segment);
                self.cut_condemned(directory)?;
            }
        }
        Ok(true)
    }

    /// Finishes the segment. One that is torn and cannot be cut stays open: what is torn is still held, and would be
    /// there twice.
    pub fn rotate(&mut self, directory: &Directory, group: &VecDeque<LogBatch>) -> io::Result<()> {
        if let Some(segment) = &mut self.segment {
            segment.mend(directory)?;
        }
        if self.policy != Fsync::Never && !self.sync(directory, group)? {
            return Ok(());
        }
        if let Some(segment) = self.segment.take() {
            segment.finish(directory);
        }
        Ok(())
    }

    /// Finishes what it has, at the end: nobody tries again. A segment that is torn and cannot be cut is left to the
    /// next start. What is whole in it is made durable all the same: with an interval it is not held any more.
    pub fn close(&mut self, directory: &Directory, group: &VecDeque<LogBatch>) -> io::Result<()> {
        let rotated = self.rotate(directory, group);
        if self.policy == Fsync::Batch {
            // What is not durable in a condemned one is held, and counts as lost. That it may be there is no reason to
            // cut it off.
            return rotated;
        }
        let closed = rotated.and(self.cut_condemned(directory));
        let torn = self.condemned.as_mut().or(self.segment.as_mut()).filter(|segment| segment.is_dirty());
        if let Some(segment) = torn.filter(|_| self.policy != Fsync::Never)
            && let Err(error) = segment.sync()
        {
            directory.numbers.syncs_failed.add(1);
            self.unsynced = Some(error);
        }
        closed
    }

    /// True if its segment has records.
    pub fn has_records(&self) -> bool {
        self.segment.as_ref().is_some_and(|segment| segment.written().records > 0)
    }

    /// When its segment will be too old.
    pub fn rotation_due(&self, directory: &Directory) -> Option<Instant> {
        Some(self.segment.as_ref()?.since + directory.rotation.age?)
    }

    /// Everything before this needs no block any more.
    fn safe(&self) -> Cursor {
        if self.is_dirty() { self.safe } else { self.next }
    }

    /// How many batches at the front of the group have no record that is not safe.
    pub fn safe_batches(&self) -> usize {
        self.safe().batch
    }

    /// So many batches have left the group at its front.
    pub fn drop_front(&mut self, batches: usize) {
        self.safe = self.safe();
        self.safe.batch -= batches;
        self.next.batch -= batches;
        self.began = match self.began.batch.checked_sub(batches) {
            Some(batch) => Cursor { batch, ..self.began },
            None => Cursor::default(),
        };
    }

    /// How many records of `group` are of its kind and not safe.
    pub fn unsafe_records(&self, group: &VecDeque<LogBatch>) -> usize {
        self.records_behind(group, self.safe())
    }

    fn records_behind(&self, group: &VecDeque<LogBatch>, place: Cursor) -> usize {
        let behind = group.iter().enumerate().skip(place.batch).flat_map(|(number, batch)| {
            let from = if number == place.batch { place.run } else { RunPlace::default() };
            batch.runs(from)
        });
        let records = behind.filter(|run| self.is_for(&Head::decode(run.head))).map(|run| run.len()).sum::<usize>();
        records - place.records
    }

    fn is_for(&self, head: &Head) -> bool {
        head.bad == (self.kind == Kind::Bad)
    }
}
