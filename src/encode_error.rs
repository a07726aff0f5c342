//! Why an answer could not be written.

use std::fmt;

/// Why an answer could not be written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// The payload is longer than the protocol allows.
    PayloadTooLong {
        /// Its length in bytes.
        length: usize,
        /// What the protocol allows.
        limit: usize,
    },
    /// The copied part of the answer is longer than the server's `reply_max`.
    ReplyTooLong {
        /// How many bytes it would have needed at least.
        wanted: usize,
        /// The server's `reply_max`.
        limit: usize,
    },
    /// A queued answer that may not wait ([`WriteProxy::send`](crate::WriteProxy::send),
    /// [`Deferred::try_send`](crate::Deferred::try_send)) has at most four pieces: one for each static or shared part
    /// of 4 KiB or more, and one for each block of copied bytes. These bytes do not fit what is left.
    TooManyPieces {
        /// How many bytes were still to be placed.
        wanted: usize,
        /// How many bytes the remaining pieces hold.
        limit: usize,
    },
    /// Every outbound block is in use, and this caller may not wait for one.
    NoRoom {
        /// How many bytes were still to be placed.
        wanted: usize,
    },
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PayloadTooLong { length, limit } => {
                write!(f, "payload of {length} bytes is over the protocol's maximum of {limit}")
            }
            Self::ReplyTooLong { wanted, limit } => write!(
                f,
                "answer of at least {wanted} copied bytes is over reply_max = {limit}; raise it, or share bodies (no \
                 more of them than an answer has pieces, or they are copied)"
            ),
            Self::TooManyPieces { wanted, limit } => write!(
                f,
                "{wanted} more copied bytes are over the {limit} for which an unasked message has pieces left; \
                 put them before its shared parts, or share them, too"
            ),
            Self::NoRoom { wanted } => write!(f, "no outbound block is free for {wanted} more bytes"),
        }
    }
}

impl std::error::Error for EncodeError {}
