//! The simulated operating system keeps the contract of [`Selector`], whatever the weather.

use std::io::{ErrorKind, IoSlice, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use super::{End, Network, Random, Reading, SimPeer, SimSelector, SimSocket, Weather};
use crate::processor::{Readiness, Selector};

const SLOT: u32 = 7;
const SECOND: Duration = Duration::from_secs(1);

struct World {
    network: Network,
    selector: SimSelector,
    peer: SimPeer,
    socket: SimSocket,
}

impl World {
    fn new(seed: u64, weather: Weather) -> Self {
        let network = Network::new(seed);
        let mut selector = SimSelector::new(network.clone());
        let (peer, mut socket) = network.connect(weather);
        selector.register_read(&mut socket, SLOT).expect("not registered yet");
        Self { network, selector, peer, socket }
    }

    /// The readiness that is reported within a second.
    fn select(&mut self) -> Option<Readiness> {
        let mut ready = Vec::new();
        self.selector.select(Some(SECOND), &mut ready).expect("a simulated select never fails");
        ready.pop()
    }

    fn read(&mut self, most: usize) -> Result<Vec<u8>, ErrorKind> {
        let mut place = vec![0; most];
        let count = self.socket.read(&mut place).map_err(|error| error.kind())?;
        place.truncate(count);
        Ok(place)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        self.socket.write(bytes).map_err(|error| error.kind())
    }

    fn set_write(&mut self, on: bool) {
        self.selector.set_write(&mut self.socket, SLOT, on).expect("registered");
    }
}

#[test]
fn what_arrived_is_reported_once_and_what_comes_later_again() {
    let mut world = World::new(1, Weather::calm());
    world.peer.send(b"hello");
    assert_eq!(world.select(), Some(Readiness { slot: SLOT, readable: true, ..Readiness::default() }));
    assert_eq!(world.select(), None, "an edge, not a level");
    world.peer.send(b"!");
    assert!(world.select().is_some_and(|ready| ready.readable));
    assert_eq!(world.read(9), Ok(b"hello!".to_vec()));
    assert_eq!(world.read(9), Err(ErrorKind::WouldBlock));
}

#[test]
fn a_registration_reports_what_was_not_read_before_it() {
    for left in [false, true] {
        let network = Network::new(1);
        let mut selector = SimSelector::new(network.clone());
        let (peer, mut socket) = network.connect(Weather::calm());
        peer.send(b"hello");
        selector.select(Some(SECOND), &mut Vec::new()).expect("never fails");
        let mut place = vec![0; if left { 3 } else { 9 }];
        assert_eq!(socket.read(&mut place).ok(), Some(if left { 3 } else { 5 }), "nobody watches, and it is there");
        selector.register_read(&mut socket, SLOT).expect("not registered yet");
        let mut world = World { network, selector, peer, socket };
        assert_eq!(world.select().is_some_and(|ready| ready.readable), left);
        world.peer.send(b"more");
        assert!(world.select().is_some_and(|ready| ready.readable));
    }
}

#[test]
fn an_end_may_hide_behind_a_short_read_but_is_said_beforehand() {
    let mut hidden = 0;
    for seed in 0..20 {
        let mut world = World::new(seed, Weather::calm());
        world.peer.send(b"bye");
        world.peer.finish();
        let first = world.select().expect("bytes are there");
        assert_eq!(world.read(9), Ok(b"bye".to_vec()), "a short read");
        if first.read_closed {
            hidden += 1;
            assert_eq!(world.select(), None, "no edge of its own");
        } else {
            assert!(world.select().is_some_and(|ready| ready.readable && ready.read_closed));
        }
        assert_eq!(world.read(9), Ok(Vec::new()));
    }
    assert!((1..20).contains(&hidden), "both ways are taken: {hidden}");
}

#[test]
fn interest_in_writing_reports_room_at_once_and_later_only_new_room() {
    let mut world = World::new(1, Weather { send_buffer: 90, ..Weather::calm() });
    world.set_write(true);
    assert!(world.select().is_some_and(|ready| ready.writable && !ready.readable));
    assert_eq!(world.select(), None, "an edge, not a level");
    world.peer.stall();
    assert_eq!(world.write(&[1; 60]), Ok(60));
    assert_eq!(world.write(&[2; 60]), Ok(30), "short: the buffer is full");
    assert_eq!(world.write(&[3]), Err(ErrorKind::WouldBlock));
    assert_eq!(world.select(), None);
    world.peer.set_reading(Reading::Free);
    assert!(world.select().is_some_and(|ready| ready.writable));
    world.set_write(false);
    assert_eq!(world.write(&[4; 91]), Ok(90));
    assert_eq!(world.select(), None, "nobody wants to know");
    assert_eq!(world.peer.take_received().len(), 180);
}

#[test]
fn a_short_write_is_always_followed_by_an_edge() {
    let mut world = World::new(1, Weather { short_writes: 1000, ..Weather::calm() });
    world.set_write(true);
    let mut left = 5000;
    while left > 0 {
        assert!(world.select().is_some_and(|ready| ready.writable), "{left} left");
        left -= world.write(&vec![9; left]).expect("there was room");
    }
}

#[test]
fn vectored_writes_are_cut_anywhere() {
    let mut world = World::new(1, Weather { send_buffer: 5, ..Weather::calm() });
    let slices = [b"abc".as_slice(), b"", b"def"].map(IoSlice::new);
    assert_eq!(world.socket.write_vectored(&slices).ok(), Some(5));
    world.select();
    assert_eq!(world.peer.take_received(), b"abcde");
}

#[test]
fn nothing_is_reported_after_deregister() {
    let mut world = World::new(1, Weather { spurious: 1000, ..Weather::calm() });
    world.set_write(true);
    assert!(world.select().is_some());
    world.selector.deregister(&mut world.socket).expect("registered");
    world.peer.send(b"late");
    assert_eq!(world.select(), None);
    assert!(world.selector.set_write(&mut world.socket, SLOT, true).is_err());
    assert!(world.network.lock().misuse.is_some(), "and whoever goes on using it is found out");
}

#[test]
fn a_reset_is_reported_once_and_then_looks_like_an_end() {
    let mut world = World::new(1, Weather::calm());
    world.peer.reset();
    assert!(world.select().is_some_and(|ready| ready.error && ready.read_closed));
    assert_eq!(world.read(9), Err(ErrorKind::ConnectionReset));
    assert_eq!(world.read(9), Ok(Vec::new()));
    assert_eq!(world.write(b"x"), Err(ErrorKind::BrokenPipe));
    assert_eq!(world.peer.end(), Some(End::Reset));
    assert!(!world.peer.send(b"more"));
}

#[test]
fn what_has_arrived_can_be_counted_before_it_is_read() {
    let mut world = World::new(1, Weather { receive_buffer: 5, ..Weather::calm() });
    world.peer.send(b"five. and more");
    while world.select().is_some() {}
    assert_eq!(world.selector.unread(&mut world.socket).expect("it can be asked"), 5);
    assert_eq!(world.read(3), Ok(b"fiv".to_vec()));
    assert_eq!(world.selector.unread(&mut world.socket).expect("it can be asked"), 2);
}

#[test]
fn a_broken_socket_says_why_once() {
    for (finishes, vanishes, why) in [
        (false, false, ErrorKind::ConnectionReset),
        (true, false, ErrorKind::BrokenPipe),
        (false, true, ErrorKind::TimedOut),
    ] {
        let mut world = World::new(1, Weather::calm());
        if finishes {
            world.peer.finish();
            assert!(world.select().is_some_and(|ready| ready.read_closed && !ready.error));
        }
        if vanishes {
            world.peer.time_out()
        } else {
            world.peer.reset()
        }
        assert!(world.select().is_some_and(|ready| ready.error));
        let mut take = || world.selector.take_error(&mut world.socket).expect("it can be asked");
        assert_eq!(take().map(|error| error.kind()), Some(why));
        assert!(take().is_none());
        assert_eq!((world.read(9), world.write(b"x")), (Ok(Vec::new()), Err(ErrorKind::BrokenPipe)));
    }
}

#[test]
fn a_peer_that_hung_up_answers_bytes_with_a_reset() {
    let mut world = World::new(1, Weather::calm());
    world.peer.hang_up();
    assert!(world.select().is_some_and(|ready| ready.read_closed && !ready.error));
    assert_eq!(world.write(b"too late"), Ok(8));
    assert!(world.select().is_some_and(|ready| ready.error));
    assert_eq!(world.write(b"x"), Err(ErrorKind::BrokenPipe));
}

#[test]
fn a_half_closed_socket_delivers_what_it_wrote_and_then_the_end() {
    let mut world = World::new(1, Weather::calm());
    assert_eq!(world.write(b"last words"), Ok(10));
    world.selector.shutdown_write(&mut world.socket).expect("open");
    assert_eq!(world.write(b"x"), Err(ErrorKind::BrokenPipe));
    world.peer.send(b"I heard you");
    assert!(world.select().is_some_and(|ready| ready.readable), "the other direction is open");
    while world.select().is_some() {}
    assert_eq!((world.peer.take_received(), world.peer.end()), (b"last words".to_vec(), Some(End::Finished)));
}

#[test]
fn closing_with_unread_bytes_destroys_what_was_written_last() {
    for unread in [false, true] {
        let mut world = World::new(1, Weather::calm());
        world.peer.stall();
        assert_eq!(world.write(b"400 Bad Request"), Ok(15));
        if unread {
            world.peer.send(b"rest of the request");
            assert!(world.select().is_some());
        }
        let World { network, mut selector, peer, mut socket } = world;
        selector.deregister(&mut socket).expect("registered");
        drop(socket);
        peer.set_reading(Reading::Free);
        selector.select(Some(SECOND), &mut Vec::new()).expect("never fails");
        let (received, end) = if unread { (0, End::Reset) } else { (15, End::Finished) };
        assert_eq!((peer.received(), peer.end()), (received, Some(end)));
        assert_eq!(network.counts().lost_by_close, 15 - received as u64);
    }
}

#[test]
fn sleep_ends_with_the_timeout_the_next_event_or_a_wake() {
    let mut world = World::new(1, Weather::calm());
    assert_eq!(world.select(), None);
    assert_eq!(world.network.elapsed(), SECOND, "nothing to wait for: the clock moves at once");
    let flag = Arc::new(world.network.wake_flag());
    flag.fall_asleep();
    world.network.after(SECOND / 4, move || flag.wake());
    assert_eq!(world.select(), None);
    assert_eq!(world.network.elapsed(), SECOND * 5 / 4);
    assert!(!world.network.lock().beds[0].sleep.for_ever);
    world.selector.select(None, &mut Vec::new()).expect("never fails");
    assert!(world.network.lock().beds[0].sleep.for_ever, "nobody would ever have woken it");
}

#[test]
fn others_act_in_the_middle_of_a_call() {
    let mut world = World::new(1, Weather { call_max: SECOND, ..Weather::calm() });
    let peer = world.peer.clone();
    world.network.after(Duration::from_micros(1), move || assert!(peer.send(b"now")));
    let arrived = (0..20).any(|_| world.read(9) == Ok(b"now".to_vec()));
    assert!(arrived, "without a select in between");
}

/// The smallest server that relies on nothing but the contract: it echoes, with a queue of its own.
fn echo(seed: u64) -> (Vec<u8>, Vec<u8>, Network) {
    let mut random = Random::new(seed);
    let mut world = World::new(seed, Weather::drawn(&mut random));
    let length = random.below(5000);
    let sent = random.bytes(length);
    world.peer.send(&sent);
    world.peer.finish();
    let (mut queue, mut readable, mut ended, mut writing) = (Vec::new(), false, false, false);
    while !ended || !queue.is_empty() {
        if let Some(ready) = world.select() {
            readable |= ready.readable;
        }
        assert!(world.network.lock().beds[0].sleep.idle < 100, "seed {seed} hangs");
        while readable {
            match world.read(512) {
                Ok(bytes) if bytes.is_empty() => (readable, ended) = (false, true),
                Ok(bytes) => queue.extend(bytes),
                Err(ErrorKind::Interrupted) => {}
                Err(error) => readable = error != ErrorKind::WouldBlock,
            }
        }
        let wanted = queue.len();
        if wanted > 0 {
            let written = world.write(&queue).unwrap_or(0);
            queue.drain(..written);
        }
        if writing == queue.is_empty() {
            writing = !writing;
            world.set_write(writing);
        }
        // An interrupted write is repeated at once, because it raises no edge.
        while !queue.is_empty() && matches!(world.write(&[]), Err(ErrorKind::Interrupted)) {}
    }
    world.selector.shutdown_write(&mut world.socket).expect("open");
    while world.peer.end().is_none() {
        world.select();
    }
    (sent, world.peer.take_received(), world.network)
}

#[test]
fn every_byte_passes_in_every_weather() {
    let (mut short, mut full, mut closed) = (0, 0, 0);
    for seed in 0..200 {
        let (sent, received, network) = echo(seed);
        assert!(sent == received, "seed {seed}: {} sent, {} received", sent.len(), received.len());
        let counts = network.counts();
        short += counts.short_writes;
        full += counts.full_writes;
        closed += counts.windows_closed;
    }
    assert!(short > 0 && full > 0 && closed > 0, "{short} {full} {closed}");
}

#[test]
fn the_same_seed_takes_the_same_course() {
    for seed in 0..20 {
        let (one, same) = (echo(seed), echo(seed));
        assert_eq!((one.2.elapsed(), one.2.counts()), (same.2.elapsed(), same.2.counts()), "seed {seed}");
    }
}
