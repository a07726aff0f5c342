//! A limit on the size of files (`ulimit -f`): segments end before it, and nothing is lost.

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::thread;

use crate::agent::fsync::Fsync;
use crate::agent::recovery::recover;
use crate::child::Example;
use crate::clients::{finish, frames, newest, until};
use crate::disks::{Folder, SmallDisk};
use crate::net::{connect, frame};
use crate::recovering::{crashed, path};
use crate::rig::{Rig, Setup, assert_payloads, read_all, some};
use crate::store::name::Kind;
use crate::verify;

#[test]
fn a_segment_ends_before_a_file_would_be_too_large() {
    let records = some(0, 300);
    for policy in [Fsync::Batch, Fsync::Never] {
        // Most is data, or most is index; the disk tells the limit, or it is only met.
        for (most, told) in
            [150, 200, 333, 1000, 4096, 20_000].into_iter().flat_map(|most| [(most, true), (most, false)])
        {
            let mut rig = Rig::new(Setup { policy, ..Setup::default() });
            rig.faults.file_most(Some(most), told);
            for (number, records) in records.chunks(100).enumerate() {
                rig.give(0, &records[..1]);
                rig.work();
                rig.give(number as u32, &records[1..]);
                rig.work();
            }
            assert_eq!(rig.numbers.troubles.value(), 0, "{most}, {told}: nobody has to wait for that");
            let Rig { writer, folder, .. } = rig;
            assert_eq!(writer.close(rig.now).lost, 0);
            assert_payloads(&folder, &records);
            let unfinished = recover(folder.path()).expect("recovered").unfinished;
            assert!(!told || unfinished == 0, "{most}: the mark of an index has its place");
            assert_payloads(&folder, &records);
            for file in [".log", ".idx"].map(|suffix| folder.files(suffix)).concat() {
                assert!(!told || folder.size(&file) <= most, "{file}");
            }
        }
    }
}

#[test]
fn a_record_that_no_file_may_hold_waits_until_one_may() {
    for told in [false, true] {
        let mut rig = Rig::new(Setup::default());
        let records = [&[b'a'; 50][..], &[b'b'; 500], &[b'c'; 50]];
        rig.faults.file_most(Some(200), told);
        rig.give(0, &records);
        for _ in 0..20 {
            let retry = rig.writer.advance(rig.now).expect("it tries again");
            assert!(retry > rig.now && !rig.writer.is_idle(), "it does not spin");
            rig.now = retry;
        }
        assert_eq!(rig.numbers.segments_opened.value(), 2, "a try makes no new segment");
        assert_eq!((rig.durable(0), rig.numbers.troubles.value(), rig.numbers.troubled.value()), (None, 1, 1));
        rig.faults.file_most(None, told);
        rig.work();
        rig.assert_records(&records);
        assert_eq!((rig.durable(0), rig.numbers.troubled.value()), (Some(3), 0));
    }
}

#[test]
fn once_the_limit_is_lifted_many_records_are_one_append_again() {
    // Many small ones are a piece that is smaller than one of those behind them.
    let records = [vec![b"x".to_vec(); 300], some(300, 600)].concat();
    for told in [false, true] {
        let mut rig = Rig::new(Setup::default());
        rig.faults.file_most(Some(150), told);
        rig.give(0, &records[..300]);
        rig.work();
        rig.faults.file_most(None, told);
        let small = rig.numbers.segments_opened.value();
        rig.give(0, &records[300..600]);
        rig.work();
        let opened = rig.numbers.segments_opened.value() - small;
        assert!(opened <= 2, "{told}: {opened} more segments");
        let writes = rig.faults.writes();
        rig.give(0, &records[600..]);
        rig.work();
        assert_eq!(rig.faults.writes() - writes, 2, "{told}: its index, and its records");
        assert_eq!(rig.numbers.segments_opened.value() - small, opened, "{told}");
        rig.assert_records(&records);
    }
}

/// Under a limit of so many blocks of 512 bytes.
fn limited(folder: &Folder, blocks: usize, flags: &[&str]) -> (Example, std::net::SocketAddr) {
    let place = ["127.0.0.1", "0", "--dir", folder.text()];
    Example::serve_after(&format!("ulimit -f {blocks}"), "log_agent", &place, flags)
}

#[test]
fn under_a_real_limit_of_file_sizes_the_agent_lives_and_loses_nothing() {
    for flags in [&["--ack", "--cap", "32K"][..], &["--ack", "--cap", "32K", "--rotate-mb", "1", "--writers", "2"]] {
        let folder = Folder::new();
        let (agent, address) = limited(&folder, 128, flags);
        agent.logs("files may have 65536 bytes at most");
        let mut peer = connect(address);
        let mut writing = peer.try_clone().expect("cloned");
        let writer = thread::spawn(move || {
            writing.write_all(&frames(1, 0, 0..20_000, (30, 110))).expect("taken");
            writing.shutdown(Shutdown::Write).expect("connected");
        });
        let mut said = Vec::new();
        peer.read_to_end(&mut said).expect("the end of the stream");
        writer.join().expect("no panic");
        assert_eq!(newest(&said), 20_000);
        agent.shuts_down("TERM");
        let ended = agent.ends().with_code(0);
        assert!(!ended.stderr.contains("ERROR"), "{ended:#?}");
        let found = verify::look(folder.path(), 1, 1, (30, 110)).expect("read");
        assert_eq!((found.records, found.faults), (vec![20_000], vec![]));
        assert_eq!(recover(folder.path()).expect("recovered").unfinished, 0);
    }
}

#[test]
fn a_segment_whose_packed_copy_no_file_may_hold_costs_no_other() {
    for (packer, suffix) in [("gzip", ".gz"), ("zstd", ".zst")] {
        let folder = Folder::new();
        let (agent, address) = limited(&folder, 128, &["--compress", packer]);
        let mut peer = connect(address);
        // A segment as large as a file may be, of bytes that no packer makes fewer.
        let mut seed = 1u64;
        let random = std::iter::repeat_with(|| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 56) as u8
        });
        peer.write_all(&frame(&random.take((64 << 10) - 1).collect::<Vec<_>>())).expect("taken");
        peer.write_all(&frames(1, 0, 0..5000, (30, 110))).expect("taken");
        finish(peer);
        until("others are packed", || folder.files(suffix).len() > 3);
        agent.shuts_down("TERM");
        let ended = agent.ends().with_code(0);
        assert_eq!(ended.stderr.matches("stays unpacked").count(), 1, "{ended:#?}");
        assert!(!ended.stderr.contains("ERROR") && folder.files(".tmp").is_empty(), "{ended:#?}");
        assert_eq!(folder.size(&folder.files(".log")[0]), 64 << 10);
        assert_eq!(read_all(&folder, Kind::Log).len(), 5001);
    }
}

#[test]
fn a_record_over_the_real_limit_is_a_disk_that_does_not_take_it() {
    let folder = Folder::new();
    let (agent, address) = limited(&folder, 128, &["--ack", "--grace", "1"]);
    let mut peer = connect(address);
    peer.write_all(&frame(b"before")).expect("taken");
    let mut said = [0; 8];
    peer.read_exact(&mut said).expect("acknowledged");
    peer.write_all(&frame(&[b'x'; 70_000])).expect("taken");
    let line = agent.logs("cannot go on: ");
    assert!(line.contains("a file may have 65536 at most here: raise that limit (ulimit -f)"), "{line}");
    says_once_what_it_has_lost(agent);
}

/// What is not known before it is written: the kernel sends a signal with it, which ends a program that does not expect
/// it.
#[test]
fn an_empty_segment_goes_also_where_nothing_can_be_written() {
    let folder = Folder::new();
    for file in ["log_20261121_093000_0042.log", "log_20261121_093000_0042.idx"] {
        fs::write(folder.path().join(file), "").expect("written");
    }
    let (agent, _) = limited(&folder, 0, &[]);
    assert_eq!(folder.files(".log").len() + folder.files(".idx").len(), 0);
    agent.shuts_down("TERM");
    agent.ends().with_code(0);
}

/// An agent that ends because of it would be started again and again, and take nothing in.
#[test]
fn a_segment_whose_index_finds_no_place_waits_for_a_later_start() {
    let records = some(0, 100);
    // One that has to be made anew, and one that only ends earlier: its last record has lost a byte.
    for missing in [true, false] {
        let folder = crashed(&records);
        let [data, index] = [".log", ".idx"].map(|suffix| path(&folder, suffix));
        let mut whole = fs::read(&data).expect("read");
        if missing {
            fs::remove_file(&index).expect("removed");
        } else {
            whole.pop();
            fs::write(&data, &whole).expect("written");
            whole.truncate(whole.len() - records[99].len());
        }
        let (agent, address) = limited(&folder, 1, &["--ack"]);
        let mut peer = connect(address);
        peer.write_all(&frame(b"new")).expect("taken");
        assert_eq!(newest(&finish(peer)), 1, "what comes is written");
        agent.shuts_down("TERM");
        let ended = agent.ends().with_code(0);
        assert_eq!(ended.stderr.matches("stays unfinished until the next start").count(), 1, "{ended:#?}");
        assert_eq!((fs::read(&data).expect("read"), folder.files(".tmp").len()), (whole, 0));
        let recovered = recover(folder.path()).expect("recovered");
        let (found, left) = if missing { (100, 100) } else { (0, 99) };
        assert_eq!((recovered.unfinished, recovered.records_found, recovered.bytes_cut), (1, found, 0));
        assert_payloads(&folder, &[&records[..left], &[b"new".to_vec()][..]].concat());
    }
}

#[test]
fn a_mark_that_no_file_may_hold_is_done_without() {
    // Fifty-six entries fill the index up to the limit.
    let folder = crashed(&some(0, 56));
    assert_eq!(folder.size(&folder.files(".idx")[0]), 512);
    let (agent, _) = limited(&folder, 1, &[]);
    agent.logs("the mark at its end was not written");
    agent.shuts_down("TERM");
    agent.ends().with_code(0);
    assert_eq!(folder.size(&folder.files(".idx")[0]), 512);
    assert_payloads(&folder, &some(0, 56));
}

#[test]
fn a_segment_whose_index_finds_no_space_on_a_real_disk_waits_for_a_later_start() {
    let Some(disk) = SmallDisk::mount() else { return println!("mounting is not allowed here") };
    let folder = &disk.0;
    let data = folder.path().join("log_20010909_014640_0001.log");
    fs::write(&data, "a line\n".repeat(1000)).expect("written");
    let filler = folder.path().join("filler");
    fs::write(&filler, vec![0; 4 << 20]).expect_err("it is larger than the disk");
    let place = ["127.0.0.1", "0", "--dir", folder.text()];
    for starts in [1, 0] {
        let (agent, _) = Example::serve_at("log_agent", &place, &[]);
        agent.shuts_down("TERM");
        let ended = agent.ends().with_code(0);
        assert_eq!(ended.stderr.matches("log_20010909_014640_0001 stays unfinished").count(), starts, "{ended:#?}");
        assert_eq!((folder.size("log_20010909_014640_0001.log"), folder.files(".tmp").len()), (7000, 0));
        assert_eq!(folder.files(".idx").len(), 1 - starts);
        let _ = fs::remove_file(&filler);
    }
    assert_eq!(read_all(folder, Kind::Log).len(), 1000);
}

#[test]
fn a_real_write_over_the_limit_fails_and_does_not_end_the_agent() {
    let folder = Folder::new();
    let (agent, address) = limited(&folder, 0, &["--grace", "1"]);
    let mut peer = connect(address);
    peer.write_all(&frame(b"not even the first")).expect("taken");
    let line = agent.logs("cannot go on: ");
    assert!(line.contains("cannot replace ") && line.contains("File too large"), "{line}");
    says_once_what_it_has_lost(agent);
}

/// One record, after some tries.
fn says_once_what_it_has_lost(agent: Example) {
    agent.shuts_down("TERM");
    let ended = agent.ends();
    for (part, times) in [("cannot go on", 1), (" ERROR ", 1), ("files may have ", 1)] {
        assert_eq!(ended.stderr.matches(part).count(), times, "{part}: {ended:#?}");
    }
    ended.failed_with("1 records were received and not written");
}
