//! What HTTP/1 requests mean, or why they are refused: a table of cases, one file each.

#[path = "common/http1_cases.rs"]
mod http1_cases;
#[path = "common/splits.rs"]
mod splits;

use http1_cases::see;
use sluicegate::http1::Http1;
use sluicegate::{Decode, Protocol};
use splits::{End, play};

#[test]
fn every_case_has_its_outcome() {
    let cases = http1_cases::all();
    assert!(cases.len() >= 80, "only {} cases were found", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        assert!(
            case.section.starts_with("RFC 9") && !case.about.is_empty(),
            "{}: says neither what nor why",
            case.name
        );
        let played = play(&case.protocol(), [case.input.as_slice()], see);
        let outcome = http1_cases::outcome(&played, &case.outcome);
        if outcome != case.outcome {
            let why = if let End::Refused { what, .. } = &played.end { what.as_str() } else { "" };
            wrong.push(format!(
                "{}: {}\n  wanted {:.300?}\n  got    {outcome:.300?} {why}",
                case.name, case.about, case.outcome
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn the_largest_message_fits_a_block_of_one_mebibyte() {
    let limits = sluicegate::http1::Limits::default();
    // With the empty line behind a chunked body, for which a block has room beyond its size.
    assert_eq!(Http1::default().message_max(), 1024 * 1024 + 2);
    let body = vec![b'b'; limits.body_max as usize];
    let head = |framing: &str| {
        let mut head = format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\nPad: ");
        head.push_str(&"p".repeat(limits.head_max as usize - head.len() - 4));
        head + "\r\n\r\n"
    };
    let mut whole = head(&format!("Content-Length: {}", body.len())).into_bytes();
    whole.extend_from_slice(&body);
    let mut chunked = head("Transfer-Encoding: chunked").into_bytes();
    for chunk in body.chunks(4096) {
        chunked.extend_from_slice(format!("{:x};extension\r\n", chunk.len()).as_bytes());
        chunked.extend_from_slice(chunk);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");

    for mut input in [whole, chunked] {
        // As it comes from a socket, into a block that has 512 bytes beyond its tier.
        input.extend_from_slice(b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n");
        let (mut http, mut block, mut sent, mut bodies) = (Http1::default(), Vec::new(), 0, Vec::new());
        while sent < input.len() {
            let room = (1024 * 1024 + 512 - block.len()).min(input.len() - sent);
            assert!(room > 0, "a message that is within the limits filled its block");
            block.extend_from_slice(&input[sent..sent + room]);
            sent += room;
            while !block.is_empty() {
                match http.decode(&mut block).unwrap() {
                    Decode::Partial { keep, .. } => {
                        block.truncate(keep);
                        break;
                    }
                    Decode::Complete { consumed, layout } => {
                        let view = sluicegate::http1::RequestView::new(&layout, &block[..consumed]);
                        bodies.push(view.body().to_vec());
                        block.drain(..consumed);
                    }
                }
            }
        }
        assert!(bodies == [body.clone(), Vec::new()]);
    }
}

/// A body that never ends its framing must cost neither memory nor quadratic time.
#[test]
fn framing_and_heads_that_trickle_are_read_once() {
    // 16 KiB of extension, byte by byte: none of it stays.
    let mut http = Http1::default();
    let mut bytes = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    let head = bytes.len();
    bytes.extend_from_slice(b"5;");
    for _ in 0..16 * 1024 - 2 {
        match http.decode(&mut bytes).unwrap() {
            Decode::Partial { keep, .. } => bytes.truncate(keep),
            Decode::Complete { .. } => panic!("the body has not ended"),
        }
        assert_eq!(bytes.len(), head);
        bytes.push(b'x');
    }
    assert!(http.decode(&mut bytes).is_ok());
    bytes.push(b'x');
    assert_eq!(http.decode(&mut bytes).unwrap_err().status(), Some(400));
}
