//! Workers, without a server around them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Instant;

use parking_lot::Mutex;

use super::*;
use crate::EncodeError;
use crate::buffer::{Line, Outbound, Pool, SharedPool, Spares, TierConfig, reserve};
use crate::clock::WallClock;
use crate::id::ConnectionId;
use crate::metrics::Metrics;
use crate::outbox::{Crew, Desk, Outbox, OutboxLimits, Outboxes, Owed, Settled, Verdict, WriteProxy};
use crate::protocol::{After, Decode, Encode, Peer, ProtocolError};
use crate::wake::WakeFlag;

/// Whatever was read at once is one message.
#[derive(Clone)]
struct Plain;

impl Protocol for Plain {
    type Layout = ();
    type Exchange = ();
    const IN_ORDER: bool = false;

    fn message_max(&self) -> usize {
        64
    }

    fn decode(&mut self, bytes: &mut [u8]) -> Result<Decode<()>, ProtocolError> {
        Ok(Decode::Complete { consumed: bytes.len(), layout: () })
    }

    fn exchange(_: &()) {}
}

impl Encode<&[u8]> for Plain {
    fn encode(_: (), item: &[u8], out: &mut Outbound) -> Result<After, EncodeError> {
        out.put(item);
        Ok(After::KeepOpen)
    }
}

const OWED_MAX: usize = 64;
/// Longer than anything here takes; a test that waits so long has failed.
const LONG: Duration = Duration::from_secs(20);

type PlainMessage = Message<'static, Plain>;

/// What the processor does around its `MessageProcessor`, without sockets.
struct Server {
    outbox: Arc<Outbox>,
    inbound: Pool,
    outbound: Arc<SharedPool>,
    spares: Spares,
    desk: Desk<Plain>,
    woken: Receiver<()>,
    /// How each ticket that was taken back was settled.
    settled: Vec<(u32, Verdict)>,
}

impl Server {
    fn new() -> Self {
        let (wake, woken) = mpsc::channel();
        let wake = Mutex::new(wake);
        let wake = Arc::new(WakeFlag::new(move || {
            // A test that has ended listens no more.
            let _ = wake.lock().send(());
        }));
        let tiers = [(64, 16), (128, 1), (256, 1)].map(|(size, count)| TierConfig { size, count });
        let pool = || SharedPool::new(tiers, Line::new(Arc::clone(&wake)));
        let (inbound, outbound) = (Pool::new(pool(), [1; 3]), pool());
        let limits = OutboxLimits {
            connections_max: 4,
            owed_total_max: OWED_MAX,
            unasked_max: 4,
            reply_max: 256,
            outbound_high: 1024,
        };
        let clock = Arc::new(WallClock::at(0));
        let metrics = Arc::new(Metrics::default());
        let berth = Crew::new(1).berth(0);
        let outbox = Outbox::new(limits, Arc::clone(&outbound), Arc::clone(&clock), wake, metrics, berth);
        outbox.claim_processor_thread();
        let own = Pool::new(Arc::clone(&outbound), [0; 3]);
        let out = Outbound::of_processor(own, reserve(256, outbound.line()), 256, clock);
        let proxy = WriteProxy::new(Outboxes::new([Arc::clone(&outbox)]), Arc::clone(&outbox));
        let desk = Desk::new(out, Owed::new(OWED_MAX), proxy, Instant::now());
        Self { outbox, inbound, outbound, spares: Spares::default(), desk, woken, settled: Vec::new() }
    }

    /// Starts workers as the processor would.
    fn start<F>(&self, workers: Workers, work: F) -> Offload<Plain>
    where
        F: Fn(PlainMessage, Deferred<Plain>) + Send + Sync + 'static,
    {
        let mut offload = Offload::new(workers, work).expect("the threads start");
        offload.started(&self.desk.proxy);
        offload
    }

    /// Hands a message over without asking whether there is room.
    fn hand_over(&mut self, offload: &mut Offload<Plain>, bytes: &[u8]) {
        let connection = ConnectionId::new(0, 1, 1);
        let peer = Peer { connection, address: SocketAddr::from(([127, 0, 0, 1], 1)) };
        assert!(self.spares.refill(0, &mut self.inbound), "a block is free for the spare");
        let message = Message::shared(peer, (), bytes, &mut self.spares);
        offload.process(message, self.desk.reply(connection, (), None));
    }

    /// Takes back what was settled; answers are delivered at once.
    fn collect(&mut self) {
        while let Some(Settled { ticket, verdict, .. }) = self.outbox.settled.pop() {
            self.desk.owed.retire(ticket);
            self.settled.push((ticket, blank(verdict)));
        }
    }

    /// Sleeps as the processor does until a worker calls `resume`; `ready` must have said no before.
    fn sleep_until_resumed(&mut self, offload: &mut Offload<Plain>) {
        self.outbox.wait_for_ready();
        if offload.ready() {
            return;
        }
        while !self.outbox.take_resumed() {
            self.collect();
            self.outbox.wake.fall_asleep();
            // All that a wake-up may be for: who left it before this found nobody asleep.
            if !self.outbox.has_work() && !self.outbox.is_resumed() {
                self.woken.recv_timeout(LONG).expect("a worker takes a job and says so");
            }
            self.outbox.wake.awake();
        }
    }

    /// LAW ends once, LAW home: each of `messages` was settled exactly once, and every block is home.
    fn assert_all_settled_and_home(mut self, messages: usize) -> BTreeMap<u32, Verdict> {
        self.collect();
        assert_eq!(self.settled.len(), messages, "each reply settles once");
        assert_eq!(self.desk.owed.outstanding(), 0);
        let by_ticket: BTreeMap<_, _> = self.settled.drain(..).collect();
        assert_eq!(by_ticket.len(), messages, "no ticket twice");
        (0..crate::buffer::TIERS).for_each(|tier| drop(self.spares.take(tier)));
        assert!(self.inbound.shared().all_home(), "inbound blocks are home");
        assert!(self.outbound.all_home(), "outbound blocks are home");
        by_ticket
    }
}

/// The same verdict without its blocks.
fn blank(mut verdict: Verdict) -> Verdict {
    if let Verdict::Answered(encoded) = &mut verdict {
        encoded.segments.clear();
    }
    verdict
}

fn answered(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Answered(_))
}

fn unanswered(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Unanswered)
}

/// The test's side of [`gated`] work.
struct Gate {
    begun: Receiver<()>,
    open: Sender<()>,
}

impl Gate {
    /// Waits until one more job has begun.
    fn wait_for_begin(&self) {
        self.begun.recv_timeout(LONG).expect("a job begins");
    }

    /// Lets one job finish.
    fn open(&self) {
        self.open.send(()).expect("the work is there");
    }
}

/// Work that tells when it has begun, and answers when it is let through the gate.
fn gated() -> (impl Fn(PlainMessage, Deferred<Plain>) + Send + Sync, Gate) {
    let (begin, begun) = mpsc::channel();
    let (open, gate) = mpsc::channel();
    let (begin, gate) = (Mutex::new(begin), Mutex::new(gate));
    let work = move |message: PlainMessage, reply: Deferred<Plain>| {
        begin.lock().send(()).expect("the test listens");
        gate.lock().recv_timeout(LONG).expect("the gate is opened");
        reply.send(message.bytes());
    };
    (work, Gate { begun, open })
}

#[test]
fn jobs_run_on_other_threads_in_the_order_of_their_messages() {
    let mut server = Server::new();
    let (ran, runs) = mpsc::channel();
    let ran = Mutex::new(ran);
    let mut offload = server.start(Workers::new(1, 8), move |message: PlainMessage, reply: Deferred<Plain>| {
        let thread = thread::current();
        let run = (message.bytes()[0], thread.id(), thread.name().map(str::to_owned));
        reply.send(message.bytes());
        ran.lock().send(run).expect("the test listens");
    });
    for number in 0..8 {
        assert!(offload.ready());
        server.hand_over(&mut offload, &[number]);
    }
    for number in 0..8 {
        let (message, thread, name) = runs.recv_timeout(LONG).expect("the job runs");
        assert_eq!(message, number);
        assert_ne!(thread, thread::current().id());
        assert_eq!(name.as_deref(), Some("sluicegate-w1"));
    }
    drop(offload);
    assert!(server.assert_all_settled_and_home(8).values().all(answered));
}

#[test]
fn as_many_jobs_run_at_once_as_there_are_threads() {
    let mut server = Server::new();
    let (work, gate) = gated();
    // The gate lets one thread through at a time; each tells that it has begun before it stands there.
    let mut offload = server.start(Workers::new(3, 8), work);
    (0..3).for_each(|number| server.hand_over(&mut offload, &[number]));
    (0..3).for_each(|_| gate.wait_for_begin());
    (0..3).for_each(|_| gate.open());
    drop(offload);
    assert!(server.assert_all_settled_and_home(3).values().all(answered));
}

#[test]
fn a_panic_settles_its_reply_and_the_thread_lives() {
    let mut server = Server::new();
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let mut offload = server.start(Workers::new(1, 8), move |message: PlainMessage, reply: Deferred<Plain>| {
        assert_ne!(message.bytes(), b"bad", "planned");
        reply.send(message.bytes());
        tell.lock().send(()).expect("the test listens");
    });
    for bytes in [b"bad", b"odd", b"bad", b"end"] {
        server.hand_over(&mut offload, bytes);
    }
    (0..2).for_each(|_| told.recv_timeout(LONG).expect("the jobs after the panics run"));
    drop(offload);
    assert_eq!(server.outbox.metrics.panics.value(), 2);
    let settled = server.assert_all_settled_and_home(4);
    assert!(unanswered(&settled[&0]) && answered(&settled[&1]) && unanswered(&settled[&2]) && answered(&settled[&3]));
}

#[test]
fn a_full_queue_is_not_ready_until_a_thread_takes_a_job() {
    let mut server = Server::new();
    let (work, gate) = gated();
    let mut offload = server.start(Workers::new(1, 2), work);
    server.hand_over(&mut offload, b"0");
    gate.wait_for_begin();
    for bytes in [b"1", b"2"] {
        assert!(offload.ready(), "there is a place");
        server.hand_over(&mut offload, bytes);
    }
    assert!(!offload.ready(), "two wait in two places");
    server.outbox.wait_for_ready();
    assert!(!offload.ready() && !server.outbox.take_resumed());
    gate.open();
    gate.wait_for_begin();
    assert!(server.outbox.take_resumed(), "the processor was told");
    assert!(offload.ready());

    server.outbox.wait_for_ready();
    gate.open();
    gate.wait_for_begin();
    assert!(!server.outbox.take_resumed(), "the queue was not full: nobody could wait for it");
    gate.open();
    drop(offload);
    assert!(server.assert_all_settled_and_home(3).values().all(answered));
}

#[test]
fn no_wake_up_is_lost_between_a_fast_producer_and_its_threads() {
    const MESSAGES: usize = 5_000;
    let mut server = Server::new();
    let mut offload =
        server.start(Workers::new(3, 2), |message: PlainMessage, reply: Deferred<Plain>| reply.send(message.bytes()));
    for number in 0..MESSAGES {
        while !offload.ready() {
            server.sleep_until_resumed(&mut offload);
        }
        server.hand_over(&mut offload, &number.to_le_bytes());
        server.collect();
    }
    while server.settled.len() < MESSAGES {
        server.outbox.wake.fall_asleep();
        if !server.outbox.has_work() {
            server.woken.recv_timeout(LONG).expect("every message is answered");
        }
        server.outbox.wake.awake();
        server.collect();
    }
    drop(offload);
    // Tickets are used again here, so only the number tells.
    let settled = server.settled.drain(..).filter(|(_, verdict)| answered(verdict)).count();
    assert_eq!(settled, MESSAGES);
    server.assert_all_settled_and_home(0);
}

#[test]
fn a_message_that_was_not_asked_for_is_refused_and_nothing_grows() {
    let mut server = Server::new();
    let (work, gate) = gated();
    let mut offload = server.start(Workers::new(1, 1), work);
    let capacity = offload.jobs.capacity();
    server.hand_over(&mut offload, b"0");
    gate.wait_for_begin();
    server.hand_over(&mut offload, b"1");
    server.hand_over(&mut offload, b"2");
    assert_eq!(offload.jobs.capacity(), capacity);
    server.collect();
    assert!(matches!(server.settled[..], [(2, Verdict::Unanswered)]), "{:?}", server.settled);
    (0..2).for_each(|_| gate.open());
    gate.wait_for_begin();
    drop(offload);
    let settled = server.assert_all_settled_and_home(3);
    assert!(answered(&settled[&0]) && answered(&settled[&1]));
}

#[test]
fn a_drop_gives_waiting_jobs_up_and_lets_the_running_one_finish() {
    let mut server = Server::new();
    let (work, gate) = gated();
    let mut offload = server.start(Workers::new(1, 8), work);
    server.hand_over(&mut offload, b"running");
    gate.wait_for_begin();
    (0..5).for_each(|_| server.hand_over(&mut offload, b"waiting"));
    // The first job that is given up wakes the processor, and thereby opens the gate: the queue is closed by then.
    server.outbox.wake.fall_asleep();
    let woken = std::mem::replace(&mut server.woken, mpsc::channel().1);
    let opener = thread::spawn(move || {
        woken.recv_timeout(LONG).expect("a waiting job settles");
        gate.open();
        gate
    });
    drop(offload);
    let gate = opener.join().expect("the gate was opened");
    assert!(gate.begun.try_recv().is_err(), "no waiting job was begun");
    let settled = server.assert_all_settled_and_home(6);
    assert!(answered(&settled[&0]), "the running job was waited for");
    assert!((1..6).all(|ticket| unanswered(&settled[&ticket])));
}

#[test]
fn a_thread_stuck_in_the_closure_is_left_behind_and_still_ends_once() {
    let mut server = Server::new();
    let (work, gate) = gated();
    let workers = Workers { join_timeout: Duration::from_millis(1), ..Workers::new(2, 4) };
    let mut offload = server.start(workers, work);
    server.hand_over(&mut offload, b"stuck");
    gate.wait_for_begin();
    drop(offload);
    server.collect();
    assert!(server.settled.is_empty(), "its reply is still owed");
    gate.open();
    let end = gate.begun.recv_timeout(LONG);
    assert_eq!(end, Err(mpsc::RecvTimeoutError::Disconnected), "the closure is dropped with its last thread");
    assert!(server.assert_all_settled_and_home(1).values().all(answered));
}

#[test]
fn idle_threads_end_with_the_drop_and_take_the_closure_along() {
    let held = Arc::new(());
    let inside = Arc::clone(&held);
    let workers = Workers { join_timeout: LONG, ..Workers::new(4, 4) };
    let offload = Offload::<Plain>::new(workers, move |_, _| drop(Arc::clone(&inside))).expect("they start");
    let begin = Instant::now();
    drop(offload);
    assert!(begin.elapsed() < LONG / 2, "the last thread says that it ends");
    assert_eq!(Arc::strong_count(&held), 1);
}

/// Ends slowly with the thread that it belongs to.
struct Farewell(Arc<AtomicBool>);

impl Drop for Farewell {
    fn drop(&mut self) {
        (0..10_000).for_each(|_| thread::yield_now());
        self.0.store(true, SeqCst);
    }
}

thread_local! {
    static FAREWELL: RefCell<Option<Farewell>> = const { RefCell::new(None) };
}

#[test]
fn nothing_of_a_thread_is_left_after_the_drop() {
    let mut server = Server::new();
    let gone = Arc::new(AtomicBool::new(false));
    let (tell, told) = mpsc::channel();
    let (inside, tell) = (Arc::clone(&gone), Mutex::new(tell));
    let mut offload = server.start(Workers::new(1, 1), move |message: PlainMessage, reply: Deferred<Plain>| {
        FAREWELL.set(Some(Farewell(Arc::clone(&inside))));
        reply.send(message.bytes());
        tell.lock().send(()).expect("the test listens");
    });
    server.hand_over(&mut offload, b"0");
    told.recv_timeout(LONG).expect("the job runs");
    drop(offload);
    assert!(gone.load(SeqCst), "the thread was joined");
    server.assert_all_settled_and_home(1);
}

#[test]
fn numbers_that_can_not_work_are_refused() {
    let error = |workers| Offload::<Plain>::new(workers, |_, _| {}).expect_err("refused");
    for (workers, name) in [(Workers::new(0, 1), "workers.threads"), (Workers::new(1, 0), "workers.queue")] {
        let error = error(workers);
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains(name), "{error}");
    }
    let error = error(Workers::new(1, usize::MAX));
    assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
    Workers::default().validate().expect("the defaults work");
}

#[test]
#[cfg(target_pointer_width = "64")]
fn a_thread_that_can_not_be_started_is_an_error() {
    let held = Arc::new(());
    let inside = Arc::clone(&held);
    // No address space holds such a stack.
    let workers = Workers { stack_size: 1 << 60, ..Workers::new(3, 1) };
    let error = Offload::<Plain>::new(workers, move |_, _| drop(Arc::clone(&inside))).expect_err("no such stack");
    assert!(error.to_string().contains("worker thread 1 of 3"), "{error}");
    assert_eq!(Arc::strong_count(&held), 1, "nothing is left behind");
}

#[test]
fn the_ceiling_counts_places_and_stacks() {
    let job = (size_of::<PlainMessage>() + size_of::<Deferred<Plain>>()) as u64;
    let workers = Workers { stack_size: 1 << 20, ..Workers::new(3, 100) };
    assert_eq!(workers.memory::<Plain>(), 100 * job + (3 << 20));
    assert_eq!(Workers::new(usize::MAX, usize::MAX).memory::<Plain>(), u64::MAX);
}
