//! Many replies that were deferred, answered by the processor's own thread in one cycle, as a group commit does.

use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use parking_lot::Mutex;
use sluicegate::http1::{Http1, Response};
use sluicegate::sim::{Broken, SimPeer, Simulation, Weather};
use sluicegate::{
    CloseKind, Config, Deferred, DropReason, LengthPrefixed, Message, MessageProcessor, Reply, TierConfig,
    length_prefixed::Framed,
};

const SECOND: Duration = Duration::from_secs(1);
const PEERS: usize = 40;

/// What became of the tries.
#[derive(Default)]
struct Tried {
    sent: usize,
    without_room: usize,
}

/// Answers nobody until all have asked, and then everybody in `cycle_end`.
struct Committer {
    owed: Vec<Deferred<LengthPrefixed>>,
    asked: usize,
    tried: Arc<Mutex<Tried>>,
}

impl MessageProcessor<LengthPrefixed> for Committer {
    fn process(&mut self, _: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>) {
        self.asked += 1;
        self.owed.push(reply.defer());
    }

    fn cycle_end(&mut self, _: Instant) -> Option<Instant> {
        if self.asked == PEERS {
            let before = self.owed.len();
            self.owed = self.owed.drain(..).filter_map(|owed| owed.try_send(b"durable").err()).collect();
            let mut tried = self.tried.lock();
            tried.sent += before - self.owed.len();
            tried.without_room += self.owed.len();
        }
        None
    }
}

/// Six outbound blocks, none of which holds more than 1 KiB.
fn config() -> Config {
    let mut config = Config::default();
    config.outbound = [(64, 4), (512, 1), (1024, 1)].map(|(size, count)| TierConfig { size, count });
    config.reply_max = 1024;
    config
}

fn frame(payload: &[u8]) -> Vec<u8> {
    [&(payload.len() as u32).to_be_bytes(), payload].concat()
}

/// Replies that somebody else answers.
type Promises = Arc<Mutex<Vec<Deferred<LengthPrefixed>>>>;

/// Defers every reply.
fn promising(promises: &Promises) -> impl MessageProcessor<LengthPrefixed> + use<> {
    let promises = Arc::clone(promises);
    move |_: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>| promises.lock().push(reply.defer())
}

fn simulation<M: MessageProcessor<LengthPrefixed>>(config: Config, user: M) -> Simulation<LengthPrefixed, M> {
    Simulation::new(1, config, LengthPrefixed::default(), |_, _| user).expect("the settings fit")
}

/// All peers, each of which has asked something.
fn asking<M: MessageProcessor<LengthPrefixed>>(
    simulation: &mut Simulation<LengthPrefixed, M>,
) -> Result<Vec<SimPeer>, Broken> {
    let peers: Vec<SimPeer> = (0..PEERS).map(|_| simulation.connect(Weather::calm()).expect("there is room")).collect();
    peers.iter().for_each(|peer| assert!(peer.send(&frame(b"is it?"))));
    simulation.run_for(SECOND)?;
    Ok(peers)
}

#[test]
fn more_replies_than_there_are_blocks_are_all_sent_one_cycle_after_the_other() -> Result<(), Broken> {
    let tried = Arc::<Mutex<Tried>>::default();
    let user = Committer { owed: Vec::new(), asked: 0, tried: Arc::clone(&tried) };
    let mut simulation = simulation(config(), user);
    let peers = asking(&mut simulation)?;
    for (index, peer) in peers.iter().enumerate() {
        assert_eq!(peer.take_received(), frame(b"durable"), "peer {index}");
    }
    let (numbers, tried) = (simulation.metrics(), tried.lock());
    assert_eq!((tried.sent, numbers.open, numbers.messages_out), (PEERS, PEERS as u64, PEERS as u64));
    assert!(tried.without_room > 0, "there are too few blocks for all of them at once");
    Ok(())
}

/// Whoever does not try has said that the connection ends if there is no room, and is told so: each is counted.
#[test]
fn replies_that_are_sent_without_room_close_their_connections_and_are_counted() -> Result<(), Broken> {
    let promises = Promises::default();
    let mut simulation = simulation(config(), promising(&promises));
    let peers = asking(&mut simulation)?;
    promises.lock().drain(..).for_each(|owed| owed.send(b"durable"));
    simulation.run_for(10 * SECOND)?;
    let answered = peers.iter().filter(|peer| peer.received() > 0).count() as u64;
    let numbers = simulation.metrics();
    assert!(answered < PEERS as u64, "there are too few blocks for all of them at once");
    assert_eq!(numbers.closed_by(CloseKind::NoRoom), PEERS as u64 - answered);
    assert_eq!(numbers.messages_dropped[DropReason::RolledBack as usize], PEERS as u64 - answered);
    Ok(())
}

/// An answer that no block ever holds is not tried for ever.
#[test]
fn what_can_never_be_sent_settles_the_reply_all_the_same() -> Result<(), Broken> {
    let promises = Promises::default();
    let mut config = config();
    config.reply_max = 6000;
    let mut simulation = simulation(config, promising(&promises));
    // More than an answer may have; and more than all blocks hold that an answer may have.
    for (length, answered) in [(1500, 1), (6001, 0), (4400, 0)] {
        let peer = simulation.connect(Weather::calm()).expect("there is room");
        assert!(peer.send(&frame(b"too much")));
        simulation.run_for(SECOND)?;
        let owed = promises.lock().pop().expect("it was asked");
        let answer = Framed(|out| out.put(&vec![b'x'; length]));
        assert!(owed.try_send(answer).is_ok(), "{length} bytes: there is nothing to be tried again");
        simulation.run_for(10 * SECOND)?;
        let expected = answered * (length + 4);
        assert_eq!((peer.end().is_some(), peer.received()), (answered == 0, expected), "{length} bytes");
    }
    Ok(())
}

/// The processor sleeps while the answer is made elsewhere, and its clock is the one that everybody looks at.
#[test]
fn an_answer_that_was_deferred_says_when_it_was_made() -> Result<(), Broken> {
    let promises = Arc::new(Mutex::new(Vec::<Deferred<Http1>>::new()));
    let kept = Arc::clone(&promises);
    let user = move |_: Message<'_, Http1>, reply: Reply<'_, Http1>| kept.lock().push(reply.defer());
    let mut config = Config::default();
    (config.timeouts.idle, config.timeouts.reply) = (Duration::ZERO, Duration::ZERO);
    let mut simulation = Simulation::new(1, config, Http1::default(), |_, _| user).expect("the settings fit");
    let peer = simulation.connect(Weather::calm()).expect("there is room");
    let mut seconds = Vec::new();
    for wait in [0, 1, 12, 100] {
        peer.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        simulation.run_for(SECOND / 2)?;
        let promise = promises.lock().pop().expect("it was asked");
        // In the middle of its sleep.
        simulation.network().after(wait * SECOND, move || promise.send(Response::new(204)));
        simulation.run_for(wait * SECOND + SECOND / 2)?;
        let answer = String::from_utf8(peer.take_received()).expect("text");
        let date = answer.lines().find_map(|line| line.strip_prefix("Date: ")).expect("a date");
        let date = httpdate::parse_http_date(date).expect("of that form");
        seconds.push(date.duration_since(UNIX_EPOCH).expect("later").as_secs());
    }
    let between: Vec<_> = seconds.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(between, [2, 13, 101], "the waits, and one second for each question and answer");
    Ok(())
}

/// Gives its answer when the time for it is over, at the end of that very cycle.
#[derive(Default)]
struct TooLate {
    owed: Option<Deferred<Http1>>,
    asked: Option<Instant>,
    limit: Duration,
}

impl MessageProcessor<Http1> for TooLate {
    fn process(&mut self, _: Message<'_, Http1>, reply: Reply<'_, Http1>) {
        self.owed = Some(reply.defer());
    }

    fn cycle_end(&mut self, now: Instant) -> Option<Instant> {
        if self.owed.is_some() && now >= *self.asked.get_or_insert(now) + self.limit {
            self.owed.take()?.send(Response::ok("late"));
        }
        None
    }
}

/// One request has one answer: the 503, behind which no other is taken.
#[test]
fn an_answer_of_the_cycle_in_which_its_time_is_over_is_late() -> Result<(), Broken> {
    let limit = Config::default().timeouts.reply;
    let user = TooLate { limit, ..TooLate::default() };
    let mut simulation = Simulation::new(1, Config::default(), Http1::default(), |_, _| user).expect("they fit");
    let peer = simulation.connect(Weather::calm()).expect("there is room");
    peer.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    simulation.run_for(limit + SECOND)?;
    let received = String::from_utf8(peer.take_received()).expect("text");
    assert!(received.starts_with("HTTP/1.1 503 ") && received.matches("HTTP/1.1").count() == 1, "{received}");
    let numbers = simulation.shutdown(SECOND, sluicegate::Finish::Answer)?.metrics;
    assert_eq!(numbers.messages_dropped[DropReason::Stale as usize], 1);
    Ok(())
}
