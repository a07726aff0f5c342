//! Messages that are mostly framing: large chunk extensions, one-byte chunks, many headers, many trailers.

use std::sync::Arc;
use std::time::Duration;

use crate::script::{Family, Script, Shared, Step};

const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Each connection sends one kind of message again and again; some are over the server's limits and end it.
pub fn tricks() -> Family {
    let fields =
        |count: usize| (0..count).map(|number| format!("X-Field-{number}: some value\r\n")).collect::<String>();
    let messages = [
        format!("{CHUNKED}{}0\r\n\r\n", "1;extension=x\r\na\r\n".repeat(1000)),
        format!("{CHUNKED}1;{}\r\na\r\n0\r\n\r\n", "e=\"long\";".repeat(1700)),
        format!("{CHUNKED}1;{}\r\na\r\n0\r\n\r\n", "e=\"too long\";".repeat(20_000)),
        format!("{CHUNKED}{}0\r\n\r\n", "1\r\na\r\n".repeat(3200)),
        format!("{CHUNKED}{}0\r\n\r\n", "1\r\na\r\n".repeat(100_000)),
        format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", fields(98)),
        format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", fields(5000)),
        format!("{CHUNKED}1\r\na\r\n0\r\n{}\r\n", fields(90)),
    ]
    .map(|text| Shared::from(text.into_bytes()));
    Family::new("chunk-tricks", 48, 480.0, move |number, _| {
        let message = Arc::clone(&messages[number % messages.len()]);
        let mut waits = true;
        Script::endless(true, move || {
            waits = !waits;
            if waits { Step::Wait(Duration::from_millis(50)) } else { Step::Send(Arc::clone(&message)) }
        })
    })
    .reopening(400.0)
}
