//! How much is on its way to one connection: read and charged by any thread.

use crate::id::ConnectionId;
use crate::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// Bits for the bytes. The next two say that the connection is to close, and that it is to close at once; those above
/// say whose they are.
const BYTES_BITS: u32 = 38;
const BYTES: u64 = (1 << BYTES_BITS) - 1;
const TO_CLOSE: u64 = 1 << BYTES_BITS;
const TO_ABORT: u64 = TO_CLOSE << 1;
const MARK_SHIFT: u32 = BYTES_BITS + 2;
/// Marks that tell connections apart; zero belongs to none. Two connections of one slot that are a multiple of sixteen
/// million apart have the same mark: an id that was kept for so long is taken for the newcomer's.
const MARKS: u64 = (1 << (u64::BITS - MARK_SHIFT)) - 1;

/// Undelivered bytes of the connection in one slot of the table: queued there, and on their way. A charge is for one
/// connection, and fails if another has the slot now: owner and bytes are checked and changed in one step.
#[derive(Debug)]
pub(super) struct Gauge(AtomicU64);

/// The result of a charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Charge {
    Taken,
    /// The connection has too many bytes already.
    Full,
    /// It has ended, or was asked to.
    Gone,
}

fn mark(connection: ConnectionId) -> u64 {
    (connection.generation() % MARKS + 1) << MARK_SHIFT
}

/// True if a gauge with this `value` is the connection's, and the connection may be charged.
fn takes(value: u64, connection: ConnectionId) -> bool {
    is_its(value, connection) && value & TO_CLOSE == 0
}

/// True if a gauge with this `value` is the connection's.
fn is_its(value: u64, connection: ConnectionId) -> bool {
    value >> MARK_SHIFT << MARK_SHIFT == mark(connection)
}

impl Gauge {
    /// A gauge that belongs to no connection.
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// The slot is this connection's from now on.
    pub(super) fn open(&self, connection: ConnectionId) {
        self.0.store(mark(connection), SeqCst);
    }

    /// The connection has ended, with whatever is on its way to it.
    pub(super) fn close(&self) {
        self.0.store(0, SeqCst);
    }

    /// Counts bytes as on their way to the connection, if it has less than `high`, and no more than can be counted with
    /// them.
    pub(super) fn charge(&self, connection: ConnectionId, bytes: usize, high: u64) -> Charge {
        let charged = self.0.fetch_update(SeqCst, SeqCst, |before| {
            let (has, more) = (before & BYTES, bytes as u64);
            let fits = takes(before, connection) && has < high && more <= BYTES - has;
            fits.then_some(before + bytes as u64)
        });
        match charged {
            Ok(_) => Charge::Taken,
            Err(before) if takes(before, connection) => Charge::Full,
            Err(_) => Charge::Gone,
        }
    }

    /// Asks the connection to close: nothing more is charged to it. False if that changes nothing.
    pub(super) fn ask_to_close(&self, connection: ConnectionId) -> bool {
        let asked = |before: u64| takes(before, connection).then_some(before | TO_CLOSE);
        self.0.fetch_update(SeqCst, SeqCst, asked).is_ok()
    }

    /// Asks the connection to close at once, also if it was asked to close before. False if that changes nothing.
    pub(super) fn ask_to_abort(&self, connection: ConnectionId) -> bool {
        let is_new = |before: u64| is_its(before, connection) && before & TO_ABORT == 0;
        let asked = |before: u64| is_new(before).then_some(before | TO_CLOSE | TO_ABORT);
        self.0.fetch_update(SeqCst, SeqCst, asked).is_ok()
    }

    /// True if the connection in the slot was asked to close at once.
    pub(super) fn is_to_abort(&self) -> bool {
        self.0.load(SeqCst) & TO_ABORT != 0
    }

    /// True if the connection in the slot was asked to close.
    pub(super) fn is_to_close(&self) -> bool {
        self.0.load(SeqCst) & TO_CLOSE != 0
    }

    /// Takes a charge back, unless the connection has ended, and the charge with it.
    pub(super) fn discharge(&self, connection: ConnectionId, bytes: usize) {
        let less = |before: u64| is_its(before, connection).then_some(before.wrapping_sub(bytes as u64));
        let _ = self.0.fetch_update(SeqCst, SeqCst, less);
    }

    /// Counts bytes that were queued at the connection, which is there.
    pub(super) fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, SeqCst);
    }

    /// Counts bytes off that were delivered or dropped at the connection, which is there.
    pub(super) fn sub(&self, bytes: usize) {
        self.0.fetch_sub(bytes as u64, SeqCst);
    }

    /// Undelivered bytes of the connection in the slot.
    #[cfg(any(test, feature = "sim"))]
    pub(super) fn bytes(&self) -> u64 {
        self.0.load(SeqCst) & BYTES
    }

    /// True if the slot is this connection's, and it was not asked to close.
    pub(super) fn takes(&self, connection: ConnectionId) -> bool {
        takes(self.0.load(SeqCst), connection)
    }

    /// Those of the connection; none once it has ended.
    pub(super) fn bytes_of(&self, connection: ConnectionId) -> u64 {
        let now = self.0.load(SeqCst);
        if is_its(now, connection) { now & BYTES } else { 0 }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn only_who_is_there_is_charged() {
        let (gauge, high) = (Gauge::new(), 100);
        let [first, second] = [1, 2].map(|generation| ConnectionId::new(0, 7, generation));
        assert_eq!(gauge.charge(first, 10, high), Charge::Gone);
        gauge.open(first);
        assert_eq!(gauge.charge(first, 150, high), Charge::Taken, "one on top");
        assert_eq!(gauge.charge(first, 1, high), Charge::Full);
        gauge.close();
        gauge.open(second);
        assert_eq!((gauge.charge(first, 1, high), gauge.charge(second, 5, high)), (Charge::Gone, Charge::Taken));
        gauge.discharge(first, 150);
        assert_eq!((gauge.bytes(), gauge.bytes_of(first), gauge.bytes_of(second)), (5, 0, 5));
        gauge.discharge(second, 5);
        assert_eq!(gauge.bytes(), 0);
    }

    #[test]
    fn more_than_can_be_counted_is_not_taken() {
        let (gauge, high) = (Gauge::new(), u64::MAX);
        let connection = ConnectionId::new(0, 7, 1);
        gauge.open(connection);
        assert_eq!(gauge.charge(connection, BYTES as usize - 1, high), Charge::Taken);
        assert_eq!(gauge.charge(connection, 2, high), Charge::Full);
        assert_eq!(gauge.charge(connection, 1, high), Charge::Taken);
        assert_eq!(gauge.bytes_of(connection), BYTES);
    }

    #[test]
    fn who_is_asked_to_close_is_charged_nothing_more() {
        let (gauge, high) = (Gauge::new(), 100);
        let [first, second] = [1, 2].map(|generation| ConnectionId::new(0, 7, generation));
        assert!(!gauge.ask_to_close(first), "it is not there");
        gauge.open(first);
        assert_eq!(gauge.charge(first, 10, high), Charge::Taken);
        assert!(!gauge.ask_to_close(second) && !gauge.is_to_close(), "another one");
        assert!(gauge.ask_to_close(first) && gauge.is_to_close());
        assert!(!gauge.ask_to_close(first), "it was asked already");
        assert_eq!((gauge.charge(first, 1, high), gauge.bytes_of(first)), (Charge::Gone, 10));
        gauge.discharge(first, 4);
        gauge.sub(6);
        assert_eq!((gauge.bytes(), gauge.is_to_close()), (0, true));
        assert!(!gauge.is_to_abort() && !gauge.ask_to_abort(second) && gauge.ask_to_abort(first), "it still may be");
        assert!(!gauge.ask_to_abort(first) && gauge.is_to_abort() && gauge.is_to_close());
        gauge.open(second);
        assert!(!gauge.is_to_close() && !gauge.is_to_abort(), "its successor was not asked");
        assert!(gauge.ask_to_abort(second) && gauge.is_to_close());
        assert_eq!(gauge.charge(second, 1, high), Charge::Gone);
    }

    #[test]
    fn nobody_has_the_mark_of_nobody() {
        let around = [0, 1, MARKS - 1, MARKS, MARKS + 1, u64::MAX];
        let marks = around.map(|generation| mark(ConnectionId::new(0, 0, generation)));
        assert!(marks.iter().all(|mark| *mark > TO_ABORT && mark & (BYTES | TO_CLOSE | TO_ABORT) == 0), "{marks:?}");
    }
}
