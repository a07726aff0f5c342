//! The end of the server over real sockets: who may still finish what, and that it always ends.

#[path = "common/http_client.rs"]
mod http_client;
#[path = "common/net.rs"]
mod net;

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use http_client::{Client, get, post};
use net::{LONG, ask, check_end, connect, frame, pattern, receive, rest, send, serve, until};
use parking_lot::Mutex;
use sluicegate::http1::{Http1, Response};
use sluicegate::{
    CloseKind, Config, Deferred, DropReason, Finish, LengthPrefixed, Message, MessageProcessor, Reply, Running, Server,
};

/// Longer than any of these tests may take.
const GRACE: Duration = Duration::from_secs(300);

fn http(request: Message<'_, Http1>, reply: Reply<'_, Http1>) {
    match request.body() {
        [] => reply.send(Response::ok(request.target())),
        body => reply.send(Response::ok(body)),
    }
}

/// Echoes; at the message `stop` the processor thread stands until the test lets it go on.
fn gated() -> (impl MessageProcessor<LengthPrefixed> + 'static, Sender<()>) {
    let (go, gate) = mpsc::channel();
    let user = move |message: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>| {
        if message.payload() == b"stop" {
            let _ = gate.recv();
        }
        reply.send(message.payload());
    };
    (user, go)
}

/// Makes the processor thread stand, so that whatever comes meanwhile waits in the kernel.
fn stop(running: &Running<LengthPrefixed>) -> TcpStream {
    let mut peer = connect(running.local_addr());
    send(&mut peer, b"stop");
    until(running, "it is read", |numbers| numbers.bytes_in == 8);
    peer
}

#[test]
fn idle_connections_close_at_once_and_nobody_comes_any_more() {
    for finish in [Finish::Answer, Finish::ReadOut] {
        let running = serve(Http1::default(), |_| {}, http);
        let address = running.local_addr();
        let mut clients: Vec<_> = (0..20).map(|_| Client::connect(address)).collect();
        clients.iter_mut().skip(10).for_each(|client| client.ask_for("/once"));
        until(&running, "all are open", |numbers| numbers.open == 20);
        let start = Instant::now();
        running.stopper().shutdown(GRACE, finish);
        clients.into_iter().for_each(Client::ends);
        let numbers = check_end(running.join().expect("nothing failed"));
        assert!(start.elapsed() < GRACE / 2, "nobody had to be waited for: {:?}", start.elapsed());
        assert_eq!(numbers.closed_by(CloseKind::Shutdown), 20);
        let refused = TcpStream::connect(address).expect_err("nobody listens");
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    }
}

#[test]
fn a_message_that_has_begun_may_finish_and_is_answered_as_the_last() {
    let running = serve(Http1::default(), |_| {}, http);
    let body = pattern(20_000, 1);
    let request = [post(&body), get("/behind")].concat();
    let mut begun: Vec<_> = [1, 30, 10_000].map(|sent| (sent, Client::connect(running.local_addr()))).into();
    begun.iter_mut().for_each(|(sent, client)| client.send(&request[..*sent]));
    let idle = Client::connect(running.local_addr());
    until(&running, "they have begun", |numbers| numbers.open == 4 && numbers.bytes_buffered == 10_031);
    running.stopper().shutdown(GRACE, Finish::Answer);
    // Its end says that the server is shutting down.
    idle.ends();
    for (sent, mut client) in begun {
        client.send(&request[sent..]);
        assert!(client.last_answer(200) == body, "{sent} bytes had arrived");
    }
    let numbers = check_end(running.join().expect("nothing failed"));
    assert_eq!(numbers.messages_in, 3);
}

#[test]
fn a_length_prefixed_message_that_has_begun_may_finish_as_well() {
    let running = serve(
        LengthPrefixed::default(),
        |_| {},
        |message: Message<'_, LengthPrefixed>, reply: Reply<'_, _>| {
            reply.send(message.payload());
        },
    );
    let (mut begun, mut idle) = (connect(running.local_addr()), connect(running.local_addr()));
    let (payload, message) = (pattern(300_000, 1), frame(&pattern(300_000, 1)));
    begun.write_all(&message[..100]).expect("taken");
    until(&running, "it has begun", |numbers| numbers.open == 2 && numbers.bytes_buffered == 100);
    running.stopper().shutdown(GRACE, Finish::Answer);
    assert_eq!(rest(&mut idle), b"");
    begun.write_all(&message[100..]).expect("taken");
    assert!(receive(&mut begun) == payload);
    assert_eq!(rest(&mut begun), b"");
    drop(begun);
    check_end(running.join().expect("nothing failed"));
}

/// One batch of events tells of 1024 sockets: those that only the next one names are not taken for idle.
#[test]
fn more_peers_than_a_batch_tells_of_are_answered() {
    const PEERS: usize = 1200;
    rlimit::increase_nofile_limit(3 * PEERS as u64).expect("as far as it is allowed");
    let (user, go) = gated();
    let running = serve(LengthPrefixed::default(), |_| {}, user);
    let mut peers: Vec<_> = (0..PEERS).map(|_| connect(running.local_addr())).collect();
    until(&running, "all are open", |numbers| numbers.open == PEERS as u64);
    let first = stop(&running);
    peers.iter_mut().for_each(|peer| send(peer, b"before the end"));
    running.stopper().shutdown(GRACE, Finish::Answer);
    go.send(()).expect("it stands");
    let answered = peers.iter_mut().map(rest).filter(|said| *said == frame(b"before the end")).count();
    assert_eq!(answered, PEERS);
    drop((peers, first));
    check_end(running.join().expect("nothing failed"));
}

/// Whoever made the listener says how long its backlog is, and not the settings.
#[test]
fn all_who_wait_at_a_foreign_listener_are_accepted_at_the_end() {
    const PEERS: usize = 20;
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let (user, go) = gated();
    let narrow = |config: &mut Config| (config.backlog, config.handover_max) = (1, 1);
    let builder = Server::builder(LengthPrefixed::default()).configure(narrow);
    let running = builder.from_listener(listener).expect("a server").start(user).expect("started");
    let first = stop(&running);
    let mut peers: Vec<_> = (0..PEERS).map(|_| connect(running.local_addr())).collect();
    peers.iter_mut().for_each(|peer| send(peer, b"in time"));
    running.stopper().shutdown(GRACE, Finish::Answer);
    go.send(()).expect("it stands");
    drop(first);
    peers.iter_mut().for_each(|peer| assert_eq!(receive(peer), b"in time"));
    drop(peers);
    check_end(running.join().expect("nothing failed"));
}

#[test]
fn the_grace_ends_what_does_not_end_by_itself() {
    let (defer, deferred) = mpsc::channel();
    let user = move |request: Message<'_, Http1>, reply: Reply<'_, Http1>| match request.target() {
        "/never" => defer.send(reply.defer()).expect("the test listens"),
        target => reply.send(Response::ok(target.repeat(100_000))),
    };
    for finish in [Finish::Answer, Finish::ReadOut] {
        let running = net::serve_narrow(Http1::default(), |_| {}, user.clone());
        let mut half = connect(running.local_addr());
        half.write_all(&get("/half")[..10]).expect("taken");
        let mut waits = connect(running.local_addr());
        waits.write_all(&get("/never")).expect("taken");
        let late: Deferred<Http1> = deferred.recv_timeout(LONG).expect("deferred");
        let mut stalls = net::connect_narrow(running.local_addr());
        stalls.write_all(&get("/stalls")).expect("taken");
        until(&running, "all stand", |numbers| numbers.messages_in == 2 && numbers.bytes_buffered == 10);
        let numbers = running.shutdown(Duration::from_millis(50), finish).expect("nothing failed");
        assert_eq!(check_end(numbers).closed_by(CloseKind::Shutdown), 3, "{finish:?}");
        [half, waits, stalls].iter_mut().for_each(net::over);
        // Long after the end it reaches nobody, and harms nobody.
        late.send(Response::ok("too late"));
    }
}

#[test]
fn a_second_request_shortens_the_grace() {
    let running = serve(Http1::default(), |_| {}, http);
    let mut half = connect(running.local_addr());
    half.write_all(&get("/half")[..10]).expect("taken");
    let idle = Client::connect(running.local_addr());
    until(&running, "it has begun", |numbers| numbers.open == 2 && numbers.bytes_buffered == 10);
    let stopper = running.stopper();
    stopper.shutdown(GRACE, Finish::Answer);
    idle.ends();
    stopper.shutdown(GRACE * 2, Finish::ReadOut);
    stopper.shutdown(Duration::ZERO, Finish::ReadOut);
    let start = Instant::now();
    check_end(running.join().expect("nothing failed"));
    assert!(start.elapsed() < GRACE / 2, "{:?}", start.elapsed());
    net::over(&mut half);
}

#[test]
fn read_out_answers_every_whole_message_that_was_sent_before() {
    const PEERS: usize = 30;
    const EACH: usize = 200;
    let (user, go) = gated();
    let running = serve(LengthPrefixed::default(), |_| {}, user);
    let mut known: Vec<_> = (0..PEERS / 2).map(|_| connect(running.local_addr())).collect();
    known.iter_mut().for_each(|peer| assert_eq!(ask(peer, b"known"), b"known"));
    let mut first = connect(running.local_addr());
    let before = 9 * known.len() as u64;
    send(&mut first, b"stop");
    until(&running, "it stands", |numbers| numbers.bytes_in == before + 8);
    // From here on nothing is read; half of the peers are not even taken yet.
    let mut peers = known;
    peers.extend((0..PEERS / 2).map(|_| connect(running.local_addr())));
    let mut silent = connect(running.local_addr());
    let payload = |peer: usize, number: usize| pattern(1 + (number * 7) % 300, peer * EACH + number);
    let all = |peer: usize| (0..EACH).flat_map(|number| frame(&payload(peer, number))).collect::<Vec<u8>>();
    let half = &frame(&pattern(5000, 1))[..1000];
    for (number, peer) in peers.iter_mut().enumerate() {
        peer.write_all(&[&all(number), half].concat()).expect("the kernel takes it");
    }
    running.stopper().shutdown(GRACE, Finish::ReadOut);
    go.send(()).expect("it stands");
    assert_eq!(receive(&mut first), b"stop");
    drop(first);
    for (number, mut peer) in peers.into_iter().enumerate() {
        assert!(rest(&mut peer) == all(number), "peer {number}: all answers in order, then the end");
    }
    assert_eq!(rest(&mut silent), b"", "who was not even taken and said nothing is not waited for");
    drop(silent);
    let numbers = check_end(running.join().expect("nothing failed"));
    assert_eq!(numbers.messages_in, (PEERS / 2 + 1 + PEERS * EACH) as u64);
    assert_eq!(numbers.dropped_for(DropReason::Incomplete), 1000 * PEERS as u64, "the half messages:\n{numbers}");
}

#[test]
fn read_out_delivers_to_slow_readers_and_waits_for_what_is_owed() {
    const REQUESTS: usize = 60;
    let (defer, deferred): (_, Receiver<(String, Deferred<Http1>)>) = mpsc::channel();
    let user = move |request: Message<'_, Http1>, reply: Reply<'_, Http1>| {
        let _ = defer.send((request.target().to_owned(), reply.defer()));
    };
    let running = net::serve_narrow(Http1::default(), |_| {}, user);
    let mut client = Client::over(net::connect_narrow(running.local_addr()));
    let target = |number: usize| format!("/{number}");
    client.send((0..REQUESTS).flat_map(|number| get(&target(number))).collect::<Vec<u8>>());
    let first = deferred.recv_timeout(LONG).expect("the first");
    running.stopper().shutdown(GRACE, Finish::ReadOut);
    let answers = thread::spawn(move || {
        for (target, deferred) in [first].into_iter().chain(deferred) {
            deferred.send(Response::ok([target.as_bytes(), &[b'.'; 20_000]].concat()));
        }
    });
    for number in 0..REQUESTS {
        let body = client.answer().body;
        assert!(body.starts_with(target(number).as_bytes()) && body.len() > 20_000, "answer {number}");
    }
    client.ends();
    let numbers = check_end(running.join().expect("nothing failed"));
    assert_eq!(numbers.messages_out, REQUESTS as u64);
    answers.join().expect("no panic");
}

#[test]
fn an_answer_that_is_under_way_is_delivered_to_its_last_byte() {
    for finish in [Finish::Answer, Finish::ReadOut] {
        let running = net::serve_narrow(Http1::default(), |_| {}, http);
        let mut slow = Client::over(net::connect_narrow(running.local_addr()));
        slow.send(post(&pattern(500_000, 1)));
        let idle = Client::connect(running.local_addr());
        until(&running, "it is made", |numbers| (numbers.open, numbers.messages_out) == (2, 1));
        running.stopper().shutdown(GRACE, finish);
        idle.ends();
        assert!(slow.answer().body == pattern(500_000, 1));
        slow.ends();
        check_end(running.join().expect("nothing failed"));
    }
}

#[test]
fn an_answer_that_is_owed_is_delivered_before_the_end() {
    let (defer, deferred) = mpsc::channel();
    let user = move |request: Message<'_, Http1>, reply: Reply<'_, Http1>| {
        defer.send((request.target().to_owned(), reply.defer())).expect("the test listens");
    };
    let running = serve(Http1::default(), |_| {}, user);
    let (mut client, idle) = (Client::connect(running.local_addr()), Client::connect(running.local_addr()));
    client.send(get("/owed"));
    let (target, reply): (String, Deferred<Http1>) = deferred.recv_timeout(LONG).expect("deferred");
    until(&running, "both are there", |numbers| numbers.open == 2);
    running.stopper().shutdown(GRACE, Finish::Answer);
    idle.ends();
    reply.send(Response::ok(&target));
    assert_eq!(client.last_answer(200), b"/owed");
    check_end(running.join().expect("nothing failed"));
}

#[test]
fn a_processor_thread_that_stands_is_waited_for() {
    let (user, go) = gated();
    let running = serve(LengthPrefixed::default(), |_| {}, user);
    let mut peer = stop(&running);
    let stopper = running.stopper();
    let joins = thread::spawn(move || running.join());
    stopper.shutdown(Duration::ZERO, Finish::Answer);
    go.send(()).expect("it stands");
    check_end(joins.join().expect("no panic").expect("nothing failed"));
    assert_eq!(rest(&mut peer), frame(b"stop"), "its answer was made in the cycle that ended last");
}

/// Answers each message on a thread of its own, when it ends itself; and waits for these threads then.
struct AnswersLast {
    open: Option<Sender<()>>,
    gate: Arc<Mutex<Receiver<()>>>,
    done: (Sender<()>, Receiver<()>),
}

/// More than there are blocks for their answers.
const ANSWERS: usize = 8;

impl MessageProcessor<LengthPrefixed> for AnswersLast {
    fn process(&mut self, _: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>) {
        let (deferred, gate, done) = (reply.defer(), Arc::clone(&self.gate), self.done.0.clone());
        thread::spawn(move || {
            // All go on when the other end is gone.
            let _ = gate.lock().recv_timeout(LONG);
            deferred.send(&[0; 3000][..]);
            let _ = done.send(());
        });
    }
}

impl Drop for AnswersLast {
    fn drop(&mut self) {
        self.open = None;
        (0..ANSWERS).for_each(|_| self.done.1.recv_timeout(LONG / 4).expect("no thread waits for room in vain"));
    }
}

#[test]
fn who_waits_for_room_for_an_answer_is_sent_away_at_the_end() {
    let (open, gate) = mpsc::channel();
    let user = AnswersLast { open: Some(open), gate: Arc::new(Mutex::new(gate)), done: mpsc::channel() };
    let builder = Server::builder(LengthPrefixed::default()).outbound(net::tiers([1, 1, 1]));
    let running = builder.bind("127.0.0.1:0").expect("a port").start(user).expect("started");
    let mut peer = connect(running.local_addr());
    (0..ANSWERS).for_each(|_| send(&mut peer, b"?"));
    until(&running, "all are owed", |numbers| numbers.owed == ANSWERS as u64);
    running.stopper().shutdown(Duration::ZERO, Finish::Answer);
    running.join().expect("nothing failed");
    net::over(&mut peer);
}
