//! Many connections that want much, and how long one that wants little waits for them.

use std::time::Duration;

use sluicegate::sim::{Broken, SimPeer, Simulation, Weather};
use sluicegate::{Config, LengthPrefixed, Message, Reply};

const GREEDY: usize = 100;
const PAYLOAD: [u8; 1000] = [b'm'; 1000];
/// Messages that each of them has ready at once.
const READY: usize = 300;

fn frame(payload: &[u8]) -> Vec<u8> {
    [&(payload.len() as u32).to_be_bytes(), payload].concat()
}

fn user(_: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>) {
    reply.none();
}

/// A hundred connections have 300 messages each, and in a turn each may have 64. In one cycle not all of them get one: so
/// whoever has little to say is heard before that.
#[test]
fn a_cycle_takes_little_from_those_who_want_much() -> Result<(), Broken> {
    let config = Config::default();
    let in_a_turn = config.turn.messages as u64;
    let mut simulation = Simulation::new(1, config, LengthPrefixed::default(), |_, _| user).expect("the settings fit");
    let weather = Weather { delay_max: Duration::ZERO, receive_buffer: 1 << 20, ..Weather::calm() };
    let greedy: Vec<SimPeer> = (0..GREEDY).filter_map(|_| simulation.connect(weather)).collect();
    simulation.run_for(Duration::from_secs(1))?;
    greedy.iter().for_each(|peer| assert!(peer.send(&frame(&PAYLOAD).repeat(READY))));
    // Each has its first turn.
    simulation.step()?;
    let (mut before, mut most) = (simulation.metrics().messages_in, 0);
    assert!(before > 0, "{}", simulation.describe());
    while before < (GREEDY * READY) as u64 {
        simulation.step()?;
        let now = simulation.metrics().messages_in;
        most = most.max(now - before);
        before = now;
    }
    assert!(
        (in_a_turn..=GREEDY as u64 * in_a_turn / 8).contains(&most),
        "{most} messages in a cycle, {in_a_turn} in a turn"
    );
    Ok(())
}
