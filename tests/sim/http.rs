//! HTTP/1 as the simulated crowd speaks it: bodies of known length and in chunks, `Expect: 100-continue`.

use sluicegate::http1::{Body, Http1, Limits, Response};
use sluicegate::sim::Random;
use sluicegate::{After, ConnectionId, Encode, EncodeError, Message, Outbound, WriteProxy};

use super::lines::EXPECTS;
use super::wire::{Answer, Frame, Payload, Wire};
use super::world::{ACT_AT, Act};

/// Enough for the heads that the crowd sends.
const HEAD_MAX: usize = 200;
/// Behind a chunked body.
const EMPTY_LINE: usize = 2;

impl Encode<Answer> for Http1 {
    fn encode(exchange: Self::Exchange, answer: Answer, out: &mut Outbound) -> Result<After, EncodeError> {
        let body = match answer.payload {
            Payload::Copied(bytes) => Body::from(bytes),
            Payload::Shared(bytes) => Body::from(bytes),
            Payload::Bomb(bytes) => {
                out.put(&bytes[..bytes.len() / 2]);
                panic!("planned: in the middle of an answer");
            }
        };
        let response = Response::ok(body);
        Self::encode(exchange, if answer.last { response.close() } else { response }, out)
    }

    fn encode_head<'i>(exchange: Self::Exchange, answer: &'i Answer, out: &mut Outbound) -> Option<(After, &'i [u8])> {
        let body = answer.lent(out)?;
        let response = Response::ok(body);
        let response = if answer.last { response.close() } else { response };
        Self::encode_head(exchange, &response, out).map(|(after, _)| (after, body))
    }
}

impl Wire for Http1 {
    const NAME: &str = "HTTP/1";
    const REFUSES: bool = true;
    const ANSWER_OVERHEAD: usize = 150;

    fn new(message_max: usize) -> Self {
        let body_max = Self::payload_max(message_max) as u32;
        Self::with_limits(Limits { head_max: HEAD_MAX as u32, body_max, ..Limits::default() })
    }

    fn payload_max(message_max: usize) -> usize {
        message_max - HEAD_MAX - EMPTY_LINE
    }

    fn payload(message: &Message<'_, Self>) -> Vec<u8> {
        message.body().to_vec()
    }

    fn frame(payload: &[u8], random: &mut Random) -> Vec<u8> {
        let expect = if payload.first() == Some(&EXPECTS) { "Expect: 100-continue\r\n" } else { "" };
        let is_final = [Act::Final, Act::FinalDeferred].iter().any(|act| payload.get(ACT_AT) == Some(&(*act as u8)));
        let close = if is_final { "Connection: close\r\n" } else { "" };
        if random.chance(500) {
            let head =
                format!("POST / HTTP/1.1\r\nHost: a\r\n{expect}{close}Content-Length: {}\r\n\r\n", payload.len());
            return [head.as_bytes(), payload].concat();
        }
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{expect}{close}Transfer-Encoding: chunked\r\n\r\n");
        let mut framed = head.into_bytes();
        // Not so small that the framing is over its limit.
        let size = random.pick(&[1, 10, 1000]).max(payload.len() / 500);
        for chunk in payload.chunks(size) {
            framed.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
            framed.extend(chunk);
            framed.extend(b"\r\n");
        }
        framed.extend(b"0\r\n\r\n");
        framed
    }

    fn malformed(&self, random: &mut Random) -> Vec<u8> {
        match random.below(3) {
            0 => b"POST / HTTP/1.1\r\nHost : a\r\n\r\n".to_vec(),
            1 => b"\0\0\0\0 / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
            _ => [b"GET / HTTP/1.1\r\nHost: a\r\nX: ".as_slice(), &[b'x'; 2 * HEAD_MAX]].concat(),
        }
    }

    fn take_frame(received: &mut &[u8]) -> Option<Frame> {
        let end = received.windows(4).position(|bytes| bytes == b"\r\n\r\n")? + 4;
        let head = String::from_utf8_lossy(&received[..end]);
        let status = head.get(9..12)?.parse::<u16>().unwrap_or(0);
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        let length = length.and_then(|length| length.parse().ok()).unwrap_or(0);
        let body = received.get(end..end + length)?;
        *received = &received[end + length..];
        Some(match status {
            100 => Frame::Interim,
            200 => Frame::Payload(body.to_vec()),
            _ => Frame::Refusal,
        })
    }

    /// Nobody gets an HTTP answer that was not asked for.
    fn send_unasked(_: &WriteProxy<Self>, _: ConnectionId, _: Answer) -> bool {
        false
    }

    fn close_with(proxy: &WriteProxy<Self>, to: ConnectionId, _: Answer) -> bool {
        proxy.close(to);
        false
    }

    fn broadcast(_: &WriteProxy<Self>, to: &[ConnectionId], _: Answer) -> Vec<ConnectionId> {
        to.to_vec()
    }
}
