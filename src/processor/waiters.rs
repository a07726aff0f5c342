//! The lines in which connections wait, in the order in which they came, for something of which the server is short.

use std::collections::VecDeque;
use std::time::Instant;

use crate::buffer::TIERS;
use crate::connection::Connection;
use crate::reason::PauseReason;

/// Names a line by what its connections wait for. Each connection stands in one line at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineFor {
    /// The spare of a tier, or a larger one. Separate from the line for blocks: a connection that gets a spare hands
    /// its message over and gives back its own block, for which those in the other line may be waiting.
    Spare(usize),
    /// Blocks of a tier.
    Block(usize),
    /// Until there is room again for any answer.
    AnswerRoom,
    /// Until fewer replies are owed.
    OwedRoom,
    /// Until the user is ready.
    Ready,
}

impl LineFor {
    const COUNT: usize = 2 * TIERS + 3;

    fn index(self) -> usize {
        match self {
            Self::Spare(tier) => tier,
            Self::Block(tier) => TIERS + tier,
            Self::AnswerRoom => 2 * TIERS,
            Self::OwedRoom => 2 * TIERS + 1,
            Self::Ready => 2 * TIERS + 2,
        }
    }

    /// The tier for whose blocks its connections wait.
    pub(super) fn tier(self) -> Option<usize> {
        match self {
            Self::Spare(tier) | Self::Block(tier) => Some(tier),
            _ => None,
        }
    }

    /// Why a connection in it is paused.
    pub(super) fn reason(self) -> PauseReason {
        match self {
            Self::Spare(_) | Self::Block(_) | Self::AnswerRoom => PauseReason::NoBlocks,
            Self::OwedRoom => PauseReason::Owed,
            Self::Ready => PauseReason::NotReady,
        }
    }

    /// The lines for blocks, in the order in which they are served.
    pub(super) fn of_blocks() -> impl Iterator<Item = Self> {
        (0..TIERS).flat_map(|tier| [Self::Spare(tier), Self::Block(tier)])
    }
}

/// Why a connection is in a line for blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wants {
    /// It needs a block of the line's tier for the message that it has begun.
    Promotion,
    /// It needs a block for the rest of what it is about to read, and a spare.
    ReadBlocks,
    /// It needs a turn, in which it asks again.
    AskAgain,
}

/// A connection in a line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiter {
    pub(super) slot: u32,
    pub(super) wants: Wants,
    /// The number of this wait, which no other wait of any connection has.
    pub(super) wait: u64,
    /// The number of the first wait for the connection's next message; lines are sorted by it. So a connection that was
    /// let out of a line and has to wait again, there or in another line, does not start behind newcomers.
    pub(super) first_wait: u64,
    pub(super) since: Instant,
}

impl Waiter {
    /// True if `connection` is the one that stands there, and is still in that wait.
    pub(super) fn is_of<K, P>(&self, connection: &Connection<K, P>, reason: PauseReason) -> bool {
        connection.wait == self.wait && connection.paused.has(reason) && connection.ending.is_none()
    }
}

/// One line.
#[derive(Debug)]
struct Line {
    waiting: VecDeque<Waiter>,
    /// When the holder that received least is evicted for the first in line.
    evict_at: Option<Instant>,
}

/// All lines.
#[derive(Debug)]
pub(super) struct Waiters {
    lines: [Line; LineFor::COUNT],
    /// Places taken in all of them, those of connections that have ended included.
    taken: usize,
    /// Waits so far.
    waits: u64,
    /// How many of them are to be served in this cycle.
    due: u64,
    /// The user may be ready for those that wait.
    pub(super) resuming: bool,
}

impl Waiters {
    /// Bytes that a connection's places in all lines take.
    pub(super) const PER_CONNECTION: usize = size_of::<Waiter>() * LineFor::COUNT;

    /// Lines for `max` connections. Memory that was never needed is never touched.
    pub(super) fn new(max: usize) -> Self {
        let line = || Line { waiting: VecDeque::with_capacity(max), evict_at: None };
        Self { lines: [(); LineFor::COUNT].map(|()| line()), taken: 0, waits: 0, due: 0, resuming: false }
    }

    /// True if no connection stands in any line, which is the usual case.
    #[inline]
    pub(super) fn are_none(&self) -> bool {
        self.taken == 0
    }

    /// The number of a wait that begins.
    pub(super) fn next_wait(&mut self) -> u64 {
        self.waits += 1;
        self.waits
    }

    pub(super) fn is_empty(&self, line: LineFor) -> bool {
        self.len(line) == 0
    }

    pub(super) fn len(&self, line: LineFor) -> usize {
        self.lines[line.index()].waiting.len()
    }

    /// Lets those that wait now be served, but none that begins to wait meanwhile: each has one turn in a cycle.
    pub(super) fn open(&mut self) {
        self.due = self.waits;
    }

    /// The first in line, if it may be served in this cycle.
    pub(super) fn first_due(&self, line: LineFor) -> Option<Waiter> {
        self.front(line).filter(|front| front.wait <= self.due)
    }

    /// True if it began to wait, in this line or another, after this cycle's round of serving began.
    pub(super) fn is_late(&self, waiter: &Waiter) -> bool {
        waiter.first_wait > self.due && waiter.wants != Wants::Promotion
    }

    /// The first in line.
    pub(super) fn front(&self, line: LineFor) -> Option<Waiter> {
        self.lines[line.index()].waiting.front().copied()
    }

    /// Inserts `waiter` behind all that began to wait earlier.
    pub(super) fn join(&mut self, line: LineFor, waiter: Waiter) {
        let waiting = &mut self.lines[line.index()].waiting;
        let at = waiting.partition_point(|other| other.first_wait < waiter.first_wait);
        waiting.insert(at, waiter);
        self.taken += 1;
    }

    /// Lets the first out of the line.
    pub(super) fn leave(&mut self, line: LineFor) {
        let Line { waiting, evict_at } = &mut self.lines[line.index()];
        self.taken -= usize::from(waiting.pop_front().is_some());
        *evict_at = None;
    }

    /// Removes those that no longer wait.
    pub(super) fn retain(&mut self, line: LineFor, still_waits: impl FnMut(&Waiter) -> bool) {
        let Line { waiting, evict_at } = &mut self.lines[line.index()];
        let (before, first) = (waiting.len(), waiting.front().map(|waiter| waiter.wait));
        waiting.retain(still_waits);
        self.taken -= before - waiting.len();
        if waiting.front().map(|waiter| waiter.wait) != first {
            *evict_at = None;
        }
    }

    /// When a holder is evicted for the first in line; `None` if its time does not run yet.
    pub(super) fn evict_at_mut(&mut self, line: LineFor) -> &mut Option<Instant> {
        &mut self.lines[line.index()].evict_at
    }

    /// The same, for reading only.
    pub(super) fn evict_at(&self, line: LineFor) -> Option<Instant> {
        self.lines[line.index()].evict_at
    }

    /// Places taken in the longest line.
    #[cfg(feature = "sim")]
    pub(super) fn longest(&self) -> usize {
        self.lines.iter().map(|line| line.waiting.len()).max().unwrap_or(0)
    }

    /// Bytes that are reserved for all lines now.
    #[cfg(feature = "sim")]
    pub(super) fn reserved(&self) -> usize {
        self.lines.iter().map(|line| line.waiting.capacity() * size_of::<Waiter>()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_until_an_eviction_is_that_of_the_first() {
        let mut waiters = Waiters::new(4);
        let (line, now) = (LineFor::Block(0), Instant::now());
        for wait in [1, 2, 3] {
            let waiter = Waiter { slot: wait as u32, wants: Wants::ReadBlocks, wait, first_wait: wait, since: now };
            waiters.join(line, waiter);
        }
        *waiters.evict_at_mut(line) = Some(now);
        waiters.retain(line, |waiter| waiter.wait != 2);
        assert_eq!(waiters.evict_at(line), Some(now), "the first still waits");
        waiters.retain(line, |waiter| waiter.wait != 1);
        assert_eq!((waiters.evict_at(line), waiters.len(line)), (None, 1), "the next begins to");
    }

    #[test]
    fn a_connection_that_waits_again_is_not_behind_newcomers() {
        let mut waiters = Waiters::new(4);
        let line = LineFor::Ready;
        let now = Instant::now();
        let waiter = |slot, first_wait| Waiter { slot, wants: Wants::AskAgain, wait: 0, first_wait, since: now };
        for (slot, first_wait) in [(1, 10), (2, 20), (3, 30)] {
            waiters.join(line, waiter(slot, first_wait));
        }
        waiters.leave(line);
        waiters.join(line, waiter(4, 40));
        waiters.join(line, waiter(1, 10));
        let mut slots = Vec::new();
        while let Some(front) = waiters.front(line) {
            slots.push(front.slot);
            waiters.leave(line);
        }
        assert_eq!(slots, [1, 2, 3, 4]);
        assert!(waiters.are_none());
    }
}
