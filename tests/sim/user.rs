//! The message processor of the simulated user: does what the requests say.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use std::sync::Arc;

use sluicegate::sim::{Network, Random, SimWorkers};
use sluicegate::{CloseReason, Message, MessageProcessor, Peer, Reply, WhenFull, WriteProxy};

use super::wire::{Answer, Payload, Wire};
use super::world::{ANSWER_HEAD, Act, Held, Request, Shared, World};

/// Longer than any answer may be.
const TOO_LONG: usize = 100_000;
/// By how much `cycle_end` may come late: a long sleep, and the calls of one cycle.
const LATENESS: Duration = Duration::from_millis(100);

pub struct User<P: Wire> {
    pub world: Shared<P>,
    pub network: Network,
    /// Who answers what was deferred; without them the processor thread does it later.
    pub workers: Option<SimWorkers>,
    pub random: Random,
    /// How long a deferred answer or a kept message may take.
    pub patience: Duration,
    /// `ready` said yes and no message has come since.
    pub promised: bool,
    /// There are other processors: it writes to their connections, and to its own, from its own thread.
    pub meddles: bool,
    /// Some slow readers are closed instead of paused.
    pub closes_full: bool,
    /// When `cycle_end` asked to run again.
    pub due: Option<Instant>,
    /// When it did, and how often the clock had jumped by then.
    pub asked: Instant,
    pub jumps: u64,
}

impl<P: Wire> User<P> {
    /// Lets go of what is held, after a while.
    fn release_later(&mut self, held: u64) {
        let world = Arc::clone(&self.world);
        let delay = self.random.duration(self.patience);
        match &self.workers {
            Some(workers) => workers.after(delay, move || release(&world, held)),
            None => self.network.after(delay, move || release(&world, held)),
        }
    }

    fn defer(&mut self, held: Held<P>, request: Request) {
        let healed = self.world.lock().healed;
        let held = self.world.lock().hold(held);
        if request.act != Act::DeferLong || healed {
            self.release_later(held);
        }
    }

    /// Writes to somebody who did not ask, in the middle of a cycle.
    fn meddle(&mut self, proxy: &WriteProxy<P>, own: u16) {
        if !self.meddles || !self.random.chance(200) {
            return;
        }
        let length = self.random.pick(&[ANSWER_HEAD, 100]);
        let chosen = self.world.lock().anybody(&mut self.random);
        let Some((index, connection)) = chosen else { return };
        let payload = self.world.lock().unasked(index, length);
        if !P::send_unasked(proxy, connection, Answer::copied(payload.clone())) {
            return;
        }
        let mut world = self.world.lock();
        world.note_unasked(index, payload);
        if connection.processor() != own {
            world.seen.push("unasked from another processor");
        }
    }

    fn act(&mut self, message: Message<'_, P>, reply: Reply<'_, P>, index: usize, serial: usize, request: Request) {
        let answer = || request.answer(index, serial);
        match request.act {
            Act::Send | Act::Final => reply.send(Answer::copied(answer())),
            Act::Share => reply.send(Answer { payload: Payload::Shared(answer().into()), last: false }),
            Act::Last => reply.send(Answer { payload: Payload::Copied(answer()), last: true }),
            Act::Keep => {
                let held = self.world.lock().hold(Held::Message(message.into_owned()));
                self.release_later(held);
                reply.send(Answer::copied(answer()));
            }
            Act::Defer | Act::DeferLong | Act::FinalDeferred => {
                self.defer(Held::Promise(reply.defer(), index, serial), request)
            }
            Act::DeferKept => {
                let held = Held::Both(message.into_owned(), reply.defer(), index, serial);
                self.defer(held, request);
            }
            Act::DeferDropped => drop(reply.defer()),
            Act::None => reply.none(),
            Act::Close => reply.close(),
            Act::Panic => panic!("planned: in process"),
            Act::PanicInAnswer => reply.send(Answer { payload: Payload::Bomb(answer()), last: false }),
            Act::Drop => drop(reply),
            Act::TooLong => reply.send(Answer::copied(vec![b'x'; TOO_LONG])),
        }
    }
}

/// Gives the answer that was promised, drops the message that was kept. Whoever calls this stands for another thread.
pub fn release<P: Wire>(world: &Mutex<World<P>>, held: u64) {
    let Some(held) = world.lock().held.remove(&held) else { return };
    let (message, promise) = match held {
        Held::Message(message) => (Some(message), None),
        Held::Promise(reply, index, serial) => (None, Some((reply, index, serial))),
        Held::Both(message, reply, index, serial) => (Some(message), Some((reply, index, serial))),
    };
    if let (Some(message), Some((_, index, serial))) = (&message, &promise) {
        check_kept(world, message, *index, *serial);
    }
    if let Some((reply, index, serial)) = promise {
        let request = world.lock().records[index].plan[serial];
        let answer = || Answer::copied(request.answer(index, serial));
        // Some try first, and take what comes then.
        let owed = if serial.is_multiple_of(3) { reply.try_send(answer()).err() } else { Some(reply) };
        if let Some(reply) = owed {
            reply.send(answer());
        }
    }
    drop(message);
}

/// A kept message still says what it said.
fn check_kept<P: Wire>(world: &Mutex<World<P>>, message: &Message<'static, P>, index: usize, serial: usize) {
    let mut world = world.lock();
    let payload = world.records[index].plan[serial].payload(index, serial);
    if P::payload(message) != payload {
        world.wrong(format!("peer {index}: request {serial} has changed while it was kept"));
    }
}

impl<P: Wire> MessageProcessor<P> for User<P> {
    fn process(&mut self, message: Message<'_, P>, reply: Reply<'_, P>) {
        self.meddle(reply.proxy(), reply.connection().processor());
        let promised = std::mem::take(&mut self.promised);
        let noted = self.world.lock().note_processed(message.peer().address, &P::payload(&message), promised);
        let Some((index, serial, request)) = noted else { return reply.close() };
        self.act(message, reply, index, serial, request);
    }

    fn opened(&mut self, peer: &Peer, _: &WriteProxy<P>) {
        let mut world = self.world.lock();
        if let Some(index) = world.by_address.get(&peer.address).copied() {
            world.records[index].connection = Some(peer.connection);
        }
        if self.random.chance(5) {
            drop(world);
            panic!("planned: in opened");
        }
    }

    fn closed(&mut self, peer: &Peer, reason: &CloseReason) {
        let mut world = self.world.lock();
        let closed = world.records.iter_mut().find(|record| record.connection == Some(peer.connection));
        closed.into_iter().for_each(|record| record.closed = Some(reason.kind()));
        if self.random.chance(5) {
            drop(world);
            panic!("planned: in closed");
        }
    }

    fn when_full(&mut self, peer: &Peer) -> WhenFull {
        let closes = self.closes_full && self.random.chance(500);
        let mut world = self.world.lock();
        if let Some(index) = world.by_address.get(&peer.address).copied() {
            world.records[index].closes_full = closes;
        }
        if closes { WhenFull::Close } else { WhenFull::PauseReads }
    }

    fn ready(&mut self) -> bool {
        self.promised = !self.world.lock().not_ready;
        self.promised
    }

    fn cycle_end(&mut self, now: Instant) -> Option<Instant> {
        let jumps = self.network.counts().jumps;
        if let Some(due) = self.due.take_if(|due| now >= *due) {
            // A cycle has one `now`; the clock may have gone far beyond it while it asked.
            if now > due.max(self.asked) + LATENESS && self.jumps == jumps {
                self.world.lock().wrong("`cycle_end` was called later than it asked for".into());
            }
        }
        if self.due.is_none() && self.random.chance(50) {
            (self.asked, self.jumps) = (self.network.now(), jumps);
            self.due = Some(now + self.random.duration(Duration::from_millis(300)));
        }
        self.due
    }
}

impl<P: Wire> Drop for User<P> {
    fn drop(&mut self) {
        let held = std::mem::take(&mut self.world.lock().held);
        // Without the lock: a dropped promise is a settled one.
        drop(held);
    }
}
