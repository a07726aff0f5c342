//! What the protocols cost by themselves: reading messages out of bytes, and writing answers.
//!
//! No socket, no pool, no thread. `httparse` stands beside the two heads as a yardstick: it parses the same bytes, and
//! decides nothing about them. The allocation columns should stay empty.

use divan::counter::{BytesCount, ItemsCount};
use divan::{AllocProfiler, Bencher, black_box};
use sluicegate::http1::{Body, Http1, Response};
use sluicegate::{Decode, Encode, LengthPrefixed, Outbound, Protocol};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

/// How many messages lie behind each other where several do.
const PIPELINED: usize = 16;

const PLAIN_GET: &[u8] = b"GET /plaintext HTTP/1.1\r\nHost: localhost:8080\r\n\r\n";

const BROWSER_GET: &[u8] = b"GET /articles/2024/a-gate-for-water?utm_source=newsletter HTTP/1.1\r\n\
    Host: www.example.com\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
    Accept-Language: en-US,en;q=0.5\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Referer: https://www.example.com/articles/2024/\r\n\
    Connection: keep-alive\r\n\
    Cookie: session=8d3f0c7a5b914e6fa0c2; theme=dark; consent=necessary%2Cstatistics; visited=1719830400\r\n\
    Upgrade-Insecure-Requests: 1\r\n\
    Sec-Fetch-Dest: document\r\n\
    Sec-Fetch-Mode: navigate\r\n\
    Sec-Fetch-Site: same-origin\r\n\
    Priority: u=0, i\r\n\
    \r\n";

fn main() {
    divan::main();
}

/// A request whose body of `length` bytes follows a `Content-Length`.
fn post(length: usize) -> Vec<u8> {
    let head = format!(
        "POST /echo HTTP/1.1\r\nHost: localhost:8080\r\nContent-Type: application/octet-stream\r\nContent-Length: {length}\r\n\r\n"
    );
    [head.as_bytes(), &vec![b'x'; length]].concat()
}

/// The same in chunks of `chunk` bytes.
fn chunked(length: usize, chunk: usize) -> Vec<u8> {
    let mut bytes = b"POST /echo HTTP/1.1\r\nHost: localhost:8080\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for piece in vec![b'x'; length].chunks(chunk) {
        bytes.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        bytes.extend_from_slice(piece);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

fn frame(length: usize) -> Vec<u8> {
    [(length as u32).to_be_bytes().as_slice(), &vec![b'x'; length]].concat()
}

/// Decodes everything, as a connection whose bytes have all arrived.
fn decode_all<P: Protocol>(protocol: &mut P, mut bytes: &mut [u8]) {
    while !bytes.is_empty() {
        match protocol.decode(bytes) {
            Ok(Decode::Complete { consumed, layout }) => {
                black_box(layout);
                bytes = &mut bytes[consumed..];
            }
            other => panic!("only whole messages here, not {:?}", other.map(|_| "a part of one")),
        }
    }
}

/// Decodes messages that are not changed by it, so that the same bytes serve again.
fn bench_in_place<P: Protocol + Sync>(bencher: Bencher<'_, '_>, mut protocol: P, message: &[u8], count: usize) {
    let mut bytes = message.repeat(count);
    bencher
        .counter(ItemsCount::new(count))
        .counter(BytesCount::new(bytes.len()))
        .bench_local(|| decode_all(&mut protocol, black_box(&mut bytes)));
}

/// Decoding joins the chunks in place, so that each call needs bytes of its own.
fn bench_consumed(bencher: Bencher<'_, '_>, message: &[u8]) {
    let mut protocol = Http1::default();
    bencher
        .counter(ItemsCount::new(1_usize))
        .counter(BytesCount::new(message.len()))
        .with_inputs(|| message.to_vec())
        .bench_local_refs(|bytes| decode_all(&mut protocol, bytes));
}

#[divan::bench_group(sample_size = 64)]
mod http1 {
    use super::*;

    #[divan::bench]
    fn plain_get(bencher: Bencher<'_, '_>) {
        bench_in_place(bencher, Http1::default(), PLAIN_GET, 1);
    }

    #[divan::bench]
    fn plain_get_httparse(bencher: Bencher<'_, '_>) {
        bench_httparse(bencher, PLAIN_GET);
    }

    #[divan::bench]
    fn plain_get_pipelined(bencher: Bencher<'_, '_>) {
        bench_in_place(bencher, Http1::default(), PLAIN_GET, PIPELINED);
    }

    #[divan::bench]
    fn browser_get(bencher: Bencher<'_, '_>) {
        bench_in_place(bencher, Http1::default(), BROWSER_GET, 1);
    }

    #[divan::bench]
    fn browser_get_httparse(bencher: Bencher<'_, '_>) {
        bench_httparse(bencher, BROWSER_GET);
    }

    /// As an attacker or a very slow link would send it.
    #[divan::bench]
    fn browser_get_byte_by_byte(bencher: Bencher<'_, '_>) {
        let mut protocol = Http1::default();
        let mut bytes = BROWSER_GET.to_vec();
        bencher.counter(BytesCount::new(bytes.len())).bench_local(|| {
            let last = bytes.len();
            for arrived in 1..last {
                assert!(matches!(protocol.decode(&mut bytes[..arrived]), Ok(Decode::Partial { .. })));
            }
            decode_all(&mut protocol, &mut bytes);
        });
    }

    #[divan::bench(args = [100, 16 << 10])]
    fn post_of(bencher: Bencher<'_, '_>, length: usize) {
        bench_in_place(bencher, Http1::default(), &post(length), 1);
    }

    #[divan::bench(args = [16, 1024, 16 << 10])]
    fn chunked_16k_in_chunks_of(bencher: Bencher<'_, '_>, chunk: usize) {
        bench_consumed(bencher, &chunked(16 << 10, chunk));
    }

    fn bench_httparse(bencher: Bencher<'_, '_>, head: &[u8]) {
        bencher.counter(ItemsCount::new(1_usize)).counter(BytesCount::new(head.len())).bench_local(|| {
            let mut fields = [httparse::EMPTY_HEADER; 100];
            let mut request = httparse::Request::new(&mut fields);
            assert!(request.parse(black_box(head)).is_ok_and(|status| status.is_complete()));
            black_box(request.headers.len())
        });
    }
}

mod length_prefixed {
    use super::*;

    #[divan::bench(args = [1, PIPELINED])]
    fn payloads_of_100(bencher: Bencher<'_, '_>, count: usize) {
        bench_in_place(bencher, LengthPrefixed::default(), &frame(100), count);
    }
}

/// Answers of one turn: as many as are pipelined, written into a block that is at hand already. Samples are small
/// because each input is an outbound with pools of its own.
#[divan::bench_group(sample_size = 16)]
mod encode {
    use super::*;

    #[divan::bench]
    fn http1_hello(bencher: Bencher<'_, '_>) {
        let exchange = exchange();
        bench_encode(bencher, |out| {
            Http1::encode(exchange, Response::ok(Body::from_static(b"Hello, World!")).content_type("text/plain"), out)
                .is_ok()
        });
    }

    #[divan::bench]
    fn http1_with_three_fields(bencher: Bencher<'_, '_>) {
        let exchange = exchange();
        bench_encode(bencher, |out| {
            let response = Response::new(200).header("Server", "sluicegate").and_then(|response| {
                response.header("Cache-Control", "no-store")?.header("Content-Type", "application/json")
            });
            response.is_ok_and(|response| Http1::encode(exchange, response.body(&b"{\"ok\":true}"[..]), out).is_ok())
        });
    }

    #[divan::bench]
    fn length_prefixed_100(bencher: Bencher<'_, '_>) {
        bench_encode(bencher, |out| LengthPrefixed::encode((), &[b'x'; 100], out).is_ok());
    }

    fn bench_encode(bencher: Bencher<'_, '_>, encode: impl Fn(&mut Outbound) -> bool) {
        let ready = || {
            let mut out = Outbound::detached();
            // Leases the first block, and formats the date.
            out.date();
            out.put(b"-");
            out
        };
        bencher
            .counter(ItemsCount::new(PIPELINED))
            .with_inputs(ready)
            .bench_local_refs(|out| (0..PIPELINED).for_each(|_| assert!(encode(black_box(&mut *out)))));
    }

    fn exchange() -> <Http1 as Protocol>::Exchange {
        match Http1::default().decode(&mut PLAIN_GET.to_vec()) {
            Ok(Decode::Complete { layout, .. }) => Http1::exchange(&layout),
            _ => panic!("a whole request"),
        }
    }
}
