//! What cannot be done with less: one thread, one poll, frames from sockets into one file.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

const LISTENER: Token = Token(usize::MAX);
const READ: usize = 64 << 10;
const WRITE: usize = 1 << 20;

/// A connection, and what it has of an unfinished record.
struct Peer {
    stream: TcpStream,
    rest: Vec<u8>,
}

/// Takes length-prefixed records on `port` and appends them to `path`, a line each.
pub fn run(port: &str, path: &str) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    let address = format!("127.0.0.1:{port}").parse().map_err(io::Error::other)?;
    let mut listener = TcpListener::bind(address)?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut file = File::create(path)?;
    let mut lines = Vec::with_capacity(WRITE + READ);
    let mut scratch = vec![0; READ];
    let mut peers: Vec<Option<Peer>> = Vec::new();
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    poll.registry().register(&mut stream, Token(peers.len()), Interest::READABLE)?;
                    peers.push(Some(Peer { stream, rest: Vec::new() }));
                }
                continue;
            }
            let place = &mut peers[event.token().0];
            while let Some(peer) = place {
                match peer.stream.read(&mut scratch) {
                    Ok(0) => *place = None,
                    Ok(count) => {
                        peer.take(&scratch[..count], &mut lines);
                        if lines.len() >= WRITE {
                            file.write_all(&lines)?;
                            lines.clear();
                        }
                        // A short read is a drained socket, but for its end.
                        if count < scratch.len() && !event.is_read_closed() {
                            break;
                        }
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(_) => *place = None,
                }
            }
        }
        // Nothing waits longer than for one look at all sockets.
        file.write_all(&lines)?;
        lines.clear();
    }
}

impl Peer {
    fn take(&mut self, mut bytes: &[u8], lines: &mut Vec<u8>) {
        // The record that begins in what was kept, until it is whole.
        while !self.rest.is_empty() && !bytes.is_empty() {
            let whole = self.rest.first_chunk().map_or(4, |length| 4 + u32::from_be_bytes(*length) as usize);
            let (head, tail) = bytes.split_at(bytes.len().min(whole - self.rest.len()));
            self.rest.extend_from_slice(head);
            bytes = tail;
            if whole > 4 && self.rest.len() == whole {
                lines.extend_from_slice(&self.rest[4..]);
                lines.push(b'\n');
                self.rest.clear();
            }
        }
        while let Some((length, behind)) = bytes.split_first_chunk::<4>() {
            let Some((record, behind)) = behind.split_at_checked(u32::from_be_bytes(*length) as usize) else { break };
            lines.extend_from_slice(record);
            lines.push(b'\n');
            bytes = behind;
        }
        self.rest.extend_from_slice(bytes);
    }
}
