//! A slow disk in the simulation: a writer that takes its time, from a seed, and the laws checked after each cycle.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sluicegate::flow::{Gate, GateLimits, Level, Queue, Taken};
use sluicegate::sim::{End, Network, Random, Simulation, Weather};
use sluicegate::{Config, Finish};

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
use crate::clients::{frames, newest};
use crate::disks::{Faults, FaultyDisk, Folder};
use crate::verify;

const CAP: usize = 600;
const SIZES: (u32, u32) = (26, CAP as u32);
const RECORDS_HIGH: u64 = 40;
const SEEDS: u64 = 30;

/// A writer without a thread: looks for batches when the simulated time has come.
struct SlowWriter {
    writer: Option<Writer>,
    queue: BatchQueue,
    link: Arc<Link>,
    faults: Faults,
    random: Random,
    most_waiting: Arc<Mutex<u64>>,
}

impl SlowWriter {
    /// One turn now, and the next when the disk is done with it.
    fn turn(slow: Arc<Mutex<Self>>, network: Network) {
        let delay = slow.lock().work(&network);
        let again = network.clone();
        network.after(delay, move || Self::turn(slow, again));
    }

    fn work(&mut self, network: &Network) -> Duration {
        let Some(writer) = &mut self.writer else { return Duration::from_secs(3600) };
        while let Taken::Item(batch) = self.queue.take(Some(Duration::ZERO)) {
            self.link.set_busy(0, true);
            writer.accept(batch);
        }
        // Now and then it is full, or a sync fails.
        let space = if self.random.chance(100) { Some(self.random.below(2000) as u64) } else { None };
        self.faults.space(space);
        self.faults.fail_syncs(&[self.random.chance(50)]);
        writer.advance(network.now());
        let held = writer.held() as u64;
        let mut most = self.most_waiting.lock();
        *most = held.max(*most);
        self.random.duration(Duration::from_millis(200))
    }
}

/// A server whose peers may take all the time that their weather makes them take.
pub fn unhurried() -> Config {
    let mut config = Config::default();
    config.connections_max = 64;
    config.timeouts.idle = Duration::ZERO;
    config.timeouts.message = Duration::ZERO;
    config.timeouts.rate_grace = Duration::ZERO;
    config.timeouts.write_stall = Duration::ZERO;
    config.timeouts.reply = Duration::ZERO;
    config
}

fn simulate(seed: u64) {
    let folder = Folder::new();
    let mut random = Random::new(seed);
    let faults = Faults::default();
    let numbers = Arc::new(Numbers::default());
    let rotation = Rotation { bytes: 5000, share: u64::MAX, age: None };
    let lock = Lock::take(folder.path()).expect("nobody else is here");
    let clock = Box::new(|| 1_000_000_000);
    let rules = Rules { rotation, disk_max: None, when_full: WhenFull::Pause, clock, lock };
    let recovered = recover(folder.path()).expect("recovered");
    let disk = Box::new(FaultyDisk::new(folder.path(), &faults));
    let directory = Arc::new(Directory::new(folder.path(), disk, &recovered, rules, Arc::clone(&numbers)));
    let high = Level { items: RECORDS_HIGH, bytes: 20_000 };
    let gate = Gate::new(GateLimits { high, low: Level { items: 10, bytes: 5000 }, largest: CAP as u64 + 1 });
    let link = Arc::new(Link::new(gate.exit(), 1, Some(64)));
    let queue: BatchQueue = Arc::new(Queue::new(4));
    let acks = Acks::new(64, Arc::clone(&link), Arc::clone(&numbers));
    let pool = LogPool::new(CAP * 3, 4);
    let room: Arc<Room> = Arc::default();
    let framing = Framing::new(CAP, CAP * 3, false, &room);
    let collector = Collector::new(
        (gate, room),
        pool,
        vec![Arc::clone(&queue)],
        Arc::clone(&link),
        Some(acks),
        false,
        Arc::clone(&numbers),
    );
    let mut simulation = Simulation::new(seed, unhurried(), framing, |_, _| collector).expect("the settings are good");

    let writer = Writer::new(0, Fsync::Batch, directory, Arc::clone(&link), 4, false);
    let most_waiting = Arc::new(Mutex::new(0));
    let slow = SlowWriter {
        writer: Some(writer),
        queue,
        link,
        faults: faults.clone(),
        random: Random::new(seed + 1),
        most_waiting: Arc::clone(&most_waiting),
    };
    let slow = Arc::new(Mutex::new(slow));
    SlowWriter::turn(Arc::clone(&slow), simulation.network().clone());

    let peers: Vec<_> = (0..5u16)
        .map(|thread| {
            let peer = simulation.connect(Weather::drawn(&mut random)).expect("there is room");
            let count = random.between(1, 60) as u64;
            peer.send(&frames(9, thread, 0..count, SIZES));
            peer.finish();
            (peer, count)
        })
        .collect();
    // A byte may take its time, and there are some ten thousand of them.
    let hours = Duration::from_secs(7200);
    let ended = |_: &_| peers.iter().all(|(peer, _)| peer.end().is_some());
    assert!(simulation.run_until(hours, ended).expect("the laws hold"), "seed {seed}:\n{}", simulation.describe());

    let found = verify::look(folder.path(), 9, 5, SIZES).expect("read");
    assert_eq!(found.faults, Vec::<String>::new(), "seed {seed}");
    for ((peer, count), found) in peers.iter().zip(&found.records) {
        assert_eq!(peer.end(), Some(End::Finished), "seed {seed}");
        assert_eq!((newest(&peer.take_received()), *found), (*count, *count), "seed {seed}");
    }
    assert!(*most_waiting.lock() <= RECORDS_HIGH, "the gate holds, seed {seed}");
    simulation.shutdown(Duration::from_secs(5), Finish::ReadOut).expect("the laws hold");
    let writer = slow.lock().writer.take();
    assert_eq!(writer.expect("it is there").close(std::time::Instant::now()).lost, 0);
}

#[test]
fn a_slow_disk_closes_the_gate_and_loses_nothing() {
    (0..SEEDS).for_each(simulate);
}
