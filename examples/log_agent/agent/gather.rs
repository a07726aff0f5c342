//! Records of a group that are written at once: as few slices, and their index.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::ops::Range;

use sluicegate::flow::RunPlace;

use super::tag::{Head, LogBatch, LogRun};
use crate::store::index::{Entry, Origin, Runs};
use crate::store::name::Kind;

/// Pieces that are written at once.
const SLICES: usize = 64;

/// A place in a group: the next record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cursor {
    pub batch: usize,
    /// The next run of the batch, and how far it is done: records, and their bytes.
    pub run: RunPlace,
    pub records: usize,
    pub bytes: usize,
}

/// Records that are written at once.
pub struct Gathered<'g> {
    pub slices: Vec<IoSlice<'g>>,
    pub bytes: u64,
    pub records: u64,
    pub end: Cursor,
}

/// The records of `kind` from `next` on that go into a segment which has `from` bytes: their bytes as few slices, their
/// index as `runs`, with the `start` of the agent in it. None, if the segment has no room for the next one.
pub fn gather<'g>(
    runs: &mut Runs,
    group: &'g VecDeque<LogBatch>,
    next: Cursor,
    kind: Kind,
    from: u64,
    limits: Limits,
    start: u32,
) -> Gathered<'g> {
    runs.clear();
    let mut gathered = Gathered { slices: Vec::with_capacity(SLICES), bytes: 0, records: 0, end: next };
    while let Some(batch) = group.get(gathered.end.batch) {
        let bytes = batch.bytes();
        let mut piece: Range<usize> = 0..0;
        for run in batch.runs(gathered.end.run) {
            let head = Head::decode(run.head);
            if head.bad != (kind == Kind::Bad) {
                gathered.end.run = run.end();
                continue;
            }
            let rest = run.bytes.start + gathered.end.bytes..run.bytes.end;
            let adjoins = rest.start == piece.end && !piece.is_empty();
            let whole = (adjoins || gathered.slices.len() + 1 < SLICES)
                && gathered.take(&run, &head, runs, from, limits, start);
            let taken = rest.start..if whole { run.bytes.end } else { run.bytes.start + gathered.end.bytes };
            if adjoins {
                piece.end = taken.end
            } else {
                gathered.push(&bytes[std::mem::replace(&mut piece, taken)])
            }
            if !whole {
                gathered.push(&bytes[piece]);
                return gathered;
            }
        }
        gathered.push(&bytes[piece]);
        gathered.end = Cursor { batch: gathered.end.batch + 1, ..Cursor::default() };
    }
    gathered
}

/// How much is gathered at most.
#[derive(Clone, Copy)]
pub struct Limits {
    /// Bytes of a segment.
    pub most: u64,
    /// Bytes that are gathered at once, unless a single record has more.
    pub at_once: u64,
}

impl<'g> Gathered<'g> {
    /// Takes what is left of `run`, or as many of its records as find room, and goes on behind them. True if nothing is
    /// left.
    fn take(&mut self, run: &LogRun<'_>, head: &Head, runs: &mut Runs, from: u64, limits: Limits, start: u32) -> bool {
        let Limits { most, at_once } = limits;
        let origin = Origin { connection: head.generation, start, received_micros: head.received_micros };
        let tags = run.tags(self.end.records);
        let (count, length) = (tags.len(), (run.bytes.len() - self.end.bytes) as u64);
        let at = from + self.bytes;
        let fits = at + length <= most && self.bytes + length <= at_once;
        let (count, length) = if fits && runs.has_room_for(count) {
            (count, length)
        } else {
            // One by one: here a segment ends, or what is written at once.
            let (mut taken, mut length) = (0, 0);
            for tag in tags.clone() {
                let line = Entry::line_length(tag);
                let fits = at + length == 0 || at + length + line <= most;
                let fits_at_once = self.bytes + length == 0 || self.bytes + length + line <= at_once;
                if !fits || !fits_at_once || !runs.has_room_for(taken + 1) {
                    break;
                }
                (taken, length) = (taken + 1, length + line);
            }
            (taken, length)
        };
        runs.extend(at as u32, origin, tags.take(count));
        self.bytes += length;
        self.records += count as u64;
        self.end.records += count;
        self.end.bytes += length as usize;
        if self.end.records < run.len() {
            return false;
        }
        self.end = Cursor { run: run.end(), records: 0, bytes: 0, ..self.end };
        true
    }

    fn push(&mut self, piece: &'g [u8]) {
        if !piece.is_empty() {
            self.slices.push(IoSlice::new(piece));
        }
    }
}
