//! One writer over a disk that fails when it is told to, with nothing around it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sluicegate::flow::{Gate, GateLimits, Level};

use crate::agent::directory::{Directory, Full, Next, Rotation, Rules};
use crate::agent::fsync::Fsync;
use crate::agent::link::Link;
use crate::agent::lock::Lock;
use crate::agent::numbers::Numbers;
use crate::agent::plan::WhenFull;
use crate::agent::recovery::recover;
use crate::agent::tag::{self, Head, LogBatch, LogPool};
use crate::agent::vain::Failed;
use crate::agent::writer::Writer;
use crate::disks::{Faults, FaultyDisk, Folder};
use crate::store::listing::segments;
use crate::store::name::Kind;
use crate::store::reader::{End, SegmentReader, Step};

/// Records for everything that a line can have in it.
pub const ODD: [&[u8]; 8] = [b"", b"\n", b"a line", b"ends\n", b"two\nlines", b"\0\xff\r\n\n", b"\n\n", b"x"];

/// How a rig differs from the usual.
pub struct Setup {
    pub policy: Fsync,
    pub rotate_bytes: u64,
    pub rotate_age: Option<Duration>,
    pub share: u64,
    pub disk_max: Option<u64>,
    pub when_full: WhenFull,
    pub json: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            policy: Fsync::Batch,
            rotate_bytes: 1 << 20,
            rotate_age: None,
            share: u64::MAX,
            disk_max: None,
            when_full: WhenFull::Pause,
            json: false,
        }
    }
}

pub struct Rig {
    pub folder: Folder,
    pub faults: Faults,
    pub writer: Writer,
    pub directory: Arc<Directory>,
    pub link: Arc<Link>,
    pub numbers: Arc<Numbers>,
    pub now: Instant,
    gate: Gate,
    pool: LogPool,
}

impl Rig {
    pub fn new(setup: Setup) -> Self {
        Self::within(Folder::new(), setup, 1_000_000_000)
    }

    /// In a folder that may have segments already, at `unix` seconds.
    pub fn within(folder: Folder, setup: Setup, unix: u64) -> Self {
        let Setup { policy, rotate_bytes, rotate_age, share, disk_max, when_full, json } = setup;
        let faults = Faults::default();
        let numbers = Arc::new(Numbers::default());
        let rotation = Rotation { bytes: rotate_bytes, share, age: rotate_age };
        let lock = Lock::take(folder.path()).expect("nobody else is here");
        let rules = Rules { rotation, disk_max, when_full, clock: Box::new(move || unix), lock };
        let recovered = recover(folder.path()).expect("recovered");
        let disk = Box::new(FaultyDisk::new(folder.path(), &faults));
        let directory = Directory::new(folder.path(), disk, &recovered, rules, numbers);
        Self::at(folder, faults, Arc::new(directory), policy, json)
    }

    /// Another writer for the same directory, with a folder of its own that stays empty.
    pub fn beside(&self) -> Self {
        Self::at(Folder::new(), self.faults.clone(), Arc::clone(&self.directory), Fsync::Batch, false)
    }

    fn at(folder: Folder, faults: Faults, directory: Arc<Directory>, policy: Fsync, json: bool) -> Self {
        let numbers = Arc::clone(&directory.numbers);
        let most = Level { items: 1 << 20, bytes: 1 << 30 };
        let gate = Gate::new(GateLimits { high: most, low: most, largest: 1 });
        let link = Arc::new(Link::new(gate.exit(), 1, Some(8)));
        let writer = Writer::new(0, policy, Arc::clone(&directory), Arc::clone(&link), 64, json);
        let pool = LogPool::new(64 << 10, 64);
        Self { folder, faults, writer, directory, link, numbers, now: Instant::now(), gate, pool }
    }

    /// The disk has no space for an append now, of however many bytes.
    pub fn full(&self) -> Full {
        Full::Disk(Failed { bytes: 0, now: self.now })
    }

    /// Makes room now, with all the time there is. True if it makes sense to try again at once.
    pub fn make_room(&self, full: Full) -> bool {
        self.directory.make_room(full, self.now, &|| false) == Next::Retry
    }

    /// Hands a batch of records of one connection to the writer.
    pub fn give<R: AsRef<[u8]>>(&mut self, slot: u32, records: &[R]) {
        let batch = self.batch(records.iter().map(|record| (slot, record.as_ref(), false)));
        self.writer.accept(batch);
    }

    /// The same for records of which some are bad.
    pub fn give_marked(&mut self, slot: u32, records: &[(&[u8], bool)]) {
        let batch = self.batch(records.iter().map(|(record, bad)| (slot, *record, *bad)));
        self.writer.accept(batch);
    }

    fn batch<'r>(&mut self, records: impl Iterator<Item = (u32, &'r [u8], bool)>) -> LogBatch {
        let mut batch = self.pool.take().expect("there are many");
        for (slot, record, bad) in records {
            let head = Head { slot, generation: u64::from(slot) + 1, received_micros: 77, bad };
            let (count, bytes) = tag::append(&mut batch, &head, &mut std::iter::once(record));
            assert_eq!(count, 1, "it has room");
            self.gate.enter(bytes);
        }
        batch
    }

    /// Lets the writer work, as often as it wants to be asked, until it is idle; how often that was.
    pub fn work(&mut self) -> usize {
        for times in 1..1000 {
            let due = self.writer.advance(self.now);
            if self.writer.is_idle() {
                return times;
            }
            let due = due.expect("it wants to be asked again");
            assert!(due > self.now, "it does not spin");
            self.now = due;
        }
        panic!("it never ends");
    }

    /// What the link says is durable of the connection in `slot`, since it was asked last.
    pub fn durable(&self, slot: u32) -> Option<u64> {
        let mut found = None;
        self.link.take_news(|connection, records| {
            if connection.slot() == slot {
                found = Some(records);
            }
        });
        found
    }

    /// All that the link says is durable, since it was asked last: slots, and how many records.
    pub fn news(&self) -> Vec<(u32, u64)> {
        let mut found = Vec::new();
        self.link.take_news(|connection, records| found.push((connection.slot(), records)));
        found
    }

    /// All records that can be read, of one kind: connection and payload.
    pub fn records(&self, kind: Kind) -> Vec<(u64, Vec<u8>)> {
        read_all(&self.folder, kind)
    }

    /// Whether what is there is exactly that, in this order.
    pub fn assert_records<R: AsRef<[u8]>>(&self, expected: &[R]) {
        assert_payloads(&self.folder, expected);
    }

    /// The same folder after the writer has gone without a word.
    pub fn crash(self) -> Folder {
        self.folder
    }
}

/// All records of a folder, in order. Every one has to be intact, and what is finished has to end as its index says.
pub fn read_all(folder: &Folder, kind: Kind) -> Vec<(u64, Vec<u8>)> {
    let mut records = Vec::new();
    for segment in segments(folder.path(), kind).expect("listed") {
        let mut reader = SegmentReader::open(folder.path(), segment).expect("opened");
        loop {
            match reader.step().expect("read") {
                Step::Record { entry, payload, intact } => {
                    assert!(intact, "{}: {entry:?}", segment.name);
                    records.push((entry.origin.connection, payload.to_vec()));
                }
                Step::Damaged { .. } => panic!("{}: a damaged entry", segment.name),
                Step::NoMore => break,
                Step::Finished => {
                    assert_eq!(reader.end().expect("read"), End::Whole, "{}", segment.name);
                    break;
                }
            }
        }
    }
    records
}

/// Whether the records of a folder are exactly these, in this order.
pub fn assert_payloads<R: AsRef<[u8]>>(folder: &Folder, expected: &[R]) {
    let found: Vec<_> = read_all(folder, Kind::Log).into_iter().map(|(_, payload)| payload).collect();
    let expected: Vec<_> = expected.iter().map(|record| record.as_ref().to_vec()).collect();
    assert_eq!(found, expected);
}

/// Records that differ, `count` of them, from 3 to 40 bytes.
pub fn some(first: usize, count: usize) -> Vec<Vec<u8>> {
    (first..first + count).map(|number| format!("{number:03}{}", ".".repeat(number * 7 % 38)).into_bytes()).collect()
}
