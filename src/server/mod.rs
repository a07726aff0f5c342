//! The outermost room: binds the listener, counts the memory, and makes the threads and the queues between them.
//!
//! Nothing else in the crate makes a thread or a queue between threads (except workers, which the user makes).
//!
//! - `config`: every setting;
//! - `ceiling`, `row`, `costs`: what all settings cost, as a sum;
//! - `builder`, `listener`: from settings to a bound server;
//! - `shared`: what lies between the threads;
//! - `launch`, `running`: from a bound server to its threads, and to their end;
//! - `resident`, `descriptors`, `scheduling`: memory, descriptors and cores, as the operating system gives them;
//! - `error`, `units`: texts for people.

mod builder;
mod ceiling;
mod config;
mod costs;
mod descriptors;
mod error;
mod launch;
mod listener;
mod resident;
mod row;
mod running;
mod scheduling;
mod shared;
mod units;

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::Arc;

use crate::config_error::ConfigError;
use crate::message_processor::MessageProcessor;
use crate::offload::{Offload, Workers};
use crate::outbox::{Deferred, Reply};
use crate::protocol::{Message, Protocol};

pub use builder::Builder;
pub use ceiling::MemoryCeiling;
pub use config::Config;
pub use row::CeilingRow;
pub use running::{Meter, Running, Stopper};
#[cfg(feature = "sim")]
pub(crate) use shared::{Shared, Station};

/// A server that is bound and whose memory is counted, but that is not started yet.
///
/// Peers can connect already and wait in the kernel's backlog. These methods start it:
///
/// | What handles the messages                         | Blocks until the server has ended | Returns a [`Running`] |
/// |---------------------------------------------------|-----------------------------------|-----------------------|
/// | One closure or processor, on the processor thread | [`serve`] or [`run`]              | [`start`]             |
/// | One per processor, on its thread                  | [`serve_with`] or [`run_with`]    | [`start_with`]        |
/// | A closure on [`Workers`], which may block         | [`serve_on`]                      | [`start_on`]          |
///
/// `serve` and `serve_with` take closures, whose types the compiler infers; the others of the first two rows take any
/// [`MessageProcessor`]. With [more than one processor](Builder::processors), the methods of the first row return an
/// error; those of the other rows work with any number.
///
/// [`serve`]: Self::serve
/// [`run`]: Self::run
/// [`start`]: Self::start
/// [`serve_with`]: Self::serve_with
/// [`run_with`]: Self::run_with
/// [`start_with`]: Self::start_with
/// [`serve_on`]: Self::serve_on
/// [`start_on`]: Self::start_on
#[must_use = "a server answers nobody until it is started"]
pub struct Server<P: Protocol> {
    listener: TcpListener,
    address: SocketAddr,
    protocol: P,
    config: Config,
    ceiling: MemoryCeiling,
    /// Its ceiling is a row in the ceiling of another server.
    counted_elsewhere: bool,
}

impl<P: Protocol> Server<P> {
    /// Binds a server with the default settings to the first of the addresses that can be bound.
    ///
    /// # Errors
    /// As [`Builder::bind`].
    pub fn bind(addresses: impl ToSocketAddrs + fmt::Debug, protocol: P) -> io::Result<Self> {
        Self::builder(protocol).bind(addresses)
    }

    /// A server with the default settings behind a listener that was bound elsewhere.
    ///
    /// # Errors
    /// As [`Builder::from_listener`].
    pub fn from_listener(listener: TcpListener, protocol: P) -> io::Result<Self> {
        Self::builder(protocol).from_listener(listener)
    }

    /// Begins a server with other settings; [`Builder::bind`] finishes it.
    pub fn builder(protocol: P) -> Builder<P> {
        Builder::new(protocol)
    }

    /// The address on which it listens, with the real port if it was bound to port 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The most memory that it will take, row by row. It is also logged at start.
    pub fn memory_ceiling(&self) -> &MemoryCeiling {
        &self.ceiling
    }

    /// Adds a row to the memory ceiling, for the most that the program's own threads and its message processor take,
    /// which the server cannot know. So there is one sum for everything that runs in the process.
    ///
    /// # Errors
    /// With this row the ceiling would be over [`Config::memory_max`]. Nothing is added then.
    pub fn count_in(&mut self, name: &'static str, bytes: u64, how: impl Into<String>) -> Result<(), ConfigError> {
        let mut ceiling = self.ceiling.clone();
        ceiling.count_in(name, bytes, how.into());
        ceiling.check(self.config.memory_max)?;
        self.ceiling = ceiling;
        Ok(())
    }

    /// Adds everything that another server of the same process takes, as one row. That server then prints no ceiling of
    /// its own. The row does not include workers that the other server is [started on](Self::start_on) later: [count
    /// them in](Self::count_in), too, with [`Workers::memory`].
    ///
    /// # Errors
    /// As [`count_in`](Self::count_in).
    pub fn count_in_server<Q: Protocol>(
        &mut self,
        name: &'static str,
        other: &mut Server<Q>,
    ) -> Result<(), ConfigError> {
        let bytes = other.ceiling.without_program();
        self.count_in(name, bytes, format!("the whole server on {}", other.address))?;
        other.counted_elsewhere = true;
        Ok(())
    }

    /// Its settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Handles each message with `process`, which runs on the processor thread and must not block. Blocks until the
    /// server has ended, which happens only if one of its threads fails, because nothing else can end it. To end a
    /// server in good order, [start](Self::start) it and use its [`Stopper`].
    ///
    /// # Errors
    /// As [`start`](Self::start), and as [`Running::join`].
    // The bound is `FnMut` and not `MessageProcessor`, because only so does the compiler infer the closure's types.
    pub fn serve<F>(self, process: F) -> io::Result<()>
    where
        F: FnMut(Message<'_, P>, Reply<'_, P>) + Send + 'static,
    {
        self.run(process)
    }

    /// Handles the messages with `processor`, on the processor thread. Blocks until the server has ended, as
    /// [`serve`](Self::serve) does.
    ///
    /// # Errors
    /// As [`start`](Self::start), and as [`Running::join`].
    pub fn run(self, processor: impl MessageProcessor<P> + 'static) -> io::Result<()> {
        self.start(processor)?.join().map(drop)
    }

    /// Handles the messages of each processor with a closure of its own, on that processor's thread. `make` makes the
    /// closure, given the number of the processor, from 0. Blocks until the server has ended.
    ///
    /// ```no_run
    /// use sluicegate::http1::{Http1, Response};
    /// use sluicegate::Server;
    ///
    /// Server::builder(Http1::default()).processors(4).bind("127.0.0.1:8080")?.serve_with(|_| {
    ///     // Each of the four counts for itself: no locks.
    ///     let mut served = 0;
    ///     move |_, reply| {
    ///         served += 1;
    ///         reply.send(Response::ok(format!("{served}\n")))
    ///     }
    /// })
    /// # ; Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`start_with`](Self::start_with), and as [`Running::join`].
    pub fn serve_with<F>(self, make: impl FnMut(u16) -> F) -> io::Result<()>
    where
        F: FnMut(Message<'_, P>, Reply<'_, P>) + Send + 'static,
    {
        self.run_with(make)
    }

    /// Handles the messages of each processor with a message processor of its own, which `make` makes, on that
    /// processor's thread. Blocks until the server has ended.
    ///
    /// # Errors
    /// As [`start_with`](Self::start_with), and as [`Running::join`].
    pub fn run_with<M: MessageProcessor<P> + 'static>(self, make: impl FnMut(u16) -> M) -> io::Result<()> {
        self.start_with(make)?.join().map(drop)
    }

    /// Handles each message with `work` on a pool of `workers`, where it may block. Each processor has a pool of its
    /// own. Blocks until the server has ended.
    ///
    /// `work` is called on the worker threads, on several at once. A panic in it is caught and logged; the connection
    /// of its message ends as [unanswered](crate::CloseReason::Unanswered) (HTTP: 500). See [`Offload`].
    ///
    /// ```no_run
    /// use sluicegate::http1::{Http1, Response};
    /// use sluicegate::{Server, Workers};
    ///
    /// Server::bind("127.0.0.1:8080", Http1::default())?.serve_on(Workers::default(), |_, reply| {
    ///     match std::fs::read("/proc/loadavg") {
    ///         Ok(load) => reply.send(Response::ok(load)),
    ///         Err(_) => reply.send(Response::new(503)),
    ///     }
    /// })
    /// # ; Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`start_on`](Self::start_on), and as [`Running::join`].
    pub fn serve_on<F>(self, workers: Workers, work: F) -> io::Result<()>
    where
        F: Fn(Message<'static, P>, Deferred<P>) + Send + Sync + 'static,
    {
        self.start_on(workers, work)?.join().map(drop)
    }

    /// Starts the server's threads and the `workers`, so many for each processor, and returns. `work` runs on the
    /// worker threads, as with [`serve_on`](Self::serve_on). The workers' queue and stacks become a row of the memory
    /// ceiling.
    ///
    /// # Errors
    /// With the workers the ceiling is over `memory_max`, or their settings make no sense; otherwise as
    /// [`start`](Self::start).
    pub fn start_on<F>(mut self, workers: Workers, work: F) -> io::Result<Running<P>>
    where
        F: Fn(Message<'static, P>, Deferred<P>) + Send + Sync + 'static,
    {
        workers.validate()?;
        self.ceiling.add_workers::<P>(&workers);
        self.ceiling.check(self.config.memory_max)?;
        let work = Arc::new(work);
        let pools = (0..self.config.processors).map(|number| Offload::numbered(workers, number, Arc::clone(&work)));
        let pools = pools.collect::<io::Result<Vec<_>>>()?;
        launch::launch(self, pools)
    }

    /// Starts the accepter thread and the processor thread, and returns. Raises the process's soft limit of open
    /// descriptors, and logs the memory ceiling.
    ///
    /// # Errors
    /// The process may not open more descriptors or start more threads, or there is [more than one
    /// processor](Builder::processors), which one message processor cannot serve ([`ConfigError`]).
    pub fn start(self, processor: impl MessageProcessor<P> + 'static) -> io::Result<Running<P>> {
        self.config.check_single()?;
        launch::launch(self, vec![processor])
    }

    /// Starts the accepter thread and one thread for each processor, and returns. `make` is called on the calling
    /// thread, once for each processor, with the processor's number from 0, which is also what
    /// [`ConnectionId::processor`](crate::ConnectionId::processor) returns. If the message processors are to share
    /// something, put it behind an `Arc`.
    ///
    /// # Errors
    /// The process may not open more descriptors, or start more threads.
    ///
    /// # Panics
    /// The protocol panics when it is cloned, once for each processor except the last. Nothing has been started then.
    pub fn start_with<M: MessageProcessor<P> + 'static>(self, make: impl FnMut(u16) -> M) -> io::Result<Running<P>> {
        let users = (0..).take(self.config.processors).map(make).collect();
        launch::launch(self, users)
    }
}

impl<P: Protocol> fmt::Debug for Server<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", &self.address).field("config", &self.config).finish_non_exhaustive()
    }
}
