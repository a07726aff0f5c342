//! Panics of foreign code: caught at the call and logged, so that they end only that call.

use std::any::Any;
use std::fmt;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A panic was caught and logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Panicked;

/// Calls code of the user's or of a third party's protocol.
///
/// The data that the call works on may be left half changed. The callers discard their part of it: the answer that was
/// begun is rolled back, the parse state ends with its connection. The user has to keep the user's own state sane.
#[inline(always)]
pub(crate) fn guarded<T>(what: impl fmt::Display, call: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| caught(&what, panic))
}

#[cold]
fn caught(what: &dyn fmt::Display, panic: Box<dyn Any + Send>) -> Panicked {
    log::error!("caught a panic in `{what}`: {}", panic_text(panic.as_ref()));
    // Dropping the payload may panic as well; the second payload is leaked rather than dropped.
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        mem::forget(second);
    }
    Panicked
}

/// True if this thread is unwinding from a panic: then whatever is dropped now is dropped because of it.
pub(crate) fn is_unwinding() -> bool {
    std::thread::panicking()
}

/// The message of a panic, if it has one.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_ends_its_call_alone() {
        assert_eq!(guarded("test", || 1), Ok(1));
        let caught = guarded("test", || -> i32 { panic!("on purpose {}", 1) });
        assert_eq!(caught, Err(Panicked));
        let panic = catch_unwind(|| panic!("on purpose {}", 2)).expect_err("it panics");
        assert_eq!(panic_text(panic.as_ref()), "on purpose 2");
        assert_eq!(panic_text(&7), "no message");
    }
}
