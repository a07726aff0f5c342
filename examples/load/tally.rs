//! What is counted while it is measured.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::trouble::Trouble;

/// The longest latency that is told from longer ones.
const LONGEST: Duration = Duration::from_secs(3600);

/// The counts of all connections.
pub struct Tally {
    /// In nanoseconds.
    pub latencies: Histogram<u64>,
    /// How long after their time requests left in an open loop that no other was in the way of, in nanoseconds.
    pub late: Histogram<u64>,
    /// Good answers.
    pub answers: u64,
    /// Answers since the very beginning, good or bad.
    pub answers_ever: u64,
    pub sent_bytes: u64,
    pub received_bytes: u64,
    /// Connections that were made anew.
    pub reconnects: u64,
    /// What went wrong, from the very beginning.
    pub troubles: BTreeMap<Trouble, u64>,
}

impl Tally {
    pub fn new() -> Self {
        let times = Histogram::new_with_bounds(100, LONGEST.as_nanos() as u64, 3).expect("these bounds are allowed");
        Self {
            latencies: times.clone(),
            late: times,
            answers: 0,
            answers_ever: 0,
            sent_bytes: 0,
            received_bytes: 0,
            reconnects: 0,
            troubles: BTreeMap::new(),
        }
    }

    /// Begins again. Trouble stays: it would not be less true for having come early.
    pub fn begin(&mut self) {
        self.latencies.reset();
        self.late.reset();
        self.answers = 0;
        self.sent_bytes = 0;
        self.received_bytes = 0;
        self.reconnects = 0;
    }

    /// A good answer. Its latency counts unless its request left before anything counted.
    pub fn answered(&mut self, latency: Option<Duration>) {
        self.answers += 1;
        if let Some(latency) = latency {
            self.latencies.saturating_record(latency.as_nanos() as u64);
        }
    }

    /// An answer that came too late to count as one, or not at all: how long it was waited for is known.
    pub fn waited(&mut self, waited: Duration) {
        self.latencies.saturating_record(waited.as_nanos() as u64);
    }

    pub fn trouble(&mut self, trouble: Trouble, count: u64) {
        if count > 0 {
            *self.troubles.entry(trouble).or_default() += count;
        }
    }

    /// How often anything went wrong.
    pub fn failed(&self) -> u64 {
        self.troubles.values().sum()
    }
}
