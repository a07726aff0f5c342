//! The parts that the crate's own benches and loom models use separately. Not part of the interface: they may change
//! with any version.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::buffer::{Outbound, reserve as reserve_of};
use crate::clock::WallClock;
use crate::config_error::ConfigError;
use crate::message_processor::MessageProcessor;
use crate::metrics::Snapshot;
use crate::offload::{Offload, Workers};
use crate::processor::Processor;
use crate::protocol::Protocol;
use crate::server::{Config, Shared, Station};

pub use crate::accepter::{Awaited, Watch};
pub use crate::buffer::{Block, Line, Pool, SharedPool, Tier};
pub use crate::control::{Control, ShutdownRequest};
pub use crate::handover::{Accepted, Dealer, Handover};
pub use crate::offload::jobs::{Job, Jobs};
pub use crate::processor::{Readiness, Selector, Told};
pub use crate::sync::{ArrayQueue, atomic};
pub use crate::wake::WakeFlag;

/// A processor without its thread, over any [`Selector`], that runs when it is told to. Unlike a simulation, it checks
/// nothing that a real server does not check.
pub struct BareProcessor<S: Selector, P: Protocol, M: MessageProcessor<P>> {
    processor: Processor<S, P, M>,
    shared: Shared<S::Socket>,
}

impl<S: Selector, P: Protocol, M: MessageProcessor<P>> BareProcessor<S, P, M> {
    /// A processor that has started.
    ///
    /// # Errors
    /// A server would not start with this `config` either.
    pub fn new(config: &Config, selector: S, protocol: P, user: M) -> Result<Self, ConfigError> {
        Self::woken_by(Arc::new(WakeFlag::never_asleep()), config, selector, protocol, user)
    }

    /// The same, for a processor that may sleep in its `selector`: `wake` wakes it.
    ///
    /// # Errors
    /// A server would not start with this `config` either.
    pub fn woken_by(
        wake: Arc<WakeFlag>,
        config: &Config,
        selector: S,
        protocol: P,
        user: M,
    ) -> Result<Self, ConfigError> {
        config.validate(protocol.message_max())?;
        config.check_single()?;
        let shared = Shared::new(config, 0, &Arc::new(WakeFlag::never_asleep()), &[wake]);
        let mut processor = Processor::new(selector, protocol, user, config.settings(0), shared.links(0));
        processor.start();
        Ok(Self { processor, shared })
    }

    /// Hands a connected socket over, as the accepter does. False if there is no room for it.
    pub fn accept(&self, socket: S::Socket, address: SocketAddr) -> bool {
        let Station { handover, metrics, .. } = self.station();
        let has_room = handover.has_room();
        if has_room {
            metrics.accepted.add(1);
        }
        has_room && handover.put(Accepted { socket, address }).is_ok()
    }

    fn station(&self) -> &Station<S::Socket> {
        &self.shared.stations[0]
    }

    /// One cycle.
    pub fn cycle(&mut self) {
        self.processor.cycle();
    }

    /// Cycles until the processor has stopped.
    pub fn run_out(&mut self) {
        while self.processor.cycle() {}
    }

    /// Where the accepter leaves connections.
    pub fn handover(&self) -> &Arc<Handover<S::Socket>> {
        &self.station().handover
    }

    /// Where its answers get their blocks.
    pub fn outbound(&self) -> &Arc<SharedPool> {
        &self.station().outbox.pool
    }

    /// How it is told to shut down.
    pub fn control(&self) -> &Arc<Control> {
        &self.shared.control
    }

    /// Undelivered bytes of the connection in `slot`, those on their way to it included.
    pub fn undelivered(&self, slot: u32) -> u64 {
        self.station().outbox.undelivered(slot)
    }

    /// All numbers now.
    pub fn metrics(&self) -> Snapshot {
        self.station().metrics.snapshot()
    }
}

/// An outbound as an encoder on another thread gets it: it waits in `pool`'s line for room, and `reserve` is its last
/// resort.
pub fn encoder(pool: &Arc<SharedPool>, reserve: &Arc<Tier>) -> Outbound {
    let clock = Arc::new(WallClock::default());
    let mut out = Outbound::of_worker(Arc::clone(pool), Some(Arc::clone(reserve)), reserve.size(), clock);
    out.begin();
    out
}

/// Ends the answer of an [`encoder`]: its length, if it found room.
pub fn finish(out: &mut Outbound) -> Option<usize> {
    out.finish().ok()
}

/// Counts a block as held by a message of the user's, until it comes home.
pub fn keep(block: &mut Block) {
    block.keep_for_user();
}

/// Workers without threads of their own: the caller's threads take from `jobs`.
pub fn offload<P: Protocol>(jobs: &Arc<Jobs<P>>) -> Offload<P> {
    Offload::over(Arc::clone(jobs), Workers::default().join_timeout)
}

/// The last resort of encoders: one block for `reply_max` bytes.
pub fn reserve(reply_max: usize, line: &Arc<Line>) -> Arc<Tier> {
    reserve_of(reply_max, line)
}
