//! Memory: pooled blocks of three sizes, and what is built of them.
//!
//! Every byte that a peer can make the server hold lies in a [`Block`](block::Block) of a pool whose size was fixed at
//! start. Inbound, one connection has at most one block, and a message outgrows it by promotion to the next tier;
//! outbound, answers are chains of blocks.

mod block;
mod inbound;
mod lease;
mod line;
mod outbound;
mod pool;
mod segments;
mod tier;

pub use outbound::{Outbound, Prefix};
pub use pool::{HEADROOM, TIERS};
pub use tier::TierConfig;

pub(crate) use block::Block;
pub(crate) use inbound::{Inbound, Spares};
pub(crate) use lease::{RESERVE, reserve};
pub(crate) use line::Line;
pub(crate) use outbound::QUEUED_SEGMENTS;
pub(crate) use pool::{Pool, SharedPool};
pub(crate) use segments::{Queue, Segment, Segments};
pub(crate) use tier::Tier;
