//! Sockets to the server, from many loopback addresses: each has ports of its own, so they don't run out.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use mio::net::TcpStream;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// Addresses that attackers come from.
const SOURCES: usize = 16;
/// The buffers of a narrow socket, in bytes.
const NARROW_RECEIVE: usize = 4 << 10;
const NARROW_SEND: usize = 64 << 10;

/// Begins to connect; the socket is writable once it is connected. `narrow`: with small buffers.
pub fn dial(target: SocketAddr, number: usize, narrow: bool) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if narrow {
        socket.set_recv_buffer_size(NARROW_RECEIVE)?;
        socket.set_send_buffer_size(NARROW_SEND)?;
    }
    if target.ip().is_ipv4() {
        let source = Ipv4Addr::new(127, 0, 1, 1 + (number % SOURCES) as u8);
        socket.bind(&SockAddr::from(SocketAddrV4::new(source, 0)))?;
    }
    match socket.connect(&SockAddr::from(target)) {
        Ok(()) => {}
        // The usual case. The name of this kind of error is not stable, its number on Linux is.
        Err(error) if error.raw_os_error() == Some(115) || error.kind() == io::ErrorKind::WouldBlock => {}
        Err(error) => return Err(error),
    }
    Ok(TcpStream::from_std(socket.into()))
}
