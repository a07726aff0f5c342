//! Round trips over real sockets, beside a bare loop over the same mio.
//!
//! The bare loop knows how long each request is and has its answer ready: nothing that parses can be faster. All
//! threads, the client's too, share one core (by `taskset`, where it is installed): on two, waking the other core costs
//! more than everything that is measured here. After divan's table, both stand side by side with their ratio: as the
//! client waits, which includes the client's own work, and in time that the server's threads were running.

use std::collections::BTreeMap;
use std::env;
use std::fmt;
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use divan::Bencher;
use divan::counter::ItemsCount;
use mio::{Events, Interest, Poll, Token};
use sluicegate::http1::{Body, Http1, Response};
use sluicegate::{LengthPrefixed, Protocol, Running, Server};

const HELLO: &[u8] = b"Hello, World!";
const GET: &[u8] = b"GET /plaintext HTTP/1.1\r\nHost: localhost\r\n\r\n";

const CONNECTIONS: usize = 64;
const PIPELINED: usize = 16;
const POSTED: usize = 16 << 10;
const FRAMED: usize = 100;

/// Samples of this many round trips each; there are 100 samples.
const ROUND_TRIPS: u32 = 64;

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    BareMio,
    Sluicegate,
}

const BOTH: [Who; 2] = [Who::BareMio, Who::Sluicegate];

/// What is asked, and over how many connections.
#[derive(Debug, Clone, Copy)]
struct Work {
    name: &'static str,
    connections: usize,
    pipelined: usize,
}

fn main() {
    const PINNED: &str = "SLUICEGATE_BENCH_PINNED";
    if env::var_os(PINNED).is_none() {
        // Again, on the first core.
        let mut pinned = Command::new("taskset");
        pinned.args(["-c", "0"]).args(env::args_os()).env(PINNED, "yes");
        match pinned.status() {
            Ok(status) if status.success() => return,
            failed => println!("not pinned to a core, times will vary: taskset: {failed:?}"),
        }
    }
    divan::main();
    print_ratios();
}

#[divan::bench(args = BOTH, sample_size = ROUND_TRIPS)]
fn get_1_connection(bencher: Bencher<'_, '_>, who: Who) {
    bench_get(bencher, who, Work { name: "get_1_connection", connections: 1, pipelined: 1 });
}

#[divan::bench(args = BOTH, sample_size = 4)]
fn get_64_connections(bencher: Bencher<'_, '_>, who: Who) {
    bench_get(bencher, who, Work { name: "get_64_connections", connections: CONNECTIONS, pipelined: 1 });
}

#[divan::bench(args = BOTH, sample_size = ROUND_TRIPS)]
fn get_pipelined_16(bencher: Bencher<'_, '_>, who: Who) {
    bench_get(bencher, who, Work { name: "get_pipelined_16", connections: 1, pipelined: PIPELINED });
}

#[divan::bench(args = BOTH, sample_size = ROUND_TRIPS)]
fn post_echo_16k(bencher: Bencher<'_, '_>, who: Who) {
    let head = format!("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: {POSTED}\r\n\r\n");
    let request = [head.as_bytes(), &[b'x'; POSTED]].concat();
    let work = Work { name: "post_echo_16k", connections: 1, pipelined: 1 };
    match who {
        Who::BareMio => {
            let head_length = head.len();
            let answer = move |request: &[u8], out: &mut Vec<u8>| {
                out.extend_from_slice(ok_head(POSTED).as_bytes());
                out.extend_from_slice(&request[head_length..]);
            };
            bench(bencher, who, work, &request, bare_mio(request.len(), answer));
        }
        Who::Sluicegate => {
            let server = Server::bind("127.0.0.1:0", Http1::default()).expect("a port");
            let running = server.start(|request: HttpMessage<'_>, reply: HttpReply<'_>| {
                reply.send(Response::ok(request.body()));
            });
            bench_running(bencher, work, &request, running.expect("started"));
        }
    }
}

#[divan::bench(args = BOTH, sample_size = ROUND_TRIPS)]
fn length_prefixed_echo_100(bencher: Bencher<'_, '_>, who: Who) {
    let request = [(FRAMED as u32).to_be_bytes().as_slice(), &[b'x'; FRAMED]].concat();
    let work = Work { name: "length_prefixed_echo_100", connections: 1, pipelined: 1 };
    match who {
        Who::BareMio => {
            let echo = |request: &[u8], out: &mut Vec<u8>| out.extend_from_slice(request);
            bench(bencher, who, work, &request, bare_mio(request.len(), echo));
        }
        Who::Sluicegate => {
            let server = Server::bind("127.0.0.1:0", LengthPrefixed::default()).expect("a port");
            let running = server.start(
                |message: sluicegate::Message<'_, LengthPrefixed>, reply: sluicegate::Reply<'_, LengthPrefixed>| {
                    reply.send(message.payload());
                },
            );
            bench_running(bencher, work, &request, running.expect("started"));
        }
    }
}

type HttpMessage<'a> = sluicegate::Message<'a, Http1>;
type HttpReply<'a> = sluicegate::Reply<'a, Http1>;

fn bench_get(bencher: Bencher<'_, '_>, who: Who, work: Work) {
    match who {
        Who::BareMio => {
            let answer = [ok_head(HELLO.len()).as_bytes(), HELLO].concat();
            let server = bare_mio(GET.len(), move |_: &[u8], out: &mut Vec<u8>| out.extend_from_slice(&answer));
            bench(bencher, who, work, GET, server);
        }
        Who::Sluicegate => {
            let server = Server::bind("127.0.0.1:0", Http1::default()).expect("a port");
            let running = server.start(|_: HttpMessage<'_>, reply: HttpReply<'_>| {
                reply.send(Response::ok(Body::from_static(HELLO)));
            });
            bench_running(bencher, work, GET, running.expect("started"));
        }
    }
}

/// As long as sluicegate's own.
fn ok_head(body: usize) -> String {
    format!("HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: {body}\r\n\r\n")
}

fn bench_running<P: Protocol>(bencher: Bencher<'_, '_>, work: Work, request: &[u8], running: Running<P>) {
    bench(bencher, Who::Sluicegate, work, request, running.local_addr());
}

/// Measures round trips with the server at `address`: every connection asks, then every connection reads its answers.
fn bench(bencher: Bencher<'_, '_>, who: Who, work: Work, request: &[u8], address: SocketAddr) {
    let mut peers: Vec<TcpStream> = (0..work.connections).map(|_| connect(address)).collect();
    let asked = request.repeat(work.pipelined);
    let answer_length = length_of_first_answer(&mut peers[0], request);
    let mut answers = vec![0; answer_length * work.pipelined];
    let (mut times, before) = (Vec::new(), servers_cpu());
    bencher.counter(ItemsCount::new(work.connections * work.pipelined)).bench_local(|| {
        let start = Instant::now();
        peers.iter_mut().for_each(|peer| peer.write_all(&asked).expect("sent"));
        peers.iter_mut().for_each(|peer| peer.read_exact(&mut answers).expect("answered"));
        times.push(start.elapsed());
    });
    let requests = times.len() * work.connections * work.pipelined;
    let cpu = before.zip(servers_cpu()).map(|(before, after)| after.saturating_sub(before) / requests.max(1) as u32);
    times.sort_unstable();
    if let Some(&round_trip) = times.get(times.len() / 2) {
        let mut results = RESULTS.lock().unwrap_or_else(PoisonError::into_inner);
        results.entry(work.name).or_default().insert(who, Result { round_trip, cpu });
    }
}

/// How long all threads but this one have been running so far. Only Linux says so.
fn servers_cpu() -> Option<Duration> {
    let nanoseconds = |file: &str| fs::read_to_string(file).ok()?.split(' ').next()?.parse::<u64>().ok();
    let tasks = fs::read_dir("/proc/self/task").ok()?.filter_map(io::Result::ok);
    let all: u64 = tasks.filter_map(|task| nanoseconds(task.path().join("schedstat").to_str()?)).sum();
    Some(Duration::from_nanos(all.saturating_sub(nanoseconds("/proc/thread-self/schedstat")?)))
}

fn connect(address: SocketAddr) -> TcpStream {
    let peer = TcpStream::connect(address).expect("the backlog has room");
    peer.set_nodelay(true).expect("set");
    peer.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
    peer
}

/// All answers are alike; this is how long the first one is, after nothing more comes.
fn length_of_first_answer(peer: &mut TcpStream, request: &[u8]) -> usize {
    peer.write_all(request).expect("sent");
    let (mut bytes, mut length) = (vec![0; 64 << 10], 0);
    loop {
        length += peer.read(&mut bytes).expect("answered");
        peer.set_read_timeout(Some(Duration::from_millis(100))).expect("set");
        if peer.peek(&mut [0]).is_err() {
            peer.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
            return length;
        }
    }
}

/// The yardstick: one thread, one poll, and `answer` for every `request_length` bytes. It lives until the process ends.
fn bare_mio(request_length: usize, answer: impl Fn(&[u8], &mut Vec<u8>) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    listener.set_nonblocking(true).expect("set");
    thread::spawn(move || bare_loop(mio::net::TcpListener::from_std(listener), request_length, answer));
    address
}

struct Bare {
    socket: mio::net::TcpStream,
    /// What arrived and is not a whole request yet.
    held: usize,
    bytes: Vec<u8>,
    out: Vec<u8>,
}

fn bare_loop(mut listener: mio::net::TcpListener, request_length: usize, answer: impl Fn(&[u8], &mut Vec<u8>)) {
    const LISTENER: Token = Token(usize::MAX - 1);
    let mut poll = Poll::new().expect("a poll");
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE).expect("registered");
    let mut events = Events::with_capacity(1024);
    let mut peers: Vec<Bare> = Vec::new();
    loop {
        if let Err(error) = poll.poll(&mut events, None) {
            assert_eq!(error.kind(), ErrorKind::Interrupted);
        }
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut socket, _)) = listener.accept() {
                    socket.set_nodelay(true).expect("set");
                    poll.registry().register(&mut socket, Token(peers.len()), Interest::READABLE).expect("registered");
                    peers.push(Bare { socket, held: 0, bytes: vec![0; 64 << 10], out: Vec::new() });
                }
            } else if let Err(error) = peers[event.token().0].turn(request_length, &answer) {
                // The client is gone; its place stays, there are few.
                assert!(error.kind() != ErrorKind::WouldBlock, "answers fit the socket's buffer");
            }
        }
    }
}

impl Bare {
    /// Reads until a short read, answers what is whole, and writes all answers at once.
    fn turn(&mut self, request_length: usize, answer: &impl Fn(&[u8], &mut Vec<u8>)) -> io::Result<()> {
        loop {
            let room = self.bytes.len() - self.held;
            let count = match self.socket.read(&mut self.bytes[self.held..]) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            self.held += count;
            let whole = self.held - self.held % request_length;
            self.bytes[..whole].chunks_exact(request_length).for_each(|request| answer(request, &mut self.out));
            self.bytes.copy_within(whole..self.held, 0);
            self.held -= whole;
            self.socket.write_all(&self.out)?;
            self.out.clear();
            if count < room {
                return Ok(());
            }
        }
    }
}

/// What was measured of one work and one server.
#[derive(Clone, Copy)]
struct Result {
    /// The median, as the client waits.
    round_trip: Duration,
    /// Of the server, for one request.
    cpu: Option<Duration>,
}

static RESULTS: Mutex<BTreeMap<&str, BTreeMap<Who, Result>>> = Mutex::new(BTreeMap::new());

fn print_ratios() {
    let results = RESULTS.lock().unwrap_or_else(PoisonError::into_inner);
    let both = |results: &BTreeMap<Who, Result>| Some([*results.get(&Who::BareMio)?, *results.get(&Who::Sluicegate)?]);
    let rows: Vec<_> = results.iter().filter_map(|(name, results)| Some((*name, both(results)?))).collect();
    print_table("median round trip", rows.iter().map(|(name, both)| (*name, both.map(|one| Some(one.round_trip)))));
    print_table("server CPU per request", rows.iter().map(|(name, both)| (*name, both.map(|one| one.cpu))));
}

fn print_table<'n>(title: &str, rows: impl Iterator<Item = (&'n str, [Option<Duration>; 2])>) {
    let mut title = Some(title);
    for (name, times) in rows {
        let [Some(bare), Some(ours)] = times else { continue };
        if let Some(title) = title.take() {
            println!("\n{title:<26} {:>12} {:>12} {:>7}", Who::BareMio, Who::Sluicegate, "ratio");
        }
        println!("{name:<26} {bare:>12.2?} {ours:>12.2?} {:>7.2}", ours.as_secs_f64() / bare.as_secs_f64());
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::BareMio => "bare mio",
            Self::Sluicegate => "sluicegate",
        })
    }
}
