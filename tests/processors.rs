//! Several processors, behind one accepter or of several servers, over real sockets and real threads.

mod common {
    pub mod net;
}

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::mem;
use std::net::TcpStream;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use common::net::{self, LONG, ask, check_end, connect, finish, over, pattern, receive, send, until};
use parking_lot::Mutex;
use sluicegate::{
    Admission, CloseKind, Config, ConfigError, ConnectionId, Deferred, DropReason, Finish, LengthPrefixed, Message,
    MessageProcessor, Peer, Reply, Running, Server, Workers, WriteProxy,
};

type Lent<'a> = Message<'a, LengthPrefixed>;
type Answer<'a> = Reply<'a, LengthPrefixed>;

fn bound(change: impl FnOnce(&mut Config)) -> Server<LengthPrefixed> {
    let builder = Server::builder(LengthPrefixed::default()).configure(net::quiet).processors(2).connections_max(100);
    builder.configure(change).bind("127.0.0.1:0").expect("a port")
}

/// Two processors, each with a user of its own.
fn serve<M: MessageProcessor<LengthPrefixed> + 'static>(make: impl FnMut(u16) -> M) -> Running<LengthPrefixed> {
    bound(|_| {}).start_with(make).expect("started")
}

fn peers(running: &Running<LengthPrefixed>, count: usize) -> Vec<TcpStream> {
    let peers = (0..count).map(|_| connect(running.local_addr())).collect();
    until(running, "all are open", |numbers| numbers.open as usize == count);
    peers
}

fn echo(message: Lent<'_>, reply: Answer<'_>) {
    reply.send(message.payload());
}

#[test]
fn many_clients_have_their_echo_and_are_dealt_evenly() {
    let running = serve(|_| echo);
    let mut peers = peers(&running, 20);
    thread::scope(|scope| {
        for (index, peer) in peers.iter_mut().enumerate() {
            scope.spawn(move || {
                for length in [0, 1, 5000, 200_000] {
                    let payload = pattern(length, index);
                    assert!(ask(peer, &payload) == payload, "peer {index}, {length} bytes");
                }
            });
        }
    });
    let each = running.meter().by_processor();
    assert_eq!(each.iter().map(|numbers| numbers.open).collect::<Vec<_>>(), [10, 10]);
    assert_eq!(each.iter().map(|numbers| numbers.accepted).collect::<Vec<_>>(), [10, 10]);
    assert_eq!(running.metrics().open, 20);
    let meter = running.meter();
    finish(running);
    // A message is counted once it was handled, and a large answer has left by then.
    assert_eq!(meter.by_processor().iter().map(|numbers| numbers.messages_in).collect::<Vec<_>>(), [40, 40]);
    assert_eq!(meter.snapshot().messages_in, 80);
    for numbers in meter.by_processor() {
        check_end(numbers);
    }
}

#[test]
fn each_processor_has_a_named_thread_and_a_user_of_its_own() {
    let running = serve(|number| {
        let mut served = 0;
        move |_: Lent<'_>, reply: Answer<'_>| {
            served += 1;
            let thread = thread::current();
            let name = thread.name().unwrap_or_default();
            assert_eq!(reply.connection().processor(), number);
            reply.send(format!("{name} {served}").as_bytes());
        }
    });
    let answers: Vec<_> = peers(&running, 4).iter_mut().map(|peer| String::from_utf8(ask(peer, b"?"))).collect();
    let answers: BTreeSet<_> = answers.into_iter().map(|answer| answer.expect("text")).collect();
    let expected = ["sluicegate-p0 1", "sluicegate-p0 2", "sluicegate-p1 1", "sluicegate-p1 2"];
    assert!(answers.iter().eq(expected), "{answers:?}");
    finish(running);
}

/// Sends each message to everybody who is there, from the thread of the one who got it.
struct Room {
    members: Arc<Mutex<BTreeSet<ConnectionId>>>,
}

impl MessageProcessor<LengthPrefixed> for Room {
    fn process(&mut self, message: Lent<'_>, reply: Answer<'_>) {
        for member in self.members.lock().iter() {
            reply.proxy().send(*member, message.payload()).expect("there is room");
        }
        reply.none();
    }

    fn opened(&mut self, peer: &Peer, _: &WriteProxy<LengthPrefixed>) {
        self.members.lock().insert(peer.connection);
    }
}

#[test]
fn a_broadcast_reaches_the_connections_of_all_processors() {
    let members = Arc::<Mutex<BTreeSet<ConnectionId>>>::default();
    let running = serve(|_| Room { members: Arc::clone(&members) });
    let mut peers = peers(&running, 6);
    // A connection counts as open before its user is told of it.
    until(&running, "all are members", |_| members.lock().len() == 6);
    let homes: BTreeSet<_> = members.lock().iter().map(|member| member.processor()).collect();
    assert!(homes.into_iter().eq([0, 1]));
    for sender in 0..peers.len() {
        let payload = pattern(1000, sender);
        send(&mut peers[sender], &payload);
        peers.iter_mut().for_each(|peer| assert!(receive(peer) == payload));
    }
    let proxy = running.proxy();
    members.lock().iter().for_each(|member| proxy.send(*member, b"from outside").expect("there is room"));
    peers.iter_mut().for_each(|peer| assert_eq!(receive(peer), b"from outside"));
    let never_was = ConnectionId::new(7, 0, 1);
    assert_eq!(proxy.send(never_was, b"?".as_slice()), Ok(()), "taken like what is sent to one that has ended");
    assert_eq!(running.metrics().messages_dropped[DropReason::Stale as usize], 1);
    finish(running);
}

/// Two processors that defer every reply, and what they deferred.
fn deferring() -> (Running<LengthPrefixed>, Receiver<Deferred<LengthPrefixed>>) {
    let (tell, told) = mpsc::channel();
    let running = serve(|_| {
        let tell = tell.clone();
        move |_: Lent<'_>, reply: Answer<'_>| tell.send(reply.defer()).expect("the test listens")
    });
    (running, told)
}

#[test]
fn who_has_finished_does_not_cut_the_grace_of_the_other_short() {
    let (running, told) = deferring();
    let mut peers = peers(&running, 2);
    // Several answers, each a turn of its processor's: in one of them it would hear that its grace is over.
    let next = || told.recv_timeout(LONG).expect("it was deferred");
    let deferred: Vec<_> = (0..50)
        .map(|_| {
            send(&mut peers[0], b"?");
            next()
        })
        .collect();
    let stopper = running.stopper();
    stopper.shutdown(LONG, Finish::Answer);
    // The idle one's processor has nobody left, and ends.
    assert_eq!(peers[1].read(&mut [0]).expect("the end"), 0);
    let meter = running.meter();
    let other = 1 - usize::from(deferred[0].connection().processor());
    let start = Instant::now();
    while meter.by_processor()[other].open > 0 {
        assert!(start.elapsed() < LONG);
        thread::yield_now();
    }
    for deferred in deferred {
        deferred.send(b"in time");
        assert_eq!(receive(&mut peers[0]), b"in time");
    }
    assert_eq!(peers[0].read(&mut [0]).expect("the end"), 0);
    drop(peers);
    check_end(running.join().expect("nothing failed"));
}

#[test]
fn every_kind_of_shutdown_ends_all_processors() {
    for finish in [Finish::Answer, Finish::ReadOut] {
        for grace in [Duration::ZERO, LONG] {
            let running = serve(|_| echo);
            let mut peers = peers(&running, 6);
            peers.iter_mut().for_each(|peer| assert_eq!(ask(peer, b"here"), b"here"));
            let stopper = running.stopper();
            let asking = thread::spawn(move || stopper.shutdown(grace, finish));
            let ends = peers.into_iter().map(|mut peer| thread::spawn(move || over(&mut peer)));
            let ends: Vec<_> = ends.collect();
            let numbers = check_end(running.join().expect("nothing failed"));
            assert_eq!((numbers.messages_in, numbers.closed_total()), (6, 6));
            ends.into_iter().chain([asking]).for_each(|end| end.join().expect("no panic"));
        }
    }
}

#[test]
fn a_slow_processor_does_not_starve_the_other() {
    let (open, gate) = mpsc::channel::<()>();
    let (begin, begun) = mpsc::channel();
    let gate = Arc::new(Mutex::new(gate));
    let make = |number| {
        let (gate, begin) = (Arc::clone(&gate), begin.clone());
        move |message: Lent<'_>, reply: Answer<'_>| {
            if number == 0 && message.payload() == b"hold" {
                begin.send(()).expect("the test listens");
                gate.lock().recv_timeout(LONG).expect("the test opens it");
            }
            reply.send(message.payload());
        }
    };
    let running = bound(|config| config.handover_max = 1).start_with(make).expect("started");
    let mut held = connect(running.local_addr());
    send(&mut held, b"hold");
    begun.recv_timeout(LONG).expect("the first processor is held up");
    let mut others: Vec<_> = (0..10).map(|_| connect(running.local_addr())).collect();
    // The second of them waits in the one place of the first processor's queue; whoever comes behind it is passed on.
    let mut waiting = others.remove(1);
    send(&mut waiting, b"waits");
    others.iter_mut().for_each(|peer| assert_eq!(ask(peer, b"at once"), b"at once"));
    let each = running.meter().by_processor();
    assert_eq!((each[0].handover_queue, each[1].open), (1, 9));
    open.send(()).expect("somebody waits");
    assert_eq!((receive(&mut held), receive(&mut waiting)), (b"hold".to_vec(), b"waits".to_vec()));
    finish(running);
}

#[test]
fn no_processor_has_more_than_its_share_while_another_is_slow() {
    let (open, gate) = mpsc::channel::<()>();
    let (begin, begun) = mpsc::channel();
    let gate = Arc::new(Mutex::new(gate));
    let make = |_| {
        let (gate, begin) = (Arc::clone(&gate), begin.clone());
        move |message: Lent<'_>, reply: Answer<'_>| {
            if message.payload() == b"hold" {
                begin.send(()).expect("the test listens");
                gate.lock().recv_timeout(LONG).expect("the test opens it");
            }
            reply.send(message.payload());
        }
    };
    let change = |config: &mut Config| (config.handover_max, config.connections_max) = (1, 6);
    let running = bound(change).start_with(make).expect("started");
    let mut held = connect(running.local_addr());
    send(&mut held, b"hold");
    begun.recv_timeout(LONG).expect("the first processor is held up");
    // One waits for the first processor, whose queue is full then. The other has three, which is its share.
    let mut others: Vec<_> = (0..4).map(|_| connect(running.local_addr())).collect();
    let waiting = others.remove(1);
    others.iter_mut().for_each(|peer| assert_eq!(ask(peer, b"here"), b"here"));
    let mut last = connect(running.local_addr());
    send(&mut last, b"last");
    (0..100).for_each(|_| assert_eq!(ask(&mut others[0], b"again"), b"again"));
    let each = running.meter().by_processor();
    assert_eq!((each[0].accepted, each[1].accepted), (2, 3), "it waits in the backlog");
    open.send(()).expect("somebody waits");
    assert_eq!((receive(&mut held), receive(&mut last)), (b"hold".to_vec(), b"last".to_vec()));
    drop(waiting);
    finish(running);
}

#[test]
fn the_bound_of_connections_is_that_of_all_together() {
    let running = bound(|config| config.connections_max = 3).start_with(|_| echo).expect("started");
    let mut first = peers(&running, 3);
    let mut fourth = connect(running.local_addr());
    send(&mut fourth, b"4");
    first.iter_mut().for_each(|peer| assert_eq!(ask(peer, b"here"), b"here"));
    assert_eq!(running.metrics().accepted, 3);
    drop(first.pop());
    assert_eq!(receive(&mut fourth), b"4");
    finish(running);
}

#[test]
fn an_address_has_its_limit_over_all_processors() {
    let admission = Admission { per_address_max: 3, ..Admission::default() };
    let running = bound(|config| config.admission = admission).start_with(|_| echo).expect("started");
    let mut first = peers(&running, 3);
    assert_eq!(connect(running.local_addr()).read(&mut [0]).expect("the end"), 0);
    first.iter_mut().for_each(|peer| assert_eq!(ask(peer, b"here"), b"here"));
    assert_eq!(finish(running).closed_by(CloseKind::Crowded), 1);
}

#[test]
fn each_processor_has_workers() {
    let answer = |_: Message<'static, LengthPrefixed>, reply: Deferred<LengthPrefixed>| {
        let name = thread::current().name().unwrap_or_default().to_owned();
        reply.send(name.as_bytes());
    };
    let running = bound(|_| {}).start_on(Workers::new(1, 4), answer).expect("started");
    let mut peers = peers(&running, 2);
    let names: BTreeSet<_> = peers.iter_mut().map(|peer| ask(peer, b"?")).collect();
    assert!(names.iter().eq([b"sluicegate-w1", b"sluicegate-w2"]), "{names:?}");
    let workers = running.memory_ceiling().rows().find(|row| row.name() == "workers").expect("their row");
    assert!(workers.how().starts_with("2 processors x "), "{}", workers.how());
    finish(running);
}

#[test]
fn one_message_processor_does_not_serve_two() {
    let error = bound(|_| {}).start(echo).expect_err("refused");
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    let found = error.get_ref().and_then(|inner| inner.downcast_ref::<ConfigError>()).expect("what is wrong");
    assert_eq!(found.setting(), "processors");
    assert!(found.to_string().contains("start_with"), "{found}");
}

/// Fails when it is ended, where nothing catches it.
struct Fails(bool);

impl MessageProcessor<LengthPrefixed> for Fails {
    fn process(&mut self, _: Lent<'_>, reply: Answer<'_>) {
        // Never answered: only the grace, or a failure, ends it.
        mem::forget(reply.defer());
    }
}

impl Drop for Fails {
    fn drop(&mut self) {
        assert!(!self.0, "as planned");
    }
}

#[test]
fn a_processor_that_fails_brings_all_down() {
    let running = serve(|number| Fails(number == 1));
    let mut peers = peers(&running, 2);
    let busy = running.meter();
    send(&mut peers[0], b"?");
    until(&running, "a reply is owed", |numbers| numbers.owed == 1);
    assert_eq!(busy.by_processor()[0].owed, 1, "the first gets the first connection");
    // The second has nobody who is busy, and ends at once, in a panic: the first must not wait for the end of its
    // grace.
    let start = Instant::now();
    running.stopper().shutdown(LONG * 4, Finish::Answer);
    let error = running.join().expect_err("one panicked");
    // A panic that prints where it came from may take a while.
    assert!(start.elapsed() < LONG * 2, "the first has had its whole grace");
    assert_eq!(error.to_string(), "the thread of processor 1 panicked: as planned");
    peers.iter_mut().for_each(over);
}

type Promises = Arc<Mutex<Vec<Deferred<LengthPrefixed>>>>;

/// Keeps its replies; at the message `cross`, when the other server has come to that, too, it gives those that the
/// other one has kept.
fn crossing(kept: &Promises, others: &Promises, both: &Arc<Barrier>) -> Running<LengthPrefixed> {
    let (kept, others, both) = (Arc::clone(kept), Arc::clone(others), Arc::clone(both));
    let user = move |message: Lent<'_>, reply: Answer<'_>| {
        if message.payload() != b"cross" {
            return kept.lock().push(reply.defer());
        }
        both.wait();
        let others = mem::take(&mut *others.lock());
        others.into_iter().for_each(|deferred| deferred.send(&[0; 3000][..]));
        reply.send(b"crossed");
    };
    net::serve(LengthPrefixed::default(), |config| config.outbound = net::tiers([1, 1, 1]), user)
}

/// Neither takes what the other has answered, and what brings blocks home, while it waits itself.
#[test]
fn two_servers_that_answer_each_others_connections_do_not_wait_for_each_other() {
    let (promises, both) = ([Promises::default(), Promises::default()], Arc::new(Barrier::new(2)));
    let [first, second] = &promises;
    let servers = [crossing(first, second, &both), crossing(second, first, &both)];
    let kept = servers.each_ref().map(|running| {
        let mut peer = connect(running.local_addr());
        // More than there are blocks.
        (0..10).for_each(|_| send(&mut peer, b"keep"));
        until(running, "all are kept", |numbers| numbers.owed == 10);
        peer
    });
    let mut peers = servers.each_ref().map(|running| connect(running.local_addr()));
    peers.iter_mut().for_each(|peer| send(peer, b"cross"));
    let crossed = peers.each_mut().map(|peer| peer.read_exact(&mut [0; 11]).is_ok());
    if crossed != [true; 2] {
        // They would be waited for, for ever.
        mem::forget(servers);
        panic!("the processors wait for each other");
    }
    drop((kept, peers));
    for running in servers {
        finish(running);
    }
}
