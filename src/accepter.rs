//! The accepter thread: takes connections from the kernel and hands them to the processors.
//!
//! It knows nothing of messages. While there is no room it takes nothing, and peers wait in the kernel's backlog; while
//! the kernel gives nothing (no descriptors, no memory) it tries again by and by. It never gives up before it is told.

mod back_off;
mod watch;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use crate::control::Control;
use crate::handover::{Accepted, Dealer};
use crate::metrics::Metrics;
use crate::poll::{poll_once, wake_flag};
use crate::wake::WakeFlag;

use back_off::BackOff;

pub use watch::{Awaited, Watch};

const LISTENER: Token = Token(0);
const WAKER: Token = Token(1);
/// Connections taken in one go at most, before it looks whether the server goes down. After a sleep it is one, and twice
/// as many each time that there were more: one is mostly all there is, and to ask for another in vain is not cheap.
const TURN: usize = 64;
/// Connections in a row that failed before they were accepted; after so many something else must be wrong. Less than a turn.
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

    /// Gets the accepter out of its sleep.
    pub(crate) fn wake(&self) -> Arc<WakeFlag> {
        Arc::clone(&self.wake)
    }
}

/// The body of the accepter thread. [`run`](Self::run) it there.
#[derive(Debug)]
pub(crate) struct Accepter {
    poll: Poll,
    listener: TcpListener,
    events: Events,
    watch: Watch<TcpStream>,
    /// Those of the processors, by number: a connection is counted with whom it is dealt to.
    metrics: Box<[Arc<Metrics>]>,
    /// How many peers may wait in the kernel's backlog.
    backlog: usize,
    back_off: BackOff,
    /// Connections that were open before the last attempt to accept.
    live: usize,
    /// Behind `listener`: fields are dropped in this order, so nobody can connect any more when it says so.
    _finish: FinishOnDrop,
}

/// What accepting came to.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// The turn is over; more peers may be waiting.
    More,
    /// Nobody waits in the backlog.
    Drained,
    /// No room for one more connection.
    NoRoom,
    /// The kernel gave none, and not because of the peer.
    Failed,
}

impl Accepter {
    pub(crate) fn new(
        entrance: Entrance,
        dealer: Arc<Dealer<TcpStream>>,
        control: Arc<Control>,
        metrics: Box<[Arc<Metrics>]>,
        backlog: usize,
    ) -> Self {
        let Entrance { poll, listener, wake } = entrance;
        let (events, back_off) = (Events::with_capacity(2), BackOff::default());
        let _finish = FinishOnDrop(Arc::clone(&dealer));
        let watch = Watch { wake, dealer, control };
        Self { poll, listener, events, watch, metrics, backlog, back_off, live: 0, _finish }
    }

    /// Accepts until the server goes down, then what the backlog still holds, then closes the listener and says that it
    /// is over. The latter two also when it panics, or is dropped without having run.
    ///
    /// # Errors
    /// It could not sleep: its poll is broken.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut most = 1;
        while !self.watch.control.is_requested() {
            match self.accept_some(most) {
                Outcome::More => {
                    most = TURN.min(most * 2);
                    // A processor on the same core now has its turn, and meanwhile more peers may come: both threads
                    // would sleep and wake for each of them otherwise.
                    thread::yield_now();
                    continue;
                }
                Outcome::Drained => self.sleep(None, Awaited::Peer)?,
                Outcome::NoRoom => self.sleep(None, Awaited::Room)?,
                Outcome::Failed => self.wait_out_failure()?,
            }
            most = 1;
        }
        self.accept_rest()
    }

    /// Accepts as long as there is someone, and room, and not more than `most`.
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
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Outcome::Drained,
                Err(error) if is_of_one_peer(&error) && failures < FAILURES_MAX => failures += 1,
                Err(error) => return self.failed(&error),
            }
        }
        Outcome::More
    }

    /// The server goes down: whoever is in the backlog was promised a connection. No more than the backlog can hold, or
    /// peers who keep on coming would hold the shutdown up. Waits for room while the grace lasts.
    fn accept_rest(&mut self) -> io::Result<()> {
        let began = Instant::now();
        for _ in 0..=self.backlog {
            let chosen = loop {
                if let Some(chosen) = self.watch.dealer.choose() {
                    break chosen;
                }
                let grace = self.watch.control.shutdown().map_or(Duration::ZERO, |shutdown| shutdown.grace);
                let left = grace.saturating_sub(began.elapsed());
                if left.is_zero() {
                    return Ok(());
                }
                self.sleep(Some(left), Awaited::RoomAtTheEnd(grace))?;
            };
            match self.listener.accept() {
                Ok((socket, address)) => self.hand_over(chosen, socket, address),
                Err(error) if is_of_one_peer(&error) => {}
                Err(_) => return Ok(()),
            }
        }
        Ok(())
    }

    fn hand_over(&self, chosen: usize, socket: TcpStream, address: SocketAddr) {
        prepare(&socket);
        self.metrics[chosen].accepted.add(1);
        if self.watch.dealer.put(chosen, Accepted { socket, address }).is_err() {
            // There was room, and nobody else puts anything there.
            debug_assert!(false, "the hand-over queue was full after all");
            log::error!("no room to hand over the connection of {address}: closed");
        }
    }

    fn failed(&mut self, error: &io::Error) -> Outcome {
        if self.back_off.failed(Instant::now()) {
            let live = self.watch.dealer.live();
            log::warn!("cannot accept: {error}; {live} connections are open; peers wait in the backlog until it can");
        }
        Outcome::Failed
    }

    /// Sleeps after a failure until its time is over, or a connection has ended: that frees what was lacking.
    fn wait_out_failure(&mut self) -> io::Result<()> {
        let live = self.live;
        let until = Instant::now() + self.back_off.delay;
        while !self.watch.has_come(Awaited::FewerThan(live)) {
            // New peers end the sleep as well, but their turn has not come.
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            self.sleep(Some(left), Awaited::FewerThan(live))?;
        }
        Ok(())
    }

    fn sleep(&mut self, timeout: Option<Duration>, awaited: Awaited) -> io::Result<()> {
        let slept = match self.watch.may_sleep(awaited) {
            true => poll_once(&mut self.poll, &mut self.events, timeout),
            false => Ok(()),
        };
        self.watch.wake.awake();
        slept
    }
}

/// Sets what Linux inherits from the listener.
fn prepare(socket: &TcpStream) {
    #[cfg(not(target_os = "linux"))]
    {
        let socket = socket2::SockRef::from(socket);
        let set = socket.set_tcp_nodelay(true).and_then(|()| socket.set_out_of_band_inline(true));
        if let Err(error) = set {
            // The peer may be gone already; reading from it will tell.
            log::debug!("cannot set the options of a new connection: {error}");
        }
    }
    let _ = socket;
}

/// True if the error is about the connection that was to be accepted, and the next one may do better. accept(2) also
/// passes on what the network had to say about it.
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

/// Says that nobody will be handed over any more, whatever ends the accepter.
#[derive(Debug)]
struct FinishOnDrop(Arc<Dealer<TcpStream>>);

impl Drop for FinishOnDrop {
    fn drop(&mut self) {
        self.0.finish();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{Finish, Shutdown};
    use crate::handover::Handover;
    use std::env;
    use std::net;
    use std::process::Command;
    use std::sync::mpsc::{self, Receiver};

    const LONG: Duration = Duration::from_secs(10);

    /// The processor's side of the hand-over, played by the test.
    struct Desk {
        handover: Arc<Handover<TcpStream>>,
        control: Arc<Control>,
        metrics: Arc<Metrics>,
        flag: Arc<WakeFlag>,
        woken: Receiver<()>,
        address: SocketAddr,
    }

    impl Desk {
        fn open(capacity: usize, connections_max: usize) -> (Self, Accepter) {
            let listener = net::TcpListener::bind("127.0.0.1:0").expect("a port");
            listener.set_nonblocking(true).expect("non-blocking");
            let address = listener.local_addr().expect("its address");
            let entrance = Entrance::new(listener).expect("a poll");
            let (wake, woken) = mpsc::channel();
            let flag = Arc::new(WakeFlag::new(move || {
                let _ = wake.send(());
            }));
            let handover = Handover::new(capacity, connections_max, entrance.wake(), Arc::clone(&flag));
            let dealer = Dealer::new([Arc::clone(&handover)], connections_max);
            let control = Control::new([entrance.wake(), Arc::clone(&flag)]);
            let metrics = Arc::new(Metrics::default());
            let accepter = Accepter::new(entrance, dealer, Arc::clone(&control), [Arc::clone(&metrics)].into(), 128);
            (Self { handover, control, metrics, flag, woken, address }, accepter)
        }

        fn connect(&self) -> net::TcpStream {
            net::TcpStream::connect(self.address).expect("the backlog has room")
        }

        /// Sleeps as the processor does until `look` finds something.
        fn wait<T>(&self, look: impl Fn() -> Option<T>) -> T {
            loop {
                self.flag.fall_asleep();
                if let Some(found) = look() {
                    self.flag.awake();
                    return found;
                }
                self.woken.recv_timeout(LONG).expect("the accepter wakes the processor");
            }
        }

        fn next(&self) -> Accepted<TcpStream> {
            self.wait(|| self.handover.take())
        }

        fn shut_down(&self) {
            self.control.request(Shutdown { grace: Duration::ZERO, finish: Finish::Answer });
        }
    }

    #[test]
    fn at_connections_max_peers_wait_in_the_backlog_until_one_has_ended() {
        let (desk, mut accepter) = Desk::open(8, 2);
        let peers: Vec<_> = (0..3).map(|_| desk.connect()).collect();
        assert_eq!(accepter.accept_some(TURN), Outcome::NoRoom);
        assert_eq!((desk.handover.live(), desk.metrics.accepted.value()), (2, 2));
        let thread = thread::spawn(|| accepter.run());
        let first = desk.next();
        assert_eq!(first.address, peers[0].local_addr().expect("its address"));
        drop((first, desk.next()));
        assert!(desk.handover.take().is_none(), "out of the queue, but not closed yet");
        desk.handover.ended();
        assert_eq!(desk.next().address, peers[2].local_addr().expect("its address"));
        desk.shut_down();
        thread.join().expect("no panic").expect("no error");
    }

    #[test]
    fn a_full_queue_stops_the_accepter_until_the_processor_takes() {
        let (desk, mut accepter) = Desk::open(1, 100);
        let _peers: Vec<_> = (0..3).map(|_| desk.connect()).collect();
        assert_eq!(accepter.accept_some(TURN), Outcome::NoRoom);
        let thread = thread::spawn(|| accepter.run());
        let _taken: Vec<_> = (0..3).map(|_| desk.next()).collect();
        desk.shut_down();
        thread.join().expect("no panic").expect("no error");
        assert_eq!(desk.metrics.accepted.value(), 3);
    }

    #[test]
    fn a_turn_is_bounded() {
        let (desk, mut accepter) = Desk::open(TURN * 2, TURN * 2);
        // As many as the backlog of std's listener surely holds.
        let peers: Vec<_> = (0..TURN + 10).map(|_| desk.connect()).collect();
        assert_eq!(accepter.accept_some(TURN), Outcome::More);
        assert_eq!(desk.handover.waiting(), TURN);
        assert_eq!(accepter.accept_some(TURN), Outcome::Drained);
        assert_eq!(desk.handover.waiting(), peers.len());
    }

    #[test]
    fn shutdown_takes_the_backlog_then_refuses_then_says_so() {
        let (desk, accepter) = Desk::open(8, 8);
        desk.shut_down();
        let _peers = (desk.connect(), desk.connect());
        accepter.run().expect("no error");
        assert!(desk.next().address != desk.next().address);
        assert!(desk.handover.is_over());
        let refused = net::TcpStream::connect(desk.address).expect_err("the listener is closed");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn while_the_grace_lasts_the_rest_of_the_backlog_waits_for_room() {
        let (desk, accepter) = Desk::open(1, 8);
        let _peers: Vec<_> = (0..3).map(|_| desk.connect()).collect();
        desk.control.request(Shutdown { grace: LONG * 100, finish: Finish::Answer });
        let thread = thread::spawn(|| accepter.run());
        let _taken: Vec<_> = (0..3).map(|_| desk.next()).collect();
        thread.join().expect("no panic").expect("no error");
    }

    #[test]
    fn a_sleeping_accepter_hears_of_the_shutdown() {
        let (desk, accepter) = Desk::open(8, 8);
        let thread = thread::spawn(|| accepter.run());
        let _peer = desk.connect();
        desk.next();
        desk.shut_down();
        thread.join().expect("no panic").expect("no error");
    }

    #[test]
    fn a_panic_does_not_leave_the_processor_waiting() {
        let (desk, accepter) = Desk::open(8, 8);
        let ended = thread::spawn(move || {
            let _dropped_by_unwinding = accepter;
            panic!("as planned");
        });
        desk.wait(|| desk.handover.is_over().then_some(()));
        assert!(ended.join().is_err());
    }

    #[test]
    fn one_peers_error_is_not_the_listeners() {
        let kind = |kind: io::ErrorKind| is_of_one_peer(&kind.into());
        assert!(kind(io::ErrorKind::ConnectionAborted) && kind(io::ErrorKind::Interrupted));
        assert!(!kind(io::ErrorKind::OutOfMemory) && !kind(io::ErrorKind::InvalidInput));
        assert!(!is_of_one_peer(&io::Error::from_raw_os_error(24)), "no descriptor is free");
    }

    /// Lowers the limit of descriptors of its whole process, so it runs itself in another one.
    #[test]
    #[cfg(target_os = "linux")]
    fn without_descriptors_it_waits_for_one_to_be_closed() {
        const CHILD: &str = "SLUICEGATE_TEST_WITHOUT_DESCRIPTORS";
        const NAME: &str = "accepter::tests::without_descriptors_it_waits_for_one_to_be_closed";
        if env::var_os(CHILD).is_none() {
            let this = env::current_exe().expect("this test");
            let output = Command::new(this).args([NAME, "--exact", "--nocapture"]).env(CHILD, "1").output();
            let output = output.expect("runs itself");
            assert!(output.status.success(), "{output:?}");
            return assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "{output:?}");
        }
        let (desk, mut accepter) = Desk::open(8, 8);
        let _peers = (desk.connect(), desk.connect());
        assert_eq!(accepter.accept_some(TURN), Outcome::Drained);
        let _third = desk.connect();
        let (soft, hard) = rlimit::getrlimit(rlimit::Resource::NOFILE).expect("the limit");
        let limit = |limit| rlimit::setrlimit(rlimit::Resource::NOFILE, limit, hard).expect("set");
        limit(3);
        assert_eq!(accepter.accept_some(TURN), Outcome::Failed);
        assert!(accepter.back_off.delay > Duration::ZERO);
        // Its time would not come in this test: only the end of a connection gets it on.
        accepter.back_off.delay = LONG * 100;
        let (waiting, waits) = mpsc::channel();
        let thread = thread::spawn(move || {
            waiting.send(()).expect("the test listens");
            accepter.wait_out_failure()?;
            accepter.run()
        });
        waits.recv().expect("it begins");
        drop(desk.next());
        limit(soft);
        desk.handover.ended();
        drop((desk.next(), desk.next()));
        desk.shut_down();
        thread.join().expect("no panic").expect("no error");
        assert_eq!(desk.metrics.accepted.value(), 3);
    }
}
