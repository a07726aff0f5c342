//! Checks each record against its entry.

use std::io::{self, Write};
use std::path::Path;

use crate::cat::{Faults, Filter, say_empty};
use crate::look::Look;
use crate::store::listing::segments;
use crate::store::name::Kind;

/// Checks all segments, and says what was found, a line each.
pub fn verify(directory: &Path, filter: &Filter) -> io::Result<()> {
    let mut faults = Faults::default();
    let (mut count, mut all_records, mut all_bytes) = (0, 0, 0);
    for kind in [Kind::Log, Kind::Bad] {
        for segment in segments(directory, kind)? {
            let Some(mut look) = Look::open(directory, segment) else { continue };
            let (mut records, mut bytes) = (0, 0);
            let ended = look.read(|entry, payload, intact| {
                if intact && filter.wants(&entry.origin) {
                    records += 1;
                    bytes += payload.len() as u64;
                }
                Ok(())
            })?;
            if !ended {
                look.end_for_good(directory);
            }
            let state = match &look.fault {
                Some(fault) => format!("FAULT: {fault}"),
                None if look.finished => "finished".to_owned(),
                None => "being written".to_owned(),
            };
            tell(&format!("{}: {records} records, {bytes} bytes, {} damaged, {state}", look.name(), look.damaged))?;
            faults.count(&look);
            (all_records, all_bytes) = (all_records + records, all_bytes + bytes);
            count += 1;
        }
    }
    if count == 0 {
        say_empty(directory);
    }
    tell(&format!("{count} segments: {all_records} records, {all_bytes} bytes, {} damaged", faults.damaged))?;
    faults.result()
}

/// Prints a line. Nobody needs to read them: `| head`.
fn tell(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        told => told,
    }
}
