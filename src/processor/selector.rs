//! The seam to the operating system: what the processor needs from it, and the contract that a simulation has to keep.

use std::io;
use std::time::{Duration, Instant};

/// The operating system's report about one socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// The connection's place in the table, as given at registration.
    pub slot: u32,
    /// Bytes or the end of the stream can be read.
    pub readable: bool,
    /// Bytes can be written.
    pub writable: bool,
    /// The peer has closed its sending side. Bytes that came before may still be there.
    pub read_closed: bool,
    /// The socket is broken; nothing can be written any more. [`Selector::take_error`] says why.
    pub error: bool,
}

/// Whether a batch of ready sockets contained all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Nothing else was ready.
    All,
    /// The batch was full: more may be ready already.
    Part,
}

/// The operating system, as far as the processor knows it: the server's own `MioSelector`, or `SimSelector` in a
/// simulation. It cannot be replaced from outside; it is public because the simulator implements it.
///
/// # Contract
/// - Read readiness is **edge-triggered**: it is reported once for what has arrived, and again for whatever arrives
///   later. The processor keeps the flag itself.
/// - A read that returns fewer bytes than it asked for means that nothing more had arrived; whatever arrives later
///   raises a new edge. The end of the stream is different: it may follow a short read without an edge of its own, and
///   `read_closed` announces it beforehand.
/// - [`set_write`](Self::set_write) with `on` reports `writable` if the socket can take bytes at that moment, not only
///   when it changes.
/// - A socket can be read, written and closed before it is [registered](Self::register_read), and bytes that arrived
///   before are reported then.
/// - After [`deregister`](Self::deregister) nothing is reported for the slot any more.
/// - All methods are called on the processor thread.
///
/// # Errors
/// An error of [`select`](Self::select) ends the server; an error of `register_read` or `set_write` ends that
/// connection, with `CloseReason::Socket`; the other methods are called for connections that end, and their errors
/// change nothing about that.
pub trait Selector {
    /// A connected, non-blocking socket. Dropping it closes it.
    type Socket: io::Read + io::Write + Send + 'static;

    /// Reports from now on, under `slot`, when `socket` can be read; at once if it can already.
    fn register_read(&mut self, socket: &mut Self::Socket, slot: u32) -> io::Result<()>;

    /// Adds or removes the interest in writing. The interest in reading stays.
    fn set_write(&mut self, socket: &mut Self::Socket, slot: u32, on: bool) -> io::Result<()>;

    /// Closes the sending side: the peer reads the end of the stream after what was written.
    fn shutdown_write(&mut self, socket: &mut Self::Socket) -> io::Result<()>;

    /// Forgets the socket, before it is dropped. Not called for one that was never registered.
    fn deregister(&mut self, socket: &mut Self::Socket) -> io::Result<()>;

    /// Why the socket is broken, once `error` was reported for it. The next read or write would return the same error.
    fn take_error(&mut self, socket: &mut Self::Socket) -> io::Result<Option<io::Error>>;

    /// How many bytes have arrived and have not been read yet.
    fn unread(&mut self, socket: &mut Self::Socket) -> io::Result<u64>;

    /// Sleeps until something is ready, the timeout is over, or the processor's `WakeFlag` was used. Appends what is
    /// ready to `ready`, and returns whether that was all. A timeout of `None` sleeps without end. An interrupted sleep
    /// is not an error.
    fn select(&mut self, timeout: Option<Duration>, ready: &mut Vec<Readiness>) -> io::Result<Told>;

    /// The time now. Called after `select`, for the whole cycle; and before it, if the sleep has a limit.
    fn now(&mut self) -> Instant;

    /// Seconds since 1970, for `Date`. Called when the second of `now` has changed.
    fn unix_seconds(&mut self) -> u64;
}
