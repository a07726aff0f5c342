//! From the accepter thread to a processor thread: a bounded queue of sockets, and the count of its connections.

mod dealer;

use std::net::SocketAddr;
use std::sync::Arc;

use crate::sync::ArrayQueue;
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use crate::wake::WakeFlag;

pub use dealer::Dealer;

/// A connection that was accepted, on its way to the processor.
#[derive(Debug)]
pub struct Accepted<K> {
    /// The socket, non-blocking.
    pub socket: K,
    /// The peer's address.
    pub address: SocketAddr,
}

/// The queue between the accepter and one processor. One accepter puts, one processor takes; if there are several
/// processors, the [`Dealer`] chooses one.
///
/// A connection counts from `accept` until the processor has closed its socket, also while it waits in the queue. The
/// accepter asks [`has_room`](Self::has_room) before it accepts; without room it leaves peers in the kernel's backlog.
#[derive(Debug)]
pub struct Handover<K> {
    queue: ArrayQueue<Accepted<K>>,
    live: AtomicUsize,
    connections_each: usize,
    accepter_waits: AtomicBool,
    accepter: Arc<WakeFlag>,
    processor: Arc<WakeFlag>,
    finished: AtomicBool,
}

impl<K> Handover<K> {
    /// A queue of `capacity` sockets for a processor of at most `connections_each` connections.
    pub fn new(
        capacity: usize,
        connections_each: usize,
        accepter: Arc<WakeFlag>,
        processor: Arc<WakeFlag>,
    ) -> Arc<Self> {
        Arc::new(Self {
            queue: ArrayQueue::new(capacity),
            live: AtomicUsize::new(0),
            connections_each,
            accepter_waits: AtomicBool::new(false),
            accepter,
            processor,
            finished: AtomicBool::new(false),
        })
    }

    /// Bytes that the queue takes, for the memory ceiling.
    pub fn memory(capacity: usize) -> u64 {
        (capacity * (size_of::<Accepted<K>>() + size_of::<usize>())) as u64
    }

    /// True if one more connection may be accepted. Accepter only.
    pub fn has_room(&self) -> bool {
        self.live.load(SeqCst) < self.connections_each && !self.queue.is_full()
    }

    /// Asks to be woken when there may be room again. [`has_room`](Self::has_room) must be asked once more after this.
    /// Accepter only.
    pub fn wait_for_room(&self) {
        self.accepter_waits.store(true, SeqCst);
    }

    /// Hands a connection over. Accepter only, after `has_room` said yes.
    ///
    /// # Errors
    /// The queue was full after all: the socket comes back.
    pub fn put(&self, accepted: Accepted<K>) -> Result<(), Accepted<K>> {
        self.live.fetch_add(1, SeqCst);
        if let Err(accepted) = self.queue.push(accepted) {
            self.live.fetch_sub(1, SeqCst);
            return Err(accepted);
        }
        self.processor.wake();
        Ok(())
    }

    /// Says that nothing more will be put. Accepter only.
    pub fn finish(&self) {
        self.finished.store(true, SeqCst);
        self.processor.wake();
    }

    /// True once nothing more will be put.
    #[cfg(feature = "sim")]
    pub fn is_finished(&self) -> bool {
        self.finished.load(SeqCst)
    }

    /// True when the accepter has stopped and the queue is empty: no connection will come any more.
    pub fn is_over(&self) -> bool {
        self.finished.load(SeqCst) && self.queue.is_empty()
    }

    /// The next connection. Processor only.
    pub fn take(&self) -> Option<Accepted<K>> {
        // Usually there is none, and looking costs less than trying.
        if self.queue.is_empty() {
            return None;
        }
        let accepted = self.queue.pop()?;
        self.wake_accepter();
        Some(accepted)
    }

    /// Says that a connection's socket was closed. Processor only.
    pub fn ended(&self) {
        self.live.fetch_sub(1, SeqCst);
        self.wake_accepter();
    }

    fn wake_accepter(&self) {
        if self.accepter_waits.load(SeqCst) && self.accepter_waits.swap(false, SeqCst) {
            self.accepter.wake();
        }
    }

    /// Connections between `accept` and close.
    pub fn live(&self) -> usize {
        self.live.load(SeqCst)
    }

    /// Connections that wait in the queue.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// True if a cycle would find a connection here.
    pub fn has_work(&self) -> bool {
        !self.queue.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 1))
    }

    #[test]
    fn a_connection_counts_until_its_socket_is_closed() {
        let awake = || Arc::new(WakeFlag::never_asleep());
        let handover = Handover::new(1, 2, awake(), awake());
        let accepted = |socket| Accepted { socket, address: address() };
        assert!(handover.put(accepted(1)).is_ok());
        assert!(!handover.has_room(), "the queue is full");
        assert!(handover.put(accepted(2)).is_err());
        assert_eq!(handover.take().map(|accepted| accepted.socket), Some(1));
        assert!(handover.put(accepted(2)).is_ok());
        assert!(handover.take().is_some());
        assert!(!handover.has_room(), "two are open");
        handover.ended();
        assert!(handover.has_room());
        assert_eq!(handover.live(), 1);
    }
}
