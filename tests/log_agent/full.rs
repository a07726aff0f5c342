//! A full disk: nothing is lost, nothing is written twice, nothing spins.

use std::fs;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use crate::agent::directory::{Full, bytes_of};
use crate::agent::fsync::Fsync;
use crate::agent::plan::{Plan, WhenFull};
use crate::agent::recovery::recover;
use crate::agent::segment::alone_bytes;
use crate::agent::writers::Deadline;
use crate::clients::{acking, finish, frames, newest, start, stop};
use crate::disks::Folder;
use crate::logs;
use crate::net::connect;
use crate::rig::{Rig, Setup, assert_payloads, some};
use crate::store::index::HEAD_BYTES;
use crate::store::name::Kind;

#[test]
fn wherever_the_space_ends_every_record_is_written_once() {
    let records = some(0, 12);
    // Past the last byte of all files.
    for space in 0..1200 {
        let policy = if space % 2 == 0 { Fsync::Batch } else { Fsync::Never };
        let mut rig = Rig::new(Setup { rotate_bytes: 150, policy, ..Setup::default() });
        rig.faults.space(Some(space));
        rig.give(0, &records[..5]);
        rig.give(1, &records[5..]);
        let first = rig.writer.advance(rig.now);
        let held = !rig.writer.is_idle();
        assert_eq!(held, !rig.link.is_well(), "nothing more is taken in while it cannot write");
        let told = rig.news();
        if held {
            // Batch by batch, and what it is told is there. The other batch is never told: it is what it holds.
            let written = rig.records(Kind::Log).len();
            assert_eq!(told.len(), usize::from(written >= 5), "{space}: {written} are there, {told:?}");
            assert!(told.iter().all(|told| *told == (0, 5)), "{space}: {told:?}");
            assert_eq!(rig.writer.held(), 12 - 5 * told.len());
            let retry = first.expect("it tries again");
            assert!(retry > rig.now);
            let writes = rig.faults.writes();
            assert_eq!(rig.writer.advance(rig.now), Some(retry), "not before");
            assert_eq!(rig.faults.writes(), writes, "it does not spin");
            rig.faults.space(None);
            rig.now = retry;
            rig.work();
        }
        let counts = told.into_iter().chain(rig.news()).map(|(_, records)| records);
        assert_eq!(counts.sum::<u64>(), 12, "each is told once, when the last is there");
        assert!(rig.link.is_well() && rig.numbers.troubled.value() == 0);
        rig.assert_records(&records);
    }
}

#[test]
fn it_tries_again_and_again_and_ever_less_often() {
    let mut rig = Rig::new(Setup::default());
    rig.faults.space(Some(0));
    rig.give(0, &["waits"]);
    let mut delays = Vec::new();
    for _ in 0..10 {
        let retry = rig.writer.advance(rig.now).expect("it tries again");
        delays.push(retry - rig.now);
        rig.now = retry;
    }
    let doubled = delays.windows(2).all(|pair| pair[1] == (pair[0] * 2).min(Duration::from_secs(2)));
    assert!(doubled && delays[9] == Duration::from_secs(2), "{delays:?}");
    assert_eq!(rig.numbers.troubles.value(), 1, "one trouble, however often it tries");
    rig.faults.space(None);
    rig.work();
    rig.assert_records(&["waits"]);
}

#[test]
fn disk_max_is_never_exceeded_and_room_that_somebody_makes_is_found() {
    let mut rig = Rig::new(Setup { rotate_bytes: 200, disk_max: Some(1000), ..Setup::default() });
    let records = some(0, 60);
    rig.give(0, &records);
    rig.writer.advance(rig.now);
    assert!(!rig.writer.is_idle(), "they do not fit");
    let all = |rig: &Rig| -> u64 {
        [".log", ".idx"].iter().flat_map(|suffix| rig.folder.files(suffix)).map(|file| rig.folder.size(&file)).sum()
    };
    assert!(all(&rig) <= 1000, "{}, indexes and all", all(&rig));
    let mut rounds = 0;
    while !rig.writer.is_idle() {
        rounds += 1;
        for suffix in [".log", ".idx"] {
            let oldest = rig.folder.files(suffix)[0].clone();
            fs::remove_file(rig.folder.path().join(oldest)).expect("an operator makes room");
        }
        rig.now += Duration::from_secs(2);
        rig.writer.advance(rig.now);
        assert!(all(&rig) <= 1000, "{}, indexes and all", all(&rig));
    }
    assert!(rounds > 2, "{rounds}");
    let kept = rig.records(crate::store::name::Kind::Log);
    let last: Vec<_> = kept.into_iter().map(|(_, payload)| payload).collect();
    assert_eq!(last, records[60 - last.len()..], "those that nobody has deleted, and the last ones");
}

/// He is going to ask for it again: two writers that take that for room keep each other from waiting.
#[test]
fn what_another_writer_gives_up_is_no_room() {
    let mut rig = Rig::new(Setup { disk_max: Some(1000), ..Setup::default() });
    rig.give(0, &some(0, 10));
    rig.work();
    rig.directory.space.take(500).expect("there is room for another");
    let directory = Arc::clone(&rig.directory);
    rig.faults.watch(move |call| {
        if call == "files" {
            directory.space.withdraw(500);
        }
    });
    assert!(!rig.make_room(Full::DiskMax { lacking: 100 }));
    rig.faults.watch(|_| {});
    let file = rig.folder.files(".log")[0].clone();
    fs::remove_file(rig.folder.path().join(file)).expect("an operator makes room");
    assert!(rig.make_room(Full::DiskMax { lacking: 100 }));
}

#[test]
fn the_oldest_segment_goes_if_that_was_asked_for() {
    for space_ends in [false, true] {
        let disk_max = (!space_ends).then_some(1200);
        let setup = Setup { rotate_bytes: 200, disk_max, when_full: WhenFull::DropOldestSegment, ..Setup::default() };
        let mut rig = Rig::new(setup);
        let records = some(0, 60);
        if space_ends {
            // The seam has no idea of deleted files: what was dropped is given back by hand.
            rig.faults.space(Some(1200));
        }
        rig.give(0, &records);
        rig.writer.advance(rig.now);
        while !rig.writer.is_idle() {
            assert!(space_ends);
            rig.faults.space(Some(1200));
            rig.now += Duration::from_secs(2);
            rig.writer.advance(rig.now);
        }
        let last: Vec<_> = rig.records(crate::store::name::Kind::Log).into_iter().map(|(_, payload)| payload).collect();
        assert_eq!(last, records[60 - last.len()..], "the newest, without a gap");
        assert_eq!(rig.numbers.records_dropped.value() as usize, 60 - last.len(), "the others are counted");
        assert!(rig.numbers.segments_dropped.value() > 0 && rig.durable(0) == Some(60));
    }
}

/// A rig whose directory is full of `most` bytes of small segments.
fn full_of_small_segments(most: u64, when_full: WhenFull) -> Rig {
    let mut rig = Rig::new(Setup { rotate_bytes: 100, disk_max: Some(most), when_full, ..Setup::default() });
    while rig.directory.space.used() + 500 < most {
        rig.give(0, &["x".repeat(90)]);
        rig.work();
    }
    assert_eq!(rig.numbers.segments_dropped.value(), 0);
    rig
}

#[test]
fn one_listing_is_for_many_segments_that_are_dropped() {
    const MOST: u64 = 100_000;
    let mut rig = full_of_small_segments(MOST, WhenFull::DropOldestSegment);
    let segments = rig.folder.files(".log");
    assert!(segments.len() > 400, "{}", segments.len());
    let (began, listings) = (Instant::now(), rig.faults.listings());
    while rig.numbers.segments_dropped.value() < 300 {
        rig.give(0, &["y".repeat(90)]);
        assert_eq!(rig.work(), 1, "nobody waits");
        assert!(MOST - rig.directory.space.used() < 500, "no more than needed");
        assert_eq!(rig.folder.files(".log")[0], segments[rig.numbers.segments_dropped.value() as usize], "in order");
    }
    let there = bytes_of(rig.folder.path()).expect("counted");
    assert!(there <= rig.directory.space.used() && rig.directory.space.used() <= MOST, "{there}: none is forgotten");
    // A listing holds for a second.
    let most = 2 + began.elapsed().as_secs();
    let listings = rig.faults.listings() - listings;
    assert!(listings <= most, "{listings} listings");
}

#[test]
fn room_that_somebody_makes_of_the_oldest_segments_is_found_before_more_are_dropped() {
    let mut rig = full_of_small_segments(100_000, WhenFull::DropOldestSegment);
    rig.give(0, &vec!["y".repeat(90); 10]);
    rig.work();
    let dropped = rig.numbers.segments_dropped.value();
    assert!(dropped > 0);
    for suffix in [".log", ".idx"] {
        for file in &rig.folder.files(suffix)[..100] {
            fs::remove_file(rig.folder.path().join(file)).expect("an operator makes room");
        }
    }
    for _ in 0..80 {
        rig.give(0, &["y".repeat(90)]);
        rig.work();
    }
    assert_eq!(rig.numbers.segments_dropped.value(), dropped);
}

#[test]
fn a_writer_whose_time_is_over_makes_no_more_room() {
    let mut rig = full_of_small_segments(20_000, WhenFull::DropOldestSegment);
    let deadline: Arc<Deadline> = Arc::default();
    rig.writer.end_by(Arc::clone(&deadline));
    rig.give(0, &vec!["y".repeat(90); 10]);
    rig.work();
    let dropped = rig.numbers.segments_dropped.value();
    assert!(dropped > 0, "it is not over yet");
    deadline.set(Instant::now());
    rig.give(0, &vec!["z".repeat(90); 10]);
    rig.writer.advance(rig.now).expect("it would try again");
    assert_eq!((rig.writer.close(rig.now).lost, rig.numbers.segments_dropped.value()), (10, dropped));
}

#[test]
fn a_segment_that_is_open_makes_room_as_well() {
    let setup = Setup { disk_max: Some(1200), when_full: WhenFull::DropOldestSegment, ..Setup::default() };
    let mut rig = Rig::new(setup);
    let records = some(0, 60);
    for records in records.chunks(3) {
        rig.give(0, records);
        assert_eq!(rig.work(), 1, "nobody waits");
    }
    let last: Vec<_> = rig.records(crate::store::name::Kind::Log).into_iter().map(|(_, payload)| payload).collect();
    assert_eq!(last, records[60 - last.len()..], "the newest, without a gap");
    assert_eq!(rig.numbers.records_dropped.value() as usize, 60 - last.len());
    assert!(rig.durable(0) == Some(60) && bytes_of(rig.folder.path()).expect("counted") <= 1200);
}

#[test]
fn the_open_segment_of_another_writer_makes_room_as_well() {
    let setup = Setup { disk_max: Some(1200), when_full: WhenFull::DropOldestSegment, ..Setup::default() };
    let mut rig = Rig::new(setup);
    let mut other = rig.beside();
    other.give(0, &some(0, 30));
    other.work();
    let look = other.writer.advance(other.now).expect("it looks whether it is in the way");
    // All that is there is open, and the other one has nothing to do.
    rig.give(1, &some(30, 10));
    rig.now = rig.writer.advance(rig.now).expect("it tries again");
    assert!(!rig.writer.is_idle());
    other.now = look;
    other.writer.advance(other.now);
    rig.work();
    rig.assert_records(&some(30, 10));
    assert_eq!((rig.numbers.segments_dropped.value(), rig.numbers.records_dropped.value()), (1, 30));
    assert_eq!(other.writer.advance(other.now), None, "without an open segment it looks no more");
}

#[test]
fn the_longest_record_fits_into_the_least_space() {
    let least = alone_bytes(50);
    for (length, fits) in [(50, true), (51, false)] {
        let setup = Setup { disk_max: Some(least), when_full: WhenFull::DropOldestSegment, ..Setup::default() };
        let mut rig = Rig::new(setup);
        for _ in 0..3 {
            rig.give(0, &["x".repeat(length)]);
            rig.writer.advance(rig.now);
            assert_eq!(rig.writer.is_idle(), fits, "{length}");
        }
    }
    let folder = Folder::new();
    let plan = Plan { writers: 3, json: true, ..acking(&folder) };
    assert_eq!(Plan::disk_least(50, 3, true), 6 * least);
    assert_eq!(Plan { disk_max: Some(1200), ..plan.clone() }.rotation().share, 100, "half of it for six that are open");
    assert_eq!((plan.rotation().bytes, plan.rotation().share), (plan.rotate_bytes, u64::MAX));
}

#[test]
fn an_open_segment_takes_its_share_and_no_more_however_small_its_records_are() {
    const SHARE: u64 = 3000;
    for policy in [Fsync::Batch, Fsync::Never] {
        let mut rig = Rig::new(Setup { policy, share: SHARE, disk_max: Some(1 << 20), ..Setup::default() });
        let records = some(0, 400);
        for (number, records) in records.chunks(100).enumerate() {
            // All at once, and each with a run of its own.
            rig.give(0, &records[..50]);
            rig.work();
            for record in &records[50..] {
                rig.give(number as u32 % 2 + 1, std::slice::from_ref(record));
                rig.work();
            }
        }
        rig.assert_records(&records);
        let files = rig.folder.files(".log");
        for file in &files {
            let bytes = rig.folder.size(file) + rig.folder.size(&file.replace(".log", ".idx"));
            assert!(bytes <= SHARE, "{file} takes {bytes}");
        }
        assert!(files.len() < 20, "and most of its share: {} segments", files.len());
    }
}

#[test]
fn a_segment_that_is_too_old_is_finished_while_the_disk_is_full() {
    let age = Duration::from_secs(1);
    for policy in [Fsync::Batch, Fsync::Never] {
        let mut rig = Rig::new(Setup { policy, rotate_age: Some(age), ..Setup::default() });
        rig.give(0, &["one"]);
        rig.work();
        rig.faults.space(Some(0));
        rig.give(0, &["two"]);
        rig.writer.advance(rig.now).expect("it tries again");
        rig.now += age;
        rig.writer.advance(rig.now).expect("it tries again");
        assert_eq!(rig.numbers.segments_finished.value(), 1, "others may pack or delete it");
        rig.faults.space(None);
        rig.now += age * 10;
        rig.work();
        rig.assert_records(&["one", "two"]);
    }
}

#[test]
fn the_last_try_does_not_wait_for_its_time() {
    let mut rig = Rig::new(Setup::default());
    rig.faults.space(Some(0));
    rig.give(0, &["one"]);
    let retry = rig.writer.advance(rig.now).expect("it tries again");
    rig.faults.space(None);
    assert!(rig.now < retry);
    let Rig { writer, folder, numbers, now, .. } = rig;
    assert_eq!((writer.close(now).lost, numbers.troubled.value()), (0, 0));
    assert_payloads(&folder, &["one"]);
}

#[test]
fn a_link_that_leads_nowhere_is_dropped_like_a_segment() {
    let setup = Setup { disk_max: Some(1200), when_full: WhenFull::DropOldestSegment, ..Setup::default() };
    let mut rig = Rig::new(setup);
    let link = rig.folder.path().join("log_19700101_000000_0000.log.gz");
    std::os::unix::fs::symlink("where_there_is_nothing", &link).expect("linked");
    for records in some(0, 60).chunks(3) {
        rig.give(0, records);
        rig.work();
    }
    assert!(fs::symlink_metadata(&link).is_err(), "it was the oldest");
    assert!(rig.numbers.segments_dropped.value() > 1, "and others went after it");
}

#[test]
fn a_link_that_leads_nowhere_does_not_keep_the_agent_from_starting() {
    let folder = Folder::new();
    let link = folder.path().join("log_19700101_000000_0001.log");
    std::os::unix::fs::symlink("where_there_is_nothing", &link).expect("linked");
    assert_eq!(recover(folder.path()).expect("it is passed over").number, 1, "and its number is not used again");
    assert!(fs::symlink_metadata(&link).is_ok(), "whoever has made it may want it");
}

#[test]
fn an_agent_with_little_space_and_large_segments_goes_on() {
    let folder = Folder::new();
    let most = 1 << 20;
    let plan = Plan { disk_max: Some(most), rotate_bytes: 128 << 20, bytes_high: 8 << 20, ..acking(&folder) };
    let (agent, address) = start(&Plan { when_full: WhenFull::DropOldestSegment, records_high: 1 << 16, ..plan });
    let mut peer = connect(address);
    peer.write_all(&frames(1, 0, 0..20_000, (200, 300))).expect("taken");
    assert_eq!(newest(&finish(peer)), 20_000);
    assert!(agent.numbers.segments_dropped.value() > 3 && agent.numbers.troubles.value() == 0);
    stop(agent).expect("everything was written");
    assert!(bytes_of(folder.path()).expect("counted") <= most);
}

#[test]
fn many_writers_together_do_not_exceed_disk_max() {
    const MOST: u64 = 40_000;
    let when_full = WhenFull::DropOldestSegment;
    let rig = Rig::new(Setup { rotate_bytes: 2000, disk_max: Some(MOST), when_full, ..Setup::default() });
    let done = AtomicBool::new(false);
    let there = || {
        // While nothing is deleted, what lies there at the end of the count is no less than what was counted.
        let _deleting = rig.directory.deletes();
        bytes_of(rig.folder.path()).expect("counted")
    };
    thread::scope(|scope| {
        let mut writers = Vec::new();
        for slot in 0..4 {
            let mut rig = rig.beside();
            writers.push(scope.spawn(move || {
                for _ in 0..1500 {
                    rig.give(slot, &some(slot as usize, 20));
                    rig.work();
                }
                assert_eq!(rig.writer.close(rig.now).lost, 0);
            }));
        }
        scope.spawn(|| {
            while !done.load(SeqCst) {
                let bytes = there();
                assert!(bytes <= MOST, "{bytes} of {MOST}");
            }
        });
        writers.into_iter().for_each(|writer| writer.join().expect("no panic"));
        done.store(true, SeqCst);
    });
    assert!(there() <= rig.directory.space.used(), "none is forgotten");
    let numbers = &rig.directory.numbers;
    assert!(numbers.segments_dropped.value() > 100 && numbers.troubles.value() == 0, "{}", numbers.troubles.value());
}

#[test]
fn a_dropped_segment_whose_records_cannot_be_counted_is_said_to_be_one() {
    logs::keep();
    let setup =
        Setup { rotate_bytes: 200, disk_max: Some(1200), when_full: WhenFull::DropOldestSegment, ..Setup::default() };
    let mut rig = Rig::new(setup);
    let records = some(0, 60);
    rig.give(0, &records[..20]);
    rig.work();
    assert_eq!(rig.numbers.segments_dropped.value(), 0);
    let index = rig.folder.files(".idx")[0].clone();
    let path = rig.folder.path().join(&index);
    fs::remove_file(&path).expect("it is there");
    // An index that opens and cannot be read.
    fs::create_dir(&path).expect("a name that is free");
    rig.give(0, &records[20..]);
    rig.work();
    let last: Vec<_> = rig.records(crate::store::name::Kind::Log).into_iter().map(|(_, payload)| payload).collect();
    assert_eq!(last, records[60 - last.len()..], "the newest, without a gap");
    assert_eq!(rig.numbers.segments_dropped_uncounted.value(), 1);
    assert!((rig.numbers.records_dropped.value() as usize) < 60 - last.len(), "the others are counted");
    let lines = logs::with(&[&index.replace(".idx", ".log"), "nobody has counted", &format!("cannot read {index}: ")]);
    assert_eq!(lines.len(), 1, "{lines:?}");
}

#[test]
fn a_directory_that_cannot_be_listed_is_named() {
    logs::keep();
    for (when_full, what) in [
        (WhenFull::Pause, "cannot count what the segments take: "),
        (WhenFull::DropOldestSegment, "cannot look for the oldest segment, to make room: "),
    ] {
        // Not even for the beginning of a segment.
        let mut rig = Rig::new(Setup { disk_max: Some(50), when_full, ..Setup::default() });
        rig.give(0, &["one"]);
        fs::remove_dir_all(rig.folder.path()).expect("deleted");
        fs::write(rig.folder.path(), "no folder").expect("written");
        rig.writer.advance(rig.now).expect("it tries again");
        fs::remove_file(rig.folder.path()).expect("it is there");
        assert!(!logs::with(&[what, rig.folder.text()]).is_empty(), "{what}");
    }
}

#[test]
fn a_segment_that_is_torn_is_not_finished_before_it_is_cut() {
    let age = Duration::from_secs(1);
    let interval = Fsync::Interval(age);
    for (policy, sync_fails) in [(Fsync::Batch, false), (Fsync::Never, false), (interval, false), (interval, true)] {
        let mut rig = Rig::new(Setup { policy, rotate_age: Some(age), ..Setup::default() });
        rig.give(0, &["one"]);
        rig.work();
        // The index finds its place, and so does the first of the records.
        rig.faults.space(Some(48 + 4));
        rig.faults.fail_cuts(true);
        rig.faults.fail_syncs(&[sync_fails]);
        rig.give(0, &["two", "three"]);
        rig.now += age;
        rig.writer.advance(rig.now).expect("it tries again");
        rig.faults.fail_cuts(false);
        rig.faults.space(None);
        rig.work();
        rig.assert_records(&["one", "two", "three"]);
        rig.directory.recount();
        let is_open = rig.folder.files(".log").len() as u64 > rig.numbers.segments_finished.value();
        let there = bytes_of(rig.folder.path()).expect("counted");
        assert_eq!(
            rig.directory.space.used(),
            there + if is_open { HEAD_BYTES as u64 } else { 0 },
            "no more is promised"
        );
    }
}

#[test]
fn an_index_whose_segment_somebody_has_deleted_goes_when_room_is_looked_for() {
    for when_full in [WhenFull::DropOldestSegment, WhenFull::Pause] {
        let rig = full_of_small_segments(20_000, when_full);
        let indexes = rig.folder.files(".idx");
        let segments = rig.folder.files(".log");
        let (kept, open) = (segments.len() / 2, segments.len() - 1);
        for (_, file) in segments.iter().enumerate().filter(|(number, _)| *number != kept) {
            fs::remove_file(rig.folder.path().join(file)).expect("an operator makes room");
        }
        assert!(rig.make_room(rig.full()));
        let left = rig.folder.files(".idx");
        assert_eq!(left, [&*indexes[kept], &indexes[open]], "whoever writes will see that his is gone");
        let there = bytes_of(rig.folder.path()).expect("counted");
        assert_eq!(rig.directory.space.used(), there + HEAD_BYTES as u64);
        assert_eq!(rig.numbers.segments_dropped.value(), 0);
    }
}
