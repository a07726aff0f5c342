//! Peers that begin a large message and stall: they give their blocks up, and not those who go on sending.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use parking_lot::Mutex;
use sluicegate::sim::{Broken, SimPeer, Simulation, Weather};
use sluicegate::{Config, LengthPrefixed, Message, MessageProcessor, Reply, TierConfig};

const SECOND: Duration = Duration::from_secs(1);
/// A large message, and as much of one as a stalled peer sends: too much for a medium block.
const LARGE: usize = 100_000;
const BEGUN: usize = 9_000;
const LARGE_BLOCKS: usize = 4;

fn frame(payload: &[u8]) -> Vec<u8> {
    [&(payload.len() as u32).to_be_bytes(), payload].concat()
}

fn config() -> Config {
    let mut config = Config::default();
    let sizes = [(1 << 10, 64), (8 << 10, 64), (128 << 10, LARGE_BLOCKS)];
    config.inbound = sizes.map(|(size, count)| TierConfig { size, count });
    config.timeouts.rate_grace = Duration::ZERO;
    config.timeouts.message = 1000 * SECOND;
    config
}

/// Peers that have sent the beginning of a large message, and send nothing more.
fn stalled<M: MessageProcessor<LengthPrefixed>>(
    simulation: &Simulation<LengthPrefixed, M>,
    count: usize,
) -> Vec<SimPeer> {
    let begun = &frame(&[b's'; LARGE])[..BEGUN];
    let peers: Vec<_> = (0..count).map(|_| simulation.connect(Weather::calm()).expect("there is room")).collect();
    peers.iter().for_each(|peer| assert!(peer.send(begun)));
    peers
}

/// Sends some of `bytes` in each tenth of a second, as long as the connection lives.
fn send_steadily<M: MessageProcessor<LengthPrefixed>>(
    simulation: &mut Simulation<LengthPrefixed, M>,
    peer: &SimPeer,
    bytes: &[u8],
    rate: usize,
) -> Result<(), Broken> {
    for piece in bytes.chunks(rate / 10) {
        assert!(peer.send(piece), "it was closed: {:?}", simulation.closed());
        simulation.run_for(SECOND / 10)?;
    }
    Ok(())
}

fn user(_: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>) {
    reply.none();
}

/// Is ready, or not.
#[derive(Default, Clone)]
struct Gated(Arc<AtomicBool>);

impl MessageProcessor<LengthPrefixed> for Gated {
    fn process(&mut self, _: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>) {
        reply.none();
    }

    fn ready(&mut self) -> bool {
        !self.0.load(SeqCst)
    }
}

/// While the user takes nothing nothing is received, and that says nothing about who could send.
#[test]
fn whose_bytes_the_user_holds_up_keeps_its_block_beside_those_who_stall() -> Result<(), Broken> {
    let gate = Gated::default();
    let mut simulation =
        Simulation::new(1, config(), LengthPrefixed::new(LARGE), |_, _| gate.clone()).expect("the settings fit");
    let good = simulation.connect(Weather { receive_buffer: 20_000, ..Weather::calm() }).expect("there is room");
    let message = frame(&[b'g'; LARGE]);
    assert!(good.send(&message[..50_000]));
    simulation.run_for(SECOND)?;
    let _held = stalled(&simulation, 30);
    simulation.run_for(SECOND / 10)?;
    gate.0.store(true, SeqCst);
    send_steadily(&mut simulation, &good, &message[50_000..], 5_000)?;
    assert_eq!((simulation.metrics().messages_in, good.unread() > 0), (0, true));
    gate.0.store(false, SeqCst);
    simulation.proxy().resume();
    simulation.run_for(SECOND)?;
    assert_eq!(simulation.metrics().messages_in, 1, "{:?}", simulation.closed());
    Ok(())
}

#[test]
fn who_goes_on_sending_keeps_its_block_beside_a_line_of_those_who_stall() -> Result<(), Broken> {
    for rate in [1_000, 3_000, 10_000, 30_000] {
        let mut simulation =
            Simulation::new(1, config(), LengthPrefixed::new(LARGE), |_, _| user).expect("the settings fit");
        let good = simulation.connect(Weather::calm()).expect("there is room");
        let message = frame(&[b'g'; LARGE]);
        assert!(good.send(&message[..50_000]));
        simulation.run_for(SECOND)?;
        let _held = stalled(&simulation, 30);
        send_steadily(&mut simulation, &good, &message[50_000..], rate)?;
        assert_eq!(simulation.metrics().messages_in, 1, "at {rate} bytes a second");
    }
    Ok(())
}

/// They had more to say all the time, and the server did not read it.
#[test]
fn who_has_waited_in_line_is_read_before_anybody_behind_it_takes_its_block() -> Result<(), Broken> {
    const GOOD: usize = LARGE_BLOCKS - 1;
    let mut simulation =
        Simulation::new(1, config(), LengthPrefixed::new(LARGE), |_, _| user).expect("the settings fit");
    let _holding = stalled(&simulation, LARGE_BLOCKS);
    simulation.run_for(SECOND / 10)?;
    let message = frame(&[b'g'; LARGE]);
    let good: Vec<_> = (0..GOOD).map(|_| simulation.connect(Weather::calm()).expect("there is room")).collect();
    good.iter().for_each(|peer| assert!(peer.send_ahead(&message[..50_000])));
    simulation.step()?;
    let _behind = stalled(&simulation, 30);
    // So all have waited long enough at the same moment.
    simulation.network().set_oversleep(SECOND / 100);
    for piece in message[50_000..].chunks(1_000) {
        simulation.run_for(SECOND / 10)?;
        good.iter().for_each(|peer| assert!(peer.send(piece), "it was closed: {:?}", simulation.closed()));
    }
    simulation.run_for(SECOND)?;
    assert_eq!(simulation.metrics().messages_in, GOOD as u64);
    Ok(())
}

/// What counts is what came while others waited: neither the beginnings of those who stall, if that is shorter than a
/// second, nor who was the last to send a byte, if it is longer.
#[test]
fn whoever_sends_most_while_others_wait_keeps_its_block_however_long_they_do() -> Result<(), Broken> {
    for (famine, pause) in [(SECOND / 5, SECOND / 10), (SECOND, SECOND / 2), (10 * SECOND, 4 * SECOND)] {
        let mut config = config();
        config.timeouts.famine = famine;
        let mut simulation =
            Simulation::new(1, config, LengthPrefixed::new(LARGE), |_, _| user).expect("the settings fit");
        let good = simulation.connect(Weather::calm()).expect("there is room");
        let message = frame(&[b'g'; LARGE]);
        assert!(good.send(&message[..50_000]));
        simulation.run_for(famine)?;
        let dribble = stalled(&simulation, 30);
        for piece in message[50_000..].chunks(2_000) {
            assert!(good.send(piece), "famine {famine:?}, closed: {:?}", simulation.closed());
            for _ in 0..8 {
                simulation.run_for(pause / 8)?;
                dribble.iter().for_each(|peer| {
                    let _ = peer.send(b"s");
                });
            }
        }
        simulation.run_for(SECOND)?;
        assert_eq!(simulation.metrics().messages_in, 1, "famine {famine:?}");
        let evicted = simulation.metrics().evictions[2];
        assert!(evicted >= 20, "those who stall make room for each other: {evicted}");
    }
    Ok(())
}

/// Keeps messages until the test takes them.
#[derive(Default, Clone)]
struct Keeps(Arc<Mutex<VecDeque<Message<'static, LengthPrefixed>>>>);

impl MessageProcessor<LengthPrefixed> for Keeps {
    fn process(&mut self, message: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>) {
        self.0.lock().push_back(message.into_owned());
        reply.none();
    }
}

/// All blocks are the user's, who is slow. Each that comes home goes to somebody whose peer has more to send: what the
/// kernels hold is read at once, and what comes behind it takes a round trip. Meanwhile the next in line has waited for
/// long enough, too.
#[test]
fn who_has_just_got_its_block_does_not_lose_it_to_the_next_in_line() -> Result<(), Broken> {
    for receive_buffer in [40_000, 2_000] {
        let kept = Keeps::default();
        let mut simulation =
            Simulation::new(1, config(), LengthPrefixed::new(LARGE), |_, _| kept.clone()).expect("the settings fit");
        let weather = Weather { receive_buffer, delay_max: SECOND / 100, ..Weather::calm() };
        let message = frame(&[b'g'; LARGE]);
        let good: Vec<_> = (0..40).map(|_| simulation.connect(weather).expect("there is room")).collect();
        good.iter().for_each(|peer| assert!(peer.send(&message)));
        for _ in 0..100 {
            simulation.run_for(SECOND / 5)?;
            drop(kept.0.lock().pop_front());
        }
        let (metrics, closed) = (simulation.metrics(), simulation.closed());
        assert_eq!((metrics.messages_in, metrics.evictions), (40, [0; 3]), "{receive_buffer}: {closed:?}");
    }
    Ok(())
}

/// There are fifteen peers to a block, and none of them stalls.
#[test]
fn who_sends_fast_enough_is_not_evicted_however_many_wait() -> Result<(), Broken> {
    let mut simulation =
        Simulation::new(1, config(), LengthPrefixed::new(LARGE), |_, _| user).expect("the settings fit");
    let message = frame(&[b'g'; LARGE]);
    let good: Vec<_> = (0..15 * LARGE_BLOCKS).map(|_| simulation.connect(Weather::calm()).expect("room")).collect();
    // In five seconds, which is much longer than others have to wait.
    for piece in message.chunks(LARGE / 50) {
        good.iter().for_each(|peer| assert!(peer.send(piece), "it was closed: {:?}", simulation.closed()));
        simulation.run_for(SECOND / 10)?;
    }
    simulation.run_for(SECOND)?;
    let metrics = simulation.metrics();
    assert_eq!((metrics.messages_in, metrics.evictions), (good.len() as u64, [0; 3]));
    Ok(())
}

/// In each second it sends a fifth of what is missing: so it will always be done soon, and never is.
#[test]
fn who_becomes_slower_and_slower_is_evicted_for_those_who_wait() -> Result<(), Broken> {
    let mut simulation =
        Simulation::new(1, config(), LengthPrefixed::new(LARGE), |_, _| user).expect("the settings fit");
    let message = frame(&[b'g'; LARGE]);
    let connect = || simulation.connect(Weather::calm()).expect("there is room");
    let (slow, good): (Vec<_>, _) = ((0..LARGE_BLOCKS).map(|_| connect()).collect(), connect());
    slow.iter().for_each(|peer| assert!(peer.send(&message[..BEGUN])));
    simulation.run_for(SECOND)?;
    good.send(&message);
    let mut sent = BEGUN;
    for _ in 0..10 * 12 {
        let more = (LARGE - sent) / 40;
        slow.iter().for_each(|peer| {
            let _ = peer.send(&message[sent..sent + more]);
        });
        sent += more;
        simulation.run_for(SECOND / 10)?;
    }
    assert_eq!(simulation.metrics().messages_in, 1, "{}", simulation.describe());
    assert_eq!(simulation.metrics().evictions, [0, 0, 1], "{:?}", simulation.closed());
    Ok(())
}
