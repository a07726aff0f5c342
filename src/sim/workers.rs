//! Simulated threads of the user's.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::Network;
use super::schedule::Action;
use crate::outbox::Outbox;
use crate::sync::Mutex;

/// How soon a worker that waits for room looks again.
const LOOK_AGAIN: Duration = Duration::from_micros(200);

/// Simulated threads of the user's: they answer deferred replies as a worker would, and wait whenever a worker would
/// wait.
///
/// Actions that are arranged with [`Network::after`] count as done on the processor thread, which never waits for room:
/// an answer without room is lost, and its connection closes. Here, instead, the answers stand in one line, as encoders
/// on other threads do: the first waits until its answer is sure to find room, and the others wait behind it. A clone
/// is another handle to the same line.
#[derive(Clone)]
pub struct SimWorkers {
    network: Network,
    outbox: Arc<Outbox>,
    line: Arc<Mutex<WorkerLine>>,
}

#[derive(Default)]
struct WorkerLine {
    jobs: VecDeque<Action>,
    /// The first waits for room, and will look again.
    waits: bool,
}

impl SimWorkers {
    pub(super) fn new(network: Network, outbox: Arc<Outbox>) -> Self {
        Self { network, outbox, line: Arc::default() }
    }

    /// Arranges that `work` is done after `delay`, on another thread: also in the middle of a cycle.
    pub fn after(&self, delay: Duration, work: impl FnOnce() + Send + 'static) {
        let workers = self.clone();
        self.network.after(delay, move || {
            workers.line.lock().jobs.push_back(Box::new(work));
            if !workers.line.lock().waits {
                workers.work();
            }
        });
    }

    /// Forgets everything that waits.
    pub(super) fn stop(&self) {
        let forgotten = std::mem::take(&mut self.line.lock().jobs);
        // Dropped without the lock: a job may own something that uses the line when it is dropped.
        drop(forgotten);
        self.outbox.pool.line().pretend_wait(false);
    }

    /// Does the work that can be done without waiting.
    fn work(&self) {
        loop {
            let job = {
                let mut line = self.line.lock();
                let finds_room = self.outbox.finds_room();
                line.waits = !line.jobs.is_empty() && !finds_room;
                if line.waits {
                    break;
                }
                line.jobs.pop_front()
            };
            self.outbox.pool.line().pretend_wait(false);
            let Some(job) = job else { return };
            self.outbox.pretend_elsewhere(true);
            job();
            self.outbox.pretend_elsewhere(false);
        }
        self.outbox.pool.line().pretend_wait(true);
        let workers = self.clone();
        self.network.after(LOOK_AGAIN, move || workers.work());
    }
}

impl fmt::Debug for SimWorkers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimWorkers").finish_non_exhaustive()
    }
}
