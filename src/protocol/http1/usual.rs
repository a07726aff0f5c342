//! The usual request, read in one go: all of it has arrived, and nothing about it is unusual.
//!
//! This is a shorter way to the same answer, for most of what arrives, and no judge: whatever it is not sure of, right or
//! wrong, is `None`, and goes the long way through `search`, `head` and `framing`. So it may only ever be too narrow, and
//! each of its rules is a rule of theirs, which its tests and the fuzz target that cuts requests into pieces compare.

use httparse::Header;

use super::grammar::{self, Class};
use super::layout::Layout;
use super::limits::Limits;
use super::search::VERSION_LEN;

/// The usual request has no more fields than this.
const FIELDS: usize = 16;
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
    let mut room = [httparse::EMPTY_HEADER; FIELDS];
    let Ok(httparse::Status::Complete((section_len, fields))) = httparse::parse_headers(section, &mut room) else {
        return None;
    };
    let head_end = target_end + VERSION_LEN + section_len;
    if head_end > limits.head_max as usize || fields.len() > limits.fields_max as usize {
        return None;
    }
    let body_len = body_len(&section[..section_len], fields)?;
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
fn origin_form(bytes: &[u8]) -> Option<usize> {
    let starts = bytes.first() == Some(&b'/');
    starts.then(|| grammar::leading(Class::Target, bytes))
}

/// The length of the body, if `fields` are all that there is in `section` and no field asks for more than that length.
///
/// Each field has a line of its own, one behind the other, without white space behind the value, and with CR LF, as the
/// empty line has, too: httparse would let LF alone pass.
fn body_len(section: &[u8], fields: &[Header<'_>]) -> Option<usize> {
    let position = |bytes: &[u8]| (bytes.as_ptr() as usize).wrapping_sub(section.as_ptr() as usize);
    let (mut at, mut host, mut length) = (0, None, None);
    for field in fields {
        let (name, value) = (field.name.as_bytes(), field.value);
        let end = position(value).wrapping_add(value.len());
        if position(name) != at || section.get(end..end + 2) != Some(b"\r\n") {
            return None;
        }
        at = end + 2;
        // By length first: most fields are none of these, and need no comparison then.
        let seen_before = match name.len() {
            4 if is(name, b"host") => host.replace(value).is_some(),
            14 if is(name, b"content-length") => length.replace(value).is_some(),
            10 if is(name, b"connection") => !value.eq_ignore_ascii_case(b"keep-alive"),
            6 => is(name, b"expect"),
            17 => is(name, b"transfer-encoding"),
            _ => false,
        };
        if seen_before {
            return None;
        }
    }
    let whole = section.get(at..) == Some(b"\r\n") && grammar::is_authority(host?);
    whole.then(|| length.map_or(Some(0), digits)).flatten()
}

/// True if `name`, a token, is `lower`, whatever its case. In letters alone case is one bit; no token has another byte that
/// the bit makes the hyphen of these names.
fn is<const N: usize>(name: &[u8], lower: &[u8; N]) -> bool {
    name.len() == N && name.iter().zip(lower).fold(0, |differs, (byte, lower)| differs | ((byte | 0x20) ^ lower)) == 0
}

fn digits(value: &[u8]) -> Option<usize> {
    let few = (1..=LENGTH_DIGITS).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    few.then(|| value.iter().fold(0, |number, digit| number * 10 + usize::from(digit - b'0')))
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
            b"PATCH /a HTTP/1.1\r\nHost: \t a\r\nContent-Length: 0\r\n\r\n",
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
        let others: [&[u8]; 27] = [
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
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n1",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n1",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n1",
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
