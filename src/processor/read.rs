//! Reading: which bytes are read into which memory.
//!
//! Between messages a connection is read into the scratch, which all share, and decoded there: a small request that
//! arrives whole never needs a block. An unfinished message moves into a block of its own, and the rest of that message
//! is read straight into it; bytes behind it go through the scratch again. A connection whose previous message was
//! larger than the scratch is read into a block at once.

use std::io::{self, Read};
use std::mem;

use super::turn::{Budget, Step};
use super::{Processor, Selector};
use crate::buffer::{Block, HEADROOM};
use crate::connection::{CloseReason, Flags};
use crate::message_processor::MessageProcessor;
use crate::protocol::Protocol;

/// The result of one read.
pub(super) enum Got {
    Bytes(usize),
    End,
    Nothing,
    Failed(io::ErrorKind),
}

impl<S: Selector, P: Protocol, M: MessageProcessor<P>> Processor<S, P, M> {
    /// Reads bytes that begin a new message.
    pub(super) fn read_next(&mut self, slot: u32, budget: &mut Budget) -> Step {
        let Some(window) = self.scratch_window(slot) else { return Step::Stop };
        let window = window.min(self.scratch.len());
        let block = if self.expects_much(slot) { self.block_like_previous(slot, window) } else { None };
        match block {
            Some(block) => self.read_like_previous(slot, block, budget),
            None => self.read_into_scratch(slot, window, budget),
        }
    }

    fn read_into_scratch(&mut self, slot: u32, window: usize, budget: &mut Budget) -> Step {
        let mut scratch = mem::take(&mut self.scratch);
        let got = self.read(slot, &mut scratch[..window], budget);
        self.use_scratch(slot, scratch, got, budget)
    }

    /// Decodes the bytes that were read into the scratch, and puts the scratch back.
    fn use_scratch(&mut self, slot: u32, mut scratch: Box<[u8]>, got: Got, budget: &mut Budget) -> Step {
        let step = match got {
            Got::Bytes(count) => {
                let rest = self.decode_scratch(slot, &mut scratch[..count], budget);
                self.store_remainder(slot, &scratch[rest.clone()]);
                Step::Again
            }
            other => self.no_bytes(slot, other),
        };
        self.scratch = scratch;
        step
    }

    /// Reads into a block that holds a message like the previous one. The block is kept only if more has come than the
    /// scratch holds: an expectation earns nothing.
    fn read_like_previous(&mut self, slot: u32, mut block: Block, budget: &mut Budget) -> Step {
        // A message as long as the turn's budget is read in one go, together with its framing.
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
                    connection.previous_length = 0;
                }
                self.use_scratch(slot, scratch, got, budget)
            }
            other => {
                self.put_inbound(Some(block));
                self.no_bytes(slot, other)
            }
        }
    }

    pub(super) fn read_into_block(&mut self, slot: u32, budget: &mut Budget) -> Step {
        if !self.make_room(slot) {
            return Step::Stop;
        }
        let Some(connection) = self.table.at_mut(slot) else { return Step::Stop };
        let mut inbound = mem::take(&mut connection.inbound);
        let (needs, had) = (connection.needs as usize, inbound.buffered());
        let room = inbound.room_mut(needs);
        // If the scratch could hold the message, no further than to its end: behind it the connection is read into the
        // scratch again, many messages at once. Otherwise the beginning of the next message would keep the connection
        // in a block that has room for only one.
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

    /// One `read` of bytes that are to be decoded.
    // Runs once in each turn, and is inlined: together with `flush` that saves 34 of 1749 instructions.
    #[inline(always)]
    fn read(&mut self, slot: u32, window: &mut [u8], budget: &mut Budget) -> Got {
        let Some(connection) = self.table.at_mut(slot) else { return Got::Nothing };
        let got = read_once(&mut connection.socket, &mut connection.flags, window);
        if let Got::Bytes(count) = got {
            connection.deadlines.touch(self.now);
            budget.bytes = budget.bytes.saturating_sub(count);
            self.links.metrics.bytes_in.add(count);
        }
        got
    }

    fn no_bytes(&mut self, slot: u32, got: Got) -> Step {
        match got {
            Got::End => self.end_of_stream(slot),
            Got::Failed(kind) => self.way_in_broke(slot, kind),
            Got::Nothing => self.look_if_broken(slot),
            Got::Bytes(_) => {}
        }
        Step::Stop
    }

    /// The peer will send nothing more. The replies that it is owed are still sent.
    fn end_of_stream(&mut self, slot: u32) {
        let Some(connection) = self.table.at_mut(slot) else { return };
        connection.flags.end_read = true;
        connection.flags.readable = false;
        let reason = match connection.inbound.buffered() {
            0 => CloseReason::PeerClosed,
            bytes => CloseReason::PeerIncomplete { bytes },
        };
        match connection.flags.broken {
            None => self.begin_close(slot, reason),
            // Nobody is left to receive the replies that are owed.
            Some(_) => self.close_now(slot, reason),
        }
    }
}

/// One `read`. A short one means that nothing more had arrived; only the end of the stream may still be behind it.
#[inline(always)]
pub(super) fn read_once(socket: &mut impl Read, flags: &mut Flags, window: &mut [u8]) -> Got {
    loop {
        return match socket.read(window) {
            Ok(0) => Got::End,
            Ok(count) => {
                if count < window.len() && !flags.read_closed {
                    flags.readable = false;
                }
                Got::Bytes(count)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                flags.readable = false;
                Got::Nothing
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Got::Failed(error.kind()),
        };
    }
}
