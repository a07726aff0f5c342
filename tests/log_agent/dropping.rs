//! Old segments go where the disk itself is full, and not more of them than that is good for.

use std::time::Duration;

use crate::agent::plan::WhenFull;
use crate::rig::{Rig, Setup, some};
use crate::store::name::Kind;

const HISTORY: usize = 60;

/// A full disk with a history of small segments, one record each.
fn full_disk_with_a_history() -> Rig {
    let mut rig = Rig::new(Setup { rotate_bytes: 100, when_full: WhenFull::DropOldestSegment, ..Setup::default() });
    for _ in 0..HISTORY {
        rig.give(0, &["x".repeat(90)]);
        rig.work();
    }
    rig.faults.space(Some(0));
    rig
}

#[test]
fn a_full_disk_where_deleting_frees_nothing_does_not_cost_the_history() {
    let mut rig = full_disk_with_a_history();
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
    let mut rig = full_disk_with_a_history();
    rig.faults.deleting_frees(true);
    rig.give(0, &vec!["y".repeat(90); HISTORY / 2]);
    assert_eq!(rig.work(), 1, "nobody waits");
    assert_eq!((rig.numbers.segments_dropped.value() as usize, rig.numbers.troubles.value()), (HISTORY / 2, 0));
    let kept = rig.records(Kind::Log);
    assert_eq!(kept.len(), HISTORY, "as many as have come");
    // Many small ones for one append.
    rig.give(0, &some(0, 8));
    rig.work();
    assert_eq!(rig.numbers.troubles.value(), 0);
}
