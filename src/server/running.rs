//! A server that runs: what can be asked of it from other threads, and how it ends.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mio::net::TcpStream;

use super::MemoryCeiling;
use super::config::LONGEST;
use super::error::explain;
use super::launch::AT_ONCE;
use crate::buffer::{SharedPool, Tier};
use crate::control::{Control, Finish, Shutdown};
use crate::handover::Handover;
use crate::metrics::{Metrics, Snapshot};
use crate::outbox::{Outbox, WriteProxy};
use crate::panics::panic_text;
use crate::protocol::Protocol;

/// What the two threads share with each other and with whoever started them.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    pub(super) handover: Arc<Handover<TcpStream>>,
    pub(super) control: Arc<Control>,
    pub(super) outbox: Arc<Outbox>,
    pub(super) inbound: Arc<SharedPool>,
    pub(super) metrics: Arc<Metrics>,
}

/// The two threads.
#[derive(Debug)]
pub(super) struct Threads {
    pub(super) accepter: JoinHandle<io::Result<()>>,
    pub(super) processor: JoinHandle<()>,
}

/// A server that runs.
///
/// Dropping it ends the server without grace and waits for that; keep it, or [`join`](Self::join) it. The server's own
/// threads must not hold it: they can't wait for themselves.
#[must_use = "dropping it ends the server"]
pub struct Running<P: Protocol> {
    address: SocketAddr,
    ceiling: MemoryCeiling,
    meter: Meter,
    proxy: WriteProxy<P>,
    /// Gone once they were joined.
    threads: Option<Threads>,
}

impl<P: Protocol> Running<P> {
    pub(super) fn new(address: SocketAddr, ceiling: MemoryCeiling, meter: Meter, threads: Threads) -> Self {
        let proxy = WriteProxy::new(Arc::clone(&meter.shared.outbox));
        Self { address, ceiling, meter, proxy, threads: Some(threads) }
    }

    /// Where it listens; the real port if it was bound to port 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Writes to any of its connections, from any thread.
    pub fn proxy(&self) -> WriteProxy<P> {
        self.proxy.clone()
    }

    /// All numbers now. Any thread; disturbs nobody.
    pub fn metrics(&self) -> Snapshot {
        self.meter.snapshot()
    }

    /// Reads the same numbers from elsewhere, also after the server has ended.
    pub fn meter(&self) -> Meter {
        self.meter.clone()
    }

    /// The most memory it takes, row by row.
    pub fn memory_ceiling(&self) -> &MemoryCeiling {
        &self.ceiling
    }

    /// Asks the server to go down, from elsewhere: a signal handler's thread, while this one [`join`](Self::join)s.
    pub fn stopper(&self) -> Stopper {
        Stopper { control: Arc::clone(&self.meter.shared.control) }
    }

    /// Ends the server and waits until it has ended: stops accepting, lets connections finish for at most `grace`, then
    /// closes those that are left. Returns the last numbers.
    ///
    /// # Errors
    /// As [`join`](Self::join).
    pub fn shutdown(self, grace: Duration, finish: Finish) -> io::Result<Snapshot> {
        self.stopper().shutdown(grace, finish);
        self.join()
    }

    /// Waits until the server has ended: because a [`Stopper`] asked for it, or because one of its threads failed.
    /// Returns the last numbers.
    ///
    /// # Errors
    /// One of the two threads panicked or could not go on. All connections are closed then as well.
    pub fn join(mut self) -> io::Result<Snapshot> {
        self.join_threads()?;
        Ok(self.meter.snapshot())
    }

    fn join_threads(&mut self) -> io::Result<()> {
        let Some(Threads { accepter, processor }) = self.threads.take() else { return Ok(()) };
        let processed = processor.join();
        let accepted = accepter.join();
        self.meter.shared.close_unserved();
        if let Err(payload) = processed {
            return Err(io::Error::other(format!("the processor thread panicked: {}", panic_text(&*payload))));
        }
        match accepted {
            Ok(accepted) => accepted.map_err(|error| explain("the accepter thread could not go on", error)),
            Err(payload) => Err(io::Error::other(format!("the accepter thread panicked: {}", panic_text(&*payload)))),
        }
    }
}

impl<P: Protocol> Drop for Running<P> {
    fn drop(&mut self) {
        let Some(threads) = &self.threads else { return };
        self.meter.shared.control.request(AT_ONCE);
        let this = thread::current().id();
        if [threads.processor.thread().id(), threads.accepter.thread().id()].contains(&this) {
            // It would wait for itself. The request is made; the threads end on their own.
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

impl Shared {
    /// Closes what a failed processor has left in the hand-over queue. Only after it has ended.
    fn close_unserved(&self) {
        while let Some(unserved) = self.handover.take() {
            drop(unserved);
            self.metrics.accepted_unserved.add(1);
            self.handover.ended();
        }
    }
}

/// Asks a server to go down. Cheap to clone; from any thread.
#[derive(Debug, Clone)]
pub struct Stopper {
    control: Arc<Control>,
}

impl Stopper {
    /// Asks the server to stop accepting, to let connections finish for at most `grace` and then to close those that are
    /// left. Returns at once. The first request counts; later ones can only shorten the grace. A grace of more than a
    /// year is a year.
    pub fn shutdown(&self, grace: Duration, finish: Finish) {
        self.control.request(Shutdown { grace: grace.min(LONGEST), finish });
    }
}

/// Reads the numbers of a server. Cheap to clone; from any thread, also after the server has ended.
#[derive(Debug, Clone)]
pub struct Meter {
    shared: Shared,
}

impl Meter {
    pub(super) fn new(shared: Shared) -> Self {
        Self { shared }
    }

    /// All numbers now. Each is exact; they are not of the same instant. Disturbs nobody.
    pub fn snapshot(&self) -> Snapshot {
        let Shared { handover, outbox, inbound, metrics, .. } = &self.shared;
        let mut snapshot = metrics.snapshot();
        // What queues and pools know themselves is asked there.
        snapshot.handover_queue = handover.waiting() as u64;
        snapshot.settled_queue = outbox.settled.len() as u64;
        snapshot.unasked_queue = outbox.unasked.len() as u64;
        snapshot.inbound_blocks = by_tier(inbound, Tier::in_use);
        snapshot.inbound_blocks_high = by_tier(inbound, Tier::high_water);
        snapshot.outbound_blocks = by_tier(&outbox.pool, Tier::in_use);
        snapshot.outbound_blocks_high = by_tier(&outbox.pool, Tier::high_water);
        snapshot.blocks_kept = by_tier(inbound, Tier::kept);
        snapshot
    }
}

fn by_tier<const N: usize>(pool: &SharedPool, number: impl Fn(&Tier) -> usize) -> [u64; N] {
    let mut numbers = pool.tiers().iter().map(|tier| number(tier) as u64);
    std::array::from_fn(|_| numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::{Line, TierConfig};
    use crate::clock::WallClock;
    use crate::handover::Accepted;
    use crate::outbox::OutboxLimits;
    use crate::protocol::{Decode, ProtocolError};
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

    fn shared() -> Shared {
        let flag = || Arc::new(WakeFlag::never_asleep());
        let tiers = [16, 32, 64].map(|size| TierConfig { size, count: 1 });
        let pool = || SharedPool::new(tiers, Line::new(flag()));
        let limits =
            OutboxLimits { connections_max: 1, owed_total_max: 1, unasked_max: 1, reply_max: 64, outbound_high: 64 };
        let metrics = Arc::new(Metrics::default());
        Shared {
            handover: Handover::new(4, 4, flag(), flag()),
            control: Control::new(flag(), flag()),
            outbox: Outbox::new(limits, pool(), Arc::new(WallClock::at(0)), flag(), Arc::clone(&metrics)),
            inbound: pool(),
            metrics,
        }
    }

    fn running(
        accepter: impl FnOnce() -> io::Result<()> + Send + 'static,
        processor: impl FnOnce() + Send + 'static,
    ) -> Running<Nothing> {
        let threads = Threads { accepter: thread::spawn(accepter), processor: thread::spawn(processor) };
        let rows = MemoryCeiling::of::<Nothing>(&crate::Config::default());
        Running::new(SocketAddr::from(([127, 0, 0, 1], 1)), rows, Meter::new(shared()), threads)
    }

    #[test]
    fn a_panic_of_either_thread_comes_out_of_join() {
        let error = running(|| Ok(()), || panic!("slot {}", 7)).join().expect_err("it panicked");
        assert_eq!(error.to_string(), "the processor thread panicked: slot 7");
        let error = running(|| panic!("no more"), || {}).join().expect_err("it panicked");
        assert_eq!(error.to_string(), "the accepter thread panicked: no more");
        let error = running(|| Err(io::ErrorKind::InvalidInput.into()), || {}).join().expect_err("it failed");
        assert!(error.to_string().starts_with("the accepter thread could not go on"), "{error}");
    }

    #[test]
    fn sockets_that_a_failed_processor_left_behind_are_closed_and_counted() {
        let running = running(|| Ok(()), || panic!("as planned"));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let mut peer = std::net::TcpStream::connect(listener.local_addr().expect("its address")).expect("connected");
        let (socket, address) = listener.accept().expect("its socket");
        let meter = running.meter();
        let accepted = Accepted { socket: TcpStream::from_std(socket), address };
        assert!(meter.shared.handover.put(accepted).is_ok());
        assert_eq!(meter.snapshot().handover_queue, 1);
        running.join().expect_err("it panicked");
        assert_eq!(io::Read::read(&mut peer, &mut [0]).expect("the end"), 0);
        assert_eq!((meter.snapshot().accepted_unserved, meter.shared.handover.live()), (1, 0));
    }

    #[test]
    fn the_gauges_are_those_of_pools_and_queues() {
        let running = running(|| Ok(()), || {});
        let block = running.meter.shared.inbound.tiers()[2].lease();
        assert_eq!(running.metrics().inbound_blocks, [0, 0, 1]);
        drop(block);
        let snapshot = running.shutdown(Duration::MAX, Finish::ReadOut).expect("both ended");
        assert_eq!((snapshot.inbound_blocks, snapshot.inbound_blocks_high), ([0; 3], [0, 0, 1]));
    }

    #[test]
    fn a_grace_of_for_ever_can_be_added_to_any_time() {
        let running = running(|| Ok(()), || {});
        running.stopper().shutdown(Duration::MAX, Finish::Answer);
        let asked = running.meter.shared.control.shutdown().expect("asked");
        assert_eq!(asked.grace, LONGEST);
        assert!(std::time::Instant::now().checked_add(asked.grace).is_some());
    }
}
