//! Old segments go where the disk itself is full, and not more of them than that is good for.

use std::time::Duration;

use crate::agent::plan::WhenFull;
use crate::rig::{Rig, Setup, some};
use crate::store::name::Kind;

const HISTORY: usize = 60;

/// A full disk with a history of small segments, one record each. Those that come have so many bytes.
fn full_disk_with_a_history(rotate_bytes: u64) -> Rig {
    let mut rig = Rig::new(Setup { rotate_bytes: 100, ..Setup::default() });
    for _ in 0..HISTORY {
        rig.give(0, &["x".repeat(90)]);
        rig.work();
    }
    let setup = Setup { rotate_bytes, when_full: WhenFull::DropOldestSegment, ..Setup::default() };
    let rig = Rig::within(rig.crash(), setup, 1_000_000_000);
    rig.faults.space(Some(0));
    rig
}

#[test]
fn a_full_disk_where_deleting_frees_nothing_does_not_cost_the_history() {
    let mut rig = full_disk_with_a_history(100);
    rig.give(0, &["y".repeat(90)]);
    let dropped = |rig: &Rig| rig.numbers.segments_dropped.value();
    rig.now = rig.writer.advance(rig.now).expect("it tries again");
    assert_eq!((dropped(&rig), rig.numbers.troubles.value()), (4, 1), "after a few it is known that it is no use");
    let mut waited = Duration::ZERO;
    for retry in 1..=10 {
        let next = rig.writer.advance(rig.now).expect("it tries again");
        waited += next - rig.now;
        rig.now = next;
        assert_eq!(dropped(&rig), 4 + retry, "one with each retry: it may be the one that nobody else holds");
    }
    assert!(waited > Duration::from_secs(10), "and ever less often: {waited:?}");
    rig.faults.deleting_frees(true);
    rig.work();
    assert_eq!((dropped(&rig), rig.numbers.troubled.value()), (15, 0), "this one made room");
    assert_eq!(rig.records(Kind::Log).len(), HISTORY - 15 + 1);
}

#[test]
fn where_deleting_frees_space_nobody_waits_however_many_have_to_go() {
    // As small as they are, or so large that many have to go for what is written at once.
    for rotate_bytes in [100, 1 << 20] {
        let mut rig = full_disk_with_a_history(rotate_bytes);
        rig.faults.deleting_frees(true);
        let records = some(0, 180);
        rig.give(0, &records);
        assert_eq!((rig.work(), rig.numbers.troubles.value()), (1, 0), "nobody waits");
        let dropped = rig.numbers.segments_dropped.value() as usize;
        assert!((30..HISTORY).contains(&dropped), "{dropped}");
        let payloads = rig.records(Kind::Log).into_iter().map(|(_, payload)| payload);
        assert!(payloads.skip(HISTORY - dropped).eq(records), "and the oldest have gone");
    }
}

/// What is appended does not count, as long as it is cut off again.
#[test]
fn a_disk_that_is_found_full_by_its_sync_does_not_cost_the_history() {
    for rotate_bytes in [100, 1 << 20] {
        let mut rig = full_disk_with_a_history(rotate_bytes);
        rig.faults.space(None);
        rig.faults.fail_syncs_for_want_of_space(1000);
        rig.give(0, &["y".repeat(90)]);
        rig.now = rig.writer.advance(rig.now).expect("it tries again");
        assert_eq!((rig.numbers.segments_dropped.value(), rig.numbers.troubles.value()), (4, 1));
        rig.faults.fail_syncs_for_want_of_space(0);
        rig.work();
        let there = rig.records(Kind::Log).len() + rig.numbers.records_dropped.value() as usize;
        assert_eq!((there, rig.numbers.troubled.value()), (HISTORY + 1, 0), "and what was held is there once");
    }
}
