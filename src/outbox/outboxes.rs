//! The outboxes of a server's processors.

use std::fmt;
use std::sync::Arc;

use super::Outbox;
use crate::id::ConnectionId;

/// The outboxes of all processors of a server, by number. A clone is another handle to the same.
#[derive(Clone)]
pub(crate) struct Outboxes(Arc<[Arc<Outbox>]>);

impl Outboxes {
    pub(crate) fn new(outboxes: impl IntoIterator<Item = Arc<Outbox>>) -> Self {
        Self(outboxes.into_iter().collect())
    }

    /// The outbox of the processor with this number.
    pub(crate) fn at(&self, number: u16) -> Option<&Arc<Outbox>> {
        self.0.get(usize::from(number))
    }

    /// The outbox of the processor that has the connection.
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
