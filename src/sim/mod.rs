//! The deterministic simulator: the processor over simulated sockets and a simulated clock.
//!
//! Everything that a network, a clock and a crowd of peers may do to a server happens here in one thread, much faster
//! than it would outside, and is drawn from one seed: what failed once fails again, in the same way.

mod clock;
mod laws;
mod link;
mod listener;
mod network;
mod peer;
mod pipe;
mod random;
mod schedule;
mod seen;
mod selector;
mod simulation;
mod socket;
mod watch;
mod weather;
mod workers;

pub use laws::Broken;
pub use listener::SimListener;
pub use network::{Network, NetworkCounts};
pub use peer::{End, Reading, SimPeer};
pub use random::Random;
pub use seen::Seen;
pub use selector::SimSelector;
pub use simulation::{Report, Simulation};
pub use socket::SimSocket;
pub use watch::Closed;
pub use weather::Weather;
pub use workers::SimWorkers;

#[cfg(test)]
mod contract;
