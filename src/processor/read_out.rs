//! [`Finish::ReadOut`](crate::Finish::ReadOut): what peers have sent is read, and then their connections end.
//!
//! Nobody says where that is. A socket that would block once does not: behind a window that was full, the peer's kernel
//! holds more, and sends it when it hears of room. So a connection is read until nothing has come for [`QUIET`]. A peer
//! that goes on sending would hold the server up for ever: one that is slow is read for [`READ_OUT_MOST`] and then
//! until its socket is empty once, and one that is faster than it is read, up to a number of bytes.

use std::time::{Duration, Instant};

use super::turn::Budget;
use super::{Phase, Processor, Selector};
use crate::message_processor::MessageProcessor;
use crate::protocol::Protocol;

/// Nothing comes behind what was sent before so long a time.
const QUIET: Duration = Duration::from_millis(50);
/// What a kernel holds has come by then, if the server let it. So the time stands still while the connection waits for
/// a block or for the user.
const READ_OUT_MOST: Duration = Duration::from_secs(1);
/// What a peer's kernel may hold of what it has sent: as much as Linux takes unless it was told otherwise (`tcp_wmem`).
const UNSENT: u64 = 4 << 20;

impl<S: Selector, P: Protocol, M: MessageProcessor<P>> Processor<S, P, M> {
    /// True if what was sent to the connection before it was read out, from `began` on, was handled; if it may be, when
    /// to look again is noted.
    pub(super) fn is_read_out(&mut self, slot: u32, began: Instant) -> bool {
        self.bound_read_out(slot);
        let Some(connection) = self.table.at(slot) else { return false };
        if connection.read_out_left == 0 && !connection.flags.undecoded {
            return true;
        }
        if connection.has_input() || !connection.paused.is_empty() {
            return false;
        }
        // What was sent a moment before may be on its way still.
        let active = connection.deadlines.active();
        let quiet_at = (active.max(began) + QUIET).min(began + READ_OUT_MOST);
        if self.now < quiet_at
            && let Phase::Draining { look, .. } = &mut self.phase
        {
            *look = Some(look.map_or(quiet_at, |look| look.min(quiet_at)));
        }
        self.now >= quiet_at
    }

    /// What lies in both kernels, and no more, is what was sent before.
    fn bound_read_out(&mut self, slot: u32) {
        let Some(connection) = self.table.at_mut(slot) else { return };
        if connection.read_out_left == u32::MAX {
            // A socket that cannot be asked is broken, and ends by itself.
            let unread = self.selector.unread(&mut connection.socket).unwrap_or(0);
            connection.read_out_left = u32::try_from(unread.saturating_add(UNSENT)).unwrap_or(u32::MAX - 1);
        }
    }

    /// What is left of `given` for a connection that is read out.
    pub(super) fn within_read_out(&self, slot: u32, given: Budget) -> Budget {
        let left = self.table.at(slot).map_or(0, |connection| connection.read_out_left as usize);
        Budget { bytes: given.bytes.min(left), ..given }
    }

    /// `bytes` of it were read.
    pub(super) fn count_read_out(&mut self, slot: u32, bytes: usize) {
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
