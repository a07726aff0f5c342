//! All simulated connections, the clock, and the events to come.

use std::net::SocketAddr;
use std::ops::DerefMut;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fmt, io};

use super::link::Link;
use super::schedule::{Action, Event, Schedule};
use super::{Random, SimPeer, SimSocket, Weather};
use crate::sync::Mutex;
use crate::wake::WakeFlag;

/// Counts of what the network did, for a test that wants to know whether it has seen everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NetworkCounts {
    /// Writes that took fewer bytes than they were given.
    pub short_writes: u64,
    /// Writes that took nothing, because the peer does not read.
    pub full_writes: u64,
    /// Connections that broke because their peer reset them or had vanished.
    pub resets: u64,
    /// Ends of stream that came along with the final bytes, without an edge of their own.
    pub hidden_ends: u64,
    /// Times that bytes had to wait at their peer, because the server did not read.
    pub windows_closed: u64,
    /// Readiness that was reported for nothing.
    pub spurious: u64,
    /// Calls that were interrupted.
    pub interruptions: u64,
    /// Bytes that a peer never received because the server closed its socket while unread bytes were in it.
    pub lost_by_close: u64,
    /// Times that the clock jumped.
    pub jumps: u64,
    /// Times that the server was frozen in its sleep.
    pub freezes: u64,
    /// Calls of the selector that failed.
    pub selector_failures: u64,
    /// Reads that came back with bytes.
    pub reads: u64,
    /// Bytes that the server read.
    pub bytes_read: u64,
    /// Bytes that the server wrote.
    pub bytes_written: u64,
}

/// Addresses from which peers come, in turn.
const HOSTS: usize = 4;

/// A network of simulated connections with a clock of its own. A clone is another handle to the same network.
///
/// Nothing happens by itself: time passes only when the server calls a socket, when it sleeps in
/// [`SimSelector`](super::SimSelector), which moves it to the next event at once, and once it has stopped. All chance
/// comes from the seed.
#[derive(Debug, Clone)]
pub struct Network {
    state: Arc<Mutex<State>>,
}

/// How often and how long the processor thread slept in its selector.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sleep {
    /// The latest select found nothing to report and was allowed to sleep.
    pub(crate) slept: bool,
    /// How long it was allowed to sleep; `None` is without end.
    pub(crate) leave: Option<Duration>,
    /// It had no timeout, no event was left, and nothing could have woken it.
    pub(crate) for_ever: bool,
    /// Selects in a row between which nothing happened at all, and since when.
    pub(crate) idle: u32,
    pub(crate) idle_since: Duration,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) start: Instant,
    pub(super) now: Duration,
    pub(super) random: Random,
    pub(super) links: Vec<Link>,
    pub(super) counts: NetworkCounts,
    /// The processors that sleep in a selector, by number.
    pub(super) beds: Vec<Bed>,
    /// Counts everything that happens.
    pub(super) happened: u64,
    /// A sleep lasts at most this much longer than asked for.
    pub(super) oversleep_max: Duration,
    /// How long the server is to be frozen in its next sleep.
    pub(super) freeze: Option<Duration>,
    /// Something that the server did and that would go wrong with a real selector.
    pub(super) misuse: Option<String>,
    /// A law that was broken outside of the processor's cycle, and how it was broken.
    pub(super) broken: Option<(&'static str, String)>,
    schedule: Schedule,
}

/// Everything about the sleep of one processor, and about what it reads and writes while it is awake.
#[derive(Debug, Default)]
pub(super) struct Bed {
    pub(super) sleep: Sleep,
    /// The processor's wake flag was used.
    pub(super) woken: bool,
    /// Its selector has failed for good.
    pub(super) broken: bool,
    /// How much had happened when it most recently began to sleep.
    happened: u64,
    /// True while others have left work for the processor.
    pub(super) left: Probe,
    pub(super) bytes_read: u64,
    pub(super) bytes_written: u64,
}

/// A question that the network asks from time to time.
#[derive(Default)]
pub(super) struct Probe(Option<Box<dyn Fn() -> bool + Send>>);

impl Probe {
    pub(super) fn ask(&self) -> bool {
        self.0.as_ref().is_some_and(|question| question())
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Probe")
    }
}

impl Network {
    /// A network in which everything is drawn from `seed`.
    pub fn new(seed: u64) -> Self {
        let state = State {
            start: super::clock::start(),
            now: Duration::ZERO,
            random: Random::new(seed),
            links: Vec::new(),
            counts: NetworkCounts::default(),
            beds: vec![Bed::default()],
            happened: 0,
            oversleep_max: Duration::ZERO,
            freeze: None,
            misuse: None,
            broken: None,
            schedule: Schedule::default(),
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// A new connection: the peer's end, and the socket as the server would have accepted it.
    pub fn connect(&self, weather: Weather) -> (SimPeer, SimSocket) {
        let mut state = self.lock();
        let index = state.links.len();
        // A few hosts, so that several connections come from each; every port is used once.
        let (host, port) = (index % HOSTS, 1024 + index / HOSTS);
        let address = SocketAddr::from(([10, 0, 0, host as u8], port as u16));
        state.links.push(Link::new(address, weather));
        drop(state);
        (SimPeer::new(self.clone(), index), SimSocket::new(self.clone(), index))
    }

    /// Arranges that `act` is called after `delay` (at least a microsecond), as if by another thread: also in the
    /// middle of a cycle.
    pub fn after(&self, delay: Duration, act: impl FnOnce() + Send + 'static) {
        // An action that arranges itself again must not stop the clock.
        let delay = delay.max(Duration::from_micros(1));
        let mut state = self.lock();
        let at = state.now + delay;
        state.schedule.add(at, Event::Act(Box::new(act)));
    }

    /// The time since the start.
    pub fn elapsed(&self) -> Duration {
        self.lock().now
    }

    /// The time now, as the server sees it.
    pub fn now(&self) -> Instant {
        let state = self.lock();
        state.start + state.now
    }

    /// Moves the clock forward at once. Events that were due meanwhile happen late.
    pub fn jump(&self, forward: Duration) {
        let mut state = self.lock();
        state.now += forward;
        state.counts.jumps += 1;
    }

    /// Freezes the server for `length` in its next sleep, as a signal or a debugger would: the sleep ends without
    /// reporting what has come meanwhile. If several processors take turns, the clock jumps instead.
    pub fn freeze(&self, length: Duration) {
        self.lock().freeze = Some(length);
    }

    /// Called when the server sleeps: if it is to be frozen now, lets that time pass and returns true.
    pub(super) fn pass_freeze(&self) -> bool {
        let Some(length) = self.lock().freeze.take() else { return false };
        self.jump(length);
        self.lock().counts.freezes += 1;
        self.run_due();
        true
    }

    /// Lets each sleep of the server last up to `max` longer than it asked for.
    pub fn set_oversleep(&self, max: Duration) {
        self.lock().oversleep_max = max;
    }

    pub(super) fn oversleep_max(&self) -> Duration {
        self.lock().oversleep_max
    }

    /// Ends, for nothing, the sleep of every processor that sleeps at `at`.
    pub(super) fn wake_at(&self, at: Duration) {
        let network = self.clone();
        let wake_all = move || network.lock().beds.iter_mut().for_each(|bed| bed.woken = true);
        self.after(at.saturating_sub(self.elapsed()), wake_all);
    }

    /// Makes room for this many processors.
    pub(super) fn make_beds(&self, processors: usize) {
        self.lock().beds.resize_with(processors, Bed::default);
    }

    /// Asks `left` whenever the processor with this number goes on sleeping, which it must not do while others have
    /// left work for it.
    pub(super) fn watch_sleep(&self, number: usize, left: impl Fn() -> bool + Send + 'static) {
        self.lock().beds[number].left = Probe(Some(Box::new(left)));
    }

    /// Makes the selector of the processor with this number fail from now on, whenever it is to sleep.
    pub fn break_selector(&self, number: usize) {
        self.lock().beds[number].broken = true;
    }

    /// What the network has done so far.
    pub fn counts(&self) -> NetworkCounts {
        self.lock().counts
    }

    /// A flag that wakes the server's thread from its simulated sleep.
    pub fn wake_flag(&self) -> WakeFlag {
        self.wake_flag_of(0)
    }

    /// The same for the processor with this number.
    pub(super) fn wake_flag_of(&self, number: usize) -> WakeFlag {
        let network = self.clone();
        WakeFlag::new(move || network.lock().beds[number].woken = true)
    }

    /// Forgets everything that is still to happen.
    pub fn stop(&self) {
        let forgotten = {
            let mut state = self.lock();
            let probes: Vec<_> = state.beds.iter_mut().map(|bed| std::mem::take(&mut bed.left)).collect();
            (state.schedule.clear(), probes)
        };
        // Dropped here, without the lock: an action may own something that uses the network when it is dropped.
        drop(forgotten);
    }

    pub(super) fn lock(&self) -> impl DerefMut<Target = State> + '_ {
        self.state.lock()
    }

    /// Lets everything that is due happen.
    pub(super) fn run_due(&self) {
        // Actions run without the lock: they use the network themselves.
        while let Some(act) = self.next_action() {
            act();
        }
    }

    fn next_action(&self) -> Option<Action> {
        self.lock().next_action()
    }

    /// Moves the clock to the next event, but not beyond `most`, and lets it happen: there is no server that would.
    pub(super) fn pass_alone(&self, most: Duration) {
        let mut state = self.lock();
        let next = state.next_at().map_or(most, |next| next.min(most));
        state.now = state.now.max(next);
        drop(state);
        self.run_due();
    }

    /// Lets the time of one call pass, together with everything that happens in it.
    pub(super) fn pass_call(&self, index: usize) {
        let mut state = self.lock();
        let call_max = state.links[index].weather.call_max;
        if call_max > Duration::ZERO {
            let passed = state.random.duration(call_max);
            state.now += passed;
        }
        drop(state);
        self.run_due();
    }
}

impl State {
    /// Notes that the processor with this number falls asleep, and how long it may sleep.
    pub(super) fn lie_down(&mut self, number: usize, leave: Option<Duration>) {
        let Self { beds, happened, now, .. } = self;
        let bed = &mut beds[number];
        let (idle, idle_since) =
            if *happened == bed.happened { (bed.sleep.idle + 1, bed.sleep.idle_since) } else { (0, *now) };
        bed.sleep = Sleep { slept: false, leave, for_ever: false, idle, idle_since };
        bed.happened = *happened;
    }

    /// Notes that the processor with this number sleeps on.
    pub(super) fn sleep_on(&mut self, number: usize) {
        let bed = &mut self.beds[number];
        bed.sleep.slept = true;
        if bed.left.ask() {
            self.misuse = Some("the processor sleeps although others have left work for it".into());
        }
    }

    /// Notes how much the processor that has the link read and wrote.
    pub(super) fn book(&mut self, index: usize, read: usize, written: usize) {
        self.counts.reads += u64::from(read > 0);
        self.counts.bytes_read += read as u64;
        self.counts.bytes_written += written as u64;
        if let Some(bed) = self.beds.get_mut(self.links[index].dealt_to) {
            bed.bytes_read += read as u64;
            bed.bytes_written += written as u64;
        }
    }

    /// Runs everything that is due, up to the next action of the test's own, which the caller runs without the lock.
    fn next_action(&mut self) -> Option<Action> {
        while let Some(event) = self.schedule.pop_due(self.now) {
            self.happened += 1;
            match event {
                Event::Act(act) => return Some(act),
                Event::Arrive(index) => self.arrive(index),
                Event::Drain(index) => self.drain(index),
                Event::Break(index, why) => self.links[index].break_off(why, &mut self.random, &mut self.counts),
            }
        }
        None
    }

    fn arrive(&mut self, index: usize) {
        let link = &mut self.links[index];
        link.arrival_arranged = false;
        link.arrive(&mut self.random, &mut self.counts);
        self.arrange(index);
    }

    fn drain(&mut self, index: usize) {
        let link = &mut self.links[index];
        link.drain_arranged = false;
        if link.drain(&mut self.random) {
            link.break_off(io::ErrorKind::ConnectionReset, &mut self.random, &mut self.counts);
        }
        self.arrange(index);
    }

    /// Arranges the events for which the link is now waiting. Called after everything that could have changed them.
    pub(super) fn arrange(&mut self, index: usize) {
        let Self { links, random, schedule, now, .. } = self;
        let link = &mut links[index];
        if link.can_arrive() && !link.arrival_arranged {
            link.arrival_arranged = true;
            schedule.add(*now + random.duration(link.weather.delay_max), Event::Arrive(index));
        }
        if link.can_drain() && !link.drain_arranged {
            link.drain_arranged = true;
            let delay = link.reading.delay(&link.weather, random);
            schedule.add(*now + delay, Event::Drain(index));
        }
    }

    /// Arranges that the connection breaks.
    pub(super) fn arrange_break(&mut self, index: usize, why: io::ErrorKind) {
        let delay = self.random.duration(self.links[index].weather.delay_max);
        self.schedule.add(self.now + delay, Event::Break(index, why));
    }

    /// Fails if chance lets this call of the selector fail.
    pub(super) fn try_selector(&mut self, index: usize) -> io::Result<()> {
        let per_mille = self.links[index].weather.selector_failures;
        if per_mille > 0 && self.random.chance(per_mille) {
            self.counts.selector_failures += 1;
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        Ok(())
    }

    /// When the next event happens.
    pub(super) fn next_at(&self) -> Option<Duration> {
        self.schedule.next_at()
    }
}
