//! When the accepter may sleep: what it waits for, and what wakes it.

use std::sync::Arc;
use std::time::Instant;

use crate::control::{Control, ShutdownRequest};
use crate::handover::Dealer;
use crate::wake::WakeFlag;

/// What the accepter waits for besides the end of the server.
#[derive(Debug, Clone, Copy)]
pub enum Awaited {
    /// A peer.
    Peer,
    /// Room for one more connection.
    Room,
    /// Room, during shutdown. The known shutdown request does not end this wait; a newer one whose grace ends before
    /// this moment does.
    RoomAtTheEnd(Instant),
    /// Fewer connections than these: their descriptors are free again.
    FewerThan(usize),
    /// The same, during shutdown.
    FewerAtTheEnd(usize, Instant),
}

/// Everything that the accepter checks before it sleeps, except the poll in which it sleeps.
#[derive(Debug)]
pub struct Watch<K> {
    /// Wakes the accepter.
    pub wake: Arc<WakeFlag>,
    /// Where it hands connections over, as far as there is room.
    pub dealer: Arc<Dealer<K>>,
    /// Tells when the server shuts down.
    pub control: Arc<Control>,
}

impl<K> Watch<K> {
    /// Makes sure that it is woken; false if that is not necessary, because what it waits for has come. Either way the
    /// flag has to be taken back with [`WakeFlag::awake`].
    pub fn may_sleep(&self, awaited: Awaited) -> bool {
        self.wake.fall_asleep();
        if !matches!(awaited, Awaited::Peer) {
            self.dealer.wait_for_room();
        }
        // Asked after both flags are set: from here on, a thread that changes the answer also wakes us.
        !self.has_come(awaited)
    }

    /// True if it need not wait any more.
    pub fn has_come(&self, awaited: Awaited) -> bool {
        let is_sooner =
            |until| self.control.requested().is_some_and(|request: ShutdownRequest| request.until() < until);
        let come = match awaited {
            // The poll reports that.
            Awaited::Peer => false,
            Awaited::RoomAtTheEnd(until) => return self.dealer.has_room() || is_sooner(until),
            Awaited::FewerAtTheEnd(live, until) => return self.dealer.live() < live || is_sooner(until),
            Awaited::Room => self.dealer.has_room(),
            Awaited::FewerThan(live) => self.dealer.live() < live,
        };
        come || self.control.is_requested()
    }
}
