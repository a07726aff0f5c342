//! Acknowledgements for a sender that reads none of them, in the simulation: there the socket certainly pushes back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sluicegate::TierConfig;
use sluicegate::flow::{Gate, GateLimits, Level, Queue, Taken};
use sluicegate::sim::{Reading, SimPeer, Simulation, Weather};

use crate::agent::acks::Acks;
use crate::agent::collector::{BatchQueue, Collector};
use crate::agent::directory::{Directory, Rotation, Rules};
use crate::agent::framing::{Framing, Room};
use crate::agent::fsync::Fsync;
use crate::agent::link::Link;
use crate::agent::lock::Lock;
use crate::agent::numbers::Numbers;
use crate::agent::plan::WhenFull;
use crate::agent::recovery::recover;
use crate::agent::tag::LogPool;
use crate::agent::writer::Writer;
use crate::disks::{Faults, FaultyDisk, Folder};
use crate::net::frame;
use crate::simulated::unhurried;

const CAP: usize = 100;
const RECORDS: u64 = 500;
const MOMENT: Duration = Duration::from_millis(20);
const SECOND: Duration = Duration::from_secs(1);
/// The most senders at once.
const SENDERS: usize = 64;

/// A writer that works when it is told to.
struct Hand {
    writer: Writer,
    queue: BatchQueue,
    link: Arc<Link>,
    faults: Faults,
    numbers: Arc<Numbers>,
}

impl Hand {
    /// Writes all that waits, and forces it to disk.
    fn commit(&mut self, now: Instant) {
        while let Taken::Item(batch) = self.queue.take(Some(Duration::ZERO)) {
            self.link.set_busy(0, true);
            self.writer.accept(batch);
        }
        self.writer.advance(now);
    }
}

fn collector(folder: &Folder) -> (Collector, Framing, Hand) {
    let (faults, numbers) = (Faults::default(), Arc::new(Numbers::default()));
    let rotation = Rotation { bytes: 1 << 20, share: u64::MAX, age: None };
    let lock = Lock::take(folder.path()).expect("nobody else is here");
    let clock = Box::new(|| 1_000_000_000);
    let rules = Rules { rotation, disk_max: None, when_full: WhenFull::Pause, clock, lock };
    let recovered = recover(folder.path()).expect("recovered");
    let disk = Box::new(FaultyDisk::new(folder.path(), &faults));
    let directory = Arc::new(Directory::new(folder.path(), disk, &recovered, rules, Arc::clone(&numbers)));
    let high = Level { items: 1000, bytes: 1 << 20 };
    let gate = Gate::new(GateLimits { high, low: Level { items: 10, bytes: 1000 }, largest: CAP as u64 + 1 });
    let link = Arc::new(Link::new(gate.exit(), 1, Some(SENDERS)));
    let queue: BatchQueue = Arc::new(Queue::new(4));
    let acks = Acks::new(SENDERS, Arc::clone(&link), Arc::clone(&numbers));
    let (pool, room): (_, Arc<Room>) = (LogPool::new(CAP * 10, 4), Arc::default());
    let framing = Framing::new(CAP, CAP * 10, false, &room);
    let (queues, shared) = (vec![Arc::clone(&queue)], Arc::clone(&link));
    let collector = Collector::new((gate, room), pool, queues, shared, Some(acks), false, Arc::clone(&numbers));
    let writer = Writer::new(0, Fsync::Batch, directory, Arc::clone(&link), 4, false);
    (collector, framing, Hand { writer, queue, link, faults, numbers })
}

#[test]
fn a_sender_that_reads_nothing_has_one_number_waiting() {
    let folder = Folder::new();
    let (collector, framing, mut hand) = collector(&folder);
    let mut simulation = Simulation::new(1, unhurried(), framing, |_, _| collector).expect("the settings are good");
    let peer = simulation.connect(Weather { send_buffer: 1, ..Weather::calm() }).expect("there is room");
    peer.stall();
    for number in 1..=RECORDS {
        assert!(peer.send(&frame(b"one by one")));
        simulation.run_for(MOMENT).expect("the laws hold");
        hand.commit(simulation.network().now());
        simulation.run_for(MOMENT).expect("the laws hold");
        // Of a segment and of its index.
        assert_eq!(hand.faults.syncs(), 2 * number, "each record has a sync of its own");
        // The kernel has taken one of the eight.
        let waits = simulation.metrics().bytes_outbound;
        assert_eq!((waits, hand.numbers.records_acked.value()), (7, 1), "after {number} syncs");
    }
    peer.set_reading(Reading::Free);
    simulation.run_for(Duration::from_secs(10)).expect("the laws hold");
    let said = [1, RECORDS].map(u64::to_be_bytes).concat();
    assert_eq!(peer.take_received(), said, "the number that waited, and the newest");
    assert_eq!(hand.writer.close(Instant::now()).lost, 0);
}

/// One sync makes records of more senders durable than there are blocks for what they are told.
#[test]
fn each_of_many_senders_is_told_what_one_sync_made_durable() {
    let folder = Folder::new();
    let (collector, framing, mut hand) = collector(&folder);
    let mut config = unhurried();
    config.outbound = [(64, 4), (512, 1), (1024, 1)].map(|(size, count)| TierConfig { size, count });
    config.reply_max = 1024;
    let mut simulation = Simulation::new(1, config, framing, |_, _| collector).expect("the settings are good");
    let peers: Vec<SimPeer> =
        (0..SENDERS).map(|_| simulation.connect(Weather::calm()).expect("there is room")).collect();
    // As long as the writer has something to do, all of them wait for one batch.
    hand.link.set_busy(0, true);
    peers.iter().for_each(|peer| assert!(peer.send(&frame(b"together"))));
    simulation.run_for(SECOND).expect("the laws hold");
    hand.link.set_busy(0, false);
    simulation.run_for(SECOND).expect("the laws hold");
    hand.commit(simulation.network().now());
    assert_eq!(hand.faults.syncs(), 2, "of a segment and of its index");
    simulation.run_for(SECOND).expect("the laws hold");
    peers.iter().for_each(|peer| assert_eq!(peer.take_received(), 1u64.to_be_bytes()));
    assert_eq!((simulation.metrics().open, hand.numbers.records_acked.value()), (SENDERS as u64, SENDERS as u64));
    assert_eq!(hand.writer.close(Instant::now()).lost, 0);
}
