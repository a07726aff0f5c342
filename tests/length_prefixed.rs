//! The length-prefixed protocol: any split gives the same messages, limits are exact, answers carry their length.

use std::io::Write;
use std::sync::Arc;

use sluicegate::length_prefixed::{Framed, LengthPrefixed};
use sluicegate::{After, Decode, Encode, Outbound, Protocol, Refusal};

/// Small, so that the corpus can stand at the limit and still be cut at every two places.
const MAX: usize = 20;

/// What came out of a stream: the payloads, the text of the error that ended it, and how many bytes were left over.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    payloads: Vec<Vec<u8>>,
    error: Option<String>,
    rest: usize,
}

fn frame(payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes().to_vec();
    bytes.extend_from_slice(payload);
    bytes
}

fn frames(payloads: &[&[u8]]) -> Vec<u8> {
    payloads.iter().flat_map(|payload| frame(payload)).collect()
}

/// Does what the server's inbound buffer does: appends what arrives, decodes until nothing whole is left, drops what
/// the protocol doesn't keep.
fn feed<'a>(mut protocol: LengthPrefixed, pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut outcome = Outcome { payloads: Vec::new(), error: None, rest: 0 };
    let mut held = Vec::new();
    for piece in pieces {
        held.extend_from_slice(piece);
        while !held.is_empty() {
            match protocol.decode(&mut held) {
                Ok(Decode::Complete { consumed, layout }) => {
                    assert_eq!(layout.range(), 4..consumed);
                    outcome.payloads.push(layout.payload(&held[..consumed]).to_vec());
                    held.drain(..consumed);
                }
                Ok(Decode::Partial { needs, keep }) => {
                    assert_eq!(keep, held.len(), "this protocol has nothing to drop");
                    assert_eq!(needs.is_some(), held.len() >= 4, "the length is known from the prefix on");
                    let fits = |needs| needs > held.len() && needs <= protocol.message_max();
                    assert!(needs.is_none_or(fits), "{needs:?} with {} held", held.len());
                    break;
                }
                Err(error) => {
                    outcome.error = Some(error.to_string());
                    return outcome;
                }
            }
        }
    }
    outcome.rest = held.len();
    outcome
}

/// Whole, byte by byte, and cut at every one and every two places.
fn assert_any_split_gives(stream: &[u8], expected: &Outcome) {
    let protocol = LengthPrefixed::new(MAX);
    assert_eq!(&feed(protocol, [stream]), expected, "whole");
    assert_eq!(&feed(protocol, stream.chunks(1)), expected, "byte by byte");
    for first in 0..=stream.len() {
        for second in first..=stream.len() {
            let pieces = [&stream[..first], &stream[first..second], &stream[second..]];
            assert_eq!(&feed(protocol, pieces), expected, "cut at {first} and {second}");
        }
    }
}

#[test]
fn any_split_gives_the_same_messages() {
    let corpus: [&[&[u8]]; 6] = [
        &[b""],
        &[b"x"],
        &[b"", b"", b""],
        &[b"GET", b"", b"\0\0\0\x01", b"y", &[0xff; 7]],
        &[&[7; MAX]],
        &[&[7; MAX], b"z", &[8; MAX]],
    ];
    for payloads in corpus {
        let whole = frames(payloads);
        let payloads = payloads.iter().map(|payload| payload.to_vec()).collect();
        let mut expected = Outcome { payloads, error: None, rest: 0 };
        assert_any_split_gives(&whole, &expected);
        // Behind them a message that never becomes whole, with one byte of it and with all but one.
        for (begun, rest) in [(&b"\0"[..], 1), (b"\0\0\0\x03ab", 6)] {
            expected.rest = rest;
            assert_any_split_gives(&[&whole[..], begun].concat(), &expected);
        }
    }
}

#[test]
fn what_is_over_the_maximum_ends_the_stream_at_its_fourth_byte() {
    let claims = [
        ([0, 0, 0, MAX as u8 + 1], "payload of 21 bytes is over the maximum of 20"),
        ([0xff; 4], "payload of 4294967295 bytes is over the maximum of 20"),
    ];
    for (claim, text) in claims {
        let mut stream = frames(&[b"good", &[1; MAX]]);
        stream.extend_from_slice(&claim);
        let payloads = vec![b"good".to_vec(), vec![1; MAX]];
        let expected = Outcome { payloads, error: Some(text.to_string()), rest: 0 };
        // Nothing but the claim has come, then also what it claimed: the same.
        assert_any_split_gives(&stream, &expected);
        stream.extend_from_slice(&[2; MAX + 1]);
        assert_any_split_gives(&stream, &expected);
    }
}

#[test]
fn the_default_accepts_exactly_one_mebibyte() {
    let protocol = LengthPrefixed::default();
    assert_eq!((protocol.payload_max(), protocol.message_max()), (1 << 20, (1 << 20) + 4));
    let outcome = feed(protocol, [&frame(&[5; 1 << 20])[..]]);
    assert!(outcome.payloads == [vec![5; 1 << 20]], "{:?}", outcome.error);
    let error = feed(protocol, [&[0xff; 4][..]]).error;
    assert_eq!(error.as_deref(), Some("payload of 4294967295 bytes is over the maximum of 1048576"));
}

#[test]
fn a_maximum_of_nothing_and_one_beyond_the_prefix() {
    let nothing = feed(LengthPrefixed::new(0), [&b"\0\0\0\0\0\0\0\x01"[..]]);
    assert_eq!(nothing.payloads, [b""]);
    assert_eq!(nothing.error.as_deref(), Some("payload of 1 bytes is over the maximum of 0"));

    let mut largest = LengthPrefixed::new(usize::MAX);
    assert_eq!(largest.payload_max(), u32::MAX as usize - 4);
    assert_eq!(largest.message_max(), u32::MAX as usize);
    let partial = largest.decode(&mut [0xff, 0xff, 0xff, 0xfb]);
    assert_eq!(partial, Ok(Decode::Partial { needs: Some(u32::MAX as usize), keep: 4 }));
    assert!(largest.decode(&mut [0xff, 0xff, 0xff, 0xfc]).is_err());
}

#[test]
fn random_bytes_are_cut_alike_and_panic_nowhere() {
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    for round in 0..3000 {
        let stream: Vec<u8> = (0..round % 64)
            .map(|_| {
                // Xorshift. Three of four bytes are zero, so that some lengths are small enough to pass.
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                if random >> 62 == 0 { (random >> 32) as u8 % 32 } else { 0 }
            })
            .collect();
        let whole = feed(LengthPrefixed::new(MAX), [&stream[..]]);
        for size in [1, 2, 3, 5, 7] {
            assert_eq!(feed(LengthPrefixed::new(MAX), stream.chunks(size)), whole, "{stream:?} by {size}");
        }
    }
}

fn encoded<T>(item: T) -> Vec<u8>
where
    LengthPrefixed: Encode<T>,
{
    let mut out = Outbound::detached();
    assert_eq!(LengthPrefixed::encode((), item, &mut out), Ok(After::KeepOpen));
    out.to_vec()
}

#[test]
fn every_kind_of_payload_is_framed_alike() {
    for payload in [&b""[..], b"x", b"some bytes", &[9; 70_000]] {
        let expected = frame(payload);
        assert!(encoded(payload) == expected);
        assert!(encoded(payload.to_vec()) == expected);
        assert!(encoded(Arc::<[u8]>::from(payload)) == expected);
        assert!(encoded(Framed(|out| out.put(payload))) == expected);
    }
    assert_eq!(encoded(b"literal"), frame(b"literal"));
    assert_eq!(encoded("l\u{e4}nge"), frame("l\u{e4}nge".as_bytes()), "bytes are counted, not characters");
}

#[test]
fn a_payload_written_in_pieces_gets_the_length_of_all_of_them() {
    let mut out = Outbound::detached();
    for lines in [3, 0, 1000] {
        let answer = Framed(|out| (0..lines).for_each(|line| writeln!(out, "line {line}").unwrap()));
        assert_eq!(LengthPrefixed::encode((), answer, &mut out), Ok(After::KeepOpen));
    }
    let text = |lines: u32| (0..lines).map(|line| format!("line {line}\n")).collect::<String>();
    // One behind the other: a length counts its own payload and not what was there before.
    assert!(out.to_vec() == frames(&[text(3).as_bytes(), b"", text(1000).as_bytes()]));
}

#[test]
fn a_refused_peer_is_told_nothing() {
    let mut out = Outbound::detached();
    LengthPrefixed::default().refuse(&Refusal::Overloaded { retry_after_seconds: None }, &mut out);
    LengthPrefixed::default().refuse(&Refusal::Unanswered, &mut out);
    assert!(out.is_empty());
}
