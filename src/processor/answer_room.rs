//! Room for answers: the reserve, encoders in line on other threads, and whose output is given up for them.

use std::time::Instant;

use super::backpressure::ANSWER_SEGMENTS;
use super::{Processor, Selector};
use crate::buffer::{RESERVE, Segment};
use crate::connection::CloseReason;
use crate::message_processor::MessageProcessor;
use crate::protocol::Protocol;
use crate::reason::PauseReason;

/// While connections wait for the processor's own reserve, nobody is served. So output that does not move is given up after
/// this part of the famine time already.
const STUCK: u32 = 16;

/// How long output of others has been waited for, and where the reserves are.
#[derive(Debug, Default)]
pub(super) struct OutputFamine {
    /// When output is given up.
    pub(super) evict_at: Option<Instant>,
    /// The wait of an encoder on another thread that is timed.
    encoder_wait: Option<u64>,
    /// Connections whose queue holds a reserve.
    reserve_at: Vec<u32>,
}

impl OutputFamine {
    /// Remembers that `slot` is being given a reserve: the processor's, or the workers'.
    pub(super) fn note_reserve(&mut self, slot: u32, segment: &Segment) {
        let is_reserve = matches!(segment, Segment::Block { block, .. } if block.tier() == RESERVE);
        if is_reserve && !self.reserve_at.contains(&slot) {
            self.reserve_at.push(slot);
        }
    }
}

impl<S: Selector, P: Protocol, M: MessageProcessor<P>> Processor<S, P, M> {
    /// Not handed a message: the reserve is in use, or all segments are.
    pub(super) fn wait_for_answer_room(&mut self, slot: u32) {
        let waiter = self.waiter(slot);
        self.pause(slot, PauseReason::NoBlocks);
        self.push_waiter(|waiters| &mut waiters.answer_room, waiter, PauseReason::NoBlocks);
    }

    pub(super) fn relieve_outbound(&mut self) {
        self.repay_reserves();
        let line = self.links.outbox.pool.line();
        if line.has_encoders() {
            self.desk.out.pool().into_iter().for_each(|pool| pool.release_own());
        }
        let encoder = self.links.outbox.pool.line().blocked_wait();
        if encoder.is_some() && encoder != self.famine.encoder_wait {
            self.links.metrics.encoder_waits.add(1);
        }
        if encoder != self.famine.encoder_wait {
            self.famine.encoder_wait = encoder;
            self.famine.evict_at = None;
        }
        if self.answer_room_is_back() {
            while let Some(waiter) = self.waiters.answer_room.pop_front() {
                if self.still_waits(&waiter, PauseReason::NoBlocks) {
                    self.unpause(waiter.id.slot(), PauseReason::NoBlocks);
                }
            }
        }
        match encoder.is_some() || !self.waiters.answer_room.is_empty() {
            true => self.evict_output_when_due(),
            false => self.famine.evict_at = None,
        }
    }

    pub(super) fn answer_room_is_back(&self) -> bool {
        self.desk.out.reserve_whole() && self.segments.room() > ANSWER_SEGMENTS
    }

    /// Moves what lies in a reserve into blocks that came home, so that the reserve is whole again. Both reserves are last
    /// resorts of the same pool: the outbound one, of which the processor holds its end.
    fn repay_reserves(&mut self) {
        let Self { famine, table, segments, desk, .. } = self;
        let Some(pool) = desk.out.pool() else { return };
        famine.reserve_at.retain(|slot| {
            let connection = table.at_mut(*slot);
            connection.is_some_and(|connection| segments.repay(&connection.outbound, pool))
        });
    }

    /// True if a block is free for what lies in a reserve. Asked before sleeping: it may have come home after the lines were
    /// served, when nobody listened.
    pub(super) fn could_repay(&self) -> bool {
        let Some(pool) = self.desk.out.look_at_pool() else { return false };
        let mut queues = self.famine.reserve_at.iter().filter_map(|slot| Some(&self.table.at(*slot)?.outbound));
        queues.any(|queue| self.segments.could_repay(queue, pool))
    }

    /// True if somebody waits for a reserve that lies in a peer's queue: a connection for the processor's, or an encoder for
    /// the workers'. The encoder may be of no use for a block that holds what lies there: it needs a larger one.
    pub(super) fn repayment_is_awaited(&self) -> bool {
        let waits = !self.waiters.answer_room.is_empty() || self.links.outbox.pool.line().blocked_wait().is_some();
        waits && !self.famine.reserve_at.is_empty()
    }

    /// Output that has not moved for the famine time is given up at once, the heaviest first; if all of it moves, the
    /// heaviest goes once others have waited for the famine time.
    fn evict_output_when_due(&mut self) {
        let (now, famine) = (self.now, self.settings.timeouts.famine);
        if self.famine.evict_at.is_some_and(|due| now < due) {
            return;
        }
        let waited = self.famine.evict_at.is_some();
        let stuck = !self.waiters.answer_room.is_empty();
        let patience = if stuck { famine / STUCK } else { famine };
        let stalls_at = |since: Option<Instant>| since.map_or(now, |since| since + patience);
        let undelivered = self.table.iter().filter(|connection| !connection.outbound.is_empty());
        let output = undelivered.map(|c| (stalls_at(c.deadlines.write_waits_since()), c.outbound.bytes(), c.id.slot()));
        let output: (Option<_>, Option<Instant>) =
            output.fold((None, None), |(heaviest, soonest), (at, bytes, slot)| {
                let given_up = (at <= now || waited).then_some((at <= now, bytes, slot));
                (heaviest.max(given_up), Some(soonest.map_or(at, |soonest: Instant| soonest.min(at))))
            });
        self.famine.evict_at = match output {
            // Already stalled ones go in quick succession, at once if nobody is served; those that still move, one each
            // famine time.
            (Some((true, ..)), _) if stuck => Some(now),
            (Some((true, ..)), _) => Some(now + famine / 64),
            (_, Some(soonest)) if soonest > now => Some(soonest.min(now + famine)),
            _ => Some(now + famine),
        };
        if let (Some((_, undelivered, slot)), _) = output {
            self.close_now(slot, CloseReason::EvictedOutbound { undelivered });
        }
    }

    /// True if an encoder on another thread waits and its time does not run yet.
    pub(super) fn encoder_waits_unseen(&self) -> bool {
        let encoder = self.links.outbox.pool.line().blocked_wait();
        encoder.is_some() && encoder != self.famine.encoder_wait
    }
}
