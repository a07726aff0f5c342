//! Records into segments: exactly, in order, and never over the size of a segment.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use crate::agent::compress::{Compressor, pack};
use crate::agent::directory::bytes_of;
use crate::agent::fsync::Fsync;
use crate::agent::plan::Packer;
use crate::agent::recovery::recover;
use crate::clients::until;
use crate::disks::Folder;
use crate::logs;
use crate::rig::{ODD, Rig, Setup, assert_payloads, some};
use crate::store::index::HEAD_BYTES;
use crate::store::name::Kind;

#[test]
fn every_record_comes_back_as_it_was() {
    let mut rig = Rig::new(Setup::default());
    rig.give(3, &ODD);
    rig.give(5, &ODD);
    assert_eq!(rig.work(), 1);
    let both: Vec<_> = [4, 6].iter().flat_map(|connection| ODD.map(|record| (*connection, record.to_vec()))).collect();
    assert_eq!(rig.records(Kind::Log), both);
    let lines = fs::read(rig.folder.path().join(&rig.folder.files(".log")[0])).expect("read");
    assert!(
        lines.starts_with(b"\n\na line\nends\ntwo\nlines\n\0\xff\r\n\n\n\nx\n\n\n"),
        "a newline where it was missing"
    );
    assert_eq!((rig.durable(3), rig.writer.close(rig.now).lost), (Some(8), 0));
    assert_eq!(
        rig.folder.size(&rig.folder.files(".idx")[0]),
        (1 + 2 + 1) * 32 + 16 * 8,
        "header, two heads, entries, mark"
    );
}

#[test]
fn a_segment_is_exactly_full_and_not_a_byte_more() {
    // Each is ten bytes with its newline.
    let records: Vec<_> = (0..25).map(|number| format!("{number:09}")).collect();
    for (rotate_bytes, sizes) in [(100, vec![100, 100, 50]), (99, vec![90, 90, 70]), (10, vec![10; 25])] {
        let mut rig = Rig::new(Setup { rotate_bytes, ..Setup::default() });
        rig.give(0, &records);
        rig.work();
        rig.writer.close(rig.now);
        let found: Vec<_> = rig.folder.files(".log").iter().map(|file| rig.folder.size(file)).collect();
        assert_eq!(found, sizes);
        rig.folder.files(".idx").iter().for_each(|file| assert!(rig.folder.size(file) > 64));
    }
}

#[test]
fn a_record_over_the_size_of_a_segment_has_one_to_itself() {
    let mut rig = Rig::new(Setup { rotate_bytes: 20, ..Setup::default() });
    let records = ["small", "small", &"x".repeat(50), "small", &"y".repeat(20), "small"];
    rig.give(0, &records);
    rig.work();
    rig.assert_records(&records);
    let sizes: Vec<_> = rig.folder.files(".log").iter().map(|file| rig.folder.size(file)).collect();
    assert_eq!(sizes, [12, 51, 6, 21, 6]);
}

#[test]
fn many_batches_are_one_group() {
    let mut rig = Rig::new(Setup { rotate_bytes: 1000, ..Setup::default() });
    let records = some(0, 300);
    records.chunks(7).for_each(|records| rig.give(1, records));
    assert_eq!(rig.work(), 1);
    rig.assert_records(&records);
    assert_eq!(rig.durable(1), Some(300));
    assert!(rig.folder.files(".log").iter().all(|file| rig.folder.size(file) <= 1000));
    assert_eq!(rig.numbers.records_written.value(), 300);
}

#[test]
fn a_group_may_be_longer_than_the_index_that_is_written_at_once() {
    for rotate_bytes in [1 << 20, 7001] {
        let mut rig = Rig::new(Setup { rotate_bytes, ..Setup::default() });
        let records: Vec<_> = (0..40_000).map(|number| (number % 100).to_string()).collect();
        // Runs that go on from batch to batch, and short ones between them.
        for (number, records) in records.chunks(4000).enumerate() {
            rig.give(1, &records[..3990]);
            rig.give(number as u32, &records[3990..]);
        }
        assert_eq!(rig.work(), 1);
        rig.assert_records(&records);
        assert_eq!(rig.numbers.records_written.value(), 40_000);
        assert!(rig.folder.files(".log").iter().all(|file| rig.folder.size(file) <= rotate_bytes));
    }
}

#[test]
fn what_is_not_synced_is_written_little_by_little() {
    for (policy, limited) in
        [(Fsync::Batch, false), (Fsync::Never, true), (Fsync::Interval(Duration::from_secs(60)), true)]
    {
        let mut rig = Rig::new(Setup { policy, rotate_bytes: 10 << 20, ..Setup::default() });
        let record = [b'x'; 50_000];
        for number in 1..=40 {
            rig.give(0, &[record]);
            assert_eq!(rig.writer.takes_more(), !limited || number * 50_001 < 512 << 10, "{number}, {policy}");
        }
        rig.writer.advance(rig.now);
        assert!(rig.writer.is_idle() && rig.writer.takes_more());
    }
}

#[test]
fn writes_may_be_as_short_as_they_like() {
    for most in 1..8 {
        let mut rig = Rig::new(Setup { rotate_bytes: 100, ..Setup::default() });
        rig.faults.short_writes(most);
        rig.give(0, &ODD);
        rig.give(0, &some(0, 20));
        assert_eq!(rig.work(), 1);
        let all: Vec<Vec<u8>> = ODD.iter().map(|record| record.to_vec()).chain(some(0, 20)).collect();
        rig.assert_records(&all);
    }
}

#[test]
fn a_segment_is_finished_when_it_is_old() {
    let age = Duration::from_secs(10);
    let mut rig = Rig::new(Setup { rotate_age: Some(age), policy: Fsync::Never, ..Setup::default() });
    rig.give(0, &["one"]);
    let due = rig.writer.advance(rig.now).expect("it wants to be asked");
    assert_eq!(due, rig.now + age);
    rig.now = due;
    assert_eq!(rig.writer.advance(rig.now), None, "no segment is open");
    assert_eq!(rig.numbers.segments_finished.value(), 1);
    rig.give(0, &["two"]);
    rig.work();
    assert_eq!(rig.folder.files(".log").len(), 2);
    rig.assert_records(&["one", "two"]);
}

#[test]
fn bad_records_are_set_aside_and_counted_for_their_sender() {
    let mut rig = Rig::new(Setup { json: true, ..Setup::default() });
    rig.give_marked(2, &[(b"{}", false), (b"oops", true), (b"[1]", false), (b"", true)]);
    rig.give_marked(2, &[(b"worse", true)]);
    rig.work();
    rig.assert_records(&["{}", "[1]"]);
    let bad: Vec<_> = rig.records(Kind::Bad).into_iter().map(|(_, payload)| payload).collect();
    assert_eq!(bad, [b"oops".to_vec(), vec![], b"worse".to_vec()]);
    assert_eq!(rig.durable(2), Some(5));
    assert_eq!((rig.folder.files(".log").len(), rig.folder.files(".log")[0].starts_with("bad_")), (2, true));
}

#[test]
fn a_segment_that_somebody_deletes_is_noticed() {
    let mut rig = Rig::new(Setup::default());
    rig.give(0, &["before"]);
    rig.work();
    let file = rig.folder.files(".log")[0].clone();
    fs::remove_file(rig.folder.path().join(&file)).expect("deleted");
    rig.give(0, &["behind"]);
    rig.work();
    rig.assert_records(&["behind"]);
    assert_eq!((rig.numbers.segments_deleted.value(), rig.durable(0)), (1, Some(2)));
    assert_eq!(rig.folder.files(".idx").len(), 1, "an index without data goes");
}

#[test]
fn a_segment_whose_index_is_deleted_keeps_its_records() {
    let records = some(0, 30);
    for policy in [Fsync::Batch, Fsync::Never, Fsync::Interval(Duration::from_millis(500))] {
        // Between two groups, and in the middle of one that waits for space.
        for space in [None, Some(200), Some(700)] {
            let mut rig = Rig::new(Setup { policy, ..Setup::default() });
            rig.give(0, &records[..10]);
            rig.work();
            let remove = |rig: &Rig| {
                let index = rig.folder.files(".idx")[0].clone();
                fs::remove_file(rig.folder.path().join(&index)).expect("deleted");
            };
            rig.faults.space(space);
            rig.give(0, &records[10..20]);
            rig.give(0, &records[20..]);
            if space.is_some() {
                rig.now = rig.writer.advance(rig.now).unwrap_or(rig.now);
            }
            remove(&rig);
            rig.faults.space(None);
            rig.give(0, &["the last"]);
            rig.work();
            assert_eq!((rig.numbers.segments_deleted.value(), rig.durable(0)), (1, Some(31)));
            assert_eq!((rig.folder.files(".log").len(), rig.folder.files(".idx").len()), (2, 1));
            assert_eq!(rig.writer.close(rig.now).lost, 0);
            let there = bytes_of(rig.folder.path()).expect("counted");
            assert_eq!(rig.directory.space.used(), there, "no byte is counted that is not there");
            recover(rig.folder.path()).expect("recovered");
            assert_payloads(&rig.folder, &[&records[..], &[b"the last".to_vec()]].concat());
        }
    }
}

/// Where nobody is told of syncs, the end of a segment is the first time that anybody looks.
#[test]
fn a_segment_that_was_deleted_is_not_counted_as_finished() {
    let age = Duration::from_secs(1);
    for policy in [Fsync::Never, Fsync::Interval(Duration::from_millis(500))] {
        for deleted in [&[".log"][..], &[".idx"], &[".log", ".idx"]] {
            let mut rig = Rig::new(Setup { policy, rotate_age: Some(age), ..Setup::default() });
            rig.give(0, &some(0, 10));
            rig.work();
            for suffix in deleted {
                fs::remove_file(rig.folder.path().join(&rig.folder.files(suffix)[0])).expect("deleted");
            }
            rig.now += age;
            rig.writer.advance(rig.now);
            let numbers = [&rig.numbers.segments_deleted, &rig.numbers.segments_finished].map(|number| number.value());
            assert_eq!(numbers, [1, 0], "{policy}, {deleted:?}");
            let there = bytes_of(rig.folder.path()).expect("counted");
            assert_eq!(rig.directory.space.used(), there, "{policy}, {deleted:?}");
            assert_eq!(rig.folder.files(".idx").len(), 0, "{policy}, {deleted:?}: not without its data");
        }
    }
}

#[test]
fn an_index_that_is_deleted_during_a_sync_costs_nothing_and_nothing_is_there_twice() {
    let records = some(0, 20);
    let mut rig = Rig::new(Setup::default());
    rig.give(0, &records[..10]);
    rig.work();
    let index = rig.folder.path().join(&rig.folder.files(".idx")[0]);
    rig.faults.delete_at_sync(index);
    rig.give(0, &records[10..]);
    rig.work();
    assert_eq!((rig.folder.files(".log").len(), rig.durable(0)), (2, Some(20)));
    recover(rig.folder.path()).expect("recovered");
    rig.assert_records(&records);
}

#[test]
fn an_index_that_is_deleted_before_the_first_sync_is_counted_and_its_segment_goes() {
    logs::keep();
    let mut rig = Rig::new(Setup::default());
    let (folder, deleted) = (rig.folder.path().to_owned(), AtomicBool::new(false));
    rig.faults.watch(move |call| {
        if call == "sync" && !deleted.swap(true, SeqCst) {
            let files = fs::read_dir(&folder).expect("it is there").map(|file| file.expect("read").path());
            let index = files.into_iter().find(|file| file.extension().is_some_and(|suffix| suffix == "idx"));
            fs::remove_file(index.expect("it is made before")).expect("deleted");
        }
    });
    rig.give(0, &some(0, 10));
    rig.work();
    assert_eq!((rig.numbers.segments_deleted.value(), rig.durable(0)), (1, Some(10)));
    assert_eq!((rig.folder.files(".log").len(), rig.folder.files(".idx").len()), (1, 1), "the next");
    rig.assert_records(&some(0, 10));
    let stays = logs::with(&["an empty segment stays", rig.folder.text()]);
    assert!(stays.is_empty(), "{stays:?}");
}

#[test]
fn the_directory_may_be_deleted_as_well() {
    let mut rig = Rig::new(Setup::default());
    rig.give(0, &["before"]);
    rig.work();
    fs::remove_dir_all(rig.folder.path()).expect("deleted");
    rig.give(0, &["behind"]);
    rig.work();
    rig.assert_records(&["behind"]);
}

#[test]
fn the_compressor_leaves_a_segment_without_an_index_and_goes_on() {
    let mut rig = Rig::new(Setup { rotate_bytes: 100, ..Setup::default() });
    rig.give(0, &some(0, 20));
    rig.work();
    let [segments, first] = [rig.folder.files(".log"), rig.folder.files(".idx")];
    fs::remove_file(rig.folder.path().join(&first[0])).expect("deleted");
    let compressor = Compressor::start(Arc::clone(&rig.directory), Packer::Zstd).expect("started");
    // All but the first, and the last, which is open.
    let packed = segments.len() as u64 - 2;
    until("the others are packed", || rig.numbers.segments_compressed.value() == packed);
    compressor.stop();
    assert_eq!(rig.folder.files(".log"), [segments[0].as_str(), segments[segments.len() - 1].as_str()]);
    assert!(packed > 1 && rig.folder.files(".tmp").is_empty());
    assert_eq!(rig.writer.close(rig.now).lost, 0);
    recover(rig.folder.path()).expect("recovered");
    assert_payloads(&rig.folder, &some(0, 20));
}

#[test]
fn the_compressor_leaves_a_segment_that_was_not_finished_to_the_next_start() {
    let mut rig = Rig::new(Setup { rotate_bytes: 100, ..Setup::default() });
    rig.give(0, &some(0, 20));
    rig.work();
    let index = rig.folder.path().join(&rig.folder.files(".idx")[0]);
    let index = fs::OpenOptions::new().write(true).open(index).expect("it is there");
    let bytes = index.metadata().expect("open").len();
    index.set_len(bytes - HEAD_BYTES as u64).expect("its mark is gone");
    let segments = rig.folder.files(".log");
    let compressor = || Compressor::start(Arc::clone(&rig.directory), Packer::Zstd).expect("started");
    let [packed, all] = [2, 1].map(|left| segments.len() as u64 - left);
    let first = compressor();
    until("the others are packed", || rig.numbers.segments_compressed.value() == packed);
    first.stop();
    assert_eq!(rig.folder.files(".log"), [segments[0].as_str(), segments[segments.len() - 1].as_str()]);
    assert_eq!(recover(rig.folder.path()).expect("recovered").unfinished, 2, "the open one, too");
    let second = compressor();
    until("it is packed, as well", || rig.numbers.segments_compressed.value() == all);
    second.stop();
    assert_payloads(&rig.folder, &some(0, 20));
}

#[test]
fn a_packed_link_gives_back_what_was_counted_of_it() {
    let mut rig = Rig::new(Setup { rotate_bytes: 100, ..Setup::default() });
    rig.give(0, &some(0, 20));
    rig.work();
    let elsewhere = Folder::new();
    let name = rig.folder.files(".log")[0].clone();
    let [plain, moved] = [rig.folder.path(), elsewhere.path()].map(|path| path.join(&name));
    fs::rename(&plain, &moved).expect("moved");
    symlink(&moved, &plain).expect("linked");
    rig.directory.recount();
    let oldest = rig.directory.oldest_finished(|_| true).expect("listed").expect("some are finished");
    assert!(pack(&rig.directory, oldest, Packer::Zstd, &AtomicBool::new(false)).expect("packed"));
    // What is promised to the open segment does not lie there yet.
    let (used, there) = (rig.directory.space.used(), bytes_of(rig.folder.path()).expect("counted"));
    assert_eq!(used - HEAD_BYTES as u64, there);
}

#[test]
fn a_segment_that_is_deleted_before_it_is_packed_is_passed_over() {
    let mut rig = Rig::new(Setup { rotate_bytes: 100, ..Setup::default() });
    rig.give(0, &some(0, 20));
    rig.work();
    let oldest = rig.directory.oldest_finished(|_| true).expect("listed").expect("some are finished");
    let path = rig.folder.path().join(&rig.folder.files(".log")[0]);
    fs::remove_file(&path).expect("deleted");
    let stop = AtomicBool::new(false);
    for packer in [Packer::Gzip, Packer::Zstd] {
        assert!(pack(&rig.directory, oldest, packer, &stop).expect("no error"), "it goes on with the next");
    }
    // A name that stays would be found again and again.
    symlink("nowhere", &path).expect("a name that is free");
    let error = pack(&rig.directory, oldest, Packer::Zstd, &stop).expect_err("it cannot be read");
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    assert!(rig.numbers.segments_compressed.value() == 0 && rig.folder.files(".tmp").is_empty());
}

#[test]
fn a_segment_that_is_packed_once_more_is_counted_once() {
    let mut rig = Rig::new(Setup { rotate_bytes: 100, ..Setup::default() });
    rig.give(0, &some(0, 20));
    rig.work();
    let oldest = rig.directory.oldest_finished(|_| true).expect("listed").expect("some are finished");
    let stop = AtomicBool::new(false);
    rig.faults.fail_names(true);
    pack(&rig.directory, oldest, Packer::Zstd, &stop).expect_err("its name may not stay");
    rig.faults.fail_names(false);
    assert!(pack(&rig.directory, oldest, Packer::Zstd, &stop).expect("packed"));
    // What is promised to the open segment does not lie there yet.
    let (used, there) = (rig.directory.space.used(), bytes_of(rig.folder.path()).expect("counted"));
    assert_eq!(used - HEAD_BYTES as u64, there);
}
