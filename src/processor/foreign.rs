//! Calls of foreign code: the user's message processor, and a third party's protocol.
//!
//! LAW one peer: a panic in foreign code is caught at the call, logged once and counted. If the call was for a message,
//! or for the protocol of a connection, the caller refuses that connection, unless its reply was used before; a panic
//! in a notification costs only that call. The thread lives on, and every block comes home.

use std::fmt;

use super::{Processor, Selector};
use crate::buffer::Outbound;
use crate::message_processor::MessageProcessor;
use crate::metrics::Metrics;
use crate::panics::{Panicked, guarded};
use crate::protocol::Protocol;

/// Makes the call, and counts its panic.
#[inline(always)]
pub(super) fn foreign<T>(metrics: &Metrics, what: impl fmt::Display, call: impl FnOnce() -> T) -> Result<T, Panicked> {
    let called = guarded(what, call);
    if called.is_err() {
        metrics.panics.add_shared(1);
    }
    called
}

impl<S: Selector, P: Protocol, M: MessageProcessor<P>> Processor<S, P, M> {
    /// Lets the protocol of a connection say something of its own, behind the answers of the turn. Nothing of it is
    /// said if there is no room for all of it, or after a panic.
    pub(super) fn speak(
        &mut self,
        slot: u32,
        what: &str,
        say: impl FnOnce(&mut P, &mut Outbound),
    ) -> Result<(), Panicked> {
        let Some(connection) = self.table.at_mut(slot) else { return Ok(()) };
        let out = &mut self.desk.out;
        out.begin();
        let spoken = foreign(&self.links.metrics, what, || say(&mut connection.protocol, out));
        match out.finish() {
            Ok(bytes) if spoken.is_ok() => self.links.metrics.count_queued(bytes),
            _ => {
                out.roll_back();
            }
        }
        spoken
    }
}
