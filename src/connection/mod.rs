//! One peer.
mod close_reason;
mod timeouts;
pub use close_reason::CloseReason;
pub use timeouts::Timeouts;
