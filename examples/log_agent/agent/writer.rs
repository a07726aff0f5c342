//! A group of batches onto the disk, and what happens when the disk does not want it.
//!
//! A writer has no thread and no clock of its own: it is told what time it is, and says when it wants to be asked
//! again. `writers` makes threads of it, a simulation plays them.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sluicegate::flow::{Level, RunPlace};

use super::directory::{Directory, Full, Next};
use super::disk::is_full;
use super::fsync::Fsync;
use super::lane::{Lane, TimeIsOver, Way};
use super::link::Link;
use super::space::lacking;
use super::tag::{Head, LogBatch};
use super::vain::Failed;
use super::writers::Deadline;
use crate::store::name::Kind;

/// Between the first failure and the first retry; doubled each time, up to the longest.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LONGEST: Duration = Duration::from_secs(2);

/// How often a writer without work looks whether its open segment is in the way of another.
const WANTED_LOOK: Duration = Duration::from_secs(1);

/// How long the last try goes on at most, where the time for all others is over.
const LAST_TRY: Duration = Duration::from_millis(500);

/// What is written before blocks go home, where nothing is synced with it.
const GROUP_BYTES: usize = 512 << 10;

/// Writes batches, and holds each until that has succeeded.
pub struct Writer {
    number: usize,
    policy: Fsync,
    directory: Arc<Directory>,
    link: Arc<Link>,
    lanes: Vec<Lane>,
    /// What is not worked off, oldest first.
    group: VecDeque<LogBatch>,
    sync_due: Option<Instant>,
    trouble: Option<Trouble>,
    /// How often finished segments were wanted, as far as it knows.
    wanted: u64,
    /// Until when it may write, and make room.
    deadline: Arc<Deadline>,
    /// Once that has come: until when the last try may write.
    last_try: Option<Instant>,
}

/// How a writer has ended.
pub struct Closed {
    /// Records that it could not write.
    pub lost: usize,
    /// Why its last sync has failed: where nobody was promised that it succeeds, nothing comes behind it that would
    /// make up for it.
    pub unsynced: Option<io::Error>,
}

/// The disk does not take what it is given.
struct Trouble {
    since: Instant,
    delay: Duration,
    retry_at: Instant,
}

impl Writer {
    /// A writer for at most `batches` batches at once, which are made room for now. With `set_aside` it has a second
    /// lane for bad records.
    pub fn new(
        number: usize,
        policy: Fsync,
        directory: Arc<Directory>,
        link: Arc<Link>,
        batches: usize,
        set_aside: bool,
    ) -> Self {
        let kinds: &[Kind] = if set_aside { &[Kind::Log, Kind::Bad] } else { &[Kind::Log] };
        let lanes = kinds.iter().map(|kind| Lane::new(*kind, policy)).collect();
        let group = VecDeque::with_capacity(batches);
        let (sync_due, trouble, wanted, deadline, last_try) = (None, None, 0, Arc::default(), None);
        Self { number, policy, directory, link, lanes, group, sync_due, trouble, wanted, deadline, last_try }
    }

    /// Begins with nothing more once `deadline` has come.
    pub fn end_by(&mut self, deadline: Arc<Deadline>) {
        self.deadline = deadline;
    }

    /// Takes a batch, to be written with the next [`advance`](Self::advance).
    pub fn accept(&mut self, batch: LogBatch) {
        self.group.push_back(batch);
    }

    /// True if it does not want to be let to work yet. A sync is shared by all that has arrived. What is only written
    /// is written little by little: so blocks are free again soon, and those which are used next are still in the
    /// cache.
    pub fn takes_more(&self) -> bool {
        let bytes: usize = self.group.iter().map(|batch| batch.bytes().len()).sum();
        self.policy == Fsync::Batch || bytes < GROUP_BYTES
    }

    /// True if everything was worked off.
    pub fn is_idle(&self) -> bool {
        self.group.is_empty()
    }

    /// Records that are not worked off.
    pub fn held(&self) -> usize {
        self.group.iter().map(LogBatch::len).sum()
    }

    /// Does what can be done. Returns when it wants to be asked again at the latest.
    pub fn advance(&mut self, now: Instant) -> Option<Instant> {
        if let Some(trouble) = &self.trouble
            && now < trouble.retry_at
        {
            return Some(trouble.retry_at);
        }
        self.finish_wanted();
        // Room is made for all that is written at once, where it can be. Then as much is written as finds space.
        let mut in_parts = !self.directory.drops_oldest();
        loop {
            let (began, settled) = (Instant::now(), self.settled());
            let done = self.work(now, in_parts);
            self.directory.numbers.write_micros.add(began.elapsed().as_micros() as u64);
            if self.settled() > settled {
                self.directory.vain.progress();
            }
            match done {
                Ok(()) => {
                    self.trouble_ends(now);
                    return self.due(now);
                }
                // Nobody asks again.
                Err(error) if TimeIsOver::is(&error) => return Some(now),
                // Each turn of this but one has deleted a segment, or found that somebody else has.
                Err(error) if is_full(&error) && self.make_room(&error, &mut in_parts, now) => {}
                Err(error) => return Some(self.trouble_begins(&error, now)),
            }
        }
    }

    fn work(&mut self, now: Instant, in_parts: bool) -> io::Result<()> {
        let worked = self.write_and_sync(now, in_parts);
        // What is safe does not wait for what the disk does not take.
        let safe = self.lanes.iter().map(Lane::safe_batches).min().unwrap_or(0);
        self.release(safe);
        // Also where the disk takes no more: what is finished can be packed, or deleted.
        let rotated = self.rotate_old(now);
        worked.and(rotated)
    }

    fn write_and_sync(&mut self, now: Instant, in_parts: bool) -> io::Result<()> {
        loop {
            let Self { directory, group, deadline, last_try, .. } = self;
            let is_over = || last_try.map_or_else(|| deadline.has_come(), |until| Instant::now() >= until);
            let way = Way { in_parts, is_over: &is_over };
            let lanes = self.lanes.iter_mut();
            let written = lanes.map(|lane| lane.write(directory, group, now, way)).fold(Ok(()), Result::and);
            // Also if not all was written.
            let synced = self.sync_if_due(now)?;
            written?;
            if synced {
                return Ok(());
            }
        }
    }

    /// False if something has to be written once more.
    fn sync_if_due(&mut self, now: Instant) -> io::Result<bool> {
        if !self.is_sync_due(now) {
            return Ok(true);
        }
        let mut whole = true;
        for lane in &mut self.lanes {
            whole &= lane.sync(&self.directory, &self.group)?;
        }
        self.sync_due = None;
        Ok(whole)
    }

    fn rotate_old(&mut self, now: Instant) -> io::Result<()> {
        for lane in &mut self.lanes {
            if lane.rotation_due(&self.directory).is_some_and(|due| now >= due) {
                lane.rotate(&self.directory, &self.group)?;
            }
        }
        Ok(())
    }

    /// Many turns may be needed, and the end of the agent does not wait for all of them. True if it makes sense to try
    /// again at once.
    fn make_room(&mut self, error: &io::Error, in_parts: &mut bool, now: Instant) -> bool {
        if self.deadline.has_come() {
            return false;
        }
        let full = match lacking(error) {
            Some(lacking) => Full::DiskMax { lacking },
            None => Full::Disk(Failed { bytes: self.lanes.iter().map(Lane::wanted).max().unwrap_or(0), now }),
        };
        let may_help = !matches!(full, Full::Disk(failed) if !self.directory.vain.may_delete(failed));
        let next =
            if may_help { self.directory.make_room(full, now, &|| self.deadline.has_come()) } else { Next::Wait };
        if next == Next::Retry || (next == Next::Finish && self.finish_open()) {
            return true;
        }
        // There may be space by now for a part of it, and for the next part more can be deleted.
        matches!(full, Full::Disk(_)) && !std::mem::replace(in_parts, true)
    }

    /// Appends that nobody has to repeat.
    fn settled(&self) -> u64 {
        self.lanes.iter().map(Lane::settled).sum()
    }

    /// There is no finished segment to be deleted for want of room: finishes its own, and the other writers theirs.
    /// True if there is one now.
    fn finish_open(&mut self) -> bool {
        let mut finished = false;
        for lane in &mut self.lanes {
            finished |= lane.has_records() && lane.rotate(&self.directory, &self.group).is_ok();
        }
        if !finished {
            self.directory.want_finished();
            self.wanted = self.directory.wanted();
        }
        finished
    }

    /// Another writer found no finished segment to delete.
    fn finish_wanted(&mut self) {
        let wanted = self.directory.wanted();
        if std::mem::replace(&mut self.wanted, wanted) == wanted {
            return;
        }
        for lane in self.lanes.iter_mut().filter(|lane| lane.has_records()) {
            if let Err(error) = lane.rotate(&self.directory, &self.group) {
                // What is held is tried again, and says more.
                log::warn!("writer {}: a segment was not finished to make room: {error}", self.number);
            }
        }
    }

    fn is_sync_due(&mut self, now: Instant) -> bool {
        let dirty = self.lanes.iter().any(Lane::is_dirty);
        if !dirty {
            // Rotation was faster. A time that is over and never met would be asked for again and again.
            self.sync_due = None;
        }
        match self.policy {
            Fsync::Never => false,
            Fsync::Batch => dirty,
            Fsync::Interval(time) => dirty && now >= *self.sync_due.get_or_insert(now + time),
        }
    }

    /// So many batches at the front of the group are as safe as the policy wants it: senders are told, blocks go home,
    /// the gate may open.
    fn release(&mut self, batches: usize) {
        if batches == 0 {
            return;
        }
        if self.link.wants_news() {
            let runs = self.group.iter().take(batches).flat_map(|batch| batch.runs(RunPlace::default()));
            self.link.tell(runs.map(|run| (Head::decode(run.head).connection(), run.len() as u64)));
        }
        let mut gone = Level::default();
        for batch in self.group.drain(..batches) {
            gone.items += batch.len() as u64;
            gone.bytes += batch.bytes().len() as u64;
        }
        self.lanes.iter_mut().for_each(|lane| lane.drop_front(batches));
        if self.is_idle() {
            self.link.set_busy(self.number, false);
        }
        self.link.release(gone);
    }

    fn trouble_begins(&mut self, error: &io::Error, now: Instant) -> Instant {
        let delay = match &self.trouble {
            Some(before) => (before.delay * 2).min(RETRY_LONGEST),
            None => {
                let held = self.held();
                log::error!(
                    "writer {} cannot go on: {error}; {held} records are held, senders wait, and it tries again",
                    self.number
                );
                self.directory.numbers.troubles.add(1);
                self.directory.numbers.troubled.add(1);
                self.link.trouble_begins();
                RETRY_FIRST
            }
        };
        let since = self.trouble.as_ref().map_or(now, |before| before.since);
        let retry_at = now + delay;
        self.trouble = Some(Trouble { since, delay, retry_at });
        retry_at
    }

    fn trouble_ends(&mut self, now: Instant) {
        let Some(Trouble { since, .. }) = self.trouble.take() else { return };
        let time = now.saturating_duration_since(since);
        log::info!("writer {} goes on after {time:.1?}; nothing was lost", self.number);
        self.directory.numbers.troubled.sub(1);
        self.link.trouble_ends();
    }

    fn due(&self, now: Instant) -> Option<Instant> {
        let rotations = self.lanes.iter().map(|lane| lane.rotation_due(&self.directory));
        let shares = self.directory.drops_oldest() && self.lanes.iter().any(Lane::has_records);
        let look = shares.then_some(now + WANTED_LOOK);
        rotations.chain([self.sync_due, look]).flatten().min()
    }

    /// Finishes what is being written; nothing comes any more.
    pub fn close(mut self, now: Instant) -> Closed {
        let over = self.deadline.has_come();
        self.last_try = over.then(|| Instant::now() + LAST_TRY);
        // Once, without waiting and without making room: there may be room since the last try. A disk that takes
        // everything, and takes too long for it, has had its time.
        let tries = !self.is_idle() && (!over || self.trouble.is_some());
        if tries {
            match self.work(now, true) {
                Ok(()) => self.trouble_ends(now),
                Err(error) => log::warn!("writer {}: its last try has failed: {error}", self.number),
            }
        }
        for lane in &mut self.lanes {
            if let Err(error) = lane.close(&self.directory, &self.group) {
                log::error!("writer {}: its last segment was not finished: {error}", self.number);
            }
        }
        let lost = self.lanes.iter().map(|lane| lane.unsafe_records(&self.group)).sum();
        Closed { lost, unsynced: self.lanes.iter_mut().find_map(Lane::unsynced) }
    }
}
