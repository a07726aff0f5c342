//! The nine faults of the Java original of this design. Each has its test: a server with that fault fails it.

#[path = "common/http_client.rs"]
mod http_client;
#[path = "common/net.rs"]
mod net;

use std::io::{ErrorKind, Write};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use http_client::{Client, get};
use net::{AT_HAND, LONG, ask, connect, connect_narrow, finish, frame, pattern, receive, send, serve, until};
use sluicegate::http1::{Http1, Response};
use sluicegate::{
    CloseKind, ConnectionId, Deferred, LengthPrefixed, Message, MessageProcessor, Peer, Reply, SendError, Server,
    WriteProxy,
};

fn echo(message: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>) {
    reply.send(message.payload());
}

fn target(request: Message<'_, Http1>, reply: Reply<'_, Http1>) {
    reply.send(Response::ok(request.target()));
}

/// Fault 1: the offset of what was written is not reset between queued messages, and the second answer is cut.
#[test]
fn fault_1_every_queued_answer_is_whole() {
    let answer = |number: usize| pattern(1000 + 977 * number, number);
    // Every second one is copied into blocks; the others are carried as they are.
    let user = move |message: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>| {
        let number = usize::from(message.payload()[0]);
        match number % 2 {
            0 => reply.send(answer(number)),
            _ => reply.send(Arc::<[u8]>::from(answer(number))),
        }
    };
    let running = net::serve_narrow(LengthPrefixed::default(), |_| {}, user);
    let mut peer = connect_narrow(running.local_addr());
    let questions: Vec<u8> = (0..20).flat_map(|number| frame(&[number])).collect();
    peer.write_all(&questions).expect("taken");
    let total: usize = (0..20).map(|number| 4 + answer(number).len()).sum();
    let queued = until(&running, "20 answers are made", |numbers| numbers.messages_out == 20);
    assert!(queued.bytes_outbound > total as u64 / 2, "the peer reads nothing, so most of them wait:\n{queued}");
    for number in 0..20 {
        assert!(receive(&mut peer) == answer(number), "answer {number}");
    }
    assert_eq!(finish(running).bytes_out, total as u64);
}

/// Fault 2: blocks are never returned, and after 1,024 messages the pool is empty.
#[test]
fn fault_2_every_block_comes_home() {
    const MESSAGES: usize = 1500;
    let (later, made): (_, Receiver<(Message<'static, LengthPrefixed>, Deferred<LengthPrefixed>)>) = mpsc::channel();
    // The messages are kept, and their blocks dropped on another thread.
    let user = move |message: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>| {
        let _ = later.send((message.into_owned(), reply.defer()));
    };
    let answers = thread::spawn(move || {
        for (message, deferred) in made {
            deferred.send(message.payload());
        }
    });
    let few = |config: &mut sluicegate::Config| {
        config.inbound = net::tiers([4, 2, 1]);
        config.outbound = net::tiers([4, 2, 1]);
        config.owed_max = 1;
    };
    let running = serve(LengthPrefixed::default(), few, user);
    let message = |number: usize| pattern([10, 3000, 0, 5000, 20, 150_000, 700][number % 7], number);
    let mut peer = connect(running.local_addr());
    let mut reads = peer.try_clone().expect("a second handle");
    let writes = thread::spawn(move || (0..MESSAGES).for_each(|number| send(&mut peer, &message(number))));
    for number in 0..MESSAGES {
        assert!(receive(&mut reads) == message(number), "answer {number}");
    }
    writes.join().expect("all were taken");
    let numbers = finish(running);
    answers.join().expect("no panic");
    assert_eq!(numbers.messages_in, MESSAGES as u64);
    assert!((0..3).all(|tier| numbers.inbound_blocks_high[tier] > 0), "{numbers}");
}

/// Fault 3: every idle socket holds a block, so that there are as many connections as blocks.
#[test]
fn fault_3_an_idle_connection_holds_no_block() {
    let few = |config: &mut sluicegate::Config| {
        config.inbound = net::tiers([16, 4, 1]);
        config.outbound = net::tiers([16, 4, 1]);
    };
    let running = serve(LengthPrefixed::default(), few, echo);
    let mut idle: Vec<_> = (0..net::at_most(1500)).map(|_| connect(running.local_addr())).collect();
    let numbers = until(&running, "all are open", |numbers| numbers.open == idle.len() as u64);
    // Each was looked at once, and for that the processor sets a few aside.
    assert!((0..3).all(|tier| numbers.inbound_blocks[tier] <= AT_HAND[tier]), "nobody has said anything:\n{numbers}");
    for (number, peer) in idle.iter_mut().enumerate() {
        // In two pieces, so that each has held a block for a while.
        let message = frame(&pattern(20, number));
        peer.write_all(&message[..10]).expect("taken");
        until(&running, "it has begun", |numbers| numbers.bytes_buffered == 10);
        peer.write_all(&message[10..]).expect("taken");
        assert_eq!(receive(peer), pattern(20, number));
    }
    let numbers = until(&running, "the last block is home", |numbers| {
        (0..3).all(|tier| numbers.inbound_blocks[tier] <= AT_HAND[tier])
    });
    assert!(numbers.inbound_blocks_high[0] <= 1 + AT_HAND[0], "one at a time:\n{numbers}");
    assert!(numbers.outbound_blocks_high[0] <= 2, "{numbers}");
    let mut one_more = connect(running.local_addr());
    assert_eq!(ask(&mut one_more, &pattern(100_000, 7)), pattern(100_000, 7));
    let numbers = finish(running);
    assert_eq!((numbers.block_waits, numbers.evictions), ([0; 3], [0; 3]), "nobody ever waited for a block");
}

/// Fault 4: one message is parsed for each read event, and a second request waits for bytes that may never come.
#[test]
fn fault_4_all_requests_of_one_packet_are_answered() {
    let running = serve(Http1::default(), |_| {}, target);
    let mut client = Client::connect(running.local_addr());
    let targets: Vec<String> = (0..200).map(|number| format!("/{number}")).collect();
    client.send(targets.iter().flat_map(|target| get(target)).collect::<Vec<u8>>());
    for target in &targets {
        assert_eq!(client.answer().body, target.as_bytes());
    }
    finish(running);
}

/// Fault 5: what follows a message is copied to the wrong place, and its length is not set.
#[test]
fn fault_5_what_follows_a_message_stays_whole_wherever_it_is_cut() {
    let running = serve(LengthPrefixed::default(), |_| {}, echo);
    let mut peer = connect(running.local_addr());
    let mut cut = |first: usize, second: usize, at: usize| {
        let (first, second) = (pattern(first, at), pattern(second, at + 1));
        let framed = frame(&second);
        peer.write_all(&[&frame(&first), &framed[..at]].concat()).expect("taken");
        // Its answer says that the front of the second has been read as well, or comes apart from its rest in any case.
        assert!(receive(&mut peer) == first);
        peer.write_all(&framed[at..]).expect("taken");
        assert!(receive(&mut peer) == second, "cut at {at} of {}", second.len());
    };
    (0..64).for_each(|at| cut(50, 60, at));
    for (first, second) in [(10, 9000), (5000, 200_000), (140_000, 70_000), (70_000, 300_000)] {
        [1, 4, 5, 4095, 4096, 4097, 4608, 8000, second].into_iter().for_each(|at| cut(first, second, at));
    }
    finish(running);
}

/// Fault 6: the buffer's answer "no room" is ignored by the reader.
#[test]
fn fault_6_a_message_moves_to_a_larger_block_when_its_own_is_full() {
    let running = serve(
        Http1::default(),
        |_| {},
        |request: Message<'_, Http1>, reply: Reply<'_, Http1>| {
            reply.send(Response::ok(request.body()));
        },
    );
    let mut client = Client::connect(running.local_addr());
    for (number, length) in [3000, 4050, 4096, 4097, 4608, 131_072, 131_584, 200_000, 960 << 10].into_iter().enumerate()
    {
        let body = pattern(length, number);
        let request = http_client::post(&body);
        // The first bytes alone, so that it begins in a small block.
        client.send(&request[..1000]);
        until(&running, "they have a block", |numbers| numbers.bytes_buffered == 1000);
        assert!(client.ask(&request[1000..]).body == body, "{length} bytes");
    }
    let numbers = finish(running);
    assert_eq!(numbers.promotions, 5, "each that outgrew its block moved once");
}

/// Echoes; at the message `stop` the processor thread stands until the test lets it go on.
fn gated() -> (impl MessageProcessor<LengthPrefixed> + 'static, Sender<()>) {
    let (go, gate) = mpsc::channel();
    let user = move |message: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>| {
        if message.payload() == b"stop" {
            let _ = gate.recv();
        }
        reply.send(message.payload());
    };
    (user, go)
}

/// Fault 7: an I/O error of one socket leaves the cycle, and one peer that resets starves the rest.
#[test]
fn fault_7_a_reset_ends_one_connection_alone() {
    let (user, go) = gated();
    let running = serve(LengthPrefixed::default(), |_| {}, user);
    let mut first = connect(running.local_addr());
    let mut peers: Vec<_> = (0..40).map(|_| connect(running.local_addr())).collect();
    for round in 0..4 {
        let seen = running.metrics().bytes_in;
        send(&mut first, b"stop");
        until(&running, "it stands", |numbers| numbers.bytes_in == seen + 8);
        // What comes now comes in one cycle: messages, then resets, then messages.
        let (mut early, mut late) = (peers.split_off(20), peers.split_off(5));
        early.iter_mut().for_each(|peer| send(peer, &pattern(30, round)));
        for (number, mut peer) in peers.drain(..).enumerate() {
            // Between messages, in the middle of one, and with an answer under way.
            let bytes = frame(&pattern(100_000, number));
            peer.write_all(&bytes[..[0, 2, 50_000, 100_004, 100_004][number]]).expect("taken");
            net::reset(peer);
        }
        late.iter_mut().for_each(|peer| send(peer, &pattern(30, round)));
        go.send(()).expect("it stands");
        assert_eq!(receive(&mut first), b"stop");
        peers.extend(early.into_iter().chain(late));
        peers.iter_mut().for_each(|peer| assert_eq!(receive(peer), pattern(30, round)));
        peers.extend((0..5).map(|_| connect(running.local_addr())));
        let gone = 5 * (round as u64 + 1);
        until(&running, "those who reset are gone", |numbers| {
            // Those in the middle of a message are told apart.
            let of_two_kinds = [CloseKind::Socket, CloseKind::PeerIncomplete].map(|kind| numbers.closed_by(kind));
            of_two_kinds[1] > 0 && of_two_kinds.iter().sum::<u64>() == gone
        });
    }
    finish(running);
}

/// Fault 8: a full socket queue kills the accepter.
#[test]
fn fault_8_a_full_queue_only_makes_peers_wait() {
    let (user, go) = gated();
    let running = serve(LengthPrefixed::default(), |config| config.handover_max = 1, user);
    let mut first = connect(running.local_addr());
    send(&mut first, b"stop");
    // Not only open: from now on the processor stands, and takes nobody.
    until(&running, "it stands", |numbers| numbers.bytes_in == 8);
    let mut others: Vec<_> = (0..100).map(|_| connect(running.local_addr())).collect();
    let numbers = until(&running, "the queue is full", |numbers| numbers.handover_queue == 1);
    assert_eq!(numbers.accepted, 2, "the processor takes nobody meanwhile:\n{numbers}");
    go.send(()).expect("the processor waits");
    assert_eq!(receive(&mut first), b"stop");
    for (number, peer) in others.iter_mut().enumerate() {
        assert_eq!(ask(peer, &pattern(10, number)), pattern(10, number));
    }
    assert_eq!(finish(running).accepted, 101);
}

/// Fault 8, the other half: a bind that fails returns silently.
#[test]
fn fault_8_a_failed_bind_says_where_and_why() {
    let running = serve(LengthPrefixed::default(), |_| {}, echo);
    let taken = running.local_addr();
    let error = Server::bind(taken, LengthPrefixed::default()).expect_err("one server a port");
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    assert!(error.to_string().contains(&taken.to_string()), "{error}");
    finish(running);
}

/// Fault 9: a fixed sleep of 100 ms in each cycle. Where there is one, an idle server wakes, and each request waits.
#[test]
fn fault_9_an_idle_server_sleeps_and_a_request_does_not_wait_for_a_clock() {
    let (idle, busy) = (serve(Http1::default(), |_| {}, target), serve(Http1::default(), |_| {}, target));
    let mut rests = Client::connect(idle.local_addr());
    rests.ask_for("/once");
    let before = idle.metrics().cycles;
    // Time passes because there is something to do elsewhere; not by sleeping.
    let mut client = Client::connect(busy.local_addr());
    let (start, mut asked) = (Instant::now(), 0);
    // With such a sleep, so many requests would take longer than they may.
    while start.elapsed() < Duration::from_millis(400) || asked < 1000 {
        client.ask_for("/busy");
        asked += 1;
        assert!(start.elapsed() < LONG, "{asked} requests in {:?}", start.elapsed());
    }
    let after = idle.metrics().cycles;
    assert!(after <= before + 1, "{} cycles without a reason", after - before);
    let cycles = busy.metrics().cycles;
    assert!(cycles <= 3 * asked + 10, "{cycles} cycles for {asked} requests: it spins");
    rests.ask_for("/again");
    finish(idle);
    finish(busy);
}

/// Tells the test who has come, and by which proxy they are reached.
struct Introduces(Sender<(ConnectionId, WriteProxy<LengthPrefixed>)>);

impl MessageProcessor<LengthPrefixed> for Introduces {
    fn opened(&mut self, peer: &Peer, proxy: &WriteProxy<LengthPrefixed>) {
        let _ = self.0.send((peer.connection, proxy.clone()));
    }

    fn process(&mut self, message: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>) {
        reply.send(message.payload());
    }
}

/// Fault 9: the outbound queue is not thread-safe.
#[test]
fn fault_9_threads_write_to_one_connection_without_a_lock_of_their_own() {
    const THREADS: u8 = 4;
    const EACH: u32 = 500;
    let (introduce, introduced) = mpsc::channel();
    let small = |config: &mut sluicegate::Config| config.unasked_max = 16;
    let running = serve(LengthPrefixed::default(), small, Introduces(introduce));
    let mut peer = connect(running.local_addr());
    let (connection, proxy) = introduced.recv_timeout(LONG).expect("opened");
    let line = |thread: u8, number: u32| [vec![thread; 100 + number as usize], number.to_be_bytes().to_vec()].concat();
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let proxy = proxy.clone();
            scope.spawn(move || {
                for number in 0..EACH {
                    while let Err(error) = proxy.send(connection, line(thread, number)) {
                        assert!(matches!(error, SendError::PeerTooSlow | SendError::OutboxFull), "{error}");
                        thread::yield_now();
                    }
                }
            });
        }
        let mut next = [0; THREADS as usize];
        for _ in 0..u32::from(THREADS) * EACH {
            let message = receive(&mut peer);
            let number = &mut next[usize::from(message[0])];
            assert!(message == line(message[0], *number), "message {number} of thread {}", message[0]);
            *number += 1;
        }
    });
    // The connection's own answers go between them.
    assert_eq!(ask(&mut peer, b"and you?"), b"and you?");
    drop(proxy);
    finish(running);
}

/// Fault 9: header names are matched case-sensitively.
#[test]
fn fault_9_the_case_of_a_field_name_does_not_matter() {
    let running = serve(
        Http1::default(),
        |_| {},
        |request: Message<'_, Http1>, reply: Reply<'_, Http1>| {
            let seen = request.header("X-Thing").unwrap_or(b"nothing");
            reply.send(Response::ok([seen, b" ", request.body()].concat()));
        },
    );
    let mut client = Client::connect(running.local_addr());
    for (host, length, thing) in [
        ("Host", "Content-Length", "X-Thing"),
        ("host", "content-length", "x-thing"),
        ("HOST", "CONTENT-LENGTH", "X-THING"),
        ("hOsT", "cOnTeNt-LeNgTh", "x-tHiNg"),
    ] {
        let request = format!("POST / HTTP/1.1\r\n{host}: h\r\n{length}: 4\r\n{thing}: seen\r\n\r\nbody");
        assert_eq!(client.ask(request).body, b"seen body");
    }
    client.send("GET / HTTP/1.1\r\nhOST: h\r\ncONNECTION: cLOSE\r\n\r\n");
    assert_eq!(client.last_answer(200), b"nothing ");
    finish(running);
}
