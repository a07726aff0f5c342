//! What senders can do to an index: its entries are lengths and checksums of what they have sent.

use std::fs;

use crate::agent::recovery::recover;
use crate::disks::Folder;
use crate::rig::assert_payloads;
use crate::store::index::{ENTRY_BYTES, Entry, HEAD_BYTES, HEADER, Head, Origin, RUN_MAX, Runs, checksum};

/// A record, and the entries of four of which it is the first. Together they are the head of a run of `count` records,
/// or, with 65,535, the mark of a segment that has nothing but this record.
fn forged(count: u16) -> (Vec<u8>, [[u8; ENTRY_BYTES]; 4]) {
    let mut payloads = (0u64..).map(|number| format!("{number}\n").into_bytes());
    let payload = payloads.find(|payload| checksum(payload) as u16 == count).expect("one of some ten thousand");
    let [first, second, third] = [&payload[..], b"second\n", b"third\n"].map(|payload| Entry::tag(payload, false));
    // Its checksum is that of all before it: a sender chooses four bytes of its payload for that.
    let mut fourth = Entry::tag(b"fourth\n", false);
    let before = [first, second, third, fourth].concat();
    fourth[4..].copy_from_slice(&checksum(&before[..HEAD_BYTES - 4]).to_le_bytes());
    (payload, [first, second, third, fourth])
}

fn folder_with(data: &[u8], index: &[u8]) -> Folder {
    let folder = Folder::new();
    for (suffix, bytes) in [("log", data), ("idx", index)] {
        fs::write(folder.path().join(format!("log_20010909_014640_0001.{suffix}")), bytes).expect("written");
    }
    folder
}

#[test]
fn entries_that_look_like_a_mark_are_none() {
    let (payload, entries) = forged(u16::MAX);
    let mut runs = Runs::default();
    runs.extend(0, Origin::default(), entries.iter());
    let index = [&HEADER[..], runs.bytes()].concat();
    let mark = Head::decode(index.last_chunk().expect("some")).and_then(|mark| mark.as_end_mark());
    assert_eq!(mark.map(|(bytes, _)| bytes), Some(payload.len() as u64), "it is a good forgery");
    // A crash, when the first of the four records was written.
    let folder = folder_with(&payload, &index);
    assert_eq!(recover(folder.path()).expect("recovered").unfinished, 1);
    assert_payloads(&folder, &[&payload]);
    assert_eq!(recover(folder.path()).expect("recovered").unfinished, 0, "it is finished now");
}

#[test]
fn a_mark_is_believed_though_entries_look_like_a_run_that_goes_beyond_it() {
    let (payload, entries) = forged(RUN_MAX as u16);
    let mut runs = Runs::default();
    runs.extend(0, Origin::default(), entries.iter());
    let bytes = payload.len() as u32 + 20;
    let index = [&HEADER[..], runs.bytes(), &Head::end_mark(bytes, 4).encode()].concat();
    assert!(Head::decode(index[2 * HEAD_BYTES..].first_chunk().expect("some")).is_some(), "it is a good forgery");
    let folder = folder_with(&[&payload[..], b"second\n", b"third\n", b"fourth\n"].concat(), &index);
    assert_eq!(recover(folder.path()).expect("recovered").unfinished, 0);
}
