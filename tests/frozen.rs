//! A server that was stopped for a while: by a signal, a debugger, or whoever freezes it.

use std::time::Duration;

use sluicegate::sim::{Broken, SimPeer, Simulation, Weather};
use sluicegate::{CloseKind, Config, LengthPrefixed, Message, Reply};

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
