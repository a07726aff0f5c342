//! Which threads are processor threads, of whatever server.

use std::cell::Cell;

use crate::sync::thread::{self, ThreadId};
use crate::sync::thread_local;

thread_local! {
    /// Processors of the calling thread: one in life, and all of a simulation.
    static PROCESSORS_HERE: Cell<usize> = Cell::default();
}

/// The mark of a processor thread, which never waits for room, not even in another server's outbox: it would hold up
/// everything that waits for it, and two processors that answer each other's connections would deadlock. So the mark
/// records that the thread is some processor, and not to which server it belongs.
#[derive(Debug)]
pub(crate) struct ProcessorThread(ThreadId);

impl ProcessorThread {
    /// Marks the calling thread as a processor thread for as long as this lives.
    pub(crate) fn mark() -> Self {
        PROCESSORS_HERE.with(|processors| processors.set(processors.get() + 1));
        Self(thread::current().id())
    }

    /// True on the thread of any processor of the process.
    pub(super) fn is_current() -> bool {
        PROCESSORS_HERE.with(|processors| processors.get() > 0)
    }
}

impl Drop for ProcessorThread {
    fn drop(&mut self) {
        // A simulation may end on another thread than it began on: that one has nothing to take back, and the first
        // stays marked and never waits for room again.
        if self.0 == thread::current().id() {
            PROCESSORS_HERE.with(|processors| processors.set(processors.get() - 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn a_thread_is_a_processors_as_long_as_it_is_marked() {
        assert!(!ProcessorThread::is_current());
        let marks = [ProcessorThread::mark(), ProcessorThread::mark()];
        let [first, second] = marks;
        drop(first);
        assert!(ProcessorThread::is_current(), "it has another one");
        thread::scope(|scope| {
            let other = scope.spawn(|| {
                let before = ProcessorThread::is_current();
                drop(second);
                let _own = ProcessorThread::mark();
                (before, ProcessorThread::is_current())
            });
            assert_eq!(other.join().expect("no panic"), (false, true), "each thread for itself");
        });
        assert!(ProcessorThread::is_current(), "another thread's end of it changes nothing here");
    }
}
