//! What was sent to a connection through a `WriteProxy` before its end began: it is delivered first, however soon the
//! end comes behind it.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sluicegate::sim::{Broken, End, Reading, SimPeer, Simulation, Weather};
use sluicegate::{
    CloseKind, Config, ConnectionId, DropReason, Finish, LengthPrefixed, Message, MessageProcessor, Peer, Reply,
    SendError, WriteProxy,
};

const SECOND: Duration = Duration::from_secs(1);
const PEERS: usize = 50;

/// Sends what it is told to whoever told it, through the proxy, and then does what the message says.
#[derive(Default)]
struct User {
    opened: Arc<Mutex<Vec<ConnectionId>>>,
    deferred: Vec<sluicegate::Deferred<LengthPrefixed>>,
}

impl MessageProcessor<LengthPrefixed> for User {
    fn process(&mut self, message: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>) {
        let (own, proxy) = (message.peer().connection, reply.proxy().clone());
        match message.payload() {
            b"none" => reply.none(),
            b"close" => {
                assert_eq!(proxy.send(own, "bye"), Ok(()));
                return reply.close();
            }
            b"later" => return self.deferred.push(reply.defer()),
            b"settle" => {
                reply.none();
                let deferred = self.deferred.pop().expect("somebody waits");
                assert_eq!(proxy.send(self.opened.lock()[0], "bye"), Ok(()));
                return deferred.send("last");
            }
            b"kick" => {
                reply.none();
                let other = self.opened.lock()[0];
                assert_eq!(proxy.send(other, "bye"), Ok(()));
                proxy.close(other);
                return assert_eq!(proxy.send(other, "late"), Ok(()), "and dropped");
            }
            b"all" => {
                reply.none();
                return self.opened.lock().iter().for_each(|peer| assert_eq!(proxy.send(*peer, "bye"), Ok(())));
            }
            other => panic!("nobody says {other:?}"),
        }
        assert_eq!(proxy.send(own, "bye"), Ok(()));
    }

    fn opened(&mut self, peer: &Peer, _: &WriteProxy<LengthPrefixed>) {
        self.opened.lock().push(peer.connection);
    }
}

fn frame(payload: &str) -> Vec<u8> {
    [&(payload.len() as u32).to_be_bytes(), payload.as_bytes()].concat()
}

type World = (Simulation<LengthPrefixed, User>, Vec<SimPeer>, Arc<Mutex<Vec<ConnectionId>>>);

fn world(peers: usize) -> Result<World, Broken> {
    world_of(Config::default(), peers)
}

fn world_of(config: Config, peers: usize) -> Result<World, Broken> {
    let (user, protocol) = (User::default(), LengthPrefixed::default());
    let opened = Arc::clone(&user.opened);
    let mut simulation = Simulation::new(1, config, protocol, |_, _| user).expect("the settings fit");
    let weather = Weather { delay_max: Duration::ZERO, ..Weather::calm() };
    let peers = (0..peers).map(|_| simulation.connect(weather).expect("there is room")).collect();
    simulation.run_for(SECOND)?;
    Ok((simulation, peers, opened))
}

/// The first of the peers stands still and has all segments that there are.
fn world_without_segments(peers: usize) -> Result<World, Broken> {
    let mut config = Config::default();
    (config.segments_max, config.watermarks.high) = (17, 16 << 20);
    let (mut simulation, peers, opened) = world_of(config, peers)?;
    let (proxy, first) = (simulation.proxy(), opened.lock()[0]);
    let large: Arc<[u8]> = vec![b'y'; 1 << 20].into();
    peers[0].set_reading(Reading::Stalled);
    (0..8).for_each(|_| assert_eq!(proxy.send(first, Arc::clone(&large)), Ok(())));
    simulation.run_for(SECOND / 100)?;
    Ok((simulation, peers, opened))
}

fn is_stale(simulation: &Simulation<LengthPrefixed, User>) -> u64 {
    simulation.metrics().messages_dropped[DropReason::Stale as usize]
}

#[test]
fn what_was_sent_before_a_shutdown_is_delivered() -> Result<(), Broken> {
    for finish in [Finish::Answer, Finish::ReadOut] {
        let (simulation, peers, opened) = world(PEERS)?;
        let proxy = simulation.proxy();
        opened.lock().iter().for_each(|id| assert_eq!(proxy.send(*id, "bye"), Ok(())));
        let report = simulation.shutdown(10 * SECOND, finish)?;
        assert!(peers.iter().all(|peer| peer.take_received() == frame("bye")), "{finish:?}");
        assert_eq!(report.metrics.messages_dropped[DropReason::Stale as usize], 0, "{finish:?}");
        assert!(report.elapsed < 5 * SECOND, "{finish:?} took {:?}", report.elapsed);
    }
    Ok(())
}

/// The end of one connection is read in the cycle in which the message of another is handled.
#[test]
fn what_a_message_sends_to_all_reaches_those_that_have_half_closed() -> Result<(), Broken> {
    let (mut simulation, peers, _) = world(PEERS)?;
    peers[0].send(&frame("all"));
    peers.iter().for_each(SimPeer::finish);
    simulation.run_for(SECOND)?;
    assert!(peers.iter().all(|peer| peer.take_received() == frame("bye")));
    assert_eq!((simulation.metrics().closed_by(CloseKind::PeerClosed), is_stale(&simulation)), (PEERS as u64, 0));
    Ok(())
}

#[test]
fn what_is_sent_before_the_connection_is_closed_is_delivered() -> Result<(), Broken> {
    let (mut simulation, peers, _) = world(2)?;
    peers[0].send(&frame("none"));
    peers[0].finish();
    peers[1].send(&frame("close"));
    simulation.run_for(SECOND)?;
    for peer in peers {
        assert_eq!((peer.take_received(), peer.end()), (frame("bye"), Some(End::Finished)));
    }
    assert_eq!(is_stale(&simulation), 0);
    Ok(())
}

/// What was owed is settled, and behind that nothing is: but in the same queue there is one more message.
#[test]
fn what_is_sent_beside_the_last_reply_that_is_owed_is_delivered() -> Result<(), Broken> {
    let (mut simulation, peers, _) = world(2)?;
    peers[0].send(&frame("later"));
    peers[0].finish();
    simulation.run_for(SECOND)?;
    assert_eq!(peers[0].end(), None, "it is owed something");
    peers[1].send(&frame("settle"));
    simulation.run_for(SECOND)?;
    assert_eq!(peers[0].take_received(), [frame("last"), frame("bye")].concat());
    assert_eq!((peers[0].end(), is_stale(&simulation)), (Some(End::Finished), 0));
    Ok(())
}

/// By another thread, and by the processor's own, in the middle of a cycle.
#[test]
fn what_is_sent_before_a_connection_is_closed_from_outside_is_delivered() -> Result<(), Broken> {
    for on_its_thread in [false, true] {
        let (mut simulation, peers, opened) = world(2)?;
        let (proxy, other) = (simulation.proxy(), opened.lock()[0]);
        if on_its_thread {
            peers[1].send(&frame("kick"));
        } else {
            assert_eq!(proxy.send(other, "bye"), Ok(()));
            proxy.close(other);
            assert_eq!(proxy.send(other, "late"), Ok(()), "and dropped");
        }
        // Longer than it lingers.
        simulation.run_for(5 * SECOND)?;
        assert_eq!((peers[0].take_received(), peers[0].end()), (frame("bye"), Some(End::Finished)));
        assert_eq!((peers[1].take_received(), peers[1].end()), (vec![], None), "nobody has closed this one");
        assert_eq!((simulation.metrics().closed_by(CloseKind::User), is_stale(&simulation)), (1, 1));
        // Its successor in the table has not been asked.
        let next = simulation.connect(Weather::calm()).expect("there is room");
        proxy.close(other);
        simulation.run_for(SECOND)?;
        assert_eq!(next.end(), None);
    }
    Ok(())
}

#[test]
fn a_connection_that_is_closed_from_outside_is_given_what_it_is_owed() -> Result<(), Broken> {
    let (mut simulation, peers, opened) = world(2)?;
    peers[0].send(&frame("later"));
    simulation.run_for(SECOND)?;
    simulation.proxy().close(opened.lock()[0]);
    // It is not decoded any more.
    peers[0].send(&frame("nobody says this"));
    simulation.run_for(SECOND)?;
    assert_eq!(peers[0].end(), None, "it is owed something");
    peers[1].send(&frame("settle"));
    simulation.run_for(SECOND)?;
    assert_eq!((peers[0].take_received(), peers[0].end()), (frame("last"), Some(End::Finished)));
    Ok(())
}

#[test]
fn the_last_message_is_taken_by_one_that_is_too_slow_for_others() -> Result<(), Broken> {
    let (mut simulation, peers, opened) = world(2)?;
    let (proxy, opened) = (simulation.proxy(), opened.lock().clone());
    let (slow, gone) = (opened[0], opened[1]);
    peers[0].set_reading(Reading::Stalled);
    let large: Arc<[u8]> = vec![b'y'; 1 << 20].into();
    assert_eq!(proxy.send(slow, Arc::clone(&large)), Ok(()));
    peers[1].reset();
    simulation.run_for(SECOND)?;
    assert_eq!(proxy.send(slow, "more"), Err(SendError::PeerTooSlow));
    assert_eq!((proxy.close_with(slow, "bye"), proxy.close_with(gone, "bye")), (Ok(()), Ok(())));
    assert_eq!(proxy.close_with(slow, "bye, once more"), Ok(()), "and dropped");
    peers[0].set_reading(Reading::Free);
    simulation.run_for(SECOND)?;
    let all = [&(large.len() as u32).to_be_bytes()[..], &large, &frame("bye")].concat();
    assert!(peers[0].take_received() == all && peers[0].end() == Some(End::Finished));
    Ok(())
}

/// It is the message that closes: `close` takes effect behind the turn.
#[test]
fn who_is_closed_by_its_own_message_is_answered_what_came_with_it() -> Result<(), Broken> {
    let (mut simulation, peers, _) = world(1)?;
    peers[0].send(&[frame("kick"), frame("none")].concat());
    simulation.run_for(SECOND)?;
    assert_eq!((peers[0].take_received(), peers[0].end()), (frame("bye"), Some(End::Finished)));
    assert_eq!(simulation.metrics().messages_in, 2);
    Ok(())
}

/// Others wait for a segment, and hold nobody up.
#[test]
fn who_was_sent_nothing_is_closed_at_once_by_a_shutdown() -> Result<(), Broken> {
    let (mut simulation, _peers, opened) = world_without_segments(3)?;
    let (proxy, opened) = (simulation.proxy(), opened.lock().clone());
    assert_eq!(proxy.send(opened[1], "bye"), Ok(()));
    simulation.ask_to_shut_down(10 * SECOND, Finish::Answer);
    simulation.run_for(SECOND / 1000)?;
    let closed: Vec<_> = simulation.closed().iter().map(|closed| closed.connection).collect();
    assert_eq!(closed, [opened[2]]);
    Ok(())
}

#[test]
fn a_last_message_without_room_closes_all_the_same() -> Result<(), Broken> {
    let mut config = Config::default();
    config.unasked_max = 1;
    let (mut simulation, peers, opened) = world_of(config, 3)?;
    let (proxy, opened) = (simulation.proxy(), opened.lock().clone());
    assert_eq!(proxy.send(opened[2], "first"), Ok(()));
    assert_eq!(proxy.close_with(opened[0], "bye"), Err(SendError::OutboxFull));
    let too_long = proxy.close_with(opened[1], vec![b'x'; 2 << 20]);
    assert!(matches!(too_long, Err(SendError::Encode(_))), "{too_long:?}");
    simulation.run_for(SECOND)?;
    for peer in &peers[..2] {
        assert_eq!((peer.take_received(), peer.end()), (vec![], Some(End::Finished)));
    }
    assert_eq!((peers[2].take_received(), peers[2].end()), (frame("first"), None));
    Ok(())
}

/// One has all segments that there are, and the messages for the others have to wait in the outbox.
#[test]
fn what_was_sent_is_delivered_although_there_was_no_segment_for_it() -> Result<(), Broken> {
    for finish in [None, Some(Finish::Answer), Some(Finish::ReadOut)] {
        let (mut simulation, peers, opened) = world_without_segments(4)?;
        let (proxy, opened) = (simulation.proxy(), opened.lock().clone());
        opened[1..3].iter().for_each(|id| assert_eq!(proxy.send(*id, "bye"), Ok(())));
        let end = |peer: &SimPeer| (peer.take_received(), peer.end());
        let metrics = match finish {
            None => {
                [&peers[1], &peers[3]].into_iter().for_each(SimPeer::finish);
                proxy.close(opened[2]);
                simulation.run_for(SECOND / 100)?;
                for peer in &peers[1..3] {
                    assert_eq!(end(peer), (vec![], None), "{}", simulation.describe());
                }
                assert_eq!(peers[3].end(), Some(End::Finished), "it was sent nothing");
                simulation.run_for(5 * SECOND)?;
                simulation.metrics()
            }
            Some(finish) => simulation.shutdown(10 * SECOND, finish)?.metrics,
        };
        assert_eq!(end(&peers[3]), (vec![], Some(End::Finished)), "{finish:?}");
        for peer in &peers[1..3] {
            assert_eq!(end(peer), (frame("bye"), Some(End::Finished)), "{finish:?}");
        }
        assert_eq!(metrics.messages_dropped[DropReason::Stale as usize], 0, "{finish:?}");
    }
    Ok(())
}

/// Its end is not in good order, although it begins in the same cycle.
#[test]
fn nothing_is_sent_to_one_that_is_refused() -> Result<(), Broken> {
    let (mut simulation, peers, _) = world(2)?;
    peers[0].send(&frame("all"));
    // Longer than a message may be.
    peers[1].send(&u32::MAX.to_be_bytes());
    simulation.run_for(SECOND)?;
    assert_eq!((peers[0].take_received(), peers[1].take_received()), (frame("bye"), vec![]));
    assert_eq!(is_stale(&simulation), 1);
    Ok(())
}

/// It takes nothing, and is owed a reply; or is ending already, and would do so for as long as it takes nothing.
#[test]
fn a_connection_that_is_aborted_is_gone_at_once_with_all_that_waits_for_it() -> Result<(), Broken> {
    for closes_before in [false, true] {
        let (mut simulation, peers, opened) = world(2)?;
        let (proxy, slow) = (simulation.proxy(), opened.lock()[0]);
        peers[0].send(&frame("later"));
        peers[0].set_reading(Reading::Stalled);
        simulation.run_for(SECOND)?;
        assert_eq!(proxy.send(slow, vec![b'y'; 1 << 20]), Ok(()));
        if closes_before {
            proxy.close(slow);
        }
        simulation.run_for(SECOND)?;
        assert_eq!((simulation.open(), proxy.undelivered(slow) > 0), (2, true));
        proxy.abort(slow);
        simulation.run_for(SECOND / 100)?;
        assert_eq!((simulation.open(), proxy.undelivered(slow)), (1, 0));
        assert_eq!(simulation.metrics().closed_by(CloseKind::User), 1);
        // The reply is settled all the same, and nobody gets it; nor does its successor go with it.
        let next = simulation.connect(Weather::calm()).expect("there is room");
        simulation.run_for(SECOND / 10)?;
        let newcomer = *opened.lock().last().expect("three");
        assert_eq!(newcomer.slot(), slow.slot(), "it has its place");
        peers[1].send(&frame("settle"));
        proxy.abort(slow);
        simulation.run_for(SECOND)?;
        assert_eq!((next.take_received(), next.end(), peers[1].end()), (vec![], None, None));
        simulation.shutdown(SECOND, Finish::Answer)?;
    }
    Ok(())
}
