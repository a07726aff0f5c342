//! `read_from_sockets`: turns of reading and decoding, one connection after the other, each with a budget.

use super::{Phase, Processor, Selector, Turn};
use crate::message_processor::MessageProcessor;
use crate::protocol::Protocol;
use crate::reason::PauseReason;

/// The most bytes that a connection may read in its first turn, and that are delivered to it of the output that has
/// waited. A connection with more to do continues after those that need little.
const FIRST_BYTES: usize = 64 << 10;
/// Budget per cycle shared by all continuing connections, bytes written included. When it is used up, the cycle ends so
/// that new readiness is noticed. Continued deliveries have a budget of the same size.
pub(super) const CONTINUED_BYTES: u64 = 1 << 20;
/// The cost of a message, in bytes read that cost as much.
const MESSAGE_COST: usize = 1 << 10;

/// What is left of a connection's turn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    pub(super) messages: usize,
    pub(super) bytes: usize,
}

impl Budget {
    /// The budget of a connection before others have had their turn.
    pub(super) fn first(turn: Turn) -> Self {
        Self { messages: turn.messages, bytes: turn.bytes.min(FIRST_BYTES) }
    }

    fn cost(self) -> usize {
        self.bytes.saturating_add(self.messages.saturating_mul(MESSAGE_COST))
    }
}

/// Whether a turn goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Again,
    Stop,
}

impl<S: Selector, P: Protocol, M: MessageProcessor<P>> Processor<S, P, M> {
    /// Gives each connection that has something to read or decode one turn. Then gives another turn to some of those
    /// that used up their turn in an earlier cycle, to `reading_on` of them at most. However many connections want
    /// much, one that wants little waits only for some of their turns (as FQ-CoDel serves new flows before old ones,
    /// RFC 8290 section 4.2).
    pub(super) fn read_from_sockets(&mut self, reading_on: usize) {
        for _ in 0..self.queues.read.len() {
            let Some(slot) = self.queues.read.pop() else { break };
            // A connection that is known to want much continues after the others: a turn that may read nothing pauses
            // it and puts it into that queue. Not at the end of the server, where this would look as if something had
            // happened.
            let first = Budget::first(self.settings.turn);
            let serves = matches!(self.phase, Phase::Serving);
            let bytes = if serves && self.expects_much(slot) { 0 } else { first.bytes };
            self.turn(slot, Budget { bytes, ..first });
        }
        self.read_on(reading_on);
    }

    /// Gives some of the continuing connections another turn.
    fn read_on(&mut self, reading_on: usize) {
        let Turn { messages, bytes } = self.settings.turn;
        let (mut cost, written) = (0, self.links.metrics.bytes_out.value());
        for _ in 0..reading_on {
            let Some(slot) = self.queues.read_on.pop() else { break };
            cost += self.turn(slot, Budget { messages, bytes }) as u64;
            if cost + (self.links.metrics.bytes_out.value() - written) >= CONTINUED_BYTES {
                break;
            }
        }
    }

    /// A turn of the connection in `slot`. Returns what it cost.
    pub(super) fn turn(&mut self, slot: u32, given: Budget) -> usize {
        let Some(connection) = self.table.at(slot) else { return 0 };
        if connection.ending.is_some() {
            let cost = self.linger_turn(slot, given.bytes);
            self.watch(slot);
            return cost;
        }
        self.clear_pause(slot, PauseReason::Turn);
        let serves = matches!(self.phase, Phase::Serving);
        let given = if serves { given } else { self.while_draining(slot, given) };
        let (mut left, read) = (given, self.links.metrics.bytes_in.value());
        while self.step(slot, &mut left) == Step::Again {}
        self.flush(slot);
        let read = self.links.metrics.bytes_in.value() - read;
        if self.turn_left_something(slot) {
            self.count_read_out(slot, read);
            self.requeue(slot);
            self.drain_if_finished(slot);
            // An end that begins here goes on in the write room, and usually finishes there: it needs neither of these.
            if self.table.at(slot).is_some_and(|connection| connection.ending.is_none()) {
                self.watch(slot);
                self.rearm(slot);
            }
        }
        // A read may bring more than the budget had left.
        let messages = Budget { bytes: 0, ..given }.cost() - Budget { bytes: 0, ..left }.cost();
        messages.saturating_add(read as usize)
    }

    /// True if one of the steps after a turn may have something to do. Usually none has, so that one check is enough
    /// for all.
    #[inline]
    fn turn_left_something(&self, slot: u32) -> bool {
        let Some(connection) = self.table.at(slot) else { return false };
        !connection.paused.is_empty()
            || connection.ending.is_some()
            || !connection.flags.watched
            || connection.needs_arming()
            || !matches!(self.phase, Phase::Serving)
    }

    fn step(&mut self, slot: u32, budget: &mut Budget) -> Step {
        let Some(connection) = self.table.at(slot) else { return Step::Stop };
        if !connection.paused.is_empty() || !connection.has_input() {
            return Step::Stop;
        }
        if connection.flags.undecoded {
            return self.decode_buffered(slot, budget);
        }
        if budget.bytes == 0 {
            self.pause(slot, PauseReason::Turn);
            return Step::Stop;
        }
        match connection.inbound.tier() {
            None => self.read_next(slot, budget),
            Some(_) => self.read_into_block(slot, budget),
        }
    }

    /// The budget was used up: the connection comes again after the others, if it has more to do.
    pub(super) fn requeue(&mut self, slot: u32) {
        let Some(connection) = self.table.at(slot).filter(|connection| connection.paused.has(PauseReason::Turn)) else {
            return;
        };
        if connection.has_input() {
            self.enqueue_read(slot)
        } else {
            self.clear_pause(slot, PauseReason::Turn);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_without_bounds_has_a_cost() {
        let most = Budget { messages: usize::MAX, bytes: usize::MAX };
        assert_eq!((most.cost(), Budget { messages: 2, bytes: 3 }.cost()), (usize::MAX, 2 * MESSAGE_COST + 3));
    }
}
