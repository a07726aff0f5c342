//! The deterministic simulator: the processor over simulated sockets and a simulated clock.
//!
//! Everything that a network, a clock and a crowd of peers may do to a server happens here in one thread, much faster
//! than it would outside, and is drawn from one seed: what failed once fails again, in the same way.

mod clock;
mod link;
mod network;
mod peer;
mod pipe;
mod random;
mod schedule;
mod selector;
mod socket;
mod weather;

pub use network::{Network, NetworkCounts};
pub use peer::{End, Reading, SimPeer};
pub use random::Random;
pub use selector::SimSelector;
pub use socket::SimSocket;
pub use weather::Weather;

#[cfg(test)]
mod contract;
