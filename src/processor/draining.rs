//! Which connections have finished while the server shuts down, and how much is still read of the others.
//!
//! With [`Finish::Answer`], a connection has finished once its messages are answered; with [`Finish::ReadOut`], once
//! everything that its peer sent has been read. Nothing marks the end of that. A socket that would block once does not:
//! if the window was full, the peer's kernel holds more, and sends it when it hears of room. So a connection is read
//! until nothing has come for [`QUIET`]. A peer that goes on sending would hold the server up forever, so the server
//! waits for none longer than [`MOST`]. Everything that was read by then is still handled.

use std::time::{Duration, Instant};

use super::turn::Budget;
use super::{Phase, Processor, Selector};
use crate::connection::CloseReason;
use crate::control::Finish;
use crate::message_processor::MessageProcessor;
use crate::protocol::Protocol;

/// After this much silence, everything sent before the shutdown is assumed to have arrived.
const QUIET: Duration = Duration::from_millis(50);
/// How long a peer that goes on sending is read. The bytes that its kernel held have come by then if the server took
/// them, so this time stands still while the connection waits for a block or for the user.
const MOST: Duration = Duration::from_secs(1);
/// The most bytes that the kernel of a sending peer is assumed to hold: Linux's default maximum (`tcp_wmem`).
const UNSENT: u64 = 4 << 20;

impl<S: Selector, P: Protocol, M: MessageProcessor<P>> Processor<S, P, M> {
    /// While the server shuts down: ends a connection that has finished what it may still do.
    pub(super) fn drain_if_finished(&mut self, slot: u32) {
        let Phase::Draining { request, .. } = self.phase else { return };
        let Some(connection) = self.table.at_mut(slot).filter(|connection| connection.ending.is_none()) else { return };
        // The second begins with the first turn after the shutdown request, not with the request.
        let began = connection.deadlines.begin_read_out(self.now);
        let finished = match request.finish {
            Finish::Answer => self.has_answered(slot),
            Finish::ReadOut => self.is_read_out(slot, began),
        };
        if finished {
            self.begin_close(slot, CloseReason::Shutdown);
        }
    }

    /// True if the message that had begun is answered, and no other that had arrived is left. A peer that goes on
    /// sending may begin one message after the other without end: only what it sends within a second is taken, and no
    /// message that begins in that time is waited for until it is whole.
    fn has_answered(&self, slot: u32) -> bool {
        let Some(connection) = self.table.at(slot) else { return false };
        let is_through = !connection.has_input() && connection.paused.is_empty();
        if connection.flags.has_final_answer {
            is_through || self.has_handled_all_read(slot)
        } else {
            is_through && connection.inbound.buffered() == 0
        }
    }

    /// True if everything that was sent has come; if more may come, this notes when to look again.
    fn is_read_out(&mut self, slot: u32, began: Instant) -> bool {
        self.bound_read_out(slot);
        if self.has_handled_all_read(slot) {
            return true;
        }
        let Some(connection) = self.table.at(slot) else { return false };
        if connection.has_input() || !connection.paused.is_empty() {
            return false;
        }
        // Bytes that were sent a moment before may still be on their way.
        let active = connection.deadlines.active();
        let quiet_at = (active.max(began) + QUIET).min(began + MOST);
        if self.now < quiet_at
            && let Phase::Draining { look, .. } = &mut self.phase
        {
            *look = Some(look.map_or(quiet_at, |look| look.min(quiet_at)));
        }
        self.now >= quiet_at
    }

    /// True if the connection is no longer read, and every message that was read is handled.
    fn has_handled_all_read(&self, slot: u32) -> bool {
        let undecoded = self.table.at(slot).is_some_and(|connection| connection.flags.undecoded);
        self.is_read_no_more(slot) && !undecoded
    }

    /// True if the connection has been read for long enough. With [`Finish::ReadOut`] there is also a byte limit:
    /// everything that both kernels held must be read, however many senders there are, but a peer that sends faster
    /// than it is read gets no more than that.
    fn is_read_no_more(&self, slot: u32) -> bool {
        let Phase::Draining { request, .. } = self.phase else { return false };
        let Some(connection) = self.table.at(slot) else { return false };
        match request.finish {
            Finish::Answer => {
                let over = connection.deadlines.read_out_since().is_some_and(|began| self.now >= began + MOST);
                connection.flags.has_final_answer && over && !connection.paused.for_shortage()
            }
            Finish::ReadOut => connection.read_out_left == 0 && self.now >= request.asked + MOST,
        }
    }

    /// Sets the byte limit: only what lies in both kernels now was sent before.
    fn bound_read_out(&mut self, slot: u32) {
        let Some(connection) = self.table.at_mut(slot) else { return };
        if connection.read_out_left == u32::MAX {
            // A socket that cannot be asked is broken, and ends by itself.
            let unread = self.selector.unread(&mut connection.socket).unwrap_or(0);
            connection.read_out_left = u32::try_from(unread.saturating_add(UNSENT)).unwrap_or(u32::MAX - 1);
        }
    }

    /// The part of `given` that a connection may use while the server shuts down.
    pub(super) fn while_draining(&self, slot: u32, given: Budget) -> Budget {
        Budget { bytes: if self.is_read_no_more(slot) { 0 } else { given.bytes }, ..given }
    }

    /// Counts `bytes` that were read against the connection's byte limit.
    pub(super) fn count_read_out(&mut self, slot: u32, bytes: u64) {
        let Some(connection) = self.table.at_mut(slot) else { return };
        if connection.read_out_left != u32::MAX {
            let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
            connection.read_out_left = connection.read_out_left.saturating_sub(bytes);
        }
    }

    /// Looks again which connections are quiet, if it is time.
    pub(super) fn look_who_is_quiet(&mut self) {
        let now = self.now;
        let Phase::Draining { look, .. } = &mut self.phase else { return };
        if look.take_if(|look| *look <= now).is_some() {
            self.table.slots().for_each(|slot| self.look_once_more(slot));
        }
    }
}
