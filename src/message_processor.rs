//! The trait that a user of the server implements.

use std::time::Instant;

use crate::connection::{CloseReason, WhenFull};
use crate::outbox::{Reply, WriteProxy};
use crate::protocol::{Message, Peer, Protocol};

/// Handles the messages of all connections, on the processor thread.
///
/// This is the one page to read. All methods run on the processor thread, so a message processor needs no locks of its
/// own and must not block: work that takes long belongs on [`Workers`](crate::Workers), or is answered later through
/// [`Reply::defer`].
///
/// A panic in any of them is caught, logged and counted, and the server goes on. In [`process`](Self::process) it
/// refuses the connection (HTTP: 500), unless the reply was used before; in [`ready`](Self::ready) it counts as `true`,
/// in [`cycle_end`](Self::cycle_end) as `None`, and in [`opened`](Self::opened) or [`when_full`](Self::when_full) as
/// [`WhenFull::PauseReads`]. A panic in `Drop` is not caught: the message processor is dropped when the server ends,
/// and [`Running::join`](crate::Running::join) then returns an error. Your own state must stay usable if a call stops
/// halfway: a standard mutex, for instance, stays poisoned. A program that is built with `panic = "abort"` has none of
/// this.
///
/// A closure `FnMut(Message<'_, P>, Reply<'_, P>)` is a message processor, too.
///
/// ```
/// use sluicegate::{LengthPrefixed, Message, MessageProcessor, Reply};
///
/// struct Count(u64);
///
/// impl MessageProcessor<LengthPrefixed> for Count {
///     fn process(&mut self, _: Message<'_, LengthPrefixed>, reply: Reply<'_, LengthPrefixed>) {
///         self.0 += 1;
///         reply.send(self.0.to_string().as_bytes());
///     }
/// }
/// ```
pub trait MessageProcessor<P: Protocol>: Send {
    /// Handles one message. Use `reply` to decide its outcome: an answer now, an answer later, or none.
    ///
    /// A `reply` that is dropped unused refuses the connection (HTTP: 500).
    fn process(&mut self, message: Message<'_, P>, reply: Reply<'_, P>);

    /// Called once, before the first connection. Keep a clone of `proxy` to send without a request, or from other
    /// threads.
    fn started(&mut self, proxy: &WriteProxy<P>) {
        let _ = proxy;
    }

    /// A peer has connected. Every `opened` is followed by exactly one [`closed`](Self::closed). Also called for a peer
    /// that [`Admission`](crate::Admission) refuses: its [`closed`](Self::closed) has the reason
    /// [`CloseReason::Crowded`], and what is sent to it is taken and reaches nobody.
    fn opened(&mut self, peer: &Peer, proxy: &WriteProxy<P>) {
        let _ = (peer, proxy);
    }

    /// Called once, after [`opened`](Self::opened). Decides what happens to this connection if its peer takes its
    /// answers so slowly that [`Watermarks::high`](crate::Watermarks::high) is reached.
    fn when_full(&mut self, peer: &Peer) -> WhenFull {
        let _ = peer;
        WhenFull::PauseReads
    }

    /// The connection with `peer` has ended; nothing can be sent to it any more.
    ///
    /// With the address of the peer and the reason this is the place for a log of who was refused: requests that were
    /// refused before they were whole (HTTP: 400, 408, 413, 431, 503) come to nobody else's eyes.
    fn closed(&mut self, peer: &Peer, reason: &CloseReason) {
        let _ = (peer, reason);
    }

    /// Called before each attempt to decode a message, never once one is decoded. Returning `true` is a promise to
    /// accept one more message of the maximum size. Returning `false` pauses the connection until
    /// [`WriteProxy::resume`]; connections that come later queue behind it.
    ///
    /// It only looks: an attempt may find no whole message, and after `false` it may be called a second time at once.
    /// So nothing may be counted or reserved in it.
    fn ready(&mut self) -> bool {
        true
    }

    /// Runs at the end of every cycle; `now` is the time of that cycle. Return the latest time at which it must run
    /// again (to send a batch that waits, or a message every second), or `None` to run only when something else starts
    /// a cycle. Each return value replaces the previous one; a time in the past means immediately.
    ///
    /// It runs after everything was written: a connection whose peer has closed its side right behind its message may
    /// have ended already, and gets nothing more. What must reach it too is sent in [`process`](Self::process).
    ///
    /// The last call is not the end: connections that are left when the grace of a shutdown is over are
    /// [`closed`](Self::closed) after it. What has to be done once all have ended belongs in `Drop`, which runs on
    /// the same thread.
    fn cycle_end(&mut self, now: Instant) -> Option<Instant> {
        let _ = now;
        None
    }
}

impl<P, F> MessageProcessor<P> for F
where
    P: Protocol,
    F: FnMut(Message<'_, P>, Reply<'_, P>) + Send,
{
    // Inlined: a call would copy both arguments with wide loads, right after they were written with narrow stores, and
    // the CPU waits for that.
    #[inline(always)]
    fn process(&mut self, message: Message<'_, P>, reply: Reply<'_, P>) {
        self(message, reply);
    }
}
