//! What one cycle of the processor costs without an operating system: everything between a read and a write, all of it
//! this crate's own work.
//!
//! The sockets are simulated in the simplest way. Each has its request ready whenever it is asked, and takes whatever
//! is written; the selector says once a cycle that every one of them can be read. So a request costs the one read and
//! the one write that it costs in life, each of them a copy at most.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::mem;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use divan::counter::ItemsCount;
use divan::{AllocProfiler, Bencher};
use sluicegate::http1::{Body, Http1, Response};
use sluicegate::internals::{BareProcessor, Readiness, Selector, Told};
use sluicegate::{Config, LengthPrefixed, Message, MessageProcessor, Protocol, Reply};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

const GET: &[u8] = b"GET /plaintext HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Cycles that are timed together.
const CYCLES: u32 = 64;

fn main() {
    divan::main();
}

#[divan::bench(sample_size = CYCLES)]
fn get(bencher: Bencher<'_, '_>) {
    bench(bencher, Http1::default(), hello, &Work::of(GET));
}

#[divan::bench(sample_size = CYCLES)]
fn get_pipelined_16(bencher: Bencher<'_, '_>) {
    bench(bencher, Http1::default(), hello, &Work { pipelined: 16, ..Work::of(GET) });
}

#[divan::bench(sample_size = CYCLES, args = [64, 1000])]
fn get_on_connections(bencher: Bencher<'_, '_>, connections: usize) {
    bench(bencher, Http1::default(), hello, &Work { connections, ..Work::of(GET) });
}

#[divan::bench(sample_size = CYCLES, args = [100, 16 << 10])]
fn post_echo(bencher: Bencher<'_, '_>, length: usize) {
    bench(bencher, Http1::default(), echo, &Work::of(&post(length)));
}

/// The first piece goes through the scratch into a block of the connection, the others straight into that.
#[divan::bench(sample_size = CYCLES)]
fn post_echo_16k_in_4_pieces(bencher: Bencher<'_, '_>) {
    let request = post(16 << 10);
    bench(bencher, Http1::default(), echo, &Work { pieces: 4, ..Work::of(&request) });
}

#[divan::bench(sample_size = CYCLES, args = [1, 16])]
fn length_prefixed_echo_100(bencher: Bencher<'_, '_>, pipelined: usize) {
    let request = [100_u32.to_be_bytes().as_slice(), &[b'x'; 100]].concat();
    bench(bencher, LengthPrefixed::default(), echo_payload, &Work { pipelined, ..Work::of(&request) });
}

fn hello(_: Message<'_, Http1>, reply: Reply<'_, Http1>) {
    reply.send(Response::ok(Body::from_static(b"Hello, World!")));
}

fn echo(request: Message<'_, Http1>, reply: Reply<'_, Http1>) {
    reply.send(Response::ok(request.body()));
}

fn echo_payload(message: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>) {
    reply.send(message.payload());
}

fn post(length: usize) -> Vec<u8> {
    let head = format!("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n");
    [head.as_bytes(), &vec![b'x'; length]].concat()
}

/// What every connection does all the time.
struct Work<'r> {
    request: &'r [u8],
    connections: usize,
    /// Requests that arrive together.
    pipelined: usize,
    /// Reads that one arrival takes.
    pieces: usize,
}

impl<'r> Work<'r> {
    fn of(request: &'r [u8]) -> Self {
        Self { request, connections: 1, pipelined: 1, pieces: 1 }
    }
}

/// Measures as many cycles as it takes to answer what has arrived at every connection.
fn bench<P: Protocol>(bencher: Bencher<'_, '_>, protocol: P, user: impl MessageProcessor<P>, work: &Work<'_>) {
    let Work { request, connections, pipelined, pieces } = *work;
    let bytes: Arc<[u8]> = request.repeat(pipelined).into();
    let piece = bytes.len().div_ceil(pieces);
    let mut processor =
        BareProcessor::new(&Config::default(), Ready::default(), protocol, user).expect("good settings");
    for _ in 0..connections {
        let socket = Endless::new(Arc::clone(&bytes), piece);
        assert!(processor.accept(socket, SocketAddr::from((Ipv4Addr::LOCALHOST, 1))), "there is room");
    }
    // Connects them all, and makes the blocks that will be used.
    let warm_up = 3 * pieces;
    (0..=warm_up).for_each(|_| processor.cycle());
    let before = processor.metrics().messages_in;
    let mut rounds = 0;
    bencher.counter(ItemsCount::new(connections * pipelined)).bench_local(|| {
        (0..pieces).for_each(|_| processor.cycle());
        rounds += 1;
    });
    let answered = processor.metrics().messages_in - before;
    assert_eq!(answered, rounds * (connections * pipelined) as u64, "a cycle for each piece, no more and no less");
}

/// Every socket can be read once a cycle, and 10 us pass.
struct Ready {
    slots: Vec<u32>,
    now: Instant,
}

impl Default for Ready {
    fn default() -> Self {
        Self { slots: Vec::new(), now: Instant::now() }
    }
}

impl Selector for Ready {
    type Socket = Endless;

    fn register_read(&mut self, _: &mut Endless, slot: u32) -> io::Result<()> {
        self.slots.push(slot);
        Ok(())
    }

    fn set_write(&mut self, _: &mut Endless, _: u32, _: bool) -> io::Result<()> {
        Ok(())
    }

    fn shutdown_write(&mut self, _: &mut Endless) -> io::Result<()> {
        Ok(())
    }

    fn deregister(&mut self, _: &mut Endless) -> io::Result<()> {
        Ok(())
    }

    fn take_error(&mut self, _: &mut Endless) -> io::Result<Option<io::Error>> {
        Ok(None)
    }

    fn unread(&mut self, _: &mut Endless) -> io::Result<u64> {
        Ok(0)
    }

    fn select(&mut self, _: Option<Duration>, ready: &mut Vec<Readiness>) -> io::Result<Told> {
        ready.extend(self.slots.iter().map(|&slot| Readiness { slot, readable: true, ..Readiness::default() }));
        self.now += Duration::from_micros(10);
        Ok(Told::All)
    }

    fn now(&mut self) -> Instant {
        self.now
    }

    fn unix_seconds(&mut self) -> u64 {
        784_111_777
    }
}

/// A socket at which the same bytes arrive again and again, in pieces.
struct Endless {
    bytes: Arc<[u8]>,
    piece: usize,
    /// How many of them were read, and how many have arrived.
    read: usize,
    arrived: usize,
    /// The reader knows that everything was read that has arrived.
    told: bool,
}

impl Endless {
    fn new(bytes: Arc<[u8]>, piece: usize) -> Self {
        Self { bytes, piece, read: 0, arrived: 0, told: true }
    }
}

impl Read for Endless {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.read == self.arrived {
            if !mem::replace(&mut self.told, true) {
                return Err(ErrorKind::WouldBlock.into());
            }
            self.read %= self.bytes.len();
            self.arrived = self.bytes.len().min(self.read + self.piece);
        }
        let count = into.len().min(self.arrived - self.read);
        into[..count].copy_from_slice(&self.bytes[self.read..self.read + count]);
        self.read += count;
        self.told = count < into.len();
        Ok(count)
    }
}

impl Write for Endless {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(slices.iter().map(|slice| slice.len()).sum())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
