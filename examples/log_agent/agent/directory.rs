//! What all writers share about the directory: its disk, its names, its space, and the oldest segment in it.

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use sluicegate::flow::Queue;

use super::disk::{Disk, each_file, is_full};
use super::lock::Lock;
use super::numbering::Numbering;
use super::numbers::Numbers;
use super::oldest::Oldest;
use super::plan::WhenFull;
use super::recovery::Recovered;
use super::space::Space;
use super::vain::{Failed, Vain};
use crate::store::listing::{Listed, each_segment, is_alone, is_there};
use crate::store::name::{Kind, Packing, SegmentName};
use crate::store::runs::{Piece, RunReader};

/// When a segment is finished.
#[derive(Debug, Clone, Copy)]
pub struct Rotation {
    /// Before it would be larger. A record that is larger by itself has a segment to itself.
    pub bytes: u64,
    /// Before it would take more with its index, which small records have more of than of themselves: so much of
    /// `--disk-max` is its own.
    pub share: u64,
    /// When it is so old.
    pub age: Option<Duration>,
}

/// The directory that the writers write to.
pub struct Directory {
    pub path: PathBuf,
    pub disk: Box<dyn Disk>,
    pub space: Space,
    pub rotation: Rotation,
    /// What tells this start of the agent from all others: the number of the first segment that it will write.
    pub start: u32,
    pub numbers: Arc<Numbers>,
    when_full: WhenFull,
    numbering: Mutex<Numbering>,
    deleting: Mutex<Oldest>,
    /// What was deleted on a full disk, and did not help.
    pub vain: Vain,
    wanted: AtomicU64,
    clock: Clock,
    lock: Lock,
    /// Rings for whoever packs finished segments.
    finished: Arc<Queue<()>>,
}

/// How a directory is to be used.
pub struct Rules {
    pub rotation: Rotation,
    pub disk_max: Option<u64>,
    pub when_full: WhenFull,
    pub clock: Clock,
    pub lock: Lock,
}

/// What is full.
#[derive(Debug, Clone, Copy)]
pub enum Full {
    /// `--disk-max`: so many segments are deleted that the bytes are there that are `lacking`.
    DiskMax { lacking: u64 },
    /// The disk, which does not say how much is lacking: one segment is deleted, if that may still help.
    Disk(Failed),
}

/// What makes sense for whoever needs room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// To try again at once.
    Retry,
    /// To finish what is open: no finished segment can be deleted.
    Finish,
    /// To try again later: there may be one that can be deleted then.
    Wait,
}

/// Unix seconds, for names of segments.
pub type Clock = Box<dyn Fn() -> u64 + Send + Sync>;

impl Directory {
    /// A directory in which `recovered` was found.
    pub fn new(path: &Path, disk: Box<dyn Disk>, recovered: &Recovered, rules: Rules, numbers: Arc<Numbers>) -> Self {
        Self {
            path: path.to_owned(),
            disk,
            space: Space::new(recovered.bytes, rules.disk_max),
            rotation: rules.rotation,
            // After four thousand million segments one is used again.
            start: (recovered.number + 1) as u32,
            numbers,
            when_full: rules.when_full,
            numbering: Mutex::new(Numbering::after(recovered.number, recovered.opened)),
            deleting: Mutex::default(),
            vain: Vain::default(),
            wanted: AtomicU64::new(0),
            clock: rules.clock,
            lock: rules.lock,
            finished: Arc::new(Queue::new(1)),
        }
    }

    /// The name of the next segment, which counts as being written from now on. There is none while another agent is
    /// here: it would recover that segment while it is being written.
    pub fn next_name(&self, kind: Kind) -> io::Result<SegmentName> {
        self.lock.keep()?;
        self.numbering.lock().next(&*self.disk, kind, (self.clock)())
    }

    /// A segment is not written any more.
    pub fn closed(&self, name: SegmentName) {
        self.numbering.lock().closed(name.number);
        // Full means that it rings already.
        let _ = self.finished.put(());
    }

    /// True while a segment is being written.
    pub fn is_open(&self, name: SegmentName) -> bool {
        self.numbering.lock().is_open(name.number)
    }

    /// Where it rings when a segment was finished.
    pub fn bell(&self) -> Arc<Queue<()>> {
        Arc::clone(&self.finished)
    }

    /// The segment with the smallest number that nobody writes and that `wanted` says yes to. While another agent is
    /// here nobody knows which those are.
    pub fn oldest_finished(&self, wanted: impl Fn(Listed) -> bool) -> io::Result<Option<Listed>> {
        self.lock.keep()?;
        let mut oldest: Option<Listed> = None;
        each_segment(&self.path, |segment| {
            let older = oldest.is_none_or(|oldest| segment.name.number < oldest.name.number);
            if older && wanted(segment) && !self.is_open(segment.name) {
                oldest = Some(segment);
            }
        })?;
        Ok(oldest)
    }

    /// The disk or `--disk-max` is full: deletes the oldest segments if that is what was asked for. Counts anew,
    /// because somebody else may have deleted some; where segments are deleted here, one count is for many of them.
    /// Where many have to be deleted, or cannot be, that takes a while: no other is tried once it `is_over`.
    pub fn make_room(&self, full: Full, now: Instant, is_over: &dyn Fn() -> bool) -> Next {
        let (before, freed) = (self.space.used(), self.space.freed());
        // One at a time. Whoever had to wait may find that there is room now.
        let mut oldest = self.deletes();
        if self.space.freed() > freed {
            return Next::Retry;
        }
        // While another agent is here nobody knows which segments nobody writes.
        let locked = self.lock.keep();
        if !self.drops_oldest() {
            self.recount_those(|file| locked.is_err() || !self.was_left_alone(file));
            return if self.space.freed() > freed { Next::Retry } else { Next::Wait };
        }
        if let Err(error) = locked {
            log::error!("{}: cannot look for the oldest segment, to make room: {error}", self.path.display());
            return Next::Wait;
        }
        oldest.begin_again_if_due(now);
        if self.next_to_drop(&oldest, now).is_none() {
            let looked = self.look(&mut oldest, now);
            if self.space.freed() > freed {
                return Next::Retry;
            }
            if !looked {
                return Next::Wait;
            }
        }
        let mut drop_next = || self.drop_next(&mut oldest, now, is_over);
        match full {
            Full::DiskMax { lacking } => {
                let enough = before.saturating_sub(lacking);
                let next = drop_next();
                while next == Next::Retry && self.space.used() > enough && drop_next() == Next::Retry {}
                next
            }
            // Asked behind the lock: of two writers that come together the second sees what the first has deleted.
            Full::Disk(failed) => {
                let freed = self.space.freed();
                let next = if self.vain.may_delete(failed) { drop_next() } else { Next::Wait };
                if next == Next::Retry {
                    self.vain.deleted(self.space.freed() - freed, failed);
                }
                next
            }
        }
    }

    /// Deletes the oldest that can be deleted. Those that cannot are passed over for a while, as long as there are
    /// others.
    fn drop_next(&self, oldest: &mut Oldest, now: Instant, is_over: &dyn Fn() -> bool) -> Next {
        let (mut next, mut refused, mut refused_of_listing) = (Next::Wait, None, 0);
        while next == Next::Wait && !is_over() {
            let Some(name) = self.next_to_drop(oldest, now) else {
                if refused_of_listing == 0 {
                    oldest.begin_again();
                    next = Next::Finish;
                    break;
                }
                // A listing does not have all of them.
                if !self.look(oldest, now) {
                    break;
                }
                refused_of_listing = 0;
                continue;
            };
            match self.drop_segment(name, oldest) {
                Ok(()) => next = Next::Retry,
                Err(error) if will_pass(&error) => {
                    if oldest.is_news(now) {
                        log::error!("{error}: it is tried again, and no other is deleted for it");
                    }
                    break;
                }
                Err(error) => {
                    oldest.pass_over(name);
                    refused_of_listing += 1;
                    let (_, count) = refused.get_or_insert((error, 0));
                    *count += 1;
                }
            }
        }
        // Where nothing can be deleted at all, that is one line a minute and not many.
        if let Some((error, count)) = refused
            && oldest.is_news(now)
        {
            let others = if count > 1 { format!(" (and {} others)", count - 1) } else { String::new() };
            log::error!("{error}{others}: passed over for a minute, or until room can be made of no other");
        }
        next
    }

    /// Held by whoever deletes files, or gives them another name, until the bytes are booked: in between, a count would
    /// find one and not the other.
    pub fn deletes(&self) -> MutexGuard<'_, Oldest> {
        self.deleting.lock()
    }

    /// Counts anew. Whoever calls this has announced it ([`deletes`](Self::deletes)).
    pub fn recount(&self) {
        self.recount_those(|_| true);
    }

    fn recount_those(&self, counts: impl FnMut(&str) -> bool) {
        if let Err(error) = self.count(counts) {
            log::error!("{}: cannot count what the segments take: {error}", self.path.display());
        }
    }

    /// Counts anew those files that `counts` says yes to.
    fn count(&self, mut counts: impl FnMut(&str) -> bool) -> io::Result<()> {
        let since = self.space.begin_count();
        let mut found = 0;
        let counted = self.disk.files(&mut |file, bytes| {
            if counts(file) {
                found += owned_bytes(file, bytes);
            }
        });
        match counted {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.space.recount(0, since),
            counted => {
                counted?;
                self.space.recount(found, since);
            }
        }
        Ok(())
    }

    /// Looks which segments are the oldest, and counts anew with it. False if that cannot be found out.
    fn look(&self, oldest: &mut Oldest, now: Instant) -> bool {
        oldest.clear();
        let began = Instant::now();
        let counted = self.count(|file| {
            // Some twice, if they are packed.
            if let Some((name, _)) = SegmentName::parse_data(file) {
                oldest.add(name);
            }
            !self.was_left_alone(file)
        });
        match &counted {
            Ok(()) => oldest.listed(began.elapsed(), now),
            Err(error) => {
                let path = self.path.display();
                log::error!("{path}: cannot look for the oldest segment, to make room: {error}");
            }
        }
        counted.is_ok()
    }

    /// True if a file was an index whose segment somebody has deleted. It goes: no segment that is dropped makes its
    /// room.
    fn was_left_alone(&self, file: &str) -> bool {
        // A segment that is being made counts as open before either of its files is there.
        let is_left = |name| !self.is_open(name) && is_alone(&self.path, name);
        SegmentName::parse_index(file).is_some_and(is_left) && self.disk.remove(file).is_ok()
    }

    fn next_to_drop(&self, oldest: &Oldest, now: Instant) -> Option<SegmentName> {
        oldest.first(now, |name| self.is_open(name))
    }

    /// Somebody found no finished segment to delete: whoever has one open is to finish it.
    pub fn want_finished(&self) {
        self.wanted.fetch_add(1, Relaxed);
    }

    /// How often that was wanted.
    pub fn wanted(&self) -> u64 {
        self.wanted.load(Relaxed)
    }

    /// True if a full disk costs the oldest segment.
    pub fn drops_oldest(&self) -> bool {
        self.when_full == WhenFull::DropOldestSegment
    }

    /// Deletes a segment, unless somebody else was faster.
    ///
    /// # Errors
    /// It cannot be deleted, or not all of it.
    fn drop_segment(&self, name: SegmentName, oldest: &mut Oldest) -> io::Result<()> {
        let index = name.index();
        let mut gone = None;
        // Whole or packed; and both, if the packing could not be ended.
        for data in [Packing::Plain, Packing::Gzip, Packing::Zstd].map(|packing| name.data(packing)) {
            let is_gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
            // Of the name itself, as it was counted: a link may lead nowhere.
            let bytes = match fs::symlink_metadata(self.path.join(&data)) {
                Err(error) if is_gone(&error) => continue,
                found => found.map_err(|error| {
                    io::Error::new(error.kind(), format!("cannot look at {data}, to make room: {error}"))
                })?,
            }
            .len();
            match self.disk.remove(&data) {
                Err(error) if is_gone(&error) => continue,
                removed => removed?,
            }
            self.space.give_back(bytes);
            gone = Some(data);
        }
        let Some(data) = gone else {
            // Somebody else may have deleted more.
            oldest.clear();
            return Ok(());
        };
        oldest.remove(name);
        let records = records_in(&self.path.join(&index));
        let index_bytes = fs::symlink_metadata(self.path.join(&index)).map_or(0, |metadata| metadata.len());
        match self.disk.remove(&index) {
            Ok(()) => self.space.give_back(index_bytes),
            Err(error) => log::warn!("the index of a deleted segment stays: {error}"),
        }
        self.numbers.segments_dropped.add(1);
        match records {
            Ok(records) => {
                log::warn!("{data} was deleted to make room, and {records} records with it (--when-disk-full)");
                self.numbers.records_dropped.add(records);
            }
            Err(error) => {
                log::warn!(
                    "{data} was deleted to make room, and records with it that nobody has counted (--when-disk-full): \
                     cannot read {index}: {error}"
                );
                self.numbers.segments_dropped_uncounted.add(1);
            }
        }
        Ok(())
    }
}

/// True if what could not be deleted can be later, for all that is known: to delete another one for it would be worse
/// than to wait. A disk that copies what it changes may need space to delete something.
fn will_pass(error: &io::Error) -> bool {
    is_full(error) || matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::TimedOut)
}

/// How many records an index has.
fn records_in(index: &Path) -> io::Result<u64> {
    let mut runs = RunReader::new(BufReader::new(File::open(index)?));
    runs.header()?;
    let mut records = 0;
    loop {
        match runs.next()? {
            Piece::Run { head, .. } => records += runs.take_entries(head).count() as u64,
            Piece::Damaged => {}
            Piece::NoMore | Piece::Finished => return Ok(records),
        }
    }
}

/// What lies in a directory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    /// One that is there both plain and packed counts once.
    pub segments: u64,
    /// Of all of them, and of their indexes.
    pub bytes: u64,
}

impl Sum {
    /// What lies in the directory `path`.
    pub fn of(path: &Path) -> io::Result<Self> {
        let mut sum = Self::default();
        each_file(path, &mut |file, bytes| {
            let counts = |(name, packing)| packing == Packing::Plain || !is_there(path, name, Packing::Plain);
            sum.segments += u64::from(SegmentName::parse_data(file).is_some_and(counts));
            sum.bytes += owned_bytes(file, bytes);
        })?;
        Ok(sum)
    }
}

/// Of the `bytes` of a file those that segments and indexes take.
fn owned_bytes(file: &str, bytes: u64) -> u64 {
    if SegmentName::owns(file) { bytes } else { 0 }
}

/// Bytes that all segments and indexes of a directory take.
pub fn bytes_of(path: &Path) -> io::Result<u64> {
    Sum::of(path).map(|sum| sum.bytes)
}

/// The clock of the machine.
pub fn unix_seconds() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
