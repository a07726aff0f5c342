//! The processor of records: puts each into a batch, and hands batches to writers.

use std::iter;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::de::IgnoredAny;
use sluicegate::flow::{Gate, Level, Queue};
use sluicegate::{CloseReason, ConnectionId, Message, MessageProcessor, Peer, ProtocolError, Reply, WriteProxy};

use super::acks::Acks;
use super::framing::{Framing, PREFIX, Payloads, Room, Run};
use super::link::Link;
use super::numbers::Numbers;
use super::tag::{self, Head, LogBatch, LogPool};

/// How long the first record of a batch waits for others, when nobody waits for its acknowledgement.
const LINGER: Duration = Duration::from_millis(5);

/// Where batches for one writer are left.
pub type BatchQueue = Arc<Queue<LogBatch>>;

/// Runs on the processor thread and never waits. What a writer can't take yet stays in its batch; when there are no
/// more batches, connections wait, undecoded.
pub struct Collector {
    gate: Gate,
    /// What the gate has room for, where the decoder sees it.
    room: Arc<Room>,
    pool: LogPool,
    /// The batch for what does not fit the one it belongs to: `ready` has promised it.
    spare: Option<LogBatch>,
    desks: Vec<Desk>,
    link: Arc<Link>,
    /// With `--ack`.
    acks: Option<Acks>,
    json: bool,
    numbers: Arc<Numbers>,
    /// When the records of this cycle were received.
    received_micros: Option<u64>,
    /// Nothing is taken in, as far as it was noted.
    paused: bool,
}

/// The batch that one writer gets next.
struct Desk {
    batch: Option<LogBatch>,
    /// When its first record came, as far as cycles know.
    since: Option<Instant>,
    queue: BatchQueue,
}

impl Collector {
    /// A collector for the writers behind `queues`. With room in each for all batches of the pool, they are never full.
    /// The connections' protocol has the same `room`.
    pub fn new(
        (gate, room): (Gate, Arc<Room>),
        pool: LogPool,
        queues: Vec<BatchQueue>,
        link: Arc<Link>,
        acks: Option<Acks>,
        json: bool,
        numbers: Arc<Numbers>,
    ) -> Self {
        let desks = queues.into_iter().map(|queue| Desk { batch: None, since: None, queue }).collect();
        let spare = None;
        Self { gate, room, pool, spare, desks, link, acks, json, numbers, received_micros: None, paused: false }
    }

    /// True if there is a batch for whatever comes.
    fn has_spare(&mut self) -> bool {
        if self.spare.is_none() {
            self.spare = self.pool.take();
        }
        self.spare.is_some()
    }

    /// Puts the records of a message into batches: into the one that grows, and what does not fit into the spare, which
    /// has room for all of them. False if something was left over.
    fn store(&mut self, connection: ConnectionId, mut payloads: Payloads<'_>) -> bool {
        let received_micros = *self.received_micros.get_or_insert_with(unix_micros);
        let head = Head { slot: connection.slot(), generation: connection.generation(), received_micros, bad: false };
        // A slot is used again only after its connection has ended, so this keeps a connection with its writer.
        let writer = connection.slot() as usize % self.desks.len();
        if let Some(mut batch) = self.desks[writer].batch.take() {
            self.fill(&mut batch, head, &mut payloads);
            self.desks[writer].batch = Some(batch);
        }
        if payloads.is_empty() {
            return true;
        }
        self.hand_over(writer);
        let Some(mut batch) = self.spare.take().or_else(|| self.pool.take()) else { return false };
        self.fill(&mut batch, head, &mut payloads);
        self.desks[writer].batch = Some(batch);
        payloads.is_empty()
    }

    /// Appends as many as find room. They are counted as in before anybody can hand the batch over.
    fn fill(&mut self, batch: &mut LogBatch, head: Head, payloads: &mut Payloads<'_>) {
        let mut came = Level::default();
        if self.json {
            self.fill_checked(batch, head, payloads, &mut came);
        } else {
            count(&mut came, tag::append(batch, &head, payloads));
        }
        if came.items > 0 {
            self.gate.enter_all(came);
            self.numbers.records_in.add_alone(came.items);
            self.numbers.bytes_queued.add_alone(came.bytes);
        }
    }

    /// One by one, because those that are bad are not of one run with those that are not.
    fn fill_checked(&self, batch: &mut LogBatch, head: Head, payloads: &mut Payloads<'_>, came: &mut Level) {
        while let Some(payload) = payloads.clone().next() {
            let bad = !is_json(payload);
            let one = tag::append(batch, &Head { bad, ..head }, &mut iter::once(payload));
            if one.0 == 0 {
                break;
            }
            payloads.next();
            count(came, one);
            self.numbers.records_bad.add_alone(u64::from(bad));
        }
    }

    fn hand_over(&mut self, writer: usize) {
        let desk = &mut self.desks[writer];
        desk.since = None;
        let Some(batch) = desk.batch.take() else { return };
        self.link.set_busy(writer, true);
        if let Err(batch) = desk.queue.put(batch) {
            // Its queue has a place for each batch there is, so it is closed: the writer has panicked.
            log::error!("writer {writer} has gone; {} records are lost", batch.len());
        }
    }

    /// Hands over what has waited long enough. Returns when the next has.
    ///
    /// A writer that works gets full batches only: what arrives meanwhile is gathered, and shares one write, or one
    /// sync, the next time.
    fn hand_over_due(&mut self, now: Instant) -> Option<Instant> {
        let urgent = !self.gate.is_open() || !self.has_spare();
        let linger = if self.acks.is_some() { Duration::ZERO } else { LINGER };
        let mut next: Option<Instant> = None;
        for writer in 0..self.desks.len() {
            let desk = &mut self.desks[writer];
            if desk.batch.is_none() {
                continue;
            }
            let due = *desk.since.get_or_insert(now) + linger;
            let idle = !self.link.is_busy(writer);
            if urgent || (idle && now >= due) {
                self.hand_over(writer);
                continue;
            }
            let look = if idle { due } else { now + LINGER };
            next = Some(next.map_or(look, |next| next.min(look)));
        }
        next
    }

    fn is_ready(&mut self) -> bool {
        self.gate.is_open() && self.link.is_well() && self.has_spare()
    }

    /// A sender whose record is too long was closed: its owner is to know why.
    fn note_refused(&self, peer: &Peer, error: &ProtocolError) {
        self.numbers.records_oversize.add_alone(1);
        let count = self.numbers.records_oversize.value();
        // Twice as many for each further line: whoever does it on purpose must not fill the log.
        if count.is_power_of_two() {
            log::warn!("the connection from {} was closed: {error}; that makes {count} so far", peer.address);
        }
    }

    fn note_pause(&mut self, open: bool) {
        if open == self.paused {
            self.paused = !open;
            self.numbers.pauses.note(open, Instant::now());
        }
    }
}

impl MessageProcessor<Framing> for Collector {
    fn started(&mut self, proxy: &WriteProxy<Framing>) {
        self.link.connect(proxy);
        if let Some(acks) = &mut self.acks {
            acks.connect(proxy);
        }
    }

    fn ready(&mut self) -> bool {
        let open = self.is_ready();
        self.note_pause(open);
        // The decoder is asked next.
        self.room.set(self.gate.room());
        open
    }

    fn process(&mut self, message: Message<'_, Framing>, reply: Reply<'_, Framing>) {
        let Run(records) = *message.layout();
        if !self.store(reply.connection(), Payloads::of(&message)) {
            log::error!("{}: a record found no place that was promised; it is refused", reply.connection());
            return reply.close();
        }
        self.numbers.bytes_in.add_alone((message.bytes().len() - records as usize * PREFIX) as u64);
        match &mut self.acks {
            Some(acks) => acks.received(reply, u64::from(records)),
            None => reply.none(),
        }
    }

    fn closed(&mut self, peer: &Peer, reason: &CloseReason) {
        if let Some(acks) = &mut self.acks {
            acks.closed(peer.connection);
        }
        match reason {
            CloseReason::PeerIncomplete { .. } | CloseReason::TooSlow { .. } | CloseReason::EvictedInbound { .. } => {
                self.numbers.records_incomplete.add_alone(1);
            }
            CloseReason::Protocol(error) => self.note_refused(peer, error),
            _ => {}
        }
        // Not louder: whoever breaks connections on purpose would write the log.
        log::debug!("{} from {}: {reason}", peer.connection, peer.address);
    }

    fn cycle_end(&mut self, now: Instant) -> Option<Instant> {
        self.received_micros = None;
        let waiting = self.gate.level();
        self.numbers.queue_records_high.raise_to(waiting.items);
        self.numbers.queue_bytes_high.raise_to(waiting.bytes);
        if let Some(acks) = &mut self.acks {
            acks.tell();
        }
        // Nobody may want to send any more, so nobody asks.
        if self.paused && self.is_ready() {
            self.note_pause(true);
        }
        self.hand_over_due(now)
    }
}

/// The server has stopped: writers get what is left, and nothing behind it.
impl Drop for Collector {
    fn drop(&mut self) {
        for writer in 0..self.desks.len() {
            self.hand_over(writer);
        }
        mem::take(&mut self.desks).iter().for_each(|desk| desk.queue.close());
    }
}

fn count(came: &mut Level, (records, bytes): (usize, usize)) {
    came.items += records as u64;
    came.bytes += bytes as u64;
}

/// JSON is UTF-8 (RFC 8259 section 8.1). The parser does not look at that where it keeps nothing, so it is looked at
/// before.
fn is_json(payload: &[u8]) -> bool {
    str::from_utf8(payload).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
}

fn unix_micros() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}
