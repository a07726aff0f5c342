//! Waking a thread that sleeps in its selector, and only then.

use std::fmt;

use crate::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// Wakes one sleeping thread; costs one atomic load while the thread is awake.
///
/// The protocol. The sleeper calls [`fall_asleep`](Self::fall_asleep), **then** looks once more at everything that
/// others may have left for it, and only then blocks. A waker first leaves its work, **then** calls
/// [`wake`](Self::wake). All accesses are sequentially consistent, so at least one of the two sees the other: the
/// sleeper finds the work, or the waker finds the flag and makes the system call.
pub struct WakeFlag {
    asleep: AtomicBool,
    call: Box<dyn Fn() + Send + Sync>,
}

impl WakeFlag {
    /// A flag for a thread that `call` wakes from its selector.
    pub fn new(call: impl Fn() + Send + Sync + 'static) -> Self {
        Self { asleep: AtomicBool::new(false), call: Box::new(call) }
    }

    /// A flag for a thread that never sleeps (simulation, tests).
    pub fn never_asleep() -> Self {
        Self::new(|| {})
    }

    /// Says that the owner is about to sleep. It must look for work once more after this.
    pub fn fall_asleep(&self) {
        self.asleep.store(true, SeqCst);
    }

    /// Says that the owner is awake.
    pub fn awake(&self) {
        self.asleep.store(false, SeqCst);
    }

    /// Wakes the owner if it sleeps, once. Call it after the work was left.
    pub fn wake(&self) {
        if self.asleep.load(SeqCst) && self.asleep.swap(false, SeqCst) {
            (self.call)();
        }
    }
}

impl fmt::Debug for WakeFlag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WakeFlag").field("asleep", &self.asleep).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn only_a_sleeper_is_woken_and_only_once() {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let flag = WakeFlag::new(move || {
            counted.fetch_add(1, SeqCst);
        });
        flag.wake();
        assert_eq!(calls.load(SeqCst), 0, "awake: no system call");
        flag.fall_asleep();
        flag.wake();
        flag.wake();
        assert_eq!(calls.load(SeqCst), 1);
        flag.fall_asleep();
        flag.awake();
        flag.wake();
        assert_eq!(calls.load(SeqCst), 1);
    }
}
