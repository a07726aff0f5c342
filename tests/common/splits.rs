//! Plays bytes to a protocol in pieces, and checks that the pieces don't matter (LAW any split).
//!
//! The buffer here keeps the contract of `Protocol::decode` to the letter: what lies behind `keep` is dropped, what
//! lies behind `consumed` stays where it was.

#![allow(dead_code, reason = "each test file uses its part")]

use std::fmt::Debug;

use sluicegate::{Decode, Protocol};

/// What came of an input.
#[derive(Debug, PartialEq, Eq)]
pub struct Played<M> {
    pub messages: Vec<M>,
    pub end: End,
}

/// The state behind the last message.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// More may follow; these bytes are kept until then.
    Open { kept: Vec<u8>, needs: Option<usize> },
    /// The stream was refused.
    Refused { status: u16, what: String },
}

/// How much longer than a message the kept bytes may be: what each block has room for beyond its tier.
const HEADROOM: usize = 512;

/// Plays `pieces` to a fresh connection. `read` makes of a message what is compared.
pub fn play<'p, P: Protocol, M>(
    protocol: &P,
    pieces: impl IntoIterator<Item = &'p [u8]>,
    read: impl Fn(&P::Layout, &[u8]) -> M,
) -> Played<M> {
    let mut protocol = protocol.clone();
    let mut bytes = Vec::new();
    let mut messages = Vec::new();
    let mut last_needs = None;
    for piece in pieces {
        bytes.extend_from_slice(piece);
        last_needs = None;
        while !bytes.is_empty() {
            match protocol.decode(&mut bytes) {
                Ok(Decode::Partial { needs, keep }) => {
                    assert!(keep <= bytes.len(), "keeps {keep} of {} bytes", bytes.len());
                    assert!(keep <= protocol.message_max() + HEADROOM, "keeps {keep} bytes");
                    assert!(needs.is_none_or(|needs| needs > keep), "needs {needs:?}, and keeps {keep}");
                    bytes.truncate(keep);
                    last_needs = needs;
                    break;
                }
                Ok(Decode::Complete { consumed, layout }) => {
                    assert!((1..=bytes.len()).contains(&consumed), "consumes {consumed} of {} bytes", bytes.len());
                    messages.push(read(&layout, &bytes[..consumed]));
                    bytes.drain(..consumed);
                }
                Err(error) => {
                    let end = End::Refused { status: error.status().unwrap_or(0), what: error.to_string() };
                    return Played { messages, end };
                }
            }
        }
    }
    Played { messages, end: End::Open { kept: bytes, needs: last_needs } }
}

/// Asserts that `input` gives the same whole, byte by byte, and cut in two at each point (long inputs: at many points).
pub fn assert_any_split<P: Protocol, M: PartialEq + Debug>(
    name: &str,
    protocol: &P,
    input: &[u8],
    read: impl Fn(&P::Layout, &[u8]) -> M,
) {
    let whole = play(protocol, [input], &read);
    assert!(play(protocol, input.chunks(1), &read) == whole, "{name}: byte by byte it is not {}", short(&whole));
    for at in split_points(input.len()) {
        let (front, back) = input.split_at(at);
        let split = play(protocol, [front, back], &read);
        assert!(split == whole, "{name}: cut at {at} it is {}, not {}", short(&split), short(&whole));
    }
}

/// All of them, or those near both ends and 100 in between.
fn split_points(length: usize) -> impl Iterator<Item = usize> {
    const ALL: usize = 4096;
    const NEAR: usize = 50;
    let step = (length / 100).max(1);
    (1..length).filter(move |at| length <= ALL || *at < NEAR || length - at < NEAR || at % step == 0)
}

fn short(value: &impl Debug) -> String {
    let mut text = format!("{value:?}");
    text.truncate(2000);
    text
}
