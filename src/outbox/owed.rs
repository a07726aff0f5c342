//! Which deferred replies are owed, to which connection, and since when.

use std::time::Instant;

/// No ticket: the end of a list.
const NO_TICKET: u32 = u32::MAX;

/// The deferred replies of one connection, oldest first: a list in [`Owed`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct OwedList {
    head: u32,
    tail: u32,
    count: u32,
}

impl Default for OwedList {
    fn default() -> Self {
        Self { head: NO_TICKET, tail: NO_TICKET, count: 0 }
    }
}

impl OwedList {
    /// How many replies are owed to the connection.
    #[inline]
    pub(crate) fn count(&self) -> usize {
        self.count as usize
    }
}

/// One ticket for each deferred reply that was not settled yet, also those of connections that have closed meanwhile.
#[derive(Debug)]
pub(crate) struct Owed {
    entries: Vec<Entry>,
    free: u32,
    outstanding: usize,
    max: usize,
}

#[derive(Debug)]
struct Entry {
    since: Instant,
    next: u32,
    previous: u32,
}

impl Owed {
    /// At most `max` replies are owed at once.
    pub(crate) fn new(max: usize) -> Self {
        Self { entries: Vec::with_capacity(max), free: NO_TICKET, outstanding: 0, max }
    }

    /// Bytes that `max` tickets take, for the memory ceiling.
    pub(crate) fn memory(max: usize) -> u64 {
        (max * size_of::<Entry>()) as u64
    }

    /// Bytes that are reserved for tickets now.
    #[cfg(feature = "sim")]
    pub(crate) fn reserved(&self) -> u64 {
        (self.entries.capacity() * size_of::<Entry>()) as u64
    }

    /// True if one more reply can be deferred.
    #[inline]
    pub(crate) fn has_room(&self) -> bool {
        self.room() > 0
    }

    /// How many more replies can be deferred.
    pub(crate) fn room(&self) -> usize {
        self.max - self.outstanding
    }

    /// Replies that were deferred and not settled yet.
    pub(crate) fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// Gives out a ticket. There has to be room.
    pub(crate) fn issue(&mut self, since: Instant) -> u32 {
        debug_assert!(self.has_room(), "a message is handed over only while its reply could be deferred");
        self.outstanding += 1;
        let entry = Entry { since, next: NO_TICKET, previous: NO_TICKET };
        match self.free {
            NO_TICKET => {
                self.entries.push(entry);
                self.entries.len() as u32 - 1
            }
            free => {
                self.free = self.entries[free as usize].next;
                self.entries[free as usize] = entry;
                free
            }
        }
    }

    /// Notes `ticket` as the newest that is owed to the connection of `list`.
    pub(crate) fn link(&mut self, list: &mut OwedList, ticket: u32) {
        self.entries[ticket as usize].previous = list.tail;
        match list.tail {
            NO_TICKET => list.head = ticket,
            tail => self.entries[tail as usize].next = ticket,
        }
        list.tail = ticket;
        list.count += 1;
    }

    /// Takes `ticket` off the connection's list.
    pub(crate) fn unlink(&mut self, list: &mut OwedList, ticket: u32) {
        let Entry { next, previous, .. } = self.entries[ticket as usize];
        match previous {
            NO_TICKET => list.head = next,
            previous => self.entries[previous as usize].next = next,
        }
        match next {
            NO_TICKET => list.tail = previous,
            next => self.entries[next as usize].previous = previous,
        }
        list.count -= 1;
    }

    /// Takes a settled ticket back.
    pub(crate) fn retire(&mut self, ticket: u32) {
        self.entries[ticket as usize].next = self.free;
        self.free = ticket;
        self.outstanding -= 1;
    }

    /// Since when the oldest reply of the connection is owed.
    pub(crate) fn oldest(&self, list: &OwedList) -> Option<Instant> {
        (list.head != NO_TICKET).then(|| self.entries[list.head as usize].since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_oldest_is_known_whatever_the_order_of_settling() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let (mut owed, mut list) = (Owed::new(3), OwedList::default());
        let tickets: Vec<_> = (0..3)
            .map(|second| {
                let ticket = owed.issue(at(second));
                owed.link(&mut list, ticket);
                ticket
            })
            .collect();
        assert!(!owed.has_room());
        for (settled, oldest) in [(1, Some(at(0))), (0, Some(at(2))), (2, None)] {
            owed.unlink(&mut list, tickets[settled]);
            owed.retire(tickets[settled]);
            assert_eq!(owed.oldest(&list), oldest);
        }
        assert_eq!((list.count(), owed.outstanding()), (0, 0));
        assert_eq!(owed.issue(at(9)), tickets[2], "a retired ticket is given out again");
    }
}
