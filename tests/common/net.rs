//! Real sockets on the loopback: servers on any free port, peers that never wait for ever, and events to wait for.
//!
//! Nothing here sleeps. A test waits for an answer, for the end of a stream, for a channel, or for a number of the
//! server to become what it has to be; [`LONG`] only bounds how long a broken server can hold a test up.

#![allow(dead_code, reason = "each test file uses its part")]

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use sluicegate::{Config, Finish, MessageProcessor, PauseReason, Protocol, Running, Server, Snapshot, TierConfig};
use socket2::{Domain, SockRef, Socket, Type};

/// Far longer than anything takes.
pub const LONG: Duration = Duration::from_secs(60);

/// Blocks that an idle server holds by tier: its spares, and the small and medium block for the rest of a read.
pub const AT_HAND: [u64; 3] = [2, 2, 1];

/// Starts a server with the settings that `change` leaves.
pub fn serve<P: Protocol>(
    protocol: P,
    change: impl FnOnce(&mut Config),
    user: impl MessageProcessor<P> + 'static,
) -> Running<P> {
    bound(protocol, change).start(user).expect("started")
}

/// The same server before its start. What peers send until then waits in the kernel, and is there when they are
/// accepted.
pub fn bound<P: Protocol>(protocol: P, change: impl FnOnce(&mut Config)) -> Server<P> {
    Server::builder(protocol).configure(quiet).configure(change).bind("127.0.0.1:0").expect("a port")
}

/// The same behind small socket buffers in the kernel: a peer that does not read pushes back soon.
pub fn serve_narrow<P: Protocol>(
    protocol: P,
    change: impl FnOnce(&mut Config),
    user: impl MessageProcessor<P> + 'static,
) -> Running<P> {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    SockRef::from(&listener).set_send_buffer_size(4096).expect("connections inherit it");
    let builder = Server::builder(protocol).configure(quiet).configure(change);
    builder.from_listener(listener).expect("a server").start(user).expect("started")
}

/// No timeout plays a part, unless a test asks for it: on a machine that has other things to do, a test's own threads
/// may stand still for longer than the usual ones last.
pub fn quiet(config: &mut Config) {
    let timeouts = &mut config.timeouts;
    (timeouts.idle, timeouts.message, timeouts.rate_grace) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    (timeouts.write_stall, timeouts.reply) = (Duration::ZERO, Duration::ZERO);
    // These cannot be switched off. Of a famine, only a part counts when little memory is left.
    (timeouts.linger, timeouts.famine) = (LONG * 2, LONG * 60);
    config.connections_max = 4000;
}

/// Tiers of the usual sizes with these counts.
pub fn tiers(counts: [usize; 3]) -> [TierConfig; 3] {
    let sizes = [4 << 10, 128 << 10, 1 << 20];
    std::array::from_fn(|tier| TierConfig { size: sizes[tier], count: counts[tier] })
}

/// Ends the server and checks what must hold of any server that has ended: nobody is left, every byte is accounted for,
/// all blocks are home.
pub fn finish<P: Protocol>(running: Running<P>) -> Snapshot {
    check_end(running.shutdown(Duration::ZERO, Finish::Answer).expect("nothing failed"))
}

/// What must hold of any server that has ended.
pub fn check_end(numbers: Snapshot) -> Snapshot {
    assert_eq!(numbers.check_ledger(), Ok(()));
    assert_eq!((numbers.open, numbers.bytes_buffered, numbers.bytes_outbound), (0, 0, 0), "{numbers}");
    assert_eq!(numbers.accepted, numbers.closed_total() + numbers.accepted_unserved, "{numbers}");
    assert_eq!((numbers.inbound_blocks, numbers.outbound_blocks), ([0; 3], [0; 3]), "all blocks are home");
    assert_eq!((numbers.blocks_kept, numbers.paused), ([0; 3], [0; PauseReason::COUNT]), "{numbers}");
    numbers
}

/// Waits until a number of the server is what it has to be.
///
/// The numbers of a snapshot are not read at the same instant: one that was read before may be older than what was
/// awaited. So they are read once more then.
pub fn until<P: Protocol>(running: &Running<P>, what: &str, mut come: impl FnMut(&Snapshot) -> bool) -> Snapshot {
    let start = Instant::now();
    loop {
        let mut numbers = running.metrics();
        if come(&numbers) {
            numbers = running.metrics();
            if come(&numbers) {
                return numbers;
            }
        }
        assert!(start.elapsed() < LONG, "it never came that {what}:\n{numbers}");
        thread::yield_now();
    }
}

/// As many connections as wanted, or as the limit of descriptors allows while other tests have some too.
pub fn at_most(wanted: usize) -> usize {
    let (_, hard) = rlimit::getrlimit(rlimit::Resource::NOFILE).expect("the limit");
    wanted.min(usize::try_from(hard / 8).unwrap_or(wanted))
}

/// Connects, with timeouts that end a test which would wait for ever.
pub fn connect(address: SocketAddr) -> TcpStream {
    prepare(TcpStream::connect(address).expect("the backlog has room"))
}

/// Connects with a receive buffer that is full soon.
pub fn connect_narrow(address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(2048).expect("set");
    socket.connect(&address.into()).expect("the backlog has room");
    prepare(socket.into())
}

fn prepare(peer: TcpStream) -> TcpStream {
    peer.set_read_timeout(Some(LONG)).expect("set");
    peer.set_write_timeout(Some(LONG)).expect("set");
    peer.set_nodelay(true).expect("set");
    peer
}

/// Ends the connection with a reset: what was sent and not read is lost.
pub fn reset(peer: TcpStream) {
    SockRef::from(&peer).set_linger(Some(Duration::ZERO)).expect("set");
}

/// Says that nothing more will be sent.
pub fn half_close(peer: &TcpStream) {
    peer.shutdown(Shutdown::Write).expect("connected");
}

/// Everything up to the end of the stream, which must not be a reset.
pub fn rest(peer: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    peer.read_to_end(&mut bytes).expect("the end of the stream");
    bytes
}

/// Waits until the connection is over, by whatever end.
pub fn over(peer: &mut TcpStream) {
    match io::copy(peer, &mut io::sink()) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}"),
    }
}

/// Bytes that differ from place to place and from seed to seed.
pub fn pattern(length: usize, seed: usize) -> Vec<u8> {
    let mut state = (seed as u32).wrapping_mul(0x9E37_79B9) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    };
    let mut bytes = Vec::with_capacity(length + 3);
    while bytes.len() < length {
        bytes.extend_from_slice(&next().to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// One payload behind its length.
pub fn frame(payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short enough");
    [&length.to_be_bytes(), payload].concat()
}

/// Sends one length-prefixed message.
pub fn send(peer: &mut TcpStream, payload: &[u8]) {
    peer.write_all(&frame(payload)).expect("taken");
}

/// Reads one length-prefixed answer.
pub fn receive(peer: &mut TcpStream) -> Vec<u8> {
    let mut length = [0; 4];
    peer.read_exact(&mut length).expect("a length");
    let mut payload = vec![0; u32::from_be_bytes(length) as usize];
    peer.read_exact(&mut payload).expect("a payload");
    payload
}

/// One message and its answer.
pub fn ask(peer: &mut TcpStream, payload: &[u8]) -> Vec<u8> {
    send(peer, payload);
    receive(peer)
}
