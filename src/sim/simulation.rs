//! A whole server in a simulated world: build it, connect peers, let time pass, and see which law broke.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;

use super::laws::{Breach, Broken, Laws, Scene, check_home};
use super::watch::{Sightings, Watched};
use super::{Closed, Network, Seen, SimListener, SimPeer, SimSelector, SimSocket, SimWorkers, Weather};
use crate::buffer::{Line, SharedPool, Tier, reserve};
use crate::clock::WallClock;
use crate::control::{Control, Finish, Shutdown};
use crate::handover::Handover;
use crate::message_processor::MessageProcessor;
use crate::metrics::{Metrics, Snapshot};
use crate::outbox::{Outbox, WriteProxy};
use crate::processor::{Links, Overview, Processor};
use crate::protocol::Protocol;
use crate::server::{Config, ConfigError};
use crate::wake::WakeFlag;

/// More cycles than any simulation needs: from here on it will never end.
const CYCLES_MAX: u64 = 1_000_000;

/// What the parts of a server share, for the checks.
struct Shared {
    handover: Arc<Handover<SimSocket>>,
    control: Arc<Control>,
    outbox: Arc<Outbox>,
    inbound: Arc<SharedPool>,
    reserve: Arc<Tier>,
    metrics: Arc<Metrics>,
    /// The processor has room for what waits in the outbox.
    takes_outbound: Arc<AtomicBool>,
}

/// A whole server in a simulated world: the real processor with a [`MessageProcessor`] of yours, over simulated sockets
/// and a simulated clock.
///
/// [`step`](Self::step) runs one cycle and then checks every law of the server's. What breaks a law comes back as
/// [`Broken`], with the seed that does it again.
pub struct Simulation<P: Protocol, M: MessageProcessor<P>> {
    seed: u64,
    config: Config,
    network: Network,
    workers: SimWorkers,
    processor: Processor<SimSelector, P, Watched<M>>,
    shared: Shared,
    sightings: Arc<Mutex<Sightings>>,
    overview: Overview,
    laws: Laws,
    seen: Seen,
    cycles: u64,
    running: bool,
}

/// What a simulation that went down has come to.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Report {
    /// The server's counters at the end.
    pub metrics: Snapshot,
    /// How often each kind of event was seen.
    pub seen: Seen,
    /// All connections, in the order in which they ended.
    pub closed: Vec<Closed>,
    /// Simulated time, from start to end.
    pub elapsed: Duration,
    /// Cycles of the processor.
    pub cycles: u64,
}

impl<P: Protocol, M: MessageProcessor<P>> Simulation<P, M> {
    /// A server that has started and waits for its first connection. Everything that the network does is drawn from
    /// `seed`. `processor` makes the message processor, which may keep the handles that it is given, to act later.
    ///
    /// # Errors
    /// A real server would not start with this `config` either.
    pub fn new(
        seed: u64,
        config: Config,
        protocol: P,
        processor: impl FnOnce(&Network, &SimWorkers) -> M,
    ) -> Result<Self, ConfigError> {
        config.validate(protocol.message_max())?;
        let network = Network::new(seed);
        let shared = share(&config, &network);
        let workers = SimWorkers::new(network.clone(), Arc::clone(&shared.outbox));
        let processor = processor(&network, &workers);
        let sightings = Arc::new(Mutex::new(Sightings::default()));
        let watched = Watched::new(processor, network.clone(), Arc::clone(&sightings), config.turn.messages);
        let selector = SimSelector::new(network.clone());
        let mut processor = Processor::new(selector, protocol, watched, config.settings(), shared.links());
        processor.start();
        Ok(Self {
            seed,
            config,
            network,
            workers,
            processor,
            shared,
            sightings,
            overview: Overview::default(),
            laws: Laws::default(),
            seen: Seen::default(),
            cycles: 0,
            running: true,
        })
    }

    /// The network, its clock, and what is going to happen in it.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// A handle that connects peers, also from within [`Network::after`].
    pub fn listener(&self) -> SimListener {
        SimListener::new(self.network.clone(), Arc::clone(&self.shared.handover), Arc::clone(&self.shared.metrics))
    }

    /// Other threads of the user's.
    pub fn workers(&self) -> SimWorkers {
        self.workers.clone()
    }

    /// Connects a peer; `None` while the server has no room for one more.
    pub fn connect(&self, weather: Weather) -> Option<SimPeer> {
        self.listener().connect(weather)
    }

    /// The way to write unasked.
    pub fn proxy(&self) -> WriteProxy<P> {
        WriteProxy::new(Arc::clone(&self.shared.outbox))
    }

    /// The server's counters.
    pub fn metrics(&self) -> Snapshot {
        self.shared.metrics.snapshot()
    }

    /// The connections that have ended so far.
    pub fn closed(&self) -> Vec<Closed> {
        self.sightings.lock().closed.clone()
    }

    /// How many connections are open, as the message processor was told.
    pub fn open(&self) -> usize {
        self.sightings.lock().open()
    }

    /// What every open connection is doing, a line each: for whoever looks for the cause of a failure.
    pub fn describe(&self) -> String {
        let lines = self.overview.connections.iter().map(|connection| format!("{connection:?}"));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Counts an event of the test's own.
    pub fn saw(&mut self, name: impl fmt::Display) {
        self.seen.add(name, 1);
    }

    /// One cycle, and all checks. False once the server has stopped.
    ///
    /// # Errors
    /// A law was broken.
    pub fn step(&mut self) -> Result<bool, Broken> {
        self.running = self.processor.cycle();
        self.cycles += 1;
        self.note_half_closes();
        self.processor.inspect(&mut self.overview);
        self.shared.takes_outbound.store(self.overview.takes_outbound, Relaxed);
        let checked = self.check();
        checked.map_err(|breach| self.broken(breach))?;
        Ok(self.running)
    }

    /// Lets `time` pass.
    ///
    /// # Errors
    /// A law was broken.
    pub fn run_for(&mut self, time: Duration) -> Result<(), Broken> {
        self.run_until(time, |_| false).map(drop)
    }

    /// Lets time pass until `done` says so, `most` at most; returns whether it did.
    ///
    /// # Errors
    /// A law was broken.
    pub fn run_until(&mut self, most: Duration, mut done: impl FnMut(&Self) -> bool) -> Result<bool, Broken> {
        let until = self.network.elapsed() + most;
        self.network.wake_at(until);
        while self.running && self.network.elapsed() < until {
            if done(self) {
                return Ok(true);
            }
            self.step()?;
        }
        Ok(done(self))
    }

    /// Takes the server down and checks what holds at the end: every connection was closed once, and every block is
    /// home.
    ///
    /// Whatever was arranged for later never happens. Handles that the test still holds (a kept message, a deferred
    /// reply) hold blocks, too: drop them before.
    ///
    /// # Errors
    /// A law was broken.
    pub fn shutdown(mut self, grace: Duration, finish: Finish) -> Result<Report, Broken> {
        self.shared.handover.finish();
        self.shared.control.request(Shutdown { grace, finish });
        let (start, jumps) = (self.network.elapsed(), self.network.counts().jumps);
        while self.step()? {}
        let took = self.network.elapsed() - start;
        // The processor looks at its clock once a cycle; a call of a socket in between takes its time.
        if took > grace + Duration::from_millis(100) + self.network.oversleep_max()
            && self.network.counts().jumps == jumps
        {
            return Err(self.broken(("shutdown", format!("it took {took:?}, the grace was {grace:?}"))));
        }
        self.end()
    }

    fn end(mut self) -> Result<Report, Broken> {
        let metrics = self.metrics();
        self.seen.note_counters(&metrics, &self.network.counts());
        let (opened, closed) = {
            let sightings = self.sightings.lock();
            (sightings.opened, sightings.closed.clone())
        };
        if opened != closed.len() as u64 || metrics.open != 0 {
            let what = format!("{opened} were opened, {} were closed, {} are open", closed.len(), metrics.open);
            return Err(self.broken(("ends once", what)));
        }
        let (seed, elapsed, cycles) = (self.seed, self.network.elapsed(), self.cycles);
        let Self { processor, shared, network, workers, seen, .. } = self;
        network.stop();
        workers.stop();
        processor.end();
        let Shared { outbox, inbound, reserve, .. } = shared;
        let outbound = Arc::clone(&outbox.pool);
        let away = reserve.in_use() + usize::from(!outbox.workers_reserve_whole());
        drop(outbox);
        check_home(&inbound, &outbound, away).map_err(|(law, what)| Broken { law, what, seed, at: elapsed })?;
        Ok(Report { metrics, seen, closed, elapsed, cycles })
    }

    fn check(&mut self) -> Result<(), Breach> {
        if let Some(broken) = self.sightings.lock().broken.take() {
            return Err(broken);
        }
        if self.cycles > CYCLES_MAX {
            return Err(("liveness", "the simulation does not end".into()));
        }
        // In debug builds the processor asserts it itself, but before the last thing of its cycle, which may close connections.
        self.processor.inspect_ledger().map_err(|what| ("ledger", what))?;
        let metrics = self.shared.metrics.snapshot();
        let sightings = self.sightings.lock();
        let network = self.network.lock();
        self.laws.check(&Scene {
            config: &self.config,
            overview: &self.overview,
            metrics: &metrics,
            outbox: &self.shared.outbox,
            inbound: &self.shared.inbound,
            reserve: &self.shared.reserve,
            network: &network,
            waiting: self.shared.handover.waiting(),
            live: self.shared.handover.live(),
            given: sightings.given,
            spoke: &sightings.spoke,
        })
    }

    /// Notes the ends of streams that arrived in this cycle, with what their connections were doing before it.
    fn note_half_closes(&mut self) {
        let Self { network, seen, overview, .. } = self;
        let mut state = network.lock();
        for slot in state.links.iter_mut().filter_map(|link| link.take_new_end()) {
            let connection = overview.connections.iter().find(|connection| connection.id.slot() == slot);
            connection.into_iter().for_each(|connection| seen.note_half_close(connection));
        }
    }

    fn broken(&self, (law, what): Breach) -> Broken {
        Broken { law, what, seed: self.seed, at: self.network.elapsed() }
    }
}

impl Shared {
    fn links(&self) -> Links<SimSocket> {
        Links {
            handover: Arc::clone(&self.handover),
            control: Arc::clone(&self.control),
            outbox: Arc::clone(&self.outbox),
            inbound: Arc::clone(&self.inbound),
            reserve: Arc::clone(&self.reserve),
            metrics: Arc::clone(&self.metrics),
        }
    }
}

/// Makes everything that the threads of a real server would share.
fn share(config: &Config, network: &Network) -> Shared {
    let wake = Arc::new(network.wake_flag());
    let accepter = Arc::new(WakeFlag::never_asleep());
    let metrics = Arc::new(Metrics::default());
    let inbound = SharedPool::new(config.inbound_with_spares(), Line::new(Arc::clone(&wake)));
    let outbound = SharedPool::new(config.outbound, Line::new(Arc::clone(&wake)));
    let clock = Arc::new(WallClock::default());
    let reserve = reserve(config.reply_max, outbound.line());
    let outbox = Outbox::new(config.outbox_limits(), outbound, clock, Arc::clone(&wake), Arc::clone(&metrics));
    let handover = Handover::new(config.handover_max, config.connections_max, Arc::clone(&accepter), Arc::clone(&wake));
    let control = Control::new(accepter, wake);
    let takes_outbound = Arc::new(AtomicBool::new(true));
    let left = {
        let (outbox, handover, takes) = (Arc::clone(&outbox), Arc::clone(&handover), Arc::clone(&takes_outbound));
        move || handover.has_work() || (outbox.has_work() && takes.load(Relaxed))
    };
    network.watch_sleep(left);
    Shared { handover, control, outbox, inbound, reserve, metrics, takes_outbound }
}

impl<P: Protocol, M: MessageProcessor<P>> fmt::Debug for Simulation<P, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, cycles, .. } = self;
        f.debug_struct("Simulation").field("seed", seed).field("cycles", cycles).finish_non_exhaustive()
    }
}
