//! Where a modelled thread sleeps: what its poll is in life.

use std::sync::Arc;

use loom::sync::{Condvar, Mutex};
use sluicegate::internals::WakeFlag;

/// A poll with nothing in it but its waker. Never wakes anyone in vain, and has no timer that would help.
#[derive(Default)]
pub struct Bed {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Bed {
    /// A bed and the flag that wakes whoever sleeps in it.
    pub fn made() -> (Arc<Self>, Arc<WakeFlag>) {
        let bed = Arc::new(Self::default());
        let rings = Arc::clone(&bed);
        (bed, Arc::new(WakeFlag::new(move || rings.ring())))
    }

    fn ring(&self) {
        *self.rung.lock().expect("not poisoned") = true;
        self.changed.notify_one();
    }

    /// Sleeps until the waker was used.
    pub fn sleep(&self) {
        let mut rung = self.rung.lock().expect("not poisoned");
        while !*rung {
            rung = self.changed.wait(rung).expect("not poisoned");
        }
        *rung = false;
    }

    /// Looks whether the waker was used, and forgets it.
    pub fn look(&self) {
        *self.rung.lock().expect("not poisoned") = false;
    }
}
