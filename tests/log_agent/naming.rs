//! Names of segments: they sort as they were opened, and no number is used twice.

use std::fs;

use crate::agent::disk::RealDisk;
use crate::agent::fsync::Fsync;
use crate::agent::numbering::Numbering;
use crate::agent::recovery::{Recovered, recover};
use crate::disks::Folder;
use crate::logs;
use crate::rig::{Rig, Setup};
use crate::store::STATE_FILE;
use crate::store::listing::segments;
use crate::store::name::{Kind, SegmentName};
use crate::store::utc::Utc;

/// Writes `count` segments into `folder` at `unix` seconds.
fn write(folder: Folder, count: usize, unix: u64) -> Folder {
    let setup = Setup { rotate_bytes: 1, policy: Fsync::Never, ..Setup::default() };
    let mut rig = Rig::within(folder, setup, unix);
    rig.give(0, &vec!["x"; count]);
    rig.work();
    assert_eq!(rig.writer.close(rig.now).lost, 0);
    rig.folder
}

/// Numbers in the order in which `ls` shows their names.
fn numbers_as_sorted(folder: &Folder) -> Vec<u64> {
    let names = folder.files(".log");
    names
        .iter()
        .map(|name| name.trim_end_matches(".log").rsplit('_').next().expect("it has one").parse().expect("a number"))
        .collect()
}

#[test]
fn numbers_go_on_over_restarts_and_names_do_not_go_back() {
    let mut folder = Folder::new();
    for unix in [1_000_000_000, 1_000_000_000, 999_999_000, 1_000_000_500] {
        folder = write(folder, 3, unix);
    }
    assert_eq!(numbers_as_sorted(&folder), (1..=12).collect::<Vec<_>>());
    let names = folder.files(".log");
    assert_eq!(names[0], "log_20010909_014640_0001.log");
    assert_eq!(names[8], "log_20010909_014640_0009.log", "the clock was set back");
    assert_eq!(names[11], "log_20010909_015500_0012.log");
}

#[test]
fn a_number_is_not_used_again_when_its_segment_is_gone() {
    let folder = write(Folder::new(), 5, 1_000_000_000);
    for suffix in [".log", ".idx"] {
        folder.files(suffix).iter().for_each(|file| fs::remove_file(folder.path().join(file)).expect("deleted"));
    }
    let folder = write(folder, 1, 1_000_000_000);
    assert_eq!(folder.files(".log"), ["log_20010909_014640_0006.log"]);
    // Without the file that remembers, names do.
    fs::remove_file(folder.path().join(STATE_FILE)).expect("deleted");
    let folder = write(folder, 1, 1_000_000_000);
    assert_eq!(numbers_as_sorted(&folder), [6, 7]);
}

#[test]
fn numbers_grow_past_9999_and_names_still_sort() {
    let folder = Folder::new();
    fs::write(folder.path().join(STATE_FILE), "number 9997\nopened 1000000000\n").expect("written");
    let folder = write(folder, 6, 1_000_000_000);
    assert_eq!(numbers_as_sorted(&folder), (9998..=10003).collect::<Vec<_>>());
    let listed = segments(folder.path(), Kind::Log).expect("listed");
    assert_eq!(listed.iter().map(|segment| segment.name.number).collect::<Vec<_>>(), numbers_as_sorted(&folder));
}

#[test]
fn other_files_are_left_alone() {
    let folder = Folder::new();
    for file in ["notes.log", "log_today.log", "readme", "notes.tmp"] {
        fs::write(folder.path().join(file), "mine").expect("written");
    }
    let folder = write(folder, 1, 1_000_000_000);
    for file in ["notes.log", "log_today.log", "readme", "notes.tmp"] {
        assert_eq!(folder.size(file), 4, "{file}");
    }
}

#[test]
fn a_file_that_has_the_name_of_the_next_segment_stays() {
    let mut rig = Rig::within(Folder::new(), Setup::default(), 1_000_000_000);
    let name = "log_20010909_014640_0001.log";
    fs::write(rig.folder.path().join(name), "mine").expect("written");
    rig.give(0, &["x"]);
    rig.work();
    assert_eq!((rig.folder.size(name), rig.durable(0)), (4, Some(1)));
    assert_eq!(rig.folder.files(".idx"), ["log_20010909_014640_0002.idx"]);
}

#[test]
fn numbers_and_times_that_no_segment_can_have_are_not_believed() {
    logs::keep();
    let texts = ["number 18446744073709551615\nopened 5\n", "number 5\nopened 253402300800\n", "number 5\n"];
    for state in texts.map(str::as_bytes).into_iter().chain([&b"number 5\nopened 5\n\xff"[..]]) {
        let folder = Folder::new();
        let path = folder.path().join(STATE_FILE);
        fs::write(&path, state).expect("written");
        assert_eq!(recover(folder.path()).expect("it is done without"), Recovered::default(), "{state:?}");
        let said = logs::with(&[path.to_str().expect("text"), "is not believed", "behind the newest segment"]);
        assert_eq!(said.len(), 1, "{state:?}");
        let mut rig = Rig::within(folder, Setup::default(), 1_000_000_000);
        rig.give(0, &["one"]);
        rig.work();
        rig.assert_records(&["one"]);
    }
    // A name that would be found again and again.
    let folder = Folder::new();
    let odd = folder.path().join("log_20010909_014640_18446744073709551615.log");
    fs::write(&odd, "").expect("written");
    let error = recover(folder.path()).expect_err("there is no number behind it").to_string();
    assert!(error.contains(odd.to_str().expect("text")) && error.ends_with("move it away"), "{error}");
}

/// Without it the numbers of segments that are gone would be used again.
#[test]
fn a_state_file_that_cannot_be_read_keeps_the_agent_from_starting() {
    let folder = Folder::new();
    let path = folder.path().join(STATE_FILE);
    fs::create_dir(&path).expect("made");
    let error = recover(folder.path()).expect_err("a directory cannot be read").to_string();
    assert!(error.starts_with(&format!("cannot recover {}: ", path.display())), "{error}");
}

#[test]
fn there_is_no_name_that_would_not_be_found_again() {
    let folder = Folder::new();
    let disk = RealDisk::new(folder.path());
    for (number, opened, now, why) in [
        (u64::MAX, 5, 5, "largest number"),
        (5, 5, Utc::LAST + 1, "year 9999"),
        (5, Utc::LAST + 1, 5, "year 9999"),
        (9999, Utc::LAST, 5, "year 9999"),
    ] {
        let error = Numbering::after(number, opened).next(&disk, Kind::Log, now).expect_err(why).to_string();
        assert!(error.contains(why), "{error}");
    }
    let name = Numbering::after(9998, Utc::LAST).next(&disk, Kind::Log, 5).expect("the last");
    assert_eq!(SegmentName::parse_index(&name.index()), Some(name));
}
