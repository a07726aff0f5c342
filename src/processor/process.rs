//! Hands one message to the message processor, and deals with its outcome.

use std::io::Write;
use std::mem;

use super::foreign::foreign;
use super::{Processor, Selector};
use crate::buffer::Undelivered;
use crate::connection::{CloseReason, Connection};
use crate::message_processor::MessageProcessor;
use crate::outbox::{AtOnce, Outcome, Unanswered};
use crate::protocol::{After, Message, Protocol};
use crate::reason::{DropReason, PauseReason};

/// Names, for the log, the foreign code that runs for a message: the protocol's, and the user's with the encoding of
/// the answer.
const PROCESS: &str = "process";

impl<S: Selector, P: Protocol, M: MessageProcessor<P>> Processor<S, P, M> {
    /// Handles a message that lies at the front of `bytes`, which it shares with the bytes behind it.
    pub(super) fn process_shared(&mut self, slot: u32, layout: P::Layout, bytes: &[u8], is_final: bool) {
        let Self { user, desk, spares, table, links, .. } = self;
        let Some(connection) = table.at_mut(slot) else { return };
        desk.begin();
        let mut handed_over = false;
        let handled = foreign(&links.metrics, PROCESS, || {
            connection.flags.sends_no_more = P::sends_no_more(&layout);
            connection.flags.has_final_answer = is_final;
            let exchange = exchange_of::<P>(&layout, is_final);
            let Connection { peer, undelivered, socket, .. } = connection;
            let message = Message::shared(peer, layout, bytes, spares);
            handed_over = true;
            user.process(message, desk.reply(peer.connection, exchange, way(undelivered, socket)));
        });
        connection.message_ends(bytes.len());
        self.account(slot, bytes.len(), handed_over, handled.is_err());
    }

    /// Handles the message in the first `consumed` bytes of the connection's own block.
    pub(super) fn process_buffered(&mut self, slot: u32, layout: P::Layout, consumed: usize) {
        let is_final = self.answers_are_final();
        let Self { user, desk, spares, table, links, .. } = self;
        let Some(connection) = table.at_mut(slot) else { return };
        desk.begin();
        let mut handed_over = false;
        let handled = foreign(&links.metrics, PROCESS, || {
            connection.flags.sends_no_more = P::sends_no_more(&layout);
            connection.flags.has_final_answer = is_final;
            let exchange = exchange_of::<P>(&layout, is_final);
            let Connection { peer, inbound, undelivered, socket, .. } = connection;
            let message = if inbound.is_whole(consumed) {
                Message::whole(peer, layout, inbound)
            } else {
                Message::shared(peer, layout, &inbound.live()[..consumed], spares)
            };
            handed_over = true;
            user.process(message, desk.reply(peer.connection, exchange, way(undelivered, socket)));
        });
        connection.message_ends(consumed);
        self.links.metrics.bytes_buffered.sub(consumed);
        self.consume_buffered(slot, consumed);
        self.account(slot, consumed, handed_over, handled.is_err());
    }

    fn consume_buffered(&mut self, slot: u32, consumed: usize) {
        let Some(connection) = self.table.at_mut(slot) else { return };
        // The block is gone if the user took the message with it.
        let freed = match connection.inbound.tier() {
            Some(_) => connection.inbound.consume(consumed),
            None => None,
        };
        if connection.inbound.tier().is_none() {
            self.forget_holder(slot);
        }
        self.put_inbound(freed);
    }

    #[inline]
    fn account(&mut self, slot: u32, consumed: usize, handed_over: bool, panicked: bool) {
        let metrics = &self.links.metrics;
        if handed_over {
            metrics.messages_in.add(1);
            metrics.bytes_processed.add(consumed);
        } else {
            // The connection's protocol panicked.
            self.drop_inbound(DropReason::Refused, consumed);
        }
        match self.desk.outcome {
            // Usually there is nothing to do but to count.
            Outcome::Sent { after: After::KeepOpen, bytes, at_once: None } => self.count_sent(bytes),
            _ => self.apply_outcome(slot, panicked),
        }
    }

    #[inline]
    fn count_sent(&mut self, bytes: usize) {
        let metrics = &self.links.metrics;
        metrics.messages_out.add(1);
        metrics.count_queued(bytes);
        if self.desk.out.used_reserve() {
            metrics.reserve_used.add(1);
        }
    }

    #[inline(never)]
    fn apply_outcome(&mut self, slot: u32, panicked: bool) {
        match mem::replace(&mut self.desk.outcome, Outcome::Pending) {
            Outcome::Sent { after, bytes, at_once } => {
                self.count_sent(bytes);
                if let Some(AtOnce { delivered, broken }) = at_once {
                    self.links.metrics.count_delivered(delivered);
                    // LAW one peer: one large answer is enough for one turn.
                    self.pause(slot, PauseReason::Turn);
                    if let Some(kind) = broken {
                        self.way_out_broke(slot, kind);
                    }
                }
                if after == After::Close {
                    self.begin_close(slot, CloseReason::Finished);
                }
            }
            Outcome::Deferred { ticket } => self.owe(slot, ticket),
            Outcome::None => {}
            Outcome::Close => self.begin_close(slot, CloseReason::User),
            Outcome::Failed { error, rolled_back } => {
                self.count_rolled_back(rolled_back);
                self.refuse_unanswered(slot, Unanswered::Failed(error));
            }
            Outcome::Pending => {
                // A panic in the middle of `send` leaves half an answer behind.
                let rolled_back = self.desk.out.roll_back();
                self.count_rolled_back(rolled_back);
                self.refuse_unanswered(slot, Unanswered::unused(panicked));
            }
        }
    }

    pub(super) fn count_rolled_back(&mut self, bytes: usize) {
        self.links.metrics.messages_dropped[DropReason::RolledBack as usize].add(1);
        self.links.metrics.count_dropped(DropReason::RolledBack, bytes);
    }

    fn owe(&mut self, slot: u32, ticket: u32) {
        let Some(connection) = self.table.at_mut(slot) else { return };
        self.desk.owed.link(&mut connection.owed, ticket);
        if P::IN_ORDER || connection.owed.count() >= self.settings.owed_max {
            self.pause(slot, PauseReason::Owed);
        }
    }
}

/// The socket, if no earlier output is queued, so that this answer may be written directly.
fn way<'a, W: Write + Send>(waiting: &Undelivered, socket: &'a mut W) -> Option<&'a mut (dyn Write + Send)> {
    if waiting.is_empty() { Some(socket) } else { None }
}

fn exchange_of<P: Protocol>(layout: &P::Layout, is_final: bool) -> P::Exchange {
    let exchange = P::exchange(layout);
    if is_final { P::closing(exchange) } else { exchange }
}
