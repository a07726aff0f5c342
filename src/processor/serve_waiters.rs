//! Connections that wait in lines, and how they are served: in order, and one by one.
//!
//! No connection overtakes another. One that comes while others wait stands behind them. One that is served has its
//! turn at once, before others of the cycle could take what it was given, and hands over one message. So a connection
//! is served after as many messages as there are connections before it or, if it waits for a block to be read into,
//! after as many reads.

use std::time::Instant;

use super::shortage::Shortage;
use super::turn::Budget;
use super::waiters::{LineFor, Waiter, Wants};
use super::{Processor, Selector};
use crate::buffer::{MEDIUM, TIERS};
use crate::connection::NOT_WAITING;
use crate::message_processor::MessageProcessor;
use crate::protocol::Protocol;
use crate::reason::PauseReason;

impl<S: Selector, P: Protocol, M: MessageProcessor<P>> Processor<S, P, M> {
    /// True if it is still in that wait.
    pub(super) fn still_waits(&self, waiter: &Waiter, reason: PauseReason) -> bool {
        self.table.at(waiter.slot).is_some_and(|connection| waiter.is_of(connection, reason))
    }

    /// True if a connection that came earlier stands in that line: then this one has to stand there, too.
    #[inline]
    pub(super) fn is_behind(&self, slot: u32, line: LineFor) -> bool {
        !self.waiters.are_none() && self.comes_after_the_first(slot, line)
    }

    #[cold]
    fn comes_after_the_first(&self, slot: u32, line: LineFor) -> bool {
        let Some(connection) = self.table.at(slot) else { return false };
        self.waiters.front(line).is_some_and(|front| front.first_wait < connection.first_wait)
    }

    /// Pauses the connection in a line. Entries of connections that have ended are cleared away before the line could
    /// outgrow its bound of one place for each connection.
    pub(super) fn stand_in_line(&mut self, slot: u32, line: LineFor, wants: Wants) {
        let reason = line.reason();
        self.pause(slot, reason);
        if let Some(tier) = line.tier() {
            self.links.metrics.block_waits[tier].add(1);
        }
        let wait = self.waiters.next_wait();
        let Some(connection) = self.table.at_mut(slot) else { return };
        connection.wait = wait;
        connection.first_wait = connection.first_wait.min(wait);
        let waiter = Waiter { slot, wants, wait, first_wait: connection.first_wait, since: self.now };
        if self.waiters.len(line) >= self.settings.connections_each {
            let Self { waiters, table, .. } = self;
            waiters.retain(line, |waiter| table.at(waiter.slot).is_some_and(|found| waiter.is_of(found, reason)));
        }
        self.waiters.join(line, waiter);
    }

    /// Takes out of a line the first connection that still waits in it and may be served.
    pub(super) fn next_in(&mut self, line: LineFor) -> Option<Waiter> {
        while let Some(front) = self.waiters.first_due(line) {
            self.waiters.leave(line);
            if self.still_waits(&front, line.reason()) {
                return Some(front);
            }
        }
        None
    }

    /// Ends a wait with a turn for this connection alone, even if it is expected to want much: by a later turn, what it
    /// was served with may be gone.
    pub(super) fn serve(&mut self, slot: u32, reason: PauseReason) {
        if !self.clear_pause(slot, reason) {
            return;
        }
        self.turn(slot, Budget::first(self.settings.turn));
        if let Some(connection) = self.table.at_mut(slot).filter(|connection| connection.paused.is_empty()) {
            connection.first_wait = NOT_WAITING;
        }
    }

    /// Every connection that waited at the start of this cycle has been served, and something is left. Connections that
    /// queued during the cycle leave the line and continue like all that have used up their turn; otherwise busy
    /// connections would queue behind each other forever, one message at a time. Connections that have already waited
    /// in another line stay.
    pub(super) fn dissolve(&mut self, line: LineFor) {
        while let Some(front) = self.waiters.front(line).filter(|front| self.waiters.is_late(front)) {
            self.waiters.leave(line);
            if !self.still_waits(&front, line.reason()) {
                continue;
            }
            self.pause(front.slot, PauseReason::Turn);
            self.clear_pause(front.slot, line.reason());
            if let Some(connection) = self.table.at_mut(front.slot) {
                connection.first_wait = NOT_WAITING;
            }
            self.requeue(front.slot);
        }
    }

    /// Serves those that wait, as far as there is something for them; evicts others when they have waited too long.
    pub(super) fn relieve_waiters(&mut self) {
        self.waiters.open();
        if !self.waiters.are_none() {
            LineFor::of_blocks().for_each(|line| self.relieve_line(line));
        }
        self.relieve_outbound();
        if !self.waiters.are_none() {
            self.resume_owed_room();
        }
        self.resume_not_ready();
    }

    /// Before sleeping: asks to be woken by blocks that other threads bring home.
    pub(super) fn listen_for_blocks(&self) {
        if !self.waiters.are_none() && LineFor::of_blocks().any(|line| !self.waiters.is_empty(line)) {
            self.links.inbound.line().tell_processor();
        }
        if !self.waiters.is_empty(LineFor::AnswerRoom) || self.repayment_is_awaited() {
            self.links.outbound.line().tell_processor();
        }
    }

    /// True if a cycle would serve a waiting connection, or begin to time its wait.
    pub(super) fn could_relieve(&self) -> bool {
        let others = self.encoder_waits_unseen() || self.slow_output_unseen();
        if self.waiters.are_none() {
            return others || self.waiters.resuming || (self.repayment_is_awaited() && self.could_repay());
        }
        let blocks = LineFor::of_blocks().any(|line| self.could_serve(line));
        let answers = !self.waiters.is_empty(LineFor::AnswerRoom) && self.has_room_for_answer();
        let repaid = self.repayment_is_awaited() && self.could_repay();
        let owed = !self.waiters.is_empty(LineFor::OwedRoom) && self.desk.owed.has_room();
        blocks || answers || repaid || owed || others || self.waiters.resuming
    }

    /// True if the first in line would be served, is gone, or was not seen yet.
    fn could_serve(&self, line: LineFor) -> bool {
        let (Some(front), Some(tier)) = (self.waiters.front(line), line.tier()) else { return false };
        match front.wants {
            // The time of a connection that has since come to the front does not run yet.
            _ if self.waiters.evict_at(line).is_none() => true,
            _ if !self.still_waits(&front, PauseReason::NoBlocks) => true,
            Wants::Promotion => self.could_get_remainder_block(tier),
            Wants::ReadBlocks => {
                (self.could_get_remainder_block(tier) && self.could_get_spare(tier)) || self.could_read_medium()
            }
            Wants::AskAgain => self.could_get_spare(tier),
        }
    }

    /// True if a partial message would find a block of that tier without an eviction.
    pub(super) fn could_get_remainder_block(&self, tier: usize) -> bool {
        self.remainder_blocks.has(tier) || self.inbound.available(tier) > usize::from(!self.spares.has(tier))
    }

    /// The same for a spare of that tier, or a larger one.
    pub(super) fn could_get_spare(&self, tier: usize) -> bool {
        (tier..TIERS).any(|tier| self.spares.has(tier) || self.inbound.available(tier) > 0)
    }

    /// When a shortage has to be acted on next: by an eviction, or by giving up output that is taken too slowly.
    pub(super) fn famine_due(&self) -> Option<Instant> {
        if self.waiters.are_none() {
            return self.slow_output_due();
        }
        let evictions = LineFor::of_blocks().map(|line| self.waiters.evict_at(line));
        evictions.chain([self.slow_output_due()]).flatten().min()
    }

    /// Serves a line for blocks as far as there are blocks, each connection in it once.
    fn relieve_line(&mut self, line: LineFor) {
        let Some(tier) = line.tier() else { return };
        let mut served_any = false;
        while let Some(front) = self.waiters.first_due(line) {
            let slot = front.slot;
            if !self.still_waits(&front, PauseReason::NoBlocks) {
                self.waiters.leave(line);
                continue;
            }
            let served = match front.wants {
                Wants::Promotion => {
                    let block = self.block_for_promotion(tier);
                    block.map(|block| self.promote(slot, block)).is_some()
                }
                Wants::ReadBlocks => self.ensure_read_blocks(slot, tier),
                Wants::AskAgain => self.ensure_spare(slot, tier),
            };
            if served {
                served_any = true;
                self.waiters.leave(line);
                // Served at once, so that the bytes that it could not send while it waited count for it when the next
                // in line evicts a holder.
                self.serve(slot, PauseReason::NoBlocks);
            } else if !self.evict_when_due(line, tier, front) {
                return;
            }
        }
        if served_any {
            self.dissolve(line);
        }
    }

    /// Enough for a small read, or for a medium one if no connection waits for that: the turn itself decides how much
    /// it may read.
    fn ensure_read_blocks(&mut self, slot: u32, tier: usize) -> bool {
        let small = self.ensure_spare(slot, tier) && self.ensure_remainder_block(slot, tier);
        small
            || (self.could_read_medium()
                && self.ensure_spare(slot, MEDIUM)
                && self.ensure_remainder_block(slot, MEDIUM))
    }

    fn could_read_medium(&self) -> bool {
        self.waiters.is_empty(LineFor::Block(MEDIUM))
            && self.could_get_remainder_block(MEDIUM)
            && self.could_get_spare(MEDIUM)
    }

    fn ensure_spare(&mut self, slot: u32, tier: usize) -> bool {
        self.ensure_spare_for_bytes(slot, self.links.inbound.tiers()[tier].capacity())
    }

    /// Evicts a holder of the tier once the first in its line has waited for the famine time; true if there was one.
    fn evict_when_due(&mut self, line: LineFor, tier: usize, front: Waiter) -> bool {
        let (now, famine) = (self.now, self.settings.timeouts.famine);
        let due = *self.waiters.evict_at_mut(line).get_or_insert(front.since + famine);
        if now < due {
            return false;
        }
        let evicted = self.evict_least(front.slot, tier);
        let of_tier = &self.links.inbound.tiers()[tier];
        if !evicted && of_tier.kept() >= of_tier.count() / 2 {
            self.tell_of_shortage(Shortage::Kept(tier));
        }
        // No holder could be evicted: all of them wait for the server, or will soon be done. Look again later, not at
        // once.
        *self.waiters.evict_at_mut(line) = Some(if evicted { now } else { now + self.quarters.length() });
        evicted
    }

    /// Replies were settled: as many of the connections that waited because too many were owed go on as there is room
    /// for. Those that defer nothing leave their room to the next.
    fn resume_owed_room(&mut self) {
        while self.desk.owed.has_room() {
            let Some(waiter) = self.next_in(LineFor::OwedRoom) else { return self.dissolve(LineFor::OwedRoom) };
            self.serve(waiter.slot, PauseReason::Owed);
        }
    }

    /// The user may be ready again: those that wait ask in turn, until the answer is no. The one that got it stands
    /// first again.
    fn resume_not_ready(&mut self) {
        while self.waiters.resuming {
            let Some(waiter) = self.next_in(LineFor::Ready) else {
                self.dissolve(LineFor::Ready);
                // The rest ask in the next cycle.
                self.waiters.resuming = !self.waiters.is_empty(LineFor::Ready);
                return;
            };
            self.serve(waiter.slot, PauseReason::NotReady);
        }
    }
}
