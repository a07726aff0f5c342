//! Whether a server answers right: what would not be compared otherwise.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use sluicegate_bench_peers::HELLO;

use crate::child::Running;
use crate::servers::{Server, Start};

const SIZES: [usize; 5] = [1, 100, 16 << 10, 64 << 10, 256 << 10];
const PIPELINED: usize = 16;
const PATIENCE: Duration = Duration::from_secs(10);
pub const GET: &str = "GET /plaintext HTTP/1.1\r\nHost: compare\r\n\r\n";

/// Starts the server in each way that it has, and asks.
pub fn check(server: &Server, core: usize) -> io::Result<()> {
    let asked = |start: Option<Start>, ask: &dyn Fn(SocketAddr) -> io::Result<()>| match start {
        None => Ok(()),
        Some(start) => {
            let running = Running::start(start, core)?;
            ask(running.address).map_err(|error| io::Error::other(format!("{} does not conform: {error}", server.name)))
        }
    };
    asked(server.http, &|address| http(address, server))?;
    asked(server.deferred, &|address| http(address, server))?;
    asked(server.length_prefixed, &length_prefixed)
}

fn http(address: SocketAddr, server: &Server) -> io::Result<()> {
    let mut peer = connect(address)?;
    peer.write_all(GET.repeat(PIPELINED).as_bytes())?;
    for _ in 0..PIPELINED {
        expect(&http_body(&mut peer)?, HELLO.as_bytes(), "GET")?;
    }
    for size in SIZES.into_iter().filter(|_| server.posts) {
        let body = pattern(size);
        let head = format!("POST /echo HTTP/1.1\r\nHost: compare\r\nContent-Length: {size}\r\n\r\n");
        peer.write_all(&[head.as_bytes(), &body].concat())?;
        expect(&http_body(&mut peer)?, &body, "POST")?;
    }
    if server.closes {
        peer.write_all(GET.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n").as_bytes())?;
        expect(&http_body(&mut peer)?, HELLO.as_bytes(), "GET with close")?;
        if peer.read(&mut [0])? > 0 {
            return Err(io::Error::other("GET with close: more came back, and not the end of the connection"));
        }
    }
    Ok(())
}

fn length_prefixed(address: SocketAddr) -> io::Result<()> {
    let mut peer = connect(address)?;
    for size in SIZES {
        let message = [&(size as u32).to_be_bytes()[..], &pattern(size)].concat();
        peer.write_all(&message)?;
        let mut answer = vec![0; message.len()];
        peer.read_exact(&mut answer)?;
        expect(&answer, &message, "message")?;
    }
    Ok(())
}

/// Reads one answer of status 200, and gives its body.
pub fn http_body(peer: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        peer.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length = length.and_then(|length| length.trim().parse().ok());
    match (head.starts_with("http/1.1 200 "), length) {
        (true, Some(length)) => {
            let mut body = vec![0; length];
            peer.read_exact(&mut body)?;
            Ok(body)
        }
        _ => Err(io::Error::other(format!("its answer begins with {head:?}"))),
    }
}

pub fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let peer = TcpStream::connect(address)?;
    peer.set_nodelay(true)?;
    peer.set_read_timeout(Some(PATIENCE))?;
    Ok(peer)
}

fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at % 251) as u8).collect()
}

fn expect(answer: &[u8], expected: &[u8], what: &str) -> io::Result<()> {
    if answer == expected {
        return Ok(());
    }
    let (came, length) = (answer.len(), expected.len());
    let differs = answer.iter().zip(expected).enumerate().find(|(_, (byte, expected))| byte != expected);
    let at = differs.map(|(at, (byte, expected))| format!("byte {at} is {byte:#04x}, and not {expected:#04x}"));
    let told = match (came == length, at) {
        (true, at) => {
            format!("{length} bytes came back as expected, but their content differs: {}", at.unwrap_or_default())
        }
        (false, Some(at)) => format!("{came} bytes came back, and not the {length} expected; {at}"),
        (false, None) => {
            format!("{came} bytes came back, and not the {length} expected; as far as both go, they are alike")
        }
    };
    Err(io::Error::other(format!("{what}: {told}")))
}

#[test]
fn what_differs_is_told_with_its_place() {
    let told = |answer: &[u8], expected: &[u8]| expect(answer, expected, "POST").map_err(|error| error.to_string());
    assert_eq!(told(b"abc", b"abc"), Ok(()));
    let other = "POST: 1 bytes came back as expected, but their content differs: byte 0 is 0x62, and not 0x61";
    assert_eq!(told(b"b", b"a"), Err(other.into()));
    let longer = "POST: 3 bytes came back, and not the 4 expected; byte 2 is 0x00, and not 0x63";
    assert_eq!(told(b"ab\0", b"abcd"), Err(longer.into()));
    let short = "POST: 2 bytes came back, and not the 3 expected; as far as both go, they are alike";
    assert_eq!(told(b"ab", b"abc"), Err(short.into()));
}
