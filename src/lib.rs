//! TCP servers that peers cannot overwhelm: two threads, one cycle, a fixed amount of memory.
//!
//! An accepter thread hands sockets to a processor thread. The processor sleeps in one selector and does everything
//! else in one cycle of fixed order: it reads, cuts messages out of the bytes, lends each to your [`MessageProcessor`],
//! and writes the answers. All memory that peers can make the server hold is counted at start; the sum is logged
//! ([`MemoryCeiling`]) and never exceeded. If a queue or a pool is full, the server stops reading, and TCP makes the
//! peer that fills it wait. A message that was handed over is never silently forgotten, and everything that is dropped
//! is counted under its [reason](DropReason).
//!
//! # A server
//!
//! ```no_run
//! use sluicegate::{
//!     Server,
//!     http1::{Http1, Response},
//! };
//!
//! fn main() -> std::io::Result<()> {
//!     Server::bind("127.0.0.1:8080", Http1::default())?
//!         .serve(|request, reply| reply.send(Response::ok(request.body())))
//! }
//! ```
//!
//! If one processor is not enough, [`Builder::processors`] makes several behind the same accepter, and
//! [`Server::serve_with`] makes a closure for each.
//!
//! The closure runs on the processor thread and must not block. A closure that blocks belongs on [`Workers`]
//! ([`Server::serve_on`]); an answer that takes long can be given later through [`Reply::defer`].
//!
//! # The layers
//!
//! Data flows one way: `socket -> Inbound -> Protocol::decode -> Message -> MessageProcessor -> Reply -> Outbound ->
//! socket`. From the outside in:
//!
//! - **Server.** [`Server`] and [`Builder`] check a [`Config`] and start the threads; [`Running`] is the handle to
//!   them: numbers, shutdown, a [`WriteProxy`].
//! - **Your code.** [`MessageProcessor`] is the one page to read. A [`Message`] is lent for the length of the call, and
//!   [`Message::into_owned`] makes it your own; a [`Reply`] answers now, a [`Deferred`] later from any thread, a
//!   [`WriteProxy`] unasked.
//! - **Protocols.** [`http1`] and [`LengthPrefixed`] are built in. Both are written against the public traits
//!   [`Protocol`] and [`Encode`], sans-IO, and so is yours.
//! - **Memory.** [`Outbound`] is where answers are written; [`TierConfig`] says how many blocks of which size there
//!   are.
//! - **Flow.** [`flow`] has the parts that connect a processor with threads of your own: a gate, a bounded queue,
//!   batches.
//! - **The seam.** What the processor needs from the operating system is one trait, `Selector`. The simulator (feature
//!   `sim`) implements it as well, and draws from a seed how bytes are cut, resets, slow peers and jumps of the clock.
//!
//! # Tests of your own
//!
//! A protocol is a function of bytes: the page of [`Protocol`] shows a test that cuts a stream at every position, and
//! [`Outbound::detached`] receives what it encodes. A [`MessageProcessor`] is tested in a simulation, with your
//! protocol, in one thread and without waiting: see the module `sim`, which the feature `sim` turns on.
//!
//! ARCHITECTURE.md in the repository describes the whole design, and has a glossary.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod accepter;
mod admission;
mod buffer;
mod clock;
mod config_error;
mod connection;
mod control;
mod encode_error;
mod exposition;
pub mod flow;
mod handover;
mod id;
#[cfg(feature = "sim")]
#[doc(hidden)]
pub mod internals;
mod message_processor;
mod metrics;
mod offload;
mod outbox;
mod panics;
mod poll;
mod processor;
mod protocol;
mod reason;
mod server;
#[cfg(feature = "sim")]
pub mod sim;
mod socket;
mod sync;
mod timer;
mod wake;

pub use admission::Admission;
pub use buffer::{HEADROOM, Outbound, Prefix, TIERS, TierConfig};
pub use config_error::ConfigError;
pub use connection::{CloseReason, CrowdScope, Timeouts, WhenFull};
pub use control::Finish;
pub use encode_error::EncodeError;
pub use id::ConnectionId;
pub use message_processor::MessageProcessor;
pub use metrics::Snapshot;
pub use offload::{Offload, Workers};
pub use outbox::{Deferred, Reply, SendError, Unanswered, WriteProxy};
pub use processor::{Turn, Watermarks};
pub use protocol::{
    After, Decode, Encode, LengthPrefixed, Message, Peer, Protocol, ProtocolError, Refusal, http1, length_prefixed,
};
pub use reason::{CloseKind, DropReason, PauseReason};
pub use server::{Builder, CeilingRow, Config, MemoryCeiling, Meter, Running, Server, Stopper};

/// The README's examples compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
