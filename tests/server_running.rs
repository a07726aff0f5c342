//! The whole server over real sockets: answers, numbers, the limit of connections, and the end.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use sluicegate::{CloseKind, Finish, LengthPrefixed, Message, Reply, Running, Server};

/// Longer than anything here takes; nothing waits for it when all is well.
const LONG: Duration = Duration::from_secs(60);

fn echo(message: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>) {
    reply.send(message.payload());
}

fn server(connections_max: usize) -> Running<LengthPrefixed> {
    let builder = Server::builder(LengthPrefixed::default()).connections_max(connections_max);
    builder.bind("127.0.0.1:0").expect("a port").start(echo).expect("started")
}

fn connect(address: SocketAddr) -> TcpStream {
    let peer = TcpStream::connect(address).expect("the backlog has room");
    peer.set_read_timeout(Some(LONG)).expect("set");
    peer
}

fn ask(peer: &mut TcpStream, payload: &[u8]) -> io::Result<Vec<u8>> {
    let length = u32::try_from(payload.len()).expect("short enough");
    peer.write_all(&[&length.to_be_bytes(), payload].concat())?;
    answer(peer)
}

fn answer(peer: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    peer.read_exact(&mut length)?;
    let mut payload = vec![0; u32::from_be_bytes(length) as usize];
    peer.read_exact(&mut payload)?;
    Ok(payload)
}

#[test]
fn it_answers_counts_and_ends() {
    let running = server(100);
    let mut peer = connect(running.local_addr());
    for length in [0, 1, 5000, 200_000, 1 << 20] {
        let payload = vec![length as u8 ^ 0x5a; length];
        assert_eq!(ask(&mut peer, &payload).expect("an answer"), payload);
    }
    let numbers = running.metrics();
    assert_eq!((numbers.accepted, numbers.open), (1, 1));
    assert!(numbers.inbound_blocks_high[2] >= 1, "the longest message lay in a large block");

    let numbers = running.shutdown(LONG, Finish::Answer).expect("nothing failed");
    // Not before: a large answer leaves at once, and is counted when `process` returns.
    assert_eq!((numbers.messages_in, numbers.messages_out), (5, 5));
    assert_eq!((numbers.open, numbers.closed_by(CloseKind::Shutdown)), (0, 1));
    assert_eq!(numbers.check_ledger(), Ok(()));
    assert_eq!((numbers.inbound_blocks, numbers.outbound_blocks), ([0; 3], [0; 3]), "all blocks are home");
    assert_eq!(peer.read(&mut [0]).expect("the end"), 0);
}

#[test]
fn over_connections_max_a_peer_waits_until_another_has_left() {
    let running = server(1);
    let mut first = connect(running.local_addr());
    ask(&mut first, b"first").expect("an answer");
    let mut second = connect(running.local_addr());
    second.write_all(&[0, 0, 0, 1, b'2']).expect("the kernel takes it");
    ask(&mut first, b"still alone").expect("an answer");
    assert_eq!(running.metrics().accepted, 1);
    drop(first);
    assert_eq!(answer(&mut second).expect("its turn"), b"2");
    assert_eq!(running.metrics().accepted, 2);
    running.shutdown(Duration::ZERO, Finish::Answer).expect("nothing failed");
}

#[test]
fn a_server_that_is_dropped_closes_its_connections() {
    let running = server(10);
    let mut peer = connect(running.local_addr());
    ask(&mut peer, b"here").expect("an answer");
    drop(running);
    assert_eq!(peer.read(&mut [0]).expect("the end"), 0);
}

#[test]
fn a_stopper_ends_a_server_that_is_joined() {
    let running = server(10);
    let mut peer = connect(running.local_addr());
    ask(&mut peer, b"here").expect("an answer");
    let stopper = running.stopper();
    let asks = std::thread::spawn(move || stopper.shutdown(LONG, Finish::ReadOut));
    let numbers = running.join().expect("nothing failed");
    asks.join().expect("no panic");
    assert_eq!((numbers.open, numbers.messages_in), (0, 1));
}
