//! Flow: the parts between a processor that takes messages in and the threads that process them.
//!
//! - [`Gate`]: closes when enough is on its way, opens when most of that has gone. Ask it in
//!   [`MessageProcessor::ready`](crate::MessageProcessor::ready), and TCP tells the peers.
//! - [`Batch`]: one pooled block with many records in it, so that a record costs no allocation and a thread is handed
//!   many at a time.
//! - [`Queue`]: bounded, from one thread to another; taking may sleep, putting never waits.
//!
//! Each of them is bounded when it is made, knows no socket and no clock, and says how much memory it takes, for a row
//! of the ceiling ([`Server::count_in`](crate::Server::count_in)).

mod batch;
mod gate;
mod queue;

pub use batch::{Batch, BatchPool, BatchRun, RunAppender, RunPlace};
pub use gate::{Gate, GateExit, GateLimits, Level};
pub use queue::{Queue, Taken};
