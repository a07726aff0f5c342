//! The bounded queue between the processor thread and the workers.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::outbox::{Deferred, WriteProxy};
use crate::protocol::{Message, Protocol};
use crate::sync::{Condvar, Mutex};

/// A message and the reply that is owed to it.
pub type Job<P> = (Message<'static, P>, Deferred<P>);

/// Jobs that wait for a thread, first in, first out. The processor puts, workers take; neither allocates.
///
/// The lock is held for a push or a pop only: jobs are dropped and other threads are woken outside of it.
pub struct Jobs<P: Protocol> {
    state: Mutex<State<P>>,
    /// How many jobs may wait.
    limit: usize,
    /// A job is there, or the queue was closed.
    arrived: Condvar,
    /// The last thread went off duty.
    ended: Condvar,
    /// The way to the processor, from when it has started.
    proxy: OnceLock<WriteProxy<P>>,
}

struct State<P: Protocol> {
    waiting: VecDeque<Job<P>>,
    on_duty: usize,
    closed: bool,
}

/// A thread holds it for as long as it works; a panic ends it, too.
pub struct OnDuty<P: Protocol>(Arc<Jobs<P>>);

impl<P: Protocol> Jobs<P> {
    /// A queue of `limit` places, all made now.
    pub fn new(limit: usize) -> io::Result<Self> {
        let mut waiting = VecDeque::new();
        waiting.try_reserve_exact(limit).map_err(|error| {
            let what = format!("no memory for the {limit} places of the workers' queue: {error}");
            io::Error::new(io::ErrorKind::OutOfMemory, what)
        })?;
        let state = Mutex::new(State { waiting, on_duty: 0, closed: false });
        Ok(Self { state, limit, arrived: Condvar::new(), ended: Condvar::new(), proxy: OnceLock::new() })
    }

    /// Where to say that there is room again.
    pub(super) fn connect(&self, proxy: &WriteProxy<P>) {
        // A processor starts once; if it did so again, the first proxy would do as well.
        let _ = self.proxy.set(proxy.clone());
    }

    /// True if one more job fits.
    pub(super) fn has_room(&self) -> bool {
        self.state.lock().has_room(self.limit)
    }

    /// Leaves a job for the threads, who are not told. Comes back if there is no room.
    #[must_use = "a job that comes back has not been taken"]
    pub fn put(&self, job: Job<P>) -> Option<Job<P>> {
        let mut state = self.state.lock();
        if !state.has_room(self.limit) {
            return Some(job);
        }
        state.waiting.push_back(job);
        None
    }

    /// Wakes a sleeping thread for each of so many new jobs that nobody has taken yet: on a core that they share, the
    /// first thread may have done all before this goes on.
    pub fn announce(&self, jobs: usize) {
        for _ in 0..jobs {
            // To wake is one atomic load while every thread is busy: none sleeps then, and each looks here before it
            // does.
            if self.state.lock().waiting.is_empty() || !self.arrived.notify_one() {
                return;
            }
        }
    }

    /// The oldest job; sleeps until there is one. `None` once the queue was closed.
    pub fn take(&self) -> Option<Job<P>> {
        let mut state = self.state.lock();
        loop {
            if state.closed {
                return None;
            }
            let was_full = !state.has_room(self.limit);
            if let Some(job) = state.waiting.pop_front() {
                drop(state);
                if was_full {
                    self.tell_processor();
                }
                return Some(job);
            }
            self.arrived.wait(&mut state);
        }
    }

    /// There is room again. The processor notes that it waits, then asks `has_room` once more: it either sees the place
    /// that was made before this, or is seen by it.
    fn tell_processor(&self) {
        if let Some(proxy) = self.proxy.get() {
            // Other processors have queues of their own.
            proxy.resume_home();
        }
    }

    /// Counts a panic of the user's closure.
    pub(super) fn count_panic(&self) {
        if let Some(proxy) = self.proxy.get() {
            proxy.outbox().metrics.panics.add_shared(1);
        }
    }

    /// Counts one thread as on duty until the guard is dropped, which also happens if the thread can't be started.
    pub fn report_for_duty(self: &Arc<Self>) -> OnDuty<P> {
        self.state.lock().on_duty += 1;
        OnDuty(Arc::clone(self))
    }

    /// No thread takes another job after this. Returns those that nobody has begun.
    pub fn close(&self) -> VecDeque<Job<P>> {
        let mut state = self.state.lock();
        state.closed = true;
        let waiting = mem::take(&mut state.waiting);
        drop(state);
        self.arrived.notify_all();
        waiting
    }

    /// Waits until every thread is off duty, or for `timeout`; returns how many are not.
    pub fn wait_for_end(&self, timeout: Duration) -> usize {
        let mut state = self.state.lock();
        self.ended.wait_while_for(&mut state, |state| state.on_duty > 0, timeout);
        state.on_duty
    }
}

impl<P: Protocol> State<P> {
    fn has_room(&self, limit: usize) -> bool {
        self.waiting.len() < limit && !self.closed
    }
}

impl<P: Protocol> Drop for OnDuty<P> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.on_duty -= 1;
        let last = state.on_duty == 0;
        drop(state);
        if last {
            self.0.ended.notify_all();
        }
    }
}

#[cfg(test)]
impl<P: Protocol> Jobs<P> {
    /// Places that were ever made.
    pub(super) fn capacity(&self) -> usize {
        self.state.lock().waiting.capacity()
    }
}
