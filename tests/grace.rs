//! How long connections have to finish when the server shuts down.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sluicegate::sim::{Broken, End, Network, Report, SimPeer, Simulation, Weather};
use sluicegate::{CloseKind, Config, Finish, LengthPrefixed, Message, MessageProcessor, Reply};

const SECOND: Duration = Duration::from_secs(1);
const GRACE: Duration = Duration::from_secs(60);

/// Is never ready for a message.
struct Unready;

impl MessageProcessor<LengthPrefixed> for Unready {
    fn process(&mut self, _: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>) {
        reply.none();
    }

    fn ready(&mut self) -> bool {
        false
    }
}

fn user(message: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>) {
    reply.send(message.payload());
}

/// A server that is asked to shut down while a message is half there, and then again, `later`, with `second` as its
/// grace; the processor is `busy` all the time in between, or it is not. How long the end took since the first request.
fn end(busy: bool, later: Duration, second: Duration) -> Result<Duration, Broken> {
    let mut config = Config::default();
    (config.timeouts.message, config.timeouts.rate_grace) = (1000 * SECOND, Duration::ZERO);
    let mut simulation = Simulation::new(1, config, LengthPrefixed::default(), |_, _| user).expect("the settings fit");
    let half = simulation.connect(Weather::calm()).expect("there is room");
    assert!(half.send(&[0, 0, 0, 9, b'x']));
    simulation.run_for(SECOND)?;
    let asked = simulation.network().elapsed();
    simulation.ask_to_shut_down(GRACE, Finish::Answer);
    if busy {
        simulation.network().jump(later)
    } else {
        simulation.run_for(later)?
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

/// Whom the server itself has kept from finishing is counted; who says nothing is not.
#[test]
fn whom_the_server_cuts_off_is_counted() -> Result<(), Broken> {
    for finish in [Finish::Answer, Finish::ReadOut] {
        let mut simulation =
            Simulation::new(1, Config::default(), LengthPrefixed::default(), |_, _| Unready).expect("the settings fit");
        let peers: Vec<_> = (0..4).filter_map(|_| simulation.connect(Weather::calm())).collect();
        simulation.run_for(SECOND)?;
        // Three wait for the user, before it is known whether what they have said is whole.
        peers[..2].iter().for_each(|peer| assert!(peer.send(b"\0\0\0\x05hello")));
        assert!(peers[2].send(b"\0\0\0\x05hel"));
        simulation.run_for(SECOND)?;
        let Report { metrics, .. } = simulation.shutdown(2 * SECOND, finish)?;
        assert_eq!((metrics.accepted, metrics.cut_off), (4, 3), "{finish:?}");
    }
    Ok(())
}

/// A protocol that cannot say which answer is the last has a peer that goes on sending. The frame that had begun is
/// answered, and then the connection ends, though each read has brought the beginning of another one.
#[test]
fn a_peer_that_goes_on_sending_is_given_the_answer_that_was_begun() -> Result<(), Broken> {
    let frame = b"\0\0\0\x05hello";
    let mut simulation =
        Simulation::new(1, Config::default(), LengthPrefixed::default(), |_, _| user).expect("the settings fit");
    let peer = simulation.connect(Weather::calm()).expect("there is room");
    peer.send(&frame[..6]);
    simulation.run_for(SECOND)?;
    for number in 1..6000 {
        let peer = peer.clone();
        simulation.network().after(SECOND / 100 * number, move || {
            peer.send(&[&frame[6..], &frame[..6]].concat());
        });
    }
    let asked = simulation.network().elapsed();
    let Report { metrics, elapsed, .. } = simulation.shutdown(GRACE, Finish::Answer)?;
    // With the time in which it would have to hear the end.
    assert!(elapsed - asked < 3 * SECOND, "{:?}", elapsed - asked);
    assert_eq!(metrics.messages_out, 1);
    Ok(())
}

/// The same, if it sends faster than its messages are handled: there is always another one.
#[test]
fn a_peer_that_sends_faster_than_it_is_served_holds_the_end_up_for_a_second() -> Result<(), Broken> {
    let frame = b"\0\0\0\x05hello".to_vec();
    let sender: Arc<Mutex<Option<(SimPeer, Network)>>> = Arc::default();
    let again = Arc::clone(&sender);
    let more = frame.repeat(2);
    let user = move |message: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>| {
        if let Some((peer, network)) = &*again.lock() {
            network.jump(SECOND / 100);
            peer.send(&more);
        }
        reply.send(message.payload());
    };
    let mut config = Config::default();
    config.turn.messages = 1;
    let mut simulation = Simulation::new(1, config, LengthPrefixed::default(), |_, _| user).expect("they fit");
    let peer = simulation.connect(Weather::calm()).expect("there is room");
    simulation.run_for(SECOND)?;
    *sender.lock() = Some((peer.clone(), simulation.network().clone()));
    peer.send(&frame.repeat(10));
    simulation.run_for(SECOND / 10)?;
    let asked = simulation.network().elapsed();
    let Report { elapsed, .. } = simulation.shutdown(GRACE, Finish::Answer)?;
    assert!((SECOND..4 * SECOND).contains(&(elapsed - asked)), "{:?}", elapsed - asked);
    Ok(())
}

/// What has arrived is answered, however long each answer takes, and however few are given at once.
#[test]
fn what_has_arrived_is_answered_however_long_that_takes() -> Result<(), Broken> {
    for (sent, owed_max) in [(10, 1), (100, 8)] {
        let mut config = Config::default();
        config.owed_max = owed_max;
        let mut simulation = Simulation::new(1, config, LengthPrefixed::default(), |_, workers| {
            let workers = workers.clone();
            move |_: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>| {
                let deferred = reply.defer();
                workers.after(SECOND / 2, move || deferred.send(b"done".to_vec()));
            }
        })
        .expect("the settings fit");
        let peer = simulation.connect(Weather::calm()).expect("there is room");
        peer.send(&b"\0\0\0\x05hello".repeat(sent));
        simulation.run_for(SECOND / 10)?;
        let Report { metrics, .. } = simulation.shutdown(GRACE, Finish::Answer)?;
        assert_eq!((metrics.messages_out, metrics.cut_off), (sent as u64, 0), "{owed_max} at once");
    }
    Ok(())
}

/// The ends that the server has left them arrive, as in life.
#[test]
fn peers_live_on_when_the_server_has_stopped() -> Result<(), Broken> {
    let protocol = LengthPrefixed::default();
    let mut simulation = Simulation::new(1, Config::default(), protocol, |_, _| user).expect("the settings fit");
    let weather = Weather { delay_max: SECOND, ..Weather::calm() };
    let peers = [(); 2].map(|()| simulation.connect(weather).expect("there is room"));
    simulation.run_for(5 * SECOND)?;
    simulation.ask_to_shut_down(SECOND, Finish::Answer);
    let before = simulation.network().elapsed();
    simulation.run_for(30 * SECOND)?;
    assert_eq!(simulation.network().elapsed() - before, 30 * SECOND);
    assert!(peers.iter().all(|peer| peer.end() == Some(End::Finished)), "{}", simulation.describe());
    simulation.shutdown(SECOND, Finish::Answer)?;
    Ok(())
}
