//! Everything that the threads of a server share. It is made here, indexed by the number of the processor to which it
//! belongs.

use std::fmt;
use std::sync::Arc;

use super::Config;
use crate::admission::Crowd;
use crate::buffer::{Line, SharedPool, TIERS, Tier, reserve};
use crate::clock::WallClock;
use crate::control::Control;
use crate::handover::{Dealer, Handover};
use crate::metrics::{Metrics, Snapshot};
use crate::outbox::{Outbox, Outboxes, WriteProxy};
use crate::processor::Links;
use crate::protocol::Protocol;
use crate::wake::WakeFlag;

/// The parts of one processor that other threads also use; only the processor itself uses them for every message.
pub(crate) struct Station<K> {
    pub(crate) handover: Arc<Handover<K>>,
    pub(crate) outbox: Arc<Outbox>,
    /// With one block more in each tier than configured: the spares.
    pub(crate) inbound: Arc<SharedPool>,
    /// The processor's last resort for answers.
    pub(crate) reserve: Arc<Tier>,
    pub(crate) metrics: Arc<Metrics>,
}

/// Everything that the threads of a server share. A clone is another handle to the same.
pub(crate) struct Shared<K> {
    pub(crate) control: Arc<Control>,
    pub(crate) dealer: Arc<Dealer<K>>,
    pub(crate) crowd: Arc<Crowd>,
    pub(crate) outboxes: Outboxes,
    pub(crate) stations: Arc<[Station<K>]>,
}

impl<K> Shared<K> {
    /// Makes everything for a server with `config`, whose accepter and processors are woken by these flags.
    pub(crate) fn new(config: &Config, now: u64, accepter: &Arc<WakeFlag>, processors: &[Arc<WakeFlag>]) -> Self {
        let station = |wake: &Arc<WakeFlag>| {
            let pool = |tiers| SharedPool::new(tiers, Line::new(Arc::clone(wake)));
            let (metrics, outbound) = (Arc::new(Metrics::default()), pool(config.outbound));
            let handover =
                Handover::new(config.handover_max, config.connections_each(), Arc::clone(accepter), Arc::clone(wake));
            Station {
                handover,
                inbound: pool(config.inbound_with_spares()),
                reserve: reserve(config.reply_max, outbound.line()),
                outbox: Outbox::new(
                    config.outbox_limits(),
                    outbound,
                    Arc::new(WallClock::at(now)),
                    Arc::clone(wake),
                    Arc::clone(&metrics),
                ),
                metrics,
            }
        };
        let stations: Arc<[_]> = processors.iter().map(station).collect();
        let handovers = stations.iter().map(|station: &Station<K>| Arc::clone(&station.handover));
        Self {
            control: Control::new(processors.iter().chain([accepter]).cloned()),
            dealer: Dealer::new(handovers, config.connections_max),
            crowd: Crowd::new(&config.admission, config.connections_max),
            outboxes: Outboxes::new(stations.iter().map(|station| Arc::clone(&station.outbox))),
            stations,
        }
    }

    /// The handles that the processor with this number is given.
    pub(crate) fn links(&self, number: u16) -> Links<K> {
        let Station { handover, outbox, inbound, reserve, metrics } = &self.stations[usize::from(number)];
        Links {
            handover: Arc::clone(handover),
            control: Arc::clone(&self.control),
            outbox: Arc::clone(outbox),
            outboxes: self.outboxes.clone(),
            crowd: Arc::clone(&self.crowd),
            inbound: Arc::clone(inbound),
            outbound: Arc::clone(&outbox.pool),
            reserve: Arc::clone(reserve),
            wake: Arc::clone(&outbox.wake),
            clock: Arc::clone(&outbox.clock),
            metrics: Arc::clone(metrics),
        }
    }

    /// The counters of all processors, by number.
    pub(crate) fn metrics(&self) -> Box<[Arc<Metrics>]> {
        self.stations.iter().map(|station| Arc::clone(&station.metrics)).collect()
    }

    /// Writes to any connection, for threads that are not processor threads.
    pub(crate) fn proxy<P: Protocol>(&self) -> WriteProxy<P> {
        WriteProxy::new(self.outboxes.clone(), Arc::clone(&self.stations[0].outbox))
    }

    /// After all processors have ended: clears away what they left for each other, and what a failed one left undone.
    pub(crate) fn clear_up(&self) {
        for Station { handover, outbox, metrics, .. } in &*self.stations {
            outbox.discard();
            while let Some(unserved) = handover.take() {
                drop(unserved);
                metrics.accepted_unserved.add(1);
                handover.ended();
            }
        }
    }

    /// LAW home, in debug builds, after everything was cleared up. Checked for all processors together, because they
    /// may have held each other's blocks until the last of them ended.
    pub(crate) fn assert_home(&self) {
        for Station { inbound, .. } in &*self.stations {
            debug_assert!(inbound.all_home(), "LAW home is broken: {inbound:?}");
        }
    }
}

impl<K> Station<K> {
    /// All numbers of this processor now.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let Self { handover, outbox, inbound, metrics, .. } = self;
        let mut snapshot = metrics.snapshot();
        // Some numbers are known to the queues and pools themselves, so they are asked.
        snapshot.handover_queue = handover.waiting() as u64;
        snapshot.settled_queue = outbox.settled_waiting() as u64;
        snapshot.unasked_queue = outbox.unasked.len() as u64;
        snapshot.inbound_blocks = by_tier(inbound, Tier::in_use);
        snapshot.inbound_blocks_high = by_tier(inbound, Tier::high_water);
        snapshot.outbound_blocks = by_tier(&outbox.pool, Tier::in_use);
        snapshot.outbound_blocks_high = by_tier(&outbox.pool, Tier::high_water);
        snapshot.blocks_kept = by_tier(inbound, Tier::kept);
        snapshot
    }
}

fn by_tier(pool: &SharedPool, number: impl Fn(&Tier) -> usize) -> [u64; TIERS] {
    std::array::from_fn(|tier| number(&pool.tiers()[tier]) as u64)
}

impl<K> Clone for Shared<K> {
    fn clone(&self) -> Self {
        Self {
            control: Arc::clone(&self.control),
            dealer: Arc::clone(&self.dealer),
            crowd: Arc::clone(&self.crowd),
            outboxes: self.outboxes.clone(),
            stations: Arc::clone(&self.stations),
        }
    }
}

impl<K> fmt::Debug for Shared<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("processors", &self.stations.len()).finish_non_exhaustive()
    }
}
