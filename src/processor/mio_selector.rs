//! The real operating system behind [`Selector`]: one `mio::Poll`, sockets of `mio::net`.

use std::io;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mio::event::Event;
use mio::{Events, Interest, Poll, Token};

use super::early_timer::EarlyTimer;
use super::selector::{Readiness, Selector, Told};
use super::sleep::EVENTS;
use crate::poll::{poll_once, wake_flag};
use crate::socket::Socket;
use crate::wake::WakeFlag;

/// The token of the waker. Slots are `u32`, and the table is smaller than that.
const WAKER: Token = Token(u32::MAX as usize);

/// [`Selector`] by mio: epoll on Linux, kqueue on macOS.
///
/// One `Poll`, because a thread can sleep in one place only; registering one socket with two of them is an error.
#[derive(Debug)]
pub(crate) struct MioSelector {
    poll: Poll,
    events: Events,
    early_timer: EarlyTimer,
    /// What [`now`](Selector::now) said last.
    now: Instant,
    /// The poll that ended last was one that may have slept, begun at `now`.
    has_waited: bool,
}

impl MioSelector {
    /// A selector, and the flag that wakes its thread from [`select`](Selector::select).
    ///
    /// # Errors
    /// The process may not open more descriptors.
    pub(crate) fn new() -> io::Result<(Self, Arc<WakeFlag>)> {
        let poll = Poll::new()?;
        let wake = wake_flag(&poll, WAKER)?;
        let now = Instant::now();
        let (events, early_timer) = (Events::with_capacity(EVENTS), EarlyTimer::new(now));
        Ok((Self { poll, events, early_timer, now, has_waited: false }, wake))
    }

    /// Bytes that one batch of events takes, here and as [`Readiness`], for the memory ceiling.
    pub(crate) fn memory() -> u64 {
        (EVENTS * (size_of::<Event>() + size_of::<Readiness>())) as u64
    }
}

impl From<&Event> for Readiness {
    fn from(event: &Event) -> Self {
        let read_closed = event.is_read_closed();
        Self {
            slot: event.token().0 as u32,
            // A hang-up by itself is also something to read: the end of the stream.
            readable: event.is_readable() || read_closed,
            writable: event.is_writable(),
            read_closed,
            error: event.is_error(),
        }
    }
}

impl Selector for MioSelector {
    type Socket = Socket;

    fn register_read(&mut self, socket: &mut Socket, slot: u32) -> io::Result<()> {
        self.poll.registry().register(socket, Token(slot as usize), Interest::READABLE)
    }

    fn set_write(&mut self, socket: &mut Socket, slot: u32, on: bool) -> io::Result<()> {
        // Registering again arms the edge again: readiness at this moment is reported.
        let interest = if on { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        self.poll.registry().reregister(socket, Token(slot as usize), interest)
    }

    fn shutdown_write(&mut self, socket: &mut Socket) -> io::Result<()> {
        socket.shutdown_write()
    }

    fn deregister(&mut self, socket: &mut Socket) -> io::Result<()> {
        self.poll.registry().deregister(socket)
    }

    fn take_error(&mut self, socket: &mut Socket) -> io::Result<Option<io::Error>> {
        socket.take_error()
    }

    fn unread(&mut self, socket: &mut Socket) -> io::Result<u64> {
        socket.unread()
    }

    fn select(&mut self, timeout: Option<Duration>, ready: &mut Vec<Readiness>) -> io::Result<Told> {
        self.has_waited = timeout != Some(Duration::ZERO);
        poll_once(&mut self.poll, &mut self.events, timeout)?;
        let before = ready.len();
        ready.extend(self.events.iter().filter(|event| event.token() != WAKER).map(Readiness::from));
        // One event of a full batch may have been the waker's.
        Ok(if ready.len() - before + 1 < EVENTS { Told::All } else { Told::Part })
    }

    fn now(&mut self) -> Instant {
        let now = Instant::now();
        let since = mem::replace(&mut self.now, now);
        if mem::take(&mut self.has_waited) {
            self.early_timer.waited(since, now);
        }
        now
    }

    fn unix_seconds(&mut self) -> u64 {
        // A clock before 1970 is a clock that was never set.
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{self, Shutdown};

    use mio::net::TcpStream;

    const LONG: Option<Duration> = Some(Duration::from_secs(60));

    /// A socket in a selector, under slot 7, and its peer.
    fn connected() -> (MioSelector, Socket, net::TcpStream) {
        let (mut selector, mut socket, peer) = unregistered();
        selector.register_read(&mut socket, 7).expect("registered");
        (selector, socket, peer)
    }

    fn unregistered() -> (MioSelector, Socket, net::TcpStream) {
        let (selector, _) = MioSelector::new().expect("a poll");
        let listener = net::TcpListener::bind("127.0.0.1:0").expect("a listener");
        let peer = net::TcpStream::connect(listener.local_addr().expect("its address")).expect("a peer");
        let (socket, _) = listener.accept().expect("its socket");
        socket.set_nonblocking(true).expect("non-blocking");
        (selector, TcpStream::from_std(socket).into(), peer)
    }

    fn select(selector: &mut MioSelector, timeout: Option<Duration>) -> Vec<Readiness> {
        let mut ready = Vec::new();
        selector.select(timeout, &mut ready).expect("select works");
        ready
    }

    #[test]
    fn bytes_raise_one_edge_and_an_idle_socket_that_could_be_written_none() {
        let (mut selector, mut socket, mut peer) = connected();
        peer.write_all(b"ab").expect("sent");
        assert_eq!(select(&mut selector, LONG), [Readiness { slot: 7, readable: true, ..Readiness::default() }]);
        assert_eq!(select(&mut selector, Some(Duration::ZERO)), [], "reported once");
        let mut bytes = [0; 8];
        assert_eq!(socket.read(&mut bytes).expect("what arrived"), 2);
    }

    #[test]
    fn a_registration_reports_what_was_not_read_before_it() {
        let (mut selector, mut socket, mut peer) = unregistered();
        peer.write_all(b"abc").expect("sent");
        let mut bytes = [0; 2];
        // On loopback, bytes that were sent have arrived.
        assert_eq!(socket.read(&mut bytes).expect("nobody watches, and it is there"), 2);
        selector.register_read(&mut socket, 7).expect("registered");
        assert_eq!(select(&mut selector, LONG), [Readiness { slot: 7, readable: true, ..Readiness::default() }]);
        assert_eq!(socket.read(&mut bytes).expect("the rest"), 1);
        peer.shutdown(Shutdown::Write).expect("half-closed");
        assert!(select(&mut selector, LONG)[0].read_closed);
    }

    #[test]
    fn an_end_that_came_before_the_registration_is_reported() {
        let (mut selector, mut socket, mut peer) = unregistered();
        peer.write_all(b"last").expect("sent");
        peer.shutdown(Shutdown::Write).expect("half-closed");
        assert_eq!(socket.read(&mut [0; 8]).expect("a short read"), 4);
        selector.register_read(&mut socket, 7).expect("registered");
        let ready = select(&mut selector, LONG)[0];
        assert!(ready.readable && ready.read_closed && !ready.error, "{ready:?}");
    }

    #[test]
    fn a_write_interest_reports_at_once_and_goes_again() {
        let (mut selector, mut socket, _peer) = connected();
        selector.set_write(&mut socket, 7, true).expect("on");
        assert_eq!(select(&mut selector, LONG), [Readiness { slot: 7, writable: true, ..Readiness::default() }]);
        selector.set_write(&mut socket, 7, false).expect("off");
        assert_eq!(select(&mut selector, Some(Duration::ZERO)), []);
        selector.set_write(&mut socket, 7, true).expect("on again");
        assert!(select(&mut selector, LONG)[0].writable, "also when nothing has changed since");
    }

    #[test]
    fn the_end_of_the_stream_is_said_with_the_bytes_before_it() {
        let (mut selector, mut socket, mut peer) = connected();
        peer.write_all(b"last").expect("sent");
        peer.shutdown(Shutdown::Write).expect("half-closed");
        let mut seen = Readiness::default();
        while !seen.read_closed {
            seen = *select(&mut selector, LONG).last().expect("an edge before the timeout");
        }
        assert!(seen.readable && !seen.error, "{seen:?}");
        selector.shutdown_write(&mut socket).expect("the other side too");
        let mut rest = Vec::new();
        peer.read_to_end(&mut rest).expect("the peer reads our end");
        selector.deregister(&mut socket).expect("forgotten");
        assert_eq!(select(&mut selector, Some(Duration::ZERO)), []);
    }

    #[test]
    fn what_has_arrived_can_be_counted_before_it_is_read() {
        let (mut selector, mut socket, mut peer) = connected();
        peer.write_all(b"five.").expect("sent");
        while !select(&mut selector, LONG).iter().any(|ready| ready.readable) {}
        assert_eq!(selector.unread(&mut socket).expect("it can be asked"), 5);
        socket.read_exact(&mut [0; 3]).expect("they are there");
        assert_eq!(selector.unread(&mut socket).expect("it can be asked"), 2);
    }

    /// An error event, and what the socket says about it.
    fn broken(selector: &mut MioSelector, socket: &mut Socket) -> Option<io::ErrorKind> {
        while !select(selector, LONG).iter().any(|ready| ready.error) {}
        let error = selector.take_error(socket).expect("it can be asked");
        assert!(selector.take_error(socket).expect("it can be asked").is_none(), "said once");
        error.map(|error| error.kind())
    }

    #[test]
    fn a_broken_socket_says_why() {
        for (finishes, kind) in [(false, io::ErrorKind::ConnectionReset), (true, io::ErrorKind::BrokenPipe)] {
            let (mut selector, mut socket, peer) = connected();
            socket.write_all(b"never read").expect("sent");
            if finishes {
                peer.shutdown(Shutdown::Write).expect("half-closed");
                assert!(select(&mut selector, LONG)[0].read_closed);
            }
            // With unread bytes in it, a socket that is closed resets its connection.
            peer.peek(&mut [0]).expect("they have come");
            drop(peer);
            assert_eq!(broken(&mut selector, &mut socket), Some(kind));
        }
    }

    #[test]
    fn waits_are_told_once_and_looks_are_not() {
        let (mut selector, wake) = MioSelector::new().expect("a poll");
        // A period that lasts longer than this test.
        selector.early_timer = EarlyTimer::new(Instant::now() + Duration::from_secs(60));
        select(&mut selector, Some(Duration::ZERO));
        assert!(!selector.has_waited, "it was a look");
        wake.fall_asleep();
        wake.wake();
        select(&mut selector, None);
        assert!(selector.has_waited);
        // It began that long ago.
        selector.now -= Duration::from_micros(50);
        selector.now();
        assert_eq!((selector.early_timer.sleeps(), selector.has_waited), (1, false), "told as a sleep, and once");
    }

    #[test]
    fn a_wake_ends_the_sleep_and_is_no_socket() {
        let (mut selector, wake) = MioSelector::new().expect("a poll");
        wake.fall_asleep();
        wake.wake();
        assert_eq!(select(&mut selector, None), [], "woken, and nothing is ready");
        assert_eq!(select(&mut selector, Some(Duration::ZERO)), []);
    }
}
