//! One peer.
mod close_reason;
pub use close_reason::CloseReason;
