//! Old segments go where the disk itself is full, and not more of them than that is good for.

use std::fs;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use crate::agent::lock::Lock;
use crate::agent::plan::WhenFull;
use crate::agent::writers::Deadline;
use crate::logs;
use crate::rig::{Rig, Setup, some};
use crate::store::LOCK_FILE;
use crate::store::name::{Kind, Packing, SegmentName};

const HISTORY: usize = 60;

/// A full disk with a history of small segments, one record each. Those that come have so many bytes.
fn full_disk_with_a_history(rotate_bytes: u64) -> Rig {
    full_disk_with(HISTORY, rotate_bytes)
}

fn full_disk_with(history: usize, rotate_bytes: u64) -> Rig {
    let mut rig = Rig::new(Setup { rotate_bytes: 100, ..Setup::default() });
    for _ in 0..history {
        rig.give(0, &["x".repeat(90)]);
        rig.work();
    }
    let setup = Setup { rotate_bytes, when_full: WhenFull::DropOldestSegment, ..Setup::default() };
    let rig = Rig::within(rig.crash(), setup, 1_000_000_000);
    rig.faults.space(Some(0));
    rig
}

/// The same with a history and a segment that is open behind it, which has one record.
fn full_disk_with_an_open_segment() -> Rig {
    let mut rig = full_disk_with_a_history(1 << 20);
    rig.faults.space(None);
    rig.give(0, &["its segment stays open"]);
    rig.work();
    rig.faults.space(Some(0));
    rig.faults.deleting_frees(true);
    rig
}

fn dropped(rig: &Rig) -> u64 {
    rig.numbers.segments_dropped.value()
}

#[test]
fn a_full_disk_where_deleting_frees_nothing_does_not_cost_the_history() {
    let mut rig = full_disk_with_a_history(100);
    rig.give(0, &["y".repeat(90)]);
    let began = rig.now;
    rig.now = rig.writer.advance(rig.now).expect("it tries again");
    assert_eq!((dropped(&rig), rig.numbers.troubles.value()), (4, 1), "after a few it is known that it is no use");
    let mut times = vec![began; 4];
    while rig.now < began + Duration::from_secs(3600) {
        let next = rig.writer.advance(rig.now).expect("it tries again");
        let more = dropped(&rig) as usize - times.len();
        assert!(more <= 1, "with each retry one at most: it may be the one that nobody else holds");
        times.extend(vec![rig.now; more]);
        rig.now = next;
    }
    let waits: Vec<_> = times.windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).skip(3).collect();
    assert!(waits.is_sorted() && waits[0] >= 2 && waits[1] >= 4, "ever less often: {waits:?}");
    let longest = waits.iter().filter(|wait| (600..603).contains(*wait)).count();
    assert!(longest >= 3 && waits.len() < 15, "and every ten minutes in the end: {waits:?}");
    rig.faults.deleting_frees(true);
    rig.work();
    assert_eq!((dropped(&rig) as usize, rig.numbers.troubled.value()), (times.len() + 1, 0), "this one made room");
    assert_eq!(rig.records(Kind::Log).len(), HISTORY - times.len());
    // It is known again that deleting helps.
    rig.faults.space(Some(0));
    rig.faults.deleting_frees(false);
    rig.give(0, &["z".repeat(90)]);
    rig.writer.advance(rig.now);
    assert_eq!(dropped(&rig) as usize, times.len() + 5);
}

#[test]
fn all_writers_together_delete_no_more_in_vain_than_one() {
    let mut rig = full_disk_with_a_history(100);
    let mut others = [rig.beside(), rig.beside()];
    rig.give(0, &["y".repeat(90)]);
    rig.writer.advance(rig.now);
    for other in &mut others {
        other.give(1, &["z".repeat(90)]);
        other.writer.advance(rig.now);
    }
    assert_eq!(dropped(&rig), 4);
}

/// As long as less was deleted than has to be written, nobody knows whether it helps.
#[test]
fn many_small_segments_go_for_one_large_record() {
    let large = "y".repeat(5000);
    let mut rig = full_disk_with_a_history(1 << 20);
    rig.faults.deleting_frees(true);
    rig.give(0, &[&large]);
    assert_eq!((rig.work(), rig.numbers.troubles.value()), (1, 0), "nobody waits");
    let enough = dropped(&rig);
    assert!((20..40).contains(&enough), "{enough}");
    let mut rig = full_disk_with_a_history(1 << 20);
    rig.give(0, &[&large]);
    rig.writer.advance(rig.now);
    let vain = dropped(&rig);
    assert!((enough..enough + 4).contains(&vain), "{vain}: where that frees nothing, a few more");
}

/// There is nothing but what is written now: parts of it find their place, and make room for the next.
#[test]
fn where_there_is_nothing_to_delete_what_still_finds_its_place_is_written() {
    let mut rig = Rig::new(Setup { when_full: WhenFull::DropOldestSegment, ..Setup::default() });
    rig.faults.space(Some(500));
    rig.faults.deleting_frees(true);
    let records = some(0, 60);
    rig.give(0, &records);
    assert_eq!((rig.work(), rig.numbers.troubles.value()), (1, 0), "nobody waits");
    let last: Vec<_> = rig.records(Kind::Log).into_iter().map(|(_, payload)| payload).collect();
    assert_eq!(last, records[60 - last.len()..], "the newest, without a gap");
    assert_eq!(rig.numbers.records_dropped.value() as usize, 60 - last.len());
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
        assert!((20..HISTORY).contains(&dropped), "{dropped}");
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

/// Its flags, the disk or another owner may keep it. Here there is something else under its name.
#[test]
fn a_segment_that_cannot_be_deleted_is_passed_over_and_tried_again_when_nothing_else_is_left() {
    logs::keep();
    for (disk_max, length) in [(Some(10_000), 300), (None, 90)] {
        let mut rig = match disk_max {
            None => full_disk_with_a_history(100),
            disk_max => {
                let when_full = WhenFull::DropOldestSegment;
                Rig::new(Setup { rotate_bytes: 301, disk_max, when_full, ..Setup::default() })
            }
        };
        rig.faults.deleting_frees(true);
        if disk_max.is_some() {
            (0..10).for_each(|_| rig.give(0, &["x".repeat(length)]));
            rig.work();
        }
        let oldest = rig.folder.path().join(&rig.folder.files(".log")[0]);
        fs::remove_file(&oldest).expect("removed");
        fs::create_dir_all(oldest.join("kept")).expect("a name that is free");
        let before = rig.folder.files(".log");
        for _ in 0..40 {
            rig.give(0, &["y".repeat(length)]);
            assert_eq!((rig.work(), rig.numbers.troubles.value()), (1, 0), "nobody waits");
        }
        let (after, gone) = (rig.folder.files(".log"), dropped(&rig) as usize);
        assert!(gone > 10 && after[0] == before[0], "{gone}: {after:?}");
        let kept = before.iter().skip(1 + gone);
        assert!(after[1..].iter().zip(kept).all(|(after, before)| after == before), "the oldest of the others");
        let folder = rig.folder.text().to_owned();
        let said = || logs::with(&[&folder, "cannot delete ", "passed over"]).len();
        assert_eq!(said(), 1);
        if disk_max.is_none() {
            continue;
        }
        // It is all that is left, and it is in the way.
        let large = "z".repeat(9795);
        rig.give(0, &[&large]);
        for _ in 0..5 {
            rig.now = rig.writer.advance(rig.now).expect("it tries again");
        }
        let left = rig.folder.files(".log");
        assert!(left[0] == before[0] && left.len() <= 2 && !rig.writer.is_idle(), "and the one that is open: {left:?}");
        fs::remove_dir_all(&oldest).expect("removed");
        fs::write(&oldest, "x\n").expect("written");
        rig.work();
        assert!(!oldest.exists());
        rig.assert_records(&[&large]);
        assert_eq!(said(), 1, "once is enough");
    }
}

/// A disk that deletes nothing for a while: because somebody has forbidden it, or because it needs space for that.
#[test]
fn after_a_while_in_which_nothing_could_be_deleted_the_oldest_are_the_first_to_go() {
    for kind in [ErrorKind::PermissionDenied, ErrorKind::StorageFull, ErrorKind::Interrupted, ErrorKind::TimedOut] {
        let mut rig = full_disk_with_a_history(100);
        rig.faults.deleting_frees(true);
        let history = rig.folder.files(".log");
        rig.give(0, &["y".repeat(90)]);
        for _ in 0..5 {
            rig.faults.keep_files(&rig.folder.files(".log"), kind);
            rig.now = rig.writer.advance(rig.now).expect("it tries again");
        }
        assert_eq!((dropped(&rig), rig.numbers.troubles.value()), (0, 1), "{kind}");
        rig.faults.keep_files(&[], kind);
        let since = rig.now;
        rig.work();
        assert!(rig.now - since < Duration::from_secs(5), "{kind}: that is found with the next try");
        for _ in 0..20 {
            rig.give(0, &["z".repeat(90)]);
            rig.work();
            rig.now += Duration::from_secs(2);
        }
        let gone = dropped(&rig) as usize;
        assert!(gone >= 20, "{kind}: {gone}");
        assert!(rig.folder.files(".log").starts_with(&history[gone..]), "{kind}: {gone} have gone, and not the oldest");
    }
}

#[test]
fn what_could_not_be_deleted_for_a_moment_is_the_first_to_go_a_minute_later() {
    for kind in [ErrorKind::PermissionDenied, ErrorKind::StorageFull, ErrorKind::Interrupted, ErrorKind::TimedOut] {
        let mut rig = full_disk_with_a_history(100);
        rig.faults.deleting_frees(true);
        let history = rig.folder.files(".log");
        rig.faults.keep_files(&history[..3], kind);
        rig.give(0, &["y".repeat(90)]);
        rig.writer.advance(rig.now).expect("it looks for those that it finishes");
        let waits = kind != ErrorKind::PermissionDenied;
        assert_eq!((dropped(&rig) == 0, rig.writer.is_idle()), (waits, !waits), "{kind}");
        rig.faults.keep_files(&[], kind);
        rig.now += Duration::from_secs(60);
        for _ in 0..5 {
            rig.give(0, &["z".repeat(90)]);
            rig.work();
        }
        let left = rig.folder.files(".log");
        assert!(!left.contains(&history[0]) && !left.contains(&history[2]), "{kind}: {left:?}");
        assert!(left.contains(&history[HISTORY / 2]), "{kind}: {left:?}");
    }
}

/// There are finished ones, of which the oldest goes as soon as it can be deleted.
#[test]
fn no_segment_is_finished_for_one_that_cannot_be_deleted_for_a_moment() {
    for kind in [ErrorKind::PermissionDenied, ErrorKind::StorageFull, ErrorKind::Interrupted, ErrorKind::TimedOut] {
        let mut rig = full_disk_with_an_open_segment();
        rig.faults.keep_files(&rig.folder.files(".log"), kind);
        rig.give(0, &["y".repeat(90)]);
        for _ in 0..3 {
            rig.now = rig.writer.advance(rig.now).expect("it tries again");
        }
        let waits = kind != ErrorKind::PermissionDenied;
        let finished = rig.numbers.segments_finished.value() > 0;
        assert_eq!((finished, rig.directory.wanted() > 0), (!waits, !waits), "{kind}: nor by another writer");
        rig.faults.keep_files(&[], kind);
        rig.work();
        assert_eq!(rig.records(Kind::Log).len() + dropped(&rig) as usize, HISTORY + 2, "{kind}");
    }
}

/// Nor where nobody knows which are finished, or which of them is the oldest.
#[test]
fn no_segment_is_finished_where_the_oldest_cannot_be_looked_for() {
    for is_locked in [true, false] {
        let mut rig = full_disk_with_an_open_segment();
        let other = is_locked.then(|| {
            fs::remove_file(rig.folder.path().join(LOCK_FILE)).expect("deleted");
            Lock::take(rig.folder.path()).expect("another agent")
        });
        rig.faults.fail_listings(!is_locked);
        rig.give(0, &["y".repeat(90)]);
        for _ in 0..3 {
            rig.now = rig.writer.advance(rig.now).expect("it tries again");
        }
        let finished = rig.numbers.segments_finished.value();
        assert_eq!((finished, rig.directory.wanted(), dropped(&rig)), (0, 0, 0), "{is_locked}");
        drop(other);
        rig.faults.fail_listings(false);
        rig.work();
        assert_eq!(rig.records(Kind::Log).len() + dropped(&rig) as usize, HISTORY + 2, "{is_locked}");
    }
}

/// They may be more than a listing has.
#[test]
fn however_many_segments_cannot_be_deleted_nobody_waits_for_those_behind_them() {
    logs::keep();
    for more in [0, 9000] {
        let mut rig = full_disk_with(150, 1 << 20);
        rig.faults.deleting_frees(true);
        let history = rig.folder.files(".log");
        let mut kept = history[..100].to_vec();
        for opened in 0..more {
            let name = SegmentName { kind: Kind::Log, opened, number: 0 }.data(Packing::Plain);
            fs::write(rig.folder.path().join(&name), "").expect("written");
            kept.push(name);
        }
        rig.faults.keep_files(&kept, ErrorKind::PermissionDenied);
        let tries = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&tries);
        rig.faults.watch(move |call| {
            count.fetch_add(usize::from(call == "remove"), SeqCst);
        });
        for _ in 0..10 {
            rig.give(0, &["y".repeat(90)]);
            assert_eq!((rig.work(), rig.numbers.troubles.value()), (1, 0), "nobody waits");
            rig.now += Duration::from_secs(2);
        }
        let gone = dropped(&rig) as usize;
        let mut left = rig.folder.files(".log");
        left.pop().expect("the one that is open");
        assert!(gone >= 5 && left.ends_with(&history[100 + gone..]), "{gone}, the oldest first");
        assert_eq!(rig.numbers.segments_finished.value(), 0, "the one that is open takes more");
        let most = kept.len() + 3 * gone;
        assert!(tries.load(SeqCst) <= most, "each is tried once, and not with every deletion: {tries:?} of {most}");
        assert_eq!(logs::with(&[rig.folder.text(), "cannot delete ", "passed over"]).len(), 1);
    }
}

#[test]
fn who_finds_none_that_can_be_deleted_ends_in_time() {
    for (disk_max, kept) in [(None, 100), (Some(100_000), 0)] {
        let mut rig = match disk_max {
            None => full_disk_with(100, 1 << 20),
            Some(_) => {
                let when_full = WhenFull::DropOldestSegment;
                let mut rig = Rig::new(Setup { rotate_bytes: 100, disk_max, when_full, ..Setup::default() });
                rig.give(0, &vec!["x".repeat(90); 400]);
                rig.work();
                rig
            }
        };
        rig.faults.keep_files(&rig.folder.files(".log")[..kept], ErrorKind::PermissionDenied);
        let deadline: Arc<Deadline> = Arc::default();
        rig.writer.end_by(Arc::clone(&deadline));
        let tries = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&tries);
        rig.faults.watch(move |call| {
            if call == "remove" && count.fetch_add(1, SeqCst) == 2 {
                deadline.set(Instant::now());
            }
        });
        // All at once, or one large record: either takes the room of many.
        rig.give(0, &["y".repeat(50_000)]);
        rig.writer.advance(rig.now).expect("it would try again");
        // A segment and its index are deleted together.
        assert!((3..=4).contains(&tries.load(SeqCst)), "{disk_max:?}: {tries:?}");
    }
}
