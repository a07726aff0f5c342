//! Finds the answers in what a connection received, however it was split, and checks them.

use crate::cli::{Plan, Protocol};
use crate::request::pattern;
use crate::trouble::Trouble;

/// A longer head is none.
const HEAD_MAX: usize = 64 << 10;
/// So many bytes at each end of a piece of an echo are looked at.
const ENDS: usize = 8;

/// What all connections know of the answers they get.
pub struct Expected {
    protocol: Protocol,
    /// The length of the echo, if it is to be one.
    echo: Option<usize>,
    /// The last head that was parsed. Most are the same, to the byte, and then are not parsed again.
    known: (Vec<u8>, Head),
}

/// What the head of an answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    status: u16,
    length: usize,
    close: bool,
}

/// What one connection has received of an answer that is not whole.
#[derive(Debug, Default)]
pub struct Answers {
    /// The beginning of a head.
    kept: Vec<u8>,
    /// The answer whose body is being received.
    body: Option<Body>,
    /// The server has said that it closes; nothing may follow.
    closing: bool,
}

/// An answer whose head is known.
#[derive(Debug)]
struct Body {
    head: Head,
    /// How much of it was received.
    at: usize,
    /// What is wrong with it: what was seen first.
    trouble: Option<Trouble>,
}

/// What was in a piece.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Answers that ended in it, good or bad.
    pub answers: usize,
    /// Which of them were bad, from 0 and in their order, and what was wrong with them.
    pub bad: Vec<(usize, Trouble)>,
}

impl Expected {
    pub fn new(plan: &Plan) -> Self {
        let echo = (plan.size > 0 || plan.protocol == Protocol::LengthPrefixed).then_some(plan.size);
        Self { protocol: plan.protocol, echo, known: (Vec::new(), Head { status: 0, length: 0, close: false }) }
    }

    /// What is wrong with an answer that has this head.
    fn trouble_with(&self, head: Head) -> Option<Trouble> {
        match self.echo {
            _ if !(200..300).contains(&head.status) => Some(Trouble::Status(head.status)),
            Some(length) if length != head.length => Some(Trouble::EchoLength),
            _ => None,
        }
    }

    /// The head at the beginning of `bytes` and its length, if it is whole.
    fn head(&mut self, bytes: &[u8]) -> Result<Option<(Head, usize)>, Trouble> {
        let (known, head) = &self.known;
        if !known.is_empty() && bytes.starts_with(known) {
            return Ok(Some((*head, known.len())));
        }
        let (head, length) = match self.protocol {
            Protocol::LengthPrefixed => match bytes.first_chunk::<4>() {
                Some(length) => (Head { status: 200, length: u32::from_be_bytes(*length) as usize, close: false }, 4),
                None => return Ok(None),
            },
            Protocol::Http => match bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                Some(end) => (http_head(&bytes[..end])?, end + 4),
                None if bytes.len() > HEAD_MAX => return Err(Trouble::Malformed("its head does not end")),
                None => return Ok(None),
            },
        };
        self.known = (bytes[..length].to_vec(), head);
        Ok(Some((head, length)))
    }
}

fn http_head(head: &[u8]) -> Result<Head, Trouble> {
    let text = std::str::from_utf8(head).map_err(|_| Trouble::Malformed("its head is no text"))?;
    let mut lines = text.split("\r\n");
    let first = lines.next().unwrap_or("");
    let version = first.strip_prefix("HTTP/1.").ok_or(Trouble::Malformed("it does not begin with HTTP/1."))?;
    let status = version.get(2..5).and_then(|status| status.parse().ok());
    let status: u16 = status.ok_or(Trouble::Malformed("it has no status"))?;
    let (mut length, mut close) = (None, version.starts_with('0'));
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            length = Some(value.trim().parse().map_err(|_| Trouble::Malformed("its length is no number"))?);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(Trouble::Malformed("it is chunked, which this program does not read"));
        } else if name.eq_ignore_ascii_case("connection") {
            close = match value.trim() {
                value if value.eq_ignore_ascii_case("close") => true,
                value if value.eq_ignore_ascii_case("keep-alive") => false,
                _ => close,
            };
        }
    }
    let without_body = status < 200 || status == 204 || status == 304;
    match length {
        _ if without_body => Ok(Head { status, length: 0, close }),
        Some(length) => Ok(Head { status, length, close }),
        None => Err(Trouble::Malformed("it has no Content-Length")),
    }
}

impl Answers {
    /// Takes what was received. `Err` if no answer can be found any more.
    pub fn feed(&mut self, expected: &mut Expected, bytes: &[u8], heard: &mut Heard) -> Result<(), Trouble> {
        if !self.kept.is_empty() {
            let mut whole = std::mem::take(&mut self.kept);
            whole.extend_from_slice(bytes);
            return self.feed_whole(expected, &whole, heard);
        }
        self.feed_whole(expected, bytes, heard)
    }

    /// True if the server has said that it closes the connection, and nothing is missing before that.
    pub fn closing(&self) -> bool {
        self.closing && self.body.is_none()
    }

    fn feed_whole(&mut self, expected: &mut Expected, mut bytes: &[u8], heard: &mut Heard) -> Result<(), Trouble> {
        loop {
            let Some(body) = &mut self.body else {
                if bytes.is_empty() {
                    return Ok(());
                }
                if self.closing {
                    return Err(Trouble::Unasked);
                }
                let Some((head, length)) = expected.head(bytes)? else {
                    self.kept.extend_from_slice(bytes);
                    return Ok(());
                };
                bytes = &bytes[length..];
                // Interim answers are no answers.
                if head.status >= 200 {
                    self.body = Some(Body { head, at: 0, trouble: expected.trouble_with(head) });
                    self.closing = head.close;
                }
                continue;
            };
            let (piece, rest) = bytes.split_at(bytes.len().min(body.head.length - body.at));
            if expected.echo.is_some() && body.trouble.is_none() && !is_echo(piece, body.at) {
                body.trouble = Some(Trouble::EchoBytes);
            }
            bytes = rest;
            body.at += piece.len();
            if body.at < body.head.length {
                return Ok(());
            }
            heard.bad.extend(body.trouble.map(|trouble| (heard.answers, trouble)));
            heard.answers += 1;
            self.body = None;
        }
    }
}

/// Looks at both ends of a piece of a body that begins at `at`.
fn is_echo(piece: &[u8], at: usize) -> bool {
    let is = |range: std::ops::Range<usize>| range.into_iter().all(|index| piece[index] == pattern(at + index));
    let near = ENDS.min(piece.len());
    is(0..near) && is(piece.len() - near..piece.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::tests::plan;

    fn body(size: usize) -> Vec<u8> {
        (0..size).map(pattern).collect()
    }

    fn http(head: &str, body: &[u8]) -> Vec<u8> {
        [b"HTTP/1.1 ", head.as_bytes(), b"\r\nContent-Length: ", body.len().to_string().as_bytes(), b"\r\n\r\n", body]
            .concat()
    }

    /// Feeds `bytes` in pieces of `step`.
    fn feed(plan: &Plan, bytes: &[u8], step: usize) -> (Heard, Result<(), Trouble>, bool) {
        let (mut expected, mut answers, mut all) = (Expected::new(plan), Answers::default(), Heard::default());
        let fed = bytes.chunks(step).try_for_each(|piece| {
            // As a client hears it: what is wrong with an answer is told in the piece in which it ends.
            let mut heard = Heard::default();
            let fed = answers.feed(&mut expected, piece, &mut heard);
            all.bad.extend(heard.bad.into_iter().map(|(nth, trouble)| (all.answers + nth, trouble)));
            all.answers += heard.answers;
            fed
        });
        (all, fed, answers.closing())
    }

    /// The same, whatever the pieces.
    fn at_any_split(plan: &Plan, bytes: &[u8]) -> (usize, Result<(), Trouble>, bool) {
        let whole = feed(plan, bytes, bytes.len());
        for step in 1..bytes.len() {
            let split = feed(plan, bytes, step);
            assert_eq!(split, whole, "pieces of {step}");
        }
        (whole.0.answers, whole.1, whole.2)
    }

    #[test]
    fn answers_are_counted_at_any_split() {
        let one = http("200 OK\r\nDate: x", b"Hello, World!");
        let other = http("200 OK\r\nDate: another", b"");
        let bytes = [&one[..], &one, &other, &one, b"HTTP/1.1 204 No Content\r\n\r\n", &one].concat();
        assert_eq!(at_any_split(&plan(Protocol::Http, 0, 1), &bytes), (6, Ok(()), false));
        let frame = [&100_u32.to_be_bytes()[..], &body(100)].concat();
        assert_eq!(at_any_split(&plan(Protocol::LengthPrefixed, 100, 1), &frame.repeat(5)), (5, Ok(()), false));
        assert_eq!(at_any_split(&plan(Protocol::LengthPrefixed, 0, 1), &[0; 40]), (10, Ok(()), false));
    }

    #[test]
    fn answers_to_a_get_may_have_any_length() {
        // As those of a counter, which grow.
        let bytes = [http("200 OK", b"9"), http("200 OK", b"10"), http("200 OK", b""), http("200 OK", b"1")].concat();
        let heard = feed(&plan(Protocol::Http, 0, 1), &bytes, bytes.len()).0;
        assert_eq!(heard, Heard { answers: 4, bad: Vec::new() });
    }

    #[test]
    fn an_answer_that_is_not_whole_does_not_count() {
        let one = http("200 OK", b"Hello, World!");
        for end in 1..one.len() {
            assert_eq!(feed(&plan(Protocol::Http, 0, 1), &one[..end], end).0.answers, 0);
        }
    }

    #[test]
    fn interim_answers_do_not_count() {
        let bytes = [&b"HTTP/1.1 100 Continue\r\n\r\n"[..], &http("200 OK", b"x")].concat();
        assert_eq!(at_any_split(&plan(Protocol::Http, 0, 1), &bytes), (1, Ok(()), false));
    }

    #[test]
    fn a_status_that_is_no_success_is_counted_by_its_number() {
        let bytes = [http("503 Busy", b"x"), http("200 OK", b"x")].concat();
        assert_eq!(at_any_split(&plan(Protocol::Http, 0, 1), &bytes), (2, Ok(()), false));
        let heard = feed(&plan(Protocol::Http, 0, 1), &bytes, bytes.len()).0;
        assert_eq!(heard, Heard { answers: 2, bad: vec![(0, Trouble::Status(503))] });
    }

    #[test]
    fn an_echo_of_another_length_or_of_other_bytes_is_bad() {
        let plan = plan(Protocol::Http, 100, 1);
        assert_eq!(at_any_split(&plan, &http("200 OK", &body(100))), (1, Ok(()), false));
        let bad = |bytes: Vec<u8>| feed(&plan, &bytes, bytes.len()).0.bad;
        assert_eq!(bad(http("200 OK", &body(100))), []);
        assert_eq!(bad(http("200 OK", &body(99))), [(0, Trouble::EchoLength)]);
        for at in [0, 99] {
            let mut body = body(100);
            body[at] ^= 1;
            assert_eq!(bad(http("200 OK", &body)), [(0, Trouble::EchoBytes)]);
        }
        // One answer is one error, however many pieces it comes in; and which of several is bad is known.
        let wrong = http("200 OK", &[0; 100]);
        let whole = feed(&plan, &[&http("200 OK", &body(100))[..], &wrong].concat(), usize::MAX).0;
        assert_eq!(whole, Heard { answers: 2, bad: vec![(1, Trouble::EchoBytes)] });
        assert_eq!(feed(&plan, &wrong, 10).0, Heard { answers: 1, bad: vec![(0, Trouble::EchoBytes)] });
    }

    #[test]
    fn the_last_answer_says_so_and_nothing_may_follow() {
        let last = http("200 OK\r\nConnection: Close", b"x");
        let http10 = b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n";
        let kept = b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n";
        let plan = plan(Protocol::Http, 0, 1);
        assert_eq!(at_any_split(&plan, &last), (1, Ok(()), true));
        assert_eq!(at_any_split(&plan, http10), (1, Ok(()), true));
        assert_eq!(at_any_split(&plan, kept), (1, Ok(()), false));
        assert_eq!(at_any_split(&plan, &last.repeat(2)), (1, Err(Trouble::Unasked), true));
    }

    #[test]
    fn what_is_no_answer_is_said() {
        let wrong =
            |bytes: &[u8]| feed(&plan(Protocol::Http, 0, 1), bytes, bytes.len()).1.expect_err("wrong").to_string();
        assert!(wrong(b"SSH-2.0-x\r\n\r\n").contains("HTTP/1."));
        assert!(wrong(b"HTTP/1.1 OK\r\n\r\n").contains("status"));
        assert!(wrong(b"HTTP/1.1 200 OK\r\n\r\n").contains("no Content-Length"));
        assert!(wrong(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").contains("chunked"));
        assert!(wrong(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n").contains("no number"));
        assert!(wrong(&[b'x'; HEAD_MAX + 1]).contains("does not end"));
    }
}
