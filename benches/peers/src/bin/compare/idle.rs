//! Connections that say nothing, and what they cost.

use std::fs;
use std::io::{self, Write};
use std::net::TcpStream;

use crate::child::Running;
use crate::conformity::{GET, connect, http_body};

/// So many are opened before the server is asked whether it has taken them.
const WAVE: usize = 64;

/// Connections to one server.
pub struct Idle {
    _sockets: Vec<TcpStream>,
    /// Of resident memory.
    pub bytes_each: f64,
}

impl Idle {
    pub fn open(server: &Running, count: usize) -> io::Result<Self> {
        // What the first connections need once is not what each needs.
        for _ in 0..WAVE {
            ask(&mut connect(server.address)?)?;
        }
        let before = resident_bytes(server.pid())?;
        let mut sockets = Vec::with_capacity(count);
        for number in 1..=count {
            let mut socket = connect(server.address)?;
            if number % WAVE == 0 || number == count {
                ask(&mut socket)?;
            }
            sockets.push(socket);
        }
        let more = resident_bytes(server.pid())?.saturating_sub(before);
        Ok(Self { _sockets: sockets, bytes_each: more as f64 / count as f64 })
    }
}

fn ask(socket: &mut TcpStream) -> io::Result<()> {
    socket.write_all(GET.as_bytes())?;
    http_body(socket).map(drop).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => io::Error::other("among idle connections, a request found no answer"),
        _ => error,
    })
}

fn resident_bytes(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = kib.and_then(|kib| kib.split_whitespace().next()).and_then(|kib| kib.parse::<u64>().ok());
    kib.map(|kib| kib * 1024).ok_or_else(|| io::Error::other(format!("/proc/{pid}/status has no VmRSS")))
}
