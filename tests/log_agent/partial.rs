//! A full disk in the middle of what is written at once: some of it is there, and nobody was told.

use std::fs;
use std::time::Duration;

use crate::agent::fsync::Fsync;
use crate::agent::plan::WhenFull;
use crate::rig::{Rig, Setup, read_all, some};
use crate::store::index::Runs;
use crate::store::name::Kind;

/// What is written and synced is held as long as nobody was told of it, and written once more if somebody deletes it
/// meanwhile: to make room, of all things. What they were told of is not held any more.
#[test]
fn what_somebody_deletes_before_anybody_was_told_of_it_is_written_once_more() {
    let group: [(&[u8], bool); 4] = [(b"good", false), (b"bad", true), (b"as good", false), (b"better", false)];
    let twelve = "twelve bytes";
    let cases = [(vec![], 7, vec![]), (vec![twelve, "x", "abc"], 11, vec![twelve]), (vec![twelve], 5, vec![twelve])];
    for ((before, segment, left), together) in cases.iter().flat_map(|case| [(case, false), (case, true)]) {
        let mut deleted = 0;
        for space in 0..600 {
            let mut rig = Rig::new(Setup { json: true, rotate_bytes: 13, ..Setup::default() });
            // Batch by batch: a segment begins with the second.
            before.iter().for_each(|record| rig.give(0, &[record]));
            if !together {
                rig.work();
                rig.news();
            }
            rig.faults.space(Some(space));
            // With nothing before it this ends a segment and begins another.
            let group = if before.is_empty() { &group[..] } else { &group[..2] };
            rig.give_marked(0, group);
            rig.writer.advance(rig.now);
            let good = group.iter().filter(|(_, bad)| !bad).map(|(record, _)| String::from_utf8_lossy(record));
            let good: Vec<_> = good.collect();
            let told: u64 = rig.news().iter().map(|(_, records)| records).sum();
            let of_the_group = told > if together { before.len() as u64 } else { 0 };
            if of_the_group || rig.records(Kind::Log).len() < before.len() + good.len() {
                continue;
            }
            // The first is finished, and nobody looks at that any more.
            let newest = rig.folder.files(".log").pop().expect("both");
            assert_eq!(rig.folder.size(&newest), *segment, "{newest}");
            fs::remove_file(rig.folder.path().join(newest)).expect("deleted");
            deleted += 1;
            rig.faults.space(None);
            rig.work();
            assert_eq!(rig.news().len(), 1);
            let expected: Vec<_> = left.iter().copied().chain(good.iter().map(|record| &**record)).collect();
            rig.assert_records(&expected);
            assert_eq!(rig.records(Kind::Bad).len(), 1);
        }
        assert!(deleted > 10, "{deleted} times only, {before:?}, {together}");
    }
}

/// The same, where another writer wants the segment to be finished before this one goes on.
#[test]
fn what_somebody_deletes_before_its_segment_is_finished_is_written_once_more() {
    let mut rig = Rig::new(Setup { json: true, ..Setup::default() });
    rig.give(0, &["told"]);
    rig.work();
    assert_eq!(rig.news(), [(0, 1)]);
    // No second segment can be made, for the bad one.
    rig.faults.fail_names(true);
    rig.give_marked(0, &[(b"good", false), (b"bad", true)]);
    let again = rig.writer.advance(rig.now).expect("it tries again");
    assert_eq!((rig.news(), rig.records(Kind::Log).len()), (vec![], 2));
    for file in rig.folder.files("") {
        if file.starts_with("log_2") {
            fs::remove_file(rig.folder.path().join(file)).expect("deleted");
        }
    }
    rig.directory.want_finished();
    rig.faults.fail_names(false);
    rig.now = again;
    rig.work();
    rig.assert_records(&["good"]);
    assert_eq!(rig.numbers.records_rewritten.value(), 1, "the other was written for good, and is gone");
    assert_eq!((rig.news(), rig.records(Kind::Bad).len()), (vec![(0, 3)], 1));
}

/// There is no segment yet for bad records, and none can be made: what has come before them is told of all the same.
#[test]
fn batches_without_bad_records_do_not_wait_for_those_with_them() {
    let mut rig = Rig::new(Setup { json: true, ..Setup::default() });
    rig.give(0, &["a segment for good ones"]);
    rig.work();
    assert_eq!(rig.news(), [(0, 1)]);
    rig.faults.fail_names(true);
    rig.give(0, &["good", "as good"]);
    rig.give_marked(0, &[(b"bad", true)]);
    rig.give(0, &["behind it"]);
    rig.now = rig.writer.advance(rig.now).expect("it tries again");
    assert_eq!((rig.news(), rig.writer.held()), (vec![(0, 3)], 2), "and the others in their order");
    rig.faults.fail_names(false);
    rig.work();
    assert_eq!((rig.news(), rig.records(Kind::Bad).len()), (vec![(0, 5)], 1));
    rig.assert_records(&["a segment for good ones", "good", "as good", "behind it"]);
}

/// The same where bad records have a segment, of which something is not durable, and the next does not find its place.
#[test]
fn batches_without_bad_records_do_not_wait_for_the_sync_of_those_with_them() {
    for policy in [Fsync::Batch, Fsync::Never, Fsync::Interval(Duration::from_secs(1))] {
        let mut rig = Rig::new(Setup { policy, json: true, ..Setup::default() });
        rig.give_marked(0, &[(b"a segment for good ones", false), (b"one for bad ones", true)]);
        rig.work();
        assert_eq!(rig.news(), [(0, 2)], "{policy}");
        rig.faults.space(Some(1000));
        rig.give(0, &["good", "as good"]);
        rig.give_marked(0, &[(&[b'x'; 5000], true)]);
        rig.give(0, &["behind it"]);
        rig.now = rig.writer.advance(rig.now).expect("it tries again");
        assert_eq!((rig.news(), rig.writer.held()), (vec![(0, 4)], 2), "{policy}: and the others in their order");
        rig.faults.space(None);
        rig.work();
        assert_eq!((rig.news(), rig.records(Kind::Bad).len()), (vec![(0, 6)], 2), "{policy}");
        rig.assert_records(&["a segment for good ones", "good", "as good", "behind it"]);
    }
}

/// Also of what would be written at once: each that still finds its place is there, and no other is said to be lost.
#[test]
fn where_the_space_ends_what_still_finds_its_place_is_written() {
    let records = some(0, 40);
    let mut in_part = 0;
    for (space, when_full) in (0..2500)
        .step_by(13)
        .flat_map(|space| [WhenFull::Pause, WhenFull::DropOldestSegment].map(|when_full| (space, when_full)))
    {
        for (policy, rotate_bytes) in [(Fsync::Batch, 1 << 20), (Fsync::Never, 1 << 20), (Fsync::Batch, 300)] {
            let mut rig = Rig::new(Setup { policy, rotate_bytes, when_full, ..Setup::default() });
            rig.faults.space(Some(space));
            rig.give(0, &records[..15]);
            rig.give(0, &records[15..]);
            rig.writer.advance(rig.now);
            if rig.writer.is_idle() {
                continue;
            }
            let there = rig.records(Kind::Log);
            if when_full == WhenFull::Pause {
                let next = records[there.len()].len() + 1 + Runs::RECORD_MOST;
                let left = rig.faults.space_left().expect("it was limited");
                assert!(left < next as u64, "{space}: {left} are left, and the next takes {next}");
            }
            assert!(rig.faults.writes() < 200, "{space}: {} writes", rig.faults.writes());
            let dropped = rig.numbers.records_dropped.value() as usize;
            let expected = records[dropped..].iter().take(there.len()).map(|record| (1, record.clone()));
            assert!(there.iter().cloned().eq(expected), "{space}: in order, without a gap");
            in_part += usize::from((1..15).contains(&(there.len() + dropped)));
            let lost = rig.writer.close(rig.now).lost;
            assert_eq!(lost + read_all(&rig.folder, Kind::Log).len() + dropped, records.len(), "{space}");
        }
    }
    assert!(in_part > 50, "it ended within a batch {in_part} times");
}

/// All that there is to delete is open, and another writer's: at the end nobody waits for that.
#[test]
fn at_the_end_what_still_finds_its_place_is_written_without_making_room() {
    let when_full = WhenFull::DropOldestSegment;
    let mut rig = Rig::new(Setup { disk_max: Some(1200), when_full, ..Setup::default() });
    let mut other = rig.beside();
    other.give(0, &some(0, 30));
    other.work();
    rig.give(1, &some(30, 10));
    rig.writer.advance(rig.now).expect("it tries again");
    assert_eq!((rig.writer.held(), read_all(&rig.folder, Kind::Log).len()), (10, 30));
    let lost = rig.writer.close(rig.now).lost;
    assert!((1..10).contains(&lost), "{lost}");
    assert_eq!(lost + read_all(&rig.folder, Kind::Log).len(), 40);
}

/// Also where the space ends in the middle of a batch.
#[test]
fn what_it_says_it_could_not_write_is_what_is_not_there() {
    let records = some(0, 12);
    let mut in_part = 0;
    for space in 0..1200 {
        let policy = if space % 2 == 0 { Fsync::Batch } else { Fsync::Interval(Duration::from_secs(1)) };
        let json = space % 3 == 0;
        let mut rig = Rig::new(Setup { rotate_bytes: 60, policy, json, ..Setup::default() });
        rig.faults.space(Some(space));
        rig.give(0, &records[..5]);
        let is_bad = |record: &[u8]| json && record.len().is_multiple_of(2);
        let bad: Vec<_> = records[5..].iter().map(|record| (record.as_slice(), is_bad(record))).collect();
        rig.give_marked(1, &bad);
        rig.writer.advance(rig.now);
        let lost = rig.writer.close(rig.now).lost;
        let there = [Kind::Log, Kind::Bad].map(|kind| read_all(&rig.folder, kind).len()).iter().sum::<usize>();
        assert_eq!(lost + there, records.len(), "{space}: {there} are there");
        in_part += usize::from((1..7).contains(&lost));
    }
    assert!(in_part > 0, "it never ended within a batch");
}
