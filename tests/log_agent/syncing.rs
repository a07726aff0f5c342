//! Syncs: when, in which order, and what a failed one costs.

use std::time::Duration;

use crate::agent::fsync::Fsync;
use crate::rig::{Rig, Setup, assert_payloads, some};

#[test]
fn a_group_has_one_sync_however_many_batches_it_is() {
    let mut rig = Rig::new(Setup::default());
    some(0, 30).chunks(3).for_each(|records| rig.give(0, records));
    rig.work();
    assert_eq!(rig.faults.syncs(), 2, "of the segment and of its index");
    assert_eq!(rig.durable(0), Some(30));
}

#[test]
fn never_is_never_and_an_interval_is_an_interval() {
    let mut rig = Rig::new(Setup { policy: Fsync::Never, rotate_bytes: 50, ..Setup::default() });
    rig.give(0, &some(0, 20));
    rig.work();
    rig.writer.close();
    assert_eq!(rig.faults.syncs(), 0);

    let time = Duration::from_millis(500);
    let mut rig = Rig::new(Setup { policy: Fsync::Interval(time), ..Setup::default() });
    rig.give(0, &["one"]);
    assert_eq!(rig.writer.advance(rig.now), Some(rig.now + time));
    assert!(rig.writer.is_idle() && rig.faults.syncs() == 0, "it is worked off at once");
    rig.give(0, &["two"]);
    rig.now += time / 2;
    assert_eq!(rig.writer.advance(rig.now), Some(rig.now + time / 2), "the first one's time counts");
    rig.now += time / 2;
    assert_eq!(rig.writer.advance(rig.now), None, "nothing is left to be forced");
    assert_eq!(rig.faults.syncs(), 2);
}

#[test]
fn an_interval_that_rotation_was_faster_than_is_forgotten() {
    let time = Duration::from_millis(500);
    let setup = Setup { policy: Fsync::Interval(time), rotate_age: Some(time / 2), ..Setup::default() };
    let mut rig = Rig::new(setup);
    rig.give(0, &["one"]);
    let due = rig.writer.advance(rig.now).expect("the rotation");
    assert_eq!(due, rig.now + time / 2);
    rig.now = due;
    let next = rig.writer.advance(rig.now);
    rig.now += time;
    assert_eq!(rig.writer.advance(rig.now), None, "after {next:?} nothing is left to be done");
}

#[test]
fn after_a_failed_sync_nothing_is_lost_and_nothing_is_there_twice() {
    let records = some(0, 60);
    // Of each pair the first is the segment's and the second its index's; rotation has syncs, too.
    for script in
        [&[true][..], &[false, true], &[false, false, true], &[false, false, false, true], &[true, true, true]]
    {
        for rotate_bytes in [200, 1 << 20] {
            let mut rig = Rig::new(Setup { rotate_bytes, ..Setup::default() });
            rig.give(0, &records[..10]);
            rig.work();
            assert_eq!(rig.durable(0), Some(10));
            rig.faults.fail_syncs(script);
            rig.give(0, &records[10..30]);
            rig.give(0, &records[30..]);
            rig.writer.advance(rig.now);
            if !rig.writer.is_idle() {
                assert_eq!(rig.durable(0), None, "nothing is acknowledged that is not durable");
            }
            if !rig.writer.is_idle() {
                rig.work();
            }
            rig.assert_records(&records);
            assert_eq!(
                rig.durable(0),
                (rig.numbers.syncs_failed.value() > 0 || rotate_bytes > 200).then_some(60).or(Some(60))
            );
            // And a crash right behind it finds the same.
            assert_payloads(&rig.crash(), &records);
        }
    }
}

#[test]
fn a_segment_whose_sync_failed_is_cut_before_anything_else_is_written() {
    let mut rig = Rig::new(Setup::default());
    rig.give(0, &["durable"]);
    rig.work();
    rig.faults.fail_syncs(&[true]);
    rig.faults.fail_cuts(true);
    rig.give(0, &["held", "and written again"]);
    for _ in 0..5 {
        rig.now = rig.writer.advance(rig.now).expect("it tries again");
        assert_eq!(rig.folder.files(".log").len(), 1, "no new segment while the old one may have them, too");
    }
    rig.faults.fail_cuts(false);
    rig.work();
    assert_eq!(rig.folder.files(".log").len(), 2);
    rig.assert_records(&["durable", "held", "and written again"]);
    assert_eq!(rig.durable(0), Some(3));
}

#[test]
fn without_the_promise_a_failed_sync_begins_a_new_segment() {
    let time = Duration::from_millis(500);
    let mut rig = Rig::new(Setup { policy: Fsync::Interval(time), ..Setup::default() });
    rig.give(0, &["one"]);
    rig.work();
    rig.faults.fail_syncs(&[true]);
    rig.now += time;
    rig.writer.advance(rig.now);
    assert!(rig.link.is_well(), "senders do not wait for it");
    rig.give(0, &["two"]);
    rig.work();
    assert_eq!((rig.folder.files(".log").len(), rig.numbers.syncs_failed.value()), (2, 1));
    rig.assert_records(&["one", "two"]);
}
