//! Time limits over real sockets. They are short here, and a test waits for what they do, never for the time itself.

#[path = "common/http_client.rs"]
mod http_client;
#[path = "common/net.rs"]
mod net;

use std::sync::mpsc;
use std::time::Duration;

use http_client::{Client, get, post};
use net::{LONG, connect, finish, over, pattern, rest, serve, until};
use sluicegate::http1::{Http1, Response};
use sluicegate::{CloseKind, Config, DropReason, LengthPrefixed, Message, Reply};

const SOON: Duration = Duration::from_millis(50);

fn echo(request: Message<'_, Http1>, reply: Reply<'_, Http1>) {
    match request.body() {
        [] => reply.send(Response::ok(request.target())),
        body => reply.send(Response::ok(body)),
    }
}

#[test]
fn a_request_that_is_not_whole_in_time_is_answered_with_408() {
    let soon = |config: &mut Config| (config.timeouts.message, config.timeouts.message_rate) = (SOON, 0);
    let running = serve(Http1::default(), soon, echo);
    let request = post(&pattern(10_000, 1));
    for sent in [1, 20, 100, 9000] {
        let mut client = Client::connect(running.local_addr());
        client.ask_for("/before");
        client.send(&request[..sent]);
        client.last_answer(408);
    }
    let numbers = finish(running);
    assert_eq!((numbers.messages_in, numbers.closed_by(CloseKind::TooSlow)), (4, 4));
    assert_eq!(numbers.dropped_for(DropReason::Incomplete), 1 + 20 + 100 + 9000);
}

#[test]
fn bytes_that_arrive_earn_a_message_more_time() {
    let soon = |config: &mut Config| (config.timeouts.message, config.timeouts.message_rate) = (SOON, 50);
    let running = serve(Http1::default(), soon, echo);
    let body = pattern(10_000, 1);
    let request = post(&body);
    let mut diligent = Client::connect(running.local_addr());
    diligent.send(&request[..5000]);
    until(&running, "it has begun", |numbers| numbers.bytes_buffered == 5000);
    // Several times over, others are too slow meanwhile.
    for _ in 0..3 {
        let mut slow = Client::connect(running.local_addr());
        slow.send(&request[..20]);
        slow.last_answer(408);
    }
    assert!(diligent.ask(&request[5000..]).body == body);
    finish(running);
}

#[test]
fn an_idle_connection_is_closed_and_one_that_waits_for_the_server_is_not() {
    let (ask, asked) = mpsc::channel();
    let user = move |request: Message<'_, Http1>, reply: Reply<'_, Http1>| match request.target() {
        "/later" => ask.send(reply.defer()).expect("the test listens"),
        other => reply.send(Response::ok(other)),
    };
    let server = net::bound(Http1::default(), |config| config.timeouts.idle = SOON);
    // They have spoken before they are accepted: however late this thread is, they have not been idle.
    let [mut waits, mut begins, mut client] = [(); 3].map(|()| Client::connect(server.local_addr()));
    waits.send(get("/later"));
    begins.send(&get("/begun")[..10]);
    client.send(get("/once"));
    let running = server.start(user).expect("started");
    let deferred = asked.recv_timeout(LONG).expect("a request");
    until(&running, "both have begun", |numbers| numbers.bytes_buffered == 10);
    // These say nothing at all, and nothing more after an answer.
    assert_eq!(rest(&mut connect(running.local_addr())), b"");
    assert_eq!(client.answer().body, b"/once");
    client.ends();
    let numbers = until(&running, "two are gone", |numbers| (numbers.open, numbers.closed_total()) == (2, 2));
    assert_eq!(numbers.closed_by(CloseKind::Idle), 2, "{numbers}");
    deferred.send(Response::ok("at last"));
    assert_eq!(waits.answer().body, b"at last");
    assert_eq!(begins.ask(&get("/begun")[10..]).body, b"/begun");
    finish(running);
}

#[test]
fn a_peer_that_takes_nothing_of_its_answer_is_closed() {
    let soon = |config: &mut Config| config.timeouts.write_stall = SOON;
    let running = net::serve_narrow(Http1::default(), soon, echo);
    let mut stalls = Client::over(net::connect_narrow(running.local_addr()));
    stalls.send(post(&pattern(500_000, 1)));
    let numbers = until(&running, "it is closed", |numbers| numbers.closed_total() == 1);
    assert_eq!(numbers.closed_by(CloseKind::WriteStalled), 1, "{numbers}");
    let lost = numbers.dropped_for(DropReason::Undelivered);
    assert!(lost > 400_000 && numbers.bytes_outbound == 0, "{numbers}");
    assert!(numbers.outbound_blocks[1..] == [0, 0], "what it did not take is free again:\n{numbers}");
    Client::connect(running.local_addr()).ask_for("/others");
    finish(running);
}

#[test]
fn a_peer_that_does_not_close_after_its_last_answer_is_closed() {
    let running = serve(Http1::default(), |config| config.timeouts.linger = SOON, echo);
    let mut stays = Client::connect(running.local_addr());
    assert_eq!(stays.ask("bad\r\n\r\n").status, 400);
    until(&running, "it is closed", |numbers| numbers.open == 0);
    assert_eq!(finish(running).closed_by(CloseKind::Protocol), 1);
}

#[test]
fn a_peer_that_only_sends_after_its_last_answer_is_closed() {
    const BYTES: usize = 100_000;
    let running = serve(Http1::default(), |config| config.timeouts.linger_bytes = BYTES, echo);
    let mut sends = Client::connect(running.local_addr());
    assert_eq!(sends.ask("bad\r\n\r\n").status, 400);
    let more = pattern(10_000, 1);
    // It may be reset now; but not before it has sent that much.
    let sent = (0..1000).take_while(|_| std::io::Write::write_all(&mut sends.stream, &more).is_ok()).count();
    assert!((BYTES / more.len()..1000).contains(&sent), "{sent} times");
    over(&mut sends.stream);
    let numbers = finish(running);
    assert_eq!(numbers.dropped_for(DropReason::AfterClose), BYTES as u64, "{numbers}");
}

#[test]
fn who_waits_for_a_large_block_is_given_that_of_the_one_who_received_least() {
    let (tell, told) = mpsc::channel();
    struct Tells(mpsc::Sender<String>);
    impl sluicegate::MessageProcessor<LengthPrefixed> for Tells {
        fn process(&mut self, message: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>) {
            reply.send(message.payload());
        }

        fn closed(&mut self, _: &sluicegate::Peer, reason: &sluicegate::CloseReason) {
            let _ = self.0.send(reason.to_string());
        }
    }
    let few = |config: &mut Config| {
        config.inbound = net::tiers([16, 4, 2]);
        config.timeouts.famine = SOON;
    };
    let running = serve(LengthPrefixed::default(), few, Tells(tell));
    let message = net::frame(&pattern(1 << 20, 1));
    let mut silent: Vec<_> = (0..2).map(|_| connect(running.local_addr())).collect();
    for (peer, buffered) in silent.iter_mut().zip([1, 2]) {
        std::io::Write::write_all(peer, &message[..300_000]).expect("taken");
        until(&running, "it holds a large block", |numbers| numbers.bytes_buffered == buffered * 300_000);
    }
    assert_eq!(running.metrics().inbound_blocks[2], 3, "they have them all, but for the spare");
    let mut diligent = connect(running.local_addr());
    assert!(net::ask(&mut diligent, &pattern(1 << 20, 2)) == pattern(1 << 20, 2));
    drop(silent);
    let reasons: Vec<_> = (0..2).map(|_| told.recv_timeout(LONG).expect("closed")).collect();
    let evicted = |reason: &&String| reason.contains("evicted") && reason.contains("300000 bytes");
    assert_eq!(reasons.iter().filter(evicted).count(), 1, "{reasons:?}");
    let numbers = finish(running);
    assert_eq!(numbers.evictions, [0, 0, 1], "{numbers}");
}

#[test]
fn who_is_owed_an_answer_is_not_idle_whatever_the_protocol() {
    let (ask, asked) = mpsc::channel();
    let user = move |message: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>| {
        ask.send((message.payload().to_vec(), reply.defer())).expect("the test listens");
    };
    let server = net::bound(LengthPrefixed::default(), |config| config.timeouts.idle = SOON);
    // It has asked before it is accepted: however late this thread is, it has not been idle.
    let mut waits = connect(server.local_addr());
    net::send(&mut waits, b"later");
    let running = server.start(user).expect("started");
    let (payload, deferred) = asked.recv_timeout(LONG).expect("a message");
    // Others come and are idle meanwhile.
    (0..3).for_each(|_| assert_eq!(rest(&mut connect(running.local_addr())), b""));
    deferred.send(payload);
    assert_eq!(net::receive(&mut waits), b"later");
    assert_eq!(rest(&mut waits), b"", "from now on it is");
    assert_eq!(finish(running).closed_by(CloseKind::Idle), 4);
}

#[test]
fn a_message_that_only_dribbles_has_less_time_than_one_that_comes_at_a_rate() {
    let soon = |config: &mut Config| (config.timeouts.rate_grace, config.timeouts.message_rate) = (SOON, 10_000);
    let running = serve(Http1::default(), soon, echo);
    let (small, large) = (post(&pattern(10_000, 1)), post(&pattern(900_000, 1)));
    let mut diligent = Client::connect(running.local_addr());
    // More than these tests last, at that rate.
    diligent.send(&large[..400_000]);
    for _ in 0..3 {
        let mut dribbles = Client::connect(running.local_addr());
        dribbles.send(&small[..20]);
        dribbles.last_answer(408);
    }
    assert!(diligent.ask(&large[400_000..]).body == large[large.len() - 900_000..]);
    assert_eq!(finish(running).closed_by(CloseKind::TooSlow), 3);
}
