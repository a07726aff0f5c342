//! The message processor of the cycle target: does what the requests say, and holds on to what they tell it to.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sluicegate::{ConnectionId, Deferred, Message, MessageProcessor, Peer, Reply, WriteProxy};

use crate::wire::{Act, Answer, Order, Wire};

/// Longer than any answer may be.
const TOO_LONG: usize = 100_000;

/// What the user holds, and whether it takes messages. Script and user share it.
pub struct Desk<P: Wire> {
    inner: Arc<Mutex<Inner<P>>>,
}

struct Inner<P: Wire> {
    held: Vec<Held<P>>,
    ready: bool,
    /// All connections that there were.
    opened: Vec<ConnectionId>,
}

/// What waits to be let go.
struct Held<P: Wire> {
    message: Option<Message<'static, P>>,
    promise: Option<(Deferred<P>, Order)>,
}

impl<P: Wire> Desk<P> {
    fn lock(&self) -> MutexGuard<'_, Inner<P>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hold(&self, message: Option<Message<'static, P>>, promise: Option<(Deferred<P>, Order)>) {
        self.lock().held.push(Held { message, promise });
    }

    pub fn set_ready(&self, ready: bool) {
        self.lock().ready = ready;
    }

    /// One of all connections that there were.
    pub fn opened(&self, which: usize) -> Option<ConnectionId> {
        let inner = self.lock();
        which.checked_rem(inner.opened.len()).map(|index| inner.opened[index])
    }

    pub fn all_opened(&self) -> Vec<ConnectionId> {
        self.lock().opened.clone()
    }

    /// Lets one thing go: gives the answer that was promised, drops the message that was kept. False if nothing is
    /// held.
    pub fn release(&self, which: usize) -> bool {
        let released = {
            let mut inner = self.lock();
            let count = inner.held.len();
            (count > 0).then(|| inner.held.swap_remove(which % count))
        };
        // Without the lock: dropping and sending may wake others.
        let Some(Held { message, promise }) = released else { return false };
        if let (Some(message), Some((_, order))) = (&message, &promise) {
            assert_eq!(P::order(message), *order, "a message has changed while it was kept");
        }
        if let Some((reply, order)) = promise {
            reply.send(Answer { body: order.body(), shared: false, last: false });
        }
        true
    }
}

impl<P: Wire> Default for Desk<P> {
    fn default() -> Self {
        Self { inner: Arc::new(Mutex::new(Inner { held: Vec::new(), ready: true, opened: Vec::new() })) }
    }
}

impl<P: Wire> Clone for Desk<P> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<P: Wire> MessageProcessor<P> for Desk<P> {
    fn opened(&mut self, peer: &Peer, _: &WriteProxy<P>) {
        self.lock().opened.push(peer.connection);
    }

    fn process(&mut self, message: Message<'_, P>, reply: Reply<'_, P>) {
        let order = P::order(&message);
        let answer = |shared, last| Answer { body: order.body(), shared, last };
        match order.act {
            Act::Answer => reply.send(answer(false, false)),
            Act::Share => reply.send(answer(true, false)),
            Act::Last => reply.send(answer(false, true)),
            Act::Defer => self.hold(None, Some((reply.defer(), order))),
            Act::DeferKept => self.hold(Some(message.into_owned()), Some((reply.defer(), order))),
            Act::Keep => {
                self.hold(Some(message.into_owned()), None);
                reply.send(answer(false, false));
            }
            Act::DeferForgotten => drop(reply.defer()),
            Act::Forget => drop(reply),
            Act::None => reply.none(),
            Act::Close => reply.close(),
            Act::TooLong => reply.send(Answer { body: vec![b'x'; TOO_LONG], shared: false, last: false }),
        }
    }

    fn ready(&mut self) -> bool {
        self.lock().ready
    }
}
