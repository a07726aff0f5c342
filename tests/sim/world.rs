//! What the crowd asks for, and everything that it shares with the user and the test.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use sluicegate::sim::Random;
use sluicegate::{ConnectionId, Deferred, Message};

use super::record::{Expectations, Record};
use super::wire::Wire;

/// What the user is to do with a request. The peer says so in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Act {
    /// Answer at once.
    Send = b'e',
    /// Answer later.
    Defer = b'd',
    /// Answer later, and keep the message until then.
    DeferKept = b'K',
    /// Promise an answer and drop the promise.
    DeferDropped = b'D',
    /// Promise an answer that comes when the world is healed, if not in time.
    DeferLong = b'N',
    /// Answer at once and keep the message for a while.
    Keep = b'k',
    /// Answer with a shared body.
    Share = b's',
    /// Answer, and say that it is the last.
    Last = b'l',
    /// Answer at once: the peer has said that it sends nothing more, where the protocol has a word for it.
    Final = b'f',
    /// Answer later: the same.
    FinalDeferred = b'F',
    /// No answer. Where order matters this closes.
    None = b'n',
    /// Close without an answer.
    Close = b'c',
    /// Panic.
    Panic = b'p',
    /// Panic in the middle of the answer.
    PanicInAnswer = b'P',
    /// Drop the reply unused.
    Drop = b'x',
    /// An answer that is longer than any may be.
    TooLong = b'L',
}

impl Act {
    pub const ALL: [Self; 16] = [
        Self::Send,
        Self::Defer,
        Self::DeferKept,
        Self::DeferDropped,
        Self::DeferLong,
        Self::Keep,
        Self::Share,
        Self::Last,
        Self::Final,
        Self::FinalDeferred,
        Self::None,
        Self::Close,
        Self::Panic,
        Self::PanicInAnswer,
        Self::Drop,
        Self::TooLong,
    ];

    /// Acts that answer and leave the connection alone, unless the peer wants it to end.
    pub const FRIENDLY: [Self; 8] = [
        Self::Send,
        Self::Defer,
        Self::DeferKept,
        Self::Keep,
        Self::Share,
        Self::DeferLong,
        Self::Final,
        Self::FinalDeferred,
    ];

    pub fn answers(self) -> bool {
        Self::FRIENDLY.contains(&self) || self == Self::Last
    }

    pub fn at_once(self) -> bool {
        matches!(self, Self::Send | Self::Keep | Self::Share | Self::Last | Self::Final)
    }

    /// The peer promises with it to send nothing more.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Final | Self::FinalDeferred)
    }
}

/// One request of a peer's.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    pub act: Act,
    /// Bytes of the payload.
    pub length: usize,
    /// Bytes of the answer's payload.
    pub answer: usize,
    /// Asks for an interim word.
    pub expects: bool,
    /// How many bytes the peer has sent once this is whole.
    pub end: usize,
}

/// Bytes before the filler of a request.
pub const REQUEST_HEAD: usize = 17;
/// Where in a request it says what is to be done with it.
pub const ACT_AT: usize = 10;
/// Bytes before the filler of an answer.
pub const ANSWER_HEAD: usize = 10;

impl Request {
    /// The payload, the same whenever it is made.
    pub fn payload(&self, peer: usize, serial: usize) -> Vec<u8> {
        let mark = if self.expects { '?' } else { '.' };
        let head = format!("{mark}{peer:04}{serial:05}{}{:06}", self.act as u8 as char, self.answer);
        filled(head, self.length, peer + serial)
    }

    /// The answer's payload.
    pub fn answer(&self, peer: usize, serial: usize) -> Vec<u8> {
        filled(format!("{peer:04}{serial:05}="), self.answer, peer * 7 + serial)
    }
}

/// Not the number of any peer.
const EVERYBODY: usize = 9999;

/// An unasked message's payload.
fn unasked(peer: usize, serial: usize, length: usize) -> Vec<u8> {
    filled(format!("{peer:04}{serial:05}@"), length, serial)
}

/// `head`, and letters up to `length`.
fn filled(head: String, length: usize, salt: usize) -> Vec<u8> {
    let mut payload = head.into_bytes();
    let missing = length.saturating_sub(payload.len());
    payload.extend((0..missing).map(|index| b'a' + ((index * 31 + salt * 17 + index / 26) % 26) as u8));
    payload
}

/// What the user holds on to.
pub enum Held<P: Wire> {
    Message(Message<'static, P>),
    Promise(Deferred<P>, usize, usize),
    Both(Message<'static, P>, Deferred<P>, usize, usize),
}

/// Everything that the crowd, the user and the test share.
pub struct World<P: Wire> {
    pub records: Vec<Record>,
    pub by_address: BTreeMap<SocketAddr, usize>,
    pub held: BTreeMap<u64, Held<P>>,
    pub next_held: u64,
    pub not_ready: bool,
    /// Messages that were sent to everybody.
    pub announcements: usize,
    /// From now on everything is answered at once and nothing is held.
    pub healed: bool,
    /// The first thing that was wrong.
    pub wrong: Option<String>,
    /// What the test has seen beyond what the simulation counts.
    pub seen: Vec<&'static str>,
}

pub type Shared<P> = Arc<Mutex<World<P>>>;

impl<P: Wire> Held<P> {
    /// The number of the processor whose connection waits for it.
    pub fn processor(&self) -> usize {
        match self {
            Self::Message(message) => message.peer().connection.processor().into(),
            Self::Promise(reply, ..) | Self::Both(_, reply, ..) => reply.connection().processor().into(),
        }
    }
}

impl<P: Wire> World<P> {
    pub fn new() -> Self {
        Self {
            records: Vec::new(),
            by_address: BTreeMap::new(),
            held: BTreeMap::new(),
            next_held: 0,
            not_ready: false,
            announcements: 0,
            healed: false,
            wrong: None,
            seen: Vec::new(),
        }
    }

    pub fn wrong(&mut self, what: String) {
        self.wrong.get_or_insert(what);
    }

    /// Lets every peer read what has arrived.
    pub fn read_all(&mut self) {
        for index in 0..self.records.len() {
            if let Err(what) = self.records[index].read::<P>(index) {
                self.wrong(what);
            }
        }
    }

    /// The requests of a peer, as the user gets them: in order, each once, every byte of it. `promised`: `ready` said
    /// yes and no message has come since.
    pub fn note_processed(
        &mut self,
        address: SocketAddr,
        payload: &[u8],
        promised: bool,
    ) -> Option<(usize, usize, Request)> {
        let index = *self.by_address.get(&address)?;
        let record = &mut self.records[index];
        let serial = record.processed;
        let request = record.plan.get(serial).copied();
        let Some(request) = request.filter(|request| *payload == request.payload(index, serial)) else {
            let start = String::from_utf8_lossy(&payload[..payload.len().min(20)]).into_owned();
            self.wrong(format!("peer {index}: request {serial} is {} bytes that begin with {start:?}", payload.len()));
            return None;
        };
        record.processed += 1;
        if !promised {
            self.wrong(format!("peer {index}: request {serial} came without `ready` having said yes"));
        }
        Some((index, serial, request))
    }

    /// Judges how the server has treated everybody so far.
    pub fn judge(&mut self, expected: Expectations) {
        self.read_all();
        for index in 0..self.records.len() {
            let judged = self.records[index].judge::<P>(expected);
            if let Err(what) = judged {
                self.wrong(format!("{} peer {index}, {:?}: {what}", P::NAME, self.records[index].closed));
            }
        }
    }

    /// Anybody whose connection was opened, gone or not: its number, and its connection.
    pub fn anybody(&self, random: &mut Random) -> Option<(usize, ConnectionId)> {
        let index = random.below(self.records.len());
        Some((index, self.records.get(index)?.connection?))
    }

    /// An unasked message for a peer, unlike those that it was sent before.
    pub fn unasked(&self, index: usize, length: usize) -> Vec<u8> {
        unasked(index, self.records[index].unasked.len(), length)
    }

    /// A message for everybody.
    pub fn announcement(&mut self, length: usize) -> Vec<u8> {
        self.announcements += 1;
        unasked(EVERYBODY, self.announcements, length)
    }

    /// The server has taken this message for a peer.
    pub fn note_unasked(&mut self, index: usize, payload: Vec<u8>) {
        let record = &mut self.records[index];
        if record.closed.is_none() && !record.asked_to_close {
            record.unasked.push(payload);
        }
    }

    pub fn hold(&mut self, held: Held<P>) -> u64 {
        self.next_held += 1;
        self.held.insert(self.next_held, held);
        self.next_held
    }
}
