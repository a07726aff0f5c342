//! The three ways out: [`Reply`] now, [`Deferred`] later, [`WriteProxy`] unasked.
//!
//! A `Reply` writes straight into the processor's own [`Outbound`](crate::Outbound). The other two encode on whichever
//! thread they are used and leave the finished bytes in a queue here; the processor takes them in its next cycle.

mod broadcast;
mod deferred;
mod desk;
mod gauge;
#[cfg(feature = "sim")]
mod inspect;
mod limits;
mod mail;
mod outboxes;
mod owed;
mod processor_thread;
mod reply;
mod socket;
mod unanswered;
mod write_proxy;

use std::sync::Arc;

use crate::buffer::{Outbound, SharedPool, Tier};
use crate::clock::WallClock;
use crate::id::ConnectionId;
use crate::metrics::Metrics;
use crate::sync::ArrayQueue;
use crate::sync::atomic::{AtomicBool, Ordering::SeqCst};
use crate::wake::WakeFlag;

pub use deferred::Deferred;
pub(crate) use desk::{AtOnce, Desk, Outcome};
use gauge::{Charge, Gauge};
pub(crate) use limits::OutboxLimits;
pub(crate) use mail::{Encoded, HeldBack, Settled, Unasked};
pub(crate) use outboxes::Outboxes;
pub(crate) use owed::{Owed, OwedList};
pub(crate) use processor_thread::ProcessorThread;
pub use reply::Reply;
pub(crate) use socket::{Wrote, write};
pub use unanswered::Unanswered;
pub use write_proxy::{SendError, WriteProxy};

/// What all threads share to get bytes to one processor.
#[derive(Debug)]
pub(crate) struct Outbox {
    pub(crate) settled: ArrayQueue<Settled>,
    /// One at most, and only the processor puts it here.
    held_back: ArrayQueue<HeldBack>,
    pub(crate) unasked: ArrayQueue<Unasked>,
    pub(crate) pool: Arc<SharedPool>,
    pub(crate) clock: Arc<WallClock>,
    pub(crate) wake: Arc<WakeFlag>,
    pub(crate) metrics: Arc<Metrics>,
    workers_reserve: Arc<Tier>,
    limits: OutboxLimits,
    /// Undelivered bytes by slot.
    gauges: Vec<Gauge>,
    /// Some connection waits until `ready` is asked again.
    not_ready: AtomicBool,
    resumed: AtomicBool,
    /// Some thread has left something for the user's `cycle_end`.
    called: AtomicBool,
    /// Some connection was asked to close: its gauge says which.
    close_asked: AtomicBool,
    /// The server shuts down and each answer is the last of its connection.
    answers_are_final: AtomicBool,
    /// A simulation plays another thread.
    #[cfg(feature = "sim")]
    elsewhere: AtomicBool,
}

impl Outbox {
    pub(crate) fn new(
        limits: OutboxLimits,
        pool: Arc<SharedPool>,
        clock: Arc<WallClock>,
        wake: Arc<WakeFlag>,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        Arc::new(Self {
            settled: ArrayQueue::new(limits.owed_total_max),
            held_back: ArrayQueue::new(1),
            unasked: ArrayQueue::new(limits.unasked_max),
            workers_reserve: crate::buffer::reserve(limits.reply_max, pool.line()),
            pool,
            clock,
            wake,
            metrics,
            limits,
            gauges: (0..limits.connections_each).map(|_| Gauge::new()).collect(),
            not_ready: AtomicBool::new(false),
            resumed: AtomicBool::new(false),
            called: AtomicBool::new(false),
            close_asked: AtomicBool::new(false),
            answers_are_final: AtomicBool::new(false),
            #[cfg(feature = "sim")]
            elsewhere: AtomicBool::new(false),
        })
    }

    fn on_processor_thread(&self) -> bool {
        #[cfg(feature = "sim")]
        if self.elsewhere.load(SeqCst) {
            return false;
        }
        ProcessorThread::is_current()
    }

    /// An outbound for a deferred reply: waits for room, except on a processor's thread, whichever server's: these
    /// alone make room.
    fn outbound_of_reply(&self) -> Outbound {
        let reserve = (!self.on_processor_thread()).then(|| Arc::clone(&self.workers_reserve));
        self.outbound(reserve)
    }

    /// An outbound that never waits.
    fn outbound_at_once(&self) -> Outbound {
        self.outbound(None)
    }

    fn outbound(&self, reserve: Option<Arc<Tier>>) -> Outbound {
        Outbound::of_worker(Arc::clone(&self.pool), reserve, self.limits.reply_max, Arc::clone(&self.clock))
    }

    /// Drops what nobody will take any more. Only after the processor has ended.
    pub(crate) fn discard(&self) {
        drop(self.take_held_back());
        while self.settled.pop().is_some() {}
        while self.unasked.pop().is_some() {}
    }

    fn settle(&self, settled: Settled) {
        let full = self.settled.push(settled);
        debug_assert!(full.is_ok(), "every owed reply has its place in advance");
        self.wake.wake();
    }

    /// Holds a settled reply back, before all others. Only the processor does that, and there is none yet.
    pub(crate) fn hold_back(&self, held_back: HeldBack) {
        let full = self.held_back.push(held_back);
        debug_assert!(full.is_ok(), "there is none yet");
    }

    /// The reply that was held back, if there is one.
    pub(crate) fn take_held_back(&self) -> Option<HeldBack> {
        if self.held_back.is_empty() { None } else { self.held_back.pop() }
    }

    /// How many settled replies wait for the processor.
    pub(crate) fn settled_waiting(&self) -> usize {
        self.settled.len() + self.held_back.len()
    }

    /// Counts `bytes` as on their way to the connection, if it is there and has not too many already.
    fn charge(&self, connection: ConnectionId, bytes: usize) -> Charge {
        let Some(gauge) = self.gauges.get(connection.slot() as usize) else { return Charge::Gone };
        gauge.charge(connection, bytes, self.limits.outbound_high as u64)
    }

    /// The same for the last message to the connection, which may be one too many.
    fn charge_last(&self, connection: ConnectionId, bytes: usize) -> Charge {
        let gauge = self.gauges.get(connection.slot() as usize);
        gauge.map_or(Charge::Gone, |gauge| gauge.charge(connection, bytes, u64::MAX))
    }

    /// Takes back what was charged.
    pub(crate) fn discharge(&self, connection: ConnectionId, bytes: usize) {
        self.gauges[connection.slot() as usize].discharge(connection, bytes);
    }

    /// A connection is there from now on, to be written to.
    pub(crate) fn opened(&self, connection: ConnectionId) {
        self.gauges[connection.slot() as usize].open(connection);
    }

    /// The connection in `slot` has ended: what is sent to it reaches nobody, and is charged to nobody.
    pub(crate) fn closed(&self, slot: u32) {
        self.gauges[slot as usize].close();
    }

    /// Counts bytes that were queued at a connection by the processor itself.
    pub(crate) fn count_queued(&self, slot: u32, bytes: usize) {
        self.gauges[slot as usize].add(bytes);
    }

    /// Counts bytes off that were delivered or dropped.
    pub(crate) fn count_off(&self, slot: u32, bytes: usize) {
        self.gauges[slot as usize].sub(bytes);
    }

    /// True if the connection is there, has not been followed by another in its slot, and was not asked to close.
    fn takes(&self, connection: ConnectionId) -> bool {
        self.gauges.get(connection.slot() as usize).is_some_and(|gauge| gauge.takes(connection))
    }

    /// Undelivered bytes of this connection, not of another one that was given its slot.
    pub(crate) fn undelivered_of(&self, connection: ConnectionId) -> u64 {
        self.gauges.get(connection.slot() as usize).map_or(0, |gauge| gauge.bytes_of(connection))
    }

    /// Asks for a cycle, whatever else there is to do.
    fn call(&self) {
        self.called.store(true, SeqCst);
        self.wake.wake();
    }

    /// True if a cycle was asked for since [`answer_call`](Self::answer_call).
    pub(crate) fn is_called(&self) -> bool {
        self.called.load(SeqCst)
    }

    /// The cycle that was asked for has begun: what was left before is found by it.
    pub(crate) fn answer_call(&self) {
        if self.is_called() {
            self.called.store(false, SeqCst);
        }
    }

    /// Says that a connection waits until the user is ready. `ready` must be asked once more after this.
    pub(crate) fn wait_for_ready(&self) {
        self.not_ready.store(true, SeqCst);
    }

    /// True once after someone called `resume` for a connection that waited.
    pub(crate) fn take_resumed(&self) -> bool {
        self.is_resumed() && self.resumed.swap(false, SeqCst)
    }

    fn resume(&self) {
        if self.not_ready.load(SeqCst) && self.not_ready.swap(false, SeqCst) {
            self.resumed.store(true, SeqCst);
            self.wake.wake();
        }
    }

    /// Asks the connection to close, if it is there. What was left for it before this is taken first.
    fn ask_to_close(&self, connection: ConnectionId) {
        self.ask(connection, Gauge::ask_to_close);
    }

    /// Asks the connection to close at once, if it is there.
    fn ask_to_abort(&self, connection: ConnectionId) {
        self.ask(connection, Gauge::ask_to_abort);
    }

    /// Asks the connection for its end by `mark`, which says whether that is news.
    fn ask(&self, connection: ConnectionId, mark: fn(&Gauge, ConnectionId) -> bool) {
        if self.gauges.get(connection.slot() as usize).is_some_and(|gauge| mark(gauge, connection)) {
            self.close_asked.store(true, SeqCst);
            self.wake.wake();
        }
    }

    /// True if some connection was asked to close since this was last taken.
    pub(crate) fn is_close_asked(&self) -> bool {
        self.close_asked.load(SeqCst)
    }

    /// True once after some connection was asked to close.
    pub(crate) fn take_close_asked(&self) -> bool {
        self.is_close_asked() && self.close_asked.swap(false, SeqCst)
    }

    /// True if the connection in `slot` was asked to close.
    pub(crate) fn is_to_close(&self, slot: u32) -> bool {
        self.gauges[slot as usize].is_to_close()
    }

    /// True if the connection in `slot` was asked to close at once.
    pub(crate) fn is_to_abort(&self, slot: u32) -> bool {
        self.gauges[slot as usize].is_to_abort()
    }

    /// True if answers or messages wait to be taken.
    pub(crate) fn has_work(&self) -> bool {
        !self.settled.is_empty() || !self.unasked.is_empty() || !self.held_back.is_empty()
    }

    /// True if someone called `resume` and it was not taken yet.
    pub(crate) fn is_resumed(&self) -> bool {
        self.resumed.load(SeqCst)
    }

    /// Says that each answer is the last of its connection from now on, also those that are owed already.
    pub(crate) fn make_answers_final(&self) {
        self.answers_are_final.store(true, SeqCst);
    }

    fn answers_are_final(&self) -> bool {
        self.answers_are_final.load(SeqCst)
    }
}
