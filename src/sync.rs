//! What threads share with each other: atomics, a lock and its condition, a bounded queue.
//!
//! In life these are the standard library's, parking_lot's and crossbeam's, named here and nothing more. Under
//! `--cfg loom` they are models of the same contracts, and loom runs what is built of them in every order of its
//! threads: `tests/loom.rs`. What only counts or shows, and decides nothing between threads, does not come through
//! here.

#[cfg(loom)]
mod model;

#[cfg(loom)]
pub use model::{ArrayQueue, Condvar, Mutex, atomic};

#[cfg(not(loom))]
pub use crossbeam_queue::ArrayQueue;
#[cfg(not(loom))]
pub use parking_lot::{Condvar, Mutex};
#[cfg(not(loom))]
pub use std::sync::atomic;

#[cfg(loom)]
pub use loom::{thread, thread_local};
#[cfg(not(loom))]
pub use std::{thread, thread_local};
