//! Ends at every possible moment of a conversation.

use std::time::Duration;

use crate::script::{Family, Script, Step};

const CONVERSATIONS: [&str; 3] = [
    "GET /plaintext HTTP/1.1\r\nHost: x\r\n\r\nGET /plaintext HTTP/1.1\r\nHost: x\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n01234567890123456789GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n6\r\n world\r\n0\r\nX-T: t\r\n\r\n",
];

/// How a connection ends, once it has sent its part.
const ENDS: [&[Step]; 5] = [
    &[Step::Finish],
    &[Step::Close],
    &[Step::Reset],
    // After the server has seen the part, and perhaps has answered.
    &[Step::Wait(Duration::from_millis(20)), Step::Finish],
    &[Step::Wait(Duration::from_millis(20)), Step::Close],
];

/// Every conversation, cut at every byte, ended in every way, one after the other.
pub fn everywhere() -> Family {
    Family::new("fin-everywhere", 300, 1000.0, |number, _| {
        let (number, end) = (number / ENDS.len(), ENDS[number % ENDS.len()]);
        let (number, text) = (number / CONVERSATIONS.len(), CONVERSATIONS[number % CONVERSATIONS.len()]);
        let part = &text[..number % (text.len() + 1)];
        let sent = (!part.is_empty()).then(|| Step::send(part));
        Script::of(number % 2 == 0, sent.into_iter().chain(end.iter().cloned()))
    })
    .reopening(1000.0)
}
