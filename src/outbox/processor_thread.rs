//! Which threads are processors', of whatever server.

use std::cell::Cell;

use crate::sync::thread::{self, ThreadId};
use crate::sync::thread_local;

thread_local! {
    /// Processors of the calling thread: one in life, and all of a simulation.
    static PROCESSORS_HERE: Cell<usize> = Cell::default();
}

/// The mark of a processor's thread: one of those of the process that never wait for room. Each would keep those
/// waiting that wait for it, and two that answer each other's connections would wait for one another, whether they
/// belong to one server or to two. So it is the thread that knows, and not the server.
#[derive(Debug)]
pub(crate) struct ProcessorThread(ThreadId);

impl ProcessorThread {
    /// The calling thread is a processor's as long as this lives.
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
