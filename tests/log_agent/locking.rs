//! The lock on a directory, also if an operator deletes it with the rest.

use std::fs;
use std::io::ErrorKind;

use crate::agent::lock::Lock;
use crate::agent::plan::WhenFull;
use crate::rig::{Rig, Setup, some};

const LOCK_FILE: &str = "log_agent.lock";

#[test]
fn a_directory_that_was_emptied_is_locked_anew_with_the_next_segment() {
    for all in [true, false] {
        let mut rig = Rig::new(Setup::default());
        rig.give(0, &["before"]);
        rig.work();
        if all {
            fs::remove_dir_all(rig.folder.path()).expect("deleted");
        } else {
            for file in rig.folder.files("") {
                fs::remove_file(rig.folder.path().join(file)).expect("deleted");
            }
        }
        rig.give(0, &["behind"]);
        rig.work();
        let error = Lock::take(rig.folder.path()).expect_err("no second agent");
        assert!(error.kind() == ErrorKind::WouldBlock && error.to_string().contains("is in use by another"), "{error}");
        rig.assert_records(&["behind"]);
        drop(rig.writer);
        drop(rig.directory);
        Lock::take(rig.folder.path()).expect("the next agent");
    }
}

#[test]
fn while_another_agent_is_there_no_segment_begins_and_none_is_looked_for() {
    let when_full = WhenFull::DropOldestSegment;
    let setup = Setup { rotate_bytes: 100, disk_max: Some(1 << 20), when_full, ..Setup::default() };
    let mut rig = Rig::new(setup);
    rig.give(0, &some(0, 20));
    rig.work();
    let before = rig.folder.files("");
    fs::remove_file(rig.folder.path().join(LOCK_FILE)).expect("deleted");
    let other = Lock::take(rig.folder.path()).expect("nobody can know");
    let error = rig.directory.oldest_finished(|_| true).expect_err("they may be the other's");
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    assert!(!rig.make_room(rig.full()), "and none is deleted");
    rig.give(0, &some(20, 20));
    for _ in 0..3 {
        rig.now = rig.writer.advance(rig.now).expect("it tries again");
    }
    assert_eq!((rig.numbers.troubles.value(), rig.numbers.troubled.value()), (1, 1));
    assert_eq!((rig.writer.held(), rig.durable(0)), (20, Some(20)), "held, and not acknowledged");
    assert_eq!(rig.folder.files(""), before);
    drop(other);
    rig.work();
    assert_eq!((rig.numbers.troubled.value(), rig.durable(0)), (0, Some(40)));
    rig.assert_records(&some(0, 40));
    Lock::take(rig.folder.path()).expect_err("it is held again");
}

#[test]
fn while_another_agent_is_there_no_index_is_deleted() {
    for when_full in [WhenFull::Pause, WhenFull::DropOldestSegment] {
        let mut rig = Rig::new(Setup { rotate_bytes: 100, disk_max: Some(1 << 20), when_full, ..Setup::default() });
        rig.give(0, &some(0, 20));
        rig.work();
        let indexes = rig.folder.files(".idx");
        fs::remove_file(rig.folder.path().join(&rig.folder.files(".log")[0])).expect("deleted");
        fs::remove_file(rig.folder.path().join(LOCK_FILE)).expect("deleted");
        let other = Lock::take(rig.folder.path()).expect("nobody can know");
        rig.make_room(rig.full());
        assert_eq!(rig.folder.files(".idx"), indexes, "its segment may be the other's");
        drop(other);
        assert!(rig.make_room(rig.full()));
        assert_eq!(rig.folder.files(".idx"), indexes[1..]);
    }
}
