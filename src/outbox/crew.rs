//! The outboxes of a server's processors, and which threads these are.

use std::fmt;
use std::sync::{Arc, OnceLock};

use super::Outbox;
use crate::id::ConnectionId;
use crate::sync::thread::{self, ThreadId};

/// The threads of a server's processors. None of them ever waits for room: each would keep those waiting that wait for it,
/// and two that answer each other's connections would wait for one another.
#[derive(Debug)]
pub(crate) struct Crew(Box<[OnceLock<ThreadId>]>);

impl Crew {
    /// A crew of so many.
    pub(crate) fn new(processors: usize) -> Arc<Self> {
        Arc::new(Self((0..processors).map(|_| OnceLock::new()).collect()))
    }

    /// The place of the processor with this number.
    pub(crate) fn berth(self: &Arc<Self>, number: u16) -> Berth {
        Berth { crew: Arc::clone(self), number }
    }
}

/// One processor's place in the [`Crew`].
#[derive(Debug)]
pub(crate) struct Berth {
    crew: Arc<Crew>,
    number: u16,
}

impl Berth {
    /// Says that the calling thread is that of this processor.
    pub(super) fn claim(&self) {
        if let Some(place) = self.crew.0.get(usize::from(self.number)) {
            let _ = place.set(thread::current().id());
        }
    }

    /// True on the thread of any of the processors.
    pub(super) fn is_on_board(&self) -> bool {
        let this = thread::current().id();
        self.crew.0.iter().any(|claimed| claimed.get() == Some(&this))
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
    fn the_threads_of_all_processors_are_on_board_and_nobody_else() {
        let crew = Crew::new(2);
        let berths = [crew.berth(0), crew.berth(1)];
        let on_board = || [berths[0].is_on_board(), berths[1].is_on_board()];
        assert_eq!(on_board(), [false; 2]);
        berths[0].claim();
        assert_eq!(on_board(), [true; 2], "also seen from the other one's outbox");
        thread::scope(|scope| {
            let second = scope.spawn(|| {
                let before = on_board();
                berths[1].claim();
                (before, on_board())
            });
            assert_eq!(second.join().expect("no panic"), ([false; 2], [true; 2]));
        });
    }
}
