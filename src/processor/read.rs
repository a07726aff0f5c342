//! `read_from_sockets`: turns of reading and decoding, one connection after the other.
//!
//! Between messages a connection is read into the scratch, which all share, and decoded there: a small request that is
//! whole never needs a block. What is left unfinished moves into a block of its own, and the rest of that message is
//! read straight into it; what lies behind it is for the scratch again. A connection whose last message was larger than
//! the scratch is read into a block at once.

use std::io::{self, Read};
use std::mem;

use super::foreign::foreign;
use super::{Phase, Processor, Selector, Turn};
use crate::buffer::{Block, HEADROOM};
use crate::connection::{CloseReason, Connection};
use crate::message_processor::MessageProcessor;
use crate::metrics::Metrics;
use crate::panics::Panicked;
use crate::protocol::{Decode, Protocol, ProtocolError, Refusal};
use crate::reason::{DropReason, PauseReason};

/// What a connection may read in its first turn. One that has more to do goes on behind those who ask for little.
const FIRST_BYTES: usize = 64 << 10;
/// What those who go on may cost in a cycle, all together: then it is looked who else has something to say.
const GOING_ON: usize = 1 << 20;
/// What a message costs, compared with bytes that are read.
const MESSAGE_COST: usize = 1 << 10;

/// What is left of a connection's turn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    pub(super) messages: usize,
    pub(super) bytes: usize,
}

impl Budget {
    /// What a connection may do before others have had their turn.
    pub(super) fn first(turn: Turn) -> Self {
        Self { messages: turn.messages, bytes: turn.bytes.min(FIRST_BYTES) }
    }

    fn cost(self) -> usize {
        self.bytes.saturating_add(self.messages.saturating_mul(MESSAGE_COST))
    }
}

/// Whether a turn goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Again,
    Stop,
}

/// Where a read came to.
enum Got {
    Bytes(usize),
    End,
    Nothing,
    Failed(io::ErrorKind),
}

impl<S: Selector, P: Protocol, M: MessageProcessor<P>> Processor<S, P, M> {
    /// Gives each connection that has something to read or decode one turn, and then some of those who used theirs up
    /// another one, `going_on` of them at most: in a later cycle. However many want much, whoever wants little waits
    /// for a part of their turns only (as FQ-CoDel serves new flows before old ones, RFC 8290 section 4.2).
    pub(super) fn read_from_sockets(&mut self, going_on: usize) {
        let Turn { messages, bytes } = self.settings.turn;
        for _ in 0..self.run.len() {
            let Some(slot) = self.run.pop() else { break };
            // Who is known to want much goes on behind the others: a turn that may read nothing pauses it, and queues
            // it there.
            let first = Budget::first(self.settings.turn);
            let bytes = if self.expects_much(slot) { 0 } else { first.bytes };
            self.turn(slot, Budget { bytes, ..first });
        }
        let mut cost = 0;
        for _ in 0..going_on {
            let Some(slot) = self.go_on.pop() else { break };
            cost += self.turn(slot, Budget { messages, bytes });
            if cost >= GOING_ON {
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
        let mut left = given;
        while self.step(slot, &mut left) == Step::Again {}
        self.flush(slot);
        if self.turn_left_something(slot) {
            self.requeue(slot);
            self.advance_ending(slot);
            self.drain_if_finished(slot);
            self.watch(slot);
            self.rearm(slot);
        }
        given.cost() - left.cost()
    }

    /// True if one of the steps behind a turn may have something to do. Mostly none has: one look is enough for all.
    #[inline]
    fn turn_left_something(&self, slot: u32) -> bool {
        let Some(connection) = self.table.at(slot) else { return false };
        !connection.paused.is_empty()
            || connection.ending.is_some()
            || !connection.flags.watched
            || connection.deadlines.needs_arming(connection.owed.count() > 0, false)
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

    /// The budget was used up: comes again after the others, if there is more to do.
    pub(super) fn requeue(&mut self, slot: u32) {
        let Some(connection) = self.table.at(slot).filter(|connection| connection.paused.has(PauseReason::Turn)) else {
            return;
        };
        match connection.has_input() {
            true => self.enqueue_run(slot),
            false => {
                self.clear_pause(slot, PauseReason::Turn);
            }
        }
    }

    /// Reads what begins with a message.
    fn read_next(&mut self, slot: u32, budget: &mut Budget) -> Step {
        let Some(window) = self.scratch_window(slot) else { return Step::Stop };
        let window = window.min(self.scratch.len());
        let block = if self.expects_much(slot) { self.block_like_last(slot, window) } else { None };
        match block {
            Some(block) => self.read_like_last(slot, block, budget),
            None => self.read_into_scratch(slot, window, budget),
        }
    }

    fn read_into_scratch(&mut self, slot: u32, window: usize, budget: &mut Budget) -> Step {
        let mut scratch = mem::take(&mut self.scratch);
        let got = self.read(slot, &mut scratch[..window], budget);
        self.use_scratch(slot, scratch, got, budget)
    }

    /// Decodes what was read into the scratch, and puts that back.
    fn use_scratch(&mut self, slot: u32, mut scratch: Box<[u8]>, got: Got, budget: &mut Budget) -> Step {
        let step = match got {
            Got::Bytes(count) => {
                let rest = self.decode_scratch(slot, &mut scratch[..count], budget);
                self.store_rest(slot, &scratch[rest.clone()]);
                Step::Again
            }
            other => self.no_bytes(slot, other),
        };
        self.scratch = scratch;
        step
    }

    /// Reads into a block that holds a message like the last one. The block stays only if more has come than the
    /// scratch holds: what is expected earns nothing.
    fn read_like_last(&mut self, slot: u32, mut block: Block, budget: &mut Budget) -> Step {
        // A message as long as the turn and its framing are one read.
        let window = block.capacity().min(budget.bytes.saturating_add(HEADROOM));
        let got = self.read(slot, &mut block.room_mut()[..window], budget);
        match got {
            Got::Bytes(count) if count > self.scratch.len() => {
                block.fill(count);
                let Some(connection) = self.table.at_mut(slot) else { return Step::Stop };
                connection.inbound.adopt(block);
                connection.flags.undecoded = true;
                self.links.metrics.bytes_buffered.add(count);
                self.note_holder(slot, count);
                Step::Again
            }
            Got::Bytes(count) => {
                let mut scratch = mem::take(&mut self.scratch);
                scratch[..count].copy_from_slice(&block.room_mut()[..count]);
                self.put_inbound(Some(block));
                if let Some(connection) = self.table.at_mut(slot) {
                    connection.last_length = 0;
                }
                self.use_scratch(slot, scratch, got, budget)
            }
            other => {
                self.put_inbound(Some(block));
                self.no_bytes(slot, other)
            }
        }
    }

    fn read_into_block(&mut self, slot: u32, budget: &mut Budget) -> Step {
        if !self.make_room(slot) {
            return Step::Stop;
        }
        let Some(connection) = self.table.at_mut(slot) else { return Step::Stop };
        let mut inbound = mem::take(&mut connection.inbound);
        let (needs, had) = (connection.needs as usize, inbound.buffered());
        let room = inbound.room_mut(needs);
        // No further than to the end of a message that the scratch could hold: behind it the connection is read into
        // the scratch again, many messages at once. Otherwise the beginning of the next would keep it in a block in
        // which there is room for one.
        let most = if (had + 1..=self.scratch.len()).contains(&needs) { needs - had } else { room.len() };
        let window = room.len().min(most).min(budget.bytes.max(1));
        let got = self.read(slot, &mut room[..window], budget);
        if let Got::Bytes(count) = got {
            inbound.fill(count);
        }
        let Some(connection) = self.table.at_mut(slot) else { return Step::Stop };
        connection.inbound = inbound;
        match got {
            Got::Bytes(count) => {
                connection.flags.undecoded = true;
                connection.deadlines.message_grows(self.now, count);
                self.links.metrics.bytes_buffered.add(count);
                self.note_received(slot, count);
                Step::Again
            }
            other => self.no_bytes(slot, other),
        }
    }

    /// One `read`. A short one means that nothing more had arrived; only the end of the stream may still be behind it.
    // Once in each turn, and not a call: with `flush`, 34 instructions of 1749.
    #[inline(always)]
    fn read(&mut self, slot: u32, window: &mut [u8], budget: &mut Budget) -> Got {
        let Some(connection) = self.table.at_mut(slot) else { return Got::Nothing };
        loop {
            return match connection.socket.read(window) {
                Ok(0) => Got::End,
                Ok(count) => {
                    if count < window.len() && !connection.flags.read_closed {
                        connection.flags.readable = false;
                    }
                    connection.deadlines.touch(self.now);
                    budget.bytes = budget.bytes.saturating_sub(count);
                    self.links.metrics.bytes_in.add(count);
                    Got::Bytes(count)
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    connection.flags.readable = false;
                    Got::Nothing
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Got::Failed(error.kind()),
            };
        }
    }

    fn no_bytes(&mut self, slot: u32, got: Got) -> Step {
        match got {
            Got::End => self.end_of_stream(slot),
            Got::Failed(kind) => self.socket_failed(slot, kind),
            Got::Bytes(_) | Got::Nothing => {}
        }
        Step::Stop
    }

    /// The peer will say nothing more. What it is owed still goes out.
    fn end_of_stream(&mut self, slot: u32) {
        let Some(connection) = self.table.at_mut(slot) else { return };
        connection.flags.end_read = true;
        connection.flags.readable = false;
        let reason = match connection.inbound.buffered() {
            0 => CloseReason::PeerClosed,
            bytes => CloseReason::PeerIncomplete { bytes },
        };
        self.begin_close(slot, reason, None);
    }

    /// Decodes and handles what lies in the scratch; returns what has to be kept of it.
    fn decode_scratch(&mut self, slot: u32, bytes: &mut [u8], budget: &mut Budget) -> std::ops::Range<usize> {
        let mut at = 0;
        while at < bytes.len() && self.may_decode(slot, bytes.len() - at, budget) {
            let Some(connection) = self.table.at_mut(slot) else { break };
            match checked_decode(&self.links.metrics, &mut connection.protocol, &mut bytes[at..]) {
                Ok(Decode::Complete { consumed, layout }) => {
                    let message = at..at + consumed;
                    at += consumed;
                    budget.messages -= 1;
                    self.process_shared(slot, layout, &bytes[message]);
                }
                Ok(Decode::Partial { needs, keep }) => {
                    self.note_partial(slot, needs, bytes.len() - at, keep);
                    return at..at + keep;
                }
                Err(error) => {
                    self.drop_inbound(DropReason::Refused, bytes.len() - at);
                    self.refuse_protocol(slot, error);
                    return 0..0;
                }
            }
        }
        if at < bytes.len() {
            self.keep_undecoded(slot);
        }
        at..bytes.len()
    }

    /// Decodes and handles what lies in the connection's own block.
    fn decode_buffered(&mut self, slot: u32, budget: &mut Budget) -> Step {
        let Some(connection) = self.table.at(slot) else { return Step::Stop };
        let buffered = connection.inbound.buffered();
        if !self.may_decode(slot, buffered, budget) {
            return Step::Stop;
        }
        let Some(Connection { protocol, inbound, .. }) = self.table.at_mut(slot) else { return Step::Stop };
        match checked_decode(&self.links.metrics, protocol, inbound.live_mut()) {
            Ok(Decode::Complete { consumed, layout }) => {
                budget.messages -= 1;
                self.process_buffered(slot, layout, consumed);
                let Some(connection) = self.table.at_mut(slot) else { return Step::Stop };
                connection.flags.undecoded = connection.inbound.buffered() > 0;
            }
            Ok(Decode::Partial { needs, keep }) => self.keep_partial(slot, needs, keep),
            Err(error) => {
                self.release_inbound(slot, DropReason::Refused);
                self.refuse_protocol(slot, error);
            }
        }
        Step::Again
    }

    fn refuse_protocol(&mut self, slot: u32, error: ProtocolError) {
        self.refuse(slot, CloseReason::Protocol(error.clone()), Refusal::Protocol(error));
    }

    /// Keeps the unfinished message in its block, without the framing that was read already.
    fn keep_partial(&mut self, slot: u32, needs: Option<usize>, keep: usize) {
        let Some(connection) = self.table.at_mut(slot) else { return };
        connection.flags.undecoded = false;
        let before = connection.inbound.buffered();
        connection.inbound.keep(keep);
        self.links.metrics.bytes_buffered.sub(before - keep);
        self.note_partial(slot, needs, before, keep);
        if keep == 0 {
            self.release_inbound(slot, DropReason::Incomplete);
        }
    }

    /// A message is not whole: counts its framing, remembers what it needs, and lets the protocol speak.
    fn note_partial(&mut self, slot: u32, needs: Option<usize>, had: usize, keep: usize) {
        self.links.metrics.bytes_framing.add(had - keep);
        let (desk, now) = (&mut self.desk, self.now);
        let Some(connection) = self.table.at_mut(slot) else { return };
        connection.needs = u32::try_from(needs.unwrap_or(0)).unwrap_or(u32::MAX);
        // Where nothing is kept no message has begun: those were empty lines between two, or the like.
        if keep > 0 && connection.deadlines.received() == 0 {
            connection.deadlines.message_grows(now, had);
        }
        desk.out.begin();
        let spoken = foreign(&self.links.metrics, "interim", || connection.protocol.interim(&mut desk.out));
        let said = match (spoken, desk.out.finish()) {
            (Ok(()), Ok(bytes)) => bytes,
            // Nobody waits for it in earnest (RFC 9110 section 10.1.1): without room it stays unsaid.
            _ => {
                desk.out.roll_back();
                0
            }
        };
        if spoken == Err(Panicked) {
            // Its state may be half changed.
            return self.refuse_protocol(slot, ProtocolError::new("the protocol panicked in `interim`"));
        }
        self.links.metrics.bytes_queued.add(said);
        self.links.metrics.bytes_outbound.add(said);
    }

    fn keep_undecoded(&mut self, slot: u32) {
        if let Some(connection) = self.table.at_mut(slot) {
            connection.flags.undecoded = connection.ending.is_none();
        }
    }

    /// Moves what is left of the scratch into a block of the connection's own.
    fn store_rest(&mut self, slot: u32, rest: &[u8]) {
        if rest.is_empty() {
            return;
        }
        let Some(connection) = self.table.at_mut(slot) else {
            return self.drop_inbound(DropReason::Undecoded, rest.len());
        };
        if connection.ending.is_some() {
            connection.flags.said_last = false;
            return self.drop_inbound(DropReason::AfterClose, rest.len());
        }
        let needs = connection.needs as usize;
        let block = self.block_for_rest(rest.len(), needs);
        let Some(connection) = self.table.at_mut(slot) else { return };
        let Some(mut block) = block else {
            // The window was chosen so that this does not happen; if it does, one connection ends, not the server.
            self.drop_inbound(DropReason::Incomplete, rest.len());
            let why = CloseReason::NoRoom { wanted: rest.len(), limit: None };
            return self.refuse(slot, why, self.overloaded());
        };
        block.truncate(0);
        block.push(rest);
        connection.inbound.adopt(block);
        self.links.metrics.bytes_buffered.add(rest.len());
        self.note_holder(slot, rest.len());
    }

    pub(super) fn drop_inbound(&mut self, reason: DropReason, bytes: usize) {
        self.links.metrics.bytes_dropped[reason as usize].add(bytes);
    }

    /// Gives the connection's block up with whatever it holds.
    pub(super) fn release_inbound(&mut self, slot: u32, reason: DropReason) {
        let Some(connection) = self.table.at_mut(slot) else { return };
        let bytes = connection.inbound.buffered();
        let block = connection.inbound.release();
        connection.flags.undecoded = false;
        connection.deadlines.message_ends();
        self.links.metrics.bytes_buffered.sub(bytes);
        self.drop_inbound(reason, bytes);
        self.forget_holder(slot);
        self.put_inbound(block);
    }
}

/// Asks the protocol, and believes neither a third party's arithmetic nor that it never panics: LAW one peer.
///
/// What it says stays where it was written, and is looked at there: that is as long as a layout is, and moving it takes
/// longer than asking.
#[inline(always)]
fn checked_decode<P: Protocol>(
    metrics: &Metrics,
    protocol: &mut P,
    bytes: &mut [u8],
) -> Result<Decode<P::Layout>, ProtocolError> {
    let length = bytes.len();
    let mut decoded = None;
    let _ = foreign(metrics, "decode", || decoded = Some(protocol.decode(bytes)));
    let wrong = match &decoded {
        Some(Ok(Decode::Complete { consumed, .. })) if !(1..=length).contains(consumed) => "consumed",
        Some(Ok(Decode::Partial { keep, .. })) if *keep > length => "kept",
        _ => return decoded.unwrap_or_else(|| Err(ProtocolError::new("the decoder panicked"))),
    };
    Err(insane(metrics, decoded, wrong, length))
}

#[cold]
fn insane<T>(metrics: &Metrics, decoded: T, wrong: &str, length: usize) -> ProtocolError {
    // The end of a layout is foreign, too.
    let _ = foreign(metrics, "decode", || drop(decoded));
    ProtocolError::new(format!("the decoder {wrong} other than what the {length} bytes it had allow"))
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
