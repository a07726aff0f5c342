//! The events that a simulation has seen: a test that is meant to see every kind can tell whether it did.

use std::collections::BTreeMap;
use std::fmt::Display;

use super::NetworkCounts;
use crate::connection::Stage;
use crate::metrics::Snapshot;
use crate::processor::Inspected;
use crate::reason::{CloseKind, DropReason, PauseReason};

/// How often each kind of event was seen, by its name.
///
/// Names begin with what they are about: `pause owed`, `close idle`, `drop stale`, `half-close while lingering`,
/// `network short writes`, ... Events that can be seen but were not are listed with 0.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen(BTreeMap<String, u64>);

/// All states that a connection can be in when its peer's end of stream arrives.
const HALF_CLOSES: [&str; 9] = [
    "between messages",
    "in a message",
    "outbound_high",
    "owed",
    "no_blocks",
    "not_ready",
    "ending owed",
    "flushing",
    "lingering",
];

impl Seen {
    /// How often `name` was seen.
    pub fn count(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// All names with their counts, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(name, count)| (name.as_str(), *count))
    }

    /// The names of what was never seen.
    pub fn missing(&self) -> Vec<&str> {
        self.iter().filter(|(_, count)| *count == 0).map(|(name, _)| name).collect()
    }

    /// Counts an event that the test itself defines.
    pub fn add(&mut self, name: impl Display, count: u64) {
        *self.0.entry(name.to_string()).or_default() += count;
    }

    /// Adds what another run has seen.
    pub fn merge(&mut self, other: &Self) {
        other.iter().for_each(|(name, count)| self.add(name, count));
    }

    /// Notes the end of a peer's stream, with what its connection was doing at that moment.
    pub(super) fn note_half_close(&mut self, connection: &Inspected) {
        self.add(format_args!("half-close while {}", doing(connection)), 1);
    }

    /// Notes the counts of the server and of the network.
    pub(super) fn note_counters(&mut self, metrics: &Snapshot, network: &NetworkCounts) {
        HALF_CLOSES.iter().for_each(|doing| self.add(format_args!("half-close while {doing}"), 0));
        CloseKind::ALL.iter().for_each(|kind| self.add(format_args!("close {kind}"), metrics.closed_by(*kind)));
        PauseReason::ALL
            .iter()
            .for_each(|reason| self.add(format_args!("pause {reason}"), metrics.pauses_for(*reason)));
        for reason in DropReason::ALL {
            let dropped = metrics.dropped_for(*reason) + metrics.messages_dropped[*reason as usize];
            self.add(format_args!("drop {reason}"), dropped);
        }
        for (tier, name) in ["small", "medium", "large"].iter().enumerate() {
            self.add(format_args!("wait for a {name} block"), metrics.block_waits[tier]);
            self.add(format_args!("eviction from a {name} block"), metrics.evictions[tier]);
        }
        self.add("promotions", metrics.promotions);
        self.add("panics", metrics.panics);
        self.add("reserve used", metrics.reserve_used);
        self.note_network(network);
    }

    fn note_network(&mut self, network: &NetworkCounts) {
        let named = [
            ("short writes", network.short_writes),
            ("full writes", network.full_writes),
            ("resets", network.resets),
            ("hidden ends", network.hidden_ends),
            ("windows closed", network.windows_closed),
            ("spurious readiness", network.spurious),
            ("interruptions", network.interruptions),
            ("clock jumps", network.jumps),
            ("frozen sleeps", network.freezes),
            ("selector failures", network.selector_failures),
        ];
        named.into_iter().for_each(|(name, count)| self.add(format_args!("network {name}"), count));
    }
}

fn doing(connection: &Inspected) -> &'static str {
    use PauseReason::{NoBlocks, NotReady, OutboundHigh, Owed};
    let paused = |reason| connection.paused.has(reason);
    match connection.stage {
        Some(Stage::Owed) => "ending owed",
        Some(Stage::Flushing) => "flushing",
        Some(Stage::Lingering { .. }) => "lingering",
        None if paused(NoBlocks) => "no_blocks",
        None if paused(OutboundHigh) => "outbound_high",
        None if paused(NotReady) => "not_ready",
        None if paused(Owed) => "owed",
        None if connection.buffered > 0 => "in a message",
        None => "between messages",
    }
}
