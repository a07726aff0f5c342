//! Decides which inbound blocks a connection may have.
//!
//! Only the processor leases from the inbound pool, so a block that it finds free stays free until it takes it. If the
//! spare of a tier is missing, a partial message leaves the tier's last free block to it: messages that the user wants
//! to keep come first.

use super::waiters::{LineFor, Wants};
use super::{Phase, Processor, Selector};
use crate::buffer::{Block, LARGE, MEDIUM, SMALL, TIERS};
use crate::connection::{CloseReason, Connection};
use crate::message_processor::MessageProcessor;
use crate::protocol::Protocol;
use crate::reason::DropReason;

impl<S: Selector, P: Protocol, M: MessageProcessor<P>> Processor<S, P, M> {
    /// How much may be read into the scratch: no more than will find a block if it stays unfinished. `None`: the
    /// connection waits.
    pub(super) fn scratch_window(&mut self, slot: u32) -> Option<usize> {
        let capacity = |tier: usize| self.links.inbound.tiers()[tier].capacity();
        let (small, medium) = (capacity(SMALL), capacity(MEDIUM));
        if self.waiters.are_none() && self.has_all_at_hand() {
            return Some(medium);
        }
        if self.leave_to_selector(slot) {
            return None;
        }
        if !self.is_behind(slot, LineFor::Block(SMALL)) {
            let has_small = self.ensure_remainder_block(slot, SMALL);
            let nobody_waits = self.waiters.is_empty(LineFor::Block(MEDIUM));
            if nobody_waits && self.ensure_remainder_block(slot, MEDIUM) && self.ensure_spare_for_bytes(slot, medium) {
                return Some(medium);
            }
            if has_small && self.ensure_spare_for_bytes(slot, small) {
                return Some(small);
            }
        }
        self.stand_in_line(slot, LineFor::Block(SMALL), Wants::ReadBlocks);
        None
    }

    /// That a newcomer has sent something is only assumed. If acting on the assumption would cost another connection's
    /// block, or a place in line, it is dropped, and this returns true: the selector, which watches the newcomer from
    /// the end of this turn on, will report it if it has sent something.
    fn leave_to_selector(&mut self, slot: u32) -> bool {
        let is_free = self.waiters.are_none() && self.could_get_remainder_block(SMALL) && self.could_get_spare(SMALL);
        // A connection that is opened while the server shuts down must be read before it counts as idle.
        let serves = matches!(self.phase, Phase::Serving);
        let Some(connection) = self.table.at_mut(slot).filter(|found| serves && !found.flags.watched) else {
            return false;
        };
        connection.flags.readable &= is_free;
        !is_free
    }

    /// The usual case: the blocks for an unfinished rest and for a copy were set aside before, and have not been
    /// needed.
    #[inline]
    fn has_all_at_hand(&self) -> bool {
        self.remainder_blocks.has(SMALL) && self.remainder_blocks.has(MEDIUM) && self.spares.has(MEDIUM)
    }

    /// True if the next message is expected to be too long for the scratch, because the previous one was.
    #[inline]
    pub(super) fn expects_much(&self, slot: u32) -> bool {
        let large = |connection: &Connection<S::Socket, P>| connection.previous_length as usize > self.scratch.len();
        let between = |connection: &Connection<S::Socket, P>| connection.inbound.tier().is_none();
        self.table.at(slot).is_some_and(|connection| large(connection) && between(connection))
    }

    /// A block for a message as long as the connection's previous one: only a free one, for which no connection waits,
    /// and only if a shorter message would find its place as well: anything that fits into the scratch, of which
    /// `window` may be used.
    pub(super) fn block_like_previous(&mut self, slot: u32, window: usize) -> Option<Block> {
        let length = self.table.at(slot)?.previous_length as usize;
        let tier = self.links.inbound.tier_for(length).filter(|tier| self.waiters.is_empty(LineFor::Block(*tier)))?;
        if window < self.scratch.len() {
            return None;
        }
        let mut block = self.lease_partial(tier)?;
        block.truncate(0);
        Some(block)
    }

    /// Makes sure that a block for an unfinished rest is at hand. The connection does not wait for a small one: another
    /// connection may be evicted for it.
    pub(super) fn ensure_remainder_block(&mut self, slot: u32, tier: usize) -> bool {
        while !self.remainder_blocks.has(tier) {
            match self.lease_partial(tier) {
                Some(block) => drop(self.remainder_blocks.accept(block)),
                None if tier == SMALL && self.evict_least(slot, SMALL) => {}
                None => return false,
            }
        }
        true
    }

    /// The block for `length` bytes of an unfinished message that may need `needs` in the end.
    pub(super) fn block_for_remainder(&mut self, length: usize, needs: usize) -> Option<Block> {
        let capacity = |tier: usize| self.links.inbound.tiers()[tier].capacity();
        if length <= capacity(SMALL) {
            return self.remainder_blocks.take(SMALL).or_else(|| self.remainder_blocks.take(MEDIUM));
        }
        // If more has arrived than a small block holds, the tier that the known length needs, so that the message is
        // copied once.
        let copied_once = needs > capacity(MEDIUM) && self.waiters.is_empty(LineFor::Block(LARGE));
        let large = if copied_once { self.lease_partial(LARGE) } else { None };
        large.or_else(|| self.remainder_blocks.take(MEDIUM))
    }

    /// A block for a partial message, unless it is the last and the tier's spare is missing.
    pub(super) fn lease_partial(&mut self, tier: usize) -> Option<Block> {
        let spare_missing = usize::from(!self.spares.has(tier));
        if self.inbound.available(tier) > spare_missing { self.inbound.lease(tier) } else { None }
    }

    /// A block for a message that outgrew its own. The block that was set aside for remainders may be used as well: it
    /// is for partial messages, so it is not withheld from those that wait.
    pub(super) fn block_for_promotion(&mut self, tier: usize) -> Option<Block> {
        self.lease_partial(tier).or_else(|| self.remainder_blocks.take(tier))
    }

    /// True if a message of at most `available` bytes can be copied, should the user want to keep it.
    #[inline]
    pub(super) fn has_spare_at_hand(&self, available: usize) -> bool {
        // Most reads are small, and this is asked for each message: then no tier need be chosen.
        self.spares.smallest_holds(available)
            || self.links.inbound.tier_for(available).is_some_and(|tier| self.spares.has(tier))
    }

    /// The same, after looking for a spare. False: there is none, and the connection stands in line.
    pub(super) fn ensure_spare_or_wait(&mut self, slot: u32, available: usize) -> bool {
        self.ensure_spare_for_bytes(slot, available) || self.wait_for_spare(slot, available)
    }

    #[cold]
    fn wait_for_spare(&mut self, slot: u32, available: usize) -> bool {
        let tier = self.links.inbound.tier_for(available).unwrap_or(LARGE);
        self.stand_in_line(slot, LineFor::Spare(tier), Wants::AskAgain);
        false
    }

    /// Makes sure that a spare for so many bytes is at hand for which no other connection has waited longer. Another
    /// connection may be evicted for a small one.
    pub(super) fn ensure_spare_for_bytes(&mut self, slot: u32, bytes: usize) -> bool {
        let smallest = self.links.inbound.tier_for(bytes).unwrap_or(LARGE);
        for tier in smallest..TIERS {
            if self.is_behind_for_spare(slot, tier) {
                break;
            }
            if self.spares.refill(tier, &mut self.inbound) {
                return true;
            }
        }
        let evicts = smallest == SMALL && !self.is_behind_for_spare(slot, SMALL) && self.evict_least(slot, SMALL);
        evicts && self.spares.refill(SMALL, &mut self.inbound)
    }

    /// True if the spare of that tier would do for a connection that came before.
    fn is_behind_for_spare(&self, slot: u32, tier: usize) -> bool {
        (0..=tier).any(|tier| self.is_behind(slot, LineFor::Spare(tier)))
    }

    /// Makes room in the connection's block: moves to a larger one when this one is full. False: it waits, or it ends.
    pub(super) fn make_room(&mut self, slot: u32) -> bool {
        let Some(connection) = self.table.at_mut(slot) else { return false };
        if !connection.inbound.room_mut(connection.needs as usize).is_empty() {
            return true;
        }
        let wanted = (connection.needs as usize).max(connection.inbound.buffered() + 1);
        let larger = connection.inbound.tier().map_or(SMALL, |tier| tier + 1);
        let target = self.links.inbound.tier_for(wanted).map(|tier| tier.max(larger)).filter(|tier| *tier < TIERS);
        let Some(target) = target else {
            let limit = self.links.inbound.tiers()[LARGE].capacity();
            self.release_inbound(slot, DropReason::Refused);
            self.refuse(slot, CloseReason::NoRoom { wanted, limit: Some(limit) });
            return false;
        };
        let block = if self.waiters.is_empty(LineFor::Block(target)) { self.block_for_promotion(target) } else { None };
        match block {
            Some(block) => self.promote(slot, block),
            None => self.stand_in_line(slot, LineFor::Block(target), Wants::Promotion),
        }
        self.table.at(slot).is_some_and(|connection| connection.paused.is_empty())
    }

    pub(super) fn promote(&mut self, slot: u32, block: Block) {
        let Some(connection) = self.table.at_mut(slot) else { return };
        let smaller = connection.inbound.promote(block);
        self.links.metrics.promotions.add(1);
        self.note_promoted(slot);
        self.put_inbound(smaller);
    }

    /// Brings an inbound block home: first to a missing spare, then to the pool.
    pub(super) fn put_inbound(&mut self, block: Option<Block>) {
        if let Some(block) = block.and_then(|block| self.spares.accept(block)) {
            self.inbound.put(block);
        }
    }

    /// Counts bytes that will not be handled.
    pub(super) fn drop_inbound(&mut self, reason: DropReason, bytes: usize) {
        self.links.metrics.count_dropped(reason, bytes);
    }

    /// Gives up the connection's block, with everything in it.
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
