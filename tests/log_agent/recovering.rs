//! What a crash leaves, and what a bad disk does to an index.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crate::agent::fsync::Fsync;
use crate::agent::recovery::{Recovered, recover, recover_lines};
use crate::disks::Folder;
use crate::logs;
use crate::rig::{ODD, Rig, Setup, assert_payloads, read_all, some};
use crate::store::index::{ENTRY_BYTES, HEAD_BYTES};
use crate::store::name::Kind;
use crate::store::reader::{SegmentReader, Step};

/// A folder with one segment that was not finished.
pub fn crashed<R: AsRef<[u8]>>(records: &[R]) -> Folder {
    let mut rig = Rig::new(Setup { policy: Fsync::Never, ..Setup::default() });
    rig.give(4, records);
    rig.work();
    rig.crash()
}

pub fn path(folder: &Folder, suffix: &str) -> PathBuf {
    folder.path().join(&folder.files(suffix)[0])
}

fn payloads(folder: &Folder) -> Vec<Vec<u8>> {
    read_all(folder, Kind::Log).into_iter().map(|(_, payload)| payload).collect()
}

#[test]
fn a_whole_segment_is_finished_as_it_is() {
    let folder = crashed(&ODD);
    let recovered = recover(folder.path()).expect("recovered");
    assert_eq!((recovered.unfinished, recovered.bytes_cut, recovered.records_found), (1, 0, 0));
    assert_payloads(&folder, &ODD);
    let again = recover(folder.path()).expect("recovered");
    assert_eq!((again.unfinished, again.number), (0, 1), "it is finished now");
    assert_eq!(again.bytes, folder.size(&folder.files(".log")[0]) + folder.size(&folder.files(".idx")[0]));
}

#[test]
fn what_is_only_torn_is_cut_in_place_because_the_disk_may_be_full() {
    // A record that lacks a byte; and all records, with a run that lacks its end behind them.
    for torn in [true, false] {
        let folder = crashed(&some(0, 20));
        let [data, index] = [".log", ".idx"].map(|suffix| path(&folder, suffix));
        let file = fs::OpenOptions::new().append(true).open(if torn { &data } else { &index }).expect("opened");
        if torn {
            file.set_len(folder.size(&folder.files(".log")[0]) - 1).expect("torn")
        } else {
            (&file).write_all(&fs::read(&index).expect("read")[HEAD_BYTES..][..50]).expect("written")
        }
        let before = fs::metadata(&index).expect("it is there").ino();
        let recovered = recover(folder.path()).expect("recovered");
        assert_eq!((recovered.unfinished, recovered.records_found, recovered.records_damaged), (1, 0, 0));
        assert_eq!(fs::metadata(&index).expect("it is there").ino(), before, "no other file");
        assert_payloads(&folder, &some(0, if torn { 19 } else { 20 }));
        assert_eq!(recover(folder.path()).expect("recovered").unfinished, 0, "it is finished now");
    }
}

#[test]
fn of_a_torn_segment_every_whole_record_is_kept() {
    let records: Vec<Vec<u8>> = ODD.iter().map(|record| record.to_vec()).collect();
    let mut ends = Vec::new();
    let mut bytes = 0;
    for record in &records {
        bytes += record.len() + usize::from(record.last() != Some(&b'\n'));
        ends.push(bytes);
    }
    for length in 0..=bytes {
        let folder = crashed(&records);
        let file = fs::OpenOptions::new().write(true).open(path(&folder, ".log")).expect("opened");
        file.set_len(length as u64).expect("torn");
        recover(folder.path()).expect("recovered");
        let whole = ends.iter().filter(|end| **end <= length).count();
        assert_payloads(&folder, &records[..whole]);
        match whole {
            0 => assert_eq!(folder.files(".log").len() + folder.files(".idx").len(), 0, "an empty segment goes"),
            whole => assert_eq!(folder.size(&folder.files(".log")[0]), ends[whole - 1] as u64),
        }
    }
}

#[test]
fn a_block_that_the_machines_crash_has_left_empty_is_cut_off() {
    let records = some(0, 20);
    let folder = crashed(&records);
    let mut bytes = fs::read(path(&folder, ".log")).expect("read");
    let length = bytes.len();
    bytes[length / 2..].fill(0);
    fs::write(path(&folder, ".log"), &bytes).expect("written");
    let recovered = recover(folder.path()).expect("recovered");
    let kept = payloads(&folder);
    assert!(kept.len() > 5 && kept.len() < 15 && kept == records[..kept.len()], "{kept:?}");
    assert!(recovered.bytes_cut > 0 && recovered.records_damaged == 0);
}

#[test]
fn a_shortened_index_costs_no_record() {
    let records = some(0, 10);
    let whole = crashed(&records);
    let index = fs::read(path(&whole, ".idx")).expect("read");
    for length in 0..index.len() {
        let folder = crashed(&records);
        fs::write(path(&folder, ".idx"), &index[..length]).expect("written");
        let recovered = recover(folder.path()).expect("recovered");
        assert_payloads(&folder, &records);
        // Header and head of the one run; its entries are believed because the payloads agree with them.
        let entries = (length.saturating_sub(2 * HEAD_BYTES) / ENTRY_BYTES) as u64;
        assert_eq!((recovered.records_found, recovered.bytes_cut), (10 - entries, 0), "{length} bytes of the index");
        let known = read_all(&folder, Kind::Log).iter().filter(|(connection, _)| *connection == 5).count() as u64;
        assert_eq!(known, entries, "whose the others were is not known any more");
    }
}

#[test]
fn a_missing_index_is_made_again() {
    let records = some(0, 10);
    let folder = crashed(&records);
    fs::remove_file(path(&folder, ".idx")).expect("removed");
    // Only here a line that does not end is all that is known of a record, and not kept.
    let mut bytes = fs::read(path(&folder, ".log")).expect("read");
    bytes.extend_from_slice(b"torn");
    fs::write(path(&folder, ".log"), &bytes).expect("written");
    let recovered = recover(folder.path()).expect("recovered");
    assert_payloads(&folder, &records);
    assert_eq!((recovered.records_found, recovered.bytes_cut), (10, 4));
}

#[test]
fn no_flipped_bit_of_an_index_costs_a_record() {
    let records = some(0, 4);
    let whole = crashed(&records);
    let index = fs::read(path(&whole, ".idx")).expect("read");
    for bit in 0..index.len() * 8 {
        let folder = crashed(&records);
        let mut flipped = index.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        fs::write(path(&folder, ".idx"), &flipped).expect("written");
        let recovered = recover(folder.path()).expect("recovered");
        assert_payloads(&folder, &records);
        let Recovered { records_found, records_damaged, bytes_cut, .. } = recovered;
        assert_eq!((records_found, records_damaged, bytes_cut), (0, 0, 0), "bit {bit} is set right");
        assert!(read_all(&folder, Kind::Log).iter().all(|(connection, _)| *connection == 5), "bit {bit}");
    }
}

#[test]
fn of_a_damaged_run_what_agrees_is_believed_and_the_next_run_is_found() {
    let records = some(0, 12);
    let damaged = |at: usize, count: usize| {
        let mut rig = Rig::new(Setup { policy: Fsync::Never, ..Setup::default() });
        for (slot, records) in (4..).zip(records.chunks(4)) {
            rig.give(slot, records);
        }
        rig.work();
        let folder = rig.crash();
        let mut index = fs::read(path(&folder, ".idx")).expect("read");
        index[at..at + count].fill(0xff);
        fs::write(path(&folder, ".idx"), index).expect("written");
        folder
    };
    let run = HEAD_BYTES + 4 * ENTRY_BYTES;
    // Where it is damaged, and whose the records are that are found after all.
    for (at, count, known) in [
        (HEAD_BYTES + 4, 4, [0, 6, 7]),
        (HEAD_BYTES + run, HEAD_BYTES, [5, 0, 7]),
        (HEAD_BYTES + run + HEAD_BYTES, 3, [5, 0, 7]),
        (HEAD_BYTES + 2 * run + 8, run - 8, [5, 6, 0]),
        (HEAD_BYTES, 3 * run, [0; 3]),
    ] {
        let folder = damaged(at, count);
        // Before it is recovered, whoever reads is told.
        let segment = crate::store::listing::segments(folder.path(), Kind::Log).expect("listed")[0];
        let mut reader = SegmentReader::open(folder.path(), segment).expect("opened");
        let (mut told, mut read) = (0, 0);
        loop {
            match reader.step().expect("read") {
                Step::Record { intact, .. } => read += u32::from(intact),
                Step::Damaged { records } => told += records,
                Step::NoMore | Step::Finished => break,
            }
        }
        assert_eq!((told > 0, read), (true, known.iter().filter(|known| **known > 0).count() as u32 * 4), "{at}");
        let recovered = recover(folder.path()).expect("recovered");
        assert_payloads(&folder, &records);
        let whose: Vec<_> = read_all(&folder, Kind::Log).into_iter().map(|(connection, _)| connection).collect();
        let expected: Vec<_> = known.iter().flat_map(|connection| [*connection; 4]).collect();
        assert_eq!(whose, expected, "{at}");
        assert_eq!(recovered.records_found, whose.iter().filter(|connection| **connection == 0).count() as u64);
        assert_eq!((recovered.records_damaged, recovered.bytes_cut), (0, 0));
    }
    // The third entry alone: the two before it are believed.
    let folder = damaged(HEAD_BYTES + HEAD_BYTES + 2 * ENTRY_BYTES + 4, 4);
    assert_eq!(recover(folder.path()).expect("recovered").records_found, 2);
    assert_payloads(&folder, &records);
}

#[test]
fn a_line_that_is_longer_than_any_record_is_kept_in_pieces() {
    for (line_max, lengths) in [(10, vec![10, 10, 5, 10, 3]), (25, vec![25, 10, 3]), (9, vec![9, 9, 7, 9, 1, 3])] {
        let folder = crashed(&["x".repeat(25), "y".repeat(10), "zzz".to_owned()]);
        fs::remove_file(path(&folder, ".idx")).expect("removed");
        let recovered = recover_lines(folder.path(), line_max).expect("recovered");
        let found: Vec<_> = payloads(&folder).iter().map(Vec::len).collect();
        assert_eq!((found, recovered.bytes_cut), (lengths, 0), "{line_max}");
        assert_eq!(payloads(&folder).concat(), ["x".repeat(25), "y".repeat(10), "zzz".to_owned()].concat().as_bytes());
    }
}

#[test]
fn connections_of_two_starts_can_be_told_from_each_other() {
    let folder = crashed(&["first"]);
    let mut rig = Rig::within(folder, Setup::default(), 1_000_000_000);
    rig.give(4, &["second"]);
    rig.work();
    let folder = rig.crash();
    let mut origins = Vec::new();
    for segment in crate::store::listing::segments(folder.path(), Kind::Log).expect("listed") {
        let mut reader = SegmentReader::open(folder.path(), segment).expect("opened");
        while let Step::Record { entry, .. } = reader.step().expect("read") {
            origins.push((entry.origin.start, entry.origin.connection));
        }
    }
    assert_eq!(origins, [(1, 5), (2, 5)], "the same number, and not the same start");
}

#[test]
fn a_flipped_bit_of_a_record_is_seen_and_its_neighbours_are_kept() {
    let records = some(0, 4);
    let folder = crashed(&records);
    let mut bytes = fs::read(path(&folder, ".log")).expect("read");
    bytes[1] ^= 4;
    fs::write(path(&folder, ".log"), &bytes).expect("written");
    let recovered = recover(folder.path()).expect("recovered");
    assert_eq!((recovered.records_damaged, recovered.bytes_cut), (1, 0));
    let segment = crate::store::listing::segments(folder.path(), Kind::Log).expect("listed")[0];
    let mut reader = crate::store::reader::SegmentReader::open(folder.path(), segment).expect("opened");
    let mut intact = Vec::new();
    while let crate::store::reader::Step::Record { intact: whole, .. } = reader.step().expect("read") {
        intact.push(whole);
    }
    assert_eq!(intact, [false, true, true, true]);
}

#[test]
fn wherever_it_is_killed_what_was_acknowledged_is_there() {
    let records = some(0, 12);
    for space in 0..1200 {
        let mut rig = Rig::new(Setup { rotate_bytes: 150, ..Setup::default() });
        // A disk that takes no byte more is what a process leaves that was killed there.
        rig.faults.space(Some(space));
        let mut acknowledged = 0;
        for records in records.chunks(3) {
            rig.give(0, records);
            rig.writer.advance(rig.now);
            acknowledged = rig.durable(0).unwrap_or(acknowledged);
            if !rig.writer.is_idle() {
                break;
            }
        }
        let folder = rig.crash();
        recover(folder.path()).expect("recovered");
        let found = payloads(&folder);
        assert!(found.len() as u64 >= acknowledged, "{space}: {} of {acknowledged}", found.len());
        assert_eq!(found, records[..found.len()], "none is torn, none twice, none missing in between");
    }
}

#[test]
fn what_was_being_made_is_made_again() {
    let folder = crashed(&some(0, 3));
    let data = folder.files(".log")[0].clone();
    for file in [format!("{data}.gz.tmp"), data.replace(".log", ".idx.tmp")] {
        fs::write(folder.path().join(file), "half").expect("written");
    }
    recover(folder.path()).expect("recovered");
    assert!(folder.files(".tmp").is_empty());
    assert_payloads(&folder, &some(0, 3));
}

/// A folder with segments that were finished one after the other, and one that was not.
fn several(chunks: &[&[Vec<u8>]]) -> Folder {
    let mut folder = Folder::new();
    for (number, records) in chunks.iter().enumerate() {
        let mut rig = Rig::within(folder, Setup { policy: Fsync::Never, ..Setup::default() }, 1_000_000_000);
        rig.give(4, records);
        rig.work();
        if number + 1 < chunks.len() {
            assert_eq!(rig.writer.close(rig.now).lost, 0);
        }
        folder = rig.folder;
    }
    folder
}

#[test]
fn files_of_two_segments_that_were_mixed_up_cost_no_record() {
    let same_sizes: Vec<_> = (0..60).map(|number| format!("{number:09}").into_bytes()).collect();
    for records in [some(0, 60), same_sizes] {
        let chunks = [&records[..30], &records[30..50], &records[50..]];
        for suffix in [".log", ".idx"] {
            for [one, other] in [[0, 1], [1, 2], [0, 2]] {
                let folder = several(&chunks);
                let files = folder.files(suffix);
                let [one_path, other_path] = [one, other].map(|number| folder.path().join(&files[number]));
                let aside = folder.path().join("aside");
                fs::rename(&one_path, &aside).expect("renamed");
                fs::rename(&other_path, &one_path).expect("renamed");
                fs::rename(&aside, &other_path).expect("renamed");
                let recovered = recover(folder.path()).expect("recovered");
                assert_eq!((recovered.bytes_cut, recovered.records_damaged), (0, 0), "{suffix} {one} {other}");
                let mut expected = chunks.to_vec();
                if suffix == ".log" {
                    expected.swap(one, other);
                }
                assert_payloads(&folder, &expected.concat());
            }
        }
    }
}

#[test]
fn a_finished_segment_that_is_shorter_now_keeps_what_is_there() {
    // The next record by the index is longer than all that is there.
    let records = some(0, 20);
    let folder = several(&[&[&records[..3], &[vec![b'x'; 10_000]]].concat(), &records[19..]]);
    let mut bytes = records[..3].join(&b'\n');
    bytes.extend_from_slice(b"\n");
    for record in &records[3..19] {
        bytes.extend_from_slice(record);
        bytes.push(b'\n');
    }
    fs::write(path(&folder, ".log"), bytes).expect("written");
    assert_eq!(recover(folder.path()).expect("recovered").records_found, 16);
    assert_payloads(&folder, &records);
}

#[test]
fn a_segment_with_bytes_and_no_whole_record_stays() {
    let folder = crashed(&["a long record that is torn"]);
    fs::write(path(&folder, ".log"), b"a long").expect("written");
    for _ in 0..2 {
        let recovered = recover(folder.path()).expect("recovered");
        assert_eq!((recovered.bytes_cut, folder.size(&folder.files(".log")[0])), (0, 6));
        assert_payloads::<&str>(&folder, &[]);
    }
    assert_eq!(recover(folder.path()).expect("recovered").unfinished, 0, "once is enough");
    // So do bytes without any index.
    let folder = crashed(&["gone"]);
    fs::remove_file(path(&folder, ".idx")).expect("removed");
    fs::write(path(&folder, ".log"), b"no line").expect("written");
    recover(folder.path()).expect("recovered");
    assert_eq!(folder.size(&folder.files(".log")[0]), 7);
}

#[test]
fn a_flipped_bit_of_the_last_record_is_seen_and_it_stays() {
    let records = some(0, 6);
    let folder = crashed(&records);
    let mut bytes = fs::read(path(&folder, ".log")).expect("read");
    let length = bytes.len();
    bytes[length - 3] ^= 4;
    fs::write(path(&folder, ".log"), &bytes).expect("written");
    let recovered = recover(folder.path()).expect("recovered");
    assert_eq!((recovered.records_damaged, recovered.records_found, recovered.bytes_cut), (1, 0, 0));
    // A block in its middle that was never written is what a crash of the machine leaves.
    let folder = crashed(&[&records[..], &[vec![b'x'; 3000]]].concat());
    let mut bytes = fs::read(path(&folder, ".log")).expect("read");
    bytes[512..1024].fill(0);
    fs::write(path(&folder, ".log"), &bytes).expect("written");
    assert_eq!(recover(folder.path()).expect("recovered").bytes_cut, 3001);
    assert_payloads(&folder, &records);
}

#[test]
fn an_index_whose_segment_is_gone_goes_and_no_other() {
    let records = some(0, 30);
    let folder = several(&[&records[..10], &records[10..20], &records[20..]]);
    let [gone, packed, plain] = std::array::from_fn(|number| folder.path().join(&folder.files(".log")[number]));
    fs::remove_file(gone).expect("deleted");
    fs::write(
        packed.with_extension("log.zst"),
        zstd::encode_all(&*fs::read(&packed).expect("read"), 0).expect("packed"),
    )
    .expect("written");
    fs::remove_file(packed).expect("deleted");
    let elsewhere = Folder::new();
    fs::rename(&plain, elsewhere.path().join("away")).expect("moved");
    std::os::unix::fs::symlink(elsewhere.path().join("away"), &plain).expect("linked");
    let left = folder.files(".idx").split_off(1);
    recover(folder.path()).expect("recovered");
    assert_eq!(folder.files(".idx"), left);
    fs::remove_file(elsewhere.path().join("away")).expect("a disk that is not there");
    recover(folder.path()).expect("recovered");
    assert_eq!(folder.files(".idx"), left, "it may be there again");
}

#[test]
fn what_cannot_be_recovered_is_named_and_what_to_do() {
    let folder = Folder::new();
    let odd = folder.path().join("log_20010909_014640_0001.log");
    fs::create_dir(&odd).expect("made");
    let error = recover(folder.path()).expect_err("no segment is a directory").to_string();
    let [named, advice] = [format!("cannot recover {}: ", odd.display()), "; repair it, or move it away".into()];
    assert!(error.starts_with(&named) && error.ends_with(&advice), "{error}");
}

#[test]
fn an_index_that_cannot_be_deleted_does_not_keep_the_agent_from_starting() {
    logs::keep();
    let folder = crashed(&some(0, 3));
    let index = "log_20261121_093000_0042.idx";
    fs::create_dir(folder.path().join(index)).expect("a name that is free");
    recover(folder.path()).expect("it stays");
    assert_eq!(logs::with(&[index, folder.text()]).len(), 1);
    assert_payloads(&folder, &some(0, 3));
    // What would be in the way is named.
    let leftover = format!("{}.zst.tmp", folder.files(".log")[0]);
    fs::create_dir(folder.path().join(&leftover)).expect("a name that is free");
    let error = recover(folder.path()).expect_err("it cannot be deleted").to_string();
    assert!(error.contains(&leftover), "{error}");
}

#[test]
fn an_empty_record_is_read_when_its_line_is_there_and_not_before() {
    let folder = crashed(&[""; 50]);
    let data = path(&folder, ".log");
    let records = || {
        let segment = crate::store::listing::segments(folder.path(), Kind::Log).expect("listed")[0];
        let mut reader = SegmentReader::open(folder.path(), segment).expect("opened");
        let mut records = 0;
        while let Step::Record { intact, .. } = reader.step().expect("read") {
            assert!(intact);
            records += 1;
        }
        (reader, records)
    };
    // An index is written before its records.
    for lines in [0, 1, 20, 50] {
        fs::write(&data, "\n".repeat(lines)).expect("written");
        let (mut reader, found) = records();
        assert_eq!(found, lines);
        fs::write(&data, "\n".repeat(50)).expect("written");
        let mut more = 0;
        while let Step::Record { .. } = reader.step().expect("read") {
            more += 1;
        }
        assert_eq!(more, 50 - lines, "they come later");
    }
}
