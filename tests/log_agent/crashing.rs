//! What a crash of the machine leaves, wherever it comes between two syncs.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use crate::agent::fsync::Fsync;
use crate::agent::recovery::recover;
use crate::disks::{Folder, Kept};
use crate::rig::{ODD, Rig, Setup, read_all, some};
use crate::store::name::Kind;

/// A folder with those files.
fn left(kept: &Kept) -> Folder {
    let folder = Folder::new();
    for (file, bytes) in kept {
        fs::write(folder.path().join(file), bytes).expect("written");
    }
    folder
}

/// The inodes of all indexes.
fn indexes(folder: &Folder) -> Vec<u64> {
    let files = folder.files(".idx").into_iter();
    files.map(|file| fs::metadata(folder.path().join(file)).expect("it is there").ino()).collect()
}

/// Where only the data were durable, recovery would have to make a new index, for which there may be no space, and it
/// would take records apart that have newlines in them.
#[test]
fn an_index_goes_further_than_its_data_wherever_the_machine_crashes() {
    let interval = Duration::from_millis(500);
    for policy in [Fsync::Batch, Fsync::Interval(interval)] {
        // Of each pair of syncs the first is the index's; behind a failed one the files are cut, and synced again.
        for script in [&[][..], &[true], &[false, true], &[false, false, true], &[false, false, false, true]] {
            let mut rig = Rig::new(Setup { policy, ..Setup::default() });
            rig.faults.look_what_is_kept();
            rig.faults.fail_syncs(script);
            for _ in 0..3 {
                rig.give(4, &ODD);
                rig.work();
                rig.now += interval;
                rig.writer.advance(rig.now);
            }
            assert_eq!(rig.writer.close(rig.now).lost, 0);
            let all = ODD.repeat(3);
            let crashes = rig.faults.kept();
            assert!(crashes.len() >= 5, "{policy} {script:?}: {} syncs", crashes.len());
            for (number, kept) in crashes.iter().enumerate() {
                let folder = left(kept);
                let before = indexes(&folder);
                let recovered = recover(folder.path()).expect("recovered");
                let crash = format!("{policy} {script:?}, behind sync {number}");
                assert_eq!((recovered.records_found, recovered.records_damaged), (0, 0), "{crash}");
                assert!(indexes(&folder).iter().all(|index| before.contains(index)), "{crash}: cut where it lies");
                let there = read_all(&folder, Kind::Log);
                let expected = all.iter().take(there.len()).map(|record| (5, record.to_vec()));
                assert!(there.iter().cloned().eq(expected), "{crash}: whole, whose they were, none twice");
            }
        }
    }
}

/// Where a disk needs space to cut something off, a sync may come first, and the disk then has what is torn for good.
#[test]
fn an_index_goes_further_than_its_data_where_what_is_torn_was_synced_before_it_could_be_cut() {
    let interval = Duration::from_millis(500);
    let mut torn = 0;
    for (first, then) in (0..700).step_by(7).flat_map(|first| [20, 60].map(|then| (first, then))) {
        let mut rig = Rig::new(Setup { policy: Fsync::Interval(interval), ..Setup::default() });
        rig.faults.look_what_is_kept();
        rig.give(4, &["written"]);
        rig.writer.advance(rig.now);
        rig.give(4, &some(0, 8));
        rig.faults.fail_cuts_for_want_of_space();
        // Not for all of them; then for less, so that a shorter append follows; then for all.
        for (space, turns) in [(Some(first), 8), (Some(then), 6), (None, 10)] {
            rig.faults.space(space);
            for _ in 0..turns {
                rig.now = rig.writer.advance(rig.now).unwrap_or(rig.now + interval);
            }
            rig.faults.fail_cuts(false);
        }
        torn += rig.numbers.troubles.value();
        for (number, kept) in rig.faults.kept().iter().enumerate() {
            let folder = left(kept);
            let recovered = recover(folder.path()).expect("recovered");
            let crash = format!("{first} and {then}, behind sync {number}");
            assert_eq!((recovered.records_found, recovered.records_damaged), (0, 0), "{crash}");
            let all = [vec![b"written".to_vec()], some(0, 8)].concat().into_iter().map(|record| (5, record));
            let there = read_all(&folder, Kind::Log);
            let count = there.len();
            assert!(there.into_iter().eq(all.take(count)), "{crash}: whole, whose they were, none twice");
        }
        assert!(rig.writer.is_idle(), "{first} and {then}");
    }
    assert!(torn > 20, "{torn}");
}

/// The same for what the disk was told to begin with.
#[test]
fn an_index_goes_further_than_its_data_where_the_disk_has_begun_with_what_is_torn() {
    let interval = Duration::from_millis(500);
    for policy in [Fsync::Batch, Fsync::Interval(interval)] {
        let mut rig = Rig::new(Setup { policy, rotate_bytes: 8 << 20, ..Setup::default() });
        rig.faults.look_what_is_kept();
        rig.give(4, &["written"]);
        rig.work();
        // Three pieces, and space for two and a half; then for three records.
        let records: Vec<Vec<u8>> = (0..40).map(|number| vec![b'a' + number % 26; 60_000]).collect();
        records.iter().for_each(|record| rig.give(4, &[record]));
        for (space, turns) in [(Some(2_300_000), 1), (Some(200_000), 6), (None, 10)] {
            rig.faults.space(space);
            for _ in 0..turns {
                rig.now = rig.writer.advance(rig.now).unwrap_or(rig.now + interval);
            }
        }
        assert!(rig.writer.is_idle() && rig.numbers.troubles.value() > 0, "{policy}");
        for (number, kept) in rig.faults.kept().iter().enumerate() {
            let folder = left(kept);
            let recovered = recover(folder.path()).expect("recovered");
            assert_eq!((recovered.records_found, recovered.records_damaged), (0, 0), "{policy}, crash {number}");
        }
    }
}
