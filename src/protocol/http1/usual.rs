//! Reads a usual request in one go: all of it has arrived, and nothing about it is unusual.
//!
//! This is a shorter way to the same result for most requests, and it judges nothing: any request of which it is not
//! sure, right or wrong, gives `None` and goes the long way through `search`, `head` and `framing`. So it may be too
//! narrow but never too wide, and each of its rules is also one of theirs. Tests and fuzz targets compare it with the
//! long way, which requests take if they are cut into pieces.

use super::exchange::Exchange;
use super::known_heads::{self, Place};
use super::layout::Layout;
use super::limits::Limits;

/// Reads the request at the front of `bytes`, for the connection that has this place among the heads; it is given one
/// if it has none yet.
#[inline]
pub(super) fn request(bytes: &[u8], limits: &Limits, place: &mut Option<Place>) -> Option<Layout> {
    let place = *place.get_or_insert_with(Place::deal);
    let (line, section) = known_heads::read(bytes, limits.fields_max, place)?;
    let (head_end, body_len) = (line.len as usize + section.len as usize, section.body_len as usize);
    let is_small = line.target_len() <= limits.target_max
        && head_end <= limits.head_max as usize
        && body_len <= limits.body_max as usize;
    if !is_small || body_len > bytes.len() - head_end {
        return None;
    }
    let body_end = (head_end + body_len) as u32;
    Some(Layout {
        start: 0,
        target_end: line.target_end(),
        head_end: head_end as u32,
        body_end,
        trailers_end: body_end,
        method_len: line.method_len,
        exchange: Exchange::USUAL.with_head(bytes[0] == b'H'),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usual(request: &[u8]) -> Option<(usize, usize)> {
        let layout = super::request(request, &Limits::default(), &mut None)?;
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
        let exact = Limits { head_max: head, target_max: 2, fields_max: 3, body_max: 3, ..Limits::default() };
        let mut shared = None;
        // The second time the head is known, also to a connection with lower limits that shares the place.
        for is_known in [false, true] {
            let reads = |limits: Limits| {
                let mut place = if is_known { shared } else { None };
                super::request(request, &limits, &mut place).is_some()
            };
            assert!(!reads(Limits { head_max: head - 1, ..exact }));
            assert!(!reads(Limits { target_max: 1, ..exact }));
            assert!(!reads(Limits { fields_max: 2, ..exact }));
            assert!(!reads(Limits { body_max: 2, ..exact }));
            assert!(reads(exact));
            assert!(super::request(request, &exact, &mut shared).is_some());
        }
    }

    #[test]
    fn a_connection_keeps_the_place_that_it_was_given_first() {
        let mut place = None;
        let mut place_then = || {
            super::request(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", &Limits::default(), &mut place).expect("usual");
            place.map(Place::index)
        };
        let first = place_then();
        assert!(first.is_some());
        assert_eq!([place_then(), place_then()], [first, first]);
    }
}
