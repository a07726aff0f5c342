//! The timing wheel: which connections are to be looked at, and when.
//!
//! A hashed timing wheel after Varghese and Lauck, "Hashed and Hierarchical Timing Wheels" (SOSP 1987): time is cut
//! into ticks of 16 ms, each of 1,024 buckets holds the entries of one tick, and setting, moving and clearing an entry
//! relinks one list. A heap would pay a logarithm for each; most deadlines of a server are moved or cleared long before
//! they are due.
//!
//! There is **one** entry for each slot of the connection table. A connection has several deadlines; its entry stands
//! at the earliest, and what comes out of the wheel is only a hint: *look at this connection now*. So the owner of the
//! deadlines can be lazy. It moves a deadline later without telling the wheel, is asked to look at the old time, finds
//! that nothing is due and sets the entry again: a connection that is always busy uses the wheel once per length of its
//! deadline, and not once for each message.
//!
//! The wheel reads no clock. [`pop_expired`](Wheel::pop_expired) is told what time it is, and everything else is
//! counted from there.

mod occupied;

use std::time::{Duration, Instant};

use occupied::Occupied;

/// The wheel's grain. Deadlines of connections are seconds; waking up for them more often than this would be waste.
const TICK_MS: u64 = 16;
/// How far ahead an entry can stand, in ticks: 16 seconds. An entry that is due later comes out then, early. A power of
/// two, and as many bits as [`Occupied`] has.
const BUCKETS: usize = 1024;
/// The list behind the buckets: what is due and has not been popped yet.
const DUE: usize = BUCKETS;
/// No slot. Ends no list (they are rings); marks empty lists and unlinked entries.
const NONE: u32 = u32::MAX;

/// A hashed timing wheel with one entry for each connection slot.
#[derive(Debug)]
pub struct Wheel {
    /// The time of tick 0.
    start: Instant,
    /// The first tick whose bucket has not been gathered. Each linked entry stands in `ahead .. ahead + BUCKETS`, or
    /// before `ahead` when it is in the due list; thus its tick alone says in which list it is.
    ahead: u64,
    /// The time of tick `ahead`: before that there is nothing to gather.
    ahead_at: Instant,
    /// Which buckets are not empty.
    occupied: Occupied,
    /// The first slot of each bucket's ring, and of the due list's.
    heads: Box<[u32]>,
    /// By slot. Grows within the capacity that was reserved at start: pages of slots never used stay untouched.
    entries: Vec<Entry>,
    /// How many slots there are; the capacity of `entries` may be more.
    slots: usize,
}

/// A link in a ring. `prev` of a ring's head is its tail, which makes appending a whole ring to another one step.
#[derive(Debug, Clone, Copy)]
struct Entry {
    next: u32,
    prev: u32,
    /// When it comes out.
    tick: u64,
}

const UNLINKED: Entry = Entry { next: NONE, prev: NONE, tick: 0 };

impl Wheel {
    /// A wheel for the slots `0..slots`, with time beginning at `start`.
    ///
    /// # Panics
    /// When `slots` can't be counted in a `u32`.
    pub fn new(start: Instant, slots: usize) -> Self {
        assert!(slots < NONE as usize, "{slots} slots do not fit a u32");
        Self {
            start,
            ahead: 0,
            ahead_at: start,
            occupied: Occupied::default(),
            heads: vec![NONE; BUCKETS + 1].into_boxed_slice(),
            entries: Vec::with_capacity(slots),
            slots,
        }
    }

    /// How many bytes a wheel for `slots` connections takes: its row in the memory ceiling.
    pub const fn memory(slots: usize) -> usize {
        size_of::<Self>() + (BUCKETS + 1) * size_of::<u32>() + slots * size_of::<Entry>()
    }

    /// Bytes that are reserved for it now.
    #[cfg(feature = "sim")]
    pub fn reserved(&self) -> usize {
        size_of::<Self>() + self.heads.len() * size_of::<u32>() + self.entries.capacity() * size_of::<Entry>()
    }

    /// Asks for `slot` to come out once `due` has passed: never before it, and at most one tick after it.
    ///
    /// An entry that is set already is moved. Two cases differ from the rule. Beyond the horizon of 16 seconds the
    /// entry comes out early; the horizon lies ahead of the last pop, so a cycle pops before it sets, or after a long
    /// sleep everything new comes out at once. And a `due` that lies in what was popped already comes out with the next
    /// tick: that is why a loop over [`pop_expired`](Self::pop_expired) ends although it sets what it pops.
    ///
    /// # Panics
    /// When the wheel was not made for that many slots.
    pub fn set(&mut self, slot: u32, due: Instant) {
        let index = slot as usize;
        assert!(index < self.slots, "slot {slot} in a wheel of {}", self.slots);
        if index >= self.entries.len() {
            self.entries.resize(index + 1, UNLINKED);
        }
        let tick = self.tick_after(due).clamp(self.ahead, self.ahead + BUCKETS as u64 - 1);
        self.clear(slot);
        self.link(slot, tick);
    }

    /// Takes the entry of `slot` out, if it is set.
    pub fn clear(&mut self, slot: u32) {
        if self.is_set(slot) {
            self.unlink(slot);
        }
    }

    /// True while `slot` is going to come out.
    #[inline]
    pub fn is_set(&self, slot: u32) -> bool {
        self.entries.get(slot as usize).is_some_and(|entry| entry.next != NONE)
    }

    /// When `slot` is going to come out, if it is set. Beyond the horizon that is earlier than what it was set to, else
    /// up to one tick later.
    ///
    /// A new deadline needs a [`set`](Self::set) only if it is earlier than this.
    #[inline]
    pub fn due(&self, slot: u32) -> Option<Instant> {
        self.is_set(slot).then(|| self.time_of(self.entries[slot as usize].tick))
    }

    /// Takes out one slot that is due at `now`; to be called until it returns `None`.
    ///
    /// Earlier ticks come first; the order within a tick is not promised. However far `now` has moved, the work is at
    /// most one turn of the wheel. A `now` that lies before an earlier one finds nothing new.
    pub fn pop_expired(&mut self, now: Instant) -> Option<u32> {
        if now >= self.ahead_at {
            self.gather(millis(now.saturating_duration_since(self.start)) / TICK_MS);
        }
        let slot = self.heads[DUE];
        if slot == NONE {
            return None;
        }
        self.unlink(slot);
        Some(slot)
    }

    /// The time at which [`pop_expired`](Self::pop_expired) finds something next, `None` while nothing is set. It may
    /// have passed already.
    #[inline]
    pub fn next_due(&self) -> Option<Instant> {
        let tick = match self.heads[DUE] {
            NONE => self.first_occupied()?,
            slot => self.entries[slot as usize].tick,
        };
        Some(self.time_of(tick))
    }

    /// Moves every bucket up to the one of `last` to the due list, ring by ring.
    ///
    /// All of them at once, and before anything is handed out: whatever is set from now on stands behind `last` and
    /// can't come out in the same drain.
    fn gather(&mut self, last: u64) {
        while let Some(tick) = self.first_occupied()
            && tick <= last
        {
            let bucket = bucket_of(tick);
            let ring = std::mem::replace(&mut self.heads[bucket], NONE);
            self.occupied.clear(bucket);
            self.append(DUE, ring);
            // What stands before `ahead` is in the due list; this keeps it true, and the next search begins here.
            self.ahead = tick + 1;
        }
        self.ahead = last + 1;
        self.ahead_at = self.time_of(self.ahead);
    }

    /// The first tick from `ahead` on whose bucket is not empty.
    fn first_occupied(&self) -> Option<u64> {
        Some(self.ahead + self.occupied.first_from(bucket_of(self.ahead))? as u64)
    }

    fn link(&mut self, slot: u32, tick: u64) {
        debug_assert!(tick >= self.ahead && tick - self.ahead < BUCKETS as u64, "{tick} from {}", self.ahead);
        let bucket = bucket_of(tick);
        self.entries[slot as usize] = Entry { next: slot, prev: slot, tick };
        self.append(bucket, slot);
        self.occupied.set(bucket);
    }

    /// Puts the ring that begins with `head` behind the ring of `list`.
    fn append(&mut self, list: usize, head: u32) {
        let first = self.heads[list];
        if first == NONE {
            self.heads[list] = head;
            return;
        }
        let last = self.entries[first as usize].prev;
        let tail = self.entries[head as usize].prev;
        self.entries[last as usize].next = head;
        self.entries[head as usize].prev = last;
        self.entries[tail as usize].next = first;
        self.entries[first as usize].prev = tail;
    }

    fn unlink(&mut self, slot: u32) {
        let Entry { next, prev, tick } = std::mem::replace(&mut self.entries[slot as usize], UNLINKED);
        let list = if tick < self.ahead { DUE } else { bucket_of(tick) };
        if next != slot {
            self.entries[prev as usize].next = next;
            self.entries[next as usize].prev = prev;
            if self.heads[list] == slot {
                self.heads[list] = next;
            }
            return;
        }
        debug_assert_eq!(self.heads[list], slot, "a ring of one is its list's head");
        self.heads[list] = NONE;
        if list != DUE {
            self.occupied.clear(list);
        }
    }

    /// The first tick that does not lie before `due`: rounded up, so that nothing comes out early.
    fn tick_after(&self, due: Instant) -> u64 {
        let since = due.saturating_duration_since(self.start);
        let begun = u64::from(!since.subsec_nanos().is_multiple_of(1_000_000));
        millis(since).saturating_add(begun).div_ceil(TICK_MS)
    }

    fn time_of(&self, tick: u64) -> Instant {
        self.start + Duration::from_millis(tick * TICK_MS)
    }
}

/// Whole milliseconds in 64 bits; `Duration::as_millis` would make the division by the tick one of 128 bits.
fn millis(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1000).saturating_add(u64::from(duration.subsec_millis()))
}

fn bucket_of(tick: u64) -> usize {
    (tick % BUCKETS as u64) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const TICK: Duration = Duration::from_millis(TICK_MS);
    const HORIZON: Duration = Duration::from_millis(TICK_MS * (BUCKETS as u64 - 1));

    fn wheel(slots: usize) -> (Wheel, Instant) {
        let start = Instant::now();
        (Wheel::new(start, slots), start)
    }

    fn drain(wheel: &mut Wheel, now: Instant) -> Vec<u32> {
        std::iter::from_fn(|| wheel.pop_expired(now)).collect()
    }

    #[test]
    fn an_entry_comes_out_once_and_not_before_it_is_due() {
        let (mut wheel, start) = wheel(8);
        let due = start + 100 * MS;
        wheel.set(3, due);
        assert!(wheel.is_set(3) && !wheel.is_set(2) && !wheel.is_set(7));
        assert_eq!(wheel.due(3), Some(start + 112 * MS), "rounded up to the tick");
        assert_eq!(wheel.next_due(), wheel.due(3));
        assert_eq!(drain(&mut wheel, start + 112 * MS - Duration::from_nanos(1)), []);
        assert_eq!(drain(&mut wheel, start + 112 * MS), [3]);
        assert!(!wheel.is_set(3));
        assert_eq!((wheel.due(3), wheel.next_due()), (None, None));
        assert_eq!(drain(&mut wheel, start + 60_000 * MS), []);
    }

    #[test]
    fn one_nanosecond_after_a_tick_is_the_next_tick() {
        let (mut wheel, start) = wheel(1);
        wheel.set(0, start + 32 * MS);
        assert_eq!(wheel.due(0), Some(start + 32 * MS));
        wheel.set(0, start + 32 * MS + Duration::from_nanos(1));
        assert_eq!(wheel.due(0), Some(start + 48 * MS));
    }

    #[test]
    fn setting_again_moves_and_clearing_forgets() {
        let (mut wheel, start) = wheel(4);
        for slot in 0..4 {
            wheel.set(slot, start + 32 * MS);
        }
        wheel.set(1, start + 320 * MS); // from the middle of the ring
        wheel.clear(0); // its head
        wheel.clear(0); // a second time does nothing
        assert_eq!(drain(&mut wheel, start + 32 * MS), [2, 3]);
        assert_eq!(drain(&mut wheel, start + 320 * MS), [1]);
    }

    #[test]
    fn what_is_due_can_still_be_moved_and_cleared() {
        let (mut wheel, start) = wheel(4);
        for slot in 0..4 {
            wheel.set(slot, start + 16 * MS * (slot + 1));
        }
        let now = start + 64 * MS;
        assert_eq!(wheel.pop_expired(now), Some(0), "the other three wait in the due list");
        assert_eq!(wheel.next_due(), Some(start + 32 * MS));
        wheel.clear(1);
        wheel.set(2, start + 160 * MS);
        assert_eq!(drain(&mut wheel, now), [3]);
        assert_eq!(drain(&mut wheel, start + 160 * MS), [2]);
    }

    #[test]
    fn a_drain_that_sets_again_what_it_pops_ends() {
        let (mut wheel, start) = wheel(3);
        for slot in 0..3 {
            wheel.set(slot, start);
        }
        // The second time after a jump over several turns, where each bucket is due.
        for now in [start + 5 * MS, start + 3 * HORIZON] {
            let mut popped = 0;
            while let Some(slot) = wheel.pop_expired(now) {
                wheel.set(slot, start);
                popped += 1;
                assert!(popped <= 3, "the drain does not end");
            }
            assert_eq!(popped, 3);
            let next = wheel.next_due().unwrap();
            assert!(next > now && next <= now + TICK, "the past comes out with the next tick");
        }
    }

    #[test]
    fn beyond_the_horizon_comes_out_early_and_is_set_again() {
        let (mut wheel, start) = wheel(1);
        let due = start + Duration::from_secs(60);
        let (mut now, mut hints) = (start, 0);
        wheel.set(0, due);
        while now < due {
            now = wheel.next_due().unwrap();
            assert_eq!(drain(&mut wheel, now), [0]);
            hints += 1;
            wheel.set(0, due);
        }
        assert!(now - due < TICK);
        assert_eq!(hints, 4, "60 s are four turns");
    }

    #[test]
    fn a_clock_that_jumps_costs_one_turn() {
        let (mut wheel, start) = wheel(2000);
        for slot in 0..2000 {
            wheel.set(slot, start + 8 * MS * slot);
        }
        // Three hundred years in ticks: a loop over them would never return.
        let now = start + Duration::from_secs(10_000_000_000);
        let popped: BTreeSet<u32> = drain(&mut wheel, now).into_iter().collect();
        assert_eq!(popped.len(), 2000);
        assert_eq!(wheel.next_due(), None);
        // Back again: nothing is lost, and entries come out once the clock has caught up.
        wheel.set(5, start);
        assert_eq!(drain(&mut wheel, start), []);
        assert_eq!(drain(&mut wheel, now + TICK), [5]);
    }

    #[test]
    fn memory_counts_what_is_reserved_and_reserving_touches_nothing() {
        let (mut wheel, start) = wheel(1000);
        assert_eq!(Wheel::memory(1000), Wheel::memory(0) + 16_000);
        assert!(Wheel::memory(0) >= size_of::<Wheel>() + wheel.heads.len() * 4);
        assert_eq!(wheel.entries.len(), 0);
        let reserved = wheel.entries.capacity();
        (0..1000).for_each(|slot| wheel.set(slot, start));
        assert_eq!(wheel.entries.capacity(), reserved);
    }

    #[test]
    #[should_panic(expected = "slot 4 in a wheel of 4")]
    fn a_slot_that_does_not_exist_is_a_bug() {
        let (mut wheel, start) = wheel(4);
        wheel.set(4, start);
    }

    /// Xorshift, Marsaglia 2003.
    struct Random(u64);

    impl Random {
        fn below(&mut self, bound: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % bound
        }

        fn below_one_of(&mut self, bounds: &[u64]) -> u64 {
            let bound = bounds[self.below(bounds.len() as u64) as usize];
            self.below(bound)
        }
    }

    const TICK_NS: u64 = 16_000_000;

    /// A wheel beside a map that says what it must do: the tick of each slot that is set. A tick is what was asked for,
    /// rounded up, unless the horizon or what was popped already moves it.
    struct Compared {
        wheel: Wheel,
        ticks: BTreeMap<u32, u64>,
        /// The first tick that has not been popped.
        ahead: u64,
        start: Instant,
        now_ns: u64,
    }

    impl Compared {
        fn at(&self, ns: u64) -> Instant {
            self.start + Duration::from_nanos(ns)
        }

        fn set(&mut self, slot: u32, due_ns: u64) {
            self.wheel.set(slot, self.at(due_ns));
            let tick = due_ns.div_ceil(TICK_NS);
            self.ticks.insert(slot, tick.max(self.ahead).min(self.ahead + 1023));
        }

        fn clear(&mut self, slot: u32) {
            self.wheel.clear(slot);
            self.ticks.remove(&slot);
        }

        /// Pops up to `most`: each is set, is due and is of the earliest tick; after all of them nothing due is left.
        fn pop(&mut self, most: u64) {
            for _ in 0..most {
                let popped = self.wheel.pop_expired(self.at(self.now_ns));
                self.ahead = self.ahead.max(self.now_ns / TICK_NS + 1);
                let first = self.ticks.values().min().copied();
                let Some(slot) = popped else {
                    assert!(first.is_none_or(|tick| tick >= self.ahead), "due and not popped");
                    break;
                };
                let tick = self.ticks.remove(&slot).expect("popped and not set");
                assert!(tick * TICK_NS <= self.now_ns, "popped early");
                assert_eq!(Some(tick), first, "popped before an earlier one");
            }
        }

        fn check(&self, slot: u32) {
            let time = |tick: &u64| self.at(tick * TICK_NS);
            assert_eq!(self.wheel.due(slot), self.ticks.get(&slot).map(time));
            assert_eq!(self.wheel.next_due(), self.ticks.values().min().map(time));
        }

        fn step(&mut self, random: &mut Random, slots: u64) {
            let slot = random.below(slots) as u32;
            match random.below(10) {
                0..=5 => {
                    // From two seconds ago to beyond the horizon, at any fraction of a tick.
                    let ahead = random.below_one_of(&[100_000_000, 2_000_000_000, 20_000_000_000]);
                    self.set(slot, (self.now_ns + ahead).saturating_sub(random.below(2_000_000_000)));
                }
                6 => self.clear(slot),
                turn => {
                    self.now_ns += random.below_one_of(&[1_000_000, 50_000_000, 3_000_000_000, 100_000_000_000]);
                    // Sometimes the drain is left in the middle, and the next steps find it so.
                    self.pop(if turn == 7 { random.below(5) } else { u64::MAX });
                }
            }
            self.check(slot);
        }
    }

    #[test]
    fn does_what_a_sorted_map_does() {
        for seed in 1..=40_u64 {
            println!("seed {seed}"); // shown when it fails
            let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            let slots = [1, 3, 50, 700][seed as usize % 4];
            let (wheel, start) = wheel(slots as usize);
            let mut compared = Compared { wheel, ticks: BTreeMap::new(), ahead: 0, start, now_ns: 0 };
            (0..2000).for_each(|_| compared.step(&mut random, slots));
        }
    }
}
