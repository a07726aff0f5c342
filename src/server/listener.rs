//! The listening socket.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::error::{advise, explain};

/// The advice if the address is not valid.
const ADDRESS: &str = "an address is a host and a port, such as 127.0.0.1:8080 (0.0.0.0 is every network of this machine, \
                       port 0 any free port)";

/// Binds the first address of `addresses` that can be bound.
///
/// # Errors
/// None could be bound: the error of the final attempt, which names its address.
pub(super) fn bind(addresses: impl ToSocketAddrs + fmt::Debug, backlog: i32) -> io::Result<TcpListener> {
    let named = format!("{addresses:?}");
    let resolved = addresses.to_socket_addrs();
    let mut last = None;
    for address in resolved.map_err(|error| advise(format!("cannot bind {named}"), error, ADDRESS))? {
        match listen(address, backlog) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = Some(refused(address, error)),
        }
    }
    Err(last.unwrap_or_else(|| {
        explain(format!("cannot bind {named}"), io::Error::new(io::ErrorKind::AddrNotAvailable, "it has no address"))
    }))
}

/// Why the kernel refused to bind `address`, and what to do if that is known.
fn refused(address: SocketAddr, error: io::Error) -> io::Error {
    let tried = format!("cannot bind {address}");
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse if address.port() == 0 => {
            "none of the ports that the system gives out is free: end what uses them, or name a port"
        }
        io::ErrorKind::AddrInUse => "another program listens there: end it, or take another port (0 is any free one)",
        io::ErrorKind::AddrNotAvailable => "this machine has no such address: 0.0.0.0 or [::] is every one that it has",
        io::ErrorKind::PermissionDenied if (1..1024).contains(&address.port()) => {
            "ports below 1024 need privileges: take a higher one"
        }
        _ => return explain(tried, error),
    };
    advise(tried, error, advice)
}

fn listen(address: SocketAddr, backlog: i32) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // So that a server can be started again while connections of the previous one are still in TIME_WAIT. On Windows
    // the option means something else: other programs could take the port away.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    let listener = socket.into();
    prepare(&listener)?;
    Ok(listener)
}

/// Makes `listener` non-blocking and sets what its connections inherit.
///
/// # Errors
/// The kernel refused one of the options.
pub(super) fn prepare(listener: &TcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let socket = SockRef::from(listener);
    // Answers leave at once; all of a turn are gathered into one write anyway.
    socket.set_tcp_nodelay(true)?;
    // Urgent bytes become part of the stream; outside of it they would raise edges with nothing to read. A read still
    // stops in front of an urgent byte, so that byte may be decoded only when more comes.
    socket.set_out_of_band_inline(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    #[test]
    #[cfg(target_os = "linux")]
    fn connections_inherit_what_the_listener_was_told() {
        let listener = bind("127.0.0.1:0", 16).expect("a port");
        let _peer = TcpStream::connect(listener.local_addr().expect("its address")).expect("connected");
        let mut listener = mio::net::TcpListener::from_std(listener);
        let mut poll = mio::Poll::new().expect("a poll");
        poll.registry().register(&mut listener, mio::Token(0), mio::Interest::READABLE).expect("registered");
        poll.poll(&mut mio::Events::with_capacity(1), None).expect("the peer is there");
        let (socket, _) = listener.accept().expect("its socket");
        let socket = SockRef::from(&socket);
        assert!(socket.tcp_nodelay().expect("known"), "TCP_NODELAY");
        assert!(socket.out_of_band_inline().expect("known"), "SO_OOBINLINE");
        assert!(socket.nonblocking().expect("known"), "O_NONBLOCK");
    }

    #[test]
    fn the_error_names_the_address_and_the_reason() {
        let taken = bind("127.0.0.1:0", 16).expect("a port");
        let address = taken.local_addr().expect("its address");
        let error = bind(address, 16).expect_err("one listener a port");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let in_use = format!("cannot bind {address}: address already in use; another program listens there: ");
        assert!(error.to_string().starts_with(&in_use), "{error}");
        for what in ["", "localhost", "localhost:", "localhost:99999", "127.0.0.1:http", "[::1]", "8080"] {
            let error = bind(what, 16).expect_err("not an address").to_string();
            assert!(error.starts_with(&format!("cannot bind {what:?}: ")), "{error}");
            assert!(error.contains("; an address is a host and a port, such as 127.0.0.1:8080"), "{error}");
        }
        let error = bind("192.0.2.1:80", 16).expect_err("for documentation only").to_string();
        assert!(error.contains("192.0.2.1:80: ") && error.contains("; this machine has no such address"), "{error}");
        let denied = |port| refused(([127, 0, 0, 1], port).into(), io::Error::from_raw_os_error(13)).to_string();
        let advice = "; ports below 1024 need privileges: take a higher one";
        assert_eq!(denied(80), format!("cannot bind 127.0.0.1:80: permission denied{advice}"));
        assert_eq!(denied(8080), "cannot bind 127.0.0.1:8080: permission denied");
        assert_eq!(denied(0), "cannot bind 127.0.0.1:0: permission denied");
        let none_free = refused(([127, 0, 0, 1], 0).into(), io::ErrorKind::AddrInUse.into()).to_string();
        assert!(none_free.contains("; none of the ports") && !none_free.contains("(0 is"), "{none_free}");
        let error = bind(&[][..], 16).expect_err("no address");
        assert!(error.to_string().ends_with("it has no address"), "{error}");
    }
}
