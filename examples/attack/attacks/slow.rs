//! Slow heads and slow bodies: a byte a second keeps a message unfinished, and its block in use.

use std::iter;

use crate::script::{Family, Script, Shared};

const CONNECTIONS: usize = 2000;
const OPENS: f64 = 2000.0;

/// From the first byte of the request line on.
pub fn head() -> Family {
    const HEAD: &[u8] = b"GET /plaintext HTTP/1.1\r\nHost: x\r\nX-Slow: ";
    Family::new("slow-head", CONNECTIONS, OPENS, |number, _| {
        // Some are further in it than others.
        let (begin, rest) = HEAD.split_at(1 + number % HEAD.len());
        Script::dribble(begin.into(), rest.iter().copied().chain(iter::repeat(b'a')))
    })
}

/// The head at once, and a part of the body that takes a small, medium or large block.
pub fn body() -> Family {
    const BEGINNINGS: [usize; 4] = [0, 2 << 10, 20 << 10, 200 << 10];
    let beginnings = BEGINNINGS.map(|bytes| {
        let mut request = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n".to_vec();
        request.resize(request.len() + bytes, b'b');
        Shared::from(request)
    });
    Family::new("slow-body", CONNECTIONS, OPENS, move |number, _| {
        // Of sixteen, ten begin small.
        let kind = match number % 16 {
            0..=4 => 0,
            5..=9 => 1,
            10..=13 => 2,
            _ => 3,
        };
        Script::dribble(Shared::clone(&beginnings[kind]), iter::repeat(b'b'))
    })
    .narrow()
}
