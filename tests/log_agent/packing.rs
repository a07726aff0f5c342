//! When a segment is packed, and what a start makes of one that is there both plain and packed.

use std::fs;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::agent::compress::{Compressor, pack};
use crate::agent::directory::bytes_of;
use crate::agent::fsync::Fsync;
use crate::agent::plan::Packer;
use crate::agent::recovery::{is_marked, recover};
use crate::child::Example;
use crate::clients::until;
use crate::disks::Folder;
use crate::recovering::{crashed, path};
use crate::rig::{Rig, Setup, assert_payloads, some};
use crate::store::index::{Entry, HEAD_BYTES, HEADER, Head, Origin, Runs};
use crate::store::listing::{Listed, segments};
use crate::store::name::{Kind, Packing};

/// What is packed under names that end in `suffix`.
fn packed(suffix: &str, bytes: &[u8]) -> Vec<u8> {
    match suffix {
        ".gz" => {
            let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            to.write_all(bytes).expect("in memory");
            to.finish().expect("in memory")
        }
        _ => zstd::encode_all(bytes, 0).expect("in memory"),
    }
}

#[test]
fn a_plain_segment_goes_only_if_what_is_packed_has_all_of_it() {
    let records = some(0, 30);
    for suffix in [".gz", ".zst"] {
        let whole = fs::read(path(&crashed(&records), ".log")).expect("read");
        let good = packed(suffix, &whole);
        let mut flipped = whole.clone();
        flipped[7] ^= 1;
        for (beside, is_good) in [
            (good.clone(), true),
            (good[..good.len() - 2].to_vec(), false),
            (packed(suffix, &whole[..whole.len() - 1]), false),
            (packed(suffix, &flipped), false),
            (b"something else".to_vec(), false),
            (Vec::new(), false),
        ] {
            // One that was not finished stays plain in any case: what is packed is never set right.
            for finished in [true, false] {
                let folder = crashed(&records);
                if finished {
                    recover(folder.path()).expect("recovered");
                }
                let name = format!("{}{suffix}", folder.files(".log")[0]);
                fs::write(folder.path().join(name), &beside).expect("written");
                recover(folder.path()).expect("recovered");
                let there = [folder.files(".log").len(), folder.files(suffix).len()];
                assert_eq!(there, if is_good && finished { [0, 1] } else { [1, 0] });
                assert_payloads(&folder, &records);
            }
        }
    }
}

#[test]
fn a_packed_segment_stays_if_a_crash_of_the_machine_has_spoilt_the_plain_one() {
    // Without syncs only the packed one is durable when the plain one is to go, and its name may come back.
    let records = some(0, 30);
    for suffix in [".gz", ".zst"] {
        for spoil in [
            |_: &[u8]| Vec::new(),
            |whole: &[u8]| whole[..whole.len() / 2].to_vec(),
            |whole: &[u8]| vec![0; whole.len()],
            |whole: &[u8]| [&whole[..whole.len() / 2], &vec![0; whole.len() - whole.len() / 2]].concat(),
        ] {
            let folder = crashed(&records);
            recover(folder.path()).expect("recovered");
            let plain = path(&folder, ".log");
            let whole = fs::read(&plain).expect("read");
            fs::write(folder.path().join(format!("{}{suffix}", folder.files(".log")[0])), packed(suffix, &whole))
                .expect("written");
            fs::write(&plain, spoil(&whole)).expect("written");
            let recovered = recover(folder.path()).expect("recovered");
            assert_eq!((recovered.unfinished, recovered.bytes_cut), (0, 0));
            assert_eq!((folder.files(".log").len(), folder.files(suffix).len()), (0, 1));
            assert_payloads(&folder, &records);
        }
    }
}

#[test]
fn of_two_that_are_both_damaged_the_one_that_has_more_is_not_deleted() {
    let folder = crashed(&some(0, 30));
    recover(folder.path()).expect("recovered");
    let plain = path(&folder, ".log");
    // Its bytes can be read, and its checksum is not whole.
    let mut packed = packed(".gz", &fs::read(&plain).expect("read"));
    packed.pop();
    fs::write(plain.with_extension("log.gz"), packed).expect("written");
    fs::write(&plain, b"").expect("written");
    let error = recover(folder.path()).expect_err("somebody has to look at it");
    assert!(error.to_string().contains("is damaged, and has more: keep one of the two"), "{error}");
    assert_eq!([".log", ".gz", ".idx"].map(|suffix| folder.files(suffix).len()), [1, 1, 1]);
}

#[test]
fn a_packed_segment_stays_if_the_plain_one_cannot_be_read() {
    for finished in [true, false] {
        let folder = crashed(&some(0, 30));
        if finished {
            recover(folder.path()).expect("recovered");
        }
        let plain = path(&folder, ".log");
        let packed = zstd::encode_all(&*fs::read(&plain).expect("read"), 0).expect("packed");
        fs::write(plain.with_extension("log.zst"), packed).expect("written");
        // It opens, and that is all.
        fs::remove_file(&plain).expect("removed");
        fs::create_dir(&plain).expect("a name that is free");
        recover(folder.path()).expect_err("somebody has to look at it");
        assert_eq!((folder.files(".log").len(), folder.files(".zst").len()), (1, 1));
    }
}

/// It is looked at with the memory that the agent has then, which is little.
#[cfg(target_os = "linux")]
#[test]
fn a_long_record_of_a_segment_that_is_there_twice_is_not_held_in_memory() {
    const LENGTH: usize = 64 << 20;
    let folder = Folder::new();
    let data = [vec![0; LENGTH], b"\n".to_vec()].concat();
    let mut runs = Runs::default();
    runs.extend(0, Origin::default(), [&Entry::tag(&data[..LENGTH], true)].into_iter());
    let index = [&HEADER[..], runs.bytes(), &Head::end_mark(data.len() as u32, 1).encode()].concat();
    let file = |suffix: &str| folder.path().join(format!("log_20010909_014640_0001{suffix}"));
    fs::write(file(".idx"), index).expect("written");
    fs::write(file(".log.zst"), packed(".zst", &data)).expect("written");
    fs::write(file(".log"), data).expect("written");
    let place = ["127.0.0.1", "0", "--dir", folder.text()];
    let (agent, _) = Example::serve_at("log_agent", &place, &["--qcap-bytes", "2M", "--connections-max", "16"]);
    assert!(!file(".log").exists(), "all of it is packed");
    let status = fs::read_to_string(format!("/proc/{}/status", agent.id())).expect("it runs");
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the most memory that it had");
    let kilobytes: usize = most.trim().trim_end_matches(" kB").parse().expect("a number");
    assert!(kilobytes << 10 < LENGTH / 2, "{kilobytes} kB");
}

#[test]
fn the_mark_of_a_segment_is_durable_before_only_the_packed_one_is_there() {
    for policy in [Fsync::Batch, Fsync::Never] {
        let mut rig = Rig::new(Setup { rotate_bytes: 100, policy, ..Setup::default() });
        rig.give(0, &some(0, 20));
        rig.work();
        let oldest = rig.directory.oldest_finished(|_| true).expect("listed").expect("some are finished");
        let (before, stop) = (rig.folder.files(""), AtomicBool::new(false));
        rig.faults.fail_syncs(&[true]);
        pack(&rig.directory, oldest, Packer::Zstd, &stop).expect_err("its index is not durable");
        assert_eq!(rig.folder.files(""), before, "nothing has changed");
    }
}

#[test]
fn what_is_packed_and_cannot_get_its_name_leaves_nothing() {
    for (packer, suffix) in [(Packer::Gzip, "gz"), (Packer::Zstd, "zst")] {
        let mut rig = Rig::new(Setup { rotate_bytes: 100, ..Setup::default() });
        rig.give(0, &some(0, 20));
        rig.work();
        let plain = rig.folder.path().join(&rig.folder.files(".log")[0]);
        // A name that no file can take.
        fs::create_dir(plain.with_extension(format!("log.{suffix}"))).expect("made");
        let oldest = rig.directory.oldest_finished(|_| true).expect("listed").expect("some are finished");
        let segment = Listed { packing: Packing::Plain, ..oldest };
        let (before, used) = (rig.folder.files(""), rig.directory.space.used());
        pack(&rig.directory, segment, packer, &AtomicBool::new(false)).expect_err("there is a directory");
        assert_eq!((rig.folder.files(""), rig.directory.space.used()), (before, used), "and no half-made file");
        assert!(plain.is_file());
    }
}

#[test]
fn a_segment_that_could_not_be_packed_waits_for_the_next_start_and_holds_up_no_other() {
    for [sync_fails, cannot_be_read] in [[true, false], [false, true]] {
        let mut rig = Rig::new(Setup { rotate_bytes: 100, ..Setup::default() });
        rig.give(0, &some(0, 20));
        rig.work();
        let segments = rig.folder.files(".log");
        let first = rig.folder.path().join(&segments[0]);
        let whole = fs::read(&first).expect("read");
        if cannot_be_read {
            // It opens, and has the length that its index says.
            fs::remove_file(&first).expect("removed");
            fs::create_dir(&first).expect("a name that is free");
            let length = fs::metadata(&first).expect("it is there").len() as u32;
            let index = first.with_extension("idx");
            let mut bytes = fs::read(&index).expect("read");
            bytes.truncate(bytes.len() - HEAD_BYTES);
            bytes.extend_from_slice(&Head::end_mark(length, 1).encode());
            fs::write(index, bytes).expect("written");
        }
        // The index of the first; a second sync of it may succeed without what it has.
        rig.faults.fail_syncs(&[sync_fails]);
        let compressor = Compressor::start(Arc::clone(&rig.directory), Packer::Zstd).expect("started");
        let [packed, all] = [2, 1].map(|left| segments.len() as u64 - left);
        until("the others are packed", || rig.numbers.segments_compressed.value() == packed);
        assert_eq!(rig.writer.close(rig.now).lost, 0);
        until("the last is packed", || rig.numbers.segments_compressed.value() == all);
        compressor.stop();
        assert_eq!(rig.folder.files(".log"), segments[..1]);
        if sync_fails {
            assert_eq!(fs::read(&first).expect("it stays"), whole);
            assert_payloads(&rig.folder, &some(0, 20));
        }
    }
}

#[test]
fn a_segment_of_which_a_sync_has_failed_is_not_packed_before_the_next_start() {
    let time = Duration::from_millis(500);
    // Of each pair the first is the index's and the second its segment's.
    for (policy, script) in [
        (Fsync::Interval(time), &[true][..]),
        (Fsync::Interval(time), &[false, true]),
        (Fsync::Batch, &[true, true]),
        (Fsync::Batch, &[false, true, false, true]),
    ] {
        let mut rig = Rig::new(Setup { policy, ..Setup::default() });
        rig.give(0, &["one"]);
        rig.work();
        rig.now += time;
        if policy != Fsync::Batch {
            rig.faults.fail_syncs(script);
        }
        rig.writer.advance(rig.now);
        if policy == Fsync::Batch {
            rig.faults.fail_syncs(script);
        }
        rig.give(0, &["two"]);
        rig.work();
        assert_eq!(rig.writer.close(rig.now).lost, 0);
        let names: Vec<_> = segments(rig.folder.path(), Kind::Log).expect("listed");
        let marked: Vec<_> =
            names.iter().map(|segment| is_marked(rig.folder.path(), segment.name).expect("read")).collect();
        assert_eq!(marked, [false, true], "{policy} {script:?}");
        let there = bytes_of(rig.folder.path()).expect("counted");
        assert_eq!(rig.directory.space.used(), there, "nothing is promised any more");
        assert_payloads(&rig.folder, &["one", "two"]);
        assert_eq!(recover(rig.folder.path()).expect("recovered").unfinished, 1);
        assert!(is_marked(rig.folder.path(), names[0].name).expect("read"));
        assert_payloads(&rig.folder, &["one", "two"]);
    }
}
