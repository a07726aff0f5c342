//! The deterministic simulator: the real processor with a simulated listener, in a world drawn from one seed. For
//! tests; behind the feature `sim`.
//!
//! The processor is the real one, with its real memory, timers and queues. The world around it is simulated: the
//! network, the peers at the other end, the clock, and other threads. Everything that these may do to a server happens
//! here in one thread, thousands of times faster than in reality: bytes that come in any pieces, ends of stream at the
//! wrong moment, resets, peers that do not read, sleeps that are too long, clocks that jump. All of it is drawn from a
//! seed, so a failure can be repeated, exactly, as often as it takes to understand it.
//!
//! After each cycle the simulation checks the server's own laws, so a test needs to check only what its own
//! [`MessageProcessor`](crate::MessageProcessor) promises.
//!
//! A line in `Cargo.toml` gives it to tests; programs are built without it:
//!
//! ```toml
//! [dev-dependencies]
//! sluicegate = { path = "../sluicegate", features = ["sim"] }
//! ```
//!
//! # A first simulation
//!
//! ```
//! use std::time::Duration;
//!
//! use sluicegate::sim::{Simulation, Weather};
//! use sluicegate::{Config, Finish, LengthPrefixed, Message, Reply};
//!
//! let echo = |message: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>| reply.send(message.payload());
//! let mut simulation = Simulation::new(7, Config::default(), LengthPrefixed::default(), |_, _| echo)?;
//!
//! // Bytes arrive one by one, each within 20 ms, and the server can write three before its peer reads.
//! let rough = Weather { piece_max: 1, delay_max: Duration::from_millis(20), send_buffer: 3, ..Weather::calm() };
//! let peer = simulation.connect(rough).expect("there is room");
//! peer.send(b"\0\0\0\x05hello");
//! peer.finish();
//! simulation.run_for(Duration::from_secs(5))?;
//! assert_eq!(peer.take_received(), b"\0\0\0\x05hello");
//!
//! let report = simulation.shutdown(Duration::from_secs(1), Finish::Answer)?;
//! assert_eq!(report.metrics.messages_in, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Finding a bug
//!
//! A counter for each connection, with a bug that no test on a quiet network finds: it identifies connections by their
//! slot, and slots are used again. The number of peers is drawn, the simulation is run for one seed after the other,
//! and in one of the runs a peer comes after another has gone.
//!
//! ```
//! use std::collections::HashMap;
//! use std::time::Duration;
//!
//! use sluicegate::sim::{Random, Simulation, Weather};
//! use sluicegate::{Config, ConnectionId, LengthPrefixed, Message, MessageProcessor, Reply};
//!
//! struct Counter {
//!     counts: HashMap<u64, u8>,
//!     key: fn(ConnectionId) -> u64,
//! }
//!
//! impl MessageProcessor<LengthPrefixed> for Counter {
//!     fn process(&mut self, message: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>) {
//!         let count = self.counts.entry((self.key)(message.peer().connection)).or_default();
//!         *count += 1;
//!         reply.send(&[*count]);
//!     }
//! }
//!
//! /// True if every peer saw its count begin at one.
//! fn holds(seed: u64, key: fn(ConnectionId) -> u64) -> Result<bool, Box<dyn std::error::Error>> {
//!     let mut random = Random::new(seed);
//!     let counter = |_: &_, _: &_| Counter { counts: HashMap::new(), key };
//!     let mut simulation = Simulation::new(seed, Config::default(), LengthPrefixed::default(), counter)?;
//!     for _ in 0..random.between(1, 5) {
//!         let peer = simulation.connect(Weather::drawn(&mut random)).expect("there is room");
//!         peer.send(b"\0\0\0\x01a\0\0\0\x01b");
//!         if random.chance(500) {
//!             peer.finish();
//!         }
//!         simulation.run_for(Duration::from_secs(10))?;
//!         if peer.take_received() != b"\0\0\0\x01\x01\0\0\0\x01\x02" {
//!             return Ok(false);
//!         }
//!     }
//!     Ok(true)
//! }
//!
//! let by_slot = |id: ConnectionId| id.slot().into();
//! let found = (0..100).find(|seed| !holds(*seed, by_slot).expect("the server keeps its laws"));
//! assert!(found.is_some(), "a slot was used again");
//! assert!((0..100).all(|seed| holds(seed, ConnectionId::generation).expect("the server keeps its laws")));
//! ```
//!
//! Print the seed of a failure, and let an environment variable run that seed alone: then one command repeats here a
//! failure that happened on another machine.
//!
//! # Who does what
//!
//! - [`Simulation`] is the server: [`step`](Simulation::step) runs one cycle, [`run_for`](Simulation::run_for) many.
//! - [`SimPeer`] is a client. [`Weather`] says what the network does to its bytes, [`Reading`] how it takes its
//!   answers.
//! - [`Network`] is the world with its clock. [`Network::after`] arranges what happens later, also in the middle of a
//!   cycle.
//! - [`SimListener`] lets peers come later; [`SimWorkers`] stand for other threads of yours that answer deferred
//!   replies, and wait whenever a thread would wait.
//! - [`Random`] is the only source of chance. Anything else that differs from run to run (a `HashMap`'s order, the real
//!   clock, a real thread) makes a seed worthless.
//! - [`Seen`] counts the events that have happened. A simulation that is meant to see every kind of event should fail
//!   if it has not.
//! - [`Broken`] is a law that did not hold.
//!
//! # What is not simulated
//!
//! Real threads: nothing here runs at the same time, so a simulation tries orders of the threads' actions but cannot
//! find data races. The accepter and [`Workers`](crate::Workers), which are threads, are missing. So is `mio`; tests
//! with real sockets have to show that it keeps the `Selector`'s contract.

mod clock;
mod laws;
mod link;
mod listener;
mod network;
mod peer;
mod pipe;
mod random;
mod schedule;
mod seat;
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
