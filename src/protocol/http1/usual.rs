//! The usual request, read in one go: all of it has arrived, and nothing about it is unusual.
//!
//! This is a shorter way to the same answer, for most of what arrives, and no judge: whatever it is not sure of, right or
//! wrong, is `None`, and goes the long way through `search`, `head` and `framing`. So it may only ever be too narrow, and
//! each of its rules is a rule of theirs: tests and fuzz targets that cut requests into pieces, which go the long way, compare.

use std::mem::replace;

use super::grammar::{self, Class};
use super::layout::Layout;
use super::limits::Limits;
use super::search::VERSION_LEN;
use super::words;

/// Digits of a length that is sure to fit.
const LENGTH_DIGITS: usize = 9;

/// Reads the request at the front of `bytes`.
pub(super) fn request(bytes: &[u8], limits: &Limits) -> Option<Layout> {
    let target_start = method_len(bytes)? + 1;
    let target_len = origin_form(&bytes[target_start..]).filter(|&length| length <= limits.target_max as usize)?;
    let target_end = target_start + target_len;
    if !bytes[target_end..].starts_with(b" HTTP/1.1\r\n") {
        return None;
    }
    let section = &bytes[target_end + VERSION_LEN..];
    let fields = Fields::read(section, limits.fields_max)?;
    let head_end = target_end + VERSION_LEN + fields.len;
    if head_end > limits.head_max as usize || !fields.has_host {
        return None;
    }
    let body_len = fields.content_length.unwrap_or(0);
    if body_len > limits.body_max as usize || body_len > bytes.len() - head_end {
        return None;
    }
    let body_end = (head_end + body_len) as u32;
    Some(Layout {
        start: 0,
        target_end: target_end as u32,
        head_end: head_end as u32,
        body_end,
        trailers_end: body_end,
        method_len: target_start as u8 - 1,
        version10: false,
        head_request: bytes[0] == b'H',
        connect: false,
        keep_alive: true,
    })
}

/// The length of a method without rules of its own.
#[inline]
fn method_len(bytes: &[u8]) -> Option<usize> {
    match bytes {
        [b'G', b'E', b'T', b' ', ..] | [b'P', b'U', b'T', b' ', ..] => Some(3),
        [b'P', b'O', b'S', b'T', b' ', ..] | [b'H', b'E', b'A', b'D', b' ', ..] => Some(4),
        [b'P', b'A', b'T', b'C', b'H', b' ', ..] => Some(5),
        [b'D', b'E', b'L', b'E', b'T', b'E', b' ', ..] => Some(6),
        _ => None,
    }
}

/// The length of a target that is a path, with or without a query (RFC 9112 section 3.2.1).
#[inline]
fn origin_form(bytes: &[u8]) -> Option<usize> {
    let starts = bytes.first() == Some(&b'/');
    starts.then(|| grammar::leading(Class::Target, bytes))
}

/// What the fields of a head say, if none of them asks for more than the length of the body.
#[derive(Default)]
struct Fields {
    /// Of all of them, with the empty line.
    len: usize,
    has_host: bool,
    content_length: Option<usize>,
}

impl Fields {
    /// Reads the lines at the front of `section`, at most `most` and the empty one, each with CR LF.
    #[inline]
    fn read(section: &[u8], most: u32) -> Option<Self> {
        let mut fields = Self::default();
        let mut rest = section;
        for _ in 0..=most {
            if let Some(behind) = rest.strip_prefix(b"\r\n") {
                return Some(Self { len: section.len() - behind.len(), ..fields });
            }
            rest = fields.read_line(rest)?;
        }
        None
    }

    /// Reads the line at the front of `bytes`. What is behind it.
    #[inline]
    fn read_line<'b>(&mut self, bytes: &'b [u8]) -> Option<&'b [u8]> {
        let (name, rest) = bytes.split_at(words::find(b':', bytes)?);
        // More than one blank is left in the value: none that is looked at below is good then.
        let value = rest[1..].strip_prefix(b" ").unwrap_or(&rest[1..]);
        let (value, rest) = value.split_at(words::leading_text(value));
        // By length first: most fields are none of these, and need no comparison then.
        let plain = match name.len() {
            4 if is(name, b"host") => !replace(&mut self.has_host, true) && grammar::is_authority(value),
            14 if is(name, b"content-length") => self.content_length.replace(digits(value)?).is_none(),
            10 if is(name, b"connection") => value.eq_ignore_ascii_case(b"keep-alive"),
            6 if is(name, b"expect") => false,
            17 if is(name, b"transfer-encoding") => false,
            _ => grammar::is_token(name),
        };
        if plain { rest.strip_prefix(b"\r\n") } else { None }
    }
}

#[inline]
fn digits(value: &[u8]) -> Option<usize> {
    let few = (1..=LENGTH_DIGITS).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    few.then(|| value.iter().fold(0, |number, digit| number * 10 + usize::from(digit - b'0')))
}

/// True if `name` is `lower`, whatever its case. In letters case is one bit; a hyphen has none.
#[inline]
fn is<const N: usize>(name: &[u8], lower: &[u8; N]) -> bool {
    let differ = |byte: u8, lower: u8| (byte | (lower & 0x40) >> 1) ^ lower;
    name.len() == N && name.iter().zip(lower).fold(0, |differs, (&byte, &lower)| differs | differ(byte, lower)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usual(request: &[u8]) -> Option<(usize, usize)> {
        let layout = super::request(request, &Limits::default())?;
        Some((layout.head_end as usize, layout.body_end as usize))
    }

    #[test]
    fn usual_requests_are_read_at_once() {
        let heads: [&[u8]; 6] = [
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"HEAD /a/b?c={d} HTTP/1.1\r\nHOST:a:80\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Keep-Alive\r\n\r\n",
            b"DELETE /a HTTP/1.1\r\nAccept: */*\r\nhost: [::1]:80\r\n\r\n",
            b"PATCH /a HTTP/1.1\r\nHost:a\r\nContent-Length: 0\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nExpecT2: b\r\nConnections: close\r\n\r\n",
        ];
        for head in heads {
            let pipelined = [head, b"GET"].concat();
            assert_eq!(usual(&pipelined), Some((head.len(), head.len())), "{:?}", String::from_utf8_lossy(head));
        }
        let post = b"POST / HTTP/1.1\r\nHost: a\r\ncontent-LENGTH: 5\r\n\r\nhello!";
        assert_eq!(usual(post), Some((post.len() - 6, post.len() - 1)));
    }

    #[test]
    fn everything_else_goes_the_long_way() {
        let others: [&[u8]; 34] = [
            b"GET / HTTP/1.1\r\nHost: a\r\n\r",
            b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"get / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
            b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /# HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET / HTTP/1.0\r\nHost: a\r\n\r\n",
            b"GET / HTTP/1.1\nHost: a\r\n\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nX: b\nY: c\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a \r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a \nX: b\r\n\r\n",
            b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost:  a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost:\ta\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nX: b\tc\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nX: b\x7f\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nX\r: b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n1",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n1",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n1",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent\rLength: 1\r\n\r\n1",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n1",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n1",
        ];
        for other in others {
            assert_eq!(usual(other), None, "{:?}", String::from_utf8_lossy(other));
        }
    }

    #[test]
    fn limits_hold() {
        let request = b"POST /a HTTP/1.1\r\nHost: a\r\nA: b\r\nContent-Length: 3\r\n\r\nabc";
        let head = request.len() as u32 - 3;
        let reads = |limits: Limits| super::request(request, &limits).is_some();
        let exact = Limits { head_max: head, target_max: 2, fields_max: 3, body_max: 3, ..Limits::default() };
        assert!(reads(exact));
        assert!(!reads(Limits { head_max: head - 1, ..exact }));
        assert!(!reads(Limits { target_max: 1, ..exact }));
        assert!(!reads(Limits { fields_max: 2, ..exact }));
        assert!(!reads(Limits { body_max: 2, ..exact }));
    }
}
