//! Reading on as records come: each once, and those of one connection in their order.

use std::fs;

use crate::cat::Filter;
use crate::follow::Follower;
use crate::rig::{Rig, Setup, some};
use crate::store::name::Kind;

/// What is printed by one more look.
fn look(follower: &mut Follower, rig: &Rig) -> String {
    let everything = Filter { since: None, until: None, connection: None };
    let mut out = Vec::new();
    follower.look(rig.folder.path(), Kind::Log, &everything, &mut out).expect("it is readable");
    String::from_utf8(out).expect("text")
}

fn lines(records: &[Vec<u8>]) -> String {
    records.iter().map(|record| str::from_utf8(record).expect("text").to_owned() + "\n").collect()
}

#[test]
fn the_rest_of_a_segment_comes_before_the_next_one() {
    for deleted in [false, true] {
        let mut rig = Rig::new(Setup { rotate_bytes: 300, ..Setup::default() });
        let mut follower = Follower::default();
        let records = some(0, 40);
        rig.give(0, &records[..5]);
        rig.work();
        assert_eq!(look(&mut follower, &rig), lines(&records[..5]));
        // All of it between two looks: the rest, the end, the next segments.
        rig.give(0, &records[5..]);
        rig.work();
        let files = rig.folder.files(".log");
        assert!(files.len() > 2, "{files:?}");
        if deleted {
            fs::remove_file(rig.folder.path().join(&files[0])).expect("deleted");
            fs::remove_file(rig.folder.path().join(files[0].replace(".log", ".idx"))).expect("deleted");
        }
        assert_eq!(look(&mut follower, &rig), lines(&records[5..]));
        assert_eq!(look(&mut follower, &rig), "");
    }
}
