//! What each thread has done so far, for whoever wants to see it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The numbers of one connection.
#[derive(Debug, Default)]
pub struct Tally {
    /// Records of which a part at least may have been sent: no more can be acknowledged.
    pub offered: AtomicU64,
    pub sent: AtomicU64,
    pub bytes: AtomicU64,
    pub acked: AtomicU64,
    /// Time in which the agent, or the network, did not take what was sent.
    pub blocked_micros: AtomicU64,
    pub ended: AtomicBool,
}

/// The numbers of all connections together.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sum {
    pub sent: u64,
    pub bytes: u64,
    pub acked: u64,
    pub blocked: Duration,
    pub ended: usize,
}

impl Sum {
    pub fn of(tallies: &[Tally]) -> Self {
        let mut sum = Self::default();
        for tally in tallies {
            sum.sent += tally.sent.load(Relaxed);
            sum.bytes += tally.bytes.load(Relaxed);
            sum.acked += tally.acked.load(Relaxed);
            sum.blocked += Duration::from_micros(tally.blocked_micros.load(Relaxed));
            sum.ended += usize::from(tally.ended.load(Relaxed));
        }
        sum
    }
}
