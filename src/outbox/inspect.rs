//! What a simulation inspects in the outbox, and how it says which thread it simulates.

use std::sync::Arc;

use super::Outbox;
use super::gauge::Gauge;
use crate::buffer::Tier;
use crate::sync::atomic::Ordering::SeqCst;

impl Outbox {
    /// Undelivered bytes of the connection in `slot`, those on their way included.
    pub(crate) fn undelivered(&self, slot: u32) -> u64 {
        self.gauges.get(slot as usize).map_or(0, Gauge::bytes)
    }

    /// Says that the simulation acts as another thread from now on, or as the processor thread again.
    pub(crate) fn pretend_elsewhere(&self, elsewhere: bool) {
        self.elsewhere.store(elsewhere, SeqCst);
    }

    /// True if an answer that is encoded now on another thread is sure not to wait for room.
    pub(crate) fn finds_room(&self) -> bool {
        let holds_any = |tier: &&Arc<Tier>| tier.capacity() >= self.limits.reply_max && tier.available() > 0;
        self.workers_reserve_whole() || self.pool.tiers().iter().any(|tier| holds_any(&tier))
    }

    /// True while the workers' reserve is whole.
    pub(crate) fn workers_reserve_whole(&self) -> bool {
        self.workers_reserve.in_use() == 0
    }

    /// The workers' last resort.
    pub(crate) fn workers_reserve(&self) -> &Arc<Tier> {
        &self.workers_reserve
    }
}
