//! What the crowd has sent and received, and what it has to think of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use sluicegate::sim::{End, Random, SimPeer};
use sluicegate::{CloseKind, ConnectionId, Deferred, Message};

use super::wire::{Frame, Wire};

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

    fn at_once(self) -> bool {
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

/// Ends that leave nothing behind: what was owed and undelivered comes first.
const IN_ORDER: [CloseKind; 9] = [
    CloseKind::PeerClosed,
    CloseKind::PeerIncomplete,
    CloseKind::Finished,
    CloseKind::User,
    CloseKind::Protocol,
    CloseKind::Idle,
    CloseKind::TooSlow,
    CloseKind::Unanswered,
    CloseKind::EvictedInbound,
];

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

/// An unasked message's payload.
pub fn unasked(peer: usize, serial: usize, length: usize) -> Vec<u8> {
    filled(format!("{peer:04}{serial:05}@"), length, serial)
}

/// `head`, and letters up to `length`.
fn filled(head: String, length: usize, salt: usize) -> Vec<u8> {
    let mut payload = head.into_bytes();
    let missing = length.saturating_sub(payload.len());
    payload.extend((0..missing).map(|index| b'a' + ((index * 31 + salt * 17 + index / 26) % 26) as u8));
    payload
}

/// What is known of one peer.
pub struct Record {
    pub peer: SimPeer,
    pub connection: Option<ConnectionId>,
    pub plan: Vec<Request>,
    /// How many bytes of its stream it has sent.
    pub sent: usize,
    /// It has sent something that is no request, behind all of them.
    pub malformed: bool,
    /// It does nothing that a server could mind.
    pub polite: bool,
    pub finished: bool,
    /// It broke the connection, or closed it without listening.
    pub rude: bool,
    /// It has not always read at once.
    pub slow: bool,
    /// The user wants it closed, not paused, when it reads too slowly.
    pub closes_full: bool,
    /// How many of its requests the user was given.
    pub processed: usize,
    /// Unasked messages that were taken for it: their lengths.
    pub unasked: Vec<usize>,
    pub closed: Option<CloseKind>,
    pub reading: Read,
}

/// What a peer has read so far.
#[derive(Debug, Default)]
pub struct Read {
    stream: Vec<u8>,
    at: usize,
    /// The serials of the answers, as they came.
    pub answers: Vec<usize>,
    pub unasked: usize,
    pub refused: bool,
}

impl Record {
    pub fn new(peer: SimPeer, plan: Vec<Request>) -> Self {
        Self {
            peer,
            connection: None,
            plan,
            sent: 0,
            malformed: false,
            polite: true,
            finished: false,
            rude: false,
            slow: false,
            closes_full: false,
            processed: 0,
            unasked: Vec::new(),
            closed: None,
            reading: Read::default(),
        }
    }

    /// How many whole requests it has sent.
    pub fn whole(&self) -> usize {
        self.plan.iter().take_while(|request| request.end <= self.sent).count()
    }

    /// The serials of those of its processed requests that are to be answered.
    fn expected(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.processed).filter(|serial| self.plan[*serial].act.answers())
    }

    /// True if its connection has ended, or was never served.
    pub fn is_gone(&self) -> bool {
        self.closed.is_some() || (self.connection.is_none() && self.peer.end().is_some())
    }

    /// True if it has everything that is coming to it.
    pub fn is_complete(&self) -> bool {
        self.processed == self.whole()
            && self.reading.answers.len() == self.expected().count()
            && self.reading.unasked == self.unasked.len()
    }

    /// Reads what has arrived and checks each frame.
    pub fn read<P: Wire>(&mut self, index: usize) -> Result<(), String> {
        let arrived = self.peer.take_received();
        if arrived.is_empty() {
            return Ok(());
        }
        let mut reading = std::mem::take(&mut self.reading);
        reading.stream.extend(arrived);
        let mut rest = &reading.stream[reading.at..];
        let mut frames = Vec::new();
        while let Some(frame) = P::take_frame(&mut rest) {
            frames.push(frame);
        }
        reading.at = reading.stream.len() - rest.len();
        for frame in frames {
            let wrong = || format!("{} peer {index} was sent what it should not: {frame:?}", P::NAME);
            if reading.refused || !self.accepts::<P>(index, &frame, &mut reading) {
                return Err(wrong());
            }
        }
        self.reading = reading;
        Ok(())
    }

    fn accepts<P: Wire>(&self, index: usize, frame: &Frame, reading: &mut Read) -> bool {
        let payload = match frame {
            Frame::Interim => return self.plan.iter().any(|request| request.expects),
            Frame::Refusal => {
                reading.refused = true;
                return true;
            }
            Frame::Payload(payload) => payload,
        };
        if payload.get(ANSWER_HEAD - 1) == Some(&b'@') {
            let serial = reading.unasked;
            reading.unasked += 1;
            return self.unasked.get(serial).is_some_and(|length| *payload == unasked(index, serial, *length));
        }
        let serial = std::str::from_utf8(payload.get(4..9).unwrap_or(&[])).unwrap_or("").parse::<usize>();
        let Ok(serial) = serial else { return false };
        let Some(request) = self.plan.get(serial).filter(|request| request.act.answers()) else { return false };
        let asked = serial < self.processed;
        let ordered =
            if P::IN_ORDER { self.next_in_order(reading) == Some(serial) } else { self.may_come(serial, reading) };
        reading.answers.push(serial);
        asked && ordered && *payload == request.answer(index, serial)
    }

    /// Where order matters: the one answer that can come next.
    fn next_in_order(&self, reading: &Read) -> Option<usize> {
        self.expected().nth(reading.answers.len())
    }

    /// Where it does not: each comes once, and those that are given at once keep the order of their requests.
    fn may_come(&self, serial: usize, reading: &Read) -> bool {
        let at_once = |serial: usize| self.plan[serial].act.at_once();
        let overtakes = at_once(serial) && reading.answers.iter().any(|earlier| at_once(*earlier) && *earlier > serial);
        !reading.answers.contains(&serial) && !overtakes
    }
}

/// What may be expected of the server.
#[derive(Debug, Clone, Copy)]
pub struct Expectations {
    /// Nothing is over in time, and the operating system does as it is told.
    pub sound: bool,
    /// There is memory for everything.
    pub memory: bool,
    /// Whoever is refused has time to read why.
    pub long_linger: bool,
}

impl Record {
    /// LAW one peer: whoever did nothing wrong is not closed but for want of memory, or for a rule that it did not
    /// know.
    fn judge_manners(&self, expected: Expectations) -> Result<(), String> {
        let excused = match self.closed {
            None => true,
            Some(CloseKind::PeerClosed | CloseKind::PeerIncomplete) => self.finished,
            Some(CloseKind::EvictedInbound | CloseKind::EvictedOutbound | CloseKind::NoRoom) => !expected.memory,
            Some(CloseKind::Crowded | CloseKind::OutboundFull) => true,
            Some(CloseKind::Finished) => self.said_final(),
            Some(_) => false,
        };
        match excused || !self.polite || !expected.sound {
            true => Ok(()),
            false => Err("did nothing wrong and was closed".into()),
        }
    }

    /// Nothing that was accepted is lost: what was whole when the peer finished was handled, and the answers were given
    /// before the end.
    fn judge_end(&self, expected: Expectations) -> Result<(), String> {
        let in_order = self.closed.is_some_and(|kind| IN_ORDER.contains(&kind));
        // Whoever reads too slowly may be closed in the middle of its end as well. Then the reason why the end began
        // stands, but for those that promise that everything was delivered.
        let promised = matches!(self.closed, Some(CloseKind::PeerClosed | CloseKind::Finished));
        if self.closes_full && !promised {
            return Ok(());
        }
        if !(expected.sound && expected.memory && in_order && self.peer.end() == Some(End::Finished)) || self.rude {
            return Ok(());
        }
        let (answered, due) = (self.reading.answers.len(), self.expected().count());
        if self.closed == Some(CloseKind::PeerClosed) && self.processed != self.whole() {
            return Err(format!("{} of {} whole requests were handled", self.processed, self.whole()));
        }
        if answered == due { Ok(()) } else { Err(format!("{answered} of {due} answers came before the end")) }
    }

    /// True if the last request that the user was given is one after which the peer has promised to send nothing.
    fn said_final(&self) -> bool {
        self.plan[..self.processed].last().is_some_and(|request| request.act.is_final())
    }

    /// Whoever says that it sends nothing more, and keeps to it, has its last answer: no reset destroys it.
    fn judge_final(&self, expected: Expectations) -> Result<(), String> {
        let kept_to_it = self.said_final() && self.processed == self.plan.len() && !self.malformed && !self.rude;
        let promised = kept_to_it && self.closed == Some(CloseKind::Finished) && expected.sound;
        match promised && self.peer.end() == Some(End::Reset) {
            true => Err("asked for the end of its connection, and it was reset".into()),
            false => Ok(()),
        }
    }

    /// Whoever is refused can read why: no reset destroys the last words. Without memory the rest of its output may be
    /// given up all the same.
    fn judge_refusal<P: Wire>(&self, expected: Expectations) -> Result<(), String> {
        let listens = self.closed == Some(CloseKind::Protocol) && !self.rude && !self.slow && P::REFUSES;
        // No end yet: both are on their way to it.
        let heard = self.peer.end().is_none_or(|end| end == End::Finished && self.reading.refused);
        match heard || !listens || !(expected.sound && expected.memory && expected.long_linger) {
            true => Ok(()),
            false => Err(format!("was refused and could not read why: {:?}", self.peer.end())),
        }
    }
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
            let record = &self.records[index];
            let judged = record.judge_manners(expected).and_then(|()| record.judge_end(expected));
            let judged = judged.and_then(|()| record.judge_final(expected));
            let judged = judged.and_then(|()| record.judge_refusal::<P>(expected));
            if let Err(what) = judged {
                self.wrong(format!("{} peer {index}, {:?}: {what}", P::NAME, self.records[index].closed));
            }
        }
    }

    /// Anybody, with what is needed to write to it unasked: its number, its connection, and which message that would
    /// be. The last is true when it has gone, and the message is for nobody.
    pub fn anybody(&self, random: &mut Random) -> Option<(usize, ConnectionId, usize, bool)> {
        let index = random.below(self.records.len());
        let record = self.records.get(index)?;
        Some((index, record.connection?, record.unasked.len(), record.closed.is_some()))
    }

    pub fn hold(&mut self, held: Held<P>) -> u64 {
        self.next_held += 1;
        self.held.insert(self.next_held, held);
        self.next_held
    }
}
