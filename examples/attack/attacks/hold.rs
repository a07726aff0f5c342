//! Connections that are there and stay: idle ones, half messages, more than there are descriptors.

use crate::script::{Family, Script, Shared, Step};

/// Nothing is ever said.
pub fn idle() -> Family {
    Family::new("idle", 5000, 2500.0, |_, _| Script::of(true, []))
}

/// A part of a large message, enough to take a block of each tier. 960 KiB is the largest body that the server takes; a
/// claim of more is refused at its head.
pub fn half_messages() -> Family {
    const KINDS: [(usize, usize); 3] = [(960 << 10, 3 << 10), (120 << 10, 100 << 10), (960 << 10, 900 << 10)];
    let halves = KINDS.map(|(claimed, sent)| {
        let mut request = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {claimed}\r\n\r\n").into_bytes();
        request.resize(request.len() + sent, b'h');
        Shared::from(request)
    });
    Family::new("half-messages", 5000, 2500.0, move |number, _| {
        let kind = match number % 16 {
            0 => 2,
            1 | 2 => 1,
            _ => 0,
        };
        Script::of(true, [Step::Send(Shared::clone(&halves[kind]))])
    })
    .narrow()
}

/// More connections than the server has descriptors; every other one asks for something, and stays.
pub fn descriptors() -> Family {
    Family::new("descriptors", 600, 600.0, |number, _| match number % 2 {
        0 => Script::of(true, []),
        _ => Script::of(true, [Step::send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")]),
    })
}
