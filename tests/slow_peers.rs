//! Peers who do not take their answers, until the room for answers is used up: whoever reads is served all the same.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sluicegate::sim::{Broken, Network, Reading, SimPeer, Simulation, Weather};
use sluicegate::{
    CloseKind, Config, Deferred, LengthPrefixed, Message, MessageProcessor, Peer, Reply, TierConfig, WhenFull,
};

const SECOND: Duration = Duration::from_secs(1);
/// Answers that take a whole medium block.
const ANSWER: usize = 1000;
/// With this much undelivered, a connection asks for nothing more.
const HIGH: usize = 4 * ANSWER;
const SLOW_PEERS: usize = 200;

/// What the reader saw.
#[derive(Debug)]
struct Served {
    /// The longest that it waited for an answer.
    slowest: Duration,
    /// All of its waits together.
    waited: Duration,
    evicted: u64,
}

/// Room for 64 medium answers; of slow peers there are three times as many, and each asks for more than it may have.
fn config() -> Config {
    let mut config = Config::default();
    let tiers = [(64, 16), (1024, 64), (8192, 4)].map(|(size, count)| TierConfig { size, count });
    (config.inbound, config.outbound) = (tiers, tiers);
    config.reply_max = 9000;
    config.watermarks.high = HIGH;
    config.watermarks.low = ANSWER;
    config.timeouts.write_stall = Duration::ZERO;
    config.timeouts.message = Duration::ZERO;
    config.timeouts.rate_grace = Duration::ZERO;
    config.timeouts.idle = Duration::ZERO;
    config
}

fn frame(payload: &[u8]) -> Vec<u8> {
    [&(payload.len() as u32).to_be_bytes(), payload].concat()
}

/// Answers `s` with little, and says when; everything else with much.
fn user(
    network: &Network,
    answered_at: &Arc<Mutex<Duration>>,
) -> impl FnMut(Message<'_, LengthPrefixed>, Reply<'_, LengthPrefixed>) + Send + use<> {
    let (network, answered_at) = (network.clone(), Arc::clone(answered_at));
    move |message: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>| {
        if message.payload() != b"s" {
            return reply.send(&[b'y'; ANSWER]);
        }
        *answered_at.lock() = network.elapsed();
        reply.send("small");
    }
}

fn reading_beside(reading: Reading) -> Result<Served, Broken> {
    let answered_at = Arc::default();
    let protocol = LengthPrefixed::new(8192);
    let mut simulation =
        Simulation::new(1, config(), protocol, |network, _| user(network, &answered_at)).expect("the settings fit");
    let narrow = Weather { send_buffer: 64, ..Weather::calm() };
    let connect = |weather| simulation.connect(weather).expect("there is room");
    let reader = connect(Weather::calm());
    let slow: Vec<SimPeer> = (0..SLOW_PEERS).map(|_| connect(narrow)).collect();
    let requests = frame(b"much").repeat(64);
    for peer in &slow {
        peer.set_reading(reading);
        peer.send(&requests);
    }
    let mut served = Served { slowest: Duration::ZERO, waited: Duration::ZERO, evicted: 0 };
    for answer in 1..=500 {
        let asked = simulation.network().elapsed();
        reader.send(&frame(b"s"));
        let answered = simulation.run_until(10 * SECOND, |_| reader.received() == answer * frame(b"small").len())?;
        assert!(answered, "no answer within ten seconds: {}", simulation.describe());
        let waited = *answered_at.lock() - asked;
        served.slowest = served.slowest.max(waited);
        served.waited += waited;
        simulation.run_for(SECOND / 100)?;
    }
    served.evicted = simulation.metrics().closed_by(CloseKind::EvictedOutbound);
    Ok(served)
}

/// The first rush takes all memory at once, and it takes some rounds to get it back. From then on there is slack.
fn assert_served(served: &Served) {
    assert!(served.evicted >= 50, "{served:?}");
    assert!(served.slowest < SECOND / 4 && served.waited < SECOND, "500 answers: {served:?}");
}

#[test]
fn liveness_who_reads_is_served_beside_two_hundred_who_do_not() -> Result<(), Broken> {
    assert_served(&reading_beside(Reading::Stalled)?);
    Ok(())
}

/// Their output moves always, so it never stands still for long enough to be given up for that.
#[test]
fn liveness_who_reads_is_served_beside_two_hundred_who_read_a_little() -> Result<(), Broken> {
    assert_served(&reading_beside(Reading::Slow { bytes: 16, every: SECOND / 50 })?);
    Ok(())
}

/// What is carried and not copied holds no block: its end would give nobody room.
#[test]
fn one_peer_that_is_given_what_is_not_copied_does_not_pay_for_those_that_hold_the_blocks() -> Result<(), Broken> {
    let body: Arc<[u8]> = vec![b'z'; 500_000].into();
    let user = move |message: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>| match message.payload() {
        b"shared" => reply.send(Arc::clone(&body)),
        _ => reply.send(&[b'y'; ANSWER]),
    };
    let mut simulation =
        Simulation::new(1, config(), LengthPrefixed::new(8192), |_, _| user).expect("the settings fit");
    let narrow = Weather { send_buffer: 64, ..Weather::calm() };
    let connect = || simulation.connect(narrow).expect("there is room");
    let reader = connect();
    // Longer apart than output may stand still while others wait for room.
    reader.set_reading(Reading::Slow { bytes: 1000, every: SECOND / 5 });
    reader.send(&frame(b"shared"));
    let slow: Vec<SimPeer> = (0..SLOW_PEERS).map(|_| connect()).collect();
    for peer in &slow {
        peer.set_reading(Reading::Slow { bytes: 16, every: SECOND / 50 });
        peer.send(&frame(b"much").repeat(64));
    }
    simulation.run_for(5 * SECOND)?;
    assert!(simulation.metrics().closed_by(CloseKind::EvictedOutbound) >= 50, "{}", simulation.describe());
    assert_eq!(reader.end(), None, "the reader of what is not copied was closed: {}", simulation.describe());
    Ok(())
}

/// Answers with much, and wants whoever does not take it closed.
struct Impatient;

impl MessageProcessor<LengthPrefixed> for Impatient {
    fn process(&mut self, _: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>) {
        reply.send(&[b'y'; ANSWER]);
    }

    fn when_full(&mut self, _: &Peer) -> WhenFull {
        WhenFull::Close
    }
}

/// While slow peers held the pool, whoever had a byte undelivered was closed as if its own output were too much.
#[test]
fn one_peer_is_closed_for_its_own_output_and_not_for_that_of_others() -> Result<(), Broken> {
    let mut simulation =
        Simulation::new(1, config(), LengthPrefixed::new(8192), |_, _| Impatient).expect("the settings fit");
    let narrow = Weather { send_buffer: 64, ..Weather::calm() };
    let ask = |simulation: &Simulation<_, _>, messages| {
        let peer = simulation.connect(narrow).expect("there is room");
        peer.set_reading(Reading::Stalled);
        peer.send(&frame(b"much").repeat(messages));
        peer
    };
    let _asks_for_too_much = ask(&simulation, 2 * HIGH / ANSWER);
    simulation.run_for(SECOND)?;
    assert_eq!(simulation.metrics().closed_by(CloseKind::OutboundFull), 1);
    let _ask_for_one_answer: Vec<SimPeer> = (0..SLOW_PEERS).map(|_| ask(&simulation, 1)).collect();
    simulation.run_for(5 * SECOND)?;
    let closed = |kind| simulation.metrics().closed_by(kind);
    assert_eq!(closed(CloseKind::OutboundFull), 1);
    assert!(closed(CloseKind::EvictedOutbound) > 0, "they do not hold the pool: {}", simulation.describe());
    Ok(())
}

/// Settled answers found no segments, and nobody gave up the output that held them: there were blocks enough.
#[test]
fn liveness_slow_peers_do_not_keep_all_segments_from_a_settled_answer() -> Result<(), Broken> {
    // The least that there may be.
    const SEGMENTS: usize = 17;
    let mut config = config();
    config.segments_max = SEGMENTS;
    let promises = Arc::new(Mutex::new(Vec::<Deferred<LengthPrefixed>>::new()));
    let promised = Arc::clone(&promises);
    let user = move |_: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>| {
        promised.lock().push(reply.defer());
    };
    let mut simulation = Simulation::new(1, config, LengthPrefixed::new(8192), |_, _| user).expect("the settings fit");
    let narrow = Weather { send_buffer: 64, ..Weather::calm() };
    // An answer that is taken may have four segments.
    let slow: Vec<SimPeer> = (3..SEGMENTS).map(|_| simulation.connect(narrow).expect("there is room")).collect();
    for peer in &slow {
        peer.set_reading(Reading::Stalled);
        peer.send(&frame(b"later"));
    }
    simulation.run_for(SECOND)?;
    let reader = simulation.connect(Weather::calm()).expect("there is room");
    reader.send(&frame(b"later"));
    simulation.run_for(SECOND)?;
    let promises = promises.lock().split_off(0);
    assert_eq!(promises.len(), slow.len() + 1);
    promises.into_iter().for_each(|promise| promise.send(&[b'y'; ANSWER]));
    let answered = simulation.run_until(5 * SECOND, |_| reader.received() == ANSWER + 4)?;
    assert!(answered, "no answer within five seconds: {}", simulation.describe());
    assert_eq!(simulation.metrics().closed_by(CloseKind::EvictedOutbound), 1, "no more than had to be");
    Ok(())
}

/// Answers go through the workers' reserve, one after the other, and each time it is repaid. A worker that was told so
/// and whose thread has not run yet waits for nothing.
#[test]
fn no_output_is_given_up_for_a_worker_that_has_room() -> Result<(), Broken> {
    let promises = Arc::new(Mutex::new(Vec::<Deferred<LengthPrefixed>>::new()));
    let promised = Arc::clone(&promises);
    let user = move |_: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>| {
        promised.lock().push(reply.defer());
    };
    let mut simulation =
        Simulation::new(1, config(), LengthPrefixed::new(8192), |_, _| user).expect("the settings fit");
    let workers = simulation.workers();
    let narrow = Weather { send_buffer: 64, ..Weather::calm() };
    let ask = |simulation: &Simulation<_, _>, weather| {
        let peer = simulation.connect(weather).expect("there is room");
        peer.send(&frame(b"later"));
        peer
    };
    let slow: Vec<_> = (0..80).map(|_| ask(&simulation, narrow)).collect();
    slow.iter().for_each(SimPeer::stall);
    let reader = ask(&simulation, Weather::calm());
    simulation.run_for(SECOND)?;
    let promises = promises.lock().split_off(0);
    assert_eq!(promises.len(), 81, "the reader is the last");
    for promise in promises {
        workers.after(Duration::ZERO, move || promise.send(&[b'y'; ANSWER]));
    }
    let answered = simulation.run_until(5 * SECOND, |_| reader.received() == ANSWER + 4)?;
    let evicted = simulation.metrics().closed_by(CloseKind::EvictedOutbound);
    assert!(answered && evicted == 0, "{evicted}: {}", simulation.describe());
    Ok(())
}
