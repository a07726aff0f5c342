//! What other threads left: new sockets, settled replies, unasked messages, and the word that the user is ready again.

use std::mem;
use std::net::IpAddr;

use super::foreign::foreign;
use super::{Processor, Selector};
use crate::buffer::{QUEUED_SEGMENTS, Segment};
use crate::connection::{CloseReason, Connection, CrowdScope, Stage, WhenFull};
use crate::handover::Accepted;
use crate::id::ConnectionId;
use crate::message_processor::MessageProcessor;
use crate::outbox::{Encoded, HeldBack, Settled, Unanswered, Unasked};
use crate::protocol::{After, Peer, Protocol};
use crate::reason::PauseReason;

/// New sockets a cycle, so that a storm of connections does not hold up those that are there.
const SOCKETS_PER_CYCLE: usize = 256;

impl<S: Selector, P: Protocol, M: MessageProcessor<P>> Processor<S, P, M> {
    /// Takes accepted sockets out of the hand-over.
    pub(super) fn take_new_sockets(&mut self) {
        for _ in 0..SOCKETS_PER_CYCLE {
            let Some(accepted) = self.links.handover.take() else { return };
            self.open(accepted);
        }
    }

    fn open(&mut self, accepted: Accepted<S::Socket>) {
        let Accepted { socket, address } = accepted;
        let (now, prototype) = (self.now, &self.prototype);
        let Ok(protocol) = foreign(&self.links.metrics, "clone", || prototype.clone()) else {
            self.links.metrics.accepted_unserved.add(1);
            drop(socket);
            return self.links.handover.ended();
        };
        let slot = self.table.insert(|id| Connection::new(Peer { connection: id, address }, socket, protocol, now));
        // LAW one peer: the connection that had the slot before may have left a place there, which would be a second
        // turn.
        self.queues.read_on.remove(slot);
        self.queues.write_on.remove(slot);
        self.links.metrics.open.add(1);
        self.tell_opened(slot);
        self.refuse_if_crowded(slot, address.ip());
        // It was accepted because its peer has come, and mostly what it wants has come with it.
        self.look_once_more(slot);
    }

    /// Refuses a newcomer where that is configured; otherwise those that are too many wait in the backlog.
    fn refuse_if_crowded(&mut self, slot: u32, address: IpAddr) {
        let Err(scope) = self.links.crowd.add(address) else { return };
        let limit = match scope {
            CrowdScope::Address => self.settings.admission.per_address_max,
            CrowdScope::Server => self.settings.admission.refuse_above,
        };
        self.refuse(slot, CloseReason::Crowded { limit, scope });
    }

    fn tell_opened(&mut self, slot: u32) {
        let Self { user, desk, table, links, .. } = self;
        let Some(connection) = table.at_mut(slot) else { return };
        let peer = connection.peer;
        links.outbox.opened(peer.connection);
        log::debug!("{} opened: {}", peer.connection, peer.address);
        let told = foreign(&links.metrics, "opened", || {
            user.opened(&peer, &desk.proxy);
            user.when_full(&peer)
        });
        connection.flags.close_when_full = matches!(told, Ok(WhenFull::Close));
    }

    /// True if there is room for one more answer in the connections' queues. Without it answers wait in the outbox.
    pub(super) fn can_take_outbound(&self) -> bool {
        self.segments.room() >= QUEUED_SEGMENTS
    }

    /// Takes what workers and proxies have written, and asks the user again if a thread said so.
    pub(super) fn take_outbound(&mut self) {
        self.take_answers();
        if self.links.outbox.take_resumed() {
            self.waiters.resuming = true;
        }
    }

    /// Takes settled replies and unasked messages, as far as there is room for them, and begins the ends that were
    /// asked for.
    pub(super) fn take_answers(&mut self) {
        // Asked before the queue is looked at: so what was sent before the end was asked for is in it.
        self.take_closes();
        let taken = self.messages_taken;
        self.take_all_settled();
        for _ in 0..self.links.outbox.unasked.len() {
            if !self.take_message(0) {
                break;
            }
        }
        if self.messages_taken > taken && mem::take(&mut self.ends_wait) {
            self.table.slots().for_each(|slot| self.enqueue_if_waiting(slot));
        }
    }

    /// Settled replies in their order. Behind a final answer its connection is sent nothing more, so what was sent to
    /// it before comes first; without room for that, the answer is held back, and those behind it wait.
    fn take_all_settled(&mut self) {
        for _ in 0..self.links.outbox.settled_waiting() {
            if !self.can_take_outbound() {
                break;
            }
            let Some(next) = self.links.outbox.take_held_back().or_else(|| self.next_settled()) else { break };
            if !self.take_messages_before(&next) {
                self.links.outbox.hold_back(next);
                break;
            }
            self.take_settled(next.settled);
        }
    }

    fn next_settled(&self) -> Option<HeldBack> {
        let settled = self.links.outbox.settled.pop()?;
        let messages_before = if settled.is_final() { self.messages_sent() } else { 0 };
        Some(HeldBack { settled, messages_before })
    }

    /// How many unasked messages the processor will have taken once it has all that were sent until now.
    pub(super) fn messages_sent(&self) -> u64 {
        self.messages_taken + self.links.outbox.unasked.len() as u64
    }

    /// Takes messages in their order until the connection has all that were sent to it before this reply. False if room
    /// ran out before.
    fn take_messages_before(&mut self, next: &HeldBack) -> bool {
        let Some(slot) = self.find(next.settled.connection) else { return true };
        while self.messages_taken < next.messages_before && self.has_more_on_its_way(slot) {
            if !self.take_message(QUEUED_SEGMENTS) {
                return false;
            }
        }
        true
    }

    /// Takes one message, if there is one, and room for it and `spare` segments more.
    fn take_message(&mut self, spare: usize) -> bool {
        if self.segments.room() < QUEUED_SEGMENTS + spare {
            return false;
        }
        let Some(unasked) = self.links.outbox.unasked.pop() else { return false };
        self.messages_taken += 1;
        self.take_unasked(unasked);
        true
    }

    /// Takes an end further that has perhaps waited for a message, which may have been for another connection.
    fn enqueue_if_waiting(&mut self, slot: u32) {
        if self.stage(slot) == Some(Stage::Owed) {
            self.enqueue_ending(slot);
        }
    }

    /// Looks through all gauges, but only if somebody has asked. A queue of those who are to close would need a place
    /// for each connection.
    fn take_closes(&mut self) {
        if !self.links.outbox.take_close_asked() {
            return;
        }
        for slot in self.table.slots() {
            if self.links.outbox.is_to_abort(slot) {
                self.close_now(slot, CloseReason::User);
            } else if self.links.outbox.is_to_close(slot) {
                self.begin_close(slot, CloseReason::User);
            }
        }
    }

    /// The slot of `id`, if that connection still lives.
    fn find(&self, id: ConnectionId) -> Option<u32> {
        let connection = self.table.at(id.slot())?;
        (connection.id() == id).then_some(id.slot())
    }

    fn take_settled(&mut self, settled: Settled) {
        let Settled { connection: id, ticket, answer } = settled;
        let slot = self.find(id);
        if let Some(connection) = slot.and_then(|slot| self.table.at_mut(slot)) {
            self.desk.owed.unlink(&mut connection.owed, ticket);
        }
        self.desk.owed.retire(ticket);
        let Some(slot) = slot.filter(|slot| self.takes_replies(*slot)) else {
            return self.count_stale(answer.map_or(0, |encoded| encoded.bytes));
        };
        self.take_answer(slot, answer);
        self.reply_settled(slot);
    }

    /// False once a connection has given up the replies that it was owed, or is past them: what comes still is late.
    fn takes_replies(&self, slot: u32) -> bool {
        self.table.at(slot).is_some_and(Connection::waits_for_replies)
    }

    fn take_answer(&mut self, slot: u32, answer: Result<Encoded, Unanswered>) {
        match answer {
            Ok(encoded) => {
                self.links.outbox.count_queued(slot, encoded.bytes);
                self.queue(slot, encoded);
            }
            Err(why) => {
                if matches!(why, Unanswered::Failed(_)) {
                    self.count_rolled_back(0);
                }
                self.refuse_unanswered(slot, why);
            }
        }
    }

    /// One reply less is owed: the connection may go on, or go on ending.
    fn reply_settled(&mut self, slot: u32) {
        let Some(connection) = self.table.at(slot) else { return };
        // Held up by what it is owed itself. One that waits for room among all connections keeps its place in that
        // line.
        if P::IN_ORDER || connection.owed.count() + 1 == self.settings.owed_max {
            self.unpause(slot, PauseReason::Owed);
        }
        if self.table.at(slot).is_some_and(|connection| connection.ending.is_some()) {
            self.enqueue_ending(slot);
        }
        self.drain_if_finished(slot);
        self.rearm(slot);
    }

    fn take_unasked(&mut self, unasked: Unasked) {
        let Unasked { connection: id, encoded } = unasked;
        let takes = |slot: &u32| self.table.at(*slot).is_some_and(Connection::takes_unasked);
        let Some(slot) = self.find(id).filter(takes) else {
            self.links.outbox.discharge(id, encoded.bytes);
            return self.count_stale(encoded.bytes);
        };
        self.queue(slot, encoded);
        self.rearm(slot);
    }

    fn count_stale(&mut self, bytes: usize) {
        self.links.metrics.count_stale(bytes);
    }

    /// Puts finished bytes behind what the connection has still to deliver. They are counted as undelivered already.
    fn queue(&mut self, slot: u32, encoded: Encoded) {
        let Encoded { segments, bytes, after } = encoded;
        let Self { table, segments: all, desk, answer_room, .. } = self;
        let Some(connection) = table.at_mut(slot) else { return };
        // Where a part has to stay shared, a block for the rest would hold next to nothing.
        let is_copied = connection.flags.write_interest && segments.iter().all(Segment::is_little);
        for segment in segments {
            // A worker's answer may lie in the workers' reserve.
            answer_room.note_reserve(slot, &segment);
            let queue = &mut connection.undelivered;
            let pushed = match desk.out.pool_mut().filter(|_| is_copied) {
                Some(pool) => all.push_own(queue, segment, pool),
                None => all.push(queue, segment),
            };
            debug_assert!(pushed.is_ok(), "room was checked before the answer was taken");
        }
        // An answer may be empty: its peer keeps nothing waiting.
        if connection.undelivered.is_empty() {
            connection.deadlines.output_ends(self.now)
        } else {
            connection.deadlines.output_waits(self.now)
        }
        self.links.metrics.messages_out.add(1);
        self.links.metrics.count_queued(bytes);
        self.enqueue_write(slot);
        if after == After::Close {
            self.begin_close(slot, CloseReason::Finished);
            if let Some(ending) = self.table.at_mut(slot).and_then(|connection| connection.ending.as_mut()) {
                ending.final_answer_given = true;
            }
        }
    }
}
