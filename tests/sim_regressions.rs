//! What the simulation has found, each with the shortest story that shows it, named by the law it broke; and what hides
//! too well among seeds, because a timer would put it right later.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sluicegate::http1::{Http1, Response};
use sluicegate::sim::{Broken, Network, Reading, SimPeer, SimWorkers, Simulation, Weather};
use sluicegate::{
    CloseKind, Config, Deferred, Finish, LengthPrefixed, Message, MessageProcessor, Reply, TierConfig, Timeouts,
};

const SECOND: Duration = Duration::from_secs(1);

type Promises = Arc<Mutex<Vec<Deferred<LengthPrefixed>>>>;

/// A simulation of `config` whose user is made of the network.
fn simulation<M: MessageProcessor<LengthPrefixed>>(
    config: Config,
    user: impl FnOnce(&Network, &SimWorkers) -> M,
) -> Simulation<LengthPrefixed, M> {
    let protocol = LengthPrefixed::new(config.inbound[2].size);
    Simulation::new(1, config, protocol, user).expect("the settings hold together")
}

fn frame(payload: &[u8]) -> Vec<u8> {
    [&(payload.len() as u32).to_be_bytes(), payload].concat()
}

/// The payloads that a peer has received since the last call.
fn received(peer: &SimPeer) -> Vec<Vec<u8>> {
    let bytes = peer.take_received();
    let mut rest = bytes.as_slice();
    let mut payloads = Vec::new();
    while let Some(prefix) = rest.first_chunk::<4>() {
        let (payload, behind) = rest[4..].split_at(u32::from_be_bytes(*prefix) as usize);
        payloads.push(payload.to_vec());
        rest = behind;
    }
    payloads
}

/// Answers at once, except what begins with `later`.
fn patient_user(promises: &Promises) -> impl FnMut(Message<'_, LengthPrefixed>, Reply<'_, LengthPrefixed>) + Send {
    let promises = Arc::clone(promises);
    move |message: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>| match message.payload() {
        b"later" => promises.lock().push(reply.defer()),
        payload => reply.send(payload),
    }
}

/// Several connections waited because too many replies were owed. Each settled reply resumed one; if that one deferred
/// nothing, the others waited for a reply that nobody owed any more.
#[test]
fn liveness_room_for_a_reply_goes_on_to_the_next_who_waits() -> Result<(), Broken> {
    let mut config = Config::default();
    (config.owed_max, config.owed_total_max) = (1, 1);
    let promises = Promises::default();
    let mut simulation = simulation(config, |_, _| patient_user(&promises));
    let peers: Vec<_> = (0..4).filter_map(|_| simulation.connect(Weather::calm())).collect();
    peers[0].send(&frame(b"later"));
    simulation.run_for(SECOND)?;
    peers[1..].iter().for_each(|peer| assert!(peer.send(&frame(b"now"))));
    simulation.run_for(SECOND)?;
    promises.lock().pop().expect("deferred").send(b"at last");
    simulation.run_for(SECOND)?;
    assert_eq!(received(&peers[0]), [b"at last"]);
    peers[1..].iter().for_each(|peer| assert_eq!(received(peer), [b"now"]));
    Ok(())
}

/// One medium block was set aside for the remainders of what is read, one for messages that their user keeps: with a
/// count of one, whoever needed one for a longer message waited for ever.
#[test]
fn liveness_the_block_set_aside_for_rests_is_given_to_whoever_waits() -> Result<(), Broken> {
    let mut config = Config::default();
    config.inbound = [(32, 4), (300, 1), (1500, 1)].map(|(size, count)| TierConfig { size, count });
    config.scratch = 544;
    let promises = Promises::default();
    let mut simulation = simulation(config, |_, _| patient_user(&promises));
    let peers: Vec<_> = (0..2).filter_map(|_| simulation.connect(Weather::calm())).collect();
    peers.iter().for_each(|peer| assert!(peer.send(&frame(&[b'a'; 700]))));
    simulation.run_for(SECOND)?;
    peers.iter().for_each(|peer| assert_eq!(received(peer), [[b'a'; 700]]));
    Ok(())
}

/// A connection that stood in line for room for a reply was resumed by a reply of its own, and then stood in the line
/// twice.
#[test]
fn memory_a_connection_has_one_place_in_the_line_for_replies() -> Result<(), Broken> {
    let mut config = Config::default();
    (config.connections_max, config.owed_total_max, config.owed_max) = (4, 4, 4);
    let promises = Promises::default();
    let mut simulation = simulation(config, |_, _| patient_user(&promises));
    let peers: Vec<_> = (0..4).filter_map(|_| simulation.connect(Weather::calm())).collect();
    peers[0].send(&frame(b"later").repeat(3));
    simulation.run_for(SECOND)?;
    peers.iter().for_each(|peer| assert!(peer.send(&frame(b"later").repeat(20))));
    simulation.run_for(SECOND)?;
    while let Some(promise) = { promises.lock().pop() } {
        promise.send(b"at last");
        simulation.run_for(SECOND / 100)?;
    }
    let answers: usize = peers.iter().map(|peer| received(peer).len()).sum();
    assert_eq!(answers, 83);
    Ok(())
}

type Kept = Arc<Mutex<Vec<Message<'static, LengthPrefixed>>>>;

/// Answers at once, and keeps each message that begins with `k`.
fn keeping_user(kept: &Kept) -> impl FnMut(Message<'_, LengthPrefixed>, Reply<'_, LengthPrefixed>) + Send {
    let kept = Arc::clone(kept);
    move |message: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>| {
        reply.send(&message.payload()[..1]);
        if message.payload().starts_with(b"k") {
            kept.lock().push(message.into_owned());
        }
    }
}

/// The only large block that could come free was held by a connection that waited for a spare, behind one that waited
/// for that very block.
#[test]
fn liveness_who_waits_for_a_spare_does_not_stand_behind_who_waits_for_its_block() -> Result<(), Broken> {
    let mut config = Config::default();
    config.inbound = [(32, 4), (300, 2), (1500, 1)].map(|(size, count)| TierConfig { size, count });
    config.scratch = 544;
    let kept = Kept::default();
    let mut simulation = simulation(config, |_, _| keeping_user(&kept));
    let [holder, waiter] = [(); 2].map(|()| simulation.connect(Weather::calm()).expect("there is room"));
    let (first, second) = (frame(&[b'k'; 1400]), frame(&[b'x'; 1400]));
    holder.send(&[&first, &second[..200]].concat());
    simulation.run_for(SECOND)?;
    assert_eq!(kept.lock().len(), 1, "the spare is in use");
    waiter.send(&frame(&[b'y'; 1400]));
    simulation.run_for(SECOND / 10)?;
    holder.send(&[&second[200..], &frame(b"z")].concat());
    simulation.run_for(SECOND / 10)?;
    kept.lock().clear();
    simulation.run_for(SECOND / 2)?;
    assert_eq!(received(&holder), [b"k", b"x", b"z"]);
    assert_eq!(received(&waiter), [b"y"]);
    Ok(())
}

/// A connection waited for a spare to hand its message over, and was not served while there was no block for a rest: it
/// held the last one itself.
#[test]
fn liveness_who_waits_for_a_spare_needs_no_block_besides() -> Result<(), Broken> {
    let mut config = Config::default();
    config.inbound = [(32, 1), (300, 1), (1500, 1)].map(|(size, count)| TierConfig { size, count });
    config.scratch = 544;
    let kept = Kept::default();
    let mut simulation = simulation(config, |_, _| keeping_user(&kept));
    let peer = simulation.connect(Weather::calm()).expect("there is room");
    peer.send(&[frame(b"keep").repeat(8), frame(b"x")].concat());
    simulation.run_for(SECOND)?;
    let received_first = received(&peer).len();
    assert!((1..8).contains(&received_first), "{received_first} answers: all spares are in use");
    while received(&peer).last().is_none_or(|last| last != b"x") {
        assert!(!kept.lock().is_empty(), "there is a spare, and nobody takes it");
        kept.lock().clear();
        simulation.run_for(SECOND)?;
    }
    Ok(())
}

/// Whoever came to wait for room in the last cycle before the server fell asleep had no famine time running: the server
/// slept until something else happened, however long that took.
#[test]
fn liveness_who_waits_for_room_is_timed_before_the_server_sleeps() -> Result<(), Broken> {
    let mut config = Config::default();
    config.outbound = [(32, 1), (300, 1), (1500, 1)].map(|(size, count)| TierConfig { size, count });
    let promises = Promises::default();
    let mut simulation = simulation(config, |_, _| patient_user(&promises));
    let narrow = Weather { send_buffer: 1, ..Weather::calm() };
    let slow: Vec<_> = (0..3).filter_map(|_| simulation.connect(narrow)).collect();
    let good = simulation.connect(Weather::calm()).expect("there is room");
    for peer in &slow {
        peer.stall();
        peer.send(&frame(&[b's'; 1400]));
    }
    // Their answers fill the blocks and the reserve, and do not move.
    simulation.run_for(SECOND / 2)?;
    good.send(&frame(b"good"));
    simulation.run_for(SECOND * 2)?;
    assert_eq!(received(&good), [b"good"], "{}", simulation.describe());
    Ok(())
}

/// Nobody but the memory is in the way: no timer would put right what is forgotten.
fn without_timers(tiers: [(usize, usize); 3]) -> Config {
    let mut config = Config::default();
    let off = Duration::ZERO;
    config.timeouts = Timeouts { idle: off, message: off, write_stall: off, reply: off, ..config.timeouts };
    config.inbound = tiers.map(|(size, count)| TierConfig { size, count });
    config.outbound = config.inbound;
    config
}

/// All blocks were kept by the user. The first that comes home goes to whoever waits, at once, and not when it is time
/// to look for somebody to evict.
#[test]
fn liveness_a_block_that_comes_home_wakes_who_waits() -> Result<(), Broken> {
    let mut config = without_timers([(32, 1), (300, 1), (1500, 1)]);
    config.timeouts.famine = 3600 * SECOND;
    config.scratch = 544;
    let kept = Kept::default();
    let mut simulation = simulation(config, |_, _| keeping_user(&kept));
    let peer = simulation.connect(Weather::calm()).expect("there is room");
    peer.send(&[frame(b"keep").repeat(8), frame(b"x")].concat());
    simulation.run_for(SECOND)?;
    let before = received(&peer).len();
    assert!((1..8).contains(&before), "{before} answers: all spares are in use");
    let release = Arc::clone(&kept);
    simulation.network().after(SECOND, move || release.lock().clear());
    simulation.run_for(2 * SECOND)?;
    assert!(!received(&peer).is_empty(), "blocks have come home, and nobody was woken");
    Ok(())
}

/// One peer reads nothing and has all outbound memory. Others are served all the same: its output is given up for them.
#[test]
fn liveness_output_that_stalls_is_given_up_for_others() -> Result<(), Broken> {
    let mut config = without_timers([(32, 1), (300, 1), (1500, 1)]);
    config.scratch = 544;
    config.reply_max = 2000;
    let big = |message: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>| {
        reply.send(vec![b'y'; message.payload().len() * 1000]);
    };
    let mut simulation = simulation(config, |_, _| big);
    let narrow = Weather { send_buffer: 10, ..Weather::calm() };
    let hogs: Vec<_> = (0..4).filter_map(|_| simulation.connect(narrow)).collect();
    for hog in &hogs {
        hog.stall();
        hog.send(&frame(b"a"));
    }
    simulation.run_for(SECOND / 2)?;
    let reader = simulation.connect(Weather::calm()).expect("there is room");
    reader.send(&frame(b"b"));
    simulation.run_for(30 * SECOND)?;
    assert_eq!(reader.received(), 1004, "the others read nothing");
    let evicted = simulation.closed().iter().filter(|closed| closed.kind == CloseKind::EvictedOutbound).count();
    assert!(evicted >= 1, "somebody gave up its output");
    Ok(())
}

/// Whoever came to wait for a block was not timed before something else woke the processor.
#[test]
fn liveness_a_famine_begins_when_somebody_waits() -> Result<(), Broken> {
    let mut config = without_timers([(32, 4), (300, 2), (1500, 1)]);
    config.scratch = 544;
    let kept = Kept::default();
    let mut simulation = simulation(config, |_, _| keeping_user(&kept));
    let [holder, waiter] = [(); 2].map(|()| simulation.connect(Weather::calm()).expect("there is room"));
    holder.send(&frame(&[b'x'; 1400])[..1300]);
    simulation.run_for(SECOND)?;
    waiter.send(&frame(&[b'y'; 1400]));
    simulation.run_for(10 * SECOND)?;
    let closed = simulation.closed();
    assert_eq!(closed[0].kind, CloseKind::EvictedInbound);
    assert!(closed[0].at < 6 * SECOND, "the famine time is a second: {closed:?}");
    assert_eq!(received(&waiter), [b"y"]);
    Ok(())
}

/// A whole message had waited for room and was about to be handed over; but in that cycle somebody else came first and
/// needed a small block, and it was taken from the connection that had received least of late: this one.
#[test]
fn liveness_who_waits_for_the_server_only_keeps_its_block() -> Result<(), Broken> {
    let mut config = Config::default();
    config.inbound = [(32, 4), (300, 4), (1500, 4)].map(|(size, count)| TierConfig { size, count });
    config.outbound = [(32, 1), (300, 1), (1500, 1)].map(|(size, count)| TierConfig { size, count });
    let promises = Promises::default();
    let mut simulation = simulation(config, |_, _| patient_user(&promises));
    let weather = Weather { delay_max: Duration::ZERO, ..Weather::calm() };
    let connect = |simulation: &Simulation<_, _>, count: usize, weather| {
        (0..count).filter_map(|_| simulation.connect(weather)).collect::<Vec<SimPeer>>()
    };
    let slow = connect(&simulation, 3, Weather { send_buffer: 1, ..weather });
    let (halves, late, good) =
        (connect(&simulation, 8, weather), connect(&simulation, 8, weather), connect(&simulation, 1, weather));
    let half = &frame(b"half a message")[..12];
    halves.iter().for_each(|peer| assert!(peer.send(half)));
    simulation.run_for(SECOND / 100)?;
    for peer in &slow {
        peer.stall();
        peer.send(&frame(&[b's'; 1400]));
    }
    simulation.run_for(SECOND / 100)?;
    good[0].send(&frame(b"good"));
    simulation.run_for(SECOND / 100)?;
    assert_eq!(good[0].received(), 0, "there is no room for its answer");

    let has_room = |simulation: &Simulation<_, _>| simulation.metrics().closed_by(CloseKind::EvictedOutbound) > 0;
    assert!(simulation.run_until(SECOND * 2, has_room)?, "nothing was given up");
    late.iter().for_each(|peer| assert!(peer.send(half)));
    simulation.run_for(SECOND / 100)?;
    assert_eq!(received(&good[0]), [b"good"], "{}", simulation.describe());
    Ok(())
}

/// A peer closed its side while a reply was owed to it, and then did not read the answer. What the user was told did
/// not depend on how much of the answer was cut off: "the peer closed its side, and everything it was owed was
/// delivered".
#[test]
fn ends_once_a_reason_that_promises_delivery_gives_way_to_what_cut_the_answer_short() -> Result<(), Broken> {
    let mut config = Config::default();
    config.timeouts.write_stall = SECOND;
    let promises = Promises::default();
    let mut simulation = simulation(config, |_, _| patient_user(&promises));
    let peers: Vec<_> =
        (0..3).filter_map(|_| simulation.connect(Weather { send_buffer: 10, ..Weather::calm() })).collect();
    for peer in &peers {
        peer.send(&frame(b"later"));
        peer.finish();
        simulation.run_for(SECOND / 10)?;
    }
    let [stalls, forgotten, served] = <[_; 3]>::try_from(promises.lock().split_off(0)).expect("three are deferred");
    peers[0].stall();
    stalls.send(vec![b'x'; 100]);
    drop(forgotten);
    served.send(vec![b'x'; 100]);
    simulation.run_for(5 * SECOND)?;
    let closed = simulation.closed();
    let kinds = peers.iter().map(|peer| closed.iter().find(|closed| closed.address == peer.address()));
    let kinds: Vec<_> = kinds.flatten().map(|closed| closed.kind).collect();
    assert_eq!(kinds, [CloseKind::WriteStalled, CloseKind::Unanswered, CloseKind::PeerClosed]);
    Ok(())
}

/// The peer had closed its side while it was owed a reply, which did not come in time either: the end that waited for
/// it was told so, and taken no further until that reply was settled after all.
#[test]
fn liveness_a_reply_that_does_not_come_holds_no_end_up() -> Result<(), Broken> {
    let promises = Promises::default();
    let mut simulation = simulation(Config::default(), |_, _| patient_user(&promises));
    let peer = simulation.connect(Weather::calm()).expect("there is room");
    peer.send(&frame(b"later"));
    peer.finish();
    simulation.run_for(50 * SECOND)?;
    assert_eq!((promises.lock().len(), simulation.open()), (1, 1), "it is owed a reply");
    simulation.run_for(20 * SECOND)?;
    let kinds: Vec<_> = simulation.closed().iter().map(|closed| closed.kind).collect();
    assert_eq!(kinds, [CloseKind::ReplyTimeout], "{}", simulation.describe());
    Ok(())
}

/// An empty line between requests is no beginning of one: a client that had sent one behind its request, and nothing
/// more, was told that it was too slow.
#[test]
fn clocks_an_empty_line_between_requests_is_no_message() -> Result<(), Broken> {
    let post =
        |length: usize| format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{}", "x".repeat(length));
    // Alone; behind a body in the scratch; behind one in a block, and read with it or after it.
    for (request, split) in
        [(String::new(), 0), (post(10), 0), (post(10), 20), (post(10_000), 9000), (post(500_000), 0)]
    {
        let user = |_: Message<'_, Http1>, reply: Reply<'_, Http1>| reply.send(Response::ok("done"));
        let mut simulation = Simulation::new(1, Config::default(), Http1::default(), |_, _| user).expect("they fit");
        let peer = simulation.connect(Weather::calm()).expect("there is room");
        let bytes = [request.as_bytes(), b"\r\n"].concat();
        peer.send(&bytes[..split]);
        simulation.run_for(SECOND)?;
        peer.send(&bytes[split..]);
        simulation.run_for(50 * SECOND)?;
        assert_eq!(simulation.open(), 1, "{} bytes and an empty line, {split} of them first", request.len());
        simulation.run_for(20 * SECOND)?;
        let kinds: Vec<_> = simulation.closed().iter().map(|closed| closed.kind).collect();
        assert_eq!(kinds, [CloseKind::Idle], "{} bytes and an empty line, {split} of them first", request.len());
    }
    Ok(())
}

/// The server shuts down when a processor can't sleep. Nobody told the accepter and the other processors, so it never
/// came to an end, and tried to sleep again and again.
#[test]
fn shutdown_a_selector_that_fails_is_the_end_of_the_whole_server() -> Result<(), Broken> {
    for processors in [1, 3] {
        let mut config = Config::default();
        config.processors = processors;
        let promises = Promises::default();
        let user = |_, _: &Network, _: &SimWorkers| patient_user(&promises);
        let mut simulation = Simulation::new_with(1, config, LengthPrefixed::default(), user).expect("they fit");
        let peers: Vec<_> = (0..9).filter_map(|_| simulation.connect(Weather::calm())).collect();
        peers.iter().for_each(|peer| assert!(peer.send(&frame(b"later"))));
        simulation.run_for(SECOND)?;
        assert_eq!(promises.lock().len(), 9);
        simulation.network().break_selector(processors - 1);
        while simulation.step()? {}
        promises.lock().clear();
        let report = simulation.shutdown(SECOND, Finish::Answer)?;
        assert_eq!(report.metrics.closed_by(CloseKind::Shutdown), 9, "{processors} processors");
        assert!(report.elapsed < 2 * SECOND, "nobody was waited for: {:?}", report.elapsed);
    }
    Ok(())
}

/// A timer that comes out while its connection waits for its next turn finds no deadline that runs. It must not be the
/// last one: whoever has had that turn is looked at again.
#[test]
fn clocks_a_deadline_that_passes_between_two_turns_is_not_lost() -> Result<(), Broken> {
    let mut config = without_timers([(32, 4), (300, 4), (1500, 4)]);
    config.timeouts = Timeouts { message: SECOND, message_rate: 0, linger: SECOND / 100, ..config.timeouts };
    config.turn.bytes = 1;
    let promises = Promises::default();
    let mut simulation = simulation(config, |_, _| patient_user(&promises));
    let peer = simulation.connect(Weather { delay_max: Duration::ZERO, ..Weather::calm() }).expect("there is room");
    peer.send(&frame(&[b'x'; 100])[..5]);
    simulation.run_for(SECOND / 2)?;
    // The time is over in the very cycle in which more bytes come than one turn may read.
    let network = simulation.network().clone();
    simulation.network().after(SECOND / 10, move || {
        network.jump(3 * SECOND);
        peer.send(b"xxx");
    });
    simulation.run_for(4 * SECOND)?;
    let closed = simulation.closed();
    assert_eq!(closed.first().map(|closed| closed.kind), Some(CloseKind::TooSlow), "{}", simulation.describe());
    assert!(closed[0].at < 4 * SECOND, "{closed:?}");
    Ok(())
}

/// The answer of a worker lay in the workers' reserve, in the queue of a peer who did not read. A block came home that
/// would have held it, and nobody moved it there: all encoders waited for the reserve until that peer was closed.
#[test]
fn liveness_the_workers_reserve_is_repaid_as_the_processors_is() -> Result<(), Broken> {
    let mut config = without_timers([(32, 4), (300, 4), (4000, 4)]);
    config.outbound = [(32, 1), (300, 1), (1500, 1)].map(|(size, count)| TierConfig { size, count });
    (config.reply_max, config.timeouts.famine) = (3000, 3600 * SECOND);
    let promises = Promises::default();
    let mut simulation = simulation(config, |_, _| patient_user(&promises));
    let narrow = Weather { send_buffer: 1, ..Weather::calm() };
    let [large, medium, small, debtor] = [(); 4].map(|()| simulation.connect(narrow).expect("there is room"));
    let reader = simulation.connect(Weather::calm()).expect("there is room");
    for peer in [&debtor, &reader] {
        peer.send(&frame(b"later"));
        simulation.run_for(SECOND / 10)?;
    }
    // Every block is in use, and so is the reserve.
    for (peer, length) in [(&large, 1400), (&medium, 700), (&small, 400)] {
        peer.stall();
        peer.send(&frame(&vec![b'x'; length]));
        simulation.run_for(SECOND / 10)?;
    }
    debtor.stall();
    let [to_debtor, to_reader] = <[_; 2]>::try_from(promises.lock().split_off(0)).expect("two are deferred");
    let workers = simulation.workers();
    workers.after(SECOND / 10, move || to_debtor.send(vec![b'd'; 500]));
    // Longer than the pieces that it may be cut into: only the reserve holds it.
    workers.after(SECOND / 5, move || to_reader.send(vec![b'r'; 2900]));
    simulation.run_for(SECOND)?;
    assert_eq!(reader.received(), 0, "there is no room for its answer");
    medium.set_reading(Reading::Free);
    simulation.run_for(SECOND)?;
    assert_eq!(reader.received(), 2904, "{}", simulation.describe());
    Ok(())
}

/// Messages of a little more than 4 KiB, one behind the other. The rest of the first was read into a small block, as
/// far as that went: into the second, whose rest was read into the same block, and so on, a read for each message.
#[test]
fn behind_the_rest_of_a_message_many_are_read_at_once() -> Result<(), Broken> {
    for length in [100, 4096, 5000, 30_000] {
        let mut simulation = simulation(Config::default(), |_, _| {
            |_: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>| reply.none()
        });
        let peer = simulation.connect(Weather::calm()).expect("there is room");
        let bytes = frame(&vec![7; length]).repeat((2 << 20) / length);
        peer.send(&bytes);
        simulation.run_for(SECOND)?;
        let counts = simulation.network().counts();
        assert_eq!(counts.bytes_read, bytes.len() as u64);
        let mean = counts.bytes_read / counts.reads;
        assert!(mean > 16 << 10, "{length}: {mean} bytes a read");
    }
    Ok(())
}
