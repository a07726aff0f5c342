//! How often the processor thread asks the heap: for a message that is like those before it, not once.
//!
//! A counting allocator stands in front of the system's. It counts on the processor thread only, which says so itself
//! in `started`.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use sluicegate::http1::{Http1, Response};
use sluicegate::{
    Deferred, LengthPrefixed, Message, MessageProcessor, Offload, Protocol, Reply, Server, Workers, WriteProxy,
};

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static COUNTED: Cell<bool> = const { Cell::new(false) };
}

struct Counting;

// The one place of the project with `unsafe`: an allocator can't be written without it. Everything is passed on as it
// came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count() {
    // A thread that is ending has no locals any more; it is not the one that counts.
    if COUNTED.try_with(Cell::get).unwrap_or(false) {
        ALLOCATIONS.fetch_add(1, SeqCst);
    }
}

/// A processor whose thread is counted.
struct Counted<M>(M);

impl<P: Protocol, M: MessageProcessor<P>> MessageProcessor<P> for Counted<M> {
    fn process(&mut self, message: Message<'_, P>, reply: Reply<'_, P>) {
        self.0.process(message, reply);
    }

    fn started(&mut self, proxy: &WriteProxy<P>) {
        self.0.started(proxy);
        COUNTED.with(|counted| counted.set(true));
    }

    fn ready(&mut self) -> bool {
        self.0.ready()
    }
}

/// How often the processor thread allocates over 1,000 round trips, after 1,000 to warm up: the least of ten times,
/// because how the bytes arrive is chance, and a way that they come for the first time may need a block that was never
/// made. There are fewer such ways, and no time has less than none.
fn allocations<P: Protocol>(
    protocol: P,
    processor: impl MessageProcessor<P> + 'static,
    request: &[u8],
    answer_length: usize,
) -> u64 {
    let server = Server::bind("127.0.0.1:0", protocol).expect("a port").start(Counted(processor)).expect("starts");
    let mut stream = TcpStream::connect(server.local_addr()).expect("connects");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    stream.set_nodelay(true).expect("no delay");
    let mut answer = vec![0; answer_length];
    let mut round_trips = || {
        for _ in 0..1000 {
            stream.write_all(request).expect("sent");
            stream.read_exact(&mut answer).expect("answered");
        }
        ALLOCATIONS.load(SeqCst)
    };
    let mut before = round_trips();
    let mut least = u64::MAX;
    for _ in 0..10 {
        let after = round_trips();
        least = least.min(after - std::mem::replace(&mut before, after));
        if least == 0 {
            break;
        }
    }
    least
}

fn http_answer(body: usize) -> usize {
    let head = "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: \r\n\r\n".len();
    head + body.to_string().len() + body
}

fn post(body: usize) -> Vec<u8> {
    let mut request = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {body}\r\n\r\n").into_bytes();
    request.resize(request.len() + body, b'x');
    request
}

fn echo(message: Message<'_, Http1>, reply: Reply<'_, Http1>) {
    reply.send(Response::ok(message.body()));
}

/// One test, because the count is the process's.
#[test]
fn a_message_like_those_before_it_takes_nothing_from_the_heap() {
    // Blocks are made on first need. The message is given back before it is answered, or it would be chance how many
    // blocks are in use at once, and when the last of them is made.
    let work = |message: Message<'static, LengthPrefixed>, reply: Deferred<_>| {
        let payload = message.payload().to_vec();
        drop(message);
        reply.send(payload);
    };
    let workers = || Offload::new(Workers::new(1, 16), work).expect("a worker");
    let frame = [&5_u32.to_be_bytes()[..], b"hello"].concat();
    let echo_frame = |message: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>| {
        reply.send(message.payload());
    };
    let get = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let counts = [
        ("GET", allocations(Http1::default(), echo, get, http_answer(0))),
        ("POST of 1 KiB", allocations(Http1::default(), echo, &post(1 << 10), http_answer(1 << 10))),
        ("POST of 64 KiB", allocations(Http1::default(), echo, &post(64 << 10), http_answer(64 << 10))),
        ("POST of 256 KiB", allocations(Http1::default(), echo, &post(256 << 10), http_answer(256 << 10))),
        ("length-prefixed", allocations(LengthPrefixed::default(), echo_frame, &frame, frame.len())),
        ("deferred", allocations(LengthPrefixed::default(), workers(), &frame, frame.len())),
    ];
    let none = counts.map(|(what, _)| (what, 0));
    assert_eq!(counts, none, "allocations on the processor thread in 1,000 messages");
    assert!(ALLOCATIONS.load(SeqCst) > 0, "the warm-up allocates: the count counts");
}
