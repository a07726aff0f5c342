//! The two protocols, as little of them as is needed to answer right: what bare loops speak.
//!
//! Answers have as many bytes as sluicegate's: a `Date` that stands still is one of them.

use std::io::Write;
use std::ops::Range;

use memchr::memchr;

/// How requests are found and answered.
#[derive(Debug, Clone, Copy)]
pub enum Wire {
    Http,
    LengthPrefixed,
}

/// From here on it costs less to write the bytes from where they lie than to copy them: one write of their own.
const LARGE: usize = 32 << 10;

/// What became of some bytes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Answered {
    /// So many bytes were whole requests.
    pub consumed: usize,
    /// The end of the last answer, if it is large: it was not copied, and what is behind it was not looked at.
    pub tail: Range<usize>,
    /// So many the next one has, if that is known.
    pub needs: usize,
    /// The last one asked for the end of the connection.
    pub close: bool,
}

const HELLO: &[u8] = b"HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 13\r\n\
    Content-Type: text/plain\r\n\r\nHello, World!";
const LAST_HELLO: &[u8] = b"HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 13\r\n\
    Connection: close\r\nContent-Type: text/plain\r\n\r\nHello, World!";
const ECHO: &[u8] = b"HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: ";

/// The head of a request.
struct Head {
    length: usize,
    body: usize,
    close: bool,
}

impl Wire {
    /// Answers the requests that are whole, in their order, behind what is in `out`.
    pub fn answer(self, bytes: &[u8], out: &mut Vec<u8>) -> Answered {
        match self {
            Self::Http => answer_http(bytes, out),
            Self::LengthPrefixed => answer_length_prefixed(bytes, out),
        }
    }
}

fn answer_http(bytes: &[u8], out: &mut Vec<u8>) -> Answered {
    let mut answered = Answered::default();
    while !answered.close && answered.tail.is_empty() {
        let rest = &bytes[answered.consumed..];
        let Some(head) = http_head(rest) else { break };
        let length = head.length + head.body;
        if rest.len() < length {
            answered.needs = length;
            break;
        }
        match (head.body, head.close) {
            (0, false) => out.extend_from_slice(HELLO),
            (0, true) => out.extend_from_slice(LAST_HELLO),
            (body, close) => {
                out.extend_from_slice(ECHO);
                // Into memory: it does not fail.
                let _ = write!(out, "{body}");
                out.extend_from_slice(if close { b"\r\nConnection: close\r\n\r\n" } else { b"\r\n\r\n" });
                match body < LARGE {
                    true => out.extend_from_slice(&rest[head.length..length]),
                    false => answered.tail = answered.consumed + head.length..answered.consumed + length,
                }
            }
        }
        answered.consumed += length;
        answered.close = head.close;
    }
    answered
}

/// Goes through the lines up to the empty one, and remembers those that frame.
fn http_head(bytes: &[u8]) -> Option<Head> {
    let mut head = Head { length: 0, body: 0, close: false };
    loop {
        let rest = &bytes[head.length..];
        let end = memchr(b'\n', rest)?;
        head.length += end + 1;
        let line = &rest[..end];
        match line {
            [] | [b'\r'] => return Some(head),
            [b'c' | b'C', ..] => framing(line, &mut head),
            _ => {}
        }
    }
}

fn framing(line: &[u8], head: &mut Head) {
    let Some(colon) = memchr(b':', line) else { return };
    let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
    if name.eq_ignore_ascii_case(b"content-length") {
        head.body = value.iter().fold(0, |length, digit| length * 10 + usize::from(digit.wrapping_sub(b'0')));
    } else if name.eq_ignore_ascii_case(b"connection") {
        head.close = value.eq_ignore_ascii_case(b"close");
    }
}

fn answer_length_prefixed(bytes: &[u8], out: &mut Vec<u8>) -> Answered {
    let mut answered = Answered::default();
    while let Some(prefix) = bytes[answered.consumed..].first_chunk::<4>() {
        let length = u32::from_be_bytes(*prefix) as usize + 4;
        if bytes.len() - answered.consumed < length {
            answered.needs = length;
            break;
        }
        answered.consumed += length;
    }
    // An echo of whole messages is those bytes again.
    match answered.consumed < LARGE {
        true => out.extend_from_slice(&bytes[..answered.consumed]),
        false => answered.tail = 0..answered.consumed,
    }
    answered
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: &[u8] = b"GET /plaintext HTTP/1.1\r\nHost: x\r\n\r\n";
    const POST: &[u8] = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc";

    #[test]
    fn whole_requests_are_answered_and_the_rest_is_left() {
        for (wire, one) in [(Wire::Http, GET), (Wire::LengthPrefixed, b"\0\0\0\x03abc")] {
            let bytes = one.repeat(3);
            for end in 0..bytes.len() {
                let mut out = Vec::new();
                let answered = wire.answer(&bytes[..end], &mut out);
                assert_eq!(answered.consumed, end / one.len() * one.len(), "{wire:?} {end}");
                assert!(!answered.close);
            }
        }
    }

    #[test]
    fn a_post_is_echoed_and_may_be_the_last() {
        let mut out = Vec::new();
        let answered = Wire::Http.answer(&POST[..POST.len() - 1], &mut out);
        assert_eq!((answered, out.len()), (Answered { needs: POST.len(), ..Answered::default() }, 0));
        let answered = Wire::Http.answer(&[POST, GET].concat(), &mut out);
        assert_eq!(answered, Answered { consumed: POST.len(), close: true, ..Answered::default() });
        let text = String::from_utf8(out).expect("text");
        assert!(text.contains("Content-Length: 3\r\nConnection: close\r\n\r\nabc"), "{text}");
    }

    #[test]
    fn a_large_echo_is_left_where_it_lies() {
        let mut post = format!("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: {LARGE}\r\n\r\n").into_bytes();
        let head = post.len();
        post.resize(head + LARGE, b'x');
        let mut out = Vec::new();
        let answered = Wire::Http.answer(&[GET, &post, GET].concat(), &mut out);
        let end = GET.len() + post.len();
        assert_eq!((answered.consumed, answered.tail), (end, end - LARGE..end));
        assert!(out.starts_with(HELLO) && out.ends_with(b"\r\n\r\n") && out.len() < 300);

        let one = [&(LARGE as u32).to_be_bytes(), vec![b'x'; LARGE].as_slice()].concat();
        let answered = Wire::LengthPrefixed.answer(&[&one, &one, b"\0".as_slice()].concat(), &mut out);
        assert_eq!((answered.consumed, answered.tail), (2 * one.len(), 0..2 * one.len()));
    }
}
