//! Who waits for a block, in lines; how they are served one by one; and who gives a block up when nobody else does.
//!
//! Inbound, the processor is the only one who leases, so what it finds free stays free until it takes it. A partial message
//! leaves the last block of a tier to the missing spare: a message that its user wants to keep comes first.

use std::collections::VecDeque;
use std::time::Instant;

use super::{Processor, Selector};
use crate::buffer::{Block, RESERVE, Segment, TIERS};
use crate::connection::{CloseReason, HolderAt};
use crate::id::ConnectionId;
use crate::message_processor::MessageProcessor;
use crate::protocol::{Protocol, Refusal};
use crate::reason::{DropReason, PauseReason};

/// The small tier. Its blocks are never waited for as long as a partial message holds one.
const SMALL: usize = 0;
/// The medium tier.
const MEDIUM: usize = 1;
/// The large tier.
const LARGE: usize = 2;

/// A connection in a line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiter {
    pub(super) id: ConnectionId,
    since: Instant,
    wants: Wants,
}

/// What a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wants {
    /// A block of the line's tier for the message it has begun.
    Promotion,
    /// A spare, so that its message can be lent; or room for the rest, so that it can be read.
    Spare,
}

/// All lines. Each connection stands in one at most.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    blocks: [VecDeque<Waiter>; TIERS],
    /// When the holder that received least is evicted, by tier.
    evict_at: [Option<Instant>; TIERS],
    /// Waiting until any answer has its place again.
    answer_room: VecDeque<Waiter>,
    evict_output_at: Option<Instant>,
    /// The wait of an encoder on another thread that is timed.
    encoder_wait: Option<u64>,
    /// Connections whose queue holds a reserve.
    reserve_at: Vec<u32>,
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

    /// Remembers that `slot` is being given a reserve.
    pub(super) fn note_reserve(&mut self, slot: u32, segment: &Segment) {
        if matches!(segment, Segment::Block { block, .. } if block.tier() == RESERVE) {
            self.reserve_at.push(slot);
        }
    }
}

/// Reading: which blocks a connection may have.
impl<S: Selector, P: Protocol, M: MessageProcessor<P>> Processor<S, P, M> {
    /// How much may be read into the scratch: no more than what finds a block if it stays unfinished. `None`: the
    /// connection waits.
    pub(super) fn scratch_window(&mut self, slot: u32) -> Option<usize> {
        let capacity = |tier: usize| self.links.inbound.tiers()[tier].capacity();
        let (small, medium) = (capacity(SMALL), capacity(MEDIUM));
        let has_small = self.has_rest(SMALL, slot);
        if self.waiters.blocks[MEDIUM].is_empty() && self.has_rest(MEDIUM, slot) && self.find_spare(medium, slot) {
            return Some(medium);
        }
        if has_small && self.find_spare(small, slot) {
            return Some(small);
        }
        self.stand_in_line(slot, SMALL, Wants::Spare);
        None
    }

    /// True if a block for an unfinished rest is at hand.
    fn has_rest(&mut self, tier: usize, slot: u32) -> bool {
        while !self.rests.has(tier) {
            match self.lease_partial(tier) {
                Some(block) => drop(self.rests.accept(block)),
                None if tier == SMALL && self.evict_least(SMALL, slot) => {}
                None => return false,
            }
        }
        true
    }

    /// The block for `length` bytes of an unfinished message that may need `needs` in the end.
    pub(super) fn block_for_rest(&mut self, length: usize, needs: usize) -> Option<Block> {
        let capacity = |tier: usize| self.links.inbound.tiers()[tier].capacity();
        if length <= capacity(SMALL) {
            return self.rests.take(SMALL).or_else(|| self.rests.take(MEDIUM));
        }
        // More has arrived than a small block holds: the tier that the known length needs, so that it is copied once.
        let copied_once = needs > capacity(MEDIUM) && self.waiters.blocks[LARGE].is_empty();
        let large = if copied_once { self.lease_partial(LARGE) } else { None };
        large.or_else(|| self.rests.take(MEDIUM))
    }

    /// A block for a partial message, unless it is the last and the tier's spare is missing.
    fn lease_partial(&mut self, tier: usize) -> Option<Block> {
        let spare_missing = usize::from(!self.spares.has(tier));
        if self.inbound.available(tier) > spare_missing { self.inbound.lease(tier) } else { None }
    }

    /// True if the message of at most `available` bytes can be copied, should its user want to keep it.
    pub(super) fn has_spare(&mut self, slot: u32, available: usize) -> bool {
        if self.find_spare(available, slot) {
            return true;
        }
        let tier = self.links.inbound.tier_for(available).unwrap_or(LARGE);
        self.stand_in_line(slot, tier, Wants::Spare);
        false
    }

    fn find_spare(&mut self, bytes: usize, slot: u32) -> bool {
        let smallest = self.links.inbound.tier_for(bytes).unwrap_or(LARGE);
        let Self { spares, inbound, .. } = self;
        if (smallest..TIERS).any(|tier| spares.refill(tier, inbound)) {
            return true;
        }
        smallest == SMALL && self.evict_least(SMALL, slot) && self.spares.refill(SMALL, &mut self.inbound)
    }

    /// Makes room in the connection's block: moves to a larger one when this one is full. False: it waits, or it ends.
    pub(super) fn make_room(&mut self, slot: u32) -> bool {
        let Some(connection) = self.table.at_mut(slot) else { return false };
        if !connection.inbound.room_mut(connection.needs).is_empty() {
            return true;
        }
        let wanted = connection.needs.max(connection.inbound.buffered() + 1);
        let larger = connection.inbound.tier().map_or(SMALL, |tier| tier + 1);
        let target = self.links.inbound.tier_for(wanted).map(|tier| tier.max(larger)).filter(|tier| *tier < TIERS);
        let Some(target) = target else {
            let limit = self.links.inbound.tiers()[LARGE].capacity();
            self.release_inbound(slot, DropReason::Refused);
            self.refuse(slot, CloseReason::NoRoom { wanted, limit }, Refusal::Overloaded);
            return false;
        };
        let block = if self.waiters.blocks[target].is_empty() { self.lease_partial(target) } else { None };
        match block {
            Some(block) => self.promote(slot, block),
            None => self.stand_in_line(slot, target, Wants::Promotion),
        }
        self.table.at(slot).is_some_and(|connection| connection.paused.is_empty())
    }

    fn promote(&mut self, slot: u32, block: Block) {
        let Some(connection) = self.table.at_mut(slot) else { return };
        let smaller = connection.inbound.promote(block);
        let bytes = connection.inbound.buffered();
        self.links.metrics.promotions.add(1);
        self.forget_holder(slot);
        self.note_holder(slot, bytes);
        self.put_inbound(smaller);
    }

    /// Brings an inbound block home: first to a missing spare, then to the pool.
    pub(super) fn put_inbound(&mut self, block: Option<Block>) {
        if let Some(block) = block.and_then(|block| self.spares.accept(block)) {
            self.inbound.put(block);
        }
    }
}

/// The lines.
impl<S: Selector, P: Protocol, M: MessageProcessor<P>> Processor<S, P, M> {
    /// A place in a line for the connection in `slot`.
    pub(super) fn waiter(&self, slot: u32) -> Waiter {
        let id = self.table.at(slot).map_or(ConnectionId::new(0, slot, 0), |connection| connection.id);
        Waiter { id, since: self.now, wants: Wants::Spare }
    }

    /// True if it is still that connection, and it still waits for that reason.
    pub(super) fn still_waits(&self, waiter: &Waiter, reason: PauseReason) -> bool {
        let connection = self.table.at(waiter.id.slot());
        connection.is_some_and(|connection| connection.id == waiter.id && connection.paused.has(reason))
    }

    fn stand_in_line(&mut self, slot: u32, tier: usize, wants: Wants) {
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

    /// Not handed a message: the reserve is in use, or all segments are.
    pub(super) fn wait_for_answer_room(&mut self, slot: u32) {
        let waiter = self.waiter(slot);
        self.pause(slot, PauseReason::NoBlocks);
        self.push_waiter(|waiters| &mut waiters.answer_room, waiter, PauseReason::NoBlocks);
    }

    /// Serves those who wait, as far as there is something for them; evicts when they have waited too long.
    pub(super) fn relieve_waiters(&mut self) {
        (0..TIERS).for_each(|tier| self.relieve_tier(tier));
        self.relieve_outbound();
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
        let encoder = self.links.outbox.pool.line().blocked_wait();
        blocks || answers || self.waiters.resuming || (encoder.is_some() && encoder != self.waiters.encoder_wait)
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
        self.waiters.evict_at.iter().copied().chain([self.waiters.evict_output_at]).flatten().min()
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

    fn relieve_outbound(&mut self) {
        self.repay_reserves();
        let line = self.links.outbox.pool.line();
        if line.has_encoders() {
            self.desk.out.pool().into_iter().for_each(|pool| pool.release_own());
        }
        let encoder = self.links.outbox.pool.line().blocked_wait();
        if encoder.is_some() && encoder != self.waiters.encoder_wait {
            self.links.metrics.encoder_waits.add(1);
        }
        if encoder != self.waiters.encoder_wait {
            self.waiters.encoder_wait = encoder;
            self.waiters.evict_output_at = None;
        }
        if self.answer_room_is_back() {
            while let Some(waiter) = self.waiters.answer_room.pop_front() {
                if self.still_waits(&waiter, PauseReason::NoBlocks) {
                    self.unpause(waiter.id.slot(), PauseReason::NoBlocks);
                }
            }
        }
        match encoder.is_some() || !self.waiters.answer_room.is_empty() {
            true => self.evict_output_when_due(),
            false => self.waiters.evict_output_at = None,
        }
    }

    fn answer_room_is_back(&self) -> bool {
        self.desk.out.reserve_whole() && self.segments.room() > super::backpressure::ANSWER_SEGMENTS
    }

    /// Moves what lies in a reserve into blocks that came home, so that the reserve is whole again.
    fn repay_reserves(&mut self) {
        let Self { waiters, table, segments, desk, .. } = self;
        let Some(pool) = desk.out.pool() else { return };
        waiters.reserve_at.retain(|slot| {
            let connection = table.at_mut(*slot);
            connection.is_some_and(|connection| segments.repay(&connection.outbound, pool))
        });
    }

    /// Output that has not moved for the famine time is given up at once, the heaviest first; if all of it moves, the
    /// heaviest goes once others have waited for the famine time.
    fn evict_output_when_due(&mut self) {
        let (now, famine) = (self.now, self.settings.timeouts.famine);
        if self.waiters.evict_output_at.is_some_and(|due| now < due) {
            return;
        }
        let waited = self.waiters.evict_output_at.is_some();
        let stalled = |since: Option<Instant>| since.is_some_and(|since| since + famine <= now);
        let undelivered = self.table.iter().filter(|connection| !connection.outbound.is_empty());
        let heaviest = undelivered
            .map(|c| (stalled(c.deadlines.write_waits_since()), c.outbound.bytes(), c.id.slot()))
            .filter(|(stalled, ..)| *stalled || waited)
            .max();
        self.waiters.evict_output_at = Some(now + if heaviest.is_some() { famine / 64 } else { famine });
        if let Some((_, undelivered, slot)) = heaviest {
            self.close_now(slot, CloseReason::EvictedOutbound { undelivered });
        }
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

/// The holders.
impl<S: Selector, P: Protocol, M: MessageProcessor<P>> Processor<S, P, M> {
    fn second_of_now(&self) -> u32 {
        self.second as u32
    }

    /// The connection has a block now.
    pub(super) fn note_holder(&mut self, slot: u32, bytes: usize) {
        let second = self.second_of_now();
        let Some(connection) = self.table.at_mut(slot) else { return };
        let Some(tier) = connection.inbound.tier() else { return };
        let index = self.holders[tier].add(slot, bytes, second);
        connection.holder = Some(HolderAt { tier: tier as u8, index });
    }

    /// The connection received bytes into its block.
    pub(super) fn note_received(&mut self, slot: u32, bytes: usize) {
        let second = self.second_of_now();
        if let Some(at) = self.table.at(slot).and_then(|connection| connection.holder) {
            self.holders[at.tier as usize].receive(at.index, bytes, second);
        }
    }

    /// The connection has no block any more.
    pub(super) fn forget_holder(&mut self, slot: u32) {
        let Some(at) = self.table.at_mut(slot).and_then(|connection| connection.holder.take()) else { return };
        if let Some(moved) = self.holders[at.tier as usize].remove(at.index) {
            if let Some(connection) = self.table.at_mut(moved) {
                connection.holder = Some(at);
            }
        }
    }

    /// Evicts the holder that received least, unless it waits for the server itself.
    fn evict_least(&mut self, tier: usize, for_slot: u32) -> bool {
        let (second, table) = (self.second_of_now(), &self.table);
        let waits_for_peer = |slot: u32| table.at(slot).is_some_and(|connection| !connection.paused.by_server());
        let victim = self.holders[tier].least(second, |slot| slot != for_slot && waits_for_peer(slot));
        let Some(slot) = victim else { return false };
        let bytes = self.table.at(slot).map_or(0, |connection| connection.inbound.buffered());
        self.links.metrics.evictions[tier].add(1);
        self.release_inbound(slot, DropReason::Incomplete);
        self.refuse(slot, CloseReason::EvictedInbound { bytes }, Refusal::Overloaded);
        true
    }
}
