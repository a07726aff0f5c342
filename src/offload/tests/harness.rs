//! A processor without sockets around a `MessageProcessor`, and work that waits at a gate.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::super::*;
use crate::EncodeError;
use crate::buffer::{Line, Outbound, Pool, SetAside, SharedPool, TierConfig, reserve};
use crate::clock::WallClock;
use crate::id::ConnectionId;
use crate::metrics::Metrics;
use crate::outbox::{
    Desk, Encoded, Outbox, OutboxLimits, Outboxes, Owed, ProcessorThread, Settled, Unanswered, WriteProxy,
};
use crate::protocol::{After, Decode, Encode, Peer, ProtocolError};
use crate::wake::WakeFlag;

/// What became of a deferred reply.
pub(super) type Answer = Result<Encoded, Unanswered>;

/// Whatever was read at once is one message.
#[derive(Clone)]
pub(super) struct Plain;

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

pub(super) const OWED_MAX: usize = 128;
/// Longer than anything here takes; a test that waits so long has failed.
pub(super) const LONG: Duration = Duration::from_secs(60);

pub(super) type PlainMessage = Message<'static, Plain>;

/// What the processor does around its `MessageProcessor`, without sockets.
pub(super) struct Server {
    pub(super) outbox: Arc<Outbox>,
    pub(super) inbound: Pool,
    pub(super) outbound: Arc<SharedPool>,
    pub(super) spares: SetAside,
    pub(super) desk: Desk<Plain>,
    pub(super) woken: Receiver<()>,
    /// How each ticket that was taken back was settled.
    pub(super) settled: Vec<(u32, Answer)>,
    _thread: ProcessorThread,
}

impl Server {
    pub(super) fn new() -> Self {
        let (wake, woken) = mpsc::channel();
        let wake = Mutex::new(wake);
        let wake = Arc::new(WakeFlag::new(move || {
            // A test that has ended listens no more.
            let _ = wake.lock().send(());
        }));
        let tiers = [(64, 128), (128, 1), (256, 1)].map(|(size, count)| TierConfig { size, count });
        let pool = || SharedPool::new(tiers, Line::new(Arc::clone(&wake)));
        let (inbound, outbound) = (Pool::new(pool(), [1; 3]), pool());
        let limits = OutboxLimits {
            connections_each: 4,
            owed_total_max: OWED_MAX,
            unasked_max: 4,
            reply_max: 256,
            outbound_high: 1024,
        };
        let clock = Arc::new(WallClock::at(0));
        let metrics = Arc::new(Metrics::default());
        let outbox = Outbox::new(limits, Arc::clone(&outbound), Arc::clone(&clock), wake, metrics);
        let own = Pool::new(Arc::clone(&outbound), [0; 3]);
        let out = Outbound::of_processor(own, reserve(256, outbound.line()), 256, clock);
        let proxy = WriteProxy::new(Outboxes::new([Arc::clone(&outbox)]), Arc::clone(&outbox));
        let desk = Desk::new(out, Owed::new(OWED_MAX), proxy, Instant::now());
        let (spares, settled, _thread) = (SetAside::default(), Vec::new(), ProcessorThread::mark());
        Self { outbox, inbound, outbound, spares, desk, woken, settled, _thread }
    }

    /// Starts workers as the processor would.
    pub(super) fn start<F>(&self, workers: Workers, work: F) -> Offload<Plain>
    where
        F: Fn(PlainMessage, Deferred<Plain>) + Send + Sync + 'static,
    {
        let mut offload = Offload::new(workers, work).expect("the threads start");
        offload.started(&self.desk.proxy);
        offload
    }

    /// Hands a message over without asking whether there is room.
    pub(super) fn hand_over(&mut self, offload: &mut Offload<Plain>, bytes: &[u8]) {
        let connection = ConnectionId::new(0, 1, 1);
        let peer = Peer { connection, address: SocketAddr::from(([127, 0, 0, 1], 1)) };
        assert!(self.spares.refill(0, &mut self.inbound), "a block is free for the spare");
        let message = Message::shared(&peer, (), bytes, &mut self.spares);
        offload.process(message, self.desk.reply(connection, (), None));
    }

    /// Takes back what was settled; answers are delivered at once.
    pub(super) fn collect(&mut self) {
        while let Some(Settled { ticket, answer, .. }) = self.outbox.settled.pop() {
            self.desk.owed.retire(ticket);
            self.settled.push((ticket, blank(answer)));
        }
    }

    /// Sleeps as the processor does until so many were settled.
    pub(super) fn collect_all(&mut self, messages: usize) {
        while self.settled.len() < messages {
            self.outbox.wake.fall_asleep();
            if !self.outbox.has_work() {
                self.woken.recv_timeout(LONG).expect("every message is settled");
            }
            self.outbox.wake.awake();
            self.collect();
        }
    }

    /// Sleeps as the processor does until a worker calls `resume`; `ready` must have said no before.
    pub(super) fn sleep_until_resumed(&mut self, offload: &mut Offload<Plain>) {
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
    pub(super) fn assert_all_settled_and_home(mut self, messages: usize) -> BTreeMap<u32, Answer> {
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

/// The same answer without its blocks.
pub(super) fn blank(mut answer: Answer) -> Answer {
    if let Ok(encoded) = &mut answer {
        encoded.segments.clear();
    }
    answer
}

pub(super) fn answered(answer: &Answer) -> bool {
    answer.is_ok()
}

pub(super) fn unanswered(answer: &Answer) -> bool {
    matches!(answer, Err(Unanswered::Dropped | Unanswered::Panicked))
}

/// The test's side of [`gated`] work.
pub(super) struct Gate {
    pub(super) begun: Receiver<()>,
    pub(super) open: Sender<()>,
}

impl Gate {
    /// Waits until one more job has begun.
    pub(super) fn wait_for_begin(&self) {
        self.begun.recv_timeout(LONG).expect("a job begins");
    }

    /// Lets one job finish.
    pub(super) fn open(&self) {
        self.open.send(()).expect("the work is there");
    }
}

/// Work that tells when it has begun, and answers when it is let through the gate.
pub(super) fn gated() -> (impl Fn(PlainMessage, Deferred<Plain>) + Send + Sync, Gate) {
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
