//! Decodes the bytes that were read: whole messages are handled, and the rest is kept.

use std::ops::Range;

use super::foreign::foreign;
use super::turn::{Budget, Step};
use super::{Processor, Selector};
use crate::connection::{CloseReason, Connection};
use crate::message_processor::MessageProcessor;
use crate::metrics::Metrics;
use crate::panics::Panicked;
use crate::protocol::{Decode, Protocol, ProtocolError};
use crate::reason::DropReason;

impl<S: Selector, P: Protocol, M: MessageProcessor<P>> Processor<S, P, M> {
    /// Decodes and handles the bytes in the scratch; returns the part that has to be kept.
    pub(super) fn decode_scratch(&mut self, slot: u32, bytes: &mut [u8], budget: &mut Budget) -> Range<usize> {
        let (mut at, is_final) = (0, self.answers_are_final());
        while at < bytes.len() && self.may_decode(slot, bytes.len() - at, budget) {
            let Some(connection) = self.table.at_mut(slot) else { break };
            match checked_decode(&self.links.metrics, &mut connection.protocol, &mut bytes[at..]) {
                Ok(Decode::Complete { consumed, layout }) => {
                    let message = at..at + consumed;
                    at += consumed;
                    budget.messages -= 1;
                    self.process_shared(slot, layout, &bytes[message], is_final);
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

    /// Decodes and handles the bytes in the connection's own block.
    pub(super) fn decode_buffered(&mut self, slot: u32, budget: &mut Budget) -> Step {
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
        self.refuse(slot, CloseReason::Protocol(error));
    }

    /// Keeps the unfinished message in its block, without the framing that has already been read.
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
        let now = self.now;
        let Some(connection) = self.table.at_mut(slot) else { return };
        connection.needs = u32::try_from(needs.unwrap_or(0)).unwrap_or(u32::MAX);
        // If nothing is kept, no message has begun: the bytes were empty lines between two messages, or the like.
        if keep > 0 && connection.deadlines.received() == 0 {
            connection.deadlines.message_grows(now, had);
        }
        // Without room it is not sent: the peer must not depend on it (RFC 9110 section 10.1.1).
        if self.speak(slot, "interim", P::interim) == Err(Panicked) {
            // The protocol's state may be half changed.
            self.refuse_protocol(slot, ProtocolError::new("the protocol panicked in `interim`"));
        }
    }

    fn keep_undecoded(&mut self, slot: u32) {
        if let Some(connection) = self.table.at_mut(slot) {
            connection.flags.undecoded = connection.ending.is_none();
        }
    }

    /// Moves the rest of the scratch into a block of the connection's own.
    pub(super) fn store_remainder(&mut self, slot: u32, rest: &[u8]) {
        if rest.is_empty() {
            return;
        }
        let Some(connection) = self.table.at_mut(slot) else {
            return self.drop_inbound(DropReason::Undecoded, rest.len());
        };
        if connection.ending.is_some() {
            connection.flags.sends_no_more = false;
            return self.drop_inbound(DropReason::AfterClose, rest.len());
        }
        let needs = connection.needs as usize;
        let block = self.block_for_remainder(rest.len(), needs);
        let Some(connection) = self.table.at_mut(slot) else { return };
        let Some(mut block) = block else {
            // The window was chosen so that this does not happen; if it does, one connection ends, not the server.
            self.drop_inbound(DropReason::Incomplete, rest.len());
            let why = CloseReason::NoRoom { wanted: rest.len(), limit: None };
            return self.refuse(slot, why);
        };
        block.truncate(0);
        block.push(rest);
        connection.inbound.adopt(block);
        self.links.metrics.bytes_buffered.add(rest.len());
        self.note_holder(slot, rest.len());
    }
}

/// Asks the protocol, and believes neither a third party's arithmetic nor that it never panics: LAW one peer.
///
/// The result is looked at where it was written: it is as long as a layout, and moving it would take longer than asking
/// for it.
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
