//! Who waits in line, and how they are served: in order, and one by one.

use std::collections::VecDeque;
use std::time::Instant;

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
    wait: u32,
    since: Instant,
    wants: Wants,
}

/// What a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wants {
    /// A block of the line's tier for the message it has begun.
    Promotion,
    /// A block for the rest of what it is about to read, and a spare.
    Rest,
    /// A spare, so that its message can be lent.
    Spare,
}

/// A line for the blocks of one tier.
#[derive(Debug, Default)]
pub(super) struct BlockLine {
    waiting: VecDeque<Waiter>,
    /// When the holder that received least is evicted.
    evict_at: Option<Instant>,
}

impl BlockLine {
    fn new(max: usize) -> Self {
        Self { waiting: VecDeque::with_capacity(max), evict_at: None }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn leave(&mut self) {
        self.waiting.pop_front();
        self.evict_at = None;
    }
}

/// All lines. Each connection stands in one at most.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    /// For the spare of a tier, or a larger one. Apart from the others: whoever gets a spare hands its message over and
    /// gives its own block back, which those in the other line may be waiting for.
    spares: [BlockLine; TIERS],
    /// For blocks of a tier.
    pub(super) blocks: [BlockLine; TIERS],
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
    pub(super) const PER_CONNECTION: usize = size_of::<Waiter>() * (2 * TIERS + 3);

    /// Lines for `max` connections. Memory that was never needed is never touched.
    pub(super) fn new(max: usize) -> Self {
        let line = || VecDeque::with_capacity(max);
        let lines = || [(); TIERS].map(|()| BlockLine::new(max));
        Self {
            spares: lines(),
            blocks: lines(),
            answer_room: line(),
            owed_room: line(),
            not_ready: line(),
            ..Self::default()
        }
    }

    /// True if nobody stands in a line for blocks, for answer room, or for replies.
    fn are_none(&self) -> bool {
        let blocks = self.spares.iter().chain(&self.blocks).all(BlockLine::is_empty);
        blocks && self.answer_room.is_empty() && self.owed_room.is_empty()
    }

    /// Places taken in the longest line.
    #[cfg(feature = "sim")]
    pub(super) fn longest(&self) -> usize {
        self.lines().map(VecDeque::len).max().unwrap_or(0)
    }

    /// Bytes that are reserved for all lines now.
    #[cfg(feature = "sim")]
    pub(super) fn reserved(&self) -> usize {
        self.lines().map(|line| line.capacity() * size_of::<Waiter>()).sum()
    }

    #[cfg(feature = "sim")]
    fn lines(&self) -> impl Iterator<Item = &VecDeque<Waiter>> {
        let blocks = self.spares.iter().chain(&self.blocks).map(|line| &line.waiting);
        blocks.chain([&self.answer_room, &self.owed_room, &self.not_ready])
    }
}

/// Names one of the lines for a tier's blocks.
type LineOf = fn(&mut Waiters, usize) -> &mut BlockLine;

fn line_for(wants: Wants) -> LineOf {
    match wants {
        Wants::Spare => |waiters, tier| &mut waiters.spares[tier],
        Wants::Promotion | Wants::Rest => |waiters, tier| &mut waiters.blocks[tier],
    }
}

impl<S: Selector, P: Protocol, M: MessageProcessor<P>> Processor<S, P, M> {
    /// A place in a line for the connection in `slot`.
    pub(super) fn waiter(&self, slot: u32) -> Waiter {
        let nobody = (ConnectionId::new(0, slot, 0), 0);
        let (id, wait) = self.table.at(slot).map_or(nobody, |connection| (connection.id, connection.wait));
        Waiter { id, wait, since: self.now, wants: Wants::Spare }
    }

    /// True if it is still that connection, and it is still in that wait for that reason.
    pub(super) fn still_waits(&self, waiter: &Waiter, reason: PauseReason) -> bool {
        let Some(connection) = self.table.at(waiter.id.slot()) else { return false };
        let same = (connection.id, connection.wait) == (waiter.id, waiter.wait);
        same && connection.paused.has(reason) && connection.ending.is_none()
    }

    pub(super) fn stand_in_line(&mut self, slot: u32, tier: usize, wants: Wants) {
        let waiter = Waiter { wants, ..self.waiter(slot) };
        self.pause(slot, PauseReason::NoBlocks);
        self.links.metrics.block_waits[tier].add(1);
        let line = line_for(wants);
        self.push_waiter(|waiters| &mut line(waiters, tier).waiting, waiter, PauseReason::NoBlocks);
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
        for tier in 0..TIERS {
            self.relieve_line(line_for(Wants::Spare), tier);
            self.relieve_line(line_for(Wants::Promotion), tier);
        }
        self.relieve_outbound();
        self.resume_owed_room();
        self.resume_one_not_ready();
    }

    /// Before sleeping: asks to be woken by blocks that other threads bring home.
    pub(super) fn listen_for_blocks(&self) {
        if self.waiters.spares.iter().chain(&self.waiters.blocks).any(|line| !line.is_empty()) {
            self.links.inbound.line().tell_processor();
        }
        if !self.waiters.answer_room.is_empty() || self.repayment_is_awaited() {
            self.links.outbox.pool.line().tell_processor();
        }
    }

    /// True if a cycle would serve somebody, or begin to time somebody's wait.
    pub(super) fn could_relieve(&self) -> bool {
        let others = self.encoder_waits_unseen() || self.slow_output_unseen();
        if self.waiters.are_none() {
            return others || self.waiters.resuming || (self.repayment_is_awaited() && self.could_repay());
        }
        let Waiters { spares, blocks, .. } = &self.waiters;
        let lines = |lines: &[BlockLine; TIERS]| (0..TIERS).any(|tier| self.could_serve(&lines[tier], tier));
        let blocks = lines(spares) || lines(blocks);
        let answers = !self.waiters.answer_room.is_empty() && self.answer_room_is_back();
        let repaid = self.repayment_is_awaited() && self.could_repay();
        let owed = !self.waiters.owed_room.is_empty() && self.desk.owed.has_room();
        blocks || answers || repaid || owed || others || self.waiters.resuming
    }

    /// True if the first in line would be served, is gone, or was not seen yet.
    fn could_serve(&self, line: &BlockLine, tier: usize) -> bool {
        let Some(front) = line.waiting.front() else { return false };
        let partial =
            |tier: usize| self.rests.has(tier) || self.inbound.available(tier) > usize::from(!self.spares.has(tier));
        let spare = |tier: usize| self.spares.has(tier) || self.inbound.available(tier) > 0;
        match front.wants {
            // The time of whoever came to the front since does not run yet.
            _ if line.evict_at.is_none() => true,
            _ if !self.still_waits(front, PauseReason::NoBlocks) => true,
            Wants::Promotion => partial(tier),
            Wants::Rest => partial(tier) && (tier..TIERS).any(spare),
            Wants::Spare => (tier..TIERS).any(spare),
        }
    }

    /// When somebody has waited long enough for an eviction.
    pub(super) fn famine_due(&self) -> Option<Instant> {
        let lines = self.waiters.spares.iter().chain(&self.waiters.blocks);
        lines.map(|line| line.evict_at).chain([self.slow_output_due()]).flatten().min()
    }

    /// Serves the line as far as it goes. Those who wait for a spare only look again, one by one: the next in the next
    /// cycle.
    fn relieve_line(&mut self, line: LineOf, tier: usize) {
        while let Some(front) = line(&mut self.waiters, tier).waiting.front().copied() {
            let slot = front.id.slot();
            if !self.still_waits(&front, PauseReason::NoBlocks) {
                line(&mut self.waiters, tier).leave();
                continue;
            }
            let served = match front.wants {
                Wants::Promotion => {
                    let block = self.block_for_promotion(tier);
                    block.map(|block| self.promote(slot, block)).is_some()
                }
                Wants::Rest => self.finds_spare_of(tier, slot) && self.has_rest(tier, slot),
                Wants::Spare => self.finds_spare_of(tier, slot),
            };
            if served {
                line(&mut self.waiters, tier).leave();
                self.unpause(slot, PauseReason::NoBlocks);
                if front.wants != Wants::Promotion {
                    return;
                }
            } else if !self.evict_when_due(line, tier, front) {
                return;
            }
        }
    }

    fn finds_spare_of(&mut self, tier: usize, slot: u32) -> bool {
        self.find_spare(self.links.inbound.tiers()[tier].capacity(), slot)
    }

    /// Evicts a holder of the tier once its first waiter has waited for the famine time; true if there was one.
    fn evict_when_due(&mut self, line: LineOf, tier: usize, front: Waiter) -> bool {
        let (now, famine) = (self.now, self.settings.timeouts.famine);
        let due = *line(&mut self.waiters, tier).evict_at.get_or_insert(front.since + famine);
        if now < due {
            return false;
        }
        let evicted = self.evict_least(tier, front.id.slot());
        // Nobody could be evicted: they all wait for the server. Look again later, not at once.
        line(&mut self.waiters, tier).evict_at = Some(if evicted { now } else { now + famine });
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
