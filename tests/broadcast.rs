//! One message to many connections: encoded once, one copy for all, and who is slow pays for it alone.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sluicegate::length_prefixed::Framed;
use sluicegate::sim::{Broken, Reading, SimPeer, Simulation, Weather};
use sluicegate::{
    CloseKind, Config, ConnectionId, DropReason, EncodeError, LengthPrefixed, Message, MessageProcessor, Peer, Reply,
    SendError, WriteProxy,
};

const SECOND: Duration = Duration::from_secs(1);

/// Remembers who is there, and says everything that it hears to all of them.
#[derive(Clone, Default)]
struct Room(Arc<Mutex<Vec<ConnectionId>>>);

impl MessageProcessor<LengthPrefixed> for Room {
    fn process(&mut self, message: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>) {
        let refused = reply.proxy().broadcast(self.everybody(), message.payload());
        assert_eq!(refused, Ok(vec![]));
        reply.none();
    }

    fn opened(&mut self, peer: &Peer, _: &WriteProxy<LengthPrefixed>) {
        self.0.lock().push(peer.connection);
    }
}

impl Room {
    fn everybody(&self) -> Vec<ConnectionId> {
        self.0.lock().clone()
    }
}

fn frame(payload: &[u8]) -> Vec<u8> {
    [&(payload.len() as u32).to_be_bytes(), payload].concat()
}

/// Few blocks, and many peers.
fn narrow() -> Config {
    let mut config = Config::default();
    (config.outbound[0].count, config.outbound[1].count, config.outbound[2].count) = (8, 1, 1);
    config
}

type World = (Simulation<LengthPrefixed, Room>, Vec<SimPeer>, Room);

fn world(config: Config, peers: usize) -> Result<World, Broken> {
    let room = Room::default();
    let (user, protocol) = (room.clone(), LengthPrefixed::default());
    let mut simulation =
        Simulation::new_with(1, config, protocol, move |_, _, _| user.clone()).expect("the settings fit");
    let mut all = Vec::new();
    while all.len() < peers {
        match simulation.connect(Weather::calm()) {
            Some(peer) => all.push(peer),
            // More than wait to be taken at once.
            None => simulation.run_for(SECOND / 1000)?,
        }
    }
    simulation.run_for(SECOND)?;
    Ok((simulation, all, room))
}

#[test]
fn a_message_to_many_takes_one_block() -> Result<(), Broken> {
    let (mut simulation, peers, room) = world(narrow(), 500)?;
    let (proxy, everybody) = (simulation.proxy(), room.everybody());
    for text in ["one", "two", "three"] {
        assert_eq!(proxy.broadcast(everybody.iter().copied(), text), Ok(vec![]));
    }
    simulation.run_for(SECOND)?;
    let said = [frame(b"one"), frame(b"two"), frame(b"three")].concat();
    assert!(peers.iter().all(|peer| peer.take_received() == said));
    assert!(simulation.metrics().outbound_blocks_high[0] <= 4, "{}", simulation.metrics());
    // On the processor's thread as well.
    peers[7].send(&frame(b"four"));
    simulation.run_for(SECOND)?;
    assert!(peers.iter().all(|peer| peer.take_received() == frame(b"four")));
    assert_eq!(simulation.metrics().outbound_blocks[0], 0);
    Ok(())
}

#[test]
fn a_slow_peer_keeps_no_block_from_the_others() -> Result<(), Broken> {
    const MESSAGES: usize = 150;
    let mut config = narrow();
    config.watermarks.high = 1 << 20;
    let (mut simulation, peers, room) = world(config, 10)?;
    let (proxy, everybody) = (simulation.proxy(), room.everybody());
    let (stalled, others) = peers.split_first().expect("ten");
    // Fills both buffers between them.
    stalled.set_reading(Reading::Stalled);
    let body: Arc<[u8]> = vec![b'x'; 512 << 10].into();
    assert_eq!(proxy.send(everybody[0], Arc::clone(&body)), Ok(()));
    simulation.run_for(SECOND / 100)?;
    let text = [b'y'; 96];
    for _ in 0..MESSAGES {
        assert_eq!(proxy.broadcast(everybody.iter().copied(), &text[..]), Ok(vec![]));
        simulation.run_for(SECOND / 1000)?;
    }
    let said = frame(&text).repeat(MESSAGES);
    assert!(others.iter().all(|peer| peer.take_received() == said));
    // What it has not taken lies together: 15,000 bytes in four blocks, and one for the next answer.
    assert!(simulation.metrics().outbound_blocks[0] <= 5, "{}", simulation.metrics());
    stalled.set_reading(Reading::Free);
    simulation.run_for(SECOND)?;
    assert!(stalled.take_received() == [frame(&body), said].concat());
    Ok(())
}

/// Several messages wait when its socket pushes back for the first time.
#[test]
fn what_a_peer_has_not_taken_at_once_moves_together() -> Result<(), Broken> {
    let (mut simulation, _, room) = world(narrow(), 10)?;
    let narrow = Weather { send_buffer: 10, receive_buffer: 10, ..Weather::calm() };
    let slow = simulation.connect(narrow).expect("there is room");
    slow.set_reading(Reading::Stalled);
    simulation.run_for(SECOND / 100)?;
    let (proxy, everybody) = (simulation.proxy(), room.everybody());
    let texts: Vec<_> = (0..7).map(|number| [b'0' + number; 96]).collect();
    for text in &texts {
        assert_eq!(proxy.broadcast(everybody.iter().copied(), &text[..]), Ok(vec![]));
    }
    simulation.run_for(SECOND / 100)?;
    assert!(simulation.metrics().outbound_blocks[0] <= 2, "{}", simulation.metrics());
    slow.set_reading(Reading::Free);
    simulation.run_for(SECOND)?;
    assert!(slow.take_received() == texts.iter().flat_map(|text| frame(text)).collect::<Vec<_>>());
    Ok(())
}

/// The small blocks do not suffice for copies of what they have not taken.
#[test]
fn many_slow_peers_have_to_go_only_as_far_as_memory_is_short() -> Result<(), Broken> {
    const SLOW: usize = 200;
    let (mut simulation, peers, room) = world(Config::default(), SLOW + 1)?;
    let (proxy, everybody) = (simulation.proxy(), room.everybody());
    let (reads, stalled) = peers.split_last().expect("many");
    stalled.iter().for_each(|peer| peer.set_reading(Reading::Stalled));
    // Fills the buffers on the way to them.
    for id in &everybody[..SLOW] {
        assert_eq!(proxy.send(*id, Arc::<[u8]>::from(vec![b'x'; 257 << 10])), Ok(()));
        simulation.run_for(SECOND / 1000)?;
    }
    let mut missed = 0;
    for _ in 0..2000 {
        let refused = proxy.broadcast(everybody.iter().copied(), [b'y'; 96].to_vec()).expect("it is short");
        missed += usize::from(refused.iter().any(|(id, _)| *id == everybody[SLOW]));
        simulation.run_for(SECOND / 1000)?;
    }
    assert_eq!((missed, reads.received()), (0, 2000 * 100));
    // 40 MB are more than there is room for.
    let numbers = simulation.metrics();
    assert!(numbers.closed_by(CloseKind::EvictedOutbound) < 2 * SLOW as u64 / 3, "{numbers}");
    Ok(())
}

/// What is more than is copied lies in one block for three of them.
#[test]
fn who_shares_a_block_with_others_is_given_up_last() -> Result<(), Broken> {
    let mut config = Config::default();
    (config.outbound[0].count, config.outbound[1].count, config.outbound[2].count) = (8, 2, 2);
    let (mut simulation, peers, room) = world(config, 4)?;
    let (proxy, everybody) = (simulation.proxy(), room.everybody());
    peers.iter().for_each(|peer| peer.set_reading(Reading::Stalled));
    let large = vec![b'x'; 900_000];
    assert_eq!(proxy.broadcast(everybody[..3].iter().copied(), &large[..]), Ok(vec![]));
    simulation.run_for(SECOND / 100)?;
    assert_eq!(proxy.send(everybody[3], large), Ok(()));
    simulation.run_for(5 * SECOND)?;
    let closed: Vec<_> = simulation.closed().iter().map(|closed| closed.connection).collect();
    assert_eq!(closed, [everybody[3]], "{}", simulation.metrics());
    Ok(())
}

/// They stand still; the one whose output would free a block does not.
#[test]
fn who_shares_a_block_is_given_up_before_one_that_reads() -> Result<(), Broken> {
    let mut config = Config::default();
    (config.outbound[0].count, config.outbound[1].count, config.outbound[2].count) = (8, 2, 2);
    config.watermarks.high = 4 << 20;
    let (mut simulation, peers, room) = world(config, 2)?;
    let slow = Weather { send_buffer: 64, receive_buffer: 64, ..Weather::calm() };
    let reads = simulation.connect(slow).expect("there is room");
    reads.set_reading(Reading::Slow { bytes: 64, every: SECOND / 100 });
    peers.iter().for_each(|peer| peer.set_reading(Reading::Stalled));
    simulation.run_for(SECOND / 100)?;
    let (proxy, everybody) = (simulation.proxy(), room.everybody());
    assert_eq!(proxy.send(everybody[2], vec![b'x'; 100_000]), Ok(()));
    let large = vec![b'x'; 900_000];
    for _ in 0..2 {
        assert_eq!(proxy.broadcast(everybody[..2].iter().copied(), &large[..]), Ok(vec![]));
        simulation.run_for(SECOND / 100)?;
    }
    simulation.run_for(5 * SECOND)?;
    let mut closed: Vec<_> = simulation.closed().iter().map(|closed| closed.connection).collect();
    closed.sort();
    assert_eq!(closed, everybody[..2], "{}", simulation.metrics());
    assert!(simulation.metrics().bytes_outbound > 0, "there was something to free all the time");
    Ok(())
}

/// There is not one small block for each of them.
#[test]
fn a_crowd_of_slow_peers_holds_the_others_up_for_a_moment_only() -> Result<(), Broken> {
    const SLOW: usize = 1500;
    let mut config = Config::default();
    config.connections_max = SLOW + 1;
    let (mut simulation, peers, room) = world(config, SLOW + 1)?;
    let (proxy, everybody) = (simulation.proxy(), room.everybody());
    let (reads, stalled) = peers.split_last().expect("many");
    stalled.iter().for_each(|peer| peer.set_reading(Reading::Stalled));
    let body: Arc<[u8]> = vec![b'x'; 257 << 10].into();
    for some in everybody[..SLOW].chunks(100) {
        assert_eq!(proxy.broadcast(some.iter().copied(), Arc::clone(&body)), Ok(vec![]));
        simulation.run_for(SECOND / 1000)?;
    }
    for _ in 0..100 {
        // Nobody has room until the first of the crowd have been given up.
        let _refused = proxy.broadcast(everybody.iter().copied(), [b'y'; 96].to_vec()).expect("it is short");
        simulation.run_for(SECOND / 50)?;
    }
    assert!(reads.received() >= 90 * 100, "{} bytes", reads.received());
    Ok(())
}

/// A copy of its prefix would take a block and leave the body where it is.
#[test]
fn a_shared_body_is_not_copied_for_who_is_slow() -> Result<(), Broken> {
    let mut config = Config::default();
    config.watermarks.high = 1 << 20;
    let (mut simulation, peers, room) = world(config, 10)?;
    let (proxy, everybody) = (simulation.proxy(), room.everybody());
    peers.iter().for_each(|peer| peer.set_reading(Reading::Stalled));
    let body: Arc<[u8]> = vec![b'x'; 257 << 10].into();
    assert_eq!(proxy.broadcast(everybody.iter().copied(), body), Ok(vec![]));
    simulation.run_for(SECOND / 100)?;
    let body: Arc<[u8]> = vec![b'y'; 8 << 10].into();
    for _ in 0..20 {
        assert_eq!(proxy.broadcast(everybody.iter().copied(), Arc::clone(&body)), Ok(vec![]));
        simulation.run_for(SECOND / 1000)?;
    }
    // One for each message, and one for the next answer.
    assert!(simulation.metrics().outbound_blocks[0] <= 21, "{}", simulation.metrics());
    Ok(())
}

#[test]
fn a_copy_that_found_no_block_is_made_later() -> Result<(), Broken> {
    let mut config = Config::default();
    (config.outbound[0].count, config.outbound[1].count, config.outbound[2].count) = (3, 1, 1);
    let (mut simulation, peers, room) = world(config, 2)?;
    let (proxy, everybody) = (simulation.proxy(), room.everybody());
    peers.iter().for_each(|peer| peer.set_reading(Reading::Stalled));
    for id in &everybody {
        assert_eq!(proxy.send(*id, Arc::<[u8]>::from(vec![b'x'; 257 << 10])), Ok(()));
        simulation.run_for(SECOND / 100)?;
    }
    // One has the small and the medium blocks, but for a small one that the processor keeps at hand; the message to the
    // other lies in the large one.
    for _ in 0..3 {
        assert_eq!(proxy.send(everybody[0], [b'a'; 4000].to_vec()), Ok(()));
        simulation.run_for(SECOND / 100)?;
    }
    assert_eq!(proxy.broadcast([everybody[1]], "hello"), Ok(vec![]));
    simulation.run_for(SECOND / 100)?;
    assert_eq!(simulation.metrics().outbound_blocks, [3, 1, 1]);
    peers[0].reset();
    simulation.run_for(SECOND / 100)?;
    assert_eq!(proxy.broadcast([everybody[1]], "hello"), Ok(vec![]));
    simulation.run_for(SECOND / 100)?;
    assert_eq!(simulation.metrics().outbound_blocks, [2, 0, 0]);
    Ok(())
}

#[test]
fn who_takes_it_slowly_is_named_and_the_others_get_it() -> Result<(), Broken> {
    let mut config = Config::default();
    (config.watermarks.high, config.watermarks.low) = (1000, 500);
    let (mut simulation, peers, room) = world(config, 3)?;
    let (proxy, everybody) = (simulation.proxy(), room.everybody());
    peers[1].set_reading(Reading::Stalled);
    assert_eq!(proxy.send(everybody[1], vec![b'x'; 512 << 10]), Ok(()));
    let gone = everybody[2];
    peers[2].finish();
    simulation.run_for(5 * SECOND)?;
    assert_eq!(proxy.broadcast(everybody.iter().copied(), "hello"), Ok(vec![(everybody[1], SendError::PeerTooSlow)]));
    simulation.run_for(SECOND)?;
    assert_eq!((peers[0].take_received(), peers[2].take_received()), (frame(b"hello"), vec![]));
    let dropped = |reason| simulation.metrics().messages_dropped[reason as usize];
    assert_eq!((dropped(DropReason::PeerTooSlow), dropped(DropReason::Stale)), (1, 1), "{gone} is not there");
    assert_eq!(proxy.broadcast([gone], "hello"), Ok(vec![]), "nobody is slow");
    Ok(())
}

#[test]
fn without_a_block_for_it_nobody_has_taken_it() -> Result<(), Broken> {
    let (simulation, _, room) = world(narrow(), 20)?;
    let (proxy, everybody) = (simulation.proxy(), room.everybody());
    let took = everybody.iter().take_while(|id| proxy.send(**id, "one block each").is_ok()).count();
    assert_eq!(took, 8 + 1 + 1);
    let nobody = everybody.iter().map(|id| (*id, SendError::OutboxFull)).collect();
    assert_eq!(proxy.broadcast(everybody.iter().copied(), "hello"), Ok(nobody));
    Ok(())
}

#[test]
fn a_message_is_encoded_once_for_each_processor() -> Result<(), Broken> {
    for processors in [1, 2] {
        let mut config = Config::default();
        config.processors = processors;
        let (mut simulation, peers, room) = world(config, 10)?;
        let (proxy, everybody) = (simulation.proxy(), room.everybody());
        let encoded = Cell::new(0);
        let hello = Framed(|out| {
            encoded.set(encoded.get() + 1);
            out.put(b"hello");
        });
        assert_eq!(proxy.broadcast(everybody.iter().copied(), hello), Ok(vec![]));
        assert_eq!(encoded.get(), processors);
        simulation.run_for(SECOND)?;
        assert!(peers.iter().all(|peer| peer.take_received() == frame(b"hello")));
        assert_eq!(proxy.broadcast([], hello), Ok(vec![]));
        assert_eq!(encoded.get(), processors, "for nobody it is not encoded");
    }
    Ok(())
}

#[test]
fn what_can_not_be_encoded_is_sent_to_nobody() -> Result<(), Broken> {
    let (mut simulation, peers, room) = world(Config::default(), 3)?;
    let too_long = vec![b'x'; 2 << 20];
    let error = simulation.proxy().broadcast(room.everybody(), &too_long[..]).expect_err("no answer may be as long");
    assert!(matches!(error, EncodeError::ReplyTooLong { .. } | EncodeError::PayloadTooLong { .. }), "{error}");
    simulation.run_for(SECOND)?;
    assert!(peers.iter().all(|peer| peer.received() == 0));
    assert_eq!(simulation.metrics().outbound_blocks, [0, 0, 0]);
    Ok(())
}

/// All of them read, those that share a block slowest; somebody waits for room, and theirs would make none.
#[test]
fn who_reads_a_block_of_its_own_is_given_up_for_one_that_waits_before_slower_ones_that_share() -> Result<(), Broken> {
    let mut config = Config::default();
    (config.outbound[0].count, config.outbound[1].count, config.outbound[2].count) = (8, 1, 1);
    let ids = Arc::new(Mutex::new(Vec::new()));
    let known = Arc::clone(&ids);
    let echo = move |message: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>| {
        known.lock().push(message.peer().connection);
        match message.payload() {
            b"much" => reply.send(vec![b'x'; 900_000]),
            other => reply.send(other),
        }
    };
    let mut simulation = Simulation::new(1, config, LengthPrefixed::default(), |_, _| echo).expect("the settings fit");
    let slow = Weather { send_buffer: 64, receive_buffer: 64, ..Weather::calm() };
    let peers = [slow, slow, slow, slow, Weather::calm()].map(|weather| simulation.connect(weather).expect("room"));
    for (peer, bytes) in peers.iter().zip([8, 8, 8, 64, 64]) {
        peer.send(&frame(b"here"));
        simulation.run_for(SECOND / 10)?;
        peer.set_reading(Reading::Slow { bytes, every: SECOND / 100 });
    }
    let ids = ids.lock().clone();
    let large = vec![b'x'; 900_000];
    assert_eq!(simulation.proxy().broadcast(ids[..3].iter().copied(), &large[..]), Ok(vec![]));
    simulation.run_for(SECOND / 100)?;
    // The large block is taken, so its answer lies in the reserve, without which nobody is answered.
    peers[3].send(&frame(b"much"));
    simulation.run_for(SECOND / 100)?;
    let before = peers[4].received();
    peers[4].send(&frame(b"waits"));
    simulation.run_for(SECOND)?;
    let first = simulation.closed().first().map(|closed| closed.connection);
    assert_eq!((first, peers[4].received() - before), (Some(ids[3]), 9), "{}", simulation.metrics());
    Ok(())
}
