//! Large answers over real sockets: they are sent from where they lie, and what a peer does not take waits.

#[path = "common/net.rs"]
mod net;

use std::io::Write;
use std::thread;

use net::{ask, connect, connect_narrow, finish, frame, half_close, pattern, receive, serve, serve_narrow, until};
use sluicegate::{LengthPrefixed, Message, Reply};

/// More than a socket takes, less, and some that are copied, in turns.
const LENGTHS: [usize; 8] = [1 << 20, 20_000, 300, 200_000, 100_000, 1 << 20, 5, 700_000];

#[test]
fn who_does_not_read_is_given_every_byte_in_the_end() {
    let echo = |message: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>| reply.send(message.payload());
    let running = serve_narrow(LengthPrefixed::default(), |_| {}, echo);
    let mut peer = connect_narrow(running.local_addr());
    let payloads: Vec<Vec<u8>> = LENGTHS.iter().map(|length| pattern(*length, *length)).collect();
    let mut sending = peer.try_clone().expect("a second handle");
    let requests: Vec<u8> = payloads.iter().flat_map(|payload| frame(payload)).collect();
    // In another thread: the server takes no more requests while too much waits for the peer.
    let sender = thread::spawn(move || {
        sending.write_all(&requests).expect("sent");
        half_close(&sending);
    });
    until(&running, "an answer waits for the peer", |numbers| numbers.bytes_outbound > 0);
    for payload in &payloads {
        assert_eq!(receive(&mut peer), *payload);
    }
    sender.join().expect("no panic");
    let numbers = finish(running);
    assert_eq!(numbers.messages_out, LENGTHS.len() as u64);
}

/// The next message is read into a block as large as the last one needed; only bytes that came may keep it.
#[test]
fn who_sent_much_and_now_sends_little_holds_a_small_block() {
    let echo = |message: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>| reply.send(message.payload());
    let running = serve(LengthPrefixed::default(), |_| {}, echo);
    let mut peer = connect(running.local_addr());
    for seed in 0..5 {
        let much = pattern(300_000, seed);
        assert_eq!(ask(&mut peer, &much), much);
        // The answer leaves before the block comes home, and behind that its message is counted.
        let before = until(&running, "its block is home", |numbers| numbers.messages_in == 2 * seed as u64 + 1);
        assert_eq!(before.bytes_buffered, 0, "nothing is unfinished");
        let little = frame(&pattern(2000, seed));
        peer.write_all(&little[..1000]).expect("sent");
        let numbers = until(&running, "the beginning is kept", |numbers| numbers.bytes_buffered == 1000);
        assert_eq!(numbers.inbound_blocks[2], before.inbound_blocks[2], "a large block for little");
        peer.write_all(&little[1000..]).expect("sent");
        assert_eq!(receive(&mut peer), little[4..]);
    }
    finish(running);
}
