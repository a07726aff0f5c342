//! Reading what is there: a segment that is packed or deleted meanwhile is no fault, and a bad one costs no other.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use rustix::fs::{FlockOperation, flock};

use crate::agent::fsync::Fsync;
use crate::child::{Ended, Example};
use crate::clients::{finish, frames};
use crate::disks::Folder;
use crate::net::connect;
use crate::rig::{Rig, Setup, some};
use crate::store::listing::segments;
use crate::store::name::{Kind, Packing};
use crate::store::reader::{SegmentReader, Step};
use crate::verify;

const FIRST: &str = "log_20010909_014640_0001";
const SECOND: &str = "log_20010909_014640_0002";

/// Two finished segments of some records each.
fn two_segments() -> Folder {
    let mut folder = Folder::new();
    for first in [0, 20] {
        let setup = Setup { policy: Fsync::Never, ..Setup::default() };
        let mut rig = Rig::within(folder, setup, 1_000_000_000);
        rig.give(0, &some(first, 20));
        rig.work();
        assert_eq!(rig.writer.close(rig.now).lost, 0);
        folder = rig.folder;
    }
    folder
}

fn lines(records: std::ops::Range<usize>) -> String {
    some(records.start, records.len())
        .iter()
        .map(|record| String::from_utf8_lossy(record).into_owned() + "\n")
        .collect()
}

fn pack(folder: &Folder, segment: &str, packing: Packing) -> PathBuf {
    let plain = folder.path().join(format!("{segment}.log"));
    let bytes = fs::read(&plain).expect("read");
    let (suffix, packed) = match packing {
        Packing::Plain => return plain,
        Packing::Gzip => {
            let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            packer.write_all(&bytes).expect("packed");
            ("gz", packer.finish().expect("packed"))
        }
        Packing::Zstd => {
            let mut packer = zstd::Encoder::new(Vec::new(), 0).expect("a packer");
            packer.include_checksum(true).expect("set");
            packer.write_all(&bytes).expect("packed");
            ("zst", packer.finish().expect("packed"))
        }
    };
    let path = folder.path().join(format!("{segment}.log.{suffix}"));
    fs::write(&path, packed).expect("written");
    fs::remove_file(plain).expect("removed");
    path
}

fn cat(folder: &Folder, flags: &[&str]) -> Ended {
    Example::run("log_cat", &[&[folder.text()], flags].concat())
}

#[test]
fn a_segment_that_was_listed_may_be_packed_or_deleted() {
    for packing in [Packing::Gzip, Packing::Zstd] {
        let folder = two_segments();
        let listed = segments(folder.path(), Kind::Log).expect("listed");
        pack(&folder, FIRST, packing);
        fs::remove_file(folder.path().join(format!("{SECOND}.log"))).expect("deleted");
        let mut reader = SegmentReader::open(folder.path(), listed[0]).expect("it is there");
        assert_eq!(reader.packing(), packing);
        assert!(matches!(reader.step(), Ok(Step::Record { intact: true, .. })));
        let gone = |segment| SegmentReader::open(folder.path(), segment).err().map(|error| error.kind());
        assert_eq!(gone(listed[1]), Some(ErrorKind::NotFound));
        fs::remove_file(folder.path().join(format!("{SECOND}.idx"))).expect("deleted");
        assert_eq!(gone(listed[1]), Some(ErrorKind::NotFound));
        assert_eq!(segments(folder.path(), Kind::Log).expect("listed").len(), 1);
    }
    // The segment that is being made: its index comes next.
    let folder = two_segments();
    File::create(folder.path().join("log_20010909_014640_0003.log")).expect("made");
    let listed = segments(folder.path(), Kind::Log).expect("listed");
    let made = SegmentReader::open(folder.path(), listed[2]);
    assert_eq!(made.err().map(|error| error.kind()), Some(ErrorKind::NotFound));
    cat(&folder, &["--verify"]).with_code(0);
}

/// Nothing may have come yet, or it is the wrong directory.
#[test]
fn a_directory_without_segments_is_said_to_be_one() {
    let folder = Folder::new();
    for (flags, stdout) in [(&[][..], ""), (&["--verify"], "0 segments: 0 records, 0 bytes, 0 damaged\n")] {
        let ended = cat(&folder, flags).with_code(0);
        assert_eq!(ended.stdout, stdout);
        assert!(ended.stderr.contains(&format!("{} has no segments", folder.text())), "{ended:?}");
    }
}

#[test]
fn a_directory_is_read_while_its_segments_are_packed() {
    let folder = Folder::new();
    let flags =
        ["--dir", folder.text(), "--rotate-mb", "1", "--compress", "zstd", "--fsync", "never", "--writers", "2"];
    let (agent, address) = Example::serve_at("log_agent", &["127.0.0.1", "0"], &flags);
    let mut peers = [0, 1].map(|thread| (thread, connect(address)));
    for round in 0..8 {
        thread::scope(|scope| {
            // Four segments come while it is read.
            for (thread, peer) in &mut peers {
                let records = frames(7, *thread, round * 2200..(round + 1) * 2200, (900, 1000));
                scope.spawn(move || peer.write_all(&records).expect("taken"));
            }
            let ended = cat(&folder, &["--verify"]).with_code(0);
            assert!(ended.stdout.contains(" 0 damaged"), "{ended:#?}");
            cat(&folder, &[]).with_code(0);
            let found = verify::look(folder.path(), 7, 2, (900, 1000)).expect("read");
            assert_eq!(found.faults, Vec::<String>::new());
        });
    }
    peers.into_iter().for_each(|(_, peer)| drop(finish(peer)));
    agent.shuts_down("TERM");
    agent.ends().with_code(0);
    let found = verify::look(folder.path(), 7, 2, (900, 1000)).expect("read");
    assert_eq!((found.records, found.faults), (vec![8 * 2200; 2], vec![]));
    assert!(!folder.files(".zst").is_empty(), "some were packed");
}

/// Does something bad to the first segment, or its index, and looks who says so.
fn costs_no_other(packing: Packing, what: &str, spoil: impl Fn(&Path, &Path)) {
    let folder = two_segments();
    let data = pack(&folder, FIRST, packing);
    spoil(&data, &folder.path().join(format!("{FIRST}.idx")));
    let printed = cat(&folder, &[]);
    assert!(
        printed.stdout.ends_with(&lines(20..40)),
        "{packing:?}, {what}: the second segment is printed; {printed:#?}"
    );
    assert!(printed.stderr.contains(FIRST), "{packing:?}, {what}: the first is named; {printed:#?}");
    printed.failed_with("not those that were received");
    let verified = cat(&folder, &["--verify"]);
    let line =
        |name: &str| verified.stdout.lines().find(|line| line.starts_with(name)).expect("it is named").to_owned();
    assert!(
        line(FIRST).contains("FAULT: ") || !line(FIRST).contains(" 0 damaged"),
        "{packing:?}, {what}: {verified:#?}"
    );
    assert!(line(SECOND).ends_with(" 0 damaged, finished"), "{packing:?}, {what}: {verified:#?}");
    assert!(line("2 segments: ").contains(" records, "));
    verified.failed_with("not those that were received");
}

fn cut(path: &Path, length: impl FnOnce(u64) -> u64) {
    let file = fs::OpenOptions::new().write(true).open(path).expect("opened");
    file.set_len(length(file.metadata().expect("known").len())).expect("cut");
}

fn append(path: &Path, bytes: &[u8]) {
    fs::OpenOptions::new().append(true).open(path).expect("opened").write_all(bytes).expect("written");
}

#[test]
fn a_bad_segment_is_named_and_costs_no_other() {
    for packing in [Packing::Plain, Packing::Gzip, Packing::Zstd] {
        costs_no_other(packing, "no index", |_, index| fs::remove_file(index).expect("removed"));
        costs_no_other(packing, "an empty index", |_, index| cut(index, |_| 0));
        costs_no_other(packing, "only the header of an index", |_, index| cut(index, |_| 32));
        costs_no_other(packing, "a torn index", |_, index| cut(index, |length| length / 2));
        costs_no_other(packing, "no mark at the end", |_, index| cut(index, |length| length - 32));
        costs_no_other(packing, "a half segment", |data, _| cut(data, |length| length / 2));
        costs_no_other(packing, "a segment without its last byte", |data, _| cut(data, |length| length - 1));
        costs_no_other(packing, "garbage for an index", |_, index| fs::write(index, [0x55; 500]).expect("written"));
        costs_no_other(packing, "a flipped bit", |data, _| {
            let mut bytes = fs::read(data).expect("read");
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x20;
            fs::write(data, bytes).expect("written");
        });
    }
    costs_no_other(Packing::Plain, "more behind its end", |data, _| append(data, b"more\n"));
    costs_no_other(Packing::Plain, "an empty segment", |data, _| cut(data, |_| 0));
    costs_no_other(Packing::Gzip, "garbage", |data, _| fs::write(data, [0x55; 500]).expect("written"));
    costs_no_other(Packing::Zstd, "a directory", |data, _| {
        fs::remove_file(data).expect("removed");
        fs::create_dir(data).expect("made");
    });
}

#[test]
fn missing_records_are_counted_as_far_as_the_index_tells() {
    let folder = two_segments();
    cut(&folder.path().join(format!("{FIRST}.log")), |_| 0);
    let verified = cat(&folder, &["--verify"]);
    assert!(
        verified.stdout.contains(&format!("{FIRST}.log: 0 records, 0 bytes, 20 damaged, FAULT: ")),
        "{verified:#?}"
    );
    verified.failed_with("20 records are not those that were received, or missing; 1 segments are at fault");
}

#[test]
fn only_a_running_agent_has_segments_that_are_not_finished() {
    let mut rig = Rig::new(Setup { policy: Fsync::Never, ..Setup::default() });
    rig.give(0, &some(0, 20));
    rig.work();
    let folder = rig.crash();
    cat(&folder, &["--verify"]).failed_with("0 records are not those that were received, or missing; 1 segments");
    let lock = File::create(folder.path().join("log_agent.lock")).expect("made");
    cat(&folder, &["--verify"]).failed_with("1 segments are at fault");
    flock(&lock, FlockOperation::NonBlockingLockExclusive).expect("locked");
    let ended = cat(&folder, &["--verify"]).with_code(0);
    assert!(ended.stdout.contains("20 records, ") && ended.stdout.contains("being written"), "{ended:#?}");
    assert_eq!(cat(&folder, &[]).with_code(0).stdout, lines(0..20));
    // The index may be ahead of its records, and never behind them.
    cut(&folder.path().join(format!("{FIRST}.log")), |length| length / 2);
    cat(&folder, &["--verify"]).with_code(0);
    cut(&folder.path().join(format!("{FIRST}.idx")), |_| 0);
    cat(&folder, &["--verify"]).failed_with("1 segments are at fault");
}

/// The names and contents of all files.
fn contents(folder: &Folder) -> Vec<(String, Vec<u8>)> {
    let files = folder.files("").into_iter();
    files.map(|file| (file.clone(), fs::read(folder.path().join(file)).expect("read"))).collect()
}

#[test]
fn a_segment_whose_index_is_missing_is_read_by_its_lines_and_that_is_said() {
    let folder = two_segments();
    fs::remove_file(folder.path().join(format!("{FIRST}.idx"))).expect("removed");
    append(&folder.path().join(format!("{FIRST}.log")), b"torn");
    fs::remove_file(folder.path().join("log_agent.lock")).expect("removed");
    let before = contents(&folder);
    let lock = File::create(folder.path().join("log_agent.lock")).expect("made");
    flock(&lock, FlockOperation::NonBlockingLockExclusive).expect("locked");
    let ended = cat(&folder, &[]);
    assert_eq!(ended.stdout, lines(20..40), "an agent that runs knows better");
    assert!(ended.stderr.contains(&format!("{FIRST}.log: its index is missing; ")), "{ended:#?}");
    ended.with_code(1);

    fs::remove_file(folder.path().join("log_agent.lock")).expect("removed");
    let ended = cat(&folder, &[]);
    assert_eq!(ended.stdout, lines(0..40));
    let said = format!("{FIRST}.log: its index is missing: its lines were read as records");
    assert_eq!(ended.stderr.matches(&said).count(), 1, "{ended:#?}");
    assert!(ended.stderr.contains("; there is more behind its end"), "{ended:#?}");
    ended.with_code(1);
    assert_eq!(cat(&folder, &["--connection", "0"]).with_code(1).stdout, lines(0..20), "nobody knows whose they were");
    let verified = cat(&folder, &["--verify"]);
    let found = verified.stdout.lines().find(|line| line.starts_with(FIRST)).expect("it is named").to_owned();
    assert!(found.starts_with(&format!("{FIRST}.log: 20 records, ")) && found.contains("FAULT: its index is missing"));
    verified.failed_with("1 segments are at fault");
    assert_eq!(contents(&folder), before, "nothing is changed there");

    // As the next agent has it.
    let recovered = crate::agent::recovery::recover(folder.path()).expect("recovered");
    assert_eq!((recovered.records_found, recovered.bytes_cut), (20, 4));
    assert_eq!(cat(&folder, &[]).with_code(0).stdout, lines(0..40));
    // Of a packed one nobody finds records without its index.
    pack(&folder, FIRST, Packing::Gzip);
    fs::remove_file(folder.path().join(format!("{FIRST}.idx"))).expect("removed");
    assert_eq!(cat(&folder, &[]).with_code(1).stdout, lines(20..40));
}

#[test]
fn two_segments_of_one_number_are_both_there() {
    let folder = two_segments();
    for suffix in ["log", "idx"] {
        let [from, to] =
            [SECOND, "log_20010909_014641_0001"].map(|name| folder.path().join(format!("{name}.{suffix}")));
        fs::rename(from, to).expect("renamed");
    }
    assert_eq!(cat(&folder, &[]).with_code(0).stdout, lines(0..40));
    assert!(cat(&folder, &["--verify"]).stdout.contains("2 segments: 40 records"));
    // Plain and packed, while it is being packed, it is one.
    let plain = folder.path().join(format!("{FIRST}.log"));
    let bytes = fs::read(&plain).expect("read");
    pack(&folder, FIRST, Packing::Gzip);
    fs::write(plain, bytes).expect("written");
    assert_eq!(cat(&folder, &[]).with_code(0).stdout, lines(0..40));
}

#[test]
fn follow_shows_a_segment_that_appears_behind_a_later_one() {
    let folder = two_segments();
    let aside = Folder::new();
    let moved = |from: &Folder, to: &Folder, suffix: &str| {
        let file = format!("{FIRST}.{suffix}");
        fs::rename(from.path().join(&file), to.path().join(&file)).expect("moved");
    };
    ["log", "idx"].iter().for_each(|suffix| moved(&folder, &aside, suffix));
    let follower = Example::start("log_cat", &[folder.text(), "--follow"]);
    follower.says("020");
    ["idx", "log"].iter().for_each(|suffix| moved(&aside, &folder, suffix));
    follower.says("019");
    follower.signal("TERM");
    assert_eq!(follower.ends().stdout, lines(20..40) + &lines(0..20), "each of them once");
}

#[test]
fn follow_goes_on_behind_a_bad_segment() {
    let bad: [fn(&Path, &Path); 4] = [
        |_, index| fs::remove_file(index).expect("removed"),
        |_, index| fs::write(index, [0x55; 500]).expect("written"),
        |data, _| cut(data, |length| length / 2),
        |data, index| {
            fs::remove_file(index).expect("removed");
            cut(data, |_| 0);
        },
    ];
    for spoil in bad {
        let folder = two_segments();
        spoil(&folder.path().join(format!("{FIRST}.log")), &folder.path().join(format!("{FIRST}.idx")));
        let follower = Example::start("log_cat", &[folder.text(), "--follow"]);
        follower.says("039");
    }
}

#[test]
fn what_verify_cannot_say_is_no_success() {
    if !Path::new("/dev/full").exists() {
        return;
    }
    let folder = two_segments();
    let test = std::env::current_exe().expect("known");
    let program = test.ancestors().nth(2).expect("its folder").join("examples/log_cat");
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("opened");
    let ended = Command::new(program).args([folder.text(), "--verify"]).stdout(full).stderr(Stdio::null()).status();
    assert_eq!(ended.expect("it ran").code(), Some(1));
}
