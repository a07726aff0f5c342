//! Calls of foreign code: the user's message processor, and a third party's protocol.
//!
//! LAW one peer: a panic in foreign code is caught at the call, logged once and counted, and the caller ends the
//! connection that the call was for. The thread lives on, and every block comes home.

use std::fmt;

use crate::metrics::Metrics;
use crate::panics::{Panicked, guarded};

/// Makes the call, and counts its panic.
#[inline(always)]
pub(super) fn foreign<T>(metrics: &Metrics, what: impl fmt::Display, call: impl FnOnce() -> T) -> Result<T, Panicked> {
    let called = guarded(what, call);
    if called.is_err() {
        metrics.panics.add_shared(1);
    }
    called
}
