//! The load: one thread that writes the same records to many connections, as fast as they are taken.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::interrupt;

/// Bytes that are written at once.
const CHUNK: usize = 256 << 10;

struct Sender {
    stream: TcpStream,
    /// Bytes of it that were written, and all there are.
    written: u64,
    all: u64,
    answers: Vec<u8>,
    acknowledged: u64,
    /// It has said that nothing more comes; the other end has, too.
    said: bool,
    ended: bool,
}

/// Sends `records` records, the same number over each connection, and reads acknowledgements if there are such. Returns
/// how many were acknowledged.
pub fn run(
    address: SocketAddr,
    connections: usize,
    records: u64,
    frame: &[u8],
    acks: bool,
    limit: Duration,
) -> io::Result<u64> {
    let began = Instant::now();
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(256);
    let count = (CHUNK / frame.len()).max(1);
    let chunk = frame.repeat(count);
    let all = records / connections as u64 * frame.len() as u64;
    let mut senders = Vec::new();
    for token in 0..connections {
        let stream = std::net::TcpStream::connect(address)?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        poll.registry().register(&mut stream, Token(token), Interest::READABLE | Interest::WRITABLE)?;
        senders.push(Sender {
            stream,
            written: 0,
            all,
            answers: Vec::new(),
            acknowledged: 0,
            said: false,
            ended: false,
        });
    }
    while senders.iter().any(|sender| !sender.ended) {
        if let Err(error) = poll.poll(&mut events, Some(Duration::from_millis(100)))
            && error.kind() != ErrorKind::Interrupted
        {
            return Err(error);
        }
        interrupt::check()?;
        if began.elapsed() > limit {
            return Err(io::Error::other(format!("not taken within {limit:?}")));
        }
        for event in &events {
            let sender = &mut senders[event.token().0];
            if event.is_writable() {
                sender.write(&chunk)?;
            }
            if event.is_readable() {
                sender.read(acks)?;
            }
        }
    }
    Ok(senders.iter().map(|sender| sender.acknowledged).sum())
}

impl Sender {
    fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        while self.written < self.all {
            // Every chunk is the same, so the place in the stream says the place in it.
            let from = (self.written % chunk.len() as u64) as usize;
            let most = (chunk.len() - from).min((self.all - self.written) as usize);
            match self.stream.write(&chunk[from..from + most]) {
                Ok(count) => self.written += count as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        if !self.said {
            self.said = true;
            self.stream.shutdown(Shutdown::Write)?;
        }
        Ok(())
    }

    /// Whoever has read everything closes.
    fn read(&mut self, acks: bool) -> io::Result<()> {
        let mut bytes = [0; 4096];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => {
                    self.ended = true;
                    return Ok(());
                }
                Ok(count) if acks => {
                    self.answers.extend_from_slice(&bytes[..count]);
                    let whole = self.answers.len() / 8 * 8;
                    if let Some(newest) = self.answers[..whole].last_chunk() {
                        self.acknowledged = u64::from_be_bytes(*newest);
                    }
                    self.answers.drain(..whole);
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}
