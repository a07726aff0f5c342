//! The client: sends a case as its file says, and waits until the server has said all.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use crate::http1_cases::Case;
use crate::wire::{self, End};

/// Who has said nothing for so long waits for more.
const QUIET: Duration = Duration::from_millis(700);

/// What became of the case, in the words of the table.
pub fn outcome(case: &Case, server: SocketAddr) -> String {
    let mut stream = TcpStream::connect(server).expect("the server listens");
    stream.set_read_timeout(Some(QUIET)).expect("set");
    stream.set_write_timeout(Some(QUIET)).expect("set");
    stream.set_nodelay(true).expect("set");
    let (mut bytes, mut end) = (Vec::new(), End::Open);
    for piece in case.pieces() {
        // Who refuses does not have to read on: what counts is what comes back.
        let _ = stream.write_all(piece);
        end = read(&mut stream, &mut bytes);
    }
    if case.client_ends && end == End::Open {
        let _ = stream.shutdown(Shutdown::Write);
        end = read(&mut stream, &mut bytes);
    }
    wire::outcome(&bytes, end)
}

fn read(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> End {
    let mut buffer = [0; 16 * 1024];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return End::Closed,
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return End::Open,
            // Closed with bytes of ours unread: for the client the same end, if it was quick.
            Err(_) => return End::Closed,
        }
    }
}
