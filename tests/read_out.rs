//! The end of a server that reads what was sent: also what lies in its peers' kernels, behind a window that is full.

use std::time::Duration;

use sluicegate::sim::{Broken, Simulation, Weather};
use sluicegate::{Config, Finish, LengthPrefixed, Message, Reply};

const SECOND: Duration = Duration::from_secs(1);
const MESSAGES: usize = 100;

fn user(_: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>) {
    reply.none();
}

/// A tenth of the messages fits the window; the rest comes in pieces, each some time after there is room.
#[test]
fn what_waits_behind_a_full_window_is_read() -> Result<(), Broken> {
    let mut simulation =
        Simulation::new(1, Config::default(), LengthPrefixed::default(), |_, _| user).expect("the settings fit");
    let weather = Weather { receive_buffer: 1040, delay_max: SECOND / 100, ..Weather::calm() };
    let peer = simulation.connect(weather).expect("there is room");
    let idle = simulation.connect(Weather::calm()).expect("there is room");
    simulation.run_for(SECOND)?;
    let frame = [&100u32.to_be_bytes()[..], &[b'm'; 100]].concat();
    assert!(peer.send(&frame.repeat(MESSAGES)));
    let report = simulation.shutdown(10 * SECOND, Finish::ReadOut)?;
    assert_eq!(report.metrics.messages_in, MESSAGES as u64);
    assert!(idle.end().is_some(), "who said nothing is not waited for");
    Ok(())
}

/// Who goes on sending does not hold the server up.
#[test]
fn who_goes_on_sending_is_read_for_a_second() -> Result<(), Broken> {
    let mut simulation =
        Simulation::new(1, Config::default(), LengthPrefixed::default(), |_, _| user).expect("the settings fit");
    let weather = Weather { receive_buffer: 104, delay_max: SECOND / 25, piece_max: 104, ..Weather::calm() };
    let peer = simulation.connect(weather).expect("there is room");
    simulation.run_for(SECOND)?;
    let frame = [&100u32.to_be_bytes()[..], &[b'm'; 100]].concat();
    assert!(peer.send(&frame.repeat(100 * MESSAGES)));
    let network = simulation.network().clone();
    let began = network.elapsed();
    let report = simulation.shutdown(60 * SECOND, Finish::ReadOut)?;
    let took = network.elapsed() - began;
    let linger = Config::default().timeouts.linger;
    assert!((SECOND..=SECOND + linger).contains(&took), "{took:?}");
    assert!(report.metrics.messages_in < 100 * MESSAGES as u64, "more was there than a second's");
    Ok(())
}
