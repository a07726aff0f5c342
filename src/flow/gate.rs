//! A gate with two marks: it closes when enough is on its way, and opens when most of that has gone.

use std::sync::Arc;

use crate::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// An amount of something: a count of items, and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Level {
    /// How many items.
    pub items: u64,
    /// How many bytes they have together.
    pub bytes: u64,
}

/// Where a [`Gate`] closes, and where it opens again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GateLimits {
    /// The most that may be inside. This holds if items enter only while the gate is open, no item exceeds `largest`,
    /// and `high` has room for one item of that size.
    pub high: Level,
    /// A closed gate opens when both are at or below this.
    pub low: Level,
    /// The most bytes that one item can have. The gate closes as soon as another item of that size would no longer fit.
    pub largest: u64,
}

impl GateLimits {
    /// True if one more item of the largest size fits at `level`.
    #[inline]
    fn admits(&self, level: Level) -> bool {
        level.items < self.high.items && level.bytes.saturating_add(self.largest) <= self.high.bytes
    }

    #[inline]
    fn is_low(&self, level: Level) -> bool {
        level.items <= self.low.items && level.bytes <= self.low.bytes
    }
}

/// Counts the items that one thread lets in and other threads let out, and closes one largest item below the limit.
///
/// A gate with a single mark would open for each item that leaves, and peers would be paused and resumed just as often.
/// Between the two marks this gate stays as it is.
///
/// The `Gate` belongs to one thread, usually the processor's: it lets items in, and counts them without a locked
/// instruction. The other half, [`GateExit`], is for any thread. Nothing is clamped: an item that leaves and never
/// entered would show.
///
/// ```
/// use sluicegate::flow::{Gate, GateLimits, Level};
///
/// let limits = GateLimits {
///     high: Level { items: 4, bytes: 1000 },
///     low: Level { items: 1, bytes: 500 },
///     largest: 100,
/// };
/// let mut gate = Gate::new(limits);
/// let exit = gate.exit();
/// (0..4).for_each(|_| gate.enter(10));
/// assert!(!gate.is_open());
/// assert!(!exit.leave(Level { items: 2, bytes: 20 }), "two are left: not low yet");
/// assert!(exit.leave(Level { items: 1, bytes: 10 }), "this has opened it: tell those that wait");
/// assert!(gate.is_open());
/// ```
#[derive(Debug)]
pub struct Gate {
    limits: GateLimits,
    /// Everything that ever came in.
    entered: Level,
    shared: Arc<Shared>,
}

/// Where items leave. For any thread, and cheap to clone.
#[derive(Debug, Clone)]
pub struct GateExit {
    limits: GateLimits,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Everything that ever left.
    left_items: AtomicU64,
    left_bytes: AtomicU64,
    /// Everything that had come in when the gate closed. Nothing comes in while it is closed.
    entered_items: AtomicU64,
    entered_bytes: AtomicU64,
    /// How often it was opened and closed: odd while it is closed. A thread that opens it names the closing that it
    /// means, because another thread may have ended that one meanwhile, and the gate may have closed again, with more
    /// behind it.
    turns: AtomicU64,
}

impl Shared {
    #[inline]
    fn left(&self) -> Level {
        Level { items: self.left_items.load(SeqCst), bytes: self.left_bytes.load(SeqCst) }
    }

    #[inline]
    fn is_open(&self) -> bool {
        is_open(self.turns.load(SeqCst))
    }

    /// Ends the closing that was found as `turn`; true if this call was the one that did.
    fn open(&self, turn: u64) -> bool {
        self.turns.compare_exchange(turn, turn.wrapping_add(1), SeqCst, SeqCst).is_ok()
    }
}

fn is_open(turn: u64) -> bool {
    turn.is_multiple_of(2)
}

impl Gate {
    /// An open gate with nothing inside. If the limits have no room for even one item, the gate closes after each item,
    /// and opens once that item has left.
    pub fn new(limits: GateLimits) -> Self {
        Self { limits, entered: Level::default(), shared: Arc::default() }
    }

    /// Where items leave.
    pub fn exit(&self) -> GateExit {
        GateExit { limits: self.limits, shared: Arc::clone(&self.shared) }
    }

    /// True if one more item may come in.
    #[inline]
    pub fn is_open(&self) -> bool {
        self.shared.is_open()
    }

    /// Counts one item of `bytes` as in, before it is handed on to a thread that counts it as out. Closes the gate if
    /// no other item may follow. Call this, `enter_all`, `room` and `level` on the thread that owns the gate.
    #[inline]
    pub fn enter(&mut self, bytes: usize) {
        self.enter_all(Level { items: 1, bytes: bytes as u64 });
    }

    /// Counts several items as in at once. For no more than [`room`](Self::room) has returned, this has the same effect
    /// as [`enter`](Self::enter) for each item, but looks only once at what has left.
    #[inline]
    pub fn enter_all(&mut self, came: Level) {
        self.entered.items += came.items;
        self.entered.bytes += came.bytes;
        // Items that come into a closed gate, though they should not, have to be known to the threads that open it.
        if !self.limits.admits(self.level()) || !self.is_open() {
            self.close();
        }
    }

    /// How much may come in without asking again: this many items, with this many bytes together, find the gate open
    /// one after the other. The room can only grow until something comes in. An open gate may have no room by this
    /// count: it then takes one item of any size, and closes.
    #[inline]
    pub fn room(&self) -> Level {
        let (Level { items, bytes }, GateLimits { high, largest, .. }) = (self.level(), self.limits);
        Level {
            items: high.items.saturating_sub(items),
            bytes: high.bytes.saturating_sub(largest).saturating_sub(bytes),
        }
    }

    /// What is inside: items that entered and have not left.
    #[inline]
    pub fn level(&self) -> Level {
        difference(self.entered, self.shared.left())
    }

    /// Records how much has come in, closes, **then** looks once more at what has left: an item that leaves after that
    /// look finds the gate closed, and opens it.
    fn close(&self) {
        self.shared.entered_items.store(self.entered.items, SeqCst);
        self.shared.entered_bytes.store(self.entered.bytes, SeqCst);
        let turn = self.shared.turns.fetch_or(1, SeqCst);
        // If it was closed before, the thread that lets an item out opens it and tells those that wait.
        if is_open(turn) && self.limits.is_low(self.level()) {
            self.shared.open(turn | 1);
        }
    }
}

impl GateExit {
    /// Counts `gone` as out. Returns true if that has opened the gate: connections may be waiting for it, so call
    /// [`WriteProxy::resume`](crate::WriteProxy::resume) to let them go on.
    #[must_use = "the thread that opens the gate tells those that wait"]
    pub fn leave(&self, gone: Level) -> bool {
        let Self { limits, shared } = self;
        shared.left_bytes.fetch_add(gone.bytes, SeqCst);
        shared.left_items.fetch_add(gone.items, SeqCst);
        // In this order, because what had come in was recorded before the gate was closed.
        let turn = shared.turns.load(SeqCst);
        if is_open(turn) {
            return false;
        }
        let entered = Level { items: shared.entered_items.load(SeqCst), bytes: shared.entered_bytes.load(SeqCst) };
        limits.is_low(difference(entered, shared.left())) && shared.open(turn)
    }

    /// True if items may come in.
    #[inline]
    pub fn is_open(&self) -> bool {
        self.shared.is_open()
    }

    /// Everything that ever left.
    pub fn left(&self) -> Level {
        self.shared.left()
    }
}

/// Wrapping, so that a counting error shows as a number that cannot be overlooked, instead of as a panic.
fn difference(all: Level, gone: Level) -> Level {
    Level { items: all.items.wrapping_sub(gone.items), bytes: all.bytes.wrapping_sub(gone.bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(items: u64, bytes: u64) -> Level {
        Level { items, bytes }
    }

    fn gate(high: Level, low: Level, largest: u64) -> (Gate, GateExit) {
        let gate = Gate::new(GateLimits { high, low, largest });
        let exit = gate.exit();
        (gate, exit)
    }

    #[test]
    fn it_closes_at_the_count_and_opens_at_the_low_mark() {
        let (mut gate, exit) = gate(level(3, 1000), level(1, 1000), 1);
        gate.enter(1);
        gate.enter(1);
        assert!(gate.is_open());
        gate.enter(1);
        assert!(!gate.is_open() && !exit.is_open());
        assert!(!exit.leave(level(1, 1)));
        assert!(!gate.is_open(), "two are left, the low mark is one");
        assert!(exit.leave(level(1, 1)));
        assert!(gate.is_open());
        assert_eq!((gate.level(), exit.left()), (level(1, 1), level(2, 2)));
    }

    #[test]
    fn it_closes_while_the_largest_item_still_has_its_place() {
        let (mut gate, exit) = gate(level(100, 1000), level(100, 500), 300);
        gate.enter(300);
        gate.enter(300);
        assert!(gate.is_open(), "600 and 300 more are within 1000");
        gate.enter(101);
        assert!(!gate.is_open(), "701 and 300 more are not");
        assert_eq!(gate.level().bytes, 701);
        assert!(!exit.leave(level(1, 200)));
        assert!(exit.leave(level(1, 1)), "500 is low");
    }

    #[test]
    fn both_marks_count() {
        let (mut gate, exit) = gate(level(2, 1000), level(1, 10), 1);
        gate.enter(400);
        gate.enter(400);
        assert!(!exit.leave(level(1, 400)), "few enough, and too many bytes");
        assert!(exit.leave(level(1, 400)));
        assert_eq!(gate.level(), level(0, 0));
    }

    #[test]
    fn a_gate_without_room_lets_one_in_at_a_time() {
        let (mut gate, exit) = gate(level(0, 0), level(0, 0), 10);
        assert!(gate.is_open());
        gate.enter(10);
        assert!(!gate.is_open());
        assert!(exit.leave(level(1, 10)));
        assert!(gate.is_open());
    }

    #[test]
    fn what_there_is_room_for_may_come_in_at_once() {
        for (items, each) in [(7, 10), (3, 100), (9, 0), (2, 350)] {
            let limits = (level(7, 1000), level(1, 100), 300);
            let [(mut at_once, _), (mut one_by_one, _)] = [0; 2].map(|_| gate(limits.0, limits.1, limits.2));
            let room = at_once.room();
            assert_eq!(room, level(7, 700));
            let count = items.min(room.items).min(room.bytes.checked_div(each).unwrap_or(u64::MAX));
            at_once.enter_all(level(count, count * each));
            (0..count).for_each(|_| {
                assert!(one_by_one.is_open());
                one_by_one.enter(each as usize);
            });
            assert_eq!((at_once.is_open(), at_once.level()), (one_by_one.is_open(), one_by_one.level()));
        }
    }

    #[test]
    fn room_comes_back_with_what_leaves() {
        let (mut gate, exit) = gate(level(10, 1000), level(2, 300), 300);
        gate.enter_all(level(4, 650));
        assert_eq!((gate.room(), gate.is_open()), (level(6, 50), true));
        gate.enter(300);
        assert_eq!((gate.room(), gate.is_open()), (level(5, 0), false), "950 are within 1000");
        assert!(!exit.leave(level(1, 300)));
        assert_eq!(gate.room(), level(6, 50), "it says what there is room for, also while it is closed");
    }

    /// An item that leaves late has judged by the numbers of a closing that is over.
    #[test]
    fn who_has_seen_one_closing_opens_no_later_one() {
        let (mut gate, exit) = gate(level(2, 1000), level(1, 1000), 1);
        gate.enter_all(level(2, 2));
        let seen = exit.shared.turns.load(SeqCst);
        assert!(exit.leave(level(2, 2)), "this one opens it");
        gate.enter_all(level(2, 2));
        assert!(!gate.is_open() && !exit.shared.open(seen) && !gate.is_open(), "the late one does not");
        assert!(exit.leave(level(1, 1)) && gate.is_open());
    }

    #[test]
    fn what_comes_into_a_closed_gate_is_known_to_whoever_opens_it() {
        let (mut gate, exit) = gate(level(4, 1000), level(1, 1000), 1);
        gate.enter_all(level(4, 4));
        assert!(!exit.leave(level(2, 2)) && !gate.is_open());
        gate.enter_all(level(1, 1));
        assert!(exit.leave(level(3, 3)) && gate.is_open(), "nothing is left");
    }

    #[test]
    fn an_open_gate_is_not_opened() {
        let (mut gate, exit) = gate(level(10, 1000), level(5, 500), 1);
        gate.enter(1);
        assert!(!exit.leave(level(1, 1)));
    }
}
