//! One peer: its socket, the bytes that it sent, the replies that it is owed, and how its connection ends.
//!
//! A connection is a record; the rooms of the processor work on it. It holds no block while it is idle.

mod close_reason;
mod deadline;
mod table;
mod timeouts;
mod when_full;

use std::io;
use std::num::NonZeroU32;
use std::time::Instant;

use crate::buffer::{Inbound, TIERS, Undelivered};
use crate::id::ConnectionId;
use crate::outbox::OwedList;
use crate::protocol::{Peer, Protocol};
use crate::reason::{CloseKind, Paused};

pub use close_reason::{CloseReason, CrowdScope};
use deadline::Pending;
pub(crate) use deadline::{Deadlines, Expiry, Output};
pub(crate) use table::Table;
pub use timeouts::Timeouts;
pub use when_full::WhenFull;

/// The `first_wait` of a connection that does not wait.
pub(crate) const NOT_WAITING: u64 = u64::MAX;

/// One connection.
pub(crate) struct Connection<K, P> {
    pub(crate) peer: Peer,
    pub(crate) socket: K,
    /// The parse state.
    pub(crate) protocol: P,
    pub(crate) inbound: Inbound,
    pub(crate) undelivered: Undelivered,
    pub(crate) owed: OwedList,
    pub(crate) deadlines: Deadlines,
    /// How long the unfinished message will be, if it has said so.
    pub(crate) needs: u32,
    /// How long its previous message was; 0 if less has come since.
    pub(crate) previous_length: u32,
    /// The most bytes that are still read from it. Bounded only while the server shuts down.
    pub(crate) read_out_left: u32,
    /// Its place among the holders of its block's tier.
    pub(crate) holder: Option<HolderAt>,
    pub(crate) paused: Paused,
    /// The number of its wait in a line; 0 if it is in none. An entry in a line is valid only for the wait for which it
    /// was made.
    pub(crate) wait: u64,
    /// The number of its first wait in any line since its last message was handed over: its rank there. [`NOT_WAITING`]
    /// if it has not had to wait since.
    pub(crate) first_wait: u64,
    pub(crate) flags: Flags,
    pub(crate) ending: Option<Box<Ending>>,
}

/// Where a connection stands among the holders of inbound blocks.
// A single number that is never zero, so that `Option` takes no more space: there is one for each connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HolderAt(NonZeroU32);

/// The tier has the lower bits, and the index, counted from one, the others. There are 2^28 blocks at most.
const TIER_BITS: u32 = 2;
const _: () = assert!(TIERS < 1 << TIER_BITS);

impl HolderAt {
    pub(crate) fn new(tier: usize, index: u32) -> Self {
        let from_one = NonZeroU32::MIN.saturating_add(index).get();
        Self(NonZeroU32::MIN.saturating_add((from_one << TIER_BITS | tier as u32) - 1))
    }

    pub(crate) fn tier(self) -> usize {
        self.0.get() as usize & ((1 << TIER_BITS) - 1)
    }

    pub(crate) fn index(self) -> u32 {
        (self.0.get() >> TIER_BITS) - 1
    }
}

/// What the cycle remembers about a connection.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Flags {
    /// The socket may have bytes, or the end of the stream. Stays set until a read finds nothing more.
    pub(crate) readable: bool,
    /// The peer has closed its side; the end of the stream is still to be read, after the bytes that came before it.
    pub(crate) read_closed: bool,
    /// The end of the stream was read.
    pub(crate) end_read: bool,
    /// The peer has said that it will send nothing more, and nothing more has been read.
    pub(crate) sends_no_more: bool,
    /// A message was handed over whose answer is the final one of the connection.
    pub(crate) has_final_answer: bool,
    /// The selector watches the socket, which it does from the end of the connection's first turn on.
    pub(crate) watched: bool,
    /// The selector watches for room in the socket, because the socket pushed back.
    pub(crate) write_interest: bool,
    /// It is closed, not paused, when its peer takes its answers too slowly.
    pub(crate) close_when_full: bool,
    /// Inbound holds bytes that `decode` has not seen yet.
    pub(crate) undecoded: bool,
    /// Why nothing can be written any more. Bytes that have arrived are still read.
    pub(crate) broken: Option<io::ErrorKind>,
}

/// How a connection ends.
#[derive(Debug)]
pub(crate) struct Ending {
    pub(crate) reason: CloseReason,
    /// Why a reply that it was owed did not come: what its peer is told if the reason tells it nothing.
    pub(crate) told_as: Option<CloseKind>,
    pub(crate) stage: Stage,
    /// A reply took too long, so the connection no longer waits for any of those that it is owed.
    pub(crate) gave_up_replies: bool,
    /// An answer has said that it is the final one of the connection.
    pub(crate) final_answer_given: bool,
    /// How many unasked messages, whatever their receivers, the processor will have taken once it has all that were
    /// sent before the end began. The end goes on then.
    pub(crate) messages_before: u64,
}

/// The stages of a connection's end, in order: owed replies, the last words, delivery of everything, half-close,
/// linger, close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Replies are still owed, or messages that were sent before are not taken yet.
    Owed,
    /// Output is still to be delivered.
    Flushing,
    /// The sending side is closed; bytes that still arrive are dropped until the peer closes too.
    Lingering {
        /// How many bytes were dropped.
        dropped: usize,
    },
}

impl<K, P: Protocol> Connection<K, P> {
    pub(crate) fn new(peer: Peer, socket: K, protocol: P, now: Instant) -> Self {
        Self {
            peer,
            socket,
            protocol,
            inbound: Inbound::default(),
            undelivered: Undelivered::default(),
            owed: OwedList::default(),
            deadlines: Deadlines::new(now),
            needs: 0,
            previous_length: 0,
            read_out_left: u32::MAX,
            holder: None,
            paused: Paused::NONE,
            wait: 0,
            first_wait: NOT_WAITING,
            flags: Flags::default(),
            ending: None,
        }
    }

    pub(crate) fn id(&self) -> ConnectionId {
        self.peer.connection
    }

    /// A message of this length was handed over.
    #[inline]
    pub(crate) fn message_ends(&mut self, length: usize) {
        self.deadlines.message_ends();
        self.needs = 0;
        self.first_wait = NOT_WAITING;
        self.previous_length = u32::try_from(length).unwrap_or(u32::MAX);
    }

    /// True if a turn would find something to do: bytes to decode, or bytes to read.
    pub(crate) fn has_input(&self) -> bool {
        self.flags.undecoded || self.flags.readable
    }

    /// True if the peer sends nothing more and everything that it has sent was read. Either the end of the stream was
    /// read, or the peer has announced that it is done: then the last read was short, so nothing is left, and a client
    /// that has asked for the end of its connection must not send anything after that (RFC 9112 section 9.6).
    pub(crate) fn has_heard_all(&self) -> bool {
        self.flags.end_read || (self.flags.sends_no_more && !self.flags.readable)
    }

    /// True if everything is said and delivered, and the connection only waits for the peer to close.
    pub(crate) fn lingers(&self) -> bool {
        self.ending.as_ref().is_some_and(|ending| matches!(ending.stage, Stage::Lingering { .. }))
    }

    /// True unless it has given up the replies that it is owed, or is past them.
    pub(crate) fn waits_for_replies(&self) -> bool {
        self.ending.as_ref().is_none_or(|ending| ending.stage == Stage::Owed && !ending.gave_up_replies)
    }

    /// True if it takes unasked messages: as long as it has not begun to end, and then until its end goes on, if it
    /// ends in good order and its final answer has not been given.
    pub(crate) fn takes_unasked(&self) -> bool {
        use CloseReason::{PeerClosed, Shutdown, User};
        let in_good_order = |ending: &Ending| matches!(ending.reason, PeerClosed | Shutdown | User);
        let takes = |ending: &Ending| in_good_order(ending) && !ending.final_answer_given;
        self.waits_for_replies() && self.ending.as_deref().is_none_or(takes)
    }

    /// True if a deadline may have come nearer since the timer was set.
    #[inline]
    pub(crate) fn needs_arming(&self) -> bool {
        self.deadlines.needs_arming(self.pending())
    }

    /// The timer was set for the next deadline, or there is none.
    pub(crate) fn note_armed(&mut self) {
        self.deadlines.note_armed(self.pending());
    }

    #[inline]
    fn pending(&self) -> Pending {
        Pending { owes: self.owed.count() > 0, ends: self.ending.is_some() }
    }

    /// True between messages with nothing owed and nothing undelivered.
    pub(crate) fn is_idle(&self) -> bool {
        self.inbound.buffered() == 0 && self.owed.count() == 0 && self.undelivered.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::http1::Http1;

    #[test]
    fn a_place_among_holders_is_what_it_was_made_of() {
        for (tier, index) in [(0, 0), (2, 0), (1, 77), (0, (1 << 28) - 1), (2, (1 << 28) - 1)] {
            let place = HolderAt::new(tier, index);
            assert_eq!((place.tier(), place.index()), (tier, index));
        }
        assert_eq!(size_of::<Option<HolderAt>>(), 4);
    }

    /// There are many connections, most of them idle, and the target for everything that one takes is 400 bytes.
    #[test]
    fn a_connection_is_small() {
        assert!(size_of::<Connection<u32, Http1>>() <= 376, "{}", size_of::<Connection<u32, Http1>>());
    }
}
