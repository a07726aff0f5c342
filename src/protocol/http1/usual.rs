//! Reads a usual request in one go: all of it has arrived, and nothing about it is unusual. Heads that are read here
//! are the [known heads](super::known_heads).
//!
//! This is a shorter way to the same result for most requests, and it judges nothing: any request of which it is not
//! sure, right or wrong, gives `None` and goes the long way through `search`, `head` and `framing`. So it may be too
//! narrow but never too wide, and each of its rules is also one of theirs. Tests and fuzz targets compare it with the
//! long way, which requests take if they are cut into pieces.

use super::exchange::Exchange;
use super::known_heads::{self, Place};
use super::layout::Layout;
use super::limits::Limits;
use super::usual_fields::Section;
use super::usual_line::UsualLine;

/// Reads the request at the front of `bytes`, whose head is not known at this place, that of its connection.
pub(super) fn request(bytes: &[u8], limits: &Limits, place: Place) -> Option<Layout> {
    let layout = head(bytes, limits, place)?;
    layout.is_all_in(bytes).then_some(layout)
}

/// Reads the head at the front of `bytes`.
fn head(bytes: &[u8], limits: &Limits, place: Place) -> Option<Layout> {
    let line = UsualLine::read(bytes)?;
    let section = known_heads::fields(&bytes[line.len as usize..], limits.fields_max, place)?;
    let layout = layout(line, section, bytes[0] == b'H', limits)?;
    known_heads::note(&bytes[..layout.head_end() as usize], section, layout, place);
    Some(layout)
}

/// The layout of a request with this line and these fields, if it keeps the limits. `is_head`: its method is HEAD.
pub(super) fn layout(line: UsualLine, section: Section, is_head: bool, limits: &Limits) -> Option<Layout> {
    let head_end = line.len as usize + section.len as usize;
    let is_small = line.target_len() <= limits.target_max
        && head_end <= limits.head_max as usize
        && section.body_len <= limits.body_max;
    let (head_end, exchange) = (head_end as u32, Exchange::USUAL.with_head(is_head));
    let head = Layout::of_head(line.method_len as u8, line.target_end(), head_end, exchange);
    if is_small { Some(head.with_body_end(head_end + section.body_len)) } else { None }
}

#[cfg(test)]
mod tests {
    use super::super::limits::LimitsNumber;
    use super::*;

    fn usual(request: &[u8]) -> Option<(usize, usize)> {
        let layout = super::request(request, &Limits::default(), Place::new(LimitsNumber::DEFAULT))?;
        Some((layout.head_end() as usize, layout.body_end() as usize))
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
        let exact = Limits { head_max: head, target_max: 2, fields_max: 3, body_max: 3, ..Limits::default() };
        let reads = |limits: Limits| super::request(request, &limits, Place::new(LimitsNumber::next())).is_some();
        // The second time the head was read before, by connections with other limits that share the place.
        for _ in 0..2 {
            assert!(!reads(Limits { head_max: head - 1, ..exact }));
            assert!(!reads(Limits { target_max: 1, ..exact }));
            assert!(!reads(Limits { fields_max: 2, ..exact }));
            assert!(!reads(Limits { body_max: 2, ..exact }));
            (0..8).for_each(|_| assert!(reads(exact)));
        }
    }
}
