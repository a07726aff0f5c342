//! The small promises of the protocol as a whole. The requests that a peer can send are in `tests/data/http1`.

use std::sync::Arc;

use super::*;
use crate::protocol::codec::{After, Encode};

fn decoded(request: &str) -> (Exchange, Layout) {
    let mut bytes = request.as_bytes().to_vec();
    match Http1::default().decode(&mut bytes) {
        Ok(Decode::Complete { layout, .. }) => (Http1::exchange(&layout), layout),
        other => panic!("{request:?}: {other:?}"),
    }
}

fn answer(request: &str, response: Response<'_>) -> (String, After) {
    let mut out = Outbound::detached();
    let after = Http1::encode(decoded(request).0, response, &mut out).unwrap();
    let text = String::from_utf8(out.to_vec()).unwrap();
    // The date differs with the clock.
    let (before, rest) = text.split_once("Date: ").unwrap();
    (format!("{before}{}", &rest["Sun, 06 Nov 1994 08:49:37 GMT\r\n".len()..]), after)
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const HEAD: &str = "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn what_each_connection_and_message_holds_is_small() {
    assert!(size_of::<Http1>() < 100, "{}", size_of::<Http1>());
    assert!(size_of::<Layout>() < 64, "{}", size_of::<Layout>());
    assert!(size_of::<Exchange>() <= 4);
}

#[test]
fn what_others_may_send_is_too_much_for_who_has_lower_limits() {
    let request = b"POST /a HTTP/1.1\r\nHost: a\r\nA: b\r\nContent-Length: 3\r\n\r\nabc";
    let head_max = request.len() as u32 - 3;
    let (most, exact) =
        (Limits::default(), Limits { head_max, target_max: 2, fields_max: 3, body_max: 3, ..Limits::default() });
    let decodes = |http: &Http1| http.clone().decode(&mut request.to_vec()).is_ok();
    for lower in [
        Limits { head_max: head_max - 1, ..exact },
        Limits { target_max: 1, ..exact },
        Limits { fields_max: 2, ..exact },
        Limits { body_max: 2, ..exact },
    ] {
        let others = [Http1::default(), Http1::with_limits(most), Http1::with_limits(exact)];
        let lower = Http1::with_limits(lower);
        // So often that whatever can be known of the request is.
        for _ in 0..1000 {
            assert!(others.iter().all(decodes) && !decodes(&lower), "{:?}", lower.limits);
        }
    }
}

#[test]
fn a_plain_answer() {
    let (text, after) = answer(GET, Response::ok("hello").content_type("text/plain"));
    assert_eq!(text, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(after, After::KeepOpen);
}

#[test]
fn answers_say_whether_the_connection_goes_on() {
    let close = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let stay = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n";
    let asked_to_close = "GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n";
    assert_eq!(answer(asked_to_close, Response::ok("")), (close.into(), After::Close));
    assert_eq!(answer(GET, Response::ok("").close()), (close.into(), After::Close));
    assert_eq!(answer("GET / HTTP/1.0\r\n\r\n", Response::ok("")), (close.into(), After::Close));
    let asked_to_stay = "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n";
    assert_eq!(answer(asked_to_stay, Response::ok("")), (stay.into(), After::KeepOpen));
    let both = "GET / HTTP/1.0\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n";
    assert_eq!(answer(both, Response::ok("")), (close.into(), After::Close));
    assert!(!Http1::closing(decoded(GET).0).keep_alive());
}

#[test]
fn answers_without_content() {
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
    assert_eq!(answer(HEAD, Response::ok("hello")).0, ok);
    assert_eq!(answer(GET, Response::new(204).body("hello")).0, "HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(answer(GET, Response::new(304).body("hello")).0, "HTTP/1.1 304 Not Modified\r\n\r\n");
    assert_eq!(answer(GET, Response::new(205).body("x")).0, "HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n");
    let connect = "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n";
    assert_eq!(answer(connect, Response::ok("x")).0, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
    assert!(
        answer(connect, Response::new(405).body("x")).0.ends_with("Content-Length: 1\r\nConnection: close\r\n\r\nx")
    );
}

#[test]
fn an_answer_to_head_without_a_body_claims_no_length() {
    assert_eq!(answer(HEAD, Response::new(200)).0, "HTTP/1.1 200 OK\r\n\r\n");
    assert_eq!(answer(GET, Response::new(200)).0, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
}

#[test]
fn upgrade_is_named_by_connection() {
    let said = |request: &str, close: bool| {
        let response = Response::new(426).header("upgrade", "h2c").unwrap();
        let (text, after) = answer(request, if close { response.close() } else { response });
        assert!(text.contains("\r\nupgrade: h2c\r\n"), "{text}");
        let (_, rest) = text.split_once("\r\nConnection: ").unwrap();
        (rest.split_once("\r\n").unwrap().0.to_owned(), after)
    };
    let old = "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    assert_eq!(said(GET, false), ("upgrade".into(), After::KeepOpen));
    assert_eq!(said(GET, true), ("close, upgrade".into(), After::Close));
    assert_eq!(said(old, false), ("keep-alive, upgrade".into(), After::KeepOpen));
}

#[test]
fn an_answer_is_final_and_has_a_status_line() {
    assert!(answer(GET, Response::new(100)).0.starts_with("HTTP/1.1 500 Internal Server Error\r\n"));
    assert!(answer(GET, Response::new(599)).0.starts_with("HTTP/1.1 599 \r\n"));
}

#[test]
fn response_splitting_is_impossible() {
    let header = |name: &str, value: &str| Response::new(200).header(name, value).map(|_| ());
    for value in ["a\r\nSet-Cookie: x", "a\rb", "a\nb", "a\0b", "a\x7f", "\x1b"] {
        assert_eq!(header("X", value), Err(InvalidHeader::Value), "{value:?}");
    }
    for name in ["", "a b", "a:", "a\r\n", "a\0", "\u{e4}"] {
        assert_eq!(header(name, "a"), Err(InvalidHeader::Name), "{name:?}");
    }
    for name in ["content-length", "Transfer-Encoding", "CONNECTION", "date"] {
        assert_eq!(header(name, "1"), Err(InvalidHeader::Owned), "{name:?}");
    }
    assert_eq!(header("X", "tab\tand \u{e4}"), Ok(()));
    let twice = |first: Response<'static>| first.header("content-TYPE", "a/b").map(drop);
    assert_eq!(twice(Response::new(200)), Ok(()));
    assert_eq!(twice(Response::new(200).content_type("text/plain")), Err(InvalidHeader::Repeated));
    let typed = Response::new(200).header("Content-Type", "a/b").expect("the first");
    assert_eq!(twice(typed.clone()), Err(InvalidHeader::Repeated));
    assert!(std::panic::catch_unwind(|| drop(typed.content_type("text/plain"))).is_err());
    for value in ["text/plain\r\nX: y", "a\n", "a\0"] {
        let made = std::panic::catch_unwind(|| drop(Response::new(200).content_type(value)));
        assert!(made.is_err(), "{value:?}");
    }
}

#[test]
fn every_kind_of_body_is_written() {
    let shared: Arc<[u8]> = Arc::from(&b"hello"[..]);
    let kinds: [Body<'_>; 5] = [
        "hello".into(),
        vec![b'h', b'e', b'l', b'l', b'o'].into(),
        String::from("hello").into(),
        shared.into(),
        Body::from_static("hello"),
    ];
    for body in kinds {
        assert!(answer(GET, Response::ok(body)).0.ends_with("Content-Length: 5\r\n\r\nhello"));
    }
}

#[test]
fn refusals_close_and_say_why_in_general_words() {
    let refused = |why: &Refusal| {
        let mut out = Outbound::detached();
        Http1::default().refuse(why, &mut out);
        String::from_utf8(out.to_vec()).unwrap()
    };
    let cases = [
        (Refusal::Protocol(ProtocolError::new("secret")), "HTTP/1.1 400 Bad Request\r\n"),
        (
            Refusal::Protocol(ProtocolError::with_status(431, "secret")),
            "HTTP/1.1 431 Request Header Fields Too Large\r\n",
        ),
        (Refusal::TooSlow, "HTTP/1.1 408 Request Timeout\r\n"),
        (Refusal::Overloaded { retry_after_seconds: None }, "HTTP/1.1 503 Service Unavailable\r\n"),
        (Refusal::Unanswered, "HTTP/1.1 500 Internal Server Error\r\n"),
    ];
    for (why, line) in cases {
        let text = refused(&why);
        assert!(text.starts_with(line) && text.contains("\r\nConnection: close\r\n"), "{text}");
        assert!(text.contains("\r\nDate: ") && !text.contains("secret"), "{text}");
        // A refusal that may answer any request may also answer HEAD.
        let has_content = matches!(why, Refusal::Protocol(_));
        assert_eq!(
            (text.ends_with("\r\n\r\n"), text.contains("\r\nContent-Length: 0\r\n")),
            (!has_content, !has_content),
            "{text}"
        );
    }
}

/// RFC 9110 section 9.3.2, also for a HEAD that is refused, whatever is wrong with it and however it comes.
#[test]
fn what_is_refused_of_a_head_request_has_no_content() {
    let refused = |request: &str, split: usize| {
        let (mut http, mut out, mut bytes) = (Http1::default(), Outbound::detached(), Vec::new());
        for piece in [&request[..split], &request[split..]].into_iter().filter(|piece| !piece.is_empty()) {
            bytes.extend_from_slice(piece.as_bytes());
            match http.decode(&mut bytes) {
                Ok(Decode::Partial { keep, .. }) => bytes.truncate(keep),
                Ok(Decode::Complete { .. }) => panic!("{request}"),
                Err(error) => {
                    http.refuse(&Refusal::Protocol(error), &mut out);
                    break;
                }
            }
        }
        String::from_utf8(out.to_vec()).unwrap()
    };
    let wrong = [
        " / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n",
        " / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        " / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n",
        " / HTTP/2.1\r\n",
    ];
    for (method, has_content) in [("HEAD", false), ("GET", true), ("HEADER", true), ("\r\nHEAD", false)] {
        for wrong in wrong {
            let request = format!("{method}{wrong}");
            for split in 0..request.len() - 1 {
                let text = refused(&request, split);
                let (head, content) = text.split_once("\r\n\r\n").expect("a refusal");
                assert!(head.starts_with("HTTP/1.1 4") || head.starts_with("HTTP/1.1 505"), "{request}: {text}");
                assert_eq!(!content.is_empty(), has_content, "{request} at {split}: {text}");
            }
        }
    }
}

#[test]
fn continue_is_said_once_and_only_to_who_waits() {
    let said = |pieces: &[&str]| {
        let (mut http, mut out, mut bytes) = (Http1::default(), Outbound::detached(), Vec::new());
        for piece in pieces {
            bytes.extend_from_slice(piece.as_bytes());
            match http.decode(&mut bytes).unwrap() {
                Decode::Partial { keep, .. } => bytes.truncate(keep),
                Decode::Complete { .. } => break,
            }
            http.interim(&mut out);
        }
        String::from_utf8(out.to_vec()).unwrap()
    };
    let head = |version: &str, body: &str| {
        format!("PUT / HTTP/{version}\r\nHost: a\r\nExpect: 100-Continue\r\n{body}\r\n\r\n")
    };
    let (length, chunked) = (head("1.1", "Content-Length: 2"), head("1.1", "Transfer-Encoding: chunked"));
    let hundred = "HTTP/1.1 100 Continue\r\n\r\n";
    assert_eq!(said(&[&length, "o", "k"]), hundred);
    assert_eq!(said(&[&chunked, "2", "\r\nok\r\n"]), hundred);
    assert_eq!(said(&[&length[..20], &length[20..], "ok"]), hundred);
    // The body is already coming, there is none, or the client is too old to have asked.
    assert_eq!(said(&[&format!("{length}o"), "k"]), "");
    assert_eq!(said(&[&format!("{chunked}2"), "\r\n"]), "");
    assert_eq!(said(&[&head("1.1", "Content-Length: 0")]), "");
    assert_eq!(said(&[&head("1.0", "Content-Length: 2"), "ok"]), "");
}

#[test]
fn a_target_that_names_a_host_wins_over_the_field() {
    let host = |request: &str| {
        let layout = decoded(request).1;
        RequestView::new(&layout, request.as_bytes()).host().map(String::from)
    };
    assert_eq!(host(GET).as_deref(), Some("a"));
    assert_eq!(host("GET http://b:8/x HTTP/1.1\r\nHost: a\r\n\r\n").as_deref(), Some("b:8"));
    assert_eq!(host("CONNECT c:1 HTTP/1.1\r\nHost: a\r\n\r\n").as_deref(), Some("c:1"));
    assert_eq!(host("GET / HTTP/1.0\r\n\r\n"), None);
}

#[test]
fn a_path_is_the_same_whoever_names_the_host_beside_it() {
    let path = |line: &str| {
        let request = format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n");
        let layout = decoded(&request).1;
        let view = RequestView::new(&layout, request.as_bytes());
        (view.path().to_owned(), view.query().map(String::from))
    };
    let expected = |path: &str, query: Option<&str>| (path.to_owned(), query.map(String::from));
    for host in ["", "http://b", "HTTP://b:8"] {
        assert_eq!(path(&format!("GET {host}/count")), expected("/count", None), "{host}");
        assert_eq!(path(&format!("GET {host}/count?")), expected("/count", Some("")), "{host}");
        assert_eq!(path(&format!("GET {host}/a//b?x=1?y=/")), expected("/a//b", Some("x=1?y=/")), "{host}");
    }
    assert_eq!(path("GET http://b"), expected("/", None));
    assert_eq!(path("GET http://b?x"), expected("/", Some("x")));
    assert_eq!(path("OPTIONS *"), expected("*", None));
    assert_eq!(path("CONNECT b:1"), expected("", None));
}
