//! Workers: a bounded pool of threads for closures that may block.
//!
//! To the processor, [`Offload`] is a [`MessageProcessor`] like any other. It owns each message, defers its reply, and
//! leaves both in a bounded [queue](jobs) from which the threads take them. A full queue says "not ready", so that the
//! connections wait instead of the memory growing.

pub(crate) mod jobs;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::mem;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::config_error::ConfigError;
use crate::message_processor::MessageProcessor;
use crate::outbox::{Deferred, Reply, WriteProxy};
use crate::panics::guarded;
use crate::protocol::{Message, Protocol};

use jobs::{Job, Jobs};

/// As soon as this many new jobs wait, they are announced without waiting for the end of the cycle, so that threads on
/// other cores can begin.
const BURST: usize = 32;
/// Numbers of threads at or above this are rejected as mistakes; `QUEUE_MAX` is the same for places in the queue.
const THREADS_MAX: usize = 1 << 16;
const QUEUE_MAX: usize = 1 << 28;

/// How many threads run the user's closure, and how many messages may wait for them. With several processors, each of
/// them has this many.
///
/// ```
/// use sluicegate::Workers;
///
/// let workers = Workers { threads: 8, ..Workers::default() };
/// assert!(workers.validate().is_ok());
/// assert!(Workers::new(0, 64).validate().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workers {
    /// Threads: 1 to 65,535, by default 4. One message at a time runs on each.
    pub threads: usize,
    /// Messages that may wait for a thread: at least 1 and fewer than 2^28, by default 256. While the queue is full,
    /// connections are not decoded until a thread takes a message. Each message holds a block of the inbound pool.
    pub queue: usize,
    /// Bytes of stack for each thread, by default 2 MiB; they are part of the memory ceiling. The closure has to get
    /// along with them: [`validate`](Self::validate) does not check this number.
    pub stack_size: usize,
    /// How long the server, when it ends, waits for threads that are still running the user's closure or dropping what
    /// it holds; by default 5 s. Threads that need longer are left behind, and the log says how many. Zero: it does not
    /// wait.
    pub join_timeout: Duration,
}

impl Default for Workers {
    fn default() -> Self {
        Self { threads: 4, queue: 256, stack_size: 2 << 20, join_timeout: Duration::from_secs(5) }
    }
}

impl Workers {
    /// This many threads, and this many messages that may wait; otherwise default.
    pub fn new(threads: usize, queue: usize) -> Self {
        Self { threads, queue, ..Self::default() }
    }

    /// Checks the numbers.
    ///
    /// # Errors
    /// The number of threads or of places in the queue is zero or too large; the error names which.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let refuse = |setting, what: String| Err(ConfigError::new(setting, what));
        match (self.threads, self.queue) {
            (THREADS_MAX.., _) => refuse("workers.threads", format!("is {}: lower it below 65536", self.threads)),
            (_, QUEUE_MAX..) => refuse("workers.queue", format!("is {}: lower it below 268435456", self.queue)),
            (0, _) => refuse("workers.threads", "is 0: at least one thread is needed to answer".into()),
            (_, 0) => refuse("workers.queue", "is 0: at least one message must be able to wait".into()),
            _ => Ok(()),
        }
    }

    /// Bytes that the queue and the threads' stacks take, for the memory ceiling. The blocks of waiting messages are
    /// counted with their pool.
    pub fn memory<P: Protocol>(&self) -> u64 {
        let queue = (self.queue as u64).saturating_mul(size_of::<Job<P>>() as u64);
        let stacks = (self.threads as u64).saturating_mul(self.stack_size as u64);
        queue.saturating_add(stacks)
    }
}

/// A [`MessageProcessor`] that runs a closure on [`Workers`]. The closure may block.
///
/// Messages are taken in the order in which they were decoded. Where order matters ([`Protocol::IN_ORDER`]) a
/// connection's next message is decoded only after its answer, so its answers keep their order. For other protocols the
/// threads handle several messages of a connection at the same time, and the answers leave in the order in which they
/// are given; with one thread, that is the order of the messages.
///
/// A panic in the closure is caught and logged; its message counts as not answered (HTTP: 500), and the thread goes on
/// with the next one. Anything that the closure shares must therefore stay usable if a call stops halfway, as with any
/// caught panic.
///
/// Sleeping threads are woken once at the end of a cycle, for all of its messages, or sooner if there are many. A
/// processor that wraps an `Offload` must pass every call of `started`, `ready` and `cycle_end` on to it. If it never
/// passes `cycle_end` on, threads are woken for each message, which costs more; if it does so only sometimes, messages
/// wait until it does.
///
/// While the queue is full, no message at all is handled, also those that need no worker, such as a health check; and
/// no time limit ends that wait, but [`Timeouts::reply`](crate::Timeouts::reply) ends that of the messages in the
/// queue. A wrapper may say yes to `ready` in its place instead. Then it must ask [`ready`](MessageProcessor::ready)
/// itself before it passes a message on, and answer that it is busy (HTTP: 503) if that says no.
///
/// When it is dropped, messages that no thread has begun are given up unanswered, and each thread finishes the message
/// it is working on; [`Workers::join_timeout`] bounds how long the drop waits for that.
pub struct Offload<P: Protocol> {
    jobs: Arc<Jobs<P>>,
    threads: Vec<JoinHandle<()>>,
    join_timeout: Duration,
    /// Jobs that sleeping threads have not been woken for.
    unannounced: usize,
    /// True once an end of a cycle was passed on: from then on jobs may wait for it. A wrapper need not pass them on.
    hears_cycle_ends: bool,
}

impl<P: Protocol> Offload<P> {
    /// Starts the threads. `work` is given each message, which it then owns, and the reply that is owed to it.
    ///
    /// # Errors
    /// The numbers are not [valid](Workers::validate), or a thread can't be started; in that case none is left running.
    pub fn new<F>(workers: Workers, work: F) -> io::Result<Self>
    where
        F: Fn(Message<'static, P>, Deferred<P>) + Send + Sync + 'static,
    {
        Self::numbered(workers, 0, Arc::new(work))
    }

    /// The same for the processor with this number: its threads are named behind those of the processors before it.
    pub(crate) fn numbered<F>(workers: Workers, processor: usize, work: Arc<F>) -> io::Result<Self>
    where
        F: Fn(Message<'static, P>, Deferred<P>) + Send + Sync + 'static,
    {
        workers.validate()?;
        let jobs = Arc::new(Jobs::new(workers.queue)?);
        // From here on an early return ends the threads that run already.
        let mut offload = Self::over(jobs, workers.join_timeout);
        for number in 1..=workers.threads {
            let jobs = Arc::clone(&offload.jobs);
            let work = Arc::clone(&work);
            let on_duty = jobs.report_for_duty();
            // The system shows the first 15 bytes of a name.
            let name = format!("sluicegate-w{}", processor * workers.threads + number);
            let builder = thread::Builder::new().name(name).stack_size(workers.stack_size);
            let spawned = builder.spawn(move || {
                let _on_duty = on_duty;
                run(&jobs, &*work);
                // On duty until its share of the closure is dropped: dropping it runs the user's code, which may take
                // long.
                drop(work);
            });
            let explain = |error: io::Error| {
                let what = format!("worker thread {number} of {} can't be started: {error}", workers.threads);
                io::Error::new(error.kind(), what)
            };
            offload.threads.push(spawned.map_err(explain)?);
        }
        Ok(offload)
    }

    /// One without threads yet.
    pub(crate) fn over(jobs: Arc<Jobs<P>>, join_timeout: Duration) -> Self {
        Self { jobs, threads: Vec::new(), join_timeout, unannounced: 0, hears_cycle_ends: false }
    }

    fn announce(&mut self) {
        self.jobs.announce(mem::take(&mut self.unannounced));
    }
}

/// One thread's life.
fn run<P: Protocol>(jobs: &Jobs<P>, work: &impl Fn(Message<'static, P>, Deferred<P>)) {
    while let Some((message, reply)) = jobs.take() {
        let connection = reply.connection();
        // Unwinding drops the reply, which thereby settles as unanswered, and brings the message's block home.
        if guarded(format_args!("a worker, for connection {connection}"), || work(message, reply)).is_err() {
            jobs.count_panic();
        }
    }
}

impl<P: Protocol> MessageProcessor<P> for Offload<P> {
    fn process(&mut self, message: Message<'_, P>, reply: Reply<'_, P>) {
        if let Some((_, reply)) = self.jobs.put((message.into_owned(), reply.defer())) {
            // Only a wrapper that does not pass `ready` on gets here. A queue that grows would break the memory
            // ceiling.
            log::error!("connection {}: the workers' queue is full and `ready` was not asked", reply.connection());
            return;
        }
        self.unannounced += 1;
        if !self.hears_cycle_ends || self.unannounced == BURST {
            self.announce();
        }
    }

    /// Waking a thread costs more than a short job, and a woken thread that shares the processor's core takes the core
    /// away at once, for each job anew. So all jobs of a cycle are announced together.
    fn cycle_end(&mut self, _: Instant) -> Option<Instant> {
        self.hears_cycle_ends = true;
        self.announce();
        None
    }

    fn started(&mut self, proxy: &WriteProxy<P>) {
        self.jobs.connect(proxy);
    }

    /// The processor thread alone puts messages into the queue, so a place that is free now is free until it is used.
    fn ready(&mut self) -> bool {
        self.jobs.has_room()
    }
}

impl<P: Protocol> Drop for Offload<P> {
    fn drop(&mut self) {
        // Given up before waiting for the threads, so that the peers of these messages need not wait as well.
        drop(self.jobs.close());
        let left = self.jobs.wait_for_end(self.join_timeout);
        if left > 0 {
            // Dropping the handles detaches the threads; they end with the closure's return.
            log::warn!("{left} worker threads have not ended within {:?} and are left behind", self.join_timeout);
            return;
        }
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                log::error!("a worker thread ended by a panic outside of the closure");
            }
        }
    }
}

impl<P: Protocol> fmt::Debug for Offload<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offload").field("threads", &self.threads.len()).finish_non_exhaustive()
    }
}
