//! The real processor in a simulated world: build it, connect peers, let time pass, and see which law broke.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::laws::{Breach, Broken, Whole, check_home};
use super::seat::{Seat, Workshop};
use super::{Closed, Network, Random, Seen, SimListener, SimPeer, SimSocket, SimWorkers, Weather};
use crate::config_error::ConfigError;
use crate::control::{Finish, ShutdownRequest};
use crate::message_processor::MessageProcessor;
use crate::metrics::Snapshot;
use crate::outbox::WriteProxy;
use crate::protocol::Protocol;
use crate::server::{Config, Shared};
use crate::wake::WakeFlag;

/// More cycles than any simulation needs: one that reaches this number is assumed never to end.
const CYCLES_MAX: u64 = 1_000_000;
/// With several processors, one that could have its turn is passed over at most this often.
const PASSED_OVER_MAX: u32 = 4;

/// A server in a simulated world: the real processor, or several of them, with a [`MessageProcessor`] of yours, over
/// simulated sockets and a simulated clock. The accepter and [`Workers`](crate::Workers), which are threads, are
/// missing.
///
/// [`step`](Self::step) runs one cycle and then checks every law of the server. A broken law comes back as [`Broken`],
/// with the seed that repeats it.
///
/// Several processors ([`Config::processors`], [`new_with`](Self::new_with)) have their cycles one after the other.
/// Their order is drawn from the seed, and so is the moment in which each falls asleep. Time passes only while all
/// sleep, or when the server has stopped.
pub struct Simulation<P: Protocol, M: MessageProcessor<P>> {
    seed: u64,
    config: Config,
    network: Network,
    seats: Vec<Seat<P, M>>,
    shared: Shared<SimSocket>,
    /// Draws whose turn it is, among several processors.
    turns: Random,
    seen: Seen,
    cycles: u64,
    running: bool,
}

/// The result of a simulation that was shut down.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Report {
    /// The server's counters at the end.
    pub metrics: Snapshot,
    /// The counters of each processor.
    pub processors: Vec<Snapshot>,
    /// How often each kind of event was seen.
    pub seen: Seen,
    /// All connections, in the order in which they ended.
    pub closed: Vec<Closed>,
    /// Simulated time from start to end.
    pub elapsed: Duration,
    /// Number of cycles, of all processors together.
    pub cycles: u64,
}

impl<P: Protocol, M: MessageProcessor<P>> Simulation<P, M> {
    /// A server that has started and waits for its first connection. Everything that the network does is drawn from
    /// `seed`. `processor` makes the message processor, which may keep the handles that it is given, in order to act
    /// later.
    ///
    /// # Errors
    /// A real server would not start with this `config` either.
    pub fn new(
        seed: u64,
        config: Config,
        protocol: P,
        processor: impl FnOnce(&Network, &SimWorkers) -> M,
    ) -> Result<Self, ConfigError> {
        config.check_single()?;
        let mut processor = Some(processor);
        Self::new_with(seed, config, protocol, |_, network, workers| {
            let make = processor.take().expect("there is one processor");
            make(network, workers)
        })
    }

    /// The same with as many processors as `config` says. `make` makes a message processor for each, given its number
    /// from 0.
    ///
    /// # Errors
    /// A real server would not start with this `config` either.
    pub fn new_with(
        seed: u64,
        config: Config,
        protocol: P,
        mut make: impl FnMut(u16, &Network, &SimWorkers) -> M,
    ) -> Result<Self, ConfigError> {
        config.validate(protocol.message_max())?;
        let network = Network::new(seed);
        network.make_beds(config.processors);
        let wakes: Vec<_> = (0..config.processors).map(|number| Arc::new(network.wake_flag_of(number))).collect();
        let shared = Shared::new(&config, 0, &Arc::new(WakeFlag::never_asleep()), &wakes);
        let workshop = Workshop { config: &config, protocol: &protocol, network: &network, shared: &shared };
        let seats = (0..).take(config.processors).map(|number| Seat::new(number, &workshop, &mut make)).collect();
        let (turns, seen) = (Random::new(!seed), Seen::default());
        Ok(Self { seed, config, network, seats, shared, turns, seen, cycles: 0, running: true })
    }

    /// The network, its clock, and the events to come.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// A handle that connects peers, also from within [`Network::after`].
    pub fn listener(&self) -> SimListener {
        SimListener::new(self.network.clone(), self.shared.clone())
    }

    /// Simulated threads of the user's, as workers of the first processor.
    pub fn workers(&self) -> SimWorkers {
        self.seats[0].workers.clone()
    }

    /// The same for each processor, by its number.
    pub fn workers_by_processor(&self) -> Vec<SimWorkers> {
        self.seats.iter().map(|seat| seat.workers.clone()).collect()
    }

    /// Connects a peer; `None` while the server has no room for one more.
    pub fn connect(&self, weather: Weather) -> Option<SimPeer> {
        self.listener().connect(weather)
    }

    /// Writes to connections without a request.
    pub fn proxy(&self) -> WriteProxy<P> {
        self.shared.proxy()
    }

    /// The server's counters, of all processors together.
    pub fn metrics(&self) -> Snapshot {
        let mut sum = Snapshot::default();
        self.shared.stations.iter().for_each(|station| sum.add(&station.snapshot()));
        sum
    }

    /// The same for each processor, by its number.
    pub fn metrics_by_processor(&self) -> Vec<Snapshot> {
        self.shared.stations.iter().map(|station| station.snapshot()).collect()
    }

    /// The connections that have ended so far, in that order.
    pub fn closed(&self) -> Vec<Closed> {
        let mut closed: Vec<_> = self.seats.iter().flat_map(|seat| seat.sightings.lock().closed.clone()).collect();
        closed.sort_by_key(|closed| closed.at);
        closed
    }

    /// How many connections are open, as the message processors were told.
    pub fn open(&self) -> usize {
        self.seats.iter().map(|seat| seat.sightings.lock().open()).sum()
    }

    /// The state of every open connection, one line each: helps to find the cause of a failure.
    pub fn describe(&self) -> String {
        let connections = self.seats.iter().flat_map(|seat| &seat.overview.connections);
        let lines = connections.map(|connection| format!("{connection:?}"));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Counts an event of the test's own.
    pub fn saw(&mut self, name: impl fmt::Display) {
        self.seen.add(name, 1);
    }

    /// Runs one cycle of one processor, and all checks. Returns false once the server has stopped.
    ///
    /// # Errors
    /// A law was broken.
    pub fn step(&mut self) -> Result<bool, Broken> {
        let number = self.cycle().map_err(|breach| self.broken(breach))?;
        self.cycles += 1;
        self.note_half_closes();
        if self.shared.control.is_requested() {
            self.end_accepting();
        }
        self.seats[number].inspect();
        let checked = self.check(number);
        checked.map_err(|breach| self.broken(breach))?;
        self.running = self.seats.iter().any(Seat::is_running);
        Ok(self.running)
    }

    /// Runs the next cycle; returns whose it was.
    fn cycle(&mut self) -> Result<usize, Breach> {
        if let [alone] = &mut self.seats[..] {
            alone.cycle();
            return Ok(0);
        }
        loop {
            self.network.run_due();
            match self.next_in_turn() {
                Some(number) if self.seats[number].act(&self.network) => return Ok(number),
                Some(_) => {}
                None => self.pass_time()?,
            }
        }
    }

    /// Which processor has the next turn: any that can, and soon one that has been able to all the time.
    fn next_in_turn(&mut self) -> Option<usize> {
        let able: Vec<_> = (0..self.seats.len()).filter(|number| self.seats[*number].is_able(&self.network)).collect();
        let overdue = able.iter().find(|number| self.seats[**number].passed_over >= PASSED_OVER_MAX);
        let drawn = (!able.is_empty()).then(|| able[self.turns.below(able.len())]);
        let next = overdue.copied().or(drawn)?;
        able.iter().for_each(|number| self.seats[*number].passed_over += u32::from(*number != next));
        Some(next)
    }

    /// While all sleep: moves the clock to the next event.
    fn pass_time(&mut self) -> Result<(), Breach> {
        self.seats.iter().for_each(|seat| seat.sleep_on(&self.network));
        let until = self.seats.iter().filter_map(Seat::until).min();
        let mut state = self.network.lock();
        let oversleep_max = state.oversleep_max;
        let then = match (state.next_at(), until) {
            (Some(next), until) if until.is_none_or(|until| next <= until) => next,
            (_, Some(until)) => until + state.random.duration(oversleep_max),
            (_, None) => return Err(("liveness", "all sleep for ever".into())),
        };
        state.now = state.now.max(then);
        Ok(())
    }

    /// Ends the accepter, which has no thread here, once the server shuts down for whatever reason.
    fn end_accepting(&self) {
        let dealer = &self.shared.dealer;
        if !dealer.handovers().iter().all(|handover| handover.is_finished()) {
            dealer.finish();
        }
    }

    /// Lets `time` pass, also when the server has stopped: what is on its way to its peers still arrives.
    ///
    /// # Errors
    /// A law was broken.
    pub fn run_for(&mut self, time: Duration) -> Result<(), Broken> {
        self.run_until(time, |_| false).map(drop)
    }

    /// Lets time pass until `done` returns true, but at most `most`; returns whether `done` did. Goes on when the
    /// server has stopped.
    ///
    /// # Errors
    /// A law was broken.
    pub fn run_until(&mut self, most: Duration, mut done: impl FnMut(&Self) -> bool) -> Result<bool, Broken> {
        let until = self.network.elapsed() + most;
        self.network.wake_at(until);
        while self.network.elapsed() < until {
            if done(self) {
                return Ok(true);
            }
            // Peers live on when the server has stopped.
            if self.running {
                self.step()?;
            } else {
                self.seats.iter().for_each(Seat::dismiss_workers);
                self.network.pass_alone(until);
            }
        }
        Ok(done(self))
    }

    /// Asks the server to shut down, as another thread would: the grace begins now, even if a processor notices later.
    /// Call [`shutdown`](Self::shutdown) to let it end.
    pub fn ask_to_shut_down(&self, grace: Duration, finish: Finish) {
        self.shared.control.request(ShutdownRequest { asked: self.network.now(), grace, finish });
    }

    /// Shuts the server down and checks that in the end every connection was closed once and every block is home.
    ///
    /// Events that were arranged for later never happen. Handles that the test still holds (a kept message, a deferred
    /// reply) also hold blocks: drop them first.
    ///
    /// # Errors
    /// A law was broken.
    pub fn shutdown(mut self, grace: Duration, finish: Finish) -> Result<Report, Broken> {
        self.end_accepting();
        self.ask_to_shut_down(grace, finish);
        let (start, jumps) = (self.network.elapsed(), self.network.counts().jumps);
        while self.running && self.step()? {}
        let took = self.network.elapsed() - start;
        // A processor looks at its clock before and after it sleeps; calls of sockets in between take time, and so do
        // the cycles of the others.
        let late = Duration::from_millis(100) * self.seats.len() as u32 + self.network.oversleep_max();
        if took > grace + late && self.network.counts().jumps == jumps {
            return Err(self.broken(("shutdown", format!("it took {took:?}, the grace was {grace:?}"))));
        }
        self.end()
    }

    fn end(mut self) -> Result<Report, Broken> {
        let (metrics, processors, closed) = (self.metrics(), self.metrics_by_processor(), self.closed());
        self.seen.note_counters(&metrics, &self.network.counts());
        let opened: u64 = self.seats.iter().map(|seat| seat.sightings.lock().opened).sum();
        if opened != closed.len() as u64 || metrics.open != 0 {
            let what = format!("{opened} were opened, {} were closed, {} are open", closed.len(), metrics.open);
            return Err(self.broken(("ends once", what)));
        }
        let (seed, elapsed, cycles) = (self.seed, self.network.elapsed(), self.cycles);
        let Self { seats, shared, network, seen, .. } = self;
        network.stop();
        seats.into_iter().for_each(Seat::end);
        shared.clear_up();
        for station in &*shared.stations {
            check_home(station).map_err(|(law, what)| Broken { law, what, seed, at: elapsed })?;
        }
        Ok(Report { metrics, processors, seen, closed, elapsed, cycles })
    }

    /// Checks everything after a cycle of this processor.
    fn check(&mut self, number: usize) -> Result<(), Breach> {
        if self.cycles > CYCLES_MAX {
            return Err(("liveness", "the simulation does not end".into()));
        }
        let Self { config, network, seats, shared, .. } = self;
        seats[number].check(config, network, &shared.stations[number])?;
        let mut sum = Snapshot::default();
        shared.stations.iter().for_each(|station| sum.add(&station.snapshot()));
        let counts = network.counts();
        let (crowd, live) = (&shared.crowd, shared.dealer.live());
        let bytes = (counts.bytes_read, counts.bytes_written);
        Whole { config, metrics: &sum, crowd, live, bytes }.check()
    }

    /// Notes the ends of streams that arrived in this cycle, with what their connections were doing before it.
    fn note_half_closes(&mut self) {
        let Self { network, seen, seats, .. } = self;
        let mut state = network.lock();
        for (number, slot) in state.links.iter_mut().filter_map(|link| link.take_new_end()) {
            let mut connections = seats[number].overview.connections.iter();
            let connection = connections.find(|connection| connection.id.slot() == slot);
            connection.into_iter().for_each(|connection| seen.note_half_close(connection));
        }
    }

    fn broken(&self, (law, what): Breach) -> Broken {
        Broken { law, what, seed: self.seed, at: self.network.elapsed() }
    }
}

impl<P: Protocol, M: MessageProcessor<P>> fmt::Debug for Simulation<P, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, cycles, .. } = self;
        f.debug_struct("Simulation").field("seed", seed).field("cycles", cycles).finish_non_exhaustive()
    }
}
