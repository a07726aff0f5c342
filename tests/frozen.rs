//! A server that was stopped for a while, by a signal, a debugger, or whoever freezes it; or held up by its own user.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sluicegate::sim::{Broken, Network, SimPeer, Simulation, Weather};
use sluicegate::{CloseKind, Config, LengthPrefixed, Message, MessageProcessor, Reply};

const SECOND: Duration = Duration::from_secs(1);
const PEERS: usize = 20;

fn frame(payload: &[u8]) -> Vec<u8> {
    [&(payload.len() as u32).to_be_bytes(), payload].concat()
}

fn echo(message: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>) {
    reply.send(message.payload());
}

/// What is said by each of them before the server is stopped, and meanwhile; what has come at the end.
fn told(before: &[u8], meanwhile: &[u8]) -> Result<(Vec<Vec<u8>>, u64), Broken> {
    let mut config = Config::default();
    (config.timeouts.idle, config.timeouts.message) = (10 * SECOND, 10 * SECOND);
    let mut simulation = Simulation::new(1, config, LengthPrefixed::default(), |_, _| echo).expect("the settings fit");
    let at_once = Weather { delay_max: Duration::ZERO, ..Weather::calm() };
    let peers: Vec<SimPeer> = (0..PEERS).map(|_| simulation.connect(at_once).expect("there is room")).collect();
    simulation.run_for(SECOND)?;
    peers.iter().for_each(|peer| assert!(before.is_empty() || peer.send(before)));
    simulation.run_for(SECOND)?;
    simulation.network().freeze(30 * SECOND);
    peers.iter().for_each(|peer| assert!(peer.send(meanwhile)));
    simulation.run_for(32 * SECOND)?;
    let late = simulation.metrics().closed_by(CloseKind::Idle) + simulation.metrics().closed_by(CloseKind::TooSlow);
    Ok((peers.iter().map(SimPeer::take_received).collect(), late))
}

#[test]
fn clocks_who_has_spoken_while_the_server_was_stopped_is_not_idle() -> Result<(), Broken> {
    let message = frame(b"are you there?");
    assert_eq!(told(b"", &message)?, (vec![message; PEERS], 0));
    Ok(())
}

#[test]
fn clocks_whose_rest_has_come_while_the_server_was_stopped_is_not_late() -> Result<(), Broken> {
    let message = frame(b"are you there?");
    assert_eq!(told(&message[..5], &message[5..])?, (vec![message; PEERS], 0));
    Ok(())
}

/// Takes long for a message, and wants to run again soon after the beginning of that cycle.
struct Busy {
    network: Network,
    /// The times of the cycle in which it was busy, and of the next.
    cycles: Arc<Mutex<Vec<Instant>>>,
}

impl MessageProcessor<LengthPrefixed> for Busy {
    fn process(&mut self, _: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>) {
        reply.none();
        self.cycles.lock().push(self.network.now());
        self.network.jump(SECOND * 9 / 10);
    }

    fn cycle_end(&mut self, now: Instant) -> Option<Instant> {
        let mut cycles = self.cycles.lock();
        if cycles.len() == 1 && now > cycles[0] {
            cycles.push(now);
        }
        (cycles.len() == 1).then_some(now + SECOND)
    }
}

#[test]
fn clocks_the_time_that_a_cycle_takes_is_not_slept_once_more() -> Result<(), Broken> {
    let cycles = Arc::default();
    let known = Arc::clone(&cycles);
    let make = |network: &Network, _: &_| Busy { network: network.clone(), cycles: known };
    let mut simulation = Simulation::new(1, Config::default(), LengthPrefixed::default(), make).expect("they fit");
    let peer = simulation.connect(Weather::calm()).expect("there is room");
    peer.send(&frame(b"take your time"));
    // Nothing else wakes it.
    simulation.run_for(5 * SECOND)?;
    let [busy, next] = cycles.lock()[..] else { panic!("two cycles") };
    assert!((SECOND..SECOND * 11 / 10).contains(&(next - busy)), "{:?}", next - busy);
    Ok(())
}
