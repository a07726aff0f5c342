//! Sets and clears pause reasons. A paused connection costs nothing: it is not run, the kernel's buffer fills, and TCP
//! tells the peer.

use super::foreign::foreign;
use super::shortage::Shortage;
use super::turn::Budget;
use super::waiters::{LineFor, Wants};
use super::{Processor, Selector};
use crate::buffer::{ANSWER_SEGMENTS, SLICES};
use crate::connection::{CloseReason, Connection};
use crate::message_processor::MessageProcessor;
use crate::protocol::Protocol;
use crate::reason::PauseReason;

/// With this many staged segments, the answers of a turn are sent before more are made.
const STAGED_SEGMENTS: usize = 48;
/// The answers of a turn, and the bytes written behind them from where they lie, are one write.
const _: () = assert!(STAGED_SEGMENTS - 1 + ANSWER_SEGMENTS < SLICES);
/// A connection may hold an eighth of the free outbound memory beyond the slack (Choudhury and Hahne, "Dynamic queue
/// length thresholds", 1998): the more connections are slow, the less each of them gets, and something is left for
/// those that are not.
const FREE_DIVISOR: usize = 8;
/// A connection that was held up for that reason goes on once it holds no more than a quarter of this share.
const LOW_DIVISOR: usize = 4;

impl<S: Selector, P: Protocol, M: MessageProcessor<P>> Processor<S, P, M> {
    /// Puts the connection into a queue for reading, if it may run and has something to do.
    #[inline]
    pub(super) fn enqueue_read(&mut self, slot: u32) {
        let Some(connection) = self.table.at(slot) else { return };
        if !connection.has_input() {
            return;
        }
        match connection.paused.is_empty() {
            true => self.queues.read.push(slot),
            // Nothing waits for the bytes of connections that linger, so the others come first.
            false if connection.paused.has(PauseReason::Turn) || connection.lingers() => self.queues.read_on.push(slot),
            false if connection.ending.is_some() => self.queues.read.push(slot),
            false => {}
        }
    }

    /// Makes sure that the connection is read at least once more.
    pub(super) fn look_once_more(&mut self, slot: u32) {
        if let Some(connection) = self.table.at_mut(slot) {
            connection.flags.readable = true;
        }
        self.enqueue_read(slot);
    }

    /// Adds a reason to the connection's pause set.
    pub(super) fn pause(&mut self, slot: u32, reason: PauseReason) {
        let Some(connection) = self.table.at_mut(slot) else { return };
        if connection.paused.set(reason) {
            connection.deadlines.pause(self.now);
            // One shortage at a time, because a connection stands in one line at most.
            if reason.is_shortage() {
                connection.deadlines.begin_wait(self.now);
            }
            self.links.metrics.pauses[reason as usize].add(1);
            self.links.metrics.paused[reason as usize].add(1);
        }
    }

    /// Removes a reason. A connection without reasons runs again if it has something to do.
    pub(super) fn unpause(&mut self, slot: u32, reason: PauseReason) {
        if self.clear_pause(slot, reason) {
            self.enqueue_read(slot);
        }
    }

    /// Removes a reason; true if none is left.
    pub(super) fn clear_pause(&mut self, slot: u32, reason: PauseReason) -> bool {
        let Some(connection) = self.table.at_mut(slot) else { return false };
        if !connection.paused.clear(reason) {
            return false;
        }
        if reason.has_line() {
            // Whatever ended the wait, its entry in a line is no longer valid: the next wait makes a new one.
            connection.wait = 0;
        }
        if reason.is_shortage() {
            connection.deadlines.end_wait(self.now);
        }
        self.links.metrics.paused[reason as usize].sub(1);
        let runs = connection.paused.is_empty();
        if runs {
            connection.deadlines.resume(self.now);
        }
        runs
    }

    /// Called before each decode, with the most bytes that the message can have: pauses the connection for the first
    /// reason that holds it up. The user's `ready` comes last, because its yes is a promise.
    // Inlined, because this check runs for each message, and as a call it would cost half as much again.
    #[inline(always)]
    pub(super) fn may_decode(&mut self, slot: u32, available: usize, budget: &Budget) -> bool {
        let Some(connection) = self.table.at(slot) else { return false };
        if !connection.paused.is_empty() {
            return false;
        }
        if budget.messages == 0 || self.desk.out.staged_segments() >= STAGED_SEGMENTS {
            self.end_turn(slot);
            return false;
        }
        if self.is_high(connection) {
            self.flush_and_end_turn(slot);
            return false;
        }
        // Usually nothing is short, and then no connection waits either.
        let usual = self.waiters.are_none()
            && self.desk.owed.has_room()
            && self.has_room_for_answer()
            && self.has_spare_at_hand(available);
        if usual {
            self.ask_user() || self.user_is_ready_after_all(slot)
        } else {
            self.finds_everything(slot, available)
        }
    }

    #[cold]
    fn end_turn(&mut self, slot: u32) {
        self.pause(slot, PauseReason::Turn);
    }

    /// The same checks one by one: the connection stands in line for the first thing for which it has to wait.
    #[cold]
    fn finds_everything(&mut self, slot: u32, available: usize) -> bool {
        if !self.desk.owed.has_room() || self.is_behind(slot, LineFor::OwedRoom) {
            self.stand_in_line(slot, LineFor::OwedRoom, Wants::AskAgain);
            if !self.desk.owed.has_room() {
                self.tell_of_shortage(Shortage::Tickets);
            }
            return false;
        }
        if !self.has_room_for_answer() || self.is_behind(slot, LineFor::AnswerRoom) {
            self.wait_for_answer_room(slot);
            return false;
        }
        self.ensure_spare_or_wait(slot, available) && self.user_is_ready(slot)
    }

    /// Answers that were staged in this turn may leave at once, because only a socket that pushes back holds its
    /// connection up. LAW one peer: however fast the peer takes them, this was enough for one turn.
    #[cold]
    fn flush_and_end_turn(&mut self, slot: u32) {
        self.flush(slot);
        let Some(connection) = self.table.at(slot) else { return };
        if self.is_high(connection) || !connection.paused.is_empty() {
            self.enforce_high_watermark(slot)
        } else {
            self.end_turn(slot)
        }
    }

    #[inline]
    fn is_high(&self, connection: &Connection<S::Socket, P>) -> bool {
        let undelivered = connection.undelivered.bytes() + self.desk.out.len();
        if undelivered >= self.settings.watermarks.high {
            return true;
        }
        !connection.undelivered.is_empty() && undelivered >= self.outbound_to_share() / FREE_DIVISOR
    }

    pub(super) fn enforce_high_watermark(&mut self, slot: u32) {
        let Some(connection) = self.table.at(slot).filter(|connection| self.is_high(connection)) else { return };
        let undelivered = connection.undelivered.bytes();
        // If the connection is only over its share, because others hold the pool, that is not its fault, and will pass.
        let full = undelivered >= self.settings.watermarks.high;
        // Output that nobody can take is dropped, and is no reason to stop reading.
        if full && connection.flags.close_when_full && connection.flags.broken.is_none() {
            self.close_now(slot, CloseReason::OutboundFull { undelivered })
        } else {
            self.pause(slot, PauseReason::OutboundHigh)
        }
    }

    pub(super) fn release_if_low(&mut self, slot: u32) {
        let Some(connection) = self.table.at(slot) else { return };
        let low = self.settings.watermarks.low.min(self.outbound_to_share() / FREE_DIVISOR / LOW_DIVISOR);
        if connection.undelivered.bytes() <= low {
            self.unpause(slot, PauseReason::OutboundHigh);
        }
    }

    fn user_is_ready(&mut self, slot: u32) -> bool {
        if self.is_behind(slot, LineFor::Ready) {
            // The user is not asked: a yes would belong to those that wait.
            self.stand_in_line(slot, LineFor::Ready, Wants::AskAgain);
            return false;
        }
        self.ask_user() || self.user_is_ready_after_all(slot)
    }

    /// A panic does not count as a no: the message is handed over, and what happens then is up to `process`.
    #[inline]
    fn ask_user(&mut self) -> bool {
        let user = &mut self.user;
        foreign(&self.links.metrics, "ready", || user.ready()).unwrap_or(true)
    }

    #[cold]
    fn user_is_ready_after_all(&mut self, slot: u32) -> bool {
        // A `resume` between the first no and this flag is seen by the second question.
        self.links.outbox.wait_for_ready();
        if self.ask_user() {
            return true;
        }
        self.waiters.resuming = false;
        self.stand_in_line(slot, LineFor::Ready, Wants::AskAgain);
        false
    }
}
