//! When the accepter may sleep: what it waits for, and who wakes it.

use std::sync::Arc;

use crate::control::Control;
use crate::handover::Handover;
use crate::wake::WakeFlag;

/// What the accepter waits for besides the end of the server.
#[derive(Debug, Clone, Copy)]
pub enum Awaited {
    /// A peer.
    Peer,
    /// Room for one more connection.
    Room,
    /// The same, when the server goes down already: being told so is no reason to wait no more.
    RoomAtTheEnd,
    /// Fewer connections than these: their descriptors are free again.
    FewerThan(usize),
}

/// What the accepter looks at before it sleeps. Its poll, where it does so, is not in here.
#[derive(Debug)]
pub struct Watch<K> {
    /// Gets it out of its sleep.
    pub wake: Arc<WakeFlag>,
    /// Where it leaves connections, as far as there is room.
    pub handover: Arc<Handover<K>>,
    /// Tells when the server goes down.
    pub control: Arc<Control>,
}

impl<K> Watch<K> {
    /// Makes sure that it is woken; false if that is not necessary, because what it waits for has come. Either way the
    /// flag has to be taken back with [`WakeFlag::awake`].
    pub fn may_sleep(&self, awaited: Awaited) -> bool {
        self.wake.fall_asleep();
        if !matches!(awaited, Awaited::Peer) {
            self.handover.wait_for_room();
        }
        // Asked after both flags are set: from here on, whoever changes the answer also wakes us.
        !self.has_come(awaited)
    }

    /// True if it need not wait any more.
    pub fn has_come(&self, awaited: Awaited) -> bool {
        let come = match awaited {
            // The poll tells.
            Awaited::Peer => false,
            Awaited::RoomAtTheEnd => return self.handover.has_room(),
            Awaited::Room => self.handover.has_room(),
            Awaited::FewerThan(live) => self.handover.live() < live,
        };
        come || self.control.is_requested()
    }
}
