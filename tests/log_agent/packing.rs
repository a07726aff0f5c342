//! What a start makes of a segment that is there both plain and packed.

use std::fs;
use std::io::Write;

use crate::agent::recovery::recover;
use crate::recovering::{crashed, path};
use crate::rig::{assert_payloads, some};

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
