//! The processor thread: one cycle, in a fixed order, over all connections.
//!
//! ARCHITECTURE.md says what each room does.

mod answer_room;
mod backpressure;
mod blocks;
mod broken;
mod close;
mod decode;
mod draining;
mod early_timer;
mod foreign;
mod holders;
#[cfg(feature = "sim")]
mod inspect;
mod intake;
#[cfg(any(debug_assertions, feature = "sim"))]
mod ledger;
mod mio_selector;
mod process;
mod queues;
mod read;
mod selector;
mod serve_waiters;
mod settings;
mod shortage;
mod shutdown;
mod sleep;
mod slow_peers;
mod timeouts;
mod turn;
mod waiters;
mod write;

use std::array;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::admission::Crowd;
use crate::buffer::{Outbound, Pool, Segments, SetAside, SharedPool, TIERS, Tier};
use crate::clock::WallClock;
use crate::connection::{Connection, Ending, Table};
use crate::control::{Control, ShutdownRequest};
use crate::handover::Handover;
use crate::message_processor::MessageProcessor;
use crate::metrics::Metrics;
use crate::outbox::{Desk, Outbox, Outboxes, Owed, ProcessorThread, WriteProxy};
use crate::protocol::{Protocol, ProtocolError};
use crate::timer::Wheel;
use crate::wake::WakeFlag;

use answer_room::AnswerRoom;
use foreign::foreign;
pub(crate) use holders::Holders;
use holders::Quarters;
#[cfg(feature = "sim")]
pub(crate) use inspect::{Inspected, Overview};
pub(crate) use mio_selector::MioSelector;
use queues::Queues;
#[cfg(feature = "sim")]
pub use selector::Told;
pub use selector::{Readiness, Selector};
pub(crate) use settings::Settings;
pub use settings::{Turn, Watermarks};
use shortage::Shortages;
use shutdown::{Dismissal, Phase};
use sleep::EVENTS;
use slow_peers::SlowPeers;
use waiters::Waiters;

/// Free inbound blocks that the processor keeps at hand, by tier; no other thread leases from that pool.
const OWN_INBOUND: [usize; TIERS] = [usize::MAX; TIERS];
/// Free outbound blocks that the processor keeps at hand, by tier, and the largest share of the tier that this may be:
/// the others are there for all threads. So no unasked message is refused because blocks rest here unused.
const OWN_OUTBOUND: [usize; TIERS] = [16, 4, 1];
const OWN_OUTBOUND_DIVISOR: usize = 4;

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
    queues: Queues,
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
    known_request: Option<ShutdownRequest>,
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
            queues: Queues::new(max),
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
        let queues = Queues::memory(connections_each) + connections_each * Waiters::PER_CONNECTION;
        let endings = connections_each * ENDING;
        Table::<Connection<S::Socket, P>>::memory(connections_each) + (queues + endings) as u64
    }

    /// Runs cycles until the server has stopped and every connection is closed.
    ///
    /// # Errors
    /// It could not sleep, because its selector is broken. The server has shut down for that reason.
    pub(crate) fn run(mut self) -> io::Result<()> {
        // Made here, so that a panic drops it before it drops the message processor.
        let dismissal = Dismissal::of(&self.links.outbound, &self.links.control, self.now);
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
        let reading_on = self.queues.read_on.len();
        self.relieve_waiters();
        self.read_from_sockets(reading_on);
        self.write_to_sockets();
        self.expire_timers();
        self.end_cycle();
        self.advance_shutdown();
        !matches!(self.phase, Phase::Stopped)
    }

    fn end_cycle(&mut self) {
        let (user, now) = (&mut self.user, self.now);
        self.user_due = foreign(&self.links.metrics, "cycle_end", || user.cycle_end(now)).unwrap_or(None);
        self.links.metrics.cycles.add(1);
        self.links.metrics.owed.set(self.desk.owed.outstanding());
        #[cfg(debug_assertions)]
        self.assert_ledger();
    }
}
