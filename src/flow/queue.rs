//! A bounded queue from one thread to another: taking may sleep, putting never waits.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use crate::sync::{Condvar, Mutex};

/// First in, first out, with a fixed number of places.
///
/// Its lock is held only for a push or a pop. If the queue is full, the thread that puts gets its item back at once,
/// and decides whether to wait, to drop or to refuse.
///
/// ```
/// use sluicegate::flow::{Queue, Taken};
///
/// let queue = Queue::new(1);
/// assert_eq!(queue.put("first"), Ok(()));
/// assert_eq!(queue.put("second"), Err("second"));
/// queue.close();
/// assert_eq!(queue.take(None), Taken::Item("first"));
/// assert_eq!(queue.take(None), Taken::Closed);
/// ```
pub struct Queue<T> {
    state: Mutex<State<T>>,
    limit: usize,
    /// An item is there, or the queue was closed.
    arrived: Condvar,
}

struct State<T> {
    items: VecDeque<T>,
    closed: bool,
    high_water: usize,
}

/// The result of [`Queue::take`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken<T> {
    /// The oldest item.
    Item(T),
    /// Nothing came in time.
    Nothing,
    /// The queue was closed, and everything that was in it has been taken.
    Closed,
}

impl<T> Queue<T> {
    /// An empty queue of `limit` places, all made now. A queue without places accepts nothing.
    ///
    /// # Panics
    /// The address space has no room for that many items.
    pub fn new(limit: usize) -> Self {
        let items = VecDeque::with_capacity(limit);
        Self { state: Mutex::new(State { items, closed: false, high_water: 0 }), limit, arrived: Condvar::new() }
    }

    /// Appends an item. Never waits for room; takes a lock for a short time, so it is fine on a processor thread.
    ///
    /// # Errors
    /// The queue is full, or was closed; the item comes back.
    pub fn put(&self, item: T) -> Result<(), T> {
        let mut state = self.state.lock();
        if state.closed || state.items.len() >= self.limit {
            return Err(item);
        }
        state.items.push_back(item);
        state.high_water = state.high_water.max(state.items.len());
        drop(state);
        // This costs one atomic load while no thread sleeps: a thread that takes looks here before it sleeps.
        self.arrived.notify_all();
        Ok(())
    }

    /// Takes the oldest item; sleeps until there is one, for at most `longest` if that is given. With a time of zero it
    /// does not sleep. It blocks, so call it on a thread of your own, never on a processor thread.
    pub fn take(&self, longest: Option<Duration>) -> Taken<T> {
        let mut state = self.state.lock();
        let mut waited = longest.is_some_and(|longest| longest.is_zero());
        loop {
            if let Some(item) = state.items.pop_front() {
                return Taken::Item(item);
            }
            if state.closed {
                return Taken::Closed;
            }
            match longest {
                _ if waited => return Taken::Nothing,
                None => self.arrived.wait(&mut state),
                Some(longest) => {
                    // Whatever woke the thread, it has waited: a thread that takes with a time limit has other things
                    // to do, too.
                    let _ = self.arrived.wait_for(&mut state, longest);
                    waited = true;
                }
            }
        }
    }

    /// Closes the queue: it accepts no more items, but those in it can still be taken.
    pub fn close(&self) {
        self.state.lock().closed = true;
        self.arrived.notify_all();
    }

    /// True once it was closed.
    pub fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// How many items wait.
    pub fn len(&self) -> usize {
        self.state.lock().items.len()
    }

    /// True if no item waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many places there are.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// The most items that ever waited.
    pub fn high_water(&self) -> usize {
        self.state.lock().high_water
    }

    /// Bytes that a queue of `limit` places takes, without what its items hold, for the memory ceiling.
    pub fn memory(limit: usize) -> u64 {
        (limit as u64).saturating_mul(size_of::<T>() as u64)
    }
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Queue({} of {})", self.len(), self.limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::thread;

    #[test]
    fn a_full_queue_gives_the_item_back() {
        let queue = Queue::new(2);
        assert_eq!((queue.put(1), queue.put(2), queue.put(3)), (Ok(()), Ok(()), Err(3)));
        assert_eq!(queue.take(None), Taken::Item(1));
        assert_eq!(queue.put(4), Ok(()));
        assert_eq!((queue.len(), queue.high_water(), queue.limit()), (2, 2, 2));
    }

    #[test]
    fn a_closed_queue_is_emptied_first() {
        let queue = Queue::new(2);
        queue.put(1).expect("room");
        queue.close();
        assert_eq!(queue.put(2), Err(2));
        assert!(queue.is_closed());
        assert_eq!((queue.take(None), queue.take(None)), (Taken::Item(1), Taken::Closed));
    }

    #[test]
    fn a_look_does_not_wait() {
        let queue = Queue::<u8>::new(1);
        assert_eq!(queue.take(Some(Duration::ZERO)), Taken::Nothing);
        assert_eq!(queue.take(Some(Duration::from_micros(1))), Taken::Nothing);
    }

    #[test]
    fn who_sleeps_is_woken_by_an_item_and_by_the_end() {
        let queue = Arc::new(Queue::new(1));
        let takes = Arc::clone(&queue);
        let taker = thread::spawn(move || (takes.take(None), takes.take(None)));
        queue.put(7).expect("room");
        while !queue.is_empty() {
            thread::yield_now();
        }
        queue.close();
        assert_eq!(taker.join().expect("no panic"), (Taken::Item(7), Taken::Closed));
    }
}
