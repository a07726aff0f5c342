//! What the collector and the writers share.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use parking_lot::Mutex;
use sluicegate::flow::{GateExit, Level};
use sluicegate::{ConnectionId, WriteProxy};

use super::framing::Framing;

/// How writers tell the collector's thread that something was worked off.
pub struct Link {
    exit: GateExit,
    /// With `--ack`.
    news: Option<Mutex<News>>,
    /// By writer: it has been handed something that it has not worked off.
    busy: Vec<AtomicBool>,
    /// Writers that cannot write at the moment.
    troubled: AtomicUsize,
    /// From when the server has started.
    proxy: OnceLock<WriteProxy<Framing>>,
}

/// How many records of each connection have become durable, since the collector asked last. One place for each
/// connection: a newer number takes the place of the one before.
struct News {
    by_slot: Vec<Durability>,
    changed: Vec<u32>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Durability {
    generation: u64,
    records: u64,
    listed: bool,
}

impl Link {
    /// A link to `writers` writers. With acknowledgements, of so many connections.
    pub fn new(exit: GateExit, writers: usize, acks: Option<usize>) -> Self {
        let news = acks.map(|connections| {
            Mutex::new(News {
                by_slot: vec![Durability::default(); connections],
                changed: Vec::with_capacity(connections),
            })
        });
        let busy = (0..writers).map(|_| AtomicBool::new(false)).collect();
        Self { exit, news, busy, troubled: AtomicUsize::new(0), proxy: OnceLock::new() }
    }

    /// Bytes that the news of so many connections take, for the memory ceiling.
    pub fn memory(connections: usize) -> u64 {
        (connections * (size_of::<Durability>() + size_of::<u32>())) as u64
    }

    /// The server has started.
    pub fn connect(&self, proxy: &WriteProxy<Framing>) {
        // A collector starts once; if it did so again, the first proxy would do as well.
        let _ = self.proxy.set(proxy.clone());
    }

    /// True if the connections' numbers of durable records are wanted.
    pub fn wants_news(&self) -> bool {
        self.news.is_some()
    }

    /// So many more records of each of these connections are durable.
    pub fn tell(&self, durable: impl Iterator<Item = (ConnectionId, u64)>) {
        let Some(news) = &self.news else { return };
        let mut news = news.lock();
        let News { by_slot, changed } = &mut *news;
        for (connection, records) in durable {
            let Some(known) = by_slot.get_mut(connection.slot() as usize) else { continue };
            if known.generation != connection.generation() {
                // The connection that had the slot before has closed; nobody waits for its number.
                let listed = known.listed;
                *known = Durability { generation: connection.generation(), records: 0, listed };
            }
            known.records += records;
            if !known.listed {
                known.listed = true;
                changed.push(connection.slot());
            }
        }
    }

    /// Takes what is new: connection by connection, how many of its records are durable by now.
    pub fn take_news(&self, mut each: impl FnMut(ConnectionId, u64)) {
        let Some(news) = &self.news else { return };
        let mut news = news.lock();
        let News { by_slot, changed } = &mut *news;
        for slot in changed.drain(..) {
            let known = &mut by_slot[slot as usize];
            known.listed = false;
            each(ConnectionId::new(0, slot, known.generation), known.records);
        }
    }

    /// So much was worked off: opens the gate when that is enough, and lets senders go on.
    pub fn release(&self, gone: Level) {
        let opened = self.exit.leave(gone);
        // Also when the gate was open: somebody may have waited for a block of the batches'.
        if opened || self.exit.is_open() {
            self.resume();
        }
        if self.wants_news() {
            self.wake();
        }
    }

    fn resume(&self) {
        if let Some(proxy) = self.proxy.get() {
            proxy.resume();
        }
    }

    fn wake(&self) {
        if let Some(proxy) = self.proxy.get() {
            proxy.wake();
        }
    }

    /// A writer cannot write: nothing more is taken in.
    pub fn trouble_begins(&self) {
        self.troubled.fetch_add(1, SeqCst);
    }

    /// It can again.
    pub fn trouble_ends(&self) {
        self.troubled.fetch_sub(1, SeqCst);
        self.resume();
    }

    /// True if all writers can write, as far as they know.
    pub fn is_well(&self) -> bool {
        self.troubled.load(SeqCst) == 0
    }

    /// A writer is handed something, or has worked off everything.
    pub fn set_busy(&self, writer: usize, busy: bool) {
        self.busy[writer].store(busy, SeqCst);
    }

    pub fn is_busy(&self, writer: usize) -> bool {
        self.busy[writer].load(SeqCst)
    }

    /// All that ever left.
    pub fn left(&self) -> Level {
        self.exit.left()
    }
}
