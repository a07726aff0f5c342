//! The protocols between threads, in every order that their threads can run in: `make loom`.
//!
//! What runs here is the crate's own code. Under `--cfg loom` its atomics, locks and queues (`src/sync/mod.rs`) are
//! models of the same contracts, and loom tries every order of the threads up to a number of preemptions, with every
//! value that a weak access could see. A thread that nobody wakes is a deadlock, and loom reports it with the order
//! that led there.
//!
//! Two things are played: the poll in which a thread sleeps (`bed`), and the accepter's loop around its watch.
#![cfg(loom)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

#[path = "loom/accepter.rs"]
mod accepter;
#[path = "loom/bed.rs"]
mod bed;
#[path = "loom/flow.rs"]
mod flow;
#[path = "loom/line.rs"]
mod line;
#[path = "loom/offload.rs"]
mod offload;
#[path = "loom/processor.rs"]
mod processor;
#[path = "loom/waker.rs"]
mod waker;
#[path = "loom/world.rs"]
mod world;

/// Runs `model` in every order with at most so many preemptions, or with `LOOM_MAX_PREEMPTIONS` if that is set.
fn check(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(preemptions));
    // A cycle of the processor has many steps.
    builder.max_branches = builder.max_branches.max(20_000);
    let orders = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&orders);
    builder.check(move || {
        counted.fetch_add(1, Relaxed);
        model();
    });
    let orders = orders.load(Relaxed);
    println!("{orders} orders");
    assert!(orders > 1, "nothing here happens beside anything else: the model is over before it begins");
}
