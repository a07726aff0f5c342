//! Who waits in line, and how they are served: in order, and one by one.

use std::collections::VecDeque;
use std::time::Instant;

use super::blocks::SMALL;
use super::{Processor, Selector};
use crate::buffer::TIERS;
use crate::id::ConnectionId;
use crate::message_processor::MessageProcessor;
use crate::protocol::Protocol;
use crate::reason::PauseReason;

/// A connection in a line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiter {
    pub(super) id: ConnectionId,
    since: Instant,
    wants: Wants,
}

/// What a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wants {
    /// A block of the line's tier for the message it has begun.
    Promotion,
    /// A spare, so that its message can be lent; or room for the rest, so that it can be read.
    Spare,
}

/// All lines. Each connection stands in one at most.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    pub(super) blocks: [VecDeque<Waiter>; TIERS],
    /// When the holder that received least is evicted, by tier.
    evict_at: [Option<Instant>; TIERS],
    /// Waiting until any answer has its place again.
    pub(super) answer_room: VecDeque<Waiter>,
    /// Waiting until fewer replies are owed.
    pub(super) owed_room: VecDeque<Waiter>,
    /// Waiting until the user is ready.
    pub(super) not_ready: VecDeque<Waiter>,
    /// The user may be ready for those who wait.
    pub(super) resuming: bool,
}

impl Waiters {
    /// Bytes that a connection's places in all lines take.
    pub(super) const PER_CONNECTION: usize = size_of::<Waiter>() * (TIERS + 3);

    /// Lines for `max` connections. Memory that was never needed is never touched.
    pub(super) fn new(max: usize) -> Self {
        let line = || VecDeque::with_capacity(max);
        let blocks = [line(), line(), line()];
        Self { blocks, answer_room: line(), owed_room: line(), not_ready: line(), ..Self::default() }
    }

    /// Places taken in the longest line.
    #[cfg(feature = "sim")]
    pub(super) fn longest(&self) -> usize {
        let lines = self.blocks.iter().chain([&self.answer_room, &self.owed_room, &self.not_ready]);
        lines.map(VecDeque::len).max().unwrap_or(0)
    }
}

impl<S: Selector, P: Protocol, M: MessageProcessor<P>> Processor<S, P, M> {
    /// A place in a line for the connection in `slot`.
    pub(super) fn waiter(&self, slot: u32) -> Waiter {
        let id = self.table.at(slot).map_or(ConnectionId::new(0, slot, 0), |connection| connection.id);
        Waiter { id, since: self.now, wants: Wants::Spare }
    }

    /// True if it is still that connection, and it still waits for that reason.
    pub(super) fn still_waits(&self, waiter: &Waiter, reason: PauseReason) -> bool {
        let Some(connection) = self.table.at(waiter.id.slot()) else { return false };
        connection.id == waiter.id && connection.paused.has(reason) && connection.ending.is_none()
    }

    pub(super) fn stand_in_line(&mut self, slot: u32, tier: usize, wants: Wants) {
        let waiter = Waiter { wants, ..self.waiter(slot) };
        self.pause(slot, PauseReason::NoBlocks);
        self.links.metrics.block_waits[tier].add(1);
        self.push_waiter(|waiters| &mut waiters.blocks[tier], waiter, PauseReason::NoBlocks);
    }

    /// Appends to a line. Those who left it otherwise (their connection ended) are cleared away before it could outgrow
    /// its bound of one place for each connection.
    pub(super) fn push_waiter(
        &mut self,
        line: impl Fn(&mut Waiters) -> &mut VecDeque<Waiter>,
        waiter: Waiter,
        reason: PauseReason,
    ) {
        if line(&mut self.waiters).len() >= self.settings.connections_max {
            let mut all = std::mem::take(line(&mut self.waiters));
            all.retain(|waiter| self.still_waits(waiter, reason));
            *line(&mut self.waiters) = all;
        }
        line(&mut self.waiters).push_back(waiter);
    }

    /// Serves those who wait, as far as there is something for them; evicts when they have waited too long.
    pub(super) fn relieve_waiters(&mut self) {
        (0..TIERS).for_each(|tier| self.relieve_tier(tier));
        self.relieve_outbound();
        self.resume_owed_room();
        self.resume_one_not_ready();
    }

    /// Before sleeping: asks to be woken by blocks that other threads bring home.
    pub(super) fn listen_for_blocks(&self) {
        if self.waiters.blocks.iter().any(|line| !line.is_empty()) {
            self.links.inbound.line().tell_processor();
        }
        if !self.waiters.answer_room.is_empty() {
            self.links.outbox.pool.line().tell_processor();
        }
    }

    /// True if a cycle would serve somebody.
    pub(super) fn could_relieve(&self) -> bool {
        let blocks = (0..TIERS).any(|tier| self.could_serve(tier));
        let answers = !self.waiters.answer_room.is_empty() && self.answer_room_is_back();
        let owed = !self.waiters.owed_room.is_empty() && self.desk.owed.has_room();
        blocks || answers || owed || self.waiters.resuming || self.encoder_waits_unseen()
    }

    /// True if the first in line would be served, or is gone.
    fn could_serve(&self, tier: usize) -> bool {
        let Some(front) = self.waiters.blocks[tier].front() else { return false };
        let partial = |tier: usize| self.inbound.available(tier) > usize::from(!self.spares.has(tier));
        let spare = |tier: usize| self.spares.has(tier) || self.inbound.available(tier) > 0;
        match front.wants {
            _ if !self.still_waits(front, PauseReason::NoBlocks) => true,
            Wants::Promotion => partial(tier),
            Wants::Spare => (tier..TIERS).any(spare) && (tier != SMALL || self.rests.has(SMALL) || partial(SMALL)),
        }
    }

    /// When somebody has waited long enough for an eviction.
    pub(super) fn famine_due(&self) -> Option<Instant> {
        self.waiters.evict_at.iter().copied().chain([self.famine.evict_at]).flatten().min()
    }

    fn relieve_tier(&mut self, tier: usize) {
        if self.waiters.blocks[tier].is_empty() {
            return;
        }
        self.spares.refill(tier, &mut self.inbound);
        while let Some(front) = self.waiters.blocks[tier].front().copied() {
            let slot = front.id.slot();
            if !self.still_waits(&front, PauseReason::NoBlocks) {
                self.leave_line(tier);
                continue;
            }
            match front.wants {
                Wants::Promotion => match self.lease_partial(tier) {
                    Some(block) => self.promote(slot, block),
                    None if self.evict_when_due(tier, front) => continue,
                    None => return,
                },
                // One by one: the next looks again in the next cycle.
                Wants::Spare if self.serves_spare(tier, slot) => {
                    self.leave_line(tier);
                    return self.unpause(slot, PauseReason::NoBlocks);
                }
                Wants::Spare if self.evict_when_due(tier, front) => continue,
                Wants::Spare => return,
            }
            self.leave_line(tier);
            self.unpause(slot, PauseReason::NoBlocks);
        }
    }

    fn serves_spare(&mut self, tier: usize, slot: u32) -> bool {
        let bytes = self.links.inbound.tiers()[tier].capacity();
        self.find_spare(bytes, slot) && (tier != SMALL || self.has_rest(SMALL, slot))
    }

    fn leave_line(&mut self, tier: usize) {
        self.waiters.blocks[tier].pop_front();
        self.waiters.evict_at[tier] = None;
    }

    /// Evicts a holder of the tier once its first waiter has waited for the famine time; true if there was one.
    fn evict_when_due(&mut self, tier: usize, front: Waiter) -> bool {
        let famine = self.settings.timeouts.famine;
        let due = *self.waiters.evict_at[tier].get_or_insert(front.since + famine);
        if self.now < due {
            return false;
        }
        let evicted = self.evict_least(tier, front.id.slot());
        // Nobody could be evicted: they all wait for the server. Look again later, not at once.
        self.waiters.evict_at[tier] = Some(if evicted { self.now } else { self.now + famine });
        evicted
    }

    /// The user may be ready again: one connection at a time asks, so that those who wait keep their order.
    fn resume_one_not_ready(&mut self) {
        if !self.waiters.resuming {
            return;
        }
        while let Some(waiter) = self.waiters.not_ready.pop_front() {
            if self.still_waits(&waiter, PauseReason::NotReady) {
                return self.unpause(waiter.id.slot(), PauseReason::NotReady);
            }
        }
        self.waiters.resuming = false;
    }
}
