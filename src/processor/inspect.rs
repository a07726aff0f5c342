//! The data that a simulation inspects between two cycles. Nothing here changes anything.

use std::array;
use std::time::{Duration, Instant};

use super::queues::SlotQueue;
use super::sleep::EVENTS;
use super::{ENDING, Holders, Processor, Selector};
use crate::buffer::{Segments, TIERS};
use crate::connection::{Connection, Stage};
use crate::id::ConnectionId;
use crate::message_processor::MessageProcessor;
use crate::outbox::Owed;
use crate::protocol::Protocol;
use crate::reason::Paused;
use crate::timer::Wheel;

/// The processor between two cycles.
#[derive(Debug, Default)]
pub(crate) struct Overview {
    pub(crate) connections: Vec<Inspected>,
    pub(crate) now: Option<Instant>,
    /// Entries in the queues for reading, for continued reading, for writing, and for continued writing.
    pub(crate) queues: [usize; 4],
    /// Places taken in the longest line.
    pub(crate) longest_line: usize,
    /// Replies that were deferred and not settled yet.
    pub(crate) owed: usize,
    pub(crate) segments: usize,
    /// Inbound blocks that the processor itself has set aside, by tier.
    pub(crate) set_aside: [usize; TIERS],
    /// Outbound blocks in the connections' queues and with the processor itself, by tier; the reserves behind the
    /// pool's.
    pub(crate) outbound_blocks: [usize; TIERS + 1],
    /// LAW memory: how much each room takes, in bytes or places, and how much was counted for it at start.
    pub(crate) memory_rows: Vec<(&'static str, u64, u64)>,
    /// It takes the messages that others left in the outbox; false while there is no room for them.
    pub(crate) takes_outbound: bool,
}

/// One connection between two cycles.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Inspected {
    pub(crate) id: ConnectionId,
    pub(crate) paused: Paused,
    pub(crate) stage: Option<Stage>,
    /// It is ending, and no longer waits for the replies that it is owed.
    pub(crate) gave_up_replies: bool,
    /// It is ending, and the outbox may hold a message for it.
    pub(crate) awaits_messages: bool,
    /// The tier of the block that it holds.
    pub(crate) tier: Option<usize>,
    pub(crate) buffered: usize,
    pub(crate) queued: usize,
    pub(crate) owed: usize,
    pub(crate) readable: bool,
    pub(crate) undecoded: bool,
    pub(crate) end_read: bool,
    pub(crate) broken: bool,
    pub(crate) to_read: bool,
    pub(crate) to_write: bool,
    pub(crate) write_interest: bool,
    /// The time runs in which its peer has to take some of its output.
    pub(crate) output_waits: bool,
    /// How old its unfinished message is, without the time for which its clock stood still.
    pub(crate) message_age: Duration,
    /// How long ago it should have been looked at because its next deadline has passed.
    pub(crate) overdue: Duration,
}

impl<S: Selector, P: Protocol, M: MessageProcessor<P>> Processor<S, P, M> {
    /// Looks at everything; replaces what `overview` held before.
    pub(crate) fn inspect(&self, overview: &mut Overview) {
        overview.connections.clear();
        overview.connections.extend(self.table.iter().map(|connection| self.inspect_connection(connection)));
        overview.now = Some(self.now);
        overview.queues = self.queues.all().map(SlotQueue::len);
        overview.longest_line = self.waiters.longest();
        overview.owed = self.desk.owed.outstanding();
        overview.segments = self.settings.segments_max - self.segments.room();
        overview.set_aside =
            array::from_fn(|tier| usize::from(self.spares.has(tier)) + usize::from(self.remainder_blocks.has(tier)));
        overview.outbound_blocks = self.segments.blocks();
        overview.outbound_blocks[0] += usize::from(self.desk.out.is_warm());
        self.inspect_memory_rows(&mut overview.memory_rows);
        overview.takes_outbound = self.can_take_outbound();
    }

    fn inspect_memory_rows(&self, memory_rows: &mut Vec<(&'static str, u64, u64)>) {
        let max = self.settings.connections_each;
        let endings = self.table.iter().filter(|connection| connection.ending.is_some()).count();
        let queues = self.queues.all().map(SlotQueue::reserved).iter().sum::<usize>() + self.waiters.reserved();
        let table = self.table.reserved() + (queues + endings * ENDING) as u64;
        let holders = (0..TIERS).map(|tier| {
            let blocks = self.links.inbound.tiers()[tier].count();
            let (reserved, counted) = (self.holders[tier].reserved(), blocks * Holders::PER_BLOCK);
            ("holders of a tier's blocks", reserved as u64, counted as u64)
        });
        memory_rows.clear();
        memory_rows.extend([
            ("connection table", table, Self::table_memory(max)),
            ("timers", self.wheel.reserved() as u64, Wheel::memory(max) as u64),
            ("outbound segments", self.segments.reserved(), Segments::memory(self.settings.segments_max)),
            ("replies owed", self.desk.owed.reserved(), Owed::memory(self.settings.owed_total_max)),
            ("scratch", self.scratch.len() as u64, self.settings.scratch as u64),
            ("events of one sleep", self.ready.capacity() as u64, EVENTS as u64),
        ]);
        memory_rows.extend(holders);
    }

    fn inspect_connection(&self, connection: &Connection<S::Socket, P>) -> Inspected {
        let (flags, deadlines, slot) = (&connection.flags, &connection.deadlines, connection.id().slot());
        Inspected {
            id: connection.id(),
            paused: connection.paused,
            stage: connection.ending.as_ref().map(|ending| ending.stage),
            gave_up_replies: connection.ending.as_ref().is_some_and(|ending| ending.gave_up_replies),
            awaits_messages: self.awaits_messages(slot),
            tier: connection.inbound.tier(),
            buffered: connection.inbound.buffered(),
            queued: connection.undelivered.bytes(),
            owed: connection.owed.count(),
            readable: flags.readable,
            undecoded: flags.undecoded,
            end_read: flags.end_read,
            broken: flags.broken.is_some(),
            to_read: self.queues.read.contains(slot) || self.queues.read_on.contains(slot),
            to_write: self.queues.write.contains(slot) || self.queues.write_on.contains(slot),
            write_interest: flags.write_interest,
            output_waits: deadlines.output().is_some(),
            message_age: deadlines.message_elapsed(deadlines.paused_since().unwrap_or(self.now)),
            overdue: self.overdue(slot),
        }
    }

    /// When the time of a deadline goes on after standing still, the deadline may have passed long ago: then its timer
    /// counts, which was set at that moment.
    fn overdue(&self, slot: u32) -> Duration {
        let Some((due, _)) = self.next_deadline(slot) else { return Duration::ZERO };
        let looked_at = self.wheel.due(slot).map_or(due, |set| set.max(due));
        self.now.saturating_duration_since(looked_at)
    }

    /// LAW ledger, with the sums over all connections.
    pub(crate) fn inspect_ledger(&self) -> Result<(), String> {
        self.check_ledger()
    }
}
