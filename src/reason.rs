//! The plain enums that metrics count by: why a connection closed, why it is paused, why bytes were dropped.

use std::fmt;

/// Makes a field-less enum that can be listed, indexed and named.
macro_rules! counted_enum {
    ($(#[$outer:meta])* $name:ident { $($(#[$inner:meta])* $variant:ident => $text:literal,)+ }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum $name { $($(#[$inner])* $variant,)+ }

        impl $name {
            /// All of them, in the order in which metrics list them.
            pub const ALL: &[$name] = &[$($name::$variant,)+];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The name under which metrics and logs show it.
            pub const fn name(self) -> &'static str {
                match self { $($name::$variant => $text,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

counted_enum! {
    /// Why a connection ended, without the details that [`CloseReason`](crate::CloseReason) carries.
    CloseKind {
        /// The peer said that it was finished, between two messages.
        PeerClosed => "peer_closed",
        /// The peer said that it was finished, or a read failed, in the middle of a message.
        PeerIncomplete => "peer_incomplete",
        /// The socket failed: reset, broken pipe, timed out in the kernel.
        Socket => "socket",
        /// The last answer was given: the exchange or the answer said so.
        Finished => "finished",
        /// The program closed it: the message processor without an answer, or a `WriteProxy`.
        User => "user",
        /// The peer broke the protocol.
        Protocol => "protocol",
        /// Nothing came for `timeouts.idle`.
        Idle => "idle",
        /// A message took longer than its deadline.
        TooSlow => "too_slow",
        /// The peer took none of its answers for `timeouts.write_stall`.
        WriteStalled => "write_stalled",
        /// A reply that was owed did not come in time.
        ReplyTimeout => "reply_timeout",
        /// The message was handled and not answered: a reply that was dropped unused, a panic, or an answer that can't
        /// be encoded.
        Unanswered => "unanswered",
        /// An answer found no room, or a message outgrew the largest block.
        NoRoom => "no_room",
        /// Others needed its block, and it received the least of all holders.
        EvictedInbound => "evicted_inbound",
        /// Room for answers ran low, and its undelivered output stood still, or was the one taken most slowly.
        EvictedOutbound => "evicted_outbound",
        /// There were already too many connections when it came.
        Crowded => "crowded",
        /// Its peer took its answers too slowly, and `WhenFull::Close` applied to it.
        OutboundFull => "outbound_full",
        /// The server was shut down.
        Shutdown => "shutdown",
    }
}

counted_enum! {
    /// Why bytes or answers were dropped instead of delivered.
    DropReason {
        /// Bytes of a message that was never whole when its connection ended.
        Incomplete => "incomplete",
        /// Bytes that could not be part of a valid message, and those behind them.
        Refused => "refused",
        /// Bytes that arrived after the connection had begun to close, or behind the message that ended it.
        AfterClose => "after_close",
        /// Bytes that were still waiting for their turn to be decoded when the connection ended.
        Undecoded => "undecoded",
        /// Answer bytes that the peer never took.
        Undelivered => "undelivered",
        /// Answer bytes that were rolled back because the answer did not fit.
        RolledBack => "rolled_back",
        /// Answers for a connection that had already closed.
        Stale => "stale",
        /// Unasked messages that went back to their caller because there was no room in the outbox, or no block.
        OutboxFull => "outbox_full",
        /// Unasked messages that went back to their caller because the peer takes its messages too slowly.
        PeerTooSlow => "peer_too_slow",
    }
}

counted_enum! {
    /// One reason why a connection is not decoded at the moment.
    PauseReason {
        /// Its turn is over; the others come first. Resumed by the next cycle.
        Turn => "turn",
        /// A reply is owed and order matters, or too many are owed. Resumed by the reply.
        Owed => "owed",
        /// Its peer takes its answers too slowly. Resumed when enough was delivered.
        OutboundHigh => "outbound_high",
        /// It waits in line for a block, or for room for an answer. Resumed when one comes home.
        NoBlocks => "no_blocks",
        /// The message processor is not ready. Resumed by `WriteProxy::resume`.
        NotReady => "not_ready",
        /// It is about to end; what arrives is dropped. Never resumed.
        Closing => "closing",
    }
}

impl PauseReason {
    /// True if the server takes nothing because it is short of memory, or because its user is not ready. Waiting for an
    /// owed reply does not count, because that is the usual course of a message: a peer that asks again after each
    /// reply would be read forever.
    pub(crate) const fn is_shortage(self) -> bool {
        match self {
            Self::NoBlocks | Self::NotReady => true,
            Self::Turn | Self::Owed | Self::OutboundHigh | Self::Closing => false,
        }
    }

    /// True if the connection waits for the server and not for the peer.
    const fn is_by_server(self) -> bool {
        match self {
            Self::Turn | Self::Owed | Self::NoBlocks | Self::NotReady => true,
            Self::OutboundHigh | Self::Closing => false,
        }
    }

    /// True if a connection that is paused for it may stand in a line.
    pub(crate) const fn has_line(self) -> bool {
        match self {
            Self::Owed | Self::NoBlocks | Self::NotReady => true,
            Self::Turn | Self::OutboundHigh | Self::Closing => false,
        }
    }
}

/// The set of reasons why a connection is paused. It is decoded exactly when the set is empty.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Paused(u8);

impl Paused {
    /// The connection runs.
    pub const NONE: Self = Self(0);

    /// Adds `reason`; true if it was not there before.
    pub fn set(&mut self, reason: PauseReason) -> bool {
        let before = self.0;
        self.0 |= 1 << reason as u8;
        self.0 != before
    }

    /// Takes `reason` away; true if it was there.
    pub fn clear(&mut self, reason: PauseReason) -> bool {
        let before = self.0;
        self.0 &= !(1 << reason as u8);
        self.0 != before
    }

    /// True if `reason` is one of the reasons.
    pub const fn has(self, reason: PauseReason) -> bool {
        self.0 & (1 << reason as u8) != 0
    }

    /// True if nothing holds the connection up.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// True if the connection waits for the server and not for the peer.
    pub fn by_server(self) -> bool {
        self.iter().any(PauseReason::is_by_server)
    }

    /// True if one of the reasons is a [shortage](PauseReason::is_shortage) of the server.
    pub fn for_shortage(self) -> bool {
        self.iter().any(PauseReason::is_shortage)
    }

    /// The reasons, one by one.
    pub fn iter(self) -> impl Iterator<Item = PauseReason> {
        PauseReason::ALL.iter().copied().filter(move |reason| self.has(*reason))
    }
}

impl fmt::Debug for Paused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_set_and_cleared_one_by_one() {
        let mut paused = Paused::NONE;
        assert!(paused.set(PauseReason::Owed));
        assert!(!paused.set(PauseReason::Owed));
        assert!(paused.set(PauseReason::Turn));
        assert_eq!(format!("{paused:?}"), "{Turn, Owed}");
        assert!(paused.clear(PauseReason::Turn));
        assert!(!paused.clear(PauseReason::Turn));
        assert_eq!(paused.iter().collect::<Vec<_>>(), [PauseReason::Owed]);
        assert!(paused.by_server());
        assert!(paused.clear(PauseReason::Owed) && paused.is_empty());
    }
}
