//! Checks each record against its entry.

use std::io;
use std::path::Path;

use crate::cat::Filter;
use crate::common::say;
use crate::store::listing::{Listed, segments};
use crate::store::name::Kind;
use crate::store::reader::{SegmentReader, Step};

/// What was found in a segment, or in all.
#[derive(Debug, Clone, Copy, Default)]
struct Found {
    records: u64,
    bytes: u64,
    damaged: u64,
    finished: bool,
}

/// Checks all segments, and says what was found, a line each.
pub fn verify(directory: &Path, filter: &Filter) -> io::Result<()> {
    let mut all = Found::default();
    let mut count = 0;
    for kind in [Kind::Log, Kind::Bad] {
        for segment in segments(directory, kind)? {
            let found = look(directory, segment, filter)?;
            let Found { records, bytes, damaged, finished } = found;
            let state = if finished { "finished" } else { "being written, or not recovered yet" };
            let name = segment.name.data(segment.packing);
            say(format_args!("{name}: {records} records, {bytes} bytes, {damaged} damaged, {state}"));
            (all.records, all.bytes, all.damaged) = (all.records + records, all.bytes + bytes, all.damaged + damaged);
            count += 1;
        }
    }
    let Found { records, bytes, damaged, .. } = all;
    say(format_args!("{count} segments: {records} records, {bytes} bytes, {damaged} damaged"));
    match damaged {
        0 => Ok(()),
        _ => Err(io::Error::other(format!("{damaged} records are not those that were received"))),
    }
}

fn look(directory: &Path, segment: Listed, filter: &Filter) -> io::Result<Found> {
    let mut reader = SegmentReader::open(directory, segment)?;
    let mut found = Found::default();
    loop {
        match reader.step()? {
            Step::Record { intact: false, .. } => found.damaged += 1,
            Step::Damaged { records } => found.damaged += records,
            Step::Record { entry, payload, .. } if filter.wants(&entry.origin) => {
                found.records += 1;
                found.bytes += payload.len() as u64;
            }
            Step::Record { .. } => {}
            Step::NoMore => return Ok(found),
            Step::Finished => return Ok(Found { finished: true, ..found }),
        }
    }
}
