//! The gate before runs of records: however many come at once, it closes where it says.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sluicegate::flow::{Gate, GateLimits, Level, Queue};
use sluicegate::sim::{Random, Simulation, Weather};
use sluicegate::{Finish, MessageProcessor};

use crate::agent::collector::Collector;
use crate::agent::framing::{Framing, Room};
use crate::agent::link::Link;
use crate::agent::numbers::Numbers;
use crate::agent::tag::LogPool;
use crate::net::frame;
use crate::simulated::unhurried;

const CAP: usize = 100;

/// How much of a hundred records of `size` bytes from each of three peers comes in, with a writer that takes nothing.
/// And how many messages that was.
fn what_comes_in(seed: u64, high: Level, size: usize, batches: (usize, usize)) -> (Level, u64) {
    let sent = frame(&vec![b'x'; size]).repeat(100);
    what_comes_of(&sent, false, seed, high, batches)
}

/// The same of whatever each of three peers sends.
fn what_comes_of(
    sent: &[u8],
    json: bool,
    seed: u64,
    high: Level,
    (batch_bytes, batches): (usize, usize),
) -> (Level, u64) {
    let low = Level { items: high.items / 4, bytes: high.bytes / 4 };
    let gate = Gate::new(GateLimits { high, low, largest: CAP as u64 + 1 });
    let (numbers, room): (Arc<Numbers>, Arc<Room>) = Default::default();
    let link = Arc::new(Link::new(gate.exit(), 1, None));
    let framing = Framing::new(CAP, batch_bytes, json, &room);
    let pool = LogPool::new(batch_bytes, batches);
    let queue = Arc::new(Queue::new(batches));
    let collector =
        Collector::new((gate, room), pool, vec![queue], Arc::clone(&link), None, json, Arc::clone(&numbers));
    let mut simulation = Simulation::new(seed, unhurried(), framing, |_, _| collector).expect("the settings are good");
    let mut random = Random::new(seed);
    for _ in 0..3 {
        let weather = if seed == 0 { Weather::calm() } else { Weather::drawn(&mut random) };
        let peer = simulation.connect(weather).expect("there is room");
        peer.send(sent);
    }
    // A byte may take its time.
    simulation.run_for(Duration::from_secs(3600)).expect("the laws hold");
    let messages = simulation.metrics().messages_in;
    simulation.shutdown(Duration::ZERO, Finish::Answer).expect("the laws hold");
    (Level { items: numbers.records_in.value(), bytes: numbers.bytes_queued.value() }, messages)
}

#[test]
fn it_closes_exactly_one_record_of_the_cap_below_the_limit() {
    let many = (1 << 20, 10);
    for seed in 0..20 {
        // At the count, and in the middle of what one read brings.
        for items in [1, 7, 130, 299] {
            let (came, messages) = what_comes_in(seed, Level { items, bytes: 1 << 20 }, 50, many);
            assert_eq!(came, Level { items, bytes: items * 51 }, "seed {seed}");
            assert!(seed > 0 || messages <= 3, "{messages} messages: a run is all that has come, or fits");
        }
        // At the bytes: it is open as long as one of a hundred and its newline has its place.
        for (bytes, items) in [(1000, 18), (1018, 18), (1019, 19), (0, 1), (101, 1)] {
            let (came, _) = what_comes_in(seed, Level { items: 1000, bytes }, 50, many);
            assert_eq!(came, Level { items, bytes: items * 51 }, "{bytes} bytes, seed {seed}");
        }
    }
}

#[test]
fn without_a_batch_nothing_comes_in_and_nothing_that_came_is_left_over() {
    for seed in 0..20 {
        for (size, batch_bytes) in [(0, 109), (0, 500), (9, 200), (CAP, 109), (50, 1000)] {
            let most = Level { items: 1000, bytes: 1 << 20 };
            let (came, _) = what_comes_in(seed, most, size, (batch_bytes, 4));
            assert_eq!(came.bytes, came.items * (size as u64 + 1));
            // Each with a newline and a tag; with a head of its own, if it comes alone. The last batch may be nearly
            // empty.
            let each = size + 1 + 8 + 29;
            let least = 3 * (batch_bytes / each).clamp(1, 75) as u64;
            assert!((least..=300).contains(&came.items), "{came:?} of {size} bytes, batches of {batch_bytes}");
        }
    }
}

/// Good and bad records are kept apart, so each of these needs a head of its own in a batch: more than it has bytes.
#[test]
fn all_of_a_run_finds_its_place_also_if_every_other_record_is_bad() {
    let sent = [frame(b""), frame(b"1")].concat().repeat(500);
    for batch_bytes in [200, 1000, 4000] {
        let most = Level { items: 1 << 20, bytes: 1 << 20 };
        let (came, _) = what_comes_of(&sent, true, 0, most, (batch_bytes, 3000));
        assert_eq!(came.items, 3 * 1000, "batches of {batch_bytes}");
    }
}

#[test]
fn a_pause_is_over_when_something_could_be_taken_in_also_if_nobody_asks() {
    let gate = Gate::new(GateLimits { high: Level { items: 10, bytes: 1000 }, low: Level::default(), largest: 1 });
    let (numbers, room): (Arc<Numbers>, Arc<Room>) = Default::default();
    let link = Arc::new(Link::new(gate.exit(), 1, None));
    let (pool, queue) = (LogPool::new(1000, 1), Arc::new(Queue::new(1)));
    let (shared, counted) = (Arc::clone(&link), Arc::clone(&numbers));
    let mut collector = Collector::new((gate, room), pool.clone(), vec![queue], shared, None, false, counted);
    let hour = Duration::from_secs(3600);
    let batch = pool.take();
    link.trouble_begins();
    assert!(!collector.ready());
    link.trouble_ends();
    collector.cycle_end(Instant::now());
    let told = numbers.pauses.total(Instant::now() + hour);
    assert!(told >= hour, "there is no batch yet");
    drop(batch);
    collector.cycle_end(Instant::now());
    assert_eq!(numbers.pauses.total(Instant::now() + 2 * hour), told, "nobody wanted to send");
}
