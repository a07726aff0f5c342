//! The accepter thread: takes connections from the kernel and hands them to the processors.
//!
//! It knows nothing of messages. While there is no room it takes nothing, and peers wait in the kernel's backlog; while
//! the kernel gives nothing (no descriptors, no memory) it tries again from time to time. It never gives up before it
//! is told to.

mod back_off;
#[cfg(test)]
mod tests;
mod watch;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use socket2::SockRef;

use crate::control::Control;
use crate::handover::{Accepted, Dealer};
use crate::metrics::Metrics;
use crate::poll::{poll_once, wake_flag};
use crate::socket::Socket;
use crate::wake::WakeFlag;

use back_off::BackOff;

pub use watch::{Awaited, Watch};

const LISTENER: Token = Token(0);
const WAKER: Token = Token(1);
/// The most connections taken in one go, before the accepter checks whether the server shuts down. After a sleep it
/// begins with one, and doubles that each time that there were more: usually only one peer waits, and an `accept` that
/// finds nothing is expensive.
const TURN: usize = 64;
/// From one log line about a server that is full to the next.
const TELL_AGAIN: Duration = Duration::from_secs(10);
/// How many connections in a row may fail before they are accepted; after this many, something else must be wrong. Less
/// than a turn.
const FAILURES_MAX: usize = 32;

/// Where the accepter sleeps: the listener and its poll. Made first, because others need its [`WakeFlag`].
#[derive(Debug)]
pub(crate) struct Entrance {
    poll: Poll,
    listener: TcpListener,
    wake: Arc<WakeFlag>,
}

impl Entrance {
    /// Takes over `listener`, which must be non-blocking.
    ///
    /// # Errors
    /// The process may not open more descriptors.
    pub(crate) fn new(listener: std::net::TcpListener) -> io::Result<Self> {
        let mut listener = TcpListener::from_std(listener);
        let poll = Poll::new()?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let wake = wake_flag(&poll, WAKER)?;
        Ok(Self { poll, listener, wake })
    }

    /// The flag that wakes the accepter.
    pub(crate) fn wake(&self) -> Arc<WakeFlag> {
        Arc::clone(&self.wake)
    }
}

/// The body of the accepter thread, on which [`run`](Self::run) must be called.
#[derive(Debug)]
pub(crate) struct Accepter {
    poll: Poll,
    listener: TcpListener,
    events: Events,
    watch: Watch<Socket>,
    /// The counters of the processors, by number: a connection is counted with the processor that gets it.
    metrics: Box<[Arc<Metrics>]>,
    /// How many peers may wait in the kernel's backlog.
    backlog: usize,
    back_off: BackOff,
    /// Connections that were open before the last attempt to accept.
    live: usize,
    /// When the log was told that there is no room.
    told: Option<Instant>,
    /// The connections that come have their options from the listener. Not the first ones: what was already in the
    /// backlog when the listener was told the options has those of before, and `accept` changes nothing about that.
    inherit: bool,
    /// Declared behind `listener`: fields are dropped in this order, so no peer can connect any more when it says so.
    _finish: FinishOnDrop,
}

/// The outcome of accepting.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// The turn is over; more peers may be waiting.
    More,
    /// No peer waits in the backlog.
    Drained,
    /// No room for one more connection.
    NoRoom,
    /// The kernel gave no connection, for a reason other than the peer.
    Failed,
}

impl Accepter {
    pub(crate) fn new(
        entrance: Entrance,
        dealer: Arc<Dealer<Socket>>,
        control: Arc<Control>,
        metrics: Box<[Arc<Metrics>]>,
        backlog: usize,
    ) -> Self {
        let Entrance { poll, listener, wake } = entrance;
        let (events, back_off) = (Events::with_capacity(2), BackOff::default());
        let _finish = FinishOnDrop(Arc::clone(&dealer));
        let watch = Watch { wake, dealer, control };
        let (live, told, inherit) = (0, None, false);
        Self { poll, listener, events, watch, metrics, backlog, back_off, live, told, inherit, _finish }
    }

    /// Accepts until the server shuts down, then accepts what the backlog still holds, then closes the listener and
    /// says that it is over. It also does the latter two if it panics, or is dropped without having run.
    ///
    /// # Errors
    /// It could not sleep, because its poll is broken.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut most = 1;
        while !self.watch.control.is_requested() {
            match self.accept_some(most) {
                Outcome::More => {
                    most = TURN.min(most * 2);
                    // This gives a processor on the same core its turn, and meanwhile more peers may come; otherwise
                    // both threads would sleep and wake for each of them.
                    thread::yield_now();
                    continue;
                }
                Outcome::Drained => self.sleep(None, Awaited::Peer)?,
                Outcome::NoRoom => {
                    self.note_no_room(Instant::now());
                    self.sleep(None, Awaited::Room)?;
                }
                Outcome::Failed => self.wait_out_failure()?,
            }
            most = 1;
        }
        self.accept_rest()
    }

    /// Accepts as long as peers wait and there is room, but no more than `most`.
    fn accept_some(&mut self, most: usize) -> Outcome {
        let mut failures = 0;
        for _ in 0..most {
            let Some(chosen) = self.watch.dealer.choose() else { return Outcome::NoRoom };
            // Counted before the attempt: a connection that ends right after a failure must not be missed.
            self.live = self.watch.dealer.live();
            match self.listener.accept() {
                Ok((socket, address)) => {
                    failures = 0;
                    self.back_off.succeeded();
                    self.hand_over(chosen, socket, address);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.inherit = cfg!(target_os = "linux");
                    return Outcome::Drained;
                }
                Err(error) if is_of_one_peer(&error) && failures < FAILURES_MAX => failures += 1,
                Err(error) => {
                    self.note_failure(&error);
                    return Outcome::Failed;
                }
            }
        }
        Outcome::More
    }

    /// The server shuts down: accepts the peers in the backlog, which were promised a connection, but no more than the
    /// backlog can hold, or peers that keep coming would hold up the shutdown. While the grace lasts, waits for room
    /// and for anything that the kernel lacks.
    fn accept_rest(&mut self) -> io::Result<()> {
        let mut tried = 0;
        while tried <= self.backlog {
            let Some(chosen) = self.watch.dealer.choose() else {
                if !self.wait_at_the_end(Instant::now(), Duration::MAX, Awaited::RoomAtTheEnd)? {
                    return self.warn_of_rest("there was no room for them");
                }
                continue;
            };
            let live = self.watch.dealer.live();
            match self.listener.accept() {
                Ok((socket, address)) => self.hand_over(chosen, socket, address),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if is_of_one_peer(&error) => {}
                // Without descriptors it fails whether or not a peer waits.
                Err(_) if !self.is_awaited()? => return Ok(()),
                Err(error) => {
                    self.note_failure(&error);
                    let fewer = |until| Awaited::FewerAtTheEnd(live, until);
                    if !self.wait_at_the_end(Instant::now(), self.back_off.delay, fewer)? {
                        return self.warn_of_rest(&error.to_string());
                    }
                    continue;
                }
            }
            tried += 1;
        }
        Ok(())
    }

    /// Sleeps until what is awaited has come, but no longer than `longest`. False if the grace is over at `now`.
    fn wait_at_the_end(
        &mut self,
        now: Instant,
        longest: Duration,
        awaited: impl FnOnce(Instant) -> Awaited,
    ) -> io::Result<bool> {
        let Some(shutdown) = self.watch.control.requested() else { return Ok(false) };
        let left = shutdown.until().saturating_duration_since(now);
        if left.is_zero() {
            return Ok(false);
        }
        self.wait(left.min(longest), awaited(shutdown.until()))?;
        Ok(true)
    }

    /// True if a peer is in the backlog. A listener that was shut down elsewhere also wakes the poll, again and again;
    /// but its event is not readable, or reports the end.
    fn is_awaited(&mut self) -> io::Result<bool> {
        // A socket that is registered anew is reported at once, if it is ready.
        self.poll.registry().reregister(&mut self.listener, LISTENER, Interest::READABLE)?;
        poll_once(&mut self.poll, &mut self.events, Some(Duration::ZERO))?;
        let is_peer = |event: &Event| event.is_readable() && !event.is_read_closed() && !event.is_error();
        Ok(self.events.iter().any(|event| event.token() == LISTENER && is_peer(event)))
    }

    /// The grace is over, and peers that are still in the backlog are reset when the listener closes. Their number is
    /// unknown.
    fn warn_of_rest(&mut self, why: &str) -> io::Result<()> {
        if self.is_awaited()? {
            log::warn!("the grace is over, and peers in the backlog were not accepted: {why}");
        }
        Ok(())
    }

    fn hand_over(&self, chosen: usize, socket: TcpStream, address: SocketAddr) {
        if !self.inherit {
            set_options(&socket);
        }
        self.metrics[chosen].accepted.add(1);
        if self.watch.dealer.put(chosen, Accepted { socket: socket.into(), address }).is_err() {
            // There was room, and no other thread puts anything there.
            debug_assert!(false, "the hand-over queue was full after all");
            log::error!("no room to hand over the connection of {address}: closed");
        }
    }

    /// It stops until there is room. That too many are open is told once in a while; that a queue is full is not, as
    /// the processor takes from it in each cycle.
    fn note_no_room(&mut self, now: Instant) {
        self.metrics[0].accept_pauses.add(1);
        let (live, most) = (self.watch.dealer.live(), self.watch.dealer.connections_max());
        if live >= most && self.told.is_none_or(|told| now.saturating_duration_since(told) >= TELL_AGAIN) {
            self.told = Some(now);
            log::warn!("connections_max = {most} connections are open: peers wait in the backlog until one has ended");
        }
    }

    fn note_failure(&mut self, error: &io::Error) {
        self.metrics[0].accept_failures.add(1);
        if self.back_off.failed(Instant::now()) {
            let live = self.watch.dealer.live();
            log::warn!("cannot accept: {error}; {live} connections are open; peers wait in the backlog until it can");
        }
    }

    /// Sleeps after a failure until the back-off is over, or until a connection has ended, which frees what was
    /// lacking.
    fn wait_out_failure(&mut self) -> io::Result<()> {
        self.wait(self.back_off.delay, Awaited::FewerThan(self.live))
    }

    /// Sleeps until what is awaited has come, but not longer than `longest`.
    fn wait(&mut self, longest: Duration, awaited: Awaited) -> io::Result<()> {
        let since = Instant::now();
        while !self.watch.has_come(awaited) {
            // New peers also end the sleep, but their turn has not come.
            let left = longest.saturating_sub(since.elapsed());
            if left.is_zero() {
                break;
            }
            self.sleep(Some(left), awaited)?;
        }
        Ok(())
    }

    fn sleep(&mut self, timeout: Option<Duration>, awaited: Awaited) -> io::Result<()> {
        let slept =
            if self.watch.may_sleep(awaited) { poll_once(&mut self.poll, &mut self.events, timeout) } else { Ok(()) };
        self.watch.wake.awake();
        slept
    }
}

/// Sets what the listener was told, too.
fn set_options(socket: &TcpStream) {
    let socket = SockRef::from(socket);
    let set = socket.set_tcp_nodelay(true).and_then(|()| socket.set_out_of_band_inline(true));
    if let Err(error) = set {
        // The peer may be gone already; reading from it will tell.
        log::debug!("cannot set the options of a new connection: {error}");
    }
}

/// True if the error concerns only the connection that was to be accepted, so that the next one may succeed. accept(2)
/// also passes on network errors of that connection.
fn is_of_one_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionReset, HostUnreachable, Interrupted, NetworkDown, NetworkUnreachable,
        PermissionDenied, TimedOut,
    };
    /// "Protocol error" has no `ErrorKind`.
    const EPROTO: i32 = if cfg!(target_os = "linux") { 71 } else { 100 };
    let kinds = [
        ConnectionAborted,
        ConnectionReset,
        HostUnreachable,
        Interrupted,
        NetworkDown,
        NetworkUnreachable,
        PermissionDenied,
        TimedOut,
    ];
    kinds.contains(&error.kind()) || error.raw_os_error() == Some(EPROTO)
}

/// Says that no connection will be handed over any more, whatever ends the accepter.
#[derive(Debug)]
struct FinishOnDrop(Arc<Dealer<Socket>>);

impl Drop for FinishOnDrop {
    fn drop(&mut self) {
        self.0.finish();
    }
}
