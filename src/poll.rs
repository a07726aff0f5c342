//! The common part of both threads' polls: how they are woken, and that a signal is not an error.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use mio::{Events, Poll, Token, Waker};

use crate::wake::WakeFlag;

/// The flag of a thread that sleeps in `poll`. The waker's events carry `token`.
///
/// # Errors
/// The process may not open more descriptors.
pub(crate) fn wake_flag(poll: &Poll, token: Token) -> io::Result<Arc<WakeFlag>> {
    let waker = Waker::new(poll.registry(), token)?;
    Ok(Arc::new(WakeFlag::new(move || {
        if let Err(error) = waker.wake() {
            // It fails only if its descriptor is broken; the sleeper then wakes by its next timer or event.
            log::error!("cannot wake a thread of the server: {error}");
        }
    })))
}

/// Sleeps until something happens or the timeout is over. A signal ends the sleep, and that is all it does.
///
/// # Errors
/// The poll itself is broken; trying again is of no use.
pub(crate) fn poll_once(poll: &mut Poll, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
    match poll.poll(events, timeout) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {
            events.clear();
            Ok(())
        }
        other => other,
    }
}
