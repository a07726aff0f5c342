//! The accepter, with the test in the processor's place.

use super::*;
use crate::control::{Finish, ShutdownRequest};
use crate::handover::Handover;
use std::env;
use std::net;
use std::process::Command;
use std::sync::mpsc::{self, Receiver};

const LONG: Duration = Duration::from_secs(60);

/// A request that is made now.
fn request(grace: Duration) -> ShutdownRequest {
    ShutdownRequest { asked: Instant::now(), grace, finish: Finish::Answer }
}

/// The processor's side of the hand-over, played by the test.
struct Desk {
    handover: Arc<Handover<Socket>>,
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

    fn next(&self) -> Accepted<Socket> {
        self.wait(|| self.handover.take())
    }

    fn shut_down(&self) {
        self.control.request(ShutdownRequest::at_once(Instant::now()));
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
#[cfg(target_os = "linux")]
fn the_log_tells_once_in_a_while_that_all_connections_are_open() {
    if !is_alone("the_log_tells_once_in_a_while_that_all_connections_are_open") {
        return;
    }
    let lines = Lines::hear();
    let (desk, mut accepter) = Desk::open(1, 2);
    let (_peers, now) = ([desk.connect(), desk.connect()], Instant::now());
    let note = |accepter: &mut Accepter, seconds| {
        accepter.note_no_room(now + Duration::from_secs(seconds));
        lines.try_iter().last()
    };
    assert_eq!(note(&mut accepter, 0), None, "no connection is open");
    assert_eq!(accepter.accept_some(TURN), Outcome::NoRoom);
    assert_eq!(note(&mut accepter, 0), None, "the queue is full, and that is soon over");
    let _first = desk.next();
    assert_eq!(accepter.accept_some(TURN), Outcome::NoRoom);
    let line =
        || Some("connections_max = 2 connections are open: peers wait in the backlog until one has ended".into());
    let told = [0, 9, 10].map(|seconds| note(&mut accepter, seconds));
    assert_eq!(told, [line(), None, line()]);
    assert_eq!(desk.metrics.accept_pauses.value(), 5);
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

/// The listener is told its options after peers have connected, as one that was bound elsewhere.
#[test]
fn who_was_there_before_the_server_has_the_options_of_all() {
    let (desk, mut accepter) = Desk::open(8, 8);
    let has_options = |accepted: &Accepted<Socket>| {
        let socket = SockRef::from(&accepted.socket);
        socket.tcp_nodelay().expect("known") && socket.out_of_band_inline().expect("known")
    };
    let _before = [desk.connect(), desk.connect()];
    let listener = SockRef::from(&accepter.listener);
    listener.set_tcp_nodelay(true).and_then(|()| listener.set_out_of_band_inline(true)).expect("set");
    assert_eq!(accepter.accept_some(TURN), Outcome::Drained);
    let _after = desk.connect();
    assert_eq!(accepter.accept_some(TURN), Outcome::Drained);
    let accepted: Vec<_> = (0..3).map(|_| desk.handover.take().expect("three")).collect();
    assert!(accepted.iter().all(has_options), "{accepted:?}");
}

#[test]
fn a_turn_is_bounded() {
    let (desk, mut accepter) = Desk::open(TURN * 2, TURN * 2);
    // As many peers as the backlog of std's listener is sure to hold.
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
    desk.control.request(request(LONG * 100));
    let thread = thread::spawn(|| accepter.run());
    let _taken: Vec<_> = (0..3).map(|_| desk.next()).collect();
    thread.join().expect("no panic").expect("no error");
}

/// However long it has waited for room, and however late it looks.
#[test]
fn at_the_end_a_shorter_grace_begins_when_it_is_asked_for() {
    let (desk, mut accepter) = Desk::open(8, 8);
    let (start, second) = (Instant::now(), Duration::from_secs(1));
    let ask = |at, grace| {
        let (asked, grace) = (start + at * second, grace * second);
        desk.control.request(ShutdownRequest { asked, grace, finish: Finish::Answer });
    };
    let mut lasts = |at| {
        let waited = accepter.wait_at_the_end(start + at * second, Duration::ZERO, Awaited::RoomAtTheEnd);
        waited.expect("no error")
    };
    ask(0, 1000);
    assert!(lasts(999) && !lasts(1000));
    ask(500, 10);
    assert!(lasts(509), "it begins when it is asked for, and not with the first");
    assert!(!lasts(510), "it does not begin when the accepter looks");
}

#[test]
fn at_the_end_a_shorter_grace_ends_the_wait_of_the_accepter_and_not_its_work() {
    let (desk, mut accepter) = Desk::open(1, 8);
    let _peer = desk.connect();
    assert_eq!(accepter.accept_some(1), Outcome::More);
    desk.control.request(request(LONG * 100));
    let waited = accepter.wait_at_the_end(Instant::now(), LONG, |until| {
        desk.control.request(request(LONG * 50));
        Awaited::RoomAtTheEnd(until)
    });
    assert!(waited.expect("no error"), "the grace lasts");
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

/// A test that lowers the limit of descriptors lowers it for its whole process, so it runs itself in another process.
/// Returns true there.
#[cfg(target_os = "linux")]
fn is_alone(name: &str) -> bool {
    const CHILD: &str = "SLUICEGATE_TEST_ALONE";
    if env::var_os(CHILD).is_some() {
        return true;
    }
    let this = env::current_exe().expect("this test");
    let name = format!("accepter::tests::{name}");
    let output = Command::new(this).args([&name, "--exact", "--nocapture"]).env(CHILD, "1").output();
    let output = output.expect("runs itself");
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "{output:?}");
    false
}

/// Lets the process have as many descriptors as it may, and none.
#[cfg(target_os = "linux")]
fn descriptors() -> (impl Fn(), impl Fn()) {
    let (soft, hard) = rlimit::getrlimit(rlimit::Resource::NOFILE).expect("the limit");
    let limit = move |limit| rlimit::setrlimit(rlimit::Resource::NOFILE, limit, hard).expect("set");
    (move || limit(soft), move || limit(3))
}

/// Sends what is logged to a test that is alone.
#[cfg(target_os = "linux")]
struct Lines(std::sync::Mutex<mpsc::Sender<String>>);

#[cfg(target_os = "linux")]
impl Lines {
    fn hear() -> Receiver<String> {
        let (sender, lines) = mpsc::channel();
        log::set_boxed_logger(Box::new(Self(sender.into()))).expect("alone");
        log::set_max_level(log::LevelFilter::Warn);
        lines
    }
}

#[cfg(target_os = "linux")]
impl log::Log for Lines {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let _ = self.0.lock().expect("no panic").send(record.args().to_string());
    }

    fn flush(&self) {}
}

#[test]
#[cfg(target_os = "linux")]
fn without_descriptors_it_waits_for_one_to_be_closed() {
    if !is_alone("without_descriptors_it_waits_for_one_to_be_closed") {
        return;
    }
    let (all, none) = descriptors();
    let (desk, mut accepter) = Desk::open(8, 8);
    let _peers = (desk.connect(), desk.connect());
    assert_eq!(accepter.accept_some(TURN), Outcome::Drained);
    let _third = desk.connect();
    none();
    assert_eq!(accepter.accept_some(TURN), Outcome::Failed);
    assert_eq!(desk.metrics.accept_failures.value(), 1);
    assert!(accepter.back_off.delay > Duration::ZERO);
    // The back-off would outlast this test: only the end of a connection lets the accepter go on.
    accepter.back_off.delay = LONG * 100;
    let (waiting, waits) = mpsc::channel();
    let thread = thread::spawn(move || {
        waiting.send(()).expect("the test listens");
        accepter.wait_out_failure()?;
        accepter.run()
    });
    waits.recv().expect("it begins");
    drop(desk.next());
    all();
    desk.handover.ended();
    drop((desk.next(), desk.next()));
    desk.shut_down();
    thread.join().expect("no panic").expect("no error");
    assert_eq!(desk.metrics.accepted.value(), 3);
}

#[test]
#[cfg(target_os = "linux")]
fn without_descriptors_at_the_end_the_backlog_waits_while_the_grace_lasts() {
    if !is_alone("without_descriptors_at_the_end_the_backlog_waits_while_the_grace_lasts") {
        return;
    }
    let ((all, none), lines) = (descriptors(), Lines::hear());
    let (desk, mut accepter) = Desk::open(8, 8);
    let _peer = desk.connect();
    assert_eq!(accepter.accept_some(TURN), Outcome::Drained);
    let _second = desk.connect();
    none();
    desk.control.request(request(LONG * 100));
    let thread = thread::spawn(|| accepter.run());
    assert!(lines.recv_timeout(LONG).expect("a line").starts_with("cannot accept: "));
    drop(desk.next());
    all();
    desk.handover.ended();
    desk.next();
    thread.join().expect("no panic").expect("no error");
    assert_eq!(desk.metrics.accepted.value(), 2);
}

#[test]
#[cfg(target_os = "linux")]
fn the_log_tells_of_a_backlog_that_was_left() {
    if !is_alone("the_log_tells_of_a_backlog_that_was_left") {
        return;
    }
    let ((all, none), lines) = (descriptors(), Lines::hear());
    let said = |capacity, peers| {
        let (desk, accepter) = Desk::open(capacity, 8);
        let _peers: Vec<_> = (0..peers).map(|_| desk.connect()).collect();
        desk.shut_down();
        // If there is room, descriptors are what is lacking.
        if capacity > 1 {
            none();
        }
        accepter.run().expect("no error");
        all();
        lines.try_iter().last()
    };
    let left = |why| Some(format!("the grace is over, and peers in the backlog were not accepted: {why}"));
    assert_eq!(said(1, 2), left("there was no room for them"));
    assert_eq!(said(8, 1), left("Too many open files (os error 24)"));
    assert_eq!([said(1, 1), said(8, 0)], [None, None], "nobody was left");
}

#[test]
fn at_the_end_only_an_ended_connection_or_a_shorter_grace_is_news() {
    let (desk, mut accepter) = Desk::open(8, 8);
    let _peer = desk.connect();
    assert_eq!(accepter.accept_some(TURN), Outcome::Drained);
    let request = request(LONG);
    desk.control.request(request);
    let has_come = |live| accepter.watch.has_come(Awaited::FewerAtTheEnd(live, request.until()));
    assert!(accepter.watch.has_come(Awaited::FewerThan(1)), "being told to shut down was news before");
    assert!(!has_come(1));
    drop(desk.next());
    desk.handover.ended();
    assert!(has_come(1) && !has_come(0));
    desk.shut_down();
    assert!(has_come(0));
}

#[test]
fn at_the_end_newcomers_do_not_end_a_wait() {
    let (desk, mut accepter) = Desk::open(8, 8);
    desk.control.request(request(LONG));
    // It has not been accepted yet, so the poll reports it at once.
    let _peer = desk.connect();
    let (began, longest) = (Instant::now(), Duration::from_millis(50));
    let waited = accepter.wait_at_the_end(began, longest, |until| Awaited::FewerAtTheEnd(0, until));
    assert!(waited.expect("no error"), "the grace lasts");
    assert!(began.elapsed() >= longest, "{:?}", began.elapsed());
}

#[test]
#[cfg(target_os = "linux")]
fn a_listener_that_was_shut_down_does_not_hold_the_end_up() {
    let (desk, accepter) = Desk::open(8, 8);
    socket2::SockRef::from(&accepter.listener).shutdown(net::Shutdown::Both).expect("as by its duplicate elsewhere");
    desk.control.request(request(LONG * 100));
    let (ended, ends) = mpsc::channel();
    thread::spawn(move || ended.send(accepter.run()));
    ends.recv_timeout(LONG).expect("long before the grace is over").expect("no error");
}
