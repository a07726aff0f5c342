//! What the simulated user says in either protocol, and how a peer reads it.

use std::sync::Arc;

use sluicegate::sim::Random;
use sluicegate::{After, ConnectionId, Encode, EncodeError, LengthPrefixed, Message, Outbound, Protocol, WriteProxy};

/// What the user answers, in any way there is.
#[derive(Clone)]
pub struct Answer {
    pub payload: Payload,
    /// The connection is to end after it.
    pub last: bool,
}

#[derive(Clone)]
pub enum Payload {
    Copied(Vec<u8>),
    /// Not copied when it is long enough.
    Shared(Arc<[u8]>),
    /// Panics when it is written half.
    Bomb(Vec<u8>),
}

impl Answer {
    pub fn copied(payload: Vec<u8>) -> Self {
        Self { payload: Payload::Copied(payload), last: false }
    }

    /// Writes the payload, between what the protocol needs before and behind it.
    pub fn write(self, out: &mut Outbound, after: After) -> After {
        match self.payload {
            Payload::Copied(bytes) => out.put(&bytes),
            Payload::Shared(bytes) => out.put_shared(bytes),
            Payload::Bomb(bytes) => {
                out.put(&bytes[..bytes.len() / 2]);
                panic!("planned: in the middle of an answer");
            }
        }
        if self.last { After::Close } else { after }
    }

    /// What may be sent from where it lies.
    pub fn lent(&self, out: &Outbound) -> Option<&[u8]> {
        match &self.payload {
            Payload::Copied(bytes) if out.is_large(bytes.len()) => Some(bytes),
            _ => None,
        }
    }

    pub fn len(&self) -> usize {
        match &self.payload {
            Payload::Copied(bytes) | Payload::Bomb(bytes) => bytes.len(),
            Payload::Shared(bytes) => bytes.len(),
        }
    }
}

/// One piece of what a peer received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// An answer or an unasked message.
    Payload(Vec<u8>),
    /// The server spoke for itself before the message was whole.
    Interim,
    /// The server's last words.
    Refusal,
}

/// A protocol that the simulated crowd can speak.
pub trait Wire: Protocol + Encode<Answer> + Sync {
    const NAME: &str;
    /// The protocol has last words.
    const REFUSES: bool;

    /// A protocol whose messages have at most `message_max` bytes.
    fn new(message_max: usize) -> Self;

    /// What the peer meant to say.
    fn payload(message: &Message<'_, Self>) -> Vec<u8>;

    /// `payload` as a peer sends it. The framing may be drawn.
    fn frame(payload: &[u8], random: &mut Random) -> Vec<u8>;

    /// Bytes that are no message.
    fn malformed(&self, random: &mut Random) -> Vec<u8>;

    /// Takes the next whole frame off the front of what a peer received.
    fn take_frame(received: &mut &[u8]) -> Option<Frame>;

    /// How many bytes come on top of an answer's payload at most.
    const ANSWER_OVERHEAD: usize;

    /// The longest payload of a request, where messages have at most `message_max` bytes.
    fn payload_max(message_max: usize) -> usize;

    /// Writes to somebody who did not ask; false if it was not taken.
    fn send_unasked(proxy: &WriteProxy<Self>, to: ConnectionId, answer: Answer) -> bool;

    /// Closes with a last message; false if that was not taken.
    fn close_with(proxy: &WriteProxy<Self>, to: ConnectionId, answer: Answer) -> bool;

    /// Writes the same to all; returns those that did not take it.
    fn broadcast(proxy: &WriteProxy<Self>, to: &[ConnectionId], answer: Answer) -> Vec<ConnectionId>;
}

impl Encode<Answer> for LengthPrefixed {
    fn encode((): (), answer: Answer, out: &mut Outbound) -> Result<After, EncodeError> {
        out.put(&(answer.len() as u32).to_be_bytes());
        Ok(answer.write(out, After::KeepOpen))
    }

    fn encode_head<'i>((): (), answer: &'i Answer, out: &mut Outbound) -> Option<(After, &'i [u8])> {
        let payload = answer.lent(out)?;
        out.put(&(payload.len() as u32).to_be_bytes());
        Some((if answer.last { After::Close } else { After::KeepOpen }, payload))
    }
}

impl Wire for LengthPrefixed {
    const NAME: &str = "length-prefixed";
    const REFUSES: bool = false;
    const ANSWER_OVERHEAD: usize = 4;

    fn new(message_max: usize) -> Self {
        Self::new(message_max - 4)
    }

    fn payload_max(message_max: usize) -> usize {
        message_max - 4
    }

    fn send_unasked(proxy: &WriteProxy<Self>, to: ConnectionId, answer: Answer) -> bool {
        proxy.send(to, answer).is_ok()
    }

    fn close_with(proxy: &WriteProxy<Self>, to: ConnectionId, answer: Answer) -> bool {
        proxy.close_with(to, answer).is_ok()
    }

    fn broadcast(proxy: &WriteProxy<Self>, to: &[ConnectionId], answer: Answer) -> Vec<ConnectionId> {
        let refused = proxy.broadcast(to.iter().copied(), answer).expect("it can be encoded");
        refused.into_iter().map(|(connection, _)| connection).collect()
    }

    fn payload(message: &Message<'_, Self>) -> Vec<u8> {
        message.payload().to_vec()
    }

    fn frame(payload: &[u8], _: &mut Random) -> Vec<u8> {
        [&(payload.len() as u32).to_be_bytes(), payload].concat()
    }

    fn malformed(&self, random: &mut Random) -> Vec<u8> {
        let behind = random.below(200);
        [vec![0xff; 4], random.bytes(behind)].concat()
    }

    fn take_frame(received: &mut &[u8]) -> Option<Frame> {
        let length = u32::from_be_bytes(*received.first_chunk::<4>()?) as usize;
        let payload = received.get(4..4 + length)?;
        *received = &received[4 + length..];
        Some(Frame::Payload(payload.to_vec()))
    }
}
