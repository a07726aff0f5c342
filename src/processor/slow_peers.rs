//! Whose undelivered output is given up when the memory for answers runs low.
//!
//! A part of the outbound pool is slack, for answers that leave at once. Output that its peer does not take may lie in
//! it for a while only, and the less of it is left, the shorter. So there is room for peers that read before any of
//! them has to wait for it; and if one waits all the same, it is not for long.

use std::time::{Duration, Instant};

use super::shortage::Shortage;
use super::{Processor, Selector};
use crate::buffer::{ANSWER_SEGMENTS, Undelivered};
use crate::connection::{CloseReason, Output};
use crate::message_processor::MessageProcessor;
use crate::protocol::Protocol;

/// The outbound pool divided by this is the slack: a quarter.
const SLACK_DIVISOR: usize = 4;
/// Output may stand still for the famine time while the slack is whole, and for the famine time divided by this, a
/// sixteenth, once the slack is used up.
const LEAST_PATIENCE_DIVISOR: u32 = 16;
/// While nothing waits, peers that take their output too slowly are given up one by one, a sixty-fourth of the famine
/// time apart.
const PACE_DIVISOR: u32 = 64;

/// What is known about peers that do not take their output.
#[derive(Debug, Default)]
pub(super) struct SlowPeers {
    /// When to look for such a peer again. `None`: there is more free than the slack, or no cycle has looked yet.
    look_at: Option<Instant>,
    /// Since when there has not been room for all; cleared once the slack is back.
    famine_since: Option<Instant>,
    /// Something waited for room at the previous look.
    waited_for: bool,
}

impl<S: Selector, P: Protocol, M: MessageProcessor<P>> Processor<S, P, M> {
    /// If it is time, gives up the output of one connection a cycle: the one whose output has stood still for longest.
    /// If all output moves and others have waited, the one whose peer takes it slowest.
    pub(super) fn give_up_slow_output(&mut self) {
        let (now, waited_for) = (self.now, self.waits_for_outbound());
        if !waited_for && !self.is_tight() {
            self.slow_peers = SlowPeers::default();
            return;
        }
        let begins = waited_for && !self.slow_peers.waited_for;
        self.slow_peers.waited_for = waited_for;
        if waited_for {
            self.slow_peers.famine_since.get_or_insert(now);
        }
        if !begins && self.slow_peers.look_at.is_some_and(|at| now < at) {
            return;
        }
        let least = self.settings.timeouts.famine / LEAST_PATIENCE_DIVISOR;
        let patience = if waited_for { least } else { self.patience() };
        let stalled = self.outputs().map(|(output, slot)| (self.too_long_at(output, slot, patience), slot)).min();
        let look_at = match (stalled, self.slowest(least)) {
            (Some((at, slot)), _) if now >= at => self.give_up(slot, Duration::ZERO),
            (_, Some(slot)) if waited_for => self.give_up(slot, Duration::ZERO),
            (_, Some(slot)) => self.give_up(slot, self.settings.timeouts.famine / PACE_DIVISOR),
            (stalled, None) => stalled.map_or(now + least, |(at, _)| at.min(now + least)),
        };
        self.slow_peers.look_at = Some(look_at);
    }

    /// The bytes that connections whose peers do not read at once may share: the free part of the outbound pool,
    /// without the slack.
    pub(super) fn outbound_to_share(&self) -> usize {
        let pool = &self.links.outbound;
        pool.free_bytes().saturating_sub(pool.bytes() / SLACK_DIVISOR)
    }

    /// True if a cycle would begin to look, or would find something new.
    pub(super) fn slow_output_unseen(&self) -> bool {
        let SlowPeers { look_at, waited_for, .. } = self.slow_peers;
        waited_for != self.waits_for_outbound() || (look_at.is_none() && self.is_tight())
    }

    /// When to look for output to give up.
    pub(super) fn slow_output_due(&self) -> Option<Instant> {
        self.slow_peers.look_at
    }

    /// Nothing is left but slack.
    fn is_tight(&self) -> bool {
        self.outbound_to_share() == 0
    }

    /// How long output may stand still: in proportion to what is left of the slack.
    fn patience(&self) -> Duration {
        let pool = &self.links.outbound;
        let left = pool.free_bytes() * LEAST_PATIENCE_DIVISOR as usize * SLACK_DIVISOR / pool.bytes();
        self.settings.timeouts.famine / LEAST_PATIENCE_DIVISOR * (left as u32).clamp(1, LEAST_PATIENCE_DIVISOR)
    }

    /// When output has stood still for too long: after `patience`, or twice that if it shares its blocks.
    fn too_long_at(&self, output: &Output, slot: u32, patience: Duration) -> Instant {
        output.moved + patience * if self.shares(slot) { 2 } else { 1 }
    }

    /// True if giving up the output of `slot` frees nothing at once, because its blocks are lent to others as well.
    fn shares(&self, slot: u32) -> bool {
        let frees = |queue: &Undelivered| !self.has_segments() || self.segments.frees_block(queue);
        self.table.at(slot).is_some_and(|connection| !frees(&connection.undelivered))
    }

    /// The output that waits for its peer and holds a scarce resource: blocks, or places for segments. Output that is
    /// carried as it is, and not copied, holds no block, and giving it up would free none.
    fn outputs(&self) -> impl Iterator<Item = (&Output, u32)> {
        let any = !self.has_segments();
        let holds = move |queue: &Undelivered| !queue.is_empty() && (any || self.segments.holds_block(queue));
        let undelivered = self.table.iter().filter(move |connection| holds(&connection.undelivered));
        let outputs =
            undelivered.filter_map(|connection| Some((connection.deadlines.output()?, connection.id().slot())));
        // A peer that has taken everything it was given does not keep its output waiting.
        outputs.filter(|(_, slot)| !self.queues.write_on.contains(*slot))
    }

    /// True if there are places for the segments of the next answer, from whatever thread.
    fn has_segments(&self) -> bool {
        self.segments.room() > ANSWER_SEGMENTS && self.can_take_outbound()
    }

    /// The connection whose output is taken slowest, among those that have had at least `least` time for it; those that
    /// share their blocks come last. `None` until others have waited for that long.
    fn slowest(&self, least: Duration) -> Option<u32> {
        let now = self.now;
        self.slow_peers.famine_since.filter(|since| now >= *since + least)?;
        let tried = self.outputs().filter(|(output, _)| now >= output.began + least);
        tried.min_by_key(|(output, slot)| (self.shares(*slot), output.rate(now))).map(|(_, slot)| slot)
    }

    fn give_up(&mut self, slot: u32, pause: Duration) -> Instant {
        let undelivered = self.table.at(slot).map_or(0, |connection| connection.undelivered.bytes());
        self.close_now(slot, CloseReason::EvictedOutbound { undelivered });
        self.tell_of_shortage(Shortage::Outbound);
        self.now + pause
    }
}
