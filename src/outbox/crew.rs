//! Which threads are processors', of whatever server, and the outboxes of a server's processors.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

use super::Outbox;
use crate::id::ConnectionId;
use crate::sync::thread::{self, ThreadId};
use crate::sync::thread_local;

thread_local! {
    /// Processors of the calling thread: one in life, and all of a simulation.
    static ON_BOARD: Cell<usize> = Cell::default();
}

/// A processor's place in the crew: those threads of the process that never wait for room. Each would keep those waiting
/// that wait for it, and two that answer each other's connections would wait for one another, whether they belong to one
/// server or to two. So it is the thread that knows, and not the server.
#[derive(Debug)]
pub(crate) struct Berth(ThreadId);

impl Berth {
    /// The calling thread is a processor's as long as this lives.
    pub(crate) fn claim() -> Self {
        ON_BOARD.with(|processors| processors.set(processors.get() + 1));
        Self(thread::current().id())
    }

    /// True on the thread of any processor of the process.
    pub(super) fn is_on_board() -> bool {
        ON_BOARD.with(|processors| processors.get() > 0)
    }
}

impl Drop for Berth {
    fn drop(&mut self) {
        // A simulation may end on another thread than it began on: that one has nothing to take back.
        if self.0 == thread::current().id() {
            ON_BOARD.with(|processors| processors.set(processors.get() - 1));
        }
    }
}

/// The outboxes of all processors of a server, by number. A clone is another handle to the same.
#[derive(Clone)]
pub(crate) struct Outboxes(Arc<[Arc<Outbox>]>);

impl Outboxes {
    pub(crate) fn new(outboxes: impl IntoIterator<Item = Arc<Outbox>>) -> Self {
        Self(outboxes.into_iter().collect())
    }

    /// That of the processor with this number.
    pub(crate) fn at(&self, number: u16) -> Option<&Arc<Outbox>> {
        self.0.get(usize::from(number))
    }

    /// That of the processor which has the connection.
    pub(super) fn of(&self, connection: ConnectionId) -> Option<&Arc<Outbox>> {
        self.at(connection.processor())
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Arc<Outbox>> {
        self.0.iter()
    }
}

impl fmt::Debug for Outboxes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outboxes").field("processors", &self.0.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn a_thread_is_on_board_as_long_as_it_has_a_berth() {
        assert!(!Berth::is_on_board());
        let berths = [Berth::claim(), Berth::claim()];
        let [first, second] = berths;
        drop(first);
        assert!(Berth::is_on_board(), "it has another one");
        thread::scope(|scope| {
            let other = scope.spawn(|| {
                let before = Berth::is_on_board();
                drop(second);
                let _own = Berth::claim();
                (before, Berth::is_on_board())
            });
            assert_eq!(other.join().expect("no panic"), (false, true), "each thread for itself");
        });
        assert!(Berth::is_on_board(), "another thread's end of it changes nothing here");
    }
}
