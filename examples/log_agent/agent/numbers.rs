//! What the agent counts.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::pauses::Pauses;

/// A number that any thread may read.
#[derive(Debug, Default)]
pub struct Number(AtomicU64);

impl Number {
    /// Adds, from any thread.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Relaxed);
    }

    /// Adds without a locked instruction: only on the one thread that writes this number.
    pub fn add_alone(&self, count: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(count), Relaxed);
    }

    /// Takes off, from any thread.
    pub fn sub(&self, count: u64) {
        self.0.fetch_sub(count, Relaxed);
    }

    /// Keeps the larger of the two.
    pub fn raise_to(&self, value: u64) {
        if value > self.value() {
            self.0.fetch_max(value, Relaxed);
        }
    }

    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Upper bounds of the histogram of syncs, in microseconds; what is longer has a place of its own behind them.
pub const SYNC_BUCKETS: [u64; 10] = [100, 300, 1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000];

/// Everything that is counted.
#[derive(Debug, Default)]
pub struct Numbers {
    /// Records and their payload, taken from connections.
    pub records_in: Number,
    pub bytes_in: Number,
    /// The same bytes with the newlines that were added, as the gate counts them.
    pub bytes_queued: Number,
    /// Records that are not JSON.
    pub records_bad: Number,
    /// Connections that ended in the middle of a record, because their peer did, was too slow, or held a block that
    /// others waited for. Whether one that ends for another reason had a part of a record, nobody says.
    pub records_incomplete: Number,
    /// Connections that were closed because a record was longer than the cap.
    pub records_oversize: Number,
    /// The most records and bytes that ever waited.
    pub queue_records_high: Number,
    pub queue_bytes_high: Number,
    /// How long nothing was taken in.
    pub pauses: Pauses,
    /// Records and bytes (newlines and index included) that segments have got.
    pub records_written: Number,
    pub bytes_written: Number,
    /// Those of these records that are not where they were written, and are written once more: a write or a sync has
    /// failed behind them, or somebody has deleted them before anybody was told of them.
    pub records_rewritten: Number,
    /// How long writers were writing.
    pub write_micros: Number,
    /// Syncs by how long they took, their sum, and those that failed.
    pub syncs: [Number; SYNC_BUCKETS.len() + 1],
    pub sync_micros: Number,
    pub syncs_failed: Number,
    /// Times a writer could not write, and writers that can't now.
    pub troubles: Number,
    pub troubled: Number,
    /// Segments by what became of them.
    pub segments_opened: Number,
    pub segments_finished: Number,
    pub segments_compressed: Number,
    /// Deleted by somebody else while they were being written.
    pub segments_deleted: Number,
    /// Deleted to make room, and the records in them; and those of them whose records nobody could count.
    pub segments_dropped: Number,
    pub records_dropped: Number,
    pub segments_dropped_uncounted: Number,
    /// Records whose acknowledgement was sent.
    pub records_acked: Number,
}

impl Numbers {
    /// Counts a sync that took `time`.
    pub fn synced(&self, time: Duration) {
        let micros = time.as_micros() as u64;
        let bucket = SYNC_BUCKETS.iter().position(|most| micros <= *most).unwrap_or(SYNC_BUCKETS.len());
        self.syncs[bucket].add(1);
        self.sync_micros.add(micros);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syncs_are_sorted_by_how_long_they_took() {
        let numbers = Numbers::default();
        for micros in [1, 100, 101, 5_000_000] {
            numbers.synced(Duration::from_micros(micros));
        }
        let counts: Vec<_> = numbers.syncs.iter().map(Number::value).collect();
        assert_eq!(counts, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(numbers.sync_micros.value(), 5_000_202);
    }

    #[test]
    fn a_high_water_mark_does_not_sink() {
        let number = Number::default();
        number.raise_to(5);
        number.raise_to(3);
        assert_eq!(number.value(), 5);
    }
}
