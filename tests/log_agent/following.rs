//! Reading on as records come: each once, and those of one connection in their order.

use std::fs;
use std::path::PathBuf;

use crate::cat::Filter;
use crate::disks::Folder;
use crate::follow::Follower;
use crate::look::Look;
use crate::rig::{Rig, Setup, some};
use crate::store::index::{Entry, HEADER, Head, Origin, Runs, checksum};
use crate::store::listing::segments;
use crate::store::name::Kind;

/// What is printed by one more look.
fn look(follower: &mut Follower, folder: &Folder) -> String {
    let everything = Filter { since: None, until: None, connection: None };
    let mut out = Vec::new();
    follower.look(folder.path(), Kind::Log, &everything, &mut out).expect("it is readable");
    String::from_utf8(out).expect("text")
}

fn lines(records: &[Vec<u8>]) -> String {
    let line = |record: &Vec<u8>| str::from_utf8(record).expect("text").trim_end().to_owned() + "\n";
    records.iter().map(line).collect()
}

#[test]
fn the_rest_of_a_segment_comes_before_the_next_one() {
    for deleted in [false, true] {
        let mut rig = Rig::new(Setup { rotate_bytes: 300, ..Setup::default() });
        let mut follower = Follower::default();
        let records = some(0, 40);
        rig.give(0, &records[..5]);
        rig.work();
        assert_eq!(look(&mut follower, &rig.folder), lines(&records[..5]));
        // All of it between two looks: the rest, the end, the next segments.
        rig.give(0, &records[5..]);
        rig.work();
        let files = rig.folder.files(".log");
        assert!(files.len() > 2, "{files:?}");
        if deleted {
            fs::remove_file(rig.folder.path().join(&files[0])).expect("deleted");
            fs::remove_file(rig.folder.path().join(files[0].replace(".log", ".idx"))).expect("deleted");
        }
        assert_eq!(look(&mut follower, &rig.folder), lines(&records[5..]));
        assert_eq!(look(&mut follower, &rig.folder), "");
    }
}

/// Data and index of so many records as `runs` has together, a run for each of these.
fn written(records: &[Vec<u8>], runs: &[usize]) -> [Vec<u8>; 2] {
    let (mut data, mut index, mut records) = (Vec::new(), Runs::default(), records.iter());
    for count in runs {
        for record in records.by_ref().take(*count) {
            let [offset, length] = [data.len() as u32, record.len() as u32];
            let (crc, origin) = (checksum(record), Origin::default());
            let newline_added = record.last() != Some(&b'\n');
            index.push(&Entry { offset, length, crc, newline_added, origin });
            data.extend_from_slice(record);
            data.extend(newline_added.then_some(b'\n'));
        }
        index.close();
    }
    [data, [&HEADER[..], index.bytes()].concat()]
}

/// A folder with one segment, whose two files get other bytes.
struct Rewritten {
    folder: Folder,
    paths: [PathBuf; 2],
}

impl Rewritten {
    fn new(files: &[Vec<u8>; 2]) -> Self {
        let folder = Folder::new();
        let paths = ["log", "idx"].map(|suffix| folder.path().join(format!("log_20010909_014640_0001.{suffix}")));
        let rewritten = Self { folder, paths };
        rewritten.write(files);
        rewritten
    }

    fn write(&self, files: &[Vec<u8>; 2]) {
        self.paths.iter().zip(files).for_each(|(path, bytes)| fs::write(path, bytes).expect("written"));
    }

    fn open(&self) -> Look {
        let segment = segments(self.folder.path(), Kind::Log).expect("listed")[0];
        Look::open(self.folder.path(), segment).expect("it is there")
    }
}

/// With the mark of a segment that is finished.
fn finished([data, index]: &[Vec<u8>; 2], records: u64) -> [Vec<u8>; 2] {
    let mark = Head::end_mark(data.len() as u32, records).encode();
    [data.clone(), [&index[..], &mark].concat()]
}

/// Reads on, and appends what it finds; true if nothing more will come.
fn read_on(reader: &mut Look, found: &mut String) -> bool {
    let ended = reader.read(|_, payload, intact| {
        assert!(intact);
        found.push_str(&lines(&[payload.to_vec()]));
        Ok(())
    });
    ended.expect("nothing fails")
}

/// As an append leaves it that has failed: all runs of three hundred records, and half of these.
fn torn(records: &[Vec<u8>]) -> [Vec<u8>; 2] {
    let [mut data, index] = written(records, &[128, 128, 44]);
    data.truncate(data.len() / 2);
    [data, index]
}

/// It is cut, and written on with other runs.
#[test]
fn what_was_cut_off_and_written_again_is_shown_once_and_is_no_damage() {
    // Of the second kind one is as good as another, wherever it is read.
    let kinds = [some(0, 400), vec![b"all the same\n".to_vec(); 400]];
    let ways = [&[100, 100, 50, 50, 100][..], &[128, 128, 20, 124], &[8; 50], &[75, 75, 75, 75, 100]];
    for (records, runs) in kinds.iter().flat_map(|records| ways.map(|runs| (records, runs))) {
        let steps: Vec<_> = (0..=runs.len()).map(|count| written(records, &runs[..count])).collect();
        // Whoever reads may look at any time in between.
        for looks in 0..1 << steps.len().min(6) {
            let segment = Rewritten::new(&torn(records));
            let (mut follower, mut reader) = (Follower::default(), segment.open());
            let (mut shown, mut found) = (look(&mut follower, &segment.folder), String::new());
            assert!(!read_on(&mut reader, &mut found));
            for (number, files) in steps.iter().enumerate() {
                segment.write(files);
                if looks & (1 << number.min(5)) != 0 {
                    shown += &look(&mut follower, &segment.folder);
                    assert!(!read_on(&mut reader, &mut found));
                }
            }
            segment.write(&finished(&steps[runs.len()], 400));
            shown += &look(&mut follower, &segment.folder);
            assert!(read_on(&mut reader, &mut found) && reader.finished, "{runs:?}, {looks:b}: and its end is seen");
            assert_eq!((shown == lines(records), found == lines(records)), (true, true), "{runs:?}, {looks:b}");
            assert_eq!((reader.damaged, reader.fault), (0, None), "{runs:?}, {looks:b}");
        }
    }
}

/// The rest is in the next one.
#[test]
fn the_end_of_a_segment_is_seen_if_less_was_written_again_than_was_cut_off() {
    let records = some(0, 300);
    let segment = Rewritten::new(&torn(&records));
    let (mut reader, mut found) = (segment.open(), String::new());
    assert!(!read_on(&mut reader, &mut found));
    segment.write(&finished(&written(&records, &[100, 100]), 200));
    assert!(read_on(&mut reader, &mut found) && reader.finished);
    assert!(found == lines(&records[..200]) && (reader.damaged, reader.fault) == (0, None));
}

/// One that is no more than that is told as before, and once, however often it is looked at.
#[test]
fn what_is_damaged_is_told_once_and_what_is_behind_it_is_shown() {
    let records = some(0, 40);
    let [mut data, mut index] = written(&records, &[10; 4]);
    // The second run cannot be believed, and one of the third's records is another.
    index[32 + 112 + 40..32 + 112 + 60].fill(0xff);
    let flipped: usize = records[..25].iter().map(|record| record.len() + 1).sum();
    data[flipped] ^= 1;
    let files = [112, 0].map(|less| [data.clone(), index[..index.len() - less].to_vec()]);
    // Also of one that somebody deletes meanwhile: it can't be opened once more.
    for deleted in [false, true] {
        let segment = Rewritten::new(&files[usize::from(deleted)]);
        let (mut reader, mut found) = (segment.open(), Vec::new());
        if deleted {
            segment.paths.iter().for_each(|path| fs::remove_file(path).expect("deleted"));
        }
        for files in [&files[0], &files[0], &files[1]] {
            if !deleted {
                segment.write(files);
            }
            let ended = reader.read(|_, payload, intact| {
                found.push((payload.to_vec(), intact));
                Ok(())
            });
            assert!(!ended.expect("nothing fails"));
        }
        let intact = found.iter().filter(|(_, intact)| *intact).map(|(payload, _)| payload.clone());
        let expected = [&records[..10], &records[20..25], &records[26..]].concat();
        assert!(intact.eq(expected) && found.len() == 30);
        assert_eq!(reader.damaged, 11);
    }
}
