//! One processor of the simulation: what it shares, what was observed, and whether it sleeps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use super::laws::{Breach, Laws, Scene};
use super::watch::{Sightings, Watched};
use super::{Network, SimSelector, SimSocket, SimWorkers};
use crate::message_processor::MessageProcessor;
use crate::processor::{Overview, Processor};
use crate::protocol::Protocol;
use crate::server::{Config, Shared, Station};
use crate::sync::Mutex;

/// The state of a processor between two steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Posture {
    /// Its cycle is over, and it has not fallen asleep yet.
    Up,
    /// It sleeps, or is about to, and may do so for as long as this.
    Down { limit: Option<Duration>, until: Option<Duration> },
    /// It has stopped.
    Gone,
}

/// One processor, and what is known about it.
pub(super) struct Seat<P: Protocol, M: MessageProcessor<P>> {
    number: usize,
    processor: Processor<SimSelector, P, Watched<M>>,
    pub(super) workers: SimWorkers,
    pub(super) sightings: Arc<Mutex<Sightings>>,
    pub(super) overview: Overview,
    laws: Laws,
    posture: Posture,
    /// How often others had a turn although this one could have had it.
    pub(super) passed_over: u32,
    /// The processor has room for what waits in the outbox.
    takes_outbound: Arc<AtomicBool>,
}

/// The parts from which all seats are made.
pub(super) struct Workshop<'a, P> {
    pub(super) config: &'a Config,
    pub(super) protocol: &'a P,
    pub(super) network: &'a Network,
    pub(super) shared: &'a Shared<SimSocket>,
}

impl<P: Protocol, M: MessageProcessor<P>> Seat<P, M> {
    /// The processor with this number, already started. `make` makes its user.
    pub(super) fn new(
        number: u16,
        workshop: &Workshop<'_, P>,
        make: impl FnOnce(u16, &Network, &SimWorkers) -> M,
    ) -> Self {
        let Workshop { config, protocol, network, shared } = *workshop;
        let links = shared.links(number);
        let workers = SimWorkers::new(network.clone(), Arc::clone(&links.outbox));
        let user = make(number, network, &workers);
        let sightings = Arc::new(Mutex::new(Sightings::default()));
        let watched = Watched::new(user, network.clone(), Arc::clone(&sightings), config.turn.messages);
        let takes_outbound = Arc::new(AtomicBool::new(true));
        let left = {
            let (outbox, handover) = (Arc::clone(&links.outbox), Arc::clone(&links.handover));
            let takes = Arc::clone(&takes_outbound);
            move || handover.has_work() || outbox.is_close_asked() || (outbox.has_work() && takes.load(Relaxed))
        };
        network.watch_sleep(usize::from(number), left);
        let selector = match config.processors {
            1 => SimSelector::new(network.clone()),
            _ => SimSelector::in_turn(network.clone(), usize::from(number)),
        };
        let mut processor = Processor::new(selector, protocol.clone(), watched, config.settings(number), links);
        processor.start();
        Self {
            number: usize::from(number),
            processor,
            workers,
            sightings,
            overview: Overview::default(),
            laws: Laws::default(),
            posture: Posture::Up,
            passed_over: 0,
            takes_outbound,
        }
    }

    /// Its workers forget what they wait with: nobody will make room any more.
    pub(super) fn dismiss_workers(&self) {
        self.workers.stop();
    }

    /// True until the processor has stopped.
    pub(super) fn is_running(&self) -> bool {
        self.posture != Posture::Gone
    }

    /// True if it can do something now: fall asleep, or wake up.
    pub(super) fn is_able(&self, network: &Network) -> bool {
        match self.posture {
            Posture::Up => true,
            Posture::Gone => false,
            Posture::Down { limit, until } => {
                let state = network.lock();
                let bed = &state.beds[self.number];
                let over = limit == Some(Duration::ZERO) || until.is_some_and(|until| until <= state.now);
                let edge = || state.links.iter().any(|link| link.selector() == Some(self.number) && link.has_edge());
                over || bed.woken || bed.broken || edge()
            }
        }
    }

    /// When its sleep is over by itself.
    pub(super) fn until(&self) -> Option<Duration> {
        match self.posture {
            Posture::Down { until, .. } => until,
            _ => None,
        }
    }

    /// Notes that it sleeps on while time passes.
    pub(super) fn sleep_on(&self, network: &Network) {
        if self.is_running() {
            network.lock().sleep_on(self.number);
        }
    }

    /// Takes the next step; true if that was the rest of a cycle.
    pub(super) fn act(&mut self, network: &Network) -> bool {
        self.passed_over = 0;
        match self.posture {
            Posture::Up => {
                let limit = self.processor.fall_asleep();
                let mut state = network.lock();
                state.lie_down(self.number, limit);
                self.posture = Posture::Down { limit, until: limit.map(|limit| state.now + limit) };
                false
            }
            Posture::Down { limit, .. } => {
                network.lock().beds[self.number].woken = false;
                let goes_on = self.processor.cycle_from(limit);
                self.posture = if goes_on { Posture::Up } else { Posture::Gone };
                true
            }
            Posture::Gone => false,
        }
    }

    /// Runs a whole cycle of a processor that sleeps in its own selector.
    pub(super) fn cycle(&mut self) {
        if !self.processor.cycle() {
            self.posture = Posture::Gone;
        }
    }

    /// Looks at the state after the cycle.
    pub(super) fn inspect(&mut self) {
        self.processor.inspect(&mut self.overview);
        self.takes_outbound.store(self.overview.takes_outbound, Relaxed);
    }

    /// Checks every law that concerns a single processor.
    pub(super) fn check(
        &mut self,
        config: &Config,
        network: &Network,
        station: &Station<SimSocket>,
    ) -> Result<(), Breach> {
        if let Some(broken) = self.sightings.lock().broken.take() {
            return Err(broken);
        }
        // In debug builds the processor asserts this itself, but before the final step of its cycle, which may close
        // connections.
        self.processor.inspect_ledger().map_err(|what| ("ledger", what))?;
        let sightings = self.sightings.lock();
        let network = network.lock();
        self.laws.check(&Scene {
            config,
            number: self.number,
            overview: &self.overview,
            metrics: &station.metrics.snapshot(),
            outbox: &station.outbox,
            inbound: &station.inbound,
            reserve: &station.reserve,
            network: &network,
            waiting: station.handover.waiting(),
            live: station.handover.live(),
            given: sightings.given,
            spoke: &sightings.spoke,
        })
    }

    /// Ends the processor and its user.
    pub(super) fn end(self) {
        self.workers.stop();
        self.processor.end();
    }
}
