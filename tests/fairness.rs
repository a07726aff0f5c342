//! Many connections that want much, and how long one that wants little waits for them.

use std::sync::Arc;
use std::time::Duration;

use sluicegate::sim::{Broken, End, Reading, SimPeer, Simulation, Weather};
use sluicegate::{CloseKind, Config, LengthPrefixed, Message, Reply};

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

/// A hundred connections have 300 messages each, and in a turn each may have 64. In one cycle not all of them get one:
/// so whoever has little to say is heard before that.
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

/// A turn costs what it has read, also where that is more than it was to read: what is read at once is not cut into
/// pieces for a small turn.
#[test]
fn a_cycle_takes_little_however_small_a_turn_is() -> Result<(), Broken> {
    let mut config = Config::default();
    config.turn.bytes = 4096;
    // A megabyte of all together, and the turn in which that is reached.
    let most_in_a_cycle = (1 << 20) + config.scratch as u64;
    let mut simulation = Simulation::new(1, config, LengthPrefixed::default(), |_, _| user).expect("the settings fit");
    let weather = Weather { delay_max: Duration::ZERO, receive_buffer: 1 << 20, piece_max: 1 << 20, ..Weather::calm() };
    let greedy: Vec<SimPeer> = (0..GREEDY).filter_map(|_| simulation.connect(weather)).collect();
    simulation.run_for(Duration::from_secs(1))?;
    let much = frame(&[b'm'; 60_000]).repeat(10);
    greedy.iter().for_each(|peer| assert!(peer.send_ahead(&much)));
    // Each has its first turn.
    simulation.step()?;
    let mut before = simulation.metrics().bytes_in;
    while before < (GREEDY * much.len()) as u64 {
        simulation.step()?;
        let now = simulation.metrics().bytes_in;
        assert!(now - before <= most_in_a_cycle, "{} bytes in a cycle", now - before);
        before = now;
    }
    Ok(())
}

/// Some peers ask for much, and take it as fast as it is written. In a cycle each is given a part, however it is sent:
/// copied, written from where it lies, or carried as it is.
#[test]
fn a_cycle_gives_little_to_those_who_ask_for_much() -> Result<(), Broken> {
    const PEERS: usize = 4;
    const ASKED: usize = 60;
    for (length, is_shared) in [(10_000, false), (60_000, false), (100_000, true)] {
        let body: Arc<[u8]> = vec![b'm'; length].into();
        let answer = move |_: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>| {
            if is_shared { reply.send(Arc::clone(&body)) } else { reply.send(&body[..]) }
        };
        let config = Config::default();
        let most_for_one = (config.watermarks.high + length + 4) as u64;
        let mut simulation = Simulation::new(1, config, LengthPrefixed::default(), |_, _| answer).expect("they fit");
        let weather = Weather { delay_max: Duration::ZERO, send_buffer: 1 << 30, ..Weather::calm() };
        let peers: Vec<SimPeer> = (0..PEERS).filter_map(|_| simulation.connect(weather)).collect();
        simulation.run_for(Duration::from_secs(1))?;
        peers.iter().for_each(|peer| assert!(peer.send(&frame(b"?").repeat(ASKED))));
        let (mut before, mut most) = (0, 0);
        while before < (PEERS * ASKED * (length + 4)) as u64 {
            simulation.step()?;
            let now = simulation.metrics().bytes_out;
            most = most.max(now - before);
            before = now;
        }
        assert!(most <= PEERS as u64 * most_for_one, "{length}: {most} bytes in a cycle, {most_for_one} for a peer");
    }
    Ok(())
}

/// Many peers download something large. One takes it as fast as it is written, another as fast as its window lets it:
/// in a cycle all together are given little, and whoever asks meanwhile is answered in the next.
#[test]
fn a_cycle_gives_little_to_many_who_take_much() -> Result<(), Broken> {
    const LENGTH: usize = 4 << 20;
    let body: Arc<[u8]> = vec![b'm'; LENGTH].into();
    let answer = move |message: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>| match message.payload() {
        b"all" => reply.send(Arc::clone(&body)),
        little => reply.send(little),
    };
    // What those who go on are given together, a turn behind that, and the first of those whose windows have opened.
    let most_in_a_cycle = (1 << 20) + Config::default().turn.bytes as u64 + (GREEDY as u64) * (64 << 10);
    for send_buffer in [1 << 20, 1 << 17] {
        let user = answer.clone();
        let mut simulation =
            Simulation::new(1, Config::default(), LengthPrefixed::default(), |_, _| user).expect("the settings fit");
        let weather = Weather { delay_max: Duration::ZERO, send_buffer, piece_max: 1 << 20, ..Weather::calm() };
        let greedy: Vec<SimPeer> = (0..GREEDY).filter_map(|_| simulation.connect(weather)).collect();
        let other = simulation.connect(weather).expect("there is room");
        simulation.run_for(Duration::from_millis(10))?;
        greedy.iter().for_each(|peer| assert!(peer.send(&frame(b"all"))));
        // Each has its first turn, and as much as its window takes.
        simulation.step()?;
        let (mut before, mut asked) = (simulation.metrics().bytes_out, GREEDY as u64);
        while simulation.metrics().bytes_outbound > 0 {
            assert!(other.send_ahead(&frame(b"and me?")));
            asked += 1;
            simulation.step()?;
            let now = simulation.metrics();
            assert_eq!(now.messages_in, asked, "whoever wants little waits");
            let written = now.bytes_out - before;
            assert!(written <= most_in_a_cycle, "{written} bytes in a cycle, windows of {send_buffer}");
            before = now.bytes_out;
        }
        assert!(greedy.iter().all(|peer| peer.received() + peer.untaken() == LENGTH + 4), "everything has come");
    }
    Ok(())
}

/// A byte from one who has its place behind the others brings news of room in its socket, too, and no better place.
#[test]
fn one_peer_who_says_something_is_not_written_to_before_its_turn() -> Result<(), Broken> {
    let body: Arc<[u8]> = vec![b'm'; 4 << 20].into();
    let answer = move |_: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>| reply.send(Arc::clone(&body));
    let mut simulation =
        Simulation::new(1, Config::default(), LengthPrefixed::default(), |_, _| answer).expect("the settings fit");
    let weather = Weather { delay_max: Duration::ZERO, send_buffer: 1 << 20, piece_max: 1 << 20, ..Weather::calm() };
    let greedy: Vec<SimPeer> = (0..GREEDY).filter_map(|_| simulation.connect(weather)).collect();
    greedy.iter().for_each(SimPeer::stall);
    simulation.run_for(Duration::from_millis(10))?;
    // With the beginning of a long message behind it, of which a byte comes now and then.
    let asked = [&frame(b"all")[..], &10_000u32.to_be_bytes()].concat();
    greedy.iter().for_each(|peer| assert!(peer.send_ahead(&asked)));
    // Each socket is full, and then has room, once and for ever: it is never full again.
    simulation.run_for(Duration::from_millis(10))?;
    greedy.iter().for_each(|peer| peer.set_reading(Reading::Free));
    let (mut before, mut news_of_room) = (simulation.metrics().bytes_out, 0);
    for _ in 0..9_000 {
        if simulation.metrics().bytes_outbound == 0 {
            break;
        }
        greedy.iter().for_each(|peer| assert!(peer.send_ahead(&[0])));
        simulation.step()?;
        let written = simulation.metrics().bytes_out - before;
        news_of_room += u64::from(written > (1 << 20) + Config::default().turn.bytes as u64);
        before += written;
    }
    assert_eq!(simulation.metrics().bytes_outbound, 0, "all of it is written");
    assert!(news_of_room < 10, "{news_of_room} times more was written than those who go on are given");
    Ok(())
}

/// Whoever has taken all that it was given waits for the server, however long its turn takes to come, and is not closed
/// as one that takes nothing.
#[test]
fn one_peer_who_waits_to_be_written_on_has_not_stalled() -> Result<(), Broken> {
    const LENGTH: usize = 4 << 20;
    let body: Arc<[u8]> = vec![b'm'; LENGTH].into();
    let answer = move |_: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>| reply.send(Arc::clone(&body));
    let mut config = Config::default();
    config.timeouts.write_stall = Duration::from_millis(20);
    let mut simulation =
        Simulation::new(1, config, LengthPrefixed::default(), |_, _| answer).expect("the settings fit");
    let (delay_max, call_max) = (Duration::ZERO, Duration::from_millis(2));
    let weather = Weather { delay_max, call_max, send_buffer: LENGTH / 4, piece_max: LENGTH, ..Weather::calm() };
    let peers: Vec<SimPeer> = (0..GREEDY).filter_map(|_| simulation.connect(weather)).collect();
    peers.iter().for_each(|peer| assert!(peer.send(&frame(b"all"))));
    simulation.run_for(Duration::from_secs(10))?;
    assert_eq!(simulation.metrics().closed_total(), 0, "{}", simulation.describe());
    assert!(peers.iter().all(|peer| peer.received() == LENGTH + 4), "everything has come");
    Ok(())
}

/// What is delivered of what has waited is little in the cycle in which there is room again, and more in the next.
#[test]
fn one_peer_is_given_little_at_first() -> Result<(), Broken> {
    const LARGE: usize = 2 << 20;
    let body: Arc<[u8]> = vec![b'm'; LARGE].into();
    let answer = move |_: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>| reply.send(Arc::clone(&body));
    let config = Config::default();
    let in_a_turn = config.turn.bytes as u64;
    let mut simulation = Simulation::new(1, config, LengthPrefixed::default(), |_, _| answer).expect("they fit");
    let weather = Weather { delay_max: Duration::ZERO, send_buffer: LARGE / 4, piece_max: LARGE, ..Weather::calm() };
    let peer = simulation.connect(weather).expect("there is room");
    assert!(peer.send_ahead(&frame(b"all")));
    let mut given = Vec::new();
    while given.len() < 3 {
        let before = simulation.metrics().bytes_out;
        simulation.step()?;
        given.extend(Some(simulation.metrics().bytes_out - before).filter(|bytes| *bytes > 0));
    }
    assert_eq!(given, [LARGE as u64 / 4, 64 << 10, in_a_turn], "first as much as its window takes");
    Ok(())
}

/// Who is given output in one cycle after the other has no more turns for that: neither if its messages come meanwhile,
/// nor if they have waited for its output.
#[test]
fn one_peer_who_is_written_on_has_one_turn_in_a_cycle() -> Result<(), Broken> {
    const LARGE: usize = 1 << 20;
    let body: Arc<[u8]> = vec![b'm'; LARGE].into();
    let answer = move |message: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>| match message.payload() {
        b"all" => reply.send(Arc::clone(&body)),
        _ => reply.none(),
    };
    let config = Config::default();
    let in_a_turn = config.turn.messages as u64;
    for together in [false, true] {
        let user = answer.clone();
        let mut simulation =
            Simulation::new(1, config.clone(), LengthPrefixed::default(), |_, _| user).expect("the settings fit");
        let weather = Weather { delay_max: Duration::ZERO, send_buffer: LARGE / 2, ..Weather::calm() };
        let peer = simulation.connect(weather).expect("there is room");
        simulation.run_for(Duration::from_secs(1))?;
        let little = frame(b"little").repeat(READY);
        assert!(peer.send(&frame(b"all")));
        if together {
            peer.send(&little);
        }
        let (mut before, mut is_sent) = (0, together);
        while before < 1 + READY as u64 {
            simulation.step()?;
            let now = simulation.metrics();
            assert!(now.messages_in - before <= in_a_turn, "{} messages in a cycle", now.messages_in - before);
            before = now.messages_in;
            if !is_sent && now.bytes_out > LARGE as u64 * 3 / 4 {
                assert!(peer.send_ahead(&little) && now.bytes_outbound > 0);
                is_sent = true;
            }
        }
    }
    Ok(())
}

/// A hundred peers are refused and go on talking, a quarter of a megabyte each. That is read and dropped, so that they
/// can read why; but not in one cycle, and whoever asks meanwhile is answered in the next.
#[test]
fn a_cycle_takes_little_from_those_who_were_refused() -> Result<(), Broken> {
    const BEHIND: usize = 240_000;
    let mut config = Config::default();
    config.turn.bytes = 32 << 10;
    // A megabyte of all together, and the turn in which that is reached.
    let most_in_a_cycle = (1 << 20) + config.turn.bytes as u64;
    let echo = |message: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>| reply.send(message.payload());
    let mut simulation = Simulation::new(1, config, LengthPrefixed::default(), |_, _| echo).expect("the settings fit");
    let weather = Weather { delay_max: Duration::ZERO, receive_buffer: 1 << 20, ..Weather::calm() };
    let refused: Vec<SimPeer> = (0..GREEDY).filter_map(|_| simulation.connect(weather)).collect();
    let other = simulation.connect(weather).expect("there is room");
    simulation.run_for(Duration::from_millis(10))?;
    for peer in &refused {
        assert!(peer.send_ahead(&[&u32::MAX.to_be_bytes(), &[b'x'; BEHIND][..]].concat()));
        peer.finish();
    }
    // Each has its first turn, and is refused in it.
    simulation.step()?;
    assert_eq!(simulation.metrics().open as usize, GREEDY + 1, "{}", simulation.describe());
    let (all, mut before, mut asked) = ((GREEDY * (4 + BEHIND)) as u64, simulation.metrics().bytes_in, 0);
    while before < all {
        assert!(other.send_ahead(&frame(b"and me?")));
        asked += 1;
        simulation.step()?;
        let now = simulation.metrics();
        assert_eq!(now.messages_in, asked, "whoever wants little waits");
        let bytes_in = now.bytes_in - asked * frame(b"and me?").len() as u64;
        let read = bytes_in - before;
        assert!(read <= most_in_a_cycle, "{read} bytes of those who were refused in a cycle");
        before = bytes_in;
    }
    simulation.run_for(Duration::from_millis(10))?;
    assert_eq!(simulation.metrics().closed_by(CloseKind::Protocol) as usize, GREEDY);
    refused.iter().for_each(|peer| assert_eq!(peer.end(), Some(End::Finished)));
    Ok(())
}

/// A connection ended while it waited to go on, and a newcomer got its slot: the place that was left among those who go
/// on gave the newcomer a second turn, in the cycle of its first.
#[test]
fn one_peer_a_newcomer_does_not_inherit_the_turn_of_who_had_its_slot() -> Result<(), Broken> {
    let mut config = Config::default();
    config.turn.messages = 1;
    let echo = |message: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>| reply.send(message.payload());
    let mut simulation = Simulation::new(1, config, LengthPrefixed::default(), |_, _| echo).expect("the settings fit");
    let at_once = Weather { delay_max: Duration::ZERO, ..Weather::calm() };
    let messages = frame(b"now").repeat(5);
    let first = simulation.connect(at_once).expect("there is room");
    first.send_ahead(&messages);
    simulation.step()?;
    first.reset();
    let second = simulation.connect(at_once).expect("there is room");
    second.send_ahead(&messages);
    simulation.run_for(Duration::from_secs(1))?;
    assert_eq!((simulation.open(), second.take_received() == messages), (1, true), "{}", simulation.describe());
    Ok(())
}
