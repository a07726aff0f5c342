//! STUB
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod buffer;
mod clock;
mod connection;
mod control;
mod encode_error;
mod handover;
mod id;
mod message_processor;
mod metrics;
mod outbox;
mod processor;
mod protocol;
mod reason;
#[cfg(feature = "sim")]
pub mod sim;
mod timer;
mod wake;

pub use buffer::{HEADROOM, Outbound, Prefix, TIERS, TierConfig};
pub use connection::{CloseReason, Timeouts};
pub use control::Finish;
pub use encode_error::EncodeError;
pub use id::ConnectionId;
pub use message_processor::MessageProcessor;
pub use metrics::{Metrics, Snapshot};
pub use outbox::{Deferred, Reply, SendError, WriteProxy};
pub use processor::{Readiness, Selector, Turn, Watermarks};
pub use protocol::{
    After, Decode, Encode, LengthPrefixed, Message, Peer, Protocol, ProtocolError, Refusal, length_prefixed,
};
pub use reason::{CloseKind, DropReason, PauseReason};
pub use wake::WakeFlag;
