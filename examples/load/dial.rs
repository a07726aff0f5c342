//! Makes connections: the first ones one after the other, later ones without waiting.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use mio::net::TcpStream as Socket;

use crate::answers::{Answers, Expected, Heard};
use crate::cli::Plan;
use crate::request::Requests;

/// So many connections are made before the server is asked whether it has taken them: fewer than fit any backlog.
const WAVE: usize = 64;
const INTERRUPTED: &str = "interrupted by a signal while connecting; nothing was measured";
/// "Too many open files" has no `ErrorKind`.
const EMFILE: i32 = 24;

/// Between two looks whether it is to end, while a request is sent or an answer is awaited.
const LOOK: Duration = Duration::from_millis(100);

/// Connects and waits for it.
fn dial(plan: &Plan) -> io::Result<TcpStream> {
    let connected = TcpStream::connect_timeout(&plan.server, plan.timeout);
    let socket = connected.map_err(|error| {
        let advice = match (error.kind(), error.raw_os_error()) {
            (io::ErrorKind::ConnectionRefused, _) => "; does the server run there?",
            (io::ErrorKind::TimedOut, _) => "; does the server run there, and take so many connections?",
            (_, Some(EMFILE)) => "; raise the limit by `ulimit -n`, or lower --connections and --idle",
            (io::ErrorKind::AddrNotAvailable, _) => "; all local ports are taken: lower --connections and --idle",
            _ => "",
        };
        io::Error::new(error.kind(), format!("cannot connect to {}: {error}{advice}", plan.server))
    })?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// Begins to connect. The socket is writable when it is connected.
pub fn begin(plan: &Plan) -> io::Result<Socket> {
    let socket = Socket::connect(plan.server)?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// Connects `count` times, and lets the server keep up. The first one and each after a wave is asked for an answer, so
/// a server that speaks something else is found out at once. One that the server closes behind it is made again.
/// `interrupted` ends it.
pub fn dial_all(
    plan: &Plan,
    count: usize,
    requests: &Requests,
    expected: &mut Expected,
    interrupted: &dyn Fn() -> bool,
) -> io::Result<Vec<Socket>> {
    let mut sockets = Vec::with_capacity(count);
    for number in 0..count {
        if interrupted() {
            return Err(io::Error::new(io::ErrorKind::Interrupted, INTERRUPTED));
        }
        let mut socket = dial(plan)?;
        if number % WAVE == 0 || number + 1 == count {
            let greeted = greet(plan, &mut socket, requests, expected, interrupted);
            let closes = greeted.map_err(|error| match (number, error.kind()) {
                (_, io::ErrorKind::Interrupted) => error,
                (0, kind) => {
                    let text = format!("the first request to {} failed: {error}; is --protocol right?", plan.server);
                    io::Error::new(kind, text)
                }
                (number, kind) => {
                    let (number, server) = (number + 1, plan.server);
                    let text = format!(
                        "the first request on connection {number} of {count} to {server} failed: {error}; does the \
                         server take so many?"
                    );
                    io::Error::new(kind, text)
                }
            })?;
            if closes {
                // The old socket goes first: it may hold the last descriptor there is.
                drop(socket);
                socket = dial(plan)?;
            }
        }
        socket.set_nonblocking(true)?;
        sockets.push(Socket::from_std(socket));
    }
    Ok(sockets)
}

/// One request and its answer. True if the server closes the connection behind it.
fn greet(
    plan: &Plan,
    socket: &mut TcpStream,
    requests: &Requests,
    expected: &mut Expected,
    interrupted: &dyn Fn() -> bool,
) -> io::Result<bool> {
    let since = Instant::now();
    let look = Some(plan.timeout.clamp(Duration::from_millis(1), LOOK));
    socket.set_read_timeout(look)?;
    socket.set_write_timeout(look)?;
    // The server may not read: a request that is larger than what the kernel holds is not gone at once, or never.
    let mut unsent = requests.one();
    let (mut answers, mut heard, mut piece) = (Answers::default(), Heard::default(), vec![0; 64 << 10]);
    while heard.answers == 0 {
        let moved = if unsent.is_empty() { socket.read(&mut piece) } else { socket.write(unsent) };
        match moved {
            Ok(0) => return Err(io::Error::other("the server closed the connection")),
            Ok(count) if !unsent.is_empty() => unsent = &unsent[count..],
            Ok(count) => {
                let fed = answers.feed(expected, &piece[..count], &mut heard);
                fed.map_err(|trouble| io::Error::other(trouble.to_string()))?;
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {}
            Err(error) => return Err(error),
        }
        if interrupted() {
            return Err(io::Error::new(io::ErrorKind::Interrupted, INTERRUPTED));
        }
        if heard.answers == 0 && since.elapsed() >= plan.timeout {
            return Err(io::Error::other(format!("no answer within {:?}", plan.timeout)));
        }
    }
    match heard.bad.first() {
        Some((_, trouble)) => Err(io::Error::other(trouble.to_string())),
        None => Ok(answers.closing()),
    }
}
