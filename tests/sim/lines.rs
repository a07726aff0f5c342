//! A protocol whose answers keep their order: lines, with framing that is dropped while it arrives (as HTTP's chunk
//! sizes are), an interim word (as `100 Continue`), and last words.

use std::ops::Range;

use sluicegate::sim::Random;
use sluicegate::{
    After, ConnectionId, Decode, Encode, EncodeError, Message, Outbound, Protocol, ProtocolError, Refusal, WriteProxy,
};

use super::wire::{Answer, Frame, Wire};

/// Framing: may stand anywhere, and means nothing.
const FRAMING: u8 = b'~';
/// The most framing that the crowd puts into one line.
const FRAMING_MAX: usize = 15;
/// The first byte of a line that wants to hear an interim word.
pub const EXPECTS: u8 = b'?';

#[derive(Debug, Clone)]
pub struct Lines {
    max: usize,
    /// How many of the live bytes were searched already, and hold no framing any more.
    searched: usize,
    said_interim: bool,
    expects: bool,
}

/// What an answer must know: is it the last.
#[derive(Debug, Clone, Copy, Default)]
pub struct Exchange {
    last: bool,
}

impl Protocol for Lines {
    type Layout = Range<usize>;
    type Exchange = Exchange;
    const IN_ORDER: bool = true;

    fn message_max(&self) -> usize {
        self.max
    }

    fn decode(&mut self, bytes: &mut [u8]) -> Result<Decode<Range<usize>>, ProtocolError> {
        let mut kept = self.searched;
        for at in self.searched..bytes.len() {
            match bytes[at] {
                0 => return Err(ProtocolError::new("a zero byte")),
                FRAMING => {}
                b'\n' => {
                    *self = Self { max: self.max, ..Self::new(self.max) };
                    return Ok(Decode::Complete { consumed: at + 1, layout: 0..kept });
                }
                byte => {
                    bytes[kept] = byte;
                    kept += 1;
                }
            }
        }
        if kept >= self.max {
            return Err(ProtocolError::new(format!("a line of more than {} bytes", self.max)));
        }
        self.searched = kept;
        self.expects = bytes.first() == Some(&EXPECTS) && kept > 0;
        Ok(Decode::Partial { needs: None, keep: kept })
    }

    fn exchange(_: &Range<usize>) -> Exchange {
        Exchange::default()
    }

    fn closing(_: Exchange) -> Exchange {
        Exchange { last: true }
    }

    fn interim(&mut self, out: &mut Outbound) {
        if self.expects && !self.said_interim {
            self.said_interim = true;
            out.put(b"+\n");
        }
    }

    fn refuse(&self, _: &Refusal, out: &mut Outbound) {
        out.put(b"!\n");
    }
}

impl Encode<Answer> for Lines {
    fn encode(exchange: Exchange, answer: Answer, out: &mut Outbound) -> Result<After, EncodeError> {
        let after = answer.write(out, if exchange.last { After::Close } else { After::KeepOpen });
        out.put(b"\n");
        Ok(after)
    }
}

impl Wire for Lines {
    const NAME: &str = "lines";
    const REFUSES: bool = true;
    const ANSWER_OVERHEAD: usize = 1;

    fn new(message_max: usize) -> Self {
        Self { max: message_max, searched: 0, said_interim: false, expects: false }
    }

    fn payload_max(message_max: usize) -> usize {
        message_max - FRAMING_MAX - 1
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
        message.bytes()[message.layout().clone()].to_vec()
    }

    fn frame(payload: &[u8], random: &mut Random) -> Vec<u8> {
        let mut framed = Vec::with_capacity(payload.len() + FRAMING_MAX + 1);
        let mut framing = random.pick(&[0, 0, 1, FRAMING_MAX]);
        for byte in payload {
            if framing > 0 && random.chance(100) {
                framing -= 1;
                framed.push(FRAMING);
            }
            framed.push(*byte);
        }
        framed.push(b'\n');
        framed
    }

    fn malformed(&self, random: &mut Random) -> Vec<u8> {
        if random.chance(500) { b"abc\0defg".to_vec() } else { vec![b'x'; self.max + 50] }
    }

    fn take_frame(received: &mut &[u8]) -> Option<Frame> {
        let end = received.iter().position(|byte| *byte == b'\n')?;
        let line = &received[..end];
        *received = &received[end + 1..];
        Some(match line {
            b"+" => Frame::Interim,
            b"!" => Frame::Refusal,
            payload => Frame::Payload(payload.to_vec()),
        })
    }
}
