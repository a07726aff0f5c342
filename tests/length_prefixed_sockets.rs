//! Length-prefixed messages over real sockets: every size, any order, unasked, kept by their user, and never finished.

#[path = "common/net.rs"]
mod net;

use std::io::Write;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use net::{AT_HAND, LONG, ask, connect, finish, frame, pattern, receive, rest, send, serve, tiers, until};
use sluicegate::{
    CloseKind, CloseReason, Config, ConnectionId, Deferred, LengthPrefixed, Message, MessageProcessor, PauseReason,
    Peer, Reply, Running, SendError, Snapshot, WriteProxy,
};

const PAYLOAD_MAX: usize = LengthPrefixed::PAYLOAD_MAX_DEFAULT;

fn echo(message: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>) {
    reply.send(message.payload());
}

#[test]
fn a_payload_of_every_size_comes_back() {
    let running = serve(LengthPrefixed::default(), |_| {}, echo);
    let mut peer = connect(running.local_addr());
    let edges = [4 << 10, (4 << 10) + 512, 64 << 10, 128 << 10, (128 << 10) + 512];
    let around = edges.into_iter().flat_map(|edge: usize| [edge - 5, edge - 4, edge - 3, edge]);
    let lengths: Vec<_> = [0, 1, 2].into_iter().chain(around).chain([PAYLOAD_MAX - 1, PAYLOAD_MAX]).collect();
    for &length in &lengths {
        assert!(ask(&mut peer, &pattern(length, length)) == pattern(length, length), "{length} bytes");
    }
    // All of them at once, and byte by byte as far as that makes sense.
    let mut writes = peer.try_clone().expect("a second handle");
    thread::scope(|scope| {
        scope.spawn(|| lengths.iter().for_each(|&length| send(&mut writes, &pattern(length, length))));
        for &length in &lengths {
            assert!(receive(&mut peer) == pattern(length, length), "{length} bytes among others");
        }
    });
    for byte in [frame(b""), frame(b"x"), frame(&pattern(300, 1))].concat() {
        peer.write_all(&[byte]).expect("taken");
    }
    for expected in [Vec::new(), b"x".to_vec(), pattern(300, 1)] {
        assert_eq!(receive(&mut peer), expected);
    }
    assert_eq!(finish(running).messages_in, 2 * lengths.len() as u64 + 3);
}

/// Echoes, and tells the test who comes, and who goes and why.
struct Tells(Sender<Told>);

#[derive(Debug)]
enum Told {
    Opened(ConnectionId),
    Closed(ConnectionId, CloseKind, String),
}

impl MessageProcessor<LengthPrefixed> for Tells {
    fn process(&mut self, message: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>) {
        reply.send(message.payload());
    }

    fn opened(&mut self, peer: &Peer, _: &WriteProxy<LengthPrefixed>) {
        let _ = self.0.send(Told::Opened(peer.connection));
    }

    fn closed(&mut self, peer: &Peer, reason: &CloseReason) {
        let _ = self.0.send(Told::Closed(peer.connection, reason.kind(), reason.to_string()));
    }
}

fn opened(told: &Receiver<Told>) -> ConnectionId {
    match told.recv_timeout(LONG).expect("somebody comes") {
        Told::Opened(connection) => connection,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_payload_over_the_maximum_closes_with_a_reason_that_names_both_numbers() {
    let (tell, told) = mpsc::channel();
    let running = serve(LengthPrefixed::default(), |_| {}, Tells(tell));
    for claimed in [PAYLOAD_MAX + 1, u32::MAX as usize] {
        let mut peer = connect(running.local_addr());
        let id = opened(&told);
        let claim = u32::try_from(claimed).expect("short enough").to_be_bytes();
        peer.write_all(&[&frame(b"good")[..], &claim, b"and its begin"].concat()).expect("taken");
        assert_eq!(rest(&mut peer), frame(b"good"), "what came before is answered, and nothing is said about the rest");
        drop(peer);
        let Told::Closed(closed, kind, reason) = told.recv_timeout(LONG).expect("closed") else {
            panic!("nobody else comes");
        };
        assert_eq!((closed, kind), (id, CloseKind::Protocol));
        assert!(reason.contains(&claimed.to_string()) && reason.contains("1048576"), "{reason}");
    }
    finish(running);
    assert!(told.recv().is_err(), "every connection was closed once");
}

#[test]
fn later_answers_leave_when_they_are_there() {
    let (ask, asked) = mpsc::channel::<(Vec<u8>, Deferred<LengthPrefixed>)>();
    let user = move |message: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>| {
        let _ = ask.send((message.payload().to_vec(), reply.defer()));
    };
    let running = serve(LengthPrefixed::default(), |_| {}, user);
    let mut peer = connect(running.local_addr());
    peer.write_all(&(0..50).flat_map(|number| frame(&[number; 900])).collect::<Vec<u8>>()).expect("taken");
    let mut owed: Vec<_> = (0..50).map(|_| asked.recv_timeout(LONG).expect("a message")).collect();
    for step in [7, 3, 1] {
        let mut at = owed.len();
        while at > 0 {
            at = at.saturating_sub(step);
            let (payload, deferred) = owed.remove(at);
            deferred.send(&payload[..]);
            assert_eq!(receive(&mut peer), payload);
        }
    }
    assert!(owed.is_empty());
    finish(running);
}

#[test]
fn a_thread_of_its_own_tells_a_hundred_peers() {
    const MESSAGES: usize = 30;
    let (tell, told) = mpsc::channel();
    let running = serve(LengthPrefixed::default(), |_| {}, Tells(tell));
    let mut peers: Vec<_> = (0..100).map(|_| connect(running.local_addr())).collect();
    let ids: Vec<_> = peers.iter().map(|_| opened(&told)).collect();
    let proxy = running.proxy();
    let news = |number: usize| Arc::<[u8]>::from(pattern(50 + 300 * number, number));
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..MESSAGES {
                let news = news(number);
                for &id in &ids {
                    while let Err(error) = proxy.send(id, Arc::clone(&news)) {
                        assert!(matches!(error, SendError::PeerTooSlow | SendError::OutboxFull), "{error}");
                        thread::yield_now();
                    }
                }
            }
        });
        // Their own answers go between the news.
        for (number, peer) in peers.iter_mut().enumerate() {
            let own = pattern(33, number);
            send(peer, &own);
            let (mut next, mut own_seen) = (0, false);
            while next < MESSAGES || !own_seen {
                let message = receive(peer);
                if message == own {
                    own_seen = true
                } else {
                    assert!(message[..] == news(next)[..], "peer {number}, message {next}");
                    next += 1;
                }
            }
        }
    });
    finish(running);
}

/// Messages that their user keeps until the test lets go of them.
type Kept = Arc<Mutex<Vec<Message<'static, LengthPrefixed>>>>;

fn keeping(kept: &Kept) -> impl MessageProcessor<LengthPrefixed> + 'static {
    let kept = Arc::clone(kept);
    move |message: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>| {
        // Locked first: whoever sees its block counted as kept finds it among the others.
        let mut kept = kept.lock().expect("nobody panics");
        let message = message.into_owned();
        reply.send(message.payload());
        kept.push(message);
    }
}

/// Waits until `at_first` messages or more are kept and somebody waits for a block; then lets go of them again and
/// again, until all of the `messages` were answered. Returns the most that were kept at once.
fn let_go(running: &Running<LengthPrefixed>, kept: &Kept, at_first: u64, messages: u64) -> usize {
    let waiting = |numbers: &Snapshot| numbers.paused[PauseReason::NoBlocks as usize];
    until(running, "blocks lack", |numbers| {
        waiting(numbers) > 0 && numbers.blocks_kept.iter().sum::<u64>() >= at_first
    });
    let mut most = 0;
    loop {
        let numbers = until(running, "blocks lack, or all are served", |numbers| {
            waiting(numbers) > 0 || numbers.messages_out == messages
        });
        let mut kept = kept.lock().expect("nobody panics");
        most = most.max(kept.len());
        kept.clear();
        if numbers.messages_out == messages {
            return most;
        }
    }
}

#[test]
fn while_its_user_keeps_all_blocks_the_server_waits_and_then_serves_everyone() {
    let kept = Kept::default();
    let few = |config: &mut Config| config.inbound = tiers([4, 2, 1]);
    let running = serve(LengthPrefixed::default(), few, keeping(&kept));
    let payload = |number: usize| pattern([100, 4000, 30, 0][number % 4], number);
    let mut peers: Vec<_> = (0..60).map(|_| connect(running.local_addr())).collect();
    peers.iter_mut().enumerate().for_each(|(number, peer)| send(peer, &payload(number)));
    // All blocks but the two that are at hand for the rest of a read.
    assert_eq!(let_go(&running, &kept, 5 + 3 + 2 - 2, 60), 8);
    for (number, peer) in peers.iter_mut().enumerate() {
        assert!(receive(peer) == payload(number), "peer {number}");
    }
    let numbers = finish(running);
    assert_eq!((numbers.inbound_blocks_high, numbers.evictions), ([5, 3, 2], [0; 3]));
}

#[test]
fn large_messages_that_are_kept_make_their_peer_wait_as_well() {
    const MESSAGES: usize = 12;
    let kept = Kept::default();
    let few = |config: &mut Config| config.inbound = tiers([4, 2, 1]);
    let running = serve(LengthPrefixed::default(), few, keeping(&kept));
    let payload = |number: usize| pattern([200_000, 50_000, 1 << 20][number % 3], number);
    let mut peer = connect(running.local_addr());
    let mut writes = peer.try_clone().expect("a second handle");
    thread::scope(|scope| {
        scope.spawn(move || (0..MESSAGES).for_each(|number| send(&mut writes, &payload(number))));
        scope.spawn(move || {
            for number in 0..MESSAGES {
                assert!(receive(&mut peer) == payload(number), "message {number}");
            }
        });
        // The first has taken a large block along. What was read behind it lies in the other, and needs that as a
        // spare.
        assert!(let_go(&running, &kept, 1, MESSAGES as u64) <= 3 + 2);
    });
    assert_eq!(finish(running).evictions, [0; 3]);
}

#[test]
fn half_messages_that_claim_much_do_not_hold_up_a_healthy_client() {
    const SMALL: usize = 64;
    let few = |config: &mut Config| (config.inbound[0].count, config.timeouts.famine) = (SMALL, Duration::from_secs(1));
    let running = serve(LengthPrefixed::default(), few, echo);
    let mut healthy = connect(running.local_addr());
    let half = &frame(&pattern(1 << 20, 1))[..100];
    let mut halves = Vec::new();
    let count = net::at_most(2000);
    for round in 0..100 {
        for _ in 0..count / 100 {
            let mut peer = connect(running.local_addr());
            peer.write_all(half).expect("taken");
            halves.push(peer);
        }
        for length in [10, 3000, 20_000] {
            assert!(ask(&mut healthy, &pattern(length, round)) == pattern(length, round), "round {round}");
        }
    }
    let all = halves.len() as u64;
    let numbers = until(&running, "all have begun", |numbers| numbers.accepted == all + 1);
    assert!(numbers.bytes_buffered <= (SMALL as u64 + 1) * 100, "they get what small blocks there are:\n{numbers}");
    for round in 0..100 {
        assert!(ask(&mut healthy, &pattern(500, round)) == pattern(500, round));
    }
    assert!(ask(&mut healthy, &pattern(PAYLOAD_MAX, 2)) == pattern(PAYLOAD_MAX, 2), "the largest as well");
    let evicted = |numbers: &Snapshot| numbers.evictions[0];
    let numbers = until(&running, "the rest had to go", |numbers| evicted(numbers) >= all - SMALL as u64 - 1);
    assert_eq!(numbers.evictions[1..], [0, 0], "{numbers}");
    drop(halves);
    let numbers = until(&running, "they have left", |numbers| (numbers.open, numbers.closed_total()) == (1, all));
    assert_eq!(numbers.closed_by(CloseKind::EvictedInbound), evicted(&numbers));
    assert!((0..3).all(|tier| numbers.inbound_blocks[tier] <= AT_HAND[tier]), "{numbers}");
    finish(running);
}
