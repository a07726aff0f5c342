//! Why a connection ended, with the details.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::outbox::Unanswered;
use crate::protocol::ProtocolError;
use crate::reason::CloseKind;

/// Why a connection ended. Given to [`MessageProcessor::closed`](crate::MessageProcessor::closed) exactly once.
#[derive(Debug)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer closed its side between two messages, and everything it was owed was delivered.
    PeerClosed,
    /// The peer closed its side in the middle of a message, or a read failed there.
    PeerIncomplete {
        /// How many bytes of the unfinished message had arrived.
        bytes: usize,
    },
    /// The socket failed, for this reason: between two messages, or while something was still to be delivered. If order
    /// matters (HTTP), usually also in the middle of a message: the failure is noticed before a read meets it.
    Socket(io::ErrorKind),
    /// The final answer of this connection was delivered.
    Finished,
    /// The program closed it: [`Reply::close`](crate::Reply::close),
    /// [`WriteProxy::close`](crate::WriteProxy::close) or [`abort`](crate::WriteProxy::abort), or
    /// [`Reply::none`](crate::Reply::none) if order matters.
    User,
    /// The peer broke the protocol.
    Protocol(ProtocolError),
    /// Nothing came for this long.
    Idle(Duration),
    /// A message did not arrive completely in time.
    TooSlow {
        /// How many bytes of it had arrived.
        bytes: usize,
        /// How long it had taken, not counting the time in which the connection was paused.
        elapsed: Duration,
    },
    /// The peer took none of its answers for this long: [`Timeouts::write_stall`](crate::Timeouts::write_stall).
    WriteStalled {
        /// How long.
        elapsed: Duration,
        /// How many bytes were still to be delivered.
        undelivered: usize,
    },
    /// A reply that was owed did not come in time.
    ReplyTimeout(Duration),
    /// The message was handled but not answered.
    Unanswered(Unanswered),
    /// There was no room, for a message or for an answer.
    NoRoom {
        /// How many bytes were wanted.
        wanted: usize,
        /// How many would fit at most. `None`: the wanted bytes would fit, but all blocks that can hold them were in
        /// use.
        limit: Option<usize>,
    },
    /// Others waited for its block, and it received the least of all holders: see
    /// [`Timeouts::famine`](crate::Timeouts::famine).
    EvictedInbound {
        /// How many bytes of its message had arrived.
        bytes: usize,
    },
    /// Room for answers ran low, and its undelivered output stood still, or was the one taken most slowly.
    EvictedOutbound {
        /// How many bytes were still to be delivered.
        undelivered: usize,
    },
    /// There were already too many connections when it came.
    Crowded {
        /// How many there may be.
        limit: usize,
        /// Whose connections the limit counts.
        scope: CrowdScope,
    },
    /// The peer took its answers too slowly, and [`WhenFull::Close`](crate::WhenFull::Close) applied to it.
    OutboundFull {
        /// How many bytes were still to be delivered.
        undelivered: usize,
    },
    /// The server was shut down.
    Shutdown,
}

/// Whose connections were too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrowdScope {
    /// Those of one address: [`Admission::per_address_max`](crate::Admission::per_address_max).
    Address,
    /// Those of the server: [`Admission::refuse_above`](crate::Admission::refuse_above).
    Server,
}

impl CloseReason {
    /// The kind under which metrics count it.
    pub fn kind(&self) -> CloseKind {
        match self {
            Self::PeerClosed => CloseKind::PeerClosed,
            Self::PeerIncomplete { .. } => CloseKind::PeerIncomplete,
            Self::Socket(_) => CloseKind::Socket,
            Self::Finished => CloseKind::Finished,
            Self::User => CloseKind::User,
            Self::Protocol(_) => CloseKind::Protocol,
            Self::Idle(_) => CloseKind::Idle,
            Self::TooSlow { .. } => CloseKind::TooSlow,
            Self::WriteStalled { .. } => CloseKind::WriteStalled,
            Self::ReplyTimeout(_) => CloseKind::ReplyTimeout,
            Self::Unanswered(_) => CloseKind::Unanswered,
            Self::NoRoom { .. } => CloseKind::NoRoom,
            Self::EvictedInbound { .. } => CloseKind::EvictedInbound,
            Self::EvictedOutbound { .. } => CloseKind::EvictedOutbound,
            Self::Crowded { .. } => CloseKind::Crowded,
            Self::OutboundFull { .. } => CloseKind::OutboundFull,
            Self::Shutdown => CloseKind::Shutdown,
        }
    }

    /// True for the reasons that promise that nothing was left undone.
    pub(crate) fn says_all_was_delivered(&self) -> bool {
        matches!(self, Self::PeerClosed | Self::Finished)
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PeerClosed => f.write_str("the peer closed it"),
            Self::PeerIncomplete { bytes } => write!(f, "the peer closed it {bytes} bytes into a message"),
            Self::Socket(kind) => write!(f, "the socket failed: {kind}"),
            Self::Finished => f.write_str("its last answer was given"),
            Self::User => f.write_str("the program closed it"),
            Self::Protocol(error) => write!(f, "the peer broke the protocol: {error}"),
            Self::Idle(limit) => write!(f, "idle for {limit:?}"),
            Self::TooSlow { bytes, elapsed } => {
                write!(f, "message too slow: {bytes} bytes in {elapsed:?}")
            }
            Self::WriteStalled { elapsed, undelivered } => {
                write!(f, "the peer took nothing for {elapsed:?}; {undelivered} bytes undelivered")
            }
            Self::ReplyTimeout(limit) => write!(f, "no reply within {limit:?}"),
            Self::Unanswered(why) => write!(f, "not answered: {why}"),
            Self::NoRoom { wanted, limit: Some(limit) } => {
                write!(f, "no room: {wanted} bytes wanted, the limit is {limit}")
            }
            Self::NoRoom { wanted, limit: None } => write!(f, "no room: every block for {wanted} bytes is in use"),
            Self::EvictedInbound { bytes } => {
                write!(f, "evicted: others waited for its block; {bytes} bytes of its message had arrived")
            }
            Self::EvictedOutbound { undelivered } => {
                write!(f, "evicted: room for answers ran low; {undelivered} bytes undelivered")
            }
            Self::Crowded { limit, scope: CrowdScope::Address } => write!(f, "its address had {limit} connections"),
            Self::Crowded { limit, scope: CrowdScope::Server } => write!(f, "there were {limit} connections"),
            Self::OutboundFull { undelivered } => {
                write!(f, "the peer takes its answers too slowly; {undelivered} bytes undelivered")
            }
            Self::Shutdown => f.write_str("the server was shut down"),
        }
    }
}
