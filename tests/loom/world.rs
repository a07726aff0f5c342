//! The real processor over a bed: its selector sleeps until it is woken, and its sockets have said everything already.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::mem;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sluicegate::internals::atomic::{AtomicBool, Ordering::SeqCst};
use sluicegate::internals::{BareProcessor, Job, Jobs, Readiness, Selector, Told, offload};
use sluicegate::{
    CloseReason, Config, ConnectionId, Deferred, LengthPrefixed, Message, MessageProcessor, Offload, Reply, TierConfig,
    WriteProxy,
};

use super::bed::Bed;

/// What one side leaves for the other between two steps of the same thread. Not a part of the model.
pub type Shared<T> = Arc<Mutex<T>>;

/// Looks at something shared.
pub fn with<T, R>(shared: &Shared<T>, look: impl FnOnce(&mut T) -> R) -> R {
    look(&mut shared.lock().expect("not poisoned"))
}

/// A selector without timers: whoever relies on one sleeps for ever.
pub struct Sleeper {
    bed: Arc<Bed>,
    now: Instant,
    fresh: Vec<u32>,
    /// Sockets whose peers have sent nothing yet, by slot.
    late: Vec<(u32, Arc<AtomicBool>)>,
    /// While it is being prepared: notes that it would sleep, and does not.
    preparing: Shared<Preparing>,
}

#[derive(Default)]
struct Preparing {
    on: bool,
    would_sleep: bool,
}

impl Selector for Sleeper {
    type Socket = Socket;

    /// Reports what is there and was not read before.
    fn register_read(&mut self, socket: &mut Socket, slot: u32) -> io::Result<()> {
        match &socket.late {
            Some(late) => self.late.push((slot, Arc::clone(late))),
            None if !socket.sent.is_empty() => self.fresh.push(slot),
            None => {}
        }
        Ok(())
    }

    fn set_write(&mut self, _: &mut Socket, _: u32, _: bool) -> io::Result<()> {
        Ok(())
    }

    /// The peer is gone: nobody lingers.
    fn shutdown_write(&mut self, _: &mut Socket) -> io::Result<()> {
        Err(ErrorKind::NotConnected.into())
    }

    fn deregister(&mut self, _: &mut Socket) -> io::Result<()> {
        Ok(())
    }

    fn take_error(&mut self, _: &mut Socket) -> io::Result<Option<io::Error>> {
        Ok(None)
    }

    fn unread(&mut self, socket: &mut Socket) -> io::Result<u64> {
        Ok(if socket.has_come() { socket.sent.len() as u64 } else { 0 })
    }

    fn select(&mut self, timeout: Option<Duration>, ready: &mut Vec<Readiness>) -> io::Result<Told> {
        let mut fresh = mem::take(&mut self.fresh);
        let busy = timeout == Some(Duration::ZERO) || !fresh.is_empty();
        let prepares = with(&self.preparing, |preparing| {
            preparing.would_sleep = !busy;
            preparing.on
        });
        match busy || prepares {
            true => self.bed.look(),
            false => self.bed.sleep(),
        }
        self.late.retain(|(slot, late)| {
            let has_come = late.load(SeqCst);
            fresh.extend(has_come.then_some(*slot));
            !has_come
        });
        ready.extend(fresh.into_iter().map(|slot| Readiness { slot, readable: true, ..Readiness::default() }));
        Ok(Told::All)
    }

    fn now(&mut self) -> Instant {
        self.now
    }

    fn unix_seconds(&mut self) -> u64 {
        784_111_777
    }
}

/// A socket whose peer has sent all it will, and takes whatever comes, or nothing.
pub struct Socket {
    sent: VecDeque<u8>,
    /// Until this is set, nothing of it has come.
    late: Option<Arc<AtomicBool>>,
    /// The peer does not read.
    stuck: bool,
    got: Shared<Vec<u8>>,
}

impl Socket {
    fn has_come(&self) -> bool {
        self.late.as_ref().is_none_or(|late| late.load(SeqCst))
    }
}

impl Read for Socket {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.sent.is_empty() || !self.has_come() {
            true => Err(ErrorKind::WouldBlock.into()),
            false => self.sent.read(into),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.stuck {
            return Err(ErrorKind::WouldBlock.into());
        }
        with(&self.got, |got| got.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    /// All slices: a short write would mean that the socket is full.
    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        slices.iter().map(|slice| self.write(slice)).sum()
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the user does with a message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// Answers at once, with as many bytes as this.
    Answer(usize),
    /// Answers the first message with as many bytes as this, and defers the reply to all others.
    AnswerFirst(usize),
    /// Defers every reply.
    Defer,
    /// Keeps the message, and answers nothing.
    Keep,
    /// Keeps the message, and defers its reply: as workers are given both.
    Own,
}

/// What the user has, where other threads find it.
#[derive(Default)]
pub struct Hands {
    pub deferred: Vec<Deferred<LengthPrefixed>>,
    pub kept: Vec<Message<'static, LengthPrefixed>>,
    pub owned: Vec<Job<LengthPrefixed>>,
    pub proxy: Option<WriteProxy<LengthPrefixed>>,
    pub connections: Vec<ConnectionId>,
    pub closed: usize,
    pub processed: usize,
}

/// A user whose `ready` is what others make it, or what its workers say.
pub struct User {
    pub plan: Plan,
    pub hands: Shared<Hands>,
    pub room: Arc<AtomicBool>,
    /// They get everything, whatever the plan is.
    pub workers: Option<Offload<LengthPrefixed>>,
}

impl MessageProcessor<LengthPrefixed> for User {
    fn process(&mut self, message: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>) {
        with(&self.hands, |hands| {
            hands.processed += 1;
            if let Some(workers) = &mut self.workers {
                return workers.process(message, reply);
            }
            match self.plan {
                Plan::Answer(length) => reply.send(vec![b'a'; length]),
                Plan::AnswerFirst(length) if hands.processed == 1 => reply.send(vec![b'a'; length]),
                Plan::Defer | Plan::AnswerFirst(_) => hands.deferred.push(reply.defer()),
                Plan::Keep => {
                    hands.kept.push(message.into_owned());
                    reply.none();
                }
                Plan::Own => hands.owned.push((message.into_owned(), reply.defer())),
            }
        });
    }

    fn started(&mut self, proxy: &WriteProxy<LengthPrefixed>) {
        with(&self.hands, |hands| hands.proxy = Some(proxy.clone()));
        self.workers.iter_mut().for_each(|workers| workers.started(proxy));
    }

    fn opened(&mut self, peer: &sluicegate::Peer, _: &WriteProxy<LengthPrefixed>) {
        with(&self.hands, |hands| hands.connections.push(peer.connection));
    }

    fn closed(&mut self, _: &sluicegate::Peer, _: &CloseReason) {
        with(&self.hands, |hands| hands.closed += 1);
    }

    fn ready(&mut self) -> bool {
        match &mut self.workers {
            Some(workers) => workers.ready(),
            None => self.room.load(SeqCst),
        }
    }

    fn cycle_end(&mut self, now: Instant) -> Option<Instant> {
        self.workers.as_mut().and_then(|workers| workers.cycle_end(now))
    }
}

/// Settings of a server that is small enough to be looked at in every order.
pub fn small() -> Config {
    let tiers = [(64, 1), (1024, 1), (4096, 1)].map(|(size, count)| TierConfig { size, count });
    let mut config = Config::default();
    (config.connections_max, config.handover_max) = (4, 4);
    (config.inbound, config.outbound) = (tiers, tiers);
    (config.reply_max, config.scratch) = (8 << 10, 2048);
    (config.owed_max, config.owed_total_max, config.unasked_max, config.segments_max) = (4, 4, 4, 64);
    config
}

/// A processor, and what it shares with others.
pub struct World {
    pub processor: BareProcessor<Sleeper, LengthPrefixed, User>,
    pub hands: Shared<Hands>,
    pub room: Arc<AtomicBool>,
    preparing: Shared<Preparing>,
}

impl World {
    pub fn new(config: &Config, plan: Plan) -> Self {
        Self::of(config, plan, None)
    }

    /// One in which everything is for workers: whoever takes from `jobs`. They are closed with its end.
    pub fn with_workers(config: &Config, jobs: &Arc<Jobs<LengthPrefixed>>) -> Self {
        Self::of(config, Plan::Own, Some(offload(jobs)))
    }

    fn of(config: &Config, plan: Plan, workers: Option<Offload<LengthPrefixed>>) -> Self {
        let (bed, wake) = Bed::made();
        let preparing = Shared::<Preparing>::default();
        let selector = Sleeper {
            bed,
            now: Instant::now(),
            fresh: Vec::new(),
            late: Vec::new(),
            preparing: Arc::clone(&preparing),
        };
        let hands = Shared::<Hands>::default();
        let room = Arc::new(AtomicBool::new(true));
        let user = User { plan, hands: Arc::clone(&hands), room: Arc::clone(&room), workers };
        let protocol = LengthPrefixed::new(4096);
        let processor = BareProcessor::woken_by(wake, config, selector, protocol, user).expect("good settings");
        Self { processor, hands, room, preparing }
    }

    /// A peer connects that has sent `bytes`. What it gets is in the result.
    pub fn connect(&mut self, bytes: &[u8]) -> Shared<Vec<u8>> {
        self.connect_as(bytes, false, None)
    }

    /// A peer connects whose `bytes` have come once `late` is set.
    pub fn connect_late(&mut self, bytes: &[u8], late: &Arc<AtomicBool>) {
        self.connect_as(bytes, false, Some(Arc::clone(late)));
    }

    /// A peer connects that has sent `bytes` and does not read.
    pub fn connect_stuck(&mut self, bytes: &[u8]) {
        self.connect_as(bytes, true, None);
    }

    fn connect_as(&mut self, bytes: &[u8], stuck: bool, late: Option<Arc<AtomicBool>>) -> Shared<Vec<u8>> {
        let got = Shared::<Vec<u8>>::default();
        let socket = Socket { sent: bytes.iter().copied().collect(), late, stuck, got: Arc::clone(&got) };
        assert!(self.processor.accept(socket, SocketAddr::from((Ipv4Addr::LOCALHOST, 1))), "there is room");
        got
    }

    /// Cycles until there is nothing left to do. Before other threads begin.
    pub fn prepare(&mut self) {
        with(&self.preparing, |preparing| *preparing = Preparing { on: true, would_sleep: false });
        while !with(&self.preparing, |preparing| preparing.would_sleep) {
            self.processor.cycle();
        }
        with(&self.preparing, |preparing| preparing.on = false);
    }

    /// Cycles until it is so. Sleeps in between, and for ever if nobody wakes it.
    pub fn until(&mut self, mut so: impl FnMut(&mut Hands) -> bool) {
        while !with(&self.hands, &mut so) {
            self.processor.cycle();
        }
    }
}

/// A message of so many bytes.
pub fn message(length: usize) -> Vec<u8> {
    [(length as u32).to_be_bytes().as_slice(), &vec![b'm'; length]].concat()
}
