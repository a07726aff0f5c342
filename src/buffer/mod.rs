//! Memory.
mod outbound;
pub use outbound::Outbound;
