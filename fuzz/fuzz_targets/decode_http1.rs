//! HTTP/1 from hostile bytes: no panic, and whatever is accepted can be read in one way only.
//!
//! Each message is judged by rules that are written here a second time, as plainly as possible, from the RFCs and not
//! from the decoder; and it is said again, in the simplest form, and must be read as the same message then.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sluicegate::http1::{Http1, Limits, RequestView, Version};
use sluicegate_fuzz::Settings;
use sluicegate_fuzz::http1_cases::{self, Seen};
use sluicegate_fuzz::splits::{End, play};

/// All that the decoder may refuse with.
const STATUSES: [u16; 7] = [400, 413, 414, 417, 431, 501, 505];

/// Fields that must stand in the head (RFC 9110 section 6.5.1).
const NEVER_TRAILERS: [&str; 7] =
    ["authorization", "connection", "content-length", "content-type", "host", "te", "transfer-encoding"];

fuzz_target!(|input: &[u8]| {
    let Some((settings, stream)) = Settings::read(input) else { return };
    let limits = settings.http1_limits();
    let played = play(&settings.http1(), [stream], |layout, bytes| {
        assert!(layout.live_len() <= bytes.len(), "the message ends at {}, of {}", layout.live_len(), bytes.len());
        let request = RequestView::new(layout, &bytes[..layout.live_len()]);
        check_head(&request, &limits);
        check_body(&request, &limits);
        check_said_again(&request, http1_cases::see(layout, bytes), &settings.http1());
    });
    if let End::Refused { status, what } = &played.end {
        assert!(STATUSES.contains(status) && !what.is_empty(), "refused with {status}: {what}");
    }
});

fn check_head(request: &RequestView<'_>, limits: &Limits) {
    let (method, target) = (request.method(), request.target());
    assert!((1..=32).contains(&method.len()) && is_token(method), "method {method:?}");
    assert!((1..=limits.target_max as usize).contains(&target.len()), "target of {} bytes", target.len());
    assert!(target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#'), "target {target:?}");
    assert!(request.head().len() <= limits.head_max as usize, "head of {} bytes", request.head().len());
    let fields = request.headers().chain(request.trailers());
    let count = fields.inspect(|(name, value)| check_field(name, value)).count();
    assert!(count <= limits.fields_max as usize, "{count} fields");
    match (request.version(), all(request, "host").len()) {
        (_, 1) | (Version::Http10, 0) => assert!(request.host().is_none_or(|host| !host.contains([' ', ',', '@']))),
        (version, hosts) => panic!("{hosts} hosts in {version:?}"),
    }
    let options: Vec<String> = all(request, "connection").iter().flat_map(|value| list(value)).collect();
    let says = |option: &str| options.iter().any(|seen| seen == option);
    let stays = !says("close") && (request.version() == Version::Http11 || says("keep-alive"));
    assert_eq!(request.keep_alive(), stays && method != "CONNECT", "connection: {options:?}");
}

fn check_field(name: &str, value: &[u8]) {
    assert!(is_token(name), "field name {name:?}");
    assert!(!value.iter().any(|&byte| byte < b' ' && byte != b'\t' || byte == 0x7f), "{}", value.escape_ascii());
    assert!(value.trim_ascii() == value, "white space around {}", value.escape_ascii());
}

/// RFC 9112 section 6.3: there is one length, or chunks, or nothing.
fn check_body(request: &RequestView<'_>, limits: &Limits) {
    let body = request.body().len();
    assert!(body <= limits.body_max as usize, "body of {body} bytes");
    match (all(request, "content-length").as_slice(), all(request, "transfer-encoding").as_slice()) {
        ([], []) => assert_eq!(body, 0, "nothing says that there is a body"),
        ([length], []) => {
            assert!(length.iter().all(u8::is_ascii_digit), "{}", length.escape_ascii());
            assert_eq!(String::from_utf8_lossy(length).parse(), Ok(body));
        }
        ([], [coding]) => {
            assert!(coding.eq_ignore_ascii_case(b"chunked"), "{}", coding.escape_ascii());
            assert_eq!(request.version(), Version::Http11);
        }
        (lengths, codings) => panic!("{} lengths and {} codings", lengths.len(), codings.len()),
    }
    assert!(is_chunked(request) || request.trailers().next().is_none(), "trailers without chunks");
    let late = request.trailers().find(|(name, _)| NEVER_TRAILERS.contains(&name.to_ascii_lowercase().as_str()));
    assert!(late.is_none(), "trailer {late:?}");
}

/// The same message with its body in one piece is the same message, and nothing is left over.
fn check_said_again(request: &RequestView<'_>, seen: Seen, protocol: &Http1) {
    let mut bytes = request.head().to_vec();
    if is_chunked(request) {
        if !request.body().is_empty() {
            bytes.extend_from_slice(format!("{:x}\r\n", request.body().len()).as_bytes());
            bytes.extend_from_slice(request.body());
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\n");
        for (name, value) in request.trailers() {
            bytes.extend_from_slice(&[name.as_bytes(), b":", value, b"\r\n"].concat());
        }
        bytes.extend_from_slice(b"\r\n");
    } else {
        bytes.extend_from_slice(request.body());
    }
    let again = play(protocol, [bytes.as_slice()], http1_cases::see);
    assert_eq!(again.messages, [seen], "{}", bytes.escape_ascii());
    assert_eq!(again.end, End::Open { kept: Vec::new(), needs: None }, "{}", bytes.escape_ascii());
}

fn is_chunked(request: &RequestView<'_>) -> bool {
    request.header("transfer-encoding").is_some()
}

/// The values of all fields of this name.
fn all<'a>(request: &RequestView<'a>, name: &str) -> Vec<&'a [u8]> {
    request.headers().filter(|(seen, _)| seen.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
}

fn list(value: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(value).split(',').map(|item| item.trim().to_ascii_lowercase()).collect()
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}
