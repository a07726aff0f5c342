//! What the server counts, and a snapshot of it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::exposition::{Exposition, Kind};
use crate::reason::{CloseKind, DropReason, PauseReason};

/// Number of tiers in each pool, as metrics show them.
const TIERS: usize = 3;

/// A number that one thread writes and any thread reads. Adding is a load and a store, not a locked instruction.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `count`. Only on the one thread that writes this counter (the processor's, or the accepter's).
    #[inline]
    pub fn add(&self, count: usize) {
        self.0.store(self.0.load(Relaxed).wrapping_add(count as u64), Relaxed);
    }

    /// Adds `count`, from any thread.
    #[inline]
    pub fn add_shared(&self, count: usize) {
        self.0.fetch_add(count as u64, Relaxed);
    }

    /// Takes `count` off a gauge. Only on the one thread that writes it. Never clamped: an error must show.
    #[inline]
    pub fn sub(&self, count: usize) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(count as u64), Relaxed);
    }

    /// Sets a gauge.
    #[inline]
    pub fn set(&self, value: usize) {
        self.0.store(value as u64, Relaxed);
    }

    /// The value now.
    #[inline]
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Metrics {
    /// An answer or an unasked message of this many bytes found its connection gone, which any thread may notice.
    pub(crate) fn count_stale(&self, bytes: usize) {
        self.messages_dropped[DropReason::Stale as usize].add_shared(1);
        self.bytes_dropped[DropReason::Stale as usize].add_shared(bytes);
    }

    /// Bytes were queued for a peer and are still to be delivered to it.
    #[inline]
    pub(crate) fn count_queued(&self, bytes: usize) {
        self.bytes_queued.add(bytes);
        self.bytes_outbound.add(bytes);
    }

    /// Bytes that were queued for a peer were delivered to it.
    #[inline]
    pub(crate) fn count_delivered(&self, bytes: usize) {
        self.bytes_out.add(bytes);
        self.bytes_outbound.sub(bytes);
    }

    /// Bytes that were queued for a peer will not be delivered.
    pub(crate) fn count_undelivered(&self, bytes: usize) {
        self.bytes_outbound.sub(bytes);
        self.count_dropped(DropReason::Undelivered, bytes);
    }

    /// Bytes were dropped.
    pub(crate) fn count_dropped(&self, reason: DropReason, bytes: usize) {
        self.bytes_dropped[reason as usize].add(bytes);
    }
}

/// Makes [`Metrics`] and its [`Snapshot`] from one list, so that no counter is forgotten in either.
macro_rules! metrics {
    (
        single { $( $(#[doc = $doc:literal])+ $kind:ident $name:ident, )+ }
        by { $( $(#[doc = $by_doc:literal])+ $by_kind:ident $by_name:ident [$index:ty; $count:expr], )+ }
    ) => {
        /// All counters of one processor, and of the connections that the accepter has dealt to it. Read them with
        /// [`snapshot`](Metrics::snapshot).
        // Kept away from the counters of the next processor: two threads that count in one cache line would wait for
        // each other.
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub struct Metrics {
            $( $(#[doc = $doc])+ pub(crate) $name: Counter, )+
            $( $(#[doc = $by_doc])+ pub(crate) $by_name: [Counter; $count], )+
        }

        /// The counters at one moment. Each is exact; they were not read at the same instant.
        ///
        /// With several processors, each number is the sum of theirs. That also goes for the most that was ever in use
        /// (`..._high`): each processor reached its own maximum at a moment of its own, so all together never used more
        /// than the sum.
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Snapshot {
            $( $(#[doc = $doc])+ pub $name: u64, )+
            $( $(#[doc = $by_doc])+ pub $by_name: [u64; $count], )+
        }

        impl Metrics {
            /// Reads every counter, from any thread, without disturbing the server.
            pub fn snapshot(&self) -> Snapshot {
                Snapshot {
                    $( $name: self.$name.value(), )+
                    $( $by_name: std::array::from_fn(|index| self.$by_name[index].value()), )+
                }
            }
        }

        impl Snapshot {
            /// The numbers as a page for Prometheus, in its text format 0.0.4: families with `# HELP` and `# TYPE`,
            /// named like the fields of this struct, with `sluicegate_` before that, and `_total` behind a counter.
            /// Label names are `reason` and `tier`.
            #[must_use]
            pub fn to_prometheus(&self) -> String {
                let mut text = Exposition::default();
                $( text.family(Kind::$kind, stringify!($name), concat!($($doc),+)).sample(self.$name); )+
                $(
                    let mut family = text.family(Kind::$by_kind, stringify!($by_name), concat!($($by_doc),+));
                    for (index, value) in self.$by_name.iter().enumerate() {
                        family.labelled(<$index as Label>::KEY, <$index as Label>::label(index), *value);
                    }
                )+
                text.into_text()
            }

            /// Adds the numbers of another processor.
            pub(crate) fn add(&mut self, other: &Self) {
                $( self.$name = self.$name.wrapping_add(other.$name); )+
                $( for (sum, value) in self.$by_name.iter_mut().zip(other.$by_name) {
                    *sum = sum.wrapping_add(value);
                } )+
            }
        }

        /// For people: one line for each number, `name value`, or `name{label="..."} value`, where the label is
        /// `reason` or `tier`.
        impl fmt::Display for Snapshot {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                $( writeln!(f, "{} {}", stringify!($name), self.$name)?; )+
                $( for (index, value) in self.$by_name.iter().enumerate() {
                    let (key, label) = (<$index as Label>::KEY, <$index as Label>::label(index));
                    writeln!(f, "{}{{{key}=\"{label}\"}} {value}", stringify!($by_name))?;
                } )+
                Ok(())
            }
        }
    };
}

/// Names the places of a counter array.
trait Label {
    /// The label that tells the places apart.
    const KEY: &str;

    fn label(index: usize) -> &'static str;
}

impl Label for CloseKind {
    const KEY: &str = "reason";

    fn label(index: usize) -> &'static str {
        Self::ALL[index].name()
    }
}

impl Label for DropReason {
    const KEY: &str = "reason";

    fn label(index: usize) -> &'static str {
        Self::ALL[index].name()
    }
}

impl Label for PauseReason {
    const KEY: &str = "reason";

    fn label(index: usize) -> &'static str {
        Self::ALL[index].name()
    }
}

/// The index of counters by tier.
struct ByTier;

impl Label for ByTier {
    const KEY: &str = "tier";

    fn label(index: usize) -> &'static str {
        ["small", "medium", "large"][index]
    }
}

metrics! {
    single {
        /// Connections that the accepter took.
        Counter accepted,
        /// Times the accepter stopped because there was no room: `connections_max` was reached, or all hand-over queues
        /// were full. Peers wait in the backlog meanwhile.
        Counter accept_pauses,
        /// Times the system gave no connection for want of something, such as descriptors.
        Counter accept_failures,
        /// Connections that the processor has opened and not closed yet.
        Gauge open,
        /// Connections that were closed before they reached their processor.
        Counter accepted_unserved,
        /// Connections that the server still held up, or had not finished decoding, when the grace of its shutdown was
        /// over.
        Counter cut_off,
        /// Whole messages that were decoded and handed to the message processor.
        Counter messages_in,
        /// Answers and unasked messages whose bytes were queued for their peer.
        Counter messages_out,
        /// Bytes read from peers.
        Counter bytes_in,
        /// Bytes written to peers.
        Counter bytes_out,
        /// Bytes of whole messages that were handed to the message processor.
        Counter bytes_processed,
        /// Bytes of framing that were read and dropped before their message was whole.
        Counter bytes_framing,
        /// Bytes that arrived and that no message has consumed yet.
        Gauge bytes_buffered,
        /// Bytes that were queued for peers and have not left yet.
        Gauge bytes_outbound,
        /// All bytes that were ever queued for peers.
        Counter bytes_queued,
        /// Messages that moved to a larger block.
        Counter promotions,
        /// Times an encoder on another thread found neither block nor reserve.
        Counter encoder_waits,
        /// Times the processor's reserve was used.
        Counter reserve_used,
        /// Replies that are owed now.
        Gauge owed,
        /// Settled replies that wait for the processor.
        Gauge settled_queue,
        /// Unasked messages that wait for the processor.
        Gauge unasked_queue,
        /// Accepted sockets that wait for the processor.
        Gauge handover_queue,
        /// Panics of the user's code, or a protocol's, that were caught.
        Counter panics,
        /// Cycles of the processors.
        Counter cycles,
    }
    by {
        /// Connections closed, by reason ([`CloseKind`]).
        Counter closed [CloseKind; CloseKind::COUNT],
        /// Bytes dropped, inbound and outbound, by reason ([`DropReason`]).
        Counter bytes_dropped [DropReason; DropReason::COUNT],
        /// Answers and messages dropped, by reason ([`DropReason`]).
        Counter messages_dropped [DropReason; DropReason::COUNT],
        /// Inbound blocks in use, by tier.
        Gauge inbound_blocks [ByTier; TIERS],
        /// The most inbound blocks that were ever in use, by tier.
        Gauge inbound_blocks_high [ByTier; TIERS],
        /// Outbound blocks in use, by tier.
        Gauge outbound_blocks [ByTier; TIERS],
        /// The most outbound blocks that were ever in use, by tier.
        Gauge outbound_blocks_high [ByTier; TIERS],
        /// Inbound blocks held by messages that the user keeps.
        Gauge blocks_kept [ByTier; TIERS],
        /// Connections paused now, by reason.
        Gauge paused [PauseReason; PauseReason::COUNT],
        /// Times a connection was paused, by reason.
        Counter pauses [PauseReason; PauseReason::COUNT],
        /// Times a connection stood in line for a block, by tier.
        Counter block_waits [ByTier; TIERS],
        /// Partial messages whose block was taken away for others, by tier.
        Counter evictions [ByTier; TIERS],
    }
}

impl Snapshot {
    /// Connections closed for `kind`.
    pub fn closed_by(&self, kind: CloseKind) -> u64 {
        self.closed[kind as usize]
    }

    /// Connections closed, all reasons together.
    pub fn closed_total(&self) -> u64 {
        self.closed.iter().sum()
    }

    /// Bytes dropped for `reason`, which also says in which direction they were going.
    pub fn dropped_for(&self, reason: DropReason) -> u64 {
        self.bytes_dropped[reason as usize]
    }

    /// Times a connection was paused for `reason`.
    pub fn pauses_for(&self, reason: PauseReason) -> u64 {
        self.pauses[reason as usize]
    }

    /// LAW ledger: what came in is processed, framing, buffered or dropped; what was queued has left, is still queued
    /// or was dropped.
    ///
    /// True between two cycles; a snapshot taken from another thread in the middle of one may be off by that cycle.
    ///
    /// # Errors
    /// The first sum that differs, as a text with both numbers.
    pub fn check_ledger(&self) -> Result<(), String> {
        use DropReason::{AfterClose, Incomplete, Refused, Undecoded, Undelivered};
        let inbound: u64 =
            [Incomplete, Refused, AfterClose, Undecoded].iter().map(|reason| self.dropped_for(*reason)).sum();
        let accounted = self.bytes_processed + self.bytes_framing + self.bytes_buffered + inbound;
        if self.bytes_in != accounted {
            return Err(format!("bytes in {} are not the {accounted} accounted for", self.bytes_in));
        }
        let accounted = self.bytes_out + self.bytes_outbound + self.dropped_for(Undelivered);
        if self.bytes_queued != accounted {
            return Err(format!("bytes queued {} are not the {accounted} accounted for", self.bytes_queued));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_prints_a_line_a_number() {
        let metrics = Metrics::default();
        metrics.accepted.add(3);
        metrics.closed[CloseKind::Idle as usize].add(2);
        let text = metrics.snapshot().to_string();
        assert!(text.contains("accepted 3\n"), "{text}");
        assert!(text.contains("closed{reason=\"idle\"} 2\n"), "{text}");
        assert!(text.contains("inbound_blocks{tier=\"large\"} 0\n"), "{text}");
    }

    /// Every number, and each under what says what it is.
    #[test]
    fn a_page_for_prometheus_has_every_number_in_its_family() {
        let metrics = Metrics::default();
        metrics.open.add(3);
        metrics.closed[CloseKind::Idle as usize].add(2);
        let snapshot = metrics.snapshot();
        let page = snapshot.to_prometheus();
        assert!(page.contains("# TYPE sluicegate_open gauge\nsluicegate_open 3\n"), "{page}");
        assert!(page.contains("\nsluicegate_closed_total{reason=\"idle\"} 2\n"), "{page}");
        let (mut family, mut values) = ("", Vec::new());
        for line in page.lines() {
            if let Some(comment) = line.strip_prefix("# TYPE ") {
                let (name, kind) = comment.split_once(' ').expect("a name and a kind");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                family = name;
            } else if !line.starts_with("# HELP ") {
                let (name, value) = line.rsplit_once(' ').expect("a name and a number");
                assert_eq!(name.split('{').next(), Some(family), "{line}");
                values.push(value);
            }
        }
        let printed = snapshot.to_string();
        assert!(printed.lines().filter_map(|line| line.rsplit(' ').next()).eq(values), "{page}");
    }

    #[test]
    fn a_sum_is_that_of_every_number() {
        let metrics = Metrics::default();
        metrics.accepted.add(3);
        metrics.cycles.add(7);
        metrics.evictions[1].add(2);
        let (one, mut sum) = (metrics.snapshot(), Snapshot::default());
        [&one, &one].into_iter().for_each(|one| sum.add(one));
        assert_eq!((sum.accepted, sum.cycles, sum.evictions), (6, 14, [0, 4, 0]));
        let doubled = |line: &str| {
            let (name, value) = line.rsplit_once(' ').expect("two words");
            format!("{name} {}", value.parse::<u64>().expect("a number") * 2)
        };
        assert!(one.to_string().lines().map(doubled).eq(sum.to_string().lines()), "{sum}");
    }

    #[test]
    fn a_lost_byte_shows_in_the_ledger() {
        let metrics = Metrics::default();
        metrics.bytes_in.add(10);
        metrics.bytes_processed.add(7);
        metrics.bytes_buffered.add(3);
        assert_eq!(metrics.snapshot().check_ledger(), Ok(()));
        metrics.bytes_buffered.sub(1);
        assert!(metrics.snapshot().check_ledger().is_err());
    }
}
