//! Timeouts: each connection's next deadline, and what happens once it has passed.

use super::{Processor, Selector};
use crate::connection::{CloseReason, Expiry};
use crate::message_processor::MessageProcessor;
use crate::protocol::Protocol;
use crate::reason::DropReason;
use std::time::Instant;

impl<S: Selector, P: Protocol, M: MessageProcessor<P>> Processor<S, P, M> {
    /// Looks at every connection whose timer came out. If its deadline has moved meanwhile, the timer is only set
    /// again.
    pub(super) fn expire_timers(&mut self) {
        while let Some(slot) = self.wheel.pop_expired(self.now) {
            if let Some(connection) = self.table.at_mut(slot) {
                connection.deadlines.disarmed();
            }
            match self.next_deadline(slot) {
                Some((due, expiry)) if due <= self.now => self.expire(slot, expiry),
                Some((due, _)) => self.set_timer(slot, due),
                None => self.note_armed(slot),
            }
        }
    }

    /// Makes sure that the connection's timer comes out in time. Later deadlines need no call: the timer that is set
    /// comes out too early and looks again.
    pub(super) fn rearm(&mut self, slot: u32) {
        let Some(connection) = self.table.at(slot) else { return };
        if !connection.needs_arming() {
            return;
        }
        match self.next_deadline(slot) {
            Some((due, _)) if self.wheel.due(slot).is_none_or(|set| due < set) => self.set_timer(slot, due),
            _ => self.note_armed(slot),
        }
    }

    fn set_timer(&mut self, slot: u32, due: Instant) {
        self.wheel.set(slot, due);
        self.note_armed(slot);
    }

    fn note_armed(&mut self, slot: u32) {
        if let Some(connection) = self.table.at_mut(slot) {
            connection.note_armed();
        }
    }

    pub(super) fn next_deadline(&self, slot: u32) -> Option<(Instant, Expiry)> {
        let connection = self.table.at(slot)?;
        let owed_since = self.desk.owed.oldest(&connection.owed).filter(|_| connection.waits_for_replies());
        connection.deadlines.next(&self.settings.timeouts, owed_since, connection.ending.is_some())
    }

    fn expire(&mut self, slot: u32, expiry: Expiry) {
        let (now, timeouts) = (self.now, self.settings.timeouts);
        let Some(connection) = self.table.at(slot) else { return };
        let deadlines = &connection.deadlines;
        match expiry {
            Expiry::Idle => self.close_now(slot, CloseReason::Idle(timeouts.idle)),
            Expiry::Message => {
                let (bytes, elapsed) = (deadlines.received(), deadlines.message_elapsed(now));
                self.release_inbound(slot, DropReason::Incomplete);
                self.refuse(slot, CloseReason::TooSlow { bytes, elapsed });
            }
            // The peer takes everything that it is given: the server lets it wait.
            Expiry::WriteStall if self.queues.write_on.contains(slot) => {
                if let Some(connection) = self.table.at_mut(slot) {
                    connection.deadlines.output_moves(now, 0);
                }
            }
            Expiry::WriteStall => {
                let since = deadlines.output().map_or(now, |output| output.moved);
                let (elapsed, undelivered) = (now.saturating_duration_since(since), connection.undelivered.bytes());
                self.close_now(slot, CloseReason::WriteStalled { elapsed, undelivered });
            }
            Expiry::Reply => self.give_up_replies(slot),
            Expiry::Linger => self.close_ended(slot),
        }
        self.rearm(slot);
    }

    /// A reply did not come: the connection waits for no other reply either, whatever else it is owed.
    fn give_up_replies(&mut self, slot: u32) {
        let limit = self.settings.timeouts.reply;
        self.refuse(slot, CloseReason::ReplyTimeout(limit));
        if let Some(ending) = self.table.at_mut(slot).and_then(|connection| connection.ending.as_mut()) {
            ending.gave_up_replies = true;
        }
        // A connection that was already ending has no other deadline, and perhaps nothing else that would make a cycle
        // look at it again.
        self.enqueue_ending(slot);
    }
}
