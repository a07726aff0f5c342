//! How much is on its way to one connection: read and charged by any thread.

use crate::id::ConnectionId;
use crate::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// Bits for the bytes; those above say whose they are.
const BYTES_BITS: u32 = 40;
const BYTES: u64 = (1 << BYTES_BITS) - 1;
/// Marks that tell connections apart; zero belongs to none. Two connections of one slot that are a multiple of sixteen
/// million apart have the same mark: an id that was kept for so long is taken for the newcomer's.
const MARKS: u64 = (1 << (u64::BITS - BYTES_BITS)) - 1;

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
    /// It has ended.
    Gone,
}

fn mark(connection: ConnectionId) -> u64 {
    (connection.generation() % MARKS + 1) << BYTES_BITS
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
            let fits = before & !BYTES == mark(connection) && has < high && more <= BYTES - has;
            fits.then_some(before + bytes as u64)
        });
        match charged {
            Ok(_) => Charge::Taken,
            Err(before) if before & !BYTES == mark(connection) => Charge::Full,
            Err(_) => Charge::Gone,
        }
    }

    /// Takes a charge back, unless the connection has ended, and the charge with it.
    pub(super) fn discharge(&self, connection: ConnectionId, bytes: usize) {
        let is_its = |before: u64| before & !BYTES == mark(connection);
        let _ =
            self.0.fetch_update(SeqCst, SeqCst, |before| is_its(before).then_some(before.wrapping_sub(bytes as u64)));
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

    /// True if the slot is this connection's.
    pub(super) fn is_of(&self, connection: ConnectionId) -> bool {
        self.0.load(SeqCst) & !BYTES == mark(connection)
    }

    /// Those of the connection; none once it has ended.
    pub(super) fn bytes_of(&self, connection: ConnectionId) -> u64 {
        let now = self.0.load(SeqCst);
        if now & !BYTES == mark(connection) { now & BYTES } else { 0 }
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
    fn nobody_has_the_mark_of_nobody() {
        let around = [0, 1, MARKS - 1, MARKS, MARKS + 1, u64::MAX];
        let marks = around.map(|generation| mark(ConnectionId::new(0, 0, generation)));
        assert!(marks.iter().all(|mark| *mark > BYTES && mark & BYTES == 0), "{marks:?}");
    }
}
