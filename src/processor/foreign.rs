//! Calls of code that is not ours: of the user's message processor, and of a third party's protocol.
//!
//! LAW one peer: a panic in there is caught where it was called, logged once and counted, and the caller ends the
//! connection that it was called for. The thread lives, and every block comes home.

use std::fmt;

use crate::metrics::Metrics;
use crate::panics::{Panicked, guarded};

/// Calls it, and counts its panic.
#[inline(always)]
pub(super) fn foreign<T>(metrics: &Metrics, what: impl fmt::Display, call: impl FnOnce() -> T) -> Result<T, Panicked> {
    let called = guarded(what, call);
    if called.is_err() {
        metrics.panics.add_shared(1);
    }
    called
}
