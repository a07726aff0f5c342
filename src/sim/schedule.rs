//! The events to come, and when they happen.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::fmt;
use std::io::ErrorKind;
use std::time::Duration;

/// Something that was arranged with [`Network::after`](super::Network::after).
pub(super) type Action = Box<dyn FnOnce() + Send>;

/// One thing that will happen.
pub(super) enum Event {
    /// The next piece of what a peer sent arrives at the server. Carries the number of the link.
    Arrive(usize),
    /// A peer takes some of what was written to it.
    Drain(usize),
    /// A connection breaks, as the server's kernel will say it.
    Break(usize, ErrorKind),
    /// An action of the test's own.
    Act(Action),
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Arrive(link) => write!(f, "Arrive({link})"),
            Self::Drain(link) => write!(f, "Drain({link})"),
            Self::Break(link, why) => write!(f, "Break({link}, {why:?})"),
            Self::Act(_) => f.write_str("Act"),
        }
    }
}

/// All events to come, earliest first; those of the same moment in the order in which they were arranged.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    heap: BinaryHeap<Entry>,
    serial: u64,
}

#[derive(Debug)]
struct Entry {
    at: Duration,
    serial: u64,
    event: Event,
}

impl Schedule {
    /// Arranges `event` for the moment `at`.
    pub(super) fn add(&mut self, at: Duration, event: Event) {
        self.serial += 1;
        self.heap.push(Entry { at, serial: self.serial, event });
    }

    /// When the next event is due.
    pub(super) fn next_at(&self) -> Option<Duration> {
        self.heap.peek().map(|entry| entry.at)
    }

    /// The next event that is due at `now`.
    pub(super) fn pop_due(&mut self, now: Duration) -> Option<Event> {
        self.next_at().filter(|at| *at <= now)?;
        self.heap.pop().map(|entry| entry.event)
    }

    /// Forgets everything that was arranged, and hands it out to be dropped.
    pub(super) fn clear(&mut self) -> impl Iterator<Item = Event> + use<> {
        std::mem::take(&mut self.heap).into_iter().map(|entry| entry.event)
    }
}

/// The heap gives the greatest first, so the earliest has to be the greatest.
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.serial).cmp(&(self.at, self.serial))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_comes_first_and_a_tie_keeps_its_order() {
        let at = Duration::from_micros;
        let mut schedule = Schedule::default();
        [(7, 0), (3, 1), (7, 2)].into_iter().for_each(|(micros, link)| schedule.add(at(micros), Event::Arrive(link)));
        assert_eq!(schedule.next_at(), Some(at(3)));
        assert!(schedule.pop_due(at(2)).is_none());
        let order: Vec<_> = std::iter::from_fn(|| schedule.pop_due(at(9))).map(|event| format!("{event:?}")).collect();
        assert_eq!(order, ["Arrive(1)", "Arrive(0)", "Arrive(2)"]);
    }
}
