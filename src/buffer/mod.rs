//! Memory: pooled blocks of three sizes, and the types built on them.
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
mod set_aside;
mod tier;

pub use block::Block;
pub use line::Line;
pub use outbound::{Outbound, Prefix};
pub use pool::{HEADROOM, Pool, SharedPool, TIERS};
pub use tier::{Tier, TierConfig};

pub(crate) use inbound::Inbound;
pub(crate) use lease::{RESERVE, reserve};
pub(crate) use outbound::{ANSWER_SEGMENTS, QUEUED_SEGMENTS, SLICES};
pub(crate) use pool::{LARGE, MEDIUM, SMALL};
pub(crate) use segments::{COPY_BELOW, Segment, Segments, Undelivered};
pub(crate) use set_aside::SetAside;
