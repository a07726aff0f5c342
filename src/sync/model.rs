//! The contracts of what threads share, on loom's primitives. For tests of the protocols only.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use loom::thread;

use atomic::{AtomicUsize, Ordering::SeqCst};

/// Atomics whose sequentially consistent accesses have one order.
///
/// loom gives a sequentially consistent load no store that is older than another sequentially consistent one, as far as
/// it knows which is older. It knows that of read-modify-writes only, and takes the first value for a weaker store. So
/// here such a store is a swap, which is what most processors make of it, and the first value is stored twice. Every
/// weaker access is loom's own, and may see old values.
pub mod atomic {
    pub use std::sync::atomic::Ordering;

    macro_rules! atomic {
        ($name:ident of $value:ty) => {
            #[doc = concat!("[`", stringify!($name), "`](std::sync::atomic::", stringify!($name), ") under loom.")]
            #[derive(Debug)]
            pub struct $name(loom::sync::atomic::$name);

            #[allow(missing_docs, dead_code)]
            impl $name {
                pub fn new(value: $value) -> Self {
                    let atomic = loom::sync::atomic::$name::new(value);
                    atomic.swap(value, Ordering::SeqCst);
                    Self(atomic)
                }

                pub fn load(&self, order: Ordering) -> $value {
                    self.0.load(order)
                }

                pub fn store(&self, value: $value, order: Ordering) {
                    match order {
                        Ordering::SeqCst => drop(self.0.swap(value, order)),
                        weaker => self.0.store(value, weaker),
                    }
                }

                pub fn swap(&self, value: $value, order: Ordering) -> $value {
                    self.0.swap(value, order)
                }

                pub fn compare_exchange(
                    &self,
                    current: $value,
                    new: $value,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$value, $value> {
                    self.0.compare_exchange(current, new, success, failure)
                }
            }

            impl Default for $name {
                fn default() -> Self {
                    Self::new(Default::default())
                }
            }
        };
    }

    macro_rules! number {
        ($name:ident of $value:ty) => {
            atomic!($name of $value);

            #[allow(missing_docs, dead_code)]
            impl $name {
                pub fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                    self.0.fetch_add(value, order)
                }

                pub fn fetch_sub(&self, value: $value, order: Ordering) -> $value {
                    self.0.fetch_sub(value, order)
                }

                pub fn fetch_or(&self, value: $value, order: Ordering) -> $value {
                    self.0.fetch_or(value, order)
                }

                pub fn fetch_max(&self, value: $value, order: Ordering) -> $value {
                    self.0.fetch_max(value, order)
                }

                pub fn fetch_update(
                    &self,
                    set: Ordering,
                    fetch: Ordering,
                    change: impl FnMut($value) -> Option<$value>,
                ) -> Result<$value, $value> {
                    self.0.fetch_update(set, fetch, change)
                }
            }
        };
    }

    atomic!(AtomicBool of bool);
    number!(AtomicU32 of u32);
    number!(AtomicU64 of u64);
    number!(AtomicUsize of usize);
}

/// A lock without poison.
#[derive(Debug, Default)]
pub struct Mutex<T>(loom::sync::Mutex<T>);

impl<T> Mutex<T> {
    /// A free lock.
    pub fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    /// Waits for the lock.
    pub fn lock(&self) -> Guard<'_, T> {
        Guard { lock: self, held: self.0.lock().ok() }
    }
}

/// The lock while it is held. Empty only inside of [`Condvar::wait`].
#[derive(Debug)]
pub struct Guard<'a, T> {
    lock: &'a Mutex<T>,
    held: Option<loom::sync::MutexGuard<'a, T>>,
}

const HELD: &str = "loom's locks are not poisoned";

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.held.as_ref().expect(HELD)
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.held.as_mut().expect(HELD)
    }
}

/// A condition that never wakes a thread in vain, so that no thread is saved by chance.
///
/// loom's own does not tell whether it has woken somebody. So it is only the step here, in which loom may switch
/// threads; who sleeps is known beside it.
#[derive(Debug, Default)]
pub struct Condvar {
    step: loom::sync::Condvar,
    /// Not a part of the model: it is changed behind the step and before loom may switch again.
    sleepers: std::sync::Mutex<VecDeque<thread::Thread>>,
}

impl Condvar {
    /// Nobody waits.
    pub fn new() -> Self {
        Self::default()
    }

    fn sleepers(&self) -> std::sync::MutexGuard<'_, VecDeque<thread::Thread>> {
        self.step.notify_all();
        self.sleepers.lock().expect("nothing panics while it is held")
    }

    /// Gives the lock back and sleeps until it is notified.
    pub fn wait<T>(&self, guard: &mut Guard<'_, T>) {
        self.sleepers().push_back(thread::current());
        guard.held = None;
        thread::park();
        guard.held = guard.lock.0.lock().ok();
    }

    /// The same: no time passes in a model, so no thread is saved by a timer.
    pub fn wait_for<T>(&self, guard: &mut Guard<'_, T>, _longest: Duration) {
        self.wait(guard);
    }

    /// Waits as long as it is so, without a timer.
    pub fn wait_while_for<T>(
        &self,
        guard: &mut Guard<'_, T>,
        mut condition: impl FnMut(&mut T) -> bool,
        _longest: Duration,
    ) {
        while condition(guard) {
            self.wait(guard);
        }
    }

    /// Wakes the one who has waited longest; true if there is one.
    pub fn notify_one(&self) -> bool {
        let first = self.sleepers().pop_front();
        first.inspect(thread::Thread::unpark).is_some()
    }

    /// Wakes all that wait.
    pub fn notify_all(&self) {
        self.sleepers().drain(..).for_each(|sleeper| sleeper.unpark());
    }
}

/// A bounded queue: first in, first out; a push into a full one fails.
///
/// Who may see what follows crossbeam's: a place is taken by a sequentially consistent change of one of two counters,
/// and questions read both. Its many other accesses only carry the value over, and are left out.
#[derive(Debug)]
pub struct ArrayQueue<T> {
    head: AtomicUsize,
    tail: AtomicUsize,
    capacity: usize,
    /// Not a part of the model: loom switches threads at its own primitives only, so this is never contended.
    values: std::sync::Mutex<VecDeque<T>>,
}

impl<T> ArrayQueue<T> {
    /// A queue of this many places.
    pub fn new(capacity: usize) -> Self {
        Self { head: AtomicUsize::new(0), tail: AtomicUsize::new(0), capacity, values: Default::default() }
    }

    fn values(&self) -> std::sync::MutexGuard<'_, VecDeque<T>> {
        self.values.lock().expect("nothing panics while it is held")
    }

    /// Appends, or gives the value back if the queue is full.
    pub fn push(&self, value: T) -> Result<(), T> {
        let mut tail = self.tail.load(SeqCst);
        loop {
            let full = tail.saturating_sub(self.head.load(SeqCst)) >= self.capacity;
            match self.tail.compare_exchange(tail, tail + usize::from(!full), SeqCst, SeqCst) {
                Ok(_) if full => return Err(value),
                Ok(_) => {
                    self.values().push_back(value);
                    return Ok(());
                }
                Err(newer) => tail = newer,
            }
        }
    }

    /// Takes the oldest.
    pub fn pop(&self) -> Option<T> {
        let mut head = self.head.load(SeqCst);
        loop {
            if self.tail.load(SeqCst) == head {
                return None;
            }
            match self.head.compare_exchange(head, head + 1, SeqCst, SeqCst) {
                Ok(_) => return self.values().pop_front(),
                Err(newer) => head = newer,
            }
        }
    }

    /// How many places are taken.
    pub fn len(&self) -> usize {
        loop {
            let tail = self.tail.load(SeqCst);
            let head = self.head.load(SeqCst);
            if self.tail.load(SeqCst) == tail {
                return tail - head;
            }
        }
    }

    /// True if no place is taken.
    pub fn is_empty(&self) -> bool {
        let head = self.head.load(SeqCst);
        self.tail.load(SeqCst) == head
    }

    /// True if every place is taken.
    pub fn is_full(&self) -> bool {
        let tail = self.tail.load(SeqCst);
        self.head.load(SeqCst) + self.capacity == tail
    }
}
