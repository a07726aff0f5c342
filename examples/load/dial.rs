//! Makes connections: the first ones one after the other, later ones without waiting.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use mio::net::TcpStream as Socket;

use crate::answers::{Answers, Expected, Heard};
use crate::cli::Plan;
use crate::request::Requests;

/// So many connections are made before the server is asked whether it has taken them: fewer than fit any backlog.
const WAVE: usize = 64;

/// Connects and waits for it.
pub fn dial(plan: &Plan) -> io::Result<TcpStream> {
    let connected = TcpStream::connect_timeout(&plan.server, plan.timeout);
    let socket = connected.map_err(|error| {
        let text = format!("cannot connect to {}: {error}; does the server run there?", plan.server);
        io::Error::new(error.kind(), text)
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
/// a server that speaks something else is found out at once.
pub fn dial_all(plan: &Plan, count: usize, requests: &Requests, expected: &mut Expected) -> io::Result<Vec<Socket>> {
    let mut sockets = Vec::with_capacity(count);
    for number in 0..count {
        let mut socket = dial(plan)?;
        if number % WAVE == 0 || number + 1 == count {
            greet(plan, &mut socket, requests, expected)?;
        }
        socket.set_nonblocking(true)?;
        sockets.push(Socket::from_std(socket));
    }
    Ok(sockets)
}

/// One request and its answer.
pub fn greet(plan: &Plan, socket: &mut TcpStream, requests: &Requests, expected: &mut Expected) -> io::Result<()> {
    let no_good = |why: String| io::Error::other(format!("the first request to {} failed: {why}", plan.server));
    socket.set_read_timeout(Some(plan.timeout.max(std::time::Duration::from_millis(1))))?;
    socket.write_all(requests.one()).map_err(|error| no_good(error.to_string()))?;
    let (mut answers, mut heard, mut piece) = (Answers::default(), Heard::default(), vec![0; 64 << 10]);
    while heard.answers == 0 {
        match socket.read(&mut piece) {
            Ok(0) => return Err(no_good("the server closed the connection; is --protocol right?".into())),
            Ok(count) => answers
                .feed(expected, &piece[..count], &mut heard)
                .map_err(|trouble| no_good(format!("{trouble}; is --protocol right?")))?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(no_good(format!("no answer within {:?}; is --protocol right?", plan.timeout)));
            }
            Err(error) => return Err(no_good(error.to_string())),
        }
    }
    match heard.bad.first() {
        Some(trouble) => Err(no_good(trouble.to_string())),
        None => Ok(()),
    }
}
