//! Answers over real sockets that are given later, elsewhere, unasked, or not at all.

#[path = "common/http_client.rs"]
mod http_client;
#[path = "common/net.rs"]
mod net;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use http_client::{Client, get};
use net::{LONG, ask, connect, finish, frame, half_close, pattern, receive, send, serve, until};
use sluicegate::http1::{Http1, Response};
use sluicegate::{
    CloseKind, ConnectionId, Deferred, DropReason, LengthPrefixed, Message, MessageProcessor, PauseReason, Peer, Reply,
    SendError, WriteProxy,
};

/// A request's target, and the answer it waits for.
type Asked = (String, Deferred<Http1>);

/// Defers every answer and hands it to the test.
fn deferring() -> (impl MessageProcessor<Http1> + 'static, Receiver<Asked>) {
    let (ask, asked) = mpsc::channel();
    let user = move |request: Message<'_, Http1>, reply: Reply<'_, Http1>| {
        let _ = ask.send((request.target().to_owned(), reply.defer()));
    };
    (user, asked)
}

fn next(asked: &Receiver<Asked>) -> Asked {
    asked.recv_timeout(LONG).expect("a request")
}

#[test]
fn a_panic_is_answered_with_500_and_the_server_lives() {
    let user = |request: Message<'_, Http1>, reply: Reply<'_, Http1>| match request.target() {
        // Not `panic!`: its hook would write to the test's output.
        "/panic" => std::panic::resume_unwind(Box::new("as planned")),
        other => reply.send(Response::ok(other)),
    };
    let running = serve(Http1::default(), |_| {}, user);
    let mut bystander = Client::connect(running.local_addr());
    bystander.ask_for("/before");
    let mut client = Client::connect(running.local_addr());
    client.send([get("/good"), get("/panic"), get("/never")].concat());
    assert_eq!(client.answer().body, b"/good");
    client.last_answer(500);
    bystander.ask_for("/after");
    let numbers = finish(running);
    assert_eq!((numbers.panics, numbers.closed_by(CloseKind::Unanswered)), (1, 1));
}

#[test]
fn a_reply_that_is_dropped_is_answered_with_500() {
    let (ask, asked) = mpsc::channel();
    let user = move |request: Message<'_, Http1>, reply: Reply<'_, Http1>| match request.target() {
        "/dropped" => drop(reply),
        "/later" => ask.send(reply.defer()).expect("the test listens"),
        "/none" => reply.none(),
        _ => reply.close(),
    };
    let running = serve(Http1::default(), |_| {}, user);
    let asking = |target| {
        let mut client = Client::connect(running.local_addr());
        client.send(get(target));
        client
    };
    asking("/dropped").last_answer(500);
    let client = asking("/later");
    drop(asked.recv_timeout(LONG).expect("deferred"));
    client.last_answer(500);
    // Not to answer is something else: it was said, and nothing else fits a protocol of questions and answers.
    asking("/none").ends();
    asking("/close").ends();
    let numbers = finish(running);
    assert_eq!((numbers.closed_by(CloseKind::Unanswered), numbers.closed_by(CloseKind::User)), (2, 2));
}

#[test]
fn later_answers_of_several_threads_keep_the_order_of_their_requests() {
    const CLIENTS: usize = 8;
    const EACH: usize = 60;
    let (user, asked) = deferring();
    let asked = Arc::new(std::sync::Mutex::new(asked));
    let running = serve(Http1::default(), |_| {}, user);
    let workers: Vec<_> = (0..3)
        .map(|_| {
            let asked = Arc::clone(&asked);
            thread::spawn(move || {
                loop {
                    let next = asked.lock().expect("nobody panics").recv();
                    let Ok((target, deferred)) = next else { return };
                    let length = 1 + target.len() * 700;
                    deferred.send(Response::ok([target.as_bytes(), &pattern(length, length)].concat()));
                }
            })
        })
        .collect();
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| Client::connect(running.local_addr())).collect();
    let target = |client: usize, number: usize| format!("/{client}/{number}");
    for (client, connection) in clients.iter_mut().enumerate() {
        connection.send((0..EACH).flat_map(|number| get(&target(client, number))).collect::<Vec<u8>>());
    }
    for (client, connection) in clients.iter_mut().enumerate() {
        for number in 0..EACH {
            assert!(connection.answer().body.starts_with(target(client, number).as_bytes()), "{client} {number}");
        }
    }
    let numbers = finish(running);
    assert_eq!(numbers.messages_out, (CLIENTS * EACH) as u64);
    workers.into_iter().for_each(|worker| worker.join().expect("no panic"));
}

#[test]
fn while_an_answer_is_owed_the_next_request_waits_and_the_others_do_not() {
    let (user, asked) = deferring();
    let running = serve(Http1::default(), |_| {}, user);
    let (mut slow, mut other) = (Client::connect(running.local_addr()), Client::connect(running.local_addr()));
    slow.send([get("/first"), get("/second")].concat());
    let (target, first) = next(&asked);
    assert_eq!(target, "/first");
    other.send(get("/other"));
    let (target, deferred) = next(&asked);
    assert_eq!(target, "/other", "and not the second of the one who is owed the first");
    deferred.send(Response::ok(&target));
    assert_eq!(other.answer().body, b"/other");
    first.send(Response::ok("one"));
    assert_eq!(slow.answer().body, b"one");
    let (target, second) = next(&asked);
    second.send(Response::ok(&target));
    assert_eq!(slow.answer().body, b"/second");
    assert_eq!(finish(running).owed, 0);
}

#[test]
fn whoever_has_said_all_still_gets_what_is_owed() {
    let (user, asked) = deferring();
    let running = serve(Http1::default(), |_| {}, user);
    let mut client = Client::connect(running.local_addr());
    client.send([get("/one"), get("/two")].concat());
    half_close(&client.stream);
    for expected in ["/one", "/two"] {
        let (target, deferred) = next(&asked);
        assert_eq!(target, expected);
        deferred.send(Response::ok(&target));
        assert_eq!(client.answer().body, target.as_bytes());
    }
    client.ends();
    assert_eq!(finish(running).closed_by(CloseKind::PeerClosed), 1);
}

#[test]
fn a_late_answer_reaches_nobody_although_its_place_was_taken_by_another() {
    let (user, asked) = deferring();
    let running = serve(Http1::default(), |_| {}, user);
    let mut gone = Client::connect(running.local_addr());
    gone.send(get("/gone"));
    let (_, late) = next(&asked);
    net::reset(gone.stream);
    until(&running, "it is gone", |numbers| numbers.open == 0);
    let mut client = Client::connect(running.local_addr());
    client.send(get("/here"));
    let (target, deferred) = next(&asked);
    assert_eq!(late.connection().slot(), deferred.connection().slot(), "the same place");
    late.send(Response::ok("for somebody else"));
    until(&running, "it was dropped", |numbers| numbers.messages_dropped[DropReason::Stale as usize] == 1);
    deferred.send(Response::ok(&target));
    assert_eq!(client.answer().body, b"/here");
    finish(running);
}

#[test]
fn a_deferred_answer_can_be_sent_at_once() {
    let user = |request: Message<'_, Http1>, reply: Reply<'_, Http1>| {
        let target = request.target().to_owned();
        reply.defer().send(Response::ok(target));
    };
    let running = serve(Http1::default(), |_| {}, user);
    let mut client = Client::connect(running.local_addr());
    client.send((0..100).flat_map(|number| get(&format!("/{number}"))).collect::<Vec<u8>>());
    for number in 0..100 {
        assert_eq!(client.answer().body, format!("/{number}").as_bytes());
    }
    finish(running);
}

/// Is ready when the test says so.
struct Moody(Arc<AtomicBool>);

impl MessageProcessor<Http1> for Moody {
    fn process(&mut self, request: Message<'_, Http1>, reply: Reply<'_, Http1>) {
        reply.send(Response::ok(request.target()));
    }

    fn ready(&mut self) -> bool {
        self.0.load(SeqCst)
    }
}

#[test]
fn a_processor_that_is_not_ready_is_handed_nothing_until_it_is_resumed() {
    let mood = Arc::new(AtomicBool::new(true));
    let running = serve(Http1::default(), |_| {}, Moody(Arc::clone(&mood)));
    let mut clients: Vec<_> = (0..20).map(|_| Client::connect(running.local_addr())).collect();
    clients.iter_mut().for_each(|client| client.ask_for("/ready"));
    for round in 1..4 {
        mood.store(false, SeqCst);
        clients.iter_mut().for_each(|client| client.send([get("/one"), get("/two")].concat()));
        let not_ready = PauseReason::NotReady as usize;
        let numbers = until(&running, "all wait", |numbers| numbers.paused[not_ready] == 20);
        assert_eq!(numbers.messages_in, 20 + (round - 1) * 40);
        // Said too early, it changes nothing.
        running.proxy().resume();
        mood.store(true, SeqCst);
        running.proxy().resume();
        for client in &mut clients {
            assert_eq!((client.answer().body, client.answer().body), (b"/one".to_vec(), b"/two".to_vec()));
        }
    }
    finish(running);
}

/// Tells the test who has come.
struct Introduces(Sender<ConnectionId>);

impl MessageProcessor<LengthPrefixed> for Introduces {
    fn opened(&mut self, peer: &Peer, _: &WriteProxy<LengthPrefixed>) {
        let _ = self.0.send(peer.connection);
    }

    fn process(&mut self, message: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>) {
        reply.send(message.payload());
    }
}

#[test]
fn an_unread_outbox_is_full_at_a_bound_and_loses_nothing_it_took() {
    let (introduce, introduced) = mpsc::channel();
    let running = net::serve_narrow(LengthPrefixed::default(), |_| {}, Introduces(introduce));
    let mut peer = net::connect_narrow(running.local_addr());
    let connection = introduced.recv_timeout(LONG).expect("opened");
    let proxy = running.proxy();
    for round in 0..3 {
        let mut taken = 0;
        loop {
            match proxy.send(connection, pattern(8000, taken)) {
                Ok(()) => taken += 1,
                // What is still on its way to the processor may yet leave.
                Err(_) if running.metrics().unasked_queue > 0 => thread::yield_now(),
                Err(error) => break assert_eq!(error, SendError::PeerTooSlow),
            }
            assert!(taken < 1000, "a peer that reads nothing was sent {taken} messages");
        }
        // Full at the high watermark and one message; a little may have left since.
        let numbers = running.metrics();
        assert!((200 << 10..=(256 << 10) + 8004).contains(&numbers.bytes_outbound), "round {round}: {numbers}");
        // The others are not concerned.
        let mut other = connect(running.local_addr());
        let other_id = introduced.recv_timeout(LONG).expect("opened");
        assert_eq!(proxy.send(other_id, b"hello"), Ok(()));
        assert_eq!(receive(&mut other), b"hello");
        for number in 0..taken {
            assert!(receive(&mut peer) == pattern(8000, number), "round {round}: message {number}");
        }
    }
    assert_eq!(ask(&mut peer, b"still here"), b"still here");
    let numbers = finish(running);
    assert!(numbers.messages_dropped[DropReason::PeerTooSlow as usize] >= 3, "{numbers}");
}

#[test]
fn one_peer_is_owed_so_many_answers_and_no_more() {
    const OWED_MAX: usize = 4;
    let (ask, asked) = mpsc::channel();
    let user = move |message: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>| {
        let _ = ask.send((message.payload().to_vec(), reply.defer()));
    };
    let running = serve(LengthPrefixed::default(), |config| config.owed_max = OWED_MAX, user);
    let mut peer = connect(running.local_addr());
    peer.write_all(&(0..20).flat_map(|number| frame(&[number])).collect::<Vec<u8>>()).expect("taken");
    let next = || asked.recv_timeout(LONG).expect("a message");
    let mut owed: Vec<(Vec<u8>, Deferred<LengthPrefixed>)> = (0..OWED_MAX).map(|_| next()).collect();
    for round in 0..16 {
        let numbers = until(&running, "it waits", |numbers| numbers.paused[PauseReason::Owed as usize] == 1);
        assert_eq!(numbers.messages_in, (OWED_MAX + round) as u64, "{numbers}");
        assert!(asked.try_recv().is_err());
        // Out of order: with this protocol an answer leaves when it is there.
        let (payload, deferred) = owed.remove(round % OWED_MAX);
        deferred.send(&payload[..]);
        assert_eq!(receive(&mut peer), payload);
        owed.push(next());
    }
    let mut other = connect(running.local_addr());
    send(&mut other, b"other");
    let (payload, deferred) = next();
    assert_eq!(payload, b"other", "one's debts are not another's");
    deferred.send(b"yes");
    assert_eq!(receive(&mut other), b"yes");
    drop(owed);
    assert_eq!(net::rest(&mut peer), b"", "what will never be answered ends the connection");
    finish(running);
}

#[test]
fn all_peers_together_are_owed_so_many_answers_and_no_more() {
    let (user, asked) = deferring();
    let total = |config: &mut sluicegate::Config| (config.owed_total_max, config.owed_max) = (3, 1);
    let running = serve(Http1::default(), total, user);
    let mut clients: Vec<_> = (0..10).map(|_| Client::connect(running.local_addr())).collect();
    clients.iter_mut().for_each(|client| client.send(get("/")));
    until(&running, "all wait", |numbers| numbers.paused[PauseReason::Owed as usize] == 10);
    assert_eq!(running.metrics().messages_in, 3);
    for _ in 0..10 {
        next(&asked).1.send(Response::ok("in the end"));
    }
    clients.iter_mut().for_each(|client| assert_eq!(client.answer().body, b"in the end"));
    finish(running);
}

#[test]
fn an_answer_that_does_not_come_in_time_is_503_and_what_comes_late_is_dropped() {
    let (user, asked) = deferring();
    let soon = |config: &mut sluicegate::Config| config.timeouts.reply = Duration::from_millis(50);
    let running = serve(Http1::default(), soon, user);
    let mut client = Client::connect(running.local_addr());
    client.send([get("/slow"), get("/behind")].concat());
    let (_, late) = next(&asked);
    client.last_answer(503);
    late.send(Response::ok("too late"));
    until(&running, "it was dropped", |numbers| numbers.messages_dropped[DropReason::Stale as usize] == 1);
    let numbers = finish(running);
    assert_eq!((numbers.messages_in, numbers.closed_by(CloseKind::ReplyTimeout)), (1, 1));
}
