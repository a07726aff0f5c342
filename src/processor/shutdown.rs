//! How the server ends: `Serving -> Draining -> Stopped`. Only the processor moves it.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::{Processor, Selector};
use crate::buffer::{Line, SharedPool};
use crate::connection::{CloseReason, Connection};
use crate::control::{Control, Finish, ShutdownRequest};
use crate::message_processor::MessageProcessor;
use crate::panics::is_unwinding;
use crate::protocol::Protocol;

/// The phase of the server's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Connections come and go.
    Serving,
    /// Connections finish what they have begun.
    Draining {
        request: ShutdownRequest,
        /// When to check again which connections are quiet.
        look: Option<Instant>,
    },
    /// Every connection has closed and none will come.
    Stopped,
}

impl Phase {
    /// When the grace ends, if that is still to come, or when to check again which connections are quiet.
    pub(super) fn until(&self, now: Instant) -> Option<Instant> {
        let Self::Draining { request, look } = self else { return None };
        let grace = Some(request.until()).filter(|until| now < *until);
        grace.into_iter().chain(*look).min()
    }
}

/// Sends encoders in line away when the processor ends for whatever reason, also by an uncaught panic. Dropping the
/// message processor may wait for these encoders, and no block will come home for them any more. After a panic it also
/// requests the end of all others, which need not wait for that either.
pub(super) struct Dismissal {
    encoders: Arc<Line>,
    control: Arc<Control>,
    at_once: ShutdownRequest,
}

impl Dismissal {
    pub(super) fn of(outbound: &SharedPool, control: &Arc<Control>, now: Instant) -> Self {
        // Without grace, an end that was asked for at any time before is one at once.
        let at_once = ShutdownRequest::at_once(now);
        Self { encoders: Arc::clone(outbound.line()), control: Arc::clone(control), at_once }
    }
}

impl Drop for Dismissal {
    fn drop(&mut self) {
        self.encoders.close();
        if is_unwinding() {
            self.control.request(self.at_once);
        }
    }
}

impl<S: Selector, P: Protocol, M: MessageProcessor<P>> Processor<S, P, M> {
    /// True if there is a request, or a newer one, that the cycle has not seen, or if the end has come.
    pub(super) fn shutdown_is_new(&self) -> bool {
        match (&self.phase, self.links.control.requested()) {
            (Phase::Serving, Some(_)) => true,
            (Phase::Draining { request, .. }, Some(newer)) => *request != newer || self.is_finished(),
            (Phase::Draining { .. }, None) => self.is_finished(),
            _ => false,
        }
    }

    /// The processor can no longer sleep or learn which sockets are ready: the whole server shuts down, and a grace
    /// would be of no use. The selector fails in each cycle from now on, until the accepter has ended.
    pub(super) fn selector_failed(&mut self, error: io::Error) {
        if self.failure.is_none() {
            log::error!("the selector failed, the server shuts down: {error}");
            self.failure = Some(error);
            self.links.control.request(ShutdownRequest::at_once(self.now));
        }
    }

    /// Begins to drain, or shortens the grace.
    pub(super) fn observe_shutdown(&mut self) {
        // Not one that has come since: what was sent before it may not be known yet. It ends the next sleep.
        let Some(newer) = self.known_request else { return };
        match &mut self.phase {
            Phase::Serving => {
                let (name, open) = (&self.settings.name, self.table.iter().count());
                log::info!("shutting down: {name} with {open} connections open, grace {:?}", newer.grace);
                self.phase = Phase::Draining { request: newer, look: None };
                if self.answers_are_final() {
                    self.links.outbox.make_answers_final();
                }
                // Messages that were accepted before are not lost: a connection that has something to deliver is not
                // idle.
                self.take_answers();
                self.table.slots().for_each(|slot| self.begin_drain(slot));
            }
            Phase::Draining { request, .. } => *request = newer,
            Phase::Stopped => {}
        }
    }

    /// True if each answer is to be the final one of its connection.
    pub(super) fn answers_are_final(&self) -> bool {
        matches!(self.phase, Phase::Draining { request: ShutdownRequest { finish: Finish::Answer, .. }, .. })
    }

    fn begin_drain(&mut self, slot: u32) {
        let Some(connection) = self.table.at(slot) else { return };
        let untouched = connection.is_idle() && !connection.has_input() && connection.ending.is_none();
        match self.answers_are_final() {
            true if untouched && self.has_more_on_its_way(slot) => self.begin_close(slot, CloseReason::Shutdown),
            true if untouched => self.close_now(slot, CloseReason::Shutdown),
            true => {}
            false => self.look_once_more(slot),
        }
    }

    fn is_finished(&self) -> bool {
        self.table.is_empty() && self.links.handover.is_over()
    }

    /// The grace is over: counts the connections that could not finish because the server held them up.
    fn count_cut_off(&self) {
        let held_up = |connection: &&Connection<S::Socket, P>| {
            let waits = connection.flags.undecoded || connection.paused.by_server();
            connection.ending.is_none() && waits
        };
        let count = self.table.iter().filter(held_up).count();
        if count > 0 {
            let name = &self.settings.name;
            log::warn!("the grace is over: {name} cuts off {count} connections whose messages still waited for it");
            self.links.metrics.cut_off.add(count);
        }
    }

    /// Ends the drain when nothing is left, or when the grace is over.
    pub(super) fn advance_shutdown(&mut self) {
        let Phase::Draining { request, .. } = self.phase else { return };
        self.look_who_is_quiet();
        if self.now >= request.until() {
            self.count_cut_off();
            self.table.slots().for_each(|slot| self.close_now(slot, CloseReason::Shutdown));
            while self.links.handover.take().is_some() {
                self.links.metrics.accepted_unserved.add(1);
                self.links.handover.ended();
            }
        }
        if self.is_finished() {
            self.phase = Phase::Stopped;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::TierConfig;
    use crate::wake::WakeFlag;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[test]
    fn only_a_panic_ends_the_others_at_once() {
        let awake = || Arc::new(WakeFlag::never_asleep());
        let pool = SharedPool::new([TierConfig { size: 16, count: 1 }; 3], Line::new(awake()));
        let control = Control::new([awake()]);
        drop(Dismissal::of(&pool, &control, Instant::now()));
        assert_eq!(control.requested(), None);
        let panics = AssertUnwindSafe(|| {
            let _dismissal = Dismissal::of(&pool, &control, Instant::now());
            panic!("planned");
        });
        catch_unwind(panics).expect_err("it panics");
        assert!(control.requested().is_some_and(|request| request.grace.is_zero()));
    }
}
