//! How each server starts: its command line, its listener, and the line that says where it listens.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::{env, process};

use socket2::{Domain, Socket, Type};

/// As many peers may wait in the kernel as it allows by default.
const BACKLOG: i32 = 4096;

/// `HOST:PORT`, and what else was asked for.
pub struct Args {
    pub address: SocketAddr,
    /// Length-prefixed messages instead of HTTP.
    pub length_prefixed: bool,
    /// Answers come from another thread.
    pub worker: bool,
    /// Connections are accepted on another thread.
    pub accepter: bool,
}

impl Args {
    /// Ends the program with code 2 if they make no sense.
    pub fn parse() -> Self {
        let mut args = env::args().skip(1);
        let Some(address) = args.next().and_then(|address| address.parse().ok()) else { usage() };
        let mut parsed = Self { address, length_prefixed: false, worker: false, accepter: false };
        for flag in args {
            match flag.as_str() {
                "--length-prefixed" => parsed.length_prefixed = true,
                "--worker" => parsed.worker = true,
                "--accepter" => parsed.accepter = true,
                _ => usage(),
            }
        }
        parsed
    }

    /// A listener whose sockets do not block and do not wait to fill packets.
    pub fn listen(&self) -> io::Result<TcpListener> {
        let listener = self.listen_blocking()?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    }

    /// The same, for who waits for connections.
    pub fn listen_blocking(&self) -> io::Result<TcpListener> {
        rlimit::increase_nofile_limit(u64::MAX)?;
        let socket = Socket::new(Domain::for_address(self.address), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        // Accepted sockets inherit it.
        socket.set_tcp_nodelay(true)?;
        socket.bind(&self.address.into())?;
        socket.listen(BACKLOG)?;
        let listener = TcpListener::from(socket);
        announce(listener.local_addr()?)?;
        Ok(listener)
    }

    /// An address with a port that is free now, for servers that can't say which they have taken.
    pub fn free_address(&self) -> io::Result<SocketAddr> {
        rlimit::increase_nofile_limit(u64::MAX)?;
        TcpListener::bind(self.address)?.local_addr()
    }
}

/// Says where a server listens.
pub fn announce(address: SocketAddr) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "listening on {address}")?;
    stdout.flush()
}

fn usage() -> ! {
    eprintln!("usage: HOST:PORT [--length-prefixed] [--worker] [--accepter], as far as the server has them");
    process::exit(2)
}
