//! Room for answers: the reserves, and what waits for them: messages here, and encoders on other threads.

use super::waiters::{LineFor, Wants};
use super::{Processor, Selector};
use crate::buffer::{ANSWER_SEGMENTS, RESERVE, Segment};
use crate::message_processor::MessageProcessor;
use crate::protocol::Protocol;
use crate::reason::PauseReason;

/// Where the reserves are, and what waits for them.
#[derive(Debug, Default)]
pub(super) struct AnswerRoom {
    /// The wait of an encoder on another thread that was seen most recently.
    encoder_wait: Option<u64>,
    /// Connections whose queue holds a reserve.
    reserve_at: Vec<u32>,
}

impl AnswerRoom {
    /// Remembers that `slot` is being given a reserve, the processor's or the workers'.
    pub(super) fn note_reserve(&mut self, slot: u32, segment: &Segment) {
        let is_reserve = matches!(segment, Segment::Block { block, .. } if block.tier() == RESERVE);
        if is_reserve && !self.reserve_at.contains(&slot) {
            self.reserve_at.push(slot);
        }
    }
}

impl<S: Selector, P: Protocol, M: MessageProcessor<P>> Processor<S, P, M> {
    /// The connection's message is not handed over, because the reserve or all segments are in use.
    #[cold]
    pub(super) fn wait_for_answer_room(&mut self, slot: u32) {
        self.stand_in_line(slot, LineFor::AnswerRoom, Wants::AskAgain);
    }

    pub(super) fn relieve_outbound(&mut self) {
        self.repay_reserves();
        let line = self.links.outbound.line();
        if line.has_encoders()
            && let Some(pool) = self.desk.out.pool_mut()
        {
            pool.release_own();
        }
        let encoder = self.links.outbound.line().blocked_wait();
        if encoder.is_some() && encoder != self.answer_room.encoder_wait {
            self.links.metrics.encoder_waits.add(1);
        }
        self.answer_room.encoder_wait = encoder;
        if !self.waiters.are_none() {
            self.resume_answer_room();
        }
        self.give_up_slow_output();
    }

    fn resume_answer_room(&mut self) {
        while self.has_room_for_answer() {
            let Some(waiter) = self.next_in(LineFor::AnswerRoom) else { return self.dissolve(LineFor::AnswerRoom) };
            self.serve(waiter.slot, PauseReason::NoBlocks);
        }
    }

    /// True if another answer is sure to find room: the reserve is whole, and there are segments left.
    #[inline]
    pub(super) fn has_room_for_answer(&self) -> bool {
        self.segments.room() > self.desk.out.staged_segments() + ANSWER_SEGMENTS && self.desk.out.reserve_whole()
    }

    /// Moves the content of a reserve into blocks that came home, so that the reserve is whole again. Both reserves are
    /// the last resort of the same pool, the outbound one, of which the processor has its end.
    fn repay_reserves(&mut self) {
        let Self { answer_room, table, segments, desk, .. } = self;
        let Some(pool) = desk.out.pool_mut() else { return };
        answer_room.reserve_at.retain(|slot| {
            let connection = table.at_mut(*slot);
            connection.is_some_and(|connection| segments.repay(&mut connection.undelivered, pool))
        });
    }

    /// True if a block is free for the content of a reserve. Asked before sleeping, because the block may have come
    /// home after the lines were served, when nobody listened.
    pub(super) fn could_repay(&self) -> bool {
        let Some(pool) = self.desk.out.pool() else { return false };
        let mut queues = self.answer_room.reserve_at.iter().filter_map(|slot| Some(&self.table.at(*slot)?.undelivered));
        queues.any(|queue| self.segments.could_repay(queue, pool))
    }

    /// True while something waits for room in the outbound pool, or finished answers wait for segments.
    pub(super) fn waits_for_outbound(&self) -> bool {
        let outbox = &self.links.outbox;
        let lacks_segments = || !self.can_take_outbound() && outbox.has_work();
        !self.waiters.is_empty(LineFor::AnswerRoom)
            || self.links.outbound.line().blocked_wait().is_some()
            || lacks_segments()
    }

    /// True if something waits for a reserve that lies in a peer's queue: a connection for the processor's reserve, or
    /// an encoder for the workers'. A block that is large enough for the content of the reserve may be too small for
    /// the encoder.
    pub(super) fn repayment_is_awaited(&self) -> bool {
        !self.answer_room.reserve_at.is_empty() && self.waits_for_outbound()
    }

    /// True if an encoder that has not been seen yet waits on another thread.
    pub(super) fn encoder_waits_unseen(&self) -> bool {
        let encoder = self.links.outbound.line().blocked_wait();
        encoder.is_some() && encoder != self.answer_room.encoder_wait
    }
}
