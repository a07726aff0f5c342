//! What threads share with each other: atomics, a lock and its condition, a bounded queue.
//!
//! Normally these are the types of the standard library, parking_lot and crossbeam, only named here. Under `--cfg loom`
//! they are models of the same contracts, and loom runs the code that is built on them in every order of its threads:
//! `tests/loom.rs`. Atomics that only count or show something, and decide nothing between threads, do not come from
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
