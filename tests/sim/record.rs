//! What is known of one peer of the crowd: what it has sent, what it has read, and what it has to think of that.

use sluicegate::sim::{End, SimPeer};
use sluicegate::{CloseKind, ConnectionId};

use super::wire::{Frame, Wire};
use super::world::{ANSWER_HEAD, Act, Request};

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
    /// Unasked messages that were taken for it.
    pub unasked: Vec<Vec<u8>>,
    /// Another thread has asked the server to close its connection.
    pub asked_to_close: bool,
    /// Another thread has asked for its end at once.
    pub aborted: bool,
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
            asked_to_close: false,
            aborted: false,
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
            return self.unasked.get(serial) == Some(payload);
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
    /// Judges how the server has treated it so far.
    pub fn judge<P: Wire>(&self, expected: Expectations) -> Result<(), String> {
        self.judge_manners(expected)?;
        self.judge_end(expected)?;
        self.judge_final(expected)?;
        self.judge_refusal::<P>(expected)
    }

    /// LAW one peer: whoever did nothing wrong is not closed but for want of memory, or for a rule that it did not
    /// know.
    fn judge_manners(&self, expected: Expectations) -> Result<(), String> {
        let excused = match self.closed {
            None => true,
            Some(CloseKind::PeerClosed | CloseKind::PeerIncomplete) => self.finished,
            Some(CloseKind::EvictedInbound | CloseKind::EvictedOutbound | CloseKind::NoRoom) => !expected.memory,
            Some(CloseKind::Crowded | CloseKind::OutboundFull) => true,
            Some(CloseKind::Finished) => self.said_final(),
            Some(CloseKind::User) => self.asked_to_close,
            Some(_) => false,
        };
        if excused || !self.polite || !expected.sound { Ok(()) } else { Err("did nothing wrong and was closed".into()) }
    }

    /// Nothing that was accepted is lost: what was whole when the peer finished was handled, and the answers were given
    /// before the end.
    fn judge_end(&self, expected: Expectations) -> Result<(), String> {
        let in_order = self.closed.is_some_and(|kind| IN_ORDER.contains(&kind));
        // Whoever reads too slowly may be closed in the middle of its end as well. Then the reason why the end began
        // stands, but for those that promise that everything was delivered.
        let promised = matches!(self.closed, Some(CloseKind::PeerClosed | CloseKind::Finished));
        if (self.closes_full || self.aborted) && !promised {
            return Ok(());
        }
        if !(expected.sound && expected.memory && in_order && self.peer.end() == Some(End::Finished)) || self.rude {
            return Ok(());
        }
        let (answered, due) = (self.reading.answers.len(), self.expected().count());
        if self.closed == Some(CloseKind::PeerClosed) && self.processed != self.whole() {
            return Err(format!("{} of {} whole requests were handled", self.processed, self.whole()));
        }
        if answered != due {
            return Err(format!("{answered} of {due} answers came before the end"));
        }
        let (delivered, taken) = (self.reading.unasked, self.unasked.len());
        if self.was_closed_from_outside() && delivered != taken {
            Err(format!("{delivered} of {taken} messages that were sent before it was closed came"))
        } else {
            Ok(())
        }
    }

    /// True if its end began because another thread asked for it.
    fn was_closed_from_outside(&self) -> bool {
        let closed_itself =
            self.plan[..self.processed].iter().any(|request| matches!(request.act, Act::Close | Act::None));
        self.asked_to_close && self.closed == Some(CloseKind::User) && !closed_itself
    }

    /// True if the last request that the user was given is one after which the peer has promised to send nothing.
    fn said_final(&self) -> bool {
        self.plan[..self.processed].last().is_some_and(|request| request.act.is_final())
    }

    /// Whoever says that it sends nothing more, and keeps to it, has its last answer: no reset destroys it.
    fn judge_final(&self, expected: Expectations) -> Result<(), String> {
        let polite = !self.malformed && !self.rude && !self.aborted;
        let kept_to_it = self.said_final() && self.processed == self.plan.len() && polite;
        let promised = kept_to_it && self.closed == Some(CloseKind::Finished) && expected.sound;
        if promised && self.peer.end() == Some(End::Reset) {
            Err("asked for the end of its connection, and it was reset".into())
        } else {
            Ok(())
        }
    }

    /// Whoever is refused can read why: no reset destroys the last words. Without memory the rest of its output may be
    /// given up all the same.
    fn judge_refusal<P: Wire>(&self, expected: Expectations) -> Result<(), String> {
        let listens = self.closed == Some(CloseKind::Protocol) && !self.rude && !self.slow && P::REFUSES;
        // No end yet: both are on their way to it.
        let heard = self.peer.end().is_none_or(|end| end == End::Finished && self.reading.refused);
        if heard || !listens || !(expected.sound && expected.memory && expected.long_linger) {
            Ok(())
        } else {
            Err(format!("was refused and could not read why: {:?}", self.peer.end()))
        }
    }
}
