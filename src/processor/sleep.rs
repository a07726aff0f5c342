//! The only place where the processor sleeps: until a socket is ready, a deadline is over, or another thread has left
//! something.

use std::mem;
use std::time::{Duration, Instant};

use super::selector::{Readiness, Told};
use super::shortage::Shortage;
use super::{Processor, Selector};
use crate::message_processor::MessageProcessor;
use crate::protocol::Protocol;

/// Events of one batch.
pub(super) const EVENTS: usize = 1024;

impl<S: Selector, P: Protocol, M: MessageProcessor<P>> Processor<S, P, M> {
    /// Announces that the processor sleeps from now on, unless there is work; returns how long it may sleep. A thread
    /// that leaves work after this wakes it.
    pub(crate) fn fall_asleep(&mut self) -> Option<Duration> {
        let mut limit = self.sleep_limit();
        if limit != Some(Duration::ZERO) {
            self.links.wake.fall_asleep();
            self.listen_for_blocks();
            // A thread that left work before this flag was set did not wake the processor.
            if self.left_by_others() {
                limit = Some(Duration::ZERO);
            }
        }
        limit
    }

    /// The only place where the processor sleeps.
    pub(super) fn sleep(&mut self, limit: Option<Duration>) {
        let mut ready = mem::take(&mut self.ready);
        let due = self.next_expiry();
        let mut told = self.select(limit, &mut ready);
        self.links.wake.awake();
        self.links.outbox.answer_call();
        self.now = self.selector.now();
        self.desk.now = self.now;
        self.set_wall_clock();
        // A connection that has sent data must be read before its own deadline or the server's expires it. So if a
        // deadline is due, poll again with a zero timeout: a signal may have ended the sleep before the poll, or the
        // process may have been stopped. The same if the server is told to shut down: a peer that sent something before
        // that is not idle, and its bytes may have arrived after the first poll. The loop is bounded by the number of
        // connections, in batches of events.
        self.known_request = self.links.control.requested();
        let mut looks_again = due.is_some_and(|due| due <= self.now) || self.shutdown_is_new();
        for _ in 0..self.settings.connections_each / EVENTS + 2 {
            ready.drain(..).for_each(|readiness| self.note_readiness(readiness));
            if told == Told::All && !mem::take(&mut looks_again) {
                break;
            }
            told = self.select(Some(Duration::ZERO), &mut ready);
        }
        ready.drain(..).for_each(|readiness| self.note_readiness(readiness));
        self.ready = ready;
    }

    fn select(&mut self, limit: Option<Duration>, ready: &mut Vec<Readiness>) -> Told {
        self.selector.select(limit, ready).unwrap_or_else(|error| {
            self.selector_failed(error);
            Told::All
        })
    }

    /// How long the processor may sleep: not at all while connections have work left, otherwise until the next timer.
    fn sleep_limit(&mut self) -> Option<Duration> {
        if !self.queues.are_empty() {
            return Some(Duration::ZERO);
        }
        let due = [self.user_due, self.famine_due(), self.second_due()].into_iter().fold(self.next_expiry(), earlier);
        // Not from `self.now`: the cycle itself has taken time, by which the sleep would be too long.
        due.map(|due| due.saturating_duration_since(self.selector.now()))
    }

    /// When the wall clock has to be set, if another thread may look at it meanwhile: one that makes an answer, whose
    /// `Date` must be that of the moment in which it is made (RFC 9110 section 6.6.1).
    fn second_due(&self) -> Option<Instant> {
        (self.desk.owed.outstanding() > 0).then_some(self.next_second)
    }

    /// When the next deadline of a connection or of the server expires.
    fn next_expiry(&mut self) -> Option<Instant> {
        earlier(self.wheel.next_due(), self.phase.until(self.now))
    }

    /// True if another thread has left something that a cycle would take.
    fn left_by_others(&self) -> bool {
        self.links.handover.has_work()
            || (self.links.outbox.has_work() && self.can_take_outbound())
            || self.links.outbox.is_resumed()
            || self.links.outbox.is_called()
            || self.links.outbox.is_close_asked()
            || self.shutdown_is_new()
            || self.could_relieve()
    }

    fn note_readiness(&mut self, readiness: Readiness) {
        let Some(connection) = self.table.at_mut(readiness.slot) else { return };
        connection.flags.readable |= readiness.readable || readiness.read_closed;
        connection.flags.read_closed |= readiness.read_closed;
        if readiness.error {
            return self.socket_broke(readiness.slot);
        }
        if readiness.writable {
            self.enqueue_write(readiness.slot);
        }
        self.enqueue_read(readiness.slot);
    }

    /// Has the selector watch the connection, unless it already does. Each connection has a turn in the cycle in which
    /// it is opened, and is watched from the end of that turn on if it is still there. So a connection that is answered
    /// and closed in its first turn costs no registration.
    pub(super) fn watch(&mut self, slot: u32) {
        let Some(connection) = self.table.at_mut(slot).filter(|connection| !connection.flags.watched) else { return };
        match self.selector.register_read(&mut connection.socket, slot) {
            Ok(()) => connection.flags.watched = true,
            Err(error) => {
                self.tell_of_shortage(Shortage::Watch(error.kind()));
                self.socket_failed(slot, error.kind());
            }
        }
    }

    pub(super) fn set_wall_clock(&mut self) {
        if self.now < self.next_second {
            return;
        }
        let second = self.now.saturating_duration_since(self.started).as_secs();
        self.next_second = self.started + Duration::from_secs(second + 1);
        let unix_seconds = self.selector.unix_seconds();
        self.links.clock.set(unix_seconds);
    }
}

/// The earlier of two moments, or the one that there is.
fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    [one, other].into_iter().flatten().min()
}
