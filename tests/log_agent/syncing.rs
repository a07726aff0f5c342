//! Syncs: when, in which order, and what a failed one costs.

use std::time::Duration;

use crate::agent::fsync::Fsync;
use crate::logs;
use crate::rig::{Rig, Setup, assert_payloads, some};
use crate::store::name::Kind;

#[test]
fn a_group_has_one_sync_however_many_batches_it_is() {
    let mut rig = Rig::new(Setup::default());
    some(0, 30).chunks(3).for_each(|records| rig.give(0, records));
    rig.work();
    assert_eq!(rig.faults.syncs(), 2, "of the index and of its segment");
    assert_eq!(rig.durable(0), Some(30));
}

#[test]
fn never_is_never_and_an_interval_is_an_interval() {
    let mut rig = Rig::new(Setup { policy: Fsync::Never, rotate_bytes: 50, ..Setup::default() });
    rig.give(0, &some(0, 20));
    rig.work();
    rig.writer.close(rig.now);
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
fn an_interval_goes_on_while_the_disk_takes_no_more() {
    let time = Duration::from_millis(500);
    let mut rig = Rig::new(Setup { policy: Fsync::Interval(time), ..Setup::default() });
    rig.give(0, &["one"]);
    rig.writer.advance(rig.now);
    rig.faults.space(Some(0));
    rig.give(0, &["two"]);
    let due = rig.now + time;
    while rig.now < due {
        rig.now = rig.writer.advance(rig.now).expect("it tries again");
    }
    rig.writer.advance(rig.now);
    assert_eq!(rig.faults.syncs(), 2, "what was written before is durable, with its index");
    assert!(!rig.writer.is_idle());
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
    // Of each pair the first is the index's and the second its segment's; rotation has syncs, too.
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
fn what_has_failed_is_named_and_so_is_its_file() {
    logs::keep();
    // Of each pair of syncs the first is the index's and the second its segment's.
    for (script, suffix) in [(&[true][..], "idx"), (&[false, true], "log")] {
        for (policy, what) in
            [(Fsync::Batch, "writer 0 cannot go on: "), (Fsync::Interval(Duration::from_millis(1)), "")]
        {
            let mut rig = Rig::new(Setup { policy, ..Setup::default() });
            rig.give(0, &["one"]);
            rig.faults.fail_syncs(script);
            let due = rig.writer.advance(rig.now);
            let name = rig.folder.files(".log")[0].replace(".log", "");
            // The interval; or it tries again, which succeeds, and cuts it off.
            rig.now = due.expect("one of both");
            rig.writer.advance(rig.now);
            let line = format!("{what}cannot sync {name}.{suffix}: the sync has failed on purpose");
            assert!(!logs::with(&[&line]).is_empty(), "{line}");
        }
    }
    let mut rig = Rig::new(Setup::default());
    rig.give(0, &["one"]);
    rig.work();
    rig.faults.break_write(1);
    rig.give(0, &["two"]);
    rig.writer.advance(rig.now);
    let name = rig.folder.files(".log")[0].clone();
    let line =
        format!("writer 0 cannot go on: cannot write {name}: the write has failed on purpose; 1 records are held");
    assert!(!logs::with(&[&line]).is_empty(), "{line}");
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
fn what_is_written_once_more_does_not_come_back_where_it_was_cut_off() {
    let mut rig = Rig::new(Setup::default());
    rig.give(0, &["durable"]);
    rig.work();
    rig.faults.fail_syncs(&[true]);
    rig.give(0, &["written again"]);
    rig.work();
    assert_eq!((rig.faults.cut(), rig.durable(0)), (vec![], Some(2)));
    // The same of a segment whose index somebody deletes, while it is synced.
    let mut rig = Rig::new(Setup::default());
    rig.give(0, &["durable"]);
    rig.work();
    rig.faults.delete_at_sync(rig.folder.path().join(&rig.folder.files(".idx")[0]));
    rig.give(0, &["written again"]);
    rig.work();
    assert_eq!((rig.faults.cut(), rig.durable(0)), (vec![], Some(2)));
    // Where that sync fails as well, it is done without.
    let mut rig = Rig::new(Setup::default());
    rig.faults.fail_syncs(&[true, true]);
    rig.give(0, &["written again"]);
    rig.work();
    assert_eq!((rig.numbers.syncs_failed.value(), rig.durable(0)), (2, Some(1)));
    rig.assert_records(&["written again"]);
}

#[test]
fn what_is_written_once_more_is_counted_as_that() {
    let mut rig = Rig::new(Setup::default());
    let numbers =
        |rig: &Rig| [&rig.numbers.records_written, &rig.numbers.records_rewritten].map(|number| number.value());
    rig.give(0, &some(0, 20));
    rig.work();
    assert_eq!(numbers(&rig), [20, 0]);
    rig.give(0, &["one", "two"]);
    rig.give(0, &["three"]);
    rig.faults.fail_syncs(&[true]);
    rig.work();
    assert_eq!(numbers(&rig), [20 + 3 + 3, 3], "and not those before them");
    // What is behind them was not written yet.
    let mut rig = Rig::new(Setup::default());
    rig.faults.space(Some(300));
    rig.give(0, &some(0, 20));
    rig.faults.fail_syncs(&[true]);
    rig.now = rig.writer.advance(rig.now).expect("it tries again");
    let [written, rewritten] = numbers(&rig);
    assert!((1..20).contains(&written) && written == rewritten, "{written}, {rewritten}");
    rig.faults.space(None);
    rig.work();
    assert_eq!(numbers(&rig), [written + 20, written]);
    rig.assert_records(&some(0, 20));
    // Those that were set aside have a sync of their own.
    let mut rig = Rig::new(Setup { json: true, ..Setup::default() });
    rig.give_marked(0, &[(b"good", false), (b"bad", true), (b"as good", false)]);
    rig.faults.fail_syncs(&[false, false, true]);
    rig.work();
    assert_eq!(numbers(&rig), [4, 1], "the bad one");
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

/// Records that are written nowhere else are forced to disk all the same. The others would be there without their index
/// if the machine crashed then.
#[test]
fn the_data_follow_an_index_whose_sync_fails_only_if_they_are_not_written_once_more() {
    let time = Duration::from_millis(500);
    for policy in [Fsync::Interval(time), Fsync::Batch] {
        let mut rig = Rig::new(Setup { policy, ..Setup::default() });
        rig.faults.look_what_is_kept();
        rig.faults.fail_syncs(&[true]);
        rig.give(0, &["one"]);
        rig.writer.advance(rig.now);
        rig.now += time;
        if policy != Fsync::Batch {
            rig.writer.advance(rig.now);
        }
        let data = rig.faults.kept().last().expect("there was a sync").get(&rig.folder.files(".log")[0]).cloned();
        assert_eq!(data, (policy != Fsync::Batch).then(|| b"one\n".to_vec()), "{policy}");
        assert_eq!(rig.numbers.syncs_failed.value(), 1, "{policy}");
        rig.work();
        rig.assert_records(&["one"]);
    }
}

#[test]
fn a_segment_that_cannot_be_written_is_closed_and_a_new_one_begins() {
    let records = some(0, 60);
    for policy in [Fsync::Batch, Fsync::Never, Fsync::Interval(Duration::from_millis(500))] {
        // The header, index and records of the first group, index and records of the second; some of each on a new
        // segment.
        for well in 0..8 {
            let mut rig = Rig::new(Setup { policy, rotate_bytes: 900, ..Setup::default() });
            rig.faults.break_write(well);
            for records in records.chunks(15) {
                rig.give(0, records);
                rig.work();
            }
            // A mark at the end of an index is done without.
            assert!(rig.link.is_well() && rig.numbers.troubles.value() <= 1, "one write has failed: {well}");
            assert_eq!(rig.durable(0), Some(60));
            rig.assert_records(&records);
            assert_payloads(&rig.crash(), &records);
        }
        // In the middle of a segment, nothing more is written to it.
        let mut rig = Rig::new(Setup { policy, ..Setup::default() });
        rig.give(0, &records[..30]);
        rig.work();
        rig.faults.break_write(1);
        rig.give(0, &records[30..]);
        rig.work();
        let files = rig.folder.files(".log");
        assert_eq!(files.len(), 2, "{files:?}");
        let first: usize = records[..30].iter().map(|record| record.len() + 1).sum();
        assert_eq!(rig.folder.size(&files[0]), first as u64, "what was torn is cut off, and what was whole stays");
        rig.assert_records(&records);
    }
}

#[test]
fn want_of_space_is_no_reason_for_a_new_segment() {
    let mut rig = Rig::new(Setup::default());
    rig.give(0, &["one"]);
    rig.work();
    rig.faults.space(Some(3));
    rig.give(0, &["two"]);
    rig.now = rig.writer.advance(rig.now).expect("it tries again");
    rig.faults.space(None);
    rig.work();
    assert_eq!(rig.folder.files(".log").len(), 1);
    rig.assert_records(&["one", "two"]);
}

/// A segment is full, and therefore synced; the next one's sync fails. What was set aside of the batch before has not
/// been synced yet.
#[test]
fn what_is_set_aside_of_a_batch_is_durable_before_the_batch_goes() {
    let mut rig = Rig::new(Setup { json: true, rotate_bytes: 8, ..Setup::default() });
    rig.give_marked(2, &[(b"\"full\"", false), (b"oops", true)]);
    rig.give_marked(2, &[(b"\"next\"", false)]);
    rig.faults.fail_syncs(&[false, false, true]);
    let again = rig.writer.advance(rig.now).expect("it tries again");
    assert_eq!((rig.news(), rig.writer.held()), (vec![], 3), "the bad one of the first batch has had no sync");
    rig.now = again;
    rig.work();
    assert_eq!(rig.news(), [(2, 3)]);
    rig.assert_records(&["\"full\"", "\"next\""]);
}

#[test]
fn what_is_set_aside_is_durable_before_it_is_acknowledged() {
    let records: [(&[u8], bool); 4] = [(b"{}", false), (b"oops", true), (b"[1]", false), (b"", true)];
    // Syncs of the index and its segment, then of those with the bad ones.
    for script in [&[false, false, true][..], &[false, false, false, true], &[true], &[false, true]] {
        let mut rig = Rig::new(Setup { json: true, ..Setup::default() });
        rig.faults.fail_syncs(script);
        rig.give_marked(2, &records);
        let again = rig.writer.advance(rig.now).expect("it tries again");
        assert_eq!(rig.durable(2), None, "not before all four are: {script:?}");
        rig.now = again;
        rig.work();
        assert_eq!(rig.durable(2), Some(4));
        rig.assert_records(&["{}", "[1]"]);
        let bad: Vec<_> = rig.records(Kind::Bad).into_iter().map(|(_, payload)| payload).collect();
        assert_eq!(bad, [b"oops".to_vec(), vec![]], "{script:?}");
    }
    // Nothing but bad ones: they have a sync of their own.
    let mut rig = Rig::new(Setup { json: true, ..Setup::default() });
    rig.give_marked(2, &[(b"oops", true)]);
    rig.work();
    assert_eq!((rig.durable(2), rig.faults.syncs()), (Some(1), 2));
}

#[test]
fn the_disk_begins_with_each_piece_of_a_group_before_it_is_synced() {
    let record = "x".repeat(40_000);
    for policy in [Fsync::Batch, Fsync::Never] {
        let mut rig = Rig::new(Setup { policy, rotate_bytes: 100 << 20, ..Setup::default() });
        // A small group is left to its sync.
        rig.give(0, &["small"]);
        rig.work();
        assert_eq!(rig.faults.begun(), []);
        (0..60).for_each(|_| rig.give(0, &[&record]));
        rig.work();
        let [begun, index] = [".log", ".idx"].map(|suffix| rig.faults.begun_of(&rig.folder.files(suffix)[0]));
        if policy == Fsync::Never {
            assert_eq!((begun, index), (vec![], vec![]), "no sync will come");
            continue;
        }
        let first = rig.faults.begun().remove(0).0;
        assert!(first.ends_with(".idx") && !index.is_empty(), "with the index before any record: {first}, {index:?}");
        let pieces = begun.windows(2).all(|pair| pair[0].end == pair[1].start);
        assert!(
            pieces && begun.len() >= 2 && begun.iter().all(|piece| piece.end - piece.start <= 1 << 20),
            "{begun:?}"
        );
        let size = rig.folder.size(&rig.folder.files(".log")[0]);
        assert_eq!((begun[0].start, begun[begun.len() - 1].end), (6, size), "all of it");
        rig.assert_records(&[&["small"][..], &vec![record.as_str(); 60]].concat());
    }
}

/// Else the disk could get an index with a hole in it, and records without their entries.
#[test]
fn the_disk_begins_with_what_lies_before_a_group_as_well() {
    let time = Duration::from_millis(500);
    let record = "x".repeat(40_000);
    for breaks in [false, true] {
        let mut rig = Rig::new(Setup { policy: Fsync::Interval(time), rotate_bytes: 100 << 20, ..Setup::default() });
        let write = |rig: &mut Rig, records: &[&str]| {
            records.iter().for_each(|record| rig.give(0, &[record]));
            rig.work();
        };
        write(&mut rig, &["synced"]);
        rig.now += time;
        rig.writer.advance(rig.now);
        let synced = [".idx", ".log"].map(|suffix| rig.folder.size(&rig.folder.files(suffix)[0]));
        write(&mut rig, &["small"]);
        if breaks {
            // The first pieces of it find their place, and are cut off.
            rig.faults.space(Some(1 << 20));
            (0..40).for_each(|_| rig.give(0, &[&record]));
            rig.now = rig.writer.advance(rig.now).expect("it tries again");
            rig.faults.space(None);
            rig.work();
        }
        write(&mut rig, &[record.as_str(); 30]);
        write(&mut rig, &["small"]);
        write(&mut rig, &[record.as_str(); 30]);
        for (suffix, synced) in [".idx", ".log"].into_iter().zip(synced) {
            let file = rig.folder.files(suffix)[0].clone();
            let begun = rig.faults.begun_of(&file);
            let mut end = synced;
            for range in begun {
                assert!(range.start <= end && range.start < range.end, "{file}: a hole from {end} to {range:?}");
                end = range.end;
            }
            assert_eq!(end, rig.folder.size(&file), "{file}: all of it");
        }
    }
}
