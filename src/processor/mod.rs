//! The processor thread: one cycle, in a fixed order, over all connections.
//!
//! ARCHITECTURE.md says what each room does.

mod answer_room;
mod backpressure;
mod blocks;
mod broken;
mod close;
mod crowd;
mod decode;
mod draining;
mod foreign;
mod holders;
#[cfg(feature = "sim")]
mod inspect;
mod intake;
mod mio_selector;
mod process;
mod read;
mod selector;
mod serve_waiters;
mod settings;
mod shortage;
mod shutdown;
mod slot_queue;
mod slow_peers;
mod timeouts;
mod turn;
mod waiters;
mod write;

use std::array;
use std::io;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::buffer::{Outbound, Pool, Segments, SetAside, SharedPool, TIERS, Tier};
use crate::clock::WallClock;
use crate::connection::{Connection, Ending, Table};
use crate::control::{Control, Shutdown};
use crate::handover::Handover;
use crate::message_processor::MessageProcessor;
use crate::metrics::Metrics;
use crate::outbox::{Desk, Outbox, Outboxes, Owed, ProcessorThread, WriteProxy};
use crate::protocol::{Protocol, ProtocolError};
use crate::timer::Wheel;
use crate::wake::WakeFlag;

use answer_room::AnswerRoom;
pub(crate) use crowd::Crowd;
use foreign::foreign;
pub(crate) use holders::Holders;
use holders::Quarters;
#[cfg(feature = "sim")]
pub(crate) use inspect::{Inspected, Overview};
pub(crate) use mio_selector::MioSelector;
pub use selector::{Readiness, Selector, Told};
pub(crate) use settings::Settings;
pub use settings::{Admission, Turn, Watermarks};
use shortage::Shortages;
use shutdown::{Dismissal, Phase};
use slot_queue::SlotQueue;
use slow_peers::SlowPeers;
use waiters::Waiters;

/// Free inbound blocks that the processor keeps at hand, by tier; no other thread leases from that pool.
const OWN_INBOUND: [usize; TIERS] = [usize::MAX; TIERS];
/// Free outbound blocks that the processor keeps at hand, by tier, and the largest share of the tier that this may be:
/// the others are there for all threads. So no unasked message is refused because blocks rest here unused.
const OWN_OUTBOUND: [usize; TIERS] = [16, 4, 1];
const OWN_OUTBOUND_DIVISOR: usize = 4;

/// Events of one batch.
const EVENTS: usize = 1024;
/// Bytes that the record of a connection's end takes, as the allocator hands them out, with the text of its reason.
const ENDING: usize = size_of::<Ending>() + 16 + ProtocolError::MEMORY;

/// What a processor shares with the rest of the server.
pub(crate) struct Links<K> {
    pub(crate) handover: Arc<Handover<K>>,
    pub(crate) control: Arc<Control>,
    pub(crate) outbox: Arc<Outbox>,
    /// The outboxes of all processors, including this one's.
    pub(crate) outboxes: Outboxes,
    pub(crate) crowd: Arc<Crowd>,
    /// The inbound pool, with one block more in each tier than configured: the spares.
    pub(crate) inbound: Arc<SharedPool>,
    /// The outbound pool, from which all threads lease that write to this processor's connections.
    pub(crate) outbound: Arc<SharedPool>,
    /// The processor's own reserve for answers.
    pub(crate) reserve: Arc<Tier>,
    /// Wakes the processor.
    pub(crate) wake: Arc<WakeFlag>,
    /// The processor sets it, and encoders on all threads read it.
    pub(crate) clock: Arc<WallClock>,
    pub(crate) metrics: Arc<Metrics>,
}

/// The processor: everything that its thread owns.
pub(crate) struct Processor<S: Selector, P: Protocol, M: MessageProcessor<P>> {
    selector: S,
    prototype: P,
    user: M,
    settings: Settings,
    links: Links<S::Socket>,
    table: Table<Connection<S::Socket, P>>,
    desk: Desk<P>,
    segments: Segments,
    inbound: Pool,
    /// For messages that are copied when their user wants to keep them.
    spares: SetAside,
    /// For the rest of what was read into the scratch.
    remainder_blocks: SetAside,
    scratch: Box<[u8]>,
    wheel: Wheel,
    /// Slots with something to read or decode.
    run: SlotQueue,
    /// The same, but of connections that have used up their turn.
    go_on: SlotQueue,
    /// Slots with output to deliver, or an end to be taken further.
    to_write: SlotQueue,
    /// Slots with more output, whose peers take it as fast as it is written.
    write_on: SlotQueue,
    waiters: Waiters,
    /// How many unasked messages were taken out of the outbox.
    messages_taken: u64,
    /// An end waits for messages that were sent before it and found no segment.
    ends_wait: bool,
    answer_room: AnswerRoom,
    slow_peers: SlowPeers,
    holders: [Holders; TIERS],
    quarters: Quarters,
    shortages: Shortages,
    phase: Phase,
    /// The request to shut down that there was before the selector was asked for the last time.
    known_request: Option<Shutdown>,
    /// Why it can't sleep any more.
    failure: Option<io::Error>,
    now: Instant,
    /// When the wall clock is set again.
    next_second: Instant,
    started: Instant,
    ready: Vec<Readiness>,
    /// When the user's message processor wants to run again.
    user_due: Option<Instant>,
    /// `None` until `start`: marks the thread as a processor's.
    thread: Option<ProcessorThread>,
}

impl<S: Selector, P: Protocol, M: MessageProcessor<P>> Processor<S, P, M> {
    pub(crate) fn new(mut selector: S, prototype: P, user: M, settings: Settings, links: Links<S::Socket>) -> Self {
        let now = selector.now();
        let max = settings.connections_each;
        let share = |tier: usize| OWN_OUTBOUND[tier].min(links.outbound.tiers()[tier].count() / OWN_OUTBOUND_DIVISOR);
        let outbound = Pool::new(Arc::clone(&links.outbound), array::from_fn(share));
        let clock = Arc::clone(&links.clock);
        let out = Outbound::of_processor(outbound, Arc::clone(&links.reserve), settings.reply_max, clock);
        let proxy = WriteProxy::new(links.outboxes.clone(), Arc::clone(&links.outbox));
        Self {
            prototype,
            user,
            table: Table::new(settings.number, max),
            desk: Desk::new(out, Owed::new(settings.owed_total_max), proxy, now),
            segments: Segments::new(settings.segments_max),
            inbound: Pool::new(Arc::clone(&links.inbound), OWN_INBOUND),
            spares: SetAside::default(),
            remainder_blocks: SetAside::default(),
            scratch: vec![0; settings.scratch].into_boxed_slice(),
            wheel: Wheel::new(now, max),
            run: SlotQueue::new(max),
            go_on: SlotQueue::new(max),
            to_write: SlotQueue::new(max),
            write_on: SlotQueue::new(max),
            waiters: Waiters::new(max),
            messages_taken: 0,
            ends_wait: false,
            answer_room: AnswerRoom::default(),
            slow_peers: SlowPeers::default(),
            holders: array::from_fn(|tier| Holders::new(links.inbound.tiers()[tier].count())),
            quarters: Quarters::new(now, settings.timeouts.famine),
            shortages: Shortages::default(),
            phase: Phase::Serving,
            known_request: None,
            failure: None,
            now,
            next_second: now,
            started: now,
            ready: Vec::with_capacity(EVENTS),
            user_due: None,
            thread: None,
            selector,
            settings,
            links,
        }
    }

    /// Bytes that the connection table takes, with everything that grows with it, for the memory ceiling.
    pub(crate) fn table_memory(connections_each: usize) -> u64 {
        let queues = 4 * SlotQueue::memory(connections_each) + connections_each * Waiters::PER_CONNECTION;
        let endings = connections_each * ENDING;
        Table::<Connection<S::Socket, P>>::memory(connections_each) + (queues + endings) as u64
    }

    /// Runs cycles until the server has stopped and every connection is closed.
    ///
    /// # Errors
    /// It could not sleep, because its selector is broken. The server has shut down for that reason.
    pub(crate) fn run(mut self) -> io::Result<()> {
        // Made here, so that a panic drops it before it drops the message processor.
        let dismissal = Dismissal::of(&self.links.outbound);
        self.start();
        while self.cycle() {}
        let failure = self.failure.take();
        // A simulation does not dismiss encoders like this: its workers forget what waits.
        drop(dismissal);
        self.end();
        failure.map_or(Ok(()), Err)
    }

    /// After the last cycle, and when no encoder waits any more: ends the message processor and brings every block
    /// home.
    pub(crate) fn end(self) {
        let Self { user, links, desk, segments, table, spares, remainder_blocks, .. } = self;
        // Ends workers, which settle what they hold. A panic in here makes this thread fail, which has no connection to
        // serve any more.
        drop(user);
        drop((desk, segments, table, spares, remainder_blocks));
        links.outbox.discard();
        // Only the inbound pool is checked, from which only this thread leases: other threads of the user's may still
        // be writing into outbound blocks. With several processors, message processors may hold each other's messages,
        // so `Running::join` checks after all have ended.
        let alone = links.outboxes.iter().len() == 1;
        debug_assert!(!alone || links.inbound.all_home(), "LAW home is broken: {:?}", links.inbound);
    }

    /// Makes the calling thread the processor thread. Called once, before the first cycle.
    pub(crate) fn start(&mut self) {
        self.thread = Some(ProcessorThread::mark());
        self.set_wall_clock();
        let Self { user, desk, .. } = self;
        let _ = foreign(&self.links.metrics, "started", || user.started(&desk.proxy));
    }

    /// One cycle: sleep until there is work, then all of it in this order. False once the server has stopped.
    pub(crate) fn cycle(&mut self) -> bool {
        let limit = self.fall_asleep();
        self.cycle_from(limit)
    }

    /// The cycle of a processor that [fell asleep](Self::fall_asleep) and may sleep for `limit`.
    pub(crate) fn cycle_from(&mut self, limit: Option<Duration>) -> bool {
        self.sleep(limit);
        self.observe_shutdown();
        self.take_new_sockets();
        self.take_outbound();
        // A connection goes on in a later cycle than the one in which its turn ended.
        let going_on = self.go_on.len();
        self.relieve_waiters();
        self.read_from_sockets(going_on);
        self.write_to_sockets();
        self.expire_timers();
        self.end_cycle();
        self.advance_shutdown();
        !matches!(self.phase, Phase::Stopped)
    }

    /// Announces that the processor sleeps from now on, unless there is work; returns how long it may sleep. A thread
    /// that leaves work after this wakes it.
    pub(crate) fn fall_asleep(&mut self) -> Option<Duration> {
        let mut limit = self.sleep_limit();
        if limit != Some(Duration::ZERO) {
            self.links.wake.fall_asleep();
            self.listen_for_blocks();
            // A thread that left work before this flag was set did not wake the processor.
            if self.left_by_others() {
                limit = Some(Duration::ZERO);
            }
        }
        limit
    }

    /// The only place where the processor sleeps.
    fn sleep(&mut self, limit: Option<Duration>) {
        let mut ready = mem::take(&mut self.ready);
        let due = self.next_expiry();
        let mut told = self.select(limit, &mut ready);
        self.links.wake.awake();
        self.links.outbox.answer_call();
        self.now = self.selector.now();
        self.desk.now = self.now;
        self.set_wall_clock();
        // A connection that has sent data must be read before its own deadline or the server's expires it. So if a
        // deadline is due, poll again with a zero timeout: a signal may have ended the sleep before the poll, or the
        // process may have been stopped. The same if the server is told to shut down: who has sent something before is
        // not idle, and may have sent it behind the first poll. The loop is bounded by the number of connections.
        self.known_request = self.links.control.shutdown();
        let mut looks_again = due.is_some_and(|due| due <= self.now) || self.shutdown_is_new();
        for _ in 0..self.settings.connections_each / EVENTS + 2 {
            ready.drain(..).for_each(|readiness| self.note_readiness(readiness));
            if told == Told::All && !mem::take(&mut looks_again) {
                break;
            }
            told = self.select(Some(Duration::ZERO), &mut ready);
        }
        ready.drain(..).for_each(|readiness| self.note_readiness(readiness));
        self.ready = ready;
    }

    fn select(&mut self, limit: Option<Duration>, ready: &mut Vec<Readiness>) -> Told {
        self.selector.select(limit, ready).unwrap_or_else(|error| {
            self.selector_failed(error);
            Told::All
        })
    }

    /// How long the processor may sleep: not at all while connections have work left, otherwise until the next timer.
    fn sleep_limit(&mut self) -> Option<Duration> {
        if ![&self.run, &self.go_on, &self.to_write, &self.write_on].into_iter().all(SlotQueue::is_empty) {
            return Some(Duration::ZERO);
        }
        let due = [self.user_due, self.famine_due(), self.second_due()].into_iter().fold(self.next_expiry(), earlier);
        due.map(|due| due.saturating_duration_since(self.now))
    }

    /// When the wall clock has to be set, if another thread may look at it meanwhile: one that makes an answer, whose
    /// `Date` must be that of the moment in which it is made (RFC 9110 section 6.6.1).
    fn second_due(&self) -> Option<Instant> {
        (self.desk.owed.outstanding() > 0).then_some(self.next_second)
    }

    /// When the next deadline of a connection or of the server expires.
    fn next_expiry(&mut self) -> Option<Instant> {
        earlier(self.wheel.next_due(), self.phase.until(self.now))
    }

    /// True if another thread has left something that a cycle would take.
    fn left_by_others(&self) -> bool {
        self.links.handover.has_work()
            || (self.links.outbox.has_work() && self.can_take_outbound())
            || self.links.outbox.is_resumed()
            || self.links.outbox.is_called()
            || self.links.outbox.is_close_asked()
            || self.shutdown_is_new()
            || self.could_relieve()
    }

    fn note_readiness(&mut self, readiness: Readiness) {
        let Some(connection) = self.table.at_mut(readiness.slot) else { return };
        connection.flags.readable |= readiness.readable || readiness.read_closed;
        connection.flags.read_closed |= readiness.read_closed;
        if readiness.error {
            return self.socket_broke(readiness.slot);
        }
        if readiness.writable {
            self.enqueue_write(readiness.slot);
        }
        self.enqueue_run(readiness.slot);
    }

    /// Has the selector watch the connection, unless it already does. Each connection has a turn in the cycle in which
    /// it is opened, and is watched from the end of that turn on if it is still there. So a connection that is answered
    /// and closed in its first turn costs no registration.
    pub(super) fn watch(&mut self, slot: u32) {
        let Some(connection) = self.table.at_mut(slot).filter(|connection| !connection.flags.watched) else { return };
        match self.selector.register_read(&mut connection.socket, slot) {
            Ok(()) => connection.flags.watched = true,
            Err(error) => {
                log::warn!("cannot watch the connection from {}: {error}", connection.peer.address);
                self.socket_failed(slot, error.kind());
            }
        }
    }

    fn set_wall_clock(&mut self) {
        if self.now < self.next_second {
            return;
        }
        let second = self.now.saturating_duration_since(self.started).as_secs();
        self.next_second = self.started + Duration::from_secs(second + 1);
        let unix_seconds = self.selector.unix_seconds();
        self.links.clock.set(unix_seconds);
    }

    fn end_cycle(&mut self) {
        let (user, now) = (&mut self.user, self.now);
        self.user_due = foreign(&self.links.metrics, "cycle_end", || user.cycle_end(now)).unwrap_or(None);
        self.links.metrics.cycles.add(1);
        self.links.metrics.owed.set(self.desk.owed.outstanding());
        #[cfg(debug_assertions)]
        self.assert_ledger();
    }

    /// LAW ledger, checked every cycle in debug builds.
    #[cfg(any(debug_assertions, feature = "sim"))]
    fn check_ledger(&self) -> Result<(), String> {
        let snapshot = self.links.metrics.snapshot();
        snapshot.check_ledger()?;
        let buffered: usize = self.table.iter().map(|connection| connection.inbound.buffered()).sum();
        if buffered as u64 != snapshot.bytes_buffered {
            return Err(format!("{buffered} bytes are buffered, {} are counted", snapshot.bytes_buffered));
        }
        let queued: usize = self.table.iter().map(|connection| connection.undelivered.bytes()).sum();
        if queued as u64 != snapshot.bytes_outbound {
            return Err(format!("{queued} bytes are queued for peers, {} are counted", snapshot.bytes_outbound));
        }
        let open = self.table.iter().count();
        if open as u64 != snapshot.open {
            return Err(format!("{open} connections are open, {} are counted", snapshot.open));
        }
        if let Some(forgotten) = self.table.iter().find(|connection| !connection.flags.watched) {
            return Err(format!("{} is open and nobody watches it", forgotten.id()));
        }
        Ok(())
    }

    #[cfg(debug_assertions)]
    fn assert_ledger(&self) {
        if let Err(difference) = self.check_ledger() {
            panic!("LAW ledger is broken: {difference}");
        }
    }
}

/// The earlier of two moments, or the one that there is.
fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
