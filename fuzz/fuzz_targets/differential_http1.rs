//! HTTP/1 read by two decoders that share no code: what both take for a request is the same request.
//!
//! The other one is milo, a strict parser that is no relative of httparse. Where one of the two refuses what the other
//! reads, the reason has to be one of those listed here.

#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use milo_parser::{CALLBACK_ACTIVE_ALL, ERROR_NONE, Parser};
use sluicegate::http1::{Http1, RequestView, Version};
use sluicegate::{Decode, Protocol};
use sluicegate_fuzz::Settings;

/// What this decoder refuses and the other one does not have to: the begin of its reason, behind the status.
const STRICTER: [&str; 13] = [
    // Limits, which the other leaves to its user.
    "more than 4 empty lines",
    "method is longer",
    "request target is over",
    "more fields than",
    "head and trailers are over",
    "body of at least",
    "chunk framing is over",
    // What a request means, which the other does not look at.
    "request target is in none of the forms",
    "Host is not a host",
    "an expectation other",
    "Connection names a field",
    "a trailer field that must stand in the head",
    "CONNECT or TRACE with a body",
];

/// The same for transfer codings: the other looks for chunked at the end, and at nothing before it.
const STRICTER_CODINGS: [&str; 2] = ["Transfer-Encoding is not a list", "transfer coding other than chunked"];

/// A request, in whoever's reading.
#[derive(Debug, PartialEq, Eq, Default)]
struct Request {
    method: Vec<u8>,
    target: Vec<u8>,
    fields: Vec<(Vec<u8>, Vec<u8>)>,
    body: Vec<u8>,
    trailers: Vec<(Vec<u8>, Vec<u8>)>,
}

#[derive(Debug)]
enum Reading {
    /// A whole request, and how many bytes it takes.
    Whole(Request, usize),
    Partial,
    Refused(String),
}

/// What may make a request whole that is not: only of whole ones it is known whether both read the same.
const TAILS: [&[u8]; 6] =
    [b"\n", b"\r\n", b"\r\n\r\n", b"0\r\n\r\n", b"\r\n0\r\n\r\n", b" HTTP/1.1\r\nHost: a\r\n\r\n"];

fuzz_target!(|input: &[u8]| {
    let Some((_, mut stream)) = Settings::read(input) else { return };
    while !stream.is_empty() {
        match compare(stream) {
            Reading::Whole(_, consumed) => stream = &stream[consumed..],
            Reading::Partial => {
                TAILS.iter().for_each(|tail| drop(compare(&[stream, tail].concat())));
                break;
            }
            Reading::Refused(_) => break,
        }
    }
});

/// Reads the first request of the stream in both ways; returns ours.
fn compare(stream: &[u8]) -> Reading {
    let (ours, version10) = ours(stream);
    // The other one would read on. Were the request longer for it, it would be partial now.
    let stream = if let Reading::Whole(_, consumed) = &ours { &stream[..*consumed] } else { stream };
    if may_have_extensions(stream) {
        return ours;
    }
    let theirs = if version10 { theirs(&as_version11(stream)) } else { theirs(stream) };
    let agree = match (&ours, &theirs) {
        (Reading::Whole(ours, consumed), Reading::Whole(theirs, taken)) => ours == theirs && consumed == taken,
        (Reading::Whole(request, _), Reading::Partial | Reading::Refused(_)) => is_milder(request),
        // Whoever refuses at the first wrong byte is earlier than who waits for the end of its line.
        (Reading::Partial | Reading::Refused(_), Reading::Partial | Reading::Refused(_)) => true,
        (Reading::Refused(why), Reading::Whole(..)) => is_stricter(why),
        (Reading::Partial, Reading::Whole(..)) => false,
    };
    assert!(agree, "{}\n  here  {ours:?}\n  there {theirs:?}", stream.escape_ascii());
    ours
}

/// Chunk extensions: milo 0.9 has a subtraction there that can overflow, and panics where that is checked. Here they
/// are passed over, whatever is in them, so there is nothing to compare.
fn may_have_extensions(stream: &[u8]) -> bool {
    let chunked = stream.windows(7).position(|window| window.eq_ignore_ascii_case(b"chunked"));
    chunked.is_some_and(|at| stream[at..].contains(&b';'))
}

/// The other knows HTTP/1.1 only. What was read as HTTP/1.0 has the same framing in both.
fn as_version11(stream: &[u8]) -> Vec<u8> {
    const OLD: &[u8] = b" HTTP/1.0\r\n";
    let mut stream = stream.to_vec();
    if let Some(at) = stream.windows(OLD.len()).position(|window| window == OLD) {
        stream[at + OLD.len() - 3] = b'1';
    }
    stream
}

fn is_stricter(why: &str) -> bool {
    let text = why.split_once(": ").map_or(why, |(_, text)| text);
    text.ends_with(" Host fields") || STRICTER.iter().chain(&STRICTER_CODINGS).any(|reason| text.starts_with(reason))
}

/// What the other refuses, or does not read as a request, and may.
fn is_milder(request: &Request) -> bool {
    let Request { method, target, fields, .. } = request;
    let all = |name: &'static str| fields.iter().filter(move |(seen, _)| seen.eq_ignore_ascii_case(name.as_bytes()));
    let has = |name: &'static str| all(name).next().is_some();
    // Bytes that browsers send in queries, and RFC 3986 does not know.
    target.iter().any(|byte| b"{}|^`".contains(byte))
        // A line shorter than that of the shortest GET.
        || method.len() + target.len() < 4
        // A body of GET or HEAD that has a length.
        || (matches!(method.as_slice(), b"GET" | b"HEAD") && has("content-length"))
        // Begin a tunnel there, or another protocol.
        || matches!(method.as_slice(), b"CONNECT" | b"PRI")
        || has("upgrade")
        // Must go with chunks there.
        || has("trailer")
        // Empty elements.
        || all("connection").any(|(_, value)| value.split(|&byte| byte == b',').any(|part| part.trim_ascii().is_empty()))
}

fn ours(stream: &[u8]) -> (Reading, bool) {
    let mut bytes = stream.to_vec();
    match Http1::default().decode(&mut bytes) {
        Ok(Decode::Complete { consumed, layout }) => {
            let request = RequestView::new(&layout, &bytes[..layout.live_len()]);
            let own = |(name, value): (&str, &[u8])| (name.as_bytes().to_vec(), value.to_vec());
            let read = Request {
                method: request.method().into(),
                target: request.target().into(),
                fields: request.headers().map(own).collect(),
                body: request.body().to_vec(),
                trailers: request.trailers().map(own).collect(),
            };
            (Reading::Whole(read, consumed), request.version() == Version::Http10)
        }
        Ok(Decode::Partial { .. }) => (Reading::Partial, false),
        Err(error) => (Reading::Refused(error.to_string()), false),
    }
}

thread_local! {
    static SEEN: RefCell<Vec<(Part, usize, usize)>> = const { RefCell::new(Vec::new()) };
}

/// What the other one reports.
#[derive(Debug, Clone, Copy)]
enum Part {
    Method,
    Target,
    Name,
    Value,
    Data,
    TrailerName,
    TrailerValue,
    End,
}

fn see(part: Part, at: usize, length: usize) {
    SEEN.with_borrow_mut(|seen| seen.push((part, at, length)));
}

fn parser() -> Parser {
    let mut parser = Parser::new();
    parser.autodetect = false;
    parser.is_request = true;
    parser.max_start_line_length = usize::MAX;
    parser.max_header_length = usize::MAX;
    parser.callbacks.on_method = |_, at, length| see(Part::Method, at, length);
    parser.callbacks.on_url = |_, at, length| see(Part::Target, at, length);
    parser.callbacks.on_header_name = |_, at, length| see(Part::Name, at, length);
    parser.callbacks.on_header_value = |_, at, length| see(Part::Value, at, length);
    parser.callbacks.on_data = |_, at, length| see(Part::Data, at, length);
    parser.callbacks.on_trailer_name = |_, at, length| see(Part::TrailerName, at, length);
    parser.callbacks.on_trailer_value = |_, at, length| see(Part::TrailerValue, at, length);
    parser.callbacks.on_message_complete = |_, at, length| see(Part::End, at, length);
    parser.active_callbacks = CALLBACK_ACTIVE_ALL;
    parser
}

/// The first request of the stream.
fn theirs(stream: &[u8]) -> Reading {
    let mut parser = parser();
    let mut request = Request::default();
    let mut at = 0;
    loop {
        SEEN.take();
        let rest = &stream[at..];
        let consumed = parser.parse(rest.as_ptr(), rest.len());
        for (part, from, length) in SEEN.take() {
            let text = || rest[from..from + length].to_vec();
            match part {
                Part::Method => request.method = text(),
                Part::Target => request.target = text(),
                Part::Name => request.fields.push((text(), Vec::new())),
                Part::Value => set_value(&mut request.fields, text()),
                Part::Data => request.body.extend(text()),
                Part::TrailerName => request.trailers.push((text(), Vec::new())),
                Part::TrailerValue => set_value(&mut request.trailers, text()),
                Part::End => return Reading::Whole(request, at + from),
            }
        }
        if parser.error_code != ERROR_NONE {
            return Reading::Refused(parser.error_description_str().into());
        }
        // It stops early when it has much to report.
        at += consumed;
        if consumed == 0 || at == stream.len() {
            return Reading::Partial;
        }
    }
}

fn set_value(fields: &mut [(Vec<u8>, Vec<u8>)], value: Vec<u8>) {
    fields.last_mut().expect("a name comes before its value").1 = value;
}
