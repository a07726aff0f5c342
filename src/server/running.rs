//! A running server: what other threads can ask of it, and how it ends.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::MemoryCeiling;
use super::config::LONGEST;
use super::error::explain;
use super::shared::{Shared, Station};
use crate::control::{Control, Finish, ShutdownRequest};
use crate::metrics::Snapshot;
use crate::outbox::WriteProxy;
use crate::panics::panic_text;
use crate::protocol::Protocol;
use crate::socket::Socket;

/// The threads.
#[derive(Debug)]
pub(super) struct Threads {
    pub(super) accepter: JoinHandle<io::Result<()>>,
    pub(super) processors: Vec<JoinHandle<io::Result<()>>>,
}

/// A shutdown request without grace.
pub(super) fn at_once() -> ShutdownRequest {
    ShutdownRequest::at_once(Instant::now())
}

/// A request that is made now: all threads count its grace from this moment.
fn request(grace: Duration, finish: Finish) -> ShutdownRequest {
    ShutdownRequest { asked: Instant::now(), grace: grace.min(LONGEST), finish }
}

/// A server that runs.
///
/// Dropping it ends the server without grace, and waits until the server has ended; so keep it, or [`join`](Self::join)
/// it. A drop on the accepter thread or a processor thread only requests the end, because no thread can wait for
/// itself; for the same reason, do not join it there. Neither join nor drop it on one of the server's
/// [workers](crate::Workers): the processor waits for workers, for [`join_timeout`](crate::Workers::join_timeout) at
/// most. What runs on these threads ends the server by a [`Stopper`].
#[must_use = "dropping it ends the server"]
pub struct Running<P: Protocol> {
    address: SocketAddr,
    ceiling: MemoryCeiling,
    meter: Meter,
    proxy: WriteProxy<P>,
    /// `None` once they have been joined.
    threads: Option<Threads>,
}

impl<P: Protocol> Running<P> {
    pub(super) fn new(address: SocketAddr, ceiling: MemoryCeiling, meter: Meter, threads: Threads) -> Self {
        let proxy = meter.shared.proxy();
        Self { address, ceiling, meter, proxy, threads: Some(threads) }
    }

    /// The address on which it listens, with the real port if it was bound to port 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// A handle that writes to any of its connections, from any thread. Where there are several processors, its
    /// [`wake`](WriteProxy::wake) reaches only the first; each message processor gets its own in
    /// [`started`](crate::MessageProcessor::started).
    pub fn proxy(&self) -> WriteProxy<P> {
        self.proxy.clone()
    }

    /// All numbers as they are now. From any thread, without disturbing the server.
    pub fn metrics(&self) -> Snapshot {
        self.meter.snapshot()
    }

    /// A handle that reads the same numbers from elsewhere, also after the server has ended.
    pub fn meter(&self) -> Meter {
        self.meter.clone()
    }

    /// The most memory it takes, row by row.
    pub fn memory_ceiling(&self) -> &MemoryCeiling {
        &self.ceiling
    }

    /// A handle that asks the server to shut down from elsewhere, such as a thread that waits for signals while this
    /// one [`join`](Self::join)s.
    pub fn stopper(&self) -> Stopper {
        Stopper { control: Arc::clone(&self.meter.shared.control) }
    }

    /// Ends the server and waits until it has ended: accepts the peers that wait in the backlog, closes the listener,
    /// lets connections finish for at most `grace`, then closes those that are left. Returns the final numbers. A grace
    /// of more than a year counts as a year. (If another process listens with the same socket, it gets the peers that
    /// come later.)
    ///
    /// The grace is for connections. Then the message processors are dropped, each on its thread, which may take as
    /// long as it likes; with [`Workers`](crate::Workers) up to [`join_timeout`](crate::Workers::join_timeout) more.
    ///
    /// # Errors
    /// As [`join`](Self::join).
    pub fn shutdown(self, grace: Duration, finish: Finish) -> io::Result<Snapshot> {
        self.stopper().shutdown(grace, finish);
        self.join()
    }

    /// Waits until the server has ended, because a [`Stopper`] asked for it or because one of its threads failed.
    /// Returns the final numbers.
    ///
    /// # Errors
    /// One of the threads panicked or could not go on. All connections are closed in that case, too.
    pub fn join(mut self) -> io::Result<Snapshot> {
        self.join_threads()?;
        Ok(self.meter.snapshot())
    }

    fn join_threads(&mut self) -> io::Result<()> {
        let Some(Threads { accepter, processors }) = self.threads.take() else { return Ok(()) };
        let processed: Vec<_> = processors.into_iter().map(JoinHandle::join).collect();
        let accepted = accepter.join();
        self.meter.shared.clear_up();
        let alone = processed.len() == 1;
        for (number, end) in processed.into_iter().enumerate() {
            let which = if alone { "the processor thread".into() } else { format!("the thread of processor {number}") };
            failure(&which, end)?;
        }
        failure("the accepter thread", accepted)?;
        self.meter.shared.assert_home();
        Ok(())
    }
}

/// The error that ended a thread, if there was one, with the name of the thread.
fn failure(which: &str, end: thread::Result<io::Result<()>>) -> io::Result<()> {
    match end {
        Ok(ended) => ended.map_err(|error| explain(format!("{which} could not go on"), error)),
        Err(payload) => Err(io::Error::other(format!("{which} panicked: {}", panic_text(&*payload)))),
    }
}

impl<P: Protocol> Drop for Running<P> {
    fn drop(&mut self) {
        let Some(threads) = &self.threads else { return };
        self.meter.shared.control.request(at_once());
        let this = thread::current().id();
        let mut ids = threads.processors.iter().map(|processor| processor.thread().id());
        if threads.accepter.thread().id() == this || ids.any(|id| id == this) {
            // This thread would wait for itself. The request has been made, so the threads end on their own.
            return;
        }
        if let Err(error) = self.join_threads() {
            log::error!("{error}");
        }
    }
}

impl<P: Protocol> fmt::Debug for Running<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Asks a server to shut down, from any thread. Cheap to clone.
///
/// ```
/// use std::thread;
/// use std::time::Duration;
///
/// use sluicegate::http1::{Http1, Response};
/// use sluicegate::{Finish, Message, Reply, Server};
///
/// let hello = |_: Message<'_, Http1>, reply: Reply<'_, Http1>| reply.send(Response::ok("hello\n"));
/// let running = Server::bind("127.0.0.1:0", Http1::default())?.start(hello)?;
/// let stopper = running.stopper();
/// // Here: at once. In a program: a thread that waits for SIGTERM, with `signal-hook` or the like.
/// thread::spawn(move || stopper.shutdown(Duration::from_secs(10), Finish::Answer));
/// let numbers = running.join()?;
/// println!("{} connections, {} messages", numbers.accepted, numbers.messages_in);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Stopper {
    control: Arc<Control>,
}

impl Stopper {
    /// Asks the server to accept no more than waits in the backlog, to let connections finish for at most `grace` from
    /// now on and then to close those that are left. Returns at once. The first request counts; a later one can only
    /// make the grace end sooner. A grace of more than a year counts as a year.
    pub fn shutdown(&self, grace: Duration, finish: Finish) {
        self.control.request(request(grace, finish));
    }
}

/// Reads the numbers of a server, from any thread, also after the server has ended. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Meter {
    shared: Shared<Socket>,
}

impl Meter {
    pub(super) fn new(shared: Shared<Socket>) -> Self {
        Self { shared }
    }

    /// All numbers as they are now, of all processors together. Each is exact, but they were not read at the same
    /// instant. Does not disturb the server.
    pub fn snapshot(&self) -> Snapshot {
        let mut sum = Snapshot::default();
        self.by_processor().iter().for_each(|one| sum.add(one));
        sum
    }

    /// The numbers of each processor, by [its number](crate::ConnectionId::processor). The accepter's counts are
    /// included with the processor that got the connection.
    pub fn by_processor(&self) -> Vec<Snapshot> {
        self.shared.stations.iter().map(Station::snapshot).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handover::Accepted;
    use crate::protocol::{Decode, ProtocolError};
    use crate::server::Config;
    use crate::wake::WakeFlag;
    use std::net::TcpListener;

    #[derive(Clone)]
    struct Nothing;

    impl Protocol for Nothing {
        type Layout = ();
        type Exchange = ();
        const IN_ORDER: bool = true;

        fn message_max(&self) -> usize {
            1
        }

        fn decode(&mut self, _: &mut [u8]) -> Result<Decode<()>, ProtocolError> {
            Ok(Decode::Complete { consumed: 1, layout: () })
        }

        fn exchange(_: &()) {}
    }

    fn running_on(
        accepter: impl FnOnce() -> io::Result<()> + Send + 'static,
        processors: Vec<JoinHandle<io::Result<()>>>,
    ) -> Running<Nothing> {
        let config = Config { processors: processors.len(), connections_max: 8, handover_max: 4, ..Config::default() };
        let flags: Vec<_> = processors.iter().map(|_| Arc::new(WakeFlag::never_asleep())).collect();
        let shared = Shared::new(&config, 0, &Arc::new(WakeFlag::never_asleep()), &flags);
        let threads = Threads { accepter: thread::spawn(accepter), processors };
        let rows = MemoryCeiling::of::<Nothing>(&config);
        Running::new(SocketAddr::from(([127, 0, 0, 1], 1)), rows, Meter::new(shared), threads)
    }

    fn running(
        accepter: impl FnOnce() -> io::Result<()> + Send + 'static,
        processor: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> Running<Nothing> {
        running_on(accepter, vec![thread::spawn(processor)])
    }

    #[test]
    fn what_ended_either_thread_comes_out_of_join() {
        let error = running(|| Ok(()), || panic!("slot {}", 7)).join().expect_err("it panicked");
        assert_eq!(error.to_string(), "the processor thread panicked: slot 7");
        let error = running(|| panic!("no more"), || Ok(())).join().expect_err("it panicked");
        assert_eq!(error.to_string(), "the accepter thread panicked: no more");
        let error = running(|| Err(io::ErrorKind::InvalidInput.into()), || Ok(())).join().expect_err("it failed");
        assert!(error.to_string().starts_with("the accepter thread could not go on"), "{error}");
        let processors = vec![thread::spawn(|| Ok(())), thread::spawn(|| panic!("slot 8"))];
        let error = running_on(|| Ok(()), processors).join().expect_err("one panicked");
        assert_eq!(error.to_string(), "the thread of processor 1 panicked: slot 8");
        let processors = vec![thread::spawn(|| Ok(())), thread::spawn(|| Err(io::ErrorKind::InvalidInput.into()))];
        let error = running_on(|| Ok(()), processors).join().expect_err("one failed");
        assert!(error.to_string().starts_with("the thread of processor 1 could not go on"), "{error}");
    }

    #[test]
    fn sockets_that_a_failed_processor_left_behind_are_closed_and_counted() {
        let running = running(|| Ok(()), || panic!("as planned"));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let mut peer = std::net::TcpStream::connect(listener.local_addr().expect("its address")).expect("connected");
        let (socket, address) = listener.accept().expect("its socket");
        let meter = running.meter();
        let accepted = Accepted { socket: mio::net::TcpStream::from_std(socket).into(), address };
        assert!(meter.shared.dealer.put(0, accepted).is_ok());
        assert_eq!(meter.snapshot().handover_queue, 1);
        running.join().expect_err("it panicked");
        assert_eq!(io::Read::read(&mut peer, &mut [0]).expect("the end"), 0);
        assert_eq!((meter.snapshot().accepted_unserved, meter.shared.dealer.live()), (1, 0));
    }

    #[test]
    fn the_gauges_are_those_of_pools_and_queues() {
        let running = running(|| Ok(()), || Ok(()));
        let block = running.meter.shared.stations[0].inbound.tiers()[2].lease();
        assert_eq!(running.metrics().inbound_blocks, [0, 0, 1]);
        drop(block);
        let snapshot = running.shutdown(Duration::MAX, Finish::ReadOut).expect("both ended");
        assert_eq!((snapshot.inbound_blocks, snapshot.inbound_blocks_high), ([0; 3], [0, 0, 1]));
    }

    #[test]
    fn a_grace_of_for_ever_can_be_added_to_any_time() {
        let running = running(|| Ok(()), || Ok(()));
        running.stopper().shutdown(Duration::MAX, Finish::Answer);
        let asked = running.meter.shared.control.requested().expect("asked");
        assert_eq!(asked.grace, LONGEST);
        assert!(asked.until() > Instant::now());
    }
}
