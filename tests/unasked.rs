//! What is written to a connection unasked, when the connection has ended, and when no room can ever be enough.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sluicegate::sim::{Broken, End, Reading, SimPeer, Simulation, Weather};
use sluicegate::{
    After, CloseKind, Config, ConnectionId, Decode, Deferred, DropReason, Encode, EncodeError, Message,
    MessageProcessor, Outbound, Peer, Protocol, ProtocolError, Reply, SendError, TierConfig, WriteProxy,
};

const SECOND: Duration = Duration::from_secs(1);
const STALE: usize = DropReason::Stale as usize;

/// Messages of one byte; answers in the pieces in which they are given.
#[derive(Clone)]
struct Pieces<const IN_ORDER: bool = true>;

impl<const IN_ORDER: bool> Protocol for Pieces<IN_ORDER> {
    type Layout = ();
    type Exchange = ();
    // So a socket that breaks is closed at once.
    const IN_ORDER: bool = IN_ORDER;

    fn message_max(&self) -> usize {
        1
    }

    fn decode(&mut self, _: &mut [u8]) -> Result<Decode<()>, ProtocolError> {
        Ok(Decode::Complete { consumed: 1, layout: () })
    }

    fn exchange(_: &()) {}
}

/// So many shared pieces, and copied bytes behind them.
#[derive(Clone, Copy)]
struct Said {
    shared: usize,
    copied: usize,
}

impl<const IN_ORDER: bool> Encode<Said> for Pieces<IN_ORDER> {
    fn encode((): (), item: Said, out: &mut Outbound) -> Result<After, EncodeError> {
        let piece: Arc<[u8]> = vec![b's'; 100_000].into();
        (0..item.shared).for_each(|_| out.put_shared(Arc::clone(&piece)));
        out.put(&vec![b'c'; item.copied]);
        Ok(After::KeepOpen)
    }
}

/// Settles what is owed, and says nothing.
#[derive(Clone)]
struct Silent;

impl<const IN_ORDER: bool> Encode<Silent> for Pieces<IN_ORDER> {
    fn encode((): (), _: Silent, _: &mut Outbound) -> Result<After, EncodeError> {
        Ok(After::KeepOpen)
    }
}

/// The end of a connection.
struct Final;

impl<const IN_ORDER: bool> Encode<Final> for Pieces<IN_ORDER> {
    fn encode((): (), _: Final, out: &mut Outbound) -> Result<After, EncodeError> {
        out.put(b"the end");
        Ok(After::Close)
    }
}

type Promised<const IN_ORDER: bool> = Arc<Mutex<Vec<Deferred<Pieces<IN_ORDER>>>>>;

struct User<const IN_ORDER: bool> {
    opened: Arc<Mutex<Vec<ConnectionId>>>,
    promised: Promised<IN_ORDER>,
}

impl<const IN_ORDER: bool> MessageProcessor<Pieces<IN_ORDER>> for User<IN_ORDER> {
    fn process(&mut self, _: Message<'_, Pieces<IN_ORDER>>, reply: Reply<'_, Pieces<IN_ORDER>>) {
        self.promised.lock().push(reply.defer());
    }

    fn opened(&mut self, peer: &Peer, _: &WriteProxy<Pieces<IN_ORDER>>) {
        self.opened.lock().push(peer.connection);
    }
}

type World<const IN_ORDER: bool = true> =
    (Simulation<Pieces<IN_ORDER>, User<IN_ORDER>>, WriteProxy<Pieces<IN_ORDER>>, Arc<Mutex<Vec<ConnectionId>>>);

fn world(config: Config) -> World {
    world_of(config)
}

fn world_of<const IN_ORDER: bool>(config: Config) -> World<IN_ORDER> {
    let opened = Arc::default();
    let user = User { opened: Arc::clone(&opened), promised: Arc::default() };
    let simulation = Simulation::new(1, config, Pieces, |_, _| user).expect("the settings fit");
    let proxy = simulation.proxy();
    (simulation, proxy, opened)
}

/// A world whose user promises an answer to the first of `peers`; the promise, and who they are.
type Promising = (Simulation<Pieces<false>, User<false>>, Deferred<Pieces<false>>, Vec<SimPeer>, Vec<ConnectionId>);

fn promising(config: Config, peers: usize) -> Result<Promising, Broken> {
    let (opened, promised) = (Arc::default(), Promised::<false>::default());
    let user = User { opened: Arc::clone(&opened), promised: Arc::clone(&promised) };
    let mut simulation = Simulation::new(1, config, Pieces, |_, _| user).expect("the settings fit");
    let peers: Vec<_> = (0..peers).map(|_| simulation.connect(Weather::calm()).expect("there is room")).collect();
    peers[0].send(b"?");
    simulation.run_for(SECOND)?;
    let (promise, ids) = (promised.lock().pop().expect("it has asked"), opened.lock().clone());
    Ok((simulation, promise, peers, ids))
}

fn small(copied: usize) -> Said {
    Said { shared: 0, copied }
}

/// One that has gone, whose id is still known, and one that has come to its place; the second takes nothing.
fn gone_and_newcomer(world: &mut World) -> Result<(ConnectionId, ConnectionId, SimPeer), Broken> {
    let (simulation, _, opened) = world;
    let first = simulation.connect(Weather::calm()).expect("there is room");
    simulation.run_for(SECOND)?;
    first.finish();
    simulation.run_for(SECOND)?;
    let second = simulation.connect(Weather { send_buffer: 1, ..Weather::calm() }).expect("there is room");
    second.stall();
    simulation.run_for(SECOND)?;
    let opened = opened.lock().clone();
    assert_eq!(opened[0].slot(), opened[1].slot(), "the same place");
    Ok((opened[0], opened[1], second))
}

#[test]
fn ends_once_what_is_sent_to_who_has_gone_is_not_charged_to_its_successor() -> Result<(), Broken> {
    let mut world = world(Config::default());
    let (gone, newcomer, peer) = gone_and_newcomer(&mut world)?;
    let (simulation, proxy, _) = &mut world;
    let high = Config::default().watermarks.high;
    (0..4).for_each(|_| assert_eq!(proxy.send(gone, small(high / 2)), Ok(())));
    assert_eq!(proxy.undelivered(newcomer), 0);
    assert_eq!(proxy.send(newcomer, small(10)), Ok(()), "nothing waits for it");
    peer.set_reading(Reading::Free);
    simulation.run_for(SECOND)?;
    assert_eq!(peer.received(), 10);
    let metrics = simulation.metrics();
    assert_eq!((metrics.messages_dropped[STALE], metrics.bytes_dropped[STALE]), (4, 0), "nothing was encoded");
    Ok(())
}

#[test]
fn ends_once_who_has_gone_takes_everything_while_its_successor_is_full() -> Result<(), Broken> {
    let mut world = world(Config::default());
    let (gone, newcomer, _peer) = gone_and_newcomer(&mut world)?;
    let (simulation, proxy, _) = &mut world;
    while proxy.send(newcomer, small(100_000)).is_ok() {
        simulation.run_for(SECOND / 100)?;
    }
    let undelivered = proxy.undelivered(newcomer);
    assert_eq!(proxy.send(gone, small(10)), Ok(()));
    assert_eq!((proxy.undelivered(gone), proxy.undelivered(newcomer)), (0, undelivered));
    Ok(())
}

/// Whoever is told to try again would do so for ever.
#[test]
fn ends_once_who_has_gone_takes_everything_while_no_block_is_free() -> Result<(), Broken> {
    let mut config = Config::default();
    config.outbound = config.outbound.map(|tier| TierConfig { count: 1, ..tier });
    (config.watermarks.high, config.timeouts.famine) = (16 << 20, 3600 * SECOND);
    let mut world = world(config);
    let (gone, newcomer, _peer) = gone_and_newcomer(&mut world)?;
    let (_, proxy, _) = &mut world;
    // Each holds a block until the processor has seen it.
    while proxy.send(newcomer, small(10)).is_ok() {}
    assert_eq!((proxy.send(newcomer, small(10)), proxy.send(gone, small(10))), (Err(SendError::OutboxFull), Ok(())));
    proxy.close(newcomer);
    assert_eq!(proxy.send(newcomer, small(10)), Ok(()), "nor does who was asked to close take any");
    Ok(())
}

#[test]
fn ends_once_who_never_was_takes_everything_too() {
    let (simulation, proxy, _) = world(Config::default());
    let nobody = ConnectionId::new(0, u32::MAX, 1);
    assert_eq!((proxy.send(nobody, small(10)), proxy.undelivered(nobody)), (Ok(()), 0));
    assert_eq!(simulation.metrics().messages_dropped[STALE], 1);
}

/// It was alive when the message was sent, and is not when that is taken; by then somebody else is in its place.
#[test]
fn ends_once_what_is_on_its_way_to_who_goes_is_not_charged_to_its_successor() -> Result<(), Broken> {
    let (mut simulation, proxy, opened) = world(Config::default());
    let weather = Weather { delay_max: Duration::ZERO, ..Weather::calm() };
    let first = simulation.connect(weather).expect("there is room");
    simulation.run_for(SECOND)?;
    let gone = opened.lock()[0];
    assert_eq!(proxy.send(gone, small(1000)), Ok(()));
    assert_eq!((simulation.metrics().open, simulation.metrics().messages_dropped[STALE]), (1, 0), "it is on its way");
    // In one cycle it hears of the reset, takes the newcomer, and then the message.
    first.reset();
    let second = simulation.connect(weather).expect("there is room");
    second.stall();
    simulation.run_for(SECOND)?;
    let newcomer = opened.lock()[1];
    assert_eq!((newcomer.slot(), proxy.undelivered(newcomer)), (gone.slot(), 0));
    assert_eq!((simulation.metrics().messages_dropped[STALE], second.received()), (1, 0));
    Ok(())
}

/// Behind three pieces that are not copied an unasked message has one block left: what no block holds never fits, and
/// the caller is not told to try again.
#[test]
fn a_message_that_can_never_fit_is_an_error_and_not_a_full_outbox() -> Result<(), Broken> {
    let mut config = Config::default();
    config.watermarks.high = 16 << 20;
    let (mut simulation, proxy, opened) = world(config.clone());
    let peer = simulation.connect(Weather { receive_buffer: 64 << 20, ..Weather::calm() }).expect("there is room");
    simulation.run_for(SECOND)?;
    let connection = opened.lock()[0];
    let fits = config.outbound[2].size + sluicegate::HEADROOM;
    assert!(fits < config.reply_max, "the answer as such is not too long");
    for (shared, copied, taken) in
        [(3, fits, true), (3, fits + 1, false), (2, fits + 1, true), (3, config.reply_max, false)]
    {
        let sent = proxy.send(connection, Said { shared, copied });
        if taken {
            assert_eq!(sent, Ok(()), "{copied} behind {shared}")
        } else {
            assert!(matches!(sent, Err(SendError::Encode(_))), "{copied} behind {shared}: {sent:?}")
        }
        simulation.run_for(SECOND)?;
    }
    assert_eq!(peer.received(), 5 * 100_000 + 2 * fits + 1);
    Ok(())
}

/// What would fit, if others had not taken the blocks, may be tried again.
#[test]
fn a_message_that_finds_no_block_now_is_a_full_outbox() -> Result<(), Broken> {
    let mut config = Config::default();
    config.outbound[2] = TierConfig { count: 1, ..config.outbound[2] };
    config.watermarks.high = 16 << 20;
    let (mut simulation, proxy, opened) = world(config.clone());
    let peer = simulation.connect(Weather { send_buffer: 1, ..Weather::calm() }).expect("there is room");
    peer.stall();
    simulation.run_for(SECOND)?;
    let connection = opened.lock()[0];
    let large = Said { shared: 3, copied: config.outbound[2].size };
    assert_eq!(proxy.send(connection, large), Ok(()));
    assert_eq!(proxy.send(connection, large), Err(SendError::OutboxFull));
    Ok(())
}

/// What comes home stays where whoever writes unasked finds it: that never waits for what is at rest elsewhere.
#[test]
fn a_small_pool_is_not_used_up_by_messages_that_were_delivered() -> Result<(), Broken> {
    for counts in [[1, 1, 1], [4, 2, 1], [16, 4, 1]] {
        let mut config = Config::default();
        config.outbound.iter_mut().zip(counts).for_each(|(tier, count)| tier.count = count);
        let (mut simulation, proxy, opened) = world(config);
        let _peer = simulation.connect(Weather::calm()).expect("there is room");
        simulation.run_for(SECOND)?;
        let reader = opened.lock()[0];
        for number in 0..100 {
            assert_eq!(proxy.send(reader, small(10)), Ok(()), "message {number} with {counts:?} blocks");
            simulation.run_for(SECOND / 10)?;
        }
    }
    Ok(())
}

/// Also if the end has begun already: the peer has half-closed, and is owed a reply.
#[test]
fn ends_once_nothing_is_sent_behind_the_final_message() -> Result<(), Broken> {
    for half_closed in [false, true] {
        let (mut simulation, proxy, opened) = world_of::<false>(Config::default());
        let peer = simulation.connect(Weather::calm()).expect("there is room");
        if half_closed {
            peer.send(b"?");
            peer.finish();
        }
        simulation.run_for(SECOND)?;
        let id = opened.lock()[0];
        assert_eq!(
            [proxy.send(id, small(1)), proxy.send(id, Final), proxy.send(id, small(1))],
            [Ok(()), Ok(()), Ok(())]
        );
        simulation.run_for(SECOND / 10)?;
        assert_eq!((&*peer.take_received(), simulation.metrics().messages_dropped[STALE]), (&b"cthe end"[..], 1));
    }
    Ok(())
}

/// Its peer has nothing to take, so there is nothing for which it is too slow.
#[test]
fn clocks_a_message_without_bytes_keeps_nobody_waiting() -> Result<(), Broken> {
    let mut config = Config::default();
    config.timeouts.idle = 40 * SECOND;
    let (mut simulation, promise, _peers, ids) = promising(config, 3)?;
    let proxy = simulation.proxy();
    assert_eq!(proxy.send(ids[1], Silent), Ok(()));
    let missed: Vec<_> = proxy.broadcast(ids[2..].iter().copied(), Silent).expect("it can be encoded");
    assert_eq!(missed, []);
    simulation.run_for(35 * SECOND)?;
    assert_eq!(simulation.open(), 3, "longer than `write_stall`");
    simulation.run_for(10 * SECOND)?;
    assert_eq!(simulation.metrics().closed_by(CloseKind::Idle), 2, "one is owed a reply");
    promise.send(Silent);
    simulation.run_for(35 * SECOND)?;
    assert_eq!(simulation.open(), 1, "its idle time begins with the reply");
    simulation.run_for(10 * SECOND)?;
    assert_eq!(simulation.metrics().closed_by(CloseKind::Idle), 3);
    Ok(())
}

/// The two come by different queues; what closes would be the end for what was sent before it.
#[test]
fn what_was_sent_before_the_final_answer_is_delivered_before_it() -> Result<(), Broken> {
    for (asks_to_close, segments_max) in [(false, 32_768), (true, 32_768), (true, 17)] {
        let mut config = Config::default();
        (config.segments_max, config.watermarks.high) = (segments_max, 64 << 20);
        let (mut simulation, promise, peers, ids) = promising(config, 2)?;
        let proxy = simulation.proxy();
        // These take four segments each. With few of them, there are enough left for one answer, and not for two.
        peers[1].set_reading(Reading::Stalled);
        (0..3).for_each(|_| assert_eq!(proxy.send(ids[1], Said { shared: 4, copied: 0 }), Ok(())));
        simulation.run_for(SECOND / 100)?;
        (0..10).for_each(|_| assert_eq!(proxy.send(ids[0], small(1)), Ok(())));
        if asks_to_close {
            proxy.close(ids[0]);
        }
        promise.send(Final);
        simulation.run_for(SECOND / 5)?;
        let text = String::from_utf8_lossy(&peers[0].take_received()).into_owned();
        assert_eq!((text.as_str(), peers[0].end()), ("ccccccccccthe end", Some(End::Finished)), "{segments_max}");
    }
    Ok(())
}

/// The message before it has taken the last segment, so the answer waits until that is delivered, and not longer.
#[test]
fn liveness_a_final_answer_that_was_held_back_is_not_slept_over() -> Result<(), Broken> {
    let mut config = Config::default();
    (config.segments_max, config.watermarks.high) = (17, 64 << 20);
    let (mut simulation, promise, peers, ids) = promising(config, 2)?;
    let proxy = simulation.proxy();
    peers[1].set_reading(Reading::Stalled);
    // Its kernel takes the first piece, and twelve of the others and one more leave four segments.
    for shared in [4, 4, 4, 2] {
        assert_eq!(proxy.send(ids[1], Said { shared, copied: 0 }), Ok(()));
        simulation.run_for(SECOND / 1000)?;
    }
    assert_eq!(proxy.send(ids[0], small(1)), Ok(()));
    promise.send(Final);
    simulation.run_for(SECOND / 100)?;
    assert_eq!(String::from_utf8_lossy(&peers[0].take_received()), "cthe end", "{}", simulation.describe());
    Ok(())
}
