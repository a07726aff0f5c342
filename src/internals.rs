//! What the crate's own benches measure by itself. Not part of the interface: it may change with any version.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::buffer::reserve;
use crate::clock::WallClock;
use crate::control::Control;
use crate::handover::{Accepted, Handover};
use crate::message_processor::MessageProcessor;
use crate::metrics::{Metrics, Snapshot};
use crate::outbox::Outbox;
use crate::processor::{Links, Processor, Selector};
use crate::protocol::Protocol;
use crate::server::{Config, ConfigError};
use crate::wake::WakeFlag;

pub use crate::buffer::{Block, Line, Pool, SharedPool, Tier};

/// A processor without its thread, over any [`Selector`], that runs when it is told to. Unlike a simulation it checks
/// nothing that a server in life does not check.
pub struct BareProcessor<S: Selector, P: Protocol, M: MessageProcessor<P>> {
    processor: Processor<S, P, M>,
    handover: Arc<Handover<S::Socket>>,
    metrics: Arc<Metrics>,
}

impl<S: Selector, P: Protocol, M: MessageProcessor<P>> BareProcessor<S, P, M> {
    /// A processor that has started.
    ///
    /// # Errors
    /// A server would not start with this `config` either.
    pub fn new(config: &Config, selector: S, protocol: P, user: M) -> Result<Self, ConfigError> {
        config.validate(protocol.message_max())?;
        let wake = Arc::new(WakeFlag::never_asleep());
        let metrics = Arc::new(Metrics::default());
        let pool = |tiers| SharedPool::new(tiers, Line::new(Arc::clone(&wake)));
        let outbound = pool(config.outbound);
        let reserve = reserve(config.reply_max, outbound.line());
        let clock = Arc::new(WallClock::default());
        let handover = Handover::new(config.handover_max, config.connections_max, Arc::clone(&wake), Arc::clone(&wake));
        let links = Links {
            handover: Arc::clone(&handover),
            control: Control::new(Arc::clone(&wake), Arc::clone(&wake)),
            outbox: Outbox::new(config.outbox_limits(), outbound, clock, Arc::clone(&wake), Arc::clone(&metrics)),
            inbound: pool(config.inbound_with_spares()),
            reserve,
            metrics: Arc::clone(&metrics),
        };
        let mut processor = Processor::new(selector, protocol, user, config.settings(), links);
        processor.start();
        Ok(Self { processor, handover, metrics })
    }

    /// Hands a connected socket over, as the accepter does. False if there is no room for it.
    pub fn accept(&self, socket: S::Socket, address: SocketAddr) -> bool {
        let has_room = self.handover.has_room();
        if has_room {
            self.metrics.accepted.add(1);
        }
        has_room && self.handover.put(Accepted { socket, address }).is_ok()
    }

    /// One cycle.
    pub fn cycle(&mut self) {
        self.processor.cycle();
    }

    /// All numbers now.
    pub fn metrics(&self) -> Snapshot {
        self.metrics.snapshot()
    }
}
