//! The processor of records: puts each into a batch, and hands batches to writers.

use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::de::IgnoredAny;
use sluicegate::flow::{Gate, Queue};
use sluicegate::{CloseReason, ConnectionId, LengthPrefixed, Message, MessageProcessor, Reply, WriteProxy};

use super::acks::Acks;
use super::link::Link;
use super::numbers::Numbers;
use super::tag::{LogBatch, LogPool, Tag};

/// How long the first record of a batch waits for others, when nobody waits for its acknowledgement.
const LINGER: Duration = Duration::from_millis(5);

/// Where batches for one writer are left.
pub type BatchQueue = Arc<Queue<LogBatch>>;

/// Runs on the processor thread and never waits. What a writer can't take yet stays in its batch; when there are no more
/// batches, connections wait, undecoded.
pub struct Collector {
    gate: Gate,
    pool: LogPool,
    /// The batch for a record that does not fit the one it belongs to: `ready` has promised it.
    spare: Option<LogBatch>,
    desks: Vec<Desk>,
    link: Arc<Link>,
    /// With `--ack`.
    acks: Option<Acks>,
    json: bool,
    numbers: Arc<Numbers>,
    /// When the records of this cycle were received.
    received_micros: Option<u64>,
    paused_since: Option<Instant>,
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
    pub fn new(
        gate: Gate,
        pool: LogPool,
        queues: Vec<BatchQueue>,
        link: Arc<Link>,
        acks: Option<Acks>,
        json: bool,
        numbers: Arc<Numbers>,
    ) -> Self {
        let desks = queues.into_iter().map(|queue| Desk { batch: None, since: None, queue }).collect();
        let spare = None;
        Self { gate, pool, spare, desks, link, acks, json, numbers, received_micros: None, paused_since: None }
    }

    /// True if there is a batch for whatever comes.
    fn has_spare(&mut self) -> bool {
        if self.spare.is_none() {
            self.spare = self.pool.take();
        }
        self.spare.is_some()
    }

    fn store(&mut self, connection: ConnectionId, payload: &[u8]) -> bool {
        let newline_added = payload.last() != Some(&b'\n');
        let bad = self.json && !is_json(payload);
        let received_micros = *self.received_micros.get_or_insert_with(unix_micros);
        let tag =
            Tag { slot: connection.slot(), generation: connection.generation(), received_micros, newline_added, bad };
        let newline: &[u8] = if newline_added { b"\n" } else { b"" };
        let (pieces, tag) = ([payload, newline], tag.encode());
        // A slot is used again only after its connection has ended, so this keeps a connection with its writer.
        let writer = connection.slot() as usize % self.desks.len();
        let placed = self.desks[writer].batch.as_mut().is_some_and(|batch| batch.push(&pieces, tag));
        if !placed {
            self.hand_over(writer);
            let Some(mut batch) = self.spare.take().or_else(|| self.pool.take()) else { return false };
            if !batch.push(&pieces, tag) {
                return false;
            }
            self.desks[writer].batch = Some(batch);
        }
        self.gate.enter(payload.len() + newline.len());
        self.numbers.records_in.add_alone(1);
        self.numbers.bytes_in.add_alone(payload.len() as u64);
        self.numbers.bytes_queued.add_alone((payload.len() + newline.len()) as u64);
        self.numbers.records_bad.add_alone(u64::from(bad));
        true
    }

    fn hand_over(&mut self, writer: usize) {
        let desk = &mut self.desks[writer];
        desk.since = None;
        let Some(batch) = desk.batch.take() else { return };
        self.link.set_busy(writer, true);
        if let Err(batch) = desk.queue.put(batch) {
            // Its queue has a place for each batch there is, and is closed by nobody else.
            log::error!("writer {writer} has gone; {} records are lost", batch.len());
        }
    }

    /// Hands over what has waited long enough. Returns when the next has.
    ///
    /// A writer that works gets full batches only: what arrives meanwhile is gathered, and shares one write, or one sync,
    /// the next time.
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

    fn note_pause(&mut self, open: bool) {
        match (open, self.paused_since) {
            (false, None) => {
                self.paused_since = Some(Instant::now());
                self.numbers.paused_from_micros.set(unix_micros());
            }
            (true, Some(since)) => {
                self.paused_since = None;
                self.numbers.paused_from_micros.set(0);
                self.numbers.paused_micros.add_alone(since.elapsed().as_micros() as u64);
            }
            _ => {}
        }
    }
}

impl MessageProcessor<LengthPrefixed> for Collector {
    fn started(&mut self, proxy: &WriteProxy<LengthPrefixed>) {
        self.link.connect(proxy);
        if let Some(acks) = &mut self.acks {
            acks.connect(proxy);
        }
    }

    fn ready(&mut self) -> bool {
        let open = self.gate.is_open() && self.link.is_well() && self.has_spare();
        self.note_pause(open);
        open
    }

    fn process(&mut self, message: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>) {
        if !self.store(reply.connection(), message.payload()) {
            log::error!("{}: a record found no place that was promised; it is refused", reply.connection());
            return reply.close();
        }
        match &mut self.acks {
            Some(acks) => acks.received(reply),
            None => reply.none(),
        }
    }

    fn closed(&mut self, connection: ConnectionId, reason: &CloseReason) {
        if let Some(acks) = &mut self.acks {
            acks.closed(connection);
        }
        match reason {
            CloseReason::PeerIncomplete { .. } | CloseReason::TooSlow { .. } | CloseReason::EvictedInbound { .. } => {
                self.numbers.records_incomplete.add_alone(1);
            }
            CloseReason::Protocol(_) => self.numbers.records_oversize.add_alone(1),
            _ => {}
        }
        // Not louder: whoever breaks connections on purpose would write the log.
        log::debug!("{connection}: {reason}");
    }

    fn cycle_end(&mut self, now: Instant) -> Option<Instant> {
        self.received_micros = None;
        let waiting = self.gate.level();
        self.numbers.queue_records_high.raise_to(waiting.items);
        self.numbers.queue_bytes_high.raise_to(waiting.bytes);
        if let Some(acks) = &mut self.acks {
            acks.tell();
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

fn is_json(payload: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(payload).is_ok()
}

fn unix_micros() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}
