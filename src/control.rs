//! How the server is told to go down.

use std::sync::Arc;
use std::time::Duration;

use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering::SeqCst};
use crate::wake::WakeFlag;

/// What a connection may still do while the server goes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// Idle connections close at once. A message whose first byte has arrived may finish, and is answered as the last of
    /// its connection.
    Answer,
    /// What peers have already sent is read, also what is on its way or held by their kernels: each connection until nothing
    /// has come for 50 ms, or until its socket would block when it was read for a second. What it waits for the server is no
    /// part of that second. It closes after its last whole message.
    ReadOut,
}

/// A request to go down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shutdown {
    /// How long connections have to finish; then they are closed as they are.
    pub grace: Duration,
    /// What they may still do.
    pub finish: Finish,
}

/// The request, from any thread to all of the server's.
#[derive(Debug)]
pub struct Control {
    requested: AtomicBool,
    shutdown: Mutex<Option<Shutdown>>,
    threads: Box<[Arc<WakeFlag>]>,
}

impl Control {
    /// A control that wakes these threads.
    pub fn new(threads: impl IntoIterator<Item = Arc<WakeFlag>>) -> Arc<Self> {
        let threads = threads.into_iter().collect();
        Arc::new(Self { requested: AtomicBool::new(false), shutdown: Mutex::new(None), threads })
    }

    /// Asks all threads to go down. The first request counts; a later one is ignored, except that it can shorten the
    /// grace.
    pub fn request(&self, shutdown: Shutdown) {
        let mut first = self.shutdown.lock();
        let grace = first.map_or(shutdown.grace, |first| first.grace.min(shutdown.grace));
        *first = Some(Shutdown { grace, finish: first.map_or(shutdown.finish, |first| first.finish) });
        drop(first);
        self.requested.store(true, SeqCst);
        self.threads.iter().for_each(|thread| thread.wake());
    }

    /// True once a request was made. One atomic load.
    pub fn is_requested(&self) -> bool {
        self.requested.load(SeqCst)
    }

    /// The request, if one was made.
    pub fn shutdown(&self) -> Option<Shutdown> {
        if self.is_requested() { *self.shutdown.lock() } else { None }
    }
}
