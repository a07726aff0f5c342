//! HTTP over real sockets: bodies of every size, pipelines, who closes when, and what becomes of bad requests.

#[path = "common/http_client.rs"]
mod http_client;
#[path = "common/net.rs"]
mod net;

use std::io::Write;
use std::thread;

use http_client::{Client, get, post, post_chunked};
use net::{AT_HAND, connect, finish, half_close, pattern, serve, until};
use sluicegate::http1::{Http1, Response};
use sluicegate::{CloseKind, Message, PauseReason, Reply, Running};

const BODY_MAX: usize = 960 << 10;

/// The body comes back, or the target if there is none.
fn echo(request: Message<'_, Http1>, reply: Reply<'_, Http1>) {
    match request.body() {
        [] => reply.send(Response::ok(request.target())),
        body => reply.send(Response::ok(body)),
    }
}

fn server() -> Running<Http1> {
    serve(Http1::default(), |_| {}, echo)
}

/// Bodies at which something changes: tiers with and without their headroom, the scratch, the limit.
fn lengths() -> impl Iterator<Item = usize> {
    const HEAD: usize = 64;
    let edges = [4 << 10, (4 << 10) + 512, 64 << 10, 128 << 10, (128 << 10) + 512];
    let around = edges.into_iter().flat_map(|edge| [edge - HEAD, edge - 1, edge, edge + 1]);
    [1, 100].into_iter().chain(around).chain([BODY_MAX - 1, BODY_MAX])
}

#[test]
fn a_body_of_every_size_comes_back() {
    let running = server();
    let mut client = Client::connect(running.local_addr());
    for length in lengths() {
        let body = pattern(length, length);
        assert!(client.ask(post(&body)).body == body, "{length} bytes");
        let request = post_chunked(&body, (length / 50).max(1));
        assert!(client.ask(&request).body == body, "{length} bytes in chunks");
        // Once more, with a begin that lies in a block of its own when the rest comes.
        let (begin, rest) = request.split_at(request.len() / 3);
        let seen = running.metrics().bytes_in;
        client.send(begin);
        until(&running, "the begin was read", |numbers| numbers.bytes_in == seen + begin.len() as u64);
        assert!(client.ask(rest).body == body, "{length} bytes in chunks, in two pieces");
    }
    // No body at all, and one that is said to be empty.
    client.ask_for("/nothing");
    assert_eq!(client.ask(post(b"")).body, b"/");
    assert_eq!(client.ask(post_chunked(b"", 1)).body, b"/");
    assert_eq!(client.ask(post_chunked(&pattern(2000, 1), 1)).body, pattern(2000, 1), "chunks of one byte");
    finish(running);
}

#[test]
fn a_body_over_the_limit_is_refused_and_the_answer_is_read() {
    let running = server();
    let body = pattern(BODY_MAX + 1, 1);
    for request in [post(&body), post_chunked(&body, 16 << 10)] {
        let client = Client::connect(running.local_addr());
        let mut sends = client.stream.try_clone().expect("a second handle");
        thread::scope(|scope| {
            // What does not get through any more does not matter: the server has said why.
            scope.spawn(move || drop(sends.write_all(&request)));
            let mut client = client;
            let answer = client.answer();
            assert_eq!((answer.status, answer.closes()), (413, true));
        });
    }
    let numbers = finish(running);
    assert_eq!((numbers.messages_in, numbers.closed_by(CloseKind::Protocol)), (0, 2));
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let running = server();
    let targets: Vec<String> = (0..500).map(|number| format!("/{number}")).collect();
    let requests: Vec<u8> = targets.iter().flat_map(|target| get(target)).collect();
    let mut client = Client::connect(running.local_addr());
    for piece in [requests.len(), 1000, 11] {
        requests.chunks(piece).for_each(|piece| client.send(piece));
        for target in &targets {
            assert_eq!(client.answer().body, target.as_bytes());
        }
    }
    // With bodies between them, some of which need a block.
    let bodies: Vec<Vec<u8>> = (0..40).map(|number| pattern(1 + number * 500, number)).collect();
    client.send(bodies.iter().flat_map(|body| post(body)).collect::<Vec<u8>>());
    for body in &bodies {
        assert!(client.answer().body == *body);
    }
    assert_eq!(finish(running).messages_in, 3 * 500 + 40);
}

#[test]
fn a_large_answer_reaches_a_slow_reader_whole() {
    let running = net::serve_narrow(Http1::default(), |_| {}, echo);
    let mut client = Client::over(net::connect_narrow(running.local_addr()));
    let mut sends = client.stream.try_clone().expect("a second handle");
    let bodies: Vec<Vec<u8>> = [BODY_MAX, 1000, 300_000].map(|length| pattern(length, length)).into();
    thread::scope(|scope| {
        scope.spawn(|| bodies.iter().for_each(|body| sends.write_all(&post(body)).expect("taken")));
        for body in &bodies {
            assert!(client.answer().body == *body);
        }
    });
    finish(running);
}

#[test]
fn the_connection_goes_on_or_ends_as_the_request_says() {
    let running = server();
    let connect = || Client::connect(running.local_addr());
    let mut old = connect();
    let answer = old.ask("GET /old HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!((answer.status, answer.header("connection")), (200, Some("keep-alive")));
    old.send("GET /older HTTP/1.0\r\n\r\n");
    assert_eq!(old.last_answer(200), b"/older");

    let mut new = connect();
    assert_eq!(new.ask(get("/new")).header("connection"), None);
    // What comes behind the last request is not answered any more.
    new.send([b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", &get("/behind")[..]].concat());
    assert_eq!(new.last_answer(200), b"/last");

    let numbers = finish(running);
    assert_eq!((numbers.messages_in, numbers.closed_by(CloseKind::Finished)), (4, 2));
}

#[test]
fn an_answer_to_head_has_the_length_of_a_body_and_none() {
    let running = server();
    let mut client = Client::connect(running.local_addr());
    client.send([b"HEAD /four HTTP/1.1\r\nHost: x\r\n\r\n", &get("/next")[..]].concat());
    let answer = client.answer_without_body();
    assert_eq!((answer.status, answer.header("content-length")), (200, Some("5")));
    assert_eq!(client.answer().body, b"/next", "nothing lies between them");
    finish(running);
}

#[test]
fn a_client_that_waits_for_100_is_told_to_go_on_before_it_sends_a_body() {
    let running = server();
    let mut client = Client::connect(running.local_addr());
    let body = pattern(10_000, 1);
    let head = format!("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n", body.len());
    // In one piece, and with its end behind what is kept already.
    for cut in [head.len(), 30, head.len() - 1] {
        let seen = running.metrics().bytes_in;
        client.send(&head[..cut]);
        until(&running, "the begin was read", |numbers| numbers.bytes_in == seen + cut as u64);
        client.send(&head[cut..]);
        assert_eq!(client.answer_without_body().status, 100);
        assert!(client.ask(&body).body == body, "cut at {cut}");
    }
    // Whoever does not wait needs no word, and the next answer is the one to the request.
    let seen = running.metrics().bytes_in;
    client.send([head.as_bytes(), &body[..100]].concat());
    until(&running, "the begin was read", |numbers| numbers.bytes_in == seen + head.len() as u64 + 100);
    let answer = client.ask(&body[100..]);
    assert_eq!((answer.status, answer.body == body), (200, true));
    // What would be refused in the end is refused now.
    client.send("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 10000000\r\n\r\n");
    client.last_answer(413);
    finish(running);
}

#[test]
fn the_answer_to_a_bad_request_is_read_although_its_client_still_sends() {
    let running = server();
    let long = |length| "x".repeat(length);
    let field = |number| format!("F{number}: x\r\n");
    let cases = [
        (400, "what is this\r\n\r\n".into()),
        (400, "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n".into()),
        (400, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n".into()),
        (400, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nno size\r\n".into()),
        (413, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n".into()),
        (414, format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", long(9000))),
        (431, format!("GET / HTTP/1.1\r\nHost: x\r\nLong: {}\r\n\r\n", long(66_000))),
        (431, format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", (0..101).map(field).collect::<String>())),
        (501, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n".into()),
        (505, "GET / HTTP/2.0\r\nHost: x\r\n\r\n".into()),
    ];
    let count = cases.len() as u64;
    for (status, request) in cases {
        let mut client = Client::connect(running.local_addr());
        client.send(request);
        // More than a socket's buffer takes at once, so that the server must read on to get it out of the way.
        client.send(pattern(180_000, 1));
        let words = client.last_answer(status);
        assert!(!words.is_empty(), "{status} says something to people, too");
    }
    let numbers = finish(running);
    assert_eq!((numbers.messages_in, numbers.closed_by(CloseKind::Protocol)), (0, count));
}

#[test]
fn a_good_request_before_a_bad_one_is_answered_first() {
    let running = server();
    let mut client = Client::connect(running.local_addr());
    client.send([&get("/good")[..], &post(&pattern(5000, 1)), b"bad\r\n\r\n", &get("/never")].concat());
    assert_eq!(client.answer().body, b"/good");
    assert!(client.answer().body == pattern(5000, 1));
    client.last_answer(400);
    assert_eq!(finish(running).messages_in, 2);
}

#[test]
fn a_client_that_has_said_all_still_gets_its_answers() {
    let running = server();
    let mut client = Client::connect(running.local_addr());
    client.send([get("/one"), get("/two")].concat());
    half_close(&client.stream);
    assert_eq!((client.answer().body, client.answer().body), (b"/one".to_vec(), b"/two".to_vec()));
    client.ends();
    // With an answer that does not fit the socket, so that its end is there long before it can be delivered.
    let narrow = net::serve_narrow(Http1::default(), |_| {}, echo);
    let mut slow = Client::over(net::connect_narrow(narrow.local_addr()));
    slow.send(post(&pattern(500_000, 1)));
    half_close(&slow.stream);
    until(&narrow, "the end was read", |numbers| numbers.bytes_in >= 500_000 && numbers.messages_out == 1);
    assert!(slow.answer().body == pattern(500_000, 1));
    slow.ends();
    // In the middle of a request there is nothing to answer.
    let mut half = Client::connect(running.local_addr());
    half.send(&post(b"a body")[..30]);
    half_close(&half.stream);
    half.ends();
    finish(narrow);
    let numbers = finish(running);
    assert_eq!((numbers.closed_by(CloseKind::PeerClosed), numbers.closed_by(CloseKind::PeerIncomplete)), (1, 1));
}

#[test]
fn a_reset_in_the_middle_of_a_body_frees_everything() {
    let few = |config: &mut sluicegate::Config| config.inbound = net::tiers([32, 8, 2]);
    let running = serve(Http1::default(), few, echo);
    let request = post(&pattern(BODY_MAX, 1));
    for sent in [200, 20_000, 300_000] {
        // More than there are blocks of the largest size: of those who come that far, most stand in line for one.
        let mut peers: Vec<_> = (0..12).map(|_| connect(running.local_addr())).collect();
        for peer in &mut peers {
            peer.write_all(&request[..200]).expect("taken");
        }
        until(&running, "all have begun", |numbers| numbers.bytes_buffered == 12 * 200);
        // As far as the server takes it, and each kernel as much as it likes: those who wait for a block are not read.
        let mut rests = vec![&request[200..sent]; peers.len()];
        peers.iter().for_each(|peer| peer.set_nonblocking(true).expect("set"));
        let mut send = || {
            for (mut peer, rest) in peers.iter().zip(&mut rests) {
                while let Ok(count @ 1..) = peer.write(rest) {
                    *rest = &rest[count..];
                }
            }
        };
        send();
        if sent > 200_000 {
            until(&running, "some wait", |numbers| {
                send();
                numbers.paused[PauseReason::NoBlocks as usize] > 4
            });
        }
        peers.into_iter().for_each(net::reset);
        let numbers = until(&running, "they are gone", |numbers| numbers.open == 0);
        assert_eq!(numbers.bytes_buffered, 0);
        assert!((0..3).all(|tier| numbers.inbound_blocks[tier] <= AT_HAND[tier]), "{numbers}");
    }
    let mut client = Client::connect(running.local_addr());
    assert!(client.ask(&request).body == pattern(BODY_MAX, 1));
    let numbers = finish(running);
    assert!(numbers.inbound_blocks_high[2] >= 2 && numbers.block_waits[2] > 0, "{numbers}");
}

#[test]
fn a_thousand_connections_at_once_are_all_served() {
    let running = server();
    let mut clients: Vec<_> = (0..net::at_most(1000)).map(|_| Client::connect(running.local_addr())).collect();
    for round in 0..3 {
        for (number, client) in clients.iter_mut().enumerate() {
            client.send(get(&format!("/{round}/{number}")));
            client.send(post(&pattern(100 + number, number)));
        }
        for (number, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.answer().body, format!("/{round}/{number}").as_bytes());
            assert!(client.answer().body == pattern(100 + number, number));
        }
    }
    // The last answers leave before the turns in which they were given are over.
    let numbers =
        until(&running, "no block is held", |numbers| (0..3).all(|tier| numbers.inbound_blocks[tier] <= AT_HAND[tier]));
    assert_eq!(numbers.open, clients.len() as u64);
    assert_eq!(finish(running).messages_in, 6 * clients.len() as u64);
}
