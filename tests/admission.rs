//! Who is served at all, and what happens to slow readers, over real sockets.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use sluicegate::http1::{Http1, Response};
use sluicegate::{
    Admission, CloseReason, ConnectionId, LengthPrefixed, Message, MessageProcessor, Peer, Reply, Running, Server,
    Timeouts, WhenFull, WriteProxy,
};

/// A safety net; nothing waits for it when all is well.
const LONG: Duration = Duration::from_secs(60);

fn http(admission: Admission) -> Running<Http1> {
    let server = Server::builder(Http1::default()).admission(admission);
    let server = server.bind("127.0.0.1:0").expect("a free port");
    server.start(|_: Message<'_, Http1>, reply: Reply<'_, Http1>| reply.send(Response::ok("served"))).expect("starts")
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("connects");
    stream.set_read_timeout(Some(LONG)).expect("a timeout");
    stream
}

fn get(stream: &mut TcpStream) -> String {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("written");
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"served") && stream.read(&mut byte).expect("an answer") == 1 {
        answer.push(byte[0]);
    }
    String::from_utf8(answer).expect("text")
}

fn read_to_end(stream: &mut TcpStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer, and the end");
    answer
}

#[test]
fn one_connection_too_many_of_an_address_is_told_when_to_come_again() {
    let retry_after = Some(Duration::from_millis(6500));
    let server = http(Admission { per_address_max: 2, retry_after, ..Admission::default() });
    let mut two = [connect(server.local_addr()), connect(server.local_addr())];
    two.iter_mut().for_each(|stream| assert!(get(stream).starts_with("HTTP/1.1 200 ")));
    let answer = read_to_end(&mut connect(server.local_addr()));
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("\r\nRetry-After: 7\r\n"), "{answer}");
    two.iter_mut().for_each(|stream| assert!(get(stream).starts_with("HTTP/1.1 200 "), "the others live on"));
    let [gone, _stays] = two;
    drop(gone);
    let deadline = Instant::now() + LONG;
    while server.metrics().open > 1 {
        assert!(Instant::now() < deadline, "its end is never seen");
        std::thread::yield_now();
    }
    assert!(get(&mut connect(server.local_addr())).starts_with("HTTP/1.1 200 "), "there is room again");
}

#[test]
fn newcomers_are_refused_above_the_limit_where_that_is_configured() {
    let server = http(Admission { refuse_above: 1, ..Admission::default() });
    let mut first = connect(server.local_addr());
    get(&mut first);
    let answer = read_to_end(&mut connect(server.local_addr()));
    assert!(answer.starts_with("HTTP/1.1 503 ") && !answer.contains("Retry-After"), "{answer}");
    assert!(get(&mut first).starts_with("HTTP/1.1 200 "));
}

/// Sends as much as it can to whoever connects first.
struct Flood {
    tell: mpsc::Sender<CloseReason>,
    tell_opened: mpsc::Sender<(ConnectionId, WriteProxy<LengthPrefixed>)>,
}

impl MessageProcessor<LengthPrefixed> for Flood {
    fn process(&mut self, _: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>) {
        reply.none();
    }

    fn opened(&mut self, peer: &Peer, proxy: &WriteProxy<LengthPrefixed>) {
        self.tell_opened.send((peer.connection, proxy.clone())).expect("the test listens");
    }

    fn when_full(&mut self, _: &Peer) -> WhenFull {
        WhenFull::Close
    }

    fn closed(&mut self, _: &Peer, reason: &CloseReason) {
        if let CloseReason::OutboundFull { undelivered } = *reason {
            self.tell.send(CloseReason::OutboundFull { undelivered }).expect("the test listens");
        }
    }
}

#[test]
fn a_slow_reader_is_closed_where_its_connection_says_so() {
    let ((tell, told), (tell_opened, opened)) = (mpsc::channel(), mpsc::channel());
    let timeouts = Timeouts { write_stall: Duration::ZERO, ..Timeouts::default() };
    let server = Server::builder(LengthPrefixed::default()).timeouts(timeouts).bind("127.0.0.1:0").expect("a port");
    let server = server.start(Flood { tell, tell_opened }).expect("starts");
    let _never_reads = connect(server.local_addr());
    let (peer, proxy) = opened.recv_timeout(LONG).expect("it is opened");
    let payload: Arc<[u8]> = vec![7; 64 << 10].into();
    let deadline = Instant::now() + LONG;
    let reason = loop {
        assert!(Instant::now() < deadline, "it is never closed");
        // Full for a moment is not full for good: the processor has not delivered yet.
        let _ = proxy.send(peer, Arc::clone(&payload));
        if let Ok(reason) = told.try_recv() {
            break reason;
        }
    };
    assert!(matches!(reason, CloseReason::OutboundFull { undelivered } if undelivered >= 256 << 10), "{reason}");
}
