//! What the crowd of the cycle target says to the server in either protocol, and how it reads the answers.
//!
//! A request says what the user is to do with it. The line of five numbers and letters that says so is the target of an
//! HTTP request and the beginning of a length-prefixed payload.

use std::sync::{Arc, LazyLock};

use arbitrary::Arbitrary;
use sluicegate::http1::{Body, Http1, Limits, Response};
use sluicegate::{After, ConnectionId, Encode, EncodeError, LengthPrefixed, Message, Outbound, Protocol, WriteProxy};

/// What the user does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Arbitrary)]
#[repr(u8)]
pub enum Act {
    /// Answers at once.
    Answer = b'a',
    /// Answers at once with a shared body.
    Share = b's',
    /// Answers, and says that it is the last.
    Last = b'l',
    /// Promises an answer.
    Defer = b'd',
    /// Promises an answer, and keeps the message until then.
    DeferKept = b'k',
    /// Answers at once and keeps the message.
    Keep = b'K',
    /// Promises an answer and drops the promise.
    DeferForgotten = b'F',
    /// Does nothing with the reply.
    Forget = b'f',
    /// Says that there will be no answer.
    None = b'n',
    /// Closes.
    Close = b'c',
    /// Answers more than fits any answer.
    TooLong = b'L',
}

impl Act {
    const ALL: [Self; 11] = [
        Self::Answer,
        Self::Share,
        Self::Last,
        Self::Defer,
        Self::DeferKept,
        Self::Keep,
        Self::DeferForgotten,
        Self::Forget,
        Self::None,
        Self::Close,
        Self::TooLong,
    ];

    /// Whether an answer comes of it, sooner or later.
    pub fn answers(self) -> bool {
        matches!(self, Self::Answer | Self::Share | Self::Last | Self::Defer | Self::DeferKept | Self::Keep)
    }
}

/// What a request says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    pub act: Act,
    /// Which request of its peer it is.
    pub serial: usize,
    /// Bytes of the answer's body.
    pub answer: usize,
}

impl Order {
    pub fn line(self) -> String {
        format!("/{}{:04}{:05}", char::from(self.act as u8), self.serial, self.answer)
    }

    /// Reads a line. What was sent by no order is answered with its length.
    pub fn read(line: &[u8]) -> Self {
        let number =
            |range| line.get::<std::ops::Range<usize>>(range).and_then(|text| str::from_utf8(text).ok()?.parse().ok());
        let act = line.get(1).and_then(|&letter| Act::ALL.into_iter().find(|act| *act as u8 == letter));
        Self { act: act.unwrap_or(Act::Answer), serial: number(2..6).unwrap_or(0), answer: number(6..11).unwrap_or(20) }
    }

    /// The answer's body: the serial, and filler.
    pub fn body(self) -> Vec<u8> {
        let mut body = format!("{:04}", self.serial).into_bytes();
        body.resize(self.answer.max(body.len()), b'.');
        body
    }
}

/// The user's answer in either protocol.
pub struct Answer {
    pub body: Vec<u8>,
    pub shared: bool,
    pub last: bool,
}

/// A protocol that the crowd speaks.
pub trait Wire: Protocol + Encode<Answer> + Sync {
    /// Small enough for the small blocks of the target.
    fn small() -> Self;

    /// A request of about `length` bytes, in one of the forms that there are.
    fn request(order: Order, length: usize, form: u8) -> Vec<u8>;

    fn order(message: &Message<'_, Self>) -> Order;

    /// Writes to all of them what nobody has asked for, where that is allowed.
    fn announce(proxy: &WriteProxy<Self>, to: Vec<ConnectionId>, length: usize);

    /// The answers that were received whole, without those that the server gave by itself, and whether bytes are left.
    ///
    /// # Panics
    /// This is not what a server of this protocol says.
    fn answers(received: &[u8]) -> Vec<Vec<u8>>;
}

/// The longest part of a request that still fits; see [`Wire::small`].
const PART_MAX: usize = 2000;
/// What announcements are made of.
const ANNOUNCED: u8 = b'@';

impl Wire for LengthPrefixed {
    fn small() -> Self {
        Self::new(2 * PART_MAX)
    }

    fn request(order: Order, length: usize, _: u8) -> Vec<u8> {
        let mut payload = order.line().into_bytes();
        payload.resize(length.clamp(payload.len(), 2 * PART_MAX), b'.');
        [(payload.len() as u32).to_be_bytes().as_slice(), &payload].concat()
    }

    fn order(message: &Message<'_, Self>) -> Order {
        Order::read(message.payload())
    }

    fn announce(proxy: &WriteProxy<Self>, to: Vec<ConnectionId>, length: usize) {
        let body = vec![ANNOUNCED; length.clamp(1, PART_MAX)];
        proxy.broadcast(to, body).expect("it is short enough");
    }

    fn answers(received: &[u8]) -> Vec<Vec<u8>> {
        let (mut answers, mut rest) = (Vec::new(), received);
        while let Some((prefix, behind)) = rest.split_first_chunk() {
            let Some((payload, next)) = behind.split_at_checked(u32::from_be_bytes(*prefix) as usize) else { break };
            match payload.first() {
                Some(&ANNOUNCED) => assert!(payload.iter().all(|&byte| byte == ANNOUNCED), "it is not whole"),
                _ => answers.push(payload.to_vec()),
            }
            rest = next;
        }
        answers
    }
}

impl Wire for Http1 {
    fn small() -> Self {
        static SMALL: LazyLock<Http1> = LazyLock::new(|| {
            let max = PART_MAX as u32;
            Http1::with_limits(Limits { head_max: max, target_max: 200, body_max: max, ..Limits::default() })
        });
        SMALL.clone()
    }

    fn request(order: Order, length: usize, form: u8) -> Vec<u8> {
        let line = order.line();
        let body = vec![b'.'; length.min(PART_MAX)];
        let post = |framing: &str| format!("POST {line} HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n").into_bytes();
        match form % 4 {
            0 => {
                let pad = ".".repeat(length.min(PART_MAX - 100));
                format!("GET {line} HTTP/1.1\r\nHost: a\r\nPad: {pad}\r\n\r\n").into_bytes()
            }
            1 => [post(&format!("Content-Length: {}", body.len())), body].concat(),
            2 => [post(&format!("Expect: 100-continue\r\nContent-Length: {}", body.len())), body].concat(),
            _ => {
                let mut bytes = post("Transfer-Encoding: chunked");
                for chunk in body.chunks(300) {
                    bytes.extend_from_slice(&[format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
                }
                [bytes, b"0\r\n\r\n".to_vec()].concat()
            }
        }
    }

    fn order(message: &Message<'_, Self>) -> Order {
        Order::read(message.target().as_bytes())
    }

    fn announce(_: &WriteProxy<Self>, _: Vec<ConnectionId>, _: usize) {}

    fn answers(received: &[u8]) -> Vec<Vec<u8>> {
        let (mut answers, mut rest, mut refused) = (Vec::new(), received, false);
        while let Some(end) = rest.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = str::from_utf8(&rest[..end]).expect("a head is text");
            let behind = &rest[end + 4..];
            assert!(!refused, "an answer behind a refusal: {head}");
            if head == "HTTP/1.1 100 Continue" {
                rest = behind;
                continue;
            }
            let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            let length = field("Content-Length").and_then(|length| length.parse().ok());
            let length: usize = length.unwrap_or_else(|| panic!("an answer without a length: {head}"));
            assert!(field("Date").is_some(), "an answer without a date: {head}");
            let Some((body, next)) = behind.split_at_checked(length) else { break };
            match head.strip_prefix("HTTP/1.1 ").and_then(|head| head.get(..3)) {
                Some("200") => answers.push(body.to_vec()),
                Some(_) => {
                    refused = true;
                    assert_eq!(field("Connection"), Some("close"), "a refusal that goes on: {head}");
                }
                None => panic!("no answer: {head}"),
            }
            rest = next;
        }
        answers
    }
}

impl Encode<Answer> for LengthPrefixed {
    fn encode((): (), answer: Answer, out: &mut Outbound) -> Result<After, EncodeError> {
        let after = match answer.shared {
            true => Self::encode((), Arc::<[u8]>::from(answer.body), out)?,
            false => Self::encode((), answer.body, out)?,
        };
        Ok(if answer.last { After::Close } else { after })
    }
}

impl Encode<Answer> for Http1 {
    fn encode(exchange: Self::Exchange, answer: Answer, out: &mut Outbound) -> Result<After, EncodeError> {
        let body: Body<'_> = if answer.shared { Arc::<[u8]>::from(answer.body).into() } else { answer.body.into() };
        let response = Response::ok(body);
        Self::encode(exchange, if answer.last { response.close() } else { response }, out)
    }
}
