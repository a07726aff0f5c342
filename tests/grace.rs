//! How long connections have to finish when the server goes down.

use std::time::Duration;

use sluicegate::sim::{Broken, Report, Simulation, Weather};
use sluicegate::{CloseKind, Config, Finish, LengthPrefixed, Message, Reply};

const SECOND: Duration = Duration::from_secs(1);
const GRACE: Duration = Duration::from_secs(60);

fn user(message: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>) {
    reply.send(message.payload());
}

/// A server that is asked to go down while a message is half there, and then again, `later`, with `second` as its
/// grace; the processor is `busy` all the time in between, or it is not. How long the end took since the first request.
fn end(busy: bool, later: Duration, second: Duration) -> Result<Duration, Broken> {
    let mut config = Config::default();
    (config.timeouts.message, config.timeouts.rate_grace) = (1000 * SECOND, Duration::ZERO);
    let mut simulation = Simulation::new(1, config, LengthPrefixed::default(), |_, _| user).expect("the settings fit");
    let half = simulation.connect(Weather::calm()).expect("there is room");
    assert!(half.send(&[0, 0, 0, 9, b'x']));
    simulation.run_for(SECOND)?;
    let asked = simulation.network().elapsed();
    simulation.ask_to_go_down(GRACE, Finish::Answer);
    match busy {
        true => simulation.network().jump(later),
        false => simulation.run_for(later)?,
    }
    let Report { metrics, elapsed, .. } = simulation.shutdown(second, Finish::Answer)?;
    assert_eq!(metrics.closed_by(CloseKind::Shutdown), 1);
    Ok(elapsed - asked)
}

/// A processor that is busy hears of it late, and its connections have no longer for that.
#[test]
fn the_grace_begins_when_it_is_asked_for() -> Result<(), Broken> {
    for busy in [0, 10, 59, 60, 70].map(|seconds| seconds * SECOND) {
        assert_eq!(end(true, busy, 3600 * SECOND)?, busy.max(GRACE), "busy for {busy:?}");
    }
    Ok(())
}

#[test]
fn a_second_grace_counts_if_it_is_over_sooner() -> Result<(), Broken> {
    for (second, ends) in [(0, 30), (10, 40), (29, 59), (31, 60), (3600, 60)] {
        for busy in [true, false] {
            let took = end(busy, 30 * SECOND, second * SECOND)?;
            assert_eq!(took, ends * SECOND, "{second} seconds more after 30, busy: {busy}");
        }
    }
    Ok(())
}
